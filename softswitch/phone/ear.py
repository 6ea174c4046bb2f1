"""An ear in pjsua2's conference bridge: says which tone arrives there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import pjsua2 as pj

from softswitch.phone.tones import Heard, Listener

RATE = 8000  # the bridge's clock, Hz; G.711 calls need no resampling
FRAME_MS = 20
FRAME_BYTES = RATE * FRAME_MS // 1000 * 2
WINDOW_FRAMES = 5  # frames measured as one window (100 ms) ...
EVERY_FRAMES = 10  # ... of every so many: copying frames into Python is what costs


class _Port(pj.AudioMediaPort):  # type: ignore[misc]
    """The sink itself; its callback runs in the media clock's thread."""

    def __init__(self, windows: SimpleQueue[bytes]) -> None:
        super().__init__()
        self.open = False
        self._windows = windows
        self._frames: list[bytes] = []
        self._count = -1

    def onFrameReceived(self, frame: Any) -> None:
        if not self.open:  # the bridge calls also when nothing is connected
            return
        self._count = (self._count + 1) % EVERY_FRAMES
        if self._count >= WINDOW_FRAMES:
            return
        audio = frame.type == pj.PJMEDIA_FRAME_TYPE_AUDIO
        self._frames.append(bytes(frame.buf) if audio else bytes(FRAME_BYTES))
        if self._count == WINDOW_FRAMES - 1:
            self._windows.put(b"".join(self._frames))
            self._frames.clear()


class Ear:
    """Listens to whatever is made to transmit to ``port``, from ``open`` until ``close``.

    Meant to be used again for another call. Its port stays until the process ends: the media
    clock may be calling into it, and what pjsua2 keeps of it goes with the endpoint.
    """

    def __init__(self, name: str) -> None:
        self._windows: SimpleQueue[bytes] = SimpleQueue()
        self._listener = Listener(RATE)
        self.port = _Port(self._windows)
        # Otherwise the clock's thread finds a port whose Python half is gone already.
        self.port.__disown__()
        form = pj.MediaFormatAudio()
        form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, FRAME_MS * 1000, 16)
        self.port.createPort(name, form)

    def open(self) -> None:
        self.port.open = True

    def close(self) -> None:
        self.port.open = False
        self._listener = Listener(RATE)
        with suppress(Empty):
            while True:
                self._windows.get_nowait()

    def heard(self) -> Iterator[Heard]:
        """Changes in what is heard since the last time this was asked."""
        with suppress(Empty):
            while True:
                change = self._listener.window(self._windows.get_nowait())
                if change is not None:
                    yield change
