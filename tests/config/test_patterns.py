"""Patterns: what matches, against a matcher written by hand as well; what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.config.patterns import PatternError, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("1XXX", ["1000", "1999"], ["100", "10000", "2000", "1A00", ""]),
        ("NXXXXXX", ["2000000", "9123456"], ["1234567", "0123456"]),
        ("ZX", ["10", "99"], ["00", "1"]),
        ("9.", ["91", "9+1408", "9x"], ["9", "8", "19"]),
        ("9!", ["9", "91", "9abc"], ["8", ""]),
        (".", ["1", "anything"], [""]),
        ("!", ["", "1", "anything"], []),
        ("[135]", ["1", "3", "5"], ["2", "4", "135"]),
        ("[1-35-9]0", ["10", "20", "30", "50", "90"], ["40", "00"]),
        ("[*#]1", ["*1", "#1"], ["11"]),
        ("[1-]", ["1", "-"], ["2"]),
        ("*43", ["*43"], ["43", "443", "*4"]),
        ("#9", ["#9"], ["9"]),
        ("+1408XXXXXXX", ["+14085551234"], ["14085551234", "++4085551234"]),
        ("alice", ["alice"], ["Alice", "alic"]),
        ("front-desk", ["front-desk"], ["frontdesk"]),
        ("_1XXX", ["1000"], ["_1000"]),
        ("_1xxn", ["1002"], ["1001", "1xxn"]),
        ("_555-1XXX", ["5551000"], ["555-1000"]),
        ("/[0-9]{3}/", ["123"], ["1234", "12", "a123"]),
        ("/(?:7|8).*/", ["7", "812"], ["17"]),
        ("/a|bc/", ["a", "bc"], ["ac", "abc"]),
        ("xyz", ["xyz"], ["111"]),
    ],
)
def test_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_pattern(pattern)
    assert [number for number in yes if not compiled.matches(number)] == []
    assert [number for number in no if compiled.matches(number)] == []


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "empty pattern"),
        ("_", "empty pattern"),
        ("1[23", "`[` at character 2 has no `]`"),
        ("1[]", "`[]` at character 2 is empty"),
        ("1[5-2]", "range 5-2 at character 3 runs backwards"),
        ("9.X", "`.` must come last: `X` follows it, at 3"),
        ("9!!", "`!` must come last"),
        ("1]", "`]` at character 2 has no meaning"),
        ("1 2", "` ` at character 2 has no meaning"),
        ("{1}", "`{` at character 1 has no meaning"),
        ("/12", "ends with a slash"),
        ("/", "ends with a slash"),
        ("//", "ends with a slash"),
        ("/[0-9/", "not a regular expression: unterminated character set at character 2"),
        ("/(/", "not a regular expression"),
    ],
)
def test_refused(pattern: str, says: str) -> None:
    with pytest.raises(PatternError) as error:
        compile_pattern(pattern)
    assert says in str(error.value)


PLACES = {
    "X": "0123456789",
    "Z": "123456789",
    "N": "23456789",
    "[135]": "135",
    "[2-46]": "2346",
    "*": "*",
    "#": "#",
    "+": "+",
    "5": "5",
    "0": "0",
}
patterns = st.tuples(
    st.lists(st.sampled_from(sorted(PLACES)), max_size=5), st.sampled_from(["", ".", "!"])
).filter(lambda parts: bool(parts[0] or parts[1]))
numbers = st.text(alphabet="01234569*#+", max_size=7)


def reference(places: list[str], tail: str, number: str) -> bool:
    """Matches place by place, by hand."""
    more = len(number) - len(places)
    fits = {"": more == 0, ".": more >= 1, "!": more >= 0}[tail]
    return fits and all(char in PLACES[place] for place, char in zip(places, number, strict=False))


@given(patterns, numbers)
def test_agrees_with_a_matcher_by_hand(parts: tuple[list[str], str], number: str) -> None:
    places, tail = parts
    compiled = compile_pattern("".join(places) + tail)
    assert compiled.matches(number) == reference(places, tail, number)


@st.composite
def pattern_and_number(draw: st.DrawFn) -> tuple[str, str]:
    places, tail = draw(patterns)
    number = "".join(draw(st.sampled_from(PLACES[place])) for place in places)
    least = 1 if tail == "." else 0
    return "".join(places) + tail, number + (
        draw(st.text(alphabet="0159*x", min_size=least, max_size=3)) if tail else ""
    )


@given(pattern_and_number())
def test_matches_what_it_was_made_from(pair: tuple[str, str]) -> None:
    pattern, number = pair
    compiled = compile_pattern(pattern)
    assert compiled.matches(number)
    assert compiled.least() <= len(number)
    first = compiled.first()
    assert first is None or number[0] in first
    assert compiled.literal is None or compiled.literal == number


@given(patterns, pattern_and_number())
def test_a_pattern_that_covers_another_matches_all_of_its_numbers(
    parts: tuple[list[str], str], other: tuple[str, str]
) -> None:
    pattern, number = other
    covering = compile_pattern("".join(parts[0]) + parts[1])
    if covering.covers(compile_pattern(pattern)):
        assert covering.matches(number)


@pytest.mark.parametrize(
    ("pattern", "other", "covers"),
    [
        ("1XXX", "1001", True),
        ("1XXX", "1[0-4]XX", True),
        ("1[0-4]XX", "1XXX", False),
        ("9.", "911", True),
        ("9.", "9!", False),
        ("9!", "9.", True),
        (".", "1XXX", True),
        ("1XXX", "1XXX.", False),
        ("/1.*/", "1001", True),
        ("/1.*/", "1XXX", False),
        ("/1.*/", "/1.*/", True),
        ("X", "Z", True),
        ("N", "Z", False),
    ],
)
def test_covers(pattern: str, other: str, covers: bool) -> None:
    assert compile_pattern(pattern).covers(compile_pattern(other)) is covers


@given(st.text(max_size=12))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    with contextlib.suppress(PatternError):
        assert compile_pattern(text).matches("1001") in (True, False)
