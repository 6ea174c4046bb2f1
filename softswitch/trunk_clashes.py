"""Trunks are told apart by where their requests come from: no two may share an address and port."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softswitch.addresses import Listen, TrunkSource, parse_trunk_source, parse_trunk_uri
from softswitch.yaml_places import Where


@dataclass(frozen=True, slots=True)
class _Claim:
    """One trunk's claim to an address. ``transport`` is None where any counts (``from:``)."""

    trunk: str
    where: Where
    source: TrunkSource
    transport: str | None

    def clashes(self, other: _Claim) -> bool:
        transports = None in (self.transport, other.transport) or self.transport == other.transport
        return self.trunk != other.trunk and transports and self.source.overlaps(other.source)


def trunk_clashes(
    trunks: Mapping[str, Any], listens: Sequence[Listen]
) -> Iterator[tuple[Where, str]]:
    """Each clash between trunks as written, with its place; what does not parse is passed over.

    A trunk that leads to one of ``listens`` is this switch itself: its calls would go in circles.
    """
    hosts: dict[object, list[_Claim]] = {}
    networks: list[_Claim] = []
    names: dict[tuple[str, int, str], str] = {}
    for trunk, entry in trunks.items():
        if not isinstance(entry, dict):
            continue
        text = entry.get("to")
        try:
            to = parse_trunk_uri(text) if isinstance(text, str) else None
        except ValueError:
            to = None
        claims = list(_from_claims(trunk, entry.get("from")))
        if to is not None:
            where: Where = ("trunks", trunk, "to")
            if any(
                (to.transport, to.host, to.port) == (o.transport, o.host, o.port) for o in listens
            ):
                yield where, f"`to`: {text} is this switch itself: its calls would go in circles"
            try:
                network = ipaddress.ip_network(to.host)
            except ValueError:
                named = (to.host, to.port, to.transport)
                other = names.setdefault(named, trunk)
                if other != trunk:
                    yield where, f"`to`: {text} is where trunk `{other}` is already"
            else:
                port = to.port if to.transport == "udp" else None
                claims.insert(0, _Claim(trunk, where, TrunkSource(network, port), to.transport))
        for claim in claims:
            network = claim.source.network
            single = network.num_addresses == 1
            if single:
                against = hosts.get(network, []) + networks
            else:
                against = [c for at in hosts.values() for c in at] + networks
            clash = next((other for other in against if other.clashes(claim)), None)
            if clash:
                yield (
                    claim.where,
                    f"{claim.source} belongs to trunk `{clash.trunk}` too ({clash.source}): "
                    "a call from there could be either's",
                )
        for claim in claims:
            network = claim.source.network
            if network.num_addresses == 1:
                hosts.setdefault(network, []).append(claim)
            else:
                networks.append(claim)


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
