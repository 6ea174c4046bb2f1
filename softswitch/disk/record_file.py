"""A file of records: bytes with a number each, appended, and read again by the next process.

A batch is one ``write`` to the system at a known place. A SIGKILL of this process does not undo it
(a loss of power may cost the newest seconds, unless `RecordFile.sync` was called), and of one that
fails nothing is left in the file. What a number means, and which records still count, knows who
owns the file; so does when to go on in a new one (`RecordFile.renew`).

The file begins with a line that says whose it is, and of which version: the magic. After it, each
record is: length of its bytes (4), their CRC-32 begun with the number (4; both halves of a long
number count), the number (8), the bytes. All big-endian. No number is 0: zeros, as a file system
may leave them at the end when the power fails, are no records.
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
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

Record = tuple[int, bytes]
"""Its number, from 1 to 2**64 - 1, and its bytes."""

_HEAD = struct.Struct(">IIQ")
HEAD = _HEAD.size
"""Bytes that a record takes beside its own."""


class ForeignFile(Exception):
    """The file begins with another magic: it is none of ours, or of another version."""


class RecordFile:
    """A file to append to. `read` it first: that says where it ends."""

    def __init__(self, path: Path, magic: bytes, *, lock_wait: float | None = None) -> None:
        """Open the file, or make it, for its owner's eyes alone. With `lock_wait` no other process
        has it as long as it is open; that many seconds are waited for one that has. Raises
        OSError."""
        self.path = path
        self.size = 0
        """Bytes up to the end of the last record."""
        self.counts = len(magic)
        """Bytes of it that still counted when that was last known."""
        self._magic = magic
        self._lock_wait = lock_wait
        self._fd = _opened(path, lock_wait)

    @classmethod
    def made(
        cls,
        path: Path,
        magic: bytes,
        records: Iterable[Record] = (),
        *,
        lock_wait: float | None = None,
    ) -> RecordFile:
        """A new file in the place of whatever there is. Raises OSError; then there is none."""
        file = cls(path, magic, lock_wait=lock_wait)
        try:
            file._begin()
            file.append(records)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            file.close()
            raise
        return file

    def read(self) -> list[Record]:
        """All records, in their order. What is after the last whole one is said in the log, and cut
        off. Raises ForeignFile, and OSError."""
        with os.fdopen(os.dup(self._fd), "rb") as whole:
            whole.seek(0)
            data = whole.read()
        if not data:
            self._begin()
            return []
        records, self.size = records_in(data, self._magic)
        if self.size < len(data):
            _say_cut_off(self.path, len(data) - self.size)
            os.ftruncate(self._fd, self.size)
        return records

    def go_on(self) -> None:
        """In the place of `read`: append after all that is there, whole or not, for who reads with
        `rescued`. Raises ForeignFile, and OSError."""
        self.size = os.fstat(self._fd).st_size
        if not self.size:
            self._begin()
        elif os.pread(self._fd, len(self._magic), 0) != self._magic:
            raise ForeignFile

    def append(self, records: Iterable[Record], *, sync: bool = False) -> None:
        """Raises OSError; then none of them is in the file. With `sync` power may fail afterwards,
        too."""
        pack, crc = _HEAD.pack, zlib.crc32
        parts: list[bytes] = []
        add = parts.append
        for number, data in records:
            begin = number if number < 1 << 32 else number ^ number >> 32
            add(pack(len(data), crc(data, begin), number))
            add(data)
        self._write(b"".join(parts), sync)

    def clear(self) -> None:
        """Leave no record in it. Raises OSError."""
        os.ftruncate(self._fd, len(self._magic))
        self.size = self.counts = len(self._magic)

    def sync(self) -> None:
        """From now on power may fail, too. Raises OSError."""
        os.fdatasync(self._fd)

    def count(self, records: Iterable[bytes]) -> None:
        """These are all of its records that still count."""
        self.counts = len(self._magic) + sum(HEAD + len(data) for data in records)

    def crowded(self, least: int) -> bool:
        """Whether it is longer than `least` bytes, and a quarter of it at most counts: time to
        `renew` it."""
        return self.size > least and self.size > 4 * self.counts

    def renew(self, records: Iterable[Record] = (), keep: Path | None = None) -> None:
        """Go on in a new file of the same name, which begins with these records. The one so far
        stays as `keep`, if that is given. There is a file of the name at each moment, with either
        all of the old records or all of the new ones; locked, if they are to be. Raises OSError;
        then the old one goes on, however `crowded` it is."""
        path = self.path.with_name(self.path.name + ".new")
        new: RecordFile | None = None
        try:
            new = RecordFile.made(path, self._magic, records, lock_wait=self._lock_wait)
            if keep is not None:
                keep.unlink(missing_ok=True)
                os.link(self.path, keep)
            os.replace(path, self.path)
        except OSError:
            if new is not None:
                with contextlib.suppress(OSError):
                    path.unlink()
                new.close()
            self.counts = self.size
            raise
        self.close()
        self._fd, self.size, self.counts = new._fd, new.size, new.size

    def close(self) -> None:
        """Close it; nothing can be written then. Again: does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _begin(self) -> None:
        os.ftruncate(self._fd, 0)
        self.size = 0
        self._write(self._magic)

    def _write(self, data: bytes, sync: bool = False) -> None:
        at = self.size
        try:
            if os.pwrite(self._fd, data, at) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            # Half a record would be in the way of those after it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, at)
            raise
        self.size = at + len(data)


