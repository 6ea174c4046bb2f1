"""G.711 μ-law, held beside what SoX makes of it and the recommendation's own properties."""

from __future__ import annotations

import subprocess
from array import array
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from softswitch.media.g711 import SILENCE, linear_of, mulaw_of

ALL = bytes(range(256))


def samples(linear: bytes) -> list[int]:
    return list(array("h", linear))


def test_the_ends_of_the_scale() -> None:
    """ITU-T G.711, table 2: codes count down from the loudest; both zeros are nothing."""
    assert samples(linear_of(b"\x00\x80\xff\x7f")) == [-32124, 32124, 0, 0]
    assert mulaw_of(array("h", [-32768, 32767, 0, -1]).tobytes())[:3] == b"\x00\x80\xff"
    assert samples(linear_of(bytes([SILENCE]))) == [0]


def test_there_and_back() -> None:
    """Each code is its own, but for the second zero."""
    assert mulaw_of(linear_of(ALL)) == ALL.replace(b"\x7f", b"\xff")


@given(st.lists(st.integers(-32635, 32635), max_size=200))
def test_how_near_it_is(values: list[int]) -> None:
    """Half a step of the segment that a sample is in."""
    found = samples(linear_of(mulaw_of(array("h", values).tobytes())))
    for value, near in zip(values, found, strict=True):
        assert abs(value - near) <= (abs(value) + 132) / 32 + 1


def test_half_a_sample_is_none() -> None:
    assert mulaw_of(b"") == linear_of(b"") == b""
    assert mulaw_of(b"\1") == b""
    assert len(mulaw_of(b"\1\2\3")) == 1


def test_as_sox_has_it(tmp_path: Path) -> None:
    (tmp_path / "all.ul").write_bytes(ALL)
    kind = ["-r", "8000", "-c", "1"]
    subprocess.run(
        ["sox", "-t", "ul", *kind, "all.ul", "-t", "raw", "-e", "signed", "-b", "16", "all.raw"],
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "all.raw").read_bytes() == linear_of(ALL)
