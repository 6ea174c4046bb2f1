"""UDP and TCP through real sockets on loopback, on asyncio's loop and on uvloop's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from softswitch.sip import transport as module
from softswitch.sip.flow import Flow, ListenError, TransportLimits
from softswitch.sip.hosts import host_port, is_numeric, local_address_for, unreachable_from
from softswitch.sip.message import Request, Response, response_bytes
from softswitch.sip.tcp import TcpFlow
from softswitch.sip.transport import Transport
from softswitch.sip.udp import UdpFlow

Message = Request | Response
WAIT = 10.0
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return (
        uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()
    )


def options(number: int = 1, via: str = "127.0.0.1:9;rport", body: bytes = b"") -> bytes:
    return (
        f"OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{number}\r\n"
        f"From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c{number}\r\nCSeq: {number} OPTIONS"
        f"\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class Server:
    """A transport that answers every request with 200 and keeps what came."""

    def __init__(self, limits: TransportLimits) -> None:
        loop = asyncio.get_running_loop()
        self.lost: list[Flow] = []
        self.transport = Transport(loop, self.receive, limits, lost=self.lost.append)
        self.got: list[tuple[Message, UdpFlow | TcpFlow]] = []
        self.came = asyncio.Condition()
        self.answers = True
        self.raises = False
        self.party: object = None

    def receive(self, message: Message, flow: UdpFlow | TcpFlow) -> None:
        self.got.append((message, flow))
        asyncio.get_running_loop().create_task(self._notify())
        if self.raises:
            raise RuntimeError("a bug above")
        if isinstance(message, Request):
            message.party = self.party
        if self.answers and isinstance(message, Request):
            status = message.defect.status if message.defect else 200
            flow.send(response_bytes(message, status))

    async def _notify(self) -> None:
        async with self.came:
            self.came.notify_all()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(WAIT), self.came:
            await self.came.wait_for(lambda: len(self.got) >= count)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(**limits: float) -> Server:
        server = Server(TransportLimits(**limits))  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield make
    for server in servers:
        await server.transport.close()


class Datagrams:
    """A UDP client."""

    def __init__(self, family: int = socket.AF_INET, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.socket, 65535), WAIT)

    def __enter__(self) -> Datagrams:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# --- UDP


async def test_udp_answers_where_the_request_came_from(start: Callable[..., Server]) -> None:
    server = start()
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    assert server.transport.addresses == [("udp", *address)]
    with Datagrams() as client:
        client.socket.sendto(options(via="10.9.9.9:1;rport"), address)
        reply = await client.receive()
        assert reply.startswith(b"SIP/2.0 200 OK\r\n")
        assert f";received=127.0.0.1;rport={client.port};branch".encode() in reply
        flow = server.got[0][1]
        assert (flow.remote, flow.transport, flow.reliable) == (
            ("127.0.0.1", client.port),
            "udp",
            False,
        )
        assert flow.sent_by == host_port(*address)
        assert isinstance(flow, UdpFlow)
        assert flow.listener == ""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_one_of_several_listeners(start: Callable[..., Server], transport: str) -> None:
    """A flow says by which it goes, but for the first, and another is opened by that one."""
    server, there = start(), start()
    network = server.transport
    addresses = [await network.listen(transport, f"127.0.0.{n}", 0) for n in (1, 2, 3)]
    target = await there.transport.listen(transport, "127.0.0.4", 0)
    for address in (*addresses[1:], addresses[0]):
        listener = host_port(*address)
        flow = network.flow_to(transport, *target, listener)
        assert flow is not None
        assert flow.listener == (listener if address != addresses[0] else "")
        assert flow.sent_by == listener
        flow.send(options(via=f"{listener};rport"))
        await there.wait(1)
        assert there.got.pop()[1].remote[0] == address[0]
    for unknown in ("", "127.0.0.1:1"):
        flow = network.flow_to(transport, *target, unknown)
        assert flow is not None
        assert flow.sent_by == host_port(*addresses[0])
        assert flow.listener == ""


async def test_who_sends_what_is_no_sip_is_told(start: Callable[..., Server]) -> None:
    server = start()
    seen: list[str] = []
    server.transport.shut_out({}, seen.append)
    udp = await server.transport.listen("udp", "127.0.0.1", 0)
    tcp = await server.transport.listen("tcp", "127.0.0.1", 0)
    with Datagrams() as client:
        client.socket.sendto(b"x" * 30 + b"\r\n\r\n", udp)
        await until(lambda: len(seen) == 1)
    reader, writer = await asyncio.open_connection(*tcp)
    writer.write(b"no SIP at all\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: len(seen) == 2)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()
    assert seen == ["127.0.0.1"] * 3


async def test_udp_without_rport_answers_to_the_port_of_the_via(
    start: Callable[..., Server],
) -> None:
    """§18.2.2: the source address, with the port of sent-by; a host name there is not looked up."""
    server = start()
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as client, Datagrams() as other:
        client.socket.sendto(options(via=f"name.invalid:{other.port}"), address)
        assert b";received=127.0.0.1\r\n" in await other.receive()
        flow = server.got[0][1]
        assert isinstance(flow, UdpFlow)
        assert flow.remote == ("127.0.0.1", client.port)
        assert flow.target == ("127.0.0.1", other.port)


async def test_udp_keep_alives(start: Callable[..., Server]) -> None:
    """RFC 5626 §3.5: CRLFCRLF gets CRLF; what NAT boxes and phones send besides gets nothing."""
    server = start()
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as client:
        for data in (b"\0", b"", b"\r\n", b"\0\0\0\0", b"\r\n\r\n"):
            client.socket.sendto(data, address)
        assert await client.receive() == b"\r\n"
    assert server.got == []
    assert server.transport.malformed == 0


async def test_udp_drops_and_survives(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = start(max_message_size=1000, max_headers=20)
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as client:
        for data in (b"\xff" * 100, b"no sip at all, not a bit", b"SIP/2.0 999 Too High\r\n\r\n"):
            client.socket.sendto(data, address)
        # No Via: nobody to answer to, but nothing to stumble over either.
        client.socket.sendto(b"OPTIONS sip:b SIP/2.0\r\nCall-ID: 1\r\n\r\n", address)
        server.answers = False
        client.socket.sendto(options(1, body=b"x" * 2000), address)
        client.socket.sendto(options(2, body=b"x" * 500), address)
        client.socket.sendto(b"SIP/2.0 200 OK" + options(3).partition(b"SIP/2.0")[2], address)
        await server.wait(4)
        assert [type(m).__name__ for m, _ in server.got] == ["Request"] * 3 + ["Response"]
        assert [m.defect and m.defect.status for m, _ in server.got if isinstance(m, Request)] == [
            400,
            513,
            None,
        ]
        assert server.transport.malformed == 3
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
        server.raises = True
        client.socket.sendto(options(4), address)
        await server.wait(5)
        server.raises, server.answers = False, True
        client.socket.sendto(options(5), address)
        assert b"Call-ID: c5" in await client.receive()
        assert "was not handled" in caplog.text


async def test_udp_errors_are_told_later(start: Callable[..., Server]) -> None:
    server = start()
    await server.transport.listen("udp", "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    for host, data in (("255.255.255.255", b"x" * 30), ("127.0.0.1", b"x" * 70_000)):
        flow = server.transport.flow_to("udp", host, 5)
        assert flow is not None
        failed: asyncio.Future[None] = loop.create_future()
        flow.send(data)
        flow.send(data, lambda failed=failed: failed.set_result(None))
        assert not failed.done()
        await asyncio.wait_for(failed, WAIT)
    # A port that no datagram can have, and nobody to be told.
    flow = UdpFlow(flow.local, ("127.0.0.1", 5), ("127.0.0.1", 99_999))  # type: ignore[union-attr]
    flow.send(b"x")


async def test_udp_to_a_closed_port_is_lost_and_nothing_more(
    start: Callable[..., Server],
) -> None:
    """An ICMP answer to what was sent before stops nothing and fails nothing sent next."""
    server = start()
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as gone:
        port = gone.port
    flow = server.transport.flow_to("udp", "127.0.0.1", port)
    assert flow is not None
    errors: list[int] = []
    for _ in range(5):
        flow.send(b"x" * 30, lambda: errors.append(1))
        await asyncio.sleep(0)
    with Datagrams() as client:
        client.socket.sendto(options(), address)
        await client.receive()
    assert errors == []


async def test_udp_waits_for_a_full_socket(start: Callable[..., Server]) -> None:
    """What the system does not take is kept, up to a bound, and sent once it does."""
    server = start(max_queued=3000)
    await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as client:
        flow = server.transport.flow_to("udp", "127.0.0.1", client.port)
        assert isinstance(flow, UdpFlow)
        udp = flow.local
        real = udp._socket

        class Full:
            full = True

            def sendto(self, data: bytes, target: tuple[str, int]) -> int:
                if self.full:
                    raise BlockingIOError
                if data == b"bad":
                    raise OSError("no")
                return real.sendto(data, target)

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        full = Full()
        udp._socket = full  # type: ignore[assignment]
        for number in range(5):
            flow.send(b"bad" if number == 1 else b"%d" % number)
        await asyncio.sleep(0.02)
        full.full = False
        assert await client.receive() == b"0"
        assert await client.receive() == b"2"
        assert len(udp._blocked) == 0
        # Closed while something waits.
        full.full = True
        flow.send(b"x")


async def test_udp_is_not_read_while_a_batch_is_made_up_and_then_to_the_end(
    start: Callable[..., Server],
) -> None:
    """Nothing of it could leave sooner; and however much came meanwhile, all of it is in time."""
    server = start()
    outbox = server.transport.outbox
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    with Datagrams() as client:
        outbox.closing = True
        client.socket.sendto(options(1), address)
        await until(lambda: server.transport._udp[0]._paused)
        for number in range(2, 201):
            client.socket.sendto(options(number), address)
        assert server.got == []
        # The batch is closed: what waits is read before that.
        outbox.told()
        outbox._ask()
        assert len(server.got) == 200
        client.socket.sendto(options(201), address)
        await server.wait(201)


async def test_udp_reads_on_after_an_error_and_in_turns(start: Callable[..., Server]) -> None:
    """More datagrams than one turn of the loop takes, behind an error of the socket."""
    server = start()
    server.answers = False
    address = await server.transport.listen("udp", "127.0.0.1", 0)
    udp = server.transport._udp[0]
    real = udp._socket
    errors = [OSError("an ICMP error"), InterruptedError()]

    class Failing:
        def recvfrom_into(self, buffer: memoryview) -> object:
            if errors:
                raise errors.pop(0)
            return real.recvfrom_into(buffer)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    udp._socket = Failing()  # type: ignore[assignment]
    with Datagrams() as client:
        for number in range(200):
            client.socket.sendto(options(number + 1), address)
        await server.wait(200)
    assert [m.cseq for m, _ in server.got] == list(range(1, 201))
    assert errors == []


def test_socket_buffers_as_large_as_one_may_have_them() -> None:
    """Without the right to lift the system's cap, up to it."""

    class Capped:
        def __init__(self, allowed: tuple[int, ...]) -> None:
            self.allowed = allowed
            self.set: list[int] = []

        def setsockopt(self, level: int, option: int, value: int) -> None:
            if option not in self.allowed:
                raise PermissionError
            self.set.append(option)

    for allowed in ((socket.SO_RCVBUF, socket.SO_SNDBUF), (), (33, 32)):
        capped = Capped(allowed)
        module._enlarge_buffers(capped)  # type: ignore[arg-type]
        assert capped.set == list(allowed)


