"""Following calls as they happen: server-sent events, and a WebSocket.

Both give the same events, JSON objects with a key ``event``:

===============  ===================================================================
``call``         a call's owner, state and all its entries: the first of a followed call
``update``       entries that changed, and no others
``end``          the end of the call, with all entries
``server_down``  another server (``server``) has been silent for ``dead_after``
``server_up``    it is heard again
``unfollowed``   (WebSocket) the call is not followed any more, or never was: ``detail``
``error``        (WebSocket) a message was not understood: ``detail``
===============  ===================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Query, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from cdsplugin.api.access import Access, Grant, guard, offered_by
from cdsplugin.api.feed import (
    Dropped,
    Feed,
    Follower,
    Over,
    TooManyFollowers,
    happening,
    whole,
)
from cdsplugin.api.interest import Interest
from cdsplugin.api.live import ANSWERS, CallId, Owner, taking_part
from cdsplugin.api.served import Served
from cdsplugin.config import ApiSection

log = logging.getLogger("cdsplugin.api")

_STREAM: dict[int | str, dict[str, Any]] = {
    **ANSWERS,
    200: {
        "description": "Server-sent events; the kinds are listed at `/ws` in the manual",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


def make_router(
    server: Served,
    section: ApiSection,
    access: Access,
    interest: Interest,
    feed: Feed,
) -> APIRouter:
    """The routes that follow."""
    router = APIRouter(tags=["following"])
    reader = Depends(guard(access, write=False))

    def join() -> Follower:
        try:
            return feed.join()
        except TooManyFollowers:
            raise HTTPException(
                503, "too many follow already (cds.api.followers)", {"Retry-After": "30"}
            ) from None

    @router.get("/events", response_class=Response, responses=_STREAM)
    async def events(
        request: Request,
        snapshot: Annotated[
            bool, Query(description="begin with all live calls, each as an event `call`")
        ] = False,
        grant: Grant = reader,
    ) -> Response:
        """Follow all calls that this server has data of, live, as server-sent events.

        Also tells when another server falls silent (`server_down`) or is back (`server_up`). Who
        takes the events too slowly is dropped (`cds.api.follower_queue`).
        """
        follower = join()
        feed.follow_all(follower)
        first = _all_calls(server) if snapshot else iter(())
        return EventStream(follower, section.keepalive, lambda: feed.leave(follower), grant, first)

    @router.get("/calls/{call_id}/events", response_class=Response, responses=_STREAM)
    async def call_events(call_id: CallId, owner: Owner = None, grant: Grant = reader) -> Response:
        """Follow one call, live, as server-sent events, until its end.

        The first event (`call`) has all that is known, the others (`update`) only what changed,
        the last (`end`) all entries again. From any server, whoever owns the call.
        """
        follower = join()
        try:
            call = await taking_part(interest, call_id, owner)
        except BaseException:
            feed.leave(follower)
            raise
        let_go = interest.follow(call_id, call.owner)
        feed.follow(follower, call)

        def over() -> None:
            feed.leave(follower)
            let_go()

        return EventStream(follower, section.keepalive, over, grant, iter(()), until_end=True)

    @router.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        """Follow calls over a WebSocket; see ``_Session``."""
        offered, subprotocol = offered_by(websocket)
        try:
            grant = access.admit(offered, write=False)
            follower = join()
        except HTTPException as error:
            await websocket.send_denial_response(
                JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            )
            return
        session = _Session(server, section, access, interest, feed, follower, grant)
        try:
            await websocket.accept(subprotocol)
            await session.run(websocket)
        finally:
            session.over()

    return router


def _all_calls(server: Served) -> Iterator[bytes]:
    for call_id in [call.call_id for call in server.store]:
        call = server.store.get(call_id)
        if call is not None:
            yield _sse(whole("call", call))


def _sse(told: tuple[str, bytes]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (told[0].encode(), told[1])


class EventStream(Response):
    """An answer of server-sent events. ``over`` is called once, however it ends."""

    media_type = "text/event-stream"

    def __init__(
        self,
        follower: Follower,
        keepalive: float,
        over: Callable[[], None],
        grant: Grant,
        first: Iterator[bytes],
        *,
        until_end: bool = False,
    ) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            media_type=self.media_type,
        )
        del self.headers["content-length"]
        self._follower = follower
        self._keepalive = keepalive
        self._over = over
        self._grant = grant
        self._first = first
        self._until_end = until_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the end, the client's leaving, or its being too slow."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait(
                [sending, leaving, self._follower.dropped],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._follower.dropped.done():
                log.warning(
                    "a follower (token `%s`) took its events too slowly: dropped", self._grant.name
                )
        finally:
            self._over()
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # At once, so that the client knows that it follows from here on.
        await send(_chunk(b": following\n\n"))
        for data in self._first:
            await send(_chunk(data))
        with contextlib.suppress(Dropped, Over):
            while True:
                told = await self._follower.next(self._keepalive)
                await send(_chunk(b"".join(map(_sse, told)) if told else b": alive\n\n"))
                if self._until_end and any(kind == "end" for kind, _ in told):
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _chunk(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a WebSocket's client: ``{"follow": CALLID, "owner": NAME}`` (the owner only if
    this server may not know the call), ``{"follow": "*"}`` for all calls, or ``{"unfollow": …}``.
    """

    follow: str | None = None
    unfollow: str | None = None
    owner: str | None = None


