"""The network proxy: the local store's link to the stores of other servers.

The source's "network proxy", with its registration monitor (``participants``), network health
monitor (``health``), timestamp module (``clock``) and, here, remote update. To the local store it
is a client for all calls; towards other servers it takes frames and emits frames. No I/O:
``Network`` carries the frames.

For a call of this server it keeps the participant list and sends each change to everyone on it but
the author. For a call of another server it registers with that owner on behalf of the local
participants, sends it their changes, hands its updates to the local store, and unregisters when the
last of them leaves.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cdsplugin.clock import Clock, Timers
from cdsplugin.disk import Shared
from cdsplugin.entries import Log, Property
from cdsplugin.frames import (
    Alive,
    EndOfCall,
    Frame,
    Hello,
    Refused,
    Register,
    Registered,
    Unregister,
    Unregistered,
    Update,
)
from cdsplugin.health import Health
from cdsplugin.participants import RegistrationMonitor
from cdsplugin.store import Call, Client, Store

log = logging.getLogger("cdsplugin.proxy")

_ACKNOWLEDGE = (Unregistered, EndOfCall)
"""What makes the other side forget: never sent before it is on disk, not even while that is full.
"""


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


class Keeper(Protocol):
    """What keeps calls on disk: the journal."""

    def after_commit(self, then: Callable[[], None], must: bool = False) -> None:
        """Call ``then`` once everything told so far is on disk. ``must``: never before that."""

    def shared(self, call_id: str, owner: str, present: Sequence[str], past: Sequence[str]) -> None:
        """The participants of a call changed."""


class Stage(enum.Enum):
    """How far our registration with a call's owner is."""

    WAITING = "waiting for a connection to the owner"
    FIRST = "registered for the first time, no answer yet"
    RENEWING = "registering again, no answer yet"
    LIVE = "registered"
    LEAVING = "unregistering"
    UNSHARED = "the owner cannot be reached by configuration, or refused"


class _Joined:
    """A call of another server in which we take part. ``known``: we were registered before."""

    __slots__ = ("known", "stage")

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.known = False


class _Peer:
    """A server that we heard of or share calls with."""

    __slots__ = ("connected", "connection", "heard_at", "heard_sent", "joined")

    def __init__(self) -> None:
        self.connected = False
        self.connection = 0
        """Counts connections: what waited for the disk is not sent on a later one."""
        self.heard_sent = 0
        self.heard_at = 0
        self.joined: set[str] = set()
        """Calls that it owns and in which we take part."""


