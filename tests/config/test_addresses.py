"""Addresses as a configuration writes them, and which of them exclude each other."""

from __future__ import annotations

import ipaddress

import pytest

from softswitch.config.addresses import (
    Listen,
    TrunkAddress,
    parse_listen,
    parse_trunk_source,
    parse_trunk_uri,
)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("udp:127.0.0.1:5060", Listen("udp", "127.0.0.1", 5060)),
        ("tcp:0.0.0.0:0", Listen("tcp", "0.0.0.0", 0)),
        ("udp:[::1]:5060", Listen("udp", "::1", 5060)),
        ("udp:[2001:DB8::0:1]:65535", Listen("udp", "2001:db8::1", 65535)),
    ],
)
def test_listen(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen
    assert parse_listen(str(listen)) == listen


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected TRANSPORT:ADDRESS:PORT"),
        ("5060", "expected TRANSPORT:ADDRESS:PORT"),
        ("udp:5060", "expected TRANSPORT:ADDRESS:PORT"),
        ("udp:127.0.0.1", "expected TRANSPORT:ADDRESS:PORT"),
        ("udp:::1:5060", "expected TRANSPORT:ADDRESS:PORT"),
        ("upd:127.0.0.1:5060", "unknown transport `upd`: did you mean `udp`?"),
        ("udp:localhost:5060", "`localhost` is no IP address"),
        ("udp:127.0.0.256:5060", "`127.0.0.256` is no IP address"),
        ("udp:127.0.0.1:65536", "port 65536 is not between 0 and 65535"),
        ("udp:127.0.0.1:99999999999999", "is not between 0 and 65535"),
    ],
)
def test_listen_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="found") as error:
        parse_listen(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("udp:127.0.0.1:5060", "udp:127.0.0.1:5060", True),
        ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060", False),
        ("udp:127.0.0.1:5060", "udp:127.0.0.1:5061", False),
        ("udp:127.0.0.1:5060", "udp:127.0.0.2:5060", False),
        ("udp:0.0.0.0:5060", "udp:127.0.0.2:5060", True),
        ("udp:[::]:5060", "udp:127.0.0.2:5060", False),
        ("udp:127.0.0.1:5060", "tls:127.0.0.1:5060", False),
        ("tcp:127.0.0.1:5060", "tls:127.0.0.1:5060", True),
        ("ws:127.0.0.1:80", "wss:127.0.0.1:80", True),
        ("udp:127.0.0.1:0", "udp:127.0.0.1:0", False),
    ],
)
def test_listens_clash(one: str, other: str, clash: bool) -> None:
    assert parse_listen(one).clashes(parse_listen(other)) is clash
    assert parse_listen(other).clashes(parse_listen(one)) is clash


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sip:127.0.0.1:5070", TrunkAddress("127.0.0.1", 5070, "udp")),
        ("sip:PBX.example.com", TrunkAddress("pbx.example.com", 5060, "udp")),
        ("sip:acme@[::1];transport=TCP", TrunkAddress("::1", 5060, "tcp", "acme")),
        ("sips:pbx.example.com", TrunkAddress("pbx.example.com", 5061, "tls")),
        ("sips:pbx:5080;transport=tcp", TrunkAddress("pbx", 5080, "tls")),
        ("sip:pbx;transport=tls", TrunkAddress("pbx", 5061, "tls")),
    ],
)
def test_trunk_uri(text: str, address: TrunkAddress) -> None:
    assert parse_trunk_uri(text) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("127.0.0.1", "expected a SIP URI"),
        ("sip:", "expected a SIP URI"),
        ("sip:a b", "expected a SIP URI"),
        ("tel:+14085551234", "expected a SIP URI"),
        ("sips:pbx;transport=udp", "sips: is TLS, not udp"),
        ("sip:pbx;transport=wss", "no trunk is reached by wss"),
        ("sip:pbx;transport=tpc", "unknown transport `tpc`: did you mean `tcp`?"),
        ("sip:1.2.3.4:0", "port 0 is not between 1 and 65535"),
        ("sip:1.2.3.4:70000", "port 70000"),
        ("sip:1.2.3.400", "`1.2.3.400` is no IP address"),
    ],
)
def test_trunk_uri_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="found") as error:
        parse_trunk_uri(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "address", "port", "admitted"),
    [
        ("192.0.2.1", "192.0.2.1", 9, True),
        ("192.0.2.1", "192.0.2.2", 9, False),
        ("192.0.2.0/24", "192.0.2.200", 9, True),
        ("192.0.2.1:5060", "192.0.2.1", 5060, True),
        ("192.0.2.1:5060", "192.0.2.1", 5061, False),
        ("[2001:db8::1]:5060", "2001:db8::1", 5060, True),
        ("2001:db8::/32", "2001:db8::1", 1, True),
        ("192.0.2.0/24", "2001:db8::1", 1, False),
    ],
)
def test_trunk_source(text: str, address: str, port: int, admitted: bool) -> None:
    source = parse_trunk_source(text)
    assert source.admits(ipaddress.ip_address(address), port) is admitted
    assert str(source) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.1/24", "expected `192.0.2.0/24` for that network"),
        ("pbx.example.com", "expected an address or network"),
        ("192.0.2.1:0", "port 0 is not between"),
        ("", "expected an address or network"),
    ],
)
def test_trunk_source_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="found") as error:
        parse_trunk_source(text)
    assert says in str(error.value)
