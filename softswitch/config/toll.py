"""What calls to carriers may cost: as it is written, and as it is in force."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, Strict

from softswitch.config.numbers import PatternText
from softswitch.config.patterns import Pattern, compile_pattern
from softswitch.config.values import TEXTS, Count, Section, Text, one_or_more

CALLER: Final = "caller"
"""Each who calls has a limit of its own."""


class TollModel(Section):
    """One entry of ``toll:``."""

    match: Annotated[
        list[PatternText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS
    ] = Field(description="the numbers as the carrier is sent them, as patterns such as 900.")
    trunks: Annotated[tuple[Text, ...], BeforeValidator(one_or_more), TEXTS] = Field(
        default=(), description="the trunks that it concerns; by default all carriers"
    )
    extensions: Annotated[tuple[Text, ...], BeforeValidator(one_or_more), TEXTS] = Field(
        default=(), description="the extensions that it concerns; by default all who call"
    )
    per: Literal["caller", "switch"] = Field(
        default="caller", description="whether each who calls has these limits, or all together"
    )
    at_once: Count | None = Field(default=None, description="calls at once")
    calls: Count | None = Field(default=None, description="calls a day, answered or not")
    minutes: Count | None = Field(
        default=None, description="minutes a day; a call that uses them up is ended"
    )
    alarm: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(
        default=0.8, description="share of `calls` and `minutes` from which on there is an alarm"
    )


@dataclass(frozen=True, slots=True)
class TollRule:
    """What is in force. ``trunks`` are names, ``extensions`` parties (``extension:1001``; None:
    all). ``per_caller``: each who calls has these limits. Of ``at_once``, ``calls`` and ``seconds``
    (both a day) None is no limit."""

    name: str
    patterns: tuple[Pattern, ...]
    trunks: frozenset[str]
    extensions: frozenset[str] | None
    per_caller: bool
    at_once: int | None
    calls: int | None
    seconds: int | None
    alarm: float

    def __str__(self) -> str:
        """Its limits, for people."""
        minutes = None if self.seconds is None else self.seconds // 60
        limits = [
            f"{most} {what}"
            for most, what in (
                (self.at_once, "at once"),
                (self.calls, "calls a day"),
                (minutes, "minutes a day"),
            )
            if most is not None
        ]
        return f"{', '.join(limits)}, {'each caller' if self.per_caller else 'all together'}"

    def concerns(self, party: str, trunk: str, numbers: Iterable[str]) -> bool:
        """Whether it concerns a call that somebody has placed; `numbers` are what its number may be
        taken for."""
        if trunk not in self.trunks:
            return False
        if self.extensions is not None and party not in self.extensions:
            return False
        return any(pattern.matches(number) for number in numbers for pattern in self.patterns)


def toll_rule(name: str, written: TollModel, carriers: Iterable[str]) -> TollRule:
    """As written; `carriers` are the trunks that are no switches of ours."""
    return TollRule(
        name,
        tuple([compile_pattern(text) for text in written.match]),
        frozenset(written.trunks or carriers),
        frozenset(f"extension:{number}" for number in written.extensions) or None,
        written.per == CALLER,
        written.at_once,
        written.calls,
        None if written.minutes is None else 60 * written.minutes,
        written.alarm,
    )
