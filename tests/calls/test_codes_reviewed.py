"""Codes dialled within a call, when something goes wrong meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import SDP, World
from calls.test_in_call_codes import (
    CODES,
    consulted,
    joined,
    over,
    press,
)
from calls.transfers import BOB, talks


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, CODES)


@pytest.mark.parametrize("what", ["digit", "INFO", "INVITE", "UPDATE"])
def test_who_was_consulted_is_gone(world: World, what: str) -> None:
    """Its dialog is not there any more: who waits is."""
    a, b, c = consulted(world)
    if what == "digit":
        press(a, "*")
        world.run(3.1)
        c.reply(481, to="INFO")
    elif what == "INFO":
        a.send("INFO", "x", "Content-Type: text/plain\r\n")
        c.reply(481, to="INFO")
    elif what == "INVITE":
        a.invite(SDP)
        c.reply(481)
        a.acknowledge(a.find("481 INVITE"))
    else:
        a.send("UPDATE", SDP, a.contact)
        c.reply(481, to="UPDATE")
    assert "BYE" not in a.what + b.what
    if c.last.what == "BYE":
        c.reply(481, to="BYE")
    joined(b, a, BOB, SDP)
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"
