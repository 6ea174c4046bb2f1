"""A call's head while its owner is dead: the first living name of the list of participants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cdsplugin.data import Call, Timers
from cdsplugin.proxy.joined import Joined, JoinedCalls, Stage
from cdsplugin.proxy.peers import Peers


class Heads:
    """Finds it, and has ``register`` called for it. ``caretaker_within``: seconds that a server on
    the list may take to be reached before the next one is tried."""

    def __init__(
        self,
        calls: JoinedCalls,
        timers: Timers,
        peers: Peers,
        register: Callable[[Call, Joined], None],
        caretaker_within: float,
    ) -> None:
        self.server = calls.server
        self._calls = calls
        self._timers = timers
        self._peers = peers
        self._register = register
        self._caretaker_within = caretaker_within

    def seek_instead(self, server: str, call_ids: list[str]) -> None:
        """Another one for each of these calls of which ``server`` is the head and not there."""
        self._calls.some(call_ids, partial(self._seek_instead, server))

    def _seek_instead(self, server: str, call: Call, joined: Joined) -> None:
        # Of many calls these are the turn of later: it may be back by now.
        gone = not self._peers.connected(server)
        if gone and joined.head == server and joined.stage is Stage.WAITING:
            self.seek(call, joined)

    def seek(self, call: Call, joined: Joined) -> None:
        """The owner is dead: ask the first living name before ours on the list, or take care."""
        for name in joined.listed:
            if name == self.server:
                break
            if name == call.owner:
                continue
            peer = self._peers.of(name)
            reachable = peer.connected or (
                peer.reachable
                and self._peers.network.knows(name)
                and not self._peers.health.is_down(name)
            )
            if name in joined.tried or not reachable:
                peer.preferred[call.call_id] = None
                self._peers.network.want(name, True)
                continue
            self.ask(call, joined, name)
            return
        self.care(call, joined)

    def ask(self, call: Call, joined: Joined, name: str) -> None:
        """Register with this one."""
        self._calls.set_head(call, joined, name)
        self._peers.health.watch(name)
        if self._peers.connected(name):
            self._register(call, joined)
        else:
            joined.stage = Stage.WAITING
            self._peers.network.want(name, True)
            self.reach(name)

    def reach(self, server: str) -> None:
        """A head is not connected: it has so long to be, before another one is sought."""
        peer = self._peers.of(server)
        if peer.trying is None:
            peer.trying = self._timers.schedule(
                self._caretaker_within, lambda: self._not_reached(server)
            )

    def _not_reached(self, server: str) -> None:
        peer = self._peers.of(server)
        peer.trying = None
        if not peer.connected:
            peer.reachable = False
            self.seek_instead(server, [*peer.headed])

    def care(self, call: Call, joined: Joined) -> None:
        """Take the owner's place. A call that is over here only waits for the owner."""
        if self._calls.is_kept(call):
            self._calls.set_head(call, joined, call.owner)
            joined.stage = Stage.WAITING
            return
        self._calls.set_head(call, joined, self.server)
        joined.stage = Stage.CARETAKER
        self._calls.lead(call, joined)

    def before(self, server: str, joined: Joined) -> bool:
        """Whether ``server`` comes before the present head on the list."""
        head = joined.head if joined.head in joined.listed else self.server
        for name in joined.listed:
            if name in (server, head):
                return name == server
        return False
