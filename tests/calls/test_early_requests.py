"""Requests in the early dialog: the ACK of the 2xx names the INVITE's CSeq all the same (RFC 3261
§13.2.2.4), whichever side has sent more since."""

from __future__ import annotations

import pytest

from calls.call_world import ANSWER, SDP, World
from calls.test_answered import parties

ALLOWED = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO\r\n"
METHODS = ["UPDATE", "INFO", "OPTIONS", "PRACK", "MESSAGE"]


@pytest.mark.parametrize("method", METHODS)
def test_the_caller_says_more_before_the_answer(world: World, method: str) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100", extra=ALLOWED)
    b = callee.line
    b.reply(183, ANSWER, ALLOWED)
    a.send(method, SDP if method == "UPDATE" else "", a.contact)
    if b.last.what == method:
        b.reply(200, ANSWER if method == "UPDATE" else "", to=method)
    a.send("INFO")
    b.reply(200, to="INFO")
    b.reply(200, ANSWER, ALLOWED)
    a.ack()
    world.run(40)
    assert a.count("200 INVITE") == 1, "acknowledged"
    assert "BYE" not in a.what + b.what
    a.bye()
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("method", METHODS)
def test_so_does_the_callee(world: World, method: str) -> None:
    """Ours to it, too, has the INVITE's CSeq, though we sent it an UPDATE since."""
    caller, callee = parties(world)
    a = caller.call("85550100", extra=ALLOWED)
    b = callee.line
    b.reply(183, ANSWER, ALLOWED)
    b.send(method, SDP if method == "UPDATE" else "", b.contact)
    a.send("UPDATE", SDP, a.contact)
    b.reply(200, ANSWER, to="UPDATE")
    b.reply(200, ANSWER, ALLOWED)
    a.ack()
    assert b.last.what == "ACK"
    assert b.last.cseq == b.received[0].cseq == 1
    b.reply(200, ANSWER, ALLOWED)
    assert b.what[-2:] == ["ACK", "ACK"]
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.cseq == 3
    b.reply(200, to="BYE")
    world.end()


def test_the_answer_to_a_late_offer_comes_with_that_ack(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100", "")
    b = callee.line
    b.reply(180)
    a.send("INFO", "1", "Content-Type: application/dtmf-relay\r\n")
    b.reply(200, to="INFO")
    b.reply(200, SDP)
    a.ack(ANSWER)
    assert b.last.what == "ACK"
    assert (b.last.cseq, b.last.body) == (1, ANSWER)
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_and_after_a_restart(journalled: World) -> None:
    """The 2xx was sent, its ACK comes to the next process."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(183, ANSWER)
    a.send("INFO")
    b.reply(200, to="INFO")
    b.reply(200, ANSWER)
    world.restart()
    heard = a.count("200 INVITE")
    a.ack()
    world.run(0.9)
    assert a.count("200 INVITE") == heard
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_each_fork_of_a_callee_counts_for_itself(world: World) -> None:
    """One phone behind a proxy sends INFO with a high CSeq and another answers: the CSeq of the
    first says nothing of its order."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180, tag="first")
    b.local = f"{b.invited['to']};tag=first"
    b.send("INFO", cseq=700)
    a.reply(200, to="INFO")
    b.reply(200, ANSWER, tag="second")
    a.ack()
    b.local = f"{b.invited['to']};tag=second"
    b.send("INFO", cseq=1)
    assert a.last.what == "INFO"
    a.reply(200, to="INFO")
    assert b.last.what == "200 INFO"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_each_dialog_of_the_caller_counts_for_itself(world: World) -> None:
    """The caller has early media of one phone and the answer of another: two dialogs (§13.2.1),
    each with a CSeq of its own after the INVITE's."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(183, ANSWER, tag="first")
    a.send("INFO", cseq=700)
    b.reply(200, to="INFO")
    b.reply(200, ANSWER, tag="second")
    assert a.count("200 INVITE") == 1
    a.ack()
    a.send("INFO", cseq=2)
    assert b.last.what == "INFO"
    b.reply(200, to="INFO", tag="second")
    assert a.last.what == "200 INFO"
    a.cseq = 2
    a.bye()
    b.reply(200, to="BYE")
    world.end()
