"""The plugin: a call data server beside a switch, by the hooks that any plugin may use.

With ``cds.server_at`` the server is elsewhere, and this process only sends it the switch's events.
Without a section ``cds`` in the configuration the plugin does nothing. What runs is an object of
its own, registered at the start: ``Beside`` or ``Elsewhere``, under the name ``RUNNING``. Other
plugins are handed the store of a server beside the switch by the hook ``call_data``, which this one
adds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cdsplugin import hookspecs
from cdsplugin.config import CdsSection, different
from cdsplugin.link import Link, LinkLimits, SecurityError, load_security
from cdsplugin.programs import Programs
from cdsplugin.running import Running
from cdsplugin.server import CallDataServer, StartError
from cdsplugin.timers import LoopTimers
from cdsplugin.tms import PREFIX, Spool, SpoolError, SwitchClient, Tms
from softswitch.events import Event, SwitchStarted
from softswitch.hookspecs import Features, LiveCalls, Views, hookimpl

if TYPE_CHECKING:
    import pluggy

    from softswitch.configuration import Config

log = logging.getLogger("cdsplugin.plugin")

RUNNING = "call data"
"""Under which name what runs is registered."""

_UNASKED = 1.0
"""Seconds after which events are written though the switch has not asked for it (`stored`)."""


def _section(config: Config) -> CdsSection | None:
    section = config.sections.get("cds")
    return section if isinstance(section, CdsSection) else None


@hookimpl
def add_hooks(plugins: pluggy.PluginManager) -> None:
    """``call_data``."""
    plugins.add_hookspecs(hookspecs)


@hookimpl
def config_sections() -> Mapping[str, type[BaseModel]]:
    """``cds``."""
    return {"cds": CdsSection}


@hookimpl
def owner_name(config: Config) -> str | None:
    """The server's name: ``cds.server``, else the switch's."""
    section = _section(config)
    return None if section is None else section.server or config.switch.name


@hookimpl(trylast=True)
def start(config: Config, plugins: pluggy.PluginManager) -> Awaitable[None] | None:
    """Start the server, when other plugins are ready to be handed its store. What is awaited raises
    ``StartError`` with one clear line."""
    section = _section(config)
    return None if section is None else _start(config, section, plugins)


async def _start(config: Config, section: CdsSection, plugins: pluggy.PluginManager) -> None:
    runs: Beside | Elsewhere
    if section.server_at is None:
        programs = Programs(plugins, config.sections)
        runs = Beside(section.server or config.switch.name, section, programs)
    else:
        path = getattr(config, "path", None)
        runs = Elsewhere(config.switch.name, section, path.parent if path is not None else Path())
    await runs.start()
    plugins.register(runs, name=RUNNING)


@hookimpl
def reload(config: Config, plugins: pluggy.PluginManager) -> Sequence[str]:
    """Go on with other ``cds.peers``; the rest of the section is taken up by a restart."""
    runs: Beside | Elsewhere | None = plugins.get_plugin(RUNNING)
    after = _section(config)
    if runs is None or after is None:
        return ["cds"] if runs is not None or after is not None else []
    if isinstance(runs, Beside) and runs.section.peers != after.peers:
        runs.take_up(after)
    return [f"cds.{key}" for key in different(runs.section, after)]


class _WhenAsked:
    """Events are written when the switch asks for it, which it does within some milliseconds: it
    has its own journal on disk first. Were it the other way round, a kill in between would leave a
    call here of which the switch knows nothing, and whose INVITE, sent again, made another one.

    Should it not ask, as its disk hangs, they are written all the same.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, flush: Callable[[], None]) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_UNASKED, self._nobody_asked, flush)

    def _nobody_asked(self, flush: Callable[[], None]) -> None:
        self._timer = None
        flush()

    def asked(self) -> None:
        """It did ask."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Beside:
    """The server in the switch's own process."""

    def __init__(self, name: str, section: CdsSection, programs: Programs) -> None:
        self.section = section
        self._unasked = _WhenAsked()
        self._programs = programs
        self.running = Running(name, section, self._unasked)

    async def start(self) -> None:
        """Raises ``StartError``."""
        await self.running.start(self._programs)

    @property
    def server(self) -> CallDataServer:
        """The server."""
        return self.running.server

    def take_up(self, section: CdsSection) -> None:
        """Go on with the peers of another section."""
        self.section = self.running.take_up(section)

    @hookimpl
    def features(self, features: Features) -> None:
        """What phones have set, for the API."""
        self.running.offer(features)

    @hookimpl
    def views(self, views: Views) -> None:
        """What the switch tells of itself, for the API."""
        self.running.show(views)

    @hookimpl
    def live_calls(self, calls: LiveCalls) -> None:
        """What may be done with its calls, for the API."""
        self.running.lend(calls)

    @hookimpl
    def call_event(self, event: Event) -> None:
        """Pass an event to the TMS. Whatever goes wrong here, the call goes on."""
        try:
            self.running.tms.event(event)
            if type(event) is SwitchStarted:
                self.server.recovery.reported(event.switch)
        except Exception:
            _not_taken(event)

    @hookimpl
    def stored(self) -> Callable[[Callable[[], None]], None]:
        """To the server's journal."""
        self._unasked.asked()
        tms = self.running.tms
        return partial(_store, tms, tms.seal(), self.server)

    @hookimpl
    def idle(self) -> None:
        """Give back the room of empty tables."""
        self.running.tidy()

    @hookimpl(tryfirst=True)
    async def stop(self) -> None:
        """End every call's data, write every record, close. Before other plugins stop, which are
        told of these ends."""
        self._unasked.asked()
        await self.running.stop()


