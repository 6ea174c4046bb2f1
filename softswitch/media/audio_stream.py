"""What is said between the switch and a program that hears and speaks for it: the messages of
Twilio's Media Streams, bidirectional (https://www.twilio.com/docs/voice/media-streams/
websocket-messages), each a text of JSON. Without I/O.

===========  =================================================================================
to it        ``connected``, ``start``, then ``media`` every 20 ms, ``dtmf``, ``mark`` and, at the
             end of the call, ``stop``
from it      ``media`` (heard as soon as what came before is), ``mark`` (comes back when what came
             before it was heard), ``clear`` (nothing of what waits is heard, and marks come back)
===========  =================================================================================

Two threads are at it: that of the sockets, and pjsua2's, which takes what is to be heard
(``next_frame``).
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import deque
from typing import Final

import msgspec

from softswitch.media.g711 import SILENCE, linear_of, mulaw_of
from softswitch.media.orders import Stream

RATE: Final = 8000
"""Samples a second."""
SAMPLES: Final = 160
"""Of a frame, which is 20 ms."""
INBOUND: Final = "inbound"
"""The track that is the caller."""
OUTBOUND: Final = "outbound"
"""The one that is who was called."""
MOST_MARKS: Final = 1000
"""Marks that may wait for what is before them."""
LONGEST_NAME: Final = 256
"""Characters of a mark's name."""
GAP: Final = 0.5
"""Seconds by which timestamps may be behind the clock, of who is held."""


class Garbage(Exception):
    """It is no message of a program; the text says why."""


class Flood(Exception):
    """There is more than may wait; the text says of what."""


class _Media(msgspec.Struct):
    payload: bytes  # base64


