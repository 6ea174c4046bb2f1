"""The plugins of docs/plugins.md: built and installed as pip does it, and run by real processes."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from api_sites import until
from test_serve import Serving, mine, switch

from tests.switch_process import PLAN, Peer, Running, answered

SAMPLES = Path(__file__).parents[2] / "docs" / "plugins"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which each sample is a distribution of its own."""
    folder = tmp_path_factory.mktemp("samples")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for sample in ("call-lines", "vip-calls"):
        source = folder / "source" / sample
        shutil.copytree(SAMPLES / sample, source)
        for command in (
            ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source],
            ["install", "--no-deps", "--no-index", "--find-links", folder,
             "--target", folder / "site", sample],
        ):  # fmt: skip
            done = subprocess.run([*pip, *map(str, command)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(folder / "site")}


@pytest.fixture
def peers() -> Iterator[tuple[Peer, Peer]]:
    caller, callee = Peer(), Peer()
    yield caller, callee
    caller.socket.close()
    callee.socket.close()


def configure(folder: Path, peers: tuple[Peer, Peer], more: str) -> Path:
    (folder / "plan.yaml").write_text(PLAN)
    config = folder / "hq.yaml"
    config.write_text(
        'switch: {name: hq, listen: ["udp:127.0.0.1:0"]}\n'
        "trunks:\n"
        f'  caller: {{to: "sip:127.0.0.1:{peers[0].port}", keepalive: 0}}\n'
        f'  callee: {{to: "sip:127.0.0.1:{peers[1].port}", keepalive: 0}}\n'
        f"dialplan: plan.yaml\n{more}\n"
    )
    return config


def hang_up(port: int, peers: tuple[Peer, Peer], call: tuple[str, str]) -> None:
    caller, callee = peers
    caller.request("BYE", port, call[1], call[0])
    callee.reply(callee.get("BYE"), 200)
    assert "BYE" in caller.get("SIP/2.0 200")


def test_call_lines(tmp_path: Path, installed: dict[str, str], peers: tuple[Peer, Peer]) -> None:
    config = configure(tmp_path, peers, "call_lines: {file: calls.jsonl}")
    running = Running(config, env=installed)
    port = running.port
    hang_up(port, peers, answered(port, *peers))
    running.process.send_signal(signal.SIGTERM)
    assert running.ends() == 0, running.said
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k not in ("call_id", "at")} for line in lines] == [
        {"switch": "hq", "what": "answered", "callee": "1"},
        {"switch": "hq", "what": "ended", "how": "answered", "by": "caller"},
    ]
    assert lines[0]["call_id"] == lines[1]["call_id"]
    assert lines[0]["at"] < lines[1]["at"]


@pytest.mark.parametrize(
    ("section", "status", "says"),
    [
        ("call_lines: {fil: calls.jsonl}", 2, "hq.yaml:6:14: unknown key `fil`: did you mean"),
        ("call_lines:", 2, "hq.yaml:6:1: missing key `file`: the file that lines are added to"),
        ("call_lines: {file: none/x}", 1, "softswitch hq: [Errno 2] No such file or directory"),
    ],
)
def test_mistakes_in_its_section(
    tmp_path: Path,
    installed: dict[str, str],
    peers: tuple[Peer, Peer],
    section: str,
    status: int,
    says: str,
) -> None:
    running = Running(configure(tmp_path, peers, section), env=installed)
    assert running.ends() == status
    assert says in running.said.splitlines()[0]
    assert "Traceback" not in running.said


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "hq.db")) as db:
        return db.execute(query).fetchall()


MARKED = "SELECT name, value, author FROM cdr_properties WHERE name = 'vip'"
NOTES = "SELECT author, text FROM cdr_logs ORDER BY logged_at"


def test_vip_calls_beside_a_switch(
    tmp_path: Path, installed: dict[str, str], peers: tuple[Peer, Peer]
) -> None:
    """Killed in mid call: what was said to be marked is, and once."""
    config = configure(
        tmp_path, peers, "cds: {database: hq.db, linger: 0.2}\nvip_calls: {callers: [a, 1001]}"
    )
    running = Running(config, env=installed)
    call = answered(running.port, *peers)
    running.until("answered by 1\n")
    running.kill()
    running = Running(config, env=installed)
    port = running.port
    hang_up(port, peers, call)
    running.process.send_signal(signal.SIGTERM)
    assert running.ends() == 0, running.said
    assert "Traceback" not in running.said
    assert "answered by" not in running.said, "it was said and stored before"
    assert rows(tmp_path, MARKED) == [("vip", "answered by 1", "hq/vip_calls")]
    notes = rows(tmp_path, NOTES)
    assert notes[-1] == ("hq/vip_calls", "an important caller: answered by 1")
    assert notes[:-1] in ([], [("hq/vip_calls", "an important caller: waits")])
    assert rows(tmp_path, "SELECT disposition, final FROM cdrs") == [("answered", 1)]


async def test_vip_calls_where_the_switch_is_elsewhere(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    serving = Serving(
        tmp_path, env=installed, sections={"vip_calls": {"callers": ["1001"]}}, linger=0.1
    )
    await serving.start()
    try:
        async with switch(tmp_path, serving.port) as at:
            for events in (mine("c1")[:5], mine("c1")[5:]):
                at.tell(*events)
                await until(at.running.client.settled)
            # It ends, though it was held: the plugin lets go of it at the hangup.
            await until(lambda: serving.rows("SELECT count(*) FROM cdrs WHERE final") == [(1,)])
    finally:
        assert await serving.kill(signal.SIGTERM) == 0
    assert "call c1: answered by 2001" in serving.log
    assert rows(tmp_path, MARKED) == [("vip", "answered by 2001", "hq/vip_calls")]
    assert rows(tmp_path, NOTES) == [
        ("hq/vip_calls", "an important caller: waits"),
        ("hq/vip_calls", "an important caller: answered by 2001"),
    ]