def read_records(path: Path, magic: bytes) -> list[Record]:
    """All records of a file that is left as it is. What is after the last whole one is said in the
    log. Raises ForeignFile, and OSError."""
    data = path.read_bytes()
    records, end = records_in(data, magic)
    if end < len(data):
        _say_cut_off(path, len(data) - end)
    return records


def records_in(data: bytes, magic: bytes) -> tuple[list[Record], int]:
    """The whole records of a file's bytes, up to the first that is not, and where they end. Raises
    ForeignFile."""
    if not data.startswith(magic):
        raise ForeignFile
    return _whole_records(data, len(magic))


def rescued(data: bytes, magic: bytes) -> tuple[list[Record], list[tuple[int, int]]]:
    """The whole records of a file's bytes, also those after damaged ones; and from where to where
    there are bytes that belong to none. For files without empty records: the check of these is
    their number, which bytes of any kind may repeat.

    A damaged length may cost the records up to where it leads: to look for some before that would
    find what somebody wrote into a record's text, too.
    """
    at = len(magic) if data.startswith(magic) else 0
    records, at = _whole_records(data, at)
    damage: list[tuple[int, int]] = []
    while at < len(data):
        next_one = _after_damage(data, at)
        damage.append((at, next_one))
        more, at = _whole_records(data, next_one)
        records += more
    return records, damage


def _whole_records(data: bytes, at: int) -> tuple[list[Record], int]:
    found: list[Record] = []
    while (record := _record_at(data, at)) is not None:
        found.append(record)
        at += HEAD + len(record[1])
    return found, at


def _after_damage(data: bytes, at: int) -> int:
    """Where the next whole record begins, or the end."""
    end = len(data)
    next_one = at + HEAD + int.from_bytes(data[at : at + 4], "big")
    if next_one == end or _begins(data, next_one):
        return next_one
    for place in range(at + 1, end - HEAD):
        if _begins(data, place):
            return place
    return end


def _begins(data: bytes, at: int) -> bool:
    record = _record_at(data, at)
    return record is not None and record[1] != b""


def _record_at(data: bytes, at: int) -> Record | None:
    """None if there is no whole one."""
    start = at + HEAD
    if start > len(data):
        return None
    length, check, number = _HEAD.unpack_from(data, at)
    if not number or start + length > len(data):
        return None
    record = data[start : start + length]
    return (number, record) if zlib.crc32(record, number ^ number >> 32) == check else None


def _say_cut_off(path: Path, count: int) -> None:
    log.warning(
        "%s: its last %d bytes cannot be read: cut off by the end of the process that wrote them,"
        " or damaged",
        path,
        count,
    )


def _opened(path: Path, lock_wait: float | None) -> int:
    """The file, made if it is not there; locked for as long as it is open. Raises OSError."""
    deadline = time.monotonic() + (lock_wait or 0)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if lock_wait is None:
            return fd
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
            # The process that had it went on to a new one in the meantime.
            os.close(fd)
        except FileNotFoundError:
            os.close(fd)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another process has it") from None
            time.sleep(0.05)
        except OSError:
            os.close(fd)
            raise
