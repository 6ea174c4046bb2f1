"""What runs: the compiled modules or the sources, and never an older state of them."""

from __future__ import annotations

import importlib

import pytest

from softswitch import compiled


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
