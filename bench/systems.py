"""What is measured: one switch, two switches in a row, or Kamailio; each with its own database.

A system is started in a directory that it may fill, takes calls at `remote` from the given caller
ports and sends them to the callee's port. With several callees, the number dialled says which one
(`bench.split.number`); a call is the same work then. `rows()` reads its records.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.drops import dropped_by
from bench.process import Process, ProcessFailure, cpu_seconds, memory_bytes
from bench.sipp import HOST
from bench.split import number
from softswitch.lab.ports import free_port

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Rows:
    """The records in the database: how many, of how many calls, and how many are not final yet."""

    total: int
    calls: int
    unfinished: int
    answered: int


class System:
    """Processes under test that work as one. Made by `switch`, `two_switches` and `kamailio`."""

    def __init__(
        self, name: str, remote: str, processes: Sequence[Process], database: Path, query: str
    ) -> None:
        self.name = name
        self.remote = remote
        self._processes = processes
        self._database = database
        self._query = query

    def cpu_seconds(self) -> float:
        """User and system time of all processes so far."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def memory_bytes(self) -> int:
        """Memory of all processes, shared pages counted once."""
        return sum(memory_bytes(process.pid) for process in self._processes)

    def dropped(self) -> int:
        """Datagrams that its own sockets dropped so far."""
        return dropped_by(process.pid for process in self._processes)

    def rows(self) -> Rows:
        """The records as of now."""
        with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10) as database:
            total, calls, unfinished, answered = database.execute(self._query).fetchone()
        return Rows(total, calls, unfinished or 0, answered or 0)

    def output(self) -> str:
        """What the processes printed."""
        return "\n".join(process.output() for process in self._processes)

    def stop(self, timeout: float = 20) -> None:
        """End the processes; killed after `timeout` seconds each."""
        for process in self._processes:
            process.stop(timeout)


SWITCH_ROWS = (
    "SELECT count(*), count(DISTINCT call_id), sum(final = 0), sum(disposition = 'answered')"
    " FROM cdrs"
)


