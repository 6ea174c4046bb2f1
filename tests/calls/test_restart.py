"""Calls that outlive the process: killed in mid call, started again, and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from calls.call_world import ANSWER, CONFIG, HOLD, PLAN, SDP, T1, Line, World
from calls.test_answered import answered, parties
from softswitch.calls.records import decode, encode
from softswitch.calls.restoring import _received
from softswitch.events import (
    CallEnded,
    CallRestored,
    CallRouted,
    CallStarted,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    SwitchStarted,
)
from softswitch.parties import REGISTRATION


def alive(world: World, *lines: Line) -> None:
    """Both sides are asked whether they are there, and say so."""
    world.run(1.1)
    for line in lines:
        assert line.last.what == "OPTIONS"
        line.reply(200, to="OPTIONS")


def rising(line: Line) -> None:
    """§12.2.1.1: the CSeq of the requests that a party got goes up, retransmissions aside."""
    seen: dict[str, int] = {}
    for message in line.received:
        if not message.status and message.method not in ("ACK", "CANCEL"):
            seen.setdefault(message.branch, message.cseq)
    assert list(seen.values()) == sorted(set(seen.values()))


# --- answered calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1])
def test_a_bye_after_the_restart_is_carried(journalled: World, which: int) -> None:
    world = journalled
    lines = answered(world)
    told = list(world.events)
    world.run(60)
    world.restart(5)
    restored, started = world.events[len(told) :]
    assert isinstance(restored, CallRestored)
    assert restored.told == tuple(told)
    assert isinstance(started, SwitchStarted)
    assert world.switch.trunks.calls("pstn") == world.switch.trunks.calls("caller") == 1
    world.run(30)
    lines[0].reply(200, to="OPTIONS")
    lines[1].reply(200, to="OPTIONS")
    lines[which].bye('Reason: Q.850;cause=16;text="Bye"\r\n')
    assert lines[which].last.what == "200 BYE"
    assert lines[1 - which].last.what == "BYE"
    assert lines[1 - which].last["reason"] == 'Q.850;cause=16;text="Bye"'
    lines[1 - which].reply(200, to="BYE")
    rising(lines[1 - which])
    world.end()
    assert len(world.of(CallStarted)) == len(world.of(LegAnswered)) == 1
    (end,) = world.of(CallEnded)
    assert (end.disposition, end.hangup_by) == ("answered", ("caller", "callee")[which])
    answer = world.of(LegAnswered)[0]
    assert 95 < (end.at - answer.at) / 1e6 < 96
    assert world.rows.rows == {}


@pytest.mark.parametrize("which", [0, 1])
def test_a_reinvite_after_the_restart_is_carried(journalled: World, which: int) -> None:
    world = journalled
    lines = answered(world)
    world.restart(1)
    me, you = lines[which], lines[1 - which]
    me.invite(HOLD)
    assert you.last.what == "INVITE"
    assert you.last.body == HOLD
    you.reply(200, ANSWER)
    assert me.last.what == "200 INVITE"
    assert you.last.what == "ACK"
    me.ack()
    alive(world, *lines)
    assert world.of(LegMedia)[-1].held
    me.bye()
    you.reply(200, to="BYE")
    rising(you)
    world.end()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("method", ["UPDATE", "INFO"])
def test_other_requests_after_the_restart(journalled: World, method: str, which: int) -> None:
    world = journalled
    lines = answered(world)
    world.restart(1)
    me, you = lines[which], lines[1 - which]
    me.send(method, extra=me.contact)
    assert you.last.what == method
    you.reply(200, to=method)
    assert me.last.what == f"200 {method}"
    alive(world, *lines)
    you.bye()
    me.reply(200, to="BYE")
    rising(you)
    world.end()


def test_three_lives(journalled: World) -> None:
    """What each life sent goes above the CSeq of all before, and the media last told is known."""
    world = journalled
    a, b = answered(world)
    for life in range(3):
        a.invite(HOLD if life % 2 else SDP)
        b.reply(200, ANSWER)
        a.ack()
        world.run(0.2)
        world.restart(2)
        alive(world, a, b)
        media = [event for event in world.of(CallRestored)[-1].told if isinstance(event, LegMedia)]
        assert [event.held for event in media] == [bool(life % 2)]
    b.bye()
    a.reply(200, to="BYE")
    rising(a)
    rising(b)
    world.end()
    assert len(world.of(CallEnded)) == 1


def test_a_new_target_is_remembered(journalled: World) -> None:
    world = journalled
    a, b = answered(world)
    a.contact = "Contact: <sip:alice@10.1.0.9:5099>\r\n"
    a.send("UPDATE", extra=a.contact)
    b.reply(200, to="UPDATE")
    world.restart(1)
    b.bye()
    assert world.wire[-1].target == ("10.1.0.9", 5099)
    world.end()


def test_a_bye_sent_while_the_switch_was_away(journalled: World) -> None:
    world = journalled
    a, b = answered(world)
    world.run(0.1)
    world.kill()
    a.bye()
    world.run(10)
    assert a.last.what != "200 BYE"
    world.start()
    a.send("BYE", cseq=a.cseq, branch=a.branch)
    assert a.last.what == "200 BYE"
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.end()
    assert world.ended.hangup_by == "caller"


@pytest.mark.parametrize("which", [0, 1])
def test_a_side_that_left_meanwhile_ends_the_call(journalled: World, which: int) -> None:
    world = journalled
    lines = answered(world)
    world.restart(300)
    world.run(1.1)
    lines[which].reply(481, to="OPTIONS")
    lines[1 - which].reply(200, to="OPTIONS")
    assert lines[1 - which].last.what == "BYE"
    lines[1 - which].reply(200, to="BYE")
    world.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "switch")
    assert world.ended.reason == "a side vanished"


def test_the_sides_are_asked_even_if_they_never_are_otherwise(tmp_path: Path) -> None:
    config = CONFIG + "timers: {session_check: 0}\n"
    world = World(tmp_path, config, journal=True)
    a, b = answered(world)
    world.restart(1, config)
    alive(world, a, b)
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_the_longest_duration_counts_from_the_answer(tmp_path: Path) -> None:
    config = CONFIG + "timers: {max_duration: 100}\n"
    world = World(tmp_path, config, journal=True)
    a, b = answered(world)
    world.run(60)
    world.restart(20, config)
    alive(world, a, b)
    world.run(18.6)
    assert "BYE" not in a.what
    world.run(0.5)
    assert a.last.what == b.last.what == "BYE"
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


def test_a_trunk_that_is_gone_from_the_configuration(journalled: World) -> None:
    world = journalled
    a, b = answered(world)
    without = CONFIG.replace(
        '  pstn: {to: "sip:10.2.0.1:5060"', '  other: {to: "sip:10.2.9.9:5060"'
    )
    plan = 'routes: [{match: "1XXX", from: any, dial: extension}]'
    world.run(0.1)
    world.kill()
    world.start(without, plan)
    a.bye()
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.end()


def test_a_phone_behind_nat_is_found_where_it_was(journalled: World) -> None:
    world = journalled
    bob = world.phone("1002", "10.9.0.2", 6002)
    caller, _ = parties(world)
    a = caller.call("1002")
    bob.line.contact = "Contact: <sip:1002@192.168.1.2:5060>\r\n"
    bob.line.reply(200, ANSWER)
    a.ack()
    world.restart(1)
    a.bye()
    assert bob.line.last.what == "BYE"
    bob.line.reply(200, to="BYE")
    world.end()


# --- ACKs that are missing -----------------------------------------------------------------------


def test_an_answer_that_was_not_acknowledged_is_sent_again(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    world.restart(1)
    world.run(T1 + 0.02)
    again = [m for m in a.received if m.what == "200 INVITE"]
    assert again[-1].data == again[0].data
    a.ack()
    count = a.count("200 INVITE")
    alive(world, b)
    a.reply(200, to="OPTIONS")
    assert a.count("200 INVITE") == count
    b.bye()
    a.reply(200, to="BYE")
    world.end()


def test_an_answer_that_was_never_acknowledged_ends_the_call(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    world.restart(1)
    world.run(1.1)
    a.reply(200, to="OPTIONS")
    b.reply(200, to="OPTIONS")
    world.run(32)
    assert a.last.what == b.last.what == "BYE"
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()
    assert world.ended.reason == "no ACK"


def test_a_callee_whose_ack_was_lost_gets_it_again(journalled: World) -> None:
    world = journalled
    a, b = answered(world)
    world.restart(1)
    before = b.count("ACK")
    b.reply(200, ANSWER, to=b.invited)
    assert b.count("ACK") == before + 1
    assert b.last.cseq == b.invited.cseq
    b.reply(200, ANSWER, to=b.invited, tag="another")
    assert b.count("ACK") == before + 1, "of a fork that is not in this call"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_the_answer_comes_with_an_ack_after_the_restart(journalled: World) -> None:
    """An INVITE without offer: the 2xx has the offer, the ACK the answer (§13.2.1)."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100", body="")
    b = callee.line
    b.reply(200, SDP)
    world.restart(1)
    b.reply(200, SDP, to=b.invited)
    assert "ACK" not in b.what
    a.ack(ANSWER)
    assert b.last.what == "ACK"
    assert b.last.body == ANSWER
    world.restart(1)
    b.reply(200, SDP, to=b.invited)
    assert b.count("ACK") == 2
    assert b.last.body == ANSWER, "it may not have heard of it"
    assert b.last["content-type"] == "application/sdp"
    alive(world, a, b)
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_the_answer_of_a_reinvite_that_was_under_way(journalled: World) -> None:
    """Its sender never hears of it; but the call lives on. It waits still, and refuses an offer of
    ours."""
    world = journalled
    a, b = answered(world)
    a.invite(HOLD)
    world.restart(1)
    b.reply(200, ANSWER)
    assert b.last.what == "ACK"
    assert b.last.cseq == b.find("INVITE").cseq
    alive(world, a, b)
    world.run(1)
    assert a.last.what == "INVITE"
    a.reply(491)
    world.run(5)
    assert a.count("INVITE") == b.count("INVITE") - 1 == 1, "not again"
    a.invite(HOLD)
    assert b.last.what == "INVITE"
    b.reply(200, ANSWER)
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    rising(b)
    world.end()


