"""The journal's file: what is in it after a crash, and what a bad disk does."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from softswitch.disk import journal_file
from softswitch.disk.journal_file import JournalError, JournalFile

Rows = list[tuple[int, bytes]]


def reopened(path: Path) -> Rows:
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


def test_a_row_that_is_over_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"one")], [])
    file.write([], [1])
    file.write([(1, b"another")], [])
    file.close()
    assert reopened(path) == [(1, b"another")]


def test_what_was_written_survives_sigkill(tmp_path: Path) -> None:
    """Each row that the process said it had written is there."""
    path = tmp_path / "j"
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from softswitch.disk.journal_file import JournalFile\n"
        "file = JournalFile(Path(sys.argv[1]))\nrow = 0\n"
        "while True:\n"
        "    row += 1\n"
        "    file.write([(row, b'x' * (row % 3000))], [row - 100] if row > 100 else [])\n"
        "    print(row, flush=True)\n"
    )
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(300):
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.wait()
        if len(rest) > 1:
            last = int(rest[-2])
        rows = dict(reopened(path))
        assert rows[last] == b"x" * (last % 3000)
        assert set(range(last - 98, last + 1)) <= rows.keys() <= set(range(last - 99, last + 2))
        path.unlink()


def test_only_one_process_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "LOCK_WAIT", 0.05)
    file = JournalFile(tmp_path / "j")
    with pytest.raises(JournalError, match="another process has it"):
        JournalFile(tmp_path / "j")
    file.write([(1, b"one")], [])
    file.begin()
    with pytest.raises(JournalError, match="another process has it"):
        JournalFile(tmp_path / "j")
    file.close()
    assert reopened(tmp_path / "j") == [(1, b"one")]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"nowhere/j: No such file or directory"):
        JournalFile(tmp_path / "nowhere/j")


@pytest.mark.parametrize("cut", [1, 10, 16, 20, 515])
def test_the_last_row_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int) -> None:
    """As by a kill in the middle of a write: what was before it is there, what comes after too."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"x" * 500), (2, b"y" * 500)], [])
    file.close()
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    file = JournalFile(path)
    assert file.rows() == [(1, b"x" * 500)]
    assert f"its last {516 - cut} bytes cannot be read" in caplog.text
    file.write([(3, b"z")], [])
    file.close()
    assert reopened(path) == [(1, b"x" * 500), (3, b"z")]


def test_zeros_at_the_end(tmp_path: Path) -> None:
    """As a file system may leave them when the power failed."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"x")], [])
    file.close()
    with path.open("ab") as end:
        end.write(bytes(4096))
    assert reopened(path) == [(1, b"x")]


def test_a_damaged_row(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"x" * 500), (2, b"y" * 500)], [])
    file.close()
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert reopened(path) == [(1, b"x" * 500)]


@pytest.mark.parametrize("what", ["nonsense", "the first version"])
def test_a_file_that_is_none_of_ours_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    path = tmp_path / "j"
    if what == "nonsense":
        path.write_bytes(b"no journal at all")
    else:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE calls (row INTEGER PRIMARY KEY, call BLOB NOT NULL)")
        database.close()
    before = path.read_bytes()
    file = JournalFile(path)
    assert file.rows() == []
    assert "put aside as j.unreadable" in caplog.text
    assert (tmp_path / "j.unreadable").read_bytes() == before
    file.write([(1, b"one")], [])
    file.close()
    assert reopened(path) == [(1, b"one")]


def test_a_journal_that_an_earlier_version_left(tmp_path: Path) -> None:
    """Its bytes by hand; a number far beyond 32 bits needs more calls than any switch has had."""

    def row(number: int, data: bytes) -> bytes:
        return struct.pack(">IIQ", len(data), zlib.crc32(data, number), number) + data

    path, magic = tmp_path / "j", b"softswitch calls 2\n"
    (tmp_path / "j.before").write_bytes(magic + row(1, b"one") + row(2, b"two") + row(3, b"three"))
    path.write_bytes(magic + row(2, b"") + row(3, b"newer") + row((1 << 32) - 1, b"x" * 5000))
    assert reopened(path) == [(1, b"one"), (3, b"newer"), ((1 << 32) - 1, b"x" * 5000)]
    assert not (tmp_path / "j.before").exists()


# --- growing


def test_a_file_that_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is written again to a new file; killed in between, both are read."""
    monkeypatch.setattr(journal_file, "CROWDED", 10_000)
    path, old = tmp_path / "j", tmp_path / "j.before"
    file = JournalFile(path)
    row = 0
    while not file.crowded:
        row += 1
        file.write([(row, b"x" * 500)], [row - 5] if row > 5 else [])
    kept = list(range(row - 4, row + 1))
    file.begin()
    assert not file.crowded
    file.write([(kept[0], b"newer")], [kept[1]])
    assert old.exists()
    file.close()
    # That was the kill: `finish` was not called.
    expected = [(kept[0], b"newer"), *((row, b"x" * 500) for row in kept[2:])]
    assert reopened(path) == expected
    assert not old.exists()
    assert path.stat().st_size < 4_000
    assert reopened(path) == expected


