"""What the journal writes, and what it needs of a disk: ``Record`` and ``Disk``.

A journal is a sequence of records in segments. ``append`` never blocks; the disk commits what was
appended in batches, in order, and says how far it got. After a crash ``load`` gives a beginning of
what was appended: everything that was committed, perhaps more, and nothing out of order.

``MemoryDisk`` is a disk without a file: for servers that shall not keep a journal, and for the
simulation, where a crash keeps only what was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import msgspec

from cdsplugin.data import NOTHING_ELSE, Handle, Log, Property, Standing, Timers


class JournalError(OSError):
    """The journal cannot be opened. The text says which file and why."""


class ArchiveError(OSError):
    """The database cannot be opened or written. The text says which and why."""


class NotStored(OSError):
    """What was to be acknowledged could not be brought to disk. The text says why."""


class Base(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call's time base (``data.clock``), of the monotonic clock that runs since ``boot``.
    ``based`` as in ``data.Call``."""

    base: int
    boot: str
    based: bool


class Entries(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """Entries of a call that changed. ``base`` is there if it is new."""

    call_id: str
    owner: str
    properties: list[Property]
    logs: list[Log]
    base: Base | None = None


class Shared(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Who takes part in a call besides this server. Replaces what was said of the call before.

    ``present`` and ``past`` as in ``participants.Participants``.
    """

    call_id: str
    owner: str
    present: list[str]
    past: list[str]
    standing: Standing = NOTHING_ELSE


class Lingers(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The last client left the call. ``settled``: its (other) owner has all that we have."""

    call_id: str
    settled: bool


class Held(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Somebody came back to a call that lingered."""

    call_id: str


class Gone(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The call has ended, and what had to be written of it is in the archive."""

    call_id: str


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """The server was alive at this time (microseconds, UTC, its own clock). ``monotonic`` is that
    of its monotonic clock, which runs since ``boot``."""

    utc: int
    monotonic: int = 0
    boot: str = ""


class Whole(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """All entries of a call: takes the place of everything said of it before."""

    call_id: str
    owner: str
    properties: list[Property]
    logs: list[Log]
    base: Base | None = None


Record: TypeAlias = Entries | Whole | Shared | Lingers | Held | Gone | Beat


class Disk(Protocol):
    """Where a journal is kept. All methods are called from the thread of the event loop."""

    @property
    def appended(self) -> int:
        """Records appended since the start."""

    @property
    def committed(self) -> int:
        """How many of these are on disk."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be committed at present, for people; None if all is well."""

    @property
    def overflowed(self) -> bool:
        """Too much waited while there was trouble, and was let go: the journal must be written
        anew. It is for the journal to set this back to false."""

    @overflowed.setter
    def overflowed(self, value: bool) -> None: ...

    def load(self) -> Iterable[Record]:
        """What the last life of this server left, in the order in which it was appended."""

    def attach(self, told: Callable[[], None]) -> None:
        """``told`` is called when a wish (``want``) is fulfilled, and when trouble begins."""

    def append(self, record: Record) -> None:
        """Add a record. It must not be changed afterwards."""

    def want(self) -> None:
        """Somebody waits for what was appended so far."""

    def cut(self) -> int:
        """Begin a new segment; returns its number, which is greater than the last one's."""

    def drop(self, segment: int) -> None:
        """Forget the records of all segments before ``segment``, some time soon."""

    def clear(self) -> None:
        """The server stops, and nothing is alive: forget everything."""


class MemoryDisk:
    """A disk in memory. Everything is committed ``delay`` seconds after it was appended; at once
    when that is 0.

    ``full`` makes it refuse. ``crash`` is the machine's death: what was not committed is gone, and
    the disk may be given to the server's next life.
    """

    def __init__(self, timers: Timers, delay: float = 0.0, limit: int = 200_000) -> None:
        self._timers = timers
        self._delay = delay
        self._limit = limit
        self._kept: list[tuple[int, Record]] = []
        self._fresh: list[tuple[int, Record]] = []
        self._segment = 1
        self._drop = 0
        self._timer: Handle | None = None
        self._told: Callable[[], None] = _nobody
        self._wanted = False
        self.appended = 0
        self.committed = 0
        self.overflowed = False
        self.trouble: str | None = None
        self.full = False

    def load(self) -> Iterable[Record]:
        """What is committed."""
        return [record for _, record in self._kept]

    def attach(self, told: Callable[[], None]) -> None:
        """See ``Disk``."""
        self._told = told

    def append(self, record: Record) -> None:
        """See ``Disk``."""
        self.appended += 1
        self._fresh.append((self._segment, record))
        if not self._delay and not self.full:
            self.sync()
        elif self._timer is None:
            self._timer = self._timers.schedule(self._delay or 0.01, self._due)

    def want(self) -> None:
        """See ``Disk``."""
        self._wanted = True

    def cut(self) -> int:
        """See ``Disk``."""
        self._segment += 1
        return self._segment

    def drop(self, segment: int) -> None:
        """See ``Disk``."""
        # Not before what was written again in their place is committed.
        self._drop = segment

    def clear(self) -> None:
        """See ``Disk``."""
        self._kept.clear()
        self._fresh.clear()
        self.committed = self.appended

    def sync(self) -> bool:
        """Commit what was appended; false if the disk is full."""
        if self.full:
            began = self.trouble is None
            self.trouble = "database or disk is full"
            if len(self._fresh) > self._limit:
                self._fresh.clear()
                self.overflowed = True
            if began:
                self._told()
            return False
        self.trouble = None
        self._kept += self._fresh
        self._fresh.clear()
        if self._drop:
            self._kept = [kept for kept in self._kept if kept[0] >= self._drop]
            self._drop = 0
        self.committed = self.appended
        if self._wanted:
            self._wanted = False
            self._told()
        return True

    def crash(self) -> None:
        """Keep only what is committed, and forget who was attached."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fresh.clear()
        self._drop = 0
        self._told = _nobody
        self._wanted = False
        self.appended = self.committed = 0
        self.overflowed = False
        self.trouble = None

    def __len__(self) -> int:
        return len(self._kept)

    def _due(self) -> None:
        self._timer = None
        if not self.sync():
            self._timer = self._timers.schedule(max(self._delay, 1.0), self._due)


def _nobody() -> None:
    """Nobody waits for this disk."""
