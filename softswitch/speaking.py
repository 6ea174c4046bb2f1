"""The switch and its media workers: the port at which they talk, and the processes."""

from __future__ import annotations

import asyncio
from typing import Final

from softswitch.configuration import Config
from softswitch.media import Nursery, Workers
from softswitch.settings import pool_settings
from softswitch.sip import Transport, host_port
from softswitch.switch import Switch

READY_WITHIN: Final = 5.0
"""Seconds that the switch waits for its first worker before it says that it is ready."""


class Speaking:
    """Starts workers as they are needed, and ends them with the switch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, switch: Switch) -> None:
        self._switch = switch
        self._nursery = Nursery(loop)
        self._workers: Workers | None = None

    async def open(self, transport: Transport, config: Config) -> None:
        """A port for them alone. Raises OSError."""
        switch = self._switch
        address = await transport.listen("udp", "127.0.0.1", 0, private=True)
        switch.spoken.listener = host_port(*address)
        self._workers = Workers(
            pool_settings(config), switch.timers, switch.tokens.token, self._nursery.start
        )

    async def begin(self) -> None:
        """The switch listens. Returns when the first worker is there, if there is to be one."""
        workers = self._switch.spoken.workers = self._workers
        if workers is None:
            return
        workers.look_ahead()
        for _ in range(int(READY_WITHIN / 0.01)):
            if workers.free or not workers.workers:
                return
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """The switch stops."""
        self._switch.spoken.workers = None
        if self._workers is not None:
            self._workers.close()
        self._nursery.close()
