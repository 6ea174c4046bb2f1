"""One world a test; at the end of each, nothing may have been logged as an exception."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.call_world import World


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    """A switch ``hq`` of the usual configuration, on a network in memory."""
    yield World(tmp_path)
    raised = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not raised, [record.getMessage() for record in raised]


@pytest.fixture
def journalled(tmp_path: Path) -> World:
    """A world whose switch has a journal."""
    return World(tmp_path, journal=True)
