"""How far the events of each switch are stored, through kills and upgrades."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest

from cdsplugin.tms import progress
from cdsplugin.tms.progress import Progress


def reopened(path: Path) -> dict[str, tuple[str, int]]:
    noted = Progress(path)
    try:
        return noted.open()
    finally:
        noted.close()


def test_the_newest_of_each_switch_counts(tmp_path: Path) -> None:
    path = tmp_path / "hq.db.switches"
    noted = Progress(path)
    assert noted.open() == {}
    noted.note("hq", "spool", 7)
    noted.note("annex", "other", 3)
    noted.note("hq", "spool", 9)
    noted.note("annex", "made anew", 1)
    noted.close()
    assert reopened(path) == {"hq": ("spool", 9), "annex": ("made anew", 1)}


def test_what_was_noted_survives_sigkill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the file is written anew, again and again."""
    path = tmp_path / "hq.db.switches"
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from cdsplugin.tms import progress\n"
        "progress.CROWDED = 500\n"
        "noted = progress.Progress(Path(sys.argv[1]))\n"
        "number = noted.open().get('hq', ('', 0))[1]\n"
        "while True:\n"
        "    number += 1\n"
        "    noted.note('hq', 'spool', number)\n"
        "    print(number, flush=True)\n"
    )
    last = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(300):
            assert int(process.stdout.readline()) == last + 1
            last += 1
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.wait()
        said = int(rest[-2]) if len(rest) > 1 else last
        last = reopened(path)["hq"][1]
        assert said <= last <= said + 1
        assert path.stat().st_size < 1000


def test_a_long_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "CROWDED", 2_000)
    path = tmp_path / "hq.db.switches"
    noted = Progress(path)
    noted.open()
    for number in range(1, 500):
        noted.note(f"site{number % 3}", "spool", number)
        assert path.stat().st_size < 2_100
    noted.close()
    assert reopened(path) == {f"site{number % 3}": ("spool", number) for number in (497, 498, 499)}


def test_no_room_to_write_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "CROWDED", 500)
    path = tmp_path / "hq.db.switches"
    (tmp_path / "hq.db.switches.new").mkdir()
    noted = Progress(path)
    noted.open()
    for number in range(1, 30):
        noted.note("hq", "spool", number)
    noted.close()
    assert caplog.text.count("it goes on growing") == 1
    assert reopened(path) == {"hq": ("spool", 29)}


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hq.db.switches"
    noted = Progress(path)
    noted.open()
    noted.note("hq", "spool", 1)
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, data, at: 3)
        with pytest.raises(OSError, match="No space"):
            noted.note("hq", "spool", 2)
    assert reopened(path) == {"hq": ("spool", 1)}
    noted.note("hq", "spool", 3)
    noted.close()
    assert reopened(path) == {"hq": ("spool", 3)}


def slot(name: str, spool: str, number: int) -> bytes:
    """As the first version wrote it."""
    body = msgspec.msgpack.encode((name, spool, number))
    head = zlib.crc32(body).to_bytes(4, "big") + len(body).to_bytes(2, "big")
    return (head + body).ljust(512, b"\0")


def test_a_file_of_the_first_version_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "hq.db.switches"
    path.write_bytes(slot("hq", "spool", 70_000) + slot("annex", "other", 3))
    noted = Progress(path)
    assert noted.open() == {"hq": ("spool", 70_000), "annex": ("other", 3)}
    # Killed here, or later, nothing is lost.
    assert reopened(path) == {"hq": ("spool", 70_000), "annex": ("other", 3)}
    noted.note("annex", "other", 4)
    noted.close()
    assert reopened(path) == {"hq": ("spool", 70_000), "annex": ("other", 4)}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_damaged_slot_of_the_first_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hq.db.switches"
    path.write_bytes(slot("hq", "spool", 7).replace(b"hq", b"h_") + slot("annex", "other", 3))
    assert reopened(path) == {"annex": ("other", 3)}
    assert "slots [0] are damaged" in caplog.text


@pytest.mark.parametrize("data", [bytes(512), b"notes\n" * 1000])
def test_a_file_that_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    path = tmp_path / "hq.db.switches"
    path.write_bytes(data)
    assert reopened(path) == {}
    assert (tmp_path / "hq.db.switches.unreadable").read_bytes() == data
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cds\.switches: cannot use .*No such file"):
        Progress(tmp_path / "nowhere" / "x").open()
