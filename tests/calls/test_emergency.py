"""Calls for help: no limit stops them."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, World
from softswitch import events

PLAN = """
routes:
  - {match: "112", from: any, dial: "trunk:pstn", emergency: true}
  - {match: "8.", from: any, strip: 1, dial: "trunk:pstn"}
"""
NARROW = CONFIG.replace("max_calls: 5,", "max_calls: 2,").replace("password: d,", "password: d,")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, f"{NARROW}limits: {{max_calls: 3}}\n", PLAN)


def test_a_full_trunk(world: World) -> None:
    """The call that began last makes room; not one that is an emergency itself."""
    caller, pstn = world.agent("10.1.0.1", "caller"), world.agent("10.2.0.1", "pstn")
    first = caller.call("81")
    world.run(0.1)
    second = caller.call("82")
    one, two = pstn.lines
    one.reply(200, ANSWER)
    first.ack()
    two.reply(180)
    full = caller.call("83")
    assert full.last.status == 500
    full.acknowledge(full.last)
    help_ = caller.call("112")
    assert second.last.what == "503 INVITE"
    second.acknowledge(second.last)
    assert two.last.what == "CANCEL"
    two.reply(487)
    three = pstn.lines[-1]
    assert three.last.uri.startswith("sip:112@")
    three.reply(200, ANSWER)
    help_.ack()
    again = caller.call("112")
    assert one.last.what == first.last.what == "BYE"
    first.reply(200, to="BYE")
    one.reply(200, to="BYE")
    four = pstn.lines[-1]
    four.reply(200, ANSWER)
    again.ack()
    third = caller.call("112")
    assert third.last.status == 500, "all the others are for help as well"
    third.acknowledge(third.last)
    for line, other in ((help_, three), (again, four)):
        line.bye()
        other.reply(200, to="BYE")
    world.end()
    reasons = [event.reason for event in world.of(events.CallEnded)]
    assert reasons.count("Room For An Emergency Call") == 2


def test_a_full_switch_and_a_busy_extension(tmp_path: Path) -> None:
    world = World(tmp_path, f"{CONFIG}limits: {{max_calls: 1}}\n", PLAN)
    dave = world.phone("1004", "10.9.0.4")
    pstn = world.agent("10.2.0.1", "pstn")
    first = dave.call("81")
    one = pstn.line
    one.reply(200, ANSWER)
    first.ack()
    other = dave.call("82")
    assert other.last.what == "503 INVITE"
    other.acknowledge(other.last)
    help_ = dave.call("112")
    two = pstn.line
    assert two is not one
    two.reply(200, ANSWER)
    help_.ack()
    for line, callee in ((first, one), (help_, two)):
        line.bye()
        callee.reply(200, to="BYE")
    world.end()
