"""Transports (RFC 3261 §18): all sockets of a switch, UDP, TCP, TLS and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from softswitch.sip.flow import Flow, ListenError, Receiver, Trace, TraceAt, TransportLimits
from softswitch.sip.hosts import host_port, is_numeric
from softswitch.sip.kept import Recorder, Ring
from softswitch.sip.outbox import Outbox
from softswitch.sip.tcp import BACKLOG, TcpFlow, TcpTransport, TlsPeer
from softswitch.sip.udp import UdpFlow, UdpSocket

_SOCKET_BUFFER: Final = 8 * 1024 * 1024


class _Traces:
    """Several who are shown the same."""

    def __init__(self, traces: list[Trace]) -> None:
        self._traces = traces

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` came from `peer`."""
        for trace in self._traces:
            trace.received(transport, peer, data)

    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` goes to `peer`."""
        for trace in self._traces:
            trace.sent(transport, peer, data)


class Transport:
    """All sockets of a switch. Raises `ListenError` from `listen` when an address cannot be had."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receiver: Receiver,
        limits: TransportLimits | None = None,
        outbox: Outbox | None = None,
        lost: Callable[[Flow], None] | None = None,
    ) -> None:
        """`lost` is told of connections that have closed with what somebody relies on."""
        self._loop = loop
        self._lost = lost
        self._receiver = receiver
        self._limits = limits or TransportLimits()
        if outbox is None:
            outbox = Outbox(loop.call_soon, loop.call_later, loop.time)
        self.outbox = outbox
        self._traces: tuple[TraceAt, ...] = ()
        self._ring: Ring | None = None
        self.on_closed: Callable[[tuple[str, str, int]], None] | None = None
        """Called when a connection is gone, with its transport, the peer's address and port."""
        self.context: ssl.SSLContext | None = None
        """What those get who connect over TLS; see `renew`."""
        self._origins: Sequence[str] = ()
        self.proof_of: Callable[[str, str, int], TlsPeer | None] | None = None
        """How a peer has to prove over TLS who it is, by its name (if it is known) and where it
        is."""
        self._outside: Callable[[str], str] | None = None
        self._banned: Mapping[str, float] = {}
        self._on_malformed: Callable[[str], object] | None = None
        self._udp: list[UdpSocket] = []
        self._tcp: list[TcpTransport] = []

    async def listen(
        self, transport: str, host: str, port: int, private: bool = False
    ) -> tuple[str, int]:
        """Listen on an address (port 0: any free one); returns the address that was bound.
        `private`: for those who know it (UDP), and for nobody else."""
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
                bound.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            bound.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ListenError(
                f"cannot listen on {transport}:{host_port(host, port)}: {why}"
            ) from error
        if transport == "udp":
            udp = UdpSocket(self._loop, self._receiver, self._limits, self.outbox, bound)
            udp.trace, udp.kept = self._trace_at(udp.address), self._ring
            udp.private = private
            udp.outside = None if private else self._outside
            if private or any(one.family == family for one in self._udp):
                udp.listener = host_port(*udp.address)
            udp.banned, udp.on_malformed = self._banned, self._on_malformed
            self._udp.append(udp)
            return udp.address
        tcp = TcpTransport(
            self._loop,
            self._receiver,
            self._limits,
            self.outbox,
            self._lost,
            transport,
            self.context if transport in ("tls", "wss") else None,
            self._origins,
        )
        tcp.trace = self._trace_at(bound.getsockname()[:2], self._ring)
        tcp.outside = self._outside
        tcp.banned, tcp.on_malformed = self._banned, self._on_malformed
        tcp.on_closed = partial(self._tcp_closed, transport)
        await tcp.listen(bound)
        if any(one.kind == transport and one.family == family for one in self._tcp):
            tcp.listener = host_port(*tcp.address)
        self._tcp.append(tcp)
        return tcp.address

    def _tcp_closed(self, transport: str, host: str, port: int) -> None:
        if self.on_closed is not None:
            self.on_closed((transport, host, port))

    def shut_out(
        self, banned: Mapping[str, float], malformed: Callable[[str], object] | None = None
    ) -> None:
        """Take nothing from the addresses in this table, which may change. `malformed` is told
        where something came from that is no SIP."""
        self._banned, self._on_malformed = banned, malformed
        for udp in self._udp:
            udp.banned, udp.on_malformed = banned, malformed
        for tcp in self._tcp:
            tcp.banned, tcp.on_malformed = banned, malformed

    def cut_off(self) -> None:
        """Close the connections that banned addresses have open."""
        for tcp in self._tcp:
            tcp.cut_off()

    @property
    def unread(self) -> int:
        """Datagrams and connections of banned addresses since the start."""
        return sum(u.unread for u in self._udp) + sum(t.unread for t in self._tcp)

    def let_in(self, origins: Sequence[str]) -> None:
        """The pages that may connect by WebSocket from now on; none: all."""
        self._origins = origins
        for tcp in self._tcp:
            tcp.origins = origins

    def renew(self, context: ssl.SSLContext) -> None:
        """Show other certificates from now on; connections that are open stay so."""
        self.context = context
        for tcp in self._tcp:
            if tcp.context is not None:
                tcp.context = context

    def known_as(self, outside: Callable[[str], str] | None) -> None:
        """Peers at a host know this switch by what this gives, where that is not empty."""
        self._outside = outside
        for udp in self._udp:
            if not udp.private:
                udp.outside = outside
        for tcp in self._tcp:
            tcp.outside = outside

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> UdpFlow | TcpFlow | None:
        """A flow to a numeric address, from a socket of its family; None if there is none. See
        `Network`."""
        if not is_numeric(host):
            # The system would go and ask the DNS, and everything would wait for it.
            return None
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if transport == "udp":
            first = None
            for udp in self._udp:
                if udp.family == family:
                    if udp.private and listener != host_port(*udp.address):
                        continue
                    if not listener or listener == host_port(*udp.address):
                        return UdpFlow(udp, (host, port), (host, port))
                    first = first or udp
            return None if first is None else UdpFlow(first, (host, port), (host, port))
        proof = None
        if transport == "tls" and self.proof_of is not None:
            proof = self.proof_of(peer, host, port)
        ours = [one for one in self._tcp if one.kind == transport and one.family == family]
        if listener:
            ours.sort(key=lambda one: listener != host_port(*one.address))
        for tcp in ours:
            flow = tcp.flow_to(host, port, proof, listener == host_port(*tcp.address))
            if flow is not None:
                return flow
        return None

    def connection(self, transport: str, host: str, port: int) -> TcpFlow | None:
        """The open connection to a peer; None if there is none."""
        for tcp in self._tcp:
            if tcp.kind == transport:
                flow = tcp.connection(host.strip("[]"), port)
                if flow is not None:
                    return flow
        return None

    @property
    def addresses(self) -> list[tuple[str, str, int]]:
        """What is listened on: (transport, host, port)."""
        return [("udp", *u.address) for u in self._udp if not u.private] + [
            (t.kind, *t.address) for t in self._tcp
        ]

    @property
    def malformed(self) -> int:
        """Messages dropped unread since the start."""
        return sum(u.malformed for u in self._udp) + sum(t.malformed for t in self._tcp)

    def show(self, *traces: TraceAt, ring: Ring | None = None) -> None:
        """From now on show each message that comes or goes, as it is on the wire, to all of these,
        and keep it in `ring`; none: no more."""
        self._traces, self._ring = traces, ring
        for udp in self._udp:
            udp.trace, udp.kept = self._trace_at(udp.address), ring
        for tcp in self._tcp:
            tcp.trace = self._trace_at(tcp.address, ring)

    def _trace_at(self, local: tuple[str, int], ring: Ring | None = None) -> Trace | None:
        traces = [trace(local) for trace in self._traces]
        if ring is not None:
            traces.append(Recorder(ring, local))
        return _Traces(traces) if len(traces) > 1 else traces[0] if traces else None

    def limit(self, limits: TransportLimits) -> None:
        """Go on with other limits: connections that are open stay so."""
        self._limits = limits
        for udp in self._udp:
            udp.limit(limits)
        for tcp in self._tcp:
            tcp.limits = limits
            tcp.door.take_up(limits.max_connections, limits.max_per_address)

    def catch_up(self) -> None:
        """Take the datagrams that wait; what came over connections the event loop brings."""
        for udp in self._udp:
            udp.catch_up()

    @property
    def connections(self) -> tuple[int, int, int]:
        """Connections that others have open now; since the start strangers' closed to make room,
        and refused."""
        doors = [tcp.door for tcp in self._tcp]
        return (
            sum(len(door) for door in doors),
            sum(door.sent_away for door in doors),
            sum(door.refused for door in doors),
        )

    def stop_reading(self) -> None:
        """Take nothing more; what is sent still leaves."""
        for udp in self._udp:
            udp.stop_reading()
        for tcp in self._tcp:
            tcp.stop_reading()

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
