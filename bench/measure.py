"""Measurements: a load through a system, and what it cost per call.

CPU is that of the system's processes from before the first call until its last record is final, the
lingering of its call data included; it is divided by the calls that SIPp counted as completed.

Above `most` calls/s several SIPps place the calls and several take them (`bench.split`). Counts are
those of all. Calls that are only held up count among the failed, should they fail.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.drops import dropped_here
from bench.progress import Watch, remaining, unwatched
from bench.split import MOST, Callers, Share, added, shares, sipp_callees, start_callers
from bench.systems import Rows, System
from softswitch.lab.ports import free_port

Make = Callable[[Path, Sequence[int], Sequence[int]], System]


RAMP = 400.0
"""Calls per second while those are put up that stay."""
STOP = 20.0
"""Seconds a system may take to end."""
AFTERMATH = 45.0
"""Seconds from the end of the last record until memory is looked at."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One load: times in seconds, `cpu_ms` per completed call, memory in bytes.

    `pairs` is how many SIPps placed the calls, and how many took them. `dropped` are the datagrams
    that any socket of the network namespace dropped, `dropped_by_system` those of the system's own.
    """

    system: str
    calls: int
    rate: float
    pairs: int
    alive: int
    completed: int
    failed: int
    retransmissions: int
    callee_failed: int
    callee_retransmissions: int
    dropped: int
    dropped_by_system: int
    response_ms: float
    seconds: float
    cpu_ms: float
    rows: int
    rows_distinct: int
    rows_unfinished: int
    memory_before: int
    memory_after: int

    @property
    def clean(self) -> bool:
        """No failed call on either side, and one final record for each.

        What was dropped and sent again is shown, and no failure: SIP is made for it.
        """
        return (
            self.failed == self.callee_failed == 0
            and self.completed == self.calls == self.rows == self.rows_distinct
            and self.rows_unfinished == 0
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes before the calls, with all of them up, and after they have ended."""

    system: str
    calls: int
    before: int
    up: int
    after: int
    failed: int
    callee_failed: int
    retransmissions: int
    callee_retransmissions: int
    dropped: int
    dropped_by_system: int

    @property
    def per_call(self) -> float:
        """Bytes per call that is up."""
        return (self.up - self.before) / self.calls


@contextmanager
def running(make: Make, callers: Sequence[int], callees: Sequence[int]) -> Iterator[System]:
    """The system, started in a temporary directory, ended with the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        system = make(Path(directory), callers, callees)
        try:
            yield system
        finally:
            system.stop(STOP)


class _Drops:
    """What was dropped since it was made: in the network namespace, and by the system."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        return dropped_here(), self._system.dropped()

    def since(self) -> tuple[int, int]:
        now = self._now()
        return now[0] - self._before[0], now[1] - self._before[1]


def _settle(system: System, earlier: int, placed: int, timeout: float, watch: Watch) -> Rows:
    """Wait until `placed` records are added to those there were, and all are final; `timeout` s at
    most."""
    deadline = time.monotonic() + timeout
    rows = system.rows()
    while (rows.total < earlier + placed or rows.unfinished) and time.monotonic() < deadline:
        final = max(rows.total - rows.unfinished - earlier, 0)
        watch(f"{final:,} of {placed:,} records final", None)
        time.sleep(0.25)
        rows = system.rows()
    return rows


@contextmanager
def _held(
    system: System,
    parts: Sequence[Share],
    ports: Sequence[int],
    ramp: float,
    seconds: float,
    watch: Watch,
) -> Iterator[Callers]:
    """Put the calls up, `ramp` a second; the block begins once they are, and cuts them off."""
    alive = sum(share.calls for share in parts)
    holders = start_callers(
        system.remote,
        parts,
        ports,
        hold_ms=int(1000 * seconds),
        timeout=alive / ramp + seconds + 30,
    )
    began = time.monotonic()
    try:
        # SIPp creates the last call a moment before it is answered; its count is a second old at
        # most.
        while (placed := holders.placed()) < alive:
            elapsed = time.monotonic() - began
            if elapsed > alive / ramp + 15:
                break
            watch(f"{placed:,} of {alive:,} put up", remaining(placed, alive, ramp, elapsed))
            time.sleep(0.25)
        time.sleep(1.5)
        yield holders
    finally:
        holders.kill()


def _placing(callers: Callers, calls: int, rate: float, watch: Watch) -> Callable[[], None]:
    """Tells how many of the calls are placed, each time that it is called."""
    began = time.monotonic()

    def tell() -> None:
        placed = callers.placed()
        if placed < calls:
            left = remaining(placed, calls, rate, time.monotonic() - began)
            watch(f"{placed:,} placed", left)
        else:
            watch(f"all {calls:,} placed, the last ones end", None)

    return tell


def cost_seconds(
    calls: int,
    rate: float,
    hold_ms: int = 0,
    alive: int = 0,
    ramp: float = RAMP,
    linger: float = 0,
) -> float:
    """How long `cost` will take, about."""
    # A switch with calls up does not end before it is killed.
    ramping = alive / ramp + 4 + STOP if alive else 0
    return 3 + ramping + calls / rate + hold_ms / 1000 + linger


