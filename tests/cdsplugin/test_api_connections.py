"""Connections of the API that only hold it: a table of who goes, and real silent clients."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_sites import Site, sites
from cds_calls import answered_call

from cdsplugin.api.door import Door, Room


class Guest:
    def __init__(self, host: str = "a", at_work: bool = False) -> None:
        self.host = host
        self.at_work = at_work
        self.gone = False

    def busy(self) -> bool:
        return self.at_work

    def leave(self) -> None:
        self.gone = True


def test_the_oldest_stranger_makes_room() -> None:
    door = Door(most=3, per_address=10, for_health=1)
    known, at_work, silent = Guest(), Guest(at_work=True), Guest()
    for guest in (known, at_work, silent):
        assert door.enter(guest) is Room.ALL
    door.know(known)
    newer = Guest()
    assert door.enter(newer) is Room.ALL
    assert (silent.gone, known.gone, at_work.gone) == (True, False, False)
    door.know(newer)
    # Nobody is left to send away.
    watcher = Guest()
    assert door.enter(watcher) is Room.HEALTH
    assert door.enter(Guest()) is Room.ALL, "who watches goes again"
    assert watcher.gone
    assert len(door) == 4
    for guest in list(door):
        door.left(guest)
        door.left(guest)
    assert len(door) == 0


def test_a_full_house() -> None:
    door = Door(most=1, per_address=10, for_health=1)
    assert door.enter(Guest(at_work=True)) is Room.ALL
    assert door.enter(Guest(at_work=True)) is Room.HEALTH
    assert door.enter(Guest()) is Room.NOTHING
    assert len(door) == 2


def test_one_address_has_so_many() -> None:
    door = Door(most=100, per_address=2, for_health=1)
    mine = [Guest("mine"), Guest("mine")]
    for guest in mine:
        assert door.enter(guest) is Room.ALL
        door.know(guest)
    assert door.enter(Guest("mine")) is Room.NOTHING
    first = Guest("theirs")
    assert [door.enter(g) for g in (first, Guest("theirs"), Guest("theirs"))] == [Room.ALL] * 3
    assert first.gone
    door.left(mine[0])
    assert door.enter(Guest("mine")) is Room.ALL


class Clients:
    """Connections of a stranger, closed at the end of the test."""

    def __init__(self, site: Site) -> None:
        self.where = ("127.0.0.1", int(site.url.rpartition(":")[2]))
        self.sockets: list[socket.socket] = []

    async def open(self, count: int, said: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, self.where)
            if said:
                await loop.sock_sendall(sock, said)
            self.sockets.append(sock)

    async def closed(self, within: float) -> list[bytes]:
        """What each was told before it was closed by the other side."""
        loop = asyncio.get_running_loop()

        async def read(sock: socket.socket) -> bytes:
            told = b""
            while data := await loop.sock_recv(sock, 4096):
                told += data
            return told

        async with asyncio.timeout(within):
            return list(await asyncio.gather(*map(read, self.sockets)))

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


async def site_with(stack: AsyncExitStack, folder: Path, **api: Any) -> tuple[Site, Clients]:
    (site,) = await stack.enter_async_context(sites(folder, "hq", api=api))
    clients = Clients(site)
    stack.callback(clients.close)
    return site, clients


@pytest.mark.parametrize(
    "said", [b"", b"GET /calls HTTP/1.1\r\nHost: x\r\n", b"PATCH /calls/c HTTP/1.1\r\nHost: x\r\n"
             b"Content-Length: 100\r\n\r\n{"],
)  # fmt: skip
async def test_silent_ones_keep_nobody_out(said: bytes, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site, clients = await site_with(stack, tmp_path, connections=20, per_address=1000)
        site.feed(answered_call("c1")[:7])
        await clients.open(50, said)
        for _ in range(3):
            async with site.client("write-secret") as fresh:
                assert (await fresh.get("/calls")).status_code == 200
            async with httpx.AsyncClient(base_url=site.url) as watcher:
                assert (await watcher.get("/health")).status_code == 200
        # An application that is there stays there.
        assert (await site.http.get("/calls")).status_code == 200
        await clients.open(50, said)
        assert (await site.http.get("/calls")).status_code == 200


async def test_half_requests_end(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        _, clients = await site_with(stack, tmp_path, head_within=0.3, body_within=0.3)
        await clients.open(3)
        await clients.open(3, b"GET /calls HTTP/1.1\r\nHost: x\r\n")
        await clients.open(3, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")
        body = b"PATCH /calls/c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer write-secret\r\n"
        await clients.open(3, body + b"Content-Length: 100\r\n\r\n{")
        told = await clients.closed(5.0)
        assert all(b" 408 " in one for one in told[:6])
        assert all(one.startswith(b"HTTP/1.1 200 ") for one in told[6:9])


async def test_streams_have_no_deadline(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site, _ = await site_with(stack, tmp_path, head_within=0.2, body_within=0.2, keepalive=0.5)
        async with site.reader.stream("GET", "/events") as stream:
            lines = stream.aiter_lines()
            alive = 0
            async with asyncio.timeout(10):
                async for line in lines:
                    alive += line == ": alive"
                    if alive == 4:
                        break


async def test_health_has_room_of_its_own(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site, _ = await site_with(stack, tmp_path, connections=2, for_health=2)
        for _ in range(2):
            await stack.enter_async_context(site.reader.stream("GET", "/events"))
        async with httpx.AsyncClient(base_url=site.url) as watcher:
            assert (await watcher.get("/health")).status_code == 200
            answer = await watcher.get("/calls")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "cds.api.connections" in answer.json()["detail"]
