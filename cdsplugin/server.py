"""A call data server: its parts put together, started and stopped.

``plugin`` runs one beside a switch. Nothing in here knows the switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cdsplugin.archive import (
    Archive,
    ArchiveSettings,
    Before,
    FileSettings,
    Journal,
    JournalFile,
    JournalSettings,
    ReadError,
    Recorder,
    Recovery,
    read_before,
)
from cdsplugin.config import CdsSection
from cdsplugin.data import Clock, Store, StoreLimits, Timers
from cdsplugin.link import Link, LinkLimits, SecurityError, load_security
from cdsplugin.proxy import NetworkProxy
from cdsplugin.timers import LoopTimers

log = logging.getLogger("cdsplugin")


class StartError(RuntimeError):
    """The server cannot start. The text is one line for the person who starts it."""


def _looked(
    call_id: str, then: Callable[[Before | None], None], found: asyncio.Future[Before | None]
) -> None:
    try:
        before = found.result()
    except (ReadError, asyncio.CancelledError) as error:
        log.debug("call %s: whether it is ours is not known: %s", call_id, error)
    else:
        then(before)


class CallDataServer:
    """The server ``name``. To be made in a running event loop, and used from it alone."""

    def __init__(self, name: str, section: CdsSection) -> None:
        self.name = name
        self.section = section
        limits = section.limits
        if section.database is None:
            raise StartError("cds.database: missing, the file of the call detail records")
        self.on_health: list[Callable[[str, bool], None]] = []
        """Who is told that a server fell silent (false) or is heard again (true)."""
        self.untold: Callable[[], bool] = bool
        """Whether a switch elsewhere may have something to say of the time when it was away."""
        self._loop = asyncio.get_running_loop()
        timers = LoopTimers(self._loop)
        self.timers: Timers = timers
        self.clock = Clock(name, timers, limits.max_ahead)
        self.store = Store(
            name,
            self.clock,
            timers,
            StoreLimits(
                section.linger,
                section.linger + section.dead_after,
                limits.call_entries,
                limits.switch_entries,
                limits.peer_authors,
            ),
        )
        self.archive = Archive(
            section.database,
            ArchiveSettings(
                commit_interval=section.commit_interval,
                queue_rows=limits.queue_rows,
                synchronous=section.synchronous,
            ),
            self._archive_renewed,
        )
        self.disk = JournalFile(
            self.beside(".journal"),
            asyncio.get_running_loop(),
            FileSettings(section.journal_interval, limits.journal_records, section.synchronous),
        )
        # The first to watch the store: what the proxy sends waits for what is appended here.
        self.journal = Journal(
            self.store,
            timers,
            self.disk,
            self.archive,
            JournalSettings(section.journal_keep, waiting=limits.journal_waiting),
        )
        self.recorder = Recorder(name, self.archive, self._look)
        self.link = Link(
            name,
            {peer: (address.host, address.port) for peer, address in section.peers.items()},
            LinkLimits(
                limits.frame_bytes,
                limits.buffer_bytes,
                limits.connections,
                limits.strangers,
                section.handshake_within,
                dead_after=section.dead_after,
            ),
        )
        self.proxy = NetworkProxy(
            self.store,
            self.clock,
            timers,
            self.link,
            alive_interval=section.alive_interval,
            dead_after=section.dead_after,
            reregister_within=section.reregister_within,
            reregister_batch=limits.reregister_batch,
            max_remote_calls=limits.remote_calls,
            caretaker_within=section.caretaker_within,
            kept_calls=limits.kept_calls,
            listed=limits.listed,
            missed=limits.missed,
            on_health=self._health,
            on_handed_over=self.recorder.handed_over,
            on_disowned=self.recorder.disowned,
            journal=self.journal,
            records=self.archive,
        )
        self.recovery = Recovery(self.store, self.clock, timers, section.reregister_within)
        self.store.watch(self.recorder)
        self.link.attach(self.proxy)

    async def start(self) -> None:
        """``open`` and ``listen``. Raises ``StartError``; then nothing is left open."""
        await self.open()
        try:
            await self.listen()
        except StartError:
            await self.close()
            raise

    async def open(self) -> None:
        """Open the database and the journal, and take up the calls in it. Raises ``StartError``;
        then nothing is left open."""
        section = self.section
        if self.name in section.peers:
            raise StartError(f"cds.peers: `{self.name}` is this server itself")
        try:
            self.link.security = load_security(self.name, section.link_keys())
        except SecurityError as error:
            raise StartError(str(error)) from error
        try:
            self.archive.open()
        except OSError as error:
            raise StartError(str(error)) from error
        try:
            self.disk.open()
        except OSError as error:
            self.archive.close()
            raise StartError(str(error)) from error
        self.recovery.begin(*self.journal.recover(), self.proxy)
        for call in self.store:
            self.recorder.back(call)
        self.disk.start()

    async def listen(self) -> None:
        """Let others in: servers, switches elsewhere. Raises ``StartError``; then ``close`` is to
        be called."""
        listen = self.section.listen
        try:
            await self.link.start((listen.host, listen.port) if listen is not None else None)
        except OSError as error:
            raise StartError(str(error)) from error
        self.store.initialize()
        log.info("call data server %s: database %s", self.name, self.section.database)

    def _look(self, call_id: str, then: Callable[[Before | None], None]) -> None:
        """What the archive has of a call; not while that is not to be had, or may not be all."""
        if self.archive.trouble is None and not self.untold():
            found = self._loop.run_in_executor(None, read_before, self.archive.path, call_id)
            found.add_done_callback(partial(_looked, call_id, then))

    def _archive_renewed(self) -> None:
        """Called in the archive's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: self.recorder.renewed(self.store))

    async def stored(self, within: float = 5.0) -> None:
        """Return once everything written so far is on disk. Raises ``journal.NotStored`` (an
        ``OSError``) with the reason."""
        await self.journal.committed(within)

    def beside(self, ending: str) -> Path:
        """A file beside the database: ``DATABASE`` and ``ending``."""
        path = self.archive.path
        return path.with_name(path.name + ending)

    async def close(self) -> None:
        """Let go of link, database and journal. Live calls stay in the journal."""
        await self.link.stop()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.archive.close)
        await loop.run_in_executor(None, self.disk.close)

    def tidy(self) -> None:
        """Give back memory that only a busy time needs."""
        self.store.tidy()
        self.journal.tidy()
        self.recorder.tidy()
        self.proxy.tidy()

    def refuses(self) -> str | None:
        """Why nothing can be acknowledged at present, for people; None if it can. Records that wait
        for their database are no reason: the journal has what was acknowledged."""
        why = self.disk.trouble
        return None if why is None else f"journal {self.disk.path}: {why}"

    def troubles(self) -> list[str]:
        """What is wrong with the disks at present, a line each; for people."""
        return [
            f"{what} {path}: {why}"
            for what, path, why in (
                ("journal", self.disk.path, self.disk.trouble),
                ("CDR database", self.archive.path, self.archive.trouble),
            )
            if why is not None
        ]

    async def _settle(self) -> None:
        try:
            await self.journal.committed(self.section.stop_within or 2.0)
        except OSError as error:
            log.error("the journal %s: %s", self.disk.path, error)

    def _health(self, server: str, up: bool) -> None:
        for told in list(self.on_health):
            told(server, up)

    async def stop(self) -> None:
        """End every call now, tell the other servers, commit every record, close everything."""
        # The last words of other servers are on their way: their legs' ends, and their answers.
        deadline = self.timers.monotonic_us() + int(self.section.stop_within * 1_000_000)
        while self.proxy.unsettled() and self.timers.monotonic_us() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.recovery.stop()
        self.store.finalize()
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(None, self.archive.close)
        if not stored:
            log.error("not all records could be written to %s", self.archive.path)
        # The end of a call is told to others once it is on disk.
        await self._settle()
        self.proxy.stop(stored)
        await self._settle()
        await self.link.stop()
        self.journal.stop()
        if not await loop.run_in_executor(None, self.disk.close):
            log.error("the journal %s could not be brought up to date", self.disk.path)
        self.store.unwatch(self.recorder)
