"""Plugins that listen to calls: each is told every call-state event, and asked to store them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pluggy

from softswitch.events import Event

log = logging.getLogger(__name__)

Store = Callable[[Callable[[], None]], None]


class _Stores:
    """Calls `then`, once, when all of them are done."""

    __slots__ = ("_then", "_waits")

    def __init__(self, stores: list[tuple[str, Store]], then: Callable[[], None]) -> None:
        self._then = then
        self._waits = {name for name, _ in stores}
        self._waits.add("")
        for name, store in stores:
            try:
                store(partial(self._done, name))
            except Exception:
                log.exception("plugin %s failed to store what it was told", name)
                self._done(name)
        self._done("")

    def _done(self, name: str) -> None:
        if name in self._waits:
            self._waits.discard(name)
            if not self._waits:
                self._then()


def store_all(stores: list[tuple[str, Store]], then: Callable[[], None]) -> None:
    """Call `then`, once, when all of them are done."""
    _Stores(stores, then)


class Listeners:
    """The hooks `call_event` and `stored` of all plugins (`softswitch.hookspecs`)."""

    def __init__(self, plugins: pluggy.PluginManager) -> None:
        self._plugins = plugins
        self._told: list[tuple[str, Callable[[Event], object]]] | None = None
        self._keepers: list[tuple[str, Callable[[], Any]]] | None = None

    def _hooks(self, name: str) -> list[tuple[str, Any]]:
        # Once, at the first event: what a plugin registers at its start is found too. Pluggy's own
        # way to a hook costs more than most plugins do, and a call has eight events.
        hook = getattr(self._plugins.hook, name)
        return [(impl.plugin_name, impl.function) for impl in hook.get_hookimpls()]

    def tell(self, event: Event) -> None:
        """Tell every plugin; what one raises is logged and keeps nothing from the others."""
        listening = self._told
        if listening is None:
            listening = self._told = self._hooks("call_event")
        for name, told in listening:
            try:
                told(event)
            except Exception:
                log.exception(
                    "plugin %s failed on %s of call %s", name, type(event).__name__, event.call_id
                )

    def stores(self) -> list[tuple[str, Store]]:
        """By plugin, what stores all that it was told so far: to be given to `store_all`."""
        stores: list[tuple[str, Store]] = []
        if self._keepers is None:
            self._keepers = self._hooks("stored")
        for name, keeper in self._keepers:
            try:
                store: Store | None = keeper()
            except Exception:
                log.exception("plugin %s failed to say how it stores what it was told", name)
                continue
            if store is not None:
                stores.append((name, store))
        return stores
