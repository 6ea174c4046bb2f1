"""The process of a switch: its event loop and sockets, signals, reload, drain and exit."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

import pluggy
import uvloop
from prometheus_client import REGISTRY

from softswitch import compiled
from softswitch.calls import SUM_UP_EVERY, Journal
from softswitch.certificates import Certificates
from softswitch.configuration import Config
from softswitch.control import (
    Banned,
    Control,
    Status,
    SwitchCalls,
    SwitchViews,
    Traced,
    agent_rows,
    conference_rows,
    media_rows,
    page_rows,
    queue_rows,
    toll_rows,
)
from softswitch.disk import JournalError, JournalFile
from softswitch.log import CallLog, Log, SipTrace
from softswitch.memory import Tidying, without_collections
from softswitch.metrics import SwitchMetrics
from softswitch.names import Names
from softswitch.plugins import call, call_all, in_order, one_line
from softswitch.reload import Reload
from softswitch.sip import (
    Outbox,
    Outside,
    Ring,
    Timers,
    Tokens,
    TraceAt,
    Transport,
    TransportLimits,
)
from softswitch.speaking import Speaking
from softswitch.steady import boot, steady_us
from softswitch.switch import Switch
from softswitch.trace import CALL_BYTES, ENDED, Dialogs, Exporter, ExportSettings
from softswitch.tracing import Keeping

log = logging.getLogger(__name__)

CERTIFICATES_LOOK = 10.0
"""Seconds between looks whether a certificate was renewed."""
IDLE_CHECK = 10.0
"""Seconds between looks whether there is time to tidy up."""
SWITCH_INTERVAL = 0.05
"""Seconds that Python's lock may be kept from a thread that wants it. The event loop lets go of it
at every datagram anyway; to be made to in between costs a twentieth of all CPU under load."""
STOPPED = 0.1
"""Seconds that timers are late when this process was stopped (SIGSTOP, a paused machine)."""
CONNECTIONS_CATCH_UP = 0.01
"""Seconds that what came over connections meanwhile gets to be read."""
LAST_WORDS = 2.0
"""Seconds that the BYEs of a stopping switch get to be answered."""


def run(
    config: Config,
    plugins: pluggy.PluginManager,
    *,
    log_level: str | None = None,
    trace_sip: bool = False,
) -> int:
    """Run a switch until SIGTERM or Ctrl-C; returns the exit status. `log_level` and `trace_sip`
    count more than what the configuration says."""
    lines = Log(config.log, level=log_level, trace_sip=trace_sip)
    try:
        lines.open()
    except OSError as error:
        print(f"softswitch {config.switch.name}: log: {error}", file=sys.stderr)
        return 1
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Process(config, plugins, lines).main())
    finally:
        lines.close()


def _nothing() -> None:
    """Nothing to do."""


class TimerDriver:
    """Runs `Timers` on an event loop: one handle of the loop for all of them.

    Timers that are far too late say that nobody has answered, where nobody has looked: the event
    loop runs them first. So ``catch_up`` is called before, to take what came in the meantime.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timers: Timers, catch_up: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._timers = timers
        self._catch_up = catch_up
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
        if self._loop.time() - self._at <= STOPPED:
            self._advance()
            return
        # This handle is over, but stays: nothing that is set meanwhile is due before it.
        try:
            self._catch_up()
        except Exception:
            log.exception("what waited was not read")
        self._handle = self._loop.call_later(CONNECTIONS_CATCH_UP, self._advance)

    def _advance(self) -> None:
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

    def __init__(self, config: Config, plugins: pluggy.PluginManager, lines: Log) -> None:
        self._config = config
        self._plugins = plugins
        self._lines = lines
        self._unstarted: set[int] = set()
        """Plugins (by ``id``) that have a ``start``, and are not done with it."""
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ring = Ring(config.trace.bytes)
        self._dialogs = Dialogs()
        self._keeping = Keeping(0.0, _ignore)
        self._exporter: Exporter | None = None

    async def main(self) -> int:
        """Run until it is told to stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        # From the beginning: who is told to stop while plugins start still stops them in order.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        # Asked to read again what it is about to read: nothing to do yet, and no reason to die.
        loop.add_signal_handler(signal.SIGHUP, _nothing)
        switch, transport = self._make(loop)
        self._log_calls(switch)
        self._ring.take_up(self._config.trace.bytes)
        self._keeping = Keeping(
            self._config.trace.calls_per_second, lambda _: self._trace(switch, transport)
        )
        self._trace(switch, transport)
        status, traced = Status(switch, transport), Traced(switch, self._ring)
        banned = Banned(switch)
        status.more["subscriptions"] = switch.notifier.counted
        status.more["bans"] = banned.rows
        status.more["toll"] = partial(toll_rows, switch)
        status.more["media"] = partial(media_rows, switch)
        status.more["conferences"] = partial(conference_rows, switch)
        status.more["pages"] = partial(page_rows, switch)
        status.more["queues"] = partial(queue_rows, switch)
        status.more["agents"] = partial(agent_rows, switch)
        self._plugins.hook.views.call_historic(kwargs={"views": SwitchViews(status, traced)})
        self._plugins.hook.live_calls.call_historic(kwargs={"calls": SwitchCalls(switch)})
        self._plugins.hook.features.call_historic(kwargs={"features": switch.phone_features})
        try:
            await self._start_plugins()
        except Exception as error:
            log.debug("start failed", exc_info=True)
            self._lines.say(f"softswitch {switch.name}: {one_line(error)}")
            await self._stop_plugins()
            return 1
        journal = _restore(switch, self._config, loop)
        metrics = SwitchMetrics(switch, transport, self._ring, lambda: self._exporter)
        REGISTRY.register(metrics)
        control = await self._open_control(status, traced, banned)
        driver = TimerDriver(loop, switch.timers, transport.catch_up)
        certificates = Certificates(switch, transport)
        try:
            certificates.open(self._config)
            for listen in self._config.switch.listen:
                await transport.listen(listen.transport, listen.host, listen.port)
            speaking = Speaking(loop, switch)
            await speaking.open(transport, self._config)
        except OSError as error:
            self._lines.say(f"softswitch {switch.name}: {error}")
            await transport.close()
            if control is not None:
                await control.close()
            # What was restored stays in the journal: nobody could tell its sides anything.
            if journal is not None:
                journal.close()
            await self._stop_plugins()
            return 1
        # Takes a tenth of a second, and longer with many calls: before those go on, not after.
        without_collections()
        switch.opened()
        await speaking.begin()
        names = Names(loop, switch)
        await names.begin()
        take_up = partial(self._take_up, switch, transport, names, certificates, speaking)
        reload = Reload(self._config, self._plugins, take_up)
        loop.add_signal_handler(signal.SIGHUP, reload.ask)
        tasks = self._tasks(loop, switch, names)
        tasks.append(loop.create_task(_every(CERTIFICATES_LOOK, certificates.look)))
        tasks.append(loop.create_task(reload.run()))
        for source in compiled.stale():
            log.warning("%s was changed after it was compiled: compile or install anew", source)
        where = ", ".join(f"{t}:{h}:{p}" for t, h, p in transport.addresses)
        self._lines.say(f"softswitch {switch.name} ready on {where}")
        await self._stop.wait()
        await self._drain(switch)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if control is not None:
            await control.close()
        # Nothing comes after this: what was answered to it could not be written down any more.
        transport.stop_reading()
        switch.refusals.sum_up()
        _sum_up(switch)
        await _emptied(transport.outbox)
        if switch.journal is not None and journal is not None:
            switch.journal.commit()
            switch.journal.end(switch.journal.ended())
            switch.journal = None
            journal.close()
        speaking.close()
        await self._stop_plugins()
        driver.close()
        await transport.close()
        if self._exporter is not None:
            self._exporter.close()
        REGISTRY.unregister(metrics)
        self._lines.say(f"softswitch {switch.name} stopped")
        return 0

    async def _open_control(self, status: Status, traced: Traced, banned: Banned) -> Control | None:
        """Where the switch is asked how it is. Calls go on without."""
        path = self._config.control
        if path is None:
            return None
        control = Control(path, self._config.limits.max_control)
        control.verbs["status"] = status.answer
        control.verbs["trace"] = traced.answer
        control.verbs["ban"] = banned.answer
        try:
            await control.open()
        except OSError as error:
            log.warning("no control socket: %s", error)
            return None
        return control

    def _make(self, loop: asyncio.AbstractEventLoop) -> tuple[Switch, Transport]:
        """The switch and its sockets: neither open nor listening yet."""
        config = self._config
        timers = config.timers
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
            _transport_limits(config),
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
        transport.on_closed = switch.registrar.closed
        transport.shut_out(switch.bans.banned, switch.bans.stranger)
        switch.bans.on_banned = partial(loop.call_soon, transport.cut_off)
        transport.let_in(config.switch.origins)
        transport.known_as(_outside(config))
        switch.on_told = outbox.told
        outbox.store = switch.stored
        return switch, transport

    def _tasks(
        self, loop: asyncio.AbstractEventLoop, switch: Switch, names: Names
    ) -> list[asyncio.Task[None]]:
        """What is done every now and then."""
        return [
            loop.create_task(_every(1.0, lambda: _next_second(switch))),
            loop.create_task(_every(1.0, lambda: self._next_second(switch))),
            loop.create_task(_every(1.0, switch.trunk_checks.ask)),
            loop.create_task(_every(1.0, switch.qualifying.ask)),
            loop.create_task(_every(1.0, switch.registrations.expire)),
            loop.create_task(_every(1.0, switch.guesses.expire)),
            loop.create_task(_every(1.0, switch.bans.expire)),
            loop.create_task(_every(SUM_UP_EVERY, switch.refusals.sum_up)),
            loop.create_task(_every(SUM_UP_EVERY, lambda: _sum_up(switch))),
            loop.create_task(_every(self._config.timers.nonce_lifetime, switch.digest.expire)),
            loop.create_task(_every(1.0, names.look_up)),
            loop.create_task(_tidy_when_idle(switch, self._plugins)),
        ]

    def _trace(self, switch: Switch, transport: Transport) -> None:
        """Show messages to whoever wants them now."""
        wanted = self._config.trace
        self._keeping.most = wanted.calls_per_second
        keeps = self._ring.most and self._keeping.on
        if keeps or wanted.hep is not None:
            if switch.dialogs is None:
                switch.dialogs = self._dialogs
                self._dialogs.go_on({call.call_id for call in switch.calls})
            self._dialogs.take_up(max(ENDED, self._ring.most // CALL_BYTES))
        else:
            switch.dialogs = None
        traces: list[TraceAt] = []
        exporter = self._export(switch.dialogs)
        if exporter is not None:
            traces.append(exporter.at)
        if self._lines.trace_sip:
            shown = SipTrace(self._lines)
            traces.append(lambda local: shown)
        transport.show(*traces, ring=self._ring if keeps else None)

    def _next_second(self, switch: Switch) -> None:
        self._keeping.next_second(switch.counters.calls, time.time())

    def _export(self, dialogs: Dialogs | None) -> Exporter | None:
        """Who sends messages to the capture server, if there is one; the same as before, if it is
        the same server."""
        wanted, before = self._config.trace, self._exporter
        settings = None
        if wanted.hep is not None:
            to = (wanted.hep.host, wanted.hep.port)
            settings = ExportSettings(to, wanted.capture_id, wanted.password, wanted.hep_waiting)
        if before is not None and before.settings == settings:
            return before
        self._exporter = None
        if settings is not None and dialogs is not None:
            later = asyncio.get_running_loop().call_later
            self._exporter = Exporter(settings, dialogs, later)
            if before is not None:
                self._exporter.sent, self._exporter.dropped = before.sent, before.dropped
        if before is not None:
            before.close()
        return self._exporter

    def _log_calls(self, switch: Switch) -> None:
        """Write calls into the log, if they are to be in it at all."""
        per_second = self._config.log.calls_per_second
        wanted = CallLog.wanted()
        switch.call_log = CallLog(self._lines, per_second) if wanted else None

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

    def _take_up(
        self,
        switch: Switch,
        transport: Transport,
        names: Names,
        certificates: Certificates,
        speaking: Speaking,
        config: Config,
    ) -> list[str]:
        """Go on by another configuration. Returns the keys that could not be taken up."""
        later: list[str] = []
        self._config = config
        switch.take_up(config)
        speaking.take_up()
        transport.limit(_transport_limits(config))
        transport.known_as(_outside(config))
        transport.let_in(config.switch.origins)
        certificates.renew(config)
        transport.outbox.take_up(config.timers.store_every, config.timers.store_within)
        try:
            self._lines.take_up(config.log)
        except OSError as error:
            later.append(f"log ({error})")
        self._log_calls(switch)
        self._ring.take_up(config.trace.bytes)
        self._trace(switch, transport)
        names.look_up()
        return later


def _outside(config: Config) -> Outside | None:
    """By which host others know this switch, if it is behind a NAT."""
    switch = config.switch
    return None if switch.public is None else Outside(switch.public, switch.local)


def _transport_limits(config: Config) -> TransportLimits:
    limits = config.limits
    return TransportLimits(
        max_message_size=limits.max_message_size,
        max_headers=limits.max_headers,
        max_text=limits.max_text,
        max_kept=limits.max_kept,
        max_connections=limits.max_connections,
        max_per_address=limits.max_per_address,
        max_opened=limits.max_opened,
        tcp_idle=config.timers.tcp_idle,
        keepalive=config.timers.tcp_keepalive,
        first_message=config.timers.tcp_first,
    )


def _ignore(_: bool) -> None:
    """Nobody is told."""


def _next_second(switch: Switch) -> None:
    if switch.call_log is not None:
        switch.call_log.next_second()


def _sum_up(switch: Switch) -> None:
    if switch.call_log is not None:
        switch.call_log.sum_up()


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
