"""The layer of WebSocket by itself: what a stranger may cost."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from softswitch.sip.flow import TransportLimits
from softswitch.sip.message import Request
from softswitch.sip.transport import Transport
from softswitch.sip.ws import WsLayer
from tests.sip.test_transport import options, until


class Pair:
    """A layer, and the client that is connected to it."""

    def __init__(self, size: int = 1000) -> None:
        self.layer = WsLayer(size)
        self.client = ClientProtocol(parse_uri("ws://hq/"), subprotocols=[Subprotocol("sip")])
        self.client.send_request(self.client.connect())
        self.client.receive_data(self.layer.feed(self.written())[1])
        (answer,) = self.client.events_received()
        assert isinstance(answer, Response)
        assert answer.status_code == 101

    def written(self) -> bytes:
        return b"".join(self.client.data_to_send())

    def say(self, *frames: Frame) -> list[bytes]:
        for frame in frames:
            self.client.send_frame(frame)
        return self.layer.feed(self.written())[0]


def test_pieces_without_an_end_are_kept_as_one() -> None:
    pair = Pair()
    assert not pair.say(Frame(Opcode.TEXT, b"", fin=False))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(10_000):
            assert not pair.say(Frame(Opcode.CONT, b"", fin=False))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert not pair.layer.lost
    assert pair.say(Frame(Opcode.CONT, b"all of it")) == [b"all of it"]


def test_pieces_that_are_too_much_together() -> None:
    pair = Pair(1000)
    assert not pair.say(Frame(Opcode.TEXT, b"x" * 600, fin=False))
    assert not pair.layer.lost
    assert not pair.say(Frame(Opcode.CONT, b"x" * 600, fin=False))
    assert pair.layer.lost


def test_who_has_said_goodbye_is_sent_nothing() -> None:
    pair = Pair()
    assert pair.layer.open
    pair.client.send_text(b"a question")
    pair.client.send_close()
    messages, back = pair.layer.feed(pair.written())
    assert messages == [b"a question"]
    assert back  # its goodbye is answered
    assert not pair.layer.open
    assert pair.layer.ping() == b""
    assert pair.layer.close() == b""


async def test_its_answer_is_told_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    lost: list[int] = []

    def receive(message: object, flow: object) -> None:
        assert isinstance(message, Request)
        flow.send(b"an answer", lambda: lost.append(1))  # type: ignore[attr-defined]

    transport = Transport(loop, receive, TransportLimits())
    address = await transport.listen("ws", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address)
    client = ClientProtocol(parse_uri("ws://hq/"), subprotocols=[Subprotocol("sip")])
    client.send_request(client.connect())
    client_bytes = b"".join(client.data_to_send())
    writer.write(client_bytes)
    client.receive_data(await reader.readuntil(b"\r\n\r\n"))
    client.events_received()
    client.send_text(options(1))
    client.send_close()
    writer.write(b"".join(client.data_to_send()))
    await until(lambda: bool(lost))
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await transport.close()
    assert not [one for one in caplog.records if one.exc_info]


async def test_who_does_not_read_what_its_pings_are_answered() -> None:
    loop = asyncio.get_running_loop()
    transport = Transport(loop, lambda message, flow: None, TransportLimits(max_queued=100_000))
    host, port = await transport.listen("ws", "127.0.0.1", 0)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((host, port))
    raw.setblocking(False)
    client = ClientProtocol(parse_uri("ws://hq/"), subprotocols=[Subprotocol("sip")])
    client.send_request(client.connect())
    await loop.sock_sendall(raw, b"".join(client.data_to_send()))
    client.receive_data(await loop.sock_recv(raw, 4096))
    client.events_received()

    async def ask_on_and_on() -> None:
        for number in range(100_000):
            client.send_frame(Frame(Opcode.PING, b"x" * 125))
            if number % 100 == 0:
                await asyncio.wait_for(loop.sock_sendall(raw, b"".join(client.data_to_send())), 5)

    with pytest.raises(ConnectionError):
        await ask_on_and_on()
    raw.close()
    await transport.close()
