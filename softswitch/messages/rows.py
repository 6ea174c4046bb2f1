"""Messages that wait for a phone: in rows of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch.calls import RowKind


class MessageRow(msgspec.Struct, frozen=True, array_like=True):
    """For `extension`, sent to `number` by one who is shown as `sender` and `name`; `kind` is the
    Content-Type, `at` when it came, in microseconds of UTC, `call_id` that by which the phone gets
    it, each time the same. `lines` are header lines that say more of its body, `until` is when its
    sender has no more use for it, in microseconds of UTC; 0: never."""

    extension: str
    number: str
    sender: str
    name: str
    kind: str
    body: bytes
    at: int
    call_id: str
    lines: str = ""
    until: int = 0


MESSAGE: Final = RowKind(b"t", MessageRow)
