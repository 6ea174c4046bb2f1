"""What can be heard: prompts by name, files by path, and files that cannot be played."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        # As ffmpeg writes it.
        (wav(before=b"LIST" + struct.pack("<I", 4) + b"abc\0"), 1.0),
        (wav(rate=22050, samples=22050), 1.0),
        (wav(samples=800), 0.1),
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
        # Of these pjsua2 dies, or plays nothing.
        (wav(rate=11025), "has 11025 samples a second, which is no multiple of 50"),
        (wav(samples=799), "is shorter than 0.1 s"),
        (wav(7, bits=8, samples=160), "is shorter than 0.1 s"),
        (wav(before=b"LIST" + struct.pack("<I", 3) + b"abc\0"), "has a part of an odd length"),
        (wav()[:32] + b"\0\0" + wav()[34:], "has 0 bytes a sample, which are not 16 bits"),
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
        ("/", "found `/`: there is no file "),
        ("", "found ``: there is no such prompt"),
        # None of these is for the system to be asked, or it says so by other errors.
        (
            "~nobody-is-called-so/no.wav",
            "found `~nobody-is-called-so/no.wav`, which cannot be read",
        ),
        ("x" * 300 + ".wav", f"found `{'x' * 300}.wav`, which cannot be read: File name too long"),
        ("y/" * 3000, f"found `{'y/' * 3000}`, which cannot be read: File name too long"),
        ("x" * 300, f"found `{'x' * 300}`: there is no such prompt"),
        ("ä" * 128, f"found `{'ä' * 128}`: there is no such prompt"),
        ("a\0b.wav", "found `a\0b.wav`, which cannot be read"),
    ],
)
def test_what_is_not_there(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(NoSound) as error:
        Sounds(tmp_path, (OWN / "en",)).find(text)
    assert str(error.value).startswith(says)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    for text in ("a.wav", "a.wav/c.wav"):
        with pytest.raises(NoSound, match=f"^found `{text}`, which cannot be read"):
            Sounds(tmp_path, (tmp_path,)).find(text)
    with pytest.raises(NoSound, match=r"^found `a`: "):
        Sounds(tmp_path, (tmp_path,)).find("a")


NUMBER = st.one_of(st.integers(0, 48), st.sampled_from([8000, 44100, 0xFFFF, 0xFFFFFFFF, 1 << 31]))
CHUNK = st.tuples(
    st.sampled_from([b"fmt ", b"data", b"LIST", b"\0\0\0\0"]),
    st.one_of(st.none(), NUMBER),  # None: its length as it is
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda *fields: struct.pack("<HHIIHH", *fields),
            st.sampled_from([0, 1, 3, 6, 7, 0xFFFE]),
            st.integers(0, 2),
            NUMBER,
            NUMBER,
            st.integers(0, 4),
            st.sampled_from([0, 8, 16, 24]),
        ),
        st.integers(0, 3000).map(bytes),
    ),
)


@given(
    chunks=st.lists(CHUNK, max_size=5),
    head=st.sampled_from([b"RIFF\0\0\0\0WAVE", b"RIFF\xff\xff\xff\xffWAVE", b"RIFX", b"RIFF"]),
    cut=st.integers(0, 4000),
)
def test_whatever_it_is(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[tuple[bytes, int | None, bytes]],
    head: bytes,
    cut: int,
) -> None:
    """It can be played, for no longer than its bytes last; or it is said why not."""
    path = tmp_path_factory.getbasetemp() / "whatever.wav"
    content = head
    for name, length, body in chunks:
        content += name + struct.pack("<I", len(body) if length is None else length) + body
    path.write_bytes(content[: len(content) - cut] if cut < len(content) else content)
    with contextlib.suppress(NoSound):
        assert 0.1 <= check_wav(path) <= path.stat().st_size / 8000


@given(content=st.binary(max_size=100), at=st.integers(0, 60))
def test_a_file_that_was_damaged(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    whole = wav()
    path.write_bytes(whole[:at] + content + whole[at + len(content) :])
    with contextlib.suppress(NoSound):
        assert 0.1 <= check_wav(path) <= path.stat().st_size / 8000


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
