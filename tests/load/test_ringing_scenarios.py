"""How calls come and ring, by SIPp through one switch: session timers, headers that go through, who
is shown as the caller, forwarding, hours, help that finds a full trunk; each call's record too."""

from __future__ import annotations

import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.process import Process
from bench.sipp import HOST, SippResult, run_sipp, sipp_callee, start_caller
from softswitch.lab.ports import free_port
from tests.load.test_records import wait_for_final

CALLS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A caller and a callee, and what the route between them has. `sees` and `sees_not` are regular
    expressions for the INVITE that the callee gets; `disposition` and `status` those of its
    records."""

    name: str
    caller: str
    callee: str
    route: dict[str, Any] = field(default_factory=dict, hash=False)
    trunk: dict[str, Any] = field(default_factory=dict, hash=False)
    sees: tuple[str, ...] = ()
    sees_not: tuple[str, ...] = ()
    disposition: str = "answered"
    status: int = 200
    number: str = ""
    how: str = "dialled"
    hold_ms: int = 100
    caller_port: int = field(default_factory=free_port)
    callee_port: int = field(default_factory=free_port)

    def __str__(self) -> str:
        return self.name


CARRIER = {
    "caller_id": {"number": "+493012340", "name": "Acme"},
    "assert_identity": True,
}
CASES = (
    Case("caller-timer", "uac-session-timer", "uas-answered"),
    Case("callee-timer", "uac-answered", "uas-session-timer", hold_ms=600),
    Case("headers", "uac-headers", "uas-headers", route={"ring": "internal"}),
    Case(
        "shown",
        "uac-answered",
        "uas-answered",
        route={"caller": {"number": "+4930555", "name": "The shop"}},
        trunk=CARRIER,
        sees=(r'From: "The shop" *<sip:\+4930555@', r"P-Asserted-Identity: .*<sip:\+4930555@"),
        sees_not=("8113",),
    ),
    Case(
        "withheld",
        "uac-answered",
        "uas-answered",
        route={"caller": {"anonymous": True}},
        trunk=CARRIER,
        sees=('From: "Anonymous" <sip:anonymous@anonymous.invalid>', "Privacy: id"),
        sees_not=("From:.*8114",),
    ),
    Case(
        "forwarded",
        "uac-answered",
        "uas-answered",
        number="1002",
        sees=(
            "From: .*<sip:8115@",
            r"Diversion: .*\+4930999.*reason=unconditional",
            "History-Info: ",
        ),
        sees_not=("sip:1002@",),
        how="forward",
    ),
    # Its own phone is not there.
    Case(
        "follow-me",
        "uac-answered",
        "uas-answered",
        number="1003",
        sees=("From: .*<sip:8116@", r"Diversion: .*\+4930777.*follow-me"),
        sees_not=("sip:1003@",),
        how="forward",
    ),
    Case(
        "closed",
        "uac-failed",
        "uas-not-found",
        route={"when": "never"},
        disposition="failed",
        status=404,
    ),
)


def configuration(address: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The switch, and its dialplan."""
    trunks: dict[str, Any] = {}
    routes: list[dict[str, Any]] = [{"match": "1XXX", "from": "any", "dial": "extension"}]
    for number, case in enumerate(CASES):
        trunks[f"{case.name}-caller"] = {"to": f"sip:{HOST}:{case.caller_port}", "keepalive": 0}
        trunks[f"{case.name}-callee"] = {
            "to": f"sip:{HOST}:{case.callee_port}",
            "keepalive": 0,
            **case.trunk,
        }
        routes.append(
            {
                "match": f"{2000 + number}",
                "from": "any",
                "dial": f"trunk:{case.name}-callee",
                "timeout": 5,
                **case.route,
            }
        )
    names = [case.name for case in CASES]
    forwarded, follow = names.index("forwarded"), names.index("follow-me")
    switch = {
        "switch": {"name": "load", "listen": [f"udp:{address}"]},
        "extensions": {
            "1002": {
                "password": "secret",
                "forward": {"always": f"{2000 + forwarded}"},
                "caller_id": {"number": "+4930999"},
            },
            "1003": {
                "password": "secret",
                "follow": [{"to": "1003", "timeout": 5}, f"{2000 + follow}"],
                "caller_id": {"number": "+4930777"},
            },
        },
        "trunks": trunks
        | {
            "full": {"to": f"sip:{HOST}:{FULL}", "keepalive": 0, "max_calls": 1},
            "anybody": {"to": f"sip:{HOST}:{ANYBODY}", "keepalive": 0},
            "helpless": {"to": f"sip:{HOST}:{HELPLESS}", "keepalive": 0},
        },
        "dialplan": "dialplan.yaml",
        "cds": {"listen": f"tcp:{HOST}:{free_port()}", "database": "load.db", "linger": 0.5},
    }
    routes += [
        {"match": "3000", "from": "any", "dial": "trunk:full"},
        {"match": "112", "from": "any", "dial": "trunk:full", "emergency": True},
    ]
    plan = {"conditions": {"never": {"dates": "2020-01-01"}}, "routes": routes}
    return switch, plan


FULL, ANYBODY, HELPLESS = free_port(), free_port(), free_port()


