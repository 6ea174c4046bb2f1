"""What crosses on the wire, and answers that cannot be used: every 2xx is acknowledged, and no side
is left in a call with nobody."""

from __future__ import annotations

import pytest

from calls.call_world import ANSWER, SDP, World
from calls.test_answered import answered, parties
from softswitch.events import LegEnded


@pytest.mark.parametrize(
    "contact", ["X-None: \r\n", "Contact: <<<\r\n", "Contact: <tel:+15550100>\r\n"]
)
def test_a_2xx_without_a_contact_that_can_be_used(world: World, contact: str) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER, contact=contact)
    assert b.what == ["INVITE", "ACK", "BYE"]
    invite, ack, bye = b.received
    assert (ack.uri, ack.cseq, ack["to"]) == (invite.uri, 1, f"{invite['to']};tag={b.tag}")
    assert (bye.uri, bye.cseq, bye["to"]) == (invite.uri, 2, ack["to"])
    assert "Contact" in bye["reason"]
    assert a.last.start == "SIP/2.0 502 Bad 2xx From Callee"
    a.acknowledge(a.last)
    b.reply(200, ANSWER, contact=contact)
    assert b.what == ["INVITE", "ACK", "BYE", "ACK"], "it had not heard the first"
    b.reply(200, to="BYE")
    world.end()
    assert (world.ended.disposition, world.ended.sip_status) == ("failed", 502)
    assert [(e.leg, e.status) for e in world.of(LegEnded)] == [(1, 502), (0, 502)]


def test_after_a_contact_in_a_provisional_response(world: World) -> None:
    """There it is to be found, whatever the 2xx lacks."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180, contact="Contact: <sip:desk@10.2.0.1:5060>\r\n")
    b.reply(200, ANSWER, contact="X-None: \r\n")
    assert [m.uri for m in b.received[1:]] == ["sip:desk@10.2.0.1:5060"] * 2
    b.reply(200, to="BYE")
    a.acknowledge(a.last)
    world.end()


def test_a_record_route_that_cannot_be_read(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER, "Record-Route: <<<\r\n")
    assert b.what == ["INVITE", "ACK", "BYE"]
    b.reply(200, to="BYE")
    a.acknowledge(a.last)
    world.end()


def test_of_another_fork(world: World) -> None:
    a, b = answered(world)
    b.reply(200, ANSWER, to=b.received[0], tag="other", contact="X-None: \r\n")
    assert b.what == ["INVITE", "ACK", "ACK", "BYE"]
    assert b.last.uri == b.received[0].uri
    assert b.last.tag("to") == "other"
    b.reply(200, to="BYE")
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_crossing_a_cancel(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    a.cancel()
    b.reply(200, to="CANCEL")
    b.reply(200, ANSWER, contact="X-None: \r\n")
    assert b.what == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.reply(200, to="BYE")
    a.acknowledge(a.find("487 INVITE"))
    world.end()


@pytest.mark.parametrize("which", [0, 1])
def test_bye_before_the_ack_of_a_reinvite_without_offer(world: World, which: int) -> None:
    """The other side made an offer, and waits for an ACK that would bring the answer."""
    lines = answered(world)
    one, two = lines[which], lines[1 - which]
    one.invite("")
    two.reply(200, SDP)
    assert two.last.what == "INVITE"
    one.bye()
    assert one.last.what == "200 BYE"
    assert two.what[-2:] == ["ACK", "BYE"], "not a BYE alone"
    assert two.received[-2].cseq == two.received[-3].cseq
    two.reply(200, SDP)
    assert two.last.what == "ACK"
    two.reply(200, to="BYE")
    world.end()
    assert world.ended.disposition == "answered"


def test_the_switch_ends_it_before_that_ack(world: World) -> None:
    a, b = answered(world)
    a.invite("")
    b.reply(200, SDP)
    world.switch.hang_up_all("closing")
    assert b.last.what == "INVITE"
    world.settle()
    assert b.what[-2:] == ["ACK", "BYE"]
    assert a.last.what == "200 INVITE", "a BYE to it has to wait for its ACK (§15)"
    a.ack(ANSWER)
    assert a.last.what == "BYE"
    assert b.count("ACK") == 2, "one an INVITE"
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


def test_the_other_side_hangs_up_before_that_ack(world: World) -> None:
    a, b = answered(world)
    a.invite("")
    b.reply(200, SDP)
    b.bye()
    assert a.last.what == "200 INVITE"
    a.ack(ANSWER)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("rings", [True, False])
def test_a_callee_hangs_up_and_its_2xx_crosses(world: World, rings: bool) -> None:
    """It answered and hung up at once, and the BYE was faster; or it has changed its mind."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    if rings:
        b.reply(180)
    b.bye()
    assert b.find("200 BYE")
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    b.reply(200, ANSWER, to=b.received[0])
    assert "ACK" in b.what
    b.reply(200, ANSWER, to=b.received[0])
    assert b.count("ACK") == 2
    if "BYE" in b.what:
        b.reply(481, to="BYE")
    world.end()
    assert [(e.leg, e.status) for e in world.of(LegEnded)] == [(1, 480), (0, 480)]


def test_a_callee_hangs_up_and_says_so_with_487_too(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    b.bye()
    a.acknowledge(a.last)
    assert b.what[-2:] == ["200 BYE", "CANCEL"]
    b.reply(200, to="CANCEL")
    b.reply(487, to=b.received[0])
    assert b.last.what == "ACK"
    world.end()
