"""SIPp as a caller and as a callee: started, bounded in time, and its final counts read.

SIPp writes its counts to a CSV file (`-trace_stat`); what is reported here is the last line of it.
Exit codes of SIPp: 0 all calls passed, 1 at least one failed, 97 stopped from outside (`-timeout`,
a signal), 99 ended without processing a call, 253 to 255 it could not run.
"""

from __future__ import annotations

import csv
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from softswitch.lab.ports import HOST, free_port

SCENARIOS = Path(__file__).resolve().parent.parent / "sipp-scenarios"
Transport = Literal["u1", "un", "t1", "tn"]


class SippFailure(Exception):
    """SIPp did not start, or did not end in time. The message says which, with its last words."""


@dataclass(frozen=True, slots=True)
class SippResult:
    """What one SIPp counted over its life. `response_ms` is the mean from INVITE to its answer."""

    scenario: str
    created: int
    successful: int
    failed: int
    retransmissions: int
    current: int
    response_ms: float
    exit_code: int
    seconds: float
    errors: str
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every call that was placed or taken passed, and there was at least one."""
        return self.successful > 0 and self.failed == 0


def _bound(port: int, transport: Transport) -> bool:
    table = "/proc/net/udp" if transport[0] == "u" else "/proc/net/tcp"
    wanted = f"0100007F:{port:04X}"
    for line in Path(table).read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1] == wanted and (transport[0] == "u" or columns[3] == "0A"):
            return True
    return False


def _duration_ms(text: str) -> float:
    """`00:00:00:012000` (hours, minutes, seconds, microseconds) in milliseconds."""
    hours, minutes, seconds, micros = (int(part) for part in text.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + micros / 1000


class Sipp:
    """A running SIPp. Make it with `start`, end it with `wait` or `stop`; both give its result."""

    def __init__(self, process: subprocess.Popen[bytes], scenario: str, directory: Path) -> None:
        self.process = process
        self.scenario = scenario
        self.directory = directory
        self._began = time.monotonic()

    @classmethod
    def start(
        cls, scenario: str | Path, arguments: Sequence[str], *, transport: Transport, timeout: float
    ) -> Sipp:
        """Start SIPp with a scenario's name (`uac-answered`) or file, for `timeout` s at most."""
        path = Path(scenario) if Path(scenario).suffix else SCENARIOS / f"{scenario}.xml"
        directory = Path(tempfile.mkdtemp(prefix="sipp-"))
        command = [
            *("sipp", "-sf", str(path), "-i", HOST, "-t", transport, "-nostdin"),
            *("-trace_stat", "-fd", "1", "-stf", str(directory / "stat.csv")),
            *("-trace_err", "-error_file", str(directory / "errors.log")),
            *("-buff_size", "1048576", "-max_recv_loops", "1000", "-max_sched_loops", "1000"),
            # A machine shared with the switch under test is busy: that is no reason to abort.
            *("-watchdog_minor_maxtriggers", "1000000", "-watchdog_major_maxtriggers", "1000000"),
            *("-max_socket", "10000", "-timeout", f"{max(1, int(timeout))}s"),
            # By itself each looks from 6000 on and no further than 6198, which some dozens use up.
            *("-mp", str(free_port(4))),
            *arguments,
        ]
        with (directory / "screen.log").open("wb") as screen:
            process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
            )
        return cls(process, path.stem, directory)

    def _last_line(self) -> dict[str, str]:
        try:
            lines = (self.directory / "stat.csv").read_text().splitlines()
        except FileNotFoundError:
            return {}
        # The last line may be half written while SIPp runs.
        rows = list(csv.reader([*lines[:1], *lines[1:][-2:]], delimiter=";"))
        complete = [row for row in rows[1:] if len(row) >= len(rows[0]) - 1]
        return dict(zip(rows[0], complete[-1], strict=False)) if complete else {}

    def placed(self) -> int:
        """Calls created so far (SIPp counts once a second)."""
        return int(self._last_line().get("TotalCallCreated") or 0)

    def counts(self) -> SippResult:
        """The counts as of now (SIPp writes them once a second); final ones once it has ended."""
        line = self._last_line()
        errors = self.directory / "errors.log"
        return SippResult(
            scenario=self.scenario,
            created=int(line.get("TotalCallCreated") or 0),
            successful=int(line.get("SuccessfulCall(C)") or 0),
            failed=int(line.get("FailedCall(C)") or 0),
            retransmissions=int(line.get("Retransmissions(C)") or 0),
            current=int(line.get("CurrentCall") or 0),
            response_ms=_duration_ms(line.get("ResponseTime1(C)") or "0:0:0:0"),
            exit_code=self.process.returncode if self.process.returncode is not None else -1,
            seconds=time.monotonic() - self._began,
            errors=errors.read_text(errors="replace")[:4000] if errors.exists() else "",
            reasons={
                key.removesuffix("(C)"): int(value)
                for key, value in line.items()
                if key.startswith("Failed") and key.endswith("(C)") and value not in ("", "0")
            },
        )

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds; true if it has."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def broke(self) -> bool:
        """Whether it has ended because it could not run, or by a signal."""
        code = self.process.poll()
        return code is not None and not 0 <= code <= 100

    def kill(self) -> None:
        """End it at once if it still runs; its calls are left as they are."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait(self, timeout: float) -> SippResult:
        """Its result once it has ended; after `timeout` s it is killed and `SippFailure` raised."""
        if not self.ended(timeout):
            self.kill()
            raise SippFailure(f"{self.scenario} did not end in {timeout:g} s: {self.counts()}")
        result = self.counts()
        if self.broke():
            screen = (self.directory / "screen.log").read_text(errors="replace").strip()
            raise SippFailure(f"{self.scenario}: exit {result.exit_code}\n{screen[:1500]}")
        return result

    def no_more(self) -> None:
        """Place no more calls; it ends when those in progress have."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)

    def stop(self, grace: float = 3.0) -> SippResult:
        """Let calls in progress end for up to `grace` seconds, then end it; its final counts."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            if not self.ended(grace):
                # Twice: SIPp gives up the calls that are left, and still writes its counts.
                self.process.send_signal(signal.SIGUSR1)
                if not self.ended(2):
                    self.kill()
        return self.counts()


def start_caller(
    scenario: str | Path,
    remote: str,
    *,
    calls: int = 1,
    rate: float = 10,
    at_once: int | None = None,
    hold_ms: int = 0,
    number: str = "2001",
    caller: str | None = None,
    port: int | None = None,
    transport: Transport = "u1",
    timeout: float = 30,
    args: Sequence[str] = (),
) -> Sipp:
    """Start placing `calls` calls at `rate` a second to `remote` (`host:port`), without waiting.

    `at_once` is the most calls up at a time (default: all of them), `hold_ms` the scenario's `-d`.
    """
    arguments = [remote, "-m", str(calls), "-l", str(at_once or max(calls, 1)), "-s", number]
    # SIPp takes whole calls per period: 0.5 calls/s is 1 per 2 s.
    arguments += ["-r", str(int(rate))] if rate >= 1 else ["-r", "1", "-rp", str(int(1000 / rate))]
    arguments += ["-d", str(hold_ms), "-p", str(port or free_port())]
    if caller is not None:
        arguments += ["-set", "caller", caller]
    return Sipp.start(scenario, [*arguments, *args], transport=transport, timeout=timeout)


def run_sipp(
    scenario: str | Path,
    remote: str,
    *,
    calls: int = 1,
    rate: float = 10,
    timeout: float = 30,
    at_once: int | None = None,
    hold_ms: int = 0,
    number: str = "2001",
    caller: str | None = None,
    port: int | None = None,
    transport: Transport = "u1",
    args: Sequence[str] = (),
) -> SippResult:
    """Place `calls` calls and wait for their end, `timeout` seconds at most. See `start_caller`."""
    running = start_caller(
        scenario,
        remote,
        calls=calls,
        rate=rate,
        at_once=at_once,
        hold_ms=hold_ms,
        number=number,
        caller=caller,
        port=port,
        transport=transport,
        timeout=timeout,
        args=args,
    )
    return running.wait(timeout + 5)


@dataclass(slots=True)
class Callee:
    """A SIPp that takes calls at `127.0.0.1:port`. `result` is there once the context is left."""

    port: int
    sipp: Sipp
    result: SippResult | None = None

    @property
    def address(self) -> str:
        """`host:port`, as `remote` of a caller or in a trunk's `to`."""
        return f"{HOST}:{self.port}"

    @property
    def counted(self) -> SippResult:
        """The final counts. `SippFailure` while it still runs."""
        if self.result is None:
            raise SippFailure("the callee still runs")
        return self.result


@contextmanager
def sipp_callee(
    scenario: str | Path,
    *,
    port: int | None = None,
    hold_ms: int = 0,
    transport: Transport = "u1",
    timeout: float = 60,
    grace: float = 3.0,
    args: Sequence[str] = (),
) -> Iterator[Callee]:
    """A SIPp callee that listens when the block begins. `hold_ms` is the scenario's `-d`.

    At the end of the block calls in progress may end for `grace` seconds; then `result` is set.
    """
    port = port or free_port()
    arguments = ["-p", str(port), "-d", str(hold_ms), *args]
    sipp = Sipp.start(scenario, arguments, transport=transport, timeout=timeout)
    callee = Callee(port, sipp)
    deadline = time.monotonic() + 5
    try:
        while not _bound(port, transport):
            if sipp.process.poll() is not None or time.monotonic() > deadline:
                raise SippFailure(f"{scenario} does not listen: {sipp.wait(1)}")
            time.sleep(0.01)
        yield callee
    finally:
        callee.result = sipp.stop(grace)
