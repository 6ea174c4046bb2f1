"""Nobody answered: which of the failures the caller is told, and the record has."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, PLAN, Agent, World
from softswitch.events import CallEnded, LegInvited

GROUPS = (
    PLAN
    + """  - {match: "620", from: any, dial: {all: ["1001", "1002", "1003"]}, timeout: 10}
  - {match: "621", from: any, dial: {order: ["1001", "1002"]}, timeout: 10}
  - {match: "622", from: any, dial: {order: ["1001", {all: ["1002", "1003"]}]}, timeout: 10}
  - {match: "623", from: any, dial: {all: ["1001"]}, timeout: 10}
"""
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, CONFIG, GROUPS)


def phones(world: World) -> list[Agent]:
    return [world.phone(str(1001 + n), f"10.9.0.{n + 1}") for n in range(3)]


def caller(world: World) -> Agent:
    return world.agent("10.1.0.1", "alice")


@pytest.mark.parametrize("status", [486, 600, 603, 480, 500])
def test_one_that_fails_and_others_that_ring_out_is_no_answer(world: World, status: int) -> None:
    one, two, three = phones(world)
    a = caller(world).call("620")
    two.line.reply(180)
    three.line.reply(180)
    one.line.reply(status)
    world.run(11)
    for phone in (two, three):
        phone.line.reply(200, to="CANCEL")
        phone.line.reply(487)
    assert a.last.start == "SIP/2.0 480 No Answer"
    a.acknowledge(a.last)
    world.end()
    assert (world.ended.disposition, world.ended.reason) == ("no-answer", "No Answer")


def test_busy_and_then_one_that_rings_out(world: World) -> None:
    one, two, _ = phones(world)
    a = caller(world).call("621")
    one.line.reply(486)
    two.line.reply(180)
    world.run(11)
    two.line.reply(200, to="CANCEL")
    two.line.reply(487)
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert world.ended.disposition == "no-answer"


def test_all_busy_or_declining(world: World) -> None:
    one, two, three = phones(world)
    a = caller(world).call("620")
    one.line.reply(486)
    two.line.reply(480)
    three.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    a = caller(world).call("620")
    one.line.reply(486)
    two.line.reply(603)
    three.line.reply(603)
    assert a.last.what == "603 INVITE"
    a.acknowledge(a.last)
    world.end()


@pytest.mark.parametrize("first", [None, 500, 503])
@pytest.mark.parametrize("second", [404, 410, 484])
def test_a_number_that_the_reserve_does_not_know(
    world: World, first: int | None, second: int
) -> None:
    """The carrier that was to have the call has not answered, or could not take it: that is what
    the caller has to know, not that the local gateway has no such number."""
    pstn, backup = world.agent("10.2.0.1", "pstn"), world.agent("10.3.0.1", "backup")
    a = caller(world).call("95550100")
    if first is None:
        world.dead.add(pstn.address)
        world.run(6)
    else:
        pstn.line.reply(first)
    backup.line.reply(second)
    assert a.last.status == {None: 504, 500: 500, 503: 500}[first]
    a.acknowledge(a.last)
    world.end(busy=first is None)
    assert world.ended.disposition == "failed"


def test_a_number_that_no_carrier_knows(world: World) -> None:
    pstn = world.agent("10.2.0.1", "pstn")
    a = caller(world).call("95550100")
    pstn.line.reply(404)
    assert a.last.what == "404 INVITE"
    a.acknowledge(a.last)
    world.end()


def test_a_registered_phone_that_is_silent_is_not_there(world: World) -> None:
    one, *_ = phones(world)
    world.dead.add(one.address)
    a = caller(world).call("1001")
    world.run(6)
    assert a.last.start == "SIP/2.0 480 No Response From The Phone"
    a.acknowledge(a.last)
    a = caller(world).call("1004")
    assert a.last.start == "SIP/2.0 480 Not Registered"
    a.acknowledge(a.last)
    silent, absent = world.of(CallEnded)
    assert silent.disposition == absent.disposition == "no-answer"
    assert silent.reason != absent.reason
    world.end(busy=True)


def test_silent_phones_that_are_waited_for_until_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {no_response: 0}\n", GROUPS)
    one, *_ = phones(world)
    world.dead.add(one.address)
    a = caller(world).call("623")
    world.run(11)
    assert a.last.start == "SIP/2.0 480 No Response From The Phone"
    a.acknowledge(a.last)
    world.end(busy=True)


@pytest.mark.parametrize("number", ["620", "621", "622"])
def test_who_calls_a_group_in_which_it_is_does_not_ring(world: World, number: str) -> None:
    one, two, three = phones(world)
    a = one.call(number)
    assert len(one.lines) == 1
    assert two.lines
    two.line.reply(486)
    if number != "621":
        three.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert "extension:1001" not in {event.party for event in world.of(LegInvited)}


def test_who_is_alone_in_its_group(world: World) -> None:
    """Nothing else is asked for: its other phones ring, as when it calls itself."""
    one, *_ = phones(world)
    other = world.phone("1001", "10.9.1.1")
    a = one.call("623")
    other.line.reply(486)
    one.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    world.end()
