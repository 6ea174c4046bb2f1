"""Files of records: whatever happens to one, what is read is what was written."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from softswitch.disk.record_file import (
    HEAD,
    ForeignFile,
    Record,
    RecordFile,
    read_records,
    records_in,
    rescued,
)

MAGIC = b"test records 1\n"
RECORDS = [(7, b"seven"), (1 << 40, b"far"), (7, b""), (8, b"x" * 300)]

# CRC-32 begun with 2**32 - 1 does not tell how many zeros there are: no number that anybody has.
numbers = st.integers(1, 2**64 - 1).filter(lambda number: number ^ number >> 32 != 0xFFFFFFFF)
some_records = st.lists(st.tuples(numbers, st.binary(max_size=40)), max_size=8)


def written(path: Path, *batches: list[Record]) -> bytes:
    path.unlink(missing_ok=True)
    file = RecordFile(path, MAGIC)
    assert file.read() == []
    for batch in batches:
        file.append(batch)
    file.close()
    return path.read_bytes()


def reopened(path: Path) -> list[Record]:
    file = RecordFile(path, MAGIC)
    try:
        return file.read()
    finally:
        file.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r"
    written(path, RECORDS[:2], [], RECORDS[2:])
    assert reopened(path) == RECORDS
    assert read_records(path, MAGIC) == RECORDS
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_bytes_of_a_file(tmp_path: Path) -> None:
    """Files that are there must be readable for good."""

    def framed(number: int, data: bytes) -> bytes:
        halves = (number >> 32) ^ (number & 0xFFFFFFFF)
        return struct.pack(">IIQ", len(data), zlib.crc32(data, halves), number) + data

    data = MAGIC + framed(1, b"one") + framed(1 << 33 | 5, b"") + framed((1 << 64) - 2, b"last")
    assert written(tmp_path / "r", [(1, b"one"), (1 << 33 | 5, b""), (2**64 - 2, b"last")]) == data


@given(records=some_records, cut=st.integers(0))
def test_a_beginning_of_a_file_is_a_beginning_of_its_records(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "beginning"
    data = written(path, records)
    beginning = data[: max(len(MAGIC), cut % (len(data) + 1))]
    path.write_bytes(beginning)
    found = reopened(path)
    assert found == records[: len(found)]
    ends = [len(written(path, records[:count])) for count in range(len(records) + 1)]
    assert len(found) == sum(end <= len(beginning) for end in ends) - 1
    # What is appended then follows.
    path.write_bytes(beginning)
    file = RecordFile(path, MAGIC)
    file.read()
    file.append([(5, b"more")])
    file.close()
    assert reopened(path) == [*found, (5, b"more")]


def changed(data: bytes, place: int, flip: int) -> tuple[bytes, int]:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :], place


@given(records=some_records, place=st.integers(0), flip=st.integers(1, 255))
def test_a_changed_byte_yields_nothing_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], place: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed"
    data, place = changed(written(path, records), place, flip)
    if place < len(MAGIC):
        with pytest.raises(ForeignFile):
            records_in(data, MAGIC)
        return
    found, end = records_in(data, MAGIC)
    assert found == records[: len(found)]
    assert len(found) < len(records)
    assert end <= place


@given(
    records=st.lists(st.tuples(numbers, st.binary(min_size=1, max_size=40)), max_size=8),
    place=st.integers(0),
    flip=st.integers(1, 255),
)
def test_what_is_after_a_changed_byte_is_rescued(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], place: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "rescued"
    data, place = changed(written(path, records), place, flip)
    kept, ((first, last),) = rescued(data, MAGIC)
    assert first <= place < last
    if place < len(MAGIC):
        assert kept == records
        return
    hit = len(records_in(data, MAGIC)[0])
    if place < first + 4:
        # A length that happens to lead to another record's beginning costs those before it.
        assert kept in [records[:hit] + records[more:] for more in range(hit + 1, len(records) + 1)]
    else:
        assert kept == records[:hit] + records[hit + 1 :]


@given(records=some_records, junk=st.binary(min_size=1, max_size=60), zeros=st.booleans())
def test_bytes_of_others_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], junk: bytes, zeros: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk"
    data = written(path, records)
    path.write_bytes(data + (bytes(len(junk)) if zeros else junk))
    assume(len(records_in(data + junk, MAGIC)[0]) == len(records))  # it may be a record
    assert reopened(path) == records
    assert path.read_bytes() == data


def test_what_cannot_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "r"
    data = written(path, RECORDS)
    path.write_bytes(data[:-10])
    assert read_records(path, MAGIC) == RECORDS[:3]
    assert path.stat().st_size == len(data) - 10, "left as it is"
    assert reopened(path) == RECORDS[:3]
    assert reopened(path) == RECORDS[:3]
    assert caplog.text.count(f"its last {HEAD + 290} bytes cannot be read") == 2


def test_records_after_a_damaged_length(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "r", RECORDS))
    data[len(MAGIC)] = 1
    kept, damage = rescued(bytes(data), MAGIC)
    assert kept == RECORDS[1:]
    assert damage == [(len(MAGIC), len(MAGIC) + HEAD + len(b"seven"))]


def test_a_damaged_length_that_leads_to_another_record(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "r", [(1, b"a"), (2, b"b"), (3, b"c")]))
    data[len(MAGIC) + 3] = HEAD + 2
    damage = [(len(MAGIC), len(MAGIC) + 2 * HEAD + 2)]
    assert rescued(bytes(data), MAGIC) == ([(3, b"c")], damage)


def test_what_looks_like_a_record_within_a_damaged_one(tmp_path: Path) -> None:
    """Somebody's text must not become a record of its own."""
    inner = written(tmp_path / "inner", [(1, b"pay me")])[len(MAGIC) :]
    data = bytearray(written(tmp_path / "r", [(2, b"-" + inner + b"-"), (3, b"three")]))
    data[len(MAGIC) + HEAD] ^= 1
    kept, _ = rescued(bytes(data), MAGIC)
    assert kept == [(3, b"three")]


