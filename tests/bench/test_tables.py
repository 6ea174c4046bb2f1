"""What went wrong stands in every table, and in the JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bench import tables
from bench.__main__ import write
from bench.faults import Trouble
from bench.measure import Cost, Memory

COST = Cost(
    system="switch",
    calls=2000,
    rate=1500,
    pairs=2,
    alive=0,
    completed=2000,
    failed=0,
    retransmissions=0,
    callee_failed=0,
    callee_retransmissions=0,
    dropped=0,
    dropped_by_system=0,
    response_ms=1.0,
    seconds=2.0,
    cpu_ms=0.5,
    rows=2000,
    rows_distinct=2000,
    rows_unfinished=0,
    memory_before=1,
    memory_after=2,
)
BAD = replace(
    COST,
    failed=11,
    callee_failed=100,
    retransmissions=22,
    callee_retransmissions=200,
    dropped=333,
    dropped_by_system=44,
)
MEMORY = Memory(
    system="switch",
    calls=10,
    before=0,
    up=1,
    after=0,
    failed=11,
    callee_failed=100,
    retransmissions=22,
    callee_retransmissions=200,
    dropped=333,
    dropped_by_system=44,
)
TROUBLE = {"failed": "111", "sent again": "222", "dropped": "333", "by system": "44"}


def row(table: Table, index: int = -1) -> dict[str, str]:
    cells = [list(column.cells) for column in table.columns]
    headings = [str(column.header) for column in table.columns]
    return {heading: str(column[index]) for heading, column in zip(headings, cells, strict=True)}


@pytest.mark.parametrize(
    "table",
    [
        tables.costs("", [COST, BAD]),
        tables.memory(MEMORY),
        tables.medians([replace(BAD, system="kamailio (1)")]),
    ],
    ids=["costs", "memory", "medians"],
)
def test_what_went_wrong(table: Table) -> None:
    assert TROUBLE.items() <= row(table).items()


def test_medians_have_the_sums_of_all_rounds() -> None:
    peer = replace(COST, system="kamailio (1)")
    lines = tables.medians([BAD, peer, replace(BAD, failed=0), peer])
    assert row(lines, 0)["failed"] == "211"
    assert row(lines, 0)["dropped"] == "666"
    assert row(lines, 1)["failed"] == row(lines, 1)["dropped"] == "0"


def test_how_many_sipps_shared_a_load() -> None:
    assert row(tables.costs("", [COST]))["calls/s"] == "1500 (2 SIPps)"
    assert row(tables.costs("", [replace(COST, pairs=1)]))["calls/s"] == "1500"


def test_a_line_is_one_line() -> None:
    """Of a load whose counts are large."""
    large = replace(BAD, system="two switches", calls=100_000, completed=100_000, rows=100_000)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(tables.costs("", [replace(large, rows_distinct=100_000)]))
    assert len(capture.get().splitlines()) == len(["top", "headings", "rule", "line", "bottom"])


def test_drops_alone_are_no_failure() -> None:
    assert replace(COST, dropped=5, dropped_by_system=5, retransmissions=3).clean
    assert not replace(COST, failed=1).clean
    assert not replace(COST, callee_failed=1).clean


def test_json_has_them_too(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write(file, "cpu", [BAD, MEMORY])
    for result in json.loads(file.read_text())["results"]:
        assert (result["failed"], result["callee_failed"]) == (11, 100)
        assert (result["retransmissions"], result["callee_retransmissions"]) == (22, 200)
        assert (result["dropped"], result["dropped_by_system"]) == (333, 44)


def test_runs_with_kills_say_it_in_a_line() -> None:
    assert str(Trouble(1, 2, 3) + Trouble(10, 20, 30)) == (
        "SIPp: 11 calls failed, 22 messages sent again, 33 datagrams dropped"
    )
