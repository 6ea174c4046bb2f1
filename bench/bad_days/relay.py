"""Cuts of the servers' links: each connection between two servers goes through a relay of ours.

SIP between the switches does not: calls go on while their servers do not hear of each other. A cut
is either noticed by both at once (the connections are closed, and new ones too), or by nobody
(nothing passes, and nothing is closed: a cable that was pulled, a firewall that forgot).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from softswitch.lab.ports import HOST

_PIECE = 65_536


class Wire:
    """From one server to the address of another. For the relays' own thread."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.closed = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._ends: set[asyncio.StreamWriter] = set()

    def cut(self, silent: bool) -> None:
        """Nothing passes from now on; unless it is to be silent, both ends see it."""
        if silent:
            self._passing.clear()
            return
        self.closed = True
        for end in self._ends:
            end.transport.abort()

    def heal(self) -> None:
        """All passes again, and what waited goes on."""
        self.closed = False
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection: carry both ways until one side closes."""
        ends = [writer]
        self._ends.add(writer)
        try:
            await self._passing.wait()
            if self.closed:
                return
            far_reader, far = await asyncio.open_connection(HOST, self.to_port)
            ends.append(far)
            self._ends.add(far)
            ways = {
                asyncio.ensure_future(self._carry(reader, far)),
                asyncio.ensure_future(self._carry(far_reader, writer)),
            }
            _, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
        except OSError:
            pass  # the server is not there: neither is the connection
        finally:
            for end in ends:
                self._ends.discard(end)
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                await self._passing.wait()
                writer.write(piece)
                await writer.drain()
                await self._passing.wait()


class Relays:
    """The wires between servers, by (from, to). Made by ``relays``; any thread may call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wires: dict[tuple[str, str], Wire] = {}
        self._servers: list[asyncio.Server] = []

    def add(self, near: str, far: str, port: int, far_port: int) -> None:
        """``near`` finds ``far`` at this port; it listens when this returns."""
        asyncio.run_coroutine_threadsafe(self._add(near, far, port, far_port), self._loop).result(5)

    async def _add(self, near: str, far: str, port: int, far_port: int) -> None:
        wire = self._wires[near, far] = Wire(far_port)
        self._servers.append(await asyncio.start_server(wire.serve, HOST, port))

    def close(self) -> None:
        """Listen no more. For the relays' own thread."""
        for server in self._servers:
            server.close()

    def cut(self, one: str, other: str, silent: bool) -> None:
        """Cut what is between these two, whoever connected."""
        self._do(one, other, silent)

    def heal(self, one: str, other: str) -> None:
        """Let all pass between these two."""
        self._do(one, other, None)

    def _do(self, one: str, other: str, silent: bool | None) -> None:
        async def do() -> None:
            for pair in ((one, other), (other, one)):
                wire = self._wires[pair]
                if silent is None:
                    wire.heal()
                else:
                    wire.cut(silent)

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(5)


@contextmanager
def relays() -> Iterator[Relays]:
    """Relays, in a thread of their own while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relays", daemon=True)
    thread.start()

    made = Relays(loop)

    async def end() -> None:
        made.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
