"""The HTTP API for applications: live calls, the archive, health and metrics.

FastAPI on uvicorn, in the event loop of the server. Bearer tokens; ``/health`` alone is open. So
far the API reads; what changes call data belongs into ``routes`` beside the readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import hmac
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel, Field
from sqlite_utils import Database

from cdsplugin import reading
from cdsplugin.config import ApiSection
from cdsplugin.entries import Value
from cdsplugin.record import iso
from cdsplugin.store import Call

if TYPE_CHECKING:
    from cdsplugin.server import CallDataServer

log = logging.getLogger("cdsplugin.api")


class ApiError(OSError):
    """The API cannot listen. The text says where and why."""


Limit = Annotated[int, Query(ge=1, description="how many; at most `cds.api.page`")]


class LiveCall(BaseModel):
    """A live call in a list. Times are ISO 8601, UTC."""

    call_id: str
    owner: str
    state: str = Field(description="`live`, or `lingering` when everybody has left")
    caller: Value
    dialled: Value
    callee: Value
    started_at: str | None
    answered_at: str | None
    entries: int


class LiveCalls(BaseModel):
    """A page of live calls in the order of their callIDs; ``next`` is where the next one begins."""

    calls: list[LiveCall]
    count: int = Field(description="all live calls of this server")
    next: str | None


class PropertyOut(BaseModel):
    """A property's value, when it was set, and by whom."""

    value: Value
    set_at: str | None
    author: str


class LogOut(BaseModel):
    """A log line."""

    logged_at: str | None
    author: str
    text: str


class CallOut(BaseModel):
    """All data of a live call."""

    call_id: str
    owner: str
    state: str
    participants: list[str]
    registration: str = Field(description="how far our registration with the owner is, if not us")
    properties: dict[str, PropertyOut]
    logs: list[LogOut]


class CdrPage(BaseModel):
    """Records, the newest first; ``next`` is the ``before`` of the next page."""

    cdrs: list[dict[str, Any]]
    next: str | None


