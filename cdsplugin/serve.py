"""``cds serve``: a call data server without a switch, which manages those of sites without one.

Plugins are loaded as a switch does it, and those that take part in calls (``call_data``) do so here
too. The hooks that are about a switch are not called.

From the source: "a server is not required for each site (...) the first and second switches of the
second site can be managed by a TMS instance running on, for example, the first server".
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pluggy
import uvloop
from pydantic import BaseModel, Field

from cdsplugin import hookspecs
from cdsplugin.config import CdsSection, different
from cdsplugin.programs import Programs
from cdsplugin.running import Running
from cdsplugin.server import StartError
from softswitch.config import Log as LogSettings
from softswitch.config import (
    Section,
    SectionTaken,
    check_model,
    fill_empty_sections,
    read_yaml,
    resolve_paths,
    stamp,
    with_sections,
)
from softswitch.hookspecs import make_plugins
from softswitch.log import Log
from softswitch.plugins import load_installed, sections_of

log = logging.getLogger("cdsplugin")

LOOK_EVERY = 1.0
"""Seconds between looks at the file."""


class ServeFile(Section):
    """The configuration of a server without a switch: ``cds``, and plugins' sections."""

    cds: CdsSection = Field(description="the call data server")
    log: LogSettings = Field(default=LogSettings(), description="what the server says, and where")


class ServeError(Exception):
    """The file cannot be used. The text has a line for each mistake."""


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """A file without mistakes. ``sections`` has ``cds`` too, and no section that is not in the
    file; paths are resolved."""

    path: Path
    cds: CdsSection
    sections: Mapping[str, BaseModel]
    log: LogSettings


def installed() -> pluggy.PluginManager:
    """What is installed, but for what runs a server beside a switch. Raises ``PluginError``."""
    plugins = make_plugins()
    plugins.set_blocked("cds")
    plugins.add_hookspecs(hookspecs)
    load_installed(plugins)
    return plugins


def read_config(path: Path, sections: Mapping[str, type[BaseModel]] = {}) -> ServeConfig:
    """Read and check a file; relative paths in it are relative to it. ``sections`` are those that
    plugins own. Raises ``ServeError``."""
    read = read_yaml(path)
    model = None
    if not read.mistakes or read.value is not None:
        fill_empty_sections(read)
        try:
            model = check_model(with_sections("ServeFile", ServeFile, sections), read)
        except SectionTaken as error:
            raise ServeError(str(error)) from None
        if model is not None:
            if model.cds.server is None:
                read.at(("cds",), "missing key `server`: this server's name, unique in the network")
            if model.cds.server_at is not None:
                read.at(("cds", "server_at"), "a server has no server elsewhere")
    if read.mistakes or model is None:
        raise ServeError("\n".join(str(mistake) for mistake in sorted(read.mistakes)))
    cds = resolve_paths(model.cds, path.parent)
    found: dict[str, BaseModel] = {"cds": cds}
    for name in sections:
        section = getattr(model, name)
        if section is not None:
            found[name] = resolve_paths(section, path.parent)
    return ServeConfig(path, cds, found, resolve_paths(model.log, path.parent))


def serve(
    config: ServeConfig, plugins: pluggy.PluginManager, *, log_level: str | None = None
) -> int:
    """Run a server until SIGTERM or Ctrl-C; returns the exit status. ``log_level`` counts more
    than what the configuration says."""
    lines = Log(config.log, level=log_level)
    try:
        lines.open()
    except OSError as error:
        print(f"cds {config.cds.server}: log: {error}", file=sys.stderr)
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(config, plugins, lines))
    finally:
        lines.close()


async def _serve(config: ServeConfig, plugins: pluggy.PluginManager, lines: Log) -> int:
    section, programs = config.cds, Programs(plugins, config.sections)
    assert section.server is not None
    loop, over, again = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    running = Running(section.server, section, loop.call_soon)
    try:
        await running.start(programs)
    except StartError as error:
        lines.say(f"cds {section.server}: {error}")
        await programs.stop()
        return 1
    server = running.server
    api = f", API on port {running.api_port}" if running.api_port is not None else ""
    at = "tcp:{}:{}".format(*server.link.address()) if section.listen is not None else "no address"
    lines.say(f"cds {server.name} ready on {at}{api}")
    watching = loop.create_task(_watch(config, plugins, running, lines, again))
    await over.wait()
    watching.cancel()
    await running.stop()
    await programs.stop()
    lines.say(f"cds {server.name} stopped")
    return 0


async def _watch(
    config: ServeConfig,
    plugins: pluggy.PluginManager,
    running: Running,
    lines: Log,
    again: asyncio.Event,
) -> None:
    """Read the file again when it has changed, and on SIGHUP."""
    seen = stamp(config.path)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(again.wait(), LOOK_EVERY)
        now = stamp(config.path)
        if not again.is_set() and now == seen:
            continue
        again.clear()
        seen = now
        try:
            _take_up(read_config(config.path, sections_of(plugins)), config, running, lines)
        except ServeError as error:
            for mistake in str(error).splitlines():
                log.error("configuration not taken up: %s", mistake)
        except Exception:
            log.exception("configuration not taken up")


def _take_up(found: ServeConfig, started: ServeConfig, running: Running, lines: Log) -> None:
    later = [
        name
        for name in {*started.sections, *found.sections} - {"cds"}
        if started.sections.get(name) != found.sections.get(name)
    ]
    try:
        lines.take_up(found.log)
    except OSError as error:
        later.append(f"log ({error})")
    in_force = running.take_up(found.cds)
    later += [f"cds.{key}" for key in different(in_force, found.cds)]
    log.info("configuration %s taken up", found.path)
    if later:
        log.warning("only a restart changes this: %s", ", ".join(sorted(later)))
