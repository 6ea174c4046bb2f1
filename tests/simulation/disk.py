"""A simulated disk: what SQLite has committed survives a crash, what waits in memory does not.

The database is real (SQLite, in memory, with the real statements); only the archive's thread is
taken by the scheduler: it gathers for ``commit_interval``, then commits, which takes a while. A
full disk is SQLite's own ``database or disk is full``.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from cdsplugin.archive.disk import MemoryDisk
from cdsplugin.archive.foreign import Before, before
from cdsplugin.archive.sqlite import Archive, ArchiveSettings, _Batch, schema
from cdsplugin.archive.sqlite_connection import Connection

from .scheduler import Machine, ProcessTimers

_SYNC_US = 8_000
_RETRY_US = 1_000_000


@lru_cache(maxsize=1)
def _empty_database() -> bytes:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    db = Database(conn, execute_plugins=False)
    schema.migrations.apply(db)
    schema.keep_removal(db)
    return bytes(conn.serialize())


class Disk:
    """The files of one machine."""

    def __init__(self, machine: Machine, sync: float) -> None:
        self.world = machine.world
        self.machine = machine
        self.journal = MemoryDisk(ProcessTimers(machine, lambda: None), sync)
        self.archive = sqlite3.connect(":memory:", isolation_level=None, factory=Connection)
        self.archive.deserialize(_empty_database())
        self.full = False

    def fill(self, full: bool) -> None:
        """Nothing more fits; or there is room again."""
        self.full = self.journal.full = full

    def crash(self) -> None:
        """What was not committed is gone."""
        self.journal.crash()

    def close(self) -> None:
        """At the end of the simulation."""
        self.archive.close()

    def sync_time(self) -> int:
        """How long a commit takes."""
        return int(_SYNC_US * self.world.rng.random() ** 2)


class SimArchive:
    """The real archive of one process, with its thread's work done at the scheduler's times."""

    def __init__(self, disk: Disk, commit_interval: float) -> None:
        self._disk = disk
        self._interval_us = int(commit_interval * 1_000_000)
        self.archive = Archive(Path("simulated.db"), ArchiveSettings(commit_interval))
        self.alive = True
        self._due = False
        self._batch = _Batch()

    def put(self, **rows: Any) -> None:
        """As ``Archive.put``."""
        self.archive.put(**rows)
        if not self._due:
            self._due = True
            self._after(self._interval_us + self._disk.sync_time())

    @property
    def puts(self) -> int:
        """As ``Archive.puts``."""
        return self.archive.puts

    @property
    def done(self) -> int:
        """As ``Archive.done``."""
        return self.archive.done

    def look(self, call_id: str) -> Before | None:
        """As ``foreign.read_before``."""
        rows = self._disk.archive.execute(
            "SELECT ended_at FROM cdrs WHERE call_id = ?", (call_id,)
        ).fetchall()
        legs = self._disk.archive.execute(
            "SELECT sip_call_id FROM cdr_legs WHERE call_id = ?", (call_id,)
        )
        return before(rows[0][0], [row[0] for row in legs]) if rows else None

    def pending(self) -> int:
        """Rows not committed yet."""
        return len(self._batch) + self.archive.pending()

    def _after(self, micros: int) -> None:
        due = self._disk.machine.due
        self._disk.world.after(micros, lambda: due(self._turn))

    def _turn(self) -> None:
        if not self.alive:
            return
        self._due = False
        archive = self.archive
        taken, archive._batch = archive._batch, _Batch()
        upto = archive.puts
        self._batch.extend(taken)
        try:
            if self._disk.full:
                raise sqlite3.OperationalError("database or disk is full")
            archive._commit(self._disk.archive, self._batch)
        except sqlite3.OperationalError:
            self._due = True
            self._after(_RETRY_US)
            return
        self._batch = _Batch()
        archive.done = upto
