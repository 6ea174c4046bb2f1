"""Attended transfers: REFER with Replaces on one switch; two calls become one."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, World
from calls.transfers import (
    BOB,
    CAROL,
    attended,
    hangs_up,
    heard,
    leaves,
    notes,
    phones,
    port,
    talk,
    talks,
    two_calls,
)
from softswitch import events


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
    hangs_up(a, c)
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
    hangs_up(c, a)
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
        hangs_up(b2, c)
    else:
        assert notes(b1)[-1].startswith("487")
        heard(b1)
        assert b2.last.what == "BYE"
        b2.reply(200, to="BYE")
        assert a.last.what == "ACK", "its offer has an answer"
        hangs_up(b1, a)
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
    hangs_up(b1, a)
    hangs_up(b2, c)
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
    leaves(b1)
    b2.reply(200, to="BYE")
    hangs_up(a, c)
    world.end()


def test_replaced_by_another(world: World) -> None:
    """Carol may not replace what is Bob's."""
    a, b1, b2, c = two_calls(world, True)
    d = c.agent.call("1004")
    assert d.last.status >= 400
    attended(c, b1, "1001")
    assert c.last.what == "403 REFER"
    hangs_up(b1, a)
    hangs_up(b2, c)
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
    leaves(b1)
    hangs_up(a, c)
    world.end()
    assert [how for _, how, _ in talks(world)] == ["dialled", "blind-transfer"]


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
    hangs_up(b1, a)
    world.end()
    assert [event.status for event in world.of(events.LegReferred)] == [0, 480]


def test_attended_only_if_the_other_rings_yet(world: World) -> None:
    """`early-only` (RFC 3891 §3) of a dialog that is answered: both calls go on."""
    a, b1, b2, c = two_calls(world, True)
    attended(b1, b2, extra=";early-only")
    assert b1.last.start == "SIP/2.0 486 Answered Already"
    for one, other in ((a, b1), (b2, c)):
        one.invite(SDP)
        other.reply(200, BOB)
        one.ack()
        hangs_up(one, other)
    world.end()
    assert [how for _, how, _ in talks(world)] == ["dialled", "dialled"]
    assert not world.of(events.CallMerged)
