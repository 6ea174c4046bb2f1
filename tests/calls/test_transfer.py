"""Transfers: REFER, with and without Replaces, on one switch; what each side hears of it, and what
is told of it."""

from __future__ import annotations

import pytest

from calls.call_world import HOLD, SDP, Agent, Line, World
from softswitch import events

BOB = SDP.replace("40000", "41000").replace("192.0.2.9", "192.0.2.41")
CAROL = SDP.replace("40000", "42000").replace("192.0.2.9", "192.0.2.42")


def port(body: str) -> int:
    return int(body.partition("m=audio ")[2].split()[0])


def phones(world: World) -> tuple[Agent, Agent, Agent]:
    return (
        world.phone("1001", "10.9.0.1"),
        world.phone("1002", "10.9.0.2"),
        world.phone("1003", "10.9.0.3"),
    )


def talk(caller: Agent, callee: Agent) -> tuple[Line, Line]:
    """They are in a call."""
    a = caller.call(callee.name)
    b = callee.line
    b.reply(200, BOB)
    a.ack()
    return a, b


def refer(line: Line, to: str, extra: str = "") -> None:
    line.send("REFER", extra=f"{line.contact}Refer-To: <sip:{to}@10.0.0.1>\r\n{extra}")


def notes(line: Line) -> list[str]:
    """What the NOTIFYs said, each answered as it is looked at; the subscription's state last."""
    said = []
    for message in line.received:
        if message.what == "NOTIFY":
            assert message["event"].startswith("refer")
            assert message["content-type"].startswith("message/sipfrag")
            said.append(message.body.strip().removeprefix("SIP/2.0 "))
    return said


def heard(line: Line) -> None:
    """Answer the newest NOTIFY."""
    line.reply(200, to="NOTIFY")


def talks(world: World) -> list[tuple[tuple[int, ...], str, str]]:
    return [(e.legs, e.how, e.by) for e in world.of(events.TalkBegan)]


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
    heard(b)
    b.bye()
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
    world.run(3)
    assert a.last.what == "BYE", "who does not hang up itself is hung up on"
    a.reply(200, to="BYE")
    b.bye()
    c.reply(200, to="BYE")
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
    a.bye()
    c.reply(200, to="BYE")
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
    heard(b)
    b.bye()
    a.reply(200, HOLD)
    assert "a=sendonly" in c.last.body
    return a, b, c


def test_who_holds_need_not_hear_how_that_is_answered(world: World) -> None:
    a, _, c = holds_while_transferred(world)
    c.reply(200, CAROL + "a=recvonly\r\n")
    assert a.last.what == "ACK"
    assert c.last.what == "ACK"
    a.bye()
    c.reply(200, to="BYE")
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
    a.bye()
    c.reply(200, to="BYE")
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
        a.bye()
        c.reply(200, to="BYE")
    elif how == "cancelled":
        a.cancel()
        assert a.find("487 INVITE")
        a.ack()
        c.reply(200, CAROL + "a=recvonly\r\n")
        a.bye()
        c.reply(200, to="BYE")
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
    a.bye()
    b.reply(200, to="BYE")
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
    a.bye()
    again.reply(200, to="BYE")
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
    a.bye()
    c.reply(200, to="BYE")
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
    a.bye()
    c.reply(200, to="BYE")
    world.end()


