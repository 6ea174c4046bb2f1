"""A server without a switch, as a process of its own; switches that have no server, by the hooks
that a switch calls. The server is killed in the middle of calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from api_sites import until
from cds_calls import answered_call, busy_call
from cds_hooks import Hooks

from cdsplugin import plugin
from cdsplugin.config import CdsSection
from cdsplugin.serve import ServeError, read_config
from softswitch.events import SwitchStarted
from softswitch.lab.ports import free_port


class Serving:
    """``cds serve`` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str] = {},
        sections: Mapping[str, Any] = {},
        **more: Any,
    ) -> None:
        self.folder = folder
        self.env = {**os.environ, **env}
        self.port = free_port()
        self.config = folder / "hq-server.yaml"
        cds = {
            "server": "hq",
            "listen": f"tcp:127.0.0.1:{self.port}",
            "database": "hq.db",
            "switches": ["annex", "kiosk"],
            "linger": 0.5,
            "reregister_within": 20.0,
            **more,
        }
        self.config.write_text(msgspec.json.encode({"cds": cds, **sections}).decode())
        self.process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        self.process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", "from cdsplugin.cli import main; main()", "serve",
             str(self.config)],
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
        )  # fmt: skip
        assert self.process.stderr is not None
        said = ""
        while "ready on" not in said:
            line = await asyncio.wait_for(asyncio.to_thread(self.process.stderr.readline), 20)
            assert line, said
            said += line
        self.said = said
        # What it logs from here on must not fill the pipe.
        self._reader = asyncio.create_task(asyncio.to_thread(self.process.stderr.read))

    async def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = await asyncio.to_thread(self.process.wait, 20)
        self.log = await self._reader
        return status

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "hq.db")) as db:
            return db.execute(query).fetchall()


@contextlib.asynccontextmanager
async def switch(folder: Path, port: int, name: str = "annex", **more: Any):
    """What a switch process with ``server_at`` does: the plugin's hooks."""
    section = CdsSection.model_validate(
        {"server": "hq", "server_at": f"tcp:127.0.0.1:{port}", "alive_interval": 0.2, **more}
    )
    config: Any = SimpleNamespace(
        switch=SimpleNamespace(name=name), sections={"cds": section}, path=folder / f"{name}.yaml"
    )
    assert plugin.owner_name(config) == "hq"
    hooks = Hooks(config)
    await hooks.start()
    try:
        yield hooks
    finally:
        await hooks.stop()


@pytest.fixture
async def hq(tmp_path: Path):
    serving = Serving(tmp_path)
    await serving.start()
    yield serving
    if serving.process is not None and serving.process.poll() is None:
        await serving.kill()


def mine(call_id: str) -> list:
    """A call that began at the switch annex, which hq's server manages."""
    events = answered_call(call_id, "annex", "annex")
    return [msgspec.structs.replace(events[0], owner="hq", origin=True), *events[1:]]


async def test_a_switch_without_a_server_has_its_records(hq: Serving, tmp_path: Path) -> None:
    async with switch(tmp_path, hq.port) as at:
        at.tell(SwitchStarted(at=0, switch="annex"))
        for n in range(20):
            at.tell(*mine(f"c{n:02}"))
        await until(at.running.client.settled)
        await until(lambda: hq.rows("SELECT count(*) FROM cdrs WHERE final") == [(20,)])
    assert not (tmp_path / "annex.spool").exists(), "the server has all: nothing is left"
    assert hq.rows("SELECT DISTINCT owner, switch, disposition, billsec, hangup_by FROM cdrs") == [
        ("hq", "annex", "answered", 10.0, "caller")
    ]
    assert hq.rows("SELECT count(*) FROM cdr_legs") == [(40,)]
    assert await hq.kill(signal.SIGTERM) == 0


