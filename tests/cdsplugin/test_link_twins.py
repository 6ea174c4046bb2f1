"""Two servers that have one name by mistake, against a third: over real TCP on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from link_net import FAST, Ears, Net, closed, framed

from cdsplugin.config import CdsSection
from cdsplugin.data.frames import Hello, Unregister
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.security import LinkSecurity
from cdsplugin.link.tcp import Link
from cdsplugin.server import CallDataServer

SECRET = LinkSecurity(b"a secret of some length")
TWINS = "two servers are called branch"


class Insists(Ears):
    """As the proxy does while calls are shared, it wants ``hq`` again after each loss."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link

    def disconnected(self, server: str) -> None:
        super().disconnected(server)
        self.link.want("hq", True)


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.stop()


async def insisting(net: Net, hq: Link, security: LinkSecurity | None = None) -> Insists:
    link, _ = await net.link("branch", security=security, hq=hq.address())
    ears = Insists(link)
    link.attach(ears)
    link.want("hq", True)
    return ears


async def said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_they_back_off_and_one_line_says_what_is_wrong(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = [0]

    def nonce() -> bytes:  # asked for by each connection, also by one that is refused
        made[0] += 1
        return random.randbytes(32)

    hq, at_hq = Link("hq", {}, FAST, random.Random(1), SECRET, nonce), Ears()
    hq.attach(at_hq)
    await hq.start(("127.0.0.1", 0))
    net.links.append(hq)
    twins = [await insisting(net, hq, SECRET) for _ in range(2)]
    await said(caplog, TWINS)
    await asyncio.sleep(2)
    # They took each other's place as often as it takes to see that neither was restarted. After
    # that the other one tries at 0.01, 0.02, 0.04 s and so on.
    assert len(at_hq.up) <= 6
    assert made[0] <= 30
    assert caplog.text.count(TWINS) == 1
    assert sum("branch" in record.getMessage() for record in caplog.records) <= 15
    line = next(r.getMessage() for r in caplog.records if TWINS in r.getMessage())
    assert line.count("tcp:127.0.0.1:") == 2
    # One of them is connected, and speaks.
    (there,) = (twin for twin in twins if twin.link.connected("hq"))
    there.link.send("hq", Unregister("c1"))
    hq.send("branch", Unregister("c2"))
    await at_hq.until(lambda: at_hq.frames)
    await there.until(lambda: there.frames)
    # A third start is not one that was there before: it may be either of them, restarted.
    restarted = await insisting(net, hq, SECRET)
    await restarted.until(lambda: restarted.up)
    assert restarted.link.connected("hq")


async def greet(hq: Link, instance: str) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection(*hq.address())
    writer.write(framed(Hello("cds", 1, "branch", instance)))
    _HELD.append(writer)
    return reader


_HELD: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def let_go() -> AsyncIterator[None]:
    yield
    for writer in _HELD:
        writer.close()
    _HELD.clear()


async def test_restarts_are_no_twins_however_many(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    """Each connection but the last is half-open: its server does not know that it is gone."""
    hq, at_hq = await net.link("hq")
    for number in range(20):
        await greet(hq, f"start{number}")
        await at_hq.until(lambda number=number: len(at_hq.up) == number + 1)
        # The same start again, by another connection: the network was gone for a while.
        await greet(hq, f"start{number}")
        await at_hq.until(lambda number=number: len(at_hq.up) == number + 2)
        at_hq.up.pop()
    assert "two servers" not in caplog.text


async def test_a_twin_that_is_silent_gives_way(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """Its connection may be half-open; that of one which is heard is not."""
    silent, at_silent = await net.link("hq", LinkLimits(dead_after=0.05))
    heard, at_heard = await net.link("hq")
    for turn in range(4):
        for hq, ears in ((silent, at_silent), (heard, at_heard)):
            await greet(hq, f"twin{turn % 2}")
            await ears.until(lambda ears=ears, turn=turn: len(ears.up) == turn + 1)
    assert caplog.text.count(TWINS) == 2
    await asyncio.sleep(0.1)
    await greet(silent, "twin0")
    await at_silent.until(lambda: len(at_silent.up) == 5)
    await closed(await greet(heard, "twin0"))
    assert len(at_heard.up) == 4
    assert caplog.text.count(TWINS) == 2


async def test_who_is_left_is_no_twin_of_who_is_gone(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    hq, at_hq = await net.link("hq")
    for turn in range(6):
        await greet(hq, f"twin{turn % 2}")
        await at_hq.until(lambda turn=turn: len(at_hq.up) == turn + 1)
        _HELD.pop().close()
        await at_hq.until(lambda turn=turn: len(at_hq.down) == turn + 1)
    assert "two servers" not in caplog.text


async def test_a_server_that_goes_again_soon_is_not_dialled_without_a_pause(net: Net) -> None:
    hq, _ = await net.link("hq")

    class Drops(Ears):
        def connected(self, server: str) -> None:
            super().connected(server)
            asyncio.get_running_loop().call_later(0.005, hq.drop, server)

    at_hq = Drops()
    hq.attach(at_hq)
    await insisting(net, hq)
    await at_hq.until(lambda: len(at_hq.up) == 3)
    await asyncio.sleep(2)
    assert len(at_hq.up) <= 20


async def test_dead_after_is_that_of_the_configuration(tmp_path: Path) -> None:
    section = CdsSection(database=tmp_path / "hq.db", dead_after=7, alive_interval=1)
    assert CallDataServer("hq", section).link.limits.dead_after == 7