@pytest.mark.parametrize("asks_again", [True, False])
@pytest.mark.parametrize("ours", [0, 1])
def test_an_answer_that_nobody_waits_for(journalled: World, ours: int, asks_again: bool) -> None:
    """To an INVITE that was to bring two together: whoever was to have it is told anew."""
    world = journalled
    lines = answered(world)
    stray, other = lines[ours], lines[1 - ours]
    other.invite("")
    invite = stray.find("INVITE")
    world.restart(1)
    stray.reply(200, SDP, to=invite)
    assert stray.last.what == "ACK"
    if asks_again:
        other.invite(SDP)
        stray.reply(200, ANSWER)
        other.ack()
    known = other.count("INVITE")
    alive(world, *lines)
    world.run(1)
    assert other.count("INVITE") == known + (not asks_again)
    if not asks_again:
        assert not other.last.body
        other.reply(200, SDP)
        assert stray.last.what == "INVITE"
        stray.reply(200, ANSWER)
        assert other.last.what == stray.last.what == "ACK"
        assert other.last.body
    lines[0].bye()
    lines[1].reply(200, to="BYE")
    world.end()


# --- calls that were not answered ----------------------------------------------------------------


@pytest.mark.parametrize("status", [100, 180])
def test_a_ringing_call_ends(journalled: World, status: int) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(status)
    told = len(world.events)
    world.restart(1)
    assert [type(event).__name__ for event in world.events[told:]] == [
        "CallRestored",
        "LegEnded",
        "LegEnded",
        "CallEnded",
        "SwitchStarted",
    ]
    assert a.last.what == "503 INVITE"
    assert b.last.what == "CANCEL"
    assert b.last.branch == b.invited.branch
    assert b.last["via"] == b.invited["via"]
    b.reply(200, to="CANCEL")
    b.reply(487)
    assert b.last.what == "ACK"
    a.acknowledge(a.last)
    world.end()
    assert world.ended.disposition == "failed"
    assert {event.reason for event in world.of(LegEnded)} == {"switch restarted"}
    assert world.ended.reason == "switch restarted"
    assert world.rows.rows == {}


