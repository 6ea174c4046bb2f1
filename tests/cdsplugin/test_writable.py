"""What applications may write: names that are theirs, values that every server can hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from cdsplugin.data.writable import NotStorable, TooLong, check_line, check_property


class Kind(StrEnum):
    VIP = "vip"


@pytest.mark.parametrize(
    "value",
    ["", "ü", 1, -(1 << 63), 1.5, True, None, [], ["a", 1, None], {}, {"a": 1, "b": None}],
)
def test_what_can_be_set(value: Any) -> None:
    check_property("name", value, 100, "here")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("call", 1, "`call`: such names belong to the switches"),
        ("answer", 1, "belong to the switches"),
        ("end", 1, "belong to the switches"),
        ("leg/hq/0", 1, "belong to the switches"),
        ("\ud800/x", 1, "`?/x`: no valid Unicode text"),
        ("", 1, "1 to 128 characters"),
        ("n" * 129, 1, "1 to 128 characters"),
        (7, 1, "found `int` as a property's name"),
        ("a", float("nan"), "not a finite number"),
        ("a", 1 << 63, "64 bits"),
        ("a", "\ud800", "`a`: no valid Unicode text"),
        ("\ud800", "", "`?`: no valid Unicode text"),
        ("a", {"b": {"c": 1}}, "found `dict`, expected text, a number"),
        ("a", [[1]], "found `list`"),
        ("a", (1, 2), "found `tuple`"),
        ("a", {1: 2}, "found `int` as a key"),
        ("a", b"x", "found `bytes`"),
        ("a", object(), "found `object`"),
        ("a", Kind.VIP, "found `Kind`"),
    ],
)
def test_what_cannot_be_set(name: Any, value: Any, says: str) -> None:
    with pytest.raises(NotStorable) as caught:
        check_property(name, value, 4096, "here")
    assert says in str(caught.value)
    str(caught.value).encode()
    assert not isinstance(caught.value, TooLong)


def test_what_is_too_long() -> None:
    for value in ("ü" * 50, ["ü" * 25] * 2, {"ü" * 25: "ü" * 25}):
        with pytest.raises(TooLong, match=r"`a` has \d+ bytes, and an entry may have 100 \(here\)"):
            check_property("a", value, 100, "here")
    check_line("ü" * 50, 100, "here")
    with pytest.raises(TooLong, match=r"`text` has 102 bytes"):
        check_line("ü" * 51, 100, "here")


@pytest.mark.parametrize(
    ("line", "says"),
    [("", "an empty text"), (None, "`NoneType`"), (["x"], "`list`"), ("\ud800", "Unicode")],
)
def test_what_is_no_log_line(line: Any, says: str) -> None:
    with pytest.raises(NotStorable, match=says):
        check_line(line, 100, "here")
