"""The plugin: a call data server beside a switch, by the hooks that any plugin may use.

Without a section ``cds`` in the configuration it does nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from cdsplugin.config import CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms import Tms
from softswitch.events import Event
from softswitch.hookspecs import hookimpl

if TYPE_CHECKING:
    from softswitch.config import Config

log = logging.getLogger("cdsplugin.plugin")


class _Running:
    """The server that this process runs, if any, and its TMS. A process runs one switch."""

    server: CallDataServer | None = None
    tms: Tms | None = None


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
    return _start(section.server or config.switch.name, section)


async def _start(name: str, section: CdsSection) -> None:
    server = CallDataServer(name, section)
    await server.start()
    running.server = server
    running.tms = Tms(server.store, server.clock)


@hookimpl
def call_event(event: Event) -> None:
    """Pass an event to the TMS. Whatever goes wrong here, the call goes on."""
    tms = running.tms
    if tms is not None:
        try:
            tms.event(event)
        except Exception:
            log.exception(
                "call %s: its data could not take %s", event.call_id, type(event).__name__
            )


@hookimpl
def drain() -> Awaitable[None] | None:
    """Calls in progress go on, and so does their data."""
    return None


@hookimpl
def stop() -> Awaitable[None] | None:
    """End every call's data, write every record, close."""
    server, running.server, running.tms = running.server, None, None
    return None if server is None else server.stop()
