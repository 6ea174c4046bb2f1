"""A connection of the API: uvicorn's, with deadlines for what a client has to send, and a door."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import h11
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cdsplugin.api.access import Access
from cdsplugin.api.door import Door, Room

_HEALTH = "/health"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 55\r\n\r\n"
    b'{"detail":"too many connections (cds.api.connections)"}'
)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for the head of a request, from the connection's beginning or the answer before it,
    and for its body."""

    head: float
    body: float


class Connection(H11Protocol):
    """See the module. ``check`` is to be called every now and then."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
        deadlines: Deadlines,
        access: Access,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.host = ""
        self._door = door
        self._deadlines = deadlines
        self._access = access
        self._since = self.loop.time()
        self._seen: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A place for it, or none."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.host = self.client[0] if self.client else ""
        room = self._door.enter(self)
        if room is Room.NOTHING:
            self.transport.write(_FULL)
            self.transport.close()
        elif room is Room.HEALTH:
            self.app = _ForHealth(self.app)

    def data_received(self, data: bytes) -> None:
        """As usual; and note when a head was whole, and whose it is."""
        super().data_received(data)
        if self.cycle is not self._seen:
            self._seen = self.cycle
            self._since = self.loop.time()
            if self._access.grant(_token(self.headers)) is not None:
                self._door.know(self)

    def on_response_complete(self) -> None:
        """The next head may come."""
        self._since = self.loop.time()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Followers have a limit of their own."""
        self._door.left(self)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        self._door.left(self)
        super().connection_lost(exc)

    def busy(self) -> bool:
        """See ``Guest``."""
        return self._answering() and self.conn.their_state is not h11.SEND_BODY

    def leave(self) -> None:
        """See ``Guest``."""
        self.transport.close()

    def check(self, now: float) -> None:
        """Close it if what is awaited of the client is late."""
        if not self._answering():
            late = now - self._since > self._deadlines.head
        elif self.conn.their_state is h11.SEND_BODY:
            late = now - self._since > self._deadlines.body
        else:
            late = False
        if late and not self.transport.is_closing():
            if not self._answering():
                self.transport.write(_LATE)
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


class _ForHealth:
    """Answers ``/health``, and all else with 503."""

    def __init__(self, app: Any) -> None:
        self._app: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == _HEALTH:
            await self._app(scope, receive, send)
            return
        detail = "too many connections (cds.api.connections)"
        answer = JSONResponse({"detail": detail}, 503, {"Retry-After": "5", "Connection": "close"})
        await answer(scope, receive, send)


def _token(headers: list[tuple[bytes, bytes]] | None) -> str | None:
    for name, value in headers or ():
        if name == b"authorization":
            scheme, _, given = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return given.strip().decode("latin-1")
    return None
