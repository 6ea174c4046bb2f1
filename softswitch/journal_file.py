"""The journal's file: rows are appended, the newest of a number counts, and an empty one ends it.

Each batch is one ``write`` to the system, which a SIGKILL of this process does not undo: what was
written is there for the next start (a loss of power may cost the newest seconds). It takes some
microseconds, so it is done at once; a database's commit would take a thread, and tens of times as
long. A file that cannot be used costs the calls their life after a SIGKILL, and nothing else:
whoever opens it is told why in one line, and what fails later is tried again until it works.

A file that has grown is left for a new one (`begin`), to which the rows that still count are
written again, a few at a time; until then the old one stays beside it as ``NAME.old`` (`finish`).

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
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

LOCK_WAIT = 2.0
"""Seconds to wait for the file: the process before may be about to exit."""
CROWDED = 4 * 1024 * 1024
"""Bytes from which on a file is left for a new one, if three quarters of it count no more."""

_MAGIC = b"softswitch calls 2\n"
_HEAD = struct.Struct(">IIQ")


class JournalError(Exception):
    """The file cannot be used; the text is one line for the admin."""


class _Foreign(Exception):
    """The file is none of ours, or of another version."""


class JournalFile:
    """The rows of one switch. Only one process has the file at a time."""

    def __init__(self, path: Path) -> None:
        """Raises JournalError. A file that is no journal, or of another version, is put aside."""
        self.path = path
        self.behind = False
        """Whether the disk refused, and rows wait for it."""
        self._old = path.with_name(path.name + ".old")
        self._rows: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}
        self._size = self._after_begin = 0
        self._beginning = False
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

    def rows(self) -> list[tuple[int, bytes]]:
        """All that counts of what an earlier process left, by number. To be called once."""
        rows, self._rows = self._rows, {}
        return sorted(rows.items())

    @property
    def crowded(self) -> bool:
        """Whether it is time to `begin` a new file."""
        return (
            self._size > max(CROWDED, 4 * self._after_begin)
            and not self._beginning
            and not self.behind
        )

    def write(self, rows: Sequence[tuple[int, bytes]], over: Iterable[int]) -> None:
        """Store rows and end those that are over. Never raises: see `behind`.

        While it is `behind` it is to be called again from time to time, with or without rows.
        """
        waiting = self._waiting
        if waiting:
            waiting.update(rows)
            waiting.update((row, b"") for row in over)
            rows, over = list(waiting.items()), ()
        pack, crc = _HEAD.pack, zlib.crc32
        parts: list[bytes] = []
        for row, data in rows:
            parts += (pack(len(data), crc(data, row), row), data)
        for row in over:
            parts.append(pack(0, crc(b"", row), row))
        try:
            self._append(b"".join(parts))
        except OSError as error:
            waiting.update(rows)
            waiting.update((row, b"") for row in over)
            if not self.behind:
                log.error(
                    "journal %s: %s; new calls would not outlive this process until that is mended",
                    self.path,
                    error.strerror or error,
                )
            self.behind = True
            return
        if self.behind:
            waiting.clear()
            self.behind = False
            log.warning("journal %s: works again", self.path)

    def begin(self) -> None:
        """Go on in a new file. All rows that count are to be written again; then `finish`."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            file = _locked(new)
            os.ftruncate(file, 0)
            os.pwrite(file, _MAGIC, 0)
            os.replace(self.path, self._old)
            os.replace(new, self.path)
        except OSError as error:
            # The old one will do, at its length.
            log.error("journal %s: %s; it goes on growing", self.path, error.strerror or error)
            self._after_begin = self._size
            return
        os.close(self._file)
        self._file = file
        self._size = len(_MAGIC)
        self._beginning = True

    def finish(self) -> None:
        """Everything that counts is in the new file."""
        if self.behind:
            return
        self._beginning = False
        self._after_begin = self._size
        with contextlib.suppress(OSError):
            self._old.unlink(missing_ok=True)

    def close(self) -> None:
        """Try once more to store what waits, and let go of the file."""
        if self._waiting:
            self.write((), ())
        os.close(self._file)

    def _append(self, data: bytes) -> None:
        written = os.pwrite(self._file, data, self._size)
        if written != len(data):
            # Half a row at the end would be in the way of those after it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    # What is there at the start

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Killed between `begin` and `finish`: what is in the newer one counts.
            self._take(self._old, self._old.read_bytes())
            self._beginning = True
        data = _read(self._file)
        if not data:
            os.pwrite(self._file, _MAGIC, 0)
            self._size = len(_MAGIC)
        else:
            self._size = self._take(self.path, data)
            os.ftruncate(self._file, self._size)
        self._rows = {row: data for row, data in self._rows.items() if data}
        self._after_begin = self._size
        if self._beginning:
            self.write(list(self._rows.items()), ())
            self.finish()

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


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + ".unreadable")
    path.replace(aside)
    # Beside a journal of the first version.
    for ending in ("-wal", "-shm", ".old"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    return aside
