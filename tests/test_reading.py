"""A configuration read in a process of its own: the same as read here, and no worse said."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import uvloop
from pydantic import BaseModel

from softswitch import reading
from softswitch.config import ConfigErrors, Section
from softswitch.configuration import Config, load_config
from softswitch.dialplan import Source
from softswitch.reading import ReadError, read_beside

ROUTES = 250
CONFIG = """
switch: {name: hq, listen: "udp:127.0.0.1:0"}
extensions:
EXTENSIONS
trunks: {pstn: {to: "sip:192.0.2.1"}}
dialplan: plan.yaml
cds: {database: x.db}
"""


class Cds(Section):
    """A section of a plugin."""

    database: Path


def files(folder: Path, routes: str = "") -> Path:
    people = "".join(f'  "{n}": {{password: p{n}}}\n' for n in range(1000, 1000 + ROUTES))
    (folder / "c.yaml").write_text(CONFIG.replace("EXTENSIONS", people))
    (folder / "plan.yaml").write_text(
        "routes:\n"
        + "".join(
            f'  - {{match: "{n}X", from: any, dial: "trunk:pstn", set: {{a: "{n}"}}}}\n'
            for n in range(2000, 2000 + ROUTES)
        )
        + '  - {match: "/9+/", from: any, dial: extension}\n'
        + routes
    )
    return folder / "c.yaml"


def read(path: Path, **sections: type[BaseModel]) -> Config:
    return uvloop.run(read_beside(path, sections))


def test_it_is_what_would_be_read_here(tmp_path: Path) -> None:
    path = files(tmp_path, '  - {match: "20001", from: any, dial: "trunk:pstn"}\n')
    here, beside = load_config(path, {"cds": Cds}), read(path, cds=Cds)
    assert beside.extensions == here.extensions
    assert list(beside.extensions) == list(here.extensions)
    assert beside.dialplan.routes == here.dialplan.routes
    assert len(beside.dialplan.routes) == ROUTES + 2
    assert beside.warnings == here.warnings != ()
    for key in ("switch", "trunks", "limits", "timers", "log", "sections", "path", "stamp",
                "dialplan_path", "dialplan_stamp", "surroundings", "journal"):  # fmt: skip
        assert getattr(beside, key) == getattr(here, key), key
    for number in ("20001", "22001", "1001", "999", "7"):
        source = Source("extension", "1001")
        assert beside.dialplan.route(number, source) == here.dialplan.route(number, source)


def test_each_mistake_has_its_place(tmp_path: Path) -> None:
    path = files(tmp_path, '  - {match: "6[", dial: "1001"}\n  - {match: "6", dial: "1"}\n')
    with pytest.raises(ConfigErrors) as here:
        load_config(path, {"cds": Cds})
    with pytest.raises(ConfigErrors) as beside:
        read(path, cds=Cds)
    assert beside.value.mistakes == here.value.mistakes
    assert len(beside.value.mistakes) == 2


def test_a_model_that_cannot_be_handed_over_is_used_here(tmp_path: Path) -> None:
    class Local(Section):
        database: Path

    config = read(files(tmp_path), cds=Local)
    assert isinstance(config.sections["cds"], Local)


def hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads takes for ever."""
    slow = folder / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))


def test_a_reader_that_dies_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files(tmp_path)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReadError, match="ended with status 1"):
        read(path, cds=Cds)
    hangs(tmp_path, monkeypatch)
    monkeypatch.setattr(reading, "WITHIN", 0.1)
    with pytest.raises(ReadError, match=r"more than 0\.1 s"):
        read(path, cds=Cds)


def test_it_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch stops meanwhile."""
    hangs(tmp_path, monkeypatch)

    async def stopped() -> None:
        task = asyncio.create_task(read_beside(files(tmp_path), {"cds": Cds}))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    uvloop.run(asyncio.wait_for(stopped(), 5))
