"""The record and the archive: rows, their merging, and what happens when the database fails."""

from __future__ import annotations

import gc
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from cds_calls import AT, answered_call, busy_call, through
from cds_fakes import FakeNet, FakeServer
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlite_utils import Database

from cdsplugin.archive import reading, schema
from cdsplugin.archive.disk import ArchiveError
from cdsplugin.archive.record import Recorder, entry_rows, handed, leg_row, log_rows
from cdsplugin.archive.rows import Cdr, HandedOver, LogRow, PropertyRow, values_of
from cdsplugin.archive.sqlite import Archive, ArchiveSettings
from cdsplugin.archive.view import Told, iso
from cdsplugin.data.call import Call
from cdsplugin.data.call_data import CallData
from cdsplugin.data.entries import LATER, Log, Property
from cdsplugin.tms.tms import Tms


class Recording:
    """A server whose records go to a real file."""

    def __init__(self, path: Path, name: str = "hq", net: FakeNet | None = None) -> None:
        self.server: FakeServer = (net or FakeNet()).server(name)
        self.archive = Archive(
            path, ArchiveSettings(commit_interval=0.001, retry_interval=0.02, busy_timeout=0.05)
        )
        self.archive.open()
        self.recorder = Recorder(name, self.archive)
        self.server.store.watch(self.recorder)
        self.tms = Tms(self.server.store, self.server.clock)

    def feed(self, events: list) -> None:
        for event in events:
            self.tms.event(event)

    def cdr(self, call_id: str) -> dict | None:
        assert self.archive.flush()
        with reading.reading_records(self.archive.path) as db:
            return reading.read_record(db, call_id)


@pytest.fixture
def recording(tmp_path: Path):
    recording = Recording(tmp_path / "hq.db")
    yield recording
    recording.archive.close()


def count(path: Path, table: str = "cdrs") -> int:
    conn = sqlite3.connect(path)
    try:
        return conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        conn.close()


