"""Disks that fail for real: SIGKILL, a full tmpfs, a locked and a damaged file."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cds_calls import answered_call

from cdsplugin.archive.disk import NotStored
from cdsplugin.config import CdsSection
from cdsplugin.server import CallDataServer, StartError
from cdsplugin.tms.tms import Tms

_HOLDER = """
import asyncio, sys
from pathlib import Path
from cdsplugin.config import CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms.tms import Tms
from tests.cdsplugin.cds_calls import answered_call

async def main():
    server = CallDataServer("hq", CdsSection(database=Path(sys.argv[1]), linger=30))
    await server.start()
    tms = Tms(server.store, server.clock)
    for n in range(int(sys.argv[2])):
        for event in answered_call(f"call-{n}")[:7]:
            tms.event(event)
        if n % max(int(sys.argv[2]) // 50, 1) == 0:
            await server.stored()
    await server.stored()
    print("stored", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

ROOT = Path(__file__).parents[2]


def killed_with_live_calls(database: Path, calls: int) -> None:
    """A process that has this many answered calls, said to be stored, and then gets SIGKILL."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(database), str(calls)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stored\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def section(database: Path, **more: object) -> CdsSection:
    return CdsSection(database=database, linger=0, stop_within=0.1, **more)


def rows(database: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as conn:
        return conn.execute(
            "SELECT call_id, disposition, reason, answered_at IS NOT NULL, final FROM cdrs"
        ).fetchall()


async def test_ten_thousand_live_calls_are_back_within_two_seconds(tmp_path: Path) -> None:
    database = tmp_path / "hq.db"
    killed_with_live_calls(database, 10_000)
    began = time.monotonic()
    server = CallDataServer("hq", section(database))
    await server.start()
    took = time.monotonic() - began
    try:
        assert len(server.store) == 10_000
        assert took < 2, f"{took:.2f} s"
        call = server.store.get("call-77")
        assert call is not None
        assert call.data.value("answer")
    finally:
        await server.stop()


async def test_calls_of_which_nobody_speaks_end_with_one_record(tmp_path: Path) -> None:
    database = tmp_path / "hq.db"
    killed_with_live_calls(database, 3)
    server = CallDataServer("hq", section(database, reregister_within=0.2))
    await server.start()
    tms = Tms(server.store, server.clock)
    for event in answered_call("call-1")[7:]:
        tms.event(event)
    async with asyncio.timeout(10):
        while len(server.store) or len(server.recovery):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await server.stop()
    assert sorted(rows(database)) == [
        ("call-0", "answered", "server restarted", 1, 1),
        ("call-1", "answered", "", 1, 1),
        ("call-2", "answered", "server restarted", 1, 1),
    ]


async def test_a_second_server_on_the_same_files_does_not_start(tmp_path: Path) -> None:
    first = CallDataServer("hq", section(tmp_path / "hq.db"))
    await first.start()
    second = CallDataServer("hq", section(tmp_path / "hq.db"))
    try:
        with pytest.raises(StartError, match="running already"):
            await second.start()
    finally:
        await first.stop()
    assert os.listdir(tmp_path) == ["hq.db"]


async def test_a_locked_cdr_database_holds_up_no_acknowledgement(tmp_path: Path) -> None:
    database = tmp_path / "hq.db"
    server = CallDataServer("hq", section(database))
    await server.start()
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        tms = Tms(server.store, server.clock)
        for event in answered_call("c"):
            tms.event(event)
        await server.stored(1.0)
    finally:
        other.execute("ROLLBACK")
        other.close()
    await server.stop()
    assert len(rows(database)) == 1


@pytest.mark.parametrize("where", ["start", "middle"])
async def test_a_damaged_journal_is_moved_aside(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "hq.db"
    killed_with_live_calls(database, 300)
    journal = tmp_path / "hq.db.journal"
    with sqlite3.connect(journal) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    with journal.open("r+b") as file:
        file.seek(16 if where == "start" else journal.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * (2000 if where == "start" else 4096 * 8))
    server = CallDataServer("hq", section(database))
    with caplog.at_level(logging.ERROR):
        await server.start()
    calls = len(server.store)
    await server.stop()
    assert [p for p in os.listdir(tmp_path) if "damaged" in p] or "cannot be read" in caplog.text
    assert calls < 300
    if where == "middle":
        assert calls > 10, "what could be read is kept"


async def test_what_is_no_database_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "hq.db.journal").write_text("shopping list")
    with pytest.raises(StartError, match="not an SQLite database"):
        await CallDataServer("hq", section(tmp_path / "hq.db")).start()
    assert (tmp_path / "hq.db.journal").read_text() == "shopping list"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(small_disk: Path) -> None:
    database = small_disk / "hq.db"
    server = CallDataServer("hq", section(database))
    await server.start()
    tms = Tms(server.store, server.clock)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    acknowledged = []
    refused = 0
    for n in range(400):
        for event in answered_call(f"call-{n}"):
            tms.event(event)
        try:
            await server.stored(0.3)
            acknowledged.append(f"call-{n}")
        except NotStored:
            refused += 1
            if refused > 3:
                break
    assert refused
    assert any("full" in line for line in server.troubles()), server.troubles()
    ballast.unlink()
    async with asyncio.timeout(10):
        while server.troubles():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await server.stored()
    await server.stop()
    recorded = {row[0] for row in rows(database)}
    assert recorded >= set(acknowledged)
    assert len(recorded) == n + 1, "and what was refused came later"
