"""Make the prompts of a language anew: ``python .ci/prompts.py en`` (needs espeak-ng and sox).

Reads ``softswitch/prompts/LANGUAGE.txt`` and writes a WAV file for each line of it: 8 kHz, μ-law,
no silence before and after, all equally loud.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROMPTS = Path(__file__).resolve().parent.parent / "softswitch" / "prompts"
VOICES = {"en": "en-us"}
SPEED = "150"  # words a minute
FORMAT = ["sox", "-D", "-", "-r", "8000", "-c", "1", "-e", "u-law"]
# The end's silence goes as the beginning's does: turned round.
TRIM = ["silence", "1", "0.01", "0.3%", "reverse"]


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
