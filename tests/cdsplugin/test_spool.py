"""The spool: events on disk, in order, through kills and full disks."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from cdsplugin.tms.spool import Spool, SpoolError


def made(folder: Path, **more: int) -> Spool:
    spool = Spool(folder / "x.spool", **{"limit": 1 << 20, "segment": 4096, **more})
    spool.open()
    return spool


def everything(spool: Spool, number: int = 1) -> list[bytes]:
    found: list[bytes] = []
    while events := spool.read(number + len(found), 7):
        found += events
    return found


EVENTS = [b"event %05d " % n + b"x" * 50 for n in range(500)]


def test_in_order_across_segments_and_lives(tmp_path: Path) -> None:
    spool = made(tmp_path)
    name = spool.name
    for n in range(0, 250, 10):
        spool.append(EVENTS[n : n + 10])
    assert len(list(spool.folder.iterdir())) > 2
    again = made(tmp_path)
    assert (again.name, again.first, again.last) == (name, 1, 250)
    again.append(EVENTS[250:])
    assert everything(again) == EVENTS
    assert everything(again, 400) == EVENTS[399:]
    again.drop(300)
    assert 1 < again.first <= 301
    assert everything(again, 301) == EVENTS[300:]
    again.drop(500)
    again.close(500)
    assert not again.folder.exists()


@pytest.mark.parametrize("cut", range(1, 70, 7))
def test_an_event_cut_off_by_a_kill(tmp_path: Path, cut: int) -> None:
    spool = made(tmp_path)
    spool.append(EVENTS[:5])
    (path,) = spool.folder.iterdir()
    os.truncate(path, path.stat().st_size - cut)
    again = made(tmp_path)
    assert again.last == (4 if cut <= 69 else 3)
    again.append([b"next"])
    assert everything(again) == [*EVENTS[:4], b"next"]
    assert everything(made(tmp_path)) == [*EVENTS[:4], b"next"]


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = made(tmp_path)
    spool.append(EVENTS[:5])
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:20], at))
    with pytest.raises(OSError, match="No space left"):
        spool.append(EVENTS[5:10])
    monkeypatch.undo()
    assert spool.last == 5
    spool.append(EVENTS[5:])
    assert everything(made(tmp_path)) == EVENTS


def test_numbers_that_were_lost_are_not_used_again(tmp_path: Path) -> None:
    spool = made(tmp_path)
    spool.append(EVENTS[:5])
    spool.skip(9)
    spool.append(EVENTS[5:6])
    assert (spool.last, spool.read(10, 5), spool.read(7, 5)) == (10, [EVENTS[5]], [])
    assert spool.after(5) == 9
    assert made(tmp_path).last == 10


def test_what_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "x.spool").mkdir()
    (tmp_path / "x.spool" / "1.events").write_bytes(b"something else\n")
    with pytest.raises(SpoolError, match="is no spool"):
        made(tmp_path)
    with pytest.raises(SpoolError, match="cannot use"):
        made(tmp_path / "none")


def first_version(folder: Path, name: bytes, number: int, events: list[bytes]) -> Path:
    """A segment as the first version wrote it."""
    path = folder / "x.spool" / f"{number:020d}.events"
    path.parent.mkdir(exist_ok=True)
    data = b"cds-spool 1 %b %d\n" % (name, number)
    for event in events:
        data += len(event).to_bytes(4, "big") + zlib.crc32(event).to_bytes(4, "big") + event
    path.write_bytes(data)
    return path


def test_a_spool_of_the_first_version_is_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its last event was cut off by the kill."""
    first_version(tmp_path, b"0123456789abcdef", 1, EVENTS[:30])
    last = first_version(tmp_path, b"0123456789abcdef", 31, EVENTS[30:51])
    whole = last.stat().st_size - len(EVENTS[50]) - 8
    os.truncate(last, whole + 20)
    spool = made(tmp_path)
    assert (spool.name, spool.first, spool.last) == ("0123456789abcdef", 1, 50)
    assert "was cut off" in caplog.text
    assert last.stat().st_size == whole
    spool.append(EVENTS[50:200])
    assert everything(spool) == EVENTS[:200]
    again = made(tmp_path)
    assert (again.name, again.last, again.size) == (spool.name, 200, spool.size)
    assert everything(again) == EVENTS[:200]
    again.drop(50)
    assert again.first == 51
    assert everything(again, 51) == EVENTS[50:200]
    again.close(200)
    assert not again.folder.exists()


def test_segments_of_another_spool(tmp_path: Path) -> None:
    first_version(tmp_path, b"0123456789abcdef", 1, EVENTS[:3])
    first_version(tmp_path, b"another", 4, EVENTS[3:5])
    with pytest.raises(SpoolError, match="does not follow"):
        made(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_segment_into_which_nothing_got(tmp_path: Path, version: int) -> None:
    """As by a kill, or a full disk, just after it was begun. Its events come next, and stay."""
    if version == 1:
        first_version(tmp_path, b"0123456789abcdef", 1, EVENTS[:60])
        first_version(tmp_path, b"0123456789abcdef", 61, [])
    else:
        spool = made(tmp_path)
        spool.append(EVENTS[:60])
        spool._begin()
    spool = made(tmp_path)
    assert spool.last == 60
    spool.append(EVENTS[60:70])
    size = sum(path.stat().st_size for path in spool.folder.iterdir())
    assert spool.size == size
    spool.drop(60)
    assert everything(spool, 61) == EVENTS[60:70]
    assert everything(made(tmp_path), 61) == EVENTS[60:70]


@pytest.mark.parametrize("written", [b"", b"cds-spool 2\n", b"cds-spool 2\n\0\0\0\x10\1\2"])
def test_a_kill_as_a_segment_is_begun(tmp_path: Path, written: bytes) -> None:
    spool = made(tmp_path)
    spool.append(EVENTS[:60])
    (spool.folder / f"{61:020d}.events").write_bytes(written)
    again = made(tmp_path)
    assert (again.name, again.last) == (spool.name, 60)
    again.append(EVENTS[60:70])
    assert everything(again) == EVENTS[:70]


def test_no_room_for_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = made(tmp_path)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: 5)
    with pytest.raises(OSError, match="No space left"):
        spool.append(EVENTS[:5])
    monkeypatch.undo()
    assert (spool.last, spool.size, list(spool.folder.iterdir())) == (0, 0, [])
    spool.append(EVENTS[:5])
    assert everything(made(tmp_path)) == EVENTS[:5]
