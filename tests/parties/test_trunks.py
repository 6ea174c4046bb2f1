"""Trunks: whose request it is, call counts, keep-alive."""

from __future__ import annotations

import ipaddress
import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.config.addresses import parse_trunk_source, parse_trunk_uri
from softswitch.config.models import Trunk
from softswitch.parties.trunks import Trunks


def trunk(
    name: str,
    to: str = "sip:198.51.100.1",
    *sources: str,
    max_calls: int | None = None,
    keepalive: float = 30.0,
) -> Trunk:
    return Trunk(
        name=name,
        to=parse_trunk_uri(to),
        from_=tuple(parse_trunk_source(source) for source in sources),
        max_calls=max_calls,
        keepalive=keepalive,
    )


def whose(
    trunks: Trunks, transport: str, host: str, port: int, sent_by: int | None = None
) -> str | None:
    found = trunks.by_source(transport, host, port, sent_by)
    return found.name if found else None


# --- by_source -----------------------------------------------------------------------------------


def test_udp_by_address_and_port() -> None:
    trunks = Trunks([trunk("a", "sip:127.0.0.1:5070"), trunk("b", "sip:127.0.0.1:5090")])
    assert whose(trunks, "udp", "127.0.0.1", 5070) == "a"
    assert whose(trunks, "udp", "127.0.0.1", 5090) == "b"
    assert whose(trunks, "udp", "127.0.0.1", 5060) is None
    assert whose(trunks, "udp", "127.0.0.2", 5070) is None


def test_tcp_by_address_and_among_several_by_the_port_it_listens_on() -> None:
    trunks = Trunks(
        [
            trunk("a", "sip:192.0.2.1:5070;transport=tcp"),
            trunk("b", "sip:192.0.2.1:5090;transport=tcp"),
        ]
    )
    assert whose(trunks, "tcp", "192.0.2.1", 40000) == "a"
    assert whose(trunks, "tcp", "192.0.2.1", 40000, 5090) == "b"
    assert whose(trunks, "tcp", "192.0.2.1", 40000, 1234) == "a"
    assert whose(trunks, "tcp", "192.0.2.1", 5090) == "b"  # a connection that we opened
    assert whose(trunks, "udp", "192.0.2.1", 5070) is None
    assert whose(trunks, "tls", "192.0.2.1", 5070) is None
    assert whose(trunks, "tcp", "192.0.2.2", 5070, 5070) is None


def test_a_udp_trunk_over_tcp_is_not_taken_for_the_phones_beside_it() -> None:
    trunks = Trunks([trunk("a", "sip:192.0.2.1:5070"), trunk("b", "sip:192.0.2.2")])
    assert whose(trunks, "tcp", "192.0.2.1", 40000, 5070) == "a"
    assert whose(trunks, "tcp", "192.0.2.1", 40000, 5062) is None
    assert whose(trunks, "tcp", "192.0.2.1", 40000) is None
    assert whose(trunks, "tcp", "192.0.2.2", 40000) == "b"  # no port in the Via: 5060


def test_from_list() -> None:
    trunks = Trunks(
        [
            trunk("wide", "sip:198.51.100.1", "192.0.2.0/24", "2001:db8::/32"),
            trunk("narrow", "sip:198.51.100.2", "192.0.2.128/25", "192.0.2.7:5080"),
            trunk("one", "sip:198.51.100.3", "192.0.2.200", "[2001:db8::1]:5060"),
        ]
    )
    assert whose(trunks, "udp", "192.0.2.5", 1) == "wide"
    assert whose(trunks, "udp", "192.0.2.130", 1) == "narrow"
    assert whose(trunks, "udp", "192.0.2.200", 1) == "one"
    assert whose(trunks, "udp", "192.0.2.7", 5080) == "narrow"
    assert whose(trunks, "udp", "192.0.2.7", 5081) == "wide"
    assert whose(trunks, "tcp", "192.0.2.200", 33333) == "one"
    assert whose(trunks, "tcp", "192.0.2.7", 33333, 5080) == "narrow"
    assert whose(trunks, "udp", "2001:db8::1", 5060) == "one"
    assert whose(trunks, "udp", "2001:db8::1", 5061) == "wide"
    assert whose(trunks, "udp", "2001:db9::1", 5060) is None
    assert whose(trunks, "udp", "198.51.100.3", 5060) == "one"
    assert whose(trunks, "udp", "::ffff:192.0.2.200", 9) == "one"
    assert whose(trunks, "udp", "not an address", 9) is None


def test_first_named_trunk_wins_a_source_that_two_claim() -> None:
    trunks = Trunks([trunk("a", "sip:192.0.2.1:5060"), trunk("b", "sip:192.0.2.1:5060")])
    assert whose(trunks, "udp", "192.0.2.1", 5060) == "a"


