"""Where the calls of an extension go instead, and that it is not to be disturbed: as it is written
and as it is in force."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, Discriminator, Field, Strict, Tag

from softswitch.config.values import Flag, Section, Text

ALWAYS: Final = "always"
BUSY: Final = "busy"
NO_ANSWER: Final = "no_answer"
UNREACHABLE: Final = "unreachable"
CASES: Final = (ALWAYS, BUSY, NO_ANSWER, UNREACHABLE)
"""When calls are forwarded."""

_NUMBER: Final = re.compile(r"[A-Za-z0-9*#+._-]{1,128}")


def is_forwardable(number: str) -> bool:
    """Whether calls may be forwarded to a number at all, as far as its characters tell."""
    return _NUMBER.fullmatch(number) is not None


@dataclass(frozen=True, slots=True)
class FollowStep:
    """Numbers at which calls of an extension find it at once: its own is its phone. ``timeout`` is
    seconds, 0: as long as their route says."""

    numbers: tuple[str, ...]
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What is in force of an extension: numbers by ``CASES``, as it would dial them; empty: none.

    ``after`` is how many seconds a call rings before it counts as not answered, 0: as long as its
    route says. ``dnd``: calls do not ring and get ``status`` and ``phrase``. ``follow`` is where it
    is to be found, one step after the other, instead of at its phone.
    """

    always: str = ""
    busy: str = ""
    no_answer: str = ""
    unreachable: str = ""
    after: float = 0.0
    dnd: bool = False
    status: int = 486
    phrase: str = "Do Not Disturb"
    follow: tuple[FollowStep, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is."""
        forwards = self.always or self.busy or self.no_answer or self.unreachable
        return bool(forwards or self.dnd or self.follow)

    def of(self, case: str) -> str:
        """The number for one of ``CASES``."""
        number: str = getattr(self, case)
        return number


NOT_FORWARDED: Final = Forwarding()


def _number(text: str) -> str:
    if not is_forwardable(text):
        raise ValueError(f"found `{text}`, expected a number as this extension dials it")
    return text


NumberText = Annotated[Text, AfterValidator(_number)]
StepSeconds = Annotated[float, Strict(), Field(gt=0, le=86400)]


class NoAnswerModel(Section):
    """Where calls go that nobody picks up."""

    TAG: ClassVar[str] = "<after>"

    to: NumberText = Field(description="the number")
    after: StepSeconds | None = Field(
        default=None, description="seconds to ring before; the route's if absent"
    )


class ForwardModel(Section):
    """``forward:`` of an extension: numbers as it would dial them."""

    always: NumberText | None = Field(default=None, description="where all its calls go")
    busy: NumberText | None = Field(default=None, description="where calls go while it is busy")
    no_answer: (
        Annotated[
            Annotated[NumberText, Tag("<number>")] | Annotated[NoAnswerModel, Tag("<after>")],
            Discriminator(lambda value: _kind(value, "<after>", "<number>", NoAnswerModel)),
        ]
        | None
    ) = Field(default=None, description="where calls go that nobody picks up")
    unreachable: NumberText | None = Field(
        default=None, description="where calls go while no phone of it is registered or answers"
    )


class FollowToModel(Section):
    """A step of ``follow:``, one number."""

    TAG: ClassVar[str] = "<to>"

    to: NumberText = Field(description="the number, as this extension dials it; its own: its phone")
    timeout: StepSeconds | None = Field(
        default=None, description="seconds to ring; the route's if absent"
    )


class FollowAllModel(Section):
    """A step of ``follow:``, several numbers at once."""

    TAG: ClassVar[str] = "<all>"

    all: Annotated[list[NumberText], Field(min_length=1, description="the numbers to ring at once")]
    timeout: StepSeconds | None = Field(
        default=None, description="seconds to ring; the route's if absent"
    )


FollowStepModel = Annotated[
    Annotated[NumberText, Tag("<number>")]
    | Annotated[FollowToModel, Tag("<to>")]
    | Annotated[FollowAllModel, Tag("<all>")],
    Discriminator(
        lambda value: _step(value),
        custom_error_type="follow",
        custom_error_message="Input should be NUMBER, {to: ...} or {all: [...]}",
    ),
]
FollowModel = Annotated[list[FollowStepModel], Field(min_length=1)]


class DndModel(Section):
    """``dnd:`` with what callers are told."""

    TAG: ClassVar[str] = "<told>"

    status: Annotated[int, Strict(), Field(ge=400, le=699)] = Field(
        default=486, description="SIP status that callers get"
    )
    reason: Annotated[Text, AfterValidator(lambda text: _line(text))] | None = Field(
        default=None, description="phrase that goes with status"
    )


DndKey = Annotated[
    Annotated[Flag, Tag("<flag>")] | Annotated[DndModel, Tag("<told>")],
    Discriminator(lambda value: _kind(value, "<told>", "<flag>", DndModel)),
]


def _kind(value: Any, mapping: str, other: str, model: type[Section]) -> str:
    return mapping if isinstance(value, dict | model) else other


def _step(value: Any) -> str | None:
    if isinstance(value, FollowAllModel) or (isinstance(value, dict) and "all" in value):
        return "<all>"
    if isinstance(value, dict | FollowToModel):
        return "<to>"
    written = isinstance(value, str | int | float) and not isinstance(value, bool)
    return "<number>" if written else None


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    return text


def read_follow(written: Iterable[str | FollowToModel | FollowAllModel]) -> tuple[FollowStep, ...]:
    """As written."""
    steps: list[FollowStep] = []
    for step in written:
        if isinstance(step, FollowAllModel):
            steps.append(FollowStep(tuple(step.all), step.timeout or 0.0))
        elif isinstance(step, FollowToModel):
            steps.append(FollowStep((step.to,), step.timeout or 0.0))
        else:
            steps.append(FollowStep((step,)))
    return tuple(steps)


def read_forwarding(
    forward: ForwardModel | None, dnd: bool | DndModel, follow: FollowModel | None = None
) -> Forwarding:
    """As written."""
    forward = forward or ForwardModel()
    no_answer, after = forward.no_answer, 0.0
    if isinstance(no_answer, NoAnswerModel):
        after = no_answer.after or 0.0
        no_answer = no_answer.to
    status, phrase = 486, "Do Not Disturb"
    if isinstance(dnd, DndModel):
        status = dnd.status
        phrase = dnd.reason or (phrase if status == 486 else "")
    return Forwarding(
        forward.always or "",
        forward.busy or "",
        no_answer or "",
        forward.unreachable or "",
        after,
        dnd is not False,
        status,
        phrase,
        read_follow(follow or ()),
    )
