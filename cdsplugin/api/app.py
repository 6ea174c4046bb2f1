"""The application: all routes of the API put together."""

from __future__ import annotations

import json
import time

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdsplugin.api import live, phones, records, streams, views
from cdsplugin.api.access import Access, guard
from cdsplugin.api.feed import Feed
from cdsplugin.api.interest import Interest
from cdsplugin.api.metrics import ServerMetrics
from cdsplugin.api.models import HealthOut
from cdsplugin.api.served import Served
from cdsplugin.config import ApiSection

DESCRIPTION = """
Applications take part in calls as switches and servers do: what one of them writes here reaches
everybody who takes part in the call, at every server, and the call's one record.

* **Which server to ask**: any. A call that another server owns is fetched from there (say
  `?owner=NAME` if the server asked may not know the call yet).
* **Tokens**: `Authorization: Bearer TOKEN`, one of `cds.api.tokens`. A token has a role (`read`, or
  `write`: reads too) and a name. What is written has the author `SERVER/NAME`.
* **2xx** to a change means that it is on disk: no crash loses it.
* **429** comes with `Retry-After`: each token has a rate (`cds.api.rate`).
* **Following**: `GET /events`, `GET /calls/{call_id}/events` (server-sent events), or a
  WebSocket at `/ws`: send `{"follow": "CALLID"}` or `{"follow": "*"}` and get the same events.

Times are ISO 8601, UTC, by the clock of the call's owner.
"""


class Application:
    """The FastAPI application of one server, and what it holds."""

    def __init__(self, server: Served, section: ApiSection) -> None:
        self._server = server
        self.access = Access(section, time.monotonic)
        self._interest = Interest(server, section)
        self.phones = phones.Phones()
        self.viewed = views.Viewed()
        self._feed = Feed(server.store, section.followers, section.follower_queue)
        server.on_health.append(self._feed.health)
        # With the assets of its pages: a server need not reach the internet, nor who looks at them.
        app = FastAPIOffline(
            title=f"Call data server {server.name}",
            version="1",
            description=DESCRIPTION,
            openapi_tags=[
                {"name": "live calls", "description": "Calls in progress, and those just over."},
                {"name": "following", "description": "Events as they happen."},
                {"name": "records", "description": "Call detail records of calls of this server."},
                {"name": "phones", "description": "Where the calls of an extension go."},
                {"name": "switch", "description": "What the switch does, and what it has seen."},
                {"name": "server", "description": "How the server is."},
            ],
        )
        app.add_exception_handler(RequestValidationError, _unprocessable)
        app.add_middleware(BodyLimit, limit=section.body_bytes)
        app.include_router(live.make_router(server, section, self.access, self._interest))
        app.include_router(
            streams.make_router(server, section, self.access, self._interest, self._feed)
        )
        app.include_router(phones.make_router(section, self.access, self.phones))
        app.include_router(views.make_router(self.access, self.viewed))
        app.include_router(records.make_router(server, section, self.access))
        self._server_routes(app)
        self.app = app

    def close(self) -> None:
        """The server stops: streams end, calls are held no more."""
        self._server.on_health.remove(self._feed.health)
        self._feed.stop()
        self._interest.stop()

    def _server_routes(self, app: FastAPI) -> None:
        server = self._server

        @app.get("/health", responses={503: {"model": HealthOut}}, tags=["server"])
        async def health() -> Response:
            """Say whether this server is well. Open to everybody."""
            trouble = bool(server.troubles())
            body = HealthOut(
                server=server.name,
                status="trouble" if trouble else "ok",
                database="trouble" if trouble else "ok",
                servers_down=len(server.proxy.health.down()),
            )
            return JSONResponse(body.model_dump(), 503 if trouble else 200)

        registry = CollectorRegistry()
        registry.register(ServerMetrics(server, self.access, self._feed))

        @app.get(
            "/metrics",
            dependencies=[Depends(guard(self.access, write=False))],
            response_class=Response,
            tags=["server"],
        )
        async def metrics() -> Response:
            """Counters for Prometheus: the server's, and the switch's if it is in this process."""
            # A switch registers its collector with the library's own registry.
            text = generate_latest(registry) + generate_latest(REGISTRY)
            return Response(text, media_type="text/plain; version=0.0.4")


async def _unprocessable(_: Request, error: Exception) -> Response:
    """FastAPI's own handler repeats what was sent, which need not be JSON or Unicode again."""
    assert isinstance(error, RequestValidationError)
    detail = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    return Response(json.dumps({"detail": detail}), 422, media_type="application/json")


class BodyLimit:
    """Bodies of requests up to ``limit`` bytes; 413 for longer ones, announced or not."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._limit:
            await self._too_long()(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, self._text())
            return message

        await self._app(scope, counted, send)

    def _text(self) -> str:
        return f"the body is longer than {self._limit} bytes (cds.api.body_bytes)"

    def _too_long(self) -> Response:
        return JSONResponse({"detail": self._text()}, 413, {"Connection": "close"})
