"""WAV files whose recorder was killed: their head says less than there is."""

from __future__ import annotations

import os
import struct
from math import inf
from pathlib import Path

_HEAD = 44


def repaired(path: Path, most: float = inf) -> float:
    """Make the head of a recording (16 bits, mono, as media workers write it) say how much there
    is, and cut off what is beyond `most` seconds. The seconds of it, on disk by then; 0 if there is
    nothing. Raises OSError where the disk does not do."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return 0.0
    with file:
        head = file.read(_HEAD)
        if len(head) < _HEAD or head[:4] != b"RIFF" or head[36:40] != b"data":
            return 0.0
        (per_second,) = struct.unpack_from("<I", head, 28)
        size = os.fstat(file.fileno()).st_size
        there = (size - _HEAD) // 2 * 2
        if most < there / max(per_second, 1):
            there = int(most * per_second) // 2 * 2
        if there <= 0 or not per_second:
            return 0.0
        file.truncate(_HEAD + there)
        file.seek(4)
        file.write(struct.pack("<I", there + _HEAD - 8))
        file.seek(40)
        file.write(struct.pack("<I", there))
        file.flush()
        os.fsync(file.fileno())
        return float(there / per_second)
