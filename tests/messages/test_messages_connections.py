"""Messages for phones that lose their connection while one is on its way to them."""

from __future__ import annotations

from pathlib import Path

from calls.call_world import World
from calls.test_connections import Peer
from messages.test_messages import got, take, write


def test_it_has_registered_again_meanwhile(tmp_path: Path) -> None:
    """What was sent by the old connection was never read: it is sent anew as soon as that is known,
    not when the phone would be tried again anyway."""
    world = World(tmp_path, journal=True)
    alice = world.phone("1001", "10.9.0.1")
    peer = Peer(world, "10.9.0.2", "1002", "b", listens=False)
    peer.connect()
    private = "<sip:1002@192.168.7.7:5060;transport=tcp>"
    assert peer.register(private).status == 200
    assert write(alice, "1002", "one").status == 202
    (first,) = got(peer)
    again = peer.connect()
    assert peer.register(private).status == 200
    world.run(33)
    second = got(peer)[-1]
    assert second.target == again.remote
    assert second.branch != first.branch
    assert second["call-id"] == first["call-id"]
    take(peer, second)
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()


def test_its_connection_closes_while_it_is_on_its_way(tmp_path: Path) -> None:
    world = World(tmp_path, journal=True)
    alice = world.phone("1001", "10.9.0.1")
    peer = Peer(world, "10.9.0.2", "1002", "b", listens=False)
    connection = peer.connect()
    private = "<sip:1002@192.168.7.7:5060;transport=tcp>"
    assert peer.register(private).status == 200
    assert write(alice, "1002", "one").status == 202
    connection.close()
    world.run(5)
    assert world.switch.tables()["messages"] == 1
    again = peer.connect()
    assert peer.register(private).status == 200
    world.run(1)
    second = got(peer)[-1]
    assert second.target == again.remote
    take(peer, second)
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()


def test_one_that_no_phone_takes_is_in_nobodys_way(tmp_path: Path) -> None:
    """What the phone cannot show (415) waits for another phone; the next message goes on."""
    world = World(tmp_path, journal=True)
    alice = world.phone("1001", "10.9.0.1")
    bob = world.phone("1002", "10.9.0.2")
    picture = "Content-Type: image/png\r\n"
    assert write(alice, "1002", "picture", picture).status == 202
    assert write(alice, "1002", "text").status == 202
    take(bob, got(bob)[-1], 415)
    world.run(1)
    assert [m.body for m in got(bob)] == ["picture", "text"]
    take(bob, got(bob)[-1])
    world.run(1)
    assert world.switch.tables()["messages"] == 1
    other = world.agent("10.9.0.9", "1002")
    other.password = "b"
    assert other.register().status == 200
    world.run(1)
    assert [m.body for m in got(other)] == ["picture"]
    take(other, got(other)[-1])
    take(bob, got(bob)[-1], 415)
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()
