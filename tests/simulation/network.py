"""A simulated network with TCP's habits, and the link of each server on it.

Frames are really encoded and decoded, so that no two servers ever share an object. What TCP does
and the proxy has to live with is here: data sent into a cut direction is held and comes when the
cut is healed; a reset that is sent into a cut is lost, so that the other side goes on believing in
the connection (half-open); a killed process's kernel resets its connections, a machine that lost
its power does not; a server that comes back opens a new connection while its peer still has the old
one. The rules for greeting are those of ``cdsplugin.link``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from cdsplugin.data.frames import Frame

from .scheduler import Machine, World

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode

HANDSHAKE_US = 5_000_000
PAUSE_MIN_US = 100_000
PAUSE_MAX_US = 10_000_000

_HELLO = b""


class Receiver(Protocol):
    """The network proxy, as the link sees it."""

    def connected(self, server: str) -> None: ...
    def disconnected(self, server: str) -> None: ...
    def received(self, server: str, frame: Frame) -> None: ...


class Connection:
    """A TCP connection between two incarnations of servers: what each end believes."""

    __slots__ = ("arrival", "dialler", "greeted", "held", "links", "open", "way")

    def __init__(self, dialler: SimLink, listener: SimLink) -> None:
        self.dialler = dialler.server
        self.links = {dialler.server: dialler, listener.server: listener}
        self.open = {dialler.server: True, listener.server: True}
        self.greeted = {dialler.server: False, listener.server: False}
        self.arrival = {dialler.server: 0, listener.server: 0}
        """When the last bytes on the way to that end arrive."""
        self.way: dict[str, deque[bytes]] = {dialler.server: deque(), listener.server: deque()}
        """What is on the way to each end, in the order in which it was sent."""
        self.held: dict[str, int] = {}
        """How much of that waits for a cut to be healed, by receiver."""

    def other(self, server: str) -> str:
        """The name at the other end."""
        return next(name for name in self.links if name != server)


class SimNetwork:
    """Delays, cuts, and who is at which name at present."""

    def __init__(self, world: World, delay_us: int, jitter_us: int) -> None:
        self.world = world
        self.links: dict[str, SimLink] = {}
        """The link of each running process."""
        self.powered: set[str] = set()
        """Machines that are on: they answer with a reset when nobody listens."""
        self.cut: set[tuple[str, str]] = set()
        self._connections: list[Connection] = []
        self._delay = delay_us
        self._jitter = jitter_us
        self.on_frame: Callable[[str, str, Frame], None] = lambda _from, _to, _frame: None
        """Told of every frame that is sent."""

    def delay(self) -> int:
        """One way's time for one packet, microseconds."""
        return self._delay + int(self._jitter * self.world.rng.random() ** 4)

    def passes(self, sender: str, receiver: str) -> bool:
        """Whether packets get from one to the other at present."""
        return (sender, receiver) not in self.cut

    def joined(self, one: str, other: str) -> bool:
        """Whether two servers have a connection that both believe in, and packets pass."""
        links = self.links
        if one not in links or other not in links:
            return False
        connection = links[one].current(other)
        return (
            connection is not None
            and connection is links[other].current(one)
            and self.passes(one, other)
            and self.passes(other, one)
        )

    def block(self, sender: str, receiver: str) -> None:
        """Cut one direction."""
        self.cut.add((sender, receiver))

    def heal(self, sender: str, receiver: str) -> None:
        """Packets pass again, and what TCP held is sent again."""
        if (sender, receiver) not in self.cut:
            return
        self.cut.discard((sender, receiver))
        for connection in list(self._connections):
            if receiver in connection.held and sender in connection.links:
                for _ in range(connection.held.pop(receiver)):
                    self._carry(connection, sender, receiver)

    def reset(self, one: str, other: str) -> None:
        """The network loses the connection between two servers, and both are told."""
        for connection in list(self._connections):
            if one in connection.links and other in connection.links:
                for end in (one, other):
                    connection.links[end].closes(connection)

    def open(self, connection: Connection) -> None:
        """A connection was made."""
        self._connections.append(connection)

    def forget(self, connection: Connection) -> None:
        """Both ends are closed."""
        if connection in self._connections and not any(connection.open.values()):
            self._connections.remove(connection)

    def kill(self, server: str, power: bool) -> None:
        """A process is gone, or the whole machine."""
        link = self.links.pop(server, None)
        if power:
            self.powered.discard(server)
        if link is None:
            return
        link.alive = False
        for connection in list(self._connections):
            if connection.links.get(server) is link and connection.open[server]:
                connection.open[server] = False
                if not power:
                    self.send_reset(connection, server)
                self.forget(connection)

    def send(self, connection: Connection, sender: str, data: bytes) -> None:
        """Send bytes, in order."""
        receiver = connection.other(sender)
        connection.way[receiver].append(data)
        if receiver in connection.held:
            connection.held[receiver] += 1
        else:
            self._carry(connection, sender, receiver)

    def _carry(self, connection: Connection, sender: str, receiver: str) -> None:
        due = max(connection.arrival[receiver], self.world.now + self.delay())
        connection.arrival[receiver] = due
        self.world.at(due, lambda: self._arrive(connection, sender, receiver))

    def _arrive(self, connection: Connection, sender: str, receiver: str) -> None:
        """The first of what is on the way arrives: what was held comes before what followed it."""
        if receiver in connection.held or not self.passes(sender, receiver):
            connection.held[receiver] = connection.held.get(receiver, 0) + 1
            return
        data = connection.way[receiver].popleft()
        if connection.open[receiver]:
            connection.links[receiver].arrives(connection, data)
        elif receiver in self.powered:
            self.send_reset(connection, receiver)

    def send_reset(self, connection: Connection, sender: str) -> None:
        """A reset goes behind what was sent before; in a cut it is lost."""
        receiver = connection.other(sender)
        if not connection.open[receiver]:
            self.forget(connection)
            return
        due = max(connection.arrival[receiver], self.world.now + self.delay())

        def arrive() -> None:
            if self.passes(sender, receiver) and connection.open[receiver]:
                connection.links[receiver].closes(connection)

        self.world.at(due, arrive)


