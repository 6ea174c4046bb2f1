"""INVITE with Replaces (RFC 3891): who calls takes the place of a leg that there is, that talks or
rings."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, World
from calls.transfers import (
    BOB,
    CAROL,
    GROUPS,
    dialog,
    early_dialog,
    hangs_up,
    phones,
    port,
    talk,
    talks,
)
from softswitch import events


def test_another_phone_goes_on(world: World) -> None:
    """Of the same extension: it takes the call over from the first."""
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    world.run(5)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", CAROL, f"Replaces: {dialog(b)}\r\nRequire: replaces\r\n")
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    assert port(c.find("200 INVITE").body) == port(SDP)
    c.ack()
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.run(5)
    c.invite(CAROL)
    assert a.last.what == "INVITE"
    a.reply(200, SDP)
    c.ack()
    hangs_up(a, c)
    world.end()
    older, younger = sorted({e.call_id for e in world.of(events.CallStarted)})
    (merged,) = world.of(events.CallMerged)
    assert (merged.call_id, merged.into) == (younger, older)
    assert talks(world)[1:] == [((0, 2), "attended-transfer", "extension:1002")]


def test_without_an_offer(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", "", f"Replaces: {dialog(b)}\r\n")
    assert a.last.what == "INVITE"
    assert a.last.body == ""
    a.reply(200, SDP)
    assert port(c.find("200 INVITE").body) == port(SDP)
    assert a.last.what == "INVITE"
    c.ack(CAROL)
    assert a.last.what == "ACK"
    assert port(a.last.body) == port(CAROL)
    b.reply(200, to="BYE")
    hangs_up(c, a)
    world.end()


@pytest.mark.parametrize("how", ["refuses", "hangs up", "is given up"])
def test_it_does_not_come_to_that(world: World, how: str) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", CAROL, f"Replaces: {dialog(b)}\r\n")
    if how == "refuses":
        a.reply(488)
        assert c.last.what == "488 INVITE"
        c.acknowledge(c.last)
        assert "BYE" not in b.what, "the two talk on"
        hangs_up(b, a)
    elif how == "hangs up":
        a.bye()
        assert c.last.what == "480 INVITE"
        c.acknowledge(c.last)
        b.reply(200, to="BYE")
    else:
        c.cancel()
        c.acknowledge(c.find("487 INVITE"))
        a.reply(200, SDP)
        assert a.last.what == "ACK"
        hangs_up(a, b)
    world.end()
    assert len(talks(world)) == 1


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("nonsense", 400),
        ("nobody;to-tag=1;from-tag=2", 481),
        ("theirs", 403),
        ("early", 486),
    ],
)
def test_what_cannot_be_replaced(world: World, what: str, status: int) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    other = carol if what == "theirs" else world.phone("1002", "10.9.0.22")
    header = f"Replaces: {what}\r\n"
    if what in ("theirs", "early"):
        header = f"Replaces: {dialog(b)}{';early-only' if what == 'early' else ''}\r\n"
    c = other.call("1001", CAROL, header)
    assert c.last.what == f"{status} INVITE"
    c.acknowledge(c.last)
    hangs_up(a, b)
    world.end()


@pytest.mark.parametrize("offer", [True, False])
def test_pickup(tmp_path, offer: bool) -> None:  # type: ignore[no-untyped-def]
    """Carol takes the call that rings at Bob; they share a group."""
    world = World(tmp_path, GROUPS)
    alice, bob, carol = phones(world)
    a = alice.call("1002", SDP if offer else "")
    b = bob.line
    b.reply(180)
    header = f"Replaces: {early_dialog(b)};early-only\r\n"
    c = carol.call("1002", CAROL, header)
    assert "a=inactive" in c.find("200 INVITE").body
    c.ack()
    assert c.last.what == "INVITE"
    assert (port(c.last.body) == port(SDP)) if offer else c.last.body == ""
    c.reply(200, CAROL)
    assert port(a.find("200 INVITE").body) == port(CAROL)
    a.ack("" if offer else SDP)
    assert c.last.what == "ACK"
    if not offer:
        assert port(c.last.body) == port(SDP)
    assert b.last.what == "CANCEL"
    assert "completed elsewhere" in b.last["reason"]
    b.reply(487)
    assert c.count("ACK") == 1
    a.invite(SDP)
    c.reply(200, CAROL)
    a.ack()
    a.bye()
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    world.end()
    assert [(how, by) for _, how, by in talks(world)] == [("pickup", "extension:1003")]


def test_pickup_of_strangers_phone(world: World) -> None:
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    c = carol.call("1002", CAROL, f"Replaces: {early_dialog(b)}\r\n")
    assert c.last.what == "403 INVITE"
    c.acknowledge(c.last)
    b.reply(200, BOB)
    a.ack()
    hangs_up(a, b)
    world.end()


def test_pickup_and_the_phone_is_answered_meanwhile(tmp_path) -> None:  # type: ignore[no-untyped-def]
    world = World(tmp_path, GROUPS)
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    c = carol.call("1002", CAROL, f"Replaces: {early_dialog(b)}\r\n")
    c.ack()
    b.reply(200, BOB)
    a.ack()
    c.reply(200, CAROL)
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    hangs_up(a, b)
    world.end()


def test_the_switch_ends_the_call_that_is_to_take_over(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", CAROL, f"Replaces: {dialog(b)}\r\n")
    min((x for x in world.switch.calls if not x.answered), key=id).hang_up_all("stopping")
    world.settle()
    assert c.last.what == "503 INVITE"
    c.acknowledge(c.last)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    hangs_up(a, b)
    world.end()


def test_the_offer_comes_twice_before_its_answer(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", "", f"Replaces: {dialog(b)}\r\n")
    acked = a.count("ACK")
    a.reply(200, SDP)
    a.reply(200, SDP)
    assert a.count("ACK") == acked
    c.ack(CAROL)
    assert port(a.last.body) == port(CAROL)
    b.reply(200, to="BYE")
    hangs_up(c, a)
    world.end()


def test_the_call_that_is_taken_over_ends(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    other = world.phone("1002", "10.9.0.22")
    c = other.call("1001", CAROL, f"Replaces: {dialog(b)}\r\n")
    world.run(0.3)
    assert c.last.what == "100 INVITE", "it waits for Alice's phone"
    next(x for x in world.switch.calls if x.answered).hang_up_all("a side vanished")
    world.settle()
    assert c.last.what == "480 INVITE"
    c.acknowledge(c.last)
    for line in (a, b):
        line.reply(200, to="BYE")
    world.end()
