"""Addresses as a configuration writes them: where the switch listens, where and who a trunk is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, TypeAlias, cast

from softswitch.config.places import did_you_mean
from softswitch.sip import DEFAULT_PORTS, escape_user, parse_uri

Transport: TypeAlias = Literal["udp", "tcp", "tls", "ws", "wss"]
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
AVAILABLE = ("udp", "tcp", "tls")
"""By which trunks can be reached; phones come by WebSocket as well."""

_HOST_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. ``host`` is an IP address without brackets; port 0 means a free one."""

    transport: Transport
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"

    @property
    def at(self) -> str:
        """Host and port, as a URI has them."""
        return str(self).partition(":")[2]

    def clashes(self, other: Listen) -> bool:
        """Whether both cannot be open at once: the same kind of port, overlapping address. TLS and
        WebSocket are over TCP."""
        if self.port != other.port or not self.port:
            return False
        if (self.transport == "udp") != (other.transport == "udp"):
            return False
        mine, theirs = ipaddress.ip_address(self.host), ipaddress.ip_address(other.host)
        same_family = mine.version == theirs.version
        return mine == theirs or (same_family and (mine.is_unspecified or theirs.is_unspecified))


@dataclass(frozen=True, slots=True)
class TrunkAddress:
    """Where a trunk's calls are sent. ``host`` is a name or an IP address without brackets.

    ``user`` is the user part of the ``to`` URI, empty if it has none. ``said_port`` and
    ``said_transport``: the URI names them; else the DNS may (RFC 3263). ``domain`` is host and port
    as a URI has them, the port if it was said and is not the usual one; ``where`` also its
    parameters.
    """

    host: str
    port: int
    transport: Transport
    user: str = ""
    said_port: bool = field(default=True, compare=False)
    said_transport: bool = field(default=True, compare=False)
    domain: str = field(init=False, compare=False)
    where: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Once, and not with each call: what a URI has behind its `@`.
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = DEFAULT_PORTS[self.transport]
        domain = f"{host}:{self.port}" if self.said_port and self.port != usual else host
        kind = f";transport={self.transport}" if self.transport != "udp" else ""
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "where", domain + kind)

    def uri(self, user: str = "") -> str:
        """Of somebody there (`user` as it is, not escaped yet), or of the place itself."""
        return f"sip:{escape_user(user)}@{self.where}" if user else f"sip:{self.where}"


@dataclass(frozen=True, slots=True)
class TrunkSource:
    """Where a trunk's requests come from: a network (an address is one of a single host), any port
    if ``port`` is None."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    def __str__(self) -> str:
        single = self.network.num_addresses == 1
        host = str(self.network.network_address if single else self.network)
        if self.port is None:
            return host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def admits(self, address: IPv4Address | IPv6Address, port: int) -> bool:
        """Whether a request from this address and port is the trunk's."""
        return address in self.network and self.port in (None, port)


def parse_hep(text: str) -> Listen:
    """``udp:192.0.2.9:9060``, where a capture server is. Raises ValueError."""
    try:
        found = parse_listen(text)
    except ValueError:
        found = None
    if found is None or found.transport != "udp" or not found.port:
        raise ValueError(f"found `{text}`, expected udp:ADDRESS:PORT, the address an IP address")
    return found


def parse_listen(text: str) -> Listen:
    """``udp:127.0.0.1:5060`` or ``wss:[::1]:443``. Raises ValueError, saying what was expected."""
    transport, colon, rest = text.partition(":")
    if not colon:
        raise ValueError(f"found `{text}`, expected TRANSPORT:ADDRESS:PORT as in udp:0.0.0.0:5060")
    if transport not in TRANSPORTS:
        hint = did_you_mean(transport, TRANSPORTS)
        raise ValueError(f"found `{text}`: unknown transport `{transport}`{hint}")
    match = _HOST_PORT.fullmatch(rest)
    if not match:
        example = f"{transport}:0.0.0.0:5060 or {transport}:[::1]:5060"
        raise ValueError(f"found `{text}`, expected TRANSPORT:ADDRESS:PORT as in {example}")
    host = match["six"] or match["host"] or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        example = "127.0.0.1, or 0.0.0.0 for all"
        raise ValueError(f"found `{text}`: `{host}` is no IP address such as {example}") from None
    return Listen(cast(Transport, transport), str(address), _port(match["port"], text, least=0))


