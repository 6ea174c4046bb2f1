"""The spool: a switch's events on disk, in order, until its server has them on its own.

A folder of segments, files of records (``softswitch.disk``). The first record of each is the name
of the spool (made new with the folder), under the number of the first event; the others are events,
under theirs. What was appended survives ``kill -9`` of the switch; an event that was cut off by it
ends the segment. Segments that the server has whole are deleted. Numbers begin at 1 and are never
used twice in a spool's life.
"""

from __future__ import annotations

import logging
import os
import secrets
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from softswitch.disk import ForeignFile, Record, RecordFile, records_in

log = logging.getLogger("cdsplugin.spool")

_MAGIC = b"cds-spool 2\n"
_MAGIC_1 = b"cds-spool 1"
_SUFFIX = ".events"


class SpoolError(OSError):
    """The spool cannot be used. The text says where and why."""


@dataclass(slots=True)
class _Segment:
    path: Path
    first: int
    count: int
    size: int


class Spool:
    """The events from ``first`` to ``last`` that are kept; ``last`` is 0 in a new spool."""

    def __init__(self, folder: Path, limit: int, segment: int = 4 * 1024 * 1024) -> None:
        self.folder = folder
        self.limit = limit
        self.name = ""
        self.last = 0
        self.size = 0
        self._segment = min(segment, max(limit // 16, 4096))
        self._segments: deque[_Segment] = deque()
        self._file: RecordFile | None = None
        self._loaded: tuple[int, list[bytes]] = (0, [])
        """The segment that is being read: its first number, its events."""

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept; ``last + 1`` if there is none."""
        return self._segments[0].first if self._segments else self.last + 1

    def open(self) -> None:
        """Take up what is there. Raises ``SpoolError``."""
        try:
            self.folder.mkdir(exist_ok=True)
            for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
                self._take_up(path)
        except OSError as error:
            why = error.strerror or str(error)
            raise SpoolError(f"cds.spool: cannot use {self.folder}: {why}") from error
        if not self.name:
            self.name = secrets.token_hex(8)

    def append(self, events: list[bytes]) -> None:
        """Keep events. Raises OSError; then none of them is kept, and their numbers stay free."""
        if self._file is None or self._segments[-1].size >= self._segment:
            self._begin()
        file, segment = self._file, self._segments[-1]
        assert file is not None
        file.append(enumerate(events, self.last + 1))
        self.size += file.size - segment.size
        segment.size = file.size
        segment.count += len(events)
        self.last += len(events)

    def read(self, number: int, count: int) -> list[bytes]:
        """Up to ``count`` events from ``number`` on, and none beyond a segment's end."""
        for segment in self._segments:
            if segment.first <= number < segment.first + segment.count:
                break
        else:
            return []
        first, events = self._loaded
        if first != segment.first or number - first >= len(events):
            events = _events(segment.path.read_bytes())
            self._loaded = segment.first, events
        start = number - segment.first
        return events[start : start + count]

    def after(self, number: int) -> int:
        """The number before the next event that is kept after ``number``; ``last`` if none is."""
        for segment in self._segments:
            if segment.count and segment.first > number:
                return segment.first - 1
        return self.last

    def drop(self, upto: int) -> None:
        """The server has the events up to that number: segments that hold no others go."""
        segments = self._segments
        while segments and segments[0].first + segments[0].count - 1 <= upto:
            # The one being written stays until it is long: a file for each call is no bargain.
            if len(segments) == 1 and segments[0].size < self._segment:
                break
            gone = segments.popleft()
            self.size -= gone.size
            if not segments:
                self._close()
            gone.path.unlink(missing_ok=True)
            if self._loaded[0] == gone.first:
                self._loaded = 0, []

    def skip(self, number: int) -> None:
        """The server has events up to ``number``, which are not here: a loss of power took them.
        Their numbers must not be used again."""
        if number > self.last:
            self._close()
            self.last = number

    def close(self, upto: int) -> None:
        """Close; if the server has everything, nothing is left of the spool."""
        self._close()
        if upto >= self.last:
            for segment in self._segments:
                segment.path.unlink(missing_ok=True)
            self._segments.clear()
            try:
                self.folder.rmdir()
            except OSError:
                log.debug("%s stays", self.folder, exc_info=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._close()
        first = self.last + 1
        path = self.folder / f"{first:020d}{_SUFFIX}"
        if self._segments and self._segments[-1].path == path:
            # Nothing got into it before the process ended.
            self.size -= self._segments.pop().size
        file = RecordFile.made(path, _MAGIC, [(first, self.name.encode())])
        self._file = file
        self._segments.append(_Segment(path, first, 0, file.size))
        self.size += file.size

    def _take_up(self, path: Path) -> None:
        if not path.stat().st_size:
            # Killed between making it and writing to it.
            path.unlink()
            return
        file = RecordFile(path, _MAGIC)
        try:
            records, size = file.read(), file.size
        except ForeignFile:
            records, size = _taken_up_1(path)
        finally:
            file.close()
        if not records:
            path.unlink()
            return
        first, name = records[0][0], records[0][1].decode()
        if self._segments and (name != self.name or first <= self.last):
            raise SpoolError(0, f"{path.name} does not follow the segment before it")
        self.name = name
        self.last = first + len(records) - 2
        self.size += size
        self._segments.append(_Segment(path, first, len(records) - 1, size))


def _events(data: bytes) -> list[bytes]:
    """Those of a segment."""
    records = _records_in_1(data)[0] if data.startswith(_MAGIC_1) else records_in(data, _MAGIC)[0]
    return [event for _, event in records[1:]]


# Segments of the first version are read, and none is written any more. They begin with a line that
# has the spool's name and the number of the first event; an event is its length (four bytes), a
# CRC-32 (four bytes), and the event.


def _taken_up_1(path: Path) -> tuple[list[Record], int]:
    data = path.read_bytes()
    records, size = _records_in_1(data)
    if not records:
        raise SpoolError(0, f"{path.name} is no spool of events")
    if size < len(data):
        log.warning("%s: its last event was cut off", path)
        os.truncate(path, size)
    return records, size


def _records_in_1(data: bytes) -> tuple[list[Record], int]:
    """As if they were of this version, and where they end; none, if it is of neither."""
    at = data.find(b"\n") + 1
    head = data[:at].split()
    if len(head) != 4 or b" ".join(head[:2]) != _MAGIC_1 or not head[3].isdigit():
        return [], 0
    number = int(head[3])
    found = [(number, head[2])]
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        event = data[at + 8 : end]
        if end > len(data) or zlib.crc32(event) != int.from_bytes(data[at + 4 : at + 8], "big"):
            break
        found.append((number, event))
        number += 1
        at = end
    return found, at
