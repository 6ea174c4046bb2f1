"""Mistakes of single keys of a dialplan; tests/test_config.py has them all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config.places import ConfigErrors
from softswitch.dialplan.loader import load_dialplan
from softswitch.dialplan.surroundings import Surroundings

MANY = Surroundings(frozenset(str(n) for n in range(1000, 1020)), {"pstn": False})


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (
            "dial: '77'",
            "1:34: `dial`: found `77`: there is no extension `77`, expected one of the "
            "configuration's extensions",
        ),
        ("dial: '1021'", "1:34: `dial`: found `1021`: there is no extension `1021`: did you mean"),
        ("dial: 'trunk:'", "1:34: `dial`: found `trunk:`: there is no trunk ``"),
        ("dial: {}", "1:28: missing key `all`: whom to ring at once"),
        ("dial: {all: '1001'}", "1:40: `all`: found `1001`, expected a list"),
        (
            "dial: {all: [{all: ['1001']}]}",
            "1:41: `all`: found a mapping, expected NUMBER, extension, trunk:NAME or {to: ...}",
        ),
        ("dial: {all: ['1001'], order: ['1002']}", "1:35: unknown key `all`"),
        (
            "dial: {order: [{to: '1001', timeout: 0}]}",
            "1:65: `timeout`: found `0`, expected more than 0",
        ),
        (
            "dial: {order: [{all: ['1001'], timeout: '10'}]}",
            "1:68: `timeout`: found `10`, expected a number",
        ),
        (
            "dial: {order: [{all: ['1001'], timout: 10}]}",
            "1:59: unknown key `timout`: did you mean `timeout`?",
        ),
        (
            "dial: {order: [{all: [{to: '1001', timeout: 10}]}]}",
            "1:63: unknown key `timeout`",
        ),
        ("dial: {all: ['1001'], timeout: 10}", "1:50: unknown key `timeout`"),
        ("dial: yes", "1:34: `dial`: found `yes`, expected extension, NUMBER, trunk:NAME"),
        ("play: 'a b'", "1:34: `play`: found `a b`, expected one of `announcement`, `conference`"),
        ("play: ''", "1:34: `play`: found ``, expected one of `announcement`, `conference`"),
        ("dial: '1001', prepend: 'a b'", "1:51: `prepend`: found `a b`, expected digits"),
        ("dial: '1001', strip: -1", "1:49: `strip`: found `-1`, expected at least 0"),
        ("dial: '1001', strip: 1.5", "1:49: `strip`: found `1.5`, expected a whole number"),
        ("dial: '1001', timeout: 1e9", "1:51: `timeout`: found `1e9`, expected a number"),
        (
            "dial: '1001', timeout: 100000",
            "1:51: `timeout`: found `100000`, expected at most 86400",
        ),
        ("dial: '1001', from: []", "1:48: `from`: found an empty list, expected at least 1"),
        ("dial: '1001', from: strangers", "1:48: `from`: found `strangers`, expected internal"),
        (
            "dial: '1001', else: {}",
            "1:42: nothing to do: expected one of `dial`, `do`, `goto`, `play`, `status`",
        ),
        ("dial: '1001', else: echo", "1:48: `else`: found `echo`, expected a mapping of keys"),
        ("dial: '1001', set: [a]", "1:47: `set`: found a list, expected a mapping"),
        ("dial: '1001', set_once: x", "1:52: `set_once`: found `x`, expected a mapping"),
        (
            "dial: '1001', set: {a: x, b: y}, set_once: {c: z, b: y}",
            "1:78: `b` is in `set` too: expected it in one of them",
        ),
        ("dial: '1001', set: {1: x}, set_once: {'1': y}", "1:66: `1` is in `set` too"),
        ("dial: '1001', set: {a: x}, set_one: {b: y}", "1:55: unknown key `set_one`: did you mean"),
        ("dial: '1001', reason: x", "1:42: `reason` goes with `status`, not with `dial`"),
        ("status: 486, timeout: 5", "1:41: `timeout` goes with `dial`, not with `status`"),
        ("status: 486, dial: '1001'", "1:28: `status` beside `dial`"),
        ("do: pikup", "1:32: `do`: found `pikup`: did you mean `pickup`?"),
        ("do: 77", "1:32: `do`: found `77`, expected one of `agent`, `complete`, `dnd`"),
        ("do: [pickup]", "1:32: `do`: expected NAME or {NAME: ARGUMENT}"),
        ("do: {}", "1:32: `do`: expected one thing to do: NAME or {NAME: ARGUMENT}"),
        ("do: {pickup: me}", "1:32: `do`: found `me` with `pickup`, which goes alone"),
        ("do: {forward: bussy}", "1:32: `do`: found `bussy` with `forward`: did you mean `busy`?"),
        ("do: {forward: [busy]}", "1:32: `do`: expected a text with `forward`"),
        ("do: {dnd: maybe}", "1:32: `do`: found `maybe` with `dnd`, expected one of `on`, `off`"),
        (
            "do: forward",
            "1:32: `do`: found `forward` alone: expected {forward: ...} with one of `always`, ",
        ),
        ("do: park, timeout: 5", "1:38: `timeout` goes with `dial`, not with `do`"),
        ("do: park, ring: x", "1:38: `ring` goes with `dial`, not with `do`"),
        ("do: park, dial: '1001'", "1:28: `do` beside `dial`"),
        ("status: 700", "1:36: `status`: found `700`, expected at most 699"),
        (
            'status: 486, reason: "a\\r\\nb: c"',
            "1:49: `reason`: found `a\\r\\nb: c`, expected one line of text",
        ),
    ],
)
def test_mistakes(tmp_path: Path, route: str, told: str) -> None:
    path = tmp_path / "dp.yaml"
    path.write_text(f"routes: [{{match: '1XXX',   {route}}}]")
    with pytest.raises(ConfigErrors) as errors:
        load_dialplan(path, MANY)
    lines = [f"{one.line}:{one.column}: {one.message}" for one in errors.value.mistakes]
    assert [line[: len(told)] for line in lines if line.startswith(told)] == [told], lines
