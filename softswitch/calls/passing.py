"""Headers that mean something to the other side: they go through, from leg to leg, as far as both
parties' `pass_headers` let them. What others trust (who calls, on whose word, by which call) the
switch writes itself, and of that nothing goes through."""

from __future__ import annotations

from typing import Final, NamedTuple

from softswitch.sip import Request, Response

PASSED: Final = frozenset(
    (
        "alert-info",
        "call-info",
        "subject",
        "priority",
        "user-to-user",
        "accept-language",
        "warning",
        "referred-by",
    )
)
"""What goes to and from our phones and switches, unless said otherwise; lower-case names."""
TO_CARRIERS: Final = PASSED - {"referred-by"}
"""What goes to and from other trunks: who transfers a call is no matter of theirs."""

IN_RESPONSES: Final = frozenset(("alert-info", "call-info", "user-to-user"))
"""What goes back with ringing and with the answer."""

_WRITTEN: Final = {"user-to-user": "User-to-User"}
"""Names that are not written as their words are; some devices are particular about that."""

_VALUES: Final = 4  # of one header


def any_in(headers: dict[str, list[str]]) -> bool:
    """Whether any of `PASSED` is there. Every call asks: each by itself is looked up in no time."""
    return (
        "alert-info" in headers
        or "call-info" in headers
        or "subject" in headers
        or "priority" in headers
        or "user-to-user" in headers
        or "accept-language" in headers
        or "warning" in headers
        or "referred-by" in headers
    )


def any_back(headers: dict[str, list[str]]) -> bool:
    """The same of `IN_RESPONSES`."""
    return "alert-info" in headers or "user-to-user" in headers or "call-info" in headers


class Passed(NamedTuple):
    """A header that may go through: its name in lower case, and its line."""

    key: str
    line: str


def passed(message: Request | Response, allowed: frozenset[str], most: int) -> list[Passed] | None:
    """What goes through of a message of whom these headers are taken: no more than `most`
    characters of it. None: nothing."""
    found: list[Passed] | None = None
    for key, values in message.headers.items():
        if key not in allowed:
            continue
        for value in values[:_VALUES]:
            line = f"{_WRITTEN.get(key) or key.title()}: {value}\r\n"
            most -= len(line)
            if most < 0:
                return found
            if value.isascii() and value.isprintable():
                if found is None:
                    found = []
                found.append(Passed(key, line))
    return found


def lines_to(found: list[Passed], allowed: frozenset[str], own: str) -> str:
    """The lines for a party that these may go to; not those of which there are lines of our `own`,
    which say something else."""
    lines = ""
    lower = own.lower()
    for key, line in found:
        if key in allowed and f"{key}:" not in lower:
            lines += line
    return lines
