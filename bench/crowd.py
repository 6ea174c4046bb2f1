"""Many callers at once, each with audio of its own: they call by SIP through one trunk, say tones,
and keep what they hear with the times at which it came."""

from __future__ import annotations

import itertools
import math
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bench.spoken import ok, ulaw

RATE = 8000
FRAME = 160
QUIET = 0xFF
PATIENCE = 20.0


def _linear(byte: int) -> int:
    """A sample of G.711 μ-law (ITU-T G.711, table 2)."""
    byte = ~byte & 0xFF
    value = (((byte & 0x0F) << 3) + 132 << (byte >> 4 & 7)) - 132
    return -value if byte & 0x80 else value


LINEAR = [_linear(byte) for byte in range(256)]


def level(payload: bytes, hz: float) -> float:
    """How loud a frequency is there, in dB below the loudest sine (Goertzel)."""
    if len(payload) == 0:
        return -100.0
    turn = 2 * math.cos(2 * math.pi * hz / RATE)
    one = two = 0.0
    for byte in payload:
        one, two = LINEAR[byte] + turn * one - two, one
    power = one * one + two * two - turn * one * two
    amplitude = 2 * math.sqrt(max(power, 0.0)) / len(payload) / 32767
    return 20 * math.log10(amplitude) if amplitude > 1e-5 else -100.0


@dataclass
class Caller:
    """One call."""

    number: int
    user: str
    rtp: socket.socket = field(repr=False)
    to: str = ""
    dialled: str = ""
    target: str = ""
    far: tuple[str, int] | None = None
    status: int = 0
    over: bool = False
    gone: bool = False
    """Its BYE was answered."""
    cseq: int = 1
    hz: float = 0.0
    """What it says now; 0: nothing."""
    began: float = 0.0
    """When it has begun to say that."""
    heard: list[tuple[float, bytes]] = field(default_factory=list, repr=False)
    """Payloads, with the times at which they came."""

    @property
    def call_id(self) -> str:
        return f"crowd-{self.user}-{self.number}@test"

    def hears(self, hz: float, since: float, until: float | None = None) -> float:
        """The level of a frequency in what has come in that time."""
        until = time.monotonic() if until is None else until
        return level(b"".join(p for at, p in list(self.heard) if since <= at < until), hz)

    def quiet(self, seconds: float = 0.3) -> bool:
        """Whether audio came all that time, and nothing was to be heard."""
        since = time.monotonic() - seconds
        came = [payload for at, payload in list(self.heard) if at >= since]
        whole = len(came) * FRAME / RATE > seconds * 0.7
        return whole and all(abs(LINEAR[byte]) < 200 for one in came for byte in one)

    def first(self, hz: float, since: float, loud: float = -30.0) -> float:
        """When it heard that first."""
        for at, payload in list(self.heard):
            if at >= since and level(payload, hz) > loud:
                return at
        raise AssertionError(f"{self.user} has not heard {hz} Hz")


