"""What YAML does not say: the mistakes of those who do not write it every day, by the text itself.

YAML gives a meaning to characters that numbers begin with (``*43`` is an alias, ``#1`` a comment),
takes ``dial:"1001"`` for one long word, and complains about the line after.
"""

from __future__ import annotations

import re

_MARKS = {
    "*": "an alias",
    "&": "an anchor",
    "#": "a comment",
    "!": "a tag",
    "%": "a directive",
    "@": "nothing",
    "`": "nothing",
}
"""Characters that a value may not simply begin with, and what YAML takes them for."""

_NO_BLANK = re.compile(r"^(?P<before>\s*(?:- +)*)(?P<key>[A-Za-z_][\w-]*):(?=[^\s:/\\])")
"""A key whose colon has no blank behind it, at the beginning of a line."""

_OPEN = re.compile(r":\s+(?P<quote>[\"'])")


def about_value(text: str, position: int) -> str:
    """What to say of a value that begins at ``position`` and is something else to YAML."""
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    mark = text[position : position + 1]
    if mark not in _MARKS:
        return ""
    written = re.match(r"[^\s,\]}]*", text[position:])
    assert written is not None
    means = _MARKS[mark]
    kind = f"`{mark}` begins {means} in YAML" if means != "nothing" else f"`{mark}` begins no value"
    return f': {kind}; put it in quotes: `"{written[0]}"`'


def about_key(key: str) -> str:
    """What to say of a key that is not known."""
    name, colon, rest = key.partition(":")
    if colon and rest and re.fullmatch(r"[A-Za-z_][\w-]*", name):
        return f": a blank is missing after `{name}:`"
    return ""


def place_of(text: str, line: int, column: int) -> tuple[int, int, str] | None:
    """Where the mistake is that YAML found at ``line`` and ``column`` (from 1), and what it is.

    None if nothing is known better than what YAML says.
    """
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    indent = re.match(r" *(?:- +)*", here)
    assert indent is not None
    at = indent.end()
    if here[at : at + 1] == "\t" and column <= at + 1:
        return line, at + 1, "a tab: YAML is indented by blanks"
    value = here[column - 1 :]
    if value[:1] in _MARKS:
        begins = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
        return line, column, about_value("\n".join(lines), begins).removeprefix(": ")
    # YAML finds these when the next key does not fit.
    for number in (line, line - 1):
        written = lines[number - 1] if 1 <= number <= len(lines) else ""
        missing = _NO_BLANK.match(written)
        if missing is not None:
            name = missing["key"]
            return number, missing.end(), f"a blank is missing after `{name}:`"
        opened = _OPEN.search(written)
        if opened is not None and written.count(opened["quote"]) % 2:
            return number, opened.start("quote") + 1, f"the quote `{opened['quote']}` is not closed"
    return None
