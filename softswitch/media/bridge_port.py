"""A port of pjsua2's bridge whose frames are made and taken here: 20 ms each, 160 samples of 16
bits, in the byte order of the machine.

Its callbacks come from the bridge's clock, a thread of pjsua2's. A callback must never raise: the
exception would pass through C++. A port is never given back, as the clock may be at it: who needs
one no more leaves it to the next one.

Bytes go in and out by the address that a vector of C++ has them at, if it is where it is expected:
by the vector's own methods a frame takes 0.12 ms each way, as long as the rest of it together.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Final, Protocol

import pjsua2 as pj

RATE: Final = 8000
SAMPLES: Final = 160
FRAME: Final = 2 * SAMPLES
"""Bytes."""
_SILENCE: Final = bytes(FRAME)
_ENDS: Final = ctypes.c_size_t * 2
"""What a ``std::vector`` begins with: the addresses of its first byte and behind its last one."""


def _bytes_quickly(vector: Any) -> bytes:
    begin, end = _ENDS.from_address(int(vector.this))
    return ctypes.string_at(begin, end - begin)


def _is_quick() -> bool:
    """Whether this pjsua2 has vectors as they are expected."""
    sample = bytes(range(1, 200))
    vector = pj.ByteVector(sample)
    begin, end = _ENDS.from_address(int(vector.this))
    return bool(end - begin == len(sample)) and ctypes.string_at(begin, len(sample)) == sample


QUICK: Final = _is_quick()


class _Kept:
    """The thread of the bridge's clock, as Python knows it. Python forgets a thread that it has not
    made itself at the end of each callback, and makes all that it has of one anew at the next: a
    third of what a callback costs. One that says once more that it is there, and never that it is
    not, is kept; as nobody would ever forget it again, the clock has to go on."""

    thread = 0

    @classmethod
    def keep(cls) -> None:
        """The one that calls."""
        now = threading.get_ident()
        if now != cls.thread:
            cls.thread = now
            ctypes.pythonapi.PyGILState_Ensure()


class Ear(Protocol):
    """Who has a port."""

    def next_frame(self) -> bytes | None:
        """What goes into the bridge; None: silence."""

    def heard(self, linear: bytes) -> None:
        """What comes out of it."""

    def failed(self, error: Exception) -> None:
        """One of these has raised: it is not asked any more."""


class BridgePort(pj.AudioMediaPort):  # type: ignore[misc]
    """It. Without an `ear` it is silent."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.ear: Ear | None = None
        self._out = pj.ByteVector(_SILENCE)
        self._address = _ENDS.from_address(int(self._out.this))[0] if QUICK else 0
        form = pj.MediaFormatAudio()
        form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, 1_000_000 * SAMPLES // RATE, 16)
        self.createPort(f"stream{number}", form)

    def onFrameRequested(self, frame: Any) -> None:
        frame.type = pj.PJMEDIA_FRAME_TYPE_NONE
        ear = self.ear
        if ear is None:
            return
        try:
            _Kept.keep()
            linear = ear.next_frame()
            if linear is None:
                return
            if QUICK:
                ctypes.memmove(self._address, linear, FRAME)
                frame.buf = self._out
            else:
                frame.buf = pj.ByteVector(linear)
            frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        except Exception as error:
            self._failed(error)

    def onFrameReceived(self, frame: Any) -> None:
        ear = self.ear
        if ear is None:
            return
        try:
            if frame.type != pj.PJMEDIA_FRAME_TYPE_AUDIO or frame.size != FRAME:
                linear = _SILENCE
            else:
                linear = _bytes_quickly(frame.buf) if QUICK else bytes(frame.buf)
            ear.heard(linear)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        ear, self.ear = self.ear, None
        if ear is not None:
            ear.failed(error)