class _Mark(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    event: str = ""
    media: _Media | None = None
    mark: _Mark | None = None


_DECODER: Final = msgspec.json.Decoder(_Message)


def _json(what: object) -> str:
    return msgspec.json.encode(what).decode()


class AudioStream:
    """One stream. What it returns are messages to be sent, in their order. A program that `listens`
    is not heard: whatever it sends is passed over."""

    def __init__(
        self, order: Stream, tracks: tuple[str, ...] = (INBOUND,), listens: bool = False
    ) -> None:
        self.listens = listens
        self._order = order
        self._linear = order.linear
        self._sid = _json(order.sid)
        self._numbers = 0
        self._began = 0.0
        self._tracks = dict.fromkeys(tracks, 0)  # frames that were sent of each
        self._skipped = dict.fromkeys(tracks, 0)  # frames that nobody has sent
        self._width = 2 if order.linear else 1
        self._frame = SAMPLES * self._width
        self._most = int(order.buffer * RATE) * self._width
        self._silence = bytes(2) if order.linear else bytes([SILENCE])
        # What is to be heard, and marks between; what may be at it from two sides.
        self._lock = threading.Lock()
        self._queue: deque[bytes | str] = deque()
        self._at = 0  # bytes of the first that were heard
        self._waiting = 0  # bytes
        self._marks = 0
        self._held = False
        self._passing: list[str] = []  # marks whose sound is being heard
        self._passed: list[str] = []

    @property
    def tracks(self) -> int:
        """How many there are."""
        return len(self._tracks)

    # --- to the program

    def begin(self, now: float) -> list[str]:
        """It is there."""
        self._began = now
        order = self._order
        start: dict[str, object] = {
            "accountSid": order.switch,
            "streamSid": order.sid,
            "callSid": order.call_id,
            "tracks": list(self._tracks),
            "mediaFormat": {
                "encoding": "audio/x-l16" if self._linear else "audio/x-mulaw",
                "sampleRate": RATE,
                "channels": 1,
            },
            "customParameters": dict(order.parameters),
        }
        return [
            _json({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
            self._message("start", start),
        ]

    def heard(self, track: str, linear: bytes, now: float) -> str:
        """20 ms of a track, 16 bits a sample."""
        sent = self._tracks[track]
        at = sent + self._skipped[track]
        behind = now - self._began - at * 0.02
        if behind > GAP:
            self._skipped[track] += int(behind / 0.02)
            at = sent + self._skipped[track]
        self._tracks[track] = sent + 1
        self._numbers += 1
        payload = b64encode(linear if self._linear else mulaw_of(linear)).decode()
        # Fifty a second: put together by hand.
        return (
            f'{{"event":"media","sequenceNumber":"{self._numbers}","media":{{"track":"{track}",'
            f'"chunk":"{sent + 1}","timestamp":"{at * 20}","payload":"{payload}"}},'
            f'"streamSid":{self._sid}}}'
        )

    def pressed(self, digit: str) -> str:
        """A key."""
        return self._message("dtmf", {"track": f"{INBOUND}_track", "digit": digit})

    def stop(self) -> str:
        """The call is over, or goes on without it."""
        order = self._order
        return self._message("stop", {"accountSid": order.switch, "callSid": order.call_id})

    def passed(self) -> list[str]:
        """Marks that have come to be since this was asked last."""
        if not self._passed:
            return []
        with self._lock:
            names, self._passed = self._passed, []
        return self._echoed(names)

    def _echoed(self, names: list[str]) -> list[str]:
        return [self._message("mark", {"name": name}) for name in names]

    def _message(self, event: str, what: dict[str, object]) -> str:
        self._numbers += 1
        return _json(
            {
                "event": event,
                "sequenceNumber": str(self._numbers),
                "streamSid": self._order.sid,
                event: what,
            }
        )

    # --- from the program

    def received(self, text: bytes) -> list[str]:
        """A message has come. What is none of ours is passed over. Raises Garbage, Flood."""
        if self.listens:
            return []
        try:
            message = _DECODER.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Garbage(f"it sent what is no message: {error}") from None
        if message.event == "media":
            if message.media is None:
                raise Garbage("it sent `media` without a payload")
            self._say(message.media.payload)
        elif message.event == "mark":
            if message.mark is None:
                raise Garbage("it sent `mark` without a name")
            return self._echoed(self._place(message.mark.name))
        elif message.event == "clear":
            return self._echoed(self._clear())
        return []

    def _say(self, payload: bytes) -> None:
        if len(payload) % self._width:
            raise Garbage("it sent half a sample")
        if not payload:
            return
        with self._lock:
            if self._waiting + len(payload) > self._most:
                raise Flood(f"more than {self._order.buffer:g} s of audio wait to be heard")
            last = self._queue[-1] if self._queue else ""
            if isinstance(last, bytes) and len(last) < self._frame:
                # What comes in crumbs would take far more room than it has sound.
                self._queue[-1] = last + payload
            else:
                self._queue.append(payload)
            self._waiting += len(payload)

    def _place(self, name: str) -> list[str]:
        """A mark; those that have come to be by that."""
        if len(name) > LONGEST_NAME:
            raise Garbage(f"it sent a mark of more than {LONGEST_NAME} characters")
        with self._lock:
            if not self._queue and not self._passing:
                return [name]
            if self._marks >= MOST_MARKS:
                raise Flood(f"more than {MOST_MARKS} marks wait")
            self._queue.append(name)
            self._marks += 1
        return []

    def _clear(self) -> list[str]:
        with self._lock:
            names = self._passed + self._passing
            names += [one for one in self._queue if isinstance(one, str)]
            self._queue.clear()
            self._passed, self._passing = [], []
            self._at = self._waiting = self._marks = 0
            self._held = False
        return names

    # --- what is heard of it

    @property
    def silent(self) -> bool:
        """Whether all that it has said was heard."""
        return not self._queue and not self._passing

    @property
    def has_passed(self) -> bool:
        """Whether there is something in `passed`."""
        return bool(self._passed)

    def next_frame(self) -> bytes | None:
        """The next 20 ms, 16 bits a sample; None: silence."""
        if not self._queue and not self._passing:
            return None
        with self._lock:
            # What was handed out the last time is heard by now.
            self._passed += self._passing
            self._passing = []
            data = self._take()
        if not data:
            return None
        if len(data) < self._frame:
            data += self._silence * ((self._frame - len(data)) // self._width)
        return data if self._linear else linear_of(data)

    def _take(self) -> bytes:
        """A frame, or what there is of one. What is less waits one frame for the rest, unless a
        mark says that this is all."""
        if self._waiting < self._frame and not self._marks and not self._held:
            self._held = self._waiting > 0
            return b""
        self._held = False
        parts = []
        wanted = self._frame
        while self._queue and wanted:
            first = self._queue[0]
            if isinstance(first, str):
                self._passing.append(first)
                self._queue.popleft()
                self._marks -= 1
                continue
            part = first[self._at : self._at + wanted]
            parts.append(part)
            wanted -= len(part)
            self._at += len(part)
            if self._at >= len(first):
                self._queue.popleft()
                self._at = 0
        data = b"".join(parts)
        self._waiting -= len(data)
        # A mark behind it is reached with it.
        while self._queue and isinstance(self._queue[0], str):
            self._passing.append(str(self._queue.popleft()))
            self._marks -= 1
        if not data and self._passing:
            self._passed += self._passing
            self._passing = []
        return data
