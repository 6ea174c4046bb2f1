"""Which tone is in the audio: Goertzel's algorithm over short windows of linear PCM.

Used to prove that audio really passes: one phone plays a tone, the other measures what arrives.
Pure Python, about 2 ms a window on one core; a phone analyses five windows a second at most.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FULL_SCALE_SINE = 32768.0 * 32768.0 / 2  # mean square of the loudest sine that 16 bits hold
SILENCE_DB = -60.0  # quieter than this is silence: G.711's own noise on an idle line is near -70
PURE = 0.8  # least part of the power that one frequency must hold to be called a tone
LOWEST_HZ = 100
STEADY_HZ = 8.0  # two measurements of one tone differ by less


@dataclass(frozen=True, slots=True)
class Heard:
    """One measurement. ``hz`` is None when there is no tone: silence, or a mix such as speech.

    ``level_db`` is in dB relative to the loudest sine (dBFS); ``purity`` is the part (0 to 1) of
    the power that the strongest frequency holds.
    """

    hz: float | None
    level_db: float
    purity: float

    @property
    def silent(self) -> bool:
        return self.level_db < SILENCE_DB

    def same_as(self, other: Heard | None) -> bool:
        """True when both say the same to a listener: the same tone, silence, or no tone."""
        if other is None or (self.hz is None) != (other.hz is None):
            return False
        if self.hz is not None and other.hz is not None:
            return abs(self.hz - other.hz) < STEADY_HZ
        return self.silent == other.silent


def samples_of(pcm: bytes) -> array[int]:
    """Samples of 16-bit PCM in the machine's byte order, which is how pjsua2 hands frames over."""
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) & ~1])
    return samples


def sine(hz: float, seconds: float, rate: int, level_db: float = -10.0) -> array[int]:
    """A sine as 16-bit samples; ``level_db`` in dBFS."""
    top = 32767 * 10 ** (level_db / 20)
    step = 2 * math.pi * hz / rate
    return array("h", (round(top * math.sin(step * n)) for n in range(round(seconds * rate))))


def mean_square(samples: Sequence[int]) -> float:
    return sum(s * s for s in samples) / len(samples) if samples else 0.0


def level(power: float) -> float:
    """dBFS of a mean square; -120.0 for digital silence."""
    return max(10 * math.log10(power / FULL_SCALE_SINE), -120.0) if power > 0 else -120.0


def power_at(samples: Sequence[int], rate: int, hz: float) -> float:
    """Mean square of the part of ``samples`` at ``hz`` (G. Goertzel, 1958).

    Exact when the window holds whole periods, else short by the leakage; never more than about the
    whole mean square for a frequency well inside 0 to rate/2.
    """
    count = len(samples)
    twice = 2 * math.cos(2 * math.pi * hz / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + twice * last - before
    square = last * last + before * before - twice * last * before
    return 2 * square / (count * count)


def strongest(
    samples: Sequence[int], rate: int, candidates: Iterable[float]
) -> tuple[float, float]:
    """(power, hz) of the candidate frequency with most power."""
    return max((power_at(samples, rate, hz), hz) for hz in candidates)


def listen(samples: Sequence[int], rate: int) -> Heard:
    """Measure one window, 100 ms or so. Finds a tone between 100 Hz and 95 % of rate/2.

    Coarse to fine: the window's first 20 ms tell the tone to 50 Hz, then the whole of it to 10 Hz
    and to 1 Hz; searching the whole window at 1 Hz would take a hundred times as long.
    """
    power = mean_square(samples)
    loudness = level(power)
    if loudness < SILENCE_DB:
        return Heard(None, round(loudness, 1), 0.0)
    top = int(rate / 2 * 0.95)
    part = samples[: rate // 50]
    _, hz = strongest(part, rate, (float(f) for f in range(LOWEST_HZ, top, 50)))
    _, hz = strongest(samples, rate, (hz + step for step in range(-50, 51, 10)))
    best, hz = strongest(samples, rate, (hz + step for step in range(-9, 10, 3)))
    best, hz = strongest(samples, rate, (hz + step for step in range(-2, 3)))
    purity = min(best / power, 1.0)
    return Heard(hz if purity >= PURE else None, round(loudness, 1), round(purity, 3))


class Listener:
    """Says what is heard when it changes; one odd window (a click, a switch-over) is no change."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.told: Heard | None = None
        self._last: Heard | None = None

    def window(self, pcm: bytes) -> Heard | None:
        """Take one window of 16-bit PCM; the new state if two windows in a row agree on one."""
        heard = listen(samples_of(pcm), self.rate)
        confirmed = heard.same_as(self._last)
        self._last = heard
        if confirmed and not heard.same_as(self.told):
            self.told = heard
            return heard
        return None