@pytest.mark.parametrize("what", [b"test records 2\n", b"something else", b"t"])
def test_files_of_others(tmp_path: Path, what: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(what)
    file = RecordFile(path, MAGIC)
    with pytest.raises(ForeignFile):
        file.read()
    with pytest.raises(ForeignFile):
        file.go_on()
    with pytest.raises(ForeignFile):
        read_records(path, MAGIC)
    file.close()
    assert path.read_bytes() == what


def test_going_on_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for batch in ([(1, b"one")], [(2, b"two")]):
        file = RecordFile(path, MAGIC)
        file.go_on()
        file.append(batch)
        file.close()
        with path.open("ab") as end:
            end.write(b"cut off")
    assert rescued(path.read_bytes(), MAGIC)[0] == [(1, b"one"), (2, b"two")]


# --- a new file


def test_a_new_file_of_the_name(tmp_path: Path) -> None:
    path, keep = tmp_path / "r", tmp_path / "r.before"
    written(path, RECORDS)
    file = RecordFile(path, MAGIC)
    file.read()
    file.renew([(9, b"nine")], keep=keep)
    file.append([(10, b"ten")])
    assert read_records(keep, MAGIC) == RECORDS
    assert read_records(path, MAGIC) == [(9, b"nine"), (10, b"ten")]
    file.renew([(11, b"eleven")])
    file.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r", "r.before"]
    assert reopened(path) == [(11, b"eleven")]


def test_crowded(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "r", MAGIC)
    file.read()
    file.renew([(1, b"x" * 100)])
    assert not file.crowded(0)
    while not file.crowded(600):
        file.append([(1, b"x" * 100)])
    assert 600 < file.size < 900
    (tmp_path / "r.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        file.renew([(1, b"x" * 100)])
    # Not again at each record.
    assert not file.crowded(600)
    file.append([(2, b"two")])
    file.close()
    assert reopened(tmp_path / "r")[-1] == (2, b"two")


def test_made_in_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(b"whatever" * 100)
    RecordFile.made(path, MAGIC, [(1, b"one")]).close()
    assert reopened(path) == [(1, b"one")]


def test_cleared(tmp_path: Path) -> None:
    path = tmp_path / "r"
    written(path, RECORDS)
    file = RecordFile(path, MAGIC)
    file.read()
    file.clear()
    file.append([(1, b"one")])
    file.sync()
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(some_records, max_size=6), room=st.integers(0, 600))
def test_a_full_disk(
    tmp_path_factory: pytest.TempPathFactory,
    small_files: Callable[[int], None],
    batches: list[list[Record]],
    room: int,
) -> None:
    """A batch is in the file, or nothing of it is."""
    path = tmp_path_factory.getbasetemp() / "full"
    written(path)
    file = RecordFile(path, MAGIC)
    file.read()
    small_files(len(MAGIC) + room)
    stored: list[Record] = []
    for batch in batches:
        before = file.size
        try:
            file.append(batch)
        except OSError:
            assert file.size == before == path.stat().st_size
        else:
            stored += batch
    small_files(resource.RLIM_INFINITY)
    assert read_records(path, MAGIC) == stored
    file.append([(1, b"there is room again")])
    file.close()
    assert reopened(path) == [*stored, (1, b"there is room again")]


def test_a_full_disk_and_a_new_file(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    path = tmp_path / "r"
    written(path, [(1, b"one")])
    file = RecordFile(path, MAGIC)
    file.read()
    small_files(100)
    with pytest.raises(OSError, match=r"No space|too large"):
        file.renew([(2, b"x" * 200)])
    with pytest.raises(OSError, match=r"No space|too large"):
        RecordFile.made(tmp_path / "other", MAGIC, [(2, b"x" * 200)])
    small_files(resource.RLIM_INFINITY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r"]
    file.append([(3, b"three")])
    file.close()
    assert reopened(path) == [(1, b"one"), (3, b"three")]


def test_a_write_that_fails_after_some_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r"
    file = RecordFile(path, MAGIC)
    file.read()
    real = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        real(fd, data[:20], at)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="Input/output"):
        file.append(RECORDS)
    monkeypatch.undo()
    assert path.read_bytes() == MAGIC
    file.append(RECORDS)
    file.close()
    assert reopened(path) == RECORDS


def test_nothing_is_written_once_it_is_closed(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "r", MAGIC)
    file.read()
    file.close()
    file.close()
    with (tmp_path / "other").open("w+b") as other:
        with pytest.raises(OSError, match="Bad file"):
            file.append(RECORDS)
        assert other.read() == b""


# --- locked


def test_two_processes_cannot_have_one(tmp_path: Path) -> None:
    path = tmp_path / "r"
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from softswitch.disk import RecordFile\n"
        "try:\n"
        "    file = RecordFile(Path(sys.argv[1]), b'test records 1\\n', lock_wait=0.05)\n"
        "except OSError as error:\n"
        "    sys.exit(error.strerror)\n"
        "print(file.read(), flush=True)\n"
        "sys.stdin.read()\n"
    )

    def another() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    file = RecordFile(path, MAGIC, lock_wait=0.05)
    file.read()
    assert "another process has it" in another().communicate()[1]
    file.renew([(1, b"one")])
    assert "another process has it" in another().communicate()[1], "the new one is locked too"
    file.close()
    other = another()
    assert other.stdout is not None
    assert other.stdout.readline() == "[(1, b'one')]\n"
    with pytest.raises(OSError, match="another process has it"):
        RecordFile(path, MAGIC, lock_wait=0.05)
    other.kill()
    other.communicate()
    RecordFile(path, MAGIC, lock_wait=5.0).close()
