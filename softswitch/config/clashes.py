"""Trunks are told apart by where their requests come from; here is where that would be a guess.

A trunk's ``to`` goes before every ``from``, and of networks the narrowest has the call; so networks
may overlap. The same address and port, or the same network, in two trunks is a mistake.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softswitch.config.addresses import (
    Listen,
    TrunkAddress,
    TrunkSource,
    parse_trunk_source,
    parse_trunk_uri,
)
from softswitch.config.places import Where


@dataclass(frozen=True, slots=True)
class _Claim:
    """One trunk's claim to a source. ``transport`` is that of ``to``, None for a ``from``."""

    trunk: str
    where: Where
    source: TrunkSource
    transport: str | None

    def clashes(self, other: _Claim) -> bool:
        """Whether a request could be either's. Both are of the same network."""
        if self.trunk == other.trunk:
            return False
        mine, theirs = self.source.port, other.source.port
        if self.transport is None and other.transport is None:
            return mine is None or theirs is None or mine == theirs
        same = None in (self.transport, other.transport) or self.transport == other.transport
        return same and mine == theirs


def trunk_clashes(
    trunks: Mapping[str, Any], listens: Sequence[Listen]
) -> Iterator[tuple[Where, str]]:
    """Each clash between trunks as written, with its place; what does not parse is passed over.

    A trunk that leads to one of ``listens`` is this switch itself: its calls would go in circles.
    """
    claimed: dict[object, list[_Claim]] = {}
    names: dict[tuple[str, int, str], str] = {}
    for trunk, entry in trunks.items():
        if not isinstance(entry, dict):
            continue
        claims = list(_from_claims(trunk, entry.get("from")))
        text = entry.get("to")
        try:
            to = parse_trunk_uri(text) if isinstance(text, str) else None
        except ValueError:
            to = None
        if to is not None:
            where: Where = ("trunks", trunk, "to")
            if any(_leads_to(to, listen) for listen in listens):
                yield where, f"`to`: {text} is this switch itself: its calls would go in circles"
            try:
                source = TrunkSource(ipaddress.ip_network(to.host), to.port)
                claims.insert(0, _Claim(trunk, where, source, to.transport))
            except ValueError:
                other = names.setdefault((to.host, to.port, to.transport), trunk)
                if other != trunk and not _told_apart(trunks, other, trunk):
                    yield where, f"`to`: {text} is where trunk `{other}` is already"
        for claim in claims:
            same_network = claimed.setdefault(claim.source.network, [])
            clash = next((other for other in same_network if other.clashes(claim)), None)
            if clash and _told_apart(trunks, clash.trunk, trunk):
                continue
            if clash:
                yield (
                    claim.where,
                    f"{claim.source} belongs to trunk `{clash.trunk}` too: a call from there could "
                    "be either's",
                )
            same_network.append(claim)


def _told_apart(trunks: Mapping[str, Any], one: str, other: str) -> bool:
    """Whether both are accounts with one carrier, which calls each by the number that is registered
    for it."""
    called: list[object] = []
    for name in (one, other):
        written = trunks.get(name)
        if not isinstance(written, dict) or written.get("register") is not True:
            return False
        called.append(written.get("contact_user") or written.get("user"))
    return called[0] != called[1]


def _leads_to(to: TrunkAddress, listen: Listen) -> bool:
    """Whether a call sent to ``to`` comes in at ``listen``."""
    if (to.transport, to.port) != (listen.transport, listen.port):
        return False
    if to.host == listen.host:
        return True
    return listen.host in ("0.0.0.0", "::") and _is_of_this_machine(to.host)


def _is_of_this_machine(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name: who asked would wait for DNS
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as ours:
            ours.bind((host, 0))
    except OSError:
        return False
    return True


def _from_claims(trunk: str, written: object) -> Iterator[_Claim]:
    listed = isinstance(written, list)
    for i, text in enumerate(written if isinstance(written, list) else [written]):
        where: Where = ("trunks", trunk, "from", i) if listed else ("trunks", trunk, "from")
        try:
            source = parse_trunk_source(text) if isinstance(text, str) else None
        except ValueError:
            continue
        if source is not None:
            yield _Claim(trunk, where, source, None)
