"""What this build of pjsua2 can, which only a try tells."""

from __future__ import annotations

import pjsua2 as pj
import pytest

from softswitch.media import worker


def _four() -> None:
    worker._library(4)
    worker._has_account(pj.PJSUA_IPV6_DISABLED)


def test_a_try_that_works_and_one_that_does_not() -> None:
    """The same steps, as far as they are the same: so it is the build that says no."""
    assert worker._tries(_four)
    assert worker._allows(worker.WHEEL)
    assert not worker._tries(lambda: pytest.fail("no"))


def test_how_many_calls_a_process_has() -> None:
    most = worker.most_calls()
    assert most >= worker.WHEEL
    assert not worker._allows(most * 2)
