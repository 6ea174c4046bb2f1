"""Where names lead (RFC 3263, 2782): NAPTR, SRV, addresses."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from softswitch.sip import Naptr, NoSuchName, NotUnderstood, Srv, locate
from softswitch.sip.locating import in_order


class Zone:
    """What a DNS has, by name; a list is records, an exception is raised."""

    def __init__(self, **records: object) -> None:
        self.records = records
        self.asked: list[str] = []

    def _of(self, kind: str, name: str) -> list[object]:
        self.asked.append(f"{kind} {name}")
        found = self.records.get(f"{kind} {name}")
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise NoSuchName(name)
        return found  # type: ignore[return-value]

    def naptr(self, name: str):  # type: ignore[no-untyped-def]
        return self._of("naptr", name), 300.0

    def srv(self, name: str):  # type: ignore[no-untyped-def]
        return self._of("srv", name), 200.0

    def addresses(self, name: str):  # type: ignore[no-untyped-def]
        return self._of("a", name), 100.0


NAPTRS = [
    Naptr(20, 10, "s", "SIP+D2U", "_sip._udp.far.example"),
    Naptr(10, 20, "s", "SIP+D2T", "_sip._tcp.example"),
    Naptr(10, 10, "s", "SIPS+D2T", "_sips._tcp.example"),
    Naptr(5, 10, "s", "SIP+D2W", "_ws.example"),
    Naptr(1, 1, "u", "E2U+sip", "!^.*$!sip:x@y!"),
]


def zone(**more: object) -> Zone:
    records = {
        "naptr example": NAPTRS,
        "srv _sip._udp.far.example": [Srv(1, 1, 5070, "u.example")],
        "srv _sip._udp.example": [Srv(2, 0, 5060, "b.example"), Srv(1, 0, 5061, "a.example")],
        "srv _sip._tcp.example": [Srv(1, 1, 5072, "t.example")],
        "srv _sips._tcp.example": [Srv(1, 1, 5063, "s.example")],
        "a example": ["192.0.2.1", "2001:db8::1"],
        "a a.example": ["192.0.2.11"],
        "a b.example": ["192.0.2.12"],
        "a t.example": ["192.0.2.13"],
        "a s.example": ["192.0.2.14"],
        "a u.example": ["192.0.2.15"],
        **more,
    }
    return Zone(**{name: found for name, found in records.items() if found != "none"})


def found(  # type: ignore[no-untyped-def]
    dns: Zone, port: int | None = None, transport: str | None = None, available=("udp", "tcp")
):
    located = locate("example", port, transport, dns, available, lambda: 0.5)
    return located.transport, list(located.addresses)


def test_a_port_is_all_one_needs() -> None:
    dns = zone()
    assert found(dns, 5080) == ("udp", [("192.0.2.1", 5080), ("2001:db8::1", 5080)])
    assert found(dns, 5080, "tcp")[0] == "tcp"
    assert set(dns.asked) == {"a example"}


def test_a_transport_without_a_port() -> None:
    assert found(zone(), None, "udp") == ("udp", [("192.0.2.11", 5061), ("192.0.2.12", 5060)])
    assert found(zone(**{"srv _sip._udp.example": "none"}), None, "udp") == (
        "udp",
        [("192.0.2.1", 5060), ("2001:db8::1", 5060)],
    )
    assert found(zone(), None, "tls") == ("tls", [("192.0.2.14", 5063)])
    assert found(zone(**{"srv _sips._tcp.example": "none"}), None, "tls")[1][0][1] == 5061


def test_naptr() -> None:
    """The first service that there is here, in the order of the records."""
    assert found(zone()) == ("tcp", [("192.0.2.13", 5072)])
    assert found(zone(), available=("udp", "tcp", "tls")) == ("tls", [("192.0.2.14", 5063)])
    assert found(zone(), available=("udp",)) == ("udp", [("192.0.2.15", 5070)])
    # What it leads to is not there: the next one.
    assert found(zone(**{"srv _sip._tcp.example": "none"})) == ("udp", [("192.0.2.15", 5070)])


def test_without_naptr() -> None:
    assert found(zone(**{"naptr example": "none"}))[1][0] == ("192.0.2.11", 5061)
    bare = zone(**{"naptr example": "none", "srv _sip._udp.example": "none"})
    assert found(bare) == ("tcp", [("192.0.2.13", 5072)])
    bare = zone(
        **{
            "naptr example": "none",
            "srv _sip._udp.example": "none",
            "srv _sip._tcp.example": "none",
        }
    )
    assert found(bare) == ("udp", [("192.0.2.1", 5060), ("2001:db8::1", 5060)])


def test_a_service_that_there_is_decidedly_not() -> None:
    dns = zone(**{"naptr example": "none", "srv _sip._udp.example": [Srv(0, 0, 0, ".")]})
    assert found(dns)[0] == "tcp"
    nothing = [Srv(0, 0, 0, ".")]
    with pytest.raises(OSError, match="decidedly"):
        found(dns, None, "udp")
    dns = zone(
        **{
            "naptr example": "none",
            "srv _sip._udp.example": nothing,
            "srv _sip._tcp.example": "none",
        }
    )
    with pytest.raises(OSError, match="decidedly"):
        found(dns)


def test_a_server_that_is_not_found() -> None:
    dns = zone(**{"a a.example": OSError("SERVFAIL")})
    assert found(dns, None, "udp")[1] == [("192.0.2.12", 5060)]
    dns = zone(**{"a a.example": OSError("SERVFAIL"), "a b.example": "none"})
    with pytest.raises(OSError, match="SERVFAIL"):
        found(dns, None, "udp")


def test_a_dns_that_does_not_answer_is_no_missing_record() -> None:
    """Else calls would go to where the name's address is, which may be a web server."""
    with pytest.raises(OSError, match="timed out"):
        found(zone(**{"naptr example": OSError("timed out")}))
    with pytest.raises(OSError, match="timed out"):
        found(zone(**{"srv _sip._udp.example": OSError("timed out")}), None, "udp")


