"""The journal's file: SQLite beside the CDR database, written by a thread of its own.

One row for each commit, with all records of it in one msgpack array: an append to a table by rowid,
in one statement that is its own transaction. The event loop gathers records for ``interval``
seconds and hands them over; the thread takes all that was handed over in the meantime. A file and
a thread apart from the archive's, so that nobody who holds a lock on the CDR database (a report, a
backup) holds up what waits for an acknowledgement.

Should the disk refuse (full, broken), that is reported in one line; the records are kept and tried
again. When more than ``records`` wait they are let go, and the journal writes all live calls anew
once the disk works. A file that is damaged is moved aside, never deleted, and a new one is begun;
what can be read of it is taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import msgspec

from cdsplugin.archive.damage import damaged, foreign, moved_aside, passing
from cdsplugin.archive.disk import JournalError, Record
from cdsplugin.archive.file_watch import FileWatch, leave
from cdsplugin.archive.schema import JOURNAL, JOURNAL_VERSION
from cdsplugin.archive.sqlite_connection import Connection

log = logging.getLogger("cdsplugin.journal")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Seconds, and records. ``synchronous`` as for the archive."""

    interval: float = 0.005
    records: int = 1_000_000
    synchronous: Literal["normal", "full"] = "normal"
    busy_timeout: float = 2.0
    retry_interval: float = 0.5


@dataclass(frozen=True, slots=True)
class _Handed:
    """What the loop hands to the thread. ``upto`` is how many were appended so far."""

    records: list[Record]
    upto: int
    segment: int
    drop: int
    closing: bool = False


_DROP_ROWS = 200  # in one go, so that a commit never waits long for it
_PAGE = 16_384  # bytes
_CHECKPOINT_PAGES = 1000  # in the write-ahead log before they move to the file
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