def parse_resolver(text: str) -> tuple[str, int]:
    """``192.0.2.53``, ``192.0.2.53:5353``, ``[2001:db8::53]:5353``. Raises ValueError."""
    host, port = text, 53
    match = _HOST_PORT.fullmatch(text)
    if match:
        host, port = match["six"] or match["host"] or "", _port(match["port"], text)
    if not _is_address(host):
        raise ValueError(f"found `{text}`, expected the IP address of a DNS server")
    return host, port


def parse_route(text: str) -> str:
    """``sip:edge.example.com;lr``, as it is. Raises ValueError, saying what was expected."""
    example = "sip:edge.example.com;lr"
    try:
        uri = parse_uri(text)
    except ValueError:
        raise ValueError(f"found `{text}`, expected a SIP URI such as {example}") from None
    if uri.scheme not in ("sip", "sips"):
        raise ValueError(f"found `{text}`, expected a SIP URI such as {example}")
    if "lr" not in uri.params:
        raise ValueError(f"found `{text}`: a proxy's URI needs `;lr`, as in {example}")
    return text


def parse_trunk_uri(text: str) -> TrunkAddress:
    """``sip:[USER@]HOST[:PORT][;transport=tcp]``, ``sips:HOST``. Raises ValueError, saying what was
    expected."""
    example = "sip:192.0.2.1:5060 or sip:pbx.example.com;transport=tcp"
    try:
        uri = parse_uri(text)
    except ValueError:
        if digits := re.search(r":([0-9]+)(?=[;?]|$)", text):
            _port(digits[1], text)
        raise ValueError(f"found `{text}`, expected a SIP URI such as {example}") from None
    if uri.scheme not in ("sip", "sips") or not uri.host:
        raise ValueError(f"found `{text}`, expected a SIP URI such as {example}")
    secure = uri.scheme == "sips"
    said = (uri.params.get("transport") or "").lower()
    if secure and said not in ("", "tls", "tcp"):
        raise ValueError(f"found `{text}`: sips: is TLS, not {said}")
    transport = "tls" if secure else said or "udp"
    if transport not in TRANSPORTS:
        hint = did_you_mean(transport, TRANSPORTS)
        raise ValueError(f"found `{text}`: unknown transport `{transport}`{hint}")
    if transport not in AVAILABLE:
        raise ValueError(f"found `{text}`: no trunk is reached by {transport}, which browsers use")
    host = uri.host.strip("[]")
    if re.fullmatch(r"[0-9.]+", host) and not _is_address(host):
        raise ValueError(f"found `{text}`: `{host}` is no IP address")
    default = DEFAULT_PORTS[transport]
    port = default if uri.port is None else _port(str(uri.port), text)
    return TrunkAddress(
        host,
        port,
        cast(Transport, transport),
        uri.user,
        uri.port is not None,
        secure or bool(said),
    )


def parse_public(text: str) -> str:
    """An IP address, or a host name. Raises ValueError, saying what was expected."""
    if _is_address(text) or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9]", text):
        return text
    raise ValueError(f"found `{text}`, expected the address by which others reach this switch")


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """``192.0.2.0/24``. Raises ValueError, saying what was expected."""
    source = parse_trunk_source(text)
    if source.port is not None:
        raise ValueError(f"found `{text}`, expected a network without a port")
    return source.network


def parse_trunk_source(text: str) -> TrunkSource:
    """``192.0.2.1``, ``192.0.2.0/24``, ``192.0.2.1:5060``, ``[2001:db8::1]:5060``.

    Raises ValueError, saying what was expected.
    """
    host, port = text, None
    match = _HOST_PORT.fullmatch(text)
    if match:
        host, port = match["six"] or match["host"] or "", _port(match["port"], text)
    try:
        return TrunkSource(ipaddress.ip_network(host), port)
    except ValueError as error:
        if "host bits set" in str(error):
            right = ipaddress.ip_network(host, strict=False)
            raise ValueError(f"found `{text}`, expected `{right}` for that network") from None
    example = "192.0.2.1, 192.0.2.0/24 or 192.0.2.1:5060"
    raise ValueError(f"found `{text}`, expected an address or network such as {example}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _port(digits: str, text: str, least: int = 1) -> int:
    if len(digits) > 5 or not least <= int(digits) <= 65535:
        raise ValueError(f"found `{text}`: port {digits} is not between {least} and 65535")
    return int(digits)
