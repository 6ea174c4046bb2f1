"""A way through menus: what is heard, what keys lead to, and keys that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.dialplan import Dialplan, Sounds, Source, Surroundings, Walk, Walked, keys_of
from softswitch.dialplan.loader import load_dialplan
from softswitch.dialplan.sounds import OWN, sound_name
from softswitch.dialplan.walking import menus_told

PLAN = """menus:
  main:
    say: [welcome, sales]
    extensions: true
    choices:
      "1": {dial: {all: ["302", "303"]}, timeout: 20}
      "2": {play: {menu: second}}
      "4": {play: {announcement: closed}, then: {play: {menu: second}}, else: {dial: "301"}}
      "5": {goto: "600"}
      "6": {goto: "999"}
      "7": {do: redial}
      "8": {status: 403}
      "9": {dial: "304", else: {play: {menu: second}}}
      "90": {do: park}
      "*": again
      "#": back
    tries: 2
    else: {dial: "301", timeout: 30}
  second:
    say: support
    choices:
      "1": back
      "2": {play: {tone: {hz: 440, seconds: 1}}}
      "3": {play: {tone: 660}}
      "4": {play: time}
    tries: 1
  circle:
    say: again
    choices: {"1": {play: time, then: {goto: "502"}}}
    else: {status: 480}
routes:
  - {match: "500", play: {menu: main}, else: {dial: "304"}}
  - {match: "501", play: {menu: second}, else: {dial: "304"}}
  - {match: "502", play: {menu: circle}, else: {goto: "601"}}
  - {match: "503", dial: "301", else: {play: {menu: second}}}
  - {match: "600", play: {announcement: [sales, support]}, then: {dial: "304"}}
  - {match: "601", goto: "602"}
  - {match: "602", goto: "601"}
  - {match: "603", play: number, then: {goto: "603"}}
  - {match: "604", play: echo}
  - {match: "605", play: time, then: {status: 480}, else: {dial: "301"}}
