"""``do:``, what people dial stars for: to pick up, to park, to forward, not to be disturbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeAlias

import msgspec
from pydantic import Field, PlainValidator, WithJsonSchema

from softswitch.config import Section, as_written, did_you_mean
from softswitch.dialplan.actions.kind import Asked
from softswitch.dialplan.targets import Stages


class Feature(NamedTuple):
    """What can be done: with which arguments, whether it goes without one, and whether the number
    that was dialled is no code but meant itself (an orbit)."""

    arguments: tuple[str, ...] = ()
    alone: bool = True
    meant: bool = False


FEATURES: Final[Mapping[str, Feature]] = {
    "agent": Feature(("on", "off")),
    "complete": Feature(("cancel",)),
    "dnd": Feature(("on", "off")),
    "forward": Feature(("always", "busy", "no_answer", "unreachable", "off"), alone=False),
    "park": Feature(meant=True),
    "pause": Feature(("on", "off")),
    "pickup": Feature(),
    "redial": Feature(),
    "return": Feature(),
}
"""By the names that a dialplan has for them."""

DoText: TypeAlias = tuple[str, str]


class Do(msgspec.Struct, frozen=True):
    """One of ``FEATURES`` with its argument (empty: none), and the number that was dialled after
    the code: what is left by ``strip``. ``numbered``: there is one."""

    what: str
    argument: str = ""
    number: str = ""
    numbered: bool = True

    @property
    def stages(self) -> Stages:
        """Nobody."""
        return ()

    @property
    def timeout(self) -> float:
        """Not at all."""
        return 0.0

    def of(self, number: str, extensions: frozenset[str]) -> Do:
        """The same with a number."""
        return Do(self.what, self.argument, number) if self.numbered else self

    def act(self, asked: Asked) -> None:
        """Do it."""
        asked.do(self.what, self.argument, self.number)

    def told(self) -> list[str]:
        """What is done."""
        number = f" (number {self.number})" if self.number else ""
        return [" ".join(["do", self.what, *([self.argument] if self.argument else [])]) + number]


def _do(value: Any) -> DoText:
    """Raises ValueError, its text the mistake."""
    value = as_written(value)
    argument = ""
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError("expected one thing to do: NAME or {NAME: ARGUMENT}")
        value, given = next(iter(value.items()))
        # YAML takes `on` and `off` for true and false.
        given = {True: "on", False: "off"}[given] if isinstance(given, bool) else as_written(given)
        if not isinstance(given, str):
            raise ValueError(f"expected a text with `{value}`: NAME or {{NAME: ARGUMENT}}")
        argument = given
    if not isinstance(value, str):
        raise ValueError("expected NAME or {NAME: ARGUMENT}")
    feature = FEATURES.get(value)
    if feature is None:
        raise ValueError(f"found `{value}`{did_you_mean(value, FEATURES)}")
    if argument and not feature.arguments:
        raise ValueError(f"found `{argument}` with `{value}`, which goes alone")
    if argument and argument not in feature.arguments:
        hint = did_you_mean(argument, feature.arguments)
        raise ValueError(f"found `{argument}` with `{value}`{hint}")
    if not argument and not feature.alone:
        listed = ", ".join(f"`{one}`" for one in feature.arguments)
        raise ValueError(f"found `{value}` alone: expected {{{value}: ...}} with one of {listed}")
    return value, argument


class DoKeys(Section):
    """``do``."""

    KEY: ClassVar[str] = "do"
    WITH: ClassVar[tuple[str, ...]] = ()

    do: (
        Annotated[
            DoText,
            PlainValidator(_do),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"enum": [name for name, one in FEATURES.items() if one.alone]},
                        {
                            "type": "object",
                            "minProperties": 1,
                            "maxProperties": 1,
                            "additionalProperties": False,
                            "properties": {
                                name: {"enum": [*one.arguments]}
                                for name, one in FEATURES.items()
                                if one.arguments
                            },
                        },
                    ]
                }
            ),
        ]
        | None
    ) = Field(default=None, description="what a star code is dialled for: pickup, forward...")


def read_do(keys: DoKeys, stripped: bool) -> Do:
    """As written. Unless something is ``stripped``, what is dialled is the code alone."""
    what, argument = keys.do or ("", "")
    return Do(what, argument, "", stripped or FEATURES[what].meant)
