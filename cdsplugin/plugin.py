"""The plugin: a call data server beside a switch, by the hooks that any plugin may use.

With ``cds.server_at`` the server is elsewhere, and this process only sends it the switch's events.
Without a section ``cds`` in the configuration the plugin does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cdsplugin.config import CdsSection
from cdsplugin.link.security import SecurityError, load_security
from cdsplugin.link.tcp import Link, LinkLimits
from cdsplugin.server import CallDataServer, StartError
from cdsplugin.timers import LoopTimers
from cdsplugin.tms.spool import Spool, SpoolError
from cdsplugin.tms.switch_client import PREFIX, SwitchClient
from cdsplugin.tms.switch_link import SwitchLink, stop_server
from cdsplugin.tms.tms import Tms
from softswitch.events import Event, SwitchStarted
from softswitch.hookspecs import hookimpl

if TYPE_CHECKING:
    from softswitch.configuration import Config

log = logging.getLogger("cdsplugin.plugin")


class _Running:
    """What this process runs for its switch: a server and its TMS, or a client of a server
    elsewhere; or nothing."""

    server: CallDataServer | None = None
    tms: Tms | None = None
    switches: SwitchLink | None = None
    client: SwitchClient | None = None
    unasked: asyncio.TimerHandle | None = None
    link: Link | None = None
    spool: Spool | None = None


running = _Running()


def _section(config: Config) -> CdsSection | None:
    section = config.sections.get("cds")
    return section if isinstance(section, CdsSection) else None


@hookimpl
def config_sections() -> Mapping[str, type[BaseModel]]:
    """``cds``."""
    return {"cds": CdsSection}


@hookimpl
def owner_name(config: Config) -> str | None:
    """The server's name: ``cds.server``, else the switch's."""
    section = _section(config)
    return None if section is None else section.server or config.switch.name


@hookimpl
def start(config: Config) -> Awaitable[None] | None:
    """Start the server. What is awaited raises ``StartError`` with one clear line."""
    section = _section(config)
    if section is None:
        return None
    if section.server_at is not None:
        path = getattr(config, "path", None)
        folder = path.parent if path is not None else Path()
        return _start_client(config.switch.name, section, folder)
    return _start(section.server or config.switch.name, section)


async def _start(name: str, section: CdsSection) -> None:
    server = CallDataServer(name, section)
    tms = Tms(server.store, server.clock, _when_asked)
    switches = SwitchLink(server, tms, section.switches) if section.switches else None
    try:
        if switches is not None:
            switches.start()
        await server.start()
    except OSError as error:
        raise StartError(str(error)) from error
    running.server, running.tms, running.switches = server, tms, switches


_UNASKED = 1.0
"""Seconds after which events are written though the switch has not asked for it (`stored`)."""


def _when_asked(flush: Callable[[], None]) -> None:
    """Events are written when the switch asks for it, which it does within some milliseconds: it
    has its own journal on disk first. Were it the other way round, a kill in between would leave a
    call here of which the switch knows nothing, and whose INVITE, sent again, made another one.

    Should it not ask, as its disk hangs, they are written all the same.
    """
    if running.unasked is None:
        running.unasked = asyncio.get_running_loop().call_later(_UNASKED, _nobody_asked)


def _nobody_asked() -> None:
    running.unasked = None
    if running.tms is not None:
        running.tms.flush()
    if running.client is not None:
        running.client.flush()


async def _start_client(switch: str, section: CdsSection, folder: Path) -> None:
    assert section.server is not None
    assert section.server_at is not None
    limits = section.limits
    name = PREFIX + switch
    try:
        security = load_security(name, section)
        spool = Spool(section.spool or folder / f"{switch}.spool", limits.spool_bytes)
        spool.open()
    except (SecurityError, SpoolError) as error:
        raise StartError(str(error)) from error
    loop = asyncio.get_running_loop()
    link = Link(
        name,
        {section.server: (section.server_at.host, section.server_at.port)},
        LinkLimits(limits.frame_bytes, limits.buffer_bytes),
        security=security,
    )
    client = SwitchClient(
        section.server,
        link,
        spool,
        LoopTimers(loop),
        _when_asked,
        alive_interval=section.alive_interval,
        dead_after=section.dead_after,
    )
    link.attach(client)
    await link.start(None)
    client.start()
    running.client, running.link, running.spool = client, link, spool


@hookimpl
def call_event(event: Event) -> None:
    """Pass an event to the TMS. Whatever goes wrong here, the call goes on."""
    tms, client = running.tms, running.client
    try:
        if tms is not None:
            tms.event(event)
            if type(event) is SwitchStarted and running.server is not None:
                running.server.recovery.reported(event.switch)
        elif client is not None:
            client.event(event)
    except Exception:
        log.exception("call %s: its data could not take %s", event.call_id, type(event).__name__)


@hookimpl
def stored() -> Callable[[Callable[[], None]], None] | None:
    """To the server's journal, or to the spool."""
    if running.unasked is not None:
        running.unasked.cancel()
        running.unasked = None
    tms, server, client = running.tms, running.server, running.client
    if tms is not None and server is not None:
        return partial(_store, tms, tms.seal(), server)
    if client is not None:
        return partial(_spool, client, client.told)
    return None


def _store(tms: Tms, upto: int, server: CallDataServer, then: Callable[[], None]) -> None:
    tms.write(upto)
    server.journal.after_commit(then)


def _spool(client: SwitchClient, upto: int, then: Callable[[], None]) -> None:
    client.store(upto)
    then()


@hookimpl
def idle() -> None:
    """Give back the room of empty tables."""
    if running.tms is not None:
        running.tms.tidy()
    if running.server is not None:
        running.server.tidy()


@hookimpl
def drain() -> Awaitable[None] | None:
    """Calls in progress go on, and so does their data."""
    return None


@hookimpl
def stop() -> Awaitable[None] | None:
    """End every call's data, write every record, close."""
    server, tms, client = running.server, running.tms, running.client
    switches, link, spool = running.switches, running.link, running.spool
    running.server = running.tms = running.switches = None
    running.client = running.link = running.spool = None
    if running.unasked is not None:
        running.unasked.cancel()
        running.unasked = None
    if server is not None and tms is not None:
        return _stop(server, tms, switches)
    if client is not None and link is not None and spool is not None:
        return _stop_client(client, link, spool)
    return None


async def _stop(server: CallDataServer, tms: Tms, switches: SwitchLink | None) -> None:
    tms.flush()
    if switches is None:
        await server.stop()
        return
    await stop_server(server, tms)
    switches.stop()


async def _stop_client(client: SwitchClient, link: Link, spool: Spool) -> None:
    """The server gets two seconds for what is on its way; the rest waits for the next start."""
    try:
        async with asyncio.timeout(2.0):
            while not client.settled():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        log.warning("%d events wait in %s", client.waiting(), spool.folder)
    left = client.stop()
    await link.stop()
    spool.close(client.acked if not left else 0)