class JournalFile:
    """A ``disk.Disk`` on a file. To be used in a running event loop, from its thread alone."""

    def __init__(
        self, path: Path, loop: asyncio.AbstractEventLoop, settings: FileSettings | None = None
    ) -> None:
        self.path = path
        self.settings = settings or FileSettings()
        self._loop = loop
        self._batch: list[Record] = []
        self._segment = 1
        self._drop = 0
        self._handed: SimpleQueue[_Handed] = SimpleQueue()
        self._scheduled = False
        self._handed_at = 0.0
        self._wanted = False
        self._cleared = False
        self._told: Callable[[], None] | None = None
        self._runs: threading.Thread | None = None
        self._conn: Connection | None = None
        self._next_row = 1
        self._stopping = threading.Event()
        self._watch = FileWatch(path)
        self.appended = 0
        self.committed = 0
        self.overflowed = False
        self.trouble: str | None = None
        self.commits = 0
        self.lost = 0
        """Records that could not be written for what is in them (said in the log)."""

    def open(self) -> None:
        """Open or make the file and start the thread. Raises ``JournalError``."""
        if foreign(self.path):
            raise JournalError(f"{self.path} is not an SQLite database: not touched")
        # Another process that has it is no backup: it would be this server, running already.
        try:
            try:
                self._conn = self._connect()
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                aside = moved_aside(self.path)
                log.error("the journal %s is damaged (%s): moved to %s", self.path, error, aside)
                self._conn = self._connect()
        except (sqlite3.Error, OSError) as error:
            why = str(error)
            if not self.path.parent.is_dir():
                why = "no such folder"
            elif "locked" in why:
                why = "another process has it open (is this server running already?)"
            elif passing(error, self.path):
                self.trouble = why
                log.error(
                    "the journal %s: %s; live calls are kept in memory, and it is tried again",
                    self.path,
                    why,
                )
                self.overflowed = True  # so that all that is alive is written once it works
                return
            raise JournalError(f"cds.database: cannot open {self.path}: {why}") from error
        self._next_row = self._last_row(self._conn) + 1

    def start(self) -> None:
        """Start writing; after ``load``."""
        self._runs = threading.Thread(target=self._run, name="cds-journal", daemon=True)
        self._runs.start()

    def load(self) -> Iterator[Record]:
        """What is in the file. Parts that cannot be read are passed over, and said in the log."""
        if self._conn is None:
            yield from self._load_elsewhere()
            return
        rows = self._conn.execute("SELECT id, records FROM journal ORDER BY id")
        while True:
            try:
                row = rows.fetchone()
            except sqlite3.DatabaseError as error:
                if not damaged(error):
                    raise
                # What came before it is read already.
                rows.close()
                self._conn.close()
                aside = moved_aside(self.path)
                log.error(
                    "the journal %s is damaged (%s): moved to %s; what could be read is kept",
                    self.path,
                    error,
                    aside,
                )
                self._conn = self._connect()
                self._next_row = 1
                self.overflowed = True  # so that all that was read is written to the new file
                return
            if row is None:
                return
            try:
                yield from _decode(row[1])
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
                log.error("%s: row %d cannot be read: %s", self.path, row[0], error)

    # Disk

    def attach(self, told: Callable[[], None]) -> None:
        """See ``disk.Disk``."""
        self._told = told

    def append(self, record: Record) -> None:
        """See ``disk.Disk``."""
        self.appended += 1
        self._batch.append(record)
        if not self._scheduled:
            self._scheduled = True
            wait = self._handed_at + self.settings.interval - self._loop.time()
            if wait > 0:
                self._loop.call_later(wait, self._hand_over)
            else:
                self._loop.call_soon(self._hand_over)

    def want(self) -> None:
        """See ``disk.Disk``."""
        self._wanted = True
        if self.committed >= self.appended:
            # The thread may have looked before it was wanted.
            self._loop.call_soon(self._on_commit)

    def cut(self) -> int:
        """See ``disk.Disk``."""
        self._segment += 1
        return self._segment

    def drop(self, segment: int) -> None:
        """See ``disk.Disk``."""
        self._drop = segment

    def clear(self) -> None:
        """See ``disk.Disk``. The file is removed when it is closed."""
        self._cleared = True

    def close(self, timeout: float = 10.0) -> bool:
        """Commit what was appended and stop; false if it could not be. Blocks: not for the
        loop."""
        thread, self._runs = self._runs, None
        if thread is None:
            if self._conn is not None:
                self._conn.close()
                self._conn = None
            return True
        batch, self._batch = self._batch, []
        self._stopping.set()
        self._handed.put(_Handed(batch, self.appended, self._segment, self._drop, True))
        thread.join(timeout)
        return not thread.is_alive() and self.committed >= self.appended

    def _hand_over(self) -> None:
        self._scheduled = False
        if not self._batch or self._runs is None:
            return
        self._handed_at = self._loop.time()
        batch, self._batch = self._batch, []
        waiting = self.appended - self.committed
        if self.trouble is not None and waiting > self.settings.records:
            if not self.overflowed:
                self.overflowed = True
                log.error(
                    "%d records wait for the journal %s (cds.limits.journal_records): let go;"
                    " all live calls are written anew when the disk works again",
                    waiting,
                    self.path,
                )
            batch = []
        self._handed.put(_Handed(batch, self.appended, self._segment, self._drop))

    def _on_commit(self) -> None:
        self._wanted = False
        if self._told is not None:
            self._told()

    # The thread

    def _connect(self) -> Connection:
        conn = sqlite3.connect(
            self.path,
            factory=Connection,
            timeout=self.settings.busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # Exclusive: no other process may open it, and no lock has to be taken at each commit.
            conn.execute("PRAGMA locking_mode = EXCLUSIVE")
            # A commit under load fits on one page: fewer writes, and no chain of pages that has to
            # be read again only to be freed. Of a file that has another size this changes nothing.
            conn.execute(f"PRAGMA page_size = {_PAGE}")
            # Freed pages need not be overwritten with zeros, as some builds do: they are soon used.
            conn.execute("PRAGMA secure_delete = OFF")
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute(f"PRAGMA synchronous = {self.settings.synchronous}")
            conn.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            version = conn.execute("PRAGMA user_version").fetchone()[0]
            if version > JOURNAL_VERSION:
                raise sqlite3.OperationalError("written by a newer version")
            conn.execute("BEGIN IMMEDIATE")
            if version < JOURNAL_VERSION:
                conn.execute(JOURNAL)
                conn.execute(f"PRAGMA user_version = {JOURNAL_VERSION}")
            conn.execute("COMMIT")
        except sqlite3.Error:
            conn.close()
            raise
        return conn

    @staticmethod
    def _last_row(conn: Connection) -> int:
        return conn.execute("SELECT max(id) FROM journal").fetchone()[0] or 0

    def _load_elsewhere(self) -> Iterator[Record]:
        """The disk takes nothing: what the file has is read from a copy of it in another place."""
        if not self.path.exists():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="cds-journal-") as folder:
                for end in ("", "-wal"):
                    source = self.path.with_name(self.path.name + end)
                    if source.exists():
                        shutil.copy(source, Path(folder) / f"journal{end}")
                with contextlib.closing(sqlite3.connect(Path(folder) / "journal")) as conn:
                    for row in conn.execute("SELECT id, records FROM journal ORDER BY id"):
                        yield from _decode(row[1])
        except (sqlite3.Error, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("the journal %s cannot be read: %s", self.path, error)

    def _run(self) -> None:
        conn, self._conn = self._conn, None
        self._watch.begin()
        writer = _Writer(conn, self._next_row)
        blobs: list[bytes] = []
        upto = 0
        closing = False
        while not closing or blobs:
            if not blobs or not closing:
                handed = self._handed.get()
                records = handed.records
                upto, segment, drop, closing = (
                    handed.upto,
                    handed.segment,
                    handed.drop,
                    handed.closing or closing,
                )
                while not self._handed.empty():
                    handed = self._handed.get()
                    records += handed.records
                    upto, segment, drop = handed.upto, handed.segment, handed.drop
                    closing = closing or handed.closing
                if writer.conn is not None:
                    writer.segment(segment)
                if records:
                    blobs.append(self._encoded(records))
            try:
                if writer.conn is not None and self._watch.gone():
                    self._leave(writer)
                if writer.conn is None:
                    writer.conn = self._connect()
                    writer.row = max(writer.row, self._last_row(writer.conn) + 1)
                    self._watch.begin()
                    writer.segment(segment)
                while blobs:
                    writer.write(blobs[0])
                    del blobs[0]
                    self.commits += 1
                while writer.drop(drop) and closing:
                    pass
            except (sqlite3.Error, OSError) as error:
                self._troubled(writer, error)
                if closing:
                    break
                self._stopping.wait(self.settings.retry_interval)
                if self._handed.empty():
                    self._handed.put(_Handed([], upto, segment, drop))
                continue
            if self.trouble is not None:
                log.warning("the journal %s works again", self.path)
                self.trouble = None
            self.committed = upto
            # Of what was written nothing is to be held on to until there is more.
            del records, handed
            if self._wanted:
                self._tell()
        if writer.conn is not None:
            writer.close()
            if self._cleared and not blobs:
                for end in ("-wal", "-shm", ""):
                    with contextlib.suppress(OSError):
                        self.path.with_name(self.path.name + end).unlink()

    def _leave(self, writer: _Writer) -> None:
        """The file has another name now, or none: all live calls go to a new one."""
        assert writer.conn is not None
        log.error("the journal %s is not there any more: made again", self.path)
        leave(writer.conn, self.path)
        writer.conn = None
        writer.row, writer.first, writer.starts = 1, 1, {}
        self.overflowed = True
        self._tell()

    def _troubled(self, writer: _Writer, error: Exception) -> None:
        why = str(error)
        if damaged(error) and writer.conn is not None:
            writer.conn.close()
            writer.conn = None
            aside = moved_aside(self.path)
            writer.row, writer.first, writer.starts = 1, 1, {}
            log.error("the journal %s is damaged (%s): moved to %s", self.path, why, aside)
            # The new file has to get all live calls.
            self.overflowed = True
        if why != self.trouble:
            began = self.trouble is None
            self.trouble = why
            log.error("the journal %s: %s; records are kept and tried again", self.path, why)
            if began:
                self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._on_commit)

    def _encoded(self, records: list[Record]) -> bytes:
        try:
            return _encode(records)
        except (UnicodeEncodeError, OverflowError, TypeError, ValueError):
            good = []
            for record in records:
                try:
                    _encode(record)
                    good.append(record)
                except (UnicodeEncodeError, OverflowError, TypeError, ValueError) as error:
                    self.lost += 1
                    log.error("a record cannot be journalled (%s): %r", error, record)
            return _encode(good)


