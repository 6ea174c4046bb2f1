"""The plugin as a switch's process has it: registered, and called by its hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdsplugin import plugin
from softswitch.events import Event
from softswitch.hookspecs import make_plugins
from softswitch.plugins import call, in_order


class Hooks:
    """A registry of plugins with ours in it."""

    def __init__(self, config: Any, *before: object) -> None:
        """``before`` are plugins that are loaded before ours."""
        self.config = config
        self.plugins = make_plugins()
        for other in before:
            self.plugins.register(other, name=type(other).__name__)
        self.plugins.register(plugin)

    async def start(self) -> None:
        for start in in_order(self.plugins.hook.start):
            await call(start, config=self.config, plugins=self.plugins)

    async def stop(self) -> None:
        for stop in in_order(self.plugins.hook.stop):
            await call(stop)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.plugins.hook.call_event(event=event)

    def stored(self) -> Callable[[Callable[[], None]], None]:
        (store,) = self.plugins.hook.stored()
        return store

    @property
    def running(self) -> Any:
        """What runs for this switch, None if nothing does."""
        return self.plugins.get_plugin(plugin.RUNNING)