async def test_wildcard_sockets_name_the_address_that_the_peer_can_reach(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start()
    _, udp_port = await server.transport.listen("udp", "0.0.0.0", 0)
    _, tcp_port = await server.transport.listen("tcp", "0.0.0.0", 0)
    for kind, port in (("udp", udp_port), ("tcp", tcp_port)):
        flow = server.transport.flow_to(kind, "127.0.0.1", 9)
        assert flow is not None
        assert flow.sent_by == f"127.0.0.1:{port}"
        assert flow.sent_by == f"127.0.0.1:{port}"
    udp = server.transport._udp[0]
    udp._sent_by_to.update({f"h{n}": "x" for n in range(10_001)})
    assert udp.sent_by("127.0.0.2") == f"127.0.0.1:{udp_port}"
    assert len(udp._sent_by_to) == 1
    assert local_address_for("127.0.0.3").startswith("127.")
    # Nothing leads there.
    assert local_address_for("2001:db8::1:99999") == "::1"
    assert local_address_for("256.1.1.1") == "127.0.0.1"


# --- addresses


async def test_flows_lead_to_numeric_addresses_of_a_family_that_is_listened_on(
    start: Callable[..., Server],
) -> None:
    server = start()
    await server.transport.listen("udp", "127.0.0.1", 0)
    flow_to = server.transport.flow_to
    assert flow_to("udp", "localhost", 5060) is None
    assert flow_to("udp", "999.1.1.1", 5060) is None
    assert flow_to("udp", "[::1]", 5060) is None
    assert flow_to("tcp", "127.0.0.1", 5060) is None
    assert flow_to("tls", "127.0.0.1", 5060) is None
    assert flow_to("udp", "127.0.0.1", 5060) is not None
    assert [is_numeric(h) for h in ("127.0.0.1", "[::1]", "::1", "a.b", "1.2.3")] == [
        True,
        True,
        True,
        False,
        False,
    ]


async def test_listening_fails_with_one_line(start: Callable[..., Server]) -> None:
    server = start()
    for kind in ("udp", "tcp"):
        _, port = await server.transport.listen(kind, "127.0.0.1", 0)
        wanted = f"cannot listen on {kind}:127.0.0.1:{port}: Address already in use"
        with pytest.raises(ListenError, match=f"^{re.escape(wanted)}$"):
            await server.transport.listen(kind, "127.0.0.1", port)
        with pytest.raises(ListenError, match="Cannot assign requested address"):
            await server.transport.listen(kind, "203.0.113.77", 0)
        with pytest.raises(ListenError, match=f"cannot listen on {kind}:127.0.0.1:70000: "):
            await server.transport.listen(kind, "127.0.0.1", 70_000)
    assert len(server.transport.addresses) == 2


async def test_ipv6(start: Callable[..., Server]) -> None:
    """Beside IPv4 on the same port; neither family sees the other's peers."""
    server = start()
    try:
        _, port = await server.transport.listen("udp", "::", 0)
    except ListenError as error:
        pytest.skip(f"no IPv6: {error}")
    await server.transport.listen("udp", "0.0.0.0", port)
    _, tcp_port = await server.transport.listen("tcp", "::1", 0)
    with Datagrams(socket.AF_INET6, "::1") as client:
        client.socket.sendto(options(via="[::1]:9;rport"), ("::1", port))
        assert f";received=::1;rport={client.port}".encode() in await client.receive()
    assert server.got[0][1].sent_by == f"[::1]:{port}"
    with Datagrams() as client:
        client.socket.sendto(options(), ("127.0.0.1", port))
        await client.receive()
    assert server.got[1][1].remote[0] == "127.0.0.1"
    assert server.got[1][1].sent_by == f"127.0.0.1:{port}"
    flow = server.transport.flow_to("tcp", "[::1]", tcp_port)
    assert flow is not None
    flow.send(options(7, via="[2001:db8::5]:9"))
    await server.wait(4)
    assert isinstance(server.got[3][0], Response)
    assert server.got[3][0].via.received == "::1"
    assert flow.sent_by == f"[::1]:{tcp_port}"


# --- TCP


async def test_tcp_messages_in_one_segment_and_one_in_many(start: Callable[..., Server]) -> None:
    server = start()
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"\r\n\r\n" + options(1) + options(2, body=b"x\r\n\r\n") + b"\r\n" + options(3))
    await server.wait(3)
    for byte in options(4, body=b"abc"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    await server.wait(4)
    received = b""
    while received.count(b"SIP/2.0 200") < 4:
        received += await asyncio.wait_for(reader.read(65535), WAIT)
    assert received.startswith(b"\r\nSIP/2.0 200")
    port = writer.get_extra_info("sockname")[1]
    assert f"SIP/2.0/UDP 127.0.0.1:9;received=127.0.0.1;rport={port}".encode() in received
    flow = server.got[0][1]
    assert isinstance(flow, TcpFlow)
    assert {f for _, f in server.got} == {flow}
    assert (flow.remote, flow.reliable, flow.transport) == (("127.0.0.1", port), True, "tcp")
    assert flow.sent_by == host_port(*address)
    # What goes to that peer goes by its connection.
    assert server.transport.flow_to("tcp", "127.0.0.1", port) is flow
    writer.close()
    await until(lambda: flow.closed)
    errors: list[int] = []
    flow.send(b"x", lambda: errors.append(1))
    flow.send(b"x")
    assert not errors
    await until(lambda: errors == [1])


async def test_tcp_refuses_what_has_no_length(start: Callable[..., Server]) -> None:
    server = start()
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(options(1).replace(b"Content-Length: 0\r\n", b"") + options(2))
    received = b""
    while received.count(b"Content-Length") < 2:
        received += await asyncio.wait_for(reader.read(65535), WAIT)
    assert received.startswith(b"SIP/2.0 400 ")
    assert b"SIP/2.0 200 " in received
    writer.close()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (options(1, body=b"x" * 2000), b""),
        (b"x" * 1000, b""),
        (options(1).replace(b"Length: 0", b"Length: -1") + options(2), b"SIP/2.0 400 "),
    ],
)
async def test_tcp_hangs_up_on_a_stream_that_is_lost(
    start: Callable[..., Server], data: bytes, answer: bytes
) -> None:
    server = start(max_message_size=1000)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(options(9) + data)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        received = await asyncio.wait_for(reader.read(), WAIT)
    if received:
        assert received.startswith(b"SIP/2.0 200 ")
        assert answer in received
    assert received.count(b"SIP/2.0 200 ") <= 1
    assert server.transport.malformed == 1
    writer.close()