_asked = msgspec.json.Decoder(_Asked)


class _Session:
    """One WebSocket: what it follows, its two directions."""

    def __init__(
        self,
        server: Served,
        section: ApiSection,
        access: Access,
        interest: Interest,
        feed: Feed,
        follower: Follower,
        grant: Grant,
    ) -> None:
        self._server = server
        self._section = section
        self._access = access
        self._interest = interest
        self._feed = feed
        self._follower = follower
        self._grant = grant
        self._followed: dict[str, Callable[[], None]] = {}

    async def run(self, websocket: WebSocket) -> None:
        """Until the client leaves, is dropped, or the server stops."""
        sending = asyncio.ensure_future(self._send(websocket))
        taking = asyncio.ensure_future(self._take(websocket))
        try:
            await asyncio.wait(
                [sending, taking, self._follower.dropped], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (sending, taking):
                task.cancel()
            await asyncio.gather(sending, taking, return_exceptions=True)
        with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(1):
                if self._follower.dropped.done():
                    log.warning(
                        "a follower (token `%s`) took its events too slowly: dropped",
                        self._grant.name,
                    )
                    await websocket.close(1013, "too slow (cds.api.follower_queue)")
                elif not taking.done() or taking.cancelled():
                    await websocket.close(1012, "the server stops")

    def over(self) -> None:
        """Let go of all."""
        self._feed.leave(self._follower)
        for let_go in self._followed.values():
            let_go()
        self._followed.clear()

    async def _send(self, websocket: WebSocket) -> None:
        with contextlib.suppress(Dropped, Over):
            while True:
                for kind, data in await self._follower.next(3600.0):
                    await websocket.send_text(data.decode())
                    if kind == "end":
                        self._forget(msgspec.json.decode(data)["call_id"])

    async def _take(self, websocket: WebSocket) -> None:
        while True:
            try:
                data = (await websocket.receive_text()).encode("utf-8", "replace")
            except WebSocketDisconnect:
                return
            except KeyError:
                self._error("expected a text message")
                continue
            if wait := self._access.wait(self._grant):
                await asyncio.sleep(wait)
            try:
                asked = _asked.decode(data)
            except msgspec.DecodeError as error:
                self._error(str(error))
                continue
            if (asked.follow is None) == (asked.unfollow is None):
                self._error("expected one of `follow` and `unfollow`")
            elif asked.follow is not None:
                await self._follow(asked.follow, asked.owner)
            elif asked.unfollow == "*":
                self._feed.follow_all(self._follower, False)
                self._unfollowed("*", "as asked")
            elif asked.unfollow is not None:
                self._feed.unfollow(self._follower, asked.unfollow)
                self._forget(asked.unfollow)
                self._unfollowed(asked.unfollow, "as asked")

    async def _follow(self, call_id: str, owner: str | None) -> None:
        if call_id == "*":
            self._feed.follow_all(self._follower)
            self._follower.push(happening("following", call_id="*"))
            return
        if call_id in self._followed:
            return
        if len(self._followed) >= self._section.followed_calls:
            self._unfollowed(call_id, "too many calls (cds.api.followed_calls)")
            return
        try:
            call = await taking_part(self._interest, call_id, owner)
        except HTTPException as error:
            self._unfollowed(call_id, error.detail)
            return
        self._followed[call_id] = self._interest.follow(call_id, call.owner)
        self._feed.follow(self._follower, call)

    def _forget(self, call_id: str) -> None:
        let_go = self._followed.pop(call_id, None)
        if let_go is not None:
            let_go()

    def _unfollowed(self, call_id: str, why: str) -> None:
        self._follower.push(happening("unfollowed", call_id=call_id, detail=why))

    def _error(self, detail: str) -> None:
        self._follower.push(happening("error", detail=detail))