def test_the_kept_one_does_not_take_it(world: World) -> None:
    """488 to the new offer: nobody would hear anybody, so both are told why."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(488)
    assert c.last.what == "BYE"
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    c.reply(200, to="BYE")
    heard(b)
    b.bye()
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
    a.bye()
    c.reply(200, to="BYE")
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
    a.bye()
    c.reply(200, to="BYE")
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
    b.bye()
    second.reply(200, to="BYE")
    world.end()


def test_to_a_group(world: World) -> None:
    alice, bob, carol = phones(world)
    c, b = talk(carol, bob)
    refer(c, "600")
    one, two = alice.line, bob.lines[-1]
    assert two is b, "Bob, who is transferred, is not rung"
    one.reply(200, CAROL)
    b.reply(200, BOB)
    heard(c)
    c.bye()
    b.bye()
    one.reply(200, to="BYE")
    world.end()


def test_several_in_a_row(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    c.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b)
    b.bye()
    refer(c, "1002")
    again = bob.line
    again.reply(200, BOB)
    a.reply(200, SDP)
    heard(c)
    c.bye()
    a.bye()
    again.reply(200, to="BYE")
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
    a.bye()
    b.reply(200, to="BYE")
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
    a.bye()
    b.reply(200, to="BYE")
    world.end()


# --- with Replaces -------------------------------------------------------------------------------


def replaces(line: Line) -> str:
    """The dialog of this line, as the one at its other end sees it."""
    to_tag = line.remote.partition(";tag=")[2]
    from_tag = line.local.partition(";tag=")[2]
    return f"Replaces={line.call_id}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}"


def attended(line: Line, other: Line, to: str = "1003") -> None:
    line.send(
        "REFER",
        extra=f"{line.contact}Refer-To: <sip:{to}@10.0.0.1?{replaces(other)}>\r\n",
    )


def two_calls(world: World, first: bool) -> tuple[Line, Line, Line, Line]:
    """Alice calls Bob, and he calls Carol; or (not `first`) the other way round."""
    alice, bob, carol = phones(world)
    if first:
        a, b1 = talk(alice, bob)
        world.run(2)
    b2 = bob.call("1003")
    carol.line.reply(200, CAROL)
    b2.ack()
    if not first:
        world.run(2)
        a, b1 = talk(alice, bob)
    world.run(3)
    return a, b1, b2, carol.line


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("within", [1, 2])
def test_attended(world: World, first: bool, within: int) -> None:
    """Whichever call is older, and in whichever the REFER comes."""
    a, b1, b2, c = two_calls(world, first)
    asks, other = (b1, b2) if within == 1 else (b2, b1)
    attended(asks, other)
    assert asks.find("202 REFER")
    kept, target = (a, c) if within == 1 else (c, a)
    mine, theirs = (SDP, CAROL) if within == 1 else (CAROL, SDP)
    assert kept.last.what == "INVITE"
    assert kept.last.body == ""
    assert talks(world) == [t for t in talks(world) if t[1] == "dialled"], "not yet"
    kept.reply(200, mine)
    assert port(target.last.body) == port(mine)
    target.reply(200, theirs)
    assert target.last.what == "ACK"
    assert kept.last.what == "ACK"
    assert port(kept.last.body) == port(theirs)
    heard(asks)
    assert notes(asks) == ["100 Trying", "200 OK"]
    heard(asks)
    assert other.last.what == "BYE"
    other.reply(200, to="BYE")
    asks.bye()
    assert asks.last.what == "200 BYE"
    world.run(10)
    a.invite(SDP.replace("40000", "46000"))
    assert port(c.last.body) == 46000
    c.reply(200, CAROL)
    a.ack()
    a.bye()
    c.reply(200, to="BYE")
    world.end()
    older, younger = sorted({e.call_id for e in world.of(events.CallStarted)})
    (merged,) = world.of(events.CallMerged)
    assert (merged.call_id, merged.into, merged.owner) == (younger, older, "hq")
    (moved,) = world.of(events.LegMoved)
    assert (moved.call_id, moved.was_call) == (older, younger)
    assert moved.party == ("extension:1003" if first else "extension:1001")
    *_, last = world.of(events.TalkBegan)
    assert (last.call_id, last.how, last.by) == (older, "attended-transfer", "extension:1002")
    ends = {e.call_id: e for e in world.of(events.CallEnded)}
    assert ends[younger].at == merged.at
    assert ends[younger].disposition == "answered"
    assert ends[older].at == merged.at + 10_000_000


def test_attended_and_who_asked_leaves_at_once(world: World) -> None:
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    b1.bye()
    b2.bye()
    assert "BYE" not in a.what + c.what
    a.reply(200, SDP)
    c.reply(200, CAROL)
    assert a.last.what == "ACK"
    c.bye()
    a.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("who", ["kept", "target"])
def test_attended_and_one_of_them_hangs_up(world: World, who: str) -> None:
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    a.reply(200, SDP)
    heard(b1)
    (a if who == "kept" else c).bye()
    if who == "kept":
        assert b1.last.what == "BYE"
        b1.reply(200, to="BYE")
        assert "BYE" not in b2.what, "the two others talk on"
        c.reply(200, CAROL)
        b2.bye()
        c.reply(200, to="BYE")
    else:
        assert notes(b1)[-1].startswith("487")
        heard(b1)
        assert b2.last.what == "BYE"
        b2.reply(200, to="BYE")
        assert a.last.what == "ACK", "its offer has an answer"
        b1.bye()
        a.reply(200, to="BYE")
    world.end()
    assert all(how == "dialled" for _, how, _ in talks(world))


def test_attended_and_they_cannot_talk(world: World) -> None:
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(488)
    assert "a=inactive" in a.last.body, "of the ACK"
    heard(b1)
    assert notes(b1)[-1].startswith("488")
    heard(b1)
    b1.invite(BOB)
    a.reply(200, SDP)
    b1.ack()
    b1.bye()
    a.reply(200, to="BYE")
    b2.bye()
    c.reply(200, to="BYE")
    world.end()


def test_attended_and_it_makes_no_offer(world: World) -> None:
    """A phone that takes no re-INVITE without an offer is spoken for."""
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    a.reply(488)
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    heard(b1)
    b1.bye()
    b2.reply(200, to="BYE")
    a.bye()
    c.reply(200, to="BYE")
    world.end()


def test_replaced_by_another(world: World) -> None:
    """Carol may not replace what is Bob's."""
    a, b1, b2, c = two_calls(world, True)
    d = c.agent.call("1004")
    assert d.last.status >= 400
    c.send("REFER", extra=f"{c.contact}Refer-To: <sip:1001@10.0.0.1?{replaces(b1)}>\r\n")
    assert c.last.what == "403 REFER"
    b1.bye()
    a.reply(200, to="BYE")
    b2.bye()
    c.reply(200, to="BYE")
    world.end()


