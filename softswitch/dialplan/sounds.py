"""What can be heard: prompts by their names, and WAV files by their paths."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

from softswitch.config import Text, did_you_mean
from softswitch.dialplan.surroundings import surroundings

OWN: Final = Path(__file__).resolve().parent.parent / "prompts"
"""The prompts that come with the switch: a folder for each language, a WAV file for each prompt."""

_FORMATS: Final = {1: 16, 6: 8, 7: 8}
"""Bits of a sample, by the format's number: PCM, A-law, μ-law."""


_EVEN: Final = 50
"""Frames of pjsua2 in a second. Of each it needs a whole number of samples: one that plays 11,025 a
second ends its process."""
_SHORTEST: Final = 0.1
"""Seconds: less than a few frames is refused, or worse."""
_LONGEST_NAME: Final = 60
"""Characters of a prompt's name, which are four bytes at most: file systems have 255."""


class NoSound(ValueError):
    """There is nothing to be heard there; the text says why."""


def check_wav(path: Path) -> float:
    """The seconds of a WAV file that pjsua2 can play: mono, 16 bits or G.711, 8 to 48 kHz. Raises
    NoSound."""
    try:
        with path.open("rb") as file:
            return _seconds(file.read(4096), path.stat().st_size)
    except OSError as error:
        raise NoSound(f"cannot be read: {error.strerror}") from None


def _seconds(head: bytes, size: int) -> float:
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise NoSound("is no WAV file")
    at, per_second = 12, 0
    while at + 8 <= len(head):
        kind, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8
        if kind == b"fmt " and length >= 16 and at + 16 <= len(head):
            number, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", head, at)
            if _FORMATS.get(number) != bits:
                raise NoSound("has neither 16 bits a sample (PCM) nor 8 (A-law, μ-law)")
            if channels != 1:
                raise NoSound(f"has {channels} channels, not one")
            if not 8000 <= rate <= 48000:
                raise NoSound(f"has {rate} samples a second, not 8000 to 48000")
            if rate % _EVEN:
                raise NoSound(f"has {rate} samples a second, which is no multiple of {_EVEN}")
            if align != bits // 8:
                raise NoSound(f"has {align} bytes a sample, which are not {bits} bits")
            per_second = rate * align
        elif kind == b"data":
            if not per_second:
                break
            seconds = min(length, size - at) / per_second
            if seconds <= 0:
                raise NoSound("is empty")
            if seconds < _SHORTEST:
                raise NoSound(f"is shorter than {_SHORTEST:g} s")
            return seconds
        elif length % 2:
            # Whether a byte follows that is none of it, not all programs agree on.
            raise NoSound("has a part of an odd length before its sound")
        at += length
    raise NoSound("is no WAV file that can be played")


@dataclass(frozen=True)
class Sounds:
    """Where they are looked for: files in `folder`, prompts in each of `prompts` in turn."""

    folder: Path
    prompts: tuple[Path, ...]

    def find(self, text: str) -> Path:
        """The file of a prompt's name (``welcome``) or path (``sounds/hello.wav``). Raises
        NoSound."""
        if text.endswith(".wav") or "/" in text:
            try:
                path = (self.folder / Path(text).expanduser()).resolve()
                there = path.is_file()
            except (OSError, RuntimeError, ValueError) as error:
                # A name that is too long, links in a circle, the home of nobody, a NUL.
                why = getattr(error, "strerror", None) or error
                raise NoSound(f"found `{text}`, which cannot be read: {why}") from None
            if not there:
                raise NoSound(f"found `{text}`: there is no file {path}")
        else:
            found = self._prompt(text)
            if found is None:
                hint = did_you_mean(text, self.names())
                if not hint.startswith(":"):
                    hint = ": there is no such prompt; a file ends in .wav"
                raise NoSound(f"found `{text}`{hint}")
            path = found
        try:
            check_wav(path)
        except NoSound as error:
            raise NoSound(f"found `{text}`, which {error}") from None
        return path

    def _prompt(self, name: str) -> Path | None:
        if not 0 < len(name) <= _LONGEST_NAME or not all(c.isalnum() or c in "-_" for c in name):
            return None
        for folder in self.prompts:
            path = folder / f"{name}.wav"
            if path.is_file():
                return path
        return None

    def prompt(self, name: str) -> str:
        """The path of a prompt that is said by the switch itself; empty if there is none."""
        found = self._prompt(name)
        return "" if found is None else str(found)

    def names(self) -> list[str]:
        """Of all prompts."""
        return sorted({path.stem for folder in self.prompts for path in folder.glob("*.wav")})


def sound_name(path: str) -> str:
    """How it is called to admins: by its name if it came with the switch, else by its path."""
    file = Path(path)
    return file.stem if OWN in file.parents else path


def _sound(text: str, info: ValidationInfo) -> str:
    """Its path, if it is known where to look."""
    around = surroundings(info)
    return text if around is None or around.sounds is None else str(around.sounds.find(text))


SoundText = Annotated[Text, AfterValidator(_sound)]
