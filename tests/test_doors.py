"""The doors of a whole switch, with real sockets in this process: phones that come by TCP."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from softswitch.configuration import load_config
from softswitch.hookspecs import make_plugins
from softswitch.log import Log
from softswitch.metrics import SwitchMetrics
from softswitch.process import Process, TimerDriver
from softswitch.sip.digest import answer
from softswitch.sip.transport import Transport
from softswitch.switch import Switch

WAIT = 10.0
CONFIG = """
switch: {name: hq, listen: "tcp:127.0.0.1:0", journal: off}
extensions:
  "1001": {password: a}
trunks:
  far: {to: "sip:127.0.0.1:9;transport=tcp", from: "127.0.0.2", keepalive: 0}
dialplan: plan.yaml
limits: {max_connections: 4, max_per_address: 3, max_opened: 2, max_text: 99, max_kept: 4321,
  max_headers: 77, max_message_size: 7777, guesses_at_once: 1, max_guessers: 22, max_delayed: 33}
timers: {tcp_first: 8, tcp_idle: 444, tcp_keepalive: 55,
  guess_delay: 0.5, guess_longest: 1.5, guess_forget: 66}
"""


class Site:
    """A switch that listens, without its process around it."""

    def __init__(self, switch: Switch, transport: Transport) -> None:
        self.switch, self.transport = switch, transport

    @property
    def port(self) -> int:
        return self.transport.addresses[0][2]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    (tmp_path / "hq.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text('routes:\n  - {match: "1XXX", dial: extension}\n')
    loop = asyncio.get_running_loop()
    plugins = make_plugins()
    config = load_config(tmp_path / "hq.yaml")
    switch, transport = Process(config, plugins, Log(config.log))._make(loop)
    driver = TimerDriver(loop, switch.timers, transport.catch_up)
    await transport.listen("tcp", "127.0.0.1", 0)
    switch.opened()
    yield Site(switch, transport)
    driver.close()
    await transport.close()


class Phone:
    """A connection of 1001, and the little SIP that it takes to register."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.cseq = 0

    async def ask(self, method: str = "REGISTER", extra: str = "") -> str:
        self.cseq += 1
        port = self.writer.get_extra_info("sockname")[1]
        self.writer.write(
            f"{method} sip:127.0.0.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bK{self.cseq}x{port}\r\n"
            f"From: <sip:1001@h>;tag=1\r\nTo: <sip:1001@h>\r\nCall-ID: c{port}\r\n"
            f"CSeq: {self.cseq} {method}\r\nContact: <sip:1001@127.0.0.1:{port}>\r\n{extra}"
            "Content-Length: 0\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT)
        return head.decode()

    async def register(self) -> str:
        challenge = (await self.ask()).partition("WWW-Authenticate: ")[2].partition("\r\n")[0]
        value = answer(challenge, "REGISTER", "sip:127.0.0.1", "1001", "a", "cn")
        return await self.ask(extra=f"Authorization: {value}\r\n")


async def phone(site: Site, host: str = "127.0.0.1") -> Phone:
    return Phone(
        *await asyncio.open_connection("127.0.0.1", site.port, local_addr=(host, 0)),
    )


async def test_the_settings_arrive(site: Site) -> None:
    limits = dataclasses.asdict(site.transport._limits)
    assert limits == limits | {
        "max_connections": 4,
        "max_per_address": 3,
        "max_opened": 2,
        "max_text": 99,
        "max_kept": 4321,
        "max_headers": 77,
        "max_message_size": 7777,
        "first_message": 8,
        "tcp_idle": 444,
        "keepalive": 55,
    }
    assert site.switch.settings.max_text == 99
    assert dataclasses.asdict(site.switch.guesses.limits) == {
        "at_once": 1,
        "sources": 22,
        "waiting": 33,
        "delay": 0.5,
        "longest": 1.5,
        "forget": 66,
    }


async def test_a_phone_that_connects_again_and_again(site: Site) -> None:
    """Its bindings go with its connections, and it is no stranger as long as it is there."""
    last = await phone(site)
    for _ in range(12):
        assert (await last.register()).startswith("SIP/2.0 200")
        last.writer.close()
        async with asyncio.timeout(WAIT):
            while site.switch.registrar.contacts("1001"):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        last = await phone(site)
    last.writer.close()


async def test_silent_strangers_and_a_phone(site: Site) -> None:
    kept = await phone(site)
    assert (await kept.register()).startswith("SIP/2.0 200")
    silent = [await phone(site) for _ in range(20)]
    late = await phone(site)
    assert (await late.register()).startswith("SIP/2.0 200")
    assert (await kept.register()).startswith("SIP/2.0 200")
    found = {m.name: m.samples for m in SwitchMetrics(site.switch, site.transport).collect()}
    assert found["softswitch_connections_displaced"][0].value == 18
    assert found["softswitch_connections_refused"][0].value == 0
    entries = {s.labels["table"]: s.value for s in found["softswitch_entries"]}
    assert entries["connections"] == 4
    # What we open ourselves has room still.
    assert site.transport.flow_to("tcp", "127.0.0.1", 9) is not None
    for one in (kept, late, *silent):
        one.writer.close()


async def test_a_trunk_that_only_asks_is_no_stranger(site: Site) -> None:
    trunk = await phone(site, "127.0.0.2")
    assert (await trunk.ask("OPTIONS")).startswith("SIP/2.0 200")
    strangers = [await phone(site, f"127.0.0.{n}") for n in range(3, 20)]
    assert (await trunk.ask("OPTIONS")).startswith("SIP/2.0 200")
    for one in (trunk, *strangers):
        one.writer.close()


async def test_a_guess_by_tcp_waits(site: Site) -> None:
    eve = await phone(site)
    challenge = (await eve.ask()).partition("WWW-Authenticate: ")[2].partition("\r\n")[0]
    value = answer(challenge, "REGISTER", "sip:127.0.0.1", "1001", "guess", "cn")
    loop = asyncio.get_running_loop()
    for least, most in ((0.0, 0.4), (0.5, 5.0)):
        began = loop.time()
        assert (await eve.ask(extra=f"Authorization: {value}\r\n")).startswith("SIP/2.0 401")
        assert least <= loop.time() - began < most
    eve.writer.close()
