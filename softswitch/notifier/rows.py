"""Subscriptions in rows of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch.calls import RowKind


class SubscriptionRow(msgspec.Struct, frozen=True, array_like=True):
    """A subscription; texts as the bytes that came, which need not be UTF-8. `until` is in
    microseconds of UTC, `nat` as in `Session`, `cseqs` are ours and theirs,
    `sent_by` and `listener` are of its flow."""

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
    sent_by: str = ""


SUBSCRIPTION: Final = RowKind(b"s", SubscriptionRow)
