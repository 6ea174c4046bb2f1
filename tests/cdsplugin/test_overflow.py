"""The overflow: rows that the database could not take come out of their file as they went in."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from cdsplugin.archive.overflow import Overflow
from cdsplugin.archive.rows import Row

TABLES: list[list[Row]] = [
    [("c1", None, 1, 2.5, True, "a name\n")],
    [],
    [("c1", "leg/hq/0"), ("c2", "leg/hq/1", "ü" * 300)],
]
ROWS = [(0, TABLES[0][0]), (2, TABLES[2][0]), (2, TABLES[2][1])]


def overflow(folder: Path) -> Overflow:
    return Overflow(folder / "hq.db.spool", 3)


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_rows_come_back(tmp_path: Path) -> None:
    assert not overflow(tmp_path).exists()
    assert overflow(tmp_path).add(TABLES) == []
    assert overflow(tmp_path).add([[("c3",)]]) == []
    assert overflow(tmp_path).exists()
    kept = overflow(tmp_path)
    assert kept.rows() == [*ROWS, (0, ("c3",))]
    kept.remove()
    assert files(tmp_path) == []


def test_a_row_that_cannot_be_written(tmp_path: Path) -> None:
    refused = overflow(tmp_path).add([[("c1", 1 << 70), ("c2", 2), ("c3", "\udc80")]])
    assert [(which, row) for which, row, _ in refused] == [
        (0, ("c1", 1 << 70)),
        (0, ("c3", "\udc80")),
    ]
    assert overflow(tmp_path).rows() == [(0, ("c2", 2))]


def test_a_damaged_record_is_named_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overflow(tmp_path).add(TABLES)
    path = tmp_path / "hq.db.spool"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"leg/hq/0", b"leg/hq/_"))
    kept = overflow(tmp_path)
    assert kept.rows() == [ROWS[0], ROWS[2]]
    at = data.index(b"\x92\xa2c1\xa8leg/hq/0")
    assert f"bytes {at - 16} to {at + 13} are damaged" in caplog.text
    kept.remove()
    (aside,) = tmp_path.iterdir()
    assert "damaged" in aside.name


@pytest.mark.parametrize("damage", ["first line", "length", "end"])
def test_damage_elsewhere(tmp_path: Path, damage: str) -> None:
    overflow(tmp_path).add(TABLES)
    path = tmp_path / "hq.db.spool"
    data = bytearray(path.read_bytes())
    start = data.index(b"\n") + 1
    if damage == "end":
        del data[-5:]
    else:
        data[0 if damage == "first line" else start] ^= 0x40
    path.write_bytes(data)
    expected = {"first line": ROWS, "length": ROWS[1:], "end": ROWS[:2]}
    assert overflow(tmp_path).rows() == expected[damage]
    # More rows follow all the same.
    overflow(tmp_path).add([[("c3",)]])
    kept = overflow(tmp_path)
    assert sorted(kept.rows(), key=repr) == sorted([*expected[damage], (0, ("c3",))], key=repr)
    kept.remove()
    assert all("damaged" in name for name in files(tmp_path))


def test_a_record_of_a_later_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overflow(tmp_path).add([[], [], [], [("c1", "a new kind")]])
    overflow(tmp_path).add(TABLES)
    kept = overflow(tmp_path)
    assert kept.rows() == ROWS
    assert "a new kind" in caplog.text
    kept.remove()
    assert "damaged" in files(tmp_path)[0]


@pytest.mark.parametrize("room", [0, 5, 30])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    write = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        return write(fd, data[:room], at)

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            overflow(tmp_path).add(TABLES)
    assert files(tmp_path) == []
    overflow(tmp_path).add(TABLES)
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            overflow(tmp_path).add([[("c3",)] * 100])
    assert overflow(tmp_path).rows() == ROWS


def lines(tables: list[list[Row]]) -> bytes:
    """As earlier versions wrote them."""
    return b"".join(
        msgspec.json.encode([which, row]) + b"\n"
        for which, rows in enumerate(tables)
        for row in rows
    )


def test_lines_of_an_earlier_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hq.db.spool"
    path.write_bytes(lines(TABLES) + b'[7,["c9"]]\n[-1,["c9"]]\n[0,["c')
    kept = overflow(tmp_path)
    assert kept.rows() == ROWS
    assert caplog.text.count("a line cannot be read") == 3
    kept.remove()
    assert files(tmp_path) == []


def test_lines_of_an_earlier_version_and_more_rows(tmp_path: Path) -> None:
    (tmp_path / "hq.db.spool").write_bytes(lines(TABLES))
    overflow(tmp_path).add([[("c3",)]])
    overflow(tmp_path).add([[("c4",)]])
    kept = overflow(tmp_path)
    assert kept.rows() == [*ROWS, (0, ("c3",)), (0, ("c4",))]
    kept.remove()
    assert files(tmp_path) == []


def test_lines_of_an_earlier_version_and_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that found no room are in the log; the others wait on."""
    (tmp_path / "hq.db.spool").write_bytes(lines(TABLES))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda fd, data, at: 0)
        with pytest.raises(OSError, match="No space"):
            overflow(tmp_path).add([[("c3",)]])
    assert overflow(tmp_path).exists()
    assert overflow(tmp_path).rows() == ROWS
    overflow(tmp_path).add([[("c4",)]])
    assert overflow(tmp_path).rows() == [*ROWS, (0, ("c4",))]


def test_what_is_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "hq.db.spool").mkdir()
    assert overflow(tmp_path).exists()
    with pytest.raises(OSError, match="directory"):
        overflow(tmp_path).rows()
    with pytest.raises(OSError, match="directory"):
        overflow(tmp_path).add(TABLES)
