"""Transfers, pickup and park by SIPp, with phones that make it hard: each party hears what its
scenario expects, and the records say who talked with whom.

One switch takes all the casts at once; each has trunks and numbers of its own.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.process import Process
from bench.sipp import HOST, SippResult
from softswitch.lab.ports import free_port
from tests.load.casts import CASTS, PARTS, Cast, Record, Stage, Talk
from tests.load.test_records import wait_for_final

Played = dict[str, tuple[SippResult, ...] | BaseException]


@dataclass(frozen=True, slots=True)
class Evening:
    """All casts have played."""

    played: Played
    stages: dict[str, Stage]
    rows: list[sqlite3.Row]
    talks: dict[str, list[sqlite3.Row]]
    switch_exit: int
    output: str


def start_switch(directory: Path, stages: dict[str, Stage], address: str) -> Process:
    trunks: dict[str, Any] = {}
    routes: list[dict[str, Any]] = [
        {"match": "5X", "from": "any", "do": "park"},
        {"match": "*8", "do": "pickup"},
    ]
    for cast in CASTS:
        more, ways = stages[cast.name].config(cast)
        trunks |= more
        routes += ways
    config = {
        "switch": {"name": "load", "listen": [f"udp:{address}"]},
        "extensions": {
            number: {"password": f"secret-{number}", "pickup": ["desk"]}
            for number in sorted({phone for cast in CASTS for phone in cast.phones if phone})
        },
        "trunks": trunks,
        "in_call": {"transfer": "##", "consult": "*2", "complete": "*3", "back": "*1"},
        "media": {"transcode": False},
        "dialplan": "dialplan.yaml",
        "cds": {"listen": f"tcp:{HOST}:{free_port()}", "database": "load.db", "linger": 0.5},
    }
    (directory / "load.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (directory / "dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
    command = [sys.executable, "-m", "softswitch.cli", "run", "load.yaml"]
    process = Process(command, directory, "load")
    process.wait_until(lambda: "softswitch load ready" in process.output())
    return process


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    directory = tmp_path_factory.mktemp("switch")
    address = f"{HOST}:{free_port()}"
    stages = {cast.name: Stage(address, number) for number, cast in enumerate(CASTS)}
    switch = start_switch(directory, stages, address)
    try:
        with ThreadPoolExecutor(len(CASTS)) as pool:
            playing = {cast.name: pool.submit(cast.play, cast, stages[cast.name]) for cast in CASTS}
            played = {name: one.exception() or one.result() for name, one in playing.items()}
        calls = sum(cast.calls * len(cast.records) for cast in CASTS)
        rows = wait_for_final(directory / "load.db", calls)
    finally:
        code = switch.stop(10)
    talks: dict[str, list[sqlite3.Row]] = {}
    with closing(sqlite3.connect(directory / "load.db")) as database:
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT * FROM cdr_talks ORDER BY call_id, talk"):
            talks.setdefault(row["call_id"], []).append(row)
    return Evening(played, stages, rows, talks, code, switch.output())


@pytest.mark.parametrize("cast", CASTS, ids=str)
def test_each_part_hears_what_it_expects(cast: Cast, evening: Evening) -> None:
    played = evening.played[cast.name]
    if isinstance(played, BaseException):
        raise played
    for result in played:
        assert (result.successful, result.failed) == (cast.calls, 0), result


@pytest.mark.parametrize("cast", CASTS, ids=str)
def test_the_records_say_who_talked_with_whom(cast: Cast, evening: Evening) -> None:
    """Of the caller's calls, in the order in which they began: each time all that are expected."""
    parties = {cast.party(part) for part in PARTS}
    rows = [row for row in evening.rows if row["caller_party"] in parties]
    assert len(rows) == cast.calls * len(cast.records), [dict(row) for row in rows]
    expected = sorted(cast.records * cast.calls, key=str)
    assert sorted((seen(cast, evening, row) for row in rows), key=str) == expected
    for row in rows:
        talks = evening.talks.get(row["call_id"], [])
        assert (row["owner"], row["switch"], row["final"]) == ("load", "load", 1), dict(row)
        assert json.loads(row["parties"] or "[]") == spoke(talks), dict(row)
        if talks:
            assert row["callee"] == talks[0]["to_number"], dict(row)
        if row["merged_into"] is not None:
            (into,) = [one for one in rows if one["call_id"] == row["merged_into"]]
            assert into["call_id"] < row["call_id"], "the older lives on"
            assert into["merged_into"] is None


def seen(cast: Cast, evening: Evening, row: sqlite3.Row) -> Record:
    """A row and its talks, as a cast expects them."""
    part = {cast.party(part): part for part in PARTS}
    talks = tuple(
        Talk(part[talk["from_party"]], part[talk["to_party"]], talk["how"], part[talk["by"]])
        for talk in evening.talks.get(row["call_id"], [])
    )
    into = row["merged_into"] is not None
    return Record(
        talks,
        row["hangup_by"],
        part[row["caller_party"]],
        row["disposition"],
        row["sip_status"],
        into,
    )


def spoke(talks: list[sqlite3.Row]) -> list[str]:
    """Who talks in them, in the order in which they began to."""
    return list(
        dict.fromkeys(party for talk in talks for party in (talk["from_party"], talk["to_party"]))
    )


@pytest.mark.parametrize("cast", CASTS, ids=str)
def test_talks_are_within_their_call(cast: Cast, evening: Evening) -> None:
    """One after the other, and for as long as SIPp held them."""
    parties = {cast.party(part) for part in PARTS}
    for row in evening.rows:
        if row["caller_party"] not in parties:
            continue
        before = row["answered_at"]
        for talk in evening.talks.get(row["call_id"], []):
            assert before <= talk["began_at"] <= talk["ended_at"] <= row["ended_at"], dict(talk)
            before = talk["ended_at"]
            assert seconds(talk) >= cast.held.get(talk["how"], 0) / 1000 - 0.05, dict(talk)


def seconds(talk: sqlite3.Row) -> float:
    """How long it lasted."""
    began, ended = (datetime.fromisoformat(talk[name]) for name in ("began_at", "ended_at"))
    return (ended - began).total_seconds()


def test_one_row_for_each_call(evening: Evening) -> None:
    calls = sum(cast.calls * len(cast.records) for cast in CASTS)
    assert len(evening.rows) == len({row["call_id"] for row in evening.rows}) == calls


def test_switch_ends_in_order(evening: Evening) -> None:
    assert evening.switch_exit == 0, evening.output
    assert "Traceback" not in evening.output
