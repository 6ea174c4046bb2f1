"""The journal's file: rows are appended, the newest of a number counts, and an empty one ends it.

A thread writes, so that a disk that hangs holds up nobody but who waits for it. A file that cannot
be used costs the calls their life after a SIGKILL, and nothing else: whoever opens it is told why
in one line, and what fails later is tried again until it works.

A file that has grown is left for a new one (`begin`), to which the rows that still count are
written again, a few at a time; until then the old one stays beside it as ``NAME.before``
(`finish`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from softswitch.disk.record_file import ForeignFile, RecordFile, read_records

log = logging.getLogger(__name__)

LOCK_WAIT = 2.0
"""Seconds to wait for the file: the process before may be about to exit."""
CLOSE_WAIT = 5.0
"""Seconds that a disk gets for what it has not taken yet when the process stops."""
CROWDED = 4 * 1024 * 1024
"""Bytes from which on a file is left for a new one, if three quarters of it count no more."""

_MAGIC = b"softswitch calls 2\n"
_ROWS_A_WRITE = 1000

Then = Callable[[], None]


class JournalError(Exception):
    """The file cannot be used; the text is one line for the admin."""


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
        self._new = False  # between `begin` and `finish`
        self._finish_due = False
        self._soon = soon
        self._jobs: SimpleQueue[Callable[[], Then] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        try:
            self._file = RecordFile(path, _MAGIC, lock_wait=LOCK_WAIT)
            try:
                self._load()
            except ForeignFile:
                aside = _put_aside(path)
                log.error(
                    "journal %s: is no journal of this version; put aside as %s", path, aside.name
                )
                self._file.close()
                self._file = RecordFile(path, _MAGIC, lock_wait=LOCK_WAIT)
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
        return self._file.crowded(CROWDED) and not self._new and not self.behind

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
        self._file.close()

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
        first = 0
        try:
            if len(rows) <= _ROWS_A_WRITE:
                self._file.append(rows.items())
                return {}, None
            # What has gathered while the disk refused.
            items = list(rows.items())
            for first in range(0, len(items), _ROWS_A_WRITE):
                self._file.append(items[first : first + _ROWS_A_WRITE])
        except OSError as error:
            return dict(islice(rows.items(), first, None)), error
        return {}, None

    def _begin(self) -> Then:
        try:
            self._file.renew(keep=self._old)
        except OSError as error:
            log.error("journal %s: %s; it goes on growing", self.path, error.strerror or error)
            return self._not_begun
        return _nothing

    def _not_begun(self) -> None:
        self._new = False

    def _finish(self) -> Then:
        if self._new:
            try:
                # Else the system might have removed the old one, and not written the new one yet,
                # when the power fails.
                self._file.sync()
                self._old.unlink(missing_ok=True)
            except OSError as error:
                log.error("journal %s: %s", self.path, error.strerror or error)
            self._file.counts = self._file.size

        def finished() -> None:
            self._new = False

        return finished

    # What is there at the start

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Killed between `begin` and `finish`: what is in the newer one counts.
            try:
                self._rows.update(read_records(self._old, _MAGIC))
                self._new = True
            except ForeignFile:
                # None of ours: somebody's copy of something.
                self._old.replace(self._old.with_name(self._old.name + ".unreadable"))
        self._rows.update(self._file.read())
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
            self._file.clear()
        self._file.count(self._rows.values())


def _nothing() -> None:
    """Nobody waits for this."""


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".unreadable")
    path.replace(aside)
    # Beside a journal of the first version.
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    return aside
