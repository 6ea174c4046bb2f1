"""Live calls: listed, read, and written to."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, HTTPException, Path, Query

from cdsplugin.api.access import Access, Grant, guard
from cdsplugin.api.interest import Interest
from cdsplugin.api.models import (
    CALL_ID,
    CallOut,
    LiveCalls,
    LogOut,
    Mistake,
    NewLog,
    PropertiesOut,
    listed,
    log_out,
    property_out,
    state_of,
    talk_out,
)
from cdsplugin.api.served import Served
from cdsplugin.archive import talks_so_far
from cdsplugin.config import ApiSection
from cdsplugin.data import Call, NotStorable, TooLong, Value, check_line, check_property
from cdsplugin.local import NoSuchCall, OwnerAway

Limit = Annotated[int, Query(ge=1, description="how many; at most `cds.api.page`")]
CallId = Annotated[str, Path(min_length=1, max_length=128, examples=[CALL_ID])]
Owner = Annotated[
    str | None,
    Query(
        max_length=128,
        description="the server that owns the call, if this one may not know the call yet:"
        " it then registers there and brings everything",
    ),
]
Only = Annotated[str | None, Query(max_length=256)]

_AT_ONCE = 2000
"""Calls looked at before others get their turn."""

_ENTRY_BYTES = "cds.api.entry_bytes"

ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"model": Mistake, "description": "No valid token"},
    404: {"model": Mistake, "description": "No such live call, or its owner is not known"},
    429: {"model": Mistake, "description": "Too many requests; `Retry-After` says how long"},
    503: {"model": Mistake, "description": "The owner or the disk does not answer; try again"},
}
WRITING: dict[int | str, dict[str, Any]] = {
    **ANSWERS,
    403: {"model": Mistake, "description": "The token may only read"},
    409: {"model": Mistake, "description": "The call has as many entries as it may have"},
    413: {"model": Mistake, "description": "An entry, or all of it, is too long"},
}


def make_router(
    server: Served, section: ApiSection, access: Access, interest: Interest
) -> APIRouter:
    """The routes below ``/calls`` but for those that follow."""
    router = APIRouter(tags=["live calls"])
    reading = [Depends(guard(access, write=False))]
    writer = Depends(guard(access, write=True))

    @router.get("/calls", dependencies=reading, responses={401: ANSWERS[401], 429: ANSWERS[429]})
    async def calls(
        limit: Limit = 100,
        after: Annotated[str, Query(description="a callID: the page begins after it")] = "",
        caller: Only = None,
        dialled: Only = None,
        callee: Only = None,
        owner: Only = None,
        switch: Annotated[str | None, Query(description="the originating switch")] = None,
        state: Annotated[str | None, Query(pattern="^(live|lingering)$")] = None,
    ) -> LiveCalls:
        """List the live calls that this server has data of, in the order of their callIDs.

        These are the calls of its own switches, and those in which it takes part. A call stays for
        `cds.linger` seconds after it is over (`lingering`): notes still reach its record.
        """
        asked = {
            ("call", "caller"): caller,
            ("call", "dialled"): dialled,
            ("call", "switch"): switch,
            ("answer", "callee"): callee,
        }
        wanted = {key: value for key, value in asked.items() if value is not None}
        chosen: list[str] = []
        for looked, call in enumerate(server.store, 1):
            if looked % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if call.call_id > after and _matches(call, wanted, owner, state):
                chosen.append(call.call_id)
        size = min(limit, section.page)
        page = heapq.nsmallest(size + 1, chosen)
        found = [held for i in page[:size] if (held := server.store.get(i)) is not None]
        return LiveCalls(
            calls=[listed(call) for call in found],
            count=len(server.store),
            next=page[size - 1] if len(page) > size else None,
        )

    @router.get("/calls/{call_id}", dependencies=reading, responses=ANSWERS)
    async def call(call_id: CallId, owner: Owner = None) -> CallOut:
        """Read all data of a live call: its owner, who takes part, its properties and log lines.

        Asked of any server: of a call that another one owns, everything is fetched from there, and
        this server takes part in the call for `cds.api.interest` seconds from then on.
        """
        found = await taking_part(interest, call_id, owner)
        return CallOut(
            call_id=call_id,
            owner=found.owner,
            state=state_of(found),
            participants=server.proxy.participants(found),
            registration=server.proxy.stage(call_id),
            talks=[talk_out(row) for row in talks_so_far(found)],
            properties={name: property_out(entry) for name, entry in found.data.properties.items()},
            logs=[log_out(line) for line in found.data.log_lines()],
        )

    @router.patch("/calls/{call_id}", responses=WRITING)
    async def set_properties(
        call_id: CallId,
        values: Annotated[
            dict[str, Value],
            Body(
                description="names and values: text, number, true, false, null, or a flat list or"
                " mapping of these",
                examples=[{"account": "4711", "tags": ["vip", "complaint"]}],
            ),
        ],
        owner: Owner = None,
        grant: Grant = writer,
    ) -> PropertiesOut:
        """Set properties of a live call; those that are not named stay as they are.

        The newest value of a name wins, whoever wrote it; null is a value too. The names `call`,
        `answer` and `end` and names with a slash belong to the switches. The author of what is
        stored is `SERVER/NAME`: this server, and the name of the token.

        The answer comes when the properties are on this server's disk. They are on their way to
        all who take part in the call then, and will be in its record.
        """
        check(values, section)
        author = await write(call_id, owner, grant, values, ())
        call = server.store.get(call_id)
        held = call.data.properties if call is not None else {}
        return PropertiesOut(
            call_id=call_id,
            properties={
                name: property_out(entry)
                for name in values
                if (entry := held.get(name)) is not None and entry.author == author
            },
        )

    @router.post("/calls/{call_id}/log", status_code=201, responses=WRITING)
    async def add_log(
        call_id: CallId, line: NewLog, owner: Owner = None, grant: Grant = writer
    ) -> LogOut:
        """Add a log line to a live call, also after the hangup while the call lingers.

        Log lines are never replaced: this request, repeated, adds the line again. Author and time
        of the answer are as for `PATCH`.
        """
        with _answered():
            check_line(line.text, section.entry_bytes, _ENTRY_BYTES)
        author = await write(call_id, owner, grant, {}, (line.text,))
        call = server.store.get(call_id)
        lines = call.data.log_lines() if call is not None else []
        for found in reversed(lines):
            if found.author == author and found.text == line.text:
                return log_out(found)
        return LogOut(logged_at=None, author=author, text=line.text)

    async def write(
        call_id: str,
        owner: str | None,
        grant: Grant,
        values: Mapping[str, Value],
        lines: tuple[str, ...],
    ) -> str:
        if (why := server.refuses()) is not None:
            raise HTTPException(503, f"nothing was changed: {why}", {"Retry-After": "5"})
        await taking_part(interest, call_id, owner)
        author = f"{server.name}/{grant.name}"
        if not server.store.write(None, call_id, author, values, lines):
            if server.store.get(call_id) is None:
                raise HTTPException(404, "the call has ended")
            raise HTTPException(
                409,
                f"`{author}` has written {server.section.limits.call_entries} entries"
                " (cds.limits.call_entries): no more are taken",
            )
        try:
            await server.stored(section.wait)
        except OSError as error:
            raise HTTPException(
                503, f"shared with the others, but not on disk yet: {error}", {"Retry-After": "5"}
            ) from error
        return author

    return router


async def taking_part(interest: Interest, call_id: str, owner: str | None) -> Call:
    """``Interest.call`` with the API's answers. Raises HTTPException: 404 or 503."""
    try:
        return await interest.call(call_id, owner)
    except NoSuchCall as error:
        raise HTTPException(404, str(error)) from None
    except OwnerAway as error:
        raise HTTPException(503, str(error), {"Retry-After": "5"}) from None


def _matches(
    call: Call,
    wanted: Mapping[tuple[str, str], str],
    owner: str | None,
    state: str | None,
) -> bool:
    if owner is not None and call.owner != owner:
        return False
    if state is not None and state_of(call) != state:
        return False
    for (name, key), value in wanted.items():
        found = call.data.value(name)
        if not isinstance(found, dict) or found.get(key) != value:
            return False
    return True


def check(values: Mapping[str, Value], section: ApiSection) -> None:
    """Whether these can be properties. Raises HTTPException: 413 or 422."""
    if not values:
        raise HTTPException(422, "expected at least one property")
    if len(values) > section.entries:
        raise HTTPException(413, f"more than {section.entries} properties (cds.api.entries)")
    with _answered():
        for name, value in values.items():
            check_property(name, value, section.entry_bytes, _ENTRY_BYTES)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """What cannot be stored, as the API's answer."""
    try:
        yield
    except TooLong as error:
        raise HTTPException(413, str(error)) from None
    except NotStorable as error:
        raise HTTPException(422, str(error)) from None
