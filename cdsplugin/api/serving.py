"""Listening for HTTP: uvicorn, in the event loop of the server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvicorn

from cdsplugin.api.app import Application
from cdsplugin.api.door import Door
from cdsplugin.api.http import Connection, Deadlines
from cdsplugin.api.served import Served
from cdsplugin.config import ApiSection

UNSENT_MS = 30_000
"""A connection that takes nothing of what was sent for so long is closed by the kernel."""


class ApiError(OSError):
    """The API cannot listen. The text says where and why."""


class _Server(uvicorn.Server):
    """Signals are the switch's business; and it says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Api:
    """The API of one server. ``start`` binds and serves; ``stop`` closes."""

    def __init__(self, server: Served, section: ApiSection) -> None:
        self._section = section
        self._application = Application(server, section)
        self.app = self._application.app
        self.phones = self._application.phones
        self.viewed = self._application.viewed
        self._uvicorn: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._door = Door(section.connections, section.per_address, section.for_health)
        self._connection = partial(
            Connection,
            door=self._door,
            deadlines=Deadlines(section.head_within, section.body_within),
            access=self._application.access,
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises ``ApiError``."""
        address = self._section.listen
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, proto, _, where = infos[0]
            sock = socket.socket(family, kind, proto)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Those that are accepted inherit it: a dropped follower that reads no more must
                # not hold its connection for good.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNSENT_MS)
                sock.bind(where)
                sock.listen(128)
                sock.setblocking(False)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            why = error.strerror or str(error)
            raise ApiError(f"cds.api.listen: cannot listen on {address}: {why}") from error
        port = int(sock.getsockname()[1])
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=cast(type[asyncio.Protocol], self._connection),
            timeout_graceful_shutdown=2,
            ws="websockets-sansio",
            ws_max_size=self._section.body_bytes,
            ws_ping_interval=self._section.keepalive,
            ws_ping_timeout=self._section.keepalive,
        )
        self._uvicorn = _Server(config)
        self._sweeper = asyncio.create_task(self._sweep())
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[sock]))
        serving = asyncio.create_task(self._uvicorn.serving.wait())
        await asyncio.wait([serving, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            serving.cancel()
            sock.close()
            raise ApiError(f"cds.api.listen: cannot serve on {address}: {self._task.exception()}")
        return port

    async def _sweep(self) -> None:
        """Close what is late."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            for connection in self._door:
                cast(Connection, connection).check(loop.time())

    async def stop(self) -> None:
        """Close; requests in progress get two seconds, followers are told that it is over."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._uvicorn is not None and self._task is not None:
            self._application.close()
            self._uvicorn.should_exit = True
            await self._task