class _Writer:
    """The statements of the thread. Rows are numbered one after the other; ``starts`` is the first
    row of each segment."""

    def __init__(self, conn: Connection | None, row: int) -> None:
        self.conn = conn
        self.row = row
        self.starts: dict[int, int] = {}
        first = conn.execute("SELECT min(id) FROM journal").fetchone()[0] if conn else None
        self.first = first or row

    def segment(self, segment: int) -> None:
        """What is written from here on belongs to this segment, or to an older one."""
        if segment not in self.starts:
            self.starts[segment] = self.row

    def write(self, blob: bytes) -> None:
        """One row, committed."""
        assert self.conn is not None
        self.conn.run("INSERT INTO journal VALUES (?, ?)", (self.row, blob))
        self.row += 1

    def drop(self, before: int) -> bool:
        """Delete rows of the segments before this one, a few at a time; true if there are more."""
        assert self.conn is not None
        if before <= 0:
            return False  # the rows of the life before (segment 0) are still needed
        keep = min((row for number, row in self.starts.items() if number >= before), default=0)
        if self.first >= keep:
            return False
        upto = min(keep, self.first + _DROP_ROWS)
        self.conn.run("DELETE FROM journal WHERE id < ?", (upto,))
        self.first = upto
        for segment in [s for s in self.starts if s < before]:
            del self.starts[segment]
        return upto < keep

    def close(self) -> None:
        """Close."""
        assert self.conn is not None
        with contextlib.suppress(sqlite3.Error):
            self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.conn.close()
