"""Servers killed in the middle of calls: is there exactly one record of each call afterwards?

    python bench/faults.py [--kill hq|branch|both] [--times 20] [--rate 50] [--seed N]

Two switches in a row with their call data servers, SIPp on either side. At a random moment the
process of the owner (``hq``), of the participant (``branch``) or both get SIGKILL; they are started
again, and when SIPp is done the records are compared with what SIPp's caller was told, call by
call: every call that the caller heard ringing or answered has one row at its owner, final, and no
other server has a row of it too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bench.process import Process
from bench.sipp import HOST, Sipp, free_port, sipp_callee, start_caller

TOKEN = "faults"
JOURNAL = 0.1


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: settings of both servers, short so that a run is short."""

    alive_interval: float = 0.3
    dead_after: float = 1.5
    reregister_within: float = 3.0
    linger: float = 0.5


class Site:
    """One switch and its server: started, killed, started again."""

    def __init__(self, name: str, directory: Path, config: dict[str, Any]) -> None:
        self.name = name
        self.directory = directory
        self.config = config
        self.path = directory / f"{name}.switch.yaml"
        self.path.write_text(yaml.safe_dump(config))
        self.database = directory / f"{name}.db"
        self.process: Process | None = None
        self.starts = 0

    def start(self, prefix: tuple[str, ...] = ()) -> float:
        """Start it; returns after how many seconds its API answered."""
        began = time.monotonic()
        self.starts += 1
        self.process = Process(
            [*prefix, sys.executable, "-m", "softswitch.cli", "run", str(self.path)],
            self.directory,
            f"{self.name}-{self.starts}",
        )
        self.process.wait_until(self.answers, 20)
        return time.monotonic() - began

    def answers(self) -> bool:
        """Whether the API can be asked."""
        try:
            self.get("/health")
        except (OSError, ValueError):
            return False
        return True

    def get(self, path: str) -> Any:
        """What the API answers."""
        request = urllib.request.Request(
            f"http://{self.config['cds']['api']['listen']}{path}",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=2) as answer:
            return json.load(answer)

    def kill(self) -> None:
        """SIGKILL, for it and its children."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.stop(5)

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            self.process.stop(20)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of its database."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10) as database:
            return database.execute(sql).fetchall()

    def output(self) -> str:
        """What its processes printed."""
        return "\n".join(
            path.read_text(errors="replace")
            for path in sorted(self.directory.glob(f"{self.name}-*.log"))
        )


def make_sites(
    directory: Path, caller: int, callee: int, timing: Timing, hosts: tuple[str, str] = (HOST, HOST)
) -> tuple[Site, Site]:
    """The sites ``hq`` and ``branch``: calls from the caller's port go through both."""
    ports = [free_port() for _ in range(6)]
    sip, link = ports[0:2], ports[2:4]
    (directory / "hq.yaml").write_text(
        yaml.safe_dump(
            {"routes": [{"match": "2XXX", "from": "any", "dial": "trunk:branch", "timeout": 20}]}
        )
    )
    (directory / "branch.yaml").write_text(
        yaml.safe_dump(
            {"routes": [{"match": "2XXX", "from": "any", "dial": "trunk:callee", "timeout": 20}]}
        )
    )
    sites = []
    for number, (name, peer) in enumerate((("hq", "branch"), ("branch", "hq"))):
        other = 1 - number
        trunks: dict[str, Any] = {
            peer: {"to": f"sip:{hosts[other]}:{sip[other]}", "switch": True, "keepalive": 0},
            ("caller" if name == "hq" else "callee"): {
                "to": f"sip:{HOST}:{caller if name == 'hq' else callee}",
                "keepalive": 0,
            },
        }
        listen = {f"udp:{hosts[number]}:{sip[number]}", f"udp:{HOST}:{sip[number]}"}
        cds: dict[str, Any] = {
            "listen": f"tcp:{hosts[number]}:{link[number]}",
            "peers": {peer: f"tcp:{hosts[other]}:{link[other]}"},
            "database": f"{name}.db",
            "alive_interval": timing.alive_interval,
            "dead_after": timing.dead_after,
            "reregister_within": timing.reregister_within,
            "linger": timing.linger,
            "api": {"listen": f"{HOST}:{ports[4 + number]}", "tokens": [TOKEN]},
        }
        if hosts[number] != HOST:
            cds["secret"] = "a secret of all the servers of this run, long enough"
        sites.append(
            Site(
                name,
                directory,
                {
                    "switch": {"name": name, "site": name, "listen": sorted(listen)},
                    "timers": {"drain_timeout": 0},
                    "trunks": trunks,
                    "dialplan": f"{name}.yaml",
                    "media": {"mode": "bypass"},
                    "cds": cds,
                },
            )
        )
    return sites[0], sites[1]


