"""Values as a configuration and a dialplan hold them, whoever's section they are in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

from softswitch.config.places import as_written

Count = Annotated[int, Strict(), Field(ge=1)]
Seconds = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
SecondsOrOff = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, BeforeValidator(as_written)]
"""Text, also where it looks like a number: an extension may be 007."""

IN_JSON_A_TEXT = WithJsonSchema({"type": "string"})
"""For what is written as text, and is something else once it is read."""


class Section(BaseModel):
    """A mapping of known keys. A key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def one_or_more(value: Any) -> Any:
    """A list, also where a single one was written."""
    return value if isinstance(value, list) else [value]
