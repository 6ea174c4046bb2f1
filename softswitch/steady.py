"""A clock that nobody sets. It runs while the machine sleeps, and from one process to the next."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

_BOOT = ("/proc/sys/kernel/random/boot_id", "/proc/self/timens_offsets")
"""A container may have the clocks of its machine moved: then it is another one's that count."""


def steady_us() -> int:
    """Microseconds since the machine's start, or, where that is not to be had, since any moment."""
    return _read() // 1000


def boot() -> str:
    """Names the start from which `steady_us` counts; empty if it has no name. Only within the same
    one can a process go on with what an earlier one has read of the clock."""
    if not _SINCE_BOOT:
        return ""
    data = b""
    for path in _BOOT:
        with suppress(OSError):
            data += Path(path).read_bytes()
    return hashlib.blake2s(data, digest_size=8).hexdigest() if data else ""


_SINCE_BOOT = hasattr(time, "CLOCK_BOOTTIME")
_read: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if _SINCE_BOOT else time.monotonic_ns
)
