"""``status:``, refuse the call."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from pydantic import AfterValidator, Field, Strict

from softswitch.config import Section, Text
from softswitch.dialplan.actions.kind import Asked
from softswitch.dialplan.targets import Stages


class Reject(msgspec.Struct, frozen=True):
    """A SIP status, 400 to 699. ``reason`` is its phrase, or empty."""

    status: int
    reason: str = ""

    @property
    def stages(self) -> Stages:
        """Nobody."""
        return ()

    @property
    def timeout(self) -> float:
        """Not at all."""
        return 0.0

    def of(self, number: str, extensions: frozenset[str]) -> Reject:
        """The same for every number."""
        return self

    def act(self, asked: Asked) -> None:
        """Refuse."""
        asked.refuse(self.status, self.reason)

    def told(self) -> list[str]:
        """With what."""
        return [f"refuse with {self.status} {self.reason}".rstrip()]


def _reason(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    return text


class RejectKeys(Section):
    """``status`` and what goes with it."""

    KEY: ClassVar[str] = "status"
    WITH: ClassVar[tuple[str, ...]] = ("reason",)

    status: Annotated[int, Strict(), Field(ge=400, le=699)] | None = Field(
        default=None, description="SIP status to refuse the call with"
    )
    reason: Annotated[Text, AfterValidator(_reason)] | None = Field(
        default=None, description="phrase that goes with status"
    )


def read_reject(keys: RejectKeys) -> Reject:
    """As written."""
    return Reject(keys.status or 0, keys.reason or "")
