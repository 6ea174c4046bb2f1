"""Texts of peers: names, numbers, reasons, what a program calls itself; made fit to be shown.

Whatever of a message is shown to somebody, kept, or told to the other side passes here where it
comes in: no control characters (a terminal obeys them, a log has a line more), none that turn the
direction of what follows, and no more characters than `limits.max_text`.
"""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT: Final = 256
"""Characters of a text, unless `limits.max_text` says otherwise."""

# C0, DEL and C1, the latter also as the bytes of a text that is no UTF-8; the separators of lines;
# what turns the direction; what XML must not have.
_UNFIT_RE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udc9f\ufffe\uffff]"
)


def printable(text: str, most: int = MAX_TEXT) -> str:
    """`text` with "?" in place of what must not be shown, cut to `most` characters.

    Bytes that are no UTF-8 stay as they came (surrogate escapes).
    """
    if len(text) > most:
        text = text[:most]
    if text.isprintable():
        return text
    return _UNFIT_RE.sub("?", text.replace("\t", " "))


def readable(text: str, most: int = MAX_TEXT) -> str:
    """The same for events and logs, which hold no such bytes: they are taken as Latin-1.

    Old gateways send names so.
    """
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    text = printable(text, most)
    try:
        text.encode()
    except UnicodeEncodeError:
        return printable(text.encode("utf-8", "surrogateescape").decode("latin-1"), most)
    return text


def decoded(text: str, most: int = MAX_TEXT) -> str:
    """`readable`, of a header that `printable` has been through as the message was read."""
    return text[:most] if text.isascii() else readable(text, most)
