"""Three sites and a server without a switch, and a fault of each kind: one right row of each call,
and each acknowledged note in it, soon after all is healed. ``make faults`` does more of it, by
chance.
"""

from __future__ import annotations

from pathlib import Path

from bench.bad_days.plan import Planned
from bench.bad_days.rounds import WITHIN, run
from bench.bad_days.sites import SERVERS, small_disks

FAULTS = [
    Planned("kill", ("hq",), 0.5, 0.5),
    Planned("cut off", ("desk",), 0.2, 2.5, silent=True, beside=True),
    Planned("stop", ("depot",), 0.5, 3.0),
    Planned("locked, killed", ("branch",), 0.2, 1.0, beside=True),
    Planned("full", ("branch",), 1.0, 2.0),
    Planned("cut", ("hq", "branch"), 0.2, 3.0, beside=True),
    Planned("moved", ("depot",), 0.3, 0.0, beside=True),
    Planned("stop all", SERVERS, 0.5, 2.0),
    Planned("deleted", ("hq",), 0.5, 0.0),
    Planned("kill all", SERVERS, 0.5, 0.2),
]


def test_all_is_right_soon_after_the_healing(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault.kind != "full" or small_disks()]
    found = run(tmp_path, 7, faults, rate=6)
    assert not found.wrong, (found.wrong, found.rows)
    assert found.took < WITHIN, found
    assert found.answered > 100, found
    assert found.notes > 100, found
