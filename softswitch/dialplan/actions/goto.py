"""``goto:``, go on in the dialplan as if another number had been dialled."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from pydantic import Field

from softswitch.config import Section, Text
from softswitch.dialplan.actions.kind import Asked
from softswitch.dialplan.targets import Stages


class Goto(msgspec.Struct, frozen=True):
    """What the dialplan says of ``number``, for the same caller."""

    number: str

    @property
    def stages(self) -> Stages:
        """Nobody, by itself."""
        return ()

    @property
    def timeout(self) -> float:
        """Not at all."""
        return 0.0

    def of(self, number: str, extensions: frozenset[str]) -> Goto:
        """The same for every number."""
        return self

    def act(self, asked: Asked) -> None:
        """Go there."""
        asked.goto(self.number)

    def told(self) -> list[str]:
        """Where it goes on."""
        return [f"go on with {self.number}"]


class GotoKeys(Section):
    """``goto``."""

    KEY: ClassVar[str] = "goto"
    WITH: ClassVar[tuple[str, ...]] = ()

    goto: Text | None = Field(default=None, description="the number to go on with, as dialled")


def read_goto(keys: GotoKeys) -> Goto:
    """As written."""
    return Goto(keys.goto or "")