def test_killed_while_transferred_calls_are_up(journalled: World) -> None:
    world = journalled
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    heard(b1)
    b2.reply(200, to="BYE")
    b1.bye()
    world.restart()
    a.bye()
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    world.end()
    assert len(world.of(events.CallEnded)) == 2


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


def test_attended_before_the_other_answers(world: World) -> None:
    """Its phone rings on, for the one who is transferred."""
    alice, bob, carol = phones(world)
    a, b1 = talk(alice, bob)
    b2 = bob.call("1003")
    first = carol.line
    first.reply(180)
    attended(b1, b2)
    assert b1.find("202 REFER")
    assert b2.last.what == "487 INVITE"
    b2.acknowledge(b2.last)
    assert first.last.what == "CANCEL"
    first.reply(487)
    c = carol.line
    assert c is not first
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b1)
    b1.bye()
    a.bye()
    c.reply(200, to="BYE")
    world.end()
    assert [how for _, how, _ in talks(world)] == ["dialled", "blind-transfer"]


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
    a.bye()
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("within", [1, 2])
def test_attended_and_the_switch_ends_a_call(world: World, within: int) -> None:
    """While the two are brought together: once, and of the other call nobody is left alone."""
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    b1.bye()
    b2.bye()
    by_age = (min, max)[within - 1]
    by_age(world.switch.calls, key=lambda call: call.call_id).hang_up_all("a side vanished")
    world.settle()
    for line in (a, c):
        assert line.count("BYE") == 1
        line.reply(200, to="BYE")
    world.end()
    assert len(world.of(events.CallEnded)) == 2


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
    heard(b)
    b.bye()
    b.reply(487)
    c = carol.line
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    a.bye()
    c.reply(200, to="BYE")
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
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_the_older_call_ends_before_who_asked_has_left(world: World) -> None:
    a, b1, b2, c = two_calls(world, False)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    a.bye()
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    for line in (b1, b2):
        assert line.count("BYE") == 1
        line.reply(200, to="BYE")
    world.end()


def test_the_targets_call_ends(world: World) -> None:
    """Who asked hears that nothing came of it, and talks on."""
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2)
    heard(b1)
    max(world.switch.calls, key=lambda call: call.call_id).hang_up_all("a side vanished")
    world.settle()
    b2.reply(200, to="BYE")
    c.reply(200, to="BYE")
    assert notes(b1)[-1].startswith("480")
    heard(b1)
    a.reply(487)
    b1.bye()
    a.reply(200, to="BYE")
    world.end()
    assert [event.status for event in world.of(events.LegReferred)] == [0, 480]
