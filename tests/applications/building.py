"""Rooms, the pool and its workers without a switch: workers are played at the level of what they
are ordered, and it can be asked who would hear whom."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softswitch.applications import Applications, Queues
from softswitch.applications.conference import ConferenceApplication
from softswitch.applications.rooms import Room
from softswitch.applications.seat import Seat
from softswitch.calls import Caller, Opened
from softswitch.dialplan import Conference, ConferencePlay, Dialplan, Play, Sounds
from softswitch.dialplan.sounds import OWN
from softswitch.media import MediaWorker, PoolSettings, Workers
from softswitch.media.orders import (
    Ask,
    CallOut,
    Digit,
    Expect,
    Gone,
    Here,
    Join,
    Order,
    Played,
    Prepare,
    Prepared,
    Ready,
    Release,
    Said,
    Speaking,
    Tone,
    Up,
)
from softswitch.media.orders import Play as PlayOrder
from softswitch.sip import Timers

HERE = "192.0.2.1"
SOON = 0.1
"""Seconds within which a worker has done what it is ordered, if it is not slow."""
GONE = 0.25
"""Seconds until a worker says of a call that it has hung up that it is gone."""


class FakePort:
    """A port of a worker."""

    def __init__(self, worker: FakeWorker, number: int, key: str) -> None:
        self.worker, self.number, self.key = worker, number, key
        self.room = ""
        self.speaks = True
        self.watch = False
        self.up = False
        self.joins = 0  # orders to join
        self.other: FakePort | None = None
        self.plays: PlayOrder | None = None


class FakeWorker:
    """A worker's process, and the way to it. See `media.Line`."""

    def __init__(self, building: Building, worker: MediaWorker, sip: int) -> None:
        self.building, self.worker, self.sip = building, worker, sip
        self.ports: dict[int, FakePort] = {}
        self.queue: deque[Order] = deque()
        self.slow = 0.0  # seconds until it does what it is ordered
        self.alive = True
        self.hangs = False

    # --- `media.Line`

    def send(self, order: Order) -> None:
        self.queue.append(order)
        if self.slow or self.queue[0] is not order:
            self.building.after(self.slow, self._next)
        else:
            self._next()

    def close(self) -> None:
        self.alive = False

    def kill(self, pid: int) -> None:
        self.dies()

    def dies(self) -> None:
        if self.alive:
            self.alive = False
            self.building.after(0.0, self.worker.lost)

    def _next(self) -> None:
        if self.alive and not self.hangs and self.queue:
            self._obey(self.queue.popleft())

    def say(self, said: Said, seconds: float = 0.0) -> None:
        """It tells something, a moment later."""
        self.building.after(seconds + self.slow, lambda: self._says(said))

    def _says(self, said: Said) -> None:
        if self.alive and not self.hangs:
            self.worker.said(said)

    def _obey(self, order: Order) -> None:
        if isinstance(order, Prepare):
            error = "no such address" if order.address in self.building.bad else ""
            self.say(Prepared(order.address, error))
            return
        if isinstance(order, Ask):
            self.say(Here())
            return
        if isinstance(order, Expect):
            port = FakePort(self, order.port, order.key)
            self.ports[order.port] = port
            used = sum(1 for one in self.ports.values())
            assert used <= self.building.size, "more calls than it has room for"
            return
        found = self.ports.get(order.port)
        if found is None:
            return
        if isinstance(order, CallOut):
            self._call(found, order.uri)
        elif isinstance(order, Join):
            found.joins += 1
            found.room, found.speaks, found.watch = order.room, order.speaks, order.watch
        elif isinstance(order, PlayOrder):
            found.plays = order
            if not order.loop and not any(
                isinstance(s, Tone) and not s.times for s in order.sounds
            ):
                self.building.after(len(order.sounds) * 1.0, lambda: self._played(found, order))
        elif isinstance(order, Release):
            self.leaves(found, GONE)

    def _played(self, port: FakePort, order: PlayOrder) -> None:
        if port.plays is order and self.ports.get(port.number) is port:
            port.plays = None
            self.say(Played(port.number, order.job))

    def _call(self, port: FakePort, uri: str) -> None:
        key, _, at = uri.removeprefix("sip:").partition("@")
        sip = int(at.rpartition(":")[2])
        other = next((one for one in self.building.processes if one.sip == sip), None)
        if other is None or not other.alive or other.hangs:
            return  # nobody answers
        while other.queue:
            other._next()  # a call is looked at after the orders that came before it
        called = [one for one in other.ports.values() if one.key == key]
        if not called:
            self.leaves(port, 0.0)
            return
        port.other, called[0].other = called[0], port
        for one in (port, called[0]):
            one.up = True
            one.worker.say(Up(one.number))

    def leaves(self, port: FakePort, seconds: float) -> None:
        """The call of a port is over."""
        port.room = ""
        port.up = False

        def gone() -> None:
            if self.ports.pop(port.number, None) is not None:
                self.say(Gone(port.number))

        self.building.after(seconds, gone)
        other, port.other = port.other, None
        if other is not None and other.worker.alive and other.other is port:
            other.other = None
            other.worker.leaves(other, 0.0)