class NetworkProxy:
    """See the module. ``on_health(server, up)`` is called when a server falls silent or is back."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timers: Timers,
        network: Network,
        *,
        alive_interval: float = 5.0,
        dead_after: float = 30.0,
        reregister_within: float = 300.0,
        reregister_batch: int = 200,
        max_remote_calls: int = 200_000,
        on_health: Callable[[str, bool], None] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.server = store.server
        self._store = store
        self._clock = clock
        self._timers = timers
        self._network = network
        self._batch = reregister_batch
        self._max_remote_calls = max_remote_calls
        self._on_health = on_health
        self._keeper = keeper
        self._peers: dict[str, _Peer] = {}
        self._joined: dict[str, _Joined] = {}
        self._unknown_owners: set[str] = set()
        self.monitor = RegistrationMonitor(timers, reregister_within, self._not_renewed)
        self.health = Health(
            timers, alive_interval, dead_after, self._send_alive, self._down, self._up
        )
        self.frames_in = 0
        self.frames_out = 0
        store.watch(self)

    # From the local store: the proxy as its client for all calls

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """A local participant changed entries: on to the owner, or to all remote participants."""
        if call.owner == self.server:
            participants = self.monitor.of(call.call_id)
            if participants is not None and participants.present:
                frame = Update(call.call_id, list(properties), list(logs))
                for server in participants.present:
                    self._send(server, frame)
            return
        joined = self._joined.get(call.call_id)
        if joined is not None and joined.stage in (Stage.FIRST, Stage.LIVE):
            self._send(call.owner, Update(call.call_id, list(properties), list(logs)))

    def registered(self, call: Call, client: Client) -> None:
        """A local participant came: register with the owner on its behalf."""
        if call.owner == self.server:
            return
        joined = self._joined.get(call.call_id)
        if joined is not None:
            # It comes back while we are leaving: the owner takes both in their order.
            if joined.stage is Stage.LEAVING:
                self._register(call, joined)
            return
        joined = self._joined[call.call_id] = _Joined(Stage.WAITING)
        joined.known = call.settled
        if not self._network.knows(call.owner):
            joined.stage = Stage.UNSHARED
            if call.owner not in self._unknown_owners:
                if len(self._unknown_owners) < 1000:
                    self._unknown_owners.add(call.owner)
                log.warning(
                    "call %s is owned by %r, which is not in cds.peers: it goes on unshared"
                    " (said once for each such owner)",
                    call.call_id,
                    call.owner,
                )
            return
        peer = self._peer(call.owner)
        peer.joined.add(call.call_id)
        self.health.watch(call.owner)
        if peer.connected:
            self._register(call, joined)
        else:
            self._network.want(call.owner, True)

    def unregistered(self, call: Call, client: Client) -> None:
        """The last local participant left: unregister with the owner."""
        if call.owner == self.server or call.clients:
            return
        joined = self._joined.get(call.call_id)
        # In the other stages the answer to the registration has to come first; see _on_registered.
        if joined is not None and joined.stage is Stage.LIVE:
            joined.stage = Stage.LEAVING
            self._send(call.owner, Unregister(call.call_id))

    def ended(self, call: Call) -> None:
        """End of call: the owner tells everybody who takes or took part."""
        if call.owner != self.server:
            self._forget(call)
            return
        participants = self.monitor.end(call.call_id)
        if participants is None:
            return
        properties, logs = call.data.newer({})
        frame = EndOfCall(call.call_id, properties, logs)
        for server in participants.past:
            self._send(server, frame)
        for server in participants.present:
            self._unwatch(server)

    # From the network

    def connected(self, server: str) -> None:
        """There is a connection to ``server`` (it passed its handshake)."""
        peer = self._peer(server)
        peer.connected = True
        peer.connection += 1
        peer.heard_sent = 0
        self.health.heard(server)
        if peer.joined:
            self._send_alive(server)
            self._register_some(server, list(peer.joined))

    def disconnected(self, server: str) -> None:
        """The connection to ``server`` is gone. Live calls are registered again when it is back."""
        peer = self._peer(server)
        peer.connected = False
        for call_id in peer.joined:
            joined = self._joined[call_id]
            if joined.stage is not Stage.UNSHARED:
                joined.stage = Stage.WAITING
        self.monitor.cut_off(server)
        if peer.joined:
            self._network.want(server, True)

    def received(self, server: str, frame: Frame) -> None:
        """A frame came from ``server``."""
        self.frames_in += 1
        self.health.heard(server)
        match frame:
            case Update():
                self._on_update(server, frame)
            case Register():
                self._on_register(server, frame)
            case Registered():
                self._on_registered(server, frame)
            case Unregister():
                self._on_unregister(server, frame)
            case Unregistered():
                self._on_unregistered(server, frame)
            case EndOfCall():
                self._on_end_of_call(server, frame)
            case Alive():
                self._on_alive(server, frame)
            case Refused():
                self._on_refused(server, frame)
            case Hello():
                log.warning("server %s greets again; disregarded", server)

    # Remote update, at the owner

    def _on_register(self, server: str, frame: Register) -> None:
        call = self._store.get(frame.call_id)
        if (call.owner if call is not None else frame.owner) != self.server:
            # The place of the caretaker: a participant takes registrations while the owner is dead.
            self._send(server, Refused(frame.call_id, f"{self.server} does not own this call"))
            return
        if call is None and len(self.monitor) >= self._max_remote_calls:
            self._send(server, Refused(frame.call_id, "cds.limits.remote_calls is reached"))
            return
        first = self.monitor.add(frame.call_id, server)
        self.health.watch(server)
        if first or call is None:
            # After a restart without its data the owner learns of its call here, from a
            # participant.
            call = self._store.register(self, frame.call_id, self.server)
        self._keep(frame.call_id)
        self._take(server, frame.call_id, frame.properties, frame.logs)
        properties, logs = call.data.newer(frame.have)
        if frame.properties:
            theirs = {(p.stamp, p.author) for p in frame.properties}
            properties = [p for p in properties if (p.stamp, p.author) not in theirs]
        if frame.logs:
            their_lines = {(line.stamp, line.author) for line in frame.logs}
            logs = [line for line in logs if (line.stamp, line.author) not in their_lines]
        have = call.data.have() if frame.have else {}
        utc = self._timers.now_us()
        self._send(server, Registered(frame.call_id, utc, frame.sent, have, properties, logs))

    def _on_unregister(self, server: str, frame: Unregister) -> None:
        self._remove(frame.call_id, server)
        self._send(server, Unregistered(frame.call_id))

    def _remove(self, call_id: str, server: str) -> None:
        last = self.monitor.remove(call_id, server)
        self._keep(call_id)
        if last:
            self._store.unregister(self, call_id)
        self._unwatch(server)

    def _keep(self, call_id: str) -> None:
        """Have the participants of a call of ours kept on disk."""
        participants = self.monitor.of(call_id)
        if self._keeper is not None and participants is not None:
            self._keeper.shared(call_id, self.server, participants.present, participants.past)

    def restore(self, call: Call, shared: Shared) -> None:
        """A call of ours is back after a restart, with what was last told of it to ``Keeper``."""
        self.monitor.restore(call.call_id, shared.present, shared.past)
        if shared.present:
            self._store.register(self, call.call_id, self.server)

    def restored(self, servers: Iterable[str]) -> None:
        """All calls are back: these servers' registrations must be renewed in time."""
        for server in servers:
            self.monitor.cut_off(server)

    def _not_renewed(self, call_id: str, server: str) -> None:
        log.warning("call %s: %s did not register again in time, unregistered", call_id, server)
        self._remove(call_id, server)

    # Remote update, both ways

    def _on_update(self, server: str, frame: Update) -> None:
        self._take(server, frame.call_id, frame.properties, frame.logs)

    def _take(self, server: str, call_id: str, properties: list[Property], logs: list[Log]) -> None:
        """Entries from ``server``: into the local store, and what was new on to the others."""
        changed, added = self._store.update(self, call_id, properties, logs)
        if not changed and not added:
            return
        participants = self.monitor.of(call_id)
        if participants is None or participants.present == (server,):
            return
        frame = Update(call_id, changed, added)
        for other in participants.present:
            if other != server:
                self._send(other, frame)

    # Remote update, at a participant

    def _register(self, call: Call, joined: _Joined) -> None:
        sent = self._timers.monotonic_us()
        if joined.known:
            joined.stage = Stage.RENEWING
            frame = Register(call.call_id, call.owner, sent, call.data.have(), [], [])
        else:
            joined.stage = Stage.FIRST
            properties, logs = call.data.newer({})
            frame = Register(call.call_id, call.owner, sent, {}, properties, logs)
        self._send(call.owner, frame)

    def _register_some(self, server: str, call_ids: list[str]) -> None:
        """Register for calls after a reconnect, so many at a time that other work gets its turn."""
        peer = self._peer(server)
        if not peer.connected:
            return
        now, later = call_ids[: self._batch], call_ids[self._batch :]
        for call_id in now:
            call = self._store.get(call_id)
            joined = self._joined.get(call_id)
            if call is not None and joined is not None and joined.stage is Stage.WAITING:
                self._register(call, joined)
        if later:
            self._timers.schedule(0.01, lambda: self._register_some(server, later))

    def _on_registered(self, server: str, frame: Registered) -> None:
        self._clock.sample(server, frame.utc, self._timers.monotonic_us() - frame.echo)
        call = self._store.get(frame.call_id)
        joined = self._joined.get(frame.call_id)
        if call is None or joined is None or call.owner != server:
            self._send(server, Unregister(frame.call_id))
            return
        if joined.stage is Stage.RENEWING:
            properties, logs = call.data.newer(frame.have)
            if properties or logs:
                self._send(server, Update(frame.call_id, properties, logs))
        elif joined.stage is not Stage.FIRST:
            return
        joined.known = True
        joined.stage = Stage.LIVE
        self._take(server, frame.call_id, frame.properties, frame.logs)
        if not call.clients:
            joined.stage = Stage.LEAVING
            self._send(server, Unregister(frame.call_id))

    def _on_unregistered(self, server: str, frame: Unregistered) -> None:
        joined = self._joined.get(frame.call_id)
        call = self._store.get(frame.call_id)
        if joined is None or call is None or joined.stage is not Stage.LEAVING:
            return
        call.settled = True
        self._forget(call)

    def _on_refused(self, server: str, frame: Refused) -> None:
        joined = self._joined.get(frame.call_id)
        call = self._store.get(frame.call_id)
        if joined is None or call is None or call.owner != server:
            return
        log.warning("call %s goes on unshared: %s said: %s", call.call_id, server, frame.reason)
        self._forget(call)
        self._joined[call.call_id] = joined
        joined.stage = Stage.UNSHARED

    def _on_end_of_call(self, server: str, frame: EndOfCall) -> None:
        call = self._store.get(frame.call_id)
        if call is None or call.owner != server:
            return
        self._take(server, frame.call_id, frame.properties, frame.logs)
        call.settled = True
        self._store.end(frame.call_id)

    def _forget(self, call: Call) -> None:
        """We take no part any more in this call of another server."""
        if self._joined.pop(call.call_id, None) is not None and call.owner in self._peers:
            self._peers[call.owner].joined.discard(call.call_id)
            self._unwatch(call.owner)

    # Health

    def _send_alive(self, server: str) -> None:
        peer = self._peer(server)
        if peer.connected:
            now = self._timers.monotonic_us()
            held = now - peer.heard_at if peer.heard_sent else 0
            self._send(server, Alive(self._timers.now_us(), now, peer.heard_sent, held))

    def _on_alive(self, server: str, frame: Alive) -> None:
        peer = self._peer(server)
        now = self._timers.monotonic_us()
        first = not peer.heard_sent
        peer.heard_sent = frame.sent
        peer.heard_at = now
        if frame.echo:
            self._clock.sample(server, frame.utc, now - frame.echo - frame.held)
        elif first:
            self._send_alive(server)

    def _down(self, server: str) -> None:
        log.warning("server %s is silent: the network or that server may be down", server)
        if self._peer(server).connected:
            self._network.drop(server)
        if self._on_health is not None:
            self._on_health(server, False)

    def _up(self, server: str) -> None:
        log.warning("server %s is back", server)
        if self._on_health is not None:
            self._on_health(server, True)

    # What others need to know

    def participants(self, call: Call) -> list[str]:
        """The remote servers that take part in a call, as far as this server knows."""
        if call.owner != self.server:
            return [call.owner] if call.call_id in self._joined else []
        listed = self.monitor.of(call.call_id)
        return list(listed.present) if listed is not None else []

    def stage(self, call_id: str) -> str:
        """How far the registration with a remote owner is, in words; empty for our own calls."""
        joined = self._joined.get(call_id)
        return joined.stage.value if joined is not None else ""

    def servers(self) -> dict[str, bool]:
        """All servers we heard of, and whether they are connected."""
        return {name: peer.connected for name, peer in self._peers.items()}

    def unsettled(self) -> int:
        """Calls whose last word has not been taken by the other side: what ``stop`` waits for."""
        leaving = sum(1 for j in self._joined.values() if j.stage is not Stage.UNSHARED)
        present = sum(1 for name in self._peers for _ in self.monitor.calls_of(name))
        return leaving + present

    def stop(self) -> None:
        """Forget everything; the store has ended its calls before."""
        self._store.unwatch(self)
        self.health.stop()
        self.monitor.stop()
        self._joined.clear()
        self._peers.clear()

    def _peer(self, server: str) -> _Peer:
        peer = self._peers.get(server)
        if peer is None:
            peer = self._peers[server] = _Peer()
        return peer

    def _send(self, server: str, frame: Frame) -> None:
        """Send a frame; when it speaks of call data, once what it tells or acknowledges is on disk.

        So nothing of this server's is known elsewhere that it could lose: after a crash it cannot
        give a stamp twice, and others have of each author's entries a beginning. All frames but
        ``Alive`` take this way, for they must keep their order.
        """
        peer = self._peers.get(server)
        if peer is None or not peer.connected:
            return
        self.frames_out += 1
        if self._keeper is None or type(frame) is Alive:
            self._network.send(server, frame)
            return
        connection = peer.connection

        def send() -> None:
            if peer.connected and peer.connection == connection:
                self._network.send(server, frame)

        self._keeper.after_commit(send, type(frame) in _ACKNOWLEDGE)

    def _unwatch(self, server: str) -> None:
        """Stop watching a server with which no call is shared any more."""
        if not self._peer(server).joined and not self.monitor.calls_of(server):
            self.health.unwatch(server)
            self._network.want(server, False)
