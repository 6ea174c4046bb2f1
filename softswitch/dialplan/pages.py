"""``play: {page: ...}``: the caller is heard by many phones at once, and all settings of that."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from softswitch.config import TEXTS, Count, Flag, Seconds, Section, Text, one_or_more
from softswitch.dialplan.conferences import MOST as MOST_PEOPLE
from softswitch.dialplan.surroundings import surroundings
from softswitch.dialplan.targets import Stage, Target

MOST: Final = MOST_PEOPLE - 1
"""Extensions of a page, unless it says otherwise: a room has place for them and for who pages."""
MOST_EVER: Final = 999
RING: Final = "ring"


class PagePlay(msgspec.Struct, frozen=True):
    """Who pages is heard by the phones of ``extensions``, which are to pick up by themselves after
    ``answer_after`` seconds; those that have not picked up after ``timeout`` seconds are left out.

    ``talks_back``: it hears them, and they each other. ``disturbs``: who is in a call is called
    too. ``tone``: one is heard before the first word. After ``seconds`` it is over. ``room`` is
    where they hear each other, a name that only a running switch gives (empty: none yet), and
    ``paged`` whether this is the place of a phone there, and not that of who pages.
    """

    NAME: ClassVar[str] = "page"

    extensions: tuple[str, ...]
    answer_after: int = 0
    timeout: float = 10.0
    talks_back: bool = False
    disturbs: bool = False
    tone: bool = True
    seconds: float = 300.0
    room: str = ""
    paged: bool = False

    def stage(self) -> Stage:
        """All of them."""
        return Stage(tuple([Target("extension", name, name) for name in self.extensions]))

    def told(self) -> str:
        """It in words."""
        back = ", who may talk back" if self.talks_back else ""
        return f"page to {', '.join(self.extensions)}{back}; {self.timeout:g} s to pick up"


# How it is written


def _extension(text: str, info: ValidationInfo) -> str:
    kind, colon, _ = text.partition(":")
    if colon:
        raise ValueError(f"found `{text}`: a page goes to extensions of this switch, no {kind}")
    around = surroundings(info)
    if around is not None:
        around.party(text, "extension", text)
    return text


def _one_each(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"found `{name}` more than once")
    return names


class PageModel(Section):
    """``page``."""

    ALONE: ClassVar[str] = "extensions"

    extensions: Annotated[
        list[Annotated[Text, AfterValidator(_extension)]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        AfterValidator(_one_each),
        TEXTS,
    ] = Field(description="the extensions whose phones are called")
    answer_after: Annotated[int, Field(ge=0, le=60)] = Field(
        default=0, description="seconds after which a phone is asked to pick up by itself"
    )
    timeout: Seconds = Field(
        default=10.0, description="seconds after which a phone that has not picked up is left out"
    )
    talk_back: Flag = Field(default=False, description="who is paged is heard too")
    busy: Literal["skip", "ring"] = Field(
        default="skip", description="whether who is in a call is called"
    )
    tone: Flag = Field(default=True, description="a tone is heard before the first word")
    seconds: Annotated[Seconds, Field(le=86400)] = Field(
        default=300.0, description="how long it may last"
    )
    most: Annotated[Count, Field(le=MOST_EVER)] = Field(
        default=MOST, description="extensions that it may have: as many as can be joined"
    )

    @model_validator(mode="after")
    def _few_enough(self) -> PageModel:
        if len(self.extensions) > self.most:
            raise ValueError(
                f"found {len(self.extensions)} extensions, expected at most {self.most}: no more "
                "can be joined, unless media workers have room for more calls (then say `most`)"
            )
        return self

    def read(self) -> PagePlay:
        """As written."""
        return PagePlay(
            tuple(self.extensions),
            self.answer_after,
            self.timeout,
            self.talk_back,
            self.busy == RING,
            self.tone,
            self.seconds,
        )
