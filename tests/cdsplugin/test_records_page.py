"""What docs/records.md prints, run on the real file."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cds_calls import AT, answered_call
from cds_fakes import FakeNet

from cdsplugin.archive.record import Recorder
from cdsplugin.archive.rows import HandedOver
from cdsplugin.archive.sqlite import Archive
from cdsplugin.tms.tms import Tms

PAGE = (Path(__file__).parents[2] / "docs/records.md").read_text()
CALL_ID = "0199c0de-0000-7000-8000-000000000001"


def printed(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def commands() -> list[str]:
    """Each command with its continuation lines, comments left out."""
    found = [one for block in printed("console") for one in re.split(r"^\$ ", block, flags=re.M)]
    return [re.sub(r"  +#.*", "", one).strip() for one in found if one.strip()]


def feed(archive: Archive, *call_ids: str) -> None:
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    for call_id in call_ids:
        for event in answered_call(call_id, at=AT):
            tms.event(event)
        server.store.write(None, call_id, "crm", {}, [f"the gate of {call_id[-1]}"])
    assert archive.flush()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("hq", "branch", "depot"):
        archive = Archive(tmp_path / f"{name}.db")
        archive.open()
        feed(archive, CALL_ID, CALL_ID[:-1] + "2")
        archive.close()
    (rates,) = (block for block in printed("yaml") if "rates:" in block)
    (tmp_path / "rates.yaml").write_text(rates)
    return tmp_path


def run(command: str, folder: Path) -> str:
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-ec", command.replace("0199c0de-...", CALL_ID)], cwd=folder, text=True,
        capture_output=True, env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_every_command_works(folder: Path) -> None:
    # Datasette serves until it is stopped, and is nothing that the tests install.
    ran = [(c, run(c, folder)) for c in commands() if not c.startswith("datasette")]
    assert sum(c.startswith("sqlite-utils") for c, _ in ran) >= 8
    found = [told for c, told in ran if c.startswith("sqlite-utils search")]
    assert "the gate of 1" in found[0]


def test_sql_works(folder: Path) -> None:
    with sqlite3.connect(folder / "hq.db") as conn:
        for block in printed("sql"):
            assert conn.execute(block).fetchall()


def test_a_transformed_and_searchable_file_goes_on(folder: Path) -> None:
    """Notes to come are found too, records are written and removed as before."""
    path = folder / "hq.db"
    run("sqlite-utils add-column hq.db cdrs mine text", folder)
    for table in ("cdrs", "cdr_legs", "cdr_talks", "cdr_properties", "cdr_logs"):
        run(f"sqlite-utils transform hq.db {table} --rename set_at set_at", folder)
    run("sqlite-utils enable-fts hq.db cdr_logs text --create-triggers", folder)
    archive = Archive(path)
    archive.open()
    feed(archive, CALL_ID[:-1] + "3")
    archive.put(remove=HandedOver(CALL_ID))
    archive.close()
    found = run("sqlite-utils search hq.db cdr_logs gate", folder)
    assert "the gate of 3" in found
    assert "the gate of 1" not in found
    with sqlite3.connect(path) as conn:
        for table in ("cdrs", "cdr_legs", "cdr_talks", "cdr_properties", "cdr_logs"):
            ids = {row[0][-1] for row in conn.execute(f"SELECT call_id FROM {table}")}
            assert ids == {"2", "3"}, table


def test_a_file_of_before_is_taken_over(tmp_path: Path) -> None:
    """Without rowids, and without the true ends: every row is there afterwards."""
    path = tmp_path / "hq.db"
    with sqlite3.connect(path) as conn:
        conn.executescript(
            """
            CREATE TABLE _sqlite_migrations (
                migration_set TEXT, name TEXT, applied_at TEXT, PRIMARY KEY (migration_set, name));
            INSERT INTO _sqlite_migrations VALUES ('cdsplugin', 'm001_tables', '2026-01-01'),
                ('cdsplugin', 'm002_removal', '2026-01-01');
            CREATE TABLE cdrs (
                call_id TEXT PRIMARY KEY NOT NULL, owner TEXT, written_by TEXT, switch TEXT,
                site TEXT, caller TEXT, caller_name TEXT, dialled TEXT, callee TEXT,
                caller_party TEXT, callee_party TEXT,
                started_at TEXT, answered_at TEXT, ended_at TEXT, duration REAL, billsec REAL,
                disposition TEXT, sip_status INTEGER, reason TEXT, hangup_by TEXT,
                final INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
            CREATE TABLE cdr_legs (
                call_id TEXT NOT NULL, switch TEXT NOT NULL, leg INTEGER NOT NULL,
                direction TEXT, party TEXT, callee TEXT, uri TEXT, address TEXT, user_agent TEXT,
                codec TEXT, invited_at TEXT, ringing_at TEXT, answered_at TEXT, ended_at TEXT,
                sip_status INTEGER, reason TEXT, ended_by TEXT, sip_call_id TEXT,
                set_at TEXT NOT NULL, PRIMARY KEY (call_id, switch, leg)) WITHOUT ROWID;
            CREATE TABLE cdr_properties (
                call_id TEXT NOT NULL, name TEXT NOT NULL, value, set_at TEXT NOT NULL,
                author TEXT NOT NULL, PRIMARY KEY (call_id, name)) WITHOUT ROWID;
            CREATE TABLE cdr_logs (
                call_id TEXT NOT NULL, logged_at TEXT NOT NULL, author TEXT NOT NULL,
                text TEXT NOT NULL, PRIMARY KEY (call_id, logged_at, author)) WITHOUT ROWID;
            CREATE TRIGGER cdrs_removed AFTER DELETE ON cdrs BEGIN
                DELETE FROM cdr_legs WHERE call_id = old.call_id; END;
            INSERT INTO cdrs (call_id, caller, final) VALUES ('old', '1001', 1);
            INSERT INTO cdr_legs (call_id, switch, leg, set_at) VALUES ('old', 'hq', 0, '2026');
            INSERT INTO cdr_properties VALUES ('old', 'n', 7, '2026', 'hq');
            INSERT INTO cdr_logs VALUES ('old', '2026', 'crm', 'a note');
            """
        )
    archive = Archive(path)
    archive.open()
    feed(archive, CALL_ID)
    archive.close()
    with sqlite3.connect(path) as conn:
        rows = conn.execute("SELECT caller, final, rowid FROM cdrs ORDER BY call_id").fetchall()
        assert rows == [("1001", 0, 2), ("1001", 1, 1)]
        assert conn.execute("SELECT value FROM cdr_properties WHERE name = 'n'").fetchone() == (7,)
        assert conn.execute("SELECT count(*) FROM cdr_legs").fetchone() == (3,)
        kinds = conn.execute("SELECT sql FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'")
        assert kinds.fetchall() == []
        conn.execute("DELETE FROM cdrs WHERE call_id = 'old'")
        assert conn.execute("SELECT count(*) FROM cdr_logs WHERE call_id = 'old'").fetchone() == (
            0,
        )


def test_rows_put_aside_by_a_version_of_before_get_in(tmp_path: Path) -> None:
    """They have no true ends, and are neither refused nor shifted by a column."""
    values = {
        "call_id": "old", "owner": "hq", "written_by": "hq", "switch": "hq", "site": "s",
        "caller": "1001", "caller_name": "Alice", "dialled": "2001", "callee": "2001",
        "caller_party": "extension:1001", "callee_party": "trunk:pstn",
        "started_at": "2026-01-02T03:04:05.000000Z", "answered_at": None, "ended_at": None,
        "duration": 1.5, "billsec": 0.0, "disposition": "answered", "sip_status": 200,
        "reason": "", "hangup_by": "caller", "final": 1,
    }  # fmt: skip
    (tmp_path / "hq.db.spool").write_text(json.dumps([0, list(values.values())]) + "\n")
    archive = Archive(tmp_path / "hq.db")
    archive.open()
    assert archive.close()
    with sqlite3.connect(tmp_path / "hq.db") as conn:
        conn.row_factory = sqlite3.Row
        (row,) = conn.execute("SELECT * FROM cdrs").fetchall()
    assert {name: row[name] for name in values} == values
    assert row["answered_party"] is None
