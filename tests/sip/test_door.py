"""Who may have a connection: rules of the door, case by case."""

from __future__ import annotations

import pytest

from softswitch.sip.door import Door
from softswitch.sip.hosts import network_of


class Visitor:
    """A connection that notes that it was closed."""

    def __init__(self) -> None:
        self.gone = False

    def leave(self) -> None:
        self.gone = True


def enter(door: Door, *hosts: str) -> list[Visitor]:
    visitors = [Visitor() for _ in hosts]
    for visitor, host in zip(visitors, hosts, strict=True):
        assert door.enter(visitor, host)
    return visitors


def test_the_oldest_stranger_makes_room() -> None:
    door = Door(3, 3)
    visitors = enter(door, "192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3", "192.0.2.4")
    assert [v.gone for v in visitors] == [True, True, False, False, False]
    assert (len(door), door.sent_away, door.refused) == (3, 2, 0)


def test_one_address_displaces_its_own() -> None:
    """However often somebody connects, others are not disturbed while there is room."""
    door = Door(100, 2)
    (other,) = enter(door, "192.0.2.9")
    many = enter(door, *["192.0.2.1"] * 50)
    assert [v.gone for v in many] == [True] * 48 + [False] * 2
    assert not other.gone
    assert len(door) == 3


def test_the_known_stay_and_do_not_count_for_their_address() -> None:
    """An office behind one address has more phones than a stranger may have connections."""
    door = Door(10, 2)
    phones = []
    for _ in range(10):
        (phone,) = enter(door, "192.0.2.1")
        door.know(phone)
        phones.append(phone)
    assert not any(phone.gone for phone in phones)
    assert not door.enter(Visitor(), "192.0.2.2")
    assert (len(door), door.refused) == (10, 1)
    door.left(phones[0])
    assert door.enter(stranger := Visitor(), "192.0.2.2")
    assert door.enter(Visitor(), "192.0.2.3")
    assert stranger.gone


def test_nothing_is_left_of_those_who_left() -> None:
    door = Door(5, 5)
    visitors = enter(door, "192.0.2.1", "192.0.2.1", "2001:db8::1")
    door.know(visitors[0])
    for visitor in visitors:
        door.left(visitor)
        door.left(visitor)
        door.know(visitor)
    assert len(door) == 0
    assert not door._near


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("no:address", "no:address"),
    ],
)
def test_what_one_host_can_have(host: str, network: str) -> None:
    assert network_of(host) == network
