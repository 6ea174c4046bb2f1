"""The callID: a GUID made where a call originates, and the header that carries it on.

``X-CDS-Call-ID: 0199c0de-…;owner=hq``. It is read only from our own switches; what does not have
this form is as good as absent.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from softswitch.sip import Tokens

_VALUE_RE = re.compile(
    r"\s*([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"
    r"\s*;\s*owner\s*=\s*([A-Za-z0-9][A-Za-z0-9._\-]{0,63})\s*(?:;.*)?\Z",
    re.S,
)


class CarriedCallID(NamedTuple):
    """What the header says: the callID in lower case, and the name of the server that owns it."""

    call_id: str
    owner: str


def make_call_id(now_us: int, tokens: Tokens) -> str:
    """A UUIDv7 (RFC 9562 §5.7): sorts by the time, in milliseconds, at which it was made."""
    ms = f"{now_us // 1000:012x}"
    random = tokens.token(19)
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{ms[:8]}-{ms[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:]}"


def read_call_id(value: str) -> CarriedCallID | None:
    """The header's value, or None if it is none."""
    match = _VALUE_RE.match(value)
    return CarriedCallID(match.group(1).lower(), match.group(2)) if match else None
