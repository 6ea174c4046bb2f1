"""A copy of the records, made while they are written, as docs/backup.md has it."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path

from cds_calls import answered_call
from cds_fakes import FakeNet
from click.testing import CliRunner

from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive, ArchiveSettings
from cdsplugin.cli import main as cds
from cdsplugin.tms.tms import Tms

PAGE = (Path(__file__).parents[2] / "docs/backup.md").read_text()
CHILDREN = ("cdr_legs", "cdr_talks", "cdr_properties")


def printed(database: str, start: str) -> str:
    """The statement that the page has `sqlite3` run on `database`."""
    found = re.findall(rf'^\$ sqlite3 {database} "({start}.*)"$', PAGE, re.MULTILINE)
    assert found, start
    return str(found[0])


class Writing:
    """A server that writes records all the time, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        server = FakeNet().server("hq")
        # A lock held by somebody else would be seen: it is not waited for.
        self.archive = Archive(path, ArchiveSettings(commit_interval=0.001, busy_timeout=0.0))
        self.archive.open()
        server.store.watch(Recorder("hq", self.archive))
        self.tms = Tms(server.store, server.clock)
        self.calls: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def call(self) -> None:
        call_id = f"0199c0de-0000-7000-8000-{len(self.calls):012d}"
        for event in answered_call(call_id=call_id):
            self.tms.event(event)
        self.calls.append(call_id)

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.archive.close()

    def _write(self) -> None:
        while not self._over.wait(0.001):
            self.call()


def rows(path: Path) -> dict[str, tuple[int, ...]]:
    """By callID, how many rows belong to it."""
    counts = ", ".join(
        f"(SELECT count(*) FROM {table} WHERE call_id = cdrs.call_id)" for table in CHILDREN
    )
    with sqlite3.connect(path) as db:
        return {row[0]: row[1:] for row in db.execute(f"SELECT call_id, {counts} FROM cdrs")}


def test_a_copy_of_records_that_are_being_written(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "hq.db")
    for _ in range(300):
        writing.call()
    assert writing.archive.flush()
    copy = tmp_path / "hq-backup.db"
    with writing:
        with sqlite3.connect(tmp_path / "hq.db", timeout=0) as db:
            statement = printed("hq.db", "VACUUM")
            db.execute(statement.replace("hq-backup.db", str(copy)))
        assert not writing.archive.trouble
        before = set(writing.calls[:300])
    copied, all_ = rows(copy), rows(tmp_path / "hq.db")
    assert before <= set(copied) <= set(all_)
    assert {call_id: all_[call_id] for call_id in copied} == copied
    with sqlite3.connect(copy) as db:
        check = printed("hq-backup.db", "PRAGMA").partition(";")[0]
        assert db.execute(check).fetchall() == [("ok",)]
    # It is a database of records like any other: read, reported on, and written on.
    report = CliRunner().invoke(cds, ["report", str(copy), "--by", "day", "--json"])
    assert report.exit_code == 0, report.output
    assert f'"calls": {len(copied)},' in report.output
    restored = Writing(copy)
    restored.calls = list(writing.calls)
    restored.call()
    restored.archive.close()
    assert len(rows(copy)) == len(copied) + 1


def test_old_records_go_with_all_that_belongs_to_them(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "hq.db")
    writing.call()
    assert writing.archive.flush()
    writing.archive.close()
    with sqlite3.connect(tmp_path / "hq.db") as db:
        statement = printed("hq.db", "DELETE")
        db.execute("UPDATE cdrs SET final = 1, started_at = date('now', '-11 months')")
        db.execute(statement)
        assert db.execute("SELECT count(*) FROM cdrs").fetchone() == (1,)
        db.execute("UPDATE cdrs SET started_at = date('now', '-13 months')")
        db.execute(statement)
        for table in ("cdrs", *CHILDREN):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
