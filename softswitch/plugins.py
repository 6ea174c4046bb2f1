"""Plugins as a process has them: those installed, their sections, and hooks called in turn.

Pluggy calls a hook of all plugins before anything that they return can be awaited. Where one has to
be done before the next is asked (``start``, ``stop``), ``in_order`` and ``call`` are used instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pluggy
from pydantic import BaseModel

log = logging.getLogger(__name__)

GROUP = "softswitch"
"""The entry point group under which distributions offer plugins."""


class PluginError(Exception):
    """A plugin cannot be used. The text is one line for the admin."""


def one_line(error: Exception) -> str:
    """What an exception says, in one line; its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def load_installed(plugins: pluggy.PluginManager) -> None:
    """Register what is installed, unless its name is blocked. Raises ``PluginError``."""
    try:
        plugins.load_setuptools_entrypoints(GROUP)
        plugins.check_pending()
    except Exception as error:
        # Another's code: whatever it raises, the admin has to know which plugin to mend or remove.
        text = one_line(error)
        raise PluginError(f"a plugin cannot be loaded: {type(error).__name__}: {text}") from error


def sections_of(plugins: pluggy.PluginManager) -> dict[str, type[BaseModel]]:
    """The sections of a configuration that plugins own. Raises ``PluginError``."""
    sections: dict[str, type[BaseModel]] = {}
    for offered in plugins.hook.config_sections():
        for name, model in offered.items():
            if name in sections:
                raise PluginError(f"two plugins own the section `{name}`: remove one of them")
            sections[name] = model
    return sections


def in_order(hook: pluggy.HookCaller) -> list[pluggy.HookImpl]:
    """The implementations of a hook, in the order in which pluggy calls them."""
    return hook.get_hookimpls()[::-1]


async def call(implementation: pluggy.HookImpl, **arguments: object) -> None:
    """Call one of them with those of the arguments that it takes, and await what it returns."""
    result: Any = implementation.function(*(arguments[name] for name in implementation.argnames))
    if result is not None:
        await result


async def call_all(hook: pluggy.HookCaller, of: Callable[[object], bool] = lambda _: True) -> None:
    """Call a hook without arguments of those plugins that ``of`` says, one after the other. What
    one raises is logged, and keeps nothing from the others."""
    for implementation in in_order(hook):
        if of(implementation.plugin):
            try:
                await call(implementation)
            except Exception:
                log.exception("plugin %s failed to %s", implementation.plugin_name, hook.name)
