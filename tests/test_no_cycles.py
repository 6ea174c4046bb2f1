"""The process has no garbage collector: a call must leave nothing that keeps itself alive."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import cdsplugin.plugin as cds
from bench.hotpath import CONFIG, PLAN, Net, call
from cdsplugin.local import Call, LocalStore, Log, Property, hookimpl
from softswitch.calls.journal import Journal
from softswitch.configuration import load_config
from softswitch.disk.journal_file import JournalFile
from softswitch.hookspecs import make_plugins
from softswitch.sip.message import Request
from softswitch.sip.outbox import Outbox
from softswitch.sip.parser import parse
from softswitch.sip.tokens import Tokens
from softswitch.switch import Switch


class Process:
    """A switch with its journal, its outbox and its call data server, as `softswitch run` has them;
    only its sockets are missing, and its timers can be hurried."""

    def __init__(self, folder: Path) -> None:
        (folder / "switch.yaml").write_text(f"{CONFIG}cds: {{database: x.db, linger: 0.2}}\n")
        (folder / "plan.yaml").write_text(PLAN)
        self.plugins = make_plugins()
        self.plugins.register(cds)
        self.config = load_config(folder / "switch.yaml", cds.config_sections())
        self.net = Net()
        self.ahead = 0.0
        loop = asyncio.get_running_loop()
        self.switch = Switch(
            self.config,
            self.plugins,
            self.net,
            clock=lambda: time.monotonic() + self.ahead,
            now_us=lambda: time.time_ns() // 1000,
            tokens=Tokens(),
        )
        self.switch.opened()
        self.outbox = Outbox(loop.call_soon, loop.call_later, loop.time)
        self.switch.on_told = self.outbox.told
        self.outbox.store = self.switch.stored
        self.file = JournalFile(folder / "x.calls", loop.call_soon_threadsafe)
        self.switch.journal = Journal(self.switch.timers, self.file, 0, self.outbox.told)

    async def start(self) -> None:
        for ready in self.plugins.hook.start(config=self.config, plugins=self.plugins):
            if ready is not None:
                await ready

    async def stop(self) -> None:
        self.outbox.flush()
        for done in self.plugins.hook.stop():
            if done is not None:
                await done
        self.file.close()

    async def calls(self, numbers: range) -> None:
        """One after the other, and everything that comes after them."""
        for number in numbers:
            hang_up = call(self.switch, self.net, number)
            await asyncio.sleep(0.012)  # two commits
            hang_up()
            await asyncio.sleep(0.006)
        del hang_up
        server = self.plugins.get_plugin(cds.RUNNING).server
        await until(lambda: not len(server.store) and not server.archive.pending())
        self.ahead += 100.0
        self.switch.timers.advance()
        await until(lambda: not any(self.switch.tables().values()) and not len(self.outbox))

    async def registrations(self, numbers: range) -> None:
        """A phone that registers, refreshes, moves and unregisters; one whose time runs out."""
        switch = self.switch
        flow = ("udp", "192.0.2.1", 5060)
        for number in numbers:
            for aor, contact in (("1001", "a"), ("1001", "a"), ("1001", "b"), ("1002", "c")):
                switch.registrar.process(register(number, f"<sip:{contact}@h>"), aor, flow)
                await asyncio.sleep(0.006)
            switch.registrar.process(register(number, "*", 0), "1001", flow)
            await asyncio.sleep(0.006)
            self.ahead += 4000.0
            switch.registrations.expire()
            switch.timers.advance()
            self.ahead += 2.0
            switch.timers.advance()
        await until(lambda: not any(switch.tables().values()) and not len(self.outbox))


async def until(reached: Callable[[], bool]) -> None:
    """Give it five seconds at most."""
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not everything has ended")


def register(number: int, contact: str, expires: int = 3600) -> Request:
    register.cseq += 1  # type: ignore[attr-defined]
    request = parse(
        f"REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{number}\r\n"
        f"From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: {number}\r\n"
        f"CSeq: {register.cseq} REGISTER\r\nContact: {contact}\r\n"  # type: ignore[attr-defined]
        f"Expires: {expires}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(request, Request)
    return request


register.cseq = 0  # type: ignore[attr-defined]


class Program:
    """A plugin that takes part in every call, with a client of its own for each."""

    def __init__(self) -> None:
        self.ended_calls = 0

    @hookimpl
    def call_data(self, local: LocalStore) -> None:
        self.local = local
        local.register_all(self)

    def updated(self, call: Call, properties: list[Property], logs: list[Log]) -> None:
        if any(entry.name == "call" for entry in properties):
            OfOne(self.local, call.call_id)

    def ended(self, call: Call) -> None:
        assert call.data.value("seen")
        self.ended_calls += 1


class OfOne:
    def __init__(self, local: LocalStore, call_id: str) -> None:
        self.local = local
        self.updated(local.register(self, call_id), [], [])

    def updated(self, call: Call, properties: list[Property], logs: list[Log]) -> None:
        self.local.update(self, call.call_id, {"seen": len(call.data)}, ["seen"])
        if call.data.value("end") is not None:
            self.local.unregister(self, call.call_id)

    def ended(self, call: Call) -> None: ...


@pytest.mark.parametrize("what", ["calls", "calls with a program", "registrations"])
async def test_nothing_is_left_that_keeps_itself_alive(tmp_path: Path, what: str) -> None:
    process = Process(tmp_path)
    program = Program()
    if what == "calls with a program":
        process.plugins.register(program)
    await process.start()
    do = process.registrations if what == "registrations" else process.calls
    await do(range(5))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await do(range(5, 25))
        gc.collect()
        ours = Counter(
            f"{type(found).__module__}.{type(found).__qualname__}"
            for found in gc.garbage
            if type(found).__module__.partition(".")[0] in ("softswitch", "cdsplugin")
        )
        # Per call; a few may be of the event loop, which is another in production.
        assert not ours, ours
        assert len(gc.garbage) < 20, Counter(type(found) for found in gc.garbage)
        assert program.ended_calls == (25 if what == "calls with a program" else 0)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        await process.stop()


def test_a_switch_without_an_outbox_keeps_no_call(tmp_path: Path) -> None:
    """What it sends leaves at once: nobody asks it for those whose answers wait to leave."""
    (tmp_path / "switch.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text(PLAN)
    net = Net()
    switch = Switch(
        load_config(tmp_path / "switch.yaml"),
        make_plugins(),
        net,
        clock=time.monotonic,
        now_us=lambda: time.time_ns() // 1000,
        tokens=Tokens(),
    )
    switch.opened()
    for number in range(3):
        call(switch, net, number)()
    assert switch.counters.answered == 3
    assert switch._answers == []
