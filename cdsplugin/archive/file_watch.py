"""Whether a file is still the one that was opened: people move, delete and replace databases."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path


class FileWatch:
    """Looks costs one ``stat`` each. ``begin`` when the file has been opened or made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None

    def begin(self) -> None:
        """The file that is there now is the one."""
        self._known = self._now()

    def gone(self) -> bool:
        """Whether it was moved, deleted or replaced since ``begin``."""
        return self._known is not None and self._now() != self._known

    def _now(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self._path)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino


def leave(conn: sqlite3.Connection, path: Path) -> None:
    """Let go of a database whose file has another name now, or none."""
    with contextlib.suppress(sqlite3.Error):
        # What is in SQLite's log gets into the file that was moved; closing alone would not do it.
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    if not path.exists():
        # They would be taken for those of the file that is made next.
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
