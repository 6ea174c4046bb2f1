"""UDP: datagrams in as parsed messages with the flow that leads back to their sender, and out."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable, Mapping
from time import time
from typing import Any, ClassVar, Final

from softswitch.sip.flow import Receiver, Trace, TransportLimits
from softswitch.sip.framing import PING, PONG
from softswitch.sip.hosts import host_port, local_address_for, network_of
from softswitch.sip.kept import Ring
from softswitch.sip.message import Defect, MalformedMessage, Request
from softswitch.sip.outbox import OnError, Outbox, Target
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source

log = logging.getLogger(__name__)

_DATAGRAMS_A_WAKE: Final = 64
_DATAGRAMS_A_BATCH: Final = 2048
_DATAGRAMS_OF_A_STOP: Final = 16384
"""More than the system keeps of a socket."""


class UdpFlow:
    """A peer over UDP: `remote` is where its messages come from, `target` where ours go."""

    reliable: ClassVar[bool] = False
    transport: ClassVar[str] = "udp"
    peer: ClassVar[str] = ""

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

    @property
    def listener(self) -> str:
        return self._socket.listener

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Send one datagram. `on_error` is called (never from within) if it cannot be sent."""
        udp = self._socket
        udp.outbox.put(udp, data, self.target, on_error)


def _is_banned(host: str, banned: Mapping[str, float]) -> bool:
    return (host if ":" not in host else network_of(host)) in banned


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
        self.family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        self._wildcard = self.address[0] in ("0.0.0.0", "::")
        self._outside: Callable[[str], str] | None = None
        # Whether all peers know it by its own address.
        self._plain = not self._wildcard
        self._sent_by = host_port(*self.address)
        self._sent_by_to: dict[str, str] = {}
        self._blocked: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.listener = ""
        """What its flows say by which listener they go; see `Flow`."""
        self.private = False
        """Whether it is used by those alone who name it."""
        self.malformed = 0
        self.banned: Mapping[str, float] = {}
        """Addresses of which nothing is taken, as `network_of` gives them."""
        self.unread = 0
        """Datagrams from there."""
        self.on_malformed: Callable[[str], object] | None = None
        """Told where a datagram came from that is no SIP."""
        self.trace: Trace | None = None
        self.kept: Ring | None = None
        """Where messages are kept; by no call of its own, as each message would make it."""
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

    def limit(self, limits: TransportLimits) -> None:
        """Go on with other limits."""
        self._limits = limits
        self._buffer = memoryview(bytearray(limits.max_message_size + 1))

    def catch_up(self) -> None:
        """Take all that has come."""
        self._read(_DATAGRAMS_OF_A_STOP)

    def _read(self, at_once: int) -> None:
        receive = self._socket.recvfrom_into
        size = self._limits.max_message_size
        buffer = self._buffer
        limits = self._limits
        ring = self.kept
        kept: deque[Any] | None = None
        now = 0.0
        if ring is not None:
            # One time for all that one wake brings.
            kept, now = ring.entries, time()
            if len(kept) > ring.due:
                ring.settle()
        max_headers, max_text, max_kept = limits.max_headers, limits.max_text, limits.max_kept
        for _ in range(at_once):
            try:
                length, address = receive(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # An ICMP error for something sent before; the socket itself is fine.
                log.debug("udp %s: %s", self._sent_by, error)
                continue
            if self.banned and _is_banned(address[0], self.banned):
                self.unread += 1
                continue
            data = buffer[:length].tobytes()
            if self.trace is not None:
                self.trace.received("udp", address[:2], data)
            if kept is not None:
                kept.append((now, False, "udp", self.address, address[:2], data))
            if length < 20:
                # Keep-alives: CRLF, CRLFCRLF, a zero byte (RFC 5626 §3.5, and what NAT boxes send).
                if data == PING:
                    self.transmit(PONG, address[:2], None)
                continue
            remote = address[:2]
            try:
                message = parse(data, max_headers=max_headers, max_text=max_text, max_kept=max_kept)
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
                if self.on_malformed is not None:
                    self.on_malformed(remote[0])
                log.debug("from udp:%s: %s", host_port(*remote), error)
            except Exception:
                # One message must never take the switch down with it.
                log.exception("a message from udp:%s was not handled", host_port(*remote))

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        """Send one datagram now."""
        assert target is not None
        if self.trace is not None:
            self.trace.sent("udp", target, data)
        if self.kept is not None:
            self.kept.entries.append((time(), True, "udp", self.address, target, data))
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
        if self._plain:
            return self._sent_by
        known = self._sent_by_to.get(host)
        if known is None:
            if len(self._sent_by_to) > 10_000:
                self._sent_by_to.clear()
            ours = self._outside(host) if self._outside is not None else ""
            if not ours:
                ours = local_address_for(host) if self._wildcard else self.address[0]
            known = host_port(ours, self.address[1])
            self._sent_by_to[host] = known
        return known

    @property
    def outside(self) -> Callable[[str], str] | None:
        """By which host a peer knows this switch, if by another than its own; empty: its own."""
        return self._outside

    @outside.setter
    def outside(self, outside: Callable[[str], str] | None) -> None:
        self._outside = outside
        self._plain = not self._wildcard and outside is None
        self._sent_by_to.clear()

    def stop_reading(self) -> None:
        """Take nothing more."""
        self._paused = False
        self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        self.stop_reading()
        if self._blocked:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
