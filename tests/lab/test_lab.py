"""``softswitch lab`` as a newcomer runs it: real switches, servers, phones, a call with audio."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from softswitch.lab.children import Child
from softswitch.lab.sites import example_folder

LAB = [sys.executable, "-m", "softswitch.cli", "lab"]
CALL_SECONDS = 60  # for the whole of it, on a busy machine


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Child]:
    """A lab that stays up; its temporary files would be under ``tmp_path``."""
    child = Child("lab", ["env", f"TMPDIR={tmp_path}", *LAB, "--base-port", "0", "--talk", "0.2"])
    yield child
    child.stop()


def children_of(parent: int) -> dict[int, str]:
    """Process ids of a process's children, with their command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == parent:
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


def until_it_stays(lab: Child) -> None:
    lab.until(
        lambda: any(line.endswith("branch.db") for line in lab.output), CALL_SECONDS, "invitation"
    )


def test_once_everything_holds(tmp_path: Path) -> None:
    run = subprocess.run(
        [*LAB, "--once", "--base-port", "0", "--data", str(tmp_path / "data"), "--talk", "0.5"],
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "FAILED" not in run.stdout
    for said in (
        r"ok: Bob hears Alice's tone: 4(39|40|41) Hz measured",
        r"ok: Alice hears Bob's tone: 6(59|60|61) Hz measured",
        r"ok: server hq owns the call's data",
        r"ok: both servers hold the same \d+ entries",
        r"ok: hq has one record of the call in hq\.db",
        r"ok: it says answered",
        r"ok: branch has none: one call, one record",
        r"\d s  all stopped",
    ):
        assert re.search(said, run.stdout), said + "\n" + run.stdout
    with sqlite3.connect(tmp_path / "data" / "hq.db") as database:
        records = database.execute("select caller, callee, disposition from cdrs").fetchall()
    database.close()
    assert records == [("1001", "2001", "answered")]


def test_what_it_says_to_dial_can_be_dialled(lab: Child) -> None:
    until_it_stays(lab)
    invited = next(line for line in lab.output if "softswitch phone --registrar" in line)
    phone = subprocess.run(
        [sys.executable, "-m", "softswitch.cli", *invited.split()[1:]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert phone.returncode == 0, phone.stdout + phone.stderr
    assert re.search(r"heard a tone of 6(59|60|61) Hz", phone.stdout)
    echo = [*invited.split()[1:], "--tone", "523"]
    echo[echo.index("--call") + 1] = "1001"
    phone = subprocess.run(
        [sys.executable, "-m", "softswitch.cli", *echo],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert re.search(r"heard a tone of 52[2-4] Hz", phone.stdout), phone.stdout
    # Whoever dials it hears itself, at either switch: nobody but the switch answers.
    assert any(line.startswith("and dial *43: you hear yourself") for line in lab.output)
    users = [line.split() for line in lab.output if line.startswith("  server ")]
    assert len(users) == 2
    for _, server, _, _, user, _, password in users:
        place = ["--registrar", server, "--user", user, "--password", password]
        own = ["phone", *place, "--call", "*43", "--tone", "523", "--expect-audio", "523"]
        phone = subprocess.run(
            [sys.executable, "-m", "softswitch.cli", *own],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert phone.returncode == 0, phone.stdout + phone.stderr
    # What the switches say of it meanwhile.
    said = "\n".join(lab.output)
    assert re.search(r"switch hq: .* calls: \S+ begins: extension:1002 .*calls 2001", said), said
    assert re.search(r"switch branch: .* calls: \S+ answered by extension:2001", said), said
    assert re.search(r"switch hq: .* calls: \S+ ends: answered for \d", said), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stays_up_until_interrupted_and_leaves_nothing(
    lab: Child, tmp_path: Path, number: signal.Signals
) -> None:
    until_it_stays(lab)
    assert len(children_of(lab.pid)) == 4
    invited = next(line for line in lab.output if "softswitch phone --registrar" in line)
    registrar = invited.split()[invited.split().index("--registrar") + 1]
    lab.signal(number)
    lab.until(lambda: lab.status == 0, 40, "end")
    assert list(tmp_path.iterdir()) == []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        host, port = registrar.split(":")
        free.bind((host, int(port)))


def test_a_dead_switch_is_told_and_everything_ends(lab: Child) -> None:
    until_it_stays(lab)
    (branch,) = (pid for pid, said in children_of(lab.pid).items() if "lab-branch.yaml" in said)
    os.kill(branch, signal.SIGKILL)
    lab.until(lambda: any("all stopped" in line for line in lab.output), 20, "end")
    lab.until(lambda: lab.status == 1, 20, "end")
    assert any("switch branch was killed by signal 9" in line for line in lab.output)


def test_a_broken_configuration_is_told_with_the_switch_own_words(tmp_path: Path) -> None:
    folder = tmp_path / "dialplans"
    shutil.copytree(example_folder(), folder)
    config = folder / "lab-branch.yaml"
    config.write_text(config.read_text().replace("site:", "cite:"))
    run = subprocess.run(
        [*LAB, "--once", "--base-port", "0", "--config-dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    assert run.returncode == 1
    assert "switch branch ended with status 2; its last lines:" in run.stdout
    assert "cite" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if port > 65530:
            port -= 5
        run = subprocess.run(
            [*LAB, "--once", "--base-port", str(port)],
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert re.match(r"softswitch lab: switch \w+ cannot listen on tcp port \d+ of 127", line)
    assert "--base-port" in line
    assert list(tmp_path.iterdir()) == []
