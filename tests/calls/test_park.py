"""Calls that are parked and retrieved, and calls that are picked up by a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import PLAN, SDP, World
from calls.transfers import (
    BOB,
    CAROL,
    GROUPS,
    INACTIVE,
    hangs_up,
    heard,
    leaves,
    notes,
    park,
    phones,
    port,
    refer,
    retrieve,
    talk,
    talks,
)
from softswitch import events

STARS = (
    PLAN
    + """
  - {match: "70X", from: any, do: park}
  - {match: "*8.", strip: 2, do: pickup}
  - {match: "*8", do: pickup}
"""
)


@pytest.fixture
def stars(tmp_path: Path) -> World:
    return World(tmp_path, GROUPS, STARS)


def test_parked_and_retrieved(stars: World) -> None:
    world = stars
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "701")
    heard(b)
    assert notes(b)[-1] == "200 OK"
    leaves(b)
    assert a.last.what == "INVITE"
    assert "a=inactive" in a.last.body, "there is nobody to be heard"
    a.reply(200, INACTIVE)
    world.run(60)
    assert "BYE" not in a.what
    c = carol.call("701", CAROL)
    assert port(a.last.body) == port(CAROL)
    assert "inactive" not in a.last.body
    a.reply(200, SDP)
    assert port(c.find("200 INVITE").body) == port(SDP)
    c.ack()
    world.run(5)
    hangs_up(a, c)
    world.end()
    assert talks(world) == [
        ((0, 1), "dialled", "extension:1001"),
        ((0, 2), "park", "extension:1003"),
    ]
    assert [(e.to, e.how, e.status) for e in world.of(events.LegReferred)] == [
        ("701", "blind-transfer", 0),
        ("701", "park", 200),
    ]
    assert len(world.of(events.CallMerged)) == 1


def test_taken_orbits_and_empty_ones(stars: World) -> None:
    world = stars
    alice, bob, carol = phones(world)
    c = carol.call("702")
    assert c.last.what == "404 INVITE"
    c.acknowledge(c.last)
    a, b = talk(alice, bob)
    refer(b, "701")
    heard(b)
    a.reply(200, INACTIVE)
    b.bye()
    c, b = talk(carol, bob)
    refer(b, "701")
    heard(b)
    assert notes(b)[-1].startswith("486")
    heard(b)
    assert talks(world)[-1][1] == "returned"
    a.bye()
    hangs_up(b, c)
    world.end()


@pytest.mark.parametrize("answers", [True, False])
def test_who_has_parked_it_is_rung(stars: World, answers: bool) -> None:
    world = stars
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    park(b, a)
    world.run(125)
    again = bob.line
    assert again is not b
    if answers:
        again.reply(200, BOB)
        assert port(a.last.body) == port(BOB)
        a.reply(200, SDP)
        c = carol.call("701")
        assert c.last.what == "404 INVITE"
        c.acknowledge(c.last)
        hangs_up(a, again)
    else:
        again.reply(180)
        world.run(25)
        assert again.last.what == "CANCEL"
        again.reply(487)
        c = retrieve(carol, a)
        hangs_up(c, a)
    world.end()


def test_retrieved_while_who_parked_it_is_rung(stars: World) -> None:
    world = stars
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    park(b, a)
    world.run(125)
    again = bob.line
    again.reply(180)
    c = carol.call("701", CAROL)
    assert again.last.what == "CANCEL"
    again.reply(487)
    a.reply(200, SDP)
    c.ack()
    hangs_up(c, a)
    world.end()


def test_the_parked_one_hangs_up(stars: World) -> None:
    world = stars
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    park(b, a)
    a.bye()
    assert a.last.what == "200 BYE"
    world.end()


def test_parked_over_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, GROUPS, STARS, journal=True)
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    park(b, a)
    world.run(10)
    world.kill()
    world.start(GROUPS, STARS)
    world.run(3)
    a.reply(200, to="OPTIONS")
    world.run(3)
    assert "BYE" not in a.what
    c = carol.call("701", CAROL)
    a.reply(200, SDP)
    assert port(c.find("200 INVITE").body) == port(SDP)
    c.ack()
    hangs_up(a, c)
    world.end()
    assert len(world.of(events.CallEnded)) == 2


@pytest.mark.parametrize("number", ["*81002", "*8"])
def test_picked_up_by_number(stars: World, number: str) -> None:
    world = stars
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    c = carol.call(number, CAROL)
    c.ack()
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    assert port(a.find("200 INVITE").body) == port(CAROL)
    a.ack()
    assert b.last.what == "CANCEL"
    b.reply(487)
    hangs_up(a, c)
    world.end()
    assert talks(world) == [((0, 2), "pickup", "extension:1003")]


@pytest.mark.parametrize("number", ["*81002", "*81001", "*8"])
def test_nothing_to_be_picked_up(stars: World, number: str) -> None:
    """Alice is in no group with anybody."""
    world = stars
    alice, _, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    if number == "*81001":
        d = dave.call("1001")
        alice.line.reply(180)
    c = carol.call(number, CAROL)
    assert c.last.what == "404 INVITE"
    c.acknowledge(c.last)
    if number == "*81001":
        d.cancel()
        d.acknowledge(d.find("487 INVITE"))
        alice.line.reply(487)
    world.end()


@pytest.mark.parametrize("how", ["given up", "refused"])
def test_not_retrieved_after_all(stars: World, how: str) -> None:
    """It waits on."""
    world = stars
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    park(b, a)
    c = carol.call("701", CAROL)
    if how == "given up":
        c.cancel()
        c.acknowledge(c.find("487 INVITE"))
        a.reply(487)
    else:
        a.reply(488)
        c.acknowledge(c.find("488 INVITE"))
    a.reply(200, INACTIVE)
    world.run(5)
    assert "BYE" not in a.what
    c = retrieve(carol, a)
    hangs_up(c, a)
    world.end()


def test_nobody_makes_an_offer(stars: World) -> None:
    world = stars
    alice, bob, carol = phones(world)
    a = alice.call("1002", "")
    b = bob.line
    b.reply(180)
    c = carol.call("*8", "")
    assert c.last.what == "488 INVITE"
    c.acknowledge(c.last)
    b.reply(200, BOB)
    a.ack(SDP)
    hangs_up(a, b)
    world.end()


def test_killed_while_it_is_picked_up(tmp_path: Path) -> None:
    """Who picks up is answered and has nobody yet: it is told that it has not."""
    world = World(tmp_path, GROUPS, STARS, journal=True)
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    c = carol.call("*8", CAROL)
    c.ack()
    world.run(0.5)
    world.kill()
    world.start(GROUPS, STARS)
    assert a.last.what == "503 INVITE"
    a.acknowledge(a.last)
    b.reply(487)
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    world.end()
    assert len(world.of(events.CallEnded)) == 2


def test_a_parked_one_refreshes_its_session(stars: World) -> None:
    world = stars
    alice, bob, carol = phones(world)
    lines = "Supported: timer\r\nSession-Expires: 100;refresher=uac\r\n"
    a = alice.call("1002", SDP, lines)
    b = bob.line
    b.reply(200, BOB)
    a.ack()
    park(b, a)
    for _ in range(4):
        world.run(50)
        if bob.line.last.what == "INVITE" and bob.line is not b:
            bob.line.reply(486)
        a.invite(SDP, lines)
        assert a.last.what == "200 INVITE"
        assert "a=inactive" in a.last.body
        assert a.last["session-expires"] == "100;refresher=uac"
        a.ack()
    c = carol.call("701", CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    c.ack()
    hangs_up(a, c)
    world.end()


def test_an_offer_is_under_way_when_it_is_parked(stars: World) -> None:
    """It is on hold after that."""
    world = stars
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    b.invite(BOB + "a=sendonly\r\n")
    assert "a=sendonly" in a.last.body
    refer(b, "701")
    assert a.count("INVITE") == 1
    a.reply(200, SDP + "a=recvonly\r\n")
    b.ack()
    assert a.count("INVITE") == 2
    assert "a=inactive" in a.last.body
    a.reply(200, INACTIVE)
    leaves(b)
    c = retrieve(carol, a)
    hangs_up(a, c)
    world.end()


def test_what_rings_longest_is_picked_up(stars: World) -> None:
    """Of two that ring in the group; then the other."""
    world = stars
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    lines = []
    for caller in (alice, dave):
        lines.append((caller.call("1002"), bob.line))
        bob.line.reply(180)
        world.run(1)
    for a, b in lines:
        c = carol.call("*8", CAROL)
        c.ack()
        c.reply(200, CAROL)
        assert a.last.what == "200 INVITE"
        a.ack()
        b.reply(487)
        hangs_up(a, c)
    world.end()


def test_what_rings_at_oneself_is_not_picked_up(stars: World) -> None:
    """Another phone of the same extension rings itself."""
    world = stars
    alice, bob, _ = phones(world)
    other = world.agent("10.9.0.22", "1002")
    other.password = bob.password
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    c = other.call("*8", CAROL)
    assert c.last.what == "404 INVITE"
    c.acknowledge(c.last)
    b.reply(200, BOB)
    a.ack()
    hangs_up(a, b)
    world.end()
