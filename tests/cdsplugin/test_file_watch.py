"""What becomes of a database's last rows when its file is moved."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from cdsplugin.archive.file_watch import leave


@pytest.mark.parametrize("read", [False, True])
def test_a_moved_file_keeps_all_rows(
    read: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while somebody reads it: then they are kept beside it, and the log says where."""
    path, moved = tmp_path / "hq.db", tmp_path / "old.db"
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA wal_autocheckpoint=0")
    conn.execute("CREATE TABLE rows (n)")
    conn.execute("INSERT INTO rows VALUES (0)")
    reader = sqlite3.connect(path, isolation_level=None)
    if read:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM rows").fetchone() == (1,)
    conn.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(1, 100)])
    path.rename(moved)
    conn.execute("PRAGMA busy_timeout=50")
    with caplog.at_level(logging.ERROR):
        leave(conn, path)
    assert not list(tmp_path.glob("hq.db-shm")) + list(tmp_path.glob("hq.db-wal"))
    reader.close()
    kept = list(tmp_path.glob("hq.db-wal.*"))
    assert len(kept) == read
    for one in kept:
        assert str(one) in caplog.text
        one.rename(tmp_path / "old.db-wal")
    found = sqlite3.connect(moved)
    assert found.execute("SELECT count(*) FROM rows").fetchone() == (100,)
    found.close()
