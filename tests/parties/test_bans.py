"""Who floods or guesses on is banned, and nobody of ours ever is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from softswitch.parties.bans import BanLimits, Bans

LIMITS = BanLimits(rate=10, burst=100, guesses=20, first=60, longest=300, most=50)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours() -> set[str]:
    return set()


@pytest.fixture
def bans(clock: Clock, ours: set[str]) -> Bans:
    return Bans(clock, ours.__contains__, LIMITS, [ip_network("198.51.100.0/24")])


def test_a_flood(bans: Bans, clock: Clock) -> None:
    for _ in range(100):
        assert bans.stranger("192.0.2.1")
    assert not bans.banned
    assert not bans.stranger("192.0.2.1")
    assert bans.banned == {"192.0.2.1": 1060.0}
    (ban,) = bans.listed()
    assert (ban.address, ban.why, ban.since, ban.until) == ("192.0.2.1", "flood", 1000.0, 1060.0)
    clock.now += 59
    bans.expire()
    assert bans.banned
    clock.now += 1
    bans.expire()
    assert not bans.banned
    assert bans.listed() == []


def test_as_many_as_one_may(bans: Bans, clock: Clock) -> None:
    for _ in range(2000):
        assert bans.stranger("192.0.2.1")
        clock.now += 0.1
    assert not bans.banned


def test_the_next_ban_is_longer(bans: Bans, clock: Clock) -> None:
    lengths = []
    for _ in range(5):
        while bans.stranger("192.0.2.1"):
            pass
        (ban,) = bans.listed()
        lengths.append(ban.until - ban.since)
        clock.now = ban.until
        bans.expire()
    assert lengths == [60, 120, 240, 300, 300]
    clock.now += 3601
    bans.expire()
    while bans.stranger("192.0.2.1"):
        pass
    (ban,) = bans.listed()
    assert ban.until - ban.since == 60


def test_without_a_rate_guesses_count(clock: Clock) -> None:
    bans = Bans(clock, lambda host: False, BanLimits(rate=0, burst=100, guesses=20))
    for _ in range(1000):
        assert bans.stranger("192.0.2.1")
    for _ in range(19):
        assert bans.stranger("192.0.2.1", guess=True)
    assert not bans.stranger("192.0.2.1", guess=True)
    assert [ban.why for ban in bans.listed()] == ["guesses"]


def test_a_network_is_ours_by_one_address(clock: Clock, ours: set[str]) -> None:
    """Of IPv6 64 bits are banned: nobody of ours may be in them."""
    near = ip_network("2001:db8:0:5::7/128")
    bans = Bans(clock, ours.__contains__, LIMITS, [near])
    ours.add("2001:db8:0:1::/64")
    for address in ("2001:db8:0:1::1", "2001:db8:0:5::1"):
        with pytest.raises(ValueError, match="registered"):
            bans.add(address, 60)
        for _ in range(200):
            bans.stranger(address)
        assert not bans.banned
    bans.add("2001:db8:0:9::1", 60)
    bans.take_up(LIMITS, [ip_network("2001:db8:0:9:8::/80")])
    assert not bans.banned
    bans.add("2001:db8:0:7::1", 60)
    assert bans.lift("2001:db8:0:7::2")


def test_guesses(bans: Bans, clock: Clock) -> None:
    for _ in range(19):
        assert bans.stranger("192.0.2.1", guess=True)
        clock.now += 10
        bans.expire()
    assert not bans.stranger("192.0.2.1", guess=True)
    assert [ban.why for ban in bans.listed()] == ["guesses"]


def test_none_of_ours_is_banned(bans: Bans, ours: set[str], clock: Clock) -> None:
    """A trunk, a registered phone, an allowed network, who has proved it: only slowed down."""
    ours.add("192.0.2.1")
    bans.proved("192.0.2.2")
    for host in ("192.0.2.1", "192.0.2.2", "198.51.100.7"):
        answered = [bans.stranger(host) for _ in range(1000)]
        assert answered[:100] == [True] * 100, host
        assert not any(answered[100:]), host
        clock.now += 1
        assert sum(bans.stranger(host) for _ in range(100)) in (9, 10), host
    assert not bans.banned
    assert bans.silent > 2700
    clock.now += 3700
    while bans.stranger("192.0.2.2"):
        pass
    assert list(bans.banned) == ["192.0.2.2"], "it was long ago"


def test_many_phones_behind_one_address(bans: Bans) -> None:
    """Each is challenged, and then proves who it is."""
    for _ in range(5000):
        assert bans.stranger("192.0.2.1")
        bans.proved("192.0.2.1")
    assert bans.silent == 0


def test_by_hand(bans: Bans, ours: set[str], clock: Clock) -> None:
    bans.add("192.0.2.9", 10)
    assert bans.banned == {"192.0.2.9": 1010.0}
    ours.add("192.0.2.1")
    with pytest.raises(ValueError, match="a trunk's"):
        bans.add("192.0.2.1", 10)
    with pytest.raises(ValueError, match="address"):
        bans.add("nonsense", 10)
    assert bans.lift("192.0.2.9")
    assert not bans.lift("192.0.2.9")
    assert not bans.banned


def test_ipv6_by_network(bans: Bans) -> None:
    for number in range(101):
        bans.stranger(f"2001:db8::{number:x}")
    assert list(bans.banned) == ["2001:db8::/64"]
    assert bans.lift("2001:db8::/64")


def test_memory_is_bounded(bans: Bans) -> None:
    for number in range(200):
        for _ in range(101):
            bans.stranger(f"192.0.{number}.1")
        bans.stranger(f"192.1.{number}.1")
        bans.proved(f"192.2.{number}.1")
    assert len(bans.banned) == len(bans.listed()) == 50
    assert len(bans) <= 50


def test_another_configuration(bans: Bans) -> None:
    while bans.stranger("192.0.2.1"):
        pass
    bans.take_up(LIMITS, [ip_network("192.0.2.0/24")])
    assert not bans.banned
    bans.take_up(BanLimits(rate=0), [])
    for _ in range(5000):
        assert bans.stranger("203.0.113.1")


def test_what_is_over_is_forgotten(bans: Bans, clock: Clock) -> None:
    for number in range(10):
        bans.stranger(f"192.0.2.{number}")
    clock.now += 20
    bans.expire()
    assert len(bans) == 0