def _start_switch(directory: Path, name: str, config: dict[str, Any], routes: list[Any]) -> Process:
    (directory / f"{name}-dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
    file = directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    program = Path(sys.executable).with_name("softswitch")
    process = Process([str(program), "run", str(file)], directory, name)
    process.wait_until(lambda: f"softswitch {name} ready" in process.output())
    return process


def _config(name: str, port: int, trunks: dict[str, Any], linger: float) -> dict[str, Any]:
    return {
        "switch": {"name": name, "listen": [f"udp:{HOST}:{port}", f"tcp:{HOST}:{port}"]},
        "trunks": trunks,
        "dialplan": f"{name}-dialplan.yaml",
        "limits": {"max_calls": 50_000, "max_dialogs": 200_000},
        "cds": {
            "listen": f"tcp:{HOST}:{free_port()}",
            "database": f"{name}.db",
            "linger": linger,
        },
    }


def _trunk(port: int, **more: Any) -> dict[str, Any]:
    # Nothing probes the trunks: the counts are those of the calls.
    return {"to": f"sip:{HOST}:{port}", "keepalive": 0, **more}


def _callers(ports: Sequence[int]) -> tuple[dict[str, Any], list[str]]:
    trunks = {f"caller{place}": _trunk(port) for place, port in enumerate(ports)}
    return trunks, [f"trunk:{name}" for name in trunks]


def _callees(
    ports: Sequence[int], sources: list[str] | str, **more: Any
) -> tuple[dict[str, Any], list[Any]]:
    """Trunks, and routes to them: a single one takes whatever is dialled."""
    if len(ports) == 1:
        route = {"match": ".", "from": sources, "dial": "trunk:callee", **more}
        return {"callee": _trunk(ports[0])}, [route]
    trunks = {f"callee{place}": _trunk(port) for place, port in enumerate(ports)}
    routes = [
        {"match": number(place), "from": sources, "dial": f"trunk:{name}", **more}
        for place, name in enumerate(trunks)
    ]
    return trunks, routes


def switch(
    directory: Path, callers: Sequence[int], callees: Sequence[int], *, linger: float = 5
) -> System:
    """One switch with call data and records. `linger` is its cds setting, in seconds."""
    port = free_port()
    trunks, sources = _callers(callers)
    targets, routes = _callees(callees, sources, timeout=60)
    config = _config("bench", port, trunks | targets, linger)
    process = _start_switch(directory, "bench", config, routes)
    return System("switch", f"{HOST}:{port}", [process], directory / "bench.db", SWITCH_ROWS)


def two_switches(
    directory: Path, callers: Sequence[int], callees: Sequence[int], *, linger: float = 5
) -> System:
    """Two switches in a row: the first owns the calls, the second registers for each of them."""
    first_port, second_port = free_port(), free_port()
    trunks, sources = _callers(callers)
    first = _config(
        "first", first_port, trunks | {"second": _trunk(second_port, switch=True)}, linger
    )
    targets, routes = _callees(callees, "internal")
    second = _config(
        "second", second_port, {"first": _trunk(first_port, switch=True), **targets}, linger
    )
    first["cds"]["peers"] = {"second": second["cds"]["listen"]}
    second["cds"]["peers"] = {"first": first["cds"]["listen"]}
    behind = _start_switch(directory, "second", second, routes)
    try:
        front = _start_switch(
            directory, "first", first, [{"match": ".", "from": sources, "dial": "trunk:second"}]
        )
    except ProcessFailure:
        behind.stop()
        raise
    return System(
        "two switches", f"{HOST}:{first_port}", [front, behind], directory / "first.db", SWITCH_ROWS
    )


def kamailio(
    directory: Path,
    callers: Sequence[int],
    callees: Sequence[int],
    *,
    workers: int = 1,
    memory_mb: int = 1024,
) -> System:
    """Kamailio with `bench/kamailio.cfg`: tm, dialog, one row a call in SQLite; any caller.

    With more than one worker it loses rows: db_sqlite does not wait for the other's lock.

    `ProcessFailure` when it is not installed (Debian: kamailio and kamailio-sqlite-modules).
    """
    program = shutil.which("kamailio", path="/usr/sbin:/usr/bin:/usr/local/sbin:/sbin")
    if program is None:
        raise ProcessFailure(
            "kamailio is not installed: apt-get install kamailio kamailio-sqlite-modules"
        )
    port = free_port()
    database = directory / "kamailio.db"
    schema = (HERE / "kamailio.sql").read_text()
    with sqlite3.connect(database) as connection:
        connection.executescript(schema)
    run = directory / "kamailio-run"
    run.mkdir()
    command = [
        *(program, "-DD", "-E", "-f", str(HERE / "kamailio.cfg"), "-m", str(memory_mb), "-M", "16"),
        *("-Y", str(run), "-P", str(run / "kamailio.pid"), "-w", str(directory)),
        *("-A", f"PORT={port}", "-A", f"WORKERS={workers}"),
        *("-A", f'CALLEE="sip:{HOST}:{callees[0]}"', "-A", f'DATABASE="sqlite:///{database}"'),
    ]
    if len(callees) > 1:
        cases = (
            f'case "{number(place)}": $du = "sip:{HOST}:{callee}"; break;'
            for place, callee in enumerate(callees)
        )
        command += ["-A", f"CALLEES={' '.join(cases)}"]
    process = Process(command, directory, "kamailio")
    process.wait_until(lambda: answers(port))
    query = "SELECT count(*), count(DISTINCT call_id), 0, sum(duration > 0) FROM acc_cdrs"
    return System(f"kamailio ({workers})", f"{HOST}:{port}", [process], database, query)


def answers(port: int) -> bool:
    """Whether an OPTIONS at that port is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        probe.settimeout(0.2)
        own = probe.getsockname()[1]
        message = (
            f"OPTIONS sip:{HOST}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {HOST}:{own};branch=z9hG4bK-ready-{own}\r\n"
            f"From: <sip:bench@{HOST}>;tag=1\r\nTo: <sip:bench@{HOST}>\r\n"
            f"Call-ID: ready-{own}\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 5\r\nContent-Length: 0\r\n\r\n"
        )
        probe.sendto(message.encode(), (HOST, port))
        try:
            return probe.recv(2048).startswith(b"SIP/2.0")
        except OSError:
            return False


def version(program: str) -> str:
    """The first line that `program -v` prints."""
    done = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0].strip() if lines else program
