"""Damaged database files: told from locked and full ones, and moved aside, never deleted."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

HEADER = b"SQLite format 3\0"


def moved_aside(path: Path) -> Path:
    """Move a damaged database and what belongs to it out of the way; returns where to."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def damaged(error: Exception) -> bool:
    """Whether SQLite says that the file itself is broken (and not that it is locked or full)."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def foreign(path: Path) -> bool:
    """Whether there is a file that never was an SQLite database: not ours to move."""
    try:
        with path.open("rb") as file:
            start = file.read(len(HEADER))
    except OSError:
        return False
    return bool(start) and start != HEADER
