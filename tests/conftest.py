"""What runs: the compiled modules or the sources, and never an older state of them."""

from __future__ import annotations

import gc
import importlib

import pytest
from hypothesis import settings

import bench  # noqa: F401 (names the file of the ports that were given)
from softswitch import compiled

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_report_header() -> str:
    return f"softswitch: {compiled.state()}"


def pytest_sessionstart() -> None:
    importlib.import_module("softswitch.process")
    importlib.import_module("cdsplugin.plugin")
    old = compiled.stale()
    if old:
        pytest.exit(
            f"{old[0]} was changed after it was compiled: `make compiled`, or `make plain`", 3
        )


def pytest_collection_finish() -> None:
    _leave_as_it_is()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is not None and nextitem.path != item.path:
        _leave_as_it_is()


def _leave_as_it_is() -> None:
    """What was there before a file's first test stays. Tests that look through all objects for what
    they have left need not look through that as well: it would take most of their time."""
    gc.collect()
    gc.freeze()