def test_servers_that_know_addresses_alone() -> None:
    """As those of some routers: better the address than nothing, but no leave to move away."""
    wrong = NotUnderstood("SERVFAIL")
    services = ("naptr example", "srv _sip._udp.example", "srv _sip._tcp.example")
    records = dict.fromkeys(services, wrong)
    for transport in (None, "udp"):
        located = locate(
            "example", None, transport, zone(**records), ("udp", "tcp"), lambda: 0.5, True
        )
        assert located.addresses == (("192.0.2.1", 5060), ("2001:db8::1", 5060))
        with pytest.raises(NotUnderstood):
            found(zone(**records), None, transport)
    with pytest.raises(NotUnderstood):
        locate("example", 5060, "udp", zone(**{"a example": wrong}), ("udp",), lambda: 0.5, True)


def test_for_how_long() -> None:
    located = locate("example", None, None, zone(), ("udp", "tcp"), lambda: 0.5)
    assert located.ttl == 100.0


def test_weights() -> None:
    records = [Srv(1, 60, 1, "a"), Srv(1, 30, 2, "b"), Srv(1, 10, 3, "c"), Srv(0, 0, 4, "d")]
    dice = random.Random(7)
    orders = [[one.target for one in in_order(records, dice.random)] for _ in range(6000)]
    assert all(order[0] == "d" and sorted(order) == ["a", "b", "c", "d"] for order in orders)
    seconds = Counter(order[1] for order in orders)
    assert 0.56 < seconds["a"] / 6000 < 0.64
    assert 0.26 < seconds["b"] / 6000 < 0.34
    # One of weight 0 is hardly drawn before others, but may be.
    zero = [Srv(1, 0, 1, "z"), Srv(1, 99, 2, "a")]
    first = Counter(in_order(zero, dice.random)[0].target for _ in range(5000))
    assert 0 < first["z"] < 200
    assert [one.target for one in in_order([Srv(1, 0, 1, "z")], lambda: 0.99)] == ["z"]
