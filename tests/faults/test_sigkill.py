"""SIGKILL under load, with real processes: afterwards there is one right record of each call.

What is compared with what stands in ``bench.faults``: of what anybody was told nothing may be lost.
Few repetitions and short waits here; ``make faults`` does more of them.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from bench.faults import run
from bench.sites import Timing


@pytest.fixture(scope="session", autouse=True)
def _sipp_installed() -> None:
    assert shutil.which("sipp"), "SIPp is not installed: apt-get install sip-tester"


@pytest.mark.parametrize("killed", [("hq",), ("branch",), ("hq", "branch")], ids="+".join)
def test_one_record_of_each_call(tmp_path: Path, killed: tuple[str, ...]) -> None:
    timing = Timing(alive_interval=0.2, dead_after=1.0, reregister_within=1.5, linger=0.4)
    outcome = run(tmp_path, killed, random.Random(7), rate=45, seconds=3.5, timing=timing)
    assert len(outcome.told.answered) > 50, "there was load before and after"
    assert not outcome.missing(), outcome
    assert not outcome.unlike(), outcome
    assert not outcome.doubled(), outcome
    assert not outcome.both, outcome
    assert not outcome.unfinished, outcome