def test_finish_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"one"), (2, b"two")], [])
    file.begin()
    file.write([(1, b"one")], [])
    file.finish()
    file.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]
    assert reopened(path) == [(1, b"one")]


def test_killed_as_a_new_file_is_begun(tmp_path: Path) -> None:
    """Between the two renamings there is no file of the name, and the old one has everything."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"one")], [])
    file.close()
    path.rename(tmp_path / "j.before")
    (tmp_path / "j.new").write_bytes(b"half a li")
    assert reopened(path) == [(1, b"one")]
    file = JournalFile(path)
    file.begin()
    file.write([(1, b"one")], [])
    file.finish()
    file.close()
    assert reopened(path) == [(1, b"one")]


# --- a bad disk


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """No file of this process may grow beyond a size: to it, a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk(
    tmp_path: Path, small_files: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; what waits is the newest of each row; with room again everything is there."""
    caplog.set_level(logging.WARNING)
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"early")], [])
    small_files(100_000)
    file.write([(row, b"x" * 1000) for row in range(2, 500)], [1])
    assert file.behind
    assert not file.crowded
    file.write([(2, b"newer"), (500, b"y" * 200_000), (501, b"short")], [3])
    # A call that came and went meanwhile leaves nothing.
    file.write((), [501])
    file.try_again()
    assert file.behind
    small_files(resource.RLIM_INFINITY)
    file.try_again()
    assert not file.behind
    file.write([(4, b"last")], [])
    file.close()
    assert len(caplog.records) == 2
    assert "would not outlive" in caplog.records[0].getMessage()
    assert "works again" in caplog.records[1].getMessage()
    rows = dict(reopened(path))
    assert list(rows) == [2, *range(4, 501)]
    assert (rows[2], rows[4]) == (b"newer", b"last")


def test_a_full_disk_at_the_end(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    """What was written before is whole."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"early")], [])
    small_files(100_000)
    file.write([(row, b"x" * 1000) for row in range(2, 500)], [])
    file.close()
    small_files(resource.RLIM_INFINITY)
    assert reopened(path) == [(1, b"early")]


def test_no_room_for_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The old one goes on, and is not begun again at every write."""
    monkeypatch.setattr(journal_file, "CROWDED", 1_000)
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"x" * 2_000)], [])
    assert file.crowded
    (tmp_path / "j.new").mkdir()
    file.begin()
    assert "it goes on growing" in caplog.text
    assert not file.crowded
    file.write([(2, b"two")], [1])
    file.finish()
    file.close()
    assert reopened(path) == [(2, b"two")]


def test_a_disk_that_refuses_while_a_new_file_is_filled(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    """`finish` is made up for once everything is written."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(row, b"x" * 1000) for row in range(1, 100)], [])
    file.begin()
    small_files(50_000)
    file.write([(row, b"y" * 1000) for row in range(1, 100)], [])
    file.finish()
    assert file.behind
    assert (tmp_path / "j.before").exists()
    small_files(resource.RLIM_INFINITY)
    file.try_again()
    assert not file.behind
    assert not (tmp_path / "j.before").exists()
    file.close()
    assert reopened(path) == [(row, b"y" * 1000) for row in range(1, 100)]


def test_rows_that_are_over_do_not_make_a_file_of_any_size_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much of it counts is what a start goes by, not how long it had become."""
    monkeypatch.setattr(journal_file, "CROWDED", 10_000)
    path = tmp_path / "j"
    for _ in range(3):
        file = JournalFile(path)
        row = 0
        while not file.crowded:
            row += 1
            file.write([(row, b"x" * 500)], [row - 1] if row > 1 else [])
        assert path.stat().st_size < 12_000
        file.write([], [row])
        file.close()
        assert reopened(path) == []
        assert path.stat().st_size < 100


def test_somebodys_copy_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    file = JournalFile(path)
    file.write([(1, b"one")], [])
    file.close()
    (tmp_path / "j.before").write_bytes(b"notes")
    assert reopened(path) == [(1, b"one")]
    assert (tmp_path / "j.before.unreadable").read_bytes() == b"notes"


def test_nothing_is_written_once_it_is_closed(tmp_path: Path) -> None:
    """Its descriptor's number may be another file's by then."""
    path = tmp_path / "j"
    file = JournalFile(path)
    file.close()
    with (tmp_path / "other").open("w+b") as other:
        file.write([(1, b"late")], [])
        file.try_again()
        other.seek(0)
        assert other.read() == b""
    assert reopened(path) == []


# --- its thread


class Turns:
    """An event loop, as far as the file needs one: what is to be called back from its thread."""

    def __init__(self) -> None:
        self.due: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def soon(self, what: Callable[[], None]) -> None:
        self.due.put(what)

    def turn(self) -> None:
        self.due.get(timeout=10)()


def test_then_is_called_when_it_is_written(tmp_path: Path) -> None:
    turns = Turns()
    path = tmp_path / "j"
    file = JournalFile(path, turns.soon)
    done: list[int] = []
    file.write([(1, b"one")], [], lambda: done.append(1))
    # These come while the first is being written: one write for both.
    file.write([(2, b"two")], [], lambda: done.append(2))
    file.write([(3, b"three")], [1], lambda: done.append(3))
    assert done == []
    turns.turn()
    assert done == [1]
    turns.turn()
    assert done == [1, 2, 3]
    file.close()
    assert reopened(path) == [(2, b"two"), (3, b"three")]


def test_a_disk_that_hangs_holds_up_only_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_file, "CLOSE_WAIT", 0.05)
    turns = Turns()
    file = JournalFile(tmp_path / "j", turns.soon)
    hangs = threading.Event()
    real = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        hangs.wait(10)
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    done: list[int] = []
    file.write([(1, b"one")], [], lambda: done.append(1))
    file.write([(2, b"two")], [], lambda: done.append(2))
    file.close()
    assert done == []
    assert "the disk does not answer" in caplog.text
    hangs.set()
    turns.turn()
    assert done == [1]


def test_a_full_disk_and_the_thread(
    tmp_path: Path, small_files: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits is told at once, and everything is there in the end."""
    turns = Turns()
    path = tmp_path / "j"
    file = JournalFile(path, turns.soon)
    small_files(10_000)
    done: list[int] = []
    file.write([(1, b"x" * 20_000)], [], lambda: done.append(1))
    file.write([(2, b"two")], [], lambda: done.append(2))
    turns.turn()
    assert (done, file.behind) == ([1, 2], True)
    file.write([(3, b"three")], [2], lambda: done.append(3))
    assert done == [1, 2, 3]
    small_files(resource.RLIM_INFINITY)
    file.try_again()
    turns.turn()
    assert not file.behind
    file.close()
    assert reopened(path) == [(1, b"x" * 20_000), (3, b"three")]
