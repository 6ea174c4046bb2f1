"""The owner's process is frozen (SIGSTOP) while calls end, and goes on: one right row of each.

The others take it for dead, and one of them writes the records of the calls that end meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from bench.faults import freeze


def test_each_call_has_one_right_row_soon_after_the_owner_goes_on(tmp_path: Path) -> None:
    found = freeze(tmp_path, 5.0, rate=40)
    assert found.elsewhere > 20, found  # another server took care, and wrote
    assert found.right == found.placed, found
    assert found.doubled == 0, found
    assert found.took < 10, found
