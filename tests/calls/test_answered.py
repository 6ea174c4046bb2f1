"""Answered calls: set-up, the ways they end, and what comes twice or never."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, HOLD, SDP, T1, Agent, Line, World
from softswitch import events

TOLD = [
    "CallStarted 0",
    "CallRouted",
    "LegInvited 1",
    "LegRinging 1",
    "LegAnswered 1",
    "TalkBegan 1",
]


def parties(world: World) -> tuple[Agent, Agent]:
    return world.agent("10.1.0.1", "alice"), world.agent("10.2.0.1", "gateway")


def answered(world: World, **more: str) -> tuple[Line, Line]:
    """A call of trunk `caller` to trunk `pstn` that is answered and acknowledged."""
    caller, callee = parties(world)
    a = caller.call("85550100", **more)
    b = callee.line
    b.reply(180)
    b.reply(200, ANSWER)
    a.ack()
    return a, b


def test_caller_hangs_up(world: World) -> None:
    a, b = answered(world)
    assert a.what == ["180 INVITE", "200 INVITE"]
    assert b.what == ["INVITE", "ACK"]
    assert a.last.body == ANSWER
    assert b.received[0].body == SDP
    invite = b.received[0]
    assert invite.uri == "sip:5550100@10.2.0.1"
    assert invite["contact"] == "<sip:10.0.0.1:5060>"
    assert b"10.1.0.1" not in invite.data, "nothing of the other side's network"
    assert b.last.uri == "sip:gateway@10.2.0.1:5060"
    a.bye()
    assert a.what[2:] == ["200 BYE"]
    assert b.what == ["INVITE", "ACK", "BYE"]
    assert b.last["reason"].startswith("Q.850;cause=16")
    b.reply(200, to="BYE")
    world.end()
    assert world.told() == [*TOLD, "LegEnded 0", "TalkEnded 1", "LegEnded 1", "CallEnded 0"]
    began, over = world.of(events.TalkBegan)[0], world.of(events.TalkEnded)[0]
    assert (began.talk, began.legs, began.how, began.by, over.talk) == (
        *(1, (0, 1), "dialled", "trunk:caller"),
        1,
    )
    world.events.remove(began)
    world.events.remove(over)
    started, routed, invited, _, leg_answered, ended_a, ended_b, ended = world.events
    assert started == events.CallStarted(
        call_id=started.call_id,
        at=started.at,
        switch="hq",
        site="Sunnyvale",
        owner="hq",
        origin=True,
        caller="alice",
        caller_name="alice",
        dialled="85550100",
        party="trunk:caller",
        address="udp:10.1.0.1:5060",
        user_agent="",
        sip_call_id=a.call_id,
    )
    assert routed.number == "5550100"
    assert invited.uri == invite.uri
    assert invited.address == "udp:10.2.0.1:5060"
    assert invited.sip_call_id == b.call_id
    assert (leg_answered.callee, leg_answered.codec) == ("5550100", "PCMA/8000")
    assert (ended_a.by, ended_b.by, ended_a.status) == ("remote", "switch", 200)
    assert (ended.disposition, ended.sip_status, ended.hangup_by) == ("answered", 200, "caller")


def test_callee_hangs_up_with_a_reason(world: World) -> None:
    a, b = answered(world)
    b.bye("Reason: Q.850;cause=31\r\nReason: SIP;cause=200\r\n")
    assert b.last.what == "200 BYE"
    assert a.last.what == "BYE"
    assert ", ".join(a.last.headers["reason"]) == "Q.850;cause=31, SIP;cause=200"
    a.reply(200, to="BYE")
    world.end()
    assert world.told() == [*TOLD, "LegEnded 1", "TalkEnded 1", "LegEnded 0", "CallEnded 0"]
    assert world.ended.hangup_by == "callee"
    assert world.ended.reason == "Q.850;cause=31, SIP;cause=200"


def test_both_hang_up_at_once(world: World) -> None:
    a, b = answered(world)
    a.bye()
    b.bye()
    assert a.last.what == "200 BYE"
    assert b.what[-2:] == ["BYE", "200 BYE"]
    b.reply(481, to="BYE")
    world.end()
    assert world.told()[-4:] == ["LegEnded 0", "TalkEnded 1", "LegEnded 1", "CallEnded 0"]


def test_a_bye_that_nobody_answers_is_given_up(world: World) -> None:
    a, b = answered(world)
    a.bye()
    world.run(64 * T1 - 1)
    assert b.count("BYE") == 10, "timer E: 0.5, 1, 2, 4 s, then every 4 s"
    world.end()


def test_trying_is_said_to_who_waits(world: World) -> None:
    """§17.2.1: within 200 ms, unless something else is."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    world.run(0.19)
    assert a.what == []
    world.run(0.02)
    assert a.what == ["100 INVITE"]
    assert a.last.tag("to") == ""
    callee.line.reply(180)
    callee.line.reply(200, ANSWER)
    a.ack()
    a.invite(SDP)
    world.run(0.25)
    assert a.what[1:] == ["180 INVITE", "200 INVITE", "100 INVITE"], "a re-INVITE too"
    callee.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    callee.line.reply(200, to="BYE")
    world.end()


