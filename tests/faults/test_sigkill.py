"""SIGKILL under load, with real processes: afterwards there is one record of each call.

Few repetitions; ``python bench/faults.py`` does more of them.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from bench.faults import run


@pytest.fixture(scope="session", autouse=True)
def _sipp_installed() -> None:
    assert shutil.which("sipp"), "SIPp is not installed: apt-get install sip-tester"


@pytest.mark.parametrize("killed", [("hq",), ("branch",), ("hq", "branch")], ids="+".join)
def test_one_record_of_each_call(tmp_path: Path, killed: tuple[str, ...]) -> None:
    outcome = run(tmp_path, killed, random.Random(7), rate=40, seconds=3)
    assert len(outcome.told.answered) > 60, "there was load before and after"
    assert not outcome.missing(), outcome
    assert not outcome.missing_ringing(), outcome
    assert not outcome.doubled(), outcome
    assert not outcome.both, outcome
    assert not outcome.unfinished, outcome
