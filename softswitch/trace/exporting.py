"""Messages go to a capture server (HEP 3) as they come and go, a moment later and many at once.

Later, because only when its INVITE was read has a call its callID, by which the server is told what
belongs together. Nothing waits for the server: what the socket does not take, and what would make
the queue too long, is dropped and counted.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from typing import Final

from softswitch.sip import Entry
from softswitch.trace.dialogs import Dialogs
from softswitch.trace.hep import hep3
from softswitch.trace.wire import seen

log = logging.getLogger(__name__)

LATER: Final = 0.05
"""Seconds until what has come is sent."""
_AT_ONCE: Final = 100
_SHORT: Final = 20  # bytes; what is shorter is a keep-alive


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where messages go: `to` is an IP address and port over UDP; `capture_id` is who we are there,
    `password` what proves it. `most` messages wait at once."""

    to: tuple[str, int]
    capture_id: int
    password: str
    most: int


class Exporter:
    """Sends by a socket of its own. `later(seconds, callback)` is the event loop's."""

    def __init__(
        self,
        settings: ExportSettings,
        dialogs: Dialogs,
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.settings = settings
        self.sent = 0
        """Messages since the start."""
        self.dropped = 0
        self._dialogs = dialogs
        self._later = later
        self._waiting: deque[Entry] = deque()
        self._asked = False
        self._open = True
        family = socket.AF_INET6 if ":" in settings.to[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        dialogs.want_calls()

    def at(self, local: tuple[str, int]) -> Outgoing:
        """Who is shown what comes and goes at an address of ours."""
        return Outgoing(self, local)

    def take(self, entry: Entry) -> None:
        """A message came or went."""
        if len(entry[5]) < _SHORT or not self._open:
            return
        if len(self._waiting) >= self.settings.most:
            self.dropped += 1
            return
        self._waiting.append(entry)
        if not self._asked:
            self._asked = True
            self._later(LATER, self._send)

    def close(self) -> None:
        """Send what waits, as far as the socket takes it, and no more."""
        while self._waiting and self._open:
            self._one(self._waiting.popleft())
        self._open = False
        self._socket.close()

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._waiting)

    def _send(self) -> None:
        self._asked = False
        waiting = self._waiting
        for _ in range(min(_AT_ONCE, len(waiting))):
            if self._open:
                self._one(waiting.popleft())
        if waiting and self._open:
            # Calls have their turn in between.
            self._asked = True
            self._later(0.001, self._send)

    def _one(self, entry: Entry) -> None:
        settings = self.settings
        message = seen(entry).masked()
        sip_call_id = message.call_id
        calls = self._dialogs.calls
        call_id = calls.get(sip_call_id) if calls is not None else None
        try:
            packet = hep3(message, settings.capture_id, settings.password, call_id or sip_call_id)
            self._socket.sendto(packet, settings.to)
            self.sent += 1
        except (OSError, ValueError):
            self.dropped += 1


class Outgoing:
    """Hands on what comes and goes at one address of ours (`softswitch.sip.Trace`)."""

    def __init__(self, exporter: Exporter, local: tuple[str, int]) -> None:
        self._exporter = exporter
        self._local = local

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` came from `peer`."""
        self._exporter.take((time(), False, transport, self._local, peer, data))

    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` goes to `peer`."""
        self._exporter.take((time(), True, transport, self._local, peer, data))
