"""A configuration taken up under load: `python -m bench.reload`.

A switch with thousands of routes and extensions has calls; at first nothing happens, then its files
are changed again and again and it takes them up. How long calls took to be answered is SIPp's own
measure (INVITE to 200), in ms; the two halves of one run are compared.
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.sipp import sipp_callee, start_caller
from softswitch.lab.ports import free_port

CONFIG = """
switch: {{name: hq, listen: "udp:127.0.0.1:{sip}"}}
extensions:
{extensions}
trunks:
  caller: {{to: "sip:127.0.0.1:{caller}", keepalive: 0}}
  callee: {{to: "sip:127.0.0.1:{callee}", keepalive: 0}}
dialplan: plan.yaml
log: {{file: said.log}}
"""


class Site:
    """The files of a switch, which can be written in another version."""

    def __init__(self, folder: Path, routes: int, extensions: int, ports: dict[str, int]) -> None:
        self.folder, self.routes, self.extensions, self.ports = folder, routes, extensions, ports
        self.version = 0
        self.write()

    def write(self) -> None:
        """All of them anew: every route and extension is another than before."""
        self.version += 1
        people = "".join(
            f'  "{10_000 + n}": {{name: V{self.version}, password: p{n}}}\n'
            for n in range(self.extensions)
        )
        plan = self.folder / "plan.new"
        plan.write_text(
            'routes:\n  - {match: "2001", from: any, dial: "trunk:callee"}\n'
            + "".join(
                f'  - {{match: "{100_000 + n}X", from: any, dial: "trunk:callee",'
                f' set: {{version: "{self.version}"}}}}\n'
                for n in range(self.routes)
            )
        )
        plan.replace(self.folder / "plan.yaml")
        (self.folder / "hq.new").write_text(CONFIG.format(extensions=people, **self.ports))
        (self.folder / "hq.new").replace(self.folder / "hq.yaml")

    def taken_up(self) -> int:
        """How often the switch said that it has taken them up."""
        return (self.folder / "said.log").read_text().count(" taken up: ")


def measure(
    folder: Path, rate: float, seconds: float, reloads: int, routes: int, extensions: int
) -> tuple[list[float], list[float], int]:
    """Times to the answer in ms, sorted: without and with reloads; and how many there were."""
    caller = free_port()
    with sipp_callee("uas-answered", timeout=4 * seconds + 60) as callee:
        ports = {"sip": free_port(), "caller": caller, "callee": callee.port}
        site = Site(folder, routes, extensions, ports)
        switch = subprocess.Popen(
            [sys.executable, "-m", "softswitch.cli", "run", "hq.yaml"],
            cwd=folder, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert switch.stderr is not None
            assert "ready" in switch.stderr.readline()
            quiet = _load(ports, rate, seconds, None, 0)
            before = site.taken_up()
            busy = _load(ports, rate, seconds, (site, switch), reloads)
            return quiet, busy, site.taken_up() - before
        finally:
            switch.terminate()
            switch.communicate(timeout=20)


def _load(
    ports: dict[str, int],
    rate: float,
    seconds: float,
    changed: tuple[Site, subprocess.Popen[str]] | None,
    reloads: int,
) -> list[float]:
    sipp = start_caller(
        "uac-answered", f"127.0.0.1:{ports['sip']}", calls=int(rate * seconds), rate=rate,
        port=ports["caller"], timeout=seconds + 30, args=["-trace_rtt", "-rtt_freq", "100"],
    )  # fmt: skip
    began = time.monotonic()
    for n in range(reloads):
        time.sleep(max(began + seconds * (n + 0.5) / reloads - time.monotonic(), 0))
        assert changed is not None
        site, switch = changed
        site.write()
        switch.send_signal(signal.SIGHUP)
    sipp.process.wait(seconds + 40)
    times: list[float] = []
    for path in sipp.directory.glob("*_rtt.csv"):
        with path.open() as file:
            rows = csv.reader(file, delimiter=";")
            next(rows)
            times += [float(row[1]) for row in rows if len(row) > 1]
    result = sipp.wait(5)
    assert result.failed == 0, result
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--reloads", type=int, default=4)
    parser.add_argument("--routes", type=int, default=5000)
    parser.add_argument("--extensions", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet, busy, taken = measure(
            Path(folder), args.rate, args.seconds, args.reloads, args.routes, args.extensions
        )
    for what, times in (("without reloads", quiet), (f"with {taken} reloads", busy)):
        worst = times[-1]
        shares = ", ".join(
            f"{p:g} %: {times[int(len(times) * p / 100)]:.1f}" for p in (50, 99, 99.9)
        )
        print(f"{what}: {len(times)} calls, {shares}, the last one: {worst:.1f} ms")


if __name__ == "__main__":
    main()
