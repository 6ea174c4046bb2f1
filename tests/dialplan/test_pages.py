"""``play: {page: ...}`` as it is written, its mistakes, and a way through one without a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config.places import ConfigErrors
from softswitch.dialplan import (
    Dialplan,
    PagePlay,
    Play,
    Source,
    Surroundings,
    Walk,
    keys_of,
)
from softswitch.dialplan.loader import load_dialplan

NAMES = [f"10{n:02}" for n in range(1, 15)]
AROUND = Surroundings(frozenset(NAMES), {"pstn": False})
ALICE = Source("extension", "1001")


def plan(tmp_path: Path, page: str, rest: str = "") -> Dialplan:
    path = tmp_path / "dp.yaml"
    path.write_text(f"routes:\n  - match: '7'\n    play: {{page: {page}}}\n{rest}")
    return load_dialplan(path, AROUND)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ('"1002"', PagePlay(("1002",))),
        ("1002", PagePlay(("1002",))),
        ('["1002", "1001"]', PagePlay(("1002", "1001"))),
        ('{extensions: "1002"}', PagePlay(("1002",))),
        (
            '{extensions: ["1002"], answer_after: 2, timeout: 5, talk_back: true, busy: ring, '
            "tone: false, seconds: 60}",
            PagePlay(("1002",), 2, 5.0, True, True, False, 60.0),
        ),
        (f"{NAMES[:11]}", PagePlay(tuple(NAMES[:11]))),
        (f"{{extensions: {NAMES}, most: 20}}", PagePlay(tuple(NAMES))),
    ],
)
def test_as_written(tmp_path: Path, written: str, what: PagePlay) -> None:
    dialplan = plan(tmp_path, written)
    route = dialplan.route("7", ALICE)
    assert route is not None
    assert route.action == Play(what, "7")
    assert dialplan.plays()


@pytest.mark.parametrize(
    ("written", "mistake"),
    [
        ('["1002", "1100"]', "3:27 `page`: found `1100`: there is no extension `1100`"),
        ('["1002", "trunk:pstn"]', "a page goes to extensions of this switch, no trunk"),
        ('["1002", "1002"]', "found `1002` more than once"),
        ("[]", "3:18 `page`: "),
        ("{}", "missing key `extensions`"),
        (f"{NAMES[:12]}", "found 12 extensions, expected at most 11: no more can be joined"),
        (f"{{extensions: {NAMES}, most: 13}}", "found 14 extensions, expected at most 13"),
        ('{extensions: ["1002"], busy: maybe}', "3:47 `busy`: "),
        ('{extensions: ["1002"], timeout: 0}', "3:50 `timeout`: "),
        ('{extensions: ["1002"], answer_after: -1}', "3:55 `answer_after`: "),
        ('{extensions: ["1002"], room: x}', "unknown key `room`"),
    ],
)
def test_mistakes(tmp_path: Path, written: str, mistake: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, written)
    told = [f"{one.line}:{one.column} {one.message}" for one in errors.value.mistakes]
    assert len(told) == 1
    assert mistake in told[0]
    assert told[0].startswith("3:")


def test_a_way_through_one(tmp_path: Path) -> None:
    """As `softswitch dialplan test` has it."""
    dialplan = plan(
        tmp_path,
        '{extensions: ["1002", "1003"], talk_back: true}',
        '    else: {dial: "1004", timeout: 5}\n',
    )
    route = dialplan.route("7", ALICE)
    assert route is not None
    told = "page to 1002, 1003, who may talk back; 10 s to pick up"
    assert route.action.told()[0] == f"play {told}"
    heard = Walk(dialplan, ALICE).walk(route.action, ())
    assert heard.lines == (f"is heard by a {told}",)
    assert [target.name for stage in heard.stages for target in stage.targets] == ["1002", "1003"]
    nobody = Walk(dialplan, ALICE).walk(route.action, keys_of("1,-"))
    assert nobody.lines[1:] == (
        "  presses 1, which stands for nothing",
        "  nobody picks up",
        "1. dial extension:1004, 5 s",
    )
    assert not nobody.mistake


def test_without_anything_else_it_hangs_up(tmp_path: Path) -> None:
    dialplan = plan(tmp_path, '"1002"')
    route = dialplan.route("7", ALICE)
    assert route is not None
    walked = Walk(dialplan, ALICE).walk(route.action, keys_of("-"))
    assert walked.lines[1:] == ("  nobody picks up", "the switch hangs up")
