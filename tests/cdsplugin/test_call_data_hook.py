"""The hook ``call_data``: who is handed the store when, and what a plugin's mistakes do."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_sites import until
from cds_calls import answered_call
from cds_hooks import Hooks
from pydantic import BaseModel
from test_serve import Serving, mine, switch

from cdsplugin.config import Address, CdsSection
from cdsplugin.local import LocalStore, hookimpl
from cdsplugin.server import StartError


def config(folder: Path, **more: Any) -> Any:
    section = CdsSection(database=folder / "hq.db", linger=0.05, stop_within=0.1, **more)
    return SimpleNamespace(switch=SimpleNamespace(name="hq"), sections={"cds": section})


class Program:
    """A plugin that is handed the store, and says when."""

    def __init__(self, said: list[str], name: str) -> None:
        self.said = said
        self.name = name

    @hookimpl
    def start(self) -> None:
        self.said.append(f"{self.name} start")

    @hookimpl
    async def call_data(self, local: LocalStore, sections: Mapping[str, BaseModel]) -> None:
        self.said.append(f"{self.name} call_data")
        self.local = local
        self.sections = sections
        self.first = [call.call_id for call in local.register_all(self)]

    @hookimpl
    def stop(self) -> None:
        self.said.append(f"{self.name} stop")

    def updated(self, call: Any, properties: Any, logs: Any) -> None:
        self.said.append(f"{self.name} {call.call_id}")

    def ended(self, call: Any) -> None:
        self.said.append(f"{self.name} {call.call_id} ended")


def programs(config: Any, *names: str) -> tuple[Hooks, list[Program], list[str]]:
    hooks, said = Hooks(config), []
    added = [Program(said, name) for name in names]
    for program in added:
        hooks.plugins.register(program, name=program.name)
    return hooks, added, said


async def test_each_plugin_has_a_store_of_its_own(tmp_path: Path) -> None:
    hooks, (one, other), said = programs(config(tmp_path), "one", "other")
    await hooks.start()
    assert said == ["other start", "one start", "other call_data", "one call_data"]
    assert (one.local.author, other.local.author) == ("hq/one", "hq/other")
    assert one.local.server == "hq"
    assert one.sections is hooks.config.sections
    said.clear()
    hooks.tell(*answered_call("c1")[:7])
    hooks.running.running.tms.flush()
    one.local.update(one, "c1", {"note": 1})
    await until(lambda: "other c1" in said)
    assert said.count("one c1") < said.count("other c1"), "not of what it wrote itself"
    said.clear()
    await hooks.stop()
    assert set(said[-4:-2]) == {"one c1 ended", "other c1 ended"}
    assert set(said[-2:]) == {"one stop", "other stop"}, "after the server's"


async def test_whoever_is_loaded_first_has_started_before_it(tmp_path: Path) -> None:
    said: list[str] = []
    hooks = Hooks(config(tmp_path), Program(said, "early"))
    hooks.plugins.register(Program(said, "late"), name="late")
    await hooks.start()
    assert said == ["late start", "early start", "late call_data", "early call_data"]
    await hooks.stop()
    assert set(said[-2:]) == {"late stop", "early stop"}


async def test_what_a_restart_brings_back_is_there(tmp_path: Path) -> None:
    before, _, _ = programs(config(tmp_path))
    await before.start()
    before.tell(*answered_call("c1")[:7])
    before.running.running.tms.flush()
    await before.running.server.stored()
    await before.running.server.close()  # and no more, as after a SIGKILL
    hooks, (program,), said = programs(config(tmp_path), "one")
    await hooks.start()
    assert program.first == ["c1"]
    assert program.local.get("c1").data.value("answer")["callee"] == "2001"
    assert said == ["one start", "one call_data"]
    await hooks.stop()


async def test_it_comes_before_anybody_can_reach_the_server(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", free.getsockname()[1])
    reached: list[int] = []

    class Knocking:
        @hookimpl
        def call_data(self) -> None:
            with socket.socket() as knock:
                reached.append(knock.connect_ex((address.host, address.port)))

    hooks = Hooks(config(tmp_path, listen=address))
    hooks.plugins.register(Knocking())
    await hooks.start()
    with socket.socket() as knock:
        reached.append(knock.connect_ex((address.host, address.port)))
    await hooks.stop()
    assert reached[0] != 0
    assert reached[1] == 0


async def test_who_has_no_use_for_it_costs_nothing(tmp_path: Path) -> None:
    """Without it nobody more watches the store, and no call has more clients."""
    watchers = []
    for place, names in enumerate(((), ("one",))):
        folder = tmp_path / str(place)
        folder.mkdir()
        hooks, _, _ = programs(config(folder), *names)
        await hooks.start()
        hooks.tell(*answered_call("c1")[:7])
        hooks.running.running.tms.flush()
        store = hooks.running.server.store
        watchers.append(len(store._watchers))
        assert len(store.get("c1").clients) == 1
        await hooks.stop()
    assert watchers[1] == watchers[0] + 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("no such\nnumber"), "plugin two: no such number"),
        (KeyError(), "plugin two: KeyError"),
    ],
)
async def test_a_plugin_that_fails_stops_the_start(
    tmp_path: Path, error: Exception, says: str
) -> None:
    class Failing:
        @hookimpl
        async def call_data(self, local: LocalStore) -> None:
            raise error

    for _ in range(2):  # the second start finds nothing left open by the first
        hooks, _, said = programs(
            config(tmp_path, listen=Address("127.0.0.1", 0), switches=("annex",)), "three", "one"
        )
        hooks.plugins.register(Failing(), name="two")
        with pytest.raises(StartError) as caught:
            await hooks.start()
        assert str(caught.value) == says
        assert hooks.running is None
        assert said == ["one start", "three start"], "the last to be registered is the first asked"
        assert open_in(tmp_path) == []
        with closing(sqlite3.connect(tmp_path / "hq.db")) as db:
            db.execute("BEGIN EXCLUSIVE")


def open_in(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    found = []
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{entry}"))
    return [path for path in found if path.startswith(f"{folder}/")]


async def test_a_name_that_cannot_be_an_authors(tmp_path: Path) -> None:
    hooks, _, _ = programs(config(tmp_path), "my plugin")
    with pytest.raises(StartError, match="plugin my plugin: found `my plugin`, expected letters"):
        await hooks.start()


async def test_the_server_is_elsewhere(tmp_path: Path) -> None:
    """Then there is no store here to be handed."""
    elsewhere = CdsSection(server="hq", server_at=Address("127.0.0.1", 9))
    hooks, _, said = programs(
        SimpleNamespace(
            switch=SimpleNamespace(name="annex"),
            sections={"cds": elsewhere},
            path=tmp_path / "annex.yaml",
        ),
        "one",
    )
    await hooks.start()
    assert said == ["one start"]
    await hooks.stop()


# `cds serve`, with plugins installed


def install(folder: Path, name: str, code: str) -> None:
    """What pip leaves of a distribution with one plugin."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[softswitch]\n{name} = {name}\n")