@dataclass(frozen=True, slots=True)
class Day:
    """All have played."""

    played: dict[str, tuple[SippResult, SippResult] | BaseException]
    messages: dict[str, str]
    emergency: tuple[SippResult, SippResult, SippResult]
    rows: list[sqlite3.Row]
    talks: dict[str, list[sqlite3.Row]]


def play(case: Case, address: str, messages: Path) -> tuple[SippResult, SippResult]:
    number = CASES.index(case)
    never = "when" in case.route
    trace = ("-trace_msg", "-message_file", str(messages))
    with sipp_callee(
        case.callee, port=case.callee_port, hold_ms=200, args=("-m", f"{CALLS}", *trace)
    ) as callee:
        caller = run_sipp(
            case.caller,
            address,
            calls=CALLS,
            rate=20,
            hold_ms=case.hold_ms,
            number=case.number or f"{2000 + number}",
            caller=f"{8110 + number}",
            port=case.caller_port,
        )
        if not never:
            callee.sipp.ended(10)
    return caller, callee.counted


def help_comes(address: str) -> tuple[SippResult, SippResult, SippResult]:
    """The only line of a trunk is taken; a call for help ends that call."""
    with sipp_callee("uas-answered", port=FULL, args=("-m", "2")) as callee:
        talks = start_caller("uac-callee-hangs-up", address, number="3000", port=ANYBODY)
        while not callee.sipp.placed() and not talks.ended(0.05):
            pass
        while not callee.sipp.counts().current and not talks.ended(0.05):
            pass
        calls = run_sipp("uac-answered", address, number="112", hold_ms=200, port=HELPLESS)
        callee.sipp.ended(10)
    return talks.wait(20), calls, callee.counted


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    directory = tmp_path_factory.mktemp("switch")
    address = f"{HOST}:{free_port()}"
    config, plan = configuration(address)
    (directory / "load.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "dialplan.yaml").write_text(yaml.safe_dump(plan))
    switch = Process(
        [sys.executable, "-m", "softswitch.cli", "run", "load.yaml"], directory, "load"
    )
    switch.wait_until(lambda: "softswitch load ready" in switch.output())
    try:
        with ThreadPoolExecutor(len(CASES)) as pool:
            playing = {
                case.name: pool.submit(play, case, address, directory / f"{case}.log")
                for case in CASES
            }
            played = {name: one.exception() or one.result() for name, one in playing.items()}
        emergency = help_comes(address)
        rows = wait_for_final(directory / "load.db", CALLS * len(CASES) + 2)
    finally:
        code = switch.stop(10)
    assert code == 0, switch.output()
    talks: dict[str, list[sqlite3.Row]] = {}
    with sqlite3.connect(directory / "load.db") as database:
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT * FROM cdr_talks ORDER BY call_id, talk"):
            talks.setdefault(row["call_id"], []).append(row)
    messages = {
        case.name: log.read_text() for case in CASES if (log := directory / f"{case}.log").exists()
    }
    return Day(played, messages, emergency, rows, talks)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_side_sees_what_it_expects(case: Case, day: Day) -> None:
    played = day.played[case.name]
    if isinstance(played, BaseException):
        raise played
    caller, callee = played
    assert (caller.successful, caller.failed) == (CALLS, 0), caller
    if "when" not in case.route:
        assert (callee.successful, callee.failed) == (CALLS, 0), callee


@pytest.mark.parametrize("case", [case for case in CASES if case.sees], ids=str)
def test_the_callee_is_shown_what_it_may_see(case: Case, day: Day) -> None:
    invites = re.findall(
        r"^INVITE sip:.*?\n\s*\n", day.messages[case.name], re.MULTILINE | re.DOTALL
    )
    assert len(invites) >= CALLS
    for invite in invites:
        for wanted in case.sees:
            assert re.search(wanted, invite), (wanted, invite)
        for hidden in case.sees_not:
            assert not re.search(hidden, invite), (hidden, invite)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_call_has_its_record(case: Case, day: Day) -> None:
    rows = [row for row in day.rows if row["caller_party"] == f"trunk:{case.name}-caller"]
    if case.name == "caller-timer":
        # The INVITE that got 422 is one that was refused at once.
        refused = [row for row in rows if row["sip_status"] == 422]
        assert [row["disposition"] for row in refused] == ["failed"] * CALLS
        rows = [row for row in rows if row not in refused]
    assert [(row["disposition"], row["sip_status"], row["final"]) for row in rows] == [
        (case.disposition, case.status, 1)
    ] * CALLS
    for row in rows:
        hows = [talk["how"] for talk in day.talks.get(row["call_id"], [])]
        assert hows == ([case.how] if case.disposition == "answered" else [])


def test_help_finds_a_line(day: Day) -> None:
    talked, helped, both = day.emergency
    for result, calls in ((talked, 1), (helped, 1), (both, 2)):
        assert (result.successful, result.failed) == (calls, 0), result
    (ended,) = [row for row in day.rows if row["caller_party"] == "trunk:anybody"]
    (call,) = [row for row in day.rows if row["caller_party"] == "trunk:helpless"]
    assert (ended["disposition"], ended["hangup_by"]) == ("answered", "switch")
    assert (call["disposition"], call["hangup_by"]) == ("answered", "caller")
