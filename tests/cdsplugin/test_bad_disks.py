"""Records whose file is locked, on a full disk, moved, deleted or replaced: calls go on, notes are
taken, and the rows get where they belong once that is possible."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from api_sites import sites
from cds_calls import answered_call

from cdsplugin.archive.journal_file import JournalFile
from cdsplugin.archive.sqlite import Archive, ArchiveSettings
from cdsplugin.config import CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms.tms import Tms

QUICK: dict[str, Any] = {"commit_interval": 0.002}


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def finals(path: Path) -> list[tuple[Any, ...]]:
    """The records that are there, none if there is no such file or table."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
            return conn.execute("SELECT call_id, final FROM cdrs ORDER BY 1").fetchall()
    except sqlite3.Error:
        return []


def locked(path: Path) -> sqlite3.Connection:
    """What a backup does to a database."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA locking_mode = EXCLUSIVE")
    conn.execute("BEGIN EXCLUSIVE")
    return conn


def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ArchiveSettings(0.002, busy_timeout=0.05, start_timeout=0.05, retry_interval=0.05,
                               look_interval=0.1)  # fmt: skip
    made = Archive.__init__

    def quick(archive: Archive, path: Path, _: object = None, *more: Any) -> None:
        made(archive, path, settings, *more)

    monkeypatch.setattr(Archive, "__init__", quick)


def server(folder: Path) -> CallDataServer:
    return CallDataServer("hq", CdsSection(database=folder / "hq.db", linger=0.05, **QUICK))


async def test_a_server_starts_while_its_records_are_locked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = server(tmp_path)
    await first.start()
    tms = Tms(first.store, first.clock)
    for event in answered_call("c1")[:-2]:
        tms.event(event)
    await first.stored()
    # Killed: its locks go with it, its journal stays.
    await first.link.stop()
    first.archive.close()
    assert first.disk.close()
    backup = locked(tmp_path / "hq.db")
    hq = server(tmp_path)
    await hq.start()
    assert "locked" in "".join(hq.troubles())
    assert hq.refuses() is None
    assert hq.store.get("c1") is not None, "its live calls are back"
    tms = Tms(hq.store, hq.clock)
    for event in [*answered_call("c2"), *answered_call("c1")[-2:]]:
        tms.event(event)
    await hq.stored()
    backup.close()
    await until(lambda: finals(tmp_path / "hq.db") == [("c1", 1), ("c2", 1)])
    assert hq.troubles() == []
    assert "works again" in caplog.text
    await hq.stop()


async def test_a_lock_on_the_records_refuses_no_note(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(answered_call("c1")[:7])
        await hq.server.stored()
        backup = locked(tmp_path / "hq.db")
        hq.server.archive.put(finish="nobody")
        await until(hq.server.troubles)
        answer = await hq.http.post("/calls/c1/log", json={"text": "they want a call back"})
        assert answer.status_code == 201
        assert (await hq.reader.get("/health")).status_code == 503
        backup.close()
        hq.feed(answered_call("c1")[7:])
        await until(lambda: finals(tmp_path / "hq.db"))
        await until(lambda: not hq.server.troubles())
        row = await hq.recorded("c1")
        assert row is not None
        assert [line["text"] for line in row["logs"]] == ["they want a call back"]


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
async def test_a_file_that_is_gone_is_made_again(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    retry_soon(monkeypatch)
    path, aside = tmp_path / "hq.db", tmp_path / "older.db"
    hq = CallDataServer("hq", CdsSection(database=path, linger=60, **QUICK))
    await hq.start()
    tms = Tms(hq.store, hq.clock)
    for event in [*answered_call("c1"), *answered_call("c2")[:-1]]:
        tms.event(event)
    await until(lambda: finals(path) == [("c1", 0)])
    if how == "deleted":
        path.unlink()
    else:
        path.rename(aside)
    if how == "replaced":
        sqlite3.connect(path).close()
    # Nothing happens at this hour, and it is noticed all the same.
    await until(lambda: finals(path) == [("c1", 0)])
    tms.event(answered_call("c2")[-1])
    hq.store.write(None, "c1", "hq/crm", {}, ["after the move"])
    await until(lambda: finals(path) == [("c1", 0), ("c2", 0)])
    await hq.stop()
    assert finals(path) == [("c1", 1), ("c2", 1)]
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT text FROM cdr_logs").fetchall() == [("after the move",)]
        assert conn.execute("SELECT count(*) FROM cdr_legs").fetchone() == (4,)
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if how != "deleted":
        assert finals(aside) == [("c1", 0)]
    assert "is not there any more" in caplog.text


async def test_the_journal_too_is_made_again(tmp_path: Path) -> None:
    """What is acknowledged after its file was deleted outlives the process all the same."""
    hq = server(tmp_path)
    await hq.start()
    tms = Tms(hq.store, hq.clock)
    for event in answered_call("c1")[:7]:
        tms.event(event)
    await hq.stored()
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"hq.db.journal{ending}").unlink(missing_ok=True)
    hq.store.write(None, "c1", "hq/crm", {"account": "4711"})
    await until(lambda: (tmp_path / "hq.db.journal").exists())
    await hq.stored()
    await hq.link.stop()
    hq.archive.close()
    hq.disk.close()
    again = server(tmp_path)
    await again.start()
    held = again.store.get("c1")
    assert held is not None
    assert held.data.value("account") == "4711"
    assert isinstance(held.data.value("call"), dict), "all of it, and not what changed alone"
    await again.stop()


@pytest.mark.parametrize("with_calls", [False, True])
async def test_a_server_starts_on_a_disk_that_takes_nothing(
    with_calls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_soon(monkeypatch)
    if with_calls:
        first = server(tmp_path)
        await first.start()
        tms = Tms(first.store, first.clock)
        for event in answered_call("c1")[:7]:
            tms.event(event)
        await first.stored()
        await first.link.stop()
        first.archive.close()
        assert first.disk.close()
    full = True
    real = sqlite3.connect

    def connect(path: Any, *more: Any, **options: Any) -> sqlite3.Connection:
        if full and Path(path).parent == tmp_path:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return real(path, *more, **options)

    for module in ("cdsplugin.archive.sqlite", "cdsplugin.archive.journal_file"):
        monkeypatch.setattr(f"{module}.sqlite3.connect", connect)
    hq = server(tmp_path)
    hq.disk.settings = type(hq.disk.settings)(retry_interval=0.05)
    await hq.start()
    assert len(hq.troubles()) == 2
    assert "full" in (hq.refuses() or "")
    assert (hq.store.get("c1") is not None) == with_calls
    tms = Tms(hq.store, hq.clock)
    for event in answered_call("c2"):
        tms.event(event)
    await asyncio.sleep(0)
    full = False
    await until(lambda: not hq.troubles())
    await hq.stored()
    await until(lambda: ("c2", 1) in finals(tmp_path / "hq.db"))
    await hq.stop()


def test_flush_does_not_wait_for_what_is_done(tmp_path: Path) -> None:
    settings = ArchiveSettings(0.002, queue_rows=1, busy_timeout=0.02, retry_interval=0.02)
    archive = Archive(tmp_path / "hq.db", settings)
    archive.open()
    backup = locked(archive.path)
    archive.put(finish="c1")
    archive.put(finish="c2")
    # In the spool file: as good as written for who waits.
    assert archive.flush(timeout=5.0)
    backup.close()
    assert archive.close()


async def test_no_way_to_write_is_a_mistake_still(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such folder"):
        Archive(tmp_path / "none" / "hq.db").open()
    with pytest.raises(OSError, match="no such folder"):
        JournalFile(tmp_path / "none" / "hq.db.journal", asyncio.get_running_loop()).open()
    (tmp_path / "hq.db").mkdir()
    with pytest.raises(OSError, match="cannot open"):
        Archive(tmp_path / "hq.db").open()
