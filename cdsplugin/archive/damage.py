"""Database files that refuse: what will pass (locked, full, read-only), and what is damaged: that
is moved aside, never deleted."""

from __future__ import annotations

import contextlib
import errno
import os
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


_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
)


def passing(error: Exception, path: Path) -> bool:
    """Whether what keeps us from the database may be over without anybody touching the
    configuration: another process has it locked, the disk is full or read-only. Not so: there is no
    such folder, or we have no right to write there."""
    if not path.parent.is_dir() or path.is_dir():
        return False
    if not isinstance(error, sqlite3.OperationalError):
        return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EROFS, errno.EIO)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING:
        return False
    return _mounted_read_only(path.parent) or _writable(path)


def _writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK)


def _mounted_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def foreign(path: Path) -> bool:
    """Whether there is a file that never was an SQLite database: not ours to move."""
    try:
        with path.open("rb") as file:
            start = file.read(len(HEADER))
    except OSError:
        return False
    return bool(start) and start != HEADER
