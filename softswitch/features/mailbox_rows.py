"""How many messages wait for an extension: in a row of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch.calls import RowKind


class MailboxRow(msgspec.Struct, frozen=True, array_like=True):
    """Messages that nobody has heard, and others."""

    extension: str
    new: int
    old: int


MAILBOX: Final = RowKind(b"m", MailboxRow)
