"""The WebSockets of a media worker's streams, as their client (RFC 6455): one thread for all of
them, and one for as long as somebody is being connected, which may wait for names and certificates.

By the core of `websockets`, which does no I/O. Nothing is compressed, no redirection followed, no
proxy asked. A program that sends more than it may in a beat is read later, so that it costs its
neighbours nothing; whoever says more than may wait is closed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from softswitch.media.audio_stream import AudioStream, Flood, Garbage
from softswitch.media.orders import Stream

log = logging.getLogger(__name__)

BEAT: Final = 0.02
"""Seconds."""
READS: Final = 4096
"""Bytes that are read at a time."""
MOST_READS: Final = 64
"""Times a beat."""
MOST_MESSAGES: Final = 100
"""Of a program in a beat: two seconds of audio, in frames of 20 ms. The rest is read in the next
one."""
LEAVES: Final = 1.0
"""Seconds that a program may take to close, when it was told to."""
SENDS: Final = 16384
"""Bytes that the system may keep for a program that does not read (SO_SNDBUF)."""
A_SECOND: Final = 16_000
"""Bytes that a second of a track has as messages, about (μ-law)."""
LONGEST_REASON: Final = 100
"""Characters of what a program said why it closes."""
NORMAL: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)
"""Codes by which a program says that it has done; none at all is what JavaScript's `close()`
sends."""

Told: TypeAlias = Callable[[str, str, float], None]
"""Is told, in the thread of the sockets: ``streaming``, or why it has ended, with an error in words
and seconds."""


class Connection:
    """The way to one program."""

    def __init__(self, order: Stream, stream: AudioStream, told: Told, now: float) -> None:
        self.order = order
        self.stream = stream
        self.told: Told | None = told
        self.until = now + order.connect
        """When it is too late: to be there, or to close."""
        self.socket: socket.socket | None = None
        self.protocol: ClientProtocol | None = None
        self.out = bytearray()
        self.most_out = int(order.backlog * A_SECOND * (2 if order.linear else 1) * stream.tracks)
        self.began = 0.0
        self.fragments: list[bytes] = []
        self.reads_at: float | None = None
        """When it is read again, though nothing wakes us: it has sent more than a beat has."""
        self.pinged = 0.0
        self.ponged = True
        self.leaving = False
        """Whatever comes is of no interest any more."""
        self.draining = False
        """It has closed, and what it had said is still heard."""
        self.over = False


class StreamSockets:
    """All of a worker. Its methods are for any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._todo: deque[tuple[Callable[..., None], Connection, tuple[Any, ...]]] = deque()
        self._connections: list[Connection] = []
        self._selector = selectors.DefaultSelector()
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._woken = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def open(self, order: Stream, stream: AudioStream, told: Told) -> Connection:
        """Connect."""
        connection = Connection(order, stream, told, self._clock())
        self._do(self._begin, connection)
        return connection

    def heard(self, connection: Connection, track: str, linear: bytes) -> None:
        """20 ms of a track."""
        if connection.began and not connection.leaving:
            self._do(self._heard, connection, track, linear)

    def passed(self, connection: Connection) -> None:
        """Marks have come to be."""
        self._do(self._say_passed, connection)

    def pressed(self, connection: Connection, digit: str) -> None:
        """A key."""
        self._do(self._pressed, connection, digit)

    def stop(self, connection: Connection) -> None:
        """The program is told that this was it."""
        self._do(self._stop, connection)

    def fail(self, connection: Connection, error: str) -> None:
        """There is a fault on our side."""
        self._do(self._fail, connection, error)

    def close(self) -> None:
        """Nothing comes any more. Returns when all that were stopped have left, or soon."""
        self._closing = True
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wakes, 1)
        self._thread.join(2 * LEAVES)

    def _do(self, what: Callable[..., None], connection: Connection, *more: Any) -> None:
        if self._closing:
            return
        self._todo.append((what, connection, more))
        if not self._woken:
            self._woken = True
            os.eventfd_write(self._wakes, 1)

    # --- the thread

    def _run(self) -> None:
        try:
            while self._connections or self._todo or not self._closing:
                self._turn()
        finally:
            for one in list(self._connections):
                self._drop(one)
            self._selector.close()
            os.close(self._wakes)

    def _turn(self) -> None:
        ready = self._selector.select(self._pause())
        for key, _ in ready:
            if key.fd == self._wakes:
                os.eventfd_read(self._wakes)
        # Before what is to be done is looked at: who adds something from now on wakes us again.
        self._woken = False
        while self._todo:
            what, connection, more = self._todo.popleft()
            self._safely(what, connection, *more)
        for key, events in ready:
            one = key.data
            if one is not None and one.socket is not None:
                if events & selectors.EVENT_WRITE:
                    self._safely(self._send, one)
                if events & selectors.EVENT_READ:
                    self._safely(self._read, one)
        now = self._clock()
        for one in list(self._connections):
            self._safely(self._look, one, now)

    def _safely(self, what: Callable[..., None], one: Connection, *more: Any) -> None:
        """A fault costs one stream, and not its neighbours."""
        try:
            what(one, *more)
        except Exception as error:
            log.exception("stream of %s", one.order.call_id)
            self._failed(one, "lost", f"{type(error).__name__}: {error}")

    def _pause(self) -> float | None:
        if self._todo:
            return 0.0
        if not self._connections:
            return None
        return BEAT

    def _look(self, one: Connection, now: float) -> None:
        """What is due with it."""
        if one.reads_at is not None and now >= one.reads_at:
            self._read(one)
        if one.over:
            return
        if one.draining:
            if one.stream.silent:
                self._end(one, "closed")
                self._drop(one)
        elif one.leaving or not one.began:
            if now >= one.until:
                if not one.leaving:
                    self._end(one, "late", f"it was not there within {one.order.connect:g} s")
                self._drop(one)
        else:
            self._ping(one, now)

    # --- the connection

    def _begin(self, one: Connection) -> None:
        self._connections.append(one)
        threading.Thread(target=self._dial, args=(one,), name="dial", daemon=True).start()

    def _dial(self, one: Connection) -> None:
        """In a thread of its own."""
        try:
            found = _connected(one.order, one.until, self._clock)
        except (OSError, ValueError, WebSocketException) as error:
            # Certificates that are not right are OSErrors as well.
            is_tls = isinstance(error, ssl.SSLError)
            why, text = ("tls" if is_tls else "unreachable"), _in_words(error)
            self._do(self._failed, one, why, text)
            return
        self._do(self._connected, one, found)

    def _failed(self, one: Connection, why: str, error: str) -> None:
        if not one.over:
            self._end(one, why, error)
            self._drop(one)

    def _connected(self, one: Connection, found: socket.socket) -> None:
        if one.over or one.leaving:
            found.close()
            self._drop(one)
            return
        found.setblocking(False)
        one.socket = found
        self._selector.register(found, selectors.EVENT_READ, one)
        one.protocol = protocol = ClientProtocol(
            parse_uri(one.order.url), max_size=one.order.message
        )
        request = protocol.connect()
        names = set()
        for name, value in one.order.headers:
            request.headers[name] = value
            names.add(name.lower())
        if "user-agent" not in names:
            request.headers["User-Agent"] = "softswitch"
        protocol.send_request(request)
        self._send(one)

    def _read(self, one: Connection) -> None:
        """What has come, as much of it as may in a beat."""
        protocol, messages = one.protocol, 0
        one.reads_at = None
        if protocol is None:
            return
        for _ in range(MOST_READS):
            if one.socket is None or one.over:
                return
            try:
                data = one.socket.recv(READS)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._watch(one, True)
                return
            except OSError as error:
                self._lost(one, _in_words(error))
                return
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            for event in protocol.events_received():
                if isinstance(event, Response):
                    self._answered(one)
                elif isinstance(event, Frame):
                    messages += 1
                    self._came(one, event)
            self._send(one)
            if one not in self._connections:
                return
            wrong = protocol.parser_exc is not None and not one.leaving
            if not data or protocol.close_rcvd is not None or wrong:
                self._closed(one)
                return
            if messages > MOST_MESSAGES:
                break
        # There is more.
        one.reads_at = self._clock() + BEAT
        self._watch(one, False)

    def _watch(self, one: Connection, on: bool) -> None:
        """Whether what comes from there wakes this thread, and whether that it can take more."""
        if one.socket is None:
            return
        events = (selectors.EVENT_READ if on else 0) | (selectors.EVENT_WRITE if one.out else 0)
        key = self._selector.get_map().get(one.socket.fileno())
        if key is None and events:
            self._selector.register(one.socket, events, one)
        elif key is not None and not events:
            self._selector.unregister(one.socket)
        elif key is not None and key.events != events:
            self._selector.modify(one.socket, events, one)

    def _answered(self, one: Connection) -> None:
        """To the request."""
        protocol = one.protocol
        assert protocol is not None
        if protocol.handshake_exc is not None:
            self._end(one, "refused", _in_words(protocol.handshake_exc))
            self._drop(one)
            return
        if one.leaving:
            return
        one.began = one.pinged = self._clock()
        for text in one.stream.begin(one.began):
            one.most_out += len(text.encode())  # whatever the program is told of the call
            protocol.send_text(text.encode())
        if one.told is not None:
            one.told("streaming", "", 0.0)

    def _came(self, one: Connection, frame: Frame) -> None:
        if one.leaving or one.draining or one.over:
            return
        protocol = one.protocol
        assert protocol is not None
        if frame.opcode is Opcode.PONG:
            one.ponged = True
            return
        if one.stream.listens:
            return
        if frame.opcode is Opcode.BINARY:
            self._give_up(
                one, CloseCode.UNSUPPORTED_DATA, "garbage", "it sent what is no text (binary)"
            )
            return
        if frame.opcode is Opcode.TEXT:
            one.fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT:
            one.fragments.append(bytes(frame.data))
        else:
            return
        if not frame.fin:
            return
        text, one.fragments = b"".join(one.fragments), []
        try:
            answers = one.stream.received(text)
        except Garbage as error:
            self._give_up(one, CloseCode.INVALID_DATA, "garbage", str(error))
        except Flood as error:
            self._give_up(one, CloseCode.POLICY_VIOLATION, "flood", str(error))
        else:
            for answer in answers:
                protocol.send_text(answer.encode())

    def _closed(self, one: Connection) -> None:
        """By the program, or because it does not keep to RFC 6455."""
        protocol = one.protocol
        assert protocol is not None
        if one.leaving:
            self._drop(one)
            return
        if protocol.handshake_exc is not None and not one.began:
            self._end(one, "refused", _in_words(protocol.handshake_exc))
            self._drop(one)
            return
        if protocol.parser_exc is not None and not isinstance(protocol.parser_exc, EOFError):
            self._end(one, "garbage", _in_words(protocol.parser_exc))
            self._leave(one)
            return
        received = protocol.close_rcvd
        if received is None:
            self._lost(one, "the connection is gone")
        elif received.code in NORMAL:
            # What it had said is heard to its end.
            one.draining = True
            self._hang_up(one)
        else:
            reason = received.reason[:LONGEST_REASON]
            said = f": {reason}" if reason.isprintable() and reason else ""
            self._lost(one, f"it closed with {int(received.code)}{said}")

    def _lost(self, one: Connection, error: str) -> None:
        self._end(one, "lost" if one.began else "refused", error)
        self._drop(one)

    # --- to it

    def _send(self, one: Connection) -> None:
        """What the protocol has for it, and what is still to be sent."""
        protocol = one.protocol
        if protocol is None or one.socket is None:
            return
        for data in protocol.data_to_send():
            one.out += data
        while one.out:
            try:
                sent = one.socket.send(one.out)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as error:
                one.out.clear()
                if one.leaving:
                    self._drop(one)
                else:
                    # That it closes may still be there to be read.
                    log.debug("%s", error)
                    one.reads_at = 0.0
                return
            del one.out[:sent]
        if len(one.out) > one.most_out:
            if one.leaving:
                self._drop(one)
            else:
                seconds = one.order.backlog
                self._end(one, "slow", f"it has not taken {seconds:g} s of what was to be sent")
                self._drop(one)
            return
        if one.out:
            self._watch(one, one.reads_at is None)

    def _heard(self, one: Connection, track: str, linear: bytes) -> None:
        protocol = one.protocol
        if protocol is None or protocol.state is not OPEN or one.leaving or one.over:
            return
        for text in one.stream.passed():
            protocol.send_text(text.encode())
        protocol.send_text(one.stream.heard(track, linear, self._clock()).encode())
        self._send(one)

    def _say_passed(self, one: Connection) -> None:
        protocol = one.protocol
        if protocol is None or protocol.state is not OPEN or one.leaving or one.over:
            return
        for text in one.stream.passed():
            protocol.send_text(text.encode())
        self._send(one)

    def _pressed(self, one: Connection, digit: str) -> None:
        protocol = one.protocol
        if protocol is None or protocol.state is not OPEN or not one.began or one.leaving:
            return
        protocol.send_text(one.stream.pressed(digit).encode())
        self._send(one)

    def _ping(self, one: Connection, now: float) -> None:
        every, protocol = one.order.ping, one.protocol
        if not every or now - one.pinged < every or protocol is None:
            return
        if not one.ponged:
            self._end(one, "slow", f"it does not answer a ping within {every:g} s")
            self._drop(one)
            return
        one.pinged, one.ponged = now, False
        if protocol.state is OPEN:
            protocol.send_ping(b"")
            self._send(one)

    # --- its end

    def _stop(self, one: Connection) -> None:
        if one.over or (one.leaving and one.told is None):
            return
        protocol = one.protocol
        if not one.leaving and not one.draining and one.began and protocol is not None:
            if protocol.state is OPEN:
                protocol.send_text(one.stream.stop().encode())
                protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._end(one, "stopped")
            self._leave(one)
        else:
            self._end(one, "stopped")
            self._drop(one)

    def _fail(self, one: Connection, error: str) -> None:
        if one.over or one.leaving:
            return
        if one.protocol is not None:
            self._give_up(one, CloseCode.INTERNAL_ERROR, "lost", error)
        else:
            self._failed(one, "lost", error)

    def _give_up(self, one: Connection, code: CloseCode, why: str, error: str) -> None:
        protocol = one.protocol
        assert protocol is not None
        if protocol.state is OPEN:
            protocol.send_close(code, error.encode()[:LONGEST_REASON].decode(errors="ignore"))
        self._end(one, why, error)
        self._leave(one)

    def _leave(self, one: Connection) -> None:
        """It may say that it closes too."""
        one.leaving = True
        one.until = self._clock() + LEAVES
        self._send(one)

    def _end(self, one: Connection, why: str, error: str = "") -> None:
        """Tell it, once."""
        told, one.told = one.told, None
        if told is not None:
            told(why, error, self._clock() - one.began if one.began else 0.0)

    def _hang_up(self, one: Connection) -> None:
        """Of its socket nothing is wanted any more."""
        gone, one.socket = one.socket, None
        if gone is not None:
            if gone.fileno() in self._selector.get_map():
                self._selector.unregister(gone)
            with contextlib.suppress(OSError):
                gone.close()

    def _drop(self, one: Connection) -> None:
        self._hang_up(one)
        one.leaving = one.over = True
        one.out.clear()
        if one in self._connections:
            self._connections.remove(one)


