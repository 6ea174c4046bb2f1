"""SIPp has to be there: without it these tests fail, and say what to install."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def _sipp_installed() -> None:
    assert shutil.which("sipp"), "SIPp is not installed: apt-get install sip-tester"
