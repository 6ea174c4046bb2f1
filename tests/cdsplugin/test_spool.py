"""The spool: events on disk, in order, through kills and full disks."""

from __future__ import annotations

import os
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
