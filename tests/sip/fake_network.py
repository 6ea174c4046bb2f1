"""A network on a fake clock that loses, doubles, reorders and delays; same seed, same fate.

`Network` joins hosts by address. A host is whatever takes `receive(message, flow)`; the flows that
it sends on are this module's `Link`s. Time passes only in `Network.run`, which delivers datagrams
and advances every host's timers in the order of their moments.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from softswitch.sip.message import MalformedMessage, Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source
from softswitch.sip.timers import Timers

Address = tuple[str, int]
Receive = Callable[[Request | Response, "Link"], None]


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to a datagram: chances from 0 to 1, delays in seconds.

    A delay is drawn evenly between the two, so that datagrams overtake one another.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay_min: float = 0.0
    delay_max: float = 0.0


CALM = Weather()


class Link:
    """One host's way to another: what `softswitch.sip.transaction.Flow` wants."""

    __slots__ = ("_network", "local", "reliable", "remote", "transport")

    def __init__(self, network: Network, local: Address, remote: Address, reliable: bool) -> None:
        self._network = network
        self.local = local
        self.remote = remote
        self.reliable = reliable
        self.transport = "tcp" if reliable else "udp"

    @property
    def sent_by(self) -> str:
        return f"{self.local[0]}:{self.local[1]}"

    @property
    def listener(self) -> str:
        return ""

    @property
    def peer(self) -> str:
        return ""

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self._network.send(self, data, on_error)


class Network:
    """Hosts by address, what is under way between them, and the one clock, in seconds."""

    def __init__(self, seed: int, weather: Weather = CALM) -> None:
        self.now = 0.0
        self.weather = weather
        self.chance = random.Random(seed)
        self.unreachable: set[Address] = set()
        """Addresses that cannot be sent to: `on_error` is called."""
        self.sent: list[tuple[float, Address, Address, bytes]] = []
        """Everything sent: when, from, to, what; also what was then lost."""
        self.delivered = 0
        self._hosts: dict[Address, tuple[Receive, Timers]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        # Over a stream nothing overtakes.
        self._stream_ends: dict[tuple[Address, Address], float] = {}

    def clock(self) -> float:
        return self.now

    def join(self, address: Address, receive: Receive, timers: Timers) -> None:
        self._hosts[address] = (receive, timers)

    def link(self, local: Address, remote: Address, *, reliable: bool = False) -> Link:
        return Link(self, local, remote, reliable)

    def send(self, link: Link, data: bytes, on_error: Callable[[], None] | None) -> None:
        self.sent.append((self.now, link.local, link.remote, data))
        if link.remote in self.unreachable:
            if on_error is not None:
                self.at(self.now, on_error)
            return
        weather, chance = self.weather, self.chance
        if link.reliable:
            ends = self._stream_ends
            key = (link.local, link.remote)
            when = max(ends.get(key, 0.0), self.now + self._delay())
            ends[key] = when
            self.at(when, lambda: self._deliver(link, data))
            return
        for _ in range(2 if chance.random() < weather.duplication else 1):
            if chance.random() >= weather.loss:
                self.at(self.now + self._delay(), lambda: self._deliver(link, data))

    def _delay(self) -> float:
        return self.chance.uniform(self.weather.delay_min, self.weather.delay_max)

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Call `what` at a moment; of several at one moment the first that was asked for first."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def _deliver(self, link: Link, data: bytes) -> None:
        host = self._hosts.get(link.remote)
        if host is None:
            return
        self.delivered += 1
        back = Link(self, link.remote, link.local, link.reliable)
        try:
            message = parse(data, datagram=not link.reliable)
        except MalformedMessage as error:
            raise AssertionError(f"{link.sent_by} sent what cannot be read: {error}") from error
        if isinstance(message, Request):
            mark_source(message, link.local)
        host[0](message, back)

    def run(self, until: float) -> None:
        """Let time pass up to `until`, in seconds of the clock."""
        while True:
            moments = [due for _, t in self._hosts.values() if (due := t.next_due()) is not None]
            if self._events:
                moments.append(self._events[0][0])
            if not moments or min(moments) > until:
                break
            self.now = max(self.now, min(moments))
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for _, timers in self._hosts.values():
                timers.advance()
        self.now = max(self.now, until)
