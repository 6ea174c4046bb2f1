"""What became of the callers of queues: `cds report --by queue`, of what a switch has told."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from applications.test_queue import PLAN
from applications.waiting_world import WaitingWorld, Waits, hang_up, rings, silent
from cds_fakes import FakeNet
from click.testing import CliRunner

from cdsplugin.accounts import queue_report
from cdsplugin.archive.reading import reading_records
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive
from cdsplugin.cli import main
from cdsplugin.tms.tms import Tms
from softswitch.events import CallEnded


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two were answered, one of them late; one gave up, one found the queue full, one it empty."""
    world = WaitingWorld(tmp_path, PLAN)
    one = Waits(world, "500")
    world.run(4)
    one.answered_by(world.alice)
    two = Waits(world, "500")
    three = Waits(world, "500")
    world.run(1)
    assert rings(world.bob)
    three.bye()
    world.run(30)
    silent(world.bob)
    world.run(1)
    assert rings(world.bob)
    world.run(8)
    assert rings(world.bob)
    two.answered_by(world.bob)
    hang_up(one, world.alice)
    hang_up(two, world.bob)
    four = Waits(world, "502")
    five = Waits(world, "509")
    five.heard()
    five.hung_up_on()
    four.bye()
    Waits(world, "503").reject(world.carol, 486)
    six = next(line for line in world.carrier.lines[::-1])
    six.bye()
    world.over()
    archive = Archive(tmp_path / "hq.db")
    archive.open()
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    for event in world.events:
        tms.event(event)
    assert len(world.of(CallEnded)) == 6
    archive.close()
    return archive.path


def test_of_each_queue(database: Path) -> None:
    with reading_records(database) as db:
        lines = {line.group[0]: line for line in queue_report([db, db], ["queue"])}
        sales = lines["sales"]
        assert (sales.offered, sales.answered, sales.abandoned, sales.in_time) == (3, 2, 1, 1)
        assert sales.longest == pytest.approx(40, abs=0.5)
        assert sales.average == pytest.approx((4 + 40 + 1) / 3, abs=0.5)
        assert lines["few"].outcomes == {"abandoned": 1, "full": 1}
        assert lines["nobody"].outcomes == {"empty": 1}
        by_agent = {line.group: line for line in queue_report([db], ["agent", "queue"], within=60)}
        assert by_agent["1001", "sales"].level == 100
        assert by_agent["1002", "sales"].in_time == 1
        assert not queue_report([db], ["queue"], since="2030-01-01")
        with pytest.raises(ValueError, match="`trunk` does not go with `queue`"):
            queue_report([db], ["queue", "trunk"])


def test_who_waited_when_the_switch_was_killed(database: Path) -> None:
    """Its record says that it waits; the caller is gone."""
    with sqlite3.connect(database) as db:
        db.execute(
            "UPDATE cdr_properties SET value = json_remove(json_set(value, '$.outcome', 'waiting'),"
            " '$.waited') WHERE value LIKE '%abandoned%' AND value LIKE '%sales%'"
        )
    with reading_records(database) as found:
        (sales,) = [one for one in queue_report([found], ["queue"]) if one.group == ("sales",)]
        assert sales.outcomes == {"answered": 2, "abandoned": 1}
        assert sales.average == pytest.approx((4 + 40 + 1) / 3, abs=0.5)


@pytest.mark.parametrize("value", ["1", "[]", "{", '{"name": "queue", "outcome": 7}', None])
def test_what_somebody_else_has_written(database: Path, value: str | None) -> None:
    with sqlite3.connect(database) as db:
        db.execute("UPDATE cdr_properties SET value = ? WHERE name GLOB 'application/*'", [value])
    with reading_records(database) as found:
        assert queue_report([found], ["queue"]) == []


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["report", *(str(a) for a in args)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command(database: Path) -> None:
    rows = run(database, "--by", "queue", "--csv").splitlines()
    assert rows[0] == (
        "queue,offered,answered,abandoned,others,average wait,longest wait,% within 20 s"
    )
    assert [row.split(",")[:5] for row in rows[1:]] == [
        ["few", "2", "0", "1", "1"],
        ["nobody", "1", "0", "0", "1"],
        ["sales", "3", "2", "1", "0"],
    ]
    assert rows[3].endswith(",33.3")
    assert "sales" in run(database, "--by", "queue,day")
    told = json.loads(run(database, "--by", "queue", "--within", "60", "--json"))
    assert told["within"] == 60
    assert told["lines"][2]["service_level"] == 66.7
    assert told["lines"][0]["outcomes"] == {"abandoned": 1, "full": 1}
    assert "does not go with" in run(database, "--by", "queue,callee", code=2)
    assert "does not go with" in run(database, "--by", "queue", "--rates", "x", code=2)
    assert "no database" in run(database.parent / "none.db", "--by", "queue", code=1)
