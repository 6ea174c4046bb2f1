"""Values as a configuration and a dialplan hold them, whoever's section they are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    WithJsonSchema,
)

from softswitch.config.places import as_written

Count = Annotated[int, Strict(), Field(ge=1)]
Seconds = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
SecondsOrOff = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, BeforeValidator(as_written)]
"""Text, also where it looks like a number: an extension may be 007."""

IN_JSON_A_TEXT = WithJsonSchema({"type": "string"})
"""For what is written as text, and is something else once it is read."""
TEXTS = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]
    }
)
"""The same for a list of texts, or a single one (``one_or_more``)."""


class Section(BaseModel):
    """A mapping of known keys. A key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def text_then(parse: Callable[[str], object], what: str = "an address") -> PlainValidator:
    """What ``parse`` makes of a text. Its ValueError is the mistake; ``what``: what is expected."""

    def check(value: object) -> object:
        text = as_written(value)
        if not isinstance(text, str):
            raise ValueError(f"expected text: {what}")
        return parse(text)

    return PlainValidator(check)


def one_or_more(value: Any) -> Any:
    """A list, also where a single one was written."""
    return value if isinstance(value, list) else [value]
