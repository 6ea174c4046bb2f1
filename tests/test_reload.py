"""The configuration read again: whom it is handed to, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import uvloop
from pydantic import BaseModel

from softswitch import reload
from softswitch.config import ConfigErrors, Section
from softswitch.configuration import Config, load_config
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.plugins import sections_of
from softswitch.reload import Reload

CONFIG = """
switch: {name: hq, listen: "udp:127.0.0.1:0"}
extensions: {"1001": {password: a}}
dialplan: plan.yaml
"""


class Lamps(Section):
    """A section of a plugin."""

    colour: str = "red"


class Deaf:
    """A plugin that takes its section up at a start only."""

    @hookimpl
    def config_sections(self) -> Mapping[str, type[BaseModel]]:
        return {"lamps": Lamps}


class Follows(Deaf):
    """A plugin that goes on by what it is told."""

    def __init__(self) -> None:
        self.told: list[Config] = []

    @hookimpl
    def config_sections(self) -> Mapping[str, type[BaseModel]]:
        return {"bells": Lamps}

    @hookimpl
    def reload(self, config: Config) -> Sequence[str]:
        self.told.append(config)
        return ["bells.size"] if len(self.told) == 1 else []


class Breaks:
    """A plugin with a fault."""

    @hookimpl
    def reload(self, config: Config) -> None:
        raise RuntimeError("no such bell")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    return tmp_path


def reloaded(files: Path, plugins: Sequence[object], change: Callable[[], object]) -> list[Config]:
    """Start, change the files, and wait until something was said of that; what was taken up."""
    taken: list[Config] = []
    said = asyncio.Event()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "taken up" in record.getMessage():
                asyncio.get_running_loop().call_soon(said.set)

    def take_up(config: Config) -> list[str]:
        taken.append(config)
        return ["log"]

    async def run() -> None:
        registry = make_plugins()
        for plugin in plugins:
            registry.register(plugin)
        config = load_config(files / "c.yaml", sections_of(registry))
        watching = asyncio.create_task(Reload(config, registry, take_up).run())
        change()
        await asyncio.wait_for(said.wait(), 20)
        await asyncio.sleep(0.01)
        watching.cancel()

    handler = Listening()
    logging.getLogger("softswitch.reload").addHandler(handler)
    try:
        uvloop.run(run())
    finally:
        logging.getLogger("softswitch.reload").removeHandler(handler)
    return taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(reload, "LOOK_EVERY", 0.01)
    caplog.set_level(logging.INFO)


def test_plugins_are_told_and_what_nobody_takes_up_is_named(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    follows = Follows()

    def change() -> None:
        (files / "c.yaml").write_text(
            CONFIG.replace("a}}", 'b}, "1002": {password: c}}')
            + "lamps: {colour: blue}\nbells: {colour: green}\n"
        )

    (config,) = reloaded(files, [Deaf(), follows, Breaks()], change)
    assert follows.told == [config]
    assert sorted(config.extensions) == ["1001", "1002"]
    *_, taken, later = [record.getMessage() for record in caplog.records]
    assert taken.endswith("c.yaml taken up: 1 extension added, 1 extension changed, bells, lamps")
    assert later.startswith("only a restart changes this: log, ")
    assert set(later.partition(": ")[2].split(", ")) >= {"log", "bells.size", "lamps"}
    assert "(no such bell)" in later


def test_mistakes_leave_all_as_it_is(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    follows = Follows()
    change = (files / "plan.yaml").write_text
    assert reloaded(files, [follows], lambda: change("routes: [{match: 6}, {match: 7}]")) == []
    assert follows.told == []
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(line.startswith("configuration not taken up: ") for line in said)
    assert "plan.yaml:1:10" in said[0]


HOLIDAYS = "conditions: {free: {holidays: free.txt}}\nroutes: []\n"


def test_a_file_that_the_dialplan_names_is_watched(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (files / "plan.yaml").write_text(HOLIDAYS)
    (files / "free.txt").write_text("12-25\n")
    change = (files / "free.txt").write_text
    (config,) = reloaded(files, [], lambda: change("12-25\n2026-12-24\n"))
    assert len(config.dialplan.conditions["free"].days or ()) == 2
    assert "taken up: dialplan with 0 routes" in caplog.text
    caplog.clear()
    assert reloaded(files, [], lambda: change("24.12.\n")) == []
    assert "free.txt:1:1: found `24.12.`" in caplog.text


@pytest.mark.parametrize(
    ("new", "there", "plan"),
    [
        ("free.txt", "24.12.\n", ""),
        ("free.txt", None, ""),
        ("new.yaml", None, "new.yaml"),
    ],
)
def test_a_file_that_is_named_for_the_first_time_is_watched(
    files: Path, new: str, there: str | None, plan: str
) -> None:
    if there is not None:
        (files / new).write_text(there)
    taken: list[Config] = []

    async def run() -> None:
        registry = make_plugins()
        config = load_config(files / "c.yaml", {})
        done = asyncio.Event()
        failed = asyncio.Event()

        def take_up(config: Config) -> list[str]:
            taken.append(config)
            done.set()
            return []

        class Listening(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                asyncio.get_running_loop().call_soon(failed.set)

        handler = Listening(logging.ERROR)
        logging.getLogger("softswitch.reload").addHandler(handler)
        watching = asyncio.create_task(Reload(config, registry, take_up).run())
        try:
            if plan:
                (files / "free.txt").write_text("2026-12-24\n")
                (files / "c.yaml").write_text(CONFIG.replace("plan.yaml", plan))
            else:
                (files / "plan.yaml").write_text(HOLIDAYS)
            await asyncio.wait_for(failed.wait(), 20)
            (files / new).write_text(HOLIDAYS if plan else "2026-12-24\n")
            await asyncio.wait_for(done.wait(), 20)
        finally:
            logging.getLogger("softswitch.reload").removeHandler(handler)
            watching.cancel()

    uvloop.run(run())
    assert len(taken) == 1
    assert taken[0].dialplan.conditions["free"].holds(1798113600.0)


def test_mistakes_survive_the_way_between_processes() -> None:
    import pickle

    from softswitch.config import Mistake

    mistakes = [Mistake("a.yaml", 1, 2, "so"), Mistake("b.yaml", 3, 4, "and so")]
    errors = ConfigErrors(mistakes, [(Path("a.yaml"), (1, 2, 3)), (Path("b.yaml"), None)])
    again = pickle.loads(pickle.dumps(errors))
    assert again.mistakes == errors.mistakes
    assert again.files == errors.files
    assert str(again) == str(errors)
