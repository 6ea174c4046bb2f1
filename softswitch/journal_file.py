"""The journal's file: one table in SQLite, written by a thread of its own.

Rows are numbers and bytes; what is in them is `softswitch.calls.journal`'s. A file that cannot be
used costs the calls their life after a SIGKILL, and nothing else: whoever opens it is told why in
one line, and what fails later is tried again until it works.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
LOCK_WAIT = 2.0
"""Seconds to wait for the file: the process before may be about to exit."""
TRY_AGAIN = 1.0
"""Seconds between tries when the disk fails."""

_Batch = tuple[Sequence[tuple[int, bytes]], Sequence[int]]


class JournalError(Exception):
    """The file cannot be used; the text is one line for the admin."""


class JournalFile:
    """The rows of one switch. Only one process has the file at a time.

    `busy` is true from `write` until the rows are in the file. They survive the process from then
    on, and the machine's power mostly: the file is whole in any case, but may lack the newest.
    """

    def __init__(self, path: Path) -> None:
        """Raises JournalError. A file that is no journal, or not ours to read, is put aside."""
        self._path = path
        self.busy = False
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        try:
            try:
                self._database = _open(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = _put_aside(path)
                log.error("journal %s: %s; put aside as %s", path, error, aside.name)
                self._database = _open(path)
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"journal {path}: {error}") from error
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def rows(self) -> list[tuple[int, bytes]]:
        """All that is in the file. To be called before the first `write`. Raises JournalError."""
        try:
            return self._database.execute("SELECT row, call FROM calls ORDER BY row").fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"journal {self._path}: {error}") from error

    def write(self, rows: Sequence[tuple[int, bytes]], over: Sequence[int]) -> None:
        """Store rows and remove those that are over, in one transaction, soon."""
        self.busy = True
        self._batches.put((rows, over))

    def close(self) -> None:
        """Store what was handed over, as far as the disk takes it, and let go of the file."""
        self._closing.set()
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while (batch := self._batches.get()) is not None:
            while True:
                try:
                    self._store(*batch)
                except sqlite3.Error as error:
                    if not failing:
                        log.error(
                            "journal %s: %s; new calls would not outlive this process until that "
                            "is mended",
                            self._path,
                            error,
                        )
                    failing = True
                    if self._closing.wait(TRY_AGAIN):
                        break
                else:
                    if failing:
                        log.warning("journal %s: works again", self._path)
                    failing = False
                    break
            if self._batches.empty():
                self.busy = False
        try:
            self._database.close()
        except sqlite3.Error as error:
            log.error("journal %s: %s", self._path, error)

    def _store(self, rows: Sequence[tuple[int, bytes]], over: Sequence[int]) -> None:
        database = self._database
        database.execute("BEGIN")
        try:
            if rows:
                database.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?)", rows)
            if over:
                database.executemany("DELETE FROM calls WHERE row = ?", [(row,) for row in over])
            database.execute("COMMIT")
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=LOCK_WAIT, isolation_level=None, check_same_thread=False
    )
    try:
        # Nobody else may have it: two switches with one journal would tell of the same calls.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing by that; only a power failure can cost the newest rows.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"has format {version}, not {VERSION}")
        database.execute(
            "CREATE TABLE IF NOT EXISTS calls (row INTEGER PRIMARY KEY, call BLOB NOT NULL)"
        )
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".unreadable")
    path.replace(aside)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    return aside
