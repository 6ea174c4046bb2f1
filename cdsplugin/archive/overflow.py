"""The overflow: rows that the database cannot take, in a file beside it until it can.

A file of records (``softswitch.disk``): the number is that of the row's statement, from 1, and the
bytes are the row in msgpack. A damaged record is said in the log and holds up no other; a file that
had one is moved aside, never deleted. Earlier versions wrote lines of JSON: these are read as well.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from cdsplugin.archive.damage import moved_aside
from cdsplugin.archive.rows import Row
from softswitch.disk import ForeignFile, RecordFile, rescued

log = logging.getLogger("cdsplugin.archive")

_MAGIC = b"cds-rows 2\n"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple).decode


class Overflow:
    """Rows of ``statements`` kinds, each given by the place of its statement, from 0."""

    def __init__(self, path: Path, statements: int) -> None:
        self.path = path
        self._statements = statements
        self._before = path.with_name(path.name + ".before")
        """A file of lines that was still there when rows had to be added."""
        self._damaged: set[Path] = set()

    def exists(self) -> bool:
        """Whether there are rows to be had, or something else is in their place."""
        return self.path.exists() or self._before.exists()

    def add(self, tables: Sequence[Sequence[Row]]) -> list[tuple[int, Row, str]]:
        """Add the rows of each statement, and return when they are on disk. Returns those that have
        something in them that cannot be written, and why. Raises OSError; then none is added."""
        records: list[tuple[int, bytes]] = []
        refused: list[tuple[int, Row, str]] = []
        for which, rows in enumerate(tables):
            for row in rows:
                try:
                    records.append((which + 1, _encode(row)))
                except (ValueError, OverflowError, TypeError) as error:
                    refused.append((which, row, str(error)))
        fresh = not self.path.exists()
        file = RecordFile(self.path, _MAGIC)
        try:
            try:
                file.go_on()
            except ForeignFile:
                file.close()
                self._make_room()
                fresh = True
                file = RecordFile(self.path, _MAGIC)
                file.go_on()
            file.append(records, sync=True)
        except OSError:
            if fresh:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            raise
        finally:
            file.close()
        return refused

    def rows(self) -> list[tuple[int, Row]]:
        """All of them, with the places of their statements. Raises OSError."""
        found: list[tuple[int, Row]] = []
        for path in (self._before, self.path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            found += self._lines(path, data) if data[:1] == b"[" else self._records(path, data)
        return found

    def remove(self) -> None:
        """The rows that were asked for are in the database. Raises OSError."""
        for path in (self._before, self.path):
            if path in self._damaged:
                log.error("%s is damaged: moved to %s", path, moved_aside(path))
            else:
                path.unlink(missing_ok=True)

    def _records(self, path: Path, data: bytes) -> Iterator[tuple[int, Row]]:
        records, damage = rescued(data, _MAGIC)
        for first, end in damage:
            log.error("%s: bytes %d to %d are damaged: not in the database", path, first, end)
            self._damaged.add(path)
        for number, packed in records:
            if number <= self._statements:
                yield number - 1, _decode(packed)
            else:
                log.error("%s: a record cannot be read: %d, %r", path, number, packed)
                self._damaged.add(path)

    def _lines(self, path: Path, data: bytes) -> Iterator[tuple[int, Row]]:
        """Of an earlier version. Its last line may be cut off."""
        for line in data.splitlines():
            try:
                which, row = msgspec.json.decode(line, type=tuple[int, list[object]])
            except (msgspec.DecodeError, UnicodeDecodeError):
                which, row = -1, []
            if 0 <= which < self._statements:
                yield which, tuple(row)
            else:
                log.error("%s: a line cannot be read: %r", path, line)

    def _make_room(self) -> None:
        if self._before.exists():
            raise FileExistsError(errno.EEXIST, f"{self._before.name} is there", str(self.path))
        self.path.rename(self._before)
