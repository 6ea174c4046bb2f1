"""The hooks that call data servers add to ``softswitch.hookspecs``: one plugin may implement both.

They are called where a server runs: in ``softswitch run`` with a section ``cds``, and in
``cds serve``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

import pluggy
from pydantic import BaseModel

from cdsplugin.local import LocalStore

hookspec = pluggy.HookspecMarker("softswitch")


@hookspec
def call_data(
    local: LocalStore, sections: Mapping[str, BaseModel], plugins: pluggy.PluginManager
) -> Awaitable[None] | None:
    """The server has started: ``local`` is its store, from here to the server's stop. What a
    restart has brought back is in it; nobody is connected yet, and no call has begun.

    Each plugin gets a store of its own, for what it writes bears its name. ``sections`` are those
    of the configuration that plugins own, with paths resolved; one that is not in the file is not
    in it. ``plugins`` is the registry, as in ``start``. What is returned is awaited before the next
    plugin is asked; an exception stops the start, and its text is in the line that the admin reads.
    """
