"""A DNS server of the test's own, with records that change; the resolver of the switch asks it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from softswitch.config import Trunk
from softswitch.config.addresses import parse_resolver, parse_trunk_uri
from softswitch.names import Resolver, look_up
from softswitch.sip import Located, NoSuchName, NotUnderstood


class Server:
    """Answers what is in `zone`, lines as in a zone file; `silent`: nothing."""

    def __init__(self) -> None:
        self.zone: list[str] = []
        self.silent = False
        self.fails = False
        self.unknown: tuple[int, ...] = ()
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                data, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            self.asked.append(question.to_text())
            if self.silent:
                continue
            response = dns.message.make_response(query)
            response.flags |= dns.flags.AA
            if self.fails or question.rdtype in self.unknown:
                response.set_rcode(dns.rcode.SERVFAIL)
            names = set()
            for line in self.zone:
                name, ttl, kind, rest = line.split(maxsplit=3)
                names.add(name)
                rrset = dns.rrset.from_text(name, int(ttl), "IN", kind, rest)
                if (rrset.name, rrset.rdtype) == (question.name, question.rdtype):
                    found = response.find_rrset(
                        response.answer, rrset.name, rrset.rdclass, rrset.rdtype, create=True
                    )
                    found.update(rrset)
            if not response.rcode() and str(question.name) not in names:
                response.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(response.to_wire(), peer)

    def close(self) -> None:
        self._socket.sendto(b"", self.address)
        self._thread.join(5)
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def where(server: Server, uri: str) -> Located | Exception:
    return look_up(Trunk("t", parse_trunk_uri(uri)), [server.address])


ZONE = [
    'carrier.test. 300 NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.carrier.test.',
    'carrier.test. 300 NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.',
    "_sip._tcp.carrier.test. 200 SRV 10 1 5070 one.carrier.test.",
    "_sip._tcp.carrier.test. 200 SRV 20 1 5071 two.carrier.test.",
    "one.carrier.test. 100 A 192.0.2.1",
    "one.carrier.test. 150 AAAA 2001:db8::1",
    "two.carrier.test. 100 A 192.0.2.2",
]


def test_naptr_srv_and_addresses(server: Server) -> None:
    server.zone = ZONE
    assert where(server, "sip:carrier.test") == Located(
        "tcp",
        (("192.0.2.1", 5070), ("2001:db8::1", 5070), ("192.0.2.2", 5071)),
        100.0,
    )


def test_they_change(server: Server) -> None:
    server.zone = ["carrier.test. 60 A 192.0.2.7"]
    assert where(server, "sip:carrier.test") == Located("udp", (("192.0.2.7", 5060),), 60.0)
    server.zone = ["carrier.test. 60 A 192.0.2.8"]
    assert where(server, "sip:carrier.test:5090;transport=tcp") == Located(
        "tcp", (("192.0.2.8", 5090),), 60.0
    )


def test_a_name_that_there_is_not(server: Server) -> None:
    assert isinstance(where(server, "sip:nowhere.test"), NoSuchName)
    assert isinstance(where(server, f"sip:{'x' * 64}.test"), OSError)


def test_a_server_that_fails(server: Server) -> None:
    """Nobody has said that there is no such name."""
    server.fails = True
    found = where(server, "sip:carrier.test")
    assert isinstance(found, OSError)
    assert not isinstance(found, NoSuchName)


def test_a_server_that_knows_addresses_alone(server: Server) -> None:
    """A trunk is found by it, and one that was found otherwise before stays where it was."""
    server.unknown = (dns.rdatatype.NAPTR, dns.rdatatype.SRV)
    server.zone = ["carrier.test. 60 A 192.0.2.7"]
    assert where(server, "sip:carrier.test") == Located("udp", (("192.0.2.7", 5060),), 60.0)
    trunk = Trunk("t", parse_trunk_uri("sip:carrier.test"))
    assert isinstance(look_up(trunk, [server.address], lost=False), NotUnderstood)


def test_what_the_system_knows_is_not_asked_of_the_dns() -> None:
    resolver = Resolver()
    for ask in (resolver.naptr, resolver.srv):
        for name in ("localhost", "_sip._udp.pbx", "_sips._tcp.pbx.local"):
            with pytest.raises(NoSuchName, match="asked of the system"):
                ask(name)


def test_a_server_that_is_silent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softswitch.names.LIFETIME", 0.5)
    server.silent = True
    found = where(server, "sip:carrier.test")
    assert isinstance(found, OSError)
    assert not isinstance(found, NoSuchName)


def test_the_systems_hosts() -> None:
    assert "127.0.0.1" in Resolver().addresses("localhost")[0]
    assert Resolver().addresses("192.0.2.1")[0] == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
    ],
)
def test_resolvers_as_written(text: str, server: tuple[str, int]) -> None:
    assert parse_resolver(text) == server


@pytest.mark.parametrize("text", ["dns.example", "192.0.2.53:0", "192.0.2.53:99999", ""])
def test_no_resolvers(text: str) -> None:
    with pytest.raises(ValueError, match="found"):
        parse_resolver(text)