class HealthOut(BaseModel):
    """``status`` is `ok`, or `trouble` with HTTP status 503."""

    server: str
    status: str
    database: str
    servers_down: int


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

    def __init__(self, server: CallDataServer, section: ApiSection) -> None:
        self._section = section
        self.app = make_app(server, section)
        self._uvicorn: _Server | None = None
        self._task: asyncio.Task[None] | None = None

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
            limit_concurrency=self._section.connections,
            timeout_graceful_shutdown=2,
        )
        self._uvicorn = _Server(config)
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[sock]))
        serving = asyncio.create_task(self._uvicorn.serving.wait())
        await asyncio.wait([serving, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            serving.cancel()
            sock.close()
            raise ApiError(f"cds.api.listen: cannot serve on {address}: {self._task.exception()}")
        return port

    async def stop(self) -> None:
        """Close; requests in progress get two seconds."""
        if self._uvicorn is not None and self._task is not None:
            self._uvicorn.should_exit = True
            await self._task


def make_app(server: CallDataServer, section: ApiSection) -> FastAPI:
    """The application, with all its routes."""
    tokens = [grant.token.get_secret_value().encode() for grant in section.grants()]

    def authorized(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        offered = given.strip().encode()
        # All are compared, each in constant time: how long it takes tells nothing.
        matches = [hmac.compare_digest(offered, token) for token in tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise HTTPException(
                401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"}
            )

    app = FastAPI(
        title=f"Call data server {server.name}",
        version="1",
        description="Live call data and call detail records.",
    )
    guard = [Depends(authorized)]

    # The handlers of live data run in the event loop, where the store lives; those of the archive
    # in threads, so that a slow query holds up no call.

    @app.get("/calls", dependencies=guard)
    async def calls(limit: Limit = 100, after: str = "") -> LiveCalls:
        """Live calls, by callID, from the one after ``after`` on."""
        store = server.store
        limit = min(limit, section.page)
        ids = (call.call_id for call in store if call.call_id > after)
        chosen = heapq.nsmallest(limit + 1, ids)
        page = [found for i in chosen[:limit] if (found := store.get(i)) is not None]
        more = len(chosen) > limit
        return LiveCalls(
            calls=[_listed(call) for call in page],
            count=len(store),
            next=page[-1].call_id if more and page else None,
        )

    @app.get("/calls/{call_id}", dependencies=guard)
    async def call(call_id: str) -> CallOut:
        """All data of a live call: its owner, who takes part, and its entries."""
        found = server.store.get(call_id)
        if found is None:
            raise HTTPException(404, "no live call has this callID")
        return CallOut(
            call_id=call_id,
            owner=found.owner,
            state=_state(found),
            participants=server.proxy.participants(found),
            registration=server.proxy.stage(call_id),
            properties={
                name: PropertyOut(value=p.value, set_at=iso(p.stamp), author=p.author)
                for name, p in found.data.properties.items()
            },
            logs=[
                LogOut(logged_at=iso(line.stamp), author=line.author, text=line.text)
                for line in found.data.log_lines()
            ],
        )

    @app.get("/cdrs", dependencies=guard)
    def cdrs(
        request: Request,
        limit: Limit = 100,
        before: str | None = None,
    ) -> CdrPage:
        """Records, the newest first; also by caller, callee, dialled, disposition, switch, owner
        or account (as query parameters)."""
        limit = min(limit, section.page)
        chosen = {k: v for k, v in request.query_params.items() if k in reading.FILTERS}
        with _database(server) as db:
            rows = reading.cdrs(db, limit + 1, before, chosen)
        more = len(rows) > limit
        rows = rows[:limit]
        return CdrPage(cdrs=rows, next=rows[-1]["call_id"] if more else None)

    @app.get("/cdrs/{call_id}", dependencies=guard)
    def cdr(call_id: str) -> dict[str, Any]:
        """A record with its legs, properties and log lines."""
        with _database(server) as db:
            found = reading.cdr(db, call_id)
        if found is None:
            raise HTTPException(404, "no record has this callID")
        return found

    @app.get("/health", responses={503: {"model": HealthOut}})
    async def health() -> Response:
        """Whether this server is well. Open to everybody."""
        trouble = server.archive.trouble is not None
        body = HealthOut(
            server=server.name,
            status="trouble" if trouble else "ok",
            database="trouble" if trouble else "ok",
            servers_down=len(server.proxy.health.down()),
        )
        return JSONResponse(body.model_dump(), 503 if trouble else 200)

    registry = CollectorRegistry()
    registry.register(_Metrics(server))

    @app.get("/metrics", dependencies=guard)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app


@contextlib.contextmanager
def _database(server: CallDataServer) -> Iterator[Database]:
    try:
        with reading.reading(server.archive.path) as db:
            yield db
    except reading.ReadError as error:
        log.error("%s", error)
        raise HTTPException(503, "the archive cannot be read at present") from error


def _state(call: Call) -> str:
    return "live" if call.clients else "lingering"


def _listed(call: Call) -> LiveCall:
    def value(name: str, key: str) -> Any:
        found = call.data.value(name)
        return found.get(key) if isinstance(found, dict) else None

    return LiveCall(
        call_id=call.call_id,
        owner=call.owner,
        state=_state(call),
        caller=value("call", "caller"),
        dialled=value("call", "dialled"),
        callee=value("answer", "callee"),
        started_at=iso(value("call", "started_at")),
        answered_at=iso(value("answer", "answered_at")),
        entries=len(call.data),
    )


class _Metrics:
    """Reads the counters when asked; they cost nothing else."""

    def __init__(self, server: CallDataServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        server = self._server
        gauges = (
            ("cds_calls", "Live calls in the store", len(server.store)),
            ("cds_shared_calls", "Own calls with remote participants", len(server.proxy.monitor)),
            ("cds_servers_down", "Servers that are silent", len(server.proxy.health.down())),
            ("cds_archive_pending_rows", "Rows not committed yet", server.archive.pending()),
            (
                "cds_archive_trouble",
                "1 while the database fails",
                int(bool(server.archive.trouble)),
            ),
        )
        counters = (
            ("cds_updates", "Updates of call data", server.store.updates),
            ("cds_frames_received", "Frames from other servers", server.proxy.frames_in),
            ("cds_frames_sent", "Frames to other servers", server.proxy.frames_out),
            ("cds_peers_dropped", "Peers dropped for nonsense", server.link.dropped_peers),
            ("cds_records", "Records written", server.recorder.records),
            ("cds_archive_rows", "Rows committed", server.archive.rows),
            ("cds_archive_commits", "Commits", server.archive.commits),
            ("cds_archive_spooled_rows", "Rows moved to the spool file", server.archive.spooled),
            ("cds_archive_lost_rows", "Rows that only the log has", server.archive.lost),
        )
        for name, text, number in gauges:
            yield GaugeMetricFamily(name, text, value=number)
        for name, text, number in counters:
            yield CounterMetricFamily(name, text, value=number)
        up = GaugeMetricFamily("cds_server_connected", "1 if connected", labels=["server"])
        for peer, connected in server.proxy.servers().items():
            up.add_metric([peer], int(connected))
        yield up
