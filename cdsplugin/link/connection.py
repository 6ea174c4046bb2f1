"""One connection of the link: bytes of TCP (and TLS) to frames and back, and the handshake's time.

A frame is a length (four bytes, big-endian) and that many bytes of msgpack (``frames``). Until the
peer has proved who it is (``handshake``) only greetings are taken, and short ones. Whatever a peer
does wrong, the connection is dropped and the link is told why.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

import msgspec

from cdsplugin.data import Frame, Hello
from cdsplugin.link.handshake import GREETING_BYTES, Handshake, HandshakeError, Proof
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.tls import TlsError, TlsStream

log = logging.getLogger("cdsplugin.link")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode
_decode_greeting = msgspec.msgpack.Decoder(Hello | Proof).decode
_TLS_RECORD = b"\x16\x03"
_WRONG = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Owner(Protocol):
    """Whose connection it is: the link."""

    limits: LinkLimits

    def handshake(self, dialled: str | None) -> Handshake:
        """Our side of a new connection's handshake."""

    def tls(self, listening: bool) -> TlsStream | None:
        """Our side of a new connection's TLS, None without TLS."""

    def made(self, connection: Connection) -> bool:
        """A connection exists; false if it is not wanted."""

    def admits(self, connection: Connection, server: str) -> bool:
        """Whether ``server``, or who says so, may go on with the handshake on this connection."""

    def greeted(self, connection: Connection, server: str) -> bool:
        """The handshake is done and ``server`` is who it says; false if it is one too many."""

    def frame(self, connection: Connection, frame: Frame) -> None:
        """A frame came after the handshake."""

    def nonsense(self, connection: Connection, what: str) -> None:
        """A connection is about to be dropped because of what its peer did."""

    def gone(self, connection: Connection) -> None:
        """A connection was closed, by whomever."""


class Connection(asyncio.Protocol):
    """``dialled`` is whom we meant to reach, None if it was they who dialled. ``server`` is who it
    is, None until that is proved.
    """

    def __init__(self, link: Owner, dialled: str | None) -> None:
        loop = asyncio.get_running_loop()
        self.dialled = dialled
        self.server: str | None = None
        self.remote = ""
        self.host = ""
        self.heard = loop.time()
        """When something came last (the loop's time)."""
        self.failure = ""
        """Why it was dropped, if the peer did something wrong."""
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._handshake = link.handshake(dialled)
        self._tls = link.tls(dialled is None)
        self._in = bytearray()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def instance(self) -> str:
        """Which start of the server it says it is; proved when ``server`` is."""
        peer = self._handshake.peer
        return peer.instance if peer is not None else ""

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        self.host = host
        self.remote = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
        if not self._link.made(self):
            self._transport.abort()
            return
        self._timer = self._loop.call_later(self._link.limits.handshake, self._no_greeting)
        if self._tls is None:
            self._say(self._handshake.begin())
        elif self.dialled is not None:
            self._tls.begin()
            self._transport.write(self._tls.pending())

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        if self._tls is not None:
            data = self._decrypted(self._tls, data)
            if not data:
                return
        held = self._in
        if held:
            held += data
            self._frames(held)
        else:
            rest = self._frames(data)
            if rest:
                self._in += memoryview(data)[-rest:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
        self._link.gone(self)

    # To the transport

    def send(self, data: bytes) -> None:
        """Queue an encoded frame for the end of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(len(data).to_bytes(4, "big"))
        self._out.append(data)

    def flush(self) -> None:
        """Write what is queued."""
        transport = self._transport
        if transport is not None and self._out and not transport.is_closing():
            data = b"".join(self._out)
            transport.write(data if self._tls is None else self._tls.encrypt(data))
            if transport.get_write_buffer_size() > self._link.limits.buffer_bytes:
                log.warning("server %s takes its data too slowly: dropped", self.server)
                transport.abort()
        self._out.clear()

    def close(self) -> None:
        """Close once what is written has been sent."""
        if self._transport is not None and not self._transport.is_closing():
            if self._tls is not None:
                self._tls.close()
                self._transport.write(self._tls.pending())
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def nonsense(self, what: str) -> None:
        """Drop a peer that does not speak as it should, and say who and what."""
        self.failure = what
        self._link.nonsense(self, what)
        self.abort()

    # What came

    def _decrypted(self, tls: TlsStream, data: bytes) -> bytes:
        transport = self._transport
        if transport is None or transport.is_closing():
            return b""
        before = tls.established
        try:
            plain = tls.receive(data)
        except TlsError as error:
            self.failure = str(error)
            self._link.nonsense(self, self.failure)
            transport.write(tls.pending())  # the alert that tells the peer why
            transport.close()
            return b""
        reply = tls.pending()
        if reply:
            transport.write(reply)
        if tls.established and not before:
            self._handshake.certified = tls.peer_names()
            self._say(self._handshake.begin())
        if tls.ended:
            transport.close()
        return plain

    def _frames(self, data: bytes | bytearray) -> int:
        """Take the whole frames in ``data``; returns how many bytes are left over at its end. From
        ``self._in`` the rest is removed here.
        """
        limits = self._link.limits
        start, end = 0, len(data)
        while end - start >= 4:
            first = start + 4
            size = int.from_bytes(data[start:first], "big")
            if size > (limits.frame_bytes if self.server is not None else GREETING_BYTES):
                self._too_long(size, data)
                return 0
            if end - first < size:
                break
            start = first + size
            if self.server is None:
                if not self._greeting(data[first:start]):
                    return 0
                continue
            try:
                frame = _decode(data[first:start])
            except _WRONG as error:
                self.nonsense(f"sent what is no frame: {error}")
                return 0
            self._link.frame(self, frame)
            if self._transport is None or self._transport.is_closing():
                return 0
        if data is self._in:
            del self._in[:start]
        return end - start

    def _greeting(self, data: bytes | bytearray) -> bool:
        """Take a frame of the handshake; false if the connection is over."""
        handshake = self._handshake
        try:
            answer = handshake.receive(_decode_greeting(data))
        except _WRONG as error:
            self.nonsense(f"sent what is no greeting: {error}")
            return False
        except HandshakeError as error:
            self.nonsense(str(error))
            return False
        assert handshake.peer is not None
        server = handshake.peer.server
        if not self._link.admits(self, server):
            self.abort()
            return False
        self._say(answer)
        if not handshake.done:
            return True
        if not self._link.greeted(self, server):
            self.abort()
            return False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.greeted.done():
            self.greeted.set_result(None)
        return True

    def _say(self, greetings: list[Hello | Proof]) -> None:
        for greeting in greetings:
            self.send(_encode(greeting))

    def _too_long(self, size: int, data: bytes | bytearray) -> None:
        if self.server is not None:
            limit = self._link.limits.frame_bytes
            self.nonsense(f"sent a frame of {size} bytes (cds.limits.frame_bytes: {limit})")
        elif data[:2] == _TLS_RECORD:
            self.nonsense("speaks TLS, and there is no cds.tls here")
        else:
            self.nonsense(f"sent what is no greeting: {size} bytes")

    def _no_greeting(self) -> None:
        if self.server is None:
            self.nonsense(
                "did not greet in time" if self._handshake.peer is None else "did not prove in time"
            )


def encode(frame: Frame) -> bytes:
    """A frame's bytes. Raises UnicodeEncodeError, OverflowError or TypeError."""
    return _encode(frame)
