"""The plugin as a switch uses it, alone and two servers over real TCP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cds_calls import answered_call, started
from cds_hooks import Hooks

from cdsplugin import plugin
from cdsplugin.archive import reading
from cdsplugin.config import Address, ApiSection, CdsSection
from cdsplugin.server import CallDataServer, StartError
from cdsplugin.tms.tms import Tms


def section(folder: Path, name: str, **more: Any) -> CdsSection:
    return CdsSection(
        database=folder / f"{name}.db", **{"linger": 30.0, "commit_interval": 0.002, **more}
    )


def config(name: str, cds: CdsSection | None) -> Any:
    return SimpleNamespace(
        switch=SimpleNamespace(name=name), sections={} if cds is None else {"cds": cds}
    )


def record(path: Path, call_id: str) -> dict[str, Any] | None:
    with reading.reading_records(path) as db:
        return reading.read_record(db, call_id)


async def test_without_a_section_it_does_nothing() -> None:
    hooks = Hooks(config("hq", None))
    assert plugin.owner_name(hooks.config) is None
    await hooks.start()
    assert hooks.running is None
    hooks.tell(started("c1"))
    await hooks.stop()
    assert plugin.config_sections() == {"cds": CdsSection}


async def test_a_call_through_the_hooks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hq = config("hq", section(tmp_path, "hq"))
    assert plugin.owner_name(hq) == "hq"
    assert plugin.owner_name(config("hq", section(tmp_path, "hq", server="main"))) == "main"
    hooks = Hooks(hq)
    await hooks.start()
    hooks.tell(*answered_call("c1"))
    # An event that makes the plugin fail does not reach the switch.
    hooks.tell(SimpleNamespace(call_id="c9", switch=[], at=0))  # type: ignore[arg-type]
    assert "its data could not take" in caplog.text
    await hooks.stop()
    assert os.listdir(tmp_path) == ["hq.db"], "SQLite's log is folded in at the end"
    row = record(tmp_path / "hq.db", "c1")
    assert (row["final"], row["disposition"], len(row["legs"])) == (1, "answered", 2)


async def test_a_live_call_at_stop_is_recorded(tmp_path: Path) -> None:
    hooks = Hooks(config("hq", section(tmp_path, "hq")))
    await hooks.start()
    hooks.tell(*answered_call("c1")[:-1])
    await hooks.stop()
    assert record(tmp_path / "hq.db", "c1")["final"] == 1


async def test_what_stops_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1])
        for cds, says in (
            (section(tmp_path / "none", "hq"), "cds.database: cannot open .*: no such folder"),
            (section(tmp_path, "hq", listen=address), "cds.listen: cannot listen on .*in use"),
            (
                section(tmp_path, "hq", api=ApiSection(listen=address, tokens=("x",))),
                "cds.api.listen: cannot listen on .*in use",
            ),
            (section(tmp_path, "hq", peers={"hq": address}), "this server itself"),
        ):
            hooks = Hooks(config("hq", cds))
            with pytest.raises(StartError, match=says) as caught:
                await hooks.start()
            assert "\n" not in str(caught.value)
            assert hooks.running is None


def test_an_unwritable_database(tmp_path: Path) -> None:
    """In a process of its own, which is nobody: root may write anywhere."""
    tmp_path.chmod(0o755)
    code = """if True:
        import os, sys
        from pathlib import Path
        from cdsplugin.archive.sqlite import Archive
        if os.geteuid() == 0:
            os.setgroups([])
            os.setuid(65534)
        try:
            Archive(Path("hq.db")).open()
        except OSError as error:
            print(error)
    """
    tmp_path.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "cds.database: cannot open hq.db: no permission to write\n"


class Pair:
    """hq and branch, as two switches run them, over TCP."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.more = more

    async def start(self) -> None:
        loopback = Address("127.0.0.1", 0)
        self.hq = CallDataServer("hq", section(self.folder, "hq", listen=loopback, **self.more))
        await self.hq.start()
        self.address = Address(*self.hq.link.address())
        self.branch = CallDataServer(
            "branch", section(self.folder, "branch", peers={"hq": self.address}, **self.more)
        )
        await self.branch.start()
        self.at_hq = Tms(self.hq.store, self.hq.clock)
        self.at_branch = Tms(self.branch.store, self.branch.clock)