def test_an_answer_that_crosses_the_cancel(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    world.restart(1)
    b.reply(200, ANSWER)
    assert b.what[-2:] == ["ACK", "BYE"]
    b.reply(200, to="BYE")
    a.acknowledge(a.last)
    world.end()


def test_a_caller_that_retransmits_its_invite(journalled: World) -> None:
    """It has its 503; no second call begins."""
    world = journalled
    caller, _ = parties(world)
    a = caller.call("85550100")
    world.restart(1)
    a.again()
    assert a.last.what == "503 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert len(world.of(CallStarted)) == 1


def test_only_the_legs_that_ring_are_cancelled(journalled: World) -> None:
    world = journalled
    alice = world.phone("1001", "10.9.0.1")
    bob = world.phone("1002", "10.9.0.2")
    caller, _ = parties(world)
    a = caller.call("600")
    alice.line.reply(180)
    bob.line.reply(486)
    world.restart(1)
    assert alice.line.last.what == "CANCEL"
    assert bob.line.last.what == "ACK"
    a.acknowledge(a.last)
    alice.line.reply(200, to="CANCEL")
    alice.line.reply(487)
    world.end()
    assert [(e.leg, e.status) for e in world.of(LegEnded)] == [(2, 486), (1, 487), (0, 503)]


# --- the journal ---------------------------------------------------------------------------------


def test_of_what_is_over_at_once_only_the_failure_is_written(journalled: World) -> None:
    world = journalled
    caller, _ = parties(world)
    a = caller.call("777")
    assert a.last.what == "404 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert world.rows.batches == 2, "the failure, and that nothing of it can come again"
    assert world.rows.rows == {}


def test_nobody_hears_of_what_is_not_written(journalled: World) -> None:
    """Not a byte leaves before it is stored; killed then, the switch was never told of the call."""
    world = journalled
    caller, callee = parties(world)
    outbox = world.outboxes["10.0.0.1", 5060]
    store = outbox.store
    asked: list[Callable[[], None]] = []
    outbox.store = asked.append
    a = caller.call("85550100")
    world.run(0.1)
    assert (a.received, callee.lines, len(outbox)) == ([], [], 1)
    world.run(0.15)
    assert (a.received, len(outbox)) == ([], 2), "nor a 100"
    while asked:
        store(asked.pop(0))
    world.settle()
    assert a.last.what == "100 INVITE"
    assert callee.line.last.what == "INVITE"
    # The answer has come, and the caller does not know it yet.
    callee.line.reply(200, ANSWER)
    world.run(0.1)
    assert a.last.what == "100 INVITE"
    world.kill()
    world.start()
    (restored,) = world.of(CallRestored)
    assert [type(event) for event in restored.told] == [CallStarted, CallRouted, LegInvited]
    assert a.last.what == "503 INVITE"


@pytest.mark.parametrize("who", [0, 1])
def test_killed_before_the_last_words_have_left(journalled: World, who: int) -> None:
    """A BYE was taken, and everybody stored it: its other side hears of it from the next life."""
    world = journalled
    lines = answered(world)
    world.mute()
    lines[who].bye()
    world.run(0.1)
    other = lines[1 - who]
    assert other.last.what != "BYE"
    assert lines[who].last.what != "200 BYE"
    world.kill()
    world.run(0.5)
    world.start()
    # It is sent again, as by any party that had no answer to it.
    lines[who].bye()
    assert lines[who].last.what == "200 BYE"
    assert other.last.what == "BYE"
    other.reply(200, to="BYE")
    world.end()
    assert world.rows.rows == {}


def test_killed_twice_before_a_ringing_call_has_ended(journalled: World) -> None:
    """What the next life has to say to those who ring is said by the one after it, if need be."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    world.run(0.3)
    world.kill()
    record = dict(world.rows.rows)
    switch = world.add_switch("hq", ("10.0.0.1", 5060), CONFIG, PLAN)
    world.switch = switch
    switch.restore(record.items())
    world.run(0.1)
    # Killed before it listened: nothing was sent, and nothing is marked as over.
    assert world.rows.rows.keys() > record.keys()
    world.kill()
    world.start()
    assert callee.line.last.what == "CANCEL"
    assert a.last.what == "503 INVITE"


def test_few_writes_a_call(journalled: World) -> None:
    world = journalled
    a, b = answered(world)
    world.run(1)
    assert world.rows.batches == 3, "INVITE, answer, ACK"
    world.run(310)
    for line in (a, b):
        line.reply(200, to="OPTIONS")
    world.run(1)
    assert world.rows.batches == 3, "an OPTIONS is no change"
    a.send("INFO")
    b.reply(200, to="INFO")
    world.run(1)
    assert world.rows.batches == 3
    a.invite(HOLD)
    b.reply(200, ANSWER)
    a.ack()
    world.run(1)
    assert world.rows.batches == 5, "what was agreed, ACK"
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert world.rows.batches == 6, "its end"


def test_a_disk_that_refuses_gets_only_what_is_left(journalled: World) -> None:
    world = journalled
    world.rows.refuses = True
    calls = [answered(world) for _ in range(3)]
    world.run(5)
    for a, b in calls[:2]:
        a.bye()
        b.reply(200, to="BYE")
    world.run(5)
    assert world.rows.batches == 0
    world.rows.refuses = False
    world.run(1.1)
    assert (world.rows.batches, len(world.rows.rows)) == (1, 1)
    a, b = calls[2]
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert world.rows.rows == {}


def test_a_new_file_gets_what_is_alive(tmp_path: Path) -> None:
    """A few rows with each commit."""
    world = World(tmp_path, CONFIG.replace("max_calls: 5, ", ""), journal=True)
    calls = [answered(world) for _ in range(120)]
    world.run(1)
    for a, b in calls[60:90]:
        a.bye()
        b.reply(200, to="BYE")
    world.rows.crowded = True
    for a, b in calls[90:95]:
        a.bye()
        b.reply(200, to="BYE")
    # `finish` has compared what was written anew with what counts.
    assert world.rows.begun is None
    assert not world.rows.crowded
    assert len(world.rows.rows) == 85
    world.restart(1)
    assert len(world.of(CallRestored)) == 85


def test_headers_of_any_bytes(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    name = b"J\xf6rg \xff".decode("utf-8", "surrogateescape")
    line = None
    real = caller.send

    def send(text: str, body: str = "") -> None:
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        world.carry(data.encode("utf-8", "surrogateescape"), caller.address, caller.switch)
        world.settle()

    caller.send = send  # type: ignore[method-assign]
    line = caller.call("85550100", from_=f'"{name}" <sip:alice@10.1.0.1:5060>')
    b = callee.line
    b.reply(200, ANSWER)
    line.ack()
    world.run(0.1)
    (row,) = world.rows.rows.values()
    record = decode(row)
    assert name in record.legs[0].remote
    assert decode(encode(record)) == record
    world.restart(1)
    b.bye()
    raw = world.wire[-1].data
    assert raw.startswith(b"BYE ")
    assert b"J\xf6rg \xff" in raw
    line.reply(200, to="BYE")
    caller.send = real  # type: ignore[method-assign]
    world.end()


def test_a_record_that_makes_no_sense(journalled: World, caplog: pytest.LogCaptureFixture) -> None:
    world = journalled
    a, b = answered(world)
    world.run(0.1)
    (row,) = world.rows.rows
    record = decode(world.rows.rows[row])
    world.rows.rows[row + 1] = encode(msgspec.structs.replace(record, legs=()))
    world.rows.rows[row + 2] = encode(msgspec.structs.replace(record, answered=False))
    world.kill()
    world.start()
    world.run(0.1)
    assert len(world.of(CallRestored)) == 1
    assert list(world.rows.rows) == [row]
    assert sum("cannot be restored" in r.getMessage() for r in caplog.records) == 2
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_an_invite_that_was_not_too_long_when_it_came_is_none_now(tmp_path: Path) -> None:
    """`limits.max_kept` may be more than what it is unless something is said."""
    site = World(tmp_path, journal=True)
    phone = site.phone("1001", "10.9.0.1")
    site.agent("10.1.0.1", "alice").call("1001")
    phone.line.reply(180)
    site.run(0.3)
    assert site.rows is not None
    (record,) = [decode(row) for row in site.rows.rows.values() if not REGISTRATION.is_one(row)]
    long = record.received.replace("From: ", f"From: {'x' * 20_000} ", 1)
    request = _received(msgspec.structs.replace(record, received=long))
    assert len(request.headers["from"][0]) > 20_000