def test_memory_of_sources_is_bounded() -> None:
    trunks = Trunks([trunk("a", "sip:198.51.100.1", "10.0.0.0/8")], max_remembered=16)
    for number in range(100):
        assert whose(trunks, "udp", f"10.0.0.{number}", 1) == "a"
        assert whose(trunks, "udp", f"11.0.0.{number}", 1) is None
        assert len(trunks._remembered) <= 16
    assert whose(trunks, "udp", "10.0.0.1", 1) == "a"


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), min_size=1, max_size=8),
    st.lists(st.integers(0, 2**32 - 1), max_size=8),
)
def test_narrowest_network_as_ipaddress_sees_it(
    networks: list[tuple[int, int]], strangers: list[int]
) -> None:
    named = {
        f"t{n}": ipaddress.ip_network((number, length), strict=False)
        for n, (number, length) in enumerate(networks)
    }
    # "to" out of the way, in IPv6
    trunks = Trunks([trunk(name, "sip:[2001:db8::1]", str(net)) for name, net in named.items()])
    for number in strangers + [number for number, _ in networks]:
        address = ipaddress.ip_address(number)
        matching = [(-net.prefixlen, n) for n, net in enumerate(named.values()) if address in net]
        wanted = f"t{min(matching)[1]}" if matching else None
        for _ in range(2):  # found, and remembered
            assert whose(trunks, "udp", str(address), 5060) == wanted


def test_host_names_are_resolved_from_outside() -> None:
    trunks = Trunks([trunk("a", "sip:pbx.example.com:5070"), trunk("b", "sip:[2001:DB8::1]:5060")])
    assert trunks.addresses("a") == ()
    assert trunks.addresses("b") == (("2001:db8::1", 5060),)
    assert whose(trunks, "udp", "2001:db8::1", 5060) == "b"
    trunks.set_addresses("a", [("192.0.2.1", 5070), ("2001:DB8:0::2", 5070)])
    assert whose(trunks, "udp", "192.0.2.1", 5070) == "a"
    assert whose(trunks, "udp", "2001:db8::2", 5070) == "a"
    trunks.set_addresses("a", [("192.0.2.9", 5070)])
    assert trunks.addresses("a") == (("192.0.2.9", 5070),)
    assert whose(trunks, "udp", "192.0.2.1", 5070) is None
    assert whose(trunks, "udp", "192.0.2.9", 5070) == "a"
    with pytest.raises(ValueError, match="trunk a: 'x' is no IP address"):
        trunks.set_addresses("a", [("x", 1)])
    assert trunks.addresses("a") == (("192.0.2.9", 5070),)
    assert whose(trunks, "udp", "192.0.2.9", 5070) == "a"
    with pytest.raises(KeyError):
        trunks.set_addresses("nobody", [])


# --- calls ---------------------------------------------------------------------------------------


def test_max_calls(caplog: pytest.LogCaptureFixture) -> None:
    trunks = Trunks([trunk("a", max_calls=2), trunk("b")])
    assert [trunks.acquire("a") for _ in range(3)] == [True, True, False]
    assert all(trunks.acquire("b") for _ in range(1000))
    assert (trunks.calls("a"), trunks.calls("b")) == (2, 1000)
    trunks.release("a")
    assert trunks.acquire("a")
    assert not trunks.acquire("a")
    for _ in range(3):
        trunks.release("a")
    assert trunks.calls("a") == 0
    assert "trunk a: a call was released that was not counted" in caplog.text


# --- keep-alive ----------------------------------------------------------------------------------


def test_down_after_failures_and_up_with_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    trunks = Trunks([trunk("a"), trunk("b")], down_after=3)
    assert trunks.is_up("a")
    assert [trunks.answered("a", status) for status in (None, 503, 408)] == [False, False, True]
    assert not trunks.is_up("a")
    assert trunks.is_up("b")
    assert not trunks.answered("a", None)
    assert trunks.answered("a", 405)
    assert trunks.is_up("a")
    assert not trunks.answered("a", 200)
    assert caplog.messages == ["trunk a is down", "trunk a is up"]


def test_failures_must_be_in_a_row() -> None:
    trunks = Trunks([trunk("a")], down_after=3)
    for status in (None, None, 200, 503, 503, 403, 408, 408):
        trunks.answered("a", status)
        assert trunks.is_up("a")


def test_without_keepalive_never_due_and_never_down() -> None:
    trunks = Trunks([trunk("a", keepalive=0)], down_after=1)
    assert trunks.due(0) == []
    assert trunks.next_due() is None
    assert not trunks.answered("a", None)
    assert trunks.is_up("a")


def test_each_is_due_once_an_interval_and_not_all_at_once() -> None:
    trunks = Trunks([trunk(str(n), keepalive=30) for n in range(30)] + [trunk("x", keepalive=0)])
    assert trunks.next_due() is None
    asked: dict[str, list[float]] = {}
    now = 1000.0
    while now < 1000 + 95:
        due = trunks.due(now)
        assert len(due) <= 2
        for one in due:
            asked.setdefault(one.name, []).append(now)
        following = trunks.next_due()
        assert following is not None
        assert following > now
        now = following
    assert asked["0"][0] == 1000
    assert len(asked) == 30
    for times in asked.values():
        assert len(times) >= 3
        assert all(b - a == pytest.approx(30) for a, b in pairwise(times))


def test_a_late_clock_does_not_make_up_for_what_was_missed() -> None:
    trunks = Trunks([trunk("a", keepalive=30)])
    assert len(trunks.due(0)) == 1
    assert len(trunks.due(1000)) == 1
    assert trunks.due(1001) == []
    assert trunks.next_due() == 1030


def test_one_that_is_down_and_is_not_asked_any_more() -> None:
    """Nothing would bring it back, so it is not the last choice for ever."""
    trunks = Trunks([trunk("a")])
    trunks.failed("a")
    assert not trunks.is_up("a")
    trunks.take_up([trunk("a", keepalive=0)])
    assert trunks.is_up("a")
    assert trunks.down == 0