def test_times_sort_and_sqlite_takes_them() -> None:
    assert iso(AT + 1) == "2027-01-15T08:00:00.000001Z"
    assert iso(0) == "1970-01-01T00:00:00.000000Z"
    assert iso(1_234_567) == "1970-01-01T00:00:01.234567Z"
    assert iso(999_999) == "1970-01-01T00:00:00.999999Z"
    assert iso(1 << 61) is None
    assert iso(-1) is None
    assert iso("now") is None
    assert iso(True) is None
    conn = sqlite3.connect(":memory:")
    query = "SELECT julianday(?), datetime(?), unixepoch(?)"
    day, text, epoch = conn.execute(query, [iso(AT + 1)] * 3).fetchone()
    assert (text, epoch) == ("2027-01-15 08:00:00", AT // 1_000_000)
    assert day == pytest.approx(2461420.8333333)


def test_the_row_is_there_at_hangup_and_final_at_the_end(recording: Recording) -> None:
    recording.feed(answered_call("c1")[:-1])
    assert recording.cdr("c1") is None
    recording.feed(answered_call("c1")[-1:])
    row = recording.cdr("c1")
    assert {k: v for k, v in row.items() if not isinstance(v, list)} == {
        "call_id": "c1",
        "owner": "hq",
        "written_by": "hq",
        "switch": "hq",
        "site": "Sunnyvale",
        "caller": "1001",
        "caller_name": "Alice",
        "dialled": "2001",
        "callee": "2001",
        "caller_party": "extension:1001",
        "callee_party": "trunk:branch",
        "answered_party": "trunk:branch",
        "answered_number": "2001",
        "answered_switch": "hq",
        "answered_site": "Sunnyvale",
        "outgoing_trunk": "branch",
        "started_at": "2027-01-15T08:00:00.000000Z",
        "answered_at": "2027-01-15T08:00:03.000000Z",
        "ended_at": "2027-01-15T08:00:13.000000Z",
        "duration": 13.0,
        "billsec": 10.0,
        "disposition": "answered",
        "sip_status": 200,
        "reason": "",
        "hangup_by": "caller",
        "final": 0,
        "merged_into": None,
    }
    assert [(leg["switch"], leg["leg"], leg["direction"]) for leg in row["legs"]] == [
        ("hq", 0, "in"),
        ("hq", 1, "out"),
    ]
    assert row["parties"] == ["extension:1001", "trunk:branch"]
    assert row["talks"] == [
        {
            "talk": 0,
            "switch": "hq",
            "from_party": "extension:1001",
            "from_number": "1001",
            "to_party": "trunk:branch",
            "to_number": "2001",
            "began_at": row["answered_at"],
            "ended_at": row["ended_at"],
            "how": "dialled",
            "by": "extension:1001",
        }
    ]
    assert row["legs"][1]["ringing_at"] == "2027-01-15T08:00:01.000000Z"
    assert row["legs"][1]["codec"] == "PCMA/8000"
    assert {p["name"]: p["value"] for p in row["properties"]} == {
        "account": "outbound",
        "route/hq": {"match": "2XXX", "where": "hq.yaml:3", "number": "2001"},
    }
    recording.server.timers.advance(31)
    assert recording.cdr("c1") == {**row, "final": 1}
    assert len(recording.recorder) == 0


def test_a_call_that_was_not_answered(recording: Recording) -> None:
    recording.feed(busy_call("c1"))
    row = recording.cdr("c1")
    assert (row["disposition"], row["sip_status"], row["hangup_by"]) == ("busy", 486, "callee")
    assert (row["answered_at"], row["billsec"], row["duration"]) == (None, 0.0, 1.0)
    assert row["reason"] == "Busy Here"
    assert row["legs"][1]["sip_status"] == 486


def test_what_comes_while_the_call_lingers_is_in_the_record_at_once(recording: Recording) -> None:
    recording.feed(answered_call("c1"))
    store = recording.server.store
    store.write(None, "c1", "crm", {"rating": 5, "tags": ["a", "b"], "vip": True}, ["a note"])
    row = recording.cdr("c1")
    assert {p["name"]: p["value"] for p in row["properties"]}["rating"] == 5
    assert {p["name"]: p["value"] for p in row["properties"]}["tags"] == ["a", "b"]
    assert {p["name"]: p["value"] for p in row["properties"]}["vip"] == 1
    assert [(line["author"], line["text"]) for line in row["logs"]] == [("crm", "a note")]
    end = store.get("c1").data.value("end")
    store.write(None, "c1", "hq", {"end": {**end, "hangup_by": "switch"}})
    assert recording.cdr("c1")["hangup_by"] == "switch"
    assert recording.cdr("c1")["final"] == 0
    recording.server.timers.advance(31)
    assert recording.cdr("c1")["final"] == 1


def test_a_call_whose_end_was_never_told(recording: Recording) -> None:
    recording.feed(answered_call("c1")[:-1])
    recording.server.store.finalize()
    row = recording.cdr("c1")
    assert row["ended_at"] == "2027-01-15T08:00:13.000000Z"
    assert (row["disposition"], row["billsec"], row["final"]) == ("answered", 10.0, 1)


def test_a_piece_written_later_does_not_spoil_the_record(recording: Recording) -> None:
    recording.feed(answered_call("c1"))
    recording.server.store.finalize()
    before = recording.cdr("c1")
    # After a restart the owner hears of the call from a participant that knows its own leg alone.
    store = recording.server.store
    leg = {"direction": "in", "invited_at": AT + 7, "ended_at": AT + 9}
    store.register(recording.tms, "c1", "hq")
    store.update(None, "c1", [Property("leg/branch/0", leg, AT + 9, "branch")])
    store.finalize()
    after = recording.cdr("c1")
    assert {k: v for k, v in after.items() if k != "legs"} == {
        k: v for k, v in before.items() if k != "legs"
    }
    assert len(after["legs"]) == 3


def test_a_call_of_an_unreachable_owner_is_recorded_here(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "branch.db", "branch")
    recording.feed(answered_call("c1", "branch", "hq"))
    assert recording.cdr("c1") is None
    recording.server.timers.advance(61)
    row = recording.cdr("c1")
    assert (row["owner"], row["written_by"], row["final"]) == ("hq", "branch", 1)
    assert (row["disposition"], row["duration"], row["billsec"]) == ("answered", 13.0, 10.0)
    assert recording.archive.close()


def test_a_call_that_its_owner_took_over_is_not_recorded_here(tmp_path: Path) -> None:
    net = FakeNet()
    hq = Recording(tmp_path / "hq.db", "hq", net)
    branch = Recording(tmp_path / "branch.db", "branch", net)
    branch.server.peers = ("hq",)
    for here, there in zip(answered_call("c1"), answered_call("c1", "branch", "hq"), strict=True):
        hq.tms.event(here)
        branch.tms.event(there)
        net.run()
    net.advance(100)
    assert branch.cdr("c1") is None
    row = hq.cdr("c1")
    assert [(leg["switch"], leg["leg"]) for leg in row["legs"]] == [
        ("branch", 0), ("branch", 1), ("hq", 0), ("hq", 1),
    ]  # fmt: skip
    assert row["final"] == 1
    assert hq.archive.close()
    assert branch.archive.close()


def test_a_row_for_a_call_however_often_it_is_written(recording: Recording) -> None:
    for _ in range(3):
        recording.feed(answered_call("c1"))
        recording.server.store.finalize()
    recording.archive.flush()
    assert count(recording.archive.path) == 1
    assert count(recording.archive.path, "cdr_legs") == 2


def test_an_older_leg_or_property_does_not_replace_a_newer_one(recording: Recording) -> None:
    for stamp in (AT + 2, AT + 1):
        legs, others = entry_rows(
            "c1",
            [
                Property("leg/hq/0", {"party": str(stamp)}, stamp, "hq"),
                Property("note", str(stamp), stamp, "hq"),
                Property("leg/odd", "not a leg", stamp, "hq"),
                Property("leg/hq/x", {"a": 1}, stamp, "hq"),
            ],
            Told(),
        )
        assert (len(legs), len(others)) == (1, 3)
        recording.archive.put(legs=legs, properties=others)
        recording.archive.flush()
    conn = sqlite3.connect(recording.archive.path)
    assert conn.execute("SELECT party FROM cdr_legs").fetchall() == [(str(AT + 2),)]
    assert conn.execute("SELECT value FROM cdr_properties WHERE name = 'note'").fetchone() == (
        str(AT + 2),
    )
    conn.close()


_entry = st.builds(
    Property,
    st.just("account"),
    st.sampled_from("xyz"),
    st.integers(AT, AT + 4),
    st.sampled_from(["hq", "branch"]),
    st.integers(0, 2),
)


@given(st.lists(_entry, min_size=1, max_size=6, unique_by=lambda e: (e.stamp, e.author, e.once)))
def test_rows_of_a_property_are_merged_as_its_entries_are(entries: list[Property]) -> None:
    """Whatever the order in which they are written, in one commit or in several."""
    conn = sqlite3.connect(":memory:")
    schema.migrations.apply(Database(conn))
    rows = [values_of(row) for row in entry_rows("c1", entries, Told())[1]]
    half = len(rows) // 2
    for some in (rows[:half], rows[half:]):
        if some:
            values = [value for row in some for value in row]
            conn.execute(schema.for_rows(schema.WRITE_PROPERTY, len(some)), values)
    won = CallData(entries).properties["account"]
    assert conn.execute("SELECT value, set_at, author, once FROM cdr_properties").fetchall() == [
        (won.value, iso(won.stamp), won.author, won.once)
    ]
    conn.close()


def test_what_was_set_first_and_known_last_is_in_the_record(recording: Recording) -> None:
    """A participant that was cut off had it before the others: the row at hangup is put right."""
    recording.feed(answered_call("c1"))
    store = recording.server.store
    for stamp in (AT + 9, AT + 7, AT + 8):
        store.update(None, "c1", [Property("queue", str(stamp), stamp, "branch", LATER)])
        recording.archive.flush()
    found = {row["name"]: row for row in recording.cdr("c1")["properties"]}
    assert found["queue"] == {
        "name": "queue",
        "value": str(AT + 7),
        "set_at": iso(AT + 7),
        "author": "branch",
    }


def test_a_database_and_a_spool_of_before(tmp_path: Path) -> None:
    """Tables without the newest column get it, and rows without it are taken."""
    path = tmp_path / "hq.db"
    conn = sqlite3.connect(path)
    schema.migrations.apply(Database(conn), stop_before="m004_once")
    conn.execute("INSERT INTO cdr_properties VALUES ('c1', 'note', 'old', ?, 'hq')", [iso(AT)])
    conn.commit()
    conn.close()
    with reading.reading_records(path) as db:
        assert reading.read_record(db, "c1") is None
    row = ["c2", "note", "spooled", iso(AT), "hq"]
    path.with_name("hq.db.spool").write_text(f"{json.dumps([3, row])}\n")
    recording = Recording(path)
    recording.archive.put(properties=[PropertyRow("c1", "note", "new", iso(AT + 1), "hq")])
    assert recording.archive.close()
    conn = sqlite3.connect(path)
    found = conn.execute("SELECT call_id, value, once FROM cdr_properties ORDER BY 1").fetchall()
    assert found == [("c1", "new", 0), ("c2", "spooled", 0)]
    conn.close()


def test_a_database_and_a_spool_from_before_there_were_transfers(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    conn = sqlite3.connect(path)
    schema.migrations.apply(Database(conn), stop_before="m005_talks")
    conn.execute("INSERT INTO cdrs (call_id, owner) VALUES ('c1', 'hq')")
    conn.execute(
        "INSERT INTO cdr_legs (call_id, switch, leg, set_at) VALUES ('c1', 'hq', 1, ?)", [iso(AT)]
    )
    conn.commit()
    conn.close()
    with reading.reading_records(path) as db:
        assert reading.read_record(db, "c1") is not None
    cdr = ["c2", "hq", *[None] * 24, 1]
    leg = ["c2", "hq", 1, "out", *[None] * 14, iso(AT)]
    path.with_name("hq.db.spool").write_text(
        f"{json.dumps([0, cdr])}\n{json.dumps([1, cdr])}\n{json.dumps([2, leg])}\n"
    )
    recording = Recording(path)
    assert recording.archive.close()
    assert recording.archive.lost == 0
    with reading.reading_records(path) as db:
        for call_id in ("c1", "c2"):
            row = reading.read_record(db, call_id)
            assert row is not None
            assert row["merged_into"] is None
            (found,) = row["legs"]
            assert (found["by"], found["between_switches"], found["was"]) == (None, None, None)


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    for n in range(2):
        recording = Recording(path)
        recording.feed(answered_call(f"c{n}"))
        assert recording.archive.close()
        assert recording.archive.close()
    assert count(path) == 2
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none" / "hq.db", "no such folder"),
        (lambda folder: folder, "unable to open database file"),
    ],
)
def test_a_database_that_cannot_be_opened(tmp_path: Path, make, says: str) -> None:
    with pytest.raises(ArchiveError, match=says) as caught:
        Archive(make(tmp_path)).open()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("cds.database: cannot open ")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    path.write_text("this is no database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(ArchiveError, match="not a database"):
        Archive(path).open()


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def test_a_locked_database_is_reported_once_and_loses_nothing(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(recording.archive.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recording.feed(answered_call("c1"))
    wait_until(lambda: recording.archive.trouble)
    recording.feed(answered_call("c2"))
    assert not recording.archive.flush(0.2)
    assert recording.archive.pending() > 0
    assert caplog.text.count("is locked; records are kept") == 1
    other.execute("ROLLBACK")
    other.close()
    assert recording.archive.flush()
    assert recording.archive.trouble is None
    assert count(recording.archive.path) == 2
    assert "works again" in caplog.text


def test_rows_beyond_the_limit_go_to_the_spool_and_from_there_to_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hq.db"
    settings = ArchiveSettings(0.001, queue_rows=20, busy_timeout=0.02, retry_interval=0.02)
    archive = Archive(path, settings)
    archive.open()
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for n in range(50):
        for event in answered_call(f"c{n}"):
            tms.event(event)
    wait_until(archive.spool.exists)
    server.store.finalize()
    # The switch is stopped and started while the database is still locked.
    assert not archive.close()
    assert archive.lost == 0
    other.execute("ROLLBACK")
    other.close()
    with archive.spool.open("ab") as file:
        file.write(b"half a li")
    archive = Archive(path, settings)
    archive.open()
    archive.put(finish="c0")
    assert archive.flush()
    assert archive.close()
    assert count(path) == 50
    assert sqlite3.connect(path).execute("SELECT sum(final) FROM cdrs").fetchone() == (50,)
    assert "are damaged: not in the database" in caplog.text
    (aside,) = (entry for entry in tmp_path.iterdir() if "spool.damaged" in entry.name)
    assert aside.read_bytes().endswith(b"half a li")


def test_rows_of_an_earlier_versions_spool_come_first(tmp_path: Path) -> None:
    """The database is still locked when a later version begins, and more rows have to wait."""
    path = tmp_path / "hq.db"
    archive = Archive(path, ArchiveSettings(0.001, queue_rows=0, busy_timeout=0.02))
    archive.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    line = b'[3,["c0","account","x","2026-01-02T03:04:05.678901Z","hq"]]\n'
    (tmp_path / "hq.db.spool").write_bytes(line)
    archive.put(properties=[PropertyRow("c0", "account", "y", "2026-01-02T03:04:06.678901Z", "hq")])
    assert not archive.close()
    assert (tmp_path / "hq.db.spool.before").exists()
    other.execute("ROLLBACK")
    archive = Archive(path)
    archive.open()
    wait_until(lambda: not (tmp_path / "hq.db.spool").exists())
    assert archive.close()
    assert [entry.name for entry in tmp_path.iterdir() if "spool" in entry.name] == []
    assert other.execute("SELECT call_id, name, value FROM cdr_properties").fetchall() == [
        ("c0", "account", "y")
    ]
    other.close()


def test_rows_that_come_to_the_spool_while_it_is_tried(tmp_path: Path) -> None:
    """What was read of it is not all of it any more; and what is damaged of it is kept."""
    path = tmp_path / "hq.db"
    archive = Archive(path, ArchiveSettings(0.001, queue_rows=0, busy_timeout=0.02))
    archive.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for n in range(1, 4):
        archive.put(
            properties=[PropertyRow("c0", f"p{n}", "x", "2026-01-02T03:04:05.678901Z", "hq")]
        )
        wait_until(lambda n=n: archive.spooled == n)
        if n == 1:
            with archive.spool.open("ab") as file:
                file.write(b"not a record")
        wait_until(lambda: archive._unspooled is not None)
    other.execute("ROLLBACK")
    wait_until(lambda: not archive.spool.exists())
    assert archive.close()
    names = other.execute("SELECT name FROM cdr_properties ORDER BY name").fetchall()
    assert names == [("p1",), ("p2",), ("p3",)]
    assert [entry for entry in tmp_path.iterdir() if "spool.damaged" in entry.name]
    other.close()


def test_a_row_that_the_spool_does_not_take_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording(tmp_path / "hq.db")
    other = sqlite3.connect(recording.archive.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recording.archive.put(properties=[PropertyRow("c0", "n", 1 << 70, iso(AT), "crm")])  # too large
    recording.feed(answered_call("c1"))
    assert not recording.archive.close()
    other.close()
    assert recording.archive.lost == 1
    assert caplog.text.count("a row cannot be written") == 1
    archive = Archive(recording.archive.path)
    archive.open()
    wait_until(lambda: not archive.spool.exists())
    assert archive.close()
    assert count(archive.path) == 1


def test_when_even_the_spool_fails_the_log_has_the_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording(tmp_path / "hq.db")
    recording.archive.spool = tmp_path / "no folder" / "spool"
    other = sqlite3.connect(recording.archive.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recording.feed(answered_call("c1"))
    assert not recording.archive.close() or recording.archive.lost
    other.close()
    assert recording.archive.lost == 6
    assert "INSERT INTO cdrs" in caplog.text
    assert "'c1'" in caplog.text


def test_a_row_that_sqlite_does_not_take_holds_up_no_other(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    recording.archive.put(logs=[LogRow("c0", iso(AT), "crm", None)])  # NOT NULL
    recording.archive.put(properties=[PropertyRow("c0", "n", 1 << 70, iso(AT), "crm")])  # too large
    recording.feed(answered_call("c1"))
    assert recording.archive.flush()
    assert count(recording.archive.path) == 1
    assert recording.archive.lost == 2
    assert caplog.text.count("a row cannot be written") == 2


def test_statements_for_many_rows() -> None:
    assert schema.for_rows(schema.FINISH, 3).endswith("IN (?, ?, ?)")
    assert schema.for_rows(schema.WRITE_LOG, 2).count("(?, ?, ?, ?)") == 2


def test_log_lines_of_one_author_and_time_are_one(recording: Recording) -> None:
    call = recording.server.store.register(recording.tms, "c1", "hq")
    call.data.merge([], [Log(AT, "crm", "a")])
    recording.server.store.finalize()
    assert [line["text"] for line in recording.cdr("c1")["logs"]] == ["a"]


WRITER = """
    import sys, threading
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    from cds_calls import answered_call
    from cds_fakes import FakeNet
    from cdsplugin.archive.sqlite import Archive, ArchiveSettings
    from cdsplugin.archive.record import Recorder
    from cdsplugin.tms.tms import Tms

    archive = Archive(Path(sys.argv[1]), ArchiveSettings(commit_interval=0.002))
    archive.open()
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    n = 0
    while True:
        first = n
        for n in range(first, first + 20):
            for event in answered_call(f"{n:08}"):
                tms.event(event)
        n += 1
        assert archive.flush()
        print(n, flush=True)
"""


def test_what_was_committed_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    code = textwrap.dedent(WRITER)
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(5):
                writer.stdout.readline()
        finally:
            writer.send_signal(signal.SIGKILL)
            acknowledged = [line for line in writer.stdout if line.endswith("\n")]
            writer.wait()
        last = int(acknowledged[-1]) if acknowledged else 100
        conn = sqlite3.connect(path)
        rows = conn.execute("SELECT call_id FROM cdrs WHERE call_id < ?", [f"{last:08}"]).fetchall()
        assert len(rows) == last
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        legs = (
            "SELECT count(*) FROM cdrs c"
            " WHERE 2 != (SELECT count(*) FROM cdr_legs l WHERE l.call_id = c.call_id)"
        )
        assert conn.execute(legs).fetchone() == (0,)
        conn.close()


def test_recorded_calls_that_are_over_leave_no_garbage(recording: Recording) -> None:
    recording.feed(answered_call("first"))
    recording.archive.flush()
    gc.collect()
    gc.disable()
    try:
        for n in range(100):
            recording.feed(answered_call(f"c{n}"))
            recording.server.store.write(None, f"c{n}", "crm", {"a": [1]}, ["a note"])
        recording.server.timers.advance(31)
        assert recording.archive.flush()
        assert len(recording.server.store) == len(recording.recorder) == 0
        assert recording.archive.pending() == 0
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_spool_left_behind_is_taken_in_without_a_call(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "hq.db")
    other = sqlite3.connect(recording.archive.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recording.feed(answered_call("c1"))
    assert not recording.archive.close()
    other.close()
    archive = Archive(recording.archive.path)
    archive.open()
    wait_until(lambda: not archive.spool.exists())
    assert archive.close()
    assert count(archive.path) == 1


def test_a_damaged_database_is_moved_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cdr.db"
    first = Archive(path)
    first.open()
    first.close()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    damaged = path.read_bytes()
    archive = Archive(path)
    archive.open()
    archive.put(logs=[LogRow("c", "2026-01-02T03:04:05.678901Z", "hq", "a line")])
    assert archive.close()
    (aside,) = [p for p in tmp_path.iterdir() if "damaged" in p.name]
    assert aside.read_bytes() == damaged
    assert "moved to" in caplog.text
    with sqlite3.connect(path) as conn:
        assert conn.execute("SELECT text FROM cdr_logs").fetchall() == [("a line",)]


def test_a_removed_record_takes_all_that_belongs_to_it(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "cdr.db")
    archive.open()
    for call_id in ("a", "b"):
        archive.put(
            cdr=Cdr(call_id, *[None] * (len(schema.CDR_COLUMNS) - 3), 1),
            logs=[LogRow(call_id, "2026-01-02T03:04:05.678901Z", "hq", "a line")],
            properties=[PropertyRow(call_id, "account", "x", "2026-01-02T03:04:05.678901Z", "hq")],
        )
    assert archive.flush()
    archive.put(remove=HandedOver("a"))
    assert archive.close()
    with sqlite3.connect(tmp_path / "cdr.db") as conn:
        for table in ("cdrs", "cdr_logs", "cdr_properties"):
            assert conn.execute(f"SELECT call_id FROM {table}").fetchall() == [("b",)]


def test_a_record_stays_that_has_more_than_was_handed_over(tmp_path: Path) -> None:
    """Of a time when the call was here before: nobody else may have that."""
    archive = Archive(tmp_path / "cdr.db")
    archive.open()
    call = Call("c1", "hq")
    leg = {"direction": "in"}
    call.data.merge(
        [Property("leg/branch/2", leg, AT, "branch"), Property("account", "x", AT, "branch")],
        [Log(AT, "branch/crm", "a 'line'"), Log(AT + 1, "branch", "a line")],
    )
    legs, properties = entry_rows("c1", call.data.properties.values(), Told())
    of_before: dict[str, Any] = {
        "leg": {"legs": [leg_row("l", ("branch", 0), leg, AT)]},
        "property": {"properties": [PropertyRow("p", "mood", "x", iso(AT), "branch")]},
        "line": {"logs": [LogRow("g", iso(AT), "branch/crm", "a line")]},
        "nothing": {},
    }
    for call_id, before in zip("lpgn", of_before.values(), strict=True):
        archive.put(
            cdr=Cdr(call_id, *[None] * (len(schema.CDR_COLUMNS) - 3), 1),
            legs=[replace(row, call_id=call_id) for row in legs],
            properties=[replace(row, call_id=call_id) for row in properties],
            # Stamped anew since then: it is known by its text.
            logs=log_rows(call_id, [Log(7, "branch/crm", "a 'line'"), Log(8, "branch", "a line")]),
        )
        archive.put(**before)
    assert archive.flush()
    removal = handed(call)
    for call_id in "lpgnx":
        archive.put(remove=replace(removal, call_id=call_id))
    assert archive.close()
    with sqlite3.connect(tmp_path / "cdr.db") as conn:
        assert {row[0] for row in conn.execute("SELECT call_id FROM cdrs")} == {"l", "p", "g"}
        assert conn.execute("SELECT count(*) FROM cdr_legs").fetchone() == (4,)


def test_a_removal_that_an_earlier_version_put_aside() -> None:
    assert schema.widened(schema.REMOVE, ("c1",)) == ("c1", None)


def late_part(call_id: str) -> Call:
    """What branch has of the call of hq that is ``through`` both."""
    branch = FakeNet().server("branch")
    tms = Tms(branch.store, branch.clock)
    _, there = through(call_id)
    tms.event(there[0])
    held = branch.store.get(call_id)
    assert held is not None
    for event in there[1:]:
        tms.event(event)
    return held


@pytest.mark.parametrize("first", ["the whole", "the part"])
def test_the_ends_are_right_though_a_part_comes_when_the_owner_has_let_go(
    first: str, recording: Recording
) -> None:
    """The link was cut for longer than the owner keeps what is over."""
    here, _ = through("c1")
    if first == "the whole":
        recording.feed(here)
        row = recording.cdr("c1")
        assert row is not None
        assert (row["answered_party"], row["answered_switch"]) == ("trunk:branch", "hq")
        recording.server.store.finalize()
    recording.recorder.ended(late_part("c1"))
    assert recording.archive.flush()
    if first == "the part":
        recording.feed(here)
        recording.server.store.finalize()
    row = recording.cdr("c1")
    assert row is not None
    ends = [row[column] for column in schema.ENDS]
    assert ends == ["trunk:telco", "100", "branch", "Austin", "telco"]
    assert row["parties"] == ["extension:1001", "trunk:telco"]
    assert (row["switch"], row["caller_party"], row["final"]) == ("hq", "extension:1001", 1)
    with reading.reading_records(recording.archive.path) as db:
        talks = db.execute("SELECT switch, from_party, to_party, to_number FROM cdr_talks")
        if first == "the whole":
            assert talks.fetchall() == [("hq", "extension:1001", "trunk:telco", "100")]


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_call_that_ends_as_its_file_goes_is_whole_in_the_new_one(
    how: str, recording: Recording
) -> None:
    path = recording.archive.path
    recording.feed(answered_call("c1"))
    recording.server.store.write(None, "c1", "hq/crm", {"account": "4711"}, ["a note"])
    recording.feed(answered_call("over"))
    assert recording.archive.flush()
    recording.archive.put(finish="over")
    assert recording.archive.flush()
    if how == "deleted":
        path.unlink()
    else:
        path.rename(path.with_name("older.db"))
    if how == "replaced":
        sqlite3.connect(path).close()
    recording.archive.put(finish="c1")
    row = recording.cdr("c1")
    assert row is not None
    assert row["final"] == 1
    assert len(row["legs"]) == 2
    assert [line["text"] for line in row["logs"]] == ["a note"]
    assert recording.cdr("over") is None, "it was over: it is in the file that went"
