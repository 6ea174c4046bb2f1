"""SIPp through the switch: every call passes, and its one record says what SIPp saw.

One switch takes all the pairs at once; each has a trunk, a number and a caller's number of its own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.process import Process
from bench.sipp import HOST, run_sipp, sipp_callee, start_caller
from softswitch.lab.ports import free_port
from tests.load.pairs import THROUGH_ANYTHING, Outcome, Pair, outcome, run_all


@dataclass(frozen=True, slots=True)
class Expected:
    """What the record of a pair's calls has to say."""

    pair: Pair
    disposition: str
    statuses: tuple[int, ...]
    hangup_by: str
    callee_sees: bool = True


_EXCEPTIONS = {
    "uac-callee-hangs-up": ("answered", (200,), "callee"),
    "uac-busy": ("busy", (486,), "callee"),
    "uac-rejected": ("rejected", (403, 603), "callee"),
    # A 503 is not passed on: it would make the caller stop using the switch (RFC 3261, 16.7).
    "uac-failed": ("failed", (404, 500), "callee"),
    "uac-cancel": ("cancelled", (487,), "caller"),
}
EXPECTED = (
    *(
        Expected(pair, *_EXCEPTIONS.get(pair.caller, ("answered", (200,), "caller")))
        for pair in THROUGH_ANYTHING
        if pair.caller != "uac-csv"  # its callers have their numbers from the file
    ),
    # Only one of the two knows reliable provisional responses.
    Expected(Pair("uac-early-media", "uas-prack", ring_ms=100), "answered", (200,), "caller"),
    Expected(
        Pair("uac-prack-required", "uas-early-media", ring_ms=100), "answered", (200,), "caller"
    ),
    Expected(Pair("uac-answered", "uas-bye-unanswered"), "answered", (200,), "caller"),
    Expected(Pair("uac-no-answer", "uas-no-answer"), "no-answer", (408, 480), "switch"),
    # The CANCEL may overtake the INVITE's way to the callee: it need not see a call.
    Expected(
        Pair("uac-cancel-early", "uas-cancelled"), "cancelled", (487,), "caller", callee_sees=False
    ),
)
IDS = [str(expected.pair) for expected in EXPECTED]