class SimLink:
    """``cdsplugin.proxy.peers.Network`` of one process: what ``cdsplugin.link`` is on sockets."""

    def __init__(self, network: SimNetwork, machine: Machine, server: str, peers: set[str]) -> None:
        self.machine = machine
        self.network = network
        self.world = network.world
        self.server = server
        self.peers = peers
        self.alive = True
        self.receiver: Receiver | None = None
        self.on_turn: Callable[[], None] = lambda: None
        self._wanted: set[str] = set()
        self._current: dict[str, Connection] = {}
        self._dialling: dict[str, int] = {}
        """Servers that we try to reach, and the number of the attempt's series."""
        self._pending: dict[str, Connection] = {}
        self._series = 0

    # Network

    def knows(self, server: str) -> bool:
        return server in self.peers or server in self._current

    def connected(self, server: str) -> bool:
        return server in self._current

    def current(self, server: str) -> Connection | None:
        """The connection to ``server`` that passed its greeting, as far as this end knows."""
        return self._current.get(server)

    def want(self, server: str, wanted: bool) -> None:
        if not wanted:
            self._wanted.discard(server)
            return
        self._wanted.add(server)
        if server in self.peers and server not in self._current and server not in self._dialling:
            self._series += 1
            self._dialling[server] = self._series
            series = self._series
            self._later(0, lambda: self._dial(server, series, PAUSE_MIN_US))

    def send(self, server: str, frame: Frame) -> None:
        connection = self._current.get(server)
        if connection is None:
            return
        self.network.on_frame(self.server, server, frame)
        if self.world.tracing:
            self.world.note(self.server, f"-> {server}: {frame!r}")
        self.network.send(connection, self.server, _encode(frame))

    def drop(self, server: str) -> None:
        connection = self._current.get(server)
        if connection is not None:
            self.world.note(self.server, f"drops its connection to {server}")
            # As asyncio's abort(): the loss is told in a later turn.
            self.world.after(0, lambda: self._close(connection))

    # Dialling

    def _later(self, micros: int, what: Callable[[], None]) -> None:
        due = self.machine.due
        self.world.after(micros, lambda: due(what))

    def _still(self, server: str, series: int) -> bool:
        return self.alive and self._dialling.get(server) == series

    def _dial(self, server: str, series: int, pause: int) -> None:
        if not self._still(server, series):
            return
        if server not in self._wanted or server in self._current:
            del self._dialling[server]
            return
        network = self.network
        done = [False]

        def again() -> None:
            if not done[0] and self._still(server, series):
                done[0] = True
                pending = self._pending.pop(server, None)
                if pending is not None and pending is not self._current.get(server):
                    self._close(pending)
                wait = int(pause * self.world.rng.uniform(0.7, 1.3))
                longer = min(pause * 2, PAUSE_MAX_US)
                self._later(wait, lambda: self._dial(server, series, longer))

        def knock() -> None:
            if not network.passes(self.server, server) or not network.passes(server, self.server):
                return
            listener = network.links.get(server)
            if listener is None:
                if server in network.powered:
                    self._later(network.delay(), again)  # refused
                return
            if not self._still(server, series) or done[0]:
                return
            connection = Connection(self, listener)
            network.open(connection)
            self._pending[server] = connection
            network.send(connection, self.server, _HELLO)

        self._later(2 * network.delay(), knock)
        self._later(HANDSHAKE_US, again)

    # From the connections

    def arrives(self, connection: Connection, data: bytes) -> None:
        """Bytes come: a greeting or a frame. A frozen process finds them when it goes on."""
        self.machine.comes(lambda: self._arrived(connection, data))

    def _arrived(self, connection: Connection, data: bytes) -> None:
        if not self.alive or not connection.open[self.server]:
            return
        peer = connection.other(self.server)
        if data == _HELLO:
            if not self._greet(connection, peer):
                self._close(connection)
        elif self._current.get(peer) is connection and self.receiver is not None:
            frame = _decode(data)
            self.receiver.received(peer, frame)
        self.on_turn()

    def _greet(self, connection: Connection, peer: str) -> bool:
        we_dialled = connection.dialler == self.server
        if not we_dialled and peer in self._pending and self.server < peer:
            return False  # both dial at once, and ours is the one that stays
        older = self._current.get(peer)
        self._current[peer] = connection
        connection.greeted[self.server] = True
        if older is not None:
            self._close(older)
            self._lost(peer)
        self._dialling.pop(peer, None)
        pending = self._pending.pop(peer, None)
        if not we_dialled:
            if pending is not None:
                self._close(pending)
            self.network.send(connection, self.server, _HELLO)
        self.world.note(self.server, f"is connected to {peer}")
        if self.receiver is not None:
            self.receiver.connected(peer)
        return True

    def _close(self, connection: Connection) -> None:
        """Close our end, at once."""
        if connection.open[self.server]:
            connection.open[self.server] = False
            self.network.send_reset(connection, self.server)
            self._gone(connection)

    def closes(self, connection: Connection) -> None:
        """A reset comes."""
        self.machine.comes(lambda: self._closed(connection))

    def _closed(self, connection: Connection) -> None:
        if connection.open[self.server]:
            connection.open[self.server] = False
            self.network.forget(connection)
            if self.alive:
                self._gone(connection)
                self.on_turn()

    def _gone(self, connection: Connection) -> None:
        peer = connection.other(self.server)
        if self._current.get(peer) is connection:
            del self._current[peer]
            self._lost(peer)
        elif self._pending.get(peer) is connection:
            del self._pending[peer]

    def _lost(self, peer: str) -> None:
        self.world.note(self.server, f"has lost {peer}")
        if self.receiver is not None and self.alive:
            self.receiver.disconnected(peer)
