"""What phones of the switch in this process have set, and are shown: where their calls go, not to
be disturbed, that messages wait."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

from cdsplugin.api.access import Access, guard
from cdsplugin.api.models import Mistake
from cdsplugin.config import ApiSection
from softswitch.config import FollowStep
from softswitch.hookspecs import Features

Number = Annotated[str, Path(min_length=1, max_length=128, examples=["1001"])]
To = Annotated[
    str | None, Field(default=None, max_length=128, description="as the extension dials it")
]

_READING: dict[int | str, dict[str, Any]] = {
    401: {"model": Mistake, "description": "No valid token"},
    404: {"model": Mistake, "description": "No such extension"},
    429: {"model": Mistake, "description": "Too many requests; `Retry-After` says how long"},
    503: {"model": Mistake, "description": "There is no switch in this process"},
}
_WRITING: dict[int | str, dict[str, Any]] = {
    **_READING,
    403: {"model": Mistake, "description": "The token may only read"},
}


class ForwardIn(BaseModel):
    """Where calls go; null or absent: nowhere else."""

    model_config = ConfigDict(extra="forbid")

    always: To
    busy: To
    no_answer: To
    unreachable: To
    after: float | None = Field(
        default=None, gt=0, le=86_400, description="seconds to ring before `no_answer`"
    )


class ForwardOut(ForwardIn):
    """Where the calls of an extension go, whoever said so."""

    extension: str = Field(examples=["1001"])


Messages = Annotated[int, Field(ge=0, le=1_000_000)]


class MailboxIn(BaseModel):
    """The messages that wait in a mailbox."""

    model_config = ConfigDict(extra="forbid")

    new: Messages = Field(description="those that nobody has heard")
    old: Messages = 0


class MailboxOut(MailboxIn):
    """What the phones of an extension are shown of its mailbox."""

    extension: str = Field(examples=["1001"])


Step = Annotated[float | None, Field(default=None, gt=0, le=86_400, description="seconds to ring")]


class FollowTo(BaseModel):
    """One number."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field(max_length=128, description="as the extension dials it; its own: its phone")
    timeout: Step


class FollowAll(BaseModel):
    """Several numbers, at once."""

    model_config = ConfigDict(extra="forbid")

    all: list[str] = Field(min_length=1, description="as the extension dials them")
    timeout: Step


class FollowIn(BaseModel):
    """Where calls find an extension, one after the other; empty: at its phone."""

    model_config = ConfigDict(extra="forbid")

    follow: list[str | FollowTo | FollowAll] = Field(
        examples=[["1001", {"to": "901", "timeout": 25}]]
    )


class FollowOut(BaseModel):
    """The same of an extension, whoever said so."""

    extension: str = Field(examples=["1001"])
    follow: list[FollowTo | FollowAll]


class DndIn(BaseModel):
    """Whether it is not to be disturbed."""

    model_config = ConfigDict(extra="forbid")

    dnd: bool


class DndOut(DndIn):
    """The same of an extension, whoever said so."""

    extension: str = Field(examples=["1001"])


class AgentIn(BaseModel):
    """Whether it is logged in to its queues, and whether it pauses; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    logged_in: bool | None = None
    paused: bool | None = None


class AgentOut(BaseModel):
    """The same of an extension, whoever said so."""

    extension: str = Field(examples=["1001"])
    logged_in: bool
    paused: bool


class Phones:
    """``features`` is the switch's; None: there is no switch in this process."""

    def __init__(self) -> None:
        self.features: Features | None = None


