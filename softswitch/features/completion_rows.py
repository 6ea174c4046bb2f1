"""Who waits for whom to be free: in a row of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

# No other row of the journal begins so.
_MARK: Final = b"c"


class CompletionRow(msgspec.Struct, frozen=True, array_like=True):
    """`caller` and `callee` are extensions, `number` is what the caller had dialled. `due`: it is
    waited for that the callee is free, and not first for a sign of it. `until` is in microseconds
    of UTC."""

    caller: str
    callee: str
    number: str
    due: bool
    until: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CompletionRow).decode


def is_completion(row: bytes) -> bool:
    """Whether a row of the journal is one of these."""
    return row.startswith(_MARK)


def encode_completion(row: CompletionRow) -> bytes:
    """Its bytes."""
    return _MARK + _encode(row)


def decode_completion(row: bytes) -> CompletionRow:
    """What a row says. Raises msgspec.DecodeError if it is none."""
    return _decode(row[len(_MARK) :])
