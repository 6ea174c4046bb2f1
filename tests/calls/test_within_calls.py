"""Requests within a call: re-INVITE, UPDATE, INFO, MESSAGE and what is not taken."""

from __future__ import annotations

import pytest

from calls.call_world import ANSWER, HOLD, SDP, World
from calls.test_answered import answered, parties
from softswitch.events import LegMedia


@pytest.mark.parametrize("which", [0, 1])
def test_hold_and_resume(world: World, which: int) -> None:
    lines = answered(world)
    one, two = lines[which], lines[1 - which]
    one.invite(HOLD, "Subject: not ours to pass on\r\n")
    request = two.last
    assert request.body == HOLD
    assert request["contact"] == "<sip:10.0.0.1:5060>"
    assert "subject" not in request
    heard = len(one.received)
    two.reply(180)
    assert len(one.received) == heard, "progress of a re-INVITE says nothing"
    two.reply(200, ANSWER)
    assert one.last.what == "200 INVITE"
    assert one.last.body == ANSWER
    assert two.last.what == "ACK"
    two.reply(200, ANSWER)
    assert two.what[-2:] == ["ACK", "ACK"]
    world.run(0.6)
    assert one.what[-2:] == ["200 INVITE", "200 INVITE"], "until its ACK"
    one.ack()
    one.invite(SDP)
    two.reply(200, ANSWER)
    one.ack()
    one.bye()
    two.reply(200, to="BYE")
    world.end()
    assert [(e.leg, e.held, e.codec) for e in world.of(LegMedia)] == [
        (which, True, "PCMA/8000"),
        (which, False, "PCMA/8000"),
    ]


def test_a_new_contact_is_followed(world: World) -> None:
    a, b = answered(world)
    moved = world.agent("10.1.0.9", "alice")
    a.contact = "Contact: <sip:alice@10.1.0.9:5060>\r\n"
    a.invite(SDP)
    b.reply(200, ANSWER)
    a.ack()
    b.send("INFO", "5", "Content-Type: application/dtmf\r\n")
    assert moved.inbox[-1].what == "INFO"
    assert moved.inbox[-1].uri == "sip:alice@10.1.0.9:5060"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_without_an_offer(world: World) -> None:
    """A re-INVITE without SDP: the offer is in the 200, the answer in the ACK."""
    a, b = answered(world)
    b.invite("")
    assert a.last.body == ""
    a.reply(200, SDP)
    assert b.last.body == SDP
    assert a.last.what == "INVITE", "no ACK before the answer is there"
    b.ack(ANSWER)
    assert a.last.what == "ACK"
    assert a.last.body == ANSWER
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_both_at_once(world: World) -> None:
    """Glare (§14.1): each side's re-INVITE crosses the other's, both get 491."""
    a, b = answered(world)
    a.invite(HOLD)
    b.invite(HOLD)
    assert b.last.what == "491 INVITE"
    b.acknowledge(b.last)
    b.reply(491, to="INVITE")
    assert a.last.what == "491 INVITE"
    a.acknowledge(a.last)
    b.invite(HOLD)
    a.reply(200, ANSWER)
    b.ack()
    assert a.last.what == "ACK"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_one_behind_the_other(world: World) -> None:
    a, b = answered(world)
    a.invite(HOLD)
    first = (a.invite_branch, a.invite_cseq)
    a.invite(SDP)
    assert a.last.what == "500 INVITE", "§14.2"
    assert 0 <= int(a.last["retry-after"]) <= 10
    a.acknowledge(a.last)
    a.invite_branch, a.invite_cseq = first
    b.reply(200, ANSWER)
    a.invite(SDP)
    assert a.last.what == "500 INVITE", "the ACK of the first is missing still"
    a.acknowledge(a.last)
    a.invite_branch, a.invite_cseq = first
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_before_the_answer(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    first = (a.invite_branch, a.invite_cseq)
    a.invite(HOLD)
    assert a.last.what == "500 INVITE", "§14.2: its first INVITE has no final response yet"
    a.acknowledge(a.last)
    b.invite(HOLD)
    assert b.last.what == "491 INVITE", "§14.2: ours to it has none"
    b.acknowledge(b.last)
    a.invite_branch, a.invite_cseq = first
    a.cancel()
    b.reply(487, to=b.received[0])
    world.end()


@pytest.mark.parametrize("status", [415, 488, 500, 606])
def test_a_refused_reinvite_leaves_the_call(world: World, status: int) -> None:
    a, b = answered(world)
    a.invite(HOLD)
    b.reply(status)
    assert a.last.what == f"{status} INVITE"
    a.acknowledge(a.last)
    assert b.last.what == "ACK"
    b.invite(SDP)
    a.reply(200, ANSWER)
    b.ack()
    assert "BYE" not in a.what + b.what
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert len(world.of(LegMedia)) == 1


@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "MESSAGE"])
def test_a_dialog_that_is_gone_ends_the_call(world: World, method: str, status: int) -> None:
    """§12.2.1.2, RFC 5057: 408 and 481 say so."""
    a, b = answered(world)
    if method == "INVITE":
        a.invite(HOLD)
    else:
        a.send(method, "x", a.contact + "Content-Type: text/plain\r\n")
    b.reply(status, to=method)
    assert a.what[-2:] == [f"{status} {method}", "BYE"]
    a.reply(200, to="BYE")
    assert b.last.what == "BYE", "in case it is there after all"
    b.reply(481, to="BYE")
    world.end()
    assert world.ended.hangup_by == "switch"


