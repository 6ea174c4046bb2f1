"""Blind transfers: REFER on one switch; what each side hears of it, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, HOLD, SDP, Line, World
from calls.transfers import (
    BOB,
    CAROL,
    hangs_up,
    heard,
    leaves,
    notes,
    phones,
    port,
    refer,
    talk,
    talks,
)
from softswitch import events


def test_blind(world: World) -> None:
    """The one called transfers."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    world.run(10)
    refer(b, "1003")
    assert b.find("202 REFER")
    assert notes(b) == ["100 Trying"]
    heard(b)
    c = carol.line
    assert port(c.last.body) == port(SDP), "Carol is offered what Alice said last"
    assert c.last["from"].startswith('"Alice" <sip:1001@')
    c.reply(180)
    assert notes(b)[1:] == ["180 Whatever"]
    heard(b)
    c.reply(180)
    assert len(notes(b)) == 2, "it has been said"
    assert "INVITE" not in a.what, "nothing changes for Alice before the answer"
    c.reply(200, CAROL)
    assert c.last.what == "ACK"
    assert a.last.what == "INVITE"
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    assert c.what == ["INVITE", "ACK"], "Alice is where she was: Carol need not be told"
    assert notes(b)[2:] == ["200 OK"]
    assert b.last["subscription-state"].startswith("terminated")
    leaves(b)
    assert b.last.what == "200 BYE"
    world.run(5)
    assert b.count("BYE") == 0
    a.bye()
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    world.end()
    assert talks(world) == [
        ((0, 1), "dialled", "extension:1001"),
        ((0, 2), "blind-transfer", "extension:1002"),
    ]
    first = world.of(events.TalkBegan)[0]
    ends = {e.talk: e.at for e in world.of(events.TalkEnded)}
    assert ends[first.talk] == first.at + 10_000_000
    assert world.of(events.LegInvited)[1].by == "extension:1002"
    assert [(e.leg, e.to, e.how, e.status) for e in world.of(events.LegReferred)] == [
        (1, "1003", "blind-transfer", 0),
        (1, "1003", "blind-transfer", 200),
    ]
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "caller")


