"""Time and network for the tests of the state machines: both move only when told."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from cdsplugin.data.call import Call, Client
from cdsplugin.data.clock import Clock
from cdsplugin.data.entries import Log, Property
from cdsplugin.data.frames import Frame
from cdsplugin.data.store import Store, StoreLimits
from cdsplugin.proxy.network_proxy import NetworkProxy

START = 1_800_000_000_000_000


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTimers:
    """``elapsed`` is the true time; ``wrong`` is by how much this machine's wall clock is off. It
    was ``booted`` at that moment of the true time."""

    def __init__(self, wrong: int = 0) -> None:
        self.elapsed = 0
        self.wrong = wrong
        self.booted = 0
        self._queue: list[tuple[int, int, FakeHandle, Callable[[], None]]] = []
        self._order = count()

    def now_us(self) -> int:
        return START + self.elapsed + self.wrong

    def monotonic_us(self) -> int:
        return 5_000_000 + self.elapsed - self.booted

    @property
    def boot(self) -> str:
        return f"since {self.booted}"

    def schedule(self, delay: float, callback: Callable[[], None]) -> FakeHandle:
        handle = FakeHandle()
        due = self.elapsed + int(delay * 1_000_000)
        heapq.heappush(self._queue, (due, next(self._order), handle, callback))
        return handle

    def waiting(self) -> int:
        return sum(not handle.cancelled for _, _, handle, _ in self._queue)

    def advance(self, seconds: float) -> None:
        until = self.elapsed + int(seconds * 1_000_000)
        while self._queue and self._queue[0][0] <= until:
            due, _, handle, callback = heapq.heappop(self._queue)
            self.elapsed = max(self.elapsed, due)
            if not handle.cancelled:
                callback()
        self.elapsed = until


class Listener:
    """A client that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[Property], list[Log]]] = []
        self.over: list[Call] = []
        self.came: list[tuple[str, Client]] = []
        self.left: list[tuple[str, Client]] = []

    def updated(self, call: Call, properties: list[Property], logs: list[Log]) -> None:
        self.told.append((call.call_id, list(properties), list(logs)))

    def ended(self, call: Call) -> None:
        self.over.append(call)

    def registered(self, call: Call, client: Client) -> None:
        self.came.append((call.call_id, client))

    def unregistered(self, call: Call, client: Client) -> None:
        self.left.append((call.call_id, client))

    def names(self) -> list[str]:
        return [entry.name for _, properties, _ in self.told for entry in properties]


class FakeServer:
    """Store, clock and proxy of one server, and the ends of its wires."""

    def __init__(
        self,
        net: FakeNet,
        name: str,
        peers: tuple[str, ...],
        wrong: int,
        linger: float,
        options: dict[str, Any],
    ) -> None:
        self.net = net
        self.name = name
        self.peers = peers
        self.timers = net.timers(wrong)
        self.timers.booted = net.booted.get(name, 0)
        self.clock = Clock(name, self.timers)
        self.store = Store(name, self.clock, self.timers, StoreLimits(linger, linger + 30, 100))
        self.health: list[tuple[str, bool]] = []
        make_journal = options.pop("make_journal", None)
        if make_journal is not None:
            options["journal"] = make_journal(self.store, self.timers)
        self.wanted: set[str] = set()
        self.proxy = NetworkProxy(
            self.store,
            self.clock,
            self.timers,
            self,
            on_health=lambda server, up: self.health.append((server, up)),
            reregister_batch=2,
            **options,
        )

    def knows(self, server: str) -> bool:
        return server in self.peers or frozenset((self.name, server)) in self.net.connected

    def want(self, server: str, wanted: bool) -> None:
        (self.wanted.add if wanted else self.wanted.discard)(server)
        if wanted:
            self.net.dial(self.name, server)

    def send(self, server: str, frame: Frame) -> None:
        self.net.carry(self.name, server, frame)

    def drop(self, server: str) -> None:
        self.net.cut(self.name, server)

    def values(self, call_id: str) -> dict[str, object]:
        call = self.store.get(call_id)
        assert call is not None
        return {name: entry.value for name, entry in call.data.properties.items()}


