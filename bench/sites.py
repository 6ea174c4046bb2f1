"""Sites in a row, each a switch with its call data server: started, killed, frozen, asked, stopped.

Calls from SIPp's caller go through ``hq``, which owns them, and through ``branch`` (and others
behind it). All sites run on loopback, or each on a host of its own (``bench.namespaces``).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.process import Process
from bench.sipp import HOST
from softswitch.lab.ports import free_port

TOKEN = "faults"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: settings of all servers, short so that a run is short; ``t1`` of their switches."""

    alive_interval: float = 0.3
    dead_after: float = 1.5
    reregister_within: float = 3.0
    linger: float = 0.5
    journal_interval: float = 0.005
    commit_interval: float = 0.02
    interest: float = 2.0
    caretaker_within: float = 10.0
    t1: float = 0.5


class Site:
    """One switch and its server, or a server alone (``command``): started, killed, started again.

    ``address`` is where SIPp on the same host finds the switch. ``inside`` enters that host: what
    is started and asked within it is there.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        config: dict[str, Any],
        address: str = "",
        inside: Callable[[], AbstractContextManager[None]] = nullcontext,
        command: Sequence[str] = (sys.executable, "-m", "softswitch.cli", "run"),
    ) -> None:
        self.name = name
        self.directory = directory
        self.config = config
        self.address = address
        self.inside = inside
        self.path = directory / f"{name}.switch.yaml"
        self.path.write_text(yaml.safe_dump(config))
        self.database = directory / config["cds"]["database"]
        self.command = command
        self.process: Process | None = None
        self.starts = 0

    def launch(self) -> None:
        """Start its process, and do not wait for it."""
        self.starts += 1
        with self.inside():
            self.process = Process(
                [*self.command, str(self.path)],
                self.directory,
                f"{self.name}-{self.starts}",
            )

    def ready(self) -> None:
        """Return when its API answers. By then it has taken up what its journal has."""
        assert self.process is not None
        self.process.wait_until(self.answers, 20)

    def start(self) -> float:
        """Start it; returns after how many seconds its API answered."""
        began = time.monotonic()
        self.launch()
        self.ready()
        return time.monotonic() - began

    def answers(self) -> bool:
        """Whether the API can be asked, be it that something troubles the server."""
        try:
            self.get("/health")
        except urllib.error.HTTPError:
            return True
        except (OSError, ValueError):
            return False
        return True

    def ask(
        self, path: str, body: Any = None, method: str | None = None, timeout: float = 5
    ) -> bytes:
        """What the API answers to GET, or to POST if there is a body. Raises OSError."""
        request = urllib.request.Request(
            f"http://{self.config['cds']['api']['listen']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
            method=method,
        )
        with self.inside(), urllib.request.urlopen(request, timeout=timeout) as answer:
            content: bytes = answer.read()
            return content

    def get(self, path: str, timeout: float = 5) -> Any:
        """The same, of JSON."""
        return json.loads(self.ask(path, timeout=timeout))

    def live(self) -> int:
        """How many live calls its server has data of."""
        count: int = self.get("/calls?limit=1")["count"]
        return count

    def servers_down(self) -> int:
        """How many other servers are silent, as its server sees it."""
        down: int = self.get("/health")["servers_down"]
        return down

    def kill(self) -> float:
        """SIGKILL, for it and its children; when (UTC, seconds since 1970): nothing that it did
        comes after that."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        killed = time.time()
        self.process.stop(5)
        return killed

    def freeze(self) -> None:
        """SIGSTOP, for it and its children: it does nothing until it is told to go on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

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


def server(
    listen: str, peers: dict[str, str], database: str, api: int, timing: Timing
) -> dict[str, Any]:
    """The section ``cds`` of a site. ``api`` is the port of its API."""
    return {
        "listen": listen,
        "peers": peers,
        "database": database,
        "alive_interval": timing.alive_interval,
        "dead_after": timing.dead_after,
        "reregister_within": timing.reregister_within,
        "caretaker_within": timing.caretaker_within,
        "linger": timing.linger,
        "journal_interval": timing.journal_interval,
        "commit_interval": timing.commit_interval,
        "api": {"listen": f"{HOST}:{api}", "tokens": [TOKEN], "interest": timing.interest},
    }


def make_sites(
    directory: Path,
    caller: int,
    callee: int,
    timing: Timing,
    names: Sequence[str] = ("hq", "branch"),
    hosts: Sequence[str] = (HOST, HOST),
    inside: Sequence[Callable[[], AbstractContextManager[None]]] = (nullcontext, nullcontext),
) -> list[Site]:
    """Sites in a row: calls from the caller's port begin at the first, which owns them, and go
    through all of them to the callee's.

    ``hosts`` are the addresses at which they reach each other. SIPp is on loopback at either end.
    """
    count = len(names)
    hosts = [*hosts, *[HOST] * (count - len(hosts))]
    inside = [*inside, *[nullcontext] * (count - len(inside))]
    ports = [free_port() for _ in range(3 * count)]
    sip, link, api = ports[:count], ports[count : 2 * count], ports[2 * count :]
    sites = []
    for number, name in enumerate(names):
        trunks: dict[str, Any] = {
            names[other]: {
                "to": f"sip:{hosts[other]}:{sip[other]}",
                "switch": True,
                "keepalive": 0,
            }
            for other in (number - 1, number + 1)
            if 0 <= other < count
        }
        if number == 0:
            trunks["caller"] = {"to": f"sip:{HOST}:{caller}", "keepalive": 0}
        if number == count - 1:
            trunks["callee"] = {"to": f"sip:{HOST}:{callee}", "keepalive": 0}
        onward = names[number + 1] if number + 1 < count else "callee"
        route = {"match": "2XXX", "from": "any", "dial": f"trunk:{onward}", "timeout": 20}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({"routes": [route]}))
        listen = {f"udp:{hosts[number]}:{sip[number]}", f"udp:{HOST}:{sip[number]}"}
        peers = {
            other: f"tcp:{hosts[at]}:{link[at]}" for at, other in enumerate(names) if other != name
        }
        cds = server(
            f"tcp:{hosts[number]}:{link[number]}", peers, f"{name}.db", api[number], timing
        )
        if hosts[number] != HOST:
            cds["secret"] = "a secret of all the servers of this run, long enough"
        sites.append(
            Site(
                name,
                directory,
                {
                    "switch": {"name": name, "site": name, "listen": sorted(listen)},
                    "timers": {"drain_timeout": 0, "t1": timing.t1},
                    "trunks": trunks,
                    "dialplan": f"{name}.yaml",
                    "media": {"mode": "bypass"},
                    "cds": cds,
                },
                f"{HOST}:{sip[number]}",
                inside[number],
            )
        )
    return sites
