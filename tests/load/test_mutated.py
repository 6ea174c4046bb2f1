"""Mutated datagrams beside calls of real phones; `python -m bench.mutations` is the long run."""

from __future__ import annotations

from pathlib import Path

from bench.mutations import run


def test_calls_go_on_and_nothing_is_left(tmp_path: Path) -> None:
    found = run(tmp_path, datagrams=2000, seconds=2.0, calls=4)
    assert found.good == found.calls, found
    assert not found.raised, found
    assert found.left == {}, found
