"""The switch and its media workers: the port at which they talk, and the processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from softswitch.configuration import Config
from softswitch.media import Nursery, Workers
from softswitch.settings import pool_settings
from softswitch.sip import Transport, host_port
from softswitch.switch import Switch
from softswitch.voicemail import Voicemail

log = logging.getLogger(__name__)

T = TypeVar("T")

READY_WITHIN: Final = 5.0
"""Seconds that the switch waits for its first worker before it says that it is ready."""


class Speaking:
    """Starts workers as they are needed, and ends them with the switch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, switch: Switch) -> None:
        self._switch = switch
        self._nursery = Nursery(loop)
        self._workers: Workers | None = None
        self._loop = loop
        self._disk = ThreadPoolExecutor(1, "voicemail")
        self._mails = ThreadPoolExecutor(1, "mails")

    async def open(self, transport: Transport, config: Config) -> None:
        """A port for them alone. Raises OSError."""
        switch = self._switch
        address = await transport.listen("udp", "127.0.0.1", 0, private=True)
        switch.spoken.listener = host_port(*address)
        self._workers = Workers(
            pool_settings(config), switch.timers, switch.tokens.token, self._nursery.start
        )

    def take_up(self) -> None:
        """The configuration is another one: somebody may have a mailbox now."""
        if self._workers is not None and self._switch.spoken.messages is None:
            self._keep_messages(self._switch.config)

    def _keep_messages(self, config: Config) -> None:
        """Messages, if somebody has a mailbox."""
        switch = self._switch
        if not any(one.mailbox is not None for one in config.extensions.values()):
            return
        switch.spoken.messages = kept = Voicemail(
            config.voicemail,
            switch.extensions,
            partial(self._elsewhere, self._disk),
            partial(self._elsewhere, self._mails),
            switch.timers.after,
            switch.mailboxes.set,
        )
        kept.open()

    def _elsewhere(
        self,
        where: ThreadPoolExecutor,
        what: Callable[[], T],
        then: Callable[[T | None], None],
    ) -> None:
        """Do it in that thread; see `voicemail.Elsewhere`."""
        try:
            future = where.submit(what)
        except RuntimeError:  # it was shut down
            return
        future.add_done_callback(partial(self._done, then))

    def _done(self, then: Callable[[T | None], None], future: Future[T]) -> None:
        error = future.exception()
        if error is not None:
            log.error("voicemail: %s", str(error) or type(error).__name__)
        found = None if error is not None else future.result()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(then, found)

    async def begin(self) -> None:
        """The switch listens. Returns when the first worker is there, if there is to be one."""
        self._keep_messages(self._switch.config)
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
        kept, self._switch.spoken.messages = self._switch.spoken.messages, None
        if kept is not None:
            kept.close()
        self._disk.shutdown(wait=True)
        self._mails.shutdown(wait=False, cancel_futures=True)
