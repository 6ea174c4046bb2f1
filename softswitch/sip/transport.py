"""Transports (RFC 3261 §18, RFC 3581): the only file of the SIP stack that has sockets.

UDP datagrams and TCP streams come in as parsed messages with the flow that leads back to their
sender; what is sent goes to a flow. Stream framing is a machine of its own without I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import re
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, cast

from softswitch.sip.flow import ListenError
from softswitch.sip.header_values import NO_VIA
from softswitch.sip.message import Defect, MalformedMessage, Request, Response, parse
from softswitch.sip.outbox import OnError, Outbox, Target

log = logging.getLogger(__name__)

Receiver = Callable[[Request | Response, "UdpFlow | TcpFlow"], None]

_DATAGRAMS_A_WAKE: Final = 64
_DATAGRAMS_A_BATCH: Final = 2048
_SOCKET_BUFFER: Final = 8 * 1024 * 1024
_SWEEP_EVERY: Final = 30.0
_BACKLOG: Final = 512
_LINGER: Final = 5.0
_PING: Final = b"\r\n\r\n"
_PONG: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a stranger may cost: sizes in bytes, times in seconds.

    `max_queued` is what may wait for a connection that does not take it; of datagrams that the
    system does not take, a thousandth of it in number.
    """

    max_message_size: int = 65535
    max_headers: int = 256
    max_connections: int = 1000
    max_queued: int = 1_000_000
    tcp_idle: float = 3600.0
    connect_timeout: float = 5.0


