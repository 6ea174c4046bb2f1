"""The link between servers: frames over TCP, one connection for both directions.

A frame is a length (four bytes, big-endian) and that many bytes of msgpack (``frames``). A
connection begins with a ``Hello`` from each side, the dialling side first. Either side may dial;
who is dialled answers on the same connection, so a server need not know the addresses of those that
dial it. Should two servers dial each other at once, the connection of the one whose name sorts
first stays.

What is sent within one turn of the event loop goes out in one write per server. A peer that sends
nonsense is dropped and named in the log. Until the link can be secured it binds to loopback only
(``config`` sees to that).
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec

from cdsplugin.frames import MAGIC, VERSION, Frame, Hello

log = logging.getLogger("cdsplugin.link")


class LinkError(OSError):
    """The link cannot listen. The text says where and why."""


class Receiver(Protocol):
    """Who is told what the link carries: the network proxy."""

    def connected(self, server: str) -> None:
        """A connection to ``server`` passed its handshake."""

    def disconnected(self, server: str) -> None:
        """That connection is gone."""

    def received(self, server: str, frame: Frame) -> None:
        """A frame came from ``server``."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bytes and seconds. ``buffer_bytes`` is what may wait for a slow peer before it is dropped;
    ``reconnect_max`` is the longest pause between two attempts to reach a server.
    """

    frame_bytes: int = 16 * 1024 * 1024
    buffer_bytes: int = 64 * 1024 * 1024
    connections: int = 2000
    handshake: float = 5.0
    reconnect_min: float = 0.1
    reconnect_max: float = 10.0


class _Way:
    """The way to one server: its address if we know it, its connection if there is one."""

    __slots__ = ("address", "complained", "connection", "dial", "pending", "wanted")

    def __init__(self, address: tuple[str, int] | None) -> None:
        self.address = address
        self.wanted = False
        self.connection: _Connection | None = None
        self.pending: _Connection | None = None
        """Dialled by us and connected, but not greeted yet."""
        self.dial: asyncio.Task[None] | None = None
        self.complained = False


class Link:
    """All connections of one server. ``Network`` towards the proxy."""

    def __init__(
        self,
        server: str,
        peers: Mapping[str, tuple[str, int]],
        limits: LinkLimits | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.server = server
        self.limits = limits or LinkLimits()
        self.instance = uuid.uuid4().hex
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode: Callable[[bytes | bytearray], Frame] = msgspec.msgpack.Decoder(Frame).decode
        self.dropped_peers = 0
        self._rng = rng or random.Random()
        self._receiver: Receiver | None = None
        self._ways = {name: _Way(address) for name, address in peers.items()}
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._stopping = False

    def attach(self, receiver: Receiver) -> None:
        """Say who is told of connections and frames; before ``start``."""
        self._receiver = receiver

    async def start(self, listen: tuple[str, int] | None) -> None:
        """Listen at ``(host, port)``; with None this server only dials. Raises ``LinkError``."""
        if listen is None:
            return
        host, port = listen
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(lambda: _Connection(self, None), host, port)
        except OSError as error:
            why = error.strerror or str(error)
            raise LinkError(f"cds.listen: cannot listen on tcp:{host}:{port}: {why}") from error

    def address(self) -> tuple[str, int]:
        """Where it listens, with the port in fact used."""
        assert self._listener is not None
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def stop(self, within: float = 2.0) -> None:
        """Send what is waiting (for at most ``within`` seconds), then close everything."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        dials = [way.dial for way in self._ways.values() if way.dial is not None]
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        closing = [c.closed for c in self._connections]
        for connection in list(self._connections):
            connection.flush()
            connection.close()
        if closing:
            await asyncio.wait(closing, timeout=within)
        for connection in list(self._connections):
            connection.abort()
        if self._listener is not None:
            await self._listener.wait_closed()

    # Network

    def knows(self, server: str) -> bool:
        """Whether ``server`` has an address in ``peers`` or is connected."""
        way = self._ways.get(server)
        return way is not None and (way.address is not None or way.connection is not None)

    def connected(self, server: str) -> bool:
        """Whether there is a connection to ``server`` that passed its handshake."""
        way = self._ways.get(server)
        return way is not None and way.connection is not None

    def want(self, server: str, wanted: bool) -> None:
        """Dial ``server`` until it is connected, again after each loss; or no more."""
        way = self._ways.get(server)
        if way is None:
            return
        way.wanted = wanted
        if wanted and way.connection is None and way.dial is None and way.address is not None:
            self._dial(server, way)

    def send(self, server: str, frame: Frame) -> None:
        """Send a frame, at the end of this turn of the loop. Dropped if ``server`` is not
        connected."""
        way = self._ways.get(server)
        if way is not None and way.connection is not None:
            way.connection.send(frame)

    def drop(self, server: str) -> None:
        """Close the connection to ``server`` at once."""
        way = self._ways.get(server)
        if way is not None and way.connection is not None:
            way.connection.abort()

    # Dialling

    def _dial(self, server: str, way: _Way) -> None:
        if not self._stopping:
            way.dial = asyncio.get_running_loop().create_task(self._dial_until(server, way))

    async def _dial_until(self, server: str, way: _Way) -> None:
        assert way.address is not None
        host, port = way.address
        loop = asyncio.get_running_loop()
        pause = self.limits.reconnect_min
        try:
            while way.wanted and way.connection is None:
                try:
                    async with asyncio.timeout(self.limits.handshake):
                        _, connection = await loop.create_connection(
                            lambda: _Connection(self, server), host, port
                        )
                        way.pending = connection
                        await asyncio.wait(
                            [connection.greeted, connection.closed],
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                    if self.connected(server):
                        break
                    why = "it closed the connection"
                except TimeoutError:
                    why = "no answer"
                except OSError as error:
                    why = error.strerror or str(error)
                finally:
                    if way.pending is not None and way.pending is not way.connection:
                        way.pending.abort()
                    way.pending = None
                if not way.complained:
                    way.complained = True
                    log.warning(
                        "server %s at tcp:%s:%d cannot be reached: %s; trying on",
                        server,
                        host,
                        port,
                        why,
                    )
                await asyncio.sleep(pause * self._rng.uniform(0.7, 1.3))
                pause = min(pause * 2, self.limits.reconnect_max)
        finally:
            way.dial = None

    # From the connections

    def made(self, connection: _Connection) -> bool:
        """A connection exists; false if there are too many."""
        if self._stopping or len(self._connections) >= self.limits.connections:
            log.warning("a connection from %s is refused: too many", connection.remote)
            return False
        self._connections.add(connection)
        return True

    def greet(self, connection: _Connection, hello: Hello) -> bool:
        """A ``Hello`` came; false if the connection is to be closed."""
        server = hello.server
        if hello.magic != MAGIC or hello.version != VERSION:
            connection.nonsense(f"speaks version {hello.version} of {hello.magic!r}, not {VERSION}")
            return False
        if server == self.server:
            connection.nonsense(f"calls itself {server}, which is this server's name")
            return False
        if connection.dialled is not None and server != connection.dialled:
            connection.nonsense(
                f"calls itself {server}, but cds.peers has it as {connection.dialled}"
            )
            return False
        way = self._ways.get(server)
        if way is None:
            way = self._ways[server] = _Way(None)
        if connection.dialled is None and way.pending is not None and self.server < server:
            return False  # both dial at once, and ours is the one that stays
        older, way.connection = way.connection, connection
        connection.server = server
        if older is not None:
            older.abort()
            self._lost(server)
        if connection.dialled is None:
            connection.send(self.hello())
            if way.dial is not None:
                way.dial.cancel()
        way.complained = False
        log.info("server %s is connected (%s)", server, connection.remote)
        if self._receiver is not None:
            self._receiver.connected(server)
        return True

    def frame(self, connection: _Connection, frame: Frame) -> None:
        """A frame came after the handshake."""
        assert connection.server is not None
        if self._receiver is not None and self._ways[connection.server].connection is connection:
            try:
                self._receiver.received(connection.server, frame)
            except Exception:
                log.exception("a frame from server %s was not taken", connection.server)

    def gone(self, connection: _Connection) -> None:
        """A connection was closed, by whomever."""
        self._connections.discard(connection)
        server = connection.server
        if server is None:
            return
        way = self._ways[server]
        if way.connection is not connection:
            return
        way.connection = None
        log.info("server %s is disconnected", server)
        if way.address is None and not way.wanted:
            del self._ways[server]
        self._lost(server)

    def _lost(self, server: str) -> None:
        if self._receiver is not None and not self._stopping:
            self._receiver.disconnected(server)

    def hello(self) -> Hello:
        """Our own greeting."""
        return Hello(MAGIC, VERSION, self.server, self.instance)


class _Connection(asyncio.Protocol):
    """One TCP connection. ``dialled`` is whom we meant to reach, None if it was they who
    dialled."""

    def __init__(self, link: Link, dialled: str | None) -> None:
        loop = asyncio.get_running_loop()
        self.dialled = dialled
        self.server: str | None = None
        self.remote = ""
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.remote = "tcp:{}:{}".format(*transport.get_extra_info("peername", ("?", 0))[:2])
        if not self._link.made(self):
            self._transport.abort()
            return
        self._timer = self._loop.call_later(self._link.limits.handshake, self._no_greeting)
        if self.dialled is not None:
            self.send(self._link.hello())

    def data_received(self, data: bytes) -> None:
        buffer = self._in
        buffer += data
        limit = self._link.limits.frame_bytes
        start, end = 0, len(buffer)
        while end - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "big")
            if size > limit:
                self.nonsense(f"sent a frame of {size} bytes (cds.limits.frame_bytes: {limit})")
                return
            if end - start < 4 + size:
                break
            try:
                frame = self._link.decode(buffer[start + 4 : start + 4 + size])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.nonsense(f"sent what is no frame: {error}")
                return
            start += 4 + size
            if self.server is not None:
                self._link.frame(self, frame)
            elif not isinstance(frame, Hello):
                self.nonsense("did not greet first")
                return
            elif self._link.greet(self, frame):
                self._greeted()
            else:
                self.abort()
                return
            if self._transport is None or self._transport.is_closing():
                return
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
        self._link.gone(self)

    def send(self, frame: Frame) -> None:
        """Queue a frame for the end of this turn of the loop."""
        try:
            data = self._link.encode(frame)
        except (UnicodeEncodeError, OverflowError, TypeError) as error:
            log.error("a %s for %s cannot be sent: %s", type(frame).__name__, self.server, error)
            return
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(len(data).to_bytes(4, "big"))
        self._out.append(data)

    def flush(self) -> None:
        """Write what is queued."""
        transport = self._transport
        if transport is not None and self._out and not transport.is_closing():
            transport.write(b"".join(self._out))
            if transport.get_write_buffer_size() > self._link.limits.buffer_bytes:
                log.warning("server %s takes its data too slowly: dropped", self.server)
                transport.abort()
        self._out.clear()

    def nonsense(self, what: str) -> None:
        """Drop a peer that does not speak as it should, and say who and what."""
        name = f"server {self.server} ({self.remote})" if self.server else self.remote
        log.warning("%s %s: dropped", name, what)
        self._link.dropped_peers += 1
        self.abort()

    def close(self) -> None:
        """Close once what is written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _greeted(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.greeted.done():
            self.greeted.set_result(None)

    def _no_greeting(self) -> None:
        if self.server is None:
            self.nonsense("did not greet in time")
