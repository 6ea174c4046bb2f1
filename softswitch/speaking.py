"""The switch and its media workers: the port at which they talk, and the processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from softswitch.configuration import Config
from softswitch.media import Nursery, Workers
from softswitch.recordings import Copying, Recordings
from softswitch.settings import pool_settings, records
from softswitch.sip import Transport, host_port
from softswitch.switch import Switch
from softswitch.voicemail import Voicemail

log = logging.getLogger(__name__)

T = TypeVar("T")

READY_WITHIN: Final = 5.0
"""Seconds that the switch waits for its first worker before it says that it is ready."""
DISK_WITHIN: Final = 10.0
"""Seconds that a switch that stops waits for what is still to be written of messages."""


class _Apart:
    """A thread that does one thing after the other (`voicemail.Elsewhere`). The process does not
    wait for it: a mail server that says nothing does not keep it from its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._queue: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None]
        self._queue = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def __call__(self, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
        """See `voicemail.Elsewhere`."""
        if self._closed:
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put((what, then))

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            what, then = task
            found = None
            try:
                found = what()
            except Exception as error:
                log.error("%s: %s", self._name, str(error) or type(error).__name__)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(then, found)

    def close(self, seconds: float) -> None:
        """Nothing comes any more; wait so long for what has come."""
        self._closed = True
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(seconds)


class Speaking:
    """Starts workers as they are needed, and ends them with the switch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, switch: Switch) -> None:
        self._switch = switch
        self._nursery = Nursery(loop)
        self._workers: Workers | None = None
        self._loop = loop
        self._disk = _Apart(loop, "voicemail")
        self._mails = _Apart(loop, "mails")
        self._tapes = _Apart(loop, "recordings")
        self._copies = _Apart(loop, "copies of recordings")
        self._copying: Copying | None = None

    async def open(self, transport: Transport, config: Config) -> None:
        """A port for them alone. Raises OSError."""
        switch = self._switch
        address = await transport.listen("udp", "127.0.0.1", 0, private=True)
        switch.spoken.listener = host_port(*address)
        self._workers = Workers(
            pool_settings(config), switch.timers, switch.tokens.token, self._nursery.start
        )
        # Calls that were recorded before a restart want a worker as soon as the switch listens.
        switch.spoken.workers = self._workers
        self._keep_recordings(config)

    def take_up(self) -> None:
        """The configuration is another one: somebody may have a mailbox now."""
        if self._workers is not None and self._switch.spoken.messages is None:
            self._keep_messages(self._switch.config)
        self._keep_recordings(self._switch.config)

    def _keep_recordings(self, config: Config) -> None:
        """Recordings, if some talk may be recorded."""
        switch = self._switch
        kept = switch.spoken.recordings
        if kept is not None:
            kept.settings = config.recording
            if self._copying is not None:
                self._copying.folder = config.recording.folder
                self._copying.settings = config.recording.copy_
                self._copying.look()
        elif records(config):
            switch.spoken.recordings = kept = Recordings(
                switch.name,
                config.recording,
                self._tapes,
                switch.timers.after,
                switch.spoken.seconds,
                switch.tokens.token,
                switch.spoken.made_whole,
            )
            self._copying = copying = Copying(
                config.recording.folder,
                config.recording.copy_,
                self._copies,
                switch.timers.after,
            )
            kept.on_finished = copying.look
            kept.open()

    def _keep_messages(self, config: Config) -> None:
        """Messages, if somebody has a mailbox."""
        switch = self._switch
        if not any(one.mailbox is not None for one in config.extensions.values()):
            return
        switch.spoken.messages = kept = Voicemail(
            config.voicemail,
            switch.extensions,
            self._disk,
            self._mails,
            switch.timers.after,
            switch.mailboxes.set,
        )
        kept.open()

    async def begin(self) -> None:
        """The switch listens. Returns when the first worker is there, if there is to be one."""
        self._keep_messages(self._switch.config)
        workers = self._workers
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
        if self._switch.spoken.recordings is not None:
            self._switch.spoken.recordings.close()
        if self._copying is not None:
            self._copying.close()
        self._tapes.close(DISK_WITHIN)
        self._copies.close(0.0)
        self._disk.close(DISK_WITHIN)
        self._mails.close(0.0)
