"""The tone measurement, against sines, noise and mixes whose content is known."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softswitch.phone.tones import Heard, Listener, level, listen, mean_square, power_at, sine

RATE = 8000


@settings(max_examples=40, deadline=None)
@given(hz=st.floats(120, 3700), db=st.floats(-40, -1), phase=st.floats(0, 6.28))
def test_any_tone_is_found_to_three_hertz(hz: float, db: float, phase: float) -> None:
    top = 32767 * 10 ** (db / 20)
    samples = array(
        "h", (round(top * math.sin(phase + 2 * math.pi * hz * n / RATE)) for n in range(800))
    )
    heard = listen(samples, RATE)
    assert heard.hz == pytest.approx(hz, abs=3)
    assert heard.level_db == pytest.approx(db, abs=0.6)


def test_power_of_a_whole_number_of_periods_is_its_mean_square() -> None:
    samples = sine(440, 0.1, RATE, -6)
    assert power_at(samples, RATE, 440) == pytest.approx(mean_square(samples), rel=0.001)
    assert power_at(samples, RATE, 1000) < mean_square(samples) / 1000


def test_level_of_a_full_scale_sine_is_zero() -> None:
    assert level(mean_square(sine(1000, 0.1, RATE, 0))) == pytest.approx(0, abs=0.01)


def test_silence_is_no_tone() -> None:
    heard = listen(array("h", [0] * 800), RATE)
    assert heard == Heard(None, -120.0, 0.0)
    assert heard.silent


def test_faint_noise_of_an_idle_line_is_silence() -> None:
    noise = random.Random(1)
    assert listen(array("h", (noise.choice((-8, 0, 8)) for _ in range(800))), RATE).silent


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_tone_but_heard(seed: int) -> None:
    noise = random.Random(seed)
    heard = listen(array("h", (noise.randint(-8000, 8000) for _ in range(800))), RATE)
    assert heard.hz is None
    assert not heard.silent


def test_two_tones_at_once_are_no_tone() -> None:
    both = array(
        "h", (sum(pair) for pair in zip(sine(440, 0.1, RATE), sine(660, 0.1, RATE), strict=True))
    )
    heard = listen(both, RATE)
    assert heard.hz is None
    assert heard.purity == pytest.approx(0.5, abs=0.05)


def test_a_tone_over_noise_is_still_the_tone() -> None:
    noise = random.Random(2)
    samples = array("h", (s + noise.randint(-2000, 2000) for s in sine(660, 0.1, RATE)))
    assert listen(samples, RATE).hz == pytest.approx(660, abs=2)


def test_listener_tells_changes_once_and_skips_a_click() -> None:
    listener = Listener(RATE)
    tone, other = sine(440, 0.1, RATE).tobytes(), sine(660, 0.1, RATE).tobytes()
    silence = bytes(1600)
    windows = [tone, tone, tone, other, tone, tone, silence, silence, silence, other, other]
    told = [listener.window(pcm) for pcm in windows]
    changes = [(n, heard.hz) for n, heard in enumerate(told) if heard]
    assert [n for n, _ in changes] == [1, 7, 10]
    assert [hz for _, hz in changes] == [
        pytest.approx(440, abs=1),
        None,
        pytest.approx(660, abs=1),
    ]
