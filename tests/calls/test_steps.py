"""One step after the other, each for its time; what those are told who need not ring any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, PLAN, Agent, Line, World
from calls.test_silent_trunks import ASKED
from softswitch.events import LegEnded, LegInvited

STEPS = (
    PLAN
    + """
  - match: "610"
    from: any
    dial: {order: ["1001", {all: ["1002", "1003"], timeout: 7}, {to: "trunk:pstn", timeout: 40}]}
    timeout: 15
    else: {dial: "1004", timeout: 3}
  - match: "611"
    from: any
    dial: {order: [{to: "trunk:pstn", timeout: 12}, {to: "trunk:backup", timeout: 5}]}
  - match: "612"
    from: any
    dial: {order: [{all: ["1001", "1002"], timeout: 5}, "1003"]}
    timeout: 9
  - {match: "613", from: any, dial: {order: [{all: ["1003", "1002"]}, {to: "1001", timeout: 4}]}}
"""
)
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
RANG_OUT = 'Q.850;cause=19;text="No answer"'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, CONFIG, STEPS)


def phones(world: World, count: int = 4) -> list[Agent]:
    return [world.phone(f"100{n}", f"10.9.0.{n}") for n in range(1, count + 1)]


def carrier(world: World) -> Agent:
    return world.agent("10.1.0.1", "caller")


def cancelled(line: Line) -> str:
    """It is, and says so; with which Reason."""
    cancel = line.find("CANCEL")
    line.reply(200, to="CANCEL")
    line.reply(487)
    return cancel.headers.get("reason", [""])[0]


def reasons(world: World) -> dict[int, tuple[int, str]]:
    return {e.leg: (e.status, e.reason) for e in world.of(LegEnded)}


def invited(world: World) -> list[tuple[float, str]]:
    """Who was rung, and how many seconds after the first."""
    legs = world.of(LegInvited)
    return [(round((e.at - legs[0].at) / 1e6, 1), e.party) for e in legs]


def test_each_for_its_time(world: World) -> None:
    alice, bob, carol, dave = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    line = carrier(world).call("610")
    alice.line.reply(180)
    world.run(15.1)
    assert cancelled(alice.line) == RANG_OUT
    for one in (bob, carol):
        one.line.reply(180)
    world.run(7)
    assert [cancelled(one.line) for one in (bob, carol)] == [RANG_OUT] * 2
    pstn.line.reply(180)
    world.run(40)
    assert cancelled(pstn.line) == RANG_OUT
    dave.line.reply(180)
    world.run(3)
    assert cancelled(dave.line) == RANG_OUT
    assert line.last["reason"] == RANG_OUT
    line.acknowledge(line.last)
    world.end()
    assert invited(world) == [
        (0.0, "extension:1001"),
        (15.0, "extension:1002"),
        (15.0, "extension:1003"),
        (22.0, "trunk:pstn"),
        (62.0, "extension:1004"),
    ]
    ended = reasons(world)
    assert {ended[leg] for leg in range(1, 6)} == {(487, "No answer")}
    assert ended[0] == (480, "No Answer")


def test_a_step_that_fails_is_over_at_once(world: World) -> None:
    """The next one has all of its own time."""
    alice, bob, carol, _ = phones(world)
    line = carrier(world).call("612")
    world.run(3)
    alice.line.reply(486)
    bob.line.reply(486)
    carol.line.reply(180)
    world.run(8.9)
    assert "CANCEL" not in carol.line.what
    world.run(0.2)
    assert cancelled(carol.line) == RANG_OUT
    line.acknowledge(line.last)
    world.end()


def test_trunks_that_are_down_keep_theirs(tmp_path: Path) -> None:
    """Tried last, and as long as that step says."""
    world = World(tmp_path, ASKED, STEPS)
    caller = carrier(world)
    pstn, backup = world.agent("10.2.0.1", "pstn"), world.agent("10.3.0.1", "backup")
    world.switch.trunk_states.failed("pstn")
    assert not world.switch.trunks.is_up("pstn")
    line = caller.call("611")
    backup.line.reply(183)
    world.run(5.1)
    assert cancelled(backup.line) == RANG_OUT
    pstn.line.reply(183)
    world.run(11.8)
    assert "CANCEL" not in pstn.line.what
    world.run(0.2)
    assert cancelled(pstn.line) == RANG_OUT
    line.acknowledge(line.last)
    world.end()


def test_a_redirection_rings_as_long_as_the_step_there_says(world: World) -> None:
    alice, bob, carol, _ = phones(world)
    line = carrier(world).call("1004")
    dave = world.agents["10.9.0.4", 5060]
    dave.line.reply(302, contact="Contact: <sip:612@10.0.0.1>\r\n")
    alice.line.reply(180)
    bob.line.reply(180)
    world.run(5.1)
    assert [cancelled(one.line) for one in (alice, bob)] == [RANG_OUT] * 2
    carol.line.reply(200, ANSWER)
    line.ack()
    line.bye()
    carol.line.reply(200, to="BYE")
    world.end()


def test_a_caller_in_a_step(world: World) -> None:
    """It does not ring, and the step that is left without anybody takes no time."""
    alice, bob, carol, _ = phones(world)
    line = alice.call("613")
    bob.line.reply(486)
    carol.line.reply(486)
    assert line.last.status == 486
    assert not [one for one in alice.lines if one.invited]
    line.acknowledge(line.last)
    world.end()


# --- what a CANCEL says


def test_answered_elsewhere(world: World) -> None:
    alice, bob, carol, _ = phones(world)
    line = carrier(world).call("610")
    alice.line.reply(486)
    bob.line.reply(180)
    carol.line.reply(180)
    bob.line.reply(200, ANSWER)
    assert cancelled(carol.line) == ELSEWHERE
    line.ack()
    line.bye()
    bob.line.reply(200, to="BYE")
    world.end()
    assert reasons(world)[1] == (486, "Whatever")
    assert reasons(world)[3] == (487, "Answered elsewhere")


@pytest.mark.parametrize(
    ("extra", "said"),
    [("Reason: SIP;cause=487;text=gone\r\n", "SIP;cause=487;text=gone"), ("", "")],
)
def test_the_caller_gives_up(world: World, extra: str, said: str) -> None:
    """Its Reason, or none: that call was missed."""
    alice, bob, carol, _ = phones(world)
    line = carrier(world).call("610")
    alice.line.reply(486)
    bob.line.reply(180)
    carol.line.reply(180)
    line.cancel(extra)
    assert [cancelled(one.line) for one in (bob, carol)] == [said] * 2
    line.acknowledge(line.find("487 INVITE"))
    world.end()
    ended = reasons(world)
    assert ended[2] == ended[3] == (487, "Cancelled by the caller")
    assert ended[0] == (487, said)


def test_declined_elsewhere(world: World) -> None:
    """Who declines does so at all of its phones; the others of the group ring on."""
    _, bob, carol, _ = phones(world)
    second = world.phone("1002", "10.9.0.12")
    alice = world.agents["10.9.0.1", 5060]
    line = carrier(world).call("610")
    alice.line.reply(486)
    for one in (bob, carol, second):
        one.line.reply(180)
    bob.line.reply(603)
    assert cancelled(second.line) == 'SIP;cause=603;text="Declined elsewhere"'
    carol.line.reply(200, ANSWER)
    line.ack()
    line.bye()
    carol.line.reply(200, to="BYE")
    world.end()
    at = {e.address: e.leg for e in world.of(LegInvited)}
    assert reasons(world)[at["udp:10.9.0.12:5060"]] == (603, "Declined elsewhere")


def test_the_switch_hangs_up(world: World) -> None:
    alice, *_ = phones(world)
    line = carrier(world).call("610")
    alice.line.reply(180)
    next(iter(world.switch.calls)).hang_up_all("Over")
    world.settle()
    assert cancelled(alice.line) == 'SIP;cause=480;text="Over"'
    line.acknowledge(line.last)
    world.end()
