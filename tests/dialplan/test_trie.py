"""The trie finds exactly the patterns that match, each tried on its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softswitch.config.patterns import Pattern, compile_pattern
from softswitch.dialplan.trie import PatternTrie

places = st.lists(st.sampled_from(["X", "N", "[13]", "1", "2", "*"]), max_size=4).map("".join)
patterns = st.one_of(
    st.builds("".join, st.tuples(places, st.sampled_from([".", "!"]))),
    places.filter(bool),
    st.sampled_from(["/1.*/", "/[0-9]{2}/"]),
).map(compile_pattern)


@given(st.lists(patterns, max_size=12), st.text(alphabet="0123*", max_size=5))
def test_finds_what_matches(given_patterns: list[Pattern], number: str) -> None:
    expected = [i for i, pattern in enumerate(given_patterns) if pattern.matches(number)]
    assert PatternTrie(given_patterns).matching(number) == expected


@given(patterns)
def test_a_pattern_matches_its_sample(pattern: Pattern) -> None:
    number = pattern.sample()
    assert number is None or pattern.matches(number)