def start_switch(
    directory: Path,
    callees: Sequence[int],
    callers: Sequence[int],
    timers: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> tuple[Process, str]:
    """A switch that sends number 2000+N to the Nth callee; the process and its address."""
    port = free_port()
    trunks: dict[str, Any] = {}
    routes: list[Any] = []
    for number, (callee, caller) in enumerate(zip(callees, callers, strict=True)):
        trunks[f"callee{number}"] = {"to": f"sip:{HOST}:{callee}", "keepalive": 0}
        trunks[f"caller{number}"] = {"to": f"sip:{HOST}:{caller}", "keepalive": 0}
        routes.append(
            {
                "match": f"{2000 + number}",
                "from": "any",
                "dial": f"trunk:callee{number}",
                "timeout": 2,
            }
        )
    config = {
        "switch": {"name": "load", "listen": [f"udp:{HOST}:{port}", f"tcp:{HOST}:{port}"]},
        "trunks": trunks,
        "dialplan": "dialplan.yaml",
        "cds": {
            "listen": f"tcp:{HOST}:{free_port()}",
            "database": "load.db",
            "linger": 0.5,
        },
    }
    if timers:
        config["timers"] = timers
    if limits:
        config["limits"] = limits
    (directory / "load.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
    program = Path(sys.executable).with_name("softswitch")
    process = Process([str(program), "run", "load.yaml"], directory, "load")
    process.wait_until(lambda: "softswitch load ready" in process.output())
    return process, f"{HOST}:{port}"


def read_rows(database: Path, condition: str = "", values: Sequence[str] = ()) -> list[sqlite3.Row]:
    """Rows of `cdrs`."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT * FROM cdrs {condition}", values).fetchall()


def wait_for_final(database: Path, calls: int, timeout: float = 10) -> list[sqlite3.Row]:
    """All rows, once there are `calls` of them and all are final; as they are after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        rows = read_rows(database)
        if len(rows) >= calls and all(row["final"] for row in rows):
            return rows
        if time.monotonic() > deadline:
            return rows
        time.sleep(0.05)


def through(remote: str, pair: Pair, number: str, callee_port: int, caller_port: int) -> Outcome:
    """Run the pair with the switch in between. The caller's number is that of the pair."""
    with sipp_callee(
        pair.callee, port=callee_port, hold_ms=pair.ring_ms, args=pair.callee_args
    ) as callee:
        caller = run_sipp(
            pair.caller,
            remote,
            calls=pair.calls,
            rate=20,
            hold_ms=pair.hold_ms,
            number=number,
            caller=f"7{number}",
            port=caller_port,
            args=pair.caller_args,
        )
    return Outcome(caller, callee.counted)


@dataclass(frozen=True, slots=True)
class Load:
    """All pairs run through one switch."""

    outcomes: dict[Pair, Outcome | BaseException]
    rows: list[sqlite3.Row]
    switch_exit: int
    output: str


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    directory = tmp_path_factory.mktemp("switch")
    callees = [free_port() for _ in EXPECTED]
    callers = [free_port() for _ in EXPECTED]
    switch, remote = start_switch(directory, callees, callers)
    places = {expected.pair: number for number, expected in enumerate(EXPECTED)}

    def run(pair: Pair) -> Outcome:
        place = places[pair]
        return through(remote, pair, str(2000 + place), callees[place], callers[place])

    try:
        outcomes = run_all([expected.pair for expected in EXPECTED], run)
        calls = sum(expected.pair.calls for expected in EXPECTED)
        rows = wait_for_final(directory / "load.db", calls)
    finally:
        code = switch.stop(10)
    return Load(outcomes, rows, code, switch.output())


@pytest.mark.parametrize("expected", EXPECTED, ids=IDS)
def test_calls_pass(expected: Expected, load: Load) -> None:
    result = outcome(load.outcomes, expected.pair)
    if expected.callee_sees:
        result.check(expected.pair.calls)
    else:
        assert (result.caller.successful, result.caller.failed) == (expected.pair.calls, 0)
        assert result.callee.failed == 0


@pytest.mark.parametrize("expected", EXPECTED, ids=IDS)
def test_records_say_what_sipp_saw(expected: Expected, load: Load) -> None:
    caller = f"7{2000 + EXPECTED.index(expected)}"
    rows = [row for row in load.rows if row["caller"] == caller]
    assert len(rows) == expected.pair.calls
    for row in rows:
        seen = dict(row)
        assert row["disposition"] == expected.disposition, seen
        assert row["sip_status"] in expected.statuses, seen
        assert row["hangup_by"] == expected.hangup_by, seen
        assert row["dialled"] == caller[1:], seen
        # The number connected: none where nobody answered.
        connected = caller[1:] if expected.disposition == "answered" else None
        assert row["callee"] == connected, seen
        assert (row["owner"], row["switch"], row["final"]) == ("load", "load", 1), seen


@pytest.mark.parametrize("expected", EXPECTED, ids=IDS)
def test_times_are_right(expected: Expected, load: Load) -> None:
    """Start, answer and end in order; an answered call was up for as long as SIPp held it."""
    caller = f"7{2000 + EXPECTED.index(expected)}"
    rows = [row for row in load.rows if row["caller"] == caller]
    assert rows
    for row in rows:
        started = datetime.fromisoformat(row["started_at"])
        ended = datetime.fromisoformat(row["ended_at"])
        assert started.utcoffset() is not None
        assert row["duration"] == pytest.approx((ended - started).total_seconds(), abs=0.01)
        if expected.disposition == "answered":
            answered = datetime.fromisoformat(row["answered_at"])
            assert started <= answered <= ended
            assert row["billsec"] == pytest.approx((ended - answered).total_seconds(), abs=0.01)
            assert row["billsec"] >= expected.pair.hold_ms / 1000 - 0.05
        else:
            assert row["answered_at"] is None
            assert not row["billsec"]


def test_one_row_for_each_call(load: Load) -> None:
    placed = sum(outcome(load.outcomes, each.pair).caller.created for each in EXPECTED)
    assert placed == sum(each.pair.calls for each in EXPECTED)
    assert len(load.rows) == len({row["call_id"] for row in load.rows}) == placed


def test_switch_ends_in_order(load: Load) -> None:
    assert load.switch_exit == 0, load.output
    assert "Traceback" not in load.output


def test_number_that_no_route_knows(tmp_path: Path) -> None:
    caller = free_port()
    switch, remote = start_switch(tmp_path, [free_port()], [caller])
    try:
        result = run_sipp("uac-failed", remote, calls=2, number="9999", port=caller)
        rows = wait_for_final(tmp_path / "load.db", 2)
    finally:
        switch.stop(10)
    assert (result.successful, result.failed) == (2, 0)
    assert [(row["disposition"], row["sip_status"]) for row in rows] == [("failed", 404)] * 2


def test_answer_that_is_never_acknowledged(tmp_path: Path) -> None:
    """Both sides get a BYE after 64*T1, and there is one record. T1 is 25 ms here: 1.6 s."""
    caller, callee_port = free_port(), free_port()
    switch, remote = start_switch(tmp_path, [callee_port], [caller], {"t1": 0.025, "t2": 0.2})
    try:
        with sipp_callee("uas-answered", port=callee_port) as callee:
            result = run_sipp("uac-ack-never", remote, calls=2, number="2000", port=caller)
        rows = wait_for_final(tmp_path / "load.db", 2)
    finally:
        switch.stop(10)
    assert (result.successful, result.failed) == (2, 0), result
    assert (callee.counted.successful, callee.counted.failed) == (2, 0), callee.counted
    assert [(row["disposition"], row["hangup_by"]) for row in rows] == [("answered", "switch")] * 2


def test_calls_refused_at_once(tmp_path: Path) -> None:
    """While the switch is full, and while it stops: each has its record, final at the end."""
    busy, refused, callee_port = free_port(), free_port(), free_port()
    switch, remote = start_switch(
        tmp_path, [callee_port, free_port()], [busy, refused], limits={"max_calls": 1}
    )
    try:
        with sipp_callee("uas-answered", port=callee_port):
            one = start_caller("uac-answered", remote, number="2000", port=busy, hold_ms=8000)
            switch.wait_until(lambda: one.counts().current == 1)
            time.sleep(0.2)
            full = run_sipp("uac-failed", remote, calls=3, number="2001", caller="7", port=refused)
            os.kill(switch.pid, signal.SIGTERM)
            switch.wait_until(lambda: "1 calls in progress" in switch.output())
            late = run_sipp("uac-failed", remote, calls=2, number="2001", caller="8", port=refused)
            assert one.wait(20).successful == 1
    finally:
        assert switch.stop(10) == 0, switch.output()
    assert (full.successful, late.successful) == (3, 2)
    rows = read_rows(tmp_path / "load.db")
    assert sorted((row["caller"], row["disposition"], row["sip_status"]) for row in rows) == [
        *[("7", "failed", 503)] * 3,
        *[("8", "failed", 503)] * 2,
        ("sipp", "answered", 200),
    ]
    for row in rows:
        if row["disposition"] == "failed":
            seen = dict(row)
            assert (row["dialled"], row["hangup_by"], row["final"]) == ("2001", "switch", 1), seen
            assert (row["reason"], row["answered_at"]) == ("Service Unavailable", None), seen
            assert row["caller_party"] == "trunk:caller1", seen
            assert row["started_at"] <= row["ended_at"], seen
    assert switch.output().count("is refused: 503 Service Unavailable") == 5


def test_over_tcp(tmp_path: Path) -> None:
    """A caller over TCP, a callee over UDP: 50 calls, 50 records."""
    caller, callee_port = free_port(), free_port()
    switch, remote = start_switch(tmp_path, [callee_port], [caller])
    try:
        with sipp_callee("uas-answered", port=callee_port) as callee:
            result = run_sipp(
                "uac-answered",
                remote,
                calls=50,
                rate=100,
                number="2000",
                port=caller,
                transport="t1",
            )
        rows = wait_for_final(tmp_path / "load.db", 50)
    finally:
        switch.stop(10)
    assert (result.successful, result.failed) == (50, 0), result
    assert (callee.counted.successful, callee.counted.failed) == (50, 0), callee.counted
    assert len({row["call_id"] for row in rows}) == len(rows) == 50
