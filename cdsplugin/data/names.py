"""Names: of servers, and of the properties of a call that belong to the switches.

``leg/SWITCH/N`` and ``talk/SWITCH/N`` are made and read here alone. What each property holds stands
in ``docs/call-data.md``.
"""

from __future__ import annotations

import re
from functools import lru_cache

SUMMARY = frozenset(("call", "answer", "end"))
"""Properties of the call as a whole, written by the switch at which it originates."""

RESERVED = SUMMARY
"""Names that a dialplan's ``set:`` and applications may not use (nor any with a slash)."""

RESTARTED = "server restarted"
"""The ``reason`` of a call, passage or leg whose end nobody saw: it is supposed."""

LEG = "leg/"
"""How the names of legs begin."""

TALK = "talk/"
"""How the names of talks begin."""

MERGED = "merged/"
"""How the names begin of what a switch says of a call that became part of an older one."""

OF_SWITCHES = (LEG, TALK, MERGED, "switch/", "end")
"""How the names begin of what a switch says of a call it has, until the call is over there."""

TIMED = (LEG, TALK, MERGED, "switch/")
"""How the names begin of what a server writes of another's call that has times in it."""

_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def server_name(text: str) -> str:
    """``text``, if it may be a server's name. Raises ValueError."""
    if not _SERVER.fullmatch(text):
        raise ValueError(f"found `{text}`, expected letters, digits, `.`, `_` and `-`")
    return text


_LONGEST = 128


def check_name(name: str) -> None:
    """Whether a property of that name may be set by a dialplan or an application. Raises ValueError
    with the reason.

    Names that look alike to people must not be different ones: no blanks at the ends, nothing that
    is not shown, and none that differs from a name of the switches in its case alone.
    """
    if not 0 < len(name) <= _LONGEST:
        raise ValueError(f"a name has 1 to {_LONGEST} characters")
    if "/" in name or name.lower() in RESERVED:
        raise ValueError("such names belong to the switches")
    if name != name.strip():
        raise ValueError("a name has no blanks at its ends")
    if not name.isprintable():
        raise ValueError("a name has no control characters")


def leg_name(switch: str, number: int) -> str:
    """The property of a leg."""
    return f"{LEG}{switch}/{number}"


# Four legs a call, and a record reads each of their names twice.
@lru_cache(maxsize=4096)
def leg_of(name: str) -> tuple[str, int] | None:
    """The switch and the number in a leg's name; None if it is another name."""
    if not name.startswith(LEG):
        return None
    switch, _, number = name[len(LEG) :].rpartition("/")
    if not switch or not number.isdecimal() or len(number) > 9:
        return None
    return switch, int(number)


def talk_name(switch: str, number: int) -> str:
    """The property of a talk."""
    return f"{TALK}{switch}/{number}"


def talk_of(name: str) -> tuple[str, int] | None:
    """The switch and the number in a talk's name; None if it is another name."""
    return leg_of(LEG + name[len(TALK) :]) if name.startswith(TALK) else None


def passage_name(what: str, switch: str, incoming: int) -> str:
    """The property ``route``, ``switch`` or ``merged`` of a passage, told apart by its incoming
    leg."""
    return f"{what}/{switch}/{incoming}" if incoming else f"{what}/{switch}"


def tap_name(switch: str, talk: int, tap: int) -> str:
    """The property of a program that listens to a talk: the first one is 1."""
    return f"tap/{switch}/{talk}/{tap}"
