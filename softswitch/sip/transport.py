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
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from softswitch.sip.message import MalformedMessage, Request, Response, parse

log = logging.getLogger(__name__)

Receiver = Callable[[Request | Response, "UdpFlow | TcpFlow"], None]

_DATAGRAMS_A_WAKE: Final = 64
_SOCKET_BUFFER: Final = 8 * 1024 * 1024
_RESOLVED_FOR: Final = 60.0
_PING: Final = b"\r\n\r\n"
_PONG: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a stranger may cost: sizes in bytes, times in seconds."""

    max_message_size: int = 65535
    max_headers: int = 256
    max_connections: int = 1000
    max_queued: int = 1_000_000
    tcp_idle: float = 3600.0
    connect_timeout: float = 5.0


class ListenError(OSError):
    """An address that cannot be listened on; the text is one line for whoever configured it."""


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


def mark_source(request: Request, remote: tuple[str, int]) -> int | None:
    """Add `received` and `rport` to the topmost Via as §18.2.1 and RFC 3581 §4 say.

    Returns the port that a response over UDP goes to.
    """
    via = request.via
    host, port = remote
    if via.rport is not None:
        value = request.headers["via"][0]
        mark = f";received={host};rport={port}"
        if via.rport == "":
            bare, found, rest = value.rpartition(";rport")
            value = bare + mark + rest.removeprefix("=") if found else value + mark
        request.headers["via"][0] = value
        return port
    if via.host != host:
        request.headers["via"][0] += f";received={host}"
    return via.port or 5060


class UdpFlow:
    """A peer over UDP: `remote` is where its messages come from, `target` where ours go."""

    __slots__ = ("_socket", "remote", "target")

    reliable = False
    transport = "udp"

    def __init__(
        self, udp: UdpSocket, remote: tuple[str, int], target: tuple[str, int] | None = None
    ) -> None:
        self._socket = udp
        self.remote = remote
        self.target = target or remote

    @property
    def sent_by(self) -> str:
        return self._socket.sent_by(self.target[0])

    @property
    def local(self) -> UdpSocket:
        return self._socket

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Send one datagram. `on_error` is called (never from within) if it cannot be sent."""
        self._socket.send(data, self.target, on_error)


class UdpSocket:
    """One listening UDP socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits,
        bound: socket.socket,
    ) -> None:
        self._loop = loop
        self._receiver = receiver
        self._limits = limits
        self._socket = bound
        self.address: tuple[str, int] = bound.getsockname()[:2]
        self._wildcard = self.address[0] in ("0.0.0.0", "::")
        self._sent_by = host_port(*self.address)
        self._sent_by_to: dict[str, str] = {}
        self._resolved: dict[str, tuple[float, str]] = {}
        self._blocked: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.malformed = 0
        loop.add_reader(bound.fileno(), self._readable)

    def _readable(self) -> None:
        receive = self._socket.recvfrom
        size = self._limits.max_message_size
        max_headers = self._limits.max_headers
        for _ in range(_DATAGRAMS_A_WAKE):
            try:
                data, address = receive(size)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error for something sent before; the socket itself is fine.
                log.debug("udp %s: %s", self._sent_by, error)
                continue
            if len(data) < 20:
                # Keep-alives: CRLF, CRLFCRLF, a zero byte (RFC 5626 §3.5, and what NAT boxes send).
                if data == _PING:
                    self.send(_PONG, address[:2], None)
                continue
            remote = address[:2]
            try:
                message = parse(data, max_headers=max_headers)
                if type(message) is Request:
                    port = mark_source(message, remote)
                    target = remote if port == remote[1] else (remote[0], port or 5060)
                    self._receiver(message, UdpFlow(self, remote, target))
                else:
                    self._receiver(message, UdpFlow(self, remote))
            except MalformedMessage as error:
                self.malformed += 1
                log.debug("from udp:%s: %s", host_port(*remote), error)
            except Exception:
                # One message must never take the switch down with it.
                log.exception("a message from udp:%s was not handled", host_port(*remote))

    def send(
        self, data: bytes, target: tuple[str, int], on_error: Callable[[], None] | None
    ) -> None:
        try:
            self._socket.sendto(data, target)
        except (BlockingIOError, InterruptedError):
            if len(self._blocked) * 1000 < self._limits.max_queued:
                if not self._blocked:
                    self._loop.add_writer(self._socket.fileno(), self._writable)
                self._blocked.append((data, target))
        except socket.gaierror:
            self._failed(target, on_error)
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ECONNREFUSED):
                return
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
    """Cuts a byte stream into SIP messages by Content-Length (§18.3)."""

    def __init__(self, max_message_size: int) -> None:
        self._max = max_message_size
        self._buffer = bytearray()
        self.pings = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages completed by `data`. Raises `MalformedMessage` when the stream is lost.

        Keep-alive pings (RFC 5626 §3.5.1) are counted in `pings`, for the caller to answer.
        """
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while buffer:
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
            end = buffer.find(b"\r\n\r\n", 0, self._max)
            if end < 0:
                if len(buffer) >= self._max:
                    raise MalformedMessage("headers are too large")
                break
            total = end + 4 + _content_length(bytes(buffer[: end + 2]))
            if total > self._max:
                raise MalformedMessage("message is too large")
            if len(buffer) < total:
                break
            messages.append(bytes(buffer[:total]))
            del buffer[:total]
        return messages


