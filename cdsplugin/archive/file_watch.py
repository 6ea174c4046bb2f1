"""Whether a file is still the one that was opened: people move, delete and replace databases."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

log = logging.getLogger(__name__)


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
    whole = False
    with contextlib.suppress(sqlite3.Error):
        # What is in SQLite's log gets into the file that was moved; closing alone would not do it.
        (busy, _, _) = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        whole = not busy
    conn.close()
    if path.exists():
        return
    # They would be taken for those of the file that is made next.
    log_file = path.with_name(path.name + "-wal")
    if not whole and log_file.exists() and log_file.stat().st_size:
        # Somebody reads the file that was moved, so that what was committed last is only there.
        kept = path.with_name(f"{path.name}-wal.{time.time_ns()}")
        log_file.rename(kept)
        log.error(
            "%s was moved while somebody read it: its last rows are in %s. Rename that to the name"
            " that the database has now, with -wal at its end, and open the database once",
            path,
            kept,
        )
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
