"""The network health monitor: which servers are alive, and who is told when that changes.

From the source: it "regularly receives 'I'm alive' messages from CDS instances. If the message is
not received within a predetermined amount of time (e.g. 30 seconds) the network health monitor
module informs the server that a network outage has potentially occurred." ``Alive`` goes only
between servers that share live calls; any other frame counts as a sign of life too, and so does a
new connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdsplugin.data import Handle, Timers


@dataclass(slots=True)
class _Peer:
    heard: int
    down: bool = False


class Health:
    """Watches the servers with which calls are shared. One timer for all of them, and one for the
    next that will have been silent for too long, if that is before they are looked at again.

    ``send_alive(server)`` is called every ``alive_interval`` seconds for each, ``on_down(server)``
    when one was silent for ``dead_after`` seconds. ``report(server, up)`` is called once with false
    then, and once with true when it is heard again, also if no call is shared with it by that time:
    ``limit`` such servers are remembered.
    """

    def __init__(
        self,
        timers: Timers,
        alive_interval: float,
        dead_after: float,
        send_alive: Callable[[str], None],
        on_down: Callable[[str], None],
        report: Callable[[str, bool], None],
        limit: int = 1000,
    ) -> None:
        self._timers = timers
        self._interval = alive_interval
        self._dead_after_us = int(dead_after * 1_000_000)
        self._send_alive = send_alive
        self._on_down = on_down
        self._report = report
        self._limit = limit
        self._peers: dict[str, _Peer] = {}
        self._silent: dict[str, None] = {}
        """Reported as down, and not heard since."""
        self._timer: Handle | None = None
        self._deadline: Handle | None = None

    def watch(self, server: str) -> None:
        """A first live call is shared with ``server``."""
        if server not in self._peers:
            self._peers[server] = _Peer(self._timers.monotonic_us())
            if self._timer is None:
                self._timer = self._timers.schedule(self._interval, self._tick)

    def unwatch(self, server: str) -> None:
        """The last call shared with ``server`` is over."""
        peer = self._peers.pop(server, None)
        missed = peer is not None and server in self._silent
        if missed and sum(name not in self._peers for name in self._silent) > self._limit:
            del self._silent[server]
        if not self._peers:
            self._no_timers()

    def heard(self, server: str) -> None:
        """Any frame came from ``server``."""
        peer = self._peers.get(server)
        if peer is not None:
            peer.heard = self._timers.monotonic_us()
            peer.down = False
        if self._silent and server in self._silent:
            del self._silent[server]
            self._report(server, True)

    def watches(self, server: str) -> bool:
        """Whether live calls are shared with ``server``."""
        return server in self._peers

    def is_down(self, server: str) -> bool:
        """Whether ``server`` is silent at present. False for one that is not watched: it may be
        back, and nobody has tried."""
        peer = self._peers.get(server)
        return peer is not None and peer.down

    def is_missed(self, server: str) -> bool:
        """Whether ``server`` was reported as down, and has not been heard since."""
        return server in self._silent

    def down(self) -> list[str]:
        """The servers that were reported as down, and have not been heard since."""
        return list(self._silent)

    def stop(self) -> None:
        """Forget everything."""
        self._peers.clear()
        self._silent.clear()
        self._no_timers()

    def _no_timers(self) -> None:
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._timer = self._deadline = None

    def _tick(self) -> None:
        self._timer = self._timers.schedule(self._interval, self._tick)
        for server in list(self._peers):
            self._send_alive(server)
        self._look()

    def _look(self) -> None:
        """Who has been silent for too long? Whoever will be before the next tick is looked at
        then: it is known after ``dead_after``, not up to an interval later."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        now = self._timers.monotonic_us()
        silent = [
            server
            for server, peer in self._peers.items()
            if not peer.down and now - peer.heard >= self._dead_after_us
        ]
        for server in silent:
            peer = self._peers.get(server)
            if peer is not None and not peer.down:
                peer.down = True
                if server not in self._silent:
                    self._silent[server] = None
                    self._report(server, False)
                self._on_down(server)
        heard = min((peer.heard for peer in self._peers.values() if not peer.down), default=now)
        left = (heard + self._dead_after_us - now) / 1_000_000
        if self._timer is not None and left < self._interval:
            self._deadline = self._timers.schedule(max(left, 0.0), self._look)
