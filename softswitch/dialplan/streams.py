"""``play: {stream: ...}``: the URL of a program that hears and speaks for a caller, and all of its
settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import msgspec
from pydantic import Field

from softswitch.config import BACKLOG, CONNECT, MESSAGE, PING, ProgramModel, Seconds, host_of

BUFFER: Final = 120.0
"""Seconds."""


class StreamPlay(msgspec.Struct, frozen=True):
    """A program is heard, and hears. `softswitch.media.orders.Stream` says what each is."""

    NAME: ClassVar[str] = "stream"

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    linear: bool = False
    ca: str = ""
    connect: float = CONNECT
    ping: float = PING
    buffer: float = BUFFER
    backlog: float = BACKLOG
    message: int = MESSAGE

    @property
    def host(self) -> str:
        """Where it is, without what may be secret in a path."""
        return host_of(self.url)

    def told(self) -> str:
        """It in words; without secrets."""
        return f"stream to {self.host}"


class StreamModel(ProgramModel):
    """``stream``."""

    buffer: Annotated[Seconds, Field(ge=1, le=3600)] = Field(
        default=BUFFER, description="seconds of audio that may wait to be heard"
    )

    def read(self) -> StreamPlay:
        """As written."""
        return StreamPlay(
            self.url,
            tuple(self.headers.items()),
            tuple(self.parameters.items()),
            self.format == "l16",
            self.ca or "",
            self.connect,
            self.ping,
            self.buffer,
            self.backlog,
            self.message,
        )
