"""``play:``, connect the caller to something that the switch itself plays."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import msgspec
from pydantic import AfterValidator, Field, ValidationInfo

from softswitch.config import Section, Text, did_you_mean
from softswitch.dialplan.actions.kind import Asked
from softswitch.dialplan.surroundings import surroundings
from softswitch.dialplan.targets import Stages

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Play(msgspec.Struct, frozen=True):
    """``echo``, ``voicemail``..."""

    name: str

    @property
    def stages(self) -> Stages:
        """Nobody."""
        return ()

    @property
    def timeout(self) -> float:
        """Not at all."""
        return 0.0

    def of(self, number: str, extensions: frozenset[str]) -> Play:
        """The same for every number."""
        return self

    def act(self, asked: Asked) -> None:
        """Play it."""
        asked.play(self.name)

    def told(self) -> list[str]:
        """What is played."""
        return [f"play {self.name}"]


def _play(text: str, info: ValidationInfo) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"found `{text}`, expected a name such as echo")
    around = surroundings(info)
    known = None if around is None else around.playable
    if known is not None and text not in known:
        hint = did_you_mean(text, sorted(known)) if known else ", nothing can be played yet"
        raise ValueError(f"found `{text}`{hint}")
    return text


class PlayKeys(Section):
    """``play``."""

    KEY: ClassVar[str] = "play"
    WITH: ClassVar[tuple[str, ...]] = ()

    play: Annotated[Text, AfterValidator(_play)] | None = Field(
        default=None, description="what the switch itself plays: echo, voicemail..."
    )


def read_play(keys: PlayKeys) -> Play:
    """As written."""
    return Play(keys.play or "")
