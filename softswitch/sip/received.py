"""A request's topmost Via says where it came from: `received` and `rport` (§18.2, RFC 3581)."""

from __future__ import annotations

import re
from typing import Final

from softswitch.sip.header_values import NO_VIA
from softswitch.sip.message import Request

_RPORT_RE: Final = re.compile(r";\s*rport\s*(?:=\s*[^;,\s]*)?(?=\s*(?:;|\Z))", re.I)
_RECEIVED_RE: Final = re.compile(r";\s*received\s*(?:=\s*[^;,\s]*)?(?=\s*(?:;|\Z))", re.I)


def mark_source(request: Request, remote: tuple[str, int]) -> int:
    """Add `received` and `rport` to the topmost Via as §18.2.1 and RFC 3581 §4 say.

    Returns the port that a response over UDP goes to: a response goes to the address that its
    request came from in any case, so that a host name in a Via need never be looked up.
    """
    via = request.via
    host, port = remote
    if via is NO_VIA:
        # None that could be read; the one who is told so is whoever sent it.
        return port
    vias = request.headers["via"]
    if via.received is not None:
        # Only the receiver may say what it saw.
        vias[0] = _RECEIVED_RE.sub("", vias[0])
    if via.rport is not None:
        value = vias[0]
        mark = f";received={host};rport={port}"
        if value.endswith(";rport"):
            vias[0] = value[:-6] + mark
        else:
            vias[0] = _RPORT_RE.sub(mark, value, count=1)
        return port
    if via.host != host and via.host.strip("[]") != host:
        vias[0] += f";received={host}"
    return via.port or 5060
