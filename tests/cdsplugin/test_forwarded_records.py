"""Records of star codes and of forwarded calls, by what the switch itself tells of them."""

from __future__ import annotations

from pathlib import Path

from api_sites import sites
from calls.call_world import SDP, World
from calls.test_forwarding import dial, made

from softswitch import events


def settled(tmp_path: Path) -> World:
    """Bob forwards his calls to Carol by star code, and Alice calls him."""
    world = made(tmp_path)
    alice = world.phone("1001", "10.9.0.1")
    bob, carol = world.phone("1002", "10.9.0.2"), world.phone("1003", "10.9.0.3")
    assert dial(bob, "*721003").startswith("480 ")
    world.run(1)
    a = alice.call("1002")
    world.run(2)
    carol.line.reply(200, SDP)
    a.ack()
    world.run(10)
    a.bye()
    carol.line.reply(200, to="BYE")
    world.end()
    return world


async def test_they_say_so(tmp_path: Path) -> None:
    world = settled(tmp_path)
    code, call = [event.call_id for event in world.of(events.CallStarted)]
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(code)
        assert (record["disposition"], record["sip_status"]) == ("answered", 480)
        assert not record["billsec"]
        assert not record["answered_at"]
        assert record["reason"] == "Forwarding Always To 1003 Is On"
        properties = {row["name"]: row["value"] for row in record["properties"]}
        assert properties["forward.always"] == "1003"
        assert properties["route/hq"]["match"] == "*72."
        record = await hq.recorded(call)
        assert record["disposition"] == "answered"
        (talk,) = record["talks"]
        assert (talk["how"], talk["by"]) == ("forward", "extension:1002")
        assert (talk["from_number"], talk["to_number"]) == ("1001", "1003")
        assert record["answered_party"] == "extension:1003"