def cost(
    make: Make,
    *,
    calls: int,
    rate: float,
    hold_ms: int = 0,
    alive: int = 0,
    ramp: float = RAMP,
    settle: float = 20,
    most: int = MOST,
    watch: Watch = unwatched,
) -> Cost:
    """The cost of `calls` calls at `rate` a second, while `alive` other calls stay up."""
    load = shares(calls, rate, most)
    held = shares(alive, ramp, most) if alive else []
    ports = [free_port() for _ in (*load, *held)]
    seconds = calls / rate + hold_ms / 1000
    bound = seconds + settle + alive / ramp + 60
    watch("starts", None)
    with (
        sipp_callees(max(len(load), len(held)), timeout=bound + 60, grace=3) as callees,
        running(make, ports, callees.ports) as system,
        ExitStack() as stack,
    ):
        drops = _Drops(system)
        holders = None
        if held:
            stay = seconds + settle + 30
            holding = _held(system, held, ports[len(load) :], ramp, stay, watch)
            holders = stack.enter_context(holding)
        earlier = system.rows().total
        memory_before = system.memory_bytes()
        cpu_before, began = system.cpu_seconds(), time.monotonic()
        callers = start_callers(
            system.remote, load, ports[: len(load)], hold_ms=hold_ms, timeout=seconds + 40
        )
        caller = callers.wait(seconds + 50, _placing(callers, calls, rate, watch))
        rows = _settle(system, earlier, calls, settle, watch)
        spent, took = system.cpu_seconds() - cpu_before, time.monotonic() - began
        memory_after = system.memory_bytes()
        dropped, dropped_by_system = drops.since()
        failed, callee_failed = caller.failed, 0
        if holders is not None:
            # Held calls are cut off at the callee, which will count them as failed: the other
            # failures are looked at before, when SIPp has written its counts once more.
            time.sleep(1.2)
            failed += holders.counts().failed
            callee_failed = callees.counts().failed
        watch("ends", None)
    if holders is None:
        callee_failed = callees.counted.failed
    return Cost(
        system=system.name,
        calls=calls,
        rate=rate,
        pairs=len(load),
        alive=alive,
        completed=caller.successful,
        failed=failed,
        retransmissions=caller.retransmissions,
        callee_failed=callee_failed,
        callee_retransmissions=callees.counted.retransmissions,
        dropped=dropped,
        dropped_by_system=dropped_by_system,
        response_ms=caller.response_ms,
        seconds=took,
        cpu_ms=1000 * spent / max(caller.successful, 1),
        rows=rows.total - earlier,
        rows_distinct=rows.calls - earlier,
        rows_unfinished=rows.unfinished,
        memory_before=memory_before,
        memory_after=memory_after,
    )


def memory_seconds(calls: int, ramp: float = RAMP, linger: float = 0) -> float:
    """How long `memory` will take, about."""
    return 6 + 2 * calls / ramp + 8 + linger + AFTERMATH


def memory(
    make: Make,
    *,
    calls: int,
    ramp: float = RAMP,
    settle: float = 20,
    most: int = MOST,
    watch: Watch = unwatched,
) -> Memory:
    """Memory of a system with `calls` calls up at once, and after their end."""
    parts = shares(calls, ramp, most)
    ports = [free_port() for _ in parts]
    hold = calls / ramp + 8
    watch("starts", None)
    with (
        sipp_callees(len(parts), timeout=3 * hold + settle + 90) as callees,
        running(make, ports, callees.ports) as system,
    ):
        drops = _Drops(system)
        # A few calls first: what is loaded and allocated once is not part of a call.
        first = start_callers(system.remote, [Share(20, min(50, most))], ports[:1]).wait(30)
        before = system.memory_bytes()
        with _held(system, parts, ports, ramp, hold, watch) as holders:
            up = system.memory_bytes()
            ends_at = time.monotonic() + hold

            def ending() -> None:
                watch("calls end", max(ends_at - time.monotonic(), 0))

            counted = added([first, holders.wait(2 * hold + 40, ending)])
        _settle(system, 20, calls, settle, watch)
        # SIP transactions outlive their call by 64*T1, 32 s; then a switch has to be idle again.
        until = time.monotonic() + AFTERMATH
        while (left := until - time.monotonic()) > 0:
            watch("looks at memory again", left)
            time.sleep(min(left, 0.5))
        after = system.memory_bytes()
        dropped, dropped_by_system = drops.since()
    return Memory(
        system=system.name,
        calls=calls,
        before=before,
        up=up,
        after=after,
        failed=counted.failed,
        callee_failed=callees.counted.failed,
        retransmissions=counted.retransmissions,
        callee_retransmissions=callees.counted.retransmissions,
        dropped=dropped,
        dropped_by_system=dropped_by_system,
    )