def test_trying_may_be_said_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {trying: 0}\n")
    caller, callee = parties(world)
    a = caller.call("85550100")
    assert a.what == ["100 INVITE"]
    callee.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_retransmissions_are_absorbed(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    assert a.what == []
    a.again()
    a.again()
    assert a.what == ["100 INVITE", "100 INVITE"]
    b.reply(180)
    a.again()
    assert a.what[2:] == ["180 INVITE", "180 INVITE"]
    assert callee.lines == [b]
    b.reply(200, ANSWER)
    a.again()
    assert a.count("200 INVITE") == 1, "RFC 6026: absorbed, the core sends it again by its timer"
    world.run(0.6)
    assert a.count("200 INVITE") == 2
    b.reply(200, ANSWER)
    assert b.what == ["INVITE", "ACK", "ACK"], "each 200 has its ACK"
    assert a.count("200 INVITE") == 2
    a.ack()
    a.ack()
    assert b.what == ["INVITE", "ACK", "ACK"]
    world.run(10)
    assert a.count("200 INVITE") == 2
    a.bye()
    bye = a.branch
    a.send("BYE", cseq=a.cseq, branch=bye)
    assert a.count("200 BYE") == 2
    assert b.count("BYE") == 1
    b.reply(200, to="BYE")
    world.end()
    assert world.told() == [*TOLD, "LegEnded 0", "TalkEnded 1", "LegEnded 1", "CallEnded 0"]


def test_the_ack_never_comes(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    b.reply(200, ANSWER)
    world.run(64 * T1 - 0.2)
    assert a.count("200 INVITE") == 11, "T1 doubling up to T2, however long the list (§13.3.1.4)"
    assert "BYE" not in a.what
    world.run(1)
    assert a.last.what == b.last.what == "BYE"
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "switch")
    assert world.ended.reason == "no ACK"


def test_caller_hangs_up_before_its_ack(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    a.bye()
    b.reply(200, to="BYE")
    assert b.what == ["INVITE", "ACK", "BYE"]
    world.run(5)
    assert a.count("200 INVITE") == 1, "what is over is not sent again"
    world.end()


def test_callee_hangs_up_before_the_callers_ack(world: World) -> None:
    """§15: the callee (towards the caller, we are) waits for the ACK before its BYE."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    b.bye()
    assert a.last.what == "200 INVITE"
    a.ack()
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()
    assert world.ended.hangup_by == "callee"


def test_callee_hangs_up_and_the_ack_never_comes(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(200, ANSWER)
    callee.line.bye()
    world.run(33)
    assert a.last.what == "BYE"
    world.end()


# --- late offer ----------------------------------------------------------------------------------


def late(world: World) -> tuple[Line, Line]:
    caller, callee = parties(world)
    a = caller.call("85550100", body="")
    b = callee.line
    assert b.received[0].body == ""
    assert "content-type" not in b.received[0]
    b.reply(200, SDP)
    assert a.last.body == SDP
    assert b.what == ["INVITE"], "the ACK waits for the answer"
    return a, b


def test_late_offer(world: World) -> None:
    a, b = late(world)
    b.reply(200, SDP)
    assert b.what == ["INVITE"]
    a.ack(ANSWER)
    assert b.last.what == "ACK"
    assert b.last.body == ANSWER
    assert b.last["content-type"] == "application/sdp"
    b.reply(200, SDP)
    assert b.what == ["INVITE", "ACK", "ACK"]
    assert b.last.body == ANSWER
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_late_offer_without_ack(world: World) -> None:
    a, b = late(world)
    world.run(33)
    assert a.last.what == "BYE"
    assert b.what[:3] == ["INVITE", "ACK", "BYE"]
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


def test_late_offer_and_bye_instead_of_ack(world: World) -> None:
    a, b = late(world)
    a.bye()
    assert b.what == ["INVITE", "ACK", "BYE"]
    b.reply(200, to="BYE")
    world.end()


def test_late_offer_and_the_callee_hangs_up_first(world: World) -> None:
    a, b = late(world)
    b.bye()
    a.ack(ANSWER)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()


# --- sides that vanish ---------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path) -> World:
    """A switch that asks both sides every 20 seconds whether they are there."""
    return World(tmp_path, CONFIG + "timers: {session_check: 20}\n")


@pytest.mark.parametrize("status", [481, 408])
@pytest.mark.parametrize("which", [0, 1])
def test_a_vanished_side_ends_the_call(watched: World, which: int, status: int) -> None:
    lines = answered(watched)
    watched.run(20.5)
    assert lines[0].last.what == lines[1].last.what == "OPTIONS"
    lines[1 - which].reply(200, to="OPTIONS")
    lines[which].reply(status, to="OPTIONS")
    assert lines[1 - which].last.what == "BYE"
    lines[1 - which].reply(200, to="BYE")
    watched.end()
    assert watched.ended.hangup_by == "switch"


def test_a_side_that_answers_nothing_any_more(tmp_path: Path) -> None:
    config = CONFIG.replace("max_calls: 5,", "max_calls: 5, session_check: yes,")
    watched = World(tmp_path, config + "timers: {session_check: 20}\n")
    a, _ = answered(watched)
    watched.run(20.5)
    a.reply(200, to="OPTIONS")
    watched.run(33)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    watched.end()


def test_sides_that_answer_keep_their_call(watched: World) -> None:
    a, b = answered(watched)
    for _ in range(3):
        watched.run(20.5)
        a.reply(405, to="OPTIONS")
        b.reply(501, to="OPTIONS")
    assert "BYE" not in a.what + b.what
    a.bye()
    b.reply(200, to="BYE")
    watched.end()


def test_the_longest_duration(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {max_duration: 7.5, session_check: 3}\n")
    a, b = answered(world)
    world.run(3.1)
    a.reply(200, to="OPTIONS")
    b.reply(200, to="OPTIONS")
    world.run(4)
    assert "BYE" not in a.what
    world.run(0.5)
    assert a.find("BYE")["reason"] == b.find("BYE")["reason"]
    assert "longest" in a.find("BYE")["reason"]
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("check", [0, 700])
def test_the_longest_duration_is_not_overrun(tmp_path: Path, check: int) -> None:
    """Timers of minutes may be late by one part in 64; the end of a call may not."""
    world = World(tmp_path, CONFIG + f"timers: {{max_duration: 3600, session_check: {check}}}\n")
    a, b = answered(world)
    asked: list[set[int]] = [set(), set()]
    for _ in range(3590 // 10):
        world.run(10)
        for line, seen in zip((a, b), asked, strict=True):
            if "OPTIONS" in line.what and line.find("OPTIONS").cseq not in seen:
                seen.add(line.find("OPTIONS").cseq)
                line.reply(200, to="OPTIONS")
    world.run(9.9)
    assert "BYE" not in a.what
    world.run(0.2)
    assert a.last.what == b.last.what == "BYE"
    assert [len(seen) for seen in asked] == ([5, 5] if check else [0, 0])
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


# --- what belongs to no call ---------------------------------------------------------------------


def test_requests_that_fit_no_dialog(world: World) -> None:
    a, b = answered(world)
    a.send("BYE", cseq=a.cseq)
    assert a.last.what == "500 BYE", "§12.2.2: its CSeq does not go up"
    was, a.local = a.local, a.local + "x"
    a.bye()
    assert a.last.what == "481 BYE"
    a.local, tag = was, a.remote
    a.remote += "x"
    for method in ("BYE", "INVITE", "INFO", "UPDATE", "NOTIFY"):
        a.send(method, extra=a.contact)
        assert a.last.what == f"481 {method}"
    a.remote = tag
    a.bye()
    assert a.last.what == "200 BYE"
    a.bye()
    assert a.last.what == "481 BYE"
    assert b.count("BYE") == 1
    b.reply(200, to="BYE")
    world.end()


def test_record_routes_are_kept_and_not_sent_in_requests(world: World) -> None:
    """A proxy between: its Record-Route goes back in responses, and our requests follow it."""
    route = "<sip:10.1.0.1:5060;lr>"
    a, b = answered(world, extra=f"Record-Route: {route}\r\n")
    assert a.find("200 INVITE")["record-route"] == route
    b.invite(HOLD)
    request = a.last
    assert request.what == "INVITE"
    assert request["route"] == route
    assert "record-route" not in request, "only proxies add it to requests (§16.6)"
    a.reply(200, ANSWER)
    b.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.end()