@lru_cache(maxsize=8192)
def is_numeric(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def host_port(host: str, port: int) -> str:
    """``host:port`` as SIP writes it, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_RPORT_RE: Final = re.compile(r";\s*rport\s*(?:=\s*[^;,\s]*)?(?=\s*(?:;|\Z))", re.I)
_RECEIVED_RE: Final = re.compile(r";\s*received\s*(?:=\s*[^;,\s]*)?(?=\s*(?:;|\Z))", re.I)


def mark_source(request: Request, remote: tuple[str, int]) -> int:
    """Add `received` and `rport` to the topmost Via as §18.2.1 and RFC 3581 §4 say.

    Returns the port that a response over UDP goes to: a response goes to the address that its
    request came from in any case, so that a host name in a Via need never be looked up.
    """
    via = request.via
    host, port = remote
    if via is NO_VIA:
        # None that could be read; the one who is told so is whoever sent it.
        return port
    vias = request.headers["via"]
    if via.received is not None:
        # Only the receiver may say what it saw.
        vias[0] = _RECEIVED_RE.sub("", vias[0])
    if via.rport is not None:
        value = vias[0]
        mark = f";received={host};rport={port}"
        if value.endswith(";rport"):
            vias[0] = value[:-6] + mark
        else:
            vias[0] = _RPORT_RE.sub(mark, value, count=1)
        return port
    if via.host != host and via.host.strip("[]") != host:
        vias[0] += f";received={host}"
    return via.port or 5060


class UdpFlow:
    """A peer over UDP: `remote` is where its messages come from, `target` where ours go."""

    reliable: ClassVar[bool] = False
    transport: ClassVar[str] = "udp"

    __slots__ = ("_socket", "remote", "target")

    def __init__(
        self,
        socket: UdpSocket,
        remote: tuple[str, int],
        target: tuple[str, int],
    ) -> None:
        self._socket = socket
        self.remote = remote
        self.target = target

    @property
    def sent_by(self) -> str:
        return self._socket.sent_by(self.target[0])

    @property
    def local(self) -> UdpSocket:
        return self._socket

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Send one datagram. `on_error` is called (never from within) if it cannot be sent."""
        udp = self._socket
        udp.outbox.put(udp, data, self.target, on_error)


class UdpSocket:
    """One listening UDP socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits,
        outbox: Outbox,
        bound: socket.socket,
    ) -> None:
        self.outbox = outbox
        self._loop = loop
        self._receiver = receiver
        self._limits = limits
        self._socket = bound
        # One more than is allowed shows that there was more. One buffer for all: room for the
        # longest made anew for each datagram costs the allocator more than the copy.
        self._buffer = memoryview(bytearray(limits.max_message_size + 1))
        self.address: tuple[str, int] = bound.getsockname()[:2]
        self._wildcard = self.address[0] in ("0.0.0.0", "::")
        self._sent_by = host_port(*self.address)
        self._sent_by_to: dict[str, str] = {}
        self._blocked: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.malformed = 0
        self._paused = False
        loop.add_reader(bound.fileno(), self._readable)

    def _readable(self) -> None:
        """Take what has come. While a batch is being made up there is no hurry with more: nothing
        of it could leave sooner, and each wake-up costs as much as a message."""
        outbox = self.outbox
        if outbox.closing:
            self._paused = True
            self._loop.remove_reader(self._socket.fileno())
            outbox.at_close(self._resume)
            return
        self._read(_DATAGRAMS_A_WAKE)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.add_reader(self._socket.fileno(), self._readable)
            # All that has come in the meantime, or the pauses would be the limit of what is read.
            self._read(_DATAGRAMS_A_BATCH)

    def _read(self, at_once: int) -> None:
        receive = self._socket.recvfrom_into
        size = self._limits.max_message_size
        buffer = self._buffer
        max_headers = self._limits.max_headers
        for _ in range(at_once):
            try:
                length, address = receive(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error for something sent before; the socket itself is fine.
                log.debug("udp %s: %s", self._sent_by, error)
                continue
            data = buffer[:length].tobytes()
            if length < 20:
                # Keep-alives: CRLF, CRLFCRLF, a zero byte (RFC 5626 §3.5, and what NAT boxes send).
                if data == _PING:
                    self.transmit(_PONG, address[:2], None)
                continue
            remote = address[:2]
            try:
                message = parse(data, max_headers=max_headers)
                if type(message) is Request:
                    if length > size:
                        message.defect = Defect(513, "Message Too Large")
                    port = mark_source(message, remote)
                    target = remote if port == remote[1] else (remote[0], port)
                    self._receiver(message, UdpFlow(self, remote, target))
                else:
                    self._receiver(message, UdpFlow(self, remote, remote))
            except MalformedMessage as error:
                self.malformed += 1
                log.debug("from udp:%s: %s", host_port(*remote), error)
            except Exception:
                # One message must never take the switch down with it.
                log.exception("a message from udp:%s was not handled", host_port(*remote))

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        """Send one datagram now."""
        assert target is not None
        try:
            self._socket.sendto(data, target)
        except (BlockingIOError, InterruptedError):
            if len(self._blocked) * 1000 < self._limits.max_queued:
                if not self._blocked:
                    self._loop.add_writer(self._socket.fileno(), self._writable)
                self._blocked.append((data, target))
        except (OSError, OverflowError) as error:
            # The first two are the network's, of this datagram or one before: as good as lost.
            if getattr(error, "errno", None) not in (errno.ENOBUFS, errno.ECONNREFUSED):
                self._failed(target, on_error)

    def _failed(self, target: tuple[str, int], on_error: Callable[[], None] | None) -> None:
        log.debug("udp:%s cannot be sent to", host_port(*target))
        if on_error is not None:
            self._loop.call_soon(on_error)

    def _writable(self) -> None:
        while self._blocked:
            data, target = self._blocked[0]
            try:
                self._socket.sendto(data, target)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("udp:%s: %s", host_port(*target), error)
            self._blocked.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def sent_by(self, host: str) -> str:
        """What a Via or Contact calls this socket for a peer at `host`."""
        if not self._wildcard:
            return self._sent_by
        known = self._sent_by_to.get(host)
        if known is None:
            if len(self._sent_by_to) > 10_000:
                self._sent_by_to.clear()
            known = host_port(local_address_for(host), self.address[1])
            self._sent_by_to[host] = known
        return known

    def close(self) -> None:
        self._paused = False
        self._loop.remove_reader(self._socket.fileno())
        if self._blocked:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()


def local_address_for(host: str) -> str:
    """The address of this machine that packets to `host` leave from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        name: str = probe.getsockname()[0]
        return name


class StreamFramer:
    """Cuts a byte stream into SIP messages by Content-Length (§18.3).

    `pings` counts the keep-alives (RFC 5626 §3.5.1) that the caller has to answer. `lost` says why
    nothing more can be read: a message was too large, or said its length in a way that cannot be
    right. The latter is still handed over, so that it can be refused, but nobody knows where the
    next one begins.
    """

    def __init__(self, max_message_size: int) -> None:
        self._max = max_message_size
        self._buffer = bytearray()
        # Length of the message at the buffer's start once its headers are complete, else 0.
        self._total = 0
        self._searched = 0
        self.pings = 0
        self.lost = ""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages completed by `data`; none once `lost` is set."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while buffer and not self.lost:
            if not self._total:
                if buffer[0] in b"\r\n":
                    if buffer.startswith(_PING):
                        self.pings += 1
                        del buffer[:4]
                        continue
                    if _PING.startswith(bytes(buffer[:4])):
                        break
                    # Line ends between messages (§7.5).
                    del buffer[:1]
                    continue
                end = buffer.find(_PING, self._searched, self._max)
                if end < 0:
                    if len(buffer) >= self._max:
                        self.lost = "headers are too large"
                    self._searched = max(0, len(buffer) - 3)
                    break
                length = _content_length(bytes(buffer[: end + 2]))
                if length < 0:
                    self.lost = "bad Content-Length"
                    length = 0
                self._total = end + 4 + length
                if self._total > self._max:
                    self.lost = "message is too large"
                    break
            if len(buffer) < self._total:
                break
            messages.append(bytes(buffer[: self._total]))
            del buffer[: self._total]
            self._total = self._searched = 0
        if self.lost:
            buffer.clear()
        return messages


_FOLDED: Final = re.compile(rb"\r\n[ \t]+")


def _content_length(head: bytes) -> int:
    """What the Content-Length in a message's head says: 0 without one, -1 if it is not sane."""
    lower = head.lower()
    if b"\r\n " in lower or b"\r\n\t" in lower:
        lower = _FOLDED.sub(b" ", lower)
    found = -2
    for name in (b"\r\ncontent-length", b"\r\nl"):
        at = lower.find(name)
        while at >= 0:
            rest = lower[at + len(name) : lower.find(b"\r\n", at + 2)].lstrip(b" \t")
            if rest.startswith(b":"):
                text = rest[1:].strip(b" \t")
                length = int(text) if text.isdigit() and len(text) < 10 else -1
                if found not in (-2, length):
                    # Two that differ: whoever believes the other one sees other messages.
                    return -1
                found = length
            at = lower.find(name, at + 2)
    return 0 if found == -2 else found


class TcpFlow(asyncio.Protocol):
    """A peer over one TCP connection, in or out."""

    reliable = True
    transport = "tcp"

    def __init__(self, owner: TcpTransport, remote: tuple[str, int]) -> None:
        self._owner = owner
        self.remote = remote
        self._framer = StreamFramer(owner.limits.max_message_size)
        self._transport: asyncio.Transport | None = None
        # What was sent before the connection was made, and the bytes of it.
        self._waiting: list[tuple[bytes, Callable[[], None] | None]] = []
        self._queued = 0
        self._last_seen = owner.loop.time()
        self.closed = False

    @property
    def sent_by(self) -> str:
        return self._owner.sent_by(self.remote[0])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is not None and not self.remote[0]:
            # A connection that we made keeps the address that it is looked for by.
            self.remote = peer[:2]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.closed or not self._owner.opened(self):
            self.abort()
            return
        waiting, self._waiting = self._waiting, []
        for data, on_error in waiting:
            self.transmit(data, None, on_error)

    def data_received(self, data: bytes) -> None:
        self._last_seen = self._owner.loop.time()
        framer = self._framer
        messages = framer.feed(data)
        while framer.pings:
            framer.pings -= 1
            self.transmit(_PONG, None, None)
        for one in messages:
            try:
                message = parse(one, datagram=False, max_headers=self._owner.limits.max_headers)
                if type(message) is Request:
                    mark_source(message, self.remote)
                self._owner.receiver(message, self)
            except MalformedMessage as error:
                self._owner.malformed += 1
                log.debug("from tcp:%s: %s", host_port(*self.remote), error)
            except Exception:
                log.exception("a message from tcp:%s was not handled", host_port(*self.remote))
        if framer.lost and not self.closed:
            self._owner.malformed += 1
            log.info("tcp:%s: %s; connection closed", host_port(*self.remote), framer.lost)
            self.close()

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Queue `data` on the connection. `on_error` is called later if it cannot be sent."""
        self._owner.outbox.put(self, data, None, on_error)

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        """Give `data` to the connection now, or as soon as it is made."""
        transport = self._transport
        if self.closed if transport is None else transport.is_closing():
            if on_error is not None:
                self._owner.loop.call_soon(on_error)
            return
        if transport is None:
            self._queued += len(data)
            if self._queued > self._owner.limits.max_queued:
                if on_error is not None:
                    self._owner.loop.call_soon(on_error)
                return
            self._waiting.append((data, on_error))
            return
        transport.write(data)
        if transport.get_write_buffer_size() > self._owner.limits.max_queued:
            log.warning("tcp:%s does not read; connection closed", host_port(*self.remote))
            self.abort()

    def failed(self) -> None:
        """The connection is gone, or was never made: so is what waits for it."""
        self.closed = True
        self._transport = None
        self._owner.forget(self)
        waiting, self._waiting = self._waiting, []
        for _, on_error in waiting:
            if on_error is not None:
                on_error()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed()

    def idle_since(self) -> float:
        """Loop time of the last byte received, in seconds."""
        return self._last_seen

    def close(self) -> None:
        """Close once all that was sent has gone."""
        self.closed = True
        self._owner.outbox.put(_Closing(self), b"", None, None)

    def hang_up(self) -> None:
        """Nothing is to be sent any more."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now: a peer that does not read would keep its connection for ever."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


class _Closing:
    """Stands in the outbox behind the last message of a connection."""

    __slots__ = ("_flow",)

    def __init__(self, flow: TcpFlow) -> None:
        self._flow = flow

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        self._flow.hang_up()


class TcpTransport:
    """One listening TCP address and the connections of both directions."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits,
        outbox: Outbox,
    ) -> None:
        self.outbox = outbox
        self.loop = loop
        self.receiver = receiver
        self.limits = limits
        self.address: tuple[str, int] = ("", 0)
        self.malformed = 0
        self._server: asyncio.Server | None = None
        self._flows: dict[tuple[str, int], TcpFlow] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def listen(self, bound: socket.socket) -> None:
        self.address = bound.getsockname()[:2]
        self._server = await self.loop.create_server(
            lambda: TcpFlow(self, ("", 0)), sock=bound, backlog=_BACKLOG
        )
        self._sweep_later()

    def _sweep_later(self) -> None:
        every = min(_SWEEP_EVERY, self.limits.tcp_idle)
        self._sweep = self.loop.call_later(every, self._close_idle)

    def _close_idle(self) -> None:
        now = self.loop.time()
        for flow in list(self._flows.values()):
            if flow.idle_since() >= now - self.limits.tcp_idle and not flow.closed:
                continue
            if flow.closed and flow.idle_since() < now - _LINGER:
                # Its peer does not read what it was told last.
                flow.abort()
            else:
                flow.close()
        self._sweep_later()

    def sent_by(self, host: str) -> str:
        """What a Via or Contact calls this address for a peer at `host`."""
        if self.address[0] in ("0.0.0.0", "::"):
            return host_port(local_address_for(host), self.address[1])
        return host_port(*self.address)

    def opened(self, flow: TcpFlow) -> bool:
        if len(self._flows) >= self.limits.max_connections and flow.remote not in self._flows:
            log.warning("tcp:%s refused: too many connections", host_port(*flow.remote))
            return False
        self._flows[flow.remote] = flow
        return True

    def forget(self, flow: TcpFlow) -> None:
        if self._flows.get(flow.remote) is flow:
            del self._flows[flow.remote]

    def flow_to(self, host: str, port: int) -> TcpFlow:
        """The open connection to a peer, else a new one that is being opened."""
        flow = self._flows.get((host, port))
        if flow is not None and not flow.closed:
            return flow
        flow = TcpFlow(self, (host, port))
        if len(self._flows) >= self.limits.max_connections:
            log.warning("tcp:%s not connected to: too many connections", host_port(host, port))
            flow.closed = True
            return flow
        self._flows[(host, port)] = flow
        task = self.loop.create_task(self._connect(flow, host, port))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return flow

    async def _connect(self, flow: TcpFlow, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await self.loop.create_connection(lambda: flow, host, port)
        except (OSError, TimeoutError) as error:
            log.info("tcp:%s: %s", host_port(host, port), error or "timed out")
            if self._flows.get((host, port)) is flow:
                del self._flows[(host, port)]
            flow.failed()

    async def close(self) -> None:
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


class Transport:
    """All sockets of a switch. Raises `ListenError` from `listen` when an address cannot be had."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        self._loop = loop
        self._receiver = receiver
        self._limits = limits or TransportLimits()
        if outbox is None:
            outbox = Outbox(loop.call_soon, loop.call_later, loop.time)
        self.outbox = outbox
        self._udp: list[UdpSocket] = []
        self._tcp: list[TcpTransport] = []

    async def listen(self, transport: str, host: str, port: int) -> tuple[str, int]:
        """Listen on an address (port 0: any free one); returns the address that was bound."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        bound = socket.socket(family, kind)
        try:
            bound.setblocking(False)
            if family == socket.AF_INET6:
                # IPv4 has sockets of its own; on this one it would come in IPv6's clothes.
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if transport == "udp":
                _enlarge_buffers(bound)
            else:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            if transport != "udp":
                bound.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            bound.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ListenError(
                f"cannot listen on {transport}:{host_port(host, port)}: {why}"
            ) from error
        if transport == "udp":
            udp = UdpSocket(self._loop, self._receiver, self._limits, self.outbox, bound)
            self._udp.append(udp)
            return udp.address
        tcp = TcpTransport(self._loop, self._receiver, self._limits, self.outbox)
        await tcp.listen(bound)
        self._tcp.append(tcp)
        return tcp.address

    def flow_to(self, transport: str, host: str, port: int) -> UdpFlow | TcpFlow | None:
        """A flow to a numeric address, from a socket of its family; None if there is none."""
        if not is_numeric(host):
            # The system would go and ask the DNS, and everything would wait for it.
            return None
        host = host.strip("[]")
        six = ":" in host
        if transport == "udp":
            for udp in self._udp:
                if (":" in udp.address[0]) == six:
                    return UdpFlow(udp, (host, port), (host, port))
        elif transport == "tcp":
            for tcp in self._tcp:
                if (":" in tcp.address[0]) == six:
                    return tcp.flow_to(host, port)
        return None

    @property
    def addresses(self) -> list[tuple[str, str, int]]:
        """What is listened on: (transport, host, port)."""
        return [("udp", *u.address) for u in self._udp] + [("tcp", *t.address) for t in self._tcp]

    @property
    def malformed(self) -> int:
        """Messages dropped unread since the start."""
        return sum(u.malformed for u in self._udp) + sum(t.malformed for t in self._tcp)

    async def close(self) -> None:
        """Send what waits, and close everything."""
        self.outbox.flush()
        for udp in self._udp:
            udp.close()
        for tcp in self._tcp:
            await tcp.close()


def _enlarge_buffers(sock: socket.socket) -> None:
    # A burst of a thousand calls must fit while Python is busy; as root the system's cap is lifted.
    force = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}
    for option, forced in force.items():
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, _SOCKET_BUFFER)
        except OSError:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
