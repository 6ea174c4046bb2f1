"""Killed while whoever has transferred is still there: its call is over, and it is hung up on."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, World
from calls.transfers import CAROL, attended, heard, two_calls


@pytest.mark.parametrize("leaves", [False, True])
def test_who_has_transferred_is_hung_up_on(journalled: World, leaves: bool) -> None:
    world = journalled
    a, b1, b2, c = two_calls(world, True)
    attended(b2, b1)  # in the younger call
    c.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b2)
    b1.reply(200, to="BYE")
    if leaves:
        b2.bye()
    world.restart()
    assert b2.count("BYE") == (0 if leaves else 1)
    if not leaves:
        assert b2.last["reason"] == 'SIP;cause=200;text="Transferred"'
        b2.reply(200, to="BYE")
    world.run(5)
    a.bye()
    c.reply(200, to="BYE")
    world.end()
    assert world.rows is not None
    assert not [row for row in world.rows.rows.values() if row[:1] == b"g"]


def test_what_was_said_is_not_kept(journalled: World) -> None:
    """It was hung up on by this process: no other has to."""
    world = journalled
    a, b1, b2, c = two_calls(world, True)
    attended(b2, b1)
    c.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b2)
    b1.reply(200, to="BYE")
    world.run(0.5)
    assert world.rows is not None
    assert [row for row in world.rows.rows.values() if row[:1] == b"g"]
    world.run(2)
    assert b2.last.what == "BYE"
    b2.reply(200, to="BYE")
    world.run(0.5)
    assert not [row for row in world.rows.rows.values() if row[:1] == b"g"]
    a.bye()
    c.reply(200, to="BYE")
    world.end()


def test_it_leaves_while_the_switch_is_away(journalled: World) -> None:
    world = journalled
    a, b1, b2, c = two_calls(world, True)
    attended(b2, b1)
    c.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b2)
    b1.reply(200, to="BYE")
    world.run(0.25)
    world.kill()
    world.start()
    b2.bye()
    assert b2.last.what == "200 BYE"
    b2.reply(481, to="BYE")
    a.bye()
    c.reply(200, to="BYE")
    world.end()