async def test_tcp_survives_what_it_cannot_read(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"garbage\r\n\r\n" + b"SIP/2.0 999 X\r\n\r\n")
    server.raises = True
    writer.write(options(1))
    await server.wait(1)
    server.raises = False
    writer.write(options(2))
    assert b"Call-ID: c2" in await asyncio.wait_for(reader.read(65535), WAIT)
    assert server.transport.malformed == 2
    assert "was not handled" in caplog.text
    writer.close()


async def hears_the_end(reader: asyncio.StreamReader) -> None:
    """The other side has closed."""
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), WAIT) == b""


async def test_tcp_strangers_make_room_and_the_known_stay(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Silent connections, and those of whom nobody knows whose they are, shut nobody out."""
    server = start(max_connections=3)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    known_reader, known = await asyncio.open_connection(*address)
    server.party = "a phone"
    known.write(options(1))
    await server.wait(1)
    server.party = None
    silent = await asyncio.open_connection(*address)
    asking_reader, asking = await asyncio.open_connection(*address)
    asking.write(options(2))
    await server.wait(2)
    others = []
    for number in range(3, 6):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(options(number))
        assert f"Call-ID: c{number}".encode() in await asyncio.wait_for(reader.read(65535), WAIT)
        others.append(writer)
    await hears_the_end(silent[0])
    assert b"Call-ID: c2" in await asyncio.wait_for(asking_reader.read(65535), WAIT)
    await hears_the_end(asking_reader)
    assert not known_reader.at_eof()
    assert len(server.transport._tcp[0].door) == 3
    assert [r.levelname for r in caplog.records] == ["WARNING"], "one line for all"
    assert "limits.max_connections" in caplog.text
    for stream in (known, silent[1], asking, *others):
        stream.close()


async def test_tcp_where_all_are_known_one_more_is_refused(start: Callable[..., Server]) -> None:
    server = start(max_connections=2)
    server.party = "a phone"
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    pairs = []
    for number in range(2):
        pairs.append(await asyncio.open_connection(*address))
        pairs[-1][1].write(options(number + 1))
        await server.wait(number + 1)
    reader, writer = await asyncio.open_connection(*address)
    await hears_the_end(reader)
    pairs[0][1].close()
    await until(lambda: len(server.transport._tcp[0].door) == 1)
    reader, again = await asyncio.open_connection(*address)
    again.write(options(5))
    assert b"Call-ID: c5" in await asyncio.wait_for(reader.read(65535), WAIT)
    for stream in (writer, again, pairs[1][1]):
        stream.close()


async def test_tcp_what_we_open_has_room_of_its_own(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    here, there = start(max_connections=1, max_opened=1), start()
    address = await here.transport.listen("tcp", "127.0.0.1", 0)
    far = await there.transport.listen("tcp", "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*address)
    await until(lambda: len(here.transport._tcp[0].door) == 1)
    flow = here.transport.flow_to("tcp", *far)
    assert flow is not None
    flow.send(options(1))
    await there.wait(1)
    assert here.transport.flow_to("tcp", *far) is flow
    other = here.transport.flow_to("tcp", "127.0.0.1", address[1])
    assert other is not None
    errors: list[int] = []
    other.send(b"x", lambda: errors.append(1))
    await until(lambda: errors == [1])
    assert "limits.max_opened" in caplog.text
    assert len(here.transport._tcp[0].door) == 1
    flow.close()
    await until(lambda: not here.transport._tcp[0]._ours)
    again = here.transport.flow_to("tcp", *far)
    assert again is not None
    again.send(options(2))
    await there.wait(2)
    writer.close()


async def test_tcp_a_connection_has_to_say_something_soon(start: Callable[..., Server]) -> None:
    """Keep-alives and half a message are nothing; who has said something may be silent."""
    server = start(first_message=0.15)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    silent, slow, quick = [await asyncio.open_connection(*address) for _ in range(3)]
    quick[1].write(options(1))
    slow[1].write(b"\r\n\r\n" + options(2)[:-10])
    await hears_the_end(silent[0])
    assert await asyncio.wait_for(slow[0].read(2), WAIT) == b"\r\n"
    await hears_the_end(slow[0])
    assert b"Call-ID: c1" in await asyncio.wait_for(quick[0].read(65535), WAIT)
    assert len(server.transport._tcp[0].door) == 1
    for _, writer in (silent, slow, quick):
        writer.close()


async def test_tcp_tells_when_a_connection_is_gone(start: Callable[..., Server]) -> None:
    server = start()
    gone: list[tuple[str, str, int]] = []
    server.transport.on_closed = gone.append
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*address)
    writer.write(options(1))
    await server.wait(1)
    assert gone == []
    remote = writer.get_extra_info("sockname")
    writer.close()
    await until(lambda: gone == [("tcp", *remote)])


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: pbx:5060\r\n\r\n",
        b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_tcp_tells_a_browser_that_it_is_wrong_here(
    start: Callable[..., Server], request_: bytes
) -> None:
    server = start()
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request_)
    answer = await asyncio.wait_for(reader.read(), WAIT)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == b"This port takes SIP alone.\r\n"
    assert server.got == []
    writer.close()


async def test_tcp_closes_what_is_idle(start: Callable[..., Server]) -> None:
    server = start(tcp_idle=0.2)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    busy_reader, busy = await asyncio.open_connection(*address)

    async def talk() -> None:
        for _ in range(15):
            busy.write(b"\r\n\r\n")
            await asyncio.sleep(0.05)

    talking = asyncio.create_task(talk())
    assert await asyncio.wait_for(reader.read(), WAIT) == b""
    assert not busy_reader.at_eof()
    await talking
    writer.close()
    busy.close()


async def test_idle_connections_are_asked_whether_they_live(start: Callable[..., Server]) -> None:
    here, there = start(keepalive=7), start(keepalive=0)
    await here.transport.listen("tcp", "127.0.0.1", 0)
    address = await there.transport.listen("tcp", "127.0.0.1", 0)
    flow = here.transport.flow_to("tcp", *address)
    assert isinstance(flow, TcpFlow)
    flow.send(options(), lambda: None)
    await here.wait(1)
    ((_, back),) = there.got
    asked = []
    for one in (flow, back):
        assert isinstance(one, TcpFlow)
        assert one._transport is not None
        sock = one._transport.get_extra_info("socket")
        asked.append(
            [
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]
        )
        if one is flow:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    assert asked == [[1, 37_000], [0, 0]]


async def test_idle_websockets_are_pinged(start: Callable[..., Server]) -> None:
    server = start(keepalive=0.05)
    address = await server.transport.listen("ws", "127.0.0.1", 0)
    silent, _silent = await asyncio.open_connection(*address)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: hq\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: sip\r\n\r\n"
    )
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)
    for _ in range(2):
        assert await asyncio.wait_for(reader.readexactly(2), WAIT) == b"\x89\x00"
    # Who has not said yet that it speaks WebSocket gets nothing.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(silent.read(1), 0.2)
    writer.close()
    _silent.close()


async def test_tcp_outgoing_connections(start: Callable[..., Server]) -> None:
    here, there = start(), start()
    await here.transport.listen("tcp", "127.0.0.1", 0)
    address = await there.transport.listen("tcp", "127.0.0.1", 0)
    flow = here.transport.flow_to("tcp", *address)
    assert isinstance(flow, TcpFlow)
    for number in range(3):
        flow.send(options(number + 1), lambda: None)
    assert here.transport.flow_to("tcp", *address) is flow
    await here.wait(3)
    assert [m.status for m, _ in here.got if isinstance(m, Response)] == [200, 200, 200]
    assert flow.remote == address
    assert len(there.transport._tcp[0]._flows) == 1
    # Given up before it was made: what waits for it is told, and it takes nobody's place.
    flow.close()
    await until(lambda: not here.transport._tcp[0]._flows)
    errors: list[int] = []
    given_up = here.transport.flow_to("tcp", *address)
    assert given_up is not None
    given_up.send(options(9), lambda: errors.append(1))
    given_up.send(options(9))
    assert isinstance(given_up, TcpFlow)
    given_up.close()
    await until(lambda: errors == [1])
    other = here.transport.flow_to("tcp", *address)
    assert other is not None
    assert other is not flow
    other.send(options(4))
    await here.wait(4)


async def test_tcp_connections_that_are_lost(start: Callable[..., Server]) -> None:
    """Who relied on one is told when it has closed, also of what was written before that; and
    never finds it again."""
    server, peer = start(), start()
    await server.transport.listen("tcp", "127.0.0.1", 0)
    address = await peer.transport.listen("tcp", "127.0.0.1", 0)
    assert server.transport.connection("tcp", *address) is None
    flow = server.transport.flow_to("tcp", *address)
    assert isinstance(flow, TcpFlow)
    assert server.transport.connection("tcp", *address) is flow, "it is being made"
    assert server.transport.connection("udp", *address) is None
    errors: list[int] = []
    assert not flow.made
    flow.send(options(1), lambda: errors.append(1))
    await peer.wait(1)
    assert flow.made
    # Nobody has said that it is closed yet, and still it is not to be found any more.
    assert flow._transport is not None
    flow._transport.abort()
    assert server.transport.connection("tcp", *address) is flow
    flow.transmit(options(2), None, lambda: errors.append(2))
    other = server.transport.flow_to("tcp", *address)
    assert other is not flow
    await until(lambda: server.lost == [flow])
    await until(lambda: errors == [2])
    assert server.transport.connection("tcp", *address) is other
    # Nobody relied on this one.
    assert isinstance(other, TcpFlow)
    other.send(options(3))
    await peer.wait(2)
    other.close()
    await until(lambda: server.transport.connection("tcp", *address) is None)
    assert server.lost == [flow]
    # Nor is anybody told at the end.
    last = server.transport.flow_to("tcp", *address)
    assert last is not None
    last.send(options(4), lambda: errors.append(4))
    await peer.wait(3)
    await server.transport.close()
    await until(lambda: not server.transport._tcp[0]._flows)
    assert server.lost == [flow]


async def test_tcp_that_cannot_connect(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(connect_timeout=0.1, max_queued=100)
    await server.transport.listen("tcp", "127.0.0.1", 0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        errors: list[int] = []
        flow = server.transport.flow_to("tcp", "127.0.0.1", port)
        assert flow is not None
        flow.send(b"x" * 60, lambda: errors.append(1))
        flow.send(b"x" * 20)
        # Beyond what may wait for a connection: failed at once, or lost without anyone to tell.
        flow.send(b"x" * 60, lambda: errors.append(2))
        flow.send(b"x" * 60)
        await until(lambda: sorted(errors) == [1, 2])
    # Nobody answers: the listener's queue is full.
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        full = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
            full.append(client)
        flow = server.transport.flow_to("tcp", *deaf.getsockname())
        assert flow is not None
        flow.send(b"x", lambda: errors.append(3))
        await until(lambda: 3 in errors)
        for client in full:
            client.close()
    assert server.transport._tcp[0]._flows == {}


async def test_tcp_peer_that_does_not_read(
    start: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """It loses its connection, and with it the memory it held; the others go on."""
    server = start(max_queued=200_000)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(address)
    client.sendall(options(1))
    await server.wait(1)
    flow = server.got[0][1]
    assert isinstance(flow, TcpFlow)
    with caplog.at_level(logging.WARNING):
        for _ in range(2000):
            flow.send(b"x" * 10_000)
            await asyncio.sleep(0)
            if flow.closed:
                break
    assert flow.closed
    assert "does not read" in caplog.text
    await until(lambda: len(server.transport._tcp[0]._flows) == 0)
    client.close()


async def test_tcp_a_closing_connection_is_not_held_for_ever(
    start: Callable[..., Server],
) -> None:
    """Closed for being idle with data that its peer does not read: cut off some sweeps later."""
    server = start(tcp_idle=0.1, last_words=0.1)
    address = await server.transport.listen("tcp", "127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(address)
    client.sendall(options(1))
    await server.wait(1)
    flow = server.got[0][1]
    while flow._transport.get_write_buffer_size() == 0:  # type: ignore[union-attr]
        flow.send(b"x" * 100_000)
        await asyncio.sleep(0)
    await until(lambda: len(server.transport._tcp[0]._flows) == 0)
    client.close()


async def test_tcp_closing_the_transport_cancels_what_is_being_connected(
    start: Callable[..., Server],
) -> None:
    server = start()
    await server.transport.listen("tcp", "127.0.0.1", 0)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        flow = server.transport.flow_to("tcp", *deaf.getsockname())
        assert isinstance(flow, TcpFlow)
        flow.close()
        await server.transport.close()
    assert flow.closed


# --- the end


async def test_what_is_not_read_any_more(start: Callable[..., Server]) -> None:
    """Neither datagrams, nor what comes by a connection, nor a new one. What is sent leaves."""
    server = start()
    udp = await server.transport.listen("udp", "127.0.0.1", 0)
    tcp = await server.transport.listen("tcp", "127.0.0.1", 0)
    with Datagrams() as client:
        reader, writer = await asyncio.open_connection(*tcp)
        client.socket.sendto(options(1), udp)
        writer.write(options(2))
        await server.wait(2)
        assert (await client.receive()).startswith(b"SIP/2.0 200")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)).startswith(b"SIP/2.0")
        server.transport.stop_reading()
        client.socket.sendto(options(3), udp)
        writer.write(options(4))
        for _, flow in server.got:
            flow.send(options(5))
        # By the time that these are here, the others could have been read.
        assert (await client.receive()).startswith(b"OPTIONS")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT)).startswith(b"OPTIONS")
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*tcp)
        await asyncio.sleep(0.1)  # nothing to wait for: it must not happen
        assert len(server.got) == 2
        writer.close()


@pytest.mark.parametrize(
    ("host", "source", "unreachable"),
    [
        ("10.0.0.1", "203.0.113.5", True),
        ("172.31.0.1", "203.0.113.5", True),
        ("192.168.0.1", "127.0.0.1", True),
        ("100.127.0.1", "203.0.113.5", True),
        ("169.254.0.1", "203.0.113.5", True),
        ("127.0.0.1", "203.0.113.5", True),
        ("127.0.0.1", "10.0.0.1", True),
        ("::1", "2001:db8::5", True),
        ("fd00::1", "2001:db8::5", True),
        ("fe80::1", "2001:db8::5", True),
        # Networks of one's own know each other.
        ("10.0.0.1", "192.168.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
        ("203.0.113.6", "203.0.113.5", False),
        ("203.0.113.6", "10.0.0.1", False),
        ("172.32.0.1", "203.0.113.5", False),
        ("100.128.0.1", "203.0.113.5", False),
        ("100.63.0.1", "203.0.113.5", False),
        ("2001:db8::6", "2001:db8::5", False),
        ("::10", "2001:db8::5", False),
    ],
)
def test_addresses_that_only_their_own_network_knows(
    host: str, source: str, unreachable: bool
) -> None:
    assert unreachable_from(host, source) is unreachable
