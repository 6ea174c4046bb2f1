"""Calls in the log: a line at the route, at the answer, at the end; and not too many."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
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
        self.now = 0.0
        self.lines_of: Log

    def open(self, per_second: int = 50, **settings: Any) -> None:
        self.lines_of = Log(Settings(file=self.path, **settings))
        self.lines_of.open()
        self.log = CallLog(self.lines_of, per_second, lambda: self.now)

    def tell(self, kind: Callable[..., events.Event], call_id: str = ONE, **said: Any) -> None:
        self.log.call_event(kind(call_id=call_id, at=said.pop("at", AT), switch="hq", **said))

    def begins(self, call_id: str = ONE, leg: int = 0, caller: str = "1001") -> None:
        self.tell(
            events.CallStarted, call_id, site="", owner="hq", origin=True, caller=caller,
            caller_name="Zoë", dialled="0123", party="extension:1001", address="udp:10.0.0.2:5060",
            user_agent="", sip_call_id="x", leg=leg,
        )  # fmt: skip

    def routed(self, call_id: str = ONE, leg: int = 0) -> None:
        self.begins(call_id, leg)
        self.tell(
            events.CallRouted, call_id, match="0.", where="plan.yaml:3", number="123",
            properties={}, incoming=leg,
        )  # fmt: skip

    def invited(self, leg: int, party: str, incoming: int = 0) -> None:
        self.tell(
            events.LegInvited, leg=leg, party=party, uri="sip:x", address="udp:10.0.0.3:5060",
            sip_call_id="y", incoming=incoming,
        )  # fmt: skip

    def answered(self, leg: int, at: int = AT) -> None:
        self.tell(
            events.LegAnswered, at=at, leg=leg, status=200, callee="2001", codec="PCMU/8000",
            user_agent="",
        )  # fmt: skip

    def ended(
        self,
        call_id: str = ONE,
        leg: int = 0,
        at: int = AT,
        said: str = "answered",
        status: int = 200,
    ) -> None:
        self.tell(
            events.CallEnded, call_id, at=at, disposition=said, sip_status=status, reason="",
            hangup_by="caller", leg=leg,
        )  # fmt: skip

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
    calls.routed()
    calls.invited(1, "trunk:pstn")
    calls.invited(2, "extension:2001")
    calls.answered(2, AT + 1_000_000)
    calls.ended(at=AT + 13_340_000)
    assert calls.lines() == [
        f'INFO calls: {ONE} begins: extension:1001 "Zoë" calls 0123, route 0. (plan.yaml:3) as 123',
        f"INFO calls: {ONE} answered by extension:2001, PCMU/8000",
        f"INFO calls: {ONE} ends: answered for 12.3 s, 200, by the caller",
    ]
    assert not calls.log._calls


def test_in_json(calls: Calls) -> None:
    calls.open(format="json")
    calls.routed()
    calls.invited(1, "trunk:pstn")
    calls.answered(1, AT + 1_000_000)
    calls.ended(at=AT + 3_500_000)
    begins, answered, ends = (json.loads(line) for line in calls.lines())
    assert begins["at"] == "2023-11-14T22:13:20.000+00:00"
    assert (begins["message"], begins["caller"], begins["where"]) == (
        "call begins", "extension:1001", "plan.yaml:3",
    )  # fmt: skip
    assert (answered["by"], answered["callee"]) == ("trunk:pstn", "2001")
    assert (ends["disposition"], ends["billsec"], ends["level"]) == ("answered", 2.5, "info")


def test_a_call_that_failed_is_a_warning(calls: Calls) -> None:
    calls.open(level="warning")
    calls.routed()
    calls.ended(said="busy", status=486)
    calls.routed()
    calls.ended(said="failed", status=503)
    assert calls.lines() == [f"WARNING calls: {ONE} ends: failed, 503, by the caller"]


def test_a_call_that_comes_by_again(calls: Calls) -> None:
    calls.open()
    calls.routed()
    calls.invited(1, "trunk:branch")
    calls.routed(leg=2)
    calls.invited(3, "extension:2001", incoming=2)
    calls.answered(3)
    calls.answered(1)
    calls.ended(leg=2)
    calls.ended()
    assert [line.split(ONE)[1].split(" calls")[0] for line in calls.lines()] == [
        ' begins: extension:1001 "Zoë"',
        ' (leg 2) begins: extension:1001 "Zoë"',
        " (leg 2) answered by extension:2001, PCMU/8000",
        " answered by trunk:branch (2001), PCMU/8000",
        " (leg 2) ends: answered for 0.0 s, 200, by the caller",
        " ends: answered for 0.0 s, 200, by the caller",
    ]


def test_who_was_refused_before_its_route_is_told_elsewhere(calls: Calls) -> None:
    calls.open()
    calls.begins()
    calls.ended(said="rejected", status=404)
    assert calls.lines() == []


def test_under_load_calls_are_counted(calls: Calls) -> None:
    calls.open(per_second=2)
    names = [f"call{n}" for n in range(5)]
    for name in names:
        calls.routed(name)
    for name in names:
        calls.ended(name)
    lines = calls.lines()
    assert len(lines) == 5  # two calls, and the sum
    assert lines[-1] == "INFO calls: 3 calls without lines of their own (log.calls_per_second)"
    assert not calls.log._calls
    calls.now = 1.0
    calls.routed("later")
    assert "later begins" in calls.lines()[-1]


def test_the_end_of_a_call_that_outlived_the_process(calls: Calls) -> None:
    calls.open(per_second=1)
    told = (
        events.LegInvited(
            call_id=ONE, at=AT, switch="hq", leg=1, party="trunk:pstn", uri="", address="",
            sip_call_id="",
        ),
        events.LegAnswered(
            call_id=ONE, at=AT, switch="hq", leg=1, status=200, callee="1", codec="", user_agent="",
        ),
    )  # fmt: skip
    calls.tell(events.CallRestored, leg=0, told=told)
    calls.ended(at=AT + 5_000_000)
    assert calls.lines() == [f"INFO calls: {ONE} ends: answered for 5.0 s, 200, by the caller"]
    for name in "ab":
        calls.tell(events.CallRestored, name, leg=0, told=told)
    calls.now = 1.0
    for name in "ab":
        calls.ended(name, at=AT + 5_000_000)
    assert len(calls.lines()) == 3
    assert calls.log.unsaid == 0
    assert not calls.log._calls
