"""Measurements: SIPp on both sides of a switch, and what a call costs in between."""

import os
import tempfile
from pathlib import Path

from softswitch.lab import ports

os.environ.setdefault(
    ports.GIVEN, str(Path(tempfile.gettempdir()) / f"softswitch-ports-{os.getuid()}")
)