async def test_the_server_is_killed_again_and_again(hq: Serving, tmp_path: Path) -> None:
    """Calls at every stage when it dies: each has its record, once, as if nothing had been."""
    async with switch(tmp_path, hq.port) as at:
        at.tell(SwitchStarted(at=0, switch="annex"))
        going: list[list] = []
        count = 0
        for life in range(4):
            for _ in range(40):
                going.append(mine(f"c{count:03}"))
                count += 1
            for step in range(3):
                for place, events in enumerate(going):
                    at.tell(*events[: 1 + (place + step) % 3])
                    del events[: 1 + (place + step) % 3]
                if step == 0:
                    await until(at.running.client.settled)
                await asyncio.sleep(0)
                if step == 1:
                    if life % 2:
                        await until(at.running.client.settled)
                    await hq.kill()
            going = [events for events in going if events]
            # While the server is away calls go on, and events gather on disk.
            assert at.running.client.waiting() > 0
            await hq.start()
        for events in going:
            at.tell(*events)
        await until(at.running.client.settled)
        await until(lambda: hq.rows("SELECT count(*) FROM cdrs WHERE final") == [(count,)])
    whole = [("hq", "annex", "1001", "2001", "answered", 200, 13.0, 10.0, "caller", 1, count)]
    assert whole == hq.rows(
        "SELECT owner, switch, caller, callee, disposition, sip_status, duration, billsec,"
        " hangup_by, final, count(*) FROM cdrs GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    )
    assert hq.rows("SELECT count(*), min(ended_at) = max(ended_at) FROM cdr_legs") == [
        (2 * count, 1)
    ]


async def test_a_server_that_is_stopped_leaves_the_calls_to_its_next_life(
    hq: Serving, tmp_path: Path
) -> None:
    async with switch(tmp_path, hq.port) as at:
        events = mine("c1")
        at.tell(*events[:7])
        await until(at.running.client.settled)
        assert await hq.kill(signal.SIGTERM) == 0
        await hq.start()
        at.tell(*events[7:])
        await until(at.running.client.settled)
        await until(lambda: hq.rows("SELECT count(*) FROM cdrs WHERE final") == [(1,)])
    assert hq.rows("SELECT disposition, billsec FROM cdrs") == [("answered", 10.0)]


async def test_a_long_call_survives_its_server(tmp_path: Path) -> None:
    """Nothing happens in it while the server comes back: the switch says that it is there."""
    hq = Serving(tmp_path, reregister_within=2.0, linger=0.1)
    await hq.start()
    try:
        async with switch(tmp_path, hq.port) as at:
            events = mine("c1")
            at.tell(*events[:7])
            await until(at.running.client.settled)
            await hq.kill()
            await hq.start()
            await until(at.running.client.settled)
            await asyncio.sleep(2.5)  # longer than reregister_within and linger
            at.tell(*events[7:])
            await until(at.running.client.settled)
            await until(lambda: hq.rows("SELECT count(*) FROM cdrs WHERE final") == [(1,)])
        assert hq.rows("SELECT disposition, reason, billsec FROM cdrs") == [("answered", "", 10.0)]
    finally:
        await hq.kill()


async def test_a_switch_killed_while_its_server_is_away(tmp_path: Path) -> None:
    """Its events are on disk; the next life of the switch sends them, and what it adds."""
    hq = Serving(tmp_path)
    code = """if True:
        import asyncio, os, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[3])
        import test_serve as t
        async def main():
            async with t.switch(Path(sys.argv[1]), int(sys.argv[2])) as at:
                for n in range(10):
                    at.tell(*t.mine(f"c{n}"))
                at.tell(*t.mine("lost")[:7])
                # As the switch does before it sends anything: then it is on disk.
                store, stored = at.stored(), []
                at.tell(*t.mine("untold"))
                store(lambda: stored.append(1))
                assert stored
                os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(tmp_path), str(hq.port), str(Path(__file__).parent)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    await hq.start()
    try:
        async with switch(tmp_path, hq.port) as at:
            # A new life of the switch, which brought nothing back.
            at.tell(SwitchStarted(at=0, switch="annex"))
            at.tell(*mine("after"))
            await until(at.running.client.settled)
            await until(lambda: hq.rows("SELECT count(*) FROM cdrs WHERE final") == [(12,)])
        assert hq.rows("SELECT call_id, reason, disposition FROM cdrs WHERE reason <> ''") == [
            ("lost", "switch restarted", "answered")
        ]
    finally:
        await hq.kill()


async def test_strangers_and_other_names(hq: Serving, tmp_path: Path) -> None:
    async with switch(tmp_path, hq.port, "intruder") as at:
        at.tell(*busy_call("c1"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await until(at.running.client.settled)
    async with switch(tmp_path, hq.port, "kiosk") as at:
        at.tell(*mine("c2"))  # of annex, not of kiosk
        await until(at.running.client.settled)
    await hq.kill(signal.SIGTERM)
    assert "switch.intruder is not in cds.switches" in hq.log
    assert "an event of another switch, annex" in hq.log
    assert hq.rows("SELECT count(*) FROM cdrs") == [(0,)]


def test_mistakes_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text, says in (
        ("cds: {database: x.db}", "missing key `server`"),
        ("cds: {server: hq, database: x.db, lingr: 3}", "s.yaml:1:35: unknown key `lingr`"),
        ("cds: {server: hq, server_at: 'tcp:127.0.0.1:1'}", "no server elsewhere"),
        ("cds: {server: hq}", "expected `database`"),
        ("switch: {}", "unknown key `switch`"),
        ("cds: [", "s.yaml:"),
    ):
        path.write_text(text)
        with pytest.raises(ServeError) as caught:
            read_config(path)
        assert says in str(caught.value), text
    path.write_text("cds: {server: hq, database: x.db}")
    assert read_config(path).cds.database == tmp_path / "x.db"
    done = subprocess.run(
        [sys.executable, "-c", "from cdsplugin.cli import main; main()", "serve", "none.yaml"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["s.yaml"]


async def test_its_file_read_again(hq: Serving) -> None:
    assert hq.process is not None
    hq.process.send_signal(signal.SIGHUP)
    config = json.loads(hq.config.read_text())
    config["cds"]["peers"] = {"depot": "tcp:127.0.0.1:1"}
    config["cds"]["linger"] = 0.75
    config["log"] = {"format": "json"}
    said = hq.folder / "said"
    hq.config.write_text(json.dumps({**config, "log": {"file": str(said)}}))
    await until(lambda: said.exists() and "only a restart" in said.read_text())
    assert "configuration" in said.read_text()
    assert "only a restart changes this: cds.linger" in said.read_text()
    hq.config.write_text(json.dumps({**config, "cds": {"serve": 1}, "log": {"file": str(said)}}))
    await until(lambda: "not taken up" in said.read_text())
    assert await hq.kill(signal.SIGTERM) == 0
    assert "hq-server.yaml:1:" in said.read_text()
    assert "Traceback" not in said.read_text() + hq.log
