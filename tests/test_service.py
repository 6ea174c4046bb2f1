"""The systemd units in `deploy/`, against the commands, the page about them, and real processes.

They cannot be run by systemd here; what they say is done by hand instead.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click
import pytest
from switch_process import Running

from cdsplugin.cli import main as cds
from cdsplugin.config import CdsSection
from softswitch import process
from softswitch.cli import main as softswitch
from softswitch.config import Timers
from softswitch.lab.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/service.md").read_text()
UNITS = {path.name: path for path in sorted((ROOT / "deploy").glob("*.service"))}
PROGRAMS: dict[str, click.Group] = {"softswitch": softswitch, "cds": cds}
INSTANCE = {"softswitch@.service": "hq", "cds@.service": "records"}


def read(name: str) -> dict[str, str]:
    """The settings of a unit; none is given twice."""
    lines = UNITS[name].read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and line[0] not in "#["]
    assert len({key for key, _ in pairs}) == len(pairs)
    return {key: value.replace("%i", INSTANCE[name]) for key, value in pairs}


def test_there_are_two() -> None:
    assert set(UNITS) == set(INSTANCE)


@pytest.mark.parametrize("name", INSTANCE)
def test_the_command_is_one_of_ours(name: str) -> None:
    program, *arguments = shlex.split(read(name)["ExecStart"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(program).name in scripts
    assert (
        f"{Path(program).parent}/softswitch --version" in (ROOT / "docs/installing.md").read_text()
    )
    # An unknown command or option is an error of click's.
    group = PROGRAMS[Path(program).name]
    context = group.make_context(Path(program).name, arguments)
    word, command, rest = group.resolve_command(context, arguments)
    assert command is not None
    assert command.make_context(word, rest).params
    assert f"`{Path(program).name} {word} /etc/softswitch/NAME.yaml`" in PAGE


@pytest.mark.parametrize("name", INSTANCE)
def test_the_page_has_its_paths(name: str) -> None:
    unit = read(name)
    state = f"/var/lib/{unit['StateDirectory']}"
    assert unit["WorkingDirectory"] == state
    told = configuration(name)
    assert f"# {shlex.split(unit['ExecStart'])[-1]}\n" in told
    written = re.findall(r"^  (?:journal|database): (.*)$", told, re.MULTILINE)
    assert len(written) == (2 if "journal" in told else 1)
    assert {str(Path(file).parent) for file in written} == {state}
    assert f"--home-dir /var/lib/softswitch --shell /usr/sbin/nologin {unit['User']}\n" in PAGE


def test_what_stops_has_the_time_for_it() -> None:
    stop_within = CdsSection.model_fields["stop_within"].default
    own = 2 * process.LAST_WORDS + stop_within
    assert int(read("softswitch@.service")["TimeoutStopSec"]) >= Timers().drain_timeout + own + 10
    assert int(read("cds@.service")["TimeoutStopSec"]) >= stop_within + 10
    said = f"gives it {read('softswitch@.service')['TimeoutStopSec']} s (`TimeoutStopSec`)"
    assert said in " ".join(PAGE.split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name, path in UNITS.items():
        text = path.read_text().replace("/opt/softswitch/bin", str(Path(sys.executable).parent))
        (tmp_path / name).write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def configuration(name: str) -> str:
    """The configuration of the unit, as the page prints it."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = (one for one in blocks if f"{INSTANCE[name]}.yaml" in one)
    return block


@pytest.mark.parametrize("name", INSTANCE)
def test_it_starts_reloads_and_stops(name: str, tmp_path: Path) -> None:
    """As the unit says: its command in its directory, with no more of an environment than systemd
    gives, its signals. Only the folders are others, and the ports."""
    unit = read(name)
    places = {
        "/etc/softswitch": tmp_path / "etc",
        "/var/lib/softswitch": tmp_path / "lib",
        "/opt/softswitch/bin": Path(sys.executable).parent,
    }

    def here(text: str) -> str:
        for place, folder in places.items():
            text = text.replace(place, str(folder))
        return text

    etc, state = places["/etc/softswitch"], Path(here(unit["WorkingDirectory"]))
    etc.mkdir()
    state.mkdir(parents=True)
    told = re.sub(r":(?:0\.0\.0\.0|127\.0\.0\.1):\d+", ":127.0.0.1:0", here(configuration(name)))
    told = re.sub(r'"127\.0\.0\.1:\d+"', f'"127.0.0.1:{free_port()}"', told)
    (etc / f"{INSTANCE[name]}.yaml").write_text(told)
    (etc / "hq-dialplan.yaml").write_text('routes:\n  - {match: "1XX", dial: extension}\n')
    configured = {path.name for path in etc.iterdir()}
    *command, config = shlex.split(here(unit["ExecStart"]))
    running = Running(Path(config), command, cwd=state, only={"PATH": "/usr/bin:/bin"})
    try:
        running.until("ready on")
        assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
        running.process.send_signal(signal.SIGHUP)
        running.until("taken up")
        assert {path.name for path in etc.iterdir()} == configured
        assert (state / f"{INSTANCE[name]}.db").exists()
        began = time.monotonic()
        running.process.send_signal(getattr(signal, unit["KillSignal"]))
        assert running.ends() == 0
        assert time.monotonic() - began < int(unit["TimeoutStopSec"])
        assert " ERROR " not in running.said
    finally:
        if running.process.poll() is None:
            running.kill()


def test_a_mistake_is_not_tried_again(tmp_path: Path) -> None:
    """The exit status that the units do not restart after is the one for mistakes."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("switch: {}\n")
    for name in INSTANCE:
        unit = read(name)
        program, word, _ = shlex.split(unit["ExecStart"])
        found = subprocess.run(
            [str(Path(sys.executable).parent / Path(program).name), word, str(bad)],
            capture_output=True,
            timeout=30,
            env=dict(os.environ),
        )
        assert unit["RestartPreventExitStatus"] == str(found.returncode)