OBSERVER = """
import sys
from pydantic import BaseModel
from softswitch.config import Section
from softswitch.hookspecs import hookimpl

class Seen(Section):
    word: str = "nothing"

@hookimpl
def config_sections():
    return {"SECTION": Seen}

@hookimpl
def start(config):
    print("started a switch", file=sys.stderr)

class Held:
    @hookimpl
    def stop(self):
        print("what NAME held stopped", file=sys.stderr, flush=True)

@hookimpl
async def call_data(local, sections, plugins):
    global of_all
    print("handed over at", local.server, sections, file=sys.stderr, flush=True)
    of_all = Client(local)
    local.register_all(of_all)
    if "SECTION" in sections and sections["SECTION"].word == "fail":
        raise RuntimeError("as its section says")
    plugins.register(Held(), name="what NAME holds")

class Client:
    def __init__(self, local):
        self.local = local

    def updated(self, call, properties, logs):
        for entry in properties:
            if entry.name == "call":
                self.local.update(self, call.call_id, {"seen": True}, ["seen"])

    def ended(self, call):
        print("ended", call.call_id, file=sys.stderr, flush=True)

@hookimpl
def stop():
    print("NAME stopped", file=sys.stderr, flush=True)
"""


def observer(folder: Path, name: str, section: str) -> None:
    install(folder, name, OBSERVER.replace("NAME", name).replace("SECTION", section))


