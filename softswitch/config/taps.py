"""``tap:``, a program that listens in on a call of two; and ``tapping:``, what concerns all of
those."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from softswitch.config.places import as_written
from softswitch.config.programs import BACKLOG, CONNECT, MESSAGE, PING, ProgramModel, host_of
from softswitch.config.values import Count, Seconds, Section, Text

CALLER: Final = "caller"
CALLEE: Final = "callee"


class Tap(msgspec.Struct, frozen=True):
    """A program that hears what the two of a talk say; `softswitch.media.orders.Stream` says what
    each is. `caller` and `callee`: whether it hears that one, who is the talk's first or second."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    caller: bool = True
    callee: bool = True
    linear: bool = False
    ca: str = ""
    connect: float = CONNECT
    ping: float = PING
    backlog: float = BACKLOG
    message: int = MESSAGE

    @property
    def host(self) -> str:
        """Where it is, without what may be secret in a path."""
        return host_of(self.url)

    @property
    def key(self) -> str:
        """By which it is found again in a configuration that was read anew: it says nothing of what
        may be secret, and neither headers nor limits make it another one."""
        what = (self.url, self.parameters, self.caller, self.callee, self.linear)
        return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:32]

    def told(self) -> str:
        """It in words; without secrets."""
        who = "" if self.caller and self.callee else f" ({CALLER if self.caller else CALLEE} alone)"
        return f"tapped by {self.host}{who}"


class TapModel(ProgramModel):
    """``tap``: a URL, or its settings."""

    tracks: Literal["both", "caller", "callee"] = Field(
        default="both", description="whom it hears; `caller`: the first of the two"
    )

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: Any) -> Any:
        value = as_written(value)
        if value is True or value is False:
            raise ValueError(f"found `{str(value).lower()}`, expected the URL of a program")
        return {cls.ALONE: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    def read(self) -> Tap:
        """As written."""
        return Tap(
            self.url,
            tuple(self.headers.items()),
            tuple(self.parameters.items()),
            self.tracks != CALLEE,
            self.tracks != CALLER,
            self.format == "l16",
            self.ca or "",
            self.connect,
            self.ping,
            self.backlog,
            self.message,
        )


class TappingModel(Section):
    """``tapping:``."""

    announce: Text = Field(
        default="",
        description="a prompt or WAV file that both hear when a program begins to listen",
    )
    tries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=5, description="times that a program which is not there is tried again"
    )
    pause: Seconds = Field(
        default=1.0, description="seconds until then; each time it is twice as long"
    )
    longest_pause: Seconds = Field(default=60.0, description="seconds until then, at most")
    most: Annotated[Count, Field(le=16)] = Field(
        default=4, description="programs that listen to one talk, at most"
    )
