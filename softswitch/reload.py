"""The configuration read again: when one of its files has changed, and on SIGHUP.

It is taken up as a whole or, with any mistake in it, not at all. No call ends for it. What only a
restart can change is named, and stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pluggy

from softswitch.config import ConfigErrors, Stamp, stamp
from softswitch.configuration import Config
from softswitch.plugins import one_line, sections_of
from softswitch.reading import BREATHER, ReadError, read_beside

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the files."""

_RESTART: Final = ("name", "listen", "call_id_header", "journal", "control")
"""Keys of `switch` that only a restart changes."""


class Reload:
    """Watches a configuration's files and has `take_up` go on by the new one.

    `take_up(config)` returns the keys that it could not take up.
    """

    def __init__(
        self,
        config: Config,
        plugins: pluggy.PluginManager,
        take_up: Callable[[Config], list[str]],
    ) -> None:
        self._config = config
        self._plugins = plugins
        self._take_up = take_up
        self._asked = asyncio.Event()
        self._seen = config.files

    def ask(self) -> None:
        """Read it again now, whether it has changed or not (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_EVERY)
            if not self._asked.is_set() and self._stamps() == self._seen:
                continue
            self._asked.clear()
            try:
                await self._again()
            except Exception:
                log.exception("configuration not taken up")

    def _stamps(self) -> dict[Path, Stamp]:
        return {path: stamp(path) for path in self._seen}

    async def _again(self) -> None:
        path = self._config.path
        # Before it is read: what changes meanwhile is seen the next time.
        self._seen = self._stamps()
        try:
            config = await read_beside(path, sections_of(self._plugins))
        except ConfigErrors as errors:
            for mistake in errors.mistakes:
                log.error("configuration not taken up: %s", mistake)
            # Some may be named for the first time, or not be there yet.
            self._seen = {**dict(errors.files), **self._seen}
            return
        except ReadError as error:
            log.error("configuration not taken up: %s", error)
            return
        self._seen = config.files
        before, self._config = self._config, config
        what = ", ".join(_changes(before, config)) or "nothing has changed"
        later = list(_after_restart(before, config))
        await asyncio.sleep(BREATHER)
        later += self._take_up(config)
        await asyncio.sleep(BREATHER)
        later += await self._tell_plugins(before, config)
        log.info("configuration %s taken up: %s", path, what)
        for warning in config.warnings:
            log.warning("%s", warning)
        if later:
            log.warning("only a restart changes this: %s", ", ".join(later))

    async def _tell_plugins(self, before: Config, config: Config) -> list[str]:
        """Returns what they could not take up."""
        later: list[str] = []
        hook = self._plugins.hook.reload
        tell = {id(impl.plugin): impl for impl in hook.get_hookimpls()}
        for impl in tell.values():
            function: Any = impl.function
            arguments = {"config": config, "plugins": self._plugins}
            try:
                later += function(*(arguments[name] for name in impl.argnames)) or ()
            except Exception as error:
                log.exception("plugin %s has not taken up the configuration", impl.plugin_name)
                later.append(f"{impl.plugin_name} ({one_line(error)})")
        for impl in self._plugins.hook.config_sections.get_hookimpls():
            if id(impl.plugin) in tell:
                continue
            sections: Any = impl.function
            later += [
                name
                for name in sections()
                if before.sections.get(name) != config.sections.get(name)
            ]
        return later


def _after_restart(before: Config, config: Config) -> Iterator[str]:
    for key in _RESTART:
        if getattr(before.switch, key) != getattr(config.switch, key):
            yield f"switch.{key}"
    if before.voicemail.folder != config.voicemail.folder:
        yield "voicemail.folder"


def _changes(before: Config, config: Config) -> Iterator[str]:
    for what, old, new in (
        ("extension", before.extensions, config.extensions),
        ("trunk", before.trunks, config.trunks),
    ):
        yield from _counted(what, old, new)
    own = {before.path: before.stamp, config.path: config.stamp}
    if before.files | own != config.files | own:
        yield f"dialplan with {len(config.dialplan.routes)} routes"
    for name in ("switch", "limits", "timers", "log", "trace", "voicemail"):
        if getattr(before, name) != getattr(config, name):
            yield name
    for name in sorted({*before.sections, *config.sections}):
        if before.sections.get(name) != config.sections.get(name):
            yield name


def _counted(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    added = len(new.keys() - old.keys())
    gone = len(old.keys() - new.keys())
    changed = sum(1 for name in new.keys() & old.keys() if new[name] != old[name])
    for count, how in ((added, "added"), (gone, "removed"), (changed, "changed")):
        if count:
            yield f"{count} {what}{'' if count == 1 else 's'} {how}"
