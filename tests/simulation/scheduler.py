"""Simulated time: one queue of what happens next, and each machine's own wrong clocks."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

START = 1_800_000_000_000_000
"""True UTC at the beginning, microseconds."""


class World:
    """True time (microseconds since the beginning), chance, and the trace of what happened.

    Whatever happens is a callback in one queue; what is due at the same time happens in the order
    in which it was asked for. So a seed fixes everything.
    """

    def __init__(self, seed: int, keep_trace: int = 0) -> None:
        self.now = 0
        self.steps = 0
        self.rng = random.Random(seed)
        self.tracing = keep_trace > 0
        self.lines: deque[tuple[int, str]] = deque(maxlen=keep_trace or 1)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, due: int, callback: Callable[[], None]) -> None:
        """Call back at ``due``; at once if that is past."""
        self._order += 1
        heapq.heappush(self._queue, (max(due, self.now), self._order, callback))

    def after(self, micros: int, callback: Callable[[], None]) -> None:
        """Call back ``micros`` from now."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + micros, self._order, callback))

    def step(self, until: int) -> bool:
        """Do the next thing; false (and it is ``until``) if nothing is due until then."""
        queue = self._queue
        if not queue or queue[0][0] > until:
            self.now = until
            return False
        self.now, _, callback = heapq.heappop(queue)
        self.steps += 1
        callback()
        return True

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        if self.tracing:
            self.lines.append((self.now, f"{who:8} {what}"))

    def trace(self) -> list[str]:
        """The lines kept, with the time in seconds."""
        return [f"{now / 1e6:12.6f}  {line}" for now, line in self.lines]


class SimHandle:
    """A timer of a machine."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        """Make it never fire."""
        self.cancelled = True


class Machine:
    """The clocks of one machine. They survive the processes on it.

    ``off`` is by how much its wall clock is wrong, in microseconds; ``drift`` how much too fast
    both its clocks run, in parts per million. The process on it may be frozen (SIGSTOP): its clocks
    run on, and what comes waits until it goes on.
    """

    def __init__(self, world: World, off: int, drift: int) -> None:
        self.world = world
        self.off = off
        self.drift = drift
        self.booted = -world.rng.randrange(10_000_000_000)
        self.boots = 1
        self._frozen = False
        self._came: list[Callable[[], None]] = []
        """Frames, losses and calls that came to the frozen process."""
        self._due: list[Callable[[], None]] = []
        """Its timers that were due meanwhile."""

    def comes(self, what: Callable[[], None]) -> None:
        """Something comes to the process from outside."""
        if self._frozen:
            self._came.append(what)
        else:
            what()

    def due(self, fire: Callable[[], None]) -> None:
        """A timer of the process is due."""
        if self._frozen:
            self._due.append(fire)
        else:
            fire()

    @property
    def frozen(self) -> bool:
        """Whether its process does nothing at present."""
        return self._frozen

    def freeze(self) -> None:
        """SIGSTOP."""
        self._frozen = True

    def go_on(self) -> None:
        """SIGCONT: all that waited happens now, in two heaps: an event loop takes either its timers
        first, or what came."""
        if not self._frozen:
            return
        self._frozen = False
        heaps = [self._came, self._due]
        self._came, self._due = [], []
        if self.world.rng.random() < 0.5:
            heaps.reverse()
        for heap in heaps:
            for what in heap:
                self.world.after(0, what)

    def monotonic_us(self) -> int:
        """Since it was booted."""
        since = self.world.now - self.booted
        return since + since * self.drift // 1_000_000

    def now_us(self) -> int:
        """What it takes for UTC."""
        now = self.world.now
        return START + now + now * self.drift // 1_000_000 + self.off

    def time_base(self) -> int:
        """What its monotonic clock lacks to what it takes for UTC."""
        return self.now_us() - self.monotonic_us()

    def reboot(self) -> None:
        """Its monotonic clock begins anew."""
        self.booted = self.world.now
        self.boots += 1


class ProcessTimers:
    """``cdsplugin.data.clock.Timers`` of one process: its timers die with it."""

    __slots__ = (
        "alive",
        "boot",
        "machine",
        "monotonic_us",
        "now_us",
        "on_turn",
        "pending",
        "world",
    )

    def __init__(self, machine: Machine, on_turn: Callable[[], None]) -> None:
        self.machine = machine
        self.world = machine.world
        self.now_us = machine.now_us
        self.monotonic_us = machine.monotonic_us
        self.boot = f"start {machine.boots}"
        self.on_turn = on_turn
        """Called after each timer that fired: the end of a turn of the event loop."""
        self.alive = True
        self.pending = 0

    def schedule(self, delay: float, callback: Callable[[], None]) -> SimHandle:
        """As ``loop.call_later``."""
        handle = SimHandle()

        def fire() -> None:
            if self.alive and not handle.cancelled:
                callback()
                self.on_turn()

        due = self.machine.due
        self.world.after(max(int(delay * 1_000_000), 0), lambda: due(fire))
        return handle
