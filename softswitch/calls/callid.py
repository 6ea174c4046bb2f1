"""The callID: a GUID made where a call originates, and the header that carries it on.

``X-CDS-Call-ID: 0199c0de-…;owner=hq;legs="hq/1 depot/2"``. ``owner`` is the server that owns the
call's data; without one no switch on the way has a server so far. ``legs`` are the legs by which
the call came here, as call data names them, the last one last: so that whoever reads the call's
data can follow it from switch to switch, past those that have no server. It is read only from our
own switches; what does not have this form is as good as absent.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from softswitch.sip import Tokens

_GUID_RE = re.compile(
    r"\s*([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})\s*"
    r"((?:;.*)?)\Z",
    re.S,
)
_OWNER_RE = re.compile(r";\s*owner\s*=\s*([^;\"]*)")
_NAME_RE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_LEGS_RE = re.compile(r";\s*legs\s*=\s*\"([A-Za-z0-9._\-/ ]*)\"")

MAX_LEGS: Final = 8
"""Legs that are carried on; of more, the first ones go."""


class CarriedCallID(NamedTuple):
    """What the header says: the callID in lower case, the name of the server that owns it (empty:
    none does yet), and the legs by which it came, separated by blanks."""

    call_id: str
    owner: str
    legs: str = ""


def make_call_id(now_us: int, tokens: Tokens) -> str:
    """A UUIDv7 (RFC 9562 §5.7): sorts by the time, in milliseconds, at which it was made."""
    ms = f"{now_us // 1000:012x}"
    random = tokens.token(19)
    variant = "89ab"[int(random[3], 16) & 3]
    return f"{ms[:8]}-{ms[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:]}"


def read_call_id(value: str) -> CarriedCallID | None:
    """The header's value, or None if it is none."""
    match = _GUID_RE.match(value)
    if match is None:
        return None
    call_id, params = match.groups()
    found = _OWNER_RE.search(params)
    owner = found.group(1).strip() if found is not None else ""
    if found is not None and not _NAME_RE.fullmatch(owner):
        return None
    legs = _LEGS_RE.search(params)
    came = legs.group(1).split()[-MAX_LEGS:] if legs is not None else ()
    return CarriedCallID(call_id.lower(), owner, " ".join([leg for leg in came if len(leg) <= 80]))


def write_call_id(call_id: str, owner: str, came: str, leg: str) -> str:
    """The header's value for the next switch. ``leg`` is the one by which it goes there."""
    of = f";owner={owner}" if owner else ""
    return f'{call_id}{of};legs="{came} {leg}"' if came else f'{call_id}{of};legs="{leg}"'


def take_up(carried: CarriedCallID, server: str) -> tuple[CarriedCallID, bool]:
    """A call that came from another of our switches, as one goes on with it whose server is
    ``server`` (empty: it has none); and whether that is the first server on the call's way: then
    nobody has told anything of the call so far, and this switch does as if it had begun here."""
    if carried.owner or not server:
        return carried, False
    return CarriedCallID(carried.call_id, server, carried.legs), True