@dataclass(slots=True)
class Told:
    """What SIPp's caller was told of its calls, by SIP Call-ID: when (seconds, its clock)."""

    invited: dict[str, float] = field(default_factory=dict)
    ringing: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)


_MESSAGE = re.compile(
    r"^-{10,} \S+ (?P<time>[0-9.:]+)\n"
    r"\S+ message (?P<way>sent|received) .*?:\n\n"
    r"(?P<text>.*?)(?=^-{10,} |\Z)",
    re.S | re.M,
)


def told(messages: Path) -> Told:
    """Read SIPp's ``-trace_msg``."""
    found = Told()
    for match in _MESSAGE.finditer(messages.read_text(errors="replace")):
        text = match["text"]
        call_id = re.search(r"^Call-ID: *(\S+)", text, re.M | re.I)
        cseq = re.search(r"^CSeq: *\d+ (\w+)", text, re.M | re.I)
        if call_id is None or cseq is None or cseq[1] != "INVITE":
            continue
        hours, minutes, seconds = match["time"].split(":")
        at = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        start = text[:12]
        if match["way"] == "sent" and start.startswith("INVITE"):
            found.invited.setdefault(call_id[1], at)
        elif start.startswith("SIP/2.0 18"):
            found.ringing.setdefault(call_id[1], at)
        elif start.startswith("SIP/2.0 200"):
            found.answered.setdefault(call_id[1], at)
    return found


@dataclass(slots=True)
class Outcome:
    """What came of a run. The sets are of SIP Call-IDs, of callIDs where they say so."""

    told: Told
    recorded: dict[str, list[str]]
    """The callIDs recorded for each SIP Call-ID."""
    both: set[str]
    """callIDs with a row at both servers."""
    unfinished: int
    restart: float
    """Seconds from its start to the first answer of a restarted server, the slower one."""
    killed: float = 0.0
    dispositions: dict[str, int] = field(default_factory=dict)

    def missing(self) -> set[str]:
        """Calls answered and not recorded."""
        return self.told.answered.keys() - self.recorded.keys()

    def missing_ringing(self) -> set[str]:
        """Calls that rang and are not recorded, but for those that began to ring in the last
        `JOURNAL` seconds before the kill: the switch does not wait for the disk as it rings."""
        rang = {sip for sip, at in self.told.ringing.items() if not 0 <= self.killed - at < JOURNAL}
        return rang - self.recorded.keys()

    def doubled(self) -> set[str]:
        """Calls recorded more than once."""
        return {sip for sip, call_ids in self.recorded.items() if len(call_ids) > 1}

    def __str__(self) -> str:
        return (
            f"{len(self.told.answered)} answered, {len(self.recorded)} records"
            f" ({', '.join(f'{n} {d}' for d, n in sorted(self.dispositions.items()))});"
            f" missing {len(self.missing())}, rang only and missing"
            f" {len(self.missing_ringing() - self.missing())}, doubled {len(self.doubled())},"
            f" at both {len(self.both)}, not final {self.unfinished}; back in {self.restart:.2f} s"
        )


