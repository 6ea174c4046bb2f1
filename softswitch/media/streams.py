"""The streams of a media worker: each joins a port of pjsua2's bridge and a program's WebSocket.

Whoever is heard at a port of the bridge is a **track** of a stream: here the caller alone. What is
said of the streams comes by `told`, in the thread of the worker.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

import pjsua2 as pj

from softswitch.media.audio_stream import INBOUND, AudioStream
from softswitch.media.bridge_port import BridgePort
from softswitch.media.orders import Stream, StreamEnded, Streaming
from softswitch.media.stream_sockets import Connection, StreamSockets

SWITCHES: Final = 0.001
"""Seconds after which a thread of Python lets others on that wait: the bridge's clock, every 20 ms
for each port. Python's own 0.005 would be much of that."""


class _Joined:
    """One stream, and who is heard by it (`bridge_port.Ear`)."""

    def __init__(
        self, order: Stream, sockets: StreamSockets, said: SimpleQueue[Streaming | StreamEnded]
    ) -> None:
        self.order = order
        self.bridge: BridgePort | None = None
        self._said = said
        self._sockets = sockets
        self.stream = AudioStream(order)
        self.connection: Connection = sockets.open(order, self.stream, self._told)

    def next_frame(self) -> bytes | None:
        """See `Ear`."""
        linear = self.stream.next_frame()
        if self.stream.has_passed:
            self._sockets.passed(self.connection)
        return linear

    def heard(self, linear: bytes) -> None:
        """See `Ear`."""
        self._sockets.heard(self.connection, INBOUND, linear)

    def failed(self, error: Exception) -> None:
        """See `Ear`."""
        self._sockets.fail(self.connection, f"{type(error).__name__}: {error}")

    def _told(self, what: str, error: str, seconds: float) -> None:
        order = self.order
        if what == "streaming":
            self._said.put(Streaming(order.port, order.job))
        else:
            self._said.put(StreamEnded(order.port, order.job, what, error, seconds))

    def stop(self) -> None:
        self._sockets.stop(self.connection)

    def pressed(self, digit: str) -> None:
        self._sockets.pressed(self.connection, digit)


class Streams:
    """All of them, one of each port of the worker. The sockets' thread is there from the first
    one on."""

    def __init__(self) -> None:
        self._sockets: StreamSockets | None = None
        self._said: SimpleQueue[Streaming | StreamEnded] = SimpleQueue()
        self._joined: dict[int, _Joined] = {}
        self._free: list[BridgePort] = []
        self._made = 0

    @property
    def made(self) -> bool:
        """Whether there was ever one."""
        return self._made > 0

    def begin(self, order: Stream, audio: Any) -> None:
        """Connect; `audio` is who is there, if anybody is. It takes the place of another one."""
        self.stop(order.port)
        if self._sockets is None:
            sys.setswitchinterval(SWITCHES)
            self._sockets = StreamSockets()
        joined = self._joined[order.port] = _Joined(order, self._sockets, self._said)
        if self._free:
            joined.bridge = self._free.pop()
        else:
            self._made += 1
            joined.bridge = BridgePort(self._made)
        joined.bridge.ear = joined
        if audio is not None:
            self.connect(order.port, audio)

    def connect(self, port: int, audio: Any) -> None:
        """Who is there is at another port of the bridge. Raises pj.Error."""
        joined = self._joined.get(port)
        if joined is not None and joined.bridge is not None:
            audio.startTransmit(joined.bridge)
            joined.bridge.startTransmit(audio)

    def stop(self, port: int, audio: Any = None) -> None:
        """That is enough, or who was there has left (`audio` is None)."""
        joined = self._joined.pop(port, None)
        if joined is not None:
            self._part(joined, audio)
            joined.stop()

    def close(self) -> None:
        """The worker ends: programs are told so, as far as they hear it soon."""
        for port in list(self._joined):
            self.stop(port)
        if self._sockets is not None:
            self._sockets.close()

    def pressed(self, port: int, digit: str) -> None:
        """A key."""
        joined = self._joined.get(port)
        if joined is not None:
            joined.pressed(digit)

    def _part(self, joined: _Joined, audio: Any) -> None:
        bridge, joined.bridge = joined.bridge, None
        if bridge is None:
            return
        bridge.ear = None
        if audio is not None:
            with contextlib.suppress(pj.Error):
                audio.stopTransmit(bridge)
            with contextlib.suppress(pj.Error):
                bridge.stopTransmit(audio)
        self._free.append(bridge)

    def told(self, audio_of: Callable[[int], Any]) -> list[Streaming | StreamEnded]:
        """What has been said since. `audio_of`: who is at a port, None if nobody is."""
        found: list[Streaming | StreamEnded] = []
        with contextlib.suppress(Empty):
            while True:
                said = self._said.get_nowait()
                found.append(said)
                joined = self._joined.get(said.port)
                if isinstance(said, StreamEnded) and joined and joined.order.job == said.job:
                    del self._joined[said.port]
                    self._part(joined, audio_of(said.port))
        return found
