"""Header lines that a route adds to its INVITEs: ``headers:`` and ``ring:``.

Only those that tell the other side something. What makes the protocol work, and what others trust
(who calls, by which call, on whose word), the switch writes itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

from softswitch.config import Text, did_you_mean
from softswitch.dialplan.surroundings import surroundings

MAX_HEADERS: Final = 16
"""Headers of one route."""
MAX_HEADER: Final = 256
"""Characters of a header's value."""

ALLOWED: Final = (
    "Alert-Info",
    "Call-Info",
    "Subject",
    "Priority",
    "Diversion",
    "User-to-User",
    "Accept-Language",
    "Warning",
)
_BY_LOWER = {name.lower(): name for name in ALLOWED}

_OWN = re.compile(r"[Xx]-[A-Za-z0-9-.!%*_+`'~]+")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"\x7f-\U0010ffff]+")


def _header(name: str, info: ValidationInfo) -> str:
    around = surroundings(info)
    if around is not None and name.lower() == around.call_id_header.lower():
        raise ValueError("is the header of the callID, which the switch writes itself")
    if name.lower() not in _BY_LOWER and not _OWN.fullmatch(name):
        close = did_you_mean(name, ALLOWED)
        hint = close if close.startswith(":") else f": expected {', '.join(ALLOWED)} or X-..."
        raise ValueError(f"is none of the headers that a route may write{hint}")
    return name


def _value(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"found `{text}`, expected one line of text")
    if len(text) > MAX_HEADER:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_HEADER}")
    return text.strip()


def _ring(text: str) -> str:
    if not (_NAME.fullmatch(text) or _URI.fullmatch(text)):
        raise ValueError(f"found `{text}`, expected a name such as internal, or a URI")
    if len(text) > MAX_HEADER:
        raise ValueError(f"found {len(text)} characters, expected at most {MAX_HEADER}")
    return text


def _distinct(headers: dict[str, str]) -> dict[str, str]:
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"found {len(headers)} headers, expected at most {MAX_HEADERS}")
    seen: set[str] = set()
    for name in headers:
        if name.lower() in seen:
            raise ValueError(f"found `{name}` twice")
        seen.add(name.lower())
    return headers


HeadersMapping = Annotated[
    dict[Annotated[str, AfterValidator(_header)], Annotated[Text, AfterValidator(_value)]],
    AfterValidator(_distinct),
]
RingText = Annotated[Text, AfterValidator(_ring)]


def header_lines(headers: Mapping[str, str], ring: str | None) -> str:
    """The lines, each with its CRLF.

    A phone finds the name of a ring in the URI or behind ``info=``, as its maker had it; it is not
    meant to fetch anything, so the URI is its own machine.
    """
    lines = [f"{_BY_LOWER.get(name.lower(), name)}: {value}\r\n" for name, value in headers.items()]
    if ring is not None:
        alert = f"<{ring}>" if ":" in ring else f"<http://127.0.0.1/{ring}>;info={ring}"
        lines.append(f"Alert-Info: {alert}\r\n")
    return "".join(lines)
