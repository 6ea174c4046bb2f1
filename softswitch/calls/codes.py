"""Digits that a phone sends within a call (SIP INFO), and the codes that they may become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from softswitch.sip import Request

TRANSFER: Final = "transfer"
CONSULT: Final = "consult"
COMPLETE: Final = "complete"
BACK: Final = "back"
RECORD: Final = "record"
PAUSE: Final = "pause"

_RELAYED: Final = "application/dtmf-relay"
_PLAIN: Final = "application/dtmf"
_SIGNALS: Final = {str(number): str(number) for number in range(10)} | {
    "*": "*",
    "#": "#",
    # As numbers of RFC 4733 §3.2.
    "10": "*",
    "11": "#",
}
_KEYS: Final = _SIGNALS | {
    "A": "A",
    "B": "B",
    "C": "C",
    "D": "D",
    "12": "A",
    "13": "B",
    "14": "C",
    "15": "D",
}
_LONGEST_BODY: Final = 256


@dataclass(frozen=True, slots=True)
class InCallCodes:
    """What is dialled within a call: `meanings` by code. No code is the beginning of another.
    `wait`: seconds between digits; a number has `most` digits at most."""

    meanings: dict[str, str]
    wait: float
    most: int


def digit_of(request: Request) -> str:
    """The digit that an INFO brings: 0 to 9, * or #; empty if it brings none."""
    return _SIGNALS.get(_signal(request), "")


def key_for_application(request: Request) -> tuple[str, bytes]:
    """The same of A to D too: the header lines and the body of the INFO by which an application is
    told; none if it brings no key. What callers write themselves is not for media workers: some of
    it ends a process with pjsua2 ("Signal=", and nothing behind it), and of "application/dtmf" it
    knows nothing."""
    key = _KEYS.get(_signal(request), "")
    if not key:
        return "", b""
    return f"Content-Type: {_RELAYED}\r\n", f"Signal={key}\r\nDuration=160\r\n".encode()


def _signal(request: Request) -> str:
    """How an INFO names its digit; empty if it brings none."""
    body = request.body
    if request.method != "INFO" or not body or len(body) > _LONGEST_BODY:
        return ""
    kind = (request.get("content-type") or "").partition(";")[0].strip().lower()
    if kind == _PLAIN:
        return body.decode("latin-1").strip()
    if kind != _RELAYED:
        return ""
    for line in body.decode("latin-1").splitlines():
        name, _, value = line.partition("=")
        if name.strip().lower() == "signal":
            return value.strip()
    return ""
