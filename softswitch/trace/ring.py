"""The last messages on the wire, in memory: as many as fit in so many bytes.

The bytes of a message are there already; what is kept is a reference, the time and both addresses.
Nothing is read or indexed before somebody asks (`softswitch.trace.finding`).
"""

from __future__ import annotations

from collections import deque
from time import time
from typing import Final

from softswitch.sip import Trace

OVERHEAD: Final = 320
"""Bytes that a message takes beside its own: the objects that hold it."""
_SHORT: Final = 20
"""Bytes; what is shorter is a keep-alive."""

Entry = tuple[float, bool, str, tuple[str, int], tuple[str, int], bytes]
"""When (seconds since 1970, UTC), whether the switch has sent it, over which transport, the address
of ours, the peer's, and the message."""


class Ring:
    """What is kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Bytes, those of `OVERHEAD` included; 0: nothing is kept."""
        self.entries: deque[Entry] = deque()
        self.size = 0

    def at(self, local: tuple[str, int]) -> Trace:
        """Who keeps what comes and goes at an address of ours."""
        return Recorder(self, local)

    def take_up(self, most: int) -> None:
        """Go on with another size."""
        self.most = most
        self.make_room()

    def make_room(self) -> None:
        """Let go of the oldest."""
        entries = self.entries
        while self.size > self.most and entries:
            self.size -= len(entries.popleft()[5]) + OVERHEAD


class Recorder:
    """Keeps what comes and goes at one address of ours, in a ring. Every message passes here: each
    of its two halves is written out, as a call in between costs a third of the whole."""

    def __init__(self, ring: Ring, local: tuple[str, int]) -> None:
        self._ring = ring
        self._entries = ring.entries
        self._local = local

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` came from `peer`."""
        length = len(data)
        if length >= _SHORT:
            self._entries.append((time(), False, transport, self._local, peer, data))
            ring = self._ring
            ring.size = size = ring.size + length + OVERHEAD
            if size > ring.most:
                ring.make_room()

    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` goes to `peer`."""
        length = len(data)
        if length >= _SHORT:
            self._entries.append((time(), True, transport, self._local, peer, data))
            ring = self._ring
            ring.size = size = ring.size + length + OVERHEAD
            if size > ring.most:
                ring.make_room()
