"""A load that several SIPps share: each call reaches its callee, has its record, and is counted."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import measure, systems
from bench.measure import cost
from bench.sipp import SippFailure
from bench.split import Callees, Share, number, sipp_callees, start_callers
from bench.systems import System
from softswitch.lab.ports import HOST, free_port

CALLS, RATE, MOST = 50, 50, 20
SHARES = [17, 17, 16]
"""What each caller places, and each callee takes."""

SYSTEMS: dict[str, Callable[..., System]] = {
    "switch": partial(systems.switch, linger=0.3),
    "two switches": partial(systems.two_switches, linger=0.3),
    "kamailio": systems.kamailio,
}
RECORDS = {
    "switch": ("bench.db", "SELECT dialled, caller_party, callee_party FROM cdrs"),
    "two switches": (
        "first.db",
        "SELECT dialled, caller_party, l.party FROM cdrs JOIN cdr_legs l USING (call_id)"
        " WHERE l.switch = 'second' AND l.direction = 'out'",
    ),
}
"""Where it stands who called whom; Kamailio's records do not say it."""


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_call_has_its_callee_and_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen: list[Callees] = []

    @contextmanager
    def callees(count: int, **more: Any) -> Iterator[Callees]:
        with sipp_callees(count, **more) as made:
            seen.append(made)
            yield made

    def make(directory: Path, callers: Sequence[int], ports: Sequence[int]) -> System:
        return SYSTEMS[name](tmp_path, callers, ports)  # its records are looked at afterwards

    monkeypatch.setattr(measure, "sipp_callees", callees)
    said: list[str] = []
    result = cost(
        make,
        calls=CALLS,
        rate=RATE,
        hold_ms=2500,
        settle=10,
        most=MOST,
        watch=lambda what, left: said.append(what),
    )
    assert (result.pairs, result.calls, result.completed) == (3, CALLS, CALLS)
    assert (result.failed, result.callee_failed) == (0, 0)
    assert (result.rows, result.rows_distinct, result.rows_unfinished) == (CALLS, CALLS, 0)
    assert result.clean
    assert result.response_ms > 0
    assert result.dropped >= result.dropped_by_system == 0
    (taken,) = seen
    assert [callee.counted.successful for callee in taken.each] == SHARES
    assert f"all {CALLS} placed, the last ones end" in said, "the progress has the calls of all"
    if name in RECORDS:
        database, query = RECORDS[name]
        with closing(sqlite3.connect(tmp_path / database)) as connection:
            rows = connection.execute(query).fetchall()
        assert Counter(rows) == {
            (number(place), f"trunk:caller{place}", f"trunk:callee{place}"): count
            for place, count in enumerate(SHARES)
        }


def test_a_caller_that_cannot_run_ends_all(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, free_udp() as taken:
        silent.bind((HOST, 0))
        remote = f"{HOST}:{silent.getsockname()[1]}"
        callers = start_callers(remote, [Share(5, 5)] * 2, [free_port(), taken], timeout=30)
        began = time.monotonic()
        with pytest.raises(SippFailure, match=r"uac-answered: exit 2\d\d"):
            callers.wait(20)
        assert time.monotonic() - began < 10
        for sipp in callers._running:
            with pytest.raises(ProcessLookupError):
                os.kill(sipp.process.pid, 0)


@contextmanager
def free_udp() -> Iterator[int]:
    """A port that is in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


def test_callers_that_do_not_end_in_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        remote = f"{HOST}:{silent.getsockname()[1]}"
        callers = start_callers(remote, [Share(3, 10)] * 2, [free_port(), free_port()], timeout=30)
        with pytest.raises(SippFailure, match=r"2 of 2 callers did not end in 1\.5 s"):
            callers.wait(1.5)
        assert callers.placed() >= 0
        assert all(sipp.ended(0) for sipp in callers._running)