class Elsewhere:
    """A client of the server at ``cds.server_at``. Events go there by a spool on disk."""

    def __init__(self, switch: str, section: CdsSection, folder: Path) -> None:
        self.section = section
        assert section.server is not None
        assert section.server_at is not None
        limits = section.limits
        name = PREFIX + switch
        self._unasked = _WhenAsked()
        try:
            security = load_security(name, section.link_keys())
        except SecurityError as error:
            raise StartError(str(error)) from error
        self._spool = Spool(section.spool or folder / f"{switch}.spool", limits.spool_bytes)
        self._link = Link(
            name,
            {section.server: (section.server_at.host, section.server_at.port)},
            LinkLimits(limits.frame_bytes, limits.buffer_bytes, dead_after=section.dead_after),
            security=security,
        )
        self.client = SwitchClient(
            section.server,
            self._link,
            self._spool,
            LoopTimers(asyncio.get_running_loop()),
            self._unasked,
            alive_interval=section.alive_interval,
            dead_after=section.dead_after,
        )

    async def start(self) -> None:
        """Raises ``StartError``."""
        try:
            self._spool.open()
        except SpoolError as error:
            raise StartError(str(error)) from error
        self._link.attach(self.client)
        await self._link.start(None)
        self.client.start()

    @hookimpl
    def call_event(self, event: Event) -> None:
        """Pass an event on. Whatever goes wrong here, the call goes on."""
        try:
            self.client.event(event)
        except Exception:
            _not_taken(event)

    @hookimpl
    def stored(self) -> Callable[[Callable[[], None]], None]:
        """To the spool."""
        self._unasked.asked()
        return partial(_spool, self.client, self.client.told)

    @hookimpl
    async def stop(self) -> None:
        """The server gets two seconds for what is on its way; the rest waits for the next start."""
        self._unasked.asked()
        client = self.client
        try:
            async with asyncio.timeout(2.0):
                while not client.settled():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("%d events wait in %s", client.waiting(), self._spool.folder)
        left = client.stop()
        await self._link.stop()
        self._spool.close(client.acked if not left else 0)


def _not_taken(event: Event) -> None:
    log.exception("call %s: its data could not take %s", event.call_id, type(event).__name__)


def _store(tms: Tms, upto: int, server: CallDataServer, then: Callable[[], None]) -> None:
    tms.write(upto)
    server.journal.after_commit(then)


def _spool(client: SwitchClient, upto: int, then: Callable[[], None]) -> None:
    client.store(upto)
    then()