def serve(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "hq.yaml").write_text(text)
    return subprocess.run(
        [sys.executable, "-c", "from cdsplugin.cli import main; main()", "serve", "hq.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
    )


async def test_serve_hands_over_the_store(tmp_path: Path) -> None:
    observer(tmp_path, "observer", "seen")
    serving = Serving(tmp_path, env={"PYTHONPATH": str(tmp_path)})
    await serving.start()
    try:
        async with switch(tmp_path, serving.port) as at:
            at.tell(*mine("c1"))
            await until(at.running.client.settled)
            await until(lambda: serving.rows("SELECT count(*) FROM cdrs WHERE final") == [(1,)])
        assert serving.rows("SELECT name, author FROM cdr_properties WHERE name = 'seen'") == [
            ("seen", "hq/observer")
        ]
        assert serving.rows("SELECT author, text FROM cdr_logs") == [("hq/observer", "seen")]
    finally:
        assert await serving.kill(signal.SIGTERM) == 0
    assert serving.said.index("handed over at hq {'cds'") < serving.said.index("ready on")
    assert "'seen':" not in serving.said, "a section that is not in the file is not there"
    assert "started a switch" not in serving.said + serving.log
    assert "ended c1" in serving.log
    assert serving.log.index("observer stopped") > serving.log.index("ended c1")
    assert "what observer held stopped" in serving.log


def test_serve_checks_plugins_sections(tmp_path: Path) -> None:
    observer(tmp_path, "observer", "seen")
    done = serve(tmp_path, "cds: {server: hq, database: hq.db}\nseen: {wrod: x}\nsene: {}\n")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "hq.yaml:2:8: unknown key `wrod`: did you mean `word`?",
        "hq.yaml:3:1: unknown key `sene`: did you mean `seen`?",
    ]


def test_serve_with_a_plugin_that_fails(tmp_path: Path) -> None:
    """One line, what had begun is ended, nothing stays."""
    observer(tmp_path, "first", "one")
    observer(tmp_path, "second", "two")
    for one, two, line in (
        ("fail", "", "cds hq: plugin first: as its section says"),
        ("", "fail", "cds hq: plugin second: as its section says"),
    ):
        done = serve(
            tmp_path,
            "cds: {server: hq, database: hq.db, switches: [annex]}\n"
            f"one: {{word: '{one}'}}\ntwo: {{word: '{two}'}}\n",
        )
        assert done.returncode == 1
        lines = [said for said in done.stderr.splitlines() if not said.startswith("handed over")]
        handed = done.stderr.count("handed over")
        stopped = [said for said in lines if said.endswith(" stopped")]
        assert [said for said in lines if said not in stopped] == [line]
        assert len(stopped) == 2 * (handed - 1), "of those that had been handed the store"
        assert {f.name for f in tmp_path.iterdir() if f.name.startswith("hq")} == {
            "hq.yaml", "hq.db", "hq.db.journal", "hq.db.switches",
        }  # fmt: skip


def test_serve_with_two_plugins_of_one_section(tmp_path: Path) -> None:
    observer(tmp_path, "first", "seen")
    observer(tmp_path, "second", "seen")
    done = serve(tmp_path, "cds: {server: hq, database: hq.db}\n")
    assert done.returncode == 2
    assert done.stderr == "two plugins own the section `seen`: remove one of them\n"
    observer(tmp_path, "third", "cds")
    (tmp_path / "second-1.dist-info" / "entry_points.txt").write_text("")
    done = serve(tmp_path, "cds: {server: hq, database: hq.db}\n")
    assert done.returncode == 2
    assert done.stderr.startswith("a plugin owns the section `cds`, which is there already")
    install(tmp_path, "fourth", "from softswitch.hookspecs import hookimpl\n@hookimpl\n"
            "def call_data(locl): ...\n")  # fmt: skip
    done = serve(tmp_path, "cds: {server: hq, database: hq.db}\n")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("a plugin cannot be loaded: PluginValidationError: ")
    assert "{'locl'}" in line
