"""The files of recordings. Two media ports write one part each while people talk (mono, 16 bits);
when they are done the two become one file, the first on the left. The parts of a switch that was
killed become one as well, at its next start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PARTS: Final = (".1.part.wav", ".2.part.wav")
_ABOUT: Final = ".json"
MARKER: Final = ".uncopied"
"""Beside a file that is to be copied elsewhere."""
_UNFINISHED: Final = ".tmp"
_CHUNK: Final = 65_536
"""Samples that are put together at a time."""
_HEAD: Final = 44
_RATE: Final = 8000


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording on disk: its path, seconds, and the SHA-256 of the file; what was known of it
    when it began."""

    path: Path
    seconds: float
    sha256: str
    about: dict[str, str]


def parts(path: Path) -> tuple[Path, Path]:
    """Where the two sides are written."""
    first, second = (path.with_name(path.stem + suffix) for suffix in _PARTS)
    return first, second


def begin(path: Path, about: dict[str, str]) -> None:
    """Before anything is recorded: its folder, and what is known of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(_ABOUT).open("w") as file:
        json.dump(about, file)


def about_of(path: Path) -> dict[str, str]:
    """What was known of a recording when it began; empty if that cannot be read."""
    try:
        about = json.loads(path.with_suffix(_ABOUT).read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def finish(path: Path, copied: bool = False) -> Finished | None:
    """Make one file of the two parts, on disk by then; None if nothing was recorded. `copied`: it
    is to be copied elsewhere. Raises OSError: then the parts are kept."""
    about = about_of(path)
    first, second = parts(path)
    samples = max(_samples(first), _samples(second))
    finished = None
    if path.exists():
        # The process was killed when it was whole already: some of the parts may be gone.
        finished = Finished(path, _seconds(path), _digest(path), about)
    elif samples:
        unfinished = path.with_suffix(_UNFINISHED)
        try:
            sha256 = _together(first, second, samples, unfinished)
            if copied:
                path.with_suffix(MARKER).touch()
            unfinished.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        _sync(path.parent)
        finished = Finished(path, samples / _RATE, sha256, about)
    # What it is known by goes last: until then the next start finds all of it.
    for one in (first, second, path.with_suffix(_UNFINISHED), path.with_suffix(_ABOUT)):
        one.unlink(missing_ok=True)
    return finished


def _seconds(whole: Path) -> float:
    return max(whole.stat().st_size - _HEAD, 0) // 4 / _RATE


def _digest(whole: Path) -> str:
    with whole.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _samples(part: Path) -> int:
    """How many are there, whatever its head says: that is written at the end."""
    try:
        return max(part.stat().st_size - _HEAD, 0) // 2
    except OSError:
        return 0


def _together(first: Path, second: Path, samples: int, path: Path) -> str:
    digest = hashlib.sha256()
    head = b"RIFF" + struct.pack("<I", samples * 4 + _HEAD - 8) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 2, _RATE, _RATE * 4, 4, 16)
    head += b"data" + struct.pack("<I", samples * 4)
    digest.update(head)
    with path.open("wb") as file:
        file.write(head)
        left = samples
        for one, other in zip(_read(first, samples), _read(second, samples), strict=True):
            both = array("h", bytes(len(one) * 4))
            both[0::2], both[1::2] = one, other
            data = both.tobytes()
            digest.update(data)
            file.write(data)
            left -= len(one)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _read(part: Path, samples: int) -> Iterator[array[int]]:
    """So many, in pieces; where there are less, silence."""
    try:
        file = part.open("rb")
    except FileNotFoundError:
        file = None
    try:
        if file is not None:
            file.seek(_HEAD)
        while samples:
            wanted = min(samples, _CHUNK)
            data = file.read(wanted * 2) if file is not None else b""
            data = data[: len(data) // 2 * 2]
            yield array("h", data + bytes(wanted * 2 - len(data)))
            samples -= wanted
    finally:
        if file is not None:
            file.close()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remainders(folder: Path) -> list[Path]:
    """Recordings of which only parts are there."""
    found = {
        one.with_name(one.name[: -len(suffix)] + ".wav")
        for suffix in (*_PARTS, _ABOUT)
        for one in folder.glob(f"*/*{suffix}")
    }
    return sorted(found)


def expired(folder: Path, before: float) -> list[Path]:
    """Whole recordings that were last written before that time (seconds since the epoch), but for
    those that are still to be copied."""
    found = []
    for one in folder.glob("*/*.wav"):
        try:
            kept = one.name.endswith(_PARTS) or one.with_suffix(MARKER).exists()
            if not kept and one.is_file() and one.stat().st_mtime < before:
                found.append(one)
        except OSError:
            continue  # somebody else has deleted it
    return found
