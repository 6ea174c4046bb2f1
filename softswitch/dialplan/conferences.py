"""``conferences:``, rooms in which several callers hear each other."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from pydantic import BeforeValidator, Field

from softswitch.config import (
    TEXTS,
    Count,
    Flag,
    Seconds,
    Section,
    Where,
    YamlFile,
    as_written,
    one_or_more,
)
from softswitch.dialplan.sounds import SoundText

MOST: Final = 12
"""People in a room, unless it says otherwise: what media workers of four calls each can join."""
MOST_EVER: Final = 1000
_PIN: Final = re.compile(r"[0-9]{3,12}")


class Conference(msgspec.Struct, frozen=True):
    """Up to ``most`` people. Who does not know a ``pin`` is not let in; empty: everybody is. Who
    knows the ``leader_pin`` leads; without one, everybody does. ``muted``: others are not heard
    until they unmute themselves. ``wait``: they hear nobody until a leader is there; ``ends``: it
    is over for them when the last leader leaves. ``alone``: what is heard, again and again, by who
    waits or is alone (paths). ``tones`` when somebody joins or leaves. So many ``tries`` at a PIN,
    each of ``timeout`` seconds at most."""

    name: str
    most: int = MOST
    pin: str = ""
    leader_pin: str = ""
    muted: bool = False
    wait: bool = False
    ends: bool = False
    tones: bool = True
    alone: tuple[str, ...] = ()
    tries: int = 3
    timeout: float = 10.0

    @property
    def guarded(self) -> bool:
        """Whether people are asked for a PIN."""
        return bool(self.pin or self.leader_pin)


# How it is written


def _pin(text: Any) -> str:
    text = as_written(text)
    if not isinstance(text, str) or not _PIN.fullmatch(text):
        raise ValueError("expected 3 to 12 digits")
    return text


_Pin = Annotated[str, BeforeValidator(_pin)]
_Sounds = Annotated[list[SoundText], BeforeValidator(one_or_more), Field(min_length=1), TEXTS]


class ConferenceModel(Section):
    """A room."""

    most: Annotated[Count, Field(ge=2, le=MOST_EVER)] = Field(
        default=MOST, description="people at a time"
    )
    pin: _Pin | None = Field(default=None, description="digits that let people in")
    leader_pin: _Pin | None = Field(
        default=None, description="digits that let leaders in; without: everybody leads"
    )
    muted: Flag = Field(default=False, description="who does not lead comes in muted")
    wait: Flag = Field(default=False, description="who does not lead waits until a leader is there")
    ends: Flag = Field(default=False, description="it is over when the last leader leaves")
    tones: Flag = Field(default=True, description="a tone when somebody joins or leaves")
    alone: _Sounds | None = Field(
        default=None, description="what is heard by who waits or is alone, again and again"
    )
    tries: Annotated[Count, Field(le=100)] = Field(
        default=3, description="how often a PIN is asked"
    )
    timeout: Seconds = Field(default=10.0, description="seconds for a PIN")


def read_conference(name: str, model: ConferenceModel) -> Conference:
    """As written."""
    return Conference(
        name,
        model.most,
        model.pin or "",
        model.leader_pin or "",
        model.muted,
        model.wait,
        model.ends,
        model.tones,
        tuple(model.alone or ()),
        model.tries,
        model.timeout,
    )


def check_conferences(read: YamlFile) -> None:
    """Note what concerns several keys of a room."""
    rooms = read.value.get("conferences") if isinstance(read.value, dict) else None
    for name, room in rooms.items() if isinstance(rooms, dict) else ():
        if not isinstance(room, dict):
            continue
        where: Where = ("conferences", name)
        leader = room.get("leader_pin")
        if leader is None:
            for key in ("muted", "wait", "ends"):
                if room.get(key) is True:
                    read.at((*where, key), "is for those who do not lead: there is no `leader_pin`")
        elif as_written(leader) == as_written(room.get("pin")):
            read.at((*where, "leader_pin"), "is the same as `pin`: nobody could tell them apart")
