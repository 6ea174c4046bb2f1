"""Make the prompts of a language anew: ``python .ci/prompts.py en`` (needs espeak-ng and sox).

Reads ``softswitch/prompts/LANGUAGE.txt`` and writes a WAV file for each line of it: 8 kHz, μ-law,
no silence before and after, all equally loud. ``hold-music`` is not spoken, but reckoned.
"""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

PROMPTS = Path(__file__).resolve().parent.parent / "softswitch" / "prompts"
VOICES = {"en": "en-us"}
SPEED = "150"  # words a minute
FORMAT = ["sox", "-D", "-", "-r", "8000", "-c", "1", "-e", "u-law"]
# The end's silence goes as the beginning's does: turned round.
TRIM = ["silence", "1", "0.01", "0.3%", "reverse"]

# A calm round of four chords, broken: notes as MIDI numbers them, eight to a chord.
MUSIC = "hold-music"
CHORDS = ((48, 55, 60, 64), (45, 52, 57, 60), (41, 48, 57, 60), (43, 50, 59, 62))
PATTERN = (0, 1, 2, 3, 2, 1, 2, 3)
NOTE = 0.3  # seconds
RINGS = 2.5  # seconds that a note is heard
RATE = 8000


def music() -> bytes:
    """Its samples, of 16 bits: what rings on at the end rings on at the beginning, as it is heard
    over and over."""
    step = round(NOTE * RATE)
    samples = [0.0] * (step * len(PATTERN) * len(CHORDS))
    for place, note in enumerate(chord[part] for chord in CHORDS for part in PATTERN):
        turn = 2 * math.pi * 440 * 2 ** ((note + 12 - 69) / 12) / RATE
        for i in range(round(RINGS * RATE)):
            loud = min(i / 80, 1.0) * math.exp(-i / RATE * 2.2)
            sound = math.sin(turn * i) + 0.35 * math.sin(2 * turn * i)
            samples[(place * step + i) % len(samples)] += loud * sound
    most = max(abs(one) for one in samples)
    return b"".join(struct.pack("<h", round(one / most * 9000)) for one in samples)


def play(path: Path) -> None:
    """Make it."""
    raw = ["sox", "-D", "-t", "raw", "-r", str(RATE), "-c", "1", "-b", "16", "-e", "signed", "-"]
    subprocess.run([*raw, "-e", "u-law", "-b", "8", str(path)], check=True, input=music())


def main(language: str) -> None:
    """Make them all; what has no line any more is removed."""
    folder = PROMPTS / language
    folder.mkdir(exist_ok=True)
    made = set()
    for line in (PROMPTS / f"{language}.txt").read_text().splitlines():
        name, _, text = line.partition(" ")
        if not text or name == "#":
            continue
        made.add(name)
        if name == MUSIC:
            play(folder / f"{name}.wav")
            continue
        spoken = subprocess.run(
            ["espeak-ng", "-v", VOICES[language], "-s", SPEED, "--stdout", text.strip()],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        subprocess.run(
            [*FORMAT, str(folder / f"{name}.wav"), *TRIM, *TRIM, "pad", "0", "0.08", "norm", "-3"],
            check=True,
            input=spoken,
            stderr=subprocess.DEVNULL,
        )
    for path in folder.glob("*.wav"):
        if path.stem not in made:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