@pytest.fixture
async def pair(tmp_path: Path):
    pair = Pair(tmp_path)
    await pair.start()
    yield pair
    await pair.branch.stop()
    await pair.hq.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_two_servers_hold_the_same_data_while_the_call_lasts(pair: Pair) -> None:
    mine, theirs = answered_call("c1"), answered_call("c1", "branch")
    assert pair.branch.proxy.servers() == {}, "a link is opened when the first call needs it"
    for here, there in zip(mine[:-1], theirs[:-1], strict=True):
        pair.at_hq.event(here)
        pair.at_branch.event(there)
        await asyncio.sleep(0)

    def same() -> bool:
        ours, other = pair.hq.store.get("c1"), pair.branch.store.get("c1")
        return len(ours.data) == 9 and ours.data == other.data

    await until(same)
    assert pair.hq.proxy.participants(pair.hq.store.get("c1")) == ["branch"]
    pair.at_branch.event(theirs[-1])
    pair.at_hq.event(mine[-1])
    await until(lambda: pair.branch.store.get("c1").settled)
    await pair.hq.stop()
    await until(lambda: pair.branch.store.get("c1") is None)
    await pair.branch.stop()
    row = record(pair.folder / "hq.db", "c1")
    assert row["final"] == 1
    assert [(leg["switch"], leg["leg"]) for leg in row["legs"]] == [
        ("branch", 0), ("branch", 1), ("hq", 0), ("hq", 1),
    ]  # fmt: skip
    assert "switch/branch" in [p["name"] for p in row["properties"]]
    assert record(pair.folder / "branch.db", "c1") is None


async def test_hq_stopped_first_still_has_branchs_last_words(pair: Pair) -> None:
    for n in range(50):
        for here, there in zip(
            answered_call(f"c{n}"), answered_call(f"c{n}", "branch"), strict=True
        ):
            pair.at_hq.event(here)
            pair.at_branch.event(there)
    await until(lambda: pair.hq.proxy.monitor.of("c49") is not None)
    await pair.hq.stop()
    for n in range(50):
        row = record(pair.folder / "hq.db", f"c{n}")
        assert len(row["legs"]) == 4
        assert row["final"] == 1


async def test_a_link_that_breaks_in_the_middle(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    mine, theirs = answered_call("c1"), answered_call("c1", "branch")
    for here, there in zip(mine[:5], theirs[:5], strict=True):
        pair.at_hq.event(here)
        pair.at_branch.event(there)
    await until(lambda: pair.branch.proxy.stage("c1") == "registered")
    pair.hq.link.drop("branch")
    for here, there in zip(mine[5:-1], theirs[5:-1], strict=True):
        pair.at_hq.event(here)
        pair.at_branch.event(there)
    await until(lambda: pair.hq.store.get("c1").data == pair.branch.store.get("c1").data)
    pair.at_branch.event(theirs[-1])
    pair.at_hq.event(mine[-1])
    await until(lambda: pair.branch.store.get("c1").settled)
    assert len(pair.hq.store.get("c1").data.properties) == 11


async def test_an_owner_that_is_not_there_costs_no_record(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        peers = {"hq": Address("127.0.0.1", nobody.getsockname()[1])}
        branch = CallDataServer("branch", section(tmp_path, "branch", peers=peers, stop_within=0.1))
        await branch.start()
        tms = Tms(branch.store, branch.clock)
        for event in answered_call("c1", "branch"):
            tms.event(event)
        await branch.stop()
    row = record(tmp_path / "branch.db", "c1")
    assert (row["owner"], row["written_by"], row["disposition"]) == ("hq", "branch", "answered")


async def test_a_spool_file_that_cannot_be_read_holds_up_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hq = CallDataServer("hq", section(tmp_path, "hq"))
    await hq.start()
    hq.archive.spool.mkdir()
    tms = Tms(hq.store, hq.clock)
    for event in answered_call("c1"):
        tms.event(event)
    await hq.stop()
    assert "spool cannot be read" in caplog.text
    assert "not all records could be written" in caplog.text
    assert record(tmp_path / "hq.db", "c1")["final"] == 1


async def test_the_configuration_read_again(tmp_path: Path) -> None:
    first = section(tmp_path, "hq", peers={"branch": "tcp:127.0.0.1:1"})
    hooks = Hooks(config("hq", first))
    await hooks.start()
    try:
        again = section(tmp_path, "hq", peers={"depot": "tcp:127.0.0.1:2"}, linger=40.0)

        def reload(cds: CdsSection | None) -> list[str]:
            found = plugin.reload(config("hq", cds), hooks.plugins)
            return list(found)

        assert reload(first) == []
        assert reload(again) == ["cds.linger"]
        link = hooks.running.server.link
        assert link.knows("depot")
        assert not link.knows("branch")
        assert reload(again) == ["cds.linger"], "until there was a restart"
        assert reload(None) == ["cds"]
    finally:
        await hooks.stop()
    idle = Hooks(config("hq", None))
    await idle.start()
    assert list(plugin.reload(config("hq", None), idle.plugins)) == []
    assert list(plugin.reload(config("hq", first), idle.plugins)) == ["cds"]
