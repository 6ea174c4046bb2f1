"""The archive: the CDR database, written by one thread in batches.

``put`` never blocks: it appends rows to a batch. The thread takes the batch every
``commit_interval`` and writes it in one transaction. What is committed survives ``kill -9`` at any
moment, whatever ``synchronous`` says (SQLite's log is in the kernel's hands by then); with ``full``
it survives the loss of power too, at the price of one fsync for each commit.

Should the database refuse (locked, full, corrupt), at the start or later, that is reported in one
line, the rows are kept and tried again, and another line says when they are written. When more than
``queue_rows`` wait, they move to a file beside the database (``NAME.spool``), from where they are
written when the database works again, also after a restart. The last resort, when that file cannot
be written either, is the log: each row in full. A database that is damaged is moved aside, never
deleted, and a new one is begun: a telephone switch that does not start is worse than records in two
files. One that somebody has moved, deleted or replaced is made again, and gets what waits.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from cdsplugin.archive import composing, schema
from cdsplugin.archive.damage import damaged, foreign, moved_aside, passing
from cdsplugin.archive.disk import ArchiveError
from cdsplugin.archive.file_watch import FileWatch, leave
from cdsplugin.archive.overflow import Overflow
from cdsplugin.archive.rows import (
    Cdr,
    HandedOver,
    LegRow,
    LogRow,
    PropertyRow,
    Row,
    TalkRow,
    values_of,
)
from cdsplugin.archive.sqlite_connection import SIZES, Connection

log = logging.getLogger("cdsplugin.archive")


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Seconds, and rows. See the module for ``synchronous`` and ``queue_rows``.

    ``busy_timeout`` is how long another process may have the database locked before that is
    reported (``start_timeout`` at the start, which waits for it), ``look_interval`` how often an
    idle archive looks whether its file is still there.
    """

    commit_interval: float = 0.1
    queue_rows: int = 500_000
    synchronous: Literal["normal", "full"] = "normal"
    busy_timeout: float = 5.0
    start_timeout: float = 0.5
    retry_interval: float = 1.0
    look_interval: float = 5.0


_STATEMENTS = (
    schema.WRITE_CDR,
    schema.FILL_CDR,
    schema.WRITE_TALK,
    schema.WRITE_LEG,
    schema.WRITE_PROPERTY,
    schema.WRITE_LOG,
    schema.FINISH,
    schema.REMOVE,
)


_KEPT = (
    schema.WRITE_CDR,
    schema.FILL_CDR,
    schema.WRITE_LEG,
    schema.WRITE_PROPERTY,
    schema.WRITE_LOG,
    schema.FINISH,
    schema.REMOVE,
    schema.WRITE_TALK,
    schema.COMPOSE,
)


class _Batch:
    """Rows for each of the statements, in the order in which they came."""

    __slots__ = (
        "cdrs", "composed", "fills", "finished", "legs", "logs", "properties", "removed", "talks",
    )  # fmt: skip

    def __init__(self) -> None:
        self.cdrs: list[Row] = []
        self.fills: list[Row] = []
        self.talks: list[Row] = []
        self.legs: list[Row] = []
        self.properties: list[Row] = []
        self.logs: list[Row] = []
        self.finished: list[Row] = []
        self.removed: list[Row] = []
        self.composed: list[Row] = []

    def tables(self) -> tuple[list[Row], ...]:
        return (
            self.cdrs,
            self.fills,
            self.talks,
            self.legs,
            self.properties,
            self.logs,
            self.finished,
            self.removed,
        )

    def kept(self) -> tuple[list[Row], ...]:
        """As ``_KEPT``: in the overflow's file a row has the place of its statement there, so that
        what is new comes last."""
        return (
            self.cdrs,
            self.fills,
            self.legs,
            self.properties,
            self.logs,
            self.finished,
            self.removed,
            self.talks,
            self.composed,
        )

    def __len__(self) -> int:
        return sum(map(len, self.kept()))

    def extend(self, later: _Batch) -> None:
        for mine, theirs in zip(self.kept(), later.kept(), strict=True):
            mine.extend(theirs)


