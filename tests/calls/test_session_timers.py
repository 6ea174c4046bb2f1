"""Session timers (RFC 4028), each leg's for itself: both roles, and what comes of no refresh."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, SDP, Line, World
from calls.transfers import BOB, phones, talk
from softswitch import events

UPDATES = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One that asks nobody whether it is there."""
    return World(tmp_path, f"{CONFIG}timers: {{session_check: 0}}\n")


def count(line: Line, method: str) -> int:
    return len({message.cseq for message in line.received if message.what == method})


def called(world: World, extra: str) -> tuple[Line, Line]:
    """Alice calls Bob, whose 200 has these lines."""
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(200, BOB, extra)
    a.ack()
    return a, b


def ends(world: World, *lines: Line) -> None:
    first, *others = lines
    first.bye()
    for line in others:
        line.reply(200, to="BYE")
    world.end()


def test_asked_for(world: World) -> None:
    a, b = called(world, "")
    invite = b.received[0]
    assert invite["session-expires"] == "600"
    assert "timer" in invite["supported"]
    assert "session-expires" not in a.find("200 INVITE"), "it has not asked"
    world.run(290)
    assert b.what == ["INVITE", "ACK"], "and Bob knows no timer"
    ends(world, a, b)


def test_ours_by_update(world: World) -> None:
    """The callee leaves it to us: we ask at half time, and go on."""
    a, b = called(world, f"{UPDATES}Require: timer\r\nSession-Expires: 600;refresher=uac\r\n")
    world.run(290)
    assert "UPDATE" not in b.what
    world.run(15)
    assert b.last.what == "UPDATE"
    assert b.last["session-expires"] == "600;refresher=uac"
    b.reply(200, "", "Session-Expires: 600;refresher=uac\r\n", to="UPDATE")
    world.run(290)
    assert count(b, "UPDATE") == 1
    world.run(15)
    assert count(b, "UPDATE") == 2
    b.reply(200, "", "Session-Expires: 600;refresher=uac\r\n", to="UPDATE")
    assert "UPDATE" not in a.what, "it is no matter of the other side"
    ends(world, a, b)


def test_ours_by_reinvite(world: World) -> None:
    a, b = called(world, "Require: timer\r\nSession-Expires: 600;refresher=uac\r\n")
    world.run(305)
    assert b.last.what == "INVITE"
    assert b.last.body == SDP
    assert b.last["session-expires"] == "600;refresher=uac"
    b.reply(200, BOB, "Session-Expires: 600;refresher=uac\r\n")
    assert b.last.what == "ACK"
    ends(world, a, b)


@pytest.mark.parametrize("status", [408, 481])
def test_the_callee_is_gone(world: World, status: int) -> None:
    a, b = called(world, f"{UPDATES}Require: timer\r\nSession-Expires: 600;refresher=uac\r\n")
    world.run(305)
    if status == 481:
        b.reply(481, to="UPDATE")
    else:
        world.run(33)
    assert a.last.what == "BYE"
    assert "vanished" in a.last["reason"]
    a.reply(200, to="BYE")
    if b.last.what == "BYE":
        b.reply(200, to="BYE")
    world.end()


def test_theirs(world: World) -> None:
    """The callee refreshes; once it does not, the call is over shortly before its time."""
    a, b = called(world, f"{UPDATES}Session-Expires: 600;refresher=uas\r\n")
    world.run(400)
    b.send("UPDATE", "", f"{b.contact}Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n")
    assert b.last.what == "200 UPDATE"
    assert b.last["session-expires"] == "600;refresher=uac"
    assert "UPDATE" not in a.what
    world.run(550)
    assert "BYE" not in a.what
    world.run(25)
    assert a.last.what == "BYE"
    assert "not refreshed" in a.last["reason"]
    a.reply(200, to="BYE")
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize(
    ("lines", "answered"),
    [
        ("Supported: timer\r\n", "600;refresher=uas"),
        ("Supported: timer\r\nSession-Expires: 1800\r\n", "600;refresher=uas"),
        ("Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n", "120;refresher=uac"),
        ("Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n", "600;refresher=uas"),
        ("Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 900\r\n", "900;refresher=uas"),
        ("Session-Expires: 1800\r\n", "1800;refresher=uas"),
        ("Session-Expires: nonsense\r\n", ""),
    ],
)
def test_the_caller_asks(world: World, lines: str, answered: str) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002", SDP, lines)
    b = bob.line
    b.reply(200, BOB)
    a.ack()
    answer = a.find("200 INVITE")
    assert (answer["session-expires"] if answered else "session-expires" not in answer) == (
        answered or True
    )
    assert ("require" in answer) == (answered.endswith("uac"))
    ends(world, a, b)


