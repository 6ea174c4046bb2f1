"""``play:``, connect the caller to something that the switch itself plays."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec
from pydantic import Field

from softswitch.config import Section
from softswitch.dialplan.actions.kind import Action, Asked, Template
from softswitch.dialplan.plays import Played, PlayModel
from softswitch.dialplan.targets import Stages


class Play(msgspec.Struct, frozen=True):
    """Play ``what`` to who has dialled ``number``. ``then`` is what to do when it has ended (None:
    hang up), ``otherwise`` if it cannot be played, or cannot go on."""

    what: Played
    number: str = ""
    then: Action | None = None
    otherwise: Action | None = None

    @property
    def stages(self) -> Stages:
        """Nobody."""
        return ()

    @property
    def timeout(self) -> float:
        """Not at all."""
        return 0.0

    def act(self, asked: Asked) -> None:
        """Play it."""
        asked.play(self)

    def told(self) -> list[str]:
        """What is played."""
        lines = [f"play {self.what.told()}"]
        if self.then is not None:
            lines.append("then:")
            lines += [f"  {line}" for line in self.then.told()]
        if self.otherwise is not None:
            lines.append("else, when it cannot be played:")
            lines += [f"  {line}" for line in self.otherwise.told()]
        return lines


class PlayTemplate(NamedTuple):
    """``Play`` before the number is known."""

    what: Played
    then: Template | None
    otherwise: Template | None

    def of(self, number: str, extensions: frozenset[str]) -> Action:
        """The same with a number."""
        then = None if self.then is None else self.then.of(number, extensions)
        otherwise = None if self.otherwise is None else self.otherwise.of(number, extensions)
        return Play(self.what, number, then, otherwise)


class PlayKeys(Section):
    """``play`` and what goes with it."""

    KEY: ClassVar[str] = "play"
    WITH: ClassVar[tuple[str, ...]] = ("then", "else")

    play: PlayModel | None = Field(
        default=None, description="what the switch itself plays: echo, announcement, menu..."
    )


def read_play(
    keys: PlayKeys, then: Template | None = None, otherwise: Template | None = None
) -> PlayTemplate:
    """As written."""
    assert keys.play is not None
    return PlayTemplate(keys.play.read(), then, otherwise)
