"""Text as a terminal and a spreadsheet may have it, whoever wrote it.

What switches tell has been made printable where it came in; what applications write, and what an
earlier version wrote, need not be.
"""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown(value: object) -> str:
    """A value as a text for a terminal: what is not printable becomes a question mark."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def cell(value: object) -> str:
    """A value as a cell of CSV that is text: an apostrophe before what a spreadsheet would take for
    a formula, as a number that begins with ``+``."""
    text = str(value)
    return f"'{shown(text)}" if text.startswith(_FORMULA) else shown(text)
