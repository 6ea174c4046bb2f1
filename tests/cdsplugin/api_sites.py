"""Servers with their APIs, over real TCP and HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cdsplugin.api import Api
from cdsplugin.archive import reading
from cdsplugin.config import Address, ApiSection, CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms.tms import Tms

TOKENS = (
    {"token": "write-secret", "name": "crm", "role": "write"},
    {"token": "read-secret", "name": "wall", "role": "read"},
)


class Site:
    """A server, its TMS, and an application that may write."""

    def __init__(self, folder: Path, name: str, peers: Any = None, api: Any = None, **more: Any):
        self.section = CdsSection(
            **{
                "database": folder / f"{name}.db",
                "commit_interval": 0.002,
                "stop_within": 0.2,
                "listen": Address("127.0.0.1", 0),
                "peers": peers or {},
                "api": ApiSection(
                    listen=Address("127.0.0.1", 0), **{"tokens": TOKENS, **(api or {})}
                ),
                **more,
            }
        )
        self.server = CallDataServer(name, self.section)
        self.stopped = False

    async def start(self) -> None:
        await self.server.start()
        assert self.section.api is not None
        self.api = Api(self.server, self.section.api)
        port = await self.api.start()
        self.address = Address(*self.server.link.address())
        self.tms = Tms(self.server.store, self.server.clock)
        self.url = f"http://127.0.0.1:{port}"
        self.http = self.client("write-secret")
        self.reader = self.client("read-secret")

    def client(self, token: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=20
        )

    async def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        await self.http.aclose()
        await self.reader.aclose()
        await self.api.stop()
        await self.server.stop()

    async def die(self) -> None:
        """Nothing more is said to anybody, as if it had been killed."""
        self.stopped = True
        await self.http.aclose()
        await self.reader.aclose()
        await self.api.stop()
        await self.server.close()

    def feed(self, events: list) -> None:
        for event in events:
            self.tms.event(event)

    async def recorded(self, call_id: str) -> dict[str, Any] | None:
        await asyncio.get_running_loop().run_in_executor(None, self.server.archive.flush)
        with reading.reading_records(self.server.archive.path) as db:
            return reading.read_record(db, call_id)


@asynccontextmanager
async def sites(folder: Path, *names: str, **more: Any) -> AsyncIterator[list[Site]]:
    """Sites of which each knows those before it."""
    started: list[Site] = []
    try:
        for name in names:
            peers = {site.server.name: site.address for site in started}
            site = Site(folder, name, peers, **more)
            await site.start()
            started.append(site)
        yield started
    finally:
        for site in reversed(started):
            await site.stop()


class Stream:
    """Events of a server-sent event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith("data: "):
                    return json.loads(line[6:])
        raise EOFError

    async def until(self, kind: str) -> dict[str, Any]:
        while (event := await self.next())["event"] != kind:
            pass
        return event


@asynccontextmanager
async def stream(client: httpx.AsyncClient, path: str) -> AsyncIterator[Stream]:
    async with client.stream("GET", path) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while not (found := condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        return found
