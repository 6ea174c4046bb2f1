"""The way to one server: where it is dialled, the connection there is, and what is known of its
former ones.

A server says with each greeting which of its starts it is (``instance``), and a start that is over
never comes back. So one that does, after another had taken its place, is another server of the
same name.
"""

from __future__ import annotations

import asyncio
import logging

from cdsplugin.link.connection import Connection
from cdsplugin.link.limits import LinkLimits

log = logging.getLogger("cdsplugin.link")

_SAID_EVERY = 600.0
"""Seconds between two lines of the log that say the same two servers have one name."""

_STARTS = 8
"""So many starts of a server are remembered."""


class Way:
    """``address`` is None if we do not know it: then the server dials us. Times are the loop's."""

    __slots__ = (
        "_before", "_instance", "_returns", "_said", "_since", "address", "complaint", "connection",
        "dial", "not_before", "pause", "pending", "server", "wanted",
    )  # fmt: skip

    def __init__(self, server: str, address: tuple[str, int] | None) -> None:
        self.server = server
        self.address = address
        self.wanted = False
        self.connection: Connection | None = None
        self.pending: Connection | None = None
        """Dialled by us and connected, but not greeted yet."""
        self.dial: asyncio.Task[None] | None = None
        self.not_before = 0.0
        """When it may be dialled again."""
        self.pause = 0.0
        self.complaint = ""
        self._since = 0.0
        """When the last connection was made."""
        self._instance = ""
        """Its start that was connected last."""
        self._before: dict[str, str] = {}
        """Those whose place another has taken, and where they were."""
        self._returns = 0
        """How often one of these has come back."""
        self._said: float | None = None

    def rest(self, now: float, limits: LinkLimits) -> float:
        """Seconds until it may be dialled."""
        if now > self.not_before + limits.dead_after:
            self.pause = 0.0  # that was long ago
        return self.not_before - now

    def failed(self, now: float, limits: LinkLimits, jitter: float) -> None:
        """It could not be reached, or the connection did not last: dialled again, but later."""
        self.pause = min(max(self.pause * 2, limits.reconnect_min), limits.reconnect_max)
        self.not_before = now + self.pause * jitter

    def taken(self, connection: Connection, now: float) -> None:
        """This is its connection from now on."""
        older = self.connection
        instance = connection.instance
        if self._instance not in ("", instance):
            if instance in self._before:
                del self._before[instance]
                if older is not None:
                    self._returns += 1
                    if self._has_a_twin():
                        self._say(older.remote, connection.remote, now)
            self._before[self._instance] = older.remote if older is not None else ""
            if len(self._before) > _STARTS:
                del self._before[next(iter(self._before))]
        self._instance = instance
        self._since = now
        self.connection = connection
        self.complaint = ""

    def lost(self, now: float, limits: LinkLimits, jitter: float) -> None:
        """Its connection is gone."""
        self.connection = None
        if now - self._since < limits.dead_after:
            self.failed(now, limits, jitter)
        else:
            self.pause = 0.0

    def refuses(self, connection: Connection, now: float, limits: LinkLimits) -> bool:
        """Whether this new connection is that of a twin, and the other one of them is alive."""
        other = self.connection
        if (
            other is None
            or not self._has_a_twin()
            or connection.instance not in self._before
            or now - other.heard >= limits.dead_after
        ):
            return False
        self._say(connection.remote, other.remote, now)
        return True

    def _has_a_twin(self) -> bool:
        """Whether two servers have this name. Once only may be chance: greetings that were handled
        in another order than they were sent."""
        return self._returns > 1

    def _say(self, one: str, stays: str, now: float) -> None:
        if self._said is not None and now - self._said < _SAID_EVERY:
            return
        self._said = now
        log.error(
            "two servers are called %s: at %s and at %s; the latter stays connected while it is"
            " heard, and the other is refused. Give one of them another name (cds.server,"
            " switch.name)",
            self.server,
            one,
            stays,
        )
