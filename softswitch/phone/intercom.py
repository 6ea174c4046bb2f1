"""Calls that ask to be answered by the phone itself, as pages do: in the words of several makers
(``answer-after``, ``alert-autoanswer``), and of RFC 5373."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 60
"""Seconds of ringing that a call may ask for; one that asks for more rings as any other."""

_ASKS: Final = (
    re.compile(r"^call-info\s*:.*;\s*answer-after\s*=\s*([0-9]{1,3})\b", re.I | re.M),
    re.compile(
        r"^alert-info\s*:.*\binfo\s*=\s*alert-autoanswer\b(?:.*;\s*delay\s*=\s*([0-9]{1,3})\b)?",
        re.I | re.M,
    ),
    re.compile(r"^answer-mode\s*:\s*Auto\b()", re.I | re.M),
)


def answer_after(message: str) -> int | None:
    """After how many seconds an INVITE, as it came, asks to be answered; None: it does not."""
    head = message.partition("\r\n\r\n")[0]
    for asks in _ASKS:
        found = asks.search(head)
        if found is not None:
            seconds = int(found[1] or 0)
            return seconds if seconds <= LONGEST else None
    return None