def _connected(order: Stream, until: float, clock: Callable[[], float]) -> socket.socket:
    """A connection, and with wss the agreement. Raises OSError, ValueError."""
    where = parse_uri(order.url)
    error: OSError = OSError("it has no address")
    for family, kind, number, _, address in socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM
    ):
        left = until - clock()
        if left <= 0:
            raise TimeoutError("timed out")
        found = socket.socket(family, kind, number)
        try:
            found.settimeout(left)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENDS)
            found.connect(address)
        except OSError as failure:
            error = failure
            found.close()
            continue
        if not where.secure:
            return found
        try:
            return _context(order.ca).wrap_socket(found, server_hostname=where.host)
        except BaseException:
            found.close()
            raise
    raise error


_CONTEXTS: Final[dict[tuple[str, int], ssl.SSLContext]] = {}
"""By the file of authorities, and when it was written. To read those of a system takes 20 ms."""


def _context(authorities: str) -> ssl.SSLContext:
    """Whom we believe. Raises SSLError."""
    try:
        key = authorities, os.stat(authorities).st_mtime_ns if authorities else 0
        found = _CONTEXTS.get(key)
        if found is None:
            if len(_CONTEXTS) > 10:
                _CONTEXTS.clear()
            found = _CONTEXTS[key] = ssl.create_default_context(cafile=authorities or None)
    except OSError as error:
        raise ssl.SSLError(f"{authorities}: {_in_words(error)}") from None
    return found


def _in_words(error: BaseException) -> str:
    """One line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not right: {error.verify_message}"
    if isinstance(error, InvalidStatus):
        return f"it answers {error.response.status_code}"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    text = " ".join(str(error).split())[:200]
    return "".join(one if one.isprintable() else "?" for one in text) or type(error).__name__
