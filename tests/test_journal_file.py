"""The journal's file: what is in it after a crash, and what a bad disk does."""

from __future__ import annotations

import logging
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softswitch import journal_file
from softswitch.journal_file import JournalError, JournalFile


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def reopened(path: Path) -> list[tuple[int, bytes]]:
    file = JournalFile(path)
    try:
        return file.rows()
    finally:
        file.close()


def test_rows_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    assert file.rows() == []
    file.write([(1, b"one"), (2, b"two"), (3, b"three")], [])
    file.write([(2, b"two again")], [1, 99])
    file.close()
    assert reopened(path) == [(2, b"two again"), (3, b"three")]


def test_busy_until_it_is_in_the_file(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "j")
    assert not file.busy
    file.write([(1, b"one")], [])
    until(lambda: not file.busy)
    # Another connection sees it; the lock is for those who ask for it.
    file.close()
    assert reopened(tmp_path / "j") == [(1, b"one")]


def test_only_one_process_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "LOCK_WAIT", 0.05)
    file = JournalFile(tmp_path / "j")
    with pytest.raises(JournalError, match="locked"):
        JournalFile(tmp_path / "j")
    file.write([(1, b"one")], [])
    file.close()
    assert reopened(tmp_path / "j") == [(1, b"one")]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"nowhere/j: unable to open"):
        JournalFile(tmp_path / "nowhere/j")


def test_a_file_cut_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(row, b"x" * 500) for row in range(1, 200)], [])
    file.close()
    data = path.read_bytes()
    path.write_bytes(b"\0" * 4096 + data[4096:])
    assert reopened(path) == []
    assert "put aside as j.unreadable" in caplog.text
    assert (tmp_path / "j.unreadable").exists()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """No file of this process may grow beyond a size: to SQLite, a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(
    tmp_path: Path,
    small_files: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said once; tried again until there is room; then everything is there."""
    monkeypatch.setattr(journal_file, "TRY_AGAIN", 0.01)
    caplog.set_level(logging.WARNING)
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"early")], [])
    until(lambda: not file.busy)
    small_files(100_000)
    file.write([(row, b"x" * 1000) for row in range(2, 500)], [1])
    until(lambda: "would not outlive" in caplog.text)
    time.sleep(0.1)
    assert file.busy
    small_files(resource.RLIM_INFINITY)
    until(lambda: not file.busy)
    file.close()
    assert len(caplog.records) == 2
    assert "works again" in caplog.records[1].getMessage()
    assert [row for row, _ in reopened(path)] == list(range(2, 500))


def test_a_full_disk_at_the_end(
    tmp_path: Path, small_files: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The exit does not wait for the disk, and what was written before is whole."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"early")], [])
    until(lambda: not file.busy)
    small_files(100_000)
    file.write([(row, b"x" * 1000) for row in range(2, 500)], [])
    until(lambda: "would not outlive" in caplog.text)
    began = time.monotonic()
    file.close()
    assert time.monotonic() - began < 5
    small_files(resource.RLIM_INFINITY)
    assert reopened(path) == [(1, b"early")]


def test_what_a_later_version_wrote_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    assert reopened(path) == []
    database = sqlite3.connect(tmp_path / "j.unreadable")
    assert database.execute("PRAGMA user_version").fetchone() == (7,)
    database.close()
