"""Up to which number the events of each switch elsewhere are stored: a file beside the database.

A file of records (``softswitch.disk``), of which the newest of each switch counts: the number of
its event, and as bytes the names of the switch and of its spool. It is not synced: should a loss of
power take the end of it, the switches send again, and their events write the same values again.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import msgspec

from softswitch.disk import ForeignFile, Record, RecordFile

log = logging.getLogger("cdsplugin.switch_link")

CROWDED = 256 * 1024
"""Bytes from which on the file is written anew, if three quarters of it count no more."""

_MAGIC = b"cds-switches 2\n"
_SLOT = 512  # of the first version


class Progress:
    """Spool and number by switch. To be had by the one process that has the database's journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: RecordFile | None = None
        self._newest: dict[str, Record] = {}

    def open(self) -> dict[str, tuple[str, int]]:
        """What an earlier process noted. Raises OSError, with one line for people."""
        try:
            return self._open()
        except OSError as error:
            raise OSError(f"cds.switches: cannot use {self.path}: {error.strerror}") from error

    def _open(self) -> dict[str, tuple[str, int]]:
        file = self._file = RecordFile(self.path, _MAGIC)
        found: dict[str, tuple[str, int]] = {}
        try:
            for number, data in file.read():
                name, spool = msgspec.msgpack.decode(data, type=tuple[str, str])
                found[name] = spool, number
                self._newest[name] = number, data
            file.count(data for _, data in self._newest.values())
        except ForeignFile:
            found = _first_version(self.path)
            self._newest = {
                name: (number, _bytes(name, spool)) for name, (spool, number) in found.items()
            }
            aside = None
            if not found:
                aside = self.path.with_name(self.path.name + ".unreadable")
                log.error("%s cannot be read: put aside as %s", self.path, aside.name)
            file.renew(self._newest.values(), keep=aside)
        return found

    def note(self, name: str, spool: str, number: int) -> None:
        """The events of a switch's spool up to this number are stored. Raises OSError."""
        file, record = self._file, (number, _bytes(name, spool))
        assert file is not None
        self._newest[name] = record
        if file.crowded(CROWDED):
            try:
                file.renew(self._newest.values())
            except OSError as error:
                log.error("%s: %s; it goes on growing", self.path, error.strerror or error)
            else:
                return
        file.append([record])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _bytes(name: str, spool: str) -> bytes:
    return msgspec.msgpack.encode((name, spool))


def _first_version(path: Path) -> dict[str, tuple[str, int]]:
    """Of a file of slots of equal length, one for each switch: CRC-32 (four bytes), length (two),
    and name, spool and number; each written in its place."""
    data = path.read_bytes()
    found: dict[str, tuple[str, int]] = {}
    damaged: list[int] = []
    for at in range(0, len(data), _SLOT):
        size = int.from_bytes(data[at + 4 : at + 6], "big")
        body = data[at + 6 : at + 6 + size]
        if body and zlib.crc32(body) == int.from_bytes(data[at : at + 4], "big"):
            name, spool, number = msgspec.msgpack.decode(body, type=tuple[str, str, int])
            found[name] = spool, number
        else:
            damaged.append(at // _SLOT)
    if found and damaged:
        log.error("%s: slots %s are damaged; their switches send again", path, damaged)
    return found
