"""Hosts and ports as SIP writes them, and this machine's own addresses."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Final


@lru_cache(maxsize=8192)
def is_numeric(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


_LOOPBACK_RE: Final = re.compile(r"127\.|::1\Z")
# RFC 1918, 6598, 3927; of IPv6 RFC 4193 and link-local.
_PRIVATE_RE: Final = re.compile(
    r"10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\."
    r"|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:",
    re.I,
)


def unreachable_from(host: str, source: str) -> bool:
    """Whether a peer whose messages come from `source` cannot mean this address, as its own network
    alone knows it: it is private, or loopback, and `source` is not of the same kind."""
    if _LOOPBACK_RE.match(host):
        return not _LOOPBACK_RE.match(source)
    return bool(_PRIVATE_RE.match(host)) and not _PRIVATE_RE.match(source)


def is_public(host: str) -> bool:
    """Whether an address is no network's own: hosts behind a NAT share it."""
    return not _PRIVATE_RE.match(host) and not _LOOPBACK_RE.match(host)


class Outside:
    """By which host peers know a switch that is behind a NAT: `public`, but for those in its own
    networks. Those are private addresses, and what `local` has besides."""

    def __init__(self, public: str, local: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._public = public
        self._local = tuple(local)

    def __call__(self, host: str) -> str:
        """Empty: by its own address."""
        if _PRIVATE_RE.match(host) or _LOOPBACK_RE.match(host):
            return ""
        if (":" in host) != (":" in self._public) and is_numeric(self._public):
            return ""  # of another kind: it is not what that peer's packets come to
        if self._local:
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return ""
            if any(address in network for network in self._local):
                return ""
        return self._public


def overlaps(network: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether one of them has part of a network, as `network_of` gives it."""
    try:
        mine = ipaddress.ip_network(network)
    except ValueError:
        return False
    return any(one.version == mine.version and one.overlaps(mine) for one in networks)


def host_port(host: str, port: int) -> str:
    """``host:port`` as SIP writes it, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_address_for(host: str) -> str:
    """The address of this machine that packets to `host` leave from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        name: str = probe.getsockname()[0]
        return name


def network_of(host: str) -> str:
    """What one host can have addresses of: an IPv4 address alone, an IPv6 network of 64 bits. Of
    such a network it is the same."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0].removesuffix("/64"))
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