class Crowd:
    """Callers, by one SIP port."""

    def __init__(self, switch: int) -> None:
        self.sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sip.bind(("127.0.0.1", 0))
        self.port: int = self.sip.getsockname()[1]
        self.switch = ("127.0.0.1", switch)
        self.all: list[Caller] = []
        self._closing: list[socket.socket] = []
        self._on = True
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=one) for one in (self._speak, self._listen)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._on = False
        for thread in self._threads:
            thread.join()
        for rtp in [*self._closing, *(one.rtp for one in self.all)]:
            rtp.close()
        self.sip.close()

    def request(
        self, method: str, one: Caller, target: str, body: str = "", kind: str = ""
    ) -> None:
        head = f"Content-Type: {kind}\r\n" if kind else ""
        to = one.to or f"<{target}>"
        self.sip.sendto(
            (
                f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.port}"
                f";branch=z9hG4bK{one.user}{one.number}x{method}{one.cseq}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:{one.user}@127.0.0.1>;tag=t{one.user}{one.number}\r\nTo: {to}\r\n"
                f"Call-ID: {one.call_id}\r\nCSeq: {one.cseq} {method}\r\n"
                f"Contact: <sip:crowd@127.0.0.1:{self.port}>\r\n{head}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode(),
            self.switch,
        )

    def call(self, number: str, user: str = "") -> Caller:
        """One more calls; it may not be answered yet."""
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        place = next(self._numbers)
        one = Caller(place, user or f"55{place:02}", rtp)
        one.dialled = f"sip:{number}@127.0.0.1"
        with self._lock:
            self.all.append(one)
        self.invite(one)
        return one

    def invite(self, one: Caller) -> None:
        """Its INVITE, or that again."""
        self.request(
            "INVITE",
            one,
            one.dialled,
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {one.rtp.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
            "application/sdp",
        )

    def forget(self, one: Caller) -> None:
        """Its call is over, and of no interest any more."""
        with self._lock:
            self.all.remove(one)
            self._closing.append(one.rtp)

    def joins(self, number: str, user: str = "") -> Caller:
        """One more calls, and is answered."""
        one = self.call(number, user)
        wait_for(lambda: one.status >= 200, f"an answer to {one}")
        assert one.status == 200, one
        return one

    def press(self, one: Caller, keys: str) -> None:
        for key in keys:
            one.cseq += 1
            self.request(
                "INFO",
                one,
                one.target,
                f"Signal={key}\r\nDuration=160\r\n",
                "application/dtmf-relay",
            )
            time.sleep(0.03)

    def offer(self, one: Caller, direction: str) -> None:
        """It puts the other on hold (``sendonly``, ``inactive``), or goes on (``sendrecv``)."""
        one.cseq += 1
        one.status = 0
        self.request(
            "INVITE",
            one,
            one.target,
            f"v=0\r\no=- 1 {one.cseq} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {one.rtp.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
            f"a={direction}\r\n",
            "application/sdp",
        )
        wait_for(lambda: one.status >= 200, f"an answer to {one}")
        assert one.status == 200, one

    def hang_up(self, one: Caller) -> None:
        one.cseq += 1
        self.bye(one)

    def bye(self, one: Caller) -> None:
        """Its BYE, or that again."""
        self.request("BYE", one, one.target)

    def say(self, one: Caller, hz: float) -> float:
        """It says a tone from now on (0: nothing); when it began."""
        one.began = 0.0
        one.hz = hz
        wait_for(lambda: one.began, "the next packet")
        return one.began

    def _listen(self) -> None:
        while self._on:
            with self._lock:
                callers = list(self.all)
                closing, self._closing = self._closing, []
            for rtp in closing:
                rtp.close()
            by_socket = {one.rtp: one for one in callers}
            for ready in select.select([self.sip, *by_socket], [], [], 0.02)[0]:
                if ready is self.sip:
                    self._message(self.sip.recv(65535).decode())
                    continue
                data = ready.recv(2048)
                if len(data) > 12 and data[1] & 0x7F == 0:
                    by_socket[ready].heard.append((time.monotonic(), data[12:]))

    def _message(self, text: str) -> None:
        call_id = re.search(r"(?im)^call-id:\s*(\S+)", text)
        cseq = re.search(r"(?im)^cseq:\s*(\d+) (\w+)", text)
        assert call_id is not None
        assert cseq is not None
        one = next((c for c in self.all if c.call_id == call_id[1]), None)
        if one is None:
            return
        if not text.startswith("SIP/2.0"):
            self._answer(one, text)
            return
        status = int(text.split(" ", 2)[1])
        one.gone = one.gone or cseq[2] == "BYE"
        if cseq[2] != "INVITE" or status < 200:
            return
        to = re.search(r"(?im)^to:\s*(.+)\r", text)
        assert to is not None
        one.to = to[1]
        contact = re.search(r"(?im)^contact:\s*<([^>]+)>", text)
        media = re.search(r"m=audio (\d+)", text)
        if status == 200 and contact is not None and media is not None:
            one.target = contact[1]
            one.far = ("127.0.0.1", int(media[1]))
        one.over = status >= 300
        self.request("ACK", one, one.target or f"sip:{one.user}@127.0.0.1")
        one.status = status

    def _answer(self, one: Caller, text: str) -> None:
        """To a request of the switch: it is hung up on, or told of other media."""
        body = ""
        if text.startswith("BYE"):
            one.over = True
        elif text.startswith("INVITE"):
            media = re.search(r"m=audio (\d+)", text)
            if media is not None:
                one.far = ("127.0.0.1", int(media[1]))
            body = (
                "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                f"m=audio {one.rtp.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
            )
        elif text.startswith("ACK"):
            return
        self.sip.sendto(ok(text, self.port, body), self.switch)

    def _speak(self) -> None:
        number, due = 0, time.monotonic()
        quiet = bytes([QUIET] * FRAME)
        tones: dict[float, bytes] = {}
        while self._on:
            with self._lock:
                callers = list(self.all)
            for one in callers:
                if one.far is None or one.over:
                    continue
                frame = quiet
                if one.hz:
                    if one.hz not in tones:
                        tones[one.hz] = _second(one.hz)
                    at = number * FRAME % RATE
                    frame = tones[one.hz][at : at + FRAME]
                if not one.began:
                    one.began = time.monotonic()
                head = struct.pack(
                    ">BBHII", 0x80, 0, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, one.number
                )
                with suppress(OSError):  # it may be forgotten just now
                    one.rtp.sendto(head + frame, one.far)
            number += 1
            due += FRAME / RATE
            time.sleep(max(due - time.monotonic(), 0))


def _second(hz: float) -> bytes:
    """A second of it, 20 dB below the loudest; a whole number of periods."""
    return bytes(ulaw(round(3276 * math.sin(2 * math.pi * hz * n / RATE))) for n in range(RATE))


def wait_for(there: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)