class Flows:
    """See `sip.Network`."""

    there = True

    def flow_to(self, *what: Any) -> Any:
        return object() if self.there else None


class Person:
    """Somebody who has dialled."""

    def __init__(self, building: Building, name: str) -> None:
        self.building, self.name = building, name
        self.answer: Opened | tuple[int, str] | None = None
        self.gives_up = False
        self.came = False

    def then(self, opened: Opened | tuple[int, str]) -> None:
        """See `calls.Applications.open`."""
        self.answer = opened
        if not isinstance(opened, Seat):
            return
        opened.caller = Caller(self.name, "")
        if self.gives_up:
            opened.abandoned()
        elif self.building.at_once:
            self.building.after(0.0, self.comes)

    @property
    def refused(self) -> int:
        """With which status; 0: it is not."""
        return self.answer[0] if isinstance(self.answer, tuple) else 0

    @property
    def seat(self) -> Seat:
        assert isinstance(self.answer, Seat), self.answer
        return self.answer

    @property
    def here(self) -> bool:
        """Whether it is in a room, or comes to one."""
        return isinstance(self.answer, Seat) and self.answer.application is not None

    @property
    def port(self) -> FakePort | None:
        port = self.seat.port if isinstance(self.answer, Seat) else None
        return None if port is None else self.building.process(port.worker).ports.get(port.number)

    @property
    def application(self) -> ConferenceApplication:
        assert isinstance(self.seat.application, ConferenceApplication)
        return self.seat.application

    @property
    def facts(self) -> dict[str, str]:
        return self.seat.facts

    @property
    def hears(self) -> list[str]:
        """What is played to it alone."""
        plays = self.port.plays if self.port is not None else None
        sounds = plays.sounds if plays is not None else ()
        return ["tone" if isinstance(one, Tone) else Path(one.path).stem for one in sounds]

    def comes(self) -> None:
        """The call is at the worker."""
        port = self.port
        if port is not None and port.worker.alive and not port.up and not self.came:
            self.came = port.up = True
            port.worker.say(Up(port.number))

    def press(self, keys: str) -> None:
        for key in keys:
            self.tell(Digit(self.seat.port.number if self.seat.port else 0, key))

    def speaks(self, on: bool) -> None:
        """Its worker hears that."""
        port = self.port
        assert port is not None
        assert port.watch, "it is not listened to"
        self.tell(Speaking(port.number, on))

    def tell(self, said: Said) -> None:
        if self.seat.port is not None:
            self.building.process(self.seat.port.worker).say(said)
            self.building.run(SOON)

    def leaves(self) -> None:
        """It hangs up, whenever."""
        if self.answer is None:
            self.gives_up = True
        elif self.here:
            port = self.port
            if not self.came or port is None:
                self.seat.abandoned()
            else:
                port.worker.leaves(port, 0.0)


