"""Where the calls of an extension go instead, and that it is not to be disturbed: as it is written
and as it is in force."""

from __future__ import annotations

import re
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
class Forwarding:
    """What is in force of an extension: numbers by ``CASES``, as it would dial them; empty: none.

    ``after`` is how many seconds a call rings before it counts as not answered, 0: as long as its
    route says. ``dnd``: calls do not ring and get ``status`` and ``phrase``.
    """

    always: str = ""
    busy: str = ""
    no_answer: str = ""
    unreachable: str = ""
    after: float = 0.0
    dnd: bool = False
    status: int = 486
    phrase: str = "Do Not Disturb"

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.always or self.busy or self.no_answer or self.unreachable or self.dnd)

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


class NoAnswerModel(Section):
    """Where calls go that nobody picks up."""

    TAG: ClassVar[str] = "<after>"

    to: NumberText = Field(description="the number")
    after: Annotated[float, Strict(), Field(gt=0, le=86400)] | None = Field(
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


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    return text


def read_forwarding(forward: ForwardModel | None, dnd: bool | DndModel) -> Forwarding:
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
    )
