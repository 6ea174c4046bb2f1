"""What waits until the records are on disk.

While the database refuses, tens of thousands of calls that have ended may wait, and whoever waits
looks again every few ms: so only the head of the queue is looked at, however long it is.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Records(Protocol):
    """The archive: how much was put into it, and how much of that is on disk."""

    @property
    def puts(self) -> int:
        """How often something was put into it."""

    @property
    def done(self) -> int:
        """How much of that is committed, or in the spool file."""


class NoRecords:
    """Nobody keeps records: there is nothing to wait for."""

    puts = 0
    done = 0


T = TypeVar("T")


class UntilRecorded(Generic[T]):
    """A queue. What is added waits for all that the archive has been given at the next ``count``:
    that is to come when its record was put, and the store tells of a call's end one by one."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._fresh: list[T] = []
        self._waiting: deque[tuple[int, T]] = deque()
        """Each with the number of puts that it waits for: these never get less from one to the
        next, as both only grow."""

    def __len__(self) -> int:
        return len(self._fresh) + len(self._waiting)

    def add(self, what: T) -> None:
        """It waits from now on."""
        self._fresh.append(what)

    def count(self) -> None:
        """What was added since the last time has its record among those that were put so far."""
        if self._fresh:
            puts = self._records.puts
            self._waiting.extend([(puts, what) for what in self._fresh])
            self._fresh.clear()

    def take(self, most: int) -> list[T]:
        """Those, ``most`` of them at once, that wait no more; in the order in which they came."""
        done, waiting = self._records.done, self._waiting
        ready: list[T] = []
        while waiting and waiting[0][0] <= done and len(ready) < most:
            ready.append(waiting.popleft()[1])
        return ready

    def clear(self) -> list[T]:
        """All of them, whether they still wait or not; none is left."""
        left = [*(what for _, what in self._waiting), *self._fresh]
        self._waiting.clear()
        self._fresh.clear()
        return left