def _content_length(head: bytes) -> int:
    lower = head.lower()
    for name in (b"\r\ncontent-length", b"\r\nl"):
        at = lower.find(name)
        while at >= 0:
            rest = lower[at + len(name) : lower.find(b"\r\n", at + 2)].lstrip(b" \t")
            if rest.startswith(b":"):
                text = rest[1:].strip(b" \t")
                # The parser answers a bad one with 400; here it only must not swallow what follows.
                return int(text) if text.isdigit() and len(text) < 10 else 0
            at = lower.find(name, at + 2)
    return 0


class TcpFlow(asyncio.Protocol):
    """A peer over one TCP connection, in or out."""

    reliable = True
    transport = "tcp"

    def __init__(self, owner: TcpTransport, remote: tuple[str, int]) -> None:
        self._owner = owner
        self.remote = remote
        self._framer = StreamFramer(owner.limits.max_message_size)
        self._transport: asyncio.Transport | None = None
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
        if peer is not None:
            self.remote = peer[:2]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._owner.opened(self):
            transport.abort()
            return
        waiting, self._waiting = self._waiting, []
        for data, _ in waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._last_seen = self._owner.loop.time()
        framer = self._framer
        try:
            messages = framer.feed(data)
        except MalformedMessage as error:
            log.info("tcp:%s: %s; connection closed", host_port(*self.remote), error)
            self._owner.malformed += 1
            self.close()
            return
        while framer.pings:
            framer.pings -= 1
            self.send(_PONG)
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

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Queue `data` on the connection. `on_error` is called later if it cannot be sent."""
        if self.closed:
            if on_error is not None:
                self._owner.loop.call_soon(on_error)
            return
        if self._transport is None:
            self._waiting.append((data, on_error))
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._owner.limits.max_queued:
            log.warning("tcp:%s does not read; connection closed", host_port(*self.remote))
            self.close()

    def failed(self) -> None:
        """The connection was never made."""
        self.closed = True
        self._owner.forget(self)
        waiting, self._waiting = self._waiting, []
        for _, on_error in waiting:
            if on_error is not None:
                on_error()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._transport = None
        self._owner.forget(self)

    def idle_since(self) -> float:
        """Loop time of the last byte received, in seconds."""
        return self._last_seen

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()


class TcpTransport:
    """One listening TCP address and the connections of both directions."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, receiver: Receiver, limits: TransportLimits
    ) -> None:
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
            lambda: TcpFlow(self, ("", 0)), sock=bound, backlog=512
        )
        self._sweep = self.loop.call_later(30.0, self._close_idle)

    def _close_idle(self) -> None:
        before = self.loop.time() - self.limits.tcp_idle
        for flow in [f for f in self._flows.values() if f.idle_since() < before]:
            flow.close()
        self._sweep = self.loop.call_later(30.0, self._close_idle)

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
            flow.close()
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
    ) -> None:
        self._loop = loop
        self._receiver = receiver
        self._limits = limits or TransportLimits()
        self._udp: list[UdpSocket] = []
        self._tcp: list[TcpTransport] = []

    async def listen(self, transport: str, host: str, port: int) -> tuple[str, int]:
        """Listen on an address (port 0: any free one); returns the address that was bound."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        bound = socket.socket(family, kind)
        try:
            bound.setblocking(False)
            if transport == "udp":
                _enlarge_buffers(bound)
            else:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
        except (OSError, OverflowError) as error:
            bound.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ListenError(
                f"cannot listen on {transport}:{host_port(host, port)}: {why}"
            ) from error
        if transport == "udp":
            udp = UdpSocket(self._loop, self._receiver, self._limits, bound)
            self._udp.append(udp)
            return udp.address
        tcp = TcpTransport(self._loop, self._receiver, self._limits)
        await tcp.listen(bound)
        self._tcp.append(tcp)
        return tcp.address

    def flow_to(self, transport: str, host: str, port: int) -> UdpFlow | TcpFlow | None:
        """A flow to a numeric address, from a socket of its family; None if there is none."""
        host = host.strip("[]")
        six = ":" in host
        if transport == "udp":
            for udp in self._udp:
                if (":" in udp.address[0]) == six:
                    return UdpFlow(udp, (host, port))
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
