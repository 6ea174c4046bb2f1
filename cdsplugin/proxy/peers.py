"""The other servers, as the network proxy knows them: what is shared with each, and what is sent.

What is sent waits until what was stored before is on disk (``Journal.after_commit``): nothing of
this server's is known elsewhere that it could lose, so that after a crash it cannot give a stamp
twice, and others have of each author's entries a beginning. ``Alive`` alone does not wait, as it
measures the round trip; all other frames do, for they must keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from cdsplugin.data import NOTHING_ELSE, Call, Frame, Handle, Standing
from cdsplugin.proxy.health import Health
from cdsplugin.proxy.participants import RegistrationMonitor


class Network(Protocol):
    """What carries the frames: in order, to a connected server; what is sent to another is
    dropped."""

    def knows(self, server: str) -> bool:
        """Whether there is a way to ``server``: an address, or a connection that it opened."""

    def want(self, server: str, wanted: bool) -> None:
        """Keep a connection to ``server`` (dial it again whenever it is lost), or need it no
        more."""

    def send(self, server: str, frame: Frame) -> None:
        """Send a frame."""

    def drop(self, server: str) -> None:
        """Close the connection: that server has been silent for too long."""


class Journal(Protocol):
    """What keeps live calls through a crash: the journal."""

    def after_commit(self, then: Callable[[], None], must: bool = False) -> None:
        """Call ``then`` once all that was stored so far is on disk. Without ``must`` also if the
        disk refuses."""

    def shared(
        self,
        call_id: str,
        owner: str,
        present: Sequence[str],
        past: Sequence[str],
        standing: Standing = NOTHING_ELSE,
    ) -> None:
        """Who takes part in a call besides this server, and what else it has to know of it."""

    def left(self, call_id: str, settled: bool = True) -> None:
        """Nobody here takes part in a call; its head has (or has not) all that we have of it."""

    def restamped(self, call: Call) -> None:
        """All entries of a call have other stamps than before."""

    def based(self, call: Call) -> None:
        """The owner of a call has said what time it is there."""

    def released(self, call_id: str) -> None:
        """A call that is over here is no more needed: it was in ``Store.kept``, or is none of ours
        and recorded elsewhere."""


class NoJournal:
    """For a server that keeps nothing through a crash: all is said to be stored at once."""

    def after_commit(self, then: Callable[[], None], must: bool = False) -> None:
        """At once."""
        then()

    def shared(
        self,
        call_id: str,
        owner: str,
        present: Sequence[str],
        past: Sequence[str],
        standing: Standing = NOTHING_ELSE,
    ) -> None:
        """Not kept."""

    def left(self, call_id: str, settled: bool = True) -> None:
        """Not kept."""

    def restamped(self, call: Call) -> None:
        """Not kept."""

    def based(self, call: Call) -> None:
        """Not kept."""

    def released(self, call_id: str) -> None:
        """Not kept."""


class Peer:
    """A server that we heard of or share calls with. The sets are of callIDs, in order."""

    __slots__ = (
        "asking", "basing", "connected", "headed", "heard_at", "heard_sent", "joined", "preferred",
        "reachable", "session", "trying",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connected = False
        self.session = 0
        """Counts its connections, so that what was meant for one is not sent on the next."""
        self.heard_sent = 0
        self.heard_at = 0
        self.joined: dict[str, None] = {}
        """Calls that it owns and in which we take part."""
        self.headed: dict[str, None] = {}
        """Calls of others of which it is our head: the caretaker with which we are registered."""
        self.preferred: dict[str, None] = {}
        """Calls of which it would be the caretaker if it could be reached."""
        self.reachable = True
        """False after an attempt that took too long, until it is connected."""
        self.basing: Handle | None = None
        """Connected, but its clock is not known yet."""
        self.trying: Handle | None = None
        self.asking: Handle | None = None
        """Connected again, and to be asked for the calls that it has not registered for by then."""


class Peers:
    """See the module."""

    def __init__(
        self, network: Network, journal: Journal, health: Health, monitor: RegistrationMonitor
    ) -> None:
        self.network = network
        self.health = health
        self._journal = journal
        self._monitor = monitor
        self._simple = isinstance(journal, NoJournal)
        self._peers: dict[str, Peer] = {}
        self.frames_out = 0

    def get(self, server: str) -> Peer | None:
        """What is known of ``server``."""
        return self._peers.get(server)

    def of(self, server: str) -> Peer:
        """What is known of ``server``; made if nothing was."""
        peer = self._peers.get(server)
        if peer is None:
            peer = self._peers[server] = Peer()
        return peer

    def all(self) -> list[tuple[str, Peer]]:
        """All servers we heard of."""
        return list(self._peers.items())

    def connected(self, server: str) -> bool:
        """Whether there is a connection to ``server``."""
        peer = self._peers.get(server)
        return peer is not None and peer.connected

    def living(self, server: str) -> bool:
        """Connected, and not silent."""
        return self.connected(server) and not self.health.is_down(server)

    def send(self, server: str, frame: Frame, *, must: bool = False) -> None:
        """Send a frame once what was stored before is on disk; with ``must`` not before, even if
        the disk refuses."""
        peer = self._peers.get(server)
        if peer is None or not peer.connected:
            return
        if self._simple:
            self.frames_out += 1
            self.network.send(server, frame)
        else:
            self._journal.after_commit(partial(self._send, peer, peer.session, server, frame), must)

    def _send(self, peer: Peer, session: int, server: str, frame: Frame) -> None:
        if peer.session == session and peer.connected:
            self.frames_out += 1
            self.network.send(server, frame)

    def send_now(self, server: str, frame: Frame) -> None:
        """Send a frame that says nothing of what is stored."""
        if self.connected(server):
            self.frames_out += 1
            self.network.send(server, frame)

    def idle(self, server: str) -> None:
        """Stop watching ``server`` if no call is shared with it any more."""
        peer = self._peers.get(server)
        if peer is None or peer.joined or peer.headed or peer.preferred:
            return
        if peer.trying is not None:
            peer.trying.cancel()
            peer.trying = None
        if not self._monitor.calls_of(server):
            self.health.unwatch(server)
        # One that is missed is dialled on: nobody else would notice that it is back.
        missed = self.health.is_missed(server)
        self.network.want(server, missed or bool(self._monitor.awaited(server)))

    def clear(self) -> None:
        """Forget everything."""
        for peer in self._peers.values():
            for timer in (peer.trying, peer.basing, peer.asking):
                if timer is not None:
                    timer.cancel()
        self._peers.clear()
