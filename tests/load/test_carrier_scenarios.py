"""Carriers that challenge and that one registers with, busy lamps and messages, by SIPp."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bench.process import Process
from bench.sipp import HOST, run_sipp, sipp_callee, start_caller
from softswitch.control import ask, open_control
from softswitch.lab.ports import free_port
from tests.load.test_records import wait_for_final

SCENARIOS = ("uac-message", "uac-watch", "uas-challenged", "uas-message")
CALLS = 3
ACCOUNT = {"user": "acme", "password": "s3cret", "keepalive": 0}
CREDENTIALS = ("-s", "acme", "-key", "password", "s3cret")


@dataclass(frozen=True, slots=True)
class Site:
    """A switch's address, its directory, and the ports of those around it."""

    address: str
    directory: Path
    carrier: int
    proxy: int
    other: int

    def start(self) -> Process:
        config = {
            "switch": {"name": "load", "listen": [f"udp:{self.address}"]},
            "extensions": {
                "1001": {"name": "Ana", "password": "secret-1001"},
                "1002": {"name": "Bo", "password": "secret-1002"},
            },
            "trunks": {
                "carrier": {"to": f"sip:{HOST}:{self.carrier}", "register": True, **ACCOUNT},
                "proxy": {"to": f"sip:{HOST}:{self.proxy}", **ACCOUNT},
                "other": {"to": f"sip:{HOST}:{self.other}", "keepalive": 0},
            },
            "dialplan": "dialplan.yaml",
            "timers": {"t4": 0.2},
            "cds": {"listen": f"tcp:{HOST}:{free_port()}", "database": "load.db", "linger": 0.5},
        }
        routes = [
            {"match": "10XX", "from": "any", "dial": "extension", "timeout": 10},
            {"match": "81", "from": "any", "dial": "trunk:carrier"},
            {"match": "82", "from": "any", "dial": "trunk:proxy"},
        ]
        (self.directory / "load.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        (self.directory / "dialplan.yaml").write_text(yaml.safe_dump({"routes": routes}))
        command = [sys.executable, "-m", "softswitch.cli", "run", "load.yaml"]
        process = Process(command, self.directory, "load")
        process.wait_until(lambda: "softswitch load ready" in process.output())
        return process


@pytest.fixture
def site(tmp_path: Path) -> Site:
    address = f"{HOST}:{free_port()}"
    return Site(address, tmp_path, free_port(), free_port(), free_port())


@pytest.fixture
def switch(site: Site) -> Iterator[Process]:
    """With its carrier, which it registers with as it begins: 401, then 200."""
    once = ("-m", "1", *CREDENTIALS)
    with sipp_callee("uas-registrar", port=site.carrier, args=once) as registrar:
        process = site.start()
        try:
            registrar.sipp.ended(20)
        except BaseException:
            process.stop(10)
            raise
    try:
        assert (registrar.counted.successful, registrar.counted.failed) == (1, 0)
        yield process
    finally:
        code = process.stop(20)
    assert code == 0, process.output()
    assert "Traceback" not in process.output()


@pytest.mark.parametrize(
    ("number", "callee", "party"),
    [("81", "uas-challenged", "trunk:carrier"), ("82", "uas-auth", "trunk:proxy")],
)
def test_calls_by_a_carrier_that_challenges(
    site: Site, switch: Process, number: str, callee: str, party: str
) -> None:
    """401, stale and all, or 407: the caller notices nothing, and the record has one leg for it."""
    switch.wait_until(lambda: "trunk carrier: registered for 3600 s" in switch.output())
    port = site.carrier if number == "81" else site.proxy
    args = ("-m", str(CALLS), *CREDENTIALS)
    with sipp_callee(callee, port=port, hold_ms=100, args=args) as carrier:
        caller = run_sipp(
            "uac-answered",
            site.address,
            calls=CALLS,
            rate=20,
            hold_ms=200,
            number=number,
            caller="700",
            port=site.other,
        )
        carrier.sipp.ended(10)
    for result in (caller, carrier.counted):
        assert (result.successful, result.failed) == (CALLS, 0), result
    rows = wait_for_final(site.directory / "load.db", CALLS)
    assert [(row["disposition"], row["answered_party"]) for row in rows] == [
        ("answered", party)
    ] * CALLS
    with closing(sqlite3.connect(site.directory / "load.db")) as database:
        (legs,) = database.execute("SELECT count(*) FROM cdr_legs").fetchone()
    assert legs == 2 * CALLS


def phone(number: str, dialled: str, remote: str) -> tuple[str, ...]:
    return ("-au", number, "-ap", f"secret-{number}", "-auth_uri", f"{dialled}@{remote}")


def registered(site: Site, number: str, port: int) -> None:
    args = ("-au", number, "-ap", f"secret-{number}")
    result = run_sipp("uac-register", site.address, number=number, port=port, args=args)
    assert result.successful == 1, result


def watching(site: Site) -> int:
    """How many lamps there are, by what the switch says."""
    with open_control(site.directory / "load.sock") as stream:
        pieces = list(ask(stream, "status", sections=["subscriptions"]))
    return sum(piece["subscriptions"]["dialog"] for piece in pieces if "subscriptions" in piece)


def test_busy_lamps(site: Site, switch: Process) -> None:
    """Several lamps show one call from its beginning to its end."""
    bo = free_port()
    registered(site, "1002", bo)
    watcher = start_caller(
        "uac-watch",
        site.address,
        calls=CALLS,
        rate=20,
        number="1002",
        caller="1001",
        args=phone("1001", "1002", site.address),
    )
    switch.wait_until(lambda: watching(site) == CALLS)
    with sipp_callee("uas-answered", port=bo, args=("-m", "1")) as callee:
        caller = run_sipp(
            "uac-answered", site.address, number="1002", caller="700", hold_ms=700, port=site.other
        )
        callee.sipp.ended(10)
    watched = watcher.wait(20)
    assert (caller.successful, callee.counted.successful) == (1, 1), caller
    assert (watched.successful, watched.failed) == (CALLS, 0), watched


def test_messages(site: Site, switch: Process) -> None:
    """One phone writes to another; each message arrives once."""
    bo = free_port()
    registered(site, "1002", bo)
    with sipp_callee("uas-message", port=bo, args=("-m", str(CALLS))) as reader:
        written = run_sipp(
            "uac-message",
            site.address,
            calls=CALLS,
            rate=20,
            number="1002",
            caller="1001",
            args=phone("1001", "1002", site.address),
        )
        reader.sipp.ended(10)
    for result in (written, reader.counted):
        assert (result.successful, result.failed) == (CALLS, 0), result
