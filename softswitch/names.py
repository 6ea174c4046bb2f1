"""Names of trunks looked up: side by side, and nothing waits for a DNS that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from softswitch.config import Trunk
from softswitch.sip import is_numeric
from softswitch.switch import Switch

log = logging.getLogger("softswitch.parties.trunks")

LOOK_UP_EVERY: Final = 60.0
"""Seconds between look-ups of a name."""
AGAIN_AFTER: Final = 5.0
"""Seconds until a name that was not found is looked up again."""
AT_START: Final = 0.2
"""Seconds that a start waits for names, so that the first calls find them where DNS is well."""

Found: TypeAlias = list[tuple[str, int]] | Exception
"""Addresses, the best first; or why there are none."""


def look_up(trunk: Trunk) -> Found:
    """Ask the system where a trunk is; may take as long as DNS does."""
    to = trunk.to
    kind = socket.SOCK_DGRAM if to.transport == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(to.host, to.port, type=kind)
    except (OSError, UnicodeError) as error:
        # UnicodeError is what a label of more than 63 characters gives.
        return error
    return [(str(address[4][0]), int(address[4][1])) for address in found]


class Names:
    """Keeps the addresses of trunks that are named, not numbered, as DNS has them.

    Each look-up has a thread of its own, which nobody waits for: also not the end of the process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        switch: Switch,
        ask: Callable[[Trunk], Found] = look_up,
    ) -> None:
        self._loop = loop
        self._switch = switch
        self._ask = ask
        self._asking: set[Trunk] = set()
        self._due: dict[str, float] = {}
        self._unknown: set[str] = set()
        self._answered = asyncio.Event()

    def look_up(self) -> None:
        """Look up what is due. Call it every second, and when there are other trunks."""
        now = self._loop.time()
        trunks = self._switch.trunk_entries
        for name in [name for name in self._due if name not in trunks]:
            del self._due[name]
            self._unknown.discard(name)
        for trunk in trunks.values():
            if is_numeric(trunk.to.host) or trunk in self._asking:
                continue
            if self._switch.trunks.addresses(trunk.name) and now < self._due.get(trunk.name, now):
                continue
            if trunk.name in self._unknown and now < self._due[trunk.name]:
                continue
            self._asking.add(trunk)
            thread = threading.Thread(target=self._run, args=(trunk,), daemon=True, name="names")
            thread.start()

    async def begin(self) -> None:
        """Look up all, and wait a moment for the answers."""
        self.look_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_START):
                while self._asking:
                    self._answered.clear()
                    await self._answered.wait()

    def _run(self, trunk: Trunk) -> None:
        found = self._ask(trunk)
        with contextlib.suppress(RuntimeError):  # the switch has stopped
            self._loop.call_soon_threadsafe(partial(self._take, trunk, found))

    def _take(self, trunk: Trunk, found: Found) -> None:
        self._asking.discard(trunk)
        self._answered.set()
        if self._switch.trunk_entries.get(trunk.name) != trunk:
            return  # it is another by now
        name = trunk.name
        if isinstance(found, Exception):
            self._due[name] = self._loop.time() + AGAIN_AFTER
            if name not in self._unknown:
                self._unknown.add(name)
                stays = ""
                if self._switch.trunks.addresses(name):
                    stays = "; it stays where it was"
                log.warning("trunk %s: %s: %s%s", name, trunk.to.host, found, stays)
            return
        self._due[name] = self._loop.time() + LOOK_UP_EVERY
        if name in self._unknown:
            self._unknown.discard(name)
            log.info("trunk %s: %s is found again", name, trunk.to.host)
        self._switch.trunks.set_addresses(name, found)
