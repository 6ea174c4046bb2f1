"""Watchers whose connection closes: what they are told follows them to the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import World
from calls.test_connections import Peer
from calls.transfers import phones, talk
from notifier.watchers import Watch, lamp

PRIVATE = "<sip:1003@192.168.7.7:5060;transport=tcp>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, journal=True)


class Behind(Peer):
    """A phone behind NAT."""

    @property
    def contact(self) -> str:
        return PRIVATE


def watcher(world: World) -> tuple[Peer, Watch]:
    """It has connected, registered and subscribed."""
    peer = Behind(world, "10.9.0.3", "1003", "c", listens=False)
    peer.connect()
    assert peer.register(PRIVATE).status == 200
    watch = Watch(peer, "1002")
    assert watch.final.status == 200
    world.run(0.3)
    return peer, watch


def test_a_refresh_by_another_connection(world: World) -> None:
    """It is wherever it speaks from."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    world.streams[peer.switch, peer.way].close()
    again = peer.connect()
    assert watch.ask().status == 200
    world.run(0.3)
    assert watch.note.target == again.remote
    a, b = talk(alice, bob)
    world.run(0.3)
    assert lamp(watch) == "busy"
    a.bye()
    b.reply(200, to="BYE")
    world.run(0.3)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()


def test_it_has_registered_again(world: World) -> None:
    """It need not say anything of its subscription: with the same Contact it is the same phone."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    world.streams[peer.switch, peer.way].close()
    again = peer.connect()
    assert peer.register(PRIVATE).status == 200
    a, b = talk(alice, bob)
    world.run(0.3)
    assert lamp(watch) == "busy"
    assert watch.note.target == again.remote
    a.bye()
    b.reply(200, to="BYE")
    watch.ask(0)
    world.end()


def test_it_is_away_for_a_moment(world: World) -> None:
    """What changes while it has no connection it is told when it has registered again."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    world.streams[peer.switch, peer.way].close()
    a, b = talk(alice, bob)
    world.run(2)
    a.bye()
    b.reply(200, to="BYE")
    a, b = talk(alice, bob)
    world.run(2)
    assert len(world.switch.notifier) == 1
    count = len(watch.notes)
    again = peer.connect()
    assert peer.register(PRIVATE).status == 200
    world.run(0.3)
    assert len(watch.notes) == count + 1, "once"
    assert lamp(watch) == "busy"
    assert watch.note.target == again.remote
    a.bye()
    b.reply(200, to="BYE")
    world.run(0.3)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()


def test_it_stays_away(world: World) -> None:
    """Its subscription runs out, and nothing is left of it."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    world.streams[peer.switch, peer.way].close()
    a, b = talk(alice, bob)
    world.run(700)
    assert len(world.switch.notifier) == 0
    assert not world.switch.lamps.awake
    a.bye()
    b.reply(200, to="BYE")
    assert watch.agent is peer
    world.end()


def test_after_a_restart(world: World) -> None:
    """The switch has no connection to anybody; the phone registers again by a new one."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    world.streams[peer.switch, peer.way].close()
    again = peer.connect()
    assert watch.ask().status == 200
    world.restart(away=1)
    world.run(1)
    assert len(world.switch.notifier) == 1
    again = peer.connect()
    assert peer.register(PRIVATE).status == 200
    world.run(1)
    assert watch.note.target == again.remote
    a, b = talk(alice, bob)
    world.run(0.3)
    assert lamp(watch) == "busy"
    a.bye()
    b.reply(200, to="BYE")
    watch.ask(0)
    world.end()


def test_it_answers_no_more_and_is_elsewhere(world: World) -> None:
    """Its network is another one, and its old connection does not know yet."""
    alice, bob, _ = phones(world)
    peer, watch = watcher(world)
    watch.answers = 0
    a, b = talk(alice, bob)
    world.run(1)
    watch.answers = 200
    again = peer.connect()
    assert peer.register(PRIVATE).status == 200
    count = len(watch.notes)
    world.run(40)
    assert len(watch.notes) == count + 1
    assert watch.note.target == again.remote
    assert lamp(watch) == "busy"
    a.bye()
    b.reply(200, to="BYE")
    watch.ask(0)
    world.end()
