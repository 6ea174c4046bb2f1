"""CANCEL at every moment, and what it crosses on its way."""

from __future__ import annotations

from calls.call_world import ANSWER, HOLD, SDP, Line, World
from calls.test_answered import answered, parties
from softswitch.events import LegEnded


def test_before_anything_came_from_the_callee(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    a.cancel('Reason: SIP;cause=487;text="Gave up"\r\n')
    b = callee.line
    assert a.what == ["200 CANCEL", "487 INVITE"]
    assert a.find("200 CANCEL").tag("to") == a.find("487 INVITE").tag("to"), "§9.2"
    a.acknowledge(a.last)
    assert b.what == ["INVITE"], "§9.1: no CANCEL before a provisional response"
    b.reply(100)
    assert b.what == ["INVITE", "CANCEL"]
    cancel = b.last
    assert cancel["via"] == b.received[0]["via"]
    assert cancel["cseq"] == "1 CANCEL"
    assert cancel["reason"] == 'SIP;cause=487;text="Gave up"'
    b.reply(200, to="CANCEL")
    b.reply(487)
    assert b.last.what == "ACK"
    world.end()
    assert world.told() == [
        "CallStarted 0",
        "CallRouted",
        "LegInvited 1",
        "LegEnded 1",
        "LegEnded 0",
        "CallEnded 0",
    ]
    ended = world.ended
    assert (ended.disposition, ended.sip_status, ended.hangup_by) == ("cancelled", 487, "caller")
    assert ended.reason == 'SIP;cause=487;text="Gave up"'
    assert [event.status for event in world.of(LegEnded)] == [487, 487]


def test_while_ringing(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    a.cancel()
    assert a.what == ["180 INVITE", "200 CANCEL", "487 INVITE"]
    assert b.what == ["INVITE", "CANCEL"]
    a.send("CANCEL", cseq=a.invite_cseq, branch=a.invite_branch)
    assert a.last.what == "200 CANCEL", "sent again"
    assert b.count("CANCEL") == 1
    b.reply(200, to="CANCEL")
    b.reply(487)
    world.run(0.6)
    assert a.count("487 INVITE") == 2, "until its ACK"
    a.acknowledge(a.last)
    world.run(5)
    assert a.count("487 INVITE") == 2
    world.end()


def test_the_callee_never_answers_the_cancel(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    a.cancel()
    a.acknowledge(a.last)
    world.end()


def test_the_callee_had_answered_just_then(world: World) -> None:
    """The 200 was on its way when our CANCEL went out: the callee gets ACK and BYE."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    a.cancel()
    b.reply(200, ANSWER)
    b.reply(481, to="CANCEL")
    assert a.last.what == "487 INVITE"
    assert b.what == ["INVITE", "CANCEL", "ACK", "BYE"]
    b.reply(200, ANSWER)
    assert b.count("ACK") == 2
    b.reply(200, to="BYE")
    a.acknowledge(a.find("487 INVITE"))
    world.end()
    assert world.ended.disposition == "cancelled"


def test_the_callee_answers_after_a_cancel_that_could_not_be_sent(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    a.cancel()
    b.reply(200, ANSWER)
    assert b.what == ["INVITE", "ACK", "BYE"]
    b.reply(200, to="BYE")
    world.end()


def test_too_late(world: World) -> None:
    """The CANCEL comes behind the 200 that we sent: it changes nothing (§9.2)."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    a.cancel()
    assert a.last.what == "200 CANCEL"
    assert b.what == ["INVITE", "ACK"]
    a.ack()
    a.cancel()
    assert b.what == ["INVITE", "ACK"]
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert world.ended.disposition == "answered"


def test_an_answer_that_cannot_be_acknowledged_after_a_cancel(world: World) -> None:
    """A 2xx without a Contact: there is no address for an ACK, and nothing is kept for it."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    a.cancel()
    callee.line.reply(200, ANSWER, contact="X-None: \r\n")
    world.end()


def test_of_nothing(world: World) -> None:
    caller, _ = parties(world)
    assert caller.request("CANCEL", uri="sip:85550100@10.0.0.1").start.startswith("SIP/2.0 481 ")
    world.end()
    assert world.events == []


def test_bye_in_place_of_cancel(world: World) -> None:
    """§15: a caller may end an early dialog with BYE."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    a.bye()
    assert a.what[1:] == ["200 BYE", "487 INVITE"]
    assert b.last.what == "CANCEL"
    b.reply(487)
    world.end()
    assert world.ended.disposition == "cancelled"


def test_a_callee_that_hangs_up_before_it_answers(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    b.bye("Reason: Q.850;cause=27\r\n")
    assert b.what == ["INVITE", "CANCEL", "200 BYE"] or b.what == ["INVITE", "200 BYE", "CANCEL"]
    assert a.last.what == "480 INVITE"
    b.reply(487)
    world.end()
    assert world.ended.hangup_by == "callee"


def test_bye_of_a_phone_that_was_told_to_stop(world: World) -> None:
    """A phone whose 200 was lost hangs up: the call that another phone has is none of its."""
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    caller, _ = parties(world)
    a = caller.call("600")
    one.line.reply(180)
    two.line.reply(180)
    one.line.reply(200, ANSWER)
    a.ack()
    assert two.line.last.what == "CANCEL"
    two.line.bye()
    assert two.line.last.what == "200 BYE"
    two.line.send("INFO", "x", "Content-Type: text/plain\r\n")
    assert two.line.last.what == "481 INFO"
    assert one.line.what == ["INVITE", "ACK"]
    assert "BYE" not in a.what
    two.line.reply(487)
    a.bye()
    one.line.reply(200, to="BYE")
    world.end()


# --- a re-INVITE's CANCEL ------------------------------------------------------------------------


def held(world: World) -> tuple[Line, Line]:
    a, b = answered(world)
    a.invite(HOLD)
    return a, b


def test_of_a_reinvite(world: World) -> None:
    a, b = held(world)
    b.reply(180)
    a.cancel()
    assert a.last.what == "200 CANCEL", "the final response is the callee's"
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    assert a.last.what == "487 INVITE"
    a.acknowledge(a.last)
    assert b.last.what == "ACK"
    a.invite(SDP)
    b.reply(200, ANSWER)
    a.ack()
    assert "BYE" not in a.what + b.what, "the call goes on (§14.1)"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_of_a_reinvite_that_crosses_the_200(world: World) -> None:
    a, b = held(world)
    b.reply(100)
    a.cancel()
    b.reply(200, ANSWER)
    assert a.last.what == "200 INVITE"
    a.ack()
    b.reply(481, to="CANCEL")
    assert b.last.what == "ACK"
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert world.ended.hangup_by == "caller"


def test_the_call_ends_during_a_reinvite(world: World) -> None:
    """§15.1.2: who waits for an answer gets 487; the other side's INVITE is not left open."""
    a, b = held(world)
    b.reply(100)
    a.bye()
    assert a.what[-2:] == ["200 BYE", "487 INVITE"]
    assert b.what[-2:] == ["CANCEL", "BYE"]
    b.reply(487, to="INVITE")
    b.reply(200, to="BYE")
    a.acknowledge(a.find("487 INVITE"))
    world.end()


def test_the_other_side_ends_the_call_during_a_reinvite(world: World) -> None:
    a, b = held(world)
    b.reply(100)
    b.bye()
    assert a.what[-2:] == ["487 INVITE", "BYE"]
    a.reply(200, to="BYE")
    b.reply(487, to="INVITE")
    world.end()


def test_a_reinvite_answered_as_the_call_ends(world: World) -> None:
    a, b = held(world)
    a.bye()
    b.reply(200, ANSWER, to="INVITE")
    assert b.last.what == "ACK", "every 2xx has its ACK"
    assert a.count("200 INVITE") == 1
    b.reply(200, to="BYE")
    world.end()
