"""Real links on loopback, and what they report."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from cdsplugin.data.frames import Frame
from cdsplugin.link.handshake import Proof
from cdsplugin.link.key_files import make_authority, make_server
from cdsplugin.link.limits import LinkLimits
from cdsplugin.link.security import LinkSecurity
from cdsplugin.link.tcp import Link

FAST = LinkLimits(frame_bytes=4096, buffer_bytes=1 << 20, handshake=0.3, reconnect_min=0.01)


class Ears:
    """Notes what a link reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.down: list[str] = []
        self.frames: list[tuple[str, Frame]] = []
        self._changed = asyncio.Event()
        self.fail = False

    def connected(self, server: str) -> None:
        self.up.append(server)
        self._changed.set()

    def disconnected(self, server: str) -> None:
        self.down.append(server)
        self._changed.set()

    def received(self, server: str, frame: Frame) -> None:
        self.frames.append((server, frame))
        self._changed.set()
        if self.fail:
            raise RuntimeError("broken receiver")

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Net:
    """The links of a test; ``stop`` closes them."""

    def __init__(self) -> None:
        self.links: list[Link] = []

    async def link(
        self,
        name: str,
        limits: LinkLimits = FAST,
        port: int = 0,
        security: LinkSecurity | None = None,
        **peers: tuple[str, int],
    ) -> tuple[Link, Ears]:
        link = Link(name, peers, limits, random.Random(1), security)
        ears = Ears()
        link.attach(ears)
        await link.start(("127.0.0.1", port))
        self.links.append(link)
        return link, ears

    async def stop(self) -> None:
        for link in self.links:
            await link.stop()


def framed(frame: Frame | Proof) -> bytes:
    data = msgspec.msgpack.encode(frame)
    return len(data).to_bytes(4, "big") + data


async def closed(reader: asyncio.StreamReader) -> None:
    """Read until the other side closes the connection."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(100):
                pass


def make_certificates(folder: Path) -> Path:
    """``right`` and ``other`` are two authorities with servers; ``right`` also signed one that has
    expired and one that is not valid yet.
    """
    now = datetime.datetime.now(datetime.UTC)
    for authority in ("right", "other"):
        make_authority(folder / authority, 30, now)
        for name in ("hq", "branch"):
            make_server(name, folder / authority, 20, now)
    make_server("expired", folder / "right", 1, now - datetime.timedelta(days=2))
    make_server("early", folder / "right", 20, now + datetime.timedelta(days=2))
    return folder


def files(folder: Path, name: str = "hq") -> dict[str, Path]:
    """``cds.tls`` for a server."""
    return {
        "certificate": folder / f"{name}.pem",
        "key": folder / f"{name}.key",
        "authority": folder / "authority.pem",
    }
