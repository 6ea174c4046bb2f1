"""Audio of phones that know only files: what they play, and what they write while they hear it."""

from __future__ import annotations

import time
import wave
from pathlib import Path

from softswitch.phone.tones import Heard, listen, samples_of, sine

RATE = 8000
HEADER = 44  # bytes of a WAV file before its samples
WINDOW = 1600  # bytes: 100 ms
STILL = 0.5  # seconds without a new window: nothing is heard


def tone_file(path: Path, hz: float) -> Path:
    """A minute of a tone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sine(hz, 1.0, RATE).tobytes() * 60)  # whole periods: no click
    return path


class Recording:
    """What a phone hears and writes into the newest file of a folder, as it grows."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern

    def _newest(self) -> tuple[Path, int] | None:
        files = [(file.stat().st_mtime_ns, file) for file in self._folder.glob(self._pattern)]
        if not files:
            return None
        file = max(files)[1]
        return file, file.stat().st_size

    def now(self) -> Heard | None:
        """The next 100 ms that are written; None if nothing is."""
        first = self._newest()
        deadline = time.monotonic() + STILL
        while time.monotonic() < deadline:
            time.sleep(0.02)
            last = self._newest()
            if last is None:
                continue
            if first is None or first[0] != last[0] or last[1] < first[1]:
                first = last
            elif last[1] - first[1] >= WINDOW and last[1] >= HEADER + WINDOW:
                samples = samples_of(last[0].read_bytes()[last[1] - WINDOW : last[1]])
                return listen(samples, RATE)
        return None
