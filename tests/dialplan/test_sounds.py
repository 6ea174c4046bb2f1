"""What can be heard: prompts by name, files by path, and files that cannot be played."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from softswitch.dialplan.sounds import OWN, NoSound, Sounds, check_wav


def wav(number: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, samples: int = 8000,
        before: bytes = b"") -> bytes:  # fmt: skip
    data = bytes(samples * channels * bits // 8)
    size = channels * bits // 8
    head = struct.pack("<HHIIHH", number, channels, rate, rate * size, size, bits)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + before
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (wav(), 1.0),
        (wav(6, bits=8, samples=4000), 0.5),
        (wav(7, bits=8), 1.0),
        (wav(rate=48000, samples=96000), 2.0),
        # As ffmpeg writes it, and a chunk of an odd length.
        (wav(before=b"LIST" + struct.pack("<I", 3) + b"abc\0"), 1.0),
        # The rest has been cut off.
        (wav()[:-8000], 0.5),
    ],
)
def test_what_can_be_played(tmp_path: Path, content: bytes, seconds: float) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert check_wav(tmp_path / "a.wav") == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no WAV file"),
        (b"ID3 mp3 and so on", "is no WAV file"),
        (wav(channels=2), "has 2 channels, not one"),
        (wav(rate=96000), "has 96000 samples a second, not 8000 to 48000"),
        (wav(3, bits=32), "has neither 16 bits a sample"),
        (wav(bits=8), "has neither 16 bits a sample"),
        (wav(samples=0), "is empty"),
        (wav()[:36], "is no WAV file that can be played"),
    ],
)
def test_what_cannot(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(NoSound, match=says):
        check_wav(tmp_path / "a.wav")
    with pytest.raises(NoSound, match="^found `a.wav`, which " + says):
        Sounds(tmp_path, ()).find("a.wav")


def test_a_folder_before_another(tmp_path: Path) -> None:
    german = tmp_path / "prompts" / "de"
    german.mkdir(parents=True)
    (german / "welcome.wav").write_bytes(wav())
    sounds = Sounds(
        tmp_path,
        (
            german,
            OWN / "en",
        ),
    )
    assert sounds.find("welcome") == german / "welcome.wav"
    assert sounds.find("closed") == OWN / "en" / "closed.wav"
    assert sounds.find("prompts/de/welcome.wav") == german / "welcome.wav"
    assert sounds.prompt("not-there") == ""
    assert "welcome" in sounds.names()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("welcom", "found `welcom`: did you mean `welcome`?"),
        ("xyzzyx", "found `xyzzyx`: there is no such prompt; a file ends in .wav"),
        ("../en/welcome", "found `../en/welcome`: there is no file "),
        ("no.wav", "found `no.wav`: there is no file "),
    ],
)
def test_what_is_not_there(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(NoSound) as error:
        Sounds(tmp_path, (OWN / "en",)).find(text)
    assert str(error.value).startswith(says)


def test_read_again_it_is_the_same(tmp_path: Path) -> None:
    one = Sounds(tmp_path, (OWN / "en",))
    assert one == Sounds(tmp_path, (OWN / "en",))
    assert hash(one) == hash(Sounds(tmp_path, (OWN / "en",)))
    assert one != Sounds(tmp_path, ())
    assert one != tmp_path


def test_every_prompt_of_our_own_can_be_played() -> None:
    listed = (OWN / "en.txt").read_text().splitlines()
    names = {line.split()[0] for line in listed if line and not line.startswith("#")}
    files = {path.stem: path for path in (OWN / "en").glob("*.wav")}
    assert names == set(files)
    assert all(0.1 < check_wav(path) < 10 for path in files.values())
