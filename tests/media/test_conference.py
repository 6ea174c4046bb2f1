"""Conferences with audio: who hears whom, how late, and what is left when workers die."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crowd import Caller, Crowd, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
conferences:
  twelve: {}
  four: {most: 4}
  secret: {pin: "4711", leader_pin: "0815", muted: true, most: 3}
routes:
  - {match: "700", from: any, play: {conference: twelve}}
  - {match: "701", from: any, play: {conference: four}}
  - {match: "702", from: any, play: {conference: secret}, else: {play: {tone: 950}}}
"""
TONES = [300 + 100 * n for n in range(12)]
"""Whole periods in 20 ms, so that none is taken for another."""
LOUD, SILENT = -32.0, -45.0


@dataclass
class House:
    """A switch, and those who call it."""

    folder: Path
    switch: SwitchChild
    crowd: Crowd

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(f"file:{self.folder / 'hq.db'}?mode=ro", uri=True)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()

    def facts(self, user: str) -> dict[str, str]:
        """What the final record of a caller says of the conference it was in last."""
        query = (
            "SELECT value FROM cdr_properties JOIN cdrs USING (call_id) WHERE final"
            f" AND caller = '{user}' AND name LIKE 'application/%' ORDER BY name"
        )
        wait_for(lambda: self.rows(query), f"a record of {user}")
        found: dict[str, str] = json.loads(self.rows(query)[-1][0])
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    port = free_port()
    crowd = Crowd(port)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        f"trunks: {{callers: {{to: 'sip:127.0.0.1:{crowd.port}', keepalive: 0}}}}\n"
        "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        "cds: {database: hq.db, linger: 0.5}\n"
    )
    house = House(tmp_path, SwitchChild("hq", tmp_path / "hq.yaml"), crowd)
    try:
        house.switch.until_ready(20)
        yield house
    finally:
        crowd.close()
        house.switch.stop()


def settled(callers: list[Caller]) -> None:
    """Audio comes, and nothing is played to anybody."""
    for one in callers:
        wait_for(lambda one=one: len(one.heard) > 5, f"audio to {one}")
    time.sleep(2.5)


def test_twelve(house: House) -> None:
    """Each says its own tone in turn; all others hear it, soon, and itself does not."""
    crowd = house.crowd
    people = [crowd.joins("700") for _ in range(12)]
    late = crowd.call("700")
    wait_for(lambda: late.status, "an answer")
    assert late.status == 486
    settled(people)
    delays = []
    for one, hz in zip(people, TONES, strict=True):
        began = crowd.say(one, hz)
        time.sleep(0.6)
        crowd.say(one, 0)
        time.sleep(0.4)
        for other in people:
            if other is one:
                assert other.hears(hz, began, began + 0.6) < SILENT, (one, other)
            else:
                delays.append(other.first(hz, began) - began)
                assert other.hears(hz, began + 0.25, began + 0.6) > LOUD, (one, other)
    delays.sort()
    print(f"mouth to ear: median {delays[len(delays) // 2]:.3f} s, longest {delays[-1]:.3f} s")
    assert delays[-1] < 0.25
