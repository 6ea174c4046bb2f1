"""Where a SIP URI leads: NAPTR, SRV and address records (RFC 3263 §4, RFC 2782). No I/O: who knows
the DNS is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

DEFAULT_PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
_SERVICES: Final = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
_SRV: Final = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_MOST: Final = 16
"""Addresses that are kept of one name."""


class NoSuchName(OSError):
    """The DNS has no such record, and says so."""


class NotUnderstood(OSError):
    """Servers answer, but not what was asked: some routers know addresses alone."""


class NotOffered(OSError):
    """The DNS says that there is decidedly no such service (RFC 2782, a target of ``.``)."""


class Naptr(NamedTuple):
    """A NAPTR record, of those that lead to another name."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    """An SRV record."""

    priority: int
    weight: int
    port: int
    target: str


class Dns(Protocol):
    """Records, each with the seconds that they may be kept. Raises NoSuchName where there are none,
    NotUnderstood where servers fail at the question, OSError where nobody says anything."""

    def naptr(self, name: str) -> tuple[Sequence[Naptr], float]: ...
    def srv(self, name: str) -> tuple[Sequence[Srv], float]: ...
    def addresses(self, name: str) -> tuple[Sequence[str], float]:
        """Those of IPv4 and of IPv6, numeric."""


class Located(NamedTuple):
    """The addresses, the best first, all by one transport; and for how many seconds that is so."""

    transport: str
    addresses: tuple[tuple[str, int], ...]
    ttl: float


def locate(
    host: str,
    port: int | None,
    transport: str | None,
    dns: Dns,
    available: Sequence[str],
    chance: Callable[[], float],
    lost: bool = False,
) -> Located:
    """Where to send requests for `host`. `port` and `transport` are None where the URI names none;
    `available` are the transports that there are, `chance` is from 0 to 1 (below it). `lost`:
    nobody knows where it was before, so questions that no server understands are left out; else
    it had better stay there.

    Raises OSError, NoSuchName if there is no such name at all.
    """
    if lost:
        dns = _Lenient(dns)
    if port is not None:
        return _addresses(host, port, transport or "udp", dns)
    if transport is not None:
        try:
            return _servers(f"{_SRV[transport]}.{host}", transport, dns, chance)
        except (NoSuchName, KeyError):
            return _addresses(host, DEFAULT_PORTS[transport], transport, dns)
    for name, by, ttl in _services(host, dns, available):
        try:
            found = _servers(name, by, dns, chance)
        except (NoSuchName, NotOffered):
            continue
        return found._replace(ttl=min(ttl, found.ttl))
    refused: NotOffered | None = None
    for by in ("udp", "tcp"):
        if by in available:
            try:
                return _servers(f"{_SRV[by]}.{host}", by, dns, chance)
            except NoSuchName:
                continue
            except NotOffered as error:
                refused = error
    if refused is not None:
        # What its address is says nothing: who offers no SIP has a web server there perhaps.
        raise refused
    return _addresses(host, DEFAULT_PORTS["udp"], "udp", dns)


class _Lenient:
    """To which what is not understood is not there."""

    def __init__(self, dns: Dns) -> None:
        self._dns = dns
        self.addresses = dns.addresses

    def naptr(self, name: str) -> tuple[Sequence[Naptr], float]:
        try:
            return self._dns.naptr(name)
        except NotUnderstood as error:
            raise NoSuchName(str(error)) from error

    def srv(self, name: str) -> tuple[Sequence[Srv], float]:
        try:
            return self._dns.srv(name)
        except NotUnderstood as error:
            raise NoSuchName(str(error)) from error


def _services(host: str, dns: Dns, available: Sequence[str]) -> list[tuple[str, str, float]]:
    """The names of SRV records that the NAPTR records lead to, in their order, and transports."""
    try:
        records, ttl = dns.naptr(host)
    except NoSuchName:
        return []
    return [
        (one.replacement, by, ttl)
        for one in sorted(records)
        if one.flags.lower() == "s"
        and (by := _SERVICES.get(one.service.upper())) is not None
        and by in available
    ]


def _servers(name: str, transport: str, dns: Dns, chance: Callable[[], float]) -> Located:
    records, ttl = dns.srv(name)
    if len(records) == 1 and records[0].target in (".", ""):
        raise NotOffered(f"{name}: there is decidedly no such service")
    found: list[tuple[str, int]] = []
    why: OSError | None = None
    for server in in_order(records, chance):
        try:
            addresses, lasts = dns.addresses(server.target)
        except OSError as error:
            why = why or error
            continue
        ttl = min(ttl, lasts)
        found += [(address, server.port) for address in addresses]
    if not found:
        # There are servers, they cannot be found: that is no leave to go anywhere else.
        raise OSError(f"{name}: {why or 'no server'}")
    return Located(transport, tuple(dict.fromkeys(found))[:_MOST], ttl)


def _addresses(host: str, port: int, transport: str, dns: Dns) -> Located:
    addresses, ttl = dns.addresses(host)
    return Located(transport, tuple([(one, port) for one in addresses])[:_MOST], ttl)


def in_order(records: Sequence[Srv], chance: Callable[[], float]) -> list[Srv]:
    """In the order in which they are to be tried: by priority, and within one by weights drawn
    (RFC 2782)."""
    ordered: list[Srv] = []
    for priority in sorted({one.priority for one in records}):
        # Those of weight 0 first: they are hardly ever drawn, but never left out.
        left = sorted((one for one in records if one.priority == priority), key=lambda r: r.weight)
        while left:
            # A running sum from 0 to all of the weights, both included.
            drawn = int(chance() * (sum(one.weight for one in left) + 1))
            at = 0
            while (drawn := drawn - left[at].weight) > 0 and at < len(left) - 1:
                at += 1
            ordered.append(left.pop(at))
    return ordered
