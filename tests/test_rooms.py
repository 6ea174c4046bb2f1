"""`make style` holds rooms to one door and all imports to one direction: shown on copies of the
packages in which a rule is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("softswitch", "cdsplugin"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        # Another room's inside, though its door has the same.
        ("softswitch/parties/lines.py", "from softswitch.sip.message import Request", "one door"),
        ("cdsplugin/api/live.py", "from cdsplugin.proxy.peers import Peers", "one door"),
        # Circles: of files in a room, of rooms, and where only the type checker looks.
        ("cdsplugin/data/entries.py", "from cdsplugin.data.call_data import CallData", "circles"),
        (
            "softswitch/sip/timers.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from softswitch.sip.transaction import Transactions",
            "circles",
        ),
        ("softswitch/sip/flow.py", "from softswitch.calls import Call", "in layers"),
        ("cdsplugin/server.py", "from cdsplugin.api import Api", "in layers"),
        # What knows no switch.
        ("cdsplugin/proxy/health.py", "from softswitch.events import Event", "no switch at all"),
        ("softswitch/switch.py", "from cdsplugin.data import Store", "never imports"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_found(copy: Path, file: str, line: str, says: str) -> None:
    path = copy / file
    head, mark, rest = path.read_text().partition("from __future__ import annotations\n")
    path.write_text(f"{head}{mark}\n{line}\n{rest}")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(says in text for text in broken), broken


def test_no_rule_is_broken(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


def test_files_of_tests_have_names_of_their_own() -> None:
    """Outside of packages pytest takes two of one name for one module."""
    known: dict[str, Path] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        others = {"node_modules", ".venv"} & set(path.parts)
        if others or (path.parent / "__init__.py").exists():
            continue
        assert path.name not in known, f"{path} beside {known[path.name]}"
        known[path.name] = path
