"""Fixtures of the interop tests: the running switch, and audio for the phones of others."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import Interop, running

from softswitch.phone.tones import sine

pytest.register_assert_rewrite("office")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A minute of 700 Hz, for phones that play files."""
    path = tmp_path / "700.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(sine(700, 1.0, 8000).tobytes() * 60)  # whole periods: no click
    return path


@pytest.fixture
def digest() -> str:
    """Algorithms of the challenges; a test file may say otherwise."""
    return "MD5, SHA-256"


@pytest.fixture
def interop(tmp_path: Path, digest: str) -> Iterator[Interop]:
    with running(tmp_path, digest) as switch:
        yield switch
