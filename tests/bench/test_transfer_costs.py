"""`bench.transfers`: its calls are what it says, and leave nothing."""

from __future__ import annotations

import pytest

from bench.transfers import KINDS, measure


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_goes_its_way(kind: str) -> None:
    spent, left = measure(kind, 7)
    assert spent > 0
    assert not left
