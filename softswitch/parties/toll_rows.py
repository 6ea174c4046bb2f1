"""What calls have cost today: in rows of the journal, to outlive the process."""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch.calls import RowKind


class TollRow(msgspec.Struct, frozen=True, array_like=True):
    """By a rule's name and the party that it counts (empty: all): of a day, as 2026-11-28, the
    calls placed and the seconds of those that are over. `up` are legs that go on: callID, number,
    and when they were answered, in microseconds of UTC; 0: not yet. `warned`: there was an alarm.
    """

    rule: str
    party: str
    day: str
    calls: int
    seconds: float
    up: list[tuple[str, int, int]]
    warned: bool


TOLL: Final = RowKind(b"$", TollRow)
