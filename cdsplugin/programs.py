"""Programs in the server's process: plugins that are handed its local store (``call_data``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pluggy
from pydantic import BaseModel

from cdsplugin.local import LocalStore
from cdsplugin.server import CallDataServer, StartError
from softswitch.plugins import call, call_all, in_order, one_line

log = logging.getLogger("cdsplugin.programs")


class Programs:
    """Those of a registry that has ``cdsplugin.hookspecs``. ``sections`` are the plugins' own."""

    def __init__(self, plugins: pluggy.PluginManager, sections: Mapping[str, BaseModel]) -> None:
        self._plugins = plugins
        self._sections = sections
        self._unstarted: set[int] = set()
        """Plugins, by ``id``, that were there before and were not handed the store (yet)."""

    async def start(self, server: CallDataServer) -> None:
        """Hand each of them the store, one after the other. Raises ``StartError``, with the
        plugin's name and what it says."""
        self._unstarted = {id(plugin) for plugin in self._plugins.get_plugins()}
        soon = asyncio.get_running_loop().call_soon
        for implementation in in_order(self._plugins.hook.call_data):
            name = implementation.plugin_name
            try:
                local = LocalStore(server, name, soon)
                await call(
                    implementation, local=local, sections=self._sections, plugins=self._plugins
                )
            except Exception as error:
                log.debug("plugin %s: call_data failed", name, exc_info=True)
                raise StartError(f"plugin {name}: {one_line(error)}") from error
            self._unstarted.discard(id(implementation.plugin))

    async def stop(self) -> None:
        """Call ``stop`` of those that were handed the store, and of what they have registered:
        where no switch does it."""
        await call_all(self._plugins.hook.stop, lambda plugin: id(plugin) not in self._unstarted)
