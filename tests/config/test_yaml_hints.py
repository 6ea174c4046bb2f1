"""What those who do not write YAML every day get wrong first: said where it is, in their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config import ConfigErrors, Mistake
from softswitch.dialplan import Surroundings, load_dialplan

AROUND = Surroundings(frozenset({"1001"}), {})
QUOTES = 'put it in quotes: `"%s"`'


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "p.yaml").write_text(text)
    with pytest.raises(ConfigErrors) as found:
        load_dialplan(folder / "p.yaml", AROUND)
    return [f"{one.line}:{one.column}: {one.message}" for one in found.value.mistakes]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("- match: *43\n    dial: '1001'", "2:12", QUOTES % "*43"),
        ("- {match: *43, dial: '1001'}", "2:13", QUOTES % "*43"),
        ("- {match: [*43, '1'], dial: '1001'}", "2:14", QUOTES % "*43"),
        ("- match: '5'\n    dial: *43", "3:11", QUOTES % "*43"),
        ("- match: #43\n    dial: '1001'", "2:11", QUOTES % "#43"),
        ("- match: &43\n    dial: '1001'", "2:12", QUOTES % "&43"),
        ("- match: '5'\n    dial: '1001'\n    set: {a: @b}", "4:14", QUOTES % "@b"),
        ("- match: %43\n    dial: '1001'", "2:12", QUOTES % "%43"),
        ("- match: '43'\n    dial:'1001'", "3:9", "a blank is missing after `dial:`"),
        ("- match: '43'\n    from:any\n    dial: '1001'", "3:9", "missing after `from:`"),
        ("- match:43\n    dial: '1001'", "2:10", "a blank is missing after `match:`"),
        ("- {match: '43', from:any, dial: '1001'}", "2:19", "a blank is missing after `from:`"),
        ("- {match: '43', dial:'1001'}", "2:19", "a blank is missing after `dial:`"),
        ("- match: '43'\n\tdial: '1001'", "3:1", "a tab: YAML is indented by blanks"),
        ("- match: '43'\n  \tdial: '1001'", "3:3", "a tab: YAML is indented by blanks"),
        ("- match: \"43\n    dial: \"1001\"", "2:12", 'the quote `"` is not closed'),
    ],
)  # fmt: skip
def test_the_help_they_need(tmp_path: Path, text: str, place: str, says: str) -> None:
    found = mistakes(tmp_path, f"routes:\n  {text}\n")
    assert any(one.startswith(f"{place}: ") and says in one for one in found), found


def test_a_tag_is_no_number(tmp_path: Path) -> None:
    *_, last = mistakes(tmp_path, "routes:\n  - match: !43\n    dial: '1001'\n")
    assert last == f"2:12: unknown tag `!43`: `!` begins a tag in YAML; {QUOTES % '!43'}"


@pytest.mark.parametrize(
    "text",
    [
        "routes:\n  - {match: '1', dial: '1001', set: {url: 'http://x'}}\n  bad",
        "routes: [\n  {match: '43', dial: '1001'}\n",
        "routes:\n- match: '5'\n   dial: '1001'\n",
    ],
)
def test_of_others_it_is_said_what_yaml_says(tmp_path: Path, text: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert "not YAML: " in found
    assert "missing after" not in found
    assert "quote" not in found


def test_no_hint_ever_breaks_the_reading(tmp_path: Path) -> None:
    """Every beginning of a plan, each with each of the characters that have a meaning."""
    plan = "routes:\n  - match: '1'\n    dial: {all: ['1001']}\n"
    path = tmp_path / "p.yaml"
    outside = []
    for end in range(len(plan)):
        for mark in "*&#!%@`\t:\"'[{":
            path.write_text(text := plan[:end] + mark)
            found: tuple[Mistake, ...] = ()
            try:
                load_dialplan(path, AROUND)
            except ConfigErrors as errors:
                found = errors.mistakes
            lines = text.count("\n") + 2
            outside += [one for one in found if not (1 <= one.line <= lines and one.column >= 1)]
    assert not outside