def test_too_brief_for_us(world: World) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002", SDP, "Supported: timer\r\nSession-Expires: 60\r\n")
    assert a.last.what == "422 INVITE"
    assert a.last["min-se"] == "90"
    a.acknowledge(a.last)
    assert not bob.lines
    world.end()


def test_too_brief_for_them(world: World) -> None:
    """422: asked once more, for as long as it says."""
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    first = b.last
    b.reply(422, "", "Min-SE: 1200\r\n")
    again = b.last
    assert (again.what, again["session-expires"]) == ("INVITE", "1200")
    assert (again["call-id"], again["from"]) == (first["call-id"], first["from"]), "RFC 4028 §7.3"
    assert (first.cseq, again.cseq) == (1, 2)
    b.reply(200, BOB)
    a.ack()
    assert (b.last.what, b.last.cseq) == ("ACK", 2)
    b.send("INFO")
    a.reply(200, to="INFO")
    ends(world, a, b)
    assert [event.status for event in world.of(events.LegEnded)] == [422, 200, 200]


def test_too_brief_for_them_and_then_cancelled(world: World) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(422, "", "Min-SE: 1200\r\n")
    b.reply(180)
    a.cancel()
    assert (b.last.what, b.last.cseq) == ("CANCEL", 2)
    b.reply(200, to="CANCEL")
    b.reply(487)
    a.acknowledge(a.find("487 INVITE"))
    world.end()


def test_and_when_the_switch_was_killed(journalled: World) -> None:
    """The CANCEL names the INVITE that is under way."""
    world = journalled
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(422, "", "Min-SE: 1200\r\n")
    b.reply(180)
    world.restart()
    assert (b.last.what, b.last.cseq) == ("CANCEL", 2)
    b.reply(200, to="CANCEL")
    b.reply(487)
    a.acknowledge(a.last)
    world.end()


def test_a_reinvite_refreshes(world: World) -> None:
    """What one side asks for holds for its leg, whatever the other side has."""
    alice, bob, _ = phones(world)
    a = alice.call("1002", SDP, "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n")
    b = bob.line
    b.reply(200, BOB)
    a.ack()
    for _ in range(3):
        world.run(60)
        a.invite(SDP, "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n")
        assert "session-expires" not in b.last
        b.reply(200, BOB)
        assert a.last["session-expires"] == "120;refresher=uac"
        a.ack()
    world.run(85)
    assert "BYE" not in b.what
    world.run(10)
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    a.reply(200, to="BYE")
    world.end()


def test_over_a_restart(journalled: World) -> None:
    world = journalled
    a, b = called(world, f"{UPDATES}Require: timer\r\nSession-Expires: 600;refresher=uac\r\n")
    world.restart(10)
    world.run(3)
    a.reply(200, to="OPTIONS")
    b.reply(200, to="OPTIONS")
    world.run(302)
    assert b.last.what == "UPDATE"
    b.reply(200, "", "Session-Expires: 600;refresher=uac\r\n", to="UPDATE")
    ends(world, a, b)


def test_who_is_asked(tmp_path: Path) -> None:
    """Where there is a timer, the refreshes say whether it is still there."""
    world = World(tmp_path, CONFIG)
    a, b = called(world, f"{UPDATES}Require: timer\r\nSession-Expires: 1800;refresher=uac\r\n")
    world.run(310)
    assert a.last.what == "OPTIONS"
    a.reply(200, to="OPTIONS")
    assert b.count("OPTIONS") == 0
    ends(world, a, b)


def test_none_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, f"{CONFIG}timers: {{session_expires: 0}}\n")
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    assert "session-expires" not in b.received[0]
    ends(world, a, b)