def test_blind_by_the_caller(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(a, "1003")
    c = carol.line
    assert port(c.last.body) == port(BOB)
    assert "<sip:1002@" in c.last["from"]
    c.reply(200, CAROL)
    assert port(b.last.body) == port(CAROL)
    b.reply(200, BOB)
    heard(a)
    world.run(1.9)
    assert "BYE" not in a.what
    world.run(0.2)
    assert a.last.what == "BYE", "who does not hang up itself is hung up on"
    a.reply(200, to="BYE")
    hangs_up(b, c)
    world.end()
    assert talks(world)[1] == ((1, 2), "blind-transfer", "extension:1001")


@pytest.mark.parametrize("held", [False, True])
def test_the_other_is_somewhere_else_then(world: World, held: bool) -> None:
    """Alice answers the new offer from another port: Carol is told. It was on hold, and is not."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    if held:
        b.invite(HOLD.replace("40000", "41000"))
        a.reply(200, SDP + "a=recvonly\r\n")
        b.ack()
    refer(b, "1003")
    c = carol.line
    assert "a=recvonly" not in c.last.body
    c.reply(200, CAROL)
    a.reply(200, SDP.replace("40000", "45000"))
    assert c.last.what == "INVITE"
    assert port(c.last.body) == 45000
    c.reply(200, CAROL)
    assert c.last.what == "ACK"
    assert a.last.what == "ACK"
    offers = [m for m in a.received if m.what == "INVITE"]
    assert len(offers) == (2 if held else 1)
    origins = [m.body.split("\r\n")[1].split()[1:3] for m in offers]
    assert {origin[0] for origin in origins} == {"1"}, "it is the session that Alice knows"
    assert [int(origin[1]) for origin in origins][-1] > 1, "with a version that has gone up"
    b.bye()
    hangs_up(a, c)
    world.end()


def holds_while_transferred(world: World) -> tuple[Line, Line, Line]:
    """Alice holds Bob, who transfers her to Carol; Carol has not answered yet that she holds."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    a.invite(HOLD)
    b.reply(200, BOB + "a=recvonly\r\n")
    a.ack()
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    leaves(b)
    a.reply(200, HOLD)
    assert "a=sendonly" in c.last.body
    return a, b, c


def test_who_holds_need_not_hear_how_that_is_answered(world: World) -> None:
    a, _, c = holds_while_transferred(world)
    c.reply(200, CAROL + "a=recvonly\r\n")
    assert a.last.what == "ACK"
    assert c.last.what == "ACK"
    hangs_up(a, c)
    world.end()


def test_who_holds_resumes_meanwhile(world: World) -> None:
    """It waits until Carol has answered."""
    a, _, c = holds_while_transferred(world)
    a.invite(SDP)
    assert "491 INVITE" not in a.what
    c.reply(200, CAROL + "a=recvonly\r\n")
    assert c.last.what == "INVITE"
    assert "a=sendonly" not in c.last.body
    c.reply(200, CAROL)
    assert a.last.what == "200 INVITE"
    assert port(a.last.body) == port(CAROL)
    a.ack()
    hangs_up(a, c)
    world.end()


@pytest.mark.parametrize("how", ["crosses", "cancelled", "hung up", "hung up on"])
def test_who_resumes_meanwhile_is_answered(world: World, how: str) -> None:
    """Whatever comes between."""
    a, _, c = holds_while_transferred(world)
    a.invite(SDP)
    if how == "crosses":
        c.reply(200, CAROL.replace("42000", "47000"))
        assert a.find("491 INVITE")
        a.ack()
        assert a.last.what == "INVITE"
        assert port(a.last.body) == 47000
        a.reply(200, HOLD)
        hangs_up(a, c)
    elif how == "cancelled":
        a.cancel()
        assert a.find("487 INVITE")
        a.ack()
        c.reply(200, CAROL + "a=recvonly\r\n")
        hangs_up(a, c)
    elif how == "hung up":
        a.bye()
        assert a.find("487 INVITE")
        a.ack()
        c.reply(200, to="BYE")
        c.reply(200, CAROL, to="INVITE")
    else:
        c.bye()
        assert a.find("487 INVITE")
        a.ack()
        a.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize(("status", "by"), [(486, "remote"), (404, "nobody"), (480, "silence")])
def test_nobody_is_there(world: World, status: int, by: str) -> None:
    """Who transferred hears why, and has its call back."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003" if by == "remote" else "7777" if by == "nobody" else "1004")
    if by == "remote":
        carol.line.reply(status)
    assert b.find("202 REFER")
    heard(b)
    assert notes(b)[-1].startswith(f"{status} ")
    assert b.last["subscription-state"].startswith("terminated")
    heard(b)
    b.invite(BOB)
    assert a.last.what == "INVITE"
    a.reply(200, SDP)
    b.ack()
    hangs_up(a, b)
    world.end()
    assert talks(world)[1] == ((0, 1), "returned", "extension:1002")
    assert [e.status for e in world.of(events.LegReferred)] == [0, status]


def test_who_transferred_has_gone_and_is_rung(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    b.bye()
    assert a.what.count("BYE") == 0
    carol.line.reply(486)
    again = bob.line
    assert again is not b
    assert port(again.last.body) == port(SDP)
    again.reply(200, BOB)
    a.reply(200, SDP)
    hangs_up(a, again)
    world.end()
    assert talks(world)[1] == ((0, 3), "returned", "extension:1002")


def test_nobody_at_all(world: World) -> None:
    """Who is left alone is hung up on, and told why."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    b.bye()
    carol.line.reply(486)
    bob.line.reply(480)
    assert a.last.what == "BYE"
    assert "cause=480" in a.last["reason"]
    a.reply(200, to="BYE")
    world.end()
    assert world.ended.hangup_by == "callee"


def test_the_kept_one_hangs_up(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(180)
    a.bye()
    assert c.last.what == "CANCEL"
    c.reply(487)
    heard(b)
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.end()


def test_no_notes_wanted(world: World) -> None:
    """RFC 4488."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003", "Refer-Sub: false\r\n")
    assert b.find("202 REFER")["refer-sub"] == "false"
    c = carol.line
    c.reply(200, CAROL)
    a.reply(200, SDP)
    assert notes(b) == []
    world.run(3)
    b.reply(200, to="BYE")
    hangs_up(a, c)
    world.end()


@pytest.mark.parametrize("status", [481, 405, 0])
def test_notes_are_not_taken(world: World, status: int) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    if status:
        b.reply(status, to="NOTIFY")
    c.reply(180)
    c.reply(200, CAROL)
    a.reply(200, SDP)
    assert len(notes(b)) == 1
    world.run(3)
    assert b.count("BYE")
    b.reply(200, to="BYE")
    hangs_up(a, c)
    world.end()


def test_the_kept_one_does_not_take_it(world: World) -> None:
    """488 to the new offer, and no worker that would speak for them: nobody would hear anybody, so
    both are told why."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(488)
    world.run(0.1)
    for line in (a, c):
        assert line.last.what == "BYE"
        assert line.last["reason"].startswith("SIP;cause=488;")
    a.reply(200, to="BYE")
    c.reply(200, to="BYE")
    leaves(b)
    world.end()
    assert world.ended.hangup_by == "switch", "who transferred has only left it"


def test_offers_cross(world: World) -> None:
    """491: made again after a while."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(491)
    assert a.count("INVITE") == 1
    world.run(4.1)
    assert len({m.cseq for m in a.received if m.what == "INVITE"}) == 2
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    b.bye()
    hangs_up(a, c)
    world.end()


def test_offers_cross_and_the_other_is_made_again_first(world: World) -> None:
    """Alice's: it brings the two together as well as ours does."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(491)
    a.invite(SDP.replace("40000", "48000"))
    assert c.last.what == "INVITE"
    assert port(c.last.body) == 48000
    c.reply(200, CAROL)
    assert a.last.what == "200 INVITE"
    assert port(a.last.body) == port(CAROL)
    a.ack()
    world.run(4.1)
    assert a.last.what == "INVITE", "ours, all the same"
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP.replace("40000", "48000"))
    assert port(c.last.body) == 48000
    c.reply(200, CAROL)
    assert c.last.what == "ACK"
    assert a.last.what == "ACK"
    b.bye()
    hangs_up(a, c)
    world.end()


def test_an_answer_that_the_other_cannot_use(world: World) -> None:
    """What is offered is what was agreed on with Bob; Carol, who cannot do that, is asked again
    and says first what she can."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(a, "1003")
    first = carol.line
    first.reply(488)
    second = carol.line
    assert second is not first
    assert second.last.body == ""
    second.reply(200, CAROL)
    assert "ACK" not in second.what
    assert port(b.last.body) == port(CAROL)
    b.reply(200, BOB)
    assert second.last.what == "ACK"
    assert port(second.last.body) == port(BOB)
    a.bye()
    hangs_up(b, second)
    world.end()


def test_to_a_group(world: World) -> None:
    alice, bob, carol = phones(world)
    c, b = talk(carol, bob)
    refer(c, "600")
    one, two = alice.line, bob.lines[-1]
    assert two is b, "Bob, who is transferred, is not rung"
    one.reply(200, CAROL)
    b.reply(200, BOB)
    leaves(c)
    hangs_up(b, one)
    world.end()


def test_several_in_a_row(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(200, SDP)
    leaves(b)
    refer(c, "1002")
    again = bob.line
    again.reply(200, BOB)
    a.reply(200, SDP)
    leaves(c)
    hangs_up(a, again)
    world.end()
    assert [legs for legs, _, _ in talks(world)] == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("", 400),
        ("Refer-To: <sip:1003@x>\r\nRefer-To: <sip:1001@x>\r\n", 400),
        ("Refer-To: <http://x>\r\n", 400),
        ("Refer-To: <sip:1003@x;method=SUBSCRIBE>\r\n", 501),
        ("Refer-To: <sip:10.0.0.1>\r\n", 404),
        ("Refer-To: <sip:1003@x?Replaces=abc>\r\n", 400),
        ("Refer-To: <sip:1003@x?Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n", 481),
    ],
)
def test_what_asks_for_nothing(world: World, lines: str, status: int) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    b.send("REFER", extra=b.contact + lines)
    assert b.last.what == f"{status} REFER"
    hangs_up(a, b)
    world.end()
    assert len(talks(world)) == 1


def test_a_carrier_may_not(world: World) -> None:
    alice, _, _ = phones(world)
    pstn = world.agent("10.2.0.1", "gateway")
    a = alice.call("85550100")
    b = pstn.line
    assert "REFER" not in b.last["allow"]
    b.reply(200, BOB)
    a.ack()
    assert "REFER" in a.find("200 INVITE")["allow"]
    refer(b, "1003")
    assert b.last.what == "405 REFER"
    hangs_up(a, b)
    world.end()


@pytest.mark.parametrize("gone", [False, True])
def test_killed_in_the_middle_of_a_blind_one(journalled: World, gone: bool) -> None:
    """Who was rung is told to stop; who waits has its talk back, or is not left alone."""
    world = journalled
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    heard(b)
    c = carol.line
    c.reply(180)
    if gone:
        b.bye()
    world.restart()
    assert c.last.what == "CANCEL"
    c.reply(487)
    if not gone:
        a.invite(SDP)
        assert b.last.what == "INVITE"
        b.reply(200, BOB)
        a.ack()
        b.bye()
    world.run(1)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()
    assert len(world.of(events.CallEnded)) == 1


def test_who_talk_again_after_a_restart_do_so_once_they_can_be_told(journalled: World) -> None:
    """A switch that takes its time until it listens does not record that time as a talk."""
    world = journalled
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    heard(b)
    carol.line.reply(180)
    world.run(0.25)
    world.kill()
    world.start(listens_after=2.0)
    (cancelled,) = [one for one in world.wire if one.method == "CANCEL"]
    again = world.of(events.TalkBegan)[-1]
    assert (again.how, again.at) == ("returned", int(cancelled.at * 1e6))
    carol.line.reply(487)
    hangs_up(a, b)
    world.end()


def test_killed_while_a_new_offer_is_answered(journalled: World) -> None:
    """It is not the answer to the call: nobody is answered anew."""
    world = journalled
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    world.run(10)
    a.invite(HOLD)
    b.reply(200, BOB)
    assert a.last.what == "200 INVITE"
    world.restart()
    world.run(3)
    a.ack()
    assert not world.of(events.CallerTold)
    hangs_up(a, b)
    world.end()


def test_the_transferor_is_gone_and_nowhere(world: World) -> None:
    """It cannot even be rung: the one who was kept is not left alone."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    b.bye()
    bob.register(f"{bob.contact};expires=0")
    carol.line.reply(486)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()


def test_an_offer_that_the_transferor_has_left_unanswered(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    a.invite(HOLD)
    refer(b, "1003")
    assert a.last.what == "491 INVITE"
    a.acknowledge(a.last)
    leaves(b)
    b.reply(487)
    c = carol.line
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    hangs_up(a, c)
    world.end()


def test_a_first_answer_that_has_not_come(world: World) -> None:
    """The caller's ACK will bring it: until then there is nothing to be passed on."""
    alice, bob, _ = phones(world)
    a = alice.call("1002", "")
    b = bob.line
    b.reply(200, BOB)
    refer(b, "1003")
    assert b.last.what == "491 REFER"
    a.ack(SDP)
    assert b.last.what == "ACK"
    hangs_up(a, b)
    world.end()


def test_a_call_is_transferred_too_often(tmp_path: Path) -> None:
    """Beyond `limits.max_transfers`; the two talk on."""
    world = World(tmp_path, f"{CONFIG}limits: {{max_transfers: 2}}\n")
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    for to in (carol, bob):
        refer(b, to.name)
        to.line.reply(200, BOB)
        a.reply(200, SDP)
        leaves(b)
        b = to.line
    refer(b, "1003")
    assert b.last.start == "SIP/2.0 403 Transferred Too Often"
    assert len(carol.lines) == 1
    a.invite(SDP.replace("40000", "46000"))
    assert port(b.last.body) == 46000
    b.reply(200, BOB)
    a.ack()
    hangs_up(a, b)
    world.end()
    assert [legs for legs, _, _ in talks(world)] == [(0, 1), (0, 2), (0, 3)]


def test_another_try(world: World) -> None:
    """RFC 3515 §2.4.6: of which REFER a NOTIFY speaks."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "7777")
    heard(b)
    heard(b)
    refer(b, "1003")
    second = b.find("202 REFER").cseq
    heard(b)
    carol.line.reply(200, CAROL)
    a.reply(200, SDP)
    said = [(m["event"], m.body.split()[1]) for m in b.received if m.what == "NOTIFY"]
    again = f"refer;id={second}"
    assert said == [("refer", "100"), ("refer", "404"), (again, "100"), (again, "200")]
    leaves(b)
    hangs_up(a, carol.line)
    world.end()


def test_who_is_transferred_makes_an_offer(world: World) -> None:
    """While somebody is rung for it there is nobody whom it could hear."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    leaves(b)
    a.invite(SDP)
    assert a.last.what == "200 INVITE"
    assert "a=inactive" in a.last.body
    a.ack()
    c = carol.line
    c.reply(200, CAROL)
    assert a.last.what == "INVITE"
    assert "a=inactive" not in a.last.body
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    hangs_up(a, c)
    world.end()
