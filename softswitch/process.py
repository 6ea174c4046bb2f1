"""The process of a switch: its event loop and sockets, signals, reload, drain and exit."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import pluggy
import uvloop
from prometheus_client import REGISTRY

from softswitch import compiled
from softswitch.calls import SUM_UP_EVERY, Journal
from softswitch.configuration import Config
from softswitch.disk import JournalError, JournalFile
from softswitch.memory import Tidying, without_collections
from softswitch.metrics import SwitchMetrics
from softswitch.plugins import call, call_all, in_order, one_line
from softswitch.sip import (
    Outbox,
    Timers,
    Tokens,
    Transport,
    TransportLimits,
    is_numeric,
)
from softswitch.steady import boot, steady_us
from softswitch.switch import Switch

log = logging.getLogger(__name__)

RELOAD_EVERY = 2.0
"""Seconds between looks at the dialplan's file."""
RESOLVE_EVERY = 60.0
"""Seconds between look-ups of trunks that are named, not numbered."""
IDLE_CHECK = 10.0
"""Seconds between looks whether there is time to tidy up."""
SWITCH_INTERVAL = 0.05
"""Seconds that Python's lock may be kept from a thread that wants it. The event loop lets go of it
at every datagram anyway; to be made to in between costs a twentieth of all CPU under load."""
LAST_WORDS = 2.0
"""Seconds that the BYEs of a stopping switch get to be answered."""


