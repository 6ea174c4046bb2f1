"""`forward`, `follow`, `dnd` of extensions: what may be written, what is said of what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config import ConfigErrors, FollowStep, Forwarding
from softswitch.configuration import Config, load_config


def read(folder: Path, keys: str) -> Config:
    (folder / "plan.yaml").write_text('routes: [{match: "10XX", dial: extension}]\n')
    (folder / "hq.yaml").write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:0"]}\n'
        f'extensions: {{"1001": {{password: a, {keys}}}}}\n'
        "dialplan: plan.yaml\n"
    )
    return load_config(folder / "hq.yaml")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("forward: {}", Forwarding()),
        ("forward: {always: 1002}", Forwarding(always="1002")),
        ("forward: {busy: '1002', unreachable: '1003'}", Forwarding("", "1002", "", "1003")),
        ("forward: {no_answer: 1002}", Forwarding(no_answer="1002")),
        ("forward: {no_answer: {to: 1002, after: 15}}", Forwarding(no_answer="1002", after=15)),
        ("forward: {no_answer: {to: 1002}}", Forwarding(no_answer="1002")),
        ("dnd: true", Forwarding(dnd=True)),
        ("dnd: false", Forwarding()),
        ("dnd: {reason: Away}", Forwarding(dnd=True, phrase="Away")),
        ("dnd: {status: 480}", Forwarding(dnd=True, status=480, phrase="")),
        ("follow: [1001]", Forwarding(follow=(FollowStep(("1001",)),))),
        (
            "follow: [{to: 1001, timeout: 15}, {all: ['1001', 1002], timeout: 7.5}, {all: [1003]}]",
            Forwarding(
                follow=(
                    FollowStep(("1001",), 15.0),
                    FollowStep(("1001", "1002"), 7.5),
                    FollowStep(("1003",)),
                )
            ),
        ),
    ],
)
def test_what_is_written(tmp_path: Path, keys: str, expected: Forwarding) -> None:
    config = read(tmp_path, keys)
    forwarding = config.extensions["1001"].forwarding
    assert forwarding == (None if expected == Forwarding() else expected)
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("forward: {bussy: 1002}", "`bussy`: did you mean `busy`?"),
        ("forward: 1002", "`forward`: found `1002`, expected a mapping of keys"),
        ("forward: {busy: 'a b'}", "`busy`: found `a b`, expected a number as this extension"),
        ("forward: {no_answer: [1]}", "`no_answer`: found a list, expected text"),
        ("forward: {no_answer: {after: 5}}", "missing key `to`: the number"),
        ("forward: {no_answer: {to: 1, after: 0}}", "`after`: found `0`, expected more than 0"),
        ("follow: 1002", "`follow`: found `1002`, expected a list"),
        ("follow: []", "`follow`: found an empty list, expected at least 1"),
        ("follow: [true]", "`follow`: found `true`, expected NUMBER, {to: ...} or {all: [...]}"),
        ("follow: ['a b']", "`follow`: found `a b`, expected a number as this extension"),
        ("follow: [{}]", "missing key `to`: the number"),
        ("follow: [{all: []}]", "`all`: found an empty list, expected at least 1"),
        ("follow: [{to: 1, timeout: 0}]", "`timeout`: found `0`, expected more than 0"),
        ("follow: [{to: 1, timout: 5}]", "unknown key `timout`: did you mean `timeout`?"),
        ("follow: [{to: 1, all: [1]}]", "unknown key `to`"),
        ("follow: [{ring: 1}]", "unknown key `ring`"),
        ("dnd: perhaps", "`dnd`: found `perhaps`, expected true or false"),
        ("dnd: {status: 200}", "`status`: found `200`, expected at least 400"),
    ],
)
def test_mistakes(tmp_path: Path, keys: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, keys)
    mistake = caught.value.mistakes[0]
    assert mistake.line == 2
    assert any(told in one.message for one in caught.value.mistakes)


def test_a_number_that_leads_nowhere(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, "forward: {always: 1002, busy: 77}").warnings
    assert (warning.line, warning.column) == (2, 66)
    assert warning.message == "`busy`: no route lets 1001 call 77: its own phone will ring"


def test_a_list_that_leads_nowhere(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, "follow: [1001, 1002, {all: [1001, 77], timeout: 5}]").warnings
    assert (warning.line, warning.column) == (2, 70)
    assert warning.message == "`follow`: no route lets 1001 call 77: it is passed over"


def test_a_list_that_is_too_long(tmp_path: Path) -> None:
    assert read(tmp_path, "follow: [1001, {all: [1, 2, 3, 4, 5, 6, 7, 8, 9]}]").warnings
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, "follow: [1001, {all: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}]")
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.column) == (2, 85)
    assert mistake.message == ("`follow`: expected at most 10 numbers in all (`limits.max_follow`)")
