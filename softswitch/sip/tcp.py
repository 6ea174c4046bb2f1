"""Connections in both directions, their bytes in as parsed messages, and out (§18): TCP, and what
goes over it, TLS and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, cast

from softswitch.sip.door import Door
from softswitch.sip.flow import Flow, Receiver, Trace, TransportLimits
from softswitch.sip.framing import HTTP_REFUSED, PONG, StreamFramer, is_http
from softswitch.sip.hosts import host_port, local_address_for, network_of
from softswitch.sip.message import MalformedMessage, Request
from softswitch.sip.outbox import OnError, Outbox, Target
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source
from softswitch.sip.tls import TlsLayer
from softswitch.sip.ws import WsLayer

log = logging.getLogger(__name__)

BACKLOG: Final = 512
_SWEEP_EVERY: Final = 30.0
_ASK_EVERY: Final = 10  # seconds between questions to a peer that does not answer
_ASK_TIMES: Final = 3
_FULL_EVERY: Final = 10.0  # seconds between lines about connections for which there is no room


class TlsPeer(NamedTuple):
    """Whom the switch connects to over TLS: the name that its certificate has to have, and what is
    believed of it. `party` is what it is called here."""

    party: str
    name: str
    context: ssl.SSLContext


class TcpFlow(asyncio.Protocol):
    """A peer over one connection, in or out. `proof` is how it is to prove who it is, if the switch
    connects to it over TLS."""

    reliable = True

    def __init__(
        self, owner: TcpTransport, remote: tuple[str, int], proof: TlsPeer | None = None
    ) -> None:
        self._owner = owner
        self.transport = owner.kind
        self.remote = remote
        self.proof = proof
        self.peer = "" if proof is None else proof.party
        most = owner.limits.max_message_size
        self._web = WsLayer(most, owner.origins) if owner.is_web else None
        self._framer = StreamFramer(most if self._web is None else 0)
        self._tls: TlsLayer | None = None
        if proof is not None:
            self._tls = TlsLayer(proof.context, proof.name)
        elif owner.context is not None:
            self._tls = TlsLayer(owner.context)
        self._transport: asyncio.Transport | None = None
        # What was sent before the connection was made, and the bytes of it.
        self._waiting: list[tuple[bytes, Callable[[], None] | None]] = []
        self._queued = 0
        self._last_seen = owner.loop.time()
        self.made = False  # whether it ever was a connection
        self._relied_on = False  # somebody wants to hear if what was sent here was not
        self.closed = False
        # Whether we opened it, or know whose it is.
        self._known = bool(remote[0])
        # Until the first whole message has come.
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def sent_by(self) -> str:
        return self._owner.sent_by(self.remote[0])

    @property
    def listener(self) -> str:
        return self._owner.listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.made = True
        peer = transport.get_extra_info("peername")
        if peer is not None and not self.remote[0]:
            # A connection that we made keeps the address that it is looked for by.
            self.remote = peer[:2]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _keep_alive(sock, self._owner.limits.keepalive)
        owner = self._owner
        banned = owner.banned and not self._known and network_of(self.remote[0]) in owner.banned
        if self.closed or banned or not (self._known or owner.entered(self)):
            owner.unread += bool(banned)
            self.abort()
            return
        owner.opened(self)
        if not self._known:
            self._deadline = owner.loop.call_later(owner.limits.first_message, self._late)
        if self._tls is not None:
            if self._known:
                self._deadline = owner.loop.call_later(owner.limits.connect_timeout, self._late)
            self._write(self._tls.start())
            return
        self._say_what_waits()

    def _say_what_waits(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data, on_error in waiting:
            self.transmit(data, None, on_error)

    def _write(self, data: bytes) -> None:
        """Bytes of the wire. Who does not read what it is sent is left, whatever that is."""
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > self._owner.limits.max_queued:
            log.warning(
                "%s:%s does not read; connection closed", self.transport, host_port(*self.remote)
            )
            self.abort()

    def _decrypted(self, tls: TlsLayer, data: bytes) -> bytes:
        was_ready = tls.ready
        said, back = tls.feed(data)
        self._write(back)
        if tls.ready and not was_ready:
            if self._known and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self._say_what_waits()
        if tls.lost and not self.closed:
            if not tls.ready:
                # Who cannot be believed, or does not believe us: nothing is said to it.
                level = logging.WARNING if self._known else logging.DEBUG
                log.log(
                    level,
                    "%s:%s: no TLS: %s",
                    *(self.transport, host_port(*self.remote), tls.lost),
                )
                self.abort()
            else:
                self.close()
        return said

    def data_received(self, data: bytes) -> None:
        self._last_seen = self._owner.loop.time()
        if self._tls is not None:
            data = self._decrypted(self._tls, data)
            if not data:
                return
        limits = self._owner.limits
        framer = self._framer
        if self._web is not None:
            messages, back = self._web.feed(data)
            if back:
                self._put_on_wire(back)
            lost = self._web.lost
        else:
            messages = framer.feed(data)
            while framer.pings:
                framer.pings -= 1
                self.transmit(PONG, None, None)
            lost = framer.lost
        if messages and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        for one in messages:
            if self._owner.trace is not None:
                self._owner.trace.received(self.transport, self.remote, one)
            try:
                message = parse(
                    one,
                    datagram=False,
                    max_headers=limits.max_headers,
                    max_text=limits.max_text,
                    max_kept=limits.max_kept,
                )
                if type(message) is Request:
                    mark_source(message, self.remote)
                self._owner.receiver(message, self)
                if not self._known and type(message) is Request and message.party is not None:
                    self._known = True
                    self._owner.door.know(self)
            except MalformedMessage as error:
                self._is_malformed()
                if self._web is None and is_http(one):
                    log.debug("tcp:%s speaks HTTP; connection closed", host_port(*self.remote))
                    self.send(HTTP_REFUSED)
                    self.close()
                    return
                log.debug("from tcp:%s: %s", host_port(*self.remote), error)
            except Exception:
                log.exception("a message from tcp:%s was not handled", host_port(*self.remote))
        if lost and not self.closed:
            if self._web is None:
                self._is_malformed()
            log.info(
                "%s:%s: %s; connection closed",
                *(self.transport, host_port(*self.remote), lost),
            )
            self.close()

    def _is_malformed(self) -> None:
        owner = self._owner
        owner.malformed += 1
        if owner.on_malformed is not None:
            owner.on_malformed(self.remote[0])

    def _put_on_wire(self, data: bytes) -> None:
        if data:
            self._write(data if self._tls is None else self._tls.send(data))

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Queue `data` on the connection. `on_error` is called later if it cannot be sent."""
        self._owner.outbox.put(self, data, None, on_error)

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        """Give `data` to the connection now, or as soon as it is made."""
        transport = self._transport
        gone = self.closed if transport is None else transport.is_closing()
        if gone or (self._web is not None and not self._web.open):
            # Before anybody is told so: whoever looks for another is not to find this one.
            self.closed = True
            if on_error is not None:
                self._owner.loop.call_soon(on_error)
            return
        if transport is None or (self._tls is not None and not self._tls.ready):
            self._queued += len(data)
            if self._queued > self._owner.limits.max_queued:
                if on_error is not None:
                    self._owner.loop.call_soon(on_error)
                return
            self._waiting.append((data, on_error))
            return
        if self._owner.trace is not None:
            self._owner.trace.sent(self.transport, self.remote, data)
        if on_error is not None:
            self._relied_on = True
        if self._web is not None:
            data = self._web.send(data)
        if self._tls is not None:
            data = self._tls.send(data)
        self._write(data)

    def failed(self) -> None:
        """The connection is gone, or was never made: so is what waits for it."""
        self.closed = True
        self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._owner.forget(self)
        waiting, self._waiting = self._waiting, []
        for _, on_error in waiting:
            if on_error is not None:
                on_error()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed()
        if self._relied_on and self._owner.lost is not None:
            self._owner.lost(self)

    def idle_since(self) -> float:
        """Loop time of the last byte received, in seconds."""
        return self._last_seen

    def stop_reading(self) -> None:
        """Take nothing more from this peer."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def leave(self) -> None:
        """It is a stranger's, and there is no room."""
        self._owner.full("a stranger's was closed to make room", self.remote)
        self.abort()

    def _late(self) -> None:
        self._deadline = None
        log.debug("tcp:%s says nothing; connection closed", host_port(*self.remote))
        self.abort()

    def close(self) -> None:
        """Close once all that was sent has gone."""
        self.closed = True
        self._owner.outbox.put(_Closing(self), b"", None, None)

    def ping(self) -> None:
        """Ask whether it lives by WebSocket: a proxy in between answers TCP's questions itself."""
        if self._web is not None:
            self._put_on_wire(self._web.ping())

    def hang_up(self) -> None:
        """Nothing is to be sent any more."""
        if self._transport is not None:
            if self._web is not None:
                self._put_on_wire(self._web.close())
            if self._tls is not None:
                self._write(self._tls.close())
            self._transport.close()

    def abort(self) -> None:
        """Close now: a peer that does not read would keep its connection for ever."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


def _keep_alive(sock: socket.socket, seconds: float) -> None:
    """Have the system ask an idle peer whether it lives, which keeps the way open in NATs as well,
    and give the connection up if it does not."""
    if seconds <= 0:
        return
    idle = max(1, round(seconds))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASK_EVERY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _ASK_TIMES)
    # Without it, what was written to a peer that is gone is tried for a quarter of an hour.
    patience = (idle + _ASK_EVERY * _ASK_TIMES) * 1000
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)


class _Closing:
    """Stands in the outbox behind the last message of a connection."""

    __slots__ = ("_flow",)

    def __init__(self, flow: TcpFlow) -> None:
        self._flow = flow

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        self._flow.hang_up()


class TcpTransport:
    """One listening address and the connections of both directions. `kind` is its transport: tcp,
    tls, ws or wss. `context` is what those get who connect over TLS, `origins` the pages that may
    connect by WebSocket (none: all)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits,
        outbox: Outbox,
        lost: Callable[[Flow], None] | None = None,
        kind: str = "tcp",
        context: ssl.SSLContext | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        """`lost` is told of connections that have closed, if anything was sent on them that
        somebody relies on."""
        self.outbox = outbox
        self.lost = lost
        self.kind = kind
        self.is_web = kind in ("ws", "wss")
        self.context = context
        self.origins = origins
        self.outside: Callable[[str], str] | None = None
        """By which host a peer knows this switch, if by another than its own; empty: its own."""
        self.loop = loop
        self.receiver = receiver
        self.limits = limits
        self.address: tuple[str, int] = ("", 0)
        self.listener = ""
        """What its flows say by which listener they go; see `Flow`."""
        self.malformed = 0
        self.banned: Mapping[str, float] = {}
        """Addresses that get no connection, as `network_of` gives them."""
        self.unread = 0
        """Connections from there."""
        self.on_malformed: Callable[[str], object] | None = None
        """Told where a message came from that is no SIP."""
        self.trace: Trace | None = None
        self._server: asyncio.Server | None = None
        self.door = Door(limits.max_connections, limits.max_per_address)
        self.on_closed: Callable[[str, int], None] | None = None
        """Called with the peer's address and port when a connection is gone that there was."""
        self._full_at = -_FULL_EVERY
        # Over TLS a connection is for that peer alone that had to prove who it is.
        self._flows: dict[tuple[str, int, TlsPeer | None], TcpFlow] = {}
        self._ours: set[TcpFlow] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def family(self) -> int:
        """That of its address, as the system numbers it."""
        return socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET

    @property
    def _everywhere(self) -> bool:
        return self.address[0] in ("0.0.0.0", "::")

    async def listen(self, bound: socket.socket) -> None:
        self.address = bound.getsockname()[:2]
        self._server = await self.loop.create_server(
            lambda: TcpFlow(self, ("", 0)), sock=bound, backlog=BACKLOG
        )
        self._sweep_later()

    def _sweep_later(self) -> None:
        every = min(_SWEEP_EVERY, self.limits.tcp_idle)
        if self.is_web and self.limits.keepalive > 0:
            every = min(every, self.limits.keepalive)
        self._sweep = self.loop.call_later(every, self._close_idle)

    def _close_idle(self) -> None:
        now = self.loop.time()
        for flow in list(self._flows.values()):
            if flow.idle_since() >= now - self.limits.tcp_idle and not flow.closed:
                if self.is_web and 0 < self.limits.keepalive <= now - flow.idle_since():
                    flow.ping()
                continue
            if flow.closed and flow.idle_since() < now - self.limits.last_words:
                # Its peer does not read what it was told last.
                flow.abort()
            else:
                flow.close()
        self._sweep_later()

    def sent_by(self, host: str) -> str:
        """What a Via or Contact calls this address for a peer at `host`."""
        if self.outside is not None:
            public = self.outside(host)
            if public:
                return host_port(public, self.address[1])
        if self._everywhere:
            return host_port(local_address_for(host), self.address[1])
        return host_port(*self.address)

    def entered(self, flow: TcpFlow) -> bool:
        """Whether there is room for a connection that somebody else has opened."""
        if self.door.enter(flow, flow.remote[0]):
            return True
        self.full("refused: all are in use by somebody known", flow.remote)
        return False

    def full(self, what: str, remote: tuple[str, int]) -> None:
        """Say that there is no room, now and then: strangers see to it as often as they like."""
        now = self.loop.time()
        if now - self._full_at >= _FULL_EVERY:
            self._full_at = now
            log.warning(
                "tcp:%s: %s (limits.max_connections, limits.max_per_address); so far %d closed, %d "
                "refused",
                *(host_port(*remote), what, self.door.sent_away, self.door.refused),
            )

    def opened(self, flow: TcpFlow) -> None:
        """The connection is made."""
        self._flows[*flow.remote, flow.proof] = flow

    def forget(self, flow: TcpFlow) -> None:
        """The connection is gone."""
        self.door.left(flow)
        self._ours.discard(flow)
        if self._flows.get((*flow.remote, flow.proof)) is flow:
            del self._flows[*flow.remote, flow.proof]
            if self.on_closed is not None:
                self.on_closed(*flow.remote)

    def connection(self, host: str, port: int, proof: TlsPeer | None = None) -> TcpFlow | None:
        """The open connection to a peer, or the one that is being opened."""
        flow = self._flows.get((host, port, proof))
        return flow if flow is not None and not flow.closed else None

    def flow_to(
        self, host: str, port: int, proof: TlsPeer | None = None, from_here: bool = False
    ) -> TcpFlow | None:
        """The open connection to a peer, else a new one that is being opened, from the address that
        is listened on if `from_here`. None if nobody is connected to so: by WebSocket, or over TLS
        without anything to believe it by."""
        known = self.connection(host, port, proof)
        if known is not None:
            return known
        if self.kind != "tcp" and proof is None:
            return None
        flow = TcpFlow(self, (host, port), proof)
        if len(self._ours) >= self.limits.max_opened:
            log.warning("tcp:%s not connected to: limits.max_opened", host_port(host, port))
            flow.closed = True
            return flow
        self._ours.add(flow)
        self._flows[host, port, proof] = flow
        task = self.loop.create_task(self._connect(flow, host, port, from_here))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return flow

    async def _connect(self, flow: TcpFlow, host: str, port: int, from_here: bool) -> None:
        here = (self.address[0], 0) if from_here and not self._everywhere else None
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await self.loop.create_connection(lambda: flow, host, port, local_addr=here)
        except (OSError, TimeoutError) as error:
            log.info("tcp:%s: %s", host_port(host, port), error or "timed out")
            if self._flows.get((host, port, flow.proof)) is flow:
                del self._flows[host, port, flow.proof]
            flow.failed()

    def cut_off(self) -> None:
        """Close the connections that banned addresses have opened."""
        for flow in list(self._flows.values()):
            if flow not in self._ours and network_of(flow.remote[0]) in self.banned:
                flow.abort()

    def stop_reading(self) -> None:
        """Take nothing more, no connections either."""
        if self._server is not None:
            self._server.close()
        for flow in self._flows.values():
            flow.stop_reading()

    async def close(self) -> None:
        self.lost = None
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        for flow in list(self._flows.values()):
            flow.hang_up()
        for task in list(self._connecting):
            task.cancel()
        # One turn of the loop lets the closed connections flush and say goodbye.
        await asyncio.sleep(0)
