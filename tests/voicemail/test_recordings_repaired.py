"""WAV files whose recorder was killed."""

from __future__ import annotations

import io
import stat
import wave
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softswitch.voicemail import repaired


def recording(samples: int, rate: int = 8000) -> bytes:
    """As media workers leave it at its proper end."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(range(256)) * (samples // 128) + b"\7\7" * (samples % 128))
    return out.getvalue()


def as_killed(data: bytes, there: int) -> bytes:
    """The same with the head that it has from its beginning, as far as it had come."""
    return data[:4] + b"\0\0\0\0" + data[8:40] + b"\0\0\0\0" + data[44 : 44 + there]


@given(
    samples=st.integers(0, 3000),
    there=st.integers(0, 6000),
    rate=st.sampled_from([8000, 16000]),
    most=st.floats(0, 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_there_is_heard(
    tmp_path: Path, samples: int, there: int, rate: int, most: float
) -> None:
    path = tmp_path / "1.wav"
    whole = recording(samples, rate)
    path.write_bytes(as_killed(whole, there))
    frames = min(samples, there // 2)
    assert repaired(path) == frames / rate
    if frames:
        with wave.open(str(path)) as file:
            assert file.getnframes() == frames
            assert file.readframes(frames) == whole[44 : 44 + 2 * frames]
        again = path.read_bytes()
        assert repaired(path) == frames / rate
        assert path.read_bytes() == again
        cut = repaired(path, most)
        assert cut == min(frames, int(most * rate)) / rate
        if cut:
            with wave.open(str(path)) as file:
                assert file.getnframes() == round(cut * rate)


@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"RIFF" + b))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_else_is_there(tmp_path: Path, data: bytes) -> None:
    """Is no recording, and stays as it is."""
    path = tmp_path / "1.wav"
    path.write_bytes(data)
    if data[36:40] != b"data":
        assert repaired(path) == 0
        assert path.read_bytes() == data


def test_no_file(tmp_path: Path) -> None:
    assert repaired(tmp_path / "1.wav") == 0


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """That is no reason to take it for empty."""
    (tmp_path / "1.wav").mkdir()
    with pytest.raises(OSError, match="directory"):
        repaired(tmp_path / "1.wav")
    assert stat.S_ISDIR((tmp_path / "1.wav").stat().st_mode)
