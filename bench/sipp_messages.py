"""What SIPp wrote of its messages (``-trace_msg``), read back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_MESSAGE = re.compile(
    r"^-{10,} (?P<time>\S+ [0-9.:]+)\n"
    r"\S+ message (?P<way>sent|received) .*?:\n\n"
    r"(?P<text>.*?)(?=^-{10,} |\Z)",
    re.S | re.M,
)
_CALL_ID = re.compile(r"^Call-ID: *(\S+)", re.M | re.I)
_CSEQ = re.compile(r"^CSeq: *\d+ (\w+)", re.M | re.I)


@dataclass(frozen=True, slots=True)
class Traced:
    """A message. ``at``: seconds since 1970. ``status`` is 0 for a request; ``method`` is that of
    the CSeq."""

    at: float
    sent: bool
    sip_call_id: str
    method: str
    status: int
    text: str


def messages(path: Path) -> Iterator[Traced]:
    """All that has a Call-ID and a CSeq, in the order in which it came and went."""
    for match in _MESSAGE.finditer(path.read_text(errors="replace")):
        text = match["text"]
        call_id, cseq = _CALL_ID.search(text), _CSEQ.search(text)
        if call_id is None or cseq is None:
            continue
        at = datetime.fromisoformat(match["time"]).timestamp()  # SIPp's is local time
        status = int(text[8:11]) if text.startswith("SIP/2.0 ") else 0
        yield Traced(at, match["way"] == "sent", call_id[1], cseq[1], status, text)