"""
AROUND = Surroundings(
    frozenset({"301", "302", "303", "304"}), {}, sounds=Sounds(Path("/nowhere"), (OWN / "en",))
)
CALLER = Source("extension", "302")
MAIN = "menu main: hears welcome, sales"
SECOND = "menu second: hears support"


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    (tmp_path / "dp.yaml").write_text(PLAN)
    return load_dialplan(tmp_path / "dp.yaml", AROUND)


def walked(plan: Dialplan, number: str, keys: str) -> Walked:
    route = plan.route(number, CALLER)
    assert route is not None
    return Walk(plan, CALLER).walk(route.action, keys_of(keys))


@pytest.mark.parametrize(
    ("number", "keys", "lines"),
    [
        ("500", "1", [MAIN, "  presses 1", "1. dial extension:302, extension:303 at once, 20 s"]),
        (
            "500",
            "303",
            [MAIN, "  presses 303, an extension's number", "1. dial extension:303, 180 s"],
        ),
        (
            "500",
            "2,2",
            [
                MAIN,
                "  presses 2",
                SECOND,
                "  presses 2",
                "hears tone of 440 Hz, 1 s",
                "the switch hangs up",
            ],
        ),
        ("500", "23", [MAIN, "  presses 2", SECOND, "  presses 3", "hears tone of 660 Hz"]),
        (
            "500",
            "2,1,*,1",
            [
                MAIN,
                "  presses 2",
                SECOND,
                "  presses 1: back to the menu before",
                MAIN,
                "  presses *: the menu again",
                MAIN,
                "  presses 1",
                "1. dial extension:302, extension:303 at once, 20 s",
            ],
        ),
        (
            "500",
            "#,90",
            [
                MAIN,
                "  presses #: back, though there was no menu before",
                MAIN,
                "  presses 90",
                "do park (number 500)",
            ],
        ),
        (
            "500",
            "9",
            [
                MAIN,
                "  presses 9",
                "1. dial extension:304, 180 s",
                "else, when nobody answered:",
                "  play menu second",
            ],
        ),
        (
            "500",
            "9,3",
            [
                MAIN,
                "  presses 9",
                "1. dial extension:304, 180 s",
                "nobody answers:",
                SECOND,
                "  presses 3",
                "hears tone of 660 Hz",
            ],
        ),
        (
            "503",
            "3",
            [
                "1. dial extension:301, 180 s",
                "nobody answers:",
                SECOND,
                "  presses 3",
                "hears tone of 660 Hz",
            ],
        ),
        (
            "500",
            "4,4",
            [
                MAIN,
                "  presses 4",
                "hears announcement closed",
                SECOND,
                "  presses 4",
                "hears time",
                "the switch hangs up",
            ],
        ),
        (
            "500",
            "5",
            [
                MAIN,
                "  presses 5",
                "go on with 600: `600` at dp.yaml:36, number 600",
                "hears announcement sales, support",
                "1. dial extension:304, 180 s",
            ],
        ),
        # Nobody is there: in the menu again, as long as there are tries.
        (
            "500",
            "6,1",
            [
                MAIN,
                "  presses 6",
                "go on with 999: no route",
                "in menu main again: hears not-available, welcome, sales",
                "  presses 1",
                "1. dial extension:302, extension:303 at once, 20 s",
            ],
        ),
        (
            "500",
            "7,8",
            [
                MAIN,
                "  presses 7",
                "do redial",
                "in menu main again: hears not-available, welcome, sales",
                "  presses 8",
                "refuse with 403",
                "else, after 2 tries:",
                "1. dial extension:301, 30 s",
            ],
        ),
        # Keys that stand for nothing, and none.
        (
            "500",
            "3",
            [MAIN, "  presses 3, which stands for nothing: hears invalid, welcome, sales"],
        ),
        (
            "500",
            "0,-",
            [
                MAIN,
                "  presses 0, which stands for nothing: hears invalid, welcome, sales",
                "  presses nothing; that was the last try",
                "else, after 2 tries:",
                "1. dial extension:301, 30 s",
            ],
        ),
        (
            "500",
            "-,1",
            [
                MAIN,
                "  presses nothing: hears welcome, sales",
                "  presses 1",
                "1. dial extension:302, extension:303 at once, 20 s",
            ],
        ),
        (
            "501",
            "-",
            [SECOND, "  presses nothing; that was the last try", "1. dial extension:304, 180 s"],
        ),
        (
            "500",
            "2,7",
            [
                MAIN,
                "  presses 2",
                SECOND,
                "  presses 7, which stands for nothing; that was the last try",
                "1. dial extension:304, 180 s",
            ],
        ),
        # `else` of a route that leads nowhere either.
        (
            "502",
            "-,-,-",
            [
                "menu circle: hears again",
                *["  presses nothing: hears again"] * 2,
                "  presses nothing; that was the last try",
                "else, after 3 tries:",
                "refuse with 480",
                "go on with 601: `601` at dp.yaml:37, number 601",
                *[
                    "go on with 602: `602` at dp.yaml:38, number 602",
                    "go on with 601: `601` at dp.yaml:37, number 601",
                ]
                * 2,
                "go on with 602: that goes in a circle",
                "the switch hangs up",
            ],
        ),
        ("605", "", ["hears time", "refuse with 480", "1. dial extension:301, 180 s"]),
        ("604", "", ["hears echo"]),
    ],
)
def test_a_walk(plan: Dialplan, number: str, keys: str, lines: list[str]) -> None:
    found = walked(plan, number, keys)
    assert list(found.lines) == lines
    missing = "digits are missing: menu `main` waits for `1` or `2` or "
    assert found.mistake == "" or (keys == "3" and found.mistake.startswith(missing))


@pytest.mark.parametrize(
    ("number", "keys", "says"),
    [
        ("500", "1,2", "digits are left over: 2; the caller is in no menu any more"),
        ("500", "1,2,34", "digits are left over: 2,34; the caller is in no menu any more"),
        ("604", "5", "digits are left over: 5; the caller is in no menu any more"),
        ("500", "", "or `#` or an extension's number"),
        ("500", "2", "digits are missing: menu `second` waits for `1` or `2` or `3` or `4`"),
        # What no extension begins with is a try at once; keys after it are for the menu again.
        ("500", "392", "digits are missing: menu `second` waits for `1` or `2` or `3` or `4`"),
        ("603", "", "it has gone on 50 times: that is a circle"),
    ],
)
def test_keys_that_do_not_fit(plan: Dialplan, number: str, keys: str, says: str) -> None:
    assert walked(plan, number, keys).mistake.endswith(says)


def test_whom_it_rings_in_the_end(plan: Dialplan) -> None:
    (stage,) = walked(plan, "500", "1").stages
    assert [str(target) for target in stage.targets] == ["extension:302", "extension:303"]
    assert walked(plan, "500", "2,3").stages == ()


@pytest.mark.parametrize(
    ("text", "keys"),
    [("2,1", ("2", "1")), (" 21 , a#*", ("21", "A#*")), ("-,1", ("-", "1")), ("", ()), (" ", ())],
)
def test_keys_as_written(text: str, keys: tuple[str, ...]) -> None:
    assert keys_of(text) == keys


@pytest.mark.parametrize("text", ["x", "2,,1", "2,", "1-", "E", "2;1"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected keys \(0-9, \*, #, A-D\) as in 2,1"):
        keys_of(text)


def test_menus_are_told_once_each(plan: Dialplan) -> None:
    route = plan.route("500", CALLER)
    assert route is not None
    assert menus_told(plan, route.action) == [
        "menu main: welcome, sales",
        "  1: dial extension:302, extension:303 at once, 20 s",
        "  2: play menu second",
        "  4:",
        "    play announcement closed",
        "    then:",
        "      play menu second",
        "    else, when it cannot be played:",
        "      1. dial extension:301, 180 s",
        "  5: go on with 600",
        "  6: go on with 999",
        "  7: do redial",
        "  8: refuse with 403",
        "  9:",
        "    1. dial extension:304, 180 s",
        "    else, when nobody answered:",
        "      play menu second",
        "  90: do park (number 500)",
        "  *: the menu again",
        "  #: back to the menu before",
        "  an extension's number: its phone",
        "  else, after 2 tries: dial extension:301, 30 s",
        "menu second: support",
        "  1: back to the menu before",
        "  2: play tone of 440 Hz, 1 s",
        "  3: play tone of 660 Hz",
        "  4: play time",
    ]
    other = plan.route("604", CALLER)
    assert other is not None
    assert menus_told(plan, other.action) == []


def test_prompts_by_name_and_files_by_path() -> None:
    assert sound_name(str(OWN / "en" / "welcome.wav")) == "welcome"
    assert sound_name("/srv/sounds/hello.wav") == "/srv/sounds/hello.wav"
