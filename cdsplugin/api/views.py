"""What the switch in this process tells of itself: how it is, and the messages of a call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cdsplugin.api.access import Access, guard
from cdsplugin.api.models import CALL_ID, Mistake
from softswitch.hookspecs import LiveCalls, Views

Form = Literal["json", "text", "svg", "pcap"]
KINDS: dict[str, str] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "pcap": "application/vnd.tcpdump.pcap",
}

_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"model": Mistake, "description": "No valid token"},
    404: {"model": Mistake, "description": "There is nothing of that name"},
    429: {"model": Mistake, "description": "Too many requests; `Retry-After` says how long"},
    503: {"model": Mistake, "description": "There is no switch in this process"},
}
_CHANGING: dict[int | str, dict[str, Any]] = {
    **_ANSWERS,
    403: {"model": Mistake, "description": "The token may only read"},
}
_TRACED: dict[int | str, dict[str, Any]] = {
    **_ANSWERS,
    200: {
        "description": "By `format`, else by `Accept`",
        "content": {kind.partition(";")[0]: {} for kind in KINDS.values()},
    },
    406: {"model": Mistake, "description": "`Accept` has none of these"},
}


class RecordingIn(BaseModel):
    """Whether what is said is recorded just now."""

    model_config = ConfigDict(extra="forbid", strict=True)

    paused: bool = Field(default=False, description="nothing for a while, as for a card's number")


class RecordingOut(BaseModel):
    """What that concerns."""

    paused: bool
    talks: int = Field(description="talks of the call that are recorded, at this switch")


class Viewed:
    """``views`` and ``calls`` are the switch's; None: there is no switch in this process."""

    def __init__(self) -> None:
        self.views: Views | None = None
        self.calls: LiveCalls | None = None


def make_router(access: Access, viewed: Viewed) -> APIRouter:
    """The routes ``/switch/status``, ``/calls/{call_id}/trace`` and
    ``/calls/{call_id}/recording``."""
    router = APIRouter(tags=["switch"])
    reading = [Depends(guard(access, write=False))]
    writing = [Depends(guard(access, write=True))]

    @router.put("/calls/{call_id}/recording", dependencies=writing, responses=_CHANGING)
    async def recording(
        call_id: Annotated[str, Path(min_length=1, max_length=128, examples=[CALL_ID])],
        wanted: RecordingIn,
    ) -> RecordingOut:
        """What is said in a call of this switch is recorded from now on; or, if it is paused,
        nothing for a while."""
        if viewed.calls is None:
            raise HTTPException(503, "there is no switch in this process")
        try:
            talks = viewed.calls.record(call_id, wanted.paused)
        except LookupError as error:
            raise HTTPException(404, str(error)) from None
        return RecordingOut(paused=wanted.paused, talks=talks)

    def of() -> Views:
        if viewed.views is None:
            raise HTTPException(503, "there is no switch in this process")
        return viewed.views

    @router.get("/switch/status", dependencies=reading, responses=_ANSWERS)
    async def status(
        section: Annotated[list[str] | None, Query(description="only these; else all")] = None,
        rows: Annotated[
            int, Query(ge=0, le=10_000, description="calls, and registrations, at most")
        ] = 1000,
    ) -> dict[str, Any]:
        """What the switch does just now, as `softswitch status --json` tells it."""
        try:
            return await of().status(section, rows)
        except LookupError as error:
            raise HTTPException(404, str(error.args[0])) from None

    @router.get(
        "/calls/{call_id}/trace",
        dependencies=reading,
        responses=_TRACED,
        response_class=Response,
    )
    async def trace(
        call_id: Annotated[str, Path(min_length=1, max_length=512, examples=[CALL_ID])],
        format: Annotated[Form | None, Query(description="before what `Accept` says")] = None,
        bodies: Annotated[bool, Query(description="with the bodies, in `text`")] = False,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> Response:
        """The messages of a call as the switch has seen them, on all its legs, without secrets.

        Also of a call that has ended, as long as they are kept (`trace.bytes`); also by the SIP
        Call-ID of one of its legs.
        """
        form = format or _form(accept)
        try:
            content = await of().trace(call_id, form, bodies)
        except LookupError as error:
            raise HTTPException(404, str(error.args[0])) from None
        headers = {}
        if form == "pcap":
            headers["Content-Disposition"] = 'attachment; filename="call.pcap"'
        elif form == "svg":
            # What a peer has written is in it: it is a picture, whoever opens it.
            headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return Response(content, media_type=KINDS[form], headers=headers)

    return router


def _form(accept: str) -> str:
    """The first that who asks takes. Raises HTTPException: 406."""
    wanted = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    for one in wanted:
        if one in ("", "*/*", "application/*"):
            return "json"
        for form, kind in KINDS.items():
            named, major = kind.partition(";")[0], kind.partition("/")[0] + "/*"
            if one in (named, major):
                return form
    raise HTTPException(406, "expected one of " + ", ".join(KINDS.values()))
