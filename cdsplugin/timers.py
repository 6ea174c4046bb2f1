"""Time from the machine: ``Timers`` on a running event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cdsplugin.data import Handle
from softswitch.steady import boot, steady_us


class LoopTimers:
    """The wall clock, the monotonic clock, and the event loop's timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.boot = boot()

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        """Microseconds since the machine's start."""
        return steady_us()

    def schedule(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Call ``callback`` in the loop after ``delay`` seconds."""
        return self._loop.call_later(delay, callback)
