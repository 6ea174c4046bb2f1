"""A program that hears and speaks for a caller: a WebSocket server in a thread, which the test
leads; and a caller's audio, by RTP (G.711 μ-law)."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from softswitch.media.g711 import linear_of, mulaw_of
from softswitch.phone.tones import Heard, listen, samples_of, sine

PATIENCE = 15.0
FRAME = 160

Does = Callable[["Talk"], None]


class Talk:
    """One connection, from the program's side. `got` is all that came."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.got: list[dict[str, Any]] = []
        self.headers = connection.request.headers if connection.request is not None else {}
        self.code: int | None = None
        self.reason = ""

    def next(self, event: str = "", seconds: float = PATIENCE) -> dict[str, Any]:
        """The next message, of that event."""
        end = time.monotonic() + seconds
        while True:
            message = self.connection.recv(max(end - time.monotonic(), 0.01))
            assert isinstance(message, str)
            found: dict[str, Any] = json.loads(message)
            self.got.append(found)
            if event in ("", found["event"]):
                return found

    def start(self) -> dict[str, Any]:
        """Read up to `start`; what it says."""
        found: dict[str, Any] = self.next("start")["start"]
        return found

    def drain(self) -> None:
        """Read until it is closed."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.next()

    def send(self, event: str, **more: Any) -> None:
        self.connection.send(json.dumps({"event": event, "streamSid": "any", **more}))

    def say(self, mulaw: bytes) -> None:
        self.send("media", media={"payload": b64encode(mulaw).decode()})

    def mark(self, name: str) -> None:
        self.send("mark", mark={"name": name})

    def hears(self, frames: int = 10, skip: int = 0) -> Heard:
        """What is in so many of its next frames of audio."""
        payloads = [self.next("media")["media"]["payload"] for _ in range(skip + frames)][skip:]
        return listen(samples_of(linear_of(b"".join(map(b64decode, payloads)))), 8000)

    def events(self, but: str = "media") -> list[str]:
        return [one["event"] for one in self.got if one["event"] != but]


class Program:
    """It does with each connection what it is given; `talks` are those that it had."""

    def __init__(
        self, does: Does, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", **more: Any
    ) -> None:
        self._does = does
        self.talks: list[Talk] = []
        self.errors: list[BaseException] = []
        self._over = threading.Semaphore(0)
        more.setdefault("compression", None)
        if "sock" not in more:
            more |= {"host": host, "port": 0}
        self._server: Server = serve(self._serve, ssl=tls, **more)
        self.port: int = self._server.socket.getsockname()[1]
        scheme = "wss" if tls is not None else "ws"
        self.url = f"{scheme}://{'localhost' if tls is not None else host}:{self.port}/agent"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _serve(self, connection: ServerConnection) -> None:
        talk = Talk(connection)
        self.talks.append(talk)
        try:
            self._does(talk)
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            with contextlib.suppress(Exception):
                connection.close()
            talk.code = connection.close_code
            talk.reason = connection.close_reason or ""
            self._over.release()

    def until_over(self) -> Talk:
        """The talk that ends next; what went wrong in it is raised here."""
        assert self._over.acquire(timeout=PATIENCE), "it is not over"
        for error in self.errors:
            raise error
        return self.talks[-1]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def echo(talk: Talk) -> None:
    """Says what it hears."""
    talk.start()
    while True:
        talk.send("media", media={"payload": talk.next("media")["media"]["payload"]})


def listens(talk: Talk) -> None:
    """And says nothing."""
    talk.drain()


def tone(hz: float, seconds: float, level_db: float = -10.0) -> bytes:
    """μ-law."""
    return mulaw_of(sine(hz, seconds, 8000, level_db).tobytes())


class Speaker:
    """A caller's audio: says a tone from when it knows where to, and keeps what it hears."""

    def __init__(self, hz: float = 440.0, level_db: float = -10.0) -> None:
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))
        self.rtp.settimeout(0.02)
        self.port: int = self.rtp.getsockname()[1]
        self._audio = tone(hz, 1.0, level_db)
        self._far: tuple[str, int] | None = None
        self._over = threading.Event()
        self.heard: deque[bytes] = deque(maxlen=500)
        self._threads = [threading.Thread(target=one) for one in (self._speak, self._listen)]

    def begin(self, port: int) -> None:
        self._far = ("127.0.0.1", port)
        for one in self._threads:
            one.start()

    def _speak(self) -> None:
        due = time.monotonic()
        number = 0
        assert self._far is not None
        while not self._over.is_set():
            at = number * FRAME % len(self._audio)
            head = struct.pack(">BBHII", 0x80, 0, number & 0xFFFF, number * FRAME, 7)
            self.rtp.sendto(head + self._audio[at : at + FRAME], self._far)
            number += 1
            due += 0.02
            self._over.wait(max(due - time.monotonic(), 0))

    def _listen(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data = self.rtp.recv(2048)
                if data[1] & 0x7F == 0:
                    self.heard.append(data[12:])

    def recently(self, frames: int = 10) -> Heard:
        """What is in the newest frames."""
        mulaw = b"".join(list(self.heard)[-frames:])
        return listen(samples_of(linear_of(mulaw)), 8000) if mulaw else Heard(None, -120.0, 0.0)

    def until(self, hz: float | None, seconds: float = PATIENCE) -> Heard:
        """When it hears that tone (None: silence)."""
        end = time.monotonic() + seconds
        while True:
            heard = self.recently()
            there = heard.silent if hz is None else heard.hz and abs(heard.hz - hz) < 5
            if there and len(self.heard) >= 10:
                return heard
            assert time.monotonic() < end, f"it hears {heard}, not {hz}"
            time.sleep(0.05)

    def close(self) -> None:
        self._over.set()
        for one in self._threads:
            if one.ident is not None:
                one.join()
        self.rtp.close()
