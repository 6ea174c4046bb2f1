"""The journal's file: rows are appended, the newest of a number counts, and an empty one ends it.

Each batch is one ``write`` to the system, which a SIGKILL of this process does not undo: what was
written is there for the next start (a loss of power may cost the newest seconds). A thread does it,
so that a disk that hangs holds up nobody but who waits for it. A file that cannot be used costs the
calls their life after a SIGKILL, and nothing else: whoever opens it is told why in one line, and
what fails later is tried again until it works.

A file that has grown is left for a new one (`begin`), to which the rows that still count are
written again, a few at a time; until then the old one stays beside it as ``NAME.before``
(`finish`).

After a first line, each row is: length of its bytes (4), their CRC-32 begun with the number (4),
the number (8), the bytes. All big-endian.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import SimpleQueue

log = logging.getLogger(__name__)

LOCK_WAIT = 2.0
"""Seconds to wait for the file: the process before may be about to exit."""
CLOSE_WAIT = 5.0
"""Seconds that a disk gets for what it has not taken yet when the process stops."""
CROWDED = 4 * 1024 * 1024
"""Bytes from which on a file is left for a new one, if three quarters of it count no more."""

_MAGIC = b"softswitch calls 2\n"
_HEAD = struct.Struct(">IIQ")
_ROWS_A_WRITE = 1000

Then = Callable[[], None]


class JournalError(Exception):
    """The file cannot be used; the text is one line for the admin."""


class _Foreign(Exception):
    """The file is none of ours, or of another version."""


class JournalFile:
    """The rows of one switch. Only one process has the file at a time.

    `soon` calls back in the event loop, from any thread; without it there is no thread, and all is
    done at once.
    """

    def __init__(self, path: Path, soon: Callable[[Then], object] | None = None) -> None:
        """Raises JournalError. A file that is no journal, or of another version, is put aside."""
        self.path = path
        self.behind = False
        """Whether the disk refused, and rows wait for it."""
        self._old = path.with_name(path.name + ".before")
        self._rows: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}
        self._then: list[Then] = []
        self._writing: dict[int, bytes] | None = None
        self._written = 0  # the greatest number that may be in the file
        self._size = self._counts = 0
        self._new = False  # between `begin` and `finish`
        self._finish_due = False
        self._soon = soon
        self._jobs: SimpleQueue[Callable[[], Then] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        try:
            self._file = _locked(path)
            try:
                self._load()
            except _Foreign as error:
                aside = _put_aside(path)
                log.error("journal %s: %s; put aside as %s", path, error, aside.name)
                os.close(self._file)
                self._file = _locked(path)
                self._load()
        except OSError as error:
            raise JournalError(f"journal {path}: {error.strerror or error}") from error
        if soon is not None:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()

    def rows(self) -> list[tuple[int, bytes]]:
        """All that counts of what an earlier process left, by number. To be called once."""
        rows, self._rows = self._rows, {}
        return sorted(rows.items())

    @property
    def crowded(self) -> bool:
        """Whether it is time to `begin` a new file."""
        limit = max(CROWDED, 4 * self._counts)
        return self._size > limit and not self._new and not self.behind

    def write(
        self, rows: Sequence[tuple[int, bytes]], over: Iterable[int], then: Then | None = None
    ) -> None:
        """Store rows and end those that are over; `then` is called once that is done, or at once if
        the disk refuses. Never raises. While it is `behind`, `try_again` from time to time."""
        waiting, writing = self._waiting, self._writing
        waiting.update(rows)
        for row in over:
            if row <= self._written or (writing is not None and row in writing):
                waiting[row] = b""
            else:
                waiting.pop(row, None)  # it never got into the file
        if self.behind:
            if then is not None:
                then()
            return
        if then is not None:
            self._then.append(then)
        if writing is None:
            self._start()

    def try_again(self) -> None:
        """Does the disk take now what it has refused?"""
        if self.behind and self._writing is None:
            self._start()

    def begin(self) -> None:
        """Go on in a new file. All rows that count are to be written again; then `finish`."""
        self._new = True
        self._do(self._begin)

    def finish(self) -> None:
        """Everything that counts was handed over since `begin`: the old file may go once that is
        written."""
        self._finish_due = True
        self._finish_if_due()

    def close(self) -> None:
        """Store what waits, as far as the disk takes it, and let go of the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join(CLOSE_WAIT)
            if thread.is_alive():
                log.error("journal %s: the disk does not answer", self.path)
                return
        if self._waiting:
            left, error = self._append(self._waiting)
            if error is not None:
                log.error("journal %s: %s; %d rows are lost", self.path, error, len(left))
            self._waiting = {}
        self.behind = False
        self._soon = None
        os.close(self._file)
        self._file = -1

    # Jobs: done by the thread, in their order; what each returns is called in the event loop

    def _do(self, job: Callable[[], Then]) -> None:
        if self._soon is None:
            job()()
        else:
            self._jobs.put(job)

    def _run(self) -> None:
        soon = self._soon
        assert soon is not None
        while (job := self._jobs.get()) is not None:
            done = job()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                soon(done)

    def _start(self) -> None:
        rows, self._waiting = self._waiting, {}
        then, self._then = self._then, []
        self._writing = rows

        def store() -> Then:
            left, error = self._append(rows)
            return lambda: self._stored(rows, left, error, then)

        self._do(store)

    def _stored(
        self,
        rows: dict[int, bytes],
        left: dict[int, bytes],
        error: OSError | None,
        then: list[Then],
    ) -> None:
        self._writing = None
        self._written = max([self._written, *(row for row in rows if row not in left)])
        if error is not None:
            self._waiting = {**left, **self._waiting}
            if not self.behind:
                self.behind = True
                log.error(
                    "journal %s: %s; what is new would not outlive this process until that is"
                    " mended",
                    self.path,
                    error.strerror or error,
                )
            # Nobody is to wait for a disk that refuses.
            more, self._then = self._then, []
            then = [*then, *more]
        elif self.behind:
            self.behind = False
            log.warning("journal %s: works again", self.path)
        for one in then:
            one()
        if self._waiting and not self.behind and self._writing is None:
            self._start()
        self._finish_if_due()

    def _finish_if_due(self) -> None:
        if self._finish_due and not (self.behind or self._waiting or self._writing is not None):
            self._finish_due = False
            self._do(self._finish)

    # In the thread

    def _append(self, rows: dict[int, bytes]) -> tuple[dict[int, bytes], OSError | None]:
        """Returns the rows that could not be written, and why."""
        pack, crc = _HEAD.pack, zlib.crc32
        items = list(rows.items())
        for first in range(0, len(items), _ROWS_A_WRITE):
            parts: list[bytes] = []
            for row, data in items[first : first + _ROWS_A_WRITE]:
                parts += (pack(len(data), crc(data, row), row), data)
            try:
                self._size += _write(self._file, b"".join(parts), self._size)
            except OSError as error:
                return dict(items[first:]), error
        return {}, None

    def _begin(self) -> Then:
        new = self.path.with_name(self.path.name + ".new")
        file = -1
        try:
            file = _locked(new)
            os.ftruncate(file, 0)
            _write(file, _MAGIC, 0)
            self._old.unlink(missing_ok=True)
            # There is a file of the name at each moment, and it is locked.
            os.link(self.path, self._old)
            os.replace(new, self.path)
        except OSError as error:
            if file >= 0:
                os.close(file)
            # The old one will do, at its length.
            log.error("journal %s: %s; it goes on growing", self.path, error.strerror or error)
            self._counts = self._size
            return self._not_begun
        before, self._file = self._file, file
        with contextlib.suppress(OSError):
            os.close(before)
        self._size = len(_MAGIC)
        return _nothing

    def _not_begun(self) -> None:
        self._new = False

    def _finish(self) -> Then:
        if self._new:
            try:
                # Else the system might have removed the old one, and not written the new one yet,
                # when the power fails.
                os.fdatasync(self._file)
                self._old.unlink(missing_ok=True)
            except OSError as error:
                log.error("journal %s: %s", self.path, error.strerror or error)
            self._counts = self._size

        def finished() -> None:
            self._new = False

        return finished

    # What is there at the start

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Killed between `begin` and `finish`: what is in the newer one counts.
            before = self._old.read_bytes()
            try:
                self._take(self._old, before)
                self._new = True
            except _Foreign:
                # None of ours: somebody's copy of something.
                self._old.replace(self._old.with_name(self._old.name + ".unreadable"))
        data = _read(self._file)
        if not data:
            self._size = _write(self._file, _MAGIC, 0)
        else:
            self._size = self._take(self.path, data)
            os.ftruncate(self._file, self._size)
        self._rows = {row: data for row, data in self._rows.items() if data}
        self._written = max(self._rows, default=0)
        if self._new:
            left, error = self._append(self._rows)
            if error is None:
                self._finish()
                self._new = False
            else:
                # Later, with all that comes.
                self._waiting = left
                self.behind = self._finish_due = True
        if not self._rows and not self._new:
            os.ftruncate(self._file, len(_MAGIC))
            self._size = len(_MAGIC)
        self._counts = len(_MAGIC) + sum(_HEAD.size + len(row) for row in self._rows.values())

    def _take(self, path: Path, data: bytes) -> int:
        """Take in the rows of a file; returns where the last whole one ends."""
        if not data.startswith(_MAGIC):
            raise _Foreign("is no journal of this version")
        at, end = len(_MAGIC), len(data)
        while at + _HEAD.size <= end:
            length, crc, row = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            found = data[start : start + length]
            if len(found) < length or zlib.crc32(found, row) != crc:
                break
            self._rows[row] = found
            at = start + length
        if at < end:
            log.warning(
                "journal %s: its last %d bytes cannot be read: cut off by the end of the process"
                " that wrote them, or damaged",
                path,
                end - at,
            )
        return at


def _read(file: int) -> bytes:
    with os.fdopen(os.dup(file), "rb") as whole:
        whole.seek(0)
        return whole.read()


def _locked(path: Path) -> int:
    """The file, made if it is not there, and locked for as long as it is open. Raises OSError."""
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
            # The process that had it went on to a new one in the meantime.
            os.close(file)
        except FileNotFoundError:
            os.close(file)
        except BlockingIOError:
            os.close(file)
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another process has it") from None
            time.sleep(0.05)
        except OSError:
            os.close(file)
            raise


def _write(file: int, data: bytes, at: int) -> int:
    """Raises OSError; then nothing of it is left in the file."""
    written = os.pwrite(file, data, at)
    if written != len(data):
        # Half a row would be in the way of those after it.
        with contextlib.suppress(OSError):
            os.ftruncate(file, at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return written


def _nothing() -> None:
    """Nobody waits for this."""


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".unreadable")
    path.replace(aside)
    # Beside a journal of the first version.
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    return aside
