"""Carriers that are silent: the last choice, not no choice; and calls that they do not lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, PLAN, Agent, Line, World
from softswitch.events import CallEnded

ASKED = CONFIG.replace("max_calls: 5, keepalive: 0", "keepalive: 30").replace(
    'backup: {to: "sip:10.3.0.1:5060", keepalive: 0}',
    'backup: {to: "sip:10.3.0.1:5060", keepalive: 30}',
)
ROUTES = (
    PLAN
    + """  - {match: "70", from: any, dial: "trunk:pstn", timeout: 20, else: {dial: "trunk:backup"}}
  - {match: "71", from: any, dial: "trunk:pstn", timeout: 20, else: {status: 480}}
  - {match: "72", from: any, dial: {order: ["trunk:pstn", "1001", "trunk:backup"]}, timeout: 20}
"""
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, ASKED, ROUTES)


def agents(world: World) -> tuple[Agent, Agent, Agent]:
    return (
        world.agent("10.1.0.1", "alice"),
        world.agent("10.2.0.1", "pstn"),
        world.agent("10.3.0.1", "backup"),
    )


def up(world: World) -> bool:
    return world.switch.trunks.is_up("pstn")


def fails(world: World, number: str = "95550100") -> Line:
    """A call that pstn does not answer; the reserve is busy."""
    caller, pstn, backup = agents(world)
    world.dead.add(pstn.address)
    a = caller.call(number)
    world.run(5.5)
    world.dead.clear()
    backup.line.reply(486)
    a.acknowledge(a.last)
    return a


@pytest.mark.parametrize("number", ["95550100", "70"])
def test_a_call_that_is_not_answered_at_all_marks_it_at_once(world: World, number: str) -> None:
    caller, pstn, backup = agents(world)
    fails(world)
    assert not up(world)
    before = len(pstn.lines)
    a = caller.call(number)
    assert len(pstn.lines) == before, "the reserve is asked first"
    backup.line.reply(503)
    assert len(pstn.lines) == before + 1, "and it when nobody else is left"
    pstn.line.reply(180)
    assert up(world), "which it has answered"
    pstn.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end(busy=True)


def test_the_only_trunk_of_a_route_is_tried_all_the_same(world: World) -> None:
    caller, pstn, _ = agents(world)
    fails(world)
    a = caller.call("71")
    pstn.line.reply(486)
    assert a.last.what == "480 INVITE", "the else comes after it"
    a.acknowledge(a.last)
    assert up(world)
    world.end(busy=True)


@pytest.mark.parametrize("status", [404, 486, 503])
def test_phones_and_other_trunks_come_first(world: World, status: int) -> None:
    caller, pstn, backup = agents(world)
    fails(world)
    phone = world.phone("1001", "10.9.0.1")
    a = caller.call("72")
    phone.line.reply(480)
    backup.line.reply(status)
    assert len(pstn.lines) == (0 if status == 486 else 1), "busy is busy, whoever says so"
    if status != 486:
        pstn.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    world.end(busy=True)


@pytest.mark.parametrize("sign", ["call", "OPTIONS", "within a call"])
def test_whatever_comes_from_it_brings_it_up(world: World, sign: str) -> None:
    caller, pstn, _ = agents(world)
    world.phone("1001", "10.9.0.1")
    old = pstn.call("1001")
    phone = world.agent("10.9.0.1", "1001")
    phone.line.reply(200, ANSWER)
    old.ack()
    assert caller
    fails(world)
    assert not up(world)
    if sign == "call":
        a = pstn.call("1009")
        a.acknowledge(a.last)
    elif sign == "OPTIONS":
        pstn.send(
            "OPTIONS sip:hq@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.0.1:5060;branch=z9hG4bKo\r\n"
            "From: <sip:p@10.2.0.1>;tag=o\r\nTo: <sip:hq@10.0.0.1>\r\nCall-ID: o\r\n"
            "CSeq: 1 OPTIONS\r\n"
        )
        world.settle()
    else:
        old.send("INFO")
        phone.line.reply(200, to="INFO")
    assert up(world)
    old.bye()
    phone.line.reply(200, to="BYE")
    world.end(busy=True)


def test_it_is_asked_at_once_whether_it_is_there(world: World) -> None:
    agents(world)
    fails(world)
    assert "pstn" in [trunk.name for trunk in world.switch.trunks.due(world.now)]


def test_a_trunk_that_nobody_asks_is_never_down(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG, ROUTES)
    agents(world)
    fails(world)
    assert up(world)
    world.end(busy=True)


def answered(world: World) -> tuple[Line, Line]:
    caller, pstn, _ = agents(world)
    a = caller.call("85550100")
    pstn.line.reply(200, ANSWER)
    a.ack()
    return a, pstn.line


@pytest.mark.parametrize(
    ("setting", "lives"),
    [("", True), (", session_check: no", True), (", session_check: yes", False)],
)
def test_a_carrier_that_ignores_options_within_a_call(
    tmp_path: Path, setting: str, lives: bool
) -> None:
    config = CONFIG.replace("max_calls: 5, keepalive: 0", f"keepalive: 0{setting}")
    world = World(tmp_path, config + "timers: {session_check: 60}\n", ROUTES)
    a, b = answered(world)
    world.run(61)
    assert b.last.what == "OPTIONS"
    a.reply(200, to="OPTIONS")
    world.run(33)
    assert bool(world.of(CallEnded)) is not lives
    world.dead |= {a.agent.address, b.agent.address}


def test_a_carrier_that_knows_of_no_call_ends_it(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {session_check: 60}\n", ROUTES)
    a, b = answered(world)
    world.run(61)
    a.reply(200, to="OPTIONS")
    b.reply(481, to="OPTIONS")
    assert world.ended.reason == "a side vanished"
    world.dead |= {a.agent.address, b.agent.address}


def test_our_own_switch_is_to_answer(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {session_check: 60}\n", ROUTES)
    branch = world.agent("10.0.0.2", "branch")
    a = world.agent("10.1.0.1", "alice").call("2001")
    branch.line.reply(200, ANSWER)
    a.ack()
    world.run(61)
    a.reply(200, to="OPTIONS")
    world.run(33)
    assert world.ended.reason == "a side vanished"
    world.dead |= {a.agent.address, branch.address}
