"""Calls in the log: a line at the route, at the answer, at the end; and not too many."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softswitch import events
from softswitch.config import Log as Settings
from softswitch.log import CallLog, Log

AT = 1_700_000_000_000_000
ONE = "0199c0de-0000-7000-8000-000000000001"


class Calls:
    """A call log, and calls as a switch tells of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines_of: Log

    def open(self, per_second: int = 50, **settings: Any) -> None:
        self.lines_of = Log(Settings(file=self.path, **settings))
        self.lines_of.open()
        self.log = CallLog(self.lines_of, per_second)

    def begins(self, call_id: str = ONE, leg: int = 0) -> bool:
        started = events.CallStarted(
            call_id=call_id, at=AT, switch="hq", site="", owner="hq", origin=True, caller="1001",
            caller_name="Zoë", dialled="0123", party="extension:1001", address="udp:10.0.0.2:5060",
            user_agent="", sip_call_id="x", leg=leg,
        )  # fmt: skip
        return self.log.begins(
            started,
            events.CallRouted(
                call_id=call_id, at=AT, switch="hq", match="0.", where="plan.yaml:3", number="123",
                properties={}, incoming=leg,
            ),
        )  # fmt: skip

    def answered(self, party: str, incoming: int = 0) -> None:
        event = events.LegAnswered(
            call_id=ONE, at=AT, switch="hq", leg=3, status=200, callee="2001", codec="PCMU/8000",
            user_agent="",
        )  # fmt: skip
        self.log.answered(event, party, incoming)

    def ends(
        self, talked: float | None, leg: int = 0, said: str = "answered", status: int = 200
    ) -> None:
        event = events.CallEnded(
            call_id=ONE, at=AT, switch="hq", disposition=said, sip_status=status, reason="",
            hangup_by="caller", leg=leg,
        )  # fmt: skip
        self.log.ends(event, talked)

    def lines(self) -> list[str]:
        self.log.sum_up()
        assert self.lines_of.writer.flush()
        return [re.sub(r"^[-\d]+ [:.\d]+ ", "", x) for x in self.path.read_text().splitlines()]


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    calls = Calls(tmp_path / "calls.log")
    yield calls
    calls.lines_of.close()


def test_a_call_has_three_lines(calls: Calls) -> None:
    calls.open()
    assert calls.begins()
    calls.answered("extension:2001")
    calls.ends(12.34)
    assert calls.lines() == [
        f'INFO calls: {ONE} begins: extension:1001 "Zoë" calls 0123, route 0. (plan.yaml:3) as 123',
        f"INFO calls: {ONE} answered by extension:2001, PCMU/8000",
        f"INFO calls: {ONE} ends: answered for 12.3 s, 200, by the caller",
    ]


def test_in_json(calls: Calls) -> None:
    calls.open(format="json")
    calls.begins()
    calls.answered("trunk:pstn")
    calls.ends(2.5)
    begins, answered, ends = (json.loads(line) for line in calls.lines())
    assert begins["at"] == "2023-11-14T22:13:20.000+00:00"
    assert begins["message"] == "call begins"
    assert (begins["caller"], begins["where"]) == ("extension:1001", "plan.yaml:3")
    assert (answered["by"], answered["callee"]) == ("trunk:pstn", "2001")
    assert (ends["disposition"], ends["billsec"], ends["level"]) == ("answered", 2.5, "info")


def test_a_call_that_failed_is_a_warning(calls: Calls) -> None:
    calls.open(level="warning")
    assert calls.begins()
    calls.ends(None, said="busy", status=486)
    calls.ends(None, said="failed", status=503)
    assert calls.lines() == [f"WARNING calls: {ONE} ends: failed, 503, by the caller"]


def test_a_call_that_comes_by_again(calls: Calls) -> None:
    calls.open()
    calls.begins(leg=2)
    calls.answered("trunk:pstn", 2)
    calls.ends(0.0, leg=2)
    assert [line.split(ONE)[1] for line in calls.lines()] == [
        ' (leg 2) begins: extension:1001 "Zoë" calls 0123, route 0. (plan.yaml:3) as 123',
        " (leg 2) answered by trunk:pstn (2001), PCMU/8000",
        " (leg 2) ends: answered for 0.0 s, 200, by the caller",
    ]


def test_under_load_calls_are_counted(calls: Calls) -> None:
    calls.open(per_second=2)
    assert [calls.begins(f"call{n}") for n in range(5)] == [True, True, False, False, False]
    lines = calls.lines()
    assert len(lines) == 3  # two calls, and the sum
    assert lines[-1] == "INFO calls: 3 calls without lines of their own (log.calls_per_second)"
    calls.log.next_second()
    assert calls.begins("later")
    assert "later begins" in calls.lines()[-1]
