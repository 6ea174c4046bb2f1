"""Header lines of a route: which may be written, and what rings differently."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config import CallerId, ConfigErrors
from softswitch.dialplan import Dialplan, Source, Surroundings, load_dialplan

AROUND = Surroundings(
    frozenset({"1001"}), {"pstn": False}, call_id_header="X-CDS-Call-ID", time_zone=""
)
ALICE = Source("extension", "1001")


def plan(folder: Path, keys: str, action: str = "dial: '1001'") -> Dialplan:
    (folder / "dp.yaml").write_text(f"routes:\n  - {{match: '1', {action}, {keys}}}\n")
    return load_dialplan(folder / "dp.yaml", AROUND)


def lines(folder: Path, keys: str) -> str:
    route = plan(folder, keys).route("1", ALICE)
    assert route is not None
    return route.lines


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("timeout: 5", ""),
        ("ring: internal", "Alert-Info: <http://127.0.0.1/internal>;info=internal\r\n"),
        ("ring: Bellcore-dr2", "Alert-Info: <http://127.0.0.1/Bellcore-dr2>;info=Bellcore-dr2\r\n"),
        (
            "ring: 'urn:alert:source:external'",
            "Alert-Info: <urn:alert:source:external>\r\n",
        ),
        ("headers: {alert-info: Auto Answer}", "Alert-Info: Auto Answer\r\n"),
        (
            "headers: {SUBJECT: ' Rückruf ', X-Queue: 7}, ring: a",
            "Subject: Rückruf\r\nX-Queue: 7\r\nAlert-Info: <http://127.0.0.1/a>;info=a\r\n",
        ),
    ],
)
def test_the_lines_of_a_route(tmp_path: Path, keys: str, told: str) -> None:
    assert lines(tmp_path, keys) == told


LONG = "x" * 257


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("headers: {Via: x}", "2:42: `Via`: is none of the headers that a route may write: exp"),
        *(
            (f"headers: {{{name}: x}}", f"2:42: `{name}`: is none of the headers that a route may")
            for name in (
                *("P-Asserted-Identity", "Remote-Party-ID", "Privacy", "Identity", "Contact"),
                *("From", "To", "Call-ID", "Route", "Record-Route", "Require", "Replaces"),
                *("Authorization", "Content-Length", "Content-Type", "Max-Forwards", "s", "X"),
            )
        ),
        ("headers: {Alert-Inf: x}", "route may write: did you mean `Alert-Info`?"),
        ("headers: {x-cds-CALL-id: x}", "2:42: `x-cds-CALL-id`: is the header of the callID"),
        ('headers: {"X-A:b": x}', "2:42: `X-A:b`: is none of the headers"),
        ('headers: {"X-A\\r\\nVia": x}', "2:42: `X-A\\r\\nVia`: is none of the headers"),
        ('headers: {X-A: "a\\r\\nVia: b"}', "2:47: `X-A`: found `a\\r\\nVia: b`, expected one li"),
        ("headers: {X-A: ''}", "2:47: `X-A`: found ``, expected one line of text"),
        (f"headers: {{X-A: {LONG}}}", "2:47: `X-A`: found 257 characters, expected at most 256"),
        ("headers: {X-A: a, x-a: b}", "2:41: `headers`: found `x-a` twice"),
        (
            f"headers: {{{', '.join(f'X-{n}: a' for n in range(17))}}}",
            "2:41: `headers`: found 17 headers, expected at most 16",
        ),
        ("headers: [X-A]", "2:41: `headers`: found a list, expected a mapping"),
        ("ring: a b", "2:38: `ring`: found `a b`, expected a name such as internal, or a URI"),
        ("ring: 'http://a>;x=<b'", "2:38: `ring`: found `http://a>;x=<b`, expected a name"),
        (f"ring: {LONG}", "2:38: `ring`: found 257 characters, expected at most 256"),
        ("ring: a, headers: {alert-info: b}", "2:51: `alert-info` beside `ring`, which writes it"),
    ],
)
def test_mistakes_in_headers(tmp_path: Path, keys: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, keys)
    (found,) = [f"{one.line}:{one.column}: {one.message}" for one in errors.value.mistakes]
    assert told in found


@pytest.mark.parametrize("key", ["ring: a", "headers: {X-A: b}", "caller: {}", "emergency: true"])
def test_what_goes_with_dial_alone(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, key, "status: 480")
    name = key.partition(":")[0]
    (mistake,) = errors.value.mistakes
    assert (mistake.line, mistake.column) == (2, 31)
    assert mistake.message == f"`{name}` goes with `dial`, not with `status`"


def test_who_is_shown_and_calls_for_help(tmp_path: Path) -> None:
    keys = "caller: {number: '+49301234', name: 'Sales: {name}', anonymous: no}, emergency: yes"
    route = plan(tmp_path, keys).route("1", ALICE)
    assert route is not None
    assert route.caller == CallerId("+49301234", "Sales: {name}", False)
    assert route.emergency
    assert route.told() == [
        'the caller is shown as "Sales: {name}" <+49301234>',
        "a call for help",
    ]
    plain = plan(tmp_path, "timeout: 5").route("1", ALICE)
    assert plain is not None
    assert (plain.caller, plain.emergency, plain.told()) == (None, False, [])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("caller: {number: 'a b'}", "2:49: `number`: found `a b`, expected a number such as +49"),
        ('caller: {name: "a\\nb"}', "2:47: `name`: found `a\\nb`, expected one line of text"),
        (f"caller: {{name: {LONG}}}", "`name`: found 257 characters, expected at most 128"),
        ("caller: {anonymous: maybe}", "2:52: `anonymous`: found `maybe`, expected true or false"),
        ("caller: Sales", "2:40: `caller`: found `Sales`, expected a mapping of keys"),
        ("caller: {format: []}", "2:41: unknown key `format`, expected one of `number`, `name`"),
        ("emergency: 1", "2:43: `emergency`: found `1`, expected true or false"),
    ],
)
def test_mistakes_in_who_is_shown(tmp_path: Path, keys: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, keys)
    (found,) = [f"{one.line}:{one.column}: {one.message}" for one in errors.value.mistakes]
    assert told in found
