"""How many messages wait for an extension: in a row of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

# No other row of the journal begins so.
_MARK: Final = b"m"


class MailboxRow(msgspec.Struct, frozen=True, array_like=True):
    """Messages that nobody has heard, and others."""

    extension: str
    new: int
    old: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MailboxRow).decode


def is_mailbox(row: bytes) -> bool:
    """Whether a row of the journal is one of these."""
    return row.startswith(_MARK)


def encode_mailbox(row: MailboxRow) -> bytes:
    """Its bytes."""
    return _MARK + _encode(row)


def decode_mailbox(row: bytes) -> MailboxRow:
    """What a row says. Raises msgspec.DecodeError if it is none."""
    return _decode(row[len(_MARK) :])
