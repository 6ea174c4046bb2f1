"""A process under test and its children: started, waited for, measured through /proc, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessFailure(Exception):
    """The process did not start or did not end as it should; the message has its last words."""


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree so far, in seconds (10 ms steps)."""
    total = 0
    for member in tree(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except FileNotFoundError:
            continue
        # The name may hold spaces and brackets: count from behind it. utime, stime: 14 and 15.
        fields = stat.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_SECOND


def memory_bytes(pid: int, kind: str = "Pss") -> int:
    """Proportional set size of the process tree: shared pages are counted once. ``Pss_Anon``: of
    that what belongs to no file, which does not depend on who else has the same libraries open."""
    total = 0
    for member in tree(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in rollup.splitlines():
            if line.startswith(f"{kind}:"):
                total += int(line.split()[1]) * 1024
    return total


class Process:
    """One process group of ours, with its output in a file."""

    def __init__(self, command: list[str], directory: Path, name: str) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def output(self) -> str:
        """What it printed so far, stdout and stderr."""
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool], timeout: float = 15) -> None:
        """Return once `ready()` holds; `ProcessFailure` after `timeout` s or if it ends first."""
        deadline = time.monotonic() + timeout
        while not ready():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                why = f"ended with {code}" if code is not None else f"not ready in {timeout:g} s"
                self.stop(1)
                raise ProcessFailure(f"{self.name}: {why}\n{self.output()[-2000:]}")
            time.sleep(0.02)

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM, and SIGKILL for the group after `timeout` seconds. Its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                return self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()
