"""The last messages on the wire, in memory: as many as fit in so many bytes.

The bytes of a message are there already; what is kept is a reference, the time and both addresses.
Nothing is read or indexed before somebody asks (`softswitch.trace`). Every message passes here, so
the UDP socket, which has the most of them, adds to `entries` itself, and what they take is added up
for many at once (`settle`).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import itemgetter
from time import time
from typing import Any, Final

OVERHEAD: Final = 320
"""Bytes that a message takes beside its own: the objects that hold it."""
_MESSAGE: Final = itemgetter(5)
_AT_ONCE: Final = 64
"""Messages by which there may be too many."""

Entry = tuple[float, bool, str, tuple[str, int], tuple[str, int], bytes]
"""When (seconds since 1970, UTC), whether the switch has sent it, over which transport, the address
of ours, the peer's, and the message."""


class Ring:
    """What is kept. `settle` is to be called now and then while `entries` are more than `due`."""

    def __init__(self, most: int) -> None:
        self.most = most
        """Bytes, those of `OVERHEAD` included; 0: nothing is kept."""
        self.entries: deque[Entry] = deque()
        self.size = 0
        self.due = _AT_ONCE
        self._counted = 0
        # How many were added up at once, and their bytes.
        self._sums: deque[tuple[int, int]] = deque()

    def take_up(self, most: int) -> None:
        """Go on with another size."""
        self.most = most
        self.settle()

    def settle(self) -> None:
        """Add up what has come, and let go of the oldest if that is too much: as many as were added
        up at once, which is quicker than one by one."""
        # As any objects: compiled, each tuple would be taken apart for its last element.
        entries: deque[Any] = self.entries
        added = len(entries) - self._counted
        taken = sum(map(len, map(_MESSAGE, islice(reversed(entries), added)))) + added * OVERHEAD
        size, sums = self.size + taken, self._sums
        sums.append((added, taken))
        let_go = entries.popleft
        while size > self.most and sums:
            oldest, taken = sums.popleft()
            for _ in range(oldest):
                let_go()
            size -= taken
        self.size = size
        self._counted = len(entries)
        self.due = self._counted + _AT_ONCE


class Recorder:
    """Keeps what comes and goes at one address of ours, in a ring: a `Trace` for connections."""

    def __init__(self, ring: Ring, local: tuple[str, int]) -> None:
        self._ring = ring
        self._local = local

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` came from `peer`."""
        self._keep((time(), False, transport, self._local, peer, data))

    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` goes to `peer`."""
        self._keep((time(), True, transport, self._local, peer, data))

    def _keep(self, entry: Entry) -> None:
        ring = self._ring
        ring.entries.append(entry)
        if len(ring.entries) > ring.due:
            ring.settle()
