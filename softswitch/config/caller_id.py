"""Who is shown as the caller, as a configuration and a dialplan write it.

``softswitch.calls.caller_id`` says what comes of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from softswitch.config.numbers import NumberForm, NumberForms, number_forms
from softswitch.config.values import Flag, Section, Text

MAX_SHOWN = 128
"""Characters of a caller's number or name that somebody writes."""

_NUMBER = re.compile(r"[A-Za-z0-9*#+._-]+")


@dataclass(frozen=True, slots=True)
class CallerId:
    """What is said of a caller. ``number``: empty if nothing is; ``name`` and ``anonymous``: None.

    ``{name}`` and ``{number}`` in ``name`` stand for the caller's own. ``forms`` are a trunk's.
    """

    number: str = ""
    name: str | None = None
    anonymous: bool | None = None
    forms: tuple[NumberForm, ...] = ()

    def __str__(self) -> str:
        name = "" if self.name is None else f'"{self.name}"'
        number = f"<{self.number}>" if self.number else ""
        return "anonymous" if self.anonymous else " ".join(filter(None, (name, number)))


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"found `{text}`, expected a number such as +493012345600")
    return _short(text)


def _name(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    return _short(text)


def _short(text: str) -> str:
    if len(text) > MAX_SHOWN:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_SHOWN}")
    return text


class CallerIdModel(Section):
    """What those called are shown of the caller."""

    number: Annotated[Text, AfterValidator(_number)] | None = Field(
        default=None, description="the number that is shown, such as +493012345600"
    )
    name: Annotated[Text, AfterValidator(_name)] | None = Field(
        default=None,
        description="the name that is shown; {name} and {number} in it are the caller's own",
    )
    anonymous: Flag | None = Field(
        default=None, description="true: neither number nor name is shown"
    )

    def read(self) -> CallerId:
        """As written."""
        return CallerId(self.number or "", self.name, self.anonymous)


class TrunkCallerIdModel(CallerIdModel):
    """What a carrier is shown of the caller."""

    forms: NumberForms = Field(
        default=[],
        alias="format",
        description="the form in which the carrier wants the caller's number; the first that fits",
    )

    def read(self) -> CallerId:
        """As written."""
        forms = number_forms(self.forms)
        return CallerId(self.number or "", self.name, self.anonymous, forms)
