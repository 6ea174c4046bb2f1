"""Phones behind a proxy that wants to be on the way back (Path, RFC 3327)."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import Agent, World

PATH = "<sip:edge@10.5.0.1:5060;lr>"


class Behind(Agent):
    """A phone whose requests come from the proxy's address; its Contact is its own."""

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@172.16.0.9:5062>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, journal=True)


def registered(world: World, path: str = PATH) -> Agent:
    phone = Behind(world, ("10.5.0.1", 5060), "1002", "b")
    done = phone.register(extra=f"Path: {path}\r\nSupported: path\r\n" if path else "")
    assert done.status == 200
    if path:
        assert done["path"] == path
    return phone


@pytest.mark.parametrize("killed", [False, True])
def test_called_by_way_of_the_proxy(world: World, killed: bool) -> None:
    phone = registered(world, f"{PATH},<sip:inner@172.16.0.1;lr>")
    if killed:
        world.restart()
    alice = world.phone("1001", "10.9.0.1")
    alice.call("1002")
    invite = phone.line.find("INVITE")
    assert invite.uri == "sip:1002@172.16.0.9:5062"
    assert invite.headers["route"] == [
        "<sip:edge@10.5.0.1:5060;lr>",
        "<sip:inner@172.16.0.1;lr>",
    ]
    phone.line.reply(180)
    alice.line.cancel()
    cancel = phone.line.find("CANCEL")
    assert cancel.headers["route"] == invite.headers["route"]
    phone.line.reply(200, to="CANCEL")
    phone.line.reply(487)
    world.rest()


def test_without_it_there_is_no_route(world: World) -> None:
    phone = registered(world, "")
    alice = world.phone("1001", "10.9.0.1")
    alice.call("1002")
    assert "route" not in phone.line.find("INVITE")
    phone.line.reply(486)
    world.end()


def test_it_leads_nobody_elsewhere(world: World) -> None:
    """Whatever a phone says of its way: what is sent to it goes where it came from."""
    phone = registered(world, "<sip:10.66.0.1:5060;lr>")
    victim = world.agent("10.66.0.1", "victim")
    alice = world.phone("1001", "10.9.0.1")
    alice.call("1002")
    assert phone.line.what == ["INVITE"]
    assert victim.inbox == []
    phone.line.reply(486)
    world.end()


@pytest.mark.parametrize("path", ["<nonsense", "<http://x>", ",".join([PATH] * 9)])
def test_bad(world: World, path: str) -> None:
    phone = Behind(world, ("10.5.0.1", 5060), "1002", "b")
    assert phone.register(extra=f"Path: {path}\r\n").status == 400
