"""Numbers in the form that each target wants: of the route, of a target, of an ``else``."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config import ConfigErrors
from softswitch.dialplan import Dialplan, Source, Surroundings, load_dialplan
from softswitch.dialplan.actions.dial import Dial
from softswitch.dialplan.actions.reject import Reject

AROUND = Surroundings(frozenset({"1001", "1002", "41001"}), {"a": False, "b": False})
CALLER = Source("extension", "1002")


def plan(folder: Path, route: str) -> Dialplan:
    (folder / "dp.yaml").write_text(f"routes:\n  - {{match: '9.', strip: 1, {route}}}\n")
    return load_dialplan(folder / "dp.yaml", AROUND)


def numbers(action: object) -> list[list[str]]:
    assert isinstance(action, Dial)
    return [[target.number for target in stage.targets] for stage in action.stages]


@pytest.mark.parametrize(
    ("route", "dialled", "found"),
    [
        ("dial: {order: [{to: 'trunk:a', prepend: '+1'}, 'trunk:b']}", "98", [["+18"], ["8"]]),
        ("prepend: '0', dial: {order: [{to: 'trunk:a', strip: 2}]}", "9408", [["08"]]),
        ("dial: {to: 'trunk:a', format: '+1{number}#'}", "9408", [["+1408#"]]),
        ("format: '00{number}', dial: {to: 'trunk:a', strip: 1}", "9408", [["0408"]]),
        ("dial: {all: [{to: 'trunk:a', prepend: '5'}, 'trunk:b']}", "94", [["54", "4"]]),
        ("dial: {order: [{all: [{to: 'trunk:a', strip: 1}]}, 'trunk:b']}", "94", [["4"]]),
        ("dial: {order: [{to: extension, strip: 1}, 'trunk:b']}", "941001", [["1001"], ["41001"]]),
        ("dial: {order: [{to: extension, strip: 4}, 'trunk:b']}", "941001", [["41001"]]),
        ("dial: {to: '1001', prepend: '7'}", "94", [["1001"]]),
    ],
)  # fmt: skip
def test_each_target_in_its_form(
    tmp_path: Path, route: str, dialled: str, found: list[list[str]]
) -> None:
    taken = plan(tmp_path, route).route(dialled, CALLER)
    assert taken is not None
    assert numbers(taken.action) == found


def test_an_else_in_its_form(tmp_path: Path) -> None:
    dialplan = plan(
        tmp_path,
        "prepend: '+1', dial: 'trunk:a', else: {dial: 'trunk:b', strip: 2, prepend: '0',"
        " else: {dial: 'trunk:a', prepend: '1'}}",
    )
    taken = dialplan.route("9408", CALLER)
    assert taken is not None
    assert isinstance(taken.action, Dial)
    assert numbers(taken.action) == [["+1408"]]
    otherwise = taken.action.otherwise
    assert isinstance(otherwise, Dial)
    assert numbers(otherwise) == [["0408"]]
    assert numbers(otherwise.otherwise) == [["10408"]]


def test_nothing_left_of_a_number(tmp_path: Path) -> None:
    taken = plan(tmp_path, "dial: {to: 'trunk:a', strip: 7}").route("9408", CALLER)
    assert taken is not None
    assert taken.action == Reject(404, "Not Found")
    taken = plan(tmp_path, "dial: 'trunk:a', else: {dial: 'trunk:b', strip: 7}").route("94", CALLER)
    assert taken is not None
    assert isinstance(taken.action, Dial)
    assert taken.action.otherwise == Reject(484, "Address Incomplete")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("dial: {to: 'trunk:a', strip: -1}", "`strip`: found `-1`, expected at least 0"),
        ("dial: {to: 'trunk:a', prepend: 'a b'}", "`prepend`: found `a b`, expected digits"),
        ("dial: {to: 'trunk:a', format: '+1'}", "`format`: found `+1`, expected `{number}` once"),
        ("dial: {to: 'trunk:a', format: '{number}{number}'}", "expected `{number}` once"),
        ("dial: {to: 'trunk:a', format: '{number} x'}", "expected `{number}` once"),
        ("dial: {to: 'trunk:c'}", "there is no trunk `c`"),
        ("dial: {to: 'trunk:a', foo: 1}", "unknown key `foo`, expected one of"),
        ("dial: {order: [{strip: 1}]}", "missing key `all`"),
    ],
)
def test_mistakes_in_numbers(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as found:
        plan(tmp_path, written)
    assert any(told in one.message for one in found.value.mistakes), found.value.mistakes
