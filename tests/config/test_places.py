"""Plain values and places out of YAML, and every way in which a file can be no YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.config import places as yaml_places
from softswitch.config.places import YamlFile, as_written, did_you_mean, read_yaml


def read(tmp_path: Path, content: str | bytes) -> YamlFile:
    path = tmp_path / "file.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path)


def mistakes(read: YamlFile) -> list[tuple[int, int, str]]:
    return [(one.line, one.column, one.message) for one in read.mistakes]


def test_values_and_places(tmp_path: Path) -> None:
    file = read(tmp_path, 'a: 1\nb:\n  - {c: "x", 7: null}\n  - yes\n  - 1.5\n')
    assert file.value == {"a": 1, "b": [{"c": "x", "7": None}, True, 1.5]}
    assert file.mistakes == []
    assert file.values[("b", 0, "c")] == (3, 9)
    assert file.keys[("b", 0, "7")] == (3, 14)
    assert file.values[("b", 1)] == (4, 5)
    assert file.nearest(("b", "<tag>", 0, "c", "nothing")) == ("b", 0, "c")


@pytest.mark.parametrize(
    ("text", "value", "written"),
    [
        ("1001", 1001, "1001"),
        ("-5", -5, "-5"),
        ("1_000", 1000, "1_000"),
        ("007", "007", "007"),  # YAML 1.1: 7, in octal
        ("12:30", "12:30", "12:30"),  # YAML 1.1: 750
        ("0x10", "0x10", "0x10"),
        ("1.50", 1.5, "1.50"),
        (".inf", ".inf", ".inf"),
        ("2026-01-01", "2026-01-01", "2026-01-01"),
        ('"5"', "5", "5"),
    ],
)
def test_numbers_keep_their_text(tmp_path: Path, text: str, value: object, written: str) -> None:
    file = read(tmp_path, f"a: {text}")
    assert file.value == {"a": value}
    assert as_written(file.value["a"]) == written


@pytest.mark.parametrize(
    ("content", "line", "column", "says"),
    [
        ("a: [1, 2\nb: 3", 2, 2, "not YAML"),
        ("a: 1\n\tb: 2", 2, 1, "not YAML"),
        ("a: *nowhere", 1, 4, "not YAML: `*` begins an alias"),
        ("a: 1\n---\nb: 2", 2, 1, "not YAML"),
        ("a: 1\nb: \x07", 2, 4, "character '\\x07' is not allowed"),
        (b"a: 1\nbc: \xff", 2, 5, "not UTF-8"),
        ("a: 1\nb: 2\na: 3", 3, 1, "duplicate key `a`: already in line 1"),
        ('x: {"1": a, 1: b}', 1, 13, "duplicate key `1`: already in line 1"),
        ("? [a]\n: b", 1, 3, "cannot be a key"),
        ("a: !python/object:os.system b", 1, 4, "unknown tag"),
        ("a: &x [*x]", 1, 4, "part of itself"),
        ("a: {<<: 5}", 1, 9, "`<<` takes an alias"),
        ("a: " + "[" * 200_000 + "]" * 200_000, 1, 67, "nested too deeply: more than 64 levels"),
        ("- " * 200_000, 1, 129, "nested too deeply"),
        ("[" * 64 + "]" * 63, 2, 1, "not YAML"),
    ],
)
def test_no_yaml(tmp_path: Path, content: str | bytes, line: int, column: int, says: str) -> None:
    found = mistakes(read(tmp_path, content))
    assert len(found) == 1
    assert says in found[0][2]
    assert found[0][:2] == (line, column)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    found = mistakes(read_yaml(tmp_path / "none.yaml"))
    assert found == [(1, 1, "cannot be read: No such file or directory")]


def test_merged_mappings_give_way_to_what_is_written(tmp_path: Path) -> None:
    file = read(tmp_path, "one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}\n")
    assert file.value == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}}
    assert file.mistakes == []


def test_aliases_that_multiply_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_places, "MAX_VALUES", 1000)
    lines = ["a0: &a0 [1, 2]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 20)]
    found = mistakes(read(tmp_path, "\n".join(lines)))
    assert found[0][2] == "too large: more than 1000 values or 64 levels, aliases followed"


def test_aliases_that_nest_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 500)]
    found = mistakes(read(tmp_path, "\n".join(lines)))
    assert [one[2].split(":")[0] for one in found] == ["too large"]


def test_a_name_no_file_can_have() -> None:
    [found] = mistakes(read_yaml(Path("a\0b")))
    assert found[2].startswith("cannot be read: ")


def test_did_you_mean() -> None:
    assert did_you_mean("pstm", ["branch", "pstn"]) == ": did you mean `pstn`?"
    assert did_you_mean("zz", ["branch", "pstn"]) == ", expected one of `branch`, `pstn`"
    assert did_you_mean("zz", ["branch"]) == ", expected `branch`"
    assert did_you_mean("zz", []) == ""


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = read(tmp_path_factory.getbasetemp(), content)
    assert all(one.line >= 1 and one.column >= 1 for one in file.mistakes)
