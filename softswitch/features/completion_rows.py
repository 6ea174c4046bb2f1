"""Who waits for whom to be free: in a row of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch.calls import RowKind


class CompletionRow(msgspec.Struct, frozen=True, array_like=True):
    """`caller` and `callee` are extensions, `number` is what the caller had dialled. `due`: it is
    waited for that the callee is free, and not first for a sign of it. `until` is in microseconds
    of UTC."""

    caller: str
    callee: str
    number: str
    due: bool
    until: int


COMPLETION: Final = RowKind(b"c", CompletionRow)
