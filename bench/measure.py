"""Measurements: a load through a system, and what it cost per call.

CPU is that of the system's processes from before the first call until its last record is final, the
lingering of its call data included; it is divided by the calls that SIPp counted as completed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sipp import Sipp, SippResult, sipp_callee, start_caller
from bench.systems import Rows, System
from softswitch.lab.ports import free_port

Make = Callable[[Path, Sequence[int], int], System]


AFTERMATH = 45.0
"""Seconds from the end of the last record until memory is looked at."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One load: times in seconds, `cpu_ms` per completed call, memory in bytes."""

    system: str
    calls: int
    rate: float
    alive: int
    completed: int
    failed: int
    retransmissions: int
    callee_failed: int
    callee_retransmissions: int
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
        """No failed call on either side, and one final record for each."""
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

    @property
    def per_call(self) -> float:
        """Bytes per call that is up."""
        return (self.up - self.before) / self.calls


@contextmanager
def running(make: Make, callers: Sequence[int], callee: int) -> Iterator[System]:
    """The system, started in a temporary directory, ended with the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        system = make(Path(directory), callers, callee)
        try:
            yield system
        finally:
            system.stop()


def _settle(system: System, placed: int, timeout: float) -> Rows:
    """Wait until there are `placed` records and all are final, `timeout` seconds at most."""
    deadline = time.monotonic() + timeout
    rows = system.rows()
    while (rows.total < placed or rows.unfinished) and time.monotonic() < deadline:
        time.sleep(0.25)
        rows = system.rows()
    return rows


def _hold(system: System, port: int, alive: int, ramp: float, seconds: float) -> Sipp:
    """Put `alive` calls up and return once they are."""
    holder = start_caller(
        "uac-answered",
        system.remote,
        calls=alive,
        rate=ramp,
        hold_ms=int(1000 * seconds),
        port=port,
        timeout=alive / ramp + seconds + 30,
    )
    deadline = time.monotonic() + alive / ramp + 15
    time.sleep(alive / ramp)
    # SIPp creates the last call a moment before it is answered; its count is a second old at most.
    while holder.counts().created < alive and time.monotonic() < deadline:
        time.sleep(0.25)
    time.sleep(1.5)
    return holder


def cost(
    make: Make,
    *,
    calls: int,
    rate: float,
    hold_ms: int = 0,
    alive: int = 0,
    ramp: float = 400,
    settle: float = 20,
) -> Cost:
    """The cost of `calls` calls at `rate` a second, while `alive` other calls stay up."""
    callers = [free_port(), free_port()]
    seconds = calls / rate + hold_ms / 1000
    bound = seconds + settle + alive / ramp + 60
    with (
        sipp_callee("uas-answered", timeout=bound + 60, grace=3) as callee,
        running(make, callers, callee.port) as system,
    ):
        hold_for = seconds + settle + 30
        holder = _hold(system, callers[1], alive, ramp, hold_for) if alive else None
        earlier = system.rows().total
        memory_before = system.memory_bytes()
        cpu_before, began = system.cpu_seconds(), time.monotonic()
        caller: SippResult = start_caller(
            "uac-answered",
            system.remote,
            calls=calls,
            rate=rate,
            hold_ms=hold_ms,
            port=callers[0],
            timeout=seconds + 40,
        ).wait(seconds + 50)
        rows = _settle(system, earlier + calls, settle)
        spent, took = system.cpu_seconds() - cpu_before, time.monotonic() - began
        memory_after = system.memory_bytes()
        if holder is not None:
            holder.process.kill()
            holder.process.wait()
    # The calls that were only held are cut off at the callee too: not part of the measurement.
    callee_failed = callee.counted.failed if not alive else 0
    return Cost(
        system=system.name,
        calls=calls,
        rate=rate,
        alive=alive,
        completed=caller.successful,
        failed=caller.failed,
        retransmissions=caller.retransmissions,
        callee_failed=callee_failed,
        callee_retransmissions=callee.counted.retransmissions,
        response_ms=caller.response_ms,
        seconds=took,
        cpu_ms=1000 * spent / max(caller.successful, 1),
        rows=rows.total - earlier,
        rows_distinct=rows.calls - earlier,
        rows_unfinished=rows.unfinished,
        memory_before=memory_before,
        memory_after=memory_after,
    )


def memory(make: Make, *, calls: int, ramp: float = 400, settle: float = 20) -> Memory:
    """Memory of a system with `calls` calls up at once, and after their end."""
    callers = [free_port()]
    hold = calls / ramp + 8
    with (
        sipp_callee("uas-answered", timeout=3 * hold + settle + 90) as callee,
        running(make, callers, callee.port) as system,
    ):
        # A few calls first: what is loaded and allocated once is not part of a call.
        start_caller("uac-answered", system.remote, calls=20, rate=50, port=callers[0]).wait(30)
        before = system.memory_bytes()
        holder = _hold(system, callers[0], calls, ramp, hold)
        up = system.memory_bytes()
        counted = holder.wait(2 * hold + 40)
        _settle(system, calls + 20, settle)
        # SIP transactions outlive their call by 64*T1, 32 s; then a switch has to be idle again.
        time.sleep(AFTERMATH)
        after = system.memory_bytes()
    return Memory(system.name, calls, before, up, after, counted.failed)