class Archive:
    """The CDR database of one server. ``put``, ``flush`` and ``close`` may be called from any
    thread."""

    def __init__(
        self,
        path: Path,
        settings: ArchiveSettings | None = None,
        renewed: Callable[[], None] = lambda: None,
    ) -> None:
        """``renewed`` is called, in the archive's thread, when its file was gone, what it had of
        calls that are not over cannot be read, and a new one has been made."""
        self.path = path
        self._renewed = renewed
        self._watch = FileWatch(path)
        self._made = self._gone = False
        self.spool = path.with_name(path.name + ".spool")
        self.settings = settings or ArchiveSettings()
        self._lock = threading.Lock()
        self._batch = _Batch()
        self._queued = threading.Event()
        self._closing = threading.Event()
        self._committed = threading.Condition()
        self.puts = 0
        """Calls of ``put``."""
        self.done = 0
        """How many of these are committed, or in the spool file (or, at the worst, the log)."""
        self._flushing = 0
        self._runs: threading.Thread | None = None
        self._spool_usable = True
        self._unspooled: tuple[Overflow, _Batch] | None = None
        """What the overflow has, read and not committed yet: it is not read again at each try."""
        self.trouble: str | None = None
        """What is wrong with the database at present, for people; None if nothing."""
        self.commits = 0
        self.rows = 0
        self.waiting = 0
        """Rows in the thread's hands, not committed yet."""
        self.spooled = 0
        self.lost = 0
        """Rows that only the log has."""

    def open(self) -> None:
        """Create or migrate the tables and start the thread. Raises ``ArchiveError`` for what will
        not pass by itself; a database that is locked, or on a full or read-only disk, is tried
        again and again: the telephones of a site must not wait for its records."""
        try:
            try:
                self._make(self.settings.start_timeout)
            except sqlite3.DatabaseError as error:
                if not damaged(error) or foreign(self.path):
                    raise
                self._move_aside(error)
                self._make()
        except (sqlite3.Error, OSError) as error:
            why = str(error)
            if passing(error, self.path) and not foreign(self.path):
                self._troubled(None, error)
                self._queued.set()
            elif not self.path.parent.is_dir():
                why = "no such folder"
            elif not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
                why = "no permission to write"
            if self.trouble is None:
                raise ArchiveError(f"cds.database: cannot open {self.path}: {why}") from error
        if self._overflow().exists():
            self._queued.set()
        self._runs = threading.Thread(target=self._run, name="cds-archive", daemon=True)
        self._runs.start()

    def put(
        self,
        *,
        cdr: Cdr | None = None,
        fill: Cdr | None = None,
        talks: Sequence[TalkRow] = (),
        legs: Sequence[LegRow] = (),
        properties: Sequence[PropertyRow] = (),
        logs: Sequence[LogRow] = (),
        finish: str | None = None,
        remove: HandedOver | None = None,
        composed: str | None = None,
    ) -> None:
        """Queue rows for the next commit. Columns: ``schema``; ``finish`` and ``composed`` are
        callIDs. The talks of one that is ``composed`` are made of all that the database has."""
        with self._lock:
            batch = self._batch
            if cdr is not None:
                batch.cdrs.append(values_of(cdr))
            if fill is not None:
                batch.fills.append(values_of(fill))
            if composed is not None:
                batch.composed.append((composed,))
            elif talks:
                batch.talks += map(values_of, talks)
            if legs:
                batch.legs += map(values_of, legs)
            if properties:
                batch.properties += map(values_of, properties)
            if logs:
                batch.logs += map(values_of, logs)
            if finish is not None:
                batch.finished.append((finish,))
            if remove is not None:
                batch.removed.append(values_of(remove))
            self.puts += 1
        if not self._queued.is_set():
            self._queued.set()

    def pending(self) -> int:
        """Rows that are queued and not committed yet."""
        return self.waiting + len(self._batch)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything put so far is committed; false if it is not after ``timeout``
        seconds."""
        with self._lock:
            upto = self.puts
            self._flushing += 1
        self._queued.set()
        try:
            with self._committed:
                return self._committed.wait_for(lambda: self.done >= upto, timeout)
        finally:
            with self._lock:
                self._flushing -= 1

    def close(self, timeout: float = 10.0) -> bool:
        """Commit what is queued and stop. False if rows had to go to the spool file or the log."""
        thread, self._runs = self._runs, None
        if thread is None:
            return True
        self._closing.set()
        self._queued.set()
        thread.join(timeout)
        return not thread.is_alive() and not self.pending() and not self._overflow().exists()

    def _make(self, timeout: float | None = None) -> None:
        conn = self._connect(ready=False, timeout=timeout)
        try:
            db = Database(conn, execute_plugins=False)
            schema.migrations.apply(db)
            schema.keep_removal(db)
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("ROLLBACK")
            self._made = True
        finally:
            conn.close()

    def _move_aside(self, error: Exception) -> None:
        aside = moved_aside(self.path)
        log.error(
            "the CDR database %s is damaged (%s): moved to %s, and a new one begun;"
            " `sqlite3 %s .recover` shows what can be saved",
            self.path,
            error,
            aside,
            aside,
        )

    # The thread

    def _connect(self, ready: bool = True, timeout: float | None = None) -> Connection:
        """`ready`: the tables are there, and all that will be written can be prepared."""
        conn = sqlite3.connect(
            self.path,
            factory=Connection,
            timeout=self.settings.busy_timeout if timeout is None else timeout,
            isolation_level=None,
            cached_statements=len(_STATEMENTS) * len(SIZES) + 8,
        )
        try:
            # Before there is anything in it: a commit under load touches half as many pages.
            conn.execute("PRAGMA page_size = 8192")
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA secure_delete = OFF")
            # Calls that linger are updated once more: their pages need not be read again for it.
            conn.execute("PRAGMA cache_size = -8000")
            conn.execute(f"PRAGMA synchronous = {self.settings.synchronous}")
            if ready:
                for statement in _STATEMENTS:
                    conn.prepare(statement)
        except sqlite3.Error:
            conn.close()
            raise
        return conn

    def _run(self) -> None:
        conn: Connection | None = None
        batch = _Batch()
        upto = 0
        while True:
            idle = not self._queued.wait(self.settings.look_interval)
            if not self._flushing and not idle:
                # Others may join this commit. Costs no time of a call: nobody waits for it.
                self._closing.wait(self.settings.commit_interval)
            self._queued.clear()
            closing = self._closing.is_set()
            with self._lock:
                taken, self._batch = self._batch, _Batch()
                upto = self.puts
                self.waiting += len(taken)
            batch.extend(taken)
            try:
                if conn is not None and self._watch.gone():
                    old, conn = conn, None
                    carried = self._leave(old)
                    carried.extend(batch)
                    batch = carried
                if conn is None:
                    conn = self._opened()
                if self._spool_usable and self._overflow().exists():
                    self._from_spool(conn)
                self._commit(conn, batch)
            except (sqlite3.Error, OSError) as error:
                conn = self._troubled(conn, error)
                closing = closing or self._closing.is_set()
                if closing or len(batch) > self.settings.queue_rows:
                    self._to_spool(batch)
                    batch = _Batch()
                    self.waiting = 0
                    with self._committed:
                        self.done = upto
                        self._committed.notify_all()
                if not closing:
                    self._closing.wait(self.settings.retry_interval)
                    self._queued.set()
            else:
                if self.trouble is not None:
                    log.warning("the CDR database %s works again", self.path)
                    self.trouble = None
                self.rows += len(batch)
                self.waiting = 0
                batch = _Batch()
                with self._committed:
                    self.done = upto
                    self._committed.notify_all()
            if closing and not self._batch:
                break
        if conn is not None:
            conn.close()

    def _opened(self) -> Connection:
        """A connection to the file that has the database's name now, with its tables."""
        if not self._made:
            self._make()
        conn = self._connect()
        self._watch.begin()
        if self._gone:
            self._gone = False
            self._renewed()
        return conn

    def _leave(self, conn: Connection) -> _Batch:
        """The file has another name now, or none. Gives back the rows of the calls that are not
        over in it: what comes of them is for the new one, also their end."""
        log.error(
            "the CDR database %s is not there any more, or another file is in its place: it is made"
            " again; what was written before is in the file that was there",
            self.path,
        )
        self._made = False
        carried = _Batch()
        try:
            for name, statement in schema.LIVE.items():
                getattr(carried, name).extend(conn.execute(statement))
        except sqlite3.Error as error:
            log.error("%s, as it was, cannot be read any more: %s", self.path, error)
            carried, self._gone = _Batch(), True
        leave(conn, self.path)
        return carried

    def _commit(self, conn: Connection, batch: _Batch) -> None:
        """Write a batch in one transaction; on an error nothing of it is written.

        Plain ``executemany``: sqlite-utils' own ``upsert_all`` builds its statement and looks up
        the table's columns each time (``bench/cds.py`` measures both).
        """
        if not len(batch):
            return
        try:
            conn.run("BEGIN IMMEDIATE")
            for statement, rows in zip(_STATEMENTS, batch.tables(), strict=True):
                if rows:
                    conn.write(statement, rows)
            _join(conn, batch)
            conn.run("COMMIT")
        except sqlite3.OperationalError:
            _roll_back(conn)
            raise
        except (sqlite3.Error, ValueError, OverflowError, TypeError) as error:
            _roll_back(conn)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error,
                sqlite3.IntegrityError
                | sqlite3.DataError
                | sqlite3.InterfaceError
                | sqlite3.ProgrammingError,
            ):
                raise
            self._commit_singly(conn, batch)
        self.commits += 1

    def _commit_singly(self, conn: Connection, batch: _Batch) -> None:
        """One row of the batch is not to SQLite's liking: write the others, and that one to the
        log."""
        conn.run("BEGIN IMMEDIATE")
        try:
            for statement, rows in zip(_STATEMENTS, batch.tables(), strict=True):
                for row in rows:
                    try:
                        conn.run(statement, row)
                    except sqlite3.OperationalError:
                        raise
                    except (sqlite3.Error, ValueError, OverflowError, TypeError) as error:
                        self._to_log(statement, row, str(error))
            _join(conn, batch)
            conn.run("COMMIT")
        except sqlite3.OperationalError:
            _roll_back(conn)
            raise

    def _troubled(self, conn: Connection | None, error: Exception) -> Connection | None:
        why = str(error)
        if why != self.trouble:
            self.trouble = why
            log.error("the CDR database %s: %s; records are kept and tried again", self.path, why)
        if conn is not None and not isinstance(error, sqlite3.OperationalError):
            conn.close()
            conn = None
        if damaged(error) and not foreign(self.path):
            try:
                self._move_aside(error)
                self._make()
            except (sqlite3.Error, OSError) as again:
                log.error("the CDR database %s: %s", self.path, again)
        return conn

    def _overflow(self) -> Overflow:
        return Overflow(self.spool, len(_KEPT))

    def _to_spool(self, batch: _Batch) -> None:
        if not len(batch):
            return
        tables = batch.kept()
        self._unspooled = None  # it has not all any more
        try:
            refused = self._overflow().add(tables)
        except OSError as error:
            for statement, rows in zip(_KEPT, tables, strict=True):
                for row in rows:
                    self._to_log(statement, row, str(error))
            return
        for which, row, why in refused:
            self._to_log(_KEPT[which], row, why)
        count = len(batch) - len(refused)
        self.spooled += count
        log.error("%d rows wait in %s for the CDR database", count, self.spool)

    def _from_spool(self, conn: Connection) -> None:
        if self._unspooled is None:
            overflow, batch = self._overflow(), _Batch()
            tables = batch.kept()
            try:
                rows = overflow.rows()
            except OSError as error:
                # Left for a person to look at: it must not hold up the records of today.
                self._spool_usable = False
                log.error(
                    "%s cannot be read: %s; its rows are not in the database", self.spool, error
                )
                return
            for which, row in rows:
                tables[which].append(schema.widened(_KEPT[which], row))
            self._unspooled = overflow, batch
        overflow, batch = self._unspooled
        self._commit(conn, batch)
        self._unspooled = None
        overflow.remove()
        log.warning("%d rows of %s are in the CDR database now", len(batch), self.spool)

    def _to_log(self, statement: str, row: Row, why: str) -> None:
        self.lost += 1
        log.error("a row cannot be written (%s): %s: %r", why, statement.partition(" (")[0], row)


def _join(conn: Connection, batch: _Batch) -> None:
    """Parts of calls have come after the whole: their talks are one. And those of calls of which
    there is more than that to say."""
    if batch.fills:
        call_ids = [row[:1] for row in batch.fills]
        conn.write(schema.JOIN_TALKS, call_ids)
        conn.write(schema.PART_TALKS, call_ids)
        composing.compose_again(conn, (row[0] for row in call_ids))
    if batch.composed:
        composing.compose_again(conn, (row[0] for row in batch.composed))


def _roll_back(conn: Connection) -> None:
    if conn.in_transaction:
        try:
            conn.run("ROLLBACK")
        except sqlite3.Error:
            log.debug("nothing to roll back", exc_info=True)
