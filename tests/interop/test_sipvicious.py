"""An attacker's tools (SIPVicious) against a running switch: they find nothing, are counted and
seen, and the phones behind the same address go on calling."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from softswitch.lab.ports import free_port

PATIENCE = 60.0
LINES = 3
"""About guesses, before the attackers are ended: what is told once a second is told again."""
PASSWORD = "4711"
CONFIG = """
switch: {{name: hq, listen: "udp:127.0.0.1:{sip}", journal: off}}
extensions:
  "1001": {{password: "{password}"}}
  "1002": {{password: b}}
  "1003": {{password: c}}
dialplan: plan.yaml
log: {{file: said.log}}
cds: {{database: hq.db, api: {{listen: "127.0.0.1:{api}", tokens: [t]}}}}
"""


def _interruptible() -> None:
    """What runs in the background of a shell ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Site:
    """A switch, and what is run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sip, self.api = free_port(), free_port()
        (folder / "plan.yaml").write_text('routes: [{match: "1XXX", dial: extension}]\n')
        text = CONFIG.format(sip=self.sip, api=self.api, password=PASSWORD)
        (folder / "hq.yaml").write_text(text)
        self.running: list[subprocess.Popen[str]] = []

    def run(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_interruptible,
        )  # fmt: skip
        self.running.append(process)
        return process

    def softswitch(self, *arguments: str) -> subprocess.Popen[str]:
        return self.run(sys.executable, "-m", "softswitch.cli", *arguments)

    def phone(self, user: str, password: str, *arguments: str) -> subprocess.Popen[str]:
        return self.softswitch(
            "phone", "--registrar", f"127.0.0.1:{self.sip}", "--user", user,
            "--password", password, *arguments,
        )  # fmt: skip

    def interrupt(self, tools: list[subprocess.Popen[str]]) -> list[str]:
        """What they have found: whoever is not done yet says so when it is interrupted. A signal
        that comes in the middle of something may be lost, so it is sent again."""
        for _ in range(6):
            going = [tool for tool in tools if tool.poll() is None]
            for tool in going:
                tool.send_signal(signal.SIGINT)
            until = time.monotonic() + 5
            while any(tool.poll() is None for tool in going) and time.monotonic() < until:
                time.sleep(0.05)
        return [tool.communicate(timeout=1)[0] for tool in tools]

    def attacks(self, tool: str, *arguments: str) -> subprocess.Popen[str]:
        program = Path(sys.executable).with_name(f"sipvicious_{tool}")
        return self.run(
            str(program), *arguments, "-p", str(self.sip), "-P", str(free_port()), "127.0.0.1"
        )  # fmt: skip

    def said(self) -> list[str]:
        return (self.folder / "said.log").read_text().splitlines()

    def guesses(self) -> tuple[int, int]:
        """Lines about guesses, and the guesses that they tell of."""
        lines = [line for line in self.said() if " guesses: " in line]
        return len(lines), sum(int(re.findall(r", (\d+) times: ", line)[0]) for line in lines)

    def metric(self, name: str) -> float:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/metrics", headers={"Authorization": "Bearer t"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            found = re.search(rf"^softswitch_{name} (\S+)$", answer.read().decode(), re.M)
        assert found is not None, name
        return float(found[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    switch = site.softswitch("run", "hq.yaml")
    assert switch.stdout is not None
    assert "ready on" in switch.stdout.readline()
    yield site
    for process in site.running:
        if process.poll() is None:
            process.terminate()
    for process in site.running:
        process.communicate(timeout=20)


def test_they_find_nothing_and_phones_go_on_calling(site: Site) -> None:
    answers = site.phone("1003", "c", "--answer")
    assert answers.stdout is not None
    while "registered" not in answers.stdout.readline():
        pass
    # It has been here before: behind the address of an attacker that counts.
    assert site.phone("1002", "b", "--call", "1003", "--duration", "0.2").wait(20) == 0
    began = time.monotonic()
    tools = [
        site.attacks("svwar", "--force", "-e1000-1009"),
        site.attacks("svwar", "--force", "-e1000-1009", "-m", "INVITE"),
        site.attacks("svcrack", "-u", "1001", "-r", "4600-9999", "-z", "4"),
    ]
    calls = 0
    while not calls or site.guesses()[0] < LINES or site.metric("wrong_passwords_total") <= 100:
        assert time.monotonic() - began < PATIENCE, site.said()
        call = site.phone("1002", "b", "--call", "1003", "--duration", "0.2")
        assert call.wait(20) == 0, call.communicate()[0]
        calls += 1
    found = site.interrupt(tools)
    for text in found[:2]:
        assert "found nothing" in text, text
    assert PASSWORD not in found[2], found[2]
    # The last guesses have their line within a second.
    until = time.monotonic() + PATIENCE
    while (wrong := site.metric("wrong_passwords_total")) != site.guesses()[1]:
        assert time.monotonic() < until, (wrong, site.said())
        time.sleep(0.05)
    lines, _ = site.guesses()
    assert lines <= time.monotonic() - began + 1, "a line a second"