def run(config: Config, plugins: pluggy.PluginManager) -> int:
    """Run a switch until SIGTERM or Ctrl-C; returns the exit status."""
    logging.basicConfig(
        level=os.environ.get("SOFTSWITCH_LOG", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Process(config, plugins).main())


class TimerDriver:
    """Runs `Timers` on an event loop: one handle of the loop for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timers: Timers) -> None:
        self._loop = loop
        self._timers = timers
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0
        timers.on_earlier = self._set
        due = timers.next_due()
        if due is not None:
            # Restored calls have set some already.
            self._set(due)

    def _set(self, when: float) -> None:
        if self._handle is not None:
            if self._at <= when:
                return
            self._handle.cancel()
        self._at = when
        self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        try:
            self._timers.advance()
        except Exception:
            # One timer must never stop all others: what is due still runs with the next turn.
            log.exception("a timer failed")
        due = self._timers.next_due()
        if due is not None:
            self._set(due)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class Process:
    """One running switch."""

    def __init__(self, config: Config, plugins: pluggy.PluginManager) -> None:
        self._config = config
        self._plugins = plugins
        self._unstarted: set[int] = set()
        """Plugins (by ``id``) that have a ``start``, and are not done with it."""
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def main(self) -> int:
        """Run until it is told to stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        # From the beginning: who is told to stop while plugins start still stops them in order.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        switch, transport = self._make(loop)
        try:
            await self._start_plugins()
        except Exception as error:
            log.debug("start failed", exc_info=True)
            print(f"softswitch {switch.name}: {one_line(error)}", file=sys.stderr)
            await self._stop_plugins()
            return 1
        journal = _restore(switch, self._config, loop)
        metrics = SwitchMetrics(switch, transport)
        REGISTRY.register(metrics)
        driver = TimerDriver(loop, switch.timers)
        try:
            for listen in self._config.switch.listen:
                await transport.listen(listen.transport, listen.host, listen.port)
        except OSError as error:
            print(f"softswitch {switch.name}: {error}", file=sys.stderr)
            await transport.close()
            # What was restored stays in the journal: nobody could tell its sides anything.
            if journal is not None:
                journal.close()
            await self._stop_plugins()
            return 1
        switch.opened()
        await _resolve(loop, switch)
        tasks = self._tasks(loop, switch)
        for source in compiled.stale():
            log.warning("%s was changed after it was compiled: compile or install anew", source)
        where = ", ".join(f"{t}:{h}:{p}" for t, h, p in transport.addresses)
        print(f"softswitch {switch.name} ready on {where}", file=sys.stderr, flush=True)
        without_collections()
        await self._stop.wait()
        await self._drain(switch)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Nothing comes after this: what was answered to it could not be written down any more.
        transport.stop_reading()
        switch.refusals.sum_up()
        await _emptied(transport.outbox)
        if switch.journal is not None and journal is not None:
            switch.journal.commit()
            switch.journal.end(switch.journal.ended())
            switch.journal = None
            journal.close()
        await self._stop_plugins()
        driver.close()
        await transport.close()
        REGISTRY.unregister(metrics)
        print(f"softswitch {switch.name} stopped", file=sys.stderr, flush=True)
        return 0

    def _make(self, loop: asyncio.AbstractEventLoop) -> tuple[Switch, Transport]:
        """The switch and its sockets: neither open nor listening yet."""
        config = self._config
        limits, timers = config.limits, config.timers
        outbox = Outbox(
            loop.call_soon,
            loop.call_later,
            loop.time,
            interval=timers.store_every,
            within=timers.store_within,
        )
        transport = Transport(
            loop,
            lambda message, flow: switch.transactions.receive(message, flow),
            TransportLimits(
                max_message_size=limits.max_message_size,
                max_headers=limits.max_headers,
                max_connections=limits.max_connections,
                tcp_idle=timers.tcp_idle,
            ),
            outbox,
            lambda flow: switch.transactions.lost(flow),
        )
        switch = Switch(
            config,
            self._plugins,
            transport,
            clock=loop.time,
            now_us=lambda: time.time_ns() // 1000,
            tokens=Tokens(),
            steady_us=steady_us,
            boot=boot(),
        )
        switch.on_told = outbox.told
        outbox.store = switch.stored
        return switch, transport

    def _tasks(self, loop: asyncio.AbstractEventLoop, switch: Switch) -> list[asyncio.Task[None]]:
        """What is done every now and then."""
        return [
            loop.create_task(self._watch_dialplan(switch)),
            loop.create_task(_every(1.0, switch.keep_alive)),
            loop.create_task(_every(1.0, switch.registrations.expire)),
            loop.create_task(_every(SUM_UP_EVERY, switch.refusals.sum_up)),
            loop.create_task(_every(self._config.timers.nonce_lifetime, switch.digest.expire)),
            loop.create_task(_keep_resolving(loop, switch)),
            loop.create_task(_tidy_when_idle(switch, self._plugins)),
        ]

    async def _start_plugins(self) -> None:
        """One after the other: who comes later finds the earlier ones running."""
        starts = in_order(self._plugins.hook.start)
        self._unstarted = {id(start.plugin) for start in starts}
        for start in starts:
            await call(start, config=self._config, plugins=self._plugins)
            self._unstarted.discard(id(start.plugin))

    async def _stop_plugins(self) -> None:
        await call_all(self._plugins.hook.stop, lambda plugin: id(plugin) not in self._unstarted)

    def _signalled(self, number: int) -> None:
        if self._stop.is_set() or number == signal.SIGINT:
            self._hurry.set()
        self._stop.set()

    async def _drain(self, switch: Switch) -> None:
        """No new calls; those in progress end by themselves or after `drain_timeout`."""
        switch.drain()
        await call_all(self._plugins.hook.drain)
        idle = asyncio.Event()
        switch.on_idle = idle.set
        timeout = self._config.timers.drain_timeout
        if switch.calls and timeout:
            log.info("%d calls in progress; waiting up to %g s", len(switch.calls), timeout)
            loop = asyncio.get_running_loop()
            end = loop.time() + timeout
            while switch.calls and not self._hurry.is_set() and loop.time() < end:
                idle.clear()
                waits = [loop.create_task(idle.wait()), loop.create_task(self._hurry.wait())]
                await asyncio.wait(
                    waits, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                for wait in waits:
                    wait.cancel()
        if switch.calls:
            log.info("ending %d calls", len(switch.calls))
            switch.hang_up_all("the switch is stopping")
        idle.clear()
        if switch.legs:
            try:
                async with asyncio.timeout(LAST_WORDS):
                    while switch.legs:
                        idle.clear()
                        await idle.wait()
            except TimeoutError:
                log.info("%d legs did not say goodbye", len(switch.legs))

    async def _watch_dialplan(self, switch: Switch) -> None:
        watch = self._config.dialplan_watch()
        while True:
            await asyncio.sleep(RELOAD_EVERY)
            try:
                found = watch.reload_if_changed()
            except Exception:
                # An unreadable file (rights, a directory in its place) must not end the watching.
                log.exception("dialplan not taken up")
                continue
            if found is None:
                continue
            if isinstance(found, tuple):
                for mistake in found:
                    log.error("dialplan not taken up: %s", mistake)
                continue
            switch.dialplan = found
            log.info("dialplan %s taken up", self._config.dialplan_path)


def _restore(switch: Switch, config: Config, loop: asyncio.AbstractEventLoop) -> JournalFile | None:
    """Open the journal, if there is to be one, and put back the calls that are in it."""
    file: JournalFile | None = None
    rows: list[tuple[int, bytes]] = []
    if config.journal is not None:
        try:
            file = JournalFile(config.journal, loop.call_soon_threadsafe)
            rows = file.rows()
        except JournalError as error:
            log.error("%s; calls and registrations will not outlive this process", error)
            if file is not None:
                file.close()
                file = None
        if file is not None:
            last = rows[-1][0] if rows else 0
            switch.journal = Journal(switch.timers, file, last, lambda: switch.on_told())
    switch.restore(rows)
    return file


async def _emptied(outbox: Outbox) -> None:
    """Return when all that was sent has left, as it does within `timers.store_within`."""
    for _ in range(int(LAST_WORDS / 0.005)):
        if not len(outbox):
            break
        await asyncio.sleep(0.005)


async def _every(seconds: float, what: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            what()
        except Exception:
            log.exception("%r failed", what)


async def _resolve(loop: asyncio.AbstractEventLoop, switch: Switch) -> None:
    for trunk in switch.config.trunks.values():
        to = trunk.to
        if is_numeric(to.host):
            continue
        kind = socket.SOCK_DGRAM if to.transport == "udp" else socket.SOCK_STREAM
        try:
            found = await loop.getaddrinfo(to.host, to.port, type=kind)
        except (OSError, UnicodeError) as error:
            # UnicodeError is what a label of more than 63 characters gives.
            log.warning("trunk %s: %s: %s", trunk.name, to.host, error)
            continue
        switch.trunks.set_addresses(trunk.name, [(str(a[4][0]), int(a[4][1])) for a in found])


async def _keep_resolving(loop: asyncio.AbstractEventLoop, switch: Switch) -> None:
    while True:
        await asyncio.sleep(RESOLVE_EVERY)
        await _resolve(loop, switch)


async def _tidy_when_idle(switch: Switch, plugins: pluggy.PluginManager) -> None:
    """Give back what a busy time has left behind, once there is nothing else to do."""
    tidying = Tidying()
    while True:
        await asyncio.sleep(IDLE_CHECK)
        in_progress = switch.legs or any(switch.transactions.tables().values())
        if not in_progress and tidying.due(switch.counters.calls):
            switch.tidy()
            try:
                plugins.hook.idle()
            except Exception:
                log.exception("a plugin failed to tidy up")
            tidying.finish()
