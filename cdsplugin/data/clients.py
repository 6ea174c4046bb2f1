"""Who may register with the store for a call. The methods are the callback of the source's control
interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cdsplugin.data.entries import Log, Property

if TYPE_CHECKING:
    from cdsplugin.data.store import Call


class Client(Protocol):
    """Who may register. These methods are the control interface's callback function.

    ``properties`` and ``logs`` are the entries that changed, and nothing else. A client is never
    told of what it wrote itself.
    """

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Entries of a call changed."""

    def ended(self, call: Call) -> None:
        """End of call: ``call.data`` has all entries, and the store has forgotten the call."""


class Watcher(Client, Protocol):
    """A client for all calls; it is told of registrations too. It does not keep a call alive."""

    def registered(self, call: Call, client: Client) -> None:
        """``client`` registered for ``call``."""

    def unregistered(self, call: Call, client: Client) -> None:
        """``client`` left ``call``; ``call.clients`` is who remains."""


@runtime_checkable
class SwitchClient(Client, Protocol):
    """A client on behalf of a switch that has the call."""

    switch: str
    """Its name."""
