"""Who calls, and whom a route may name: extensions of this switch, and trunks."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from pydantic import AfterValidator, ValidationInfo

from softswitch.config import AS_IT_IS, Shape, Text, did_you_mean
from softswitch.dialplan.surroundings import surroundings

Party: TypeAlias = Literal["extension", "trunk"]


class Source(NamedTuple):
    """Who calls: an extension of this switch, or a trunk and whether it is one of our switches."""

    kind: Party
    name: str
    switch: bool = False

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


# A msgspec struct where a dataclass would do: made once per new number, a tenth of the time.
class Target(msgspec.Struct, frozen=True):
    """One party to ring: an extension, or a trunk with the number to send there."""

    kind: Party
    name: str
    number: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Stage(msgspec.Struct, frozen=True):
    """Targets that are rung at once, for ``timeout`` seconds; 0: as long as goes for all."""

    targets: tuple[Target, ...]
    timeout: float = 0.0


Stages: TypeAlias = tuple[Stage, ...]
"""One after the other."""


class TargetTemplate(NamedTuple):
    """A target as written: ``name`` is None for the extension of the dialled number."""

    kind: Party
    name: str | None
    shape: Shape = AS_IT_IS

    def of(self, number: str, extensions: frozenset[str]) -> Target | None:
        """The target for a number; None if it is an extension's that there is not, or if nothing is
        left of the number."""
        if self.shape is not AS_IT_IS:
            number = self.shape.of(number)
            if not number:
                return None
        if self.kind == "trunk":
            return Target("trunk", self.name or "", number)
        if self.name is not None:
            return Target("extension", self.name, self.name)
        return Target("extension", number, number) if number in extensions else None


def target_template(text: str) -> TargetTemplate:
    """``extension``, ``NUMBER``, ``extension:NUMBER``, ``trunk:NAME``. Raises ValueError."""
    kind, colon, name = text.partition(":")
    if not colon:
        return TargetTemplate("extension", None if text == "extension" else text)
    if kind not in ("extension", "trunk"):
        hint = did_you_mean(kind, ("extension", "trunk"))
        raise ValueError(f"found `{text}`: unknown kind `{kind}`{hint}")
    return TargetTemplate("trunk" if kind == "trunk" else "extension", name)


def _target(text: str, info: ValidationInfo) -> str:
    kind, name, _ = target_template(text)
    if name is not None and (known := surroundings(info)):
        if kind == "extension" and ":" not in text and name not in known.extensions:
            if name in known.trunks:
                raise ValueError(f"found `{text}`, which is a trunk: write `trunk:{text}`")
            if did_you_mean(text, ("extension",)).startswith(":"):
                raise ValueError(f"found `{text}`: did you mean `extension`?")
        known.party(text, kind, name)
    return text


def _source(text: str, info: ValidationInfo) -> str:
    if text in ("internal", "any"):
        return text
    kind, colon, name = text.partition(":")
    if not colon or kind not in ("trunk", "extension"):
        expected = "internal, any, trunk:NAME or extension:NUMBER"
        close = did_you_mean(text, ("internal", "any"))
        hint = close if close.startswith(":") else ""
        raise ValueError(f"found `{text}`, expected {expected}{hint}")
    if known := surroundings(info):
        known.party(text, kind, name)
    return text


TargetText = Annotated[Text, AfterValidator(_target)]
SourceText = Annotated[Text, AfterValidator(_source)]
