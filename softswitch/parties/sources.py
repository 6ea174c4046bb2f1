"""Whose request this is: the trunk from which it comes, by its address."""

from __future__ import annotations

from collections.abc import Mapping

from softswitch.config import Trunk
from softswitch.dialplan import Source
from softswitch.parties.trunks import Trunks
from softswitch.sip import Flow, Request, parse_uri


class Sources:
    """What the dialplan calls each trunk: one `Source` for all requests of a trunk."""

    def __init__(self, trunks: Trunks, entries: Mapping[str, Trunk]) -> None:
        self._trunks = trunks
        self.contacts: Mapping[str, str] = {}
        """Trunks by the number at which we are registered there."""
        self.take_up(entries)

    def take_up(self, entries: Mapping[str, Trunk]) -> None:
        """Go on with these trunks."""
        self._entries = entries
        trunks = entries.values()
        self._sources = {trunk.name: Source("trunk", trunk.name, trunk.switch) for trunk in trunks}
        self.natted = frozenset(trunk.name for trunk in trunks if trunk.nat)
        """Trunks that are reached only where their requests come from."""
        self.refer = frozenset(trunk.name for trunk in trunks if trunk.refer)
        """Trunks that may transfer calls."""
        self.outside = frozenset(f"trunk:{trunk.name}" for trunk in trunks if not trunk.switch)
        """The parties that are trunks of others."""

    def of(self, request: Request, flow: Flow) -> Source | None:
        """The trunk from which a request comes, which thereby lives."""
        host, port = flow.remote
        trunk = self._trunks.by_source(flow.transport, host, port, request.via.port)
        if trunk is None:
            return None
        if self.contacts:
            trunk = self._called(trunk, request, host)
        if self._trunks.down:
            self._trunks.heard(trunk.name)
        return self._sources[trunk.name]

    def _called(self, trunk: Trunk, request: Request, host: str) -> Trunk:
        """Of several accounts with one carrier, who all come from there: the one that is called by
        the number it is registered at."""
        try:
            name = self.contacts.get(parse_uri(request.uri).user)
        except ValueError:
            return trunk
        if name is None or name == trunk.name or name not in self._entries:
            return trunk
        return self._entries[name] if self._trunks.is_from(name, host) else trunk
