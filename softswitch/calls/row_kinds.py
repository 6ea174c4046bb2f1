"""Rows of the journal that are no call's: of each kind, what tells it from all others."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

Row = TypeVar("Row")


class RowKind(Generic[Row]):
    """Rows of one kind, each a `msgspec` struct. `mark` is the byte that they begin with and no
    others do: those of calls are arrays of MessagePack."""

    _marks: ClassVar[dict[bytes, type[Any]]] = {}

    def __init__(self, mark: bytes, row: type[Row]) -> None:
        if len(mark) != 1 or mark >= b"\x80" or self._marks.setdefault(mark, row) is not row:
            raise ValueError(f"{mark!r} marks other rows")
        self._mark = mark
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(row).decode

    def is_one(self, data: bytes) -> bool:
        """Whether a row of the journal is one of these."""
        return data.startswith(self._mark)

    def encode(self, row: Row) -> bytes:
        """Its bytes."""
        return self._mark + self._encode(row)

    def decode(self, data: bytes) -> Row:
        """What a row says. Raises msgspec.DecodeError if it is none."""
        return self._decode(data[1:])
