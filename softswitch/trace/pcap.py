"""Messages as a capture file (pcap), for Wireshark, tshark, sngrep.

The switch has seen messages and no packets, so those are made up: Ethernet, IPv4 or IPv6, and UDP
as it was. What came over a connection (TCP, TLS, WebSocket) is written as the segments of a TCP
connection, with running sequence numbers, in the clear and without WebSocket's frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from softswitch.trace.wire import Seen, packed

_MAGIC: Final = 0xA1B2C3D4
_ETHERNET: Final = 1
_SNAP: Final = 262_144
_UDP: Final = 17
_TCP: Final = 6
_DATAGRAM: Final = 65_000
_SEGMENT: Final = 1400  # bytes of a message in one packet, over connections
_OURS: Final = bytes((2, 0, 0, 0, 0, 1))  # locally administered
_THEIRS: Final = bytes((2, 0, 0, 0, 0, 2))
_PUSH_ACK: Final = 0x18

_End = tuple[str, int]


def capture(messages: Iterable[Seen]) -> Iterator[bytes]:
    """The file: its head, then each message."""
    yield struct.pack("!IHHiIII", _MAGIC, 2, 4, 0, 0, _SNAP, _ETHERNET)
    # How far each end of each connection has come.
    at: dict[tuple[_End, _End], int] = {}
    serial = 0
    for message in messages:
        for packet in _packets(message, at):
            serial += 1
            macs = _THEIRS + _OURS if message.sent else _OURS + _THEIRS
            frame = macs + _numbered(packet, serial)
            whole, fraction = divmod(round(message.at * 1e6), 1_000_000)
            yield struct.pack("!IIII", whole, fraction, len(frame), len(frame)) + frame


def _packets(message: Seen, at: dict[tuple[_End, _End], int]) -> Iterator[bytes]:
    """From the type of an Ethernet frame on."""
    data = message.data
    source, target = (
        (message.local, message.peer) if message.sent else (message.peer, message.local)
    )
    if message.transport == "udp":
        part = data[:_DATAGRAM]
        head = struct.pack("!HHHH", source[1], target[1], 8 + len(part), 0)
        yield _packet(source[0], target[0], _UDP, head, 6, part)
        return
    for start in range(0, len(data), _SEGMENT):
        part = data[start : start + _SEGMENT]
        here, there = at.get((source, target), 1), at.get((target, source), 1)
        head = struct.pack(
            "!HHIIBBHHH", source[1], target[1], here, there, 5 << 4, _PUSH_ACK, 65_535, 0, 0
        )
        at[source, target] = (here + len(part)) & 0xFFFFFFFF
        yield _packet(source[0], target[0], _TCP, head, 16, part)


def _packet(source: str, target: str, kind: int, head: bytes, sum_at: int, data: bytes) -> bytes:
    ours, theirs = packed(source, target)
    length = len(head) + len(data)
    if len(ours) == 16:
        pseudo = ours + theirs + struct.pack("!IHBB", length, 0, 0, kind)
        outer = struct.pack("!HIHBB", 0x86DD, 6 << 28, length, kind, 64) + ours + theirs
    else:
        pseudo = ours + theirs + struct.pack("!BBH", 0, kind, length)
        outer = struct.pack("!HBBHHHBBH", 0x0800, 0x45, 0, 20 + length, 0, 0x4000, 64, kind, 0)
        outer += ours + theirs
    # 0 says that there is none (RFC 768).
    found = _checksum(pseudo + head + data) or 0xFFFF
    return outer + head[:sum_at] + struct.pack("!H", found) + head[sum_at + 2 :] + data


def _numbered(packet: bytes, serial: int) -> bytes:
    """With the identification and the sum of IPv4's header."""
    if packet[:2] != b"\x08\x00":
        return packet
    head = packet[2:6] + struct.pack("!H", serial & 0xFFFF) + packet[8:22]
    found = struct.pack("!H", _checksum(head))
    return packet[:2] + head[:10] + found + head[12:] + packet[22:]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
