"""Patterns of dialled numbers, as Asterisk's admins write them, and regular expressions.

``X`` is a digit 0-9, ``Z`` 1-9, ``N`` 2-9, ``[13-5]`` one of 1, 3, 4, 5; ``.`` at the end is one
character or more, ``!`` at the end none or more; everything else stands for itself. A leading
``_``, which Asterisk demands, may be written; then, as in Asterisk, ``x``, ``z`` and ``n`` count as
well and ``-`` means nothing. ``/.../`` is a regular expression (Python's) that the whole number
must match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

Characters: TypeAlias = frozenset[str] | None
"""What may stand at one place of a number; None is any character."""

_WILDCARDS: dict[str, frozenset[str]] = {
    "X": frozenset("0123456789"),
    "Z": frozenset("123456789"),
    "N": frozenset("23456789"),
}
_LITERAL = re.compile(r"[A-Za-z0-9*#+_=$&,;?%~'()-]")


# Compiled when a number is looked at first: of thousands of routes few are, and a dialplan is taken
# up while calls are waiting.
_compiled = lru_cache(maxsize=20_000)(re.compile)


class PatternError(ValueError):
    """The text is no pattern; says at which character and why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read.

    ``places`` is what may stand at each place and ``open`` whether more may follow; ``places`` is
    None for a regular expression. ``expression`` is the pattern as Python writes it, in any case.
    ``literal`` is the one number that matches, if there is but one.
    """

    text: str
    expression: str
    places: tuple[Characters, ...] | None
    open: bool
    literal: str | None

    def matches(self, number: str) -> bool:
        """Whether the whole number matches."""
        return _compiled(self.expression).fullmatch(number) is not None

    def first(self) -> Characters:
        """The characters with which a matching number can begin; None if that is any or unknown."""
        return self.places[0] if self.places else None

    def least(self) -> int:
        """The length of the shortest number that matches; 0 for a regular expression."""
        return len(self.places) if self.places is not None else 0

    def sample(self) -> str | None:
        """A number that matches; None for a regular expression."""
        if self.places is None:
            return None
        return "".join("0" if place is None else min(place) for place in self.places)

    def covers(self, other: Pattern) -> bool:
        """Whether every number that ``other`` matches is provably matched by this one too."""
        if other.literal is not None:
            return self.matches(other.literal)
        if self.places is None or other.places is None:
            return self.text == other.text
        if self.open:
            enough = len(other.places) >= len(self.places)
        else:
            enough = not other.open and len(other.places) == len(self.places)
        return enough and all(
            mine is None or (theirs is not None and theirs <= mine)
            for mine, theirs in zip(self.places, other.places, strict=False)
        )


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern. Raises PatternError."""
    if text.startswith("/"):
        return _regular_expression(text)
    asterisk = text.startswith("_")
    at = 1 if asterisk else 0
    if at == len(text):
        raise PatternError("an empty pattern matches nothing; expected a number such as 1XXX")
    places: list[Characters] = []
    more = False
    while at < len(text):
        char = text[at]
        wildcard = _WILDCARDS.get(char.upper() if asterisk else char)
        if char in ".!":
            if at + 1 < len(text):
                rest = text[at + 1 :]
                raise PatternError(f"`{char}` must come last: `{rest}` follows it, at {at + 2}")
            more = True
            if char == ".":
                places.append(None)
        elif char == "[":
            close = text.find("]", at)
            if close < 0:
                raise PatternError(f"`[` at character {at + 1} has no `]`")
            places.append(_one_of(text[at + 1 : close], at + 2))
            at = close
        elif wildcard is not None:
            places.append(wildcard)
        elif not (asterisk and char in "- "):
            if not _LITERAL.fullmatch(char):
                raise PatternError(
                    f"`{char}` at character {at + 1} has no meaning here; "
                    "write a regular expression between slashes if it is meant"
                )
            places.append(frozenset(char))
        at += 1
    # Two places with one character each are a literal; an open end never is.
    single = [next(iter(place)) for place in places if place is not None and len(place) == 1]
    literal = "".join(single) if not more and len(single) == len(places) else None
    expression = "".join(map(_regex, places)) + (".*" if more else "")
    return Pattern(text, f"(?s:{expression})", tuple(places), more, literal)


def _regular_expression(text: str) -> Pattern:
    if len(text) < 3 or not text.endswith("/"):
        raise PatternError("a regular expression ends with a slash as well: /[0-9]+/")
    try:
        re.compile(text[1:-1])
    except re.error as error:
        at = "" if error.pos is None else f" at character {error.pos + 2}"
        raise PatternError(f"not a regular expression: {error.msg}{at}") from None
    return Pattern(text, text[1:-1], None, True, None)


def _one_of(inside: str, at: int) -> frozenset[str]:
    """``1-35-9`` to its characters. ``at`` is where it begins, for the message."""
    if not inside:
        raise PatternError(f"`[]` at character {at - 1} is empty: expected digits, as in [1-5]")
    chars: set[str] = set()
    i = 0
    while i < len(inside):
        first = inside[i]
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            last = inside[i + 2]
            if last < first:
                raise PatternError(f"range {first}-{last} at character {at + i} runs backwards")
            chars.update(map(chr, range(ord(first), ord(last) + 1)))
            i += 3
        else:
            chars.add(first)
            i += 1
    return frozenset(chars)


def _regex(place: Characters) -> str:
    if place is None:
        return "."
    if len(place) == 1:
        return re.escape(next(iter(place)))
    return "[" + "".join(re.escape(char) for char in sorted(place)) + "]"
