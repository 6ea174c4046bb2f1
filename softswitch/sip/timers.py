"""Timers on an injected clock: the wheel that every SIP timer (RFC 3261 table 4) runs on.

At 1,000 calls a second some hundred thousand timers are alive, nearly all of which are cancelled or
wait 32 s for nothing. So a timer is one small object in a bucket of its tick: setting and
cancelling cost the same with any number alive, and nothing is sorted but the ticks.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

TICK = 0.01
"""Seconds; a timer fires at the first tick not before it is due."""
LONG = 60.0
LATE = 64
"""A timer of `LONG` seconds or more may be late by one part in `LATE`. Few of those ever fire: it
keeps the buckets few that they leave lying among the memory of calls, which could not go back to
the system for as long."""


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """T1, T2, T4 in seconds (§17, table 4); `trying`: see `InviteServer.trying`, 0 is at once."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    trying: float = 0.2


class Timer:
    """One timer that was set; `cancel` may be called at any time, also after it fired."""

    __slots__ = ("_bucket", "callback")

    def __init__(
        self,
        callback: Callable[[], None] | None,
        bucket: dict[Timer, None],
    ) -> None:
        self.callback = callback
        self._bucket = bucket

    def cancel(self) -> None:
        """Never fire; nothing is kept of it or of what the callback held.

        Were it left in its bucket, the timers of calls long over would lie scattered all over the
        memory of those that came after, and none of it could be given back.
        """
        self.callback = None
        self._bucket.pop(self, None)


class Timers:
    """All timers of one process. `clock` gives seconds and never runs backwards.

    The owner calls `advance` whenever `next_due()` has come; `on_earlier`, if set, is called with
    the new deadline when one is set that is earlier than all before.
    """

    def __init__(self, clock: Callable[[], float], tick: float = TICK) -> None:
        self.clock = clock
        self.on_earlier: Callable[[float], None] | None = None
        self._tick = tick
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._ticks: list[int] = []

    def after(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in `delay` seconds."""
        tick = int((self.clock() + delay) / self._tick) + 1
        if delay >= LONG:
            tick += -tick % int(delay / LATE / self._tick)
        bucket = self._buckets.get(tick)
        if bucket is not None:
            timer = Timer(callback, bucket)
            bucket[timer] = None
            return timer
        bucket = self._buckets[tick] = {}
        timer = Timer(callback, bucket)
        bucket[timer] = None
        ticks = self._ticks
        heapq.heappush(ticks, tick)
        if ticks[0] == tick and self.on_earlier is not None:
            self.on_earlier(tick * self._tick)
        return timer

    def next_due(self) -> float | None:
        """When `advance` is wanted next, in seconds of the clock; None if no timer is set."""
        return self._ticks[0] * self._tick if self._ticks else None

    def advance(self) -> None:
        """Fire what is due. A callback may set and cancel timers; what it sets fires later.

        A callback that raises is logged, and keeps none of the others from firing.
        """
        now = self.clock()
        ticks = self._ticks
        due: list[list[Timer]] = []
        while ticks and ticks[0] * self._tick <= now:
            bucket = self._buckets.pop(heapq.heappop(ticks))
            due.append(list(bucket))
            # A timer that has fired may live on with its owner: no cycle through its bucket.
            bucket.clear()
        for timers in due:
            for timer in timers:
                callback = timer.callback
                if callback is None:
                    continue
                timer.callback = None
                try:
                    callback()
                except Exception:
                    log.exception("a timer failed")

    def tidy(self) -> None:
        """Give back the room of buckets whose timers were all cancelled."""
        for bucket in self._buckets.values():
            if not bucket:
                bucket.clear()
        self._buckets = dict(self._buckets)

    def __len__(self) -> int:
        """Timers set and not cancelled."""
        return sum(len(bucket) for bucket in self._buckets.values())