def make_router(section: ApiSection, access: Access, phones: Phones) -> APIRouter:
    """The routes below ``/extensions``."""
    router = APIRouter(tags=["phones"])
    reading = [Depends(guard(access, write=False))]
    writing = [Depends(guard(access, write=True))]

    def of(number: str) -> Features:
        features = phones.features
        if features is None:
            raise HTTPException(503, "there is no switch in this process")
        try:
            features.forwarding(number)
        except LookupError as error:
            raise HTTPException(404, str(error.args[0])) from None
        return features

    def writable(number: str) -> Features:
        features = of(number)
        if features.refused():
            why = "nothing was changed: the switch's journal is not written"
            raise HTTPException(503, why, {"Retry-After": "5"})
        return features

    def forward_of(features: Features, number: str) -> ForwardOut:
        now = features.forwarding(number)
        return ForwardOut(
            extension=number,
            always=now.always or None,
            busy=now.busy or None,
            no_answer=now.no_answer or None,
            unreachable=now.unreachable or None,
            after=now.after or None,
        )

    def follow_of(features: Features, number: str) -> FollowOut:
        return FollowOut(
            extension=number,
            follow=[_told(step) for step in features.forwarding(number).follow],
        )

    def agent_of(features: Features, number: str) -> AgentOut:
        try:
            logged_in, paused = features.agent(number)
        except LookupError as error:
            raise HTTPException(404, str(error.args[0])) from None
        return AgentOut(extension=number, logged_in=logged_in, paused=paused)

    async def stored(features: Features) -> None:
        done = asyncio.Event()
        features.stored(done.set)
        try:
            async with asyncio.timeout(section.wait):
                await done.wait()
        except TimeoutError:
            raise HTTPException(
                503, "in force, but not on disk yet", {"Retry-After": "5"}
            ) from None

    @router.get("/extensions/{number}/forward", dependencies=reading, responses=_READING)
    async def forward(number: Number) -> ForwardOut:
        """Where the calls of an extension go instead."""
        return forward_of(of(number), number)

    @router.put("/extensions/{number}/forward", dependencies=writing, responses=_WRITING)
    async def set_forward(number: Number, wanted: ForwardIn) -> ForwardOut:
        """Forward the calls of an extension; what is not named is off.

        Numbers are dialled as by that extension: one that it may not call is a mistake (422).
        """
        features = writable(number)
        numbers = {
            "always": wanted.always or "",
            "busy": wanted.busy or "",
            "no_answer": wanted.no_answer or "",
            "unreachable": wanted.unreachable or "",
        }
        try:
            features.set_forward(number, numbers, wanted.after)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        await stored(features)
        return forward_of(features, number)

    @router.delete("/extensions/{number}/forward", dependencies=writing, responses=_WRITING)
    async def clear_forward(number: Number) -> ForwardOut:
        """Let its calls go where the configuration says again."""
        features = writable(number)
        features.clear_forward(number)
        await stored(features)
        return forward_of(features, number)

    @router.get("/extensions/{number}/follow", dependencies=reading, responses=_READING)
    async def follow(number: Number) -> FollowOut:
        """Where the calls of an extension find it; empty: at its phone."""
        return follow_of(of(number), number)

    @router.put("/extensions/{number}/follow", dependencies=writing, responses=_WRITING)
    async def set_follow(number: Number, wanted: FollowIn) -> FollowOut:
        """Let the calls of an extension find it elsewhere, one place after the other.

        Numbers are dialled as by that extension: one that it may not call is a mistake (422).
        """
        features = writable(number)
        try:
            features.set_follow(number, [_read(step) for step in wanted.follow])
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        await stored(features)
        return follow_of(features, number)

    @router.delete("/extensions/{number}/follow", dependencies=writing, responses=_WRITING)
    async def clear_follow(number: Number) -> FollowOut:
        """Let its calls find it where the configuration says again."""
        features = writable(number)
        features.clear_follow(number)
        await stored(features)
        return follow_of(features, number)

    @router.get("/extensions/{number}/dnd", dependencies=reading, responses=_READING)
    async def dnd(number: Number) -> DndOut:
        """Whether an extension is not to be disturbed."""
        return DndOut(extension=number, dnd=of(number).forwarding(number).dnd)

    @router.put("/extensions/{number}/dnd", dependencies=writing, responses=_WRITING)
    async def set_dnd(number: Number, wanted: DndIn) -> DndOut:
        """Not to disturb an extension, or to ring it again."""
        return await disturb(number, wanted.dnd)

    @router.delete("/extensions/{number}/dnd", dependencies=writing, responses=_WRITING)
    async def clear_dnd(number: Number) -> DndOut:
        """As the configuration says again."""
        return await disturb(number, None)

    @router.get("/extensions/{number}/agent", dependencies=reading, responses=_READING)
    async def agent(number: Number) -> AgentOut:
        """Whether an agent is logged in to its queues, and whether it pauses."""
        return agent_of(of(number), number)

    @router.put("/extensions/{number}/agent", dependencies=writing, responses=_WRITING)
    async def set_agent(number: Number, wanted: AgentIn) -> AgentOut:
        """Log an agent in or out, let it pause or go on."""
        features = writable(number)
        agent_of(features, number)
        if wanted.logged_in is not None:
            features.set_agent(number, wanted.logged_in)
        if wanted.paused is not None:
            features.set_paused(number, wanted.paused)
        await stored(features)
        return agent_of(features, number)

    @router.delete("/extensions/{number}/agent", dependencies=writing, responses=_WRITING)
    async def clear_agent(number: Number) -> AgentOut:
        """As its queues say again, and without a pause."""
        features = writable(number)
        agent_of(features, number)
        features.set_agent(number, None)
        await stored(features)
        return agent_of(features, number)

    @router.get("/extensions/{number}/mailbox", dependencies=reading, responses=_READING)
    async def mailbox(number: Number) -> MailboxOut:
        """How many messages wait for an extension, as far as the switch was told."""
        new, old = of(number).mailbox(number)
        return MailboxOut(extension=number, new=new, old=old)

    @router.put("/extensions/{number}/mailbox", dependencies=writing, responses=_WRITING)
    async def set_mailbox(number: Number, wanted: MailboxIn) -> MailboxOut:
        """Tell how many wait: the phones of the extension that ask for it light their lamp."""
        features = writable(number)
        features.set_mailbox(number, wanted.new, wanted.old)
        await stored(features)
        return MailboxOut(extension=number, new=wanted.new, old=wanted.old)

    async def disturb(number: str, on: bool | None) -> DndOut:
        features = writable(number)
        features.set_dnd(number, on)
        await stored(features)
        return DndOut(extension=number, dnd=features.forwarding(number).dnd)

    return router


def _read(step: str | FollowTo | FollowAll) -> FollowStep:
    if isinstance(step, FollowAll):
        return FollowStep(tuple(step.all), step.timeout or 0.0)
    if isinstance(step, FollowTo):
        return FollowStep((step.to,), step.timeout or 0.0)
    return FollowStep((step,))


def _told(step: FollowStep) -> FollowTo | FollowAll:
    timeout = step.timeout or None
    if len(step.numbers) == 1:
        return FollowTo(to=step.numbers[0], timeout=timeout)
    return FollowAll(all=list(step.numbers), timeout=timeout)
