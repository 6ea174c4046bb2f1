"""What becomes of a number on its way: taken off the front, put in front, put into a form.

Of a dialled number a route says it for all that it does, a target of a list and an ``else`` for
themselves; each begins with the number as the one around it left it. Of a caller's number a trunk
says it, by patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from softswitch.config.patterns import Pattern, PatternError, compile_pattern
from softswitch.config.values import Section, Text, one_or_more

PLACE = "{number}"
"""Where the number goes in a ``format``."""

_CHARACTERS = re.compile(r"[A-Za-z0-9*#+._-]*")


class Shape(NamedTuple):
    """Take ``strip`` characters off the front, put ``prepend`` there, and put that into ``form``
    (empty: it is the number)."""

    strip: int = 0
    prepend: str = ""
    form: str = ""

    def of(self, number: str) -> str:
        """The number as it is then; empty if nothing is left of it."""
        left = number[self.strip :]
        if not left and not self.prepend:
            return ""
        shaped = self.prepend + left
        return self.form.replace(PLACE, shaped) if self.form else shaped


AS_IT_IS = Shape()


class NumberForm(NamedTuple):
    """The shape that numbers get which match a pattern."""

    pattern: Pattern
    shape: Shape


def formed(number: str, forms: Iterable[NumberForm]) -> str:
    """The number in the first form that fits; as it is if none does or nothing would be left."""
    for pattern, shape in forms:
        if pattern.matches(number):
            return shape.of(number) or number
    return number


def _pattern(text: str) -> str:
    try:
        compile_pattern(text)
    except PatternError as error:
        raise ValueError(f"found `{text}`: {error}") from None
    return text


PatternText = Annotated[Text, AfterValidator(_pattern)]
"""A pattern that can be compiled."""


def _prepend(text: str) -> str:
    if not _CHARACTERS.fullmatch(text):
        raise ValueError(f"found `{text}`, expected digits, letters, `*`, `#`, `+`")
    return text


def _form(text: str) -> str:
    before, place, after = text.partition(PLACE)
    if not place or not _CHARACTERS.fullmatch(before + after):
        raise ValueError(
            f"found `{text}`, expected `{PLACE}` once, and digits, letters, `*`, `#`, `+` around it"
        )
    return text


class NumberKeys(Section):
    """``strip``, ``prepend`` and ``format``."""

    strip: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=0, description="characters to take off the front of the number"
    )
    prepend: Annotated[Text, AfterValidator(_prepend)] = Field(
        default="", description="what to put in front of the number, after strip"
    )
    form: Annotated[Text, AfterValidator(_form)] | None = Field(
        default=None,
        alias="format",
        description="the number's form after that, such as +1{number}",
    )

    @property
    def shape(self) -> Shape:
        """What they say."""
        return Shape(self.strip, self.prepend, self.form or "")


class NumberFormModel(NumberKeys):
    """A form of the numbers that match."""

    match: PatternText = Field(description="the caller's numbers, as a pattern such as 0Z.")


NumberForms = Annotated[list[NumberFormModel], BeforeValidator(one_or_more)]


def number_forms(written: Iterable[NumberFormModel]) -> tuple[NumberForm, ...]:
    """As written."""
    return tuple([NumberForm(compile_pattern(one.match), one.shape) for one in written])
