"""Starts the agent of Pipecat (``pipecat/agent.py``), in the environment that `make peers` sets up
for it: with all it needs it is larger than the project's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from softswitch.lab.children import Child, PhoneChild

HERE = Path(__file__).parent / "pipecat"
PYTHON = HERE / ".venv" / "bin" / "python"
STAMP = HERE / ".venv" / ".installed"


def require() -> None:
    """A check that did not run is a failure, with what to do about it."""
    if not STAMP.exists():
        pytest.fail(f"Pipecat is not there, in {STAMP.parent}: make peers")


class PipecatAgent(PhoneChild):
    """A WebSocket server with a pipeline for each call. Its events: start, key, sent and got (of
    messages but audio), gone (the switch has closed), over (its pipeline has ended)."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        # Else it greets as well.
        command = ["env", "LOGURU_LEVEL=WARNING", str(PYTHON), "-I", str(HERE / "agent.py")]
        Child.__init__(self, "Pipecat", command)
        port = self.expect("ready", 30)["port"]
        self.url = f"ws://127.0.0.1:{port}/"