class FakeNet:
    """Servers and the connections between them. Frames are carried by ``run``, in order."""

    def __init__(self) -> None:
        self.servers: dict[str, FakeServer] = {}
        self.connected: set[frozenset[str]] = set()
        self.closed_ways: set[frozenset[str]] = set()
        self.wires: deque[tuple[str, str, Frame]] = deque()
        self.log: list[tuple[str, str, Frame]] = []
        self._timers: list[FakeTimers] = []
        self.booted: dict[str, int] = {}

    def server(
        self, name: str, *peers: str, wrong: int = 0, linger: float = 30.0, **options: Any
    ) -> FakeServer:
        server = self.servers[name] = FakeServer(self, name, peers, wrong, linger, options)
        return server

    def timers(self, wrong: int) -> FakeTimers:
        timers = FakeTimers(wrong)
        timers.elapsed = self._timers[0].elapsed if self._timers else 0
        self._timers.append(timers)
        return timers

    def dial(self, one: str, other: str) -> None:
        pair = frozenset((one, other))
        if other in self.servers and pair not in self.closed_ways and pair not in self.connected:
            self.connected.add(pair)
            self.servers[one].proxy.connected(other)
            self.servers[other].proxy.connected(one)

    def cut(self, one: str, other: str) -> None:
        """Lose the connection and what is on the wire."""
        pair = frozenset((one, other))
        if pair in self.connected:
            self.connected.discard(pair)
            self.wires = deque(w for w in self.wires if frozenset(w[:2]) != pair)
            self.closed_ways.add(pair)
            self.servers[one].proxy.disconnected(other)
            self.servers[other].proxy.disconnected(one)

    def mend(self, one: str, other: str) -> None:
        self.closed_ways.discard(frozenset((one, other)))
        if other in self.servers[one].wanted or one in self.servers[other].wanted:
            self.dial(one, other)

    def kill(self, name: str) -> FakeServer:
        """The process is gone, and with it what it had in memory; nobody reaches it."""
        server = self.servers.pop(name)
        self._timers.remove(server.timers)
        for pair in [pair for pair in self.connected if name in pair]:
            (other,) = pair - {name}
            self.connected.discard(pair)
            self.wires = deque(w for w in self.wires if frozenset(w[:2]) != pair)
            self.servers[other].proxy.disconnected(name)
        return server

    def redial(self) -> None:
        """Everybody tries again to reach whom he wants."""
        for name, server in self.servers.items():
            for other in sorted(server.wanted):
                if other in server.peers:
                    self.dial(name, other)

    def part(self, *sides: str) -> None:
        """Split the network: ``sides`` are the names of each side, separated by blanks."""
        groups = [set(side.split()) for side in sides]
        self.closed_ways.clear()
        for group in groups:
            for one in group:
                for other in set(self.servers) - group:
                    self.cut(one, other)
                    self.closed_ways.add(frozenset((one, other)))

    def heal(self) -> None:
        """Every way is open again."""
        self.closed_ways.clear()
        self.redial()

    def carry(self, sender: str, receiver: str, frame: Frame) -> None:
        if frozenset((sender, receiver)) in self.connected:
            self.wires.append((sender, receiver, frame))

    def run(self) -> list[tuple[str, str, Frame]]:
        """Carry all frames until none is left; returns those carried."""
        carried = []
        while self.wires:
            sender, receiver, frame = self.wires.popleft()
            carried.append((sender, receiver, frame))
            self.servers[receiver].proxy.received(sender, frame)
        self.log += carried
        return carried

    def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass everywhere, carrying frames as it does."""
        while seconds > 1e-9:
            now = min(step, seconds)
            for timers in self._timers:
                timers.advance(now)
            self.run()
            seconds -= now
