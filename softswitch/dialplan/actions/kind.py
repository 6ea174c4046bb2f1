"""What an action of the dialplan is: how it is written, what it becomes, and what it asks for.

Each action has a file beside this one, with all of it; ``written`` lists them.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from softswitch.dialplan.plays import Played
from softswitch.dialplan.targets import Stages


class Plays(Protocol):
    """See `softswitch.dialplan.actions.play.Play`."""

    @property
    def what(self) -> Played:
        """What is played, with its settings."""

    @property
    def number(self) -> str:
        """The number that was dialled for it."""

    @property
    def then(self) -> Action | None:
        """What to do when it has ended; None: hang up."""

    @property
    def otherwise(self) -> Action | None:
        """What to do if it cannot be played, or cannot go on."""


class Asked(Protocol):
    """Who does what an action says, for a call that nobody has answered: its search."""

    def ring(self, stages: Stages, timeout: float, otherwise: Action | None) -> None:
        """Ring the stages, one after the other, each for ``timeout`` seconds if it has none of its
        own; if nobody answers do ``otherwise``, or tell the caller why (None)."""

    def refuse(self, status: int, reason: str) -> None:
        """End the call with that status and phrase (empty: the status's own)."""

    def play(self, play: Plays) -> None:
        """Connect the caller to something that the switch plays."""

    def goto(self, number: str) -> None:
        """Do what the dialplan says of another number."""

    def do(self, what: str, argument: str, number: str) -> None:
        """Do what a star code is dialled for: one of ``do.FEATURES``, with its argument (empty:
        none) and the number that was dialled after the code."""


class Action(Protocol):
    """What to do with a call, its number known."""

    def act(self, asked: Asked) -> None:
        """Do it."""

    @property
    def stages(self) -> Stages:
        """Whom it rings: what a redirect to this number may lead to. Empty: nobody."""

    @property
    def timeout(self) -> float:
        """For how long it rings each stage that has no time of its own, in seconds."""

    def told(self) -> list[str]:
        """It in words, a line each, for ``softswitch dialplan test``."""


class Template(Protocol):
    """An action before the number is known."""

    def of(self, number: str, extensions: frozenset[str]) -> Action:
        """The action for a number (after strip and prepend)."""


class Keys(Protocol):
    """The keys of one action in a dialplan: a pydantic model."""

    KEY: ClassVar[str]
    """The key that asks for it."""
    WITH: ClassVar[tuple[str, ...]]
    """The keys that go with it alone."""
