"""What is done about memory, and why: in one place.

A switch makes and forgets thousands of small objects a second, for months. Python and the C library
both keep what they once had from the system, wherever one small object is still in use among what
is free; so an hour of 10,000 calls would be paid for until the next restart. Hence:

* the C library's allocator instead of Python's own (``prefer_system_malloc``);
* no garbage collector while calls run (``without_collections``);
* tables that are empty are made small (``give_back``), and what is free goes back to the system
  (``Tidying``), once nothing is in progress.

Figures are in docs/performance.md.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from typing import Protocol


class Table(Protocol):
    """A dict or a set."""

    def __len__(self) -> int: ...
    def clear(self) -> None: ...


def give_back(*tables: Table) -> None:
    """Make those tables small that are empty. One that many things were taken out of keeps the room
    that it had for all of them, for good; only ``clear`` lets go of it."""
    for table in tables:
        if not len(table):
            table.clear()


def prefer_system_malloc() -> None:
    """Start this process over with the C library's allocator, unless PYTHONMALLOC says which.

    Python's own gives memory back a megabyte at a time, and after a busy hour hardly any megabyte
    is without some small object that stays. The C library's gives back single pages, at nearly the
    same cost of a call.
    """
    if "PYTHONMALLOC" not in os.environ:
        os.environ["PYTHONMALLOC"] = "malloc"
        os.execv(sys.executable, sys.orig_argv)


def without_collections() -> None:
    """From here on the garbage collector does nothing. What exists now lives as long as the
    process; the calls after it leave no cycles behind (a test holds them to that), and a full
    collection at 10,000 calls would stop the switch for longer than its socket buffers last."""
    gc.collect()
    gc.freeze()
    gc.disable()


class Tidying:
    """What is left of a busy time, given back once."""

    def __init__(self) -> None:
        self._trim = _malloc_trim()
        self._seen = 0

    def due(self, calls: int) -> bool:
        """Whether there were calls since the last time; ``calls`` counts them since the start."""
        if calls == self._seen:
            return False
        self._seen = calls
        return True

    def finish(self) -> None:
        """Tables are small now. Cycles that a library may have made are collected, and freed memory
        goes back to the system: the C library keeps it otherwise wherever one small block at its
        end is in use."""
        gc.collect()
        if self._trim is not None:
            self._trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None with another C library."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim
