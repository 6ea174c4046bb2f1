"""Files of recordings: two parts become one, whatever happens in between."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import wave
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from softswitch.config import RecordingModel
from softswitch.recordings import Finished, Recording, Recordings, files, finish, remainders
from softswitch.recordings.keeper import NOTHING

T = TypeVar("T")
NOW = 1_700_000_000.0
DAY = "2023-11-14"


class Keeps:
    """The recordings of a switch; what is done elsewhere is done at once."""

    def __init__(self, folder: Path, name: str = "hq", keep: float = 0.0) -> None:
        self.now = NOW
        self.tokens = 0
        self.whole: list[Finished] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.recordings = Recordings(
            name,
            RecordingModel(folder=folder, keep=keep),
            self._elsewhere,
            lambda seconds, what: self.later.append((seconds, what)),
            lambda: self.now,
            self._token,
            self.whole.append,
        )

    def _token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:06d}"

    def _elsewhere(self, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
        try:
            found = what()
        except Exception:
            found = None
        then(found)

    def begin(self, call_id: str = "c1", talk: int = 1) -> Recording | None:
        got: list[Recording | None] = []
        self.recordings.begin(call_id, talk, got.append)
        return got[0]

    def finish(self, recording: Recording) -> Finished | str:
        got: list[Finished | str] = []
        recording.finish(got.append)
        return got[0]


def part(path: Path, samples: int, value: int, odd: bool = False) -> None:
    path.write_bytes(bytes(44) + array("h", [value] * samples).tobytes() + b"\1" * odd)


def sides(path: Path) -> tuple[array, array]:
    with wave.open(str(path)) as file:
        both = array("h", file.readframes(file.getnframes()))
    return both[0::2], both[1::2]


def left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.glob("*/*"))


@pytest.mark.parametrize(
    ("first", "second"),
    [(100, 100), (100, 250), (250, 100), (0, 70), (70, -1), (-1, 3), (70_000, 8)],
)
@pytest.mark.parametrize("odd", [True, False])
def test_two_parts_become_one(tmp_path: Path, first: int, second: int, odd: bool) -> None:
    """-1: there is none."""
    keeps = Keeps(tmp_path)
    recording = keeps.begin()
    assert recording is not None
    if first >= 0:
        part(recording.first, first, 11, odd)
    if second >= 0:
        part(recording.second, second, 22)
    found = keeps.finish(recording)
    assert isinstance(found, Finished)
    assert found.path == recording.path
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    most = max(first, second)
    assert found.seconds == most / 8000
    one, other = sides(found.path)
    assert list(one) == [11] * max(first, 0) + [0] * (most - max(first, 0))
    assert list(other) == [22] * max(second, 0) + [0] * (most - max(second, 0))
    assert left(tmp_path) == [found.path.name]


@pytest.mark.parametrize("size", [-1, 0, 20, 44, 45])
def test_nothing(tmp_path: Path, size: int) -> None:
    """No part, or one that ends within its head."""
    keeps = Keeps(tmp_path)
    recording = keeps.begin()
    assert recording is not None
    if size >= 0:
        recording.first.write_bytes(bytes(size))
    assert keeps.finish(recording) == NOTHING
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "call_id",
    [
        "../../x",
        "/etc/passwd",
        "",
        "a" * 5000,
        "ä\udcff é",
        "..",
        "a\0b",
        "a\nb",
        ".hidden",
        "x.wav",
    ],
)
def test_names_from_outside_are_no_paths(tmp_path: Path, call_id: str) -> None:
    folder = tmp_path / "deep" / "recordings"
    keeps = Keeps(folder)
    recording = keeps.begin(call_id)
    assert recording is not None
    part(recording.first, 10, 1)
    found = keeps.finish(recording)
    assert isinstance(found, Finished)
    assert found.path.resolve().parent == (folder / DAY).resolve()
    assert found.path.name.isascii()
    assert len(found.path.name) < 200
    assert found.about["call_id"] == call_id
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [found.path]


def test_no_two_have_the_same_name(tmp_path: Path) -> None:
    keeps = Keeps(tmp_path)
    one, other = keeps.begin(), keeps.begin()
    assert one is not None
    assert other is not None
    assert one.path != other.path


@pytest.mark.parametrize("what", ["read-only", "a file"])
def test_a_folder_that_takes_nothing(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "recordings"
    if what == "a file":
        folder.write_text("")
    else:
        folder = Path("/proc/recordings")
    assert Keeps(folder).begin() is None


def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are kept, and are made whole by the next start that can."""
    keeps = Keeps(tmp_path)
    recording = keeps.begin()
    assert recording is not None
    part(recording.first, 10, 1)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        assert keeps.finish(recording) == "No space left on device"
    assert len(left(tmp_path)) == 2, "what is known of it, and the part"
    again = Keeps(tmp_path)
    again.recordings.open()
    (whole,) = again.whole
    assert whole.path == recording.path
    assert whole.about["call_id"] == "c1"
    assert left(tmp_path) == [whole.path.name]


@pytest.mark.parametrize(
    "killed", ["writing", "whole", "one part gone", "both gone", "no about", "bad about"]
)
def test_a_killed_process(tmp_path: Path, killed: str) -> None:
    keeps = Keeps(tmp_path)
    recording = keeps.begin()
    assert recording is not None
    part(recording.first, 100, 1)
    part(recording.second, 100, 2)
    about = recording.path.with_suffix(".json")
    if killed == "writing":
        recording.path.with_suffix(".tmp").write_bytes(b"half")
    elif killed == "no about":
        about.unlink()
    elif killed == "bad about":
        about.write_text("[]")
    else:
        kept = [(one, one.read_bytes()) for one in (recording.first, recording.second, about)]
        finish(recording.path)
        for one, data in kept[{"whole": 0, "one part gone": 1, "both gone": 2}[killed] :]:
            one.write_bytes(data)
    again = Keeps(tmp_path)
    again.recordings.open()
    (whole,) = again.whole
    assert whole.sha256 == hashlib.sha256(whole.path.read_bytes()).hexdigest()
    assert whole.seconds == 100 / 8000
    one, other = sides(whole.path)
    assert (set(one), set(other)) == ({1}, {2})
    assert left(tmp_path) == [whole.path.name]
    assert whole.about.get("call_id", "") == ("" if "about" in killed else "c1")
    assert remainders(tmp_path) == []


def test_those_of_another_switch_are_left_alone(tmp_path: Path) -> None:
    """It may have the same folder, and write there."""
    other = Keeps(tmp_path, "branch-1")
    for call_id in ("c1", "c2"):
        recording = other.begin(call_id)
        assert recording is not None
        part(recording.first, 100, 1)
    recording.path.with_suffix(".json").unlink()
    hq = Keeps(tmp_path, "hq")
    hq.recordings.open()
    assert hq.whole == []
    Keeps(tmp_path, "branch").recordings.open()
    assert len(remainders(tmp_path)) == 2
    again = Keeps(tmp_path, "branch-1")
    again.recordings.open()
    assert len(again.whole) == 2


def test_expiry(tmp_path: Path) -> None:
    keeps = Keeps(tmp_path, keep=2)
    (tmp_path / DAY).mkdir()
    ages = {"old.wav": 3.0, "new.wav": 1.0, "old.1.part.wav": 3.0, "note.txt": 9.0}
    for name, days in ages.items():
        path = tmp_path / DAY / name
        path.write_bytes(b"")
        os.utime(path, (NOW - days * 86_400,) * 2)
    (tmp_path / DAY / "folder.wav").mkdir()
    os.utime(tmp_path / DAY / "folder.wav", (0, 0))
    keeps.recordings._look()
    assert left(tmp_path) == ["folder.wav", "new.wav", "note.txt", "old.1.part.wav"]
    ((seconds, again),) = keeps.later
    assert seconds == 3600
    keeps.now += 2 * 86_400
    again()
    assert "new.wav" not in left(tmp_path)
    keeps.recordings.close()
    keeps.later[-1][1]()
    assert len(keeps.later) == 2


def test_what_it_is_known_by(tmp_path: Path) -> None:
    recording = Keeps(tmp_path).begin("c1", 3)
    assert recording is not None
    about = json.loads(recording.path.with_suffix(".json").read_text())
    assert about == recording.about
    assert (about["call_id"], about["switch"], about["talk"]) == ("c1", "hq", "3")
