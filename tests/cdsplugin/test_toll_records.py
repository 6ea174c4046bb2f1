"""Alarms of what calls cost, in the records: by what the switch itself tells of them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from api_sites import sites
from calls.test_toll import made, takes

from softswitch import events

DOCS = Path(__file__).parents[2] / "docs"


async def test_the_call_says_so(tmp_path: Path) -> None:
    world = made(tmp_path, "abroad: {match: '0.', calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    assert takes(world, alice, "80049", 10)
    assert not takes(world, alice, "80049")
    world.end()
    placed, refused = [event.call_id for event in world.of(events.CallStarted)]
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        for call_id, was_refused in ((placed, False), (refused, True)):
            record = await hq.recorded(call_id)
            properties = {row["name"]: row["value"] for row in record["properties"]}
            assert properties["toll/hq"] == {
                "rule": "abroad",
                "party": "extension:1001",
                "what": "calls",
                "used": 1,
                "most": 1,
                "refused": was_refused,
            }
        assert (record["disposition"], record["sip_status"]) == ("rejected", 403)
        assert record["reason"] == "Toll Limit"
        # As docs/toll.md asks for them.
        page = (DOCS / "toll.md").read_text()
        question = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
        assert question is not None
        with closing(sqlite3.connect(tmp_path / "hq.db")) as database:
            assert len(database.execute(question[1]).fetchall()) == 2
