"""Subscriptions in rows of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

# No other row of the journal begins so.
_MARK: Final = b"s"


class SubscriptionRow(msgspec.Struct, frozen=True, array_like=True):
    """A subscription; texts as the bytes that came, which need not be UTF-8. `until` is in
    microseconds of UTC, `nat` as in `Session`, `cseqs` are ours and theirs,
    `listener` is the address of ours by which, as flows name it."""

    package: str
    number: bytes
    event_id: bytes
    party: str
    until: int
    version: int
    call_id: bytes
    local: bytes
    local_tag: str
    remote: bytes
    remote_tag: bytes
    target: bytes
    routes: list[bytes]
    cseqs: tuple[int, int]
    flow: tuple[str, str, int]
    nat: bool
    listener: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SubscriptionRow).decode


def is_subscription(row: bytes) -> bool:
    """Whether a row of the journal is one of these."""
    return row.startswith(_MARK)


def encode_subscription(row: SubscriptionRow) -> bytes:
    """Its bytes."""
    return _MARK + _encode(row)


def decode_subscription(row: bytes) -> SubscriptionRow:
    """What a row says. Raises msgspec.DecodeError if it is none."""
    return _decode(row[len(_MARK) :])
