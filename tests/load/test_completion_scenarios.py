"""Call completion by SIPp: a phone that finds another one busy is rung when that one is free, they
talk, and the record of that call says so, over a kill of the switch in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.process import Process
from bench.sipp import HOST, SippResult, run_sipp, sipp_callee, start_caller
from softswitch.lab.ports import free_port
from tests.load.test_records import wait_for_final

PATIENCE = 20.0
TALK = 3000
"""Milliseconds for which somebody else talks with the one who is wanted."""


def start_switch(directory: Path, address: str, other: int) -> Process:
    config = {
        "switch": {"name": "load", "listen": [f"udp:{address}"]},
        "extensions": {
            "1001": {"name": "Ana", "password": "secret-1001"},
            "1002": {"name": "Bo", "password": "secret-1002", "calls": 1},
        },
        "trunks": {"other": {"to": f"sip:{HOST}:{other}", "keepalive": 0}},
        "dialplan": "dialplan.yaml",
        # SIPp knows no OPTIONS within a call, nor the failure of an earlier one once more.
        "timers": {"completion_pause": 0.5, "restart_check": 60, "t4": 0.2},
        "cds": {"listen": f"tcp:{HOST}:{free_port()}", "database": "load.db", "linger": 0.5},
    }
    routes = [
        {"match": "10XX", "from": "any", "dial": "extension", "timeout": 10},
        {"match": "*37", "do": "complete"},
    ]
    (directory / "load.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
    return started(directory)


def started(directory: Path) -> Process:
    command = [sys.executable, "-m", "softswitch.cli", "run", "load.yaml"]
    process = Process(command, directory, "load")
    process.wait_until(lambda: "softswitch load ready" in process.output())
    return process


def registered(remote: str, number: str, port: int) -> None:
    phone = ("-au", number, "-ap", f"secret-{number}")
    result = run_sipp("uac-register", remote, number=number, port=port, args=phone)
    assert result.successful == 1, result


def refused(remote: str, number: str, port: int) -> SippResult:
    """The phone of 1001 dials a number, and its call comes to nothing."""
    phone = ("-au", "1001", "-ap", "secret-1001", "-auth_uri", f"{number}@{remote}")
    return run_sipp("uac-auth-refused", remote, number=number, caller="1001", port=port, args=phone)


@pytest.mark.parametrize("killed", [False, True])
def test_who_was_busy_is_free(tmp_path: Path, killed: bool) -> None:
    remote = f"{HOST}:{free_port()}"
    ana, bo, other = free_port(), free_port(), free_port()
    switch = start_switch(tmp_path, remote, other)
    played: dict[str, SippResult] = {}
    try:
        for number, port in (("1001", ana), ("1002", bo)):
            registered(remote, number, port)
        with sipp_callee("uas-answered", port=bo, args=("-m", "2")) as callee:
            caller = start_caller(
                "uac-answered", remote, hold_ms=TALK, number="1002", caller="700", port=other
            )
            until(lambda: callee.sipp.placed() > 0)
            played["busy"] = refused(remote, "1002", ana)
            played["asks"] = refused(remote, "*37", ana)
            if killed:
                time.sleep(0.5)  # T4: what was said is known to be heard
                os.killpg(switch.pid, signal.SIGKILL)
                switch.stop()
                switch = started(tmp_path)
            once = ("-m", "1")
            with sipp_callee("uas-recalled", port=ana, hold_ms=400, args=once) as recalled:
                played["other"] = caller.wait(PATIENCE)
                recalled.sipp.ended(PATIENCE)
            callee.sipp.ended(PATIENCE / 2)
        played["recalled"], played["callee"] = recalled.counted, callee.counted
        rows = wait_for_final(tmp_path / "load.db", 4)
    finally:
        code = switch.stop(10)
    for part, result in played.items():
        expected = 2 if part == "callee" else 1
        assert (result.successful, result.failed) == (expected, 0), (part, result.errors)
    assert code == 0, switch.output()
    assert "Traceback" not in switch.output()
    (row,) = [row for row in rows if row["caller_party"] == "extension:1001" and row["answered_at"]]
    assert {name: row[name] for name in EXPECTED} == EXPECTED
    assert row["billsec"] >= 0.35
    (talk,) = talks(tmp_path / "load.db", row["call_id"])
    assert tuple(talk) == ("extension:1001", "extension:1002", "dialled", "extension:1001")
    others = sorted((row["dialled"], row["disposition"], row["sip_status"]) for row in rows)
    assert others == [
        ("*37", "answered", 480),
        ("1002", "answered", 200),
        ("1002", "answered", 200),
        ("1002", "busy", 486),
    ]


EXPECTED: dict[str, Any] = {
    "caller": "1001",
    "caller_name": "Ana",
    "dialled": "1002",
    "callee": "1002",
    "answered_party": "extension:1002",
    "disposition": "answered",
    "sip_status": 200,
    "hangup_by": "caller",
    "owner": "load",
    "final": 1,
}


def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise TimeoutError


def talks(database: Path, call_id: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute(
            "SELECT from_party, to_party, how, by FROM cdr_talks WHERE call_id = ?", [call_id]
        ).fetchall()
