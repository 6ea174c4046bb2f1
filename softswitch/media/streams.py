"""The streams of a media worker: each joins a port of pjsua2's bridge and a program's WebSocket.

Whoever is heard at a port of the bridge is a **track** of a stream: the caller alone, or each of
two who talk, of a program that only listens. What is said of the streams comes by `told`, in the
thread of the worker.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final

import pjsua2 as pj

from softswitch.media.audio_stream import INBOUND, OUTBOUND, SAMPLES, AudioStream
from softswitch.media.bridge_port import BridgePort
from softswitch.media.orders import Stream, StreamEnded, Streaming, Tap
from softswitch.media.stream_sockets import Connection, StreamSockets

SWITCHES: Final = 0.001
"""Seconds after which a thread of Python lets others on that wait: the bridge's clock, every 20 ms
for each port. Python's own 0.005 would be much of that."""


_SILENCE: Final = bytes(2 * SAMPLES)


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


class _Track:
    """One of those whom a program hears (`bridge_port.Ear`)."""

    def __init__(self, tapped: _Tapped, name: str, bridge: BridgePort) -> None:
        self.bridge = bridge
        self._tapped = tapped
        self._name = name

    def next_frame(self) -> bytes | None:
        """See `Ear`: it is never asked, as nobody is connected to hear it."""
        return None

    def heard(self, linear: bytes) -> None:
        """See `Ear`."""
        self._tapped.heard(self._name, linear)

    def failed(self, error: Exception) -> None:
        """See `Ear`."""
        self._tapped.failed(error)


class _Tapped:
    """A program that listens to one or two ports, and its tracks by their numbers."""

    def __init__(
        self, order: Tap, sockets: StreamSockets, said: SimpleQueue[Streaming | StreamEnded]
    ) -> None:
        self.order = order
        self.tracks: dict[int, _Track] = {}
        self.paused = order.paused
        self._said = said
        self._sockets = sockets
        ports = ((order.inbound, INBOUND), (order.outbound, OUTBOUND))
        self.names = {port: name for port, name in ports if port}
        stream = AudioStream(order.stream, tuple(self.names.values()), listens=True)
        self.connection: Connection = sockets.open(order.stream, stream, self._told)

    def heard(self, name: str, linear: bytes) -> None:
        self._sockets.heard(self.connection, name, _SILENCE if self.paused else linear)

    def failed(self, error: Exception) -> None:
        self._sockets.fail(self.connection, f"{type(error).__name__}: {error}")

    def _told(self, what: str, error: str, seconds: float) -> None:
        order = self.order.stream
        if what == "streaming":
            self._said.put(Streaming(order.port, order.job))
        else:
            self._said.put(StreamEnded(order.port, order.job, what, error, seconds))

    def stop(self) -> None:
        self._sockets.stop(self.connection)


class Streams:
    """All of them: one of each port of the worker whose program is heard, and those that listen, by
    their ports and jobs. The sockets' thread is there from the first one on."""

    def __init__(self) -> None:
        self._sockets: StreamSockets | None = None
        self._said: SimpleQueue[Streaming | StreamEnded] = SimpleQueue()
        self._joined: dict[int, _Joined] = {}
        self._tapped: dict[tuple[int, int], _Tapped] = {}
        self._free: list[BridgePort] = []
        self._made = 0

    @property
    def made(self) -> bool:
        """Whether there was ever one."""
        return self._made > 0

    def begin(self, order: Stream, audio: Any) -> None:
        """Connect; `audio` is who is there, if anybody is. It takes the place of another one."""
        self.stop(order.port, audio)
        joined = self._joined[order.port] = _Joined(order, self._open(), self._said)
        joined.bridge = self._bridge()
        joined.bridge.ear = joined
        if audio is not None:
            self._connect(joined, audio)

    def tap(self, order: Tap, audio_of: Callable[[int], Any]) -> None:
        """Connect a program that only listens. `audio_of`: who is at a port, None if nobody is.
        Raises pj.Error."""
        key = order.stream.port, order.stream.job
        tapped = self._tapped[key] = _Tapped(order, self._open(), self._said)
        for port, name in tapped.names.items():
            track = tapped.tracks[port] = _Track(tapped, name, self._bridge())
            track.bridge.ear = track
            audio = audio_of(port)
            if audio is not None:
                audio.startTransmit(track.bridge)

    def pause_tap(self, port: int, job: int, on: bool) -> None:
        """It hears silence for a while, or what is said again."""
        tapped = self._tapped.get((port, job))
        if tapped is not None:
            tapped.paused = on

    def stop_tap(self, port: int, job: int, audio_of: Callable[[int], Any]) -> None:
        """That is enough."""
        tapped = self._tapped.pop((port, job), None)
        if tapped is not None:
            self._untap(tapped, audio_of)
            tapped.stop()

    def _untap(self, tapped: _Tapped, audio_of: Callable[[int], Any]) -> None:
        tracks, tapped.tracks = tapped.tracks, {}
        for port, track in tracks.items():
            self._give_back(track.bridge, audio_of(port))

    def _open(self) -> StreamSockets:
        if self._sockets is None:
            sys.setswitchinterval(SWITCHES)
            self._sockets = StreamSockets()
        return self._sockets

    def _bridge(self) -> BridgePort:
        if self._free:
            return self._free.pop()
        self._made += 1
        return BridgePort(self._made)

    def connect(self, port: int, audio: Any) -> None:
        """Who is there is at another port of the bridge. Raises pj.Error."""
        joined = self._joined.get(port)
        if joined is not None:
            self._connect(joined, audio)
        for tapped in self._tapped.values():
            track = tapped.tracks.get(port)
            if track is not None:
                audio.startTransmit(track.bridge)

    def _connect(self, joined: _Joined, audio: Any) -> None:
        if joined.bridge is not None:
            audio.startTransmit(joined.bridge)
            joined.bridge.startTransmit(audio)

    def leaves(self, port: int, audio_of: Callable[[int], Any]) -> None:
        """Who was there has left, or is about to: whoever hears it has heard all."""
        self.stop(port, audio_of(port))
        for key, tapped in list(self._tapped.items()):
            if port in tapped.names or port == key[0]:
                self.stop_tap(*key, audio_of)

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
        for tapped in self._tapped.values():
            tapped.stop()
        self._tapped.clear()
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
        if audio is not None:
            with contextlib.suppress(pj.Error):
                bridge.stopTransmit(audio)
        self._give_back(bridge, audio)

    def _give_back(self, bridge: BridgePort, audio: Any) -> None:
        bridge.ear = None
        if audio is not None:
            with contextlib.suppress(pj.Error):
                audio.stopTransmit(bridge)
        self._free.append(bridge)

    def told(self, audio_of: Callable[[int], Any]) -> list[Streaming | StreamEnded]:
        """What has been said since. `audio_of`: who is at a port, None if nobody is."""
        found: list[Streaming | StreamEnded] = []
        with contextlib.suppress(Empty):
            while True:
                said = self._said.get_nowait()
                found.append(said)
                if not isinstance(said, StreamEnded):
                    continue
                joined = self._joined.get(said.port)
                tapped = self._tapped.pop((said.port, said.job), None)
                if joined is not None and joined.order.job == said.job:
                    del self._joined[said.port]
                    self._part(joined, audio_of(said.port))
                elif tapped is not None:
                    self._untap(tapped, audio_of)
        return found
