"""HEP 3, the encapsulation that Homer and other capture servers take (`hep3_rev12`): each message
in a datagram of chunks.

A packet is `HEP3`, its length in all (16 bits), and chunks: vendor (16 bits, 0: the protocol's
own), type, length with these six bytes, value. Numbers are in network order.
"""

from __future__ import annotations

import struct
from typing import Final

from softswitch.trace.wire import Seen, packed

MOST: Final = 65_000
"""Bytes of a packet: a datagram has no room for more."""

_FAMILY, _PROTOCOL = 1, 2
_SOURCE_4, _TARGET_4, _SOURCE_6, _TARGET_6 = 3, 4, 5, 6
_SOURCE_PORT, _TARGET_PORT = 7, 8
_SECONDS, _MICROSECONDS = 9, 10
_KIND, _CAPTURE_ID = 11, 12
_KEY, _PAYLOAD, _CORRELATION = 14, 15, 17
_INET, _INET6 = 2, 10
_UDP, _TCP = 17, 6
_SIP: Final = 1


def hep3(message: Seen, capture_id: int, password: str = "", correlation: str = "") -> bytes:
    """The packet of a message. `capture_id` is who has seen it, 32 bits; `correlation` what the
    messages of one call have in common. A message that is too long is cut off."""
    ours, theirs = packed(message.local[0], message.peer[0])
    source, target = (ours, theirs) if message.sent else (theirs, ours)
    ports = (message.local[1], message.peer[1])
    source_port, target_port = ports if message.sent else ports[::-1]
    seconds, fraction = divmod(round(message.at * 1e6), 1_000_000)
    six = len(ours) == 16
    parts = [
        _chunk(_FAMILY, bytes((_INET6 if six else _INET,))),
        _chunk(_PROTOCOL, bytes((_UDP if message.transport == "udp" else _TCP,))),
        _chunk(_SOURCE_6 if six else _SOURCE_4, source),
        _chunk(_TARGET_6 if six else _TARGET_4, target),
        _chunk(_SOURCE_PORT, struct.pack("!H", source_port)),
        _chunk(_TARGET_PORT, struct.pack("!H", target_port)),
        _chunk(_SECONDS, struct.pack("!I", seconds & 0xFFFFFFFF)),
        _chunk(_MICROSECONDS, struct.pack("!I", fraction)),
        _chunk(_KIND, bytes((_SIP,))),
        _chunk(_CAPTURE_ID, struct.pack("!I", capture_id)),
    ]
    if password:
        parts.append(_chunk(_KEY, password.encode()))
    if correlation:
        parts.append(_chunk(_CORRELATION, correlation.encode("utf-8", "surrogateescape")[:1024]))
    room = MOST - 6 - 6 - sum(map(len, parts))
    parts.append(_chunk(_PAYLOAD, message.data[:room]))
    body = b"".join(parts)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value