@contextmanager
def load(
    directory: Path, hq: Site, caller_port: int, *, calls: int, rate: float, hold_ms: int
) -> Iterator[Sipp]:
    """SIPp's caller, placing calls while the block runs."""
    caller = start_caller(
        "uac-answered",
        hq.config["switch"]["listen"][0].removeprefix("udp:"),
        calls=calls,
        rate=rate,
        hold_ms=hold_ms,
        port=caller_port,
        timeout=60,
        args=("-trace_msg", "-message_file", str(directory / "messages.log"), "-max_retrans", "4"),
    )
    try:
        yield caller
    finally:
        caller.stop(1)


def run(
    directory: Path,
    kill: tuple[str, ...],
    rng: random.Random,
    *,
    rate: float = 50,
    seconds: float = 4,
    timing: Timing | None = None,
) -> Outcome:
    """One run: load, SIGKILL at a random moment, restart, wait for the records."""
    timing = timing or Timing()
    caller_port = free_port()
    with sipp_callee("uas-answered", hold_ms=50, timeout=90, grace=1) as callee:
        hq, branch = make_sites(directory, caller_port, callee.port, timing)
        sites = {site.name: site for site in (hq, branch)}
        try:
            branch.start()
            hq.start()
            calls = int(rate * seconds)
            with load(directory, hq, caller_port, calls=calls, rate=rate, hold_ms=700) as sipp:
                time.sleep(rng.uniform(0.8, seconds - 1.0))
                now = time.localtime()
                killed = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + time.time() % 1
                for name in kill:
                    sites[name].kill()
                time.sleep(rng.uniform(0.0, 1.0))
                restart = max(sites[name].start() for name in kill)
                # A call whose other side has died may leave SIPp waiting for ever.
                wait_while(lambda: sipp.process.poll() is None, seconds + 2)
            wait_for(lambda: _outcome(directory, hq, branch, restart), timing)
        finally:
            # Calls may go on, though SIPp knows nothing of them any more: now they end. The owner
            # goes last, to have everybody's last words.
            branch.stop()
            hq.stop()
    return replace(_outcome(directory, hq, branch, restart), killed=killed)


def wait_while(busy: Callable[[], bool], timeout: float) -> None:
    """Return when it is not busy any more, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while busy() and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_for(look: Callable[[], Outcome], timing: Timing) -> Outcome:
    """Look until all is final, as long as the settings allow."""
    deadline = time.monotonic() + timing.reregister_within + timing.dead_after + timing.linger + 2
    while True:
        outcome = look()
        right = not (outcome.missing() or outcome.doubled() or outcome.both or outcome.unfinished)
        if right or time.monotonic() > deadline:
            return outcome
        time.sleep(0.2)


def _outcome(directory: Path, hq: Site, branch: Site, restart: float) -> Outcome:
    recorded: dict[str, list[str]] = {}
    for call_id, sip in hq.query(
        "SELECT c.call_id, l.sip_call_id FROM cdrs c JOIN cdr_legs l USING (call_id)"
        " WHERE l.switch = 'hq' AND l.leg = 0"
    ):
        recorded.setdefault(sip, []).append(call_id)
    at_hq = {row[0] for row in hq.query("SELECT call_id FROM cdrs")}
    at_branch = {row[0] for row in branch.query("SELECT call_id FROM cdrs")}
    return Outcome(
        told(directory / "messages.log"),
        recorded,
        at_hq & at_branch,
        hq.query("SELECT count(*) FROM cdrs WHERE NOT final")[0][0],
        restart,
        dispositions=dict(hq.query("SELECT disposition, count(*) FROM cdrs GROUP BY 1")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", choices=("hq", "branch", "both"), default="hq")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50, help="calls a second")
    parser.add_argument("--seconds", type=float, default=4, help="of calls in each run")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    kill = ("hq", "branch") if args.kill == "both" else (args.kill,)
    wrong = 0
    for number in range(args.times):
        with tempfile.TemporaryDirectory() as name:
            outcome = run(
                Path(name),
                kill,
                random.Random(seed + number),
                rate=args.rate,
                seconds=args.seconds,
            )
        print(f"seed {seed + number}: {outcome}", flush=True)
        wrong += bool(outcome.missing() or outcome.doubled() or outcome.both or outcome.unfinished)
    print(f"{args.times} runs, {wrong} of them wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
