"""The link between servers: frames over TCP, one connection for both directions.

A connection begins with the handshake (``handshake``), the dialling side first. Either side may
dial; who is dialled answers on the same connection, so a server need not know the addresses of
those that dial it. Should two servers dial each other at once, the connection of the one whose name
sorts first stays.

Of two connections of one server the newer stays: it may have been restarted, its former connection
half-open. Two servers that have one name by mistake would take each other's place for ever: whoever
dials waits longer each time that a connection does not last, and a start that comes back when
another had taken its place gives them away (``way``). Then the one that is connected stays as long
as something comes from it, and the log says what is wrong.

The link is closed to strangers by a shared secret, by TLS with certificates from both sides, or by
both (``security``); without either it binds to loopback only. Strangers may be there for
``handshake`` seconds, ``strangers`` of them at once; the oldest goes when one more comes, so that
those who only hold connections cannot keep out a server that says at once who it is.

What is sent within one turn of the event loop goes out in one write per server. A peer that sends
nonsense is dropped and named in the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cdsplugin.data import Frame
from cdsplugin.link.address import Address
from cdsplugin.link.complaints import Complaints
from cdsplugin.link.connection import Connection, encode
from cdsplugin.link.handshake import NONCE_BYTES, Handshake, LinkError
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.security import LinkSecurity
from cdsplugin.link.tls import TlsStream
from cdsplugin.link.way import Way

log = logging.getLogger("cdsplugin.link")


class Receiver(Protocol):
    """Who is told what the link carries: the network proxy."""

    def connected(self, server: str) -> None:
        """A connection to ``server`` passed its handshake."""

    def disconnected(self, server: str) -> None:
        """That connection is gone."""

    def received(self, server: str, frame: Frame) -> None:
        """A frame came from ``server``."""


class Link:
    """All connections of one server. ``Network`` towards the proxy."""

    def __init__(
        self,
        server: str,
        peers: Mapping[str, tuple[str, int]],
        limits: LinkLimits | None = None,
        rng: random.Random | None = None,
        security: LinkSecurity | None = None,
        nonce: Callable[[], bytes] = lambda: secrets.token_bytes(NONCE_BYTES),
    ) -> None:
        self.server = server
        self.limits = limits or LinkLimits()
        self.instance = uuid.uuid4().hex
        self.security = security or LinkSecurity()
        self.dropped_peers = 0
        self._nonce = nonce
        self._rng = rng or random.Random()
        self._receiver: Receiver | None = None
        self._ways = {name: Way(name, address) for name, address in peers.items()}
        self._connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        """Those who dialled us and have not passed the handshake, the oldest first."""
        self._servers = 0
        self._complaints = Complaints()
        self._encoded: tuple[Frame | None, bytes] = (None, b"")
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
        if not self.security.closed:
            if not Address(host, port).loopback():
                raise LinkError(
                    f"cds.listen: tcp:{host}:{port} is open to the network, and nothing secures"
                    " the link: set cds.secret_file or cds.tls"
                )
            log.info("the link is not secured (no cds.secret, no cds.tls): loopback only")
        try:
            self._listener = await loop.create_server(lambda: Connection(self, None), host, port)
        except OSError as error:
            why = error.strerror or str(error)
            raise LinkError(f"cds.listen: cannot listen on tcp:{host}:{port}: {why}") from error

    def address(self) -> tuple[str, int]:
        """Where it listens, with the port in fact used."""
        assert self._listener is not None
        listener: Any = self._listener  # with uvloop its sockets are a list, whatever is said
        name = listener.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    def take_up(self, peers: Mapping[str, tuple[str, int]]) -> None:
        """Go on with other addresses. Connections that are there stay: whoever has one has proved
        who it is."""
        for server, way in list(self._ways.items()):
            if server in peers or way.address is None:
                continue
            way.address = None
            if way.dial is not None:
                way.dial.cancel()
            if way.connection is None and not way.wanted:
                del self._ways[server]
        for server, address in peers.items():
            known = self._ways.get(server)
            if known is None:
                self._ways[server] = Way(server, address)
                continue
            if known.address == address:
                continue
            known.address = address
            known.not_before = known.pause = 0.0
            if known.dial is not None:
                known.dial.cancel()
                known.dial = None
            self.want(server, known.wanted)

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
        if way is None or way.connection is None:
            return
        last, data = self._encoded
        if last is not frame:  # the same for every participant: encoded once
            try:
                data = encode(frame)
            except (UnicodeEncodeError, OverflowError, TypeError) as error:
                log.error("a %s for %s cannot be sent: %s", type(frame).__name__, server, error)
                return
            self._encoded = (frame, data)
        way.connection.send(data)

    def drop(self, server: str) -> None:
        """Close the connection to ``server`` at once."""
        way = self._ways.get(server)
        if way is not None and way.connection is not None:
            way.connection.abort()

    # Dialling

    def _dial(self, server: str, way: Way) -> None:
        if not self._stopping:
            way.dial = asyncio.get_running_loop().create_task(self._dial_until(server, way))

    async def _dial_until(self, server: str, way: Way) -> None:
        assert way.address is not None
        host, port = way.address
        loop = asyncio.get_running_loop()
        try:
            while way.wanted and way.connection is None:
                rest = way.rest(loop.time(), self.limits)
                if rest > 0:
                    await asyncio.sleep(rest)
                    continue
                why = await self._reach(server, way, host, port)
                if why is None:
                    return
                if way.complaint != why:
                    way.complaint = why
                    log.warning(
                        "server %s at tcp:%s:%d cannot be reached: %s; trying on",
                        server,
                        host,
                        port,
                        why,
                    )
                way.failed(loop.time(), self.limits, self._rng.uniform(0.7, 1.3))
        finally:
            # Unless another is under way, to a new address.
            if way.dial is asyncio.current_task():
                way.dial = None

    async def _reach(self, server: str, way: Way, host: str, port: int) -> str | None:
        """One try: why it failed, None if it did not."""
        loop = asyncio.get_running_loop()
        why: str | None = None
        try:
            async with asyncio.timeout(self.limits.handshake):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, server), host, port
                )
                way.pending = connection
                await asyncio.wait(
                    [connection.greeted, connection.closed],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if not self.connected(server):
                why = connection.failure or "it closed the connection"
        except TimeoutError:
            why = "no answer"
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            if way.pending is not None and way.pending is not way.connection:
                way.pending.abort()
            way.pending = None
        return why

    # From the connections

    def handshake(self, dialled: str | None) -> Handshake:
        """Our side of a new connection's handshake."""
        secret = self.security.secret
        nonce = self._nonce() if secret is not None else b""
        return Handshake(self.server, self.instance, dialled, secret, nonce)

    def tls(self, listening: bool) -> TlsStream | None:
        """Our side of a new connection's TLS, None without TLS."""
        context = self.security.listening if listening else self.security.dialling
        return None if context is None else TlsStream(context, listening)

    def made(self, connection: Connection) -> bool:
        """A connection exists; false if it is not wanted."""
        if self._stopping:
            return False
        self._connections.add(connection)
        if connection.dialled is None:
            if len(self._strangers) >= self.limits.strangers:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.nonsense("is one of too many that did not greet (cds.limits.strangers)")
            self._strangers[connection] = None
        return True

    def admits(self, connection: Connection, server: str) -> bool:
        """Whether ``server``, or who says so, may go on with the handshake on this connection."""
        way = self._ways.get(server)
        if connection.dialled is not None or way is None:
            return True
        if way.refuses(connection, asyncio.get_running_loop().time(), self.limits):
            return False
        # Both dial at once, and ours is the one that stays.
        return way.pending is None or self.server > server

    def greeted(self, connection: Connection, server: str) -> bool:
        """The handshake is done and ``server`` is who it says; false if it is one too many."""
        way = self._ways.get(server)
        older = way.connection if way is not None else None
        if older is None and self._servers >= self.limits.connections:
            connection.nonsense(f"({server}) is one too many (cds.limits.connections)")
            return False
        if way is None:
            way = self._ways[server] = Way(server, None)
        self._strangers.pop(connection, None)
        way.taken(connection, asyncio.get_running_loop().time())
        connection.server = server
        if older is not None:
            older.abort()
            self._lost(server)
        else:
            self._servers += 1
        if connection.dialled is None and way.dial is not None:
            way.dial.cancel()
        log.info("server %s is connected (%s)", server, connection.remote)
        if self._receiver is not None:
            self._receiver.connected(server)
        return True

    def nonsense(self, connection: Connection, what: str) -> None:
        """A connection is about to be dropped because of what its peer did."""
        self.dropped_peers += 1
        if connection.server is not None:
            log.warning("server %s (%s) %s: dropped", connection.server, connection.remote, what)
        elif connection.dialled is None:  # else the dialling says it, once
            now = asyncio.get_running_loop().time()
            more = self._complaints.about(connection.host, now)
            if more is not None:
                log.warning("%s %s: dropped%s", connection.remote, what, more)

    def frame(self, connection: Connection, frame: Frame) -> None:
        """A frame came after the handshake."""
        assert connection.server is not None
        if self._receiver is not None and self._ways[connection.server].connection is connection:
            try:
                self._receiver.received(connection.server, frame)
            except Exception:
                log.exception("a frame from server %s was not taken", connection.server)

    def gone(self, connection: Connection) -> None:
        """A connection was closed, by whomever."""
        self._connections.discard(connection)
        self._strangers.pop(connection, None)
        server = connection.server
        if server is None:
            return
        way = self._ways[server]
        if way.connection is not connection:
            return
        now = asyncio.get_running_loop().time()
        way.lost(now, self.limits, self._rng.uniform(0.7, 1.3))
        self._servers -= 1
        log.info("server %s is disconnected", server)
        if way.address is None and not way.wanted:
            del self._ways[server]
        self._lost(server)

    def _lost(self, server: str) -> None:
        if self._receiver is not None and not self._stopping:
            self._receiver.disconnected(server)