def test_a_reinvite_that_nothing_answers(world: World) -> None:
    a, _ = answered(world)
    a.invite(HOLD)
    world.run(33)
    assert a.find("408 INVITE")
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("method", ["UPDATE", "INFO", "MESSAGE"])
def test_what_passes(world: World, method: str, which: int) -> None:
    one, two = (lines := answered(world))[which], lines[1 - which]
    body, kind = (HOLD, "application/sdp") if method == "UPDATE" else ("Signal=5\r\n", "x/y")
    one.send(method, body, f"{one.contact}Content-Type: {kind}\r\nInfo-Package: dtmf\r\n")
    request = two.last
    assert request.what == method
    assert request.body == body
    assert request["content-type"] == kind
    assert ("contact" in request) == (method == "UPDATE")
    two.reply(200, ANSWER if method == "UPDATE" else "", to=method)
    assert one.last.what == f"200 {method}"
    if method == "UPDATE":
        assert one.last.body == ANSWER
        assert one.last["contact"] == "<sip:10.0.0.1:5060>"
        (media,) = world.of(LegMedia)
        assert (media.leg, media.held) == (which, True)
    one.send(method, body, f"{one.contact}Content-Type: {kind}\r\n")
    two.reply(415, to=method)
    assert one.last.what == f"415 {method}"
    one.bye()
    two.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("method", ["UPDATE", "INFO"])
def test_what_passes_before_the_answer(world: World, method: str) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    a.remote += f";tag={world.switch.calls.copy().pop().caller.session.dialog.local_tag}"
    a.send(method, "x", a.contact)
    assert a.last.what == f"491 {method}", "nobody is there yet who could take it"
    b.reply(183, ANSWER)
    a.send(method, "x", a.contact)
    assert b.last.what == method
    b.reply(200, to=method)
    assert a.last.what == f"200 {method}"
    b.send(method, "y", b.contact)
    assert a.last.what == method
    a.reply(200, to=method)
    assert b.last.what == f"200 {method}"
    b.reply(200, ANSWER, to="INVITE")
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("REFER", 405), ("SUBSCRIBE", 405), ("DANCE", 501)],
)
def test_what_the_switch_answers_itself(world: World, method: str, status: int) -> None:
    a, b = answered(world)
    for line in (a, b):
        line.send(method)
        assert line.last.what == f"{status} {method}"
        assert "INVITE" in line.last["allow"]
        assert method not in line.last["allow"] or status == 200
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_what_a_call_needs_and_the_switch_has_not(world: World) -> None:
    """§8.2.2.3 holds within a call too."""
    a, b = answered(world)
    a.send("UPDATE", HOLD, a.contact + "Require: precondition\r\n")
    assert a.last.what == "420 UPDATE"
    assert a.last["unsupported"] == "precondition"
    a.bye("Require: nothing-known\r\n")
    assert a.last.what == "200 BYE", "nobody is kept in a call for that"
    b.reply(200, to="BYE")
    world.end()


def test_update_is_offered_where_both_take_it(world: World) -> None:
    caller, callee = parties(world)
    allow = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n"
    a = caller.call("85550100", extra=allow)
    b = callee.line
    assert "UPDATE" in b.received[0]["allow"]
    b.reply(200, ANSWER)
    assert "UPDATE" not in a.last["allow"]
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    c = caller.call("85550100", extra=allow)
    d = callee.line
    d.reply(200, ANSWER, allow)
    assert "UPDATE" in c.last["allow"]
    c.ack()
    c.bye()
    d.reply(200, to="BYE")
    world.end()
