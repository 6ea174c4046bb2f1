"""Talks whose media goes by way of the switch, as they are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.bridges import (
    RECORDED,
    Call,
    Phone,
    Studio,
    direct,
    facts,
    phone,
)
from calls.call_world import PLAN, World
from calls.transfers import attended, dialog, port, refer
from softswitch import events

PLANS = (
    PLAN
    + """
  - {match: "70X", from: any, do: park}
  - {match: "31003", from: any, record: true, dial: "1003"}
"""
)


@pytest.fixture
def taped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield World(tmp_path, RECORDED, PLANS)
    raised = [record for record in caplog.records if record.exc_info]
    assert not raised, [record.getMessage() for record in raised]


def talk(caller: Phone, callee: Phone, number: str = "") -> tuple[Call, Call]:
    """They are in a call."""
    a = caller.dials(number or callee.name)
    b = callee.line
    b.picks_up()
    caller.world.run(0.3)
    return a, b


def end(world: World, studio: Studio) -> None:
    """All is over, and nothing is left."""
    world.run(15)
    studio.rests()
    world.end()
    recorded, tapped = world.switch.recorded, world.switch.tapped
    assert recorded is None or not recorded.calls
    assert tapped is None or not tapped.calls
    assert not list(studio.folder.glob("*/*.part.wav"))


def test_recorded(taped: World) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    assert studio.is_between(a, b)
    world.run(3)
    a.hangs_up()
    assert b.over
    end(world, studio)
    assert facts(world, 1) == ["recording", "kept"]
    assert [e.party for e in world.of(events.LegInvited)] == ["extension:1002"]
    assert world.ended.hangup_by == "caller"


def three(world: World) -> tuple[Phone, Phone, Phone]:
    return phone(world, "1001"), phone(world, "1002"), phone(world, "1003")


@pytest.mark.parametrize("number", ["1002", "31003", "code"])
def test_by_what(taped: World, number: str) -> None:
    """An extension, a route, a code; not others."""
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    a, b = talk(alice, bob if number == "1002" else carol, "1003" if number == "code" else number)
    if number == "code":
        assert direct(a, b)
        a.digits("*5")
        world.run(0.3)
    assert studio.is_between(a, b)
    b.hangs_up()
    assert a.over
    a, b = talk(alice, carol)
    assert direct(a, b)
    a.hangs_up()
    end(world, studio)
    assert facts(world, 1) == ["recording", "kept"]


@pytest.mark.parametrize("side", ["caller", "callee"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offers(taped: World, side: str, method: str) -> None:
    """Of either side: they are answered by the worker, and the other one is not asked."""
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    one, other = (a, b) if side == "caller" else (b, a)
    before = other.count("INVITE")

    def offers(body: str | None) -> None:
        if method == "INVITE":
            one.says(body)
            assert one.last.what == "200 INVITE"
        else:
            one.own = body or one.own
            one.send("UPDATE", one.own, one.contact)
            world.settle()
            assert one.last.what == "200 UPDATE"
            one.told = one.last.body
        world.run(0.1)

    was = one.own
    offers(was + "a=sendonly\r\n")
    assert world.of(events.LegMedia)[-1].held
    offers(was.replace("m=audio 4", "m=audio 5"))
    assert not world.of(events.LegMedia)[-1].held
    assert studio.is_between(a, b)
    if method == "INVITE":
        offers("")
        assert studio.is_between(a, b)
    assert other.count("INVITE") == before
    a.hangs_up()
    end(world, studio)


def test_both_offer_at_once(taped: World) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    studio.again.append(0)
    b.says(b.own + "a=sendonly\r\n")
    a.says(a.own)
    assert a.last.what == "200 INVITE", "what the other side does is no matter"
    waits = next(line for line in studio.calls() if line.waits is not None)
    waits.accepts(waits.waits)
    world.run(1)
    assert b.last.what == "200 INVITE"
    b.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("status", [488, 491, 500, 0, -1, 481])
def test_one_does_not_want_to(taped: World, who: str, status: int) -> None:
    """They talk as before, if they can be."""
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    (alice if who == "caller" else bob).refuses += [status] * (6 if status == 481 else 1)
    a, b = talk(alice, bob)
    world.run(40)
    if status == 481:
        assert a.over
        assert b.over
    else:
        if status == 491:
            assert studio.is_between(a, b)
        else:
            assert direct(a, b)
            assert studio.pool.busy == 0
        a.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("when", ["first", "second", "refused", "silent", "none"])
def test_no_worker(taped: World, when: str) -> None:
    world = taped
    studio = Studio(world, ready=when != "none")
    if when == "first":
        studio.answers = [503]
    elif when == "second":
        studio.answers = [200, 486]
    elif when == "refused":
        studio.answers = [503, 503]
    elif when == "silent":
        studio.answers = [200, 0]
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    world.run(12)
    assert direct(a, b)
    a.says()
    assert direct(a, b)
    a.hangs_up()
    assert b.over
    end(world, studio)


@pytest.mark.parametrize("when", ["asked", "moving", "moved", "offered", "late", "updated"])
def test_the_worker_dies(taped: World, when: str) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    if when == "asked":
        studio.answers = [0, 0]
    elif when == "moving":
        bob.refuses.append(0)
    a, b = talk(alice, bob)
    if when == "offered":
        studio.again.append(0)
        b.says(b.own)
    elif when == "late":
        b.offered = None
        b.invite("")
        world.settle()
        assert b.last.what == "200 INVITE"
    elif when == "updated":
        studio.agent.sulks = True
        b.send("UPDATE", b.own, b.contact)
        world.settle()
    studio.vanishes()
    if when == "late":
        b.ack(b.own)
        world.settle()
    if when == "offered":
        assert b.last.what != "100 INVITE"
    world.run(1)
    if when == "updated":
        assert b.count("491 UPDATE")
    if b.waits is not None:
        b.waits = None
    world.run(3)
    assert direct(a, b)
    b.says(b.own + "a=sendonly\r\n")
    assert a.held
    a.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("status", [488, 0, -1])
def test_no_way_back(taped: World, who: str, status: int) -> None:
    """The call is ended with a reason."""
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    (alice if who == "caller" else bob).refuses += [status] * 6
    studio.vanishes()
    world.run(120)
    assert a.over
    assert b.over
    end(world, studio)
    assert world.ended.hangup_by == "switch"
    assert world.ended.reason


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("when", ["asked", "moving first", "moving second", "moved", "going back"])
def test_hung_up(taped: World, who: str, when: str) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    if when == "asked":
        studio.answers = [0, 0]
    elif when == "moving first":
        alice.refuses.append(0)
    elif when == "moving second":
        bob.refuses.append(0)
    a, b = talk(alice, bob)
    if when == "going back":
        alice.refuses.append(0)
        studio.vanishes()
    (a if who == "caller" else b).hangs_up()
    assert a.over
    assert b.over
    end(world, studio)
    assert world.ended.hangup_by == who
    (talked,) = world.of(events.TalkBegan)
    assert talked.legs == (0, 1)


@pytest.mark.parametrize("when", ["at once", "moving", "moved"])
@pytest.mark.parametrize("outcome", ["answered", "busy", "no route"])
def test_blind_transfer(taped: World, when: str, outcome: str) -> None:
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    if when == "moving":
        alice.refuses.append(0)
    a = alice.dials("1002")
    b = bob.line
    b.picks_up()
    world.settle()
    if when != "at once":
        world.run(0.3)
    refer(b, "1003" if outcome != "no route" else "5555")
    world.settle()
    if outcome == "answered":
        c = carol.line
        c.picks_up()
        world.run(1)
        assert direct(a, c), "it was the other's extension"
        b.hangs_up()
        world.run(3)
        a.hangs_up()
        assert c.over
    else:
        if outcome == "busy":
            carol.line.reply(486)
            world.settle()
        world.run(6)
        assert studio.is_between(a, b)
        a.hangs_up()
        assert b.over
    end(world, studio)


def test_transferred_back_without_a_worker(taped: World) -> None:
    """Nobody is found, and the worker has gone meanwhile: the two hear each other all the same."""
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    a, b = talk(alice, bob)
    refer(b, "1003")
    world.settle()
    world.run(2)
    studio.pool.close()
    carol.line.reply(486)
    world.run(2)
    assert direct(a, b)
    b.hangs_up()
    world.run(3)
    world.end()


def test_all_that_follow(taped: World) -> None:
    """By a route: a transfer, in whose talk no extension is that is recorded."""
    world = taped
    studio = Studio(world)
    alice, _, carol = three(world)
    dave = phone(world, "1004")
    a, c = talk(alice, carol, "31003")
    refer(c, "1004")
    world.settle()
    dave.line.picks_up()
    world.run(1)
    d = dave.line
    assert studio.is_between(a, d)
    c.hangs_up()
    a.hangs_up()
    end(world, studio)
    assert facts(world, 2) == ["recording", "kept"]


@pytest.mark.parametrize("outcome", ["together", "refused", "gone"])
def test_attended_transfer(taped: World, outcome: str) -> None:
    """Of two talks that are recorded."""
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    a, b1 = talk(alice, bob)
    b2, c = talk(bob, carol)
    assert studio.is_between(b2, c)
    if outcome == "refused":
        carol.refuses.append(488)
    elif outcome == "gone":
        alice.refuses.append(488)
        carol.refuses += [488, 488]
    attended(b1, b2)
    world.run(2)
    if outcome == "together":
        assert direct(a, c)
        world.run(3)
        assert b1.over
        assert b2.over
        a.hangs_up()
        assert c.over
    else:
        world.run(5)
        for one, other in ((a, b1), (b2, c)):
            if not one.over:
                assert not one.held
                assert not other.held
                assert is_connected(studio, one, other)
            one.hangs_up()
    end(world, studio)


def is_connected(studio: Studio, one: Call, other: Call) -> bool:
    """They send to each other, or by way of a worker."""
    if direct(one, other):
        return True
    by_own = {port(line.own): line for line in studio.calls()}
    first, second = by_own.get(one.hears), by_own.get(other.hears)
    return (
        first is not None
        and second is not None
        and first.hears == port(one.own)
        and second.hears == port(other.own)
    )


def test_two_calls_become_one(taped: World) -> None:
    """The younger was to be recorded by its route: so is what becomes of it."""
    world = taped
    studio = Studio(world)
    alice, carol, dave = phone(world, "1001"), phone(world, "1003"), phone(world, "1004")
    d1, a = talk(dave, alice)
    a2, c = talk(alice, carol, "31003")
    assert direct(d1, a)
    assert studio.is_between(a2, c)
    attended(a, a2)
    world.run(2)
    assert studio.is_between(d1, c) or studio.is_between(c, d1)
    world.run(3)
    c.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("refused", [True, False])
def test_replaces(taped: World, refused: bool) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    bob2 = Phone(world, ("10.9.0.22", 5060), "1002", "b", 44000)
    if refused:
        alice.refuses.append(488)
    new = bob2.dials("1002", extra=f"Replaces: {dialog(b)}\r\n")
    world.run(1)
    if refused:
        assert new.over == 488
        assert studio.is_between(a, b)
        b.hangs_up()
    else:
        assert studio.is_between(a, new) or studio.is_between(new, a)
        assert b.over
        new.hangs_up()
    assert a.over
    end(world, studio)


def test_parked(taped: World) -> None:
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    a, b = talk(alice, bob)
    refer(b, "701")
    world.run(3)
    assert a.held
    c = carol.dials("701")
    world.run(1)
    assert direct(a, c)
    a.hangs_up()
    assert c.over
    end(world, studio)


@pytest.mark.parametrize("what", ["complete", "back", "refused", "target leaves", "no"])
def test_consultation(taped: World, what: str) -> None:
    """Alice talks with Bob, who asks Carol."""
    world = taped
    studio = Studio(world)
    alice, bob, carol = three(world)
    a, b = talk(alice, bob)
    b.digits("*21003")
    world.run(4)
    c = carol.line
    if what == "no":
        c.reply(486)
        world.run(2)
        assert studio.is_between(a, b)
    else:
        c.picks_up()
        world.run(2)
        assert is_connected(studio, b, c)
        assert not direct(b, c)
        if what == "refused":
            carol.refuses += [488]
        if what == "target leaves":
            c.hangs_up()
        else:
            b.digits("*3" if what != "back" else "*1")
        world.run(8)
        if what == "complete":
            assert direct(a, c)
            assert b.over
        elif what == "refused":
            assert is_connected(studio, b, c)
            assert not direct(b, c)
        else:
            assert studio.is_between(a, b)
    a.hangs_up()
    world.run(1)
    b.hangs_up()
    end(world, studio)


def test_hold_before_and_while_it_is_moved(taped: World) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    alice.refuses.append(0)
    a, b = talk(alice, bob)
    own = b.own
    b.says(own + "a=sendonly\r\n")
    assert not b.count("200 INVITE"), "it waits for its turn"
    a.accepts(a.waits)
    world.run(1)
    assert b.last.what == "200 INVITE"
    assert a.count("INVITE") == 1
    assert studio.is_between(a, b)
    b.says(own)
    assert studio.is_between(a, b)
    a.hangs_up()
    end(world, studio)


def test_an_offer_between_the_two_moves(taped: World) -> None:
    """One has been moved, the worker has not answered for the other yet."""
    world = taped
    studio = Studio(world)
    studio.answers = [200, 0]
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a, b = talk(alice, bob)
    b.says(b.own)
    assert not b.count("200 INVITE")
    slow = studio.calls()[-1]
    studio.agent.takes(slow, studio.port)
    world.run(1)
    assert studio.is_between(a, b)
    assert b.count("491 INVITE") == 1, "the switch had to go first"
    b.says(b.own)
    assert b.last.what == "200 INVITE"
    assert studio.is_between(a, b)
    a.hangs_up()
    end(world, studio)


def test_late_offer(taped: World) -> None:
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a = alice.dials("1002", body="")
    b = bob.line
    b.picks_up()
    world.run(0.5)
    assert studio.is_between(a, b)
    a.hangs_up()
    assert b.over
    end(world, studio)


def test_session_timers(taped: World) -> None:
    """The switch refreshes the session of the one, who is sent what it was sent last."""
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a = alice.dials("1002")
    b = bob.line
    b.picks_up(extra="Require: timer\r\nSession-Expires: 120;refresher=uac\r\n")
    world.run(1000)
    assert b.count("INVITE") > 10
    assert studio.is_between(a, b)
    b.hangs_up()
    end(world, studio)


def test_paused(taped: World) -> None:
    """Also before it has begun."""
    world = taped
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    alice.refuses.append(0)
    a, b = talk(alice, bob)
    b.digits("*6")
    a.accepts(a.waits)
    world.run(1)
    assert facts(world, 1) == ["paused"]
    b.digits("*6")
    assert facts(world, 1) == ["paused", "recording"]
    b.digits("*6")
    b.digits("*5")
    world.run(1)
    assert facts(world, 1)[-2:] == ["paused", "recording"]
    a.hangs_up()
    end(world, studio)
