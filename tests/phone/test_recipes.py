"""The recipes of docs/softphone.md run as printed, but for the switch's port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/softphone.md").read_text()
PORT = "127.0.0.1:5060"

# A phone in the background is waited for: a person who types is slower than it.
STARTED = """{command} > {log} 2>&1 &
until grep -q registered {log}; do kill -0 $!; sleep 0.1; done
"""


def recipes() -> dict[str, str]:
    text = PAGE.split("\n## Recipes\n")[1].split("\n## ")[0]
    heading, *parts = re.split(r"^### ", text, flags=re.MULTILINE)
    assert "lab.yaml" in heading
    return {part.partition("\n")[0]: part for part in parts}


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def script(text: str) -> str:
    """The commands of a recipe's console, for bash."""
    (console,) = blocks(text, "console")
    joined = console.replace("\\\n", "")
    lines = [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]
    steps = ["set -em", "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    for number, line in enumerate(lines):
        if line.endswith("&"):
            steps.append(STARTED.format(command=line[:-1], log=f"{number}.log"))
        else:
            steps.append(line)
    return "\n".join(steps)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, str]:
    """A folder with the page's files, and the address of the switch that they make."""
    at = f"127.0.0.1:{free_port()}"
    for file, text in re.findall(r"^```\w+\n(?=# (\S+)\n)(.*?)^```", PAGE, re.M | re.S):
        assert PORT in text or "dialplan" in file
        (tmp_path / file).write_text(text.replace(PORT, at))
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "softswitch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m softswitch.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path, at


def bash(folder: Path, text: str) -> tuple[int, str]:
    """Its exit status, and what was said."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
    logs = "".join(f"\n{log.name}:\n{log.read_text()}" for log in sorted(folder.glob("*.log")))
    return process.returncode, said + logs


def test_there_are_five() -> None:
    assert len(recipes()) == 5


@pytest.mark.parametrize("name", [name for name in recipes() if "CI" not in name])
def test_a_recipe(place: tuple[Path, str], name: str) -> None:
    folder, at = place
    switch = SwitchChild("lab", folder / "lab.yaml")
    try:
        switch.until_ready(20)
        status, said = bash(folder, script(recipes()[name]).replace(PORT, at))
    finally:
        switch.stop()
    assert status == 0, said
    # Something was expected in each of them.
    assert re.search(r"^call \d: met after ", said, re.MULTILINE), said
    assert "NOT MET" not in said, said


def test_the_smoke_test(place: tuple[Path, str]) -> None:
    folder, _ = place
    status, said = bash(folder, "bash smoke.sh")
    assert status == 0, said
    for report, cases in (("called.xml", 3), ("caller.xml", 2)):
        suite = ElementTree.parse(folder / report).getroot()[0]
        assert (suite.get("tests"), suite.get("failures")) == (str(cases), "0")


def test_the_smoke_test_fails_when_something_is_wrong(place: tuple[Path, str]) -> None:
    folder, _ = place
    smoke = folder / "smoke.sh"
    smoke.write_text(smoke.read_text().replace("--tone 660", "--tone 700"))
    status, said = bash(folder, "bash smoke.sh")
    assert status == 1, said
    assert b"found a tone of 700 Hz" in (folder / "caller.xml").read_bytes()
    assert "NOT MET" in said