class Building:
    """All of it."""

    def __init__(
        self,
        *rooms: Conference,
        size: int = 4,
        spare: int = 2,
        most: int = 20,
        calls: int = 1000,
        prompts: bool = True,
        dice: random.Random | None = None,
    ) -> None:
        self.now = 1_700_000_000.0
        self.size = size
        self.dice = dice
        self.at_once = True
        self.bad: set[str] = set()
        self.timers = Timers(lambda: self.now)
        self.processes: list[FakeWorker] = []
        self.rooms = {room.name: room for room in rooms}
        self.people: list[Person] = []
        self.flows = Flows()
        self.apps = Applications(
            "hq",
            lambda: Dialplan((), (), conferences=self.rooms),
            self.flows,  # type: ignore[arg-type]
            self.timers,
            lambda: int(self.now * 1e6),
            lambda event: None,
            Queues(
                lambda: Dialplan((), ()),
                self.timers,
                None,  # type: ignore[arg-type]
                None,  # type: ignore[arg-type]
                {},
                {},
            ),
        )
        if prompts:
            self.apps.sounds = Sounds(OWN, (OWN / "en",))
        self.keys = iter(range(10**9))
        self.pool = self.apps.workers = Workers(
            PoolSettings(spare=spare, most=most, calls=calls, addresses=(HERE,)),
            self.timers,
            lambda: f"key{next(self.keys)}",
            self._start,
        )
        self.pool.look_ahead()
        self.run(2)

    def _start(self, worker: MediaWorker) -> FakeWorker:
        sip = 7000 + len(self.processes)
        process = FakeWorker(self, worker, sip)
        if self.dice is not None and self.dice.random() < 0.2:
            process.slow = self.dice.uniform(0.01, 0.3)
        self.processes.append(process)
        starts = 0.05 if self.dice is None else self.dice.uniform(0.02, 1.0)
        process.say(Ready(sip, sip, self.size), starts)
        return process

    def process(self, worker: MediaWorker) -> FakeWorker:
        return next(one for one in self.processes if one.worker is worker)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.timers.after(seconds, what)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.timers.advance()
        self.now = end

    # --- what people do

    def dial(self, room: str, name: str = "", leads: bool = False, at: str = HERE) -> Person:
        """Somebody dials the room; as one who has given a PIN, if there is one."""
        person = Person(self, name or f"55{len(self.people):02}")
        self.people.append(person)
        self.apps.open(Play(ConferencePlay(room, True, leads), "700"), f"{at}:5060", person.then)
        return person

    def joins(self, room: str, name: str = "", leads: bool = False, at: str = HERE) -> Person:
        """The same, and time passes until it is in."""
        person = self.dial(room, name, leads, at)
        self.run(6)
        return person

    # --- what is to be seen

    def room(self, name: str) -> Room:
        found = self.apps.rooms.room(name)
        assert found is not None
        return found

    def hears(self, one: Person, other: Person) -> bool:
        """Whether `one` would hear `other`, if it said something now."""
        begin, end = other.port, one.port
        if begin is None or end is None or not begin.room or not begin.speaks or not end.room:
            return False
        seen: set[FakePort] = set()
        waiting = [begin]
        while waiting:
            port = waiting.pop()
            if port in seen:
                continue
            seen.add(port)
            if not port.worker.alive:
                continue
            for near in port.worker.ports.values():
                if near is port or near.room != port.room:
                    continue
                if near is end:
                    return True
                far = near.other
                if far is not None and near.up and far.up and far.room:
                    waiting.append(far)
        return False

    @property
    def here(self) -> list[Person]:
        return [one for one in self.people if one.here]

    def over(self) -> None:
        """All leave; then nothing may be left."""
        for one in self.people:
            one.leaves()
        self.run(40)
        self.empty()

    def empty(self) -> None:
        """Nothing is left of rooms."""
        assert not self.here
        assert not self.apps.rooms.all
        assert self.pool.busy == 0
        assert not any(worker.kept for worker in self.pool.workers)
        self.pool.close()
        self.run(30)
        assert self.timers.next_due() is None, "a timer is left"
