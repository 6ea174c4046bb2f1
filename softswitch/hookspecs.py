"""Every hook a plugin may implement, one function each (pluggy).

A plugin is a module or object with functions of these names marked ``@hookimpl``; a distribution
offers it under the entry point group ``softswitch``. ``cdsplugin`` uses nothing but these hooks and
``softswitch.events``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pluggy
from pydantic import BaseModel

from softswitch.config import FollowStep, Forwarding
from softswitch.events import Event

if TYPE_CHECKING:
    from softswitch.configuration import Config

hookspec = pluggy.HookspecMarker("softswitch")
hookimpl = pluggy.HookimplMarker("softswitch")


class Features(Protocol):
    """What phones have set, and programs may: where the calls of an extension go, and that it is
    not to be disturbed. Each raises LookupError if there is no such extension, with a text for
    people. It goes before what the configuration says, and is kept over a restart."""

    def forwarding(self, extension: str) -> Forwarding:
        """What is in force."""

    def set_forward(
        self, extension: str, numbers: Mapping[str, str], after: float | None = None
    ) -> None:
        """Forward its calls: numbers, as the extension would dial them, by `always`, `busy`,
        `no_answer` and `unreachable`; what is not among them is off. `after` is how many seconds to
        ring before `no_answer`. Raises ValueError, with a text for people, if that cannot be."""

    def clear_forward(self, extension: str) -> None:
        """Its calls go where the configuration says again."""

    def set_follow(self, extension: str, steps: Sequence[FollowStep]) -> None:
        """Its calls find it at these numbers, as the extension would dial them, its own being its
        phone, one step after the other; no steps: at its phone. Raises ValueError, with a text for
        people, if that cannot be."""

    def clear_follow(self, extension: str) -> None:
        """Its calls find it where the configuration says again."""

    def set_dnd(self, extension: str, on: bool | None) -> None:
        """Not to be disturbed, or to be, or None: what the configuration says."""

    def agent(self, extension: str) -> tuple[bool, bool]:
        """Whether it is logged in to its queues, or to one of them, and whether it pauses. Raises
        LookupError also if it is an agent of none; so do the next two."""

    def set_agent(self, extension: str, on: bool | None) -> None:
        """Logged in to its queues, or not, or None: what they say."""

    def set_paused(self, extension: str, on: bool) -> None:
        """Whether its queues are not to ring it for a while."""

    def mailbox(self, extension: str) -> tuple[int, int]:
        """How many messages wait in its mailbox that nobody has heard, and how many others."""

    def set_mailbox(self, extension: str, new: int, old: int) -> None:
        """So many wait: its phones that ask for it show it. Raises ValueError, with a text for
        people, if that cannot be."""

    def refused(self) -> bool:
        """Whether the disk takes nothing at present: what is set now need not survive."""

    def stored(self, then: Callable[[], None]) -> None:
        """Call `then` once all that was set so far would survive this process."""


class Views(Protocol):
    """What a switch tells of itself: the same as `softswitch status` and `softswitch trace`."""

    async def status(self, sections: Sequence[str] | None, rows: int) -> dict[str, Any]:
        """The sections asked for (None: all), of calls and registrations at most so many rows.
        Raises LookupError, with a text for people, if there is no such section."""

    async def trace(self, call: str, form: str, bodies: bool = False) -> bytes:
        """What went over the wire of a call, named by its callID or by the SIP Call-ID of one of
        its legs, without secrets: as `json`, `text` (with the messages' bodies, if wanted), `svg`
        or `pcap`. Raises LookupError, with a text for people, if there is nothing."""


class LiveCalls(Protocol):
    """What may be done with calls that are under way."""

    def record(self, call_id: str, paused: bool) -> int:
        """Record what is said in a call from now on, or (``paused``) nothing for a while. How many
        of its talks that concerns now. Raises LookupError, with a text for people, if there is no
        such call, or if nothing can be recorded."""


@hookspec(historic=True)
def add_hooks(plugins: pluggy.PluginManager) -> None:
    """The plugin was registered: add hooks of its own for others (``plugins.add_hookspecs``)."""


@hookspec
def config_sections() -> Mapping[str, type[BaseModel]]:  # type: ignore[empty-body]
    """Top-level sections of the configuration that the plugin owns, with the model that checks
    each.
    """


@hookspec(firstresult=True)
def owner_name(config: Config) -> str | None:
    """The name that goes into the callID header as ``owner``: of a server that exists. None from
    every plugin: the next switch on the way that has a server owns the call."""


@hookspec
def start(config: Config, plugins: pluggy.PluginManager) -> Awaitable[None] | None:
    """The switch is about to listen. What is returned is awaited before the next plugin is asked;
    an exception stops the start, and its text is the line that the admin reads.

    ``config.sections`` has the plugin's own section, if it is in the file. ``plugins`` is the
    registry: what has state registers an object there, whose hooks are called from then on, and
    there is nothing to call before it runs.
    """


@hookspec(historic=True)
def features(features: Features) -> None:
    """The switch is there, though it does not listen yet: what phones may set, a plugin may read
    and set from here on. Also called of what is registered later."""


@hookspec(historic=True)
def views(views: Views) -> None:
    """The switch is there, though it does not listen yet: what it tells of itself. Also called of
    what is registered later."""


@hookspec(historic=True)
def live_calls(calls: LiveCalls) -> None:
    """The switch is there, though it does not listen yet: what may be done with its calls. Also
    called of what is registered later."""


@hookspec
def call_event(event: Event) -> None:
    """Something happened to a call. Called in the event loop, in order; must not block.

    Implementations take exactly this one argument, and are looked up once, at the first event.
    """


@hookspec
def stored() -> Callable[[Callable[[], None]], None] | None:
    """What was told so far is to survive this process. Return what stores that, and nothing told
    after it: a function that takes ``then`` and calls it, once, when it is done; None if there is
    nothing to wait for.

    It is called when the switch has its own journal on disk, so that after a kill no plugin knows
    of a call of which the switch does not. Asked after events, at most every few milliseconds;
    what the switch has to send meanwhile waits (``timers.store_within`` at most), so that nobody
    hears of what a kill could undo. Looked up once, as ``call_event``.
    """


@hookspec
def reload(config: Config, plugins: pluggy.PluginManager) -> Sequence[str] | None:
    """The configuration was read again and is in force: go on by your own section of it, without
    disturbing calls. ``plugins`` is the registry, as at the start. Return the keys that only a
    restart changes, such as ``cds.database``, of those that have changed.

    A plugin with a section and without this hook: a changed section is taken up by a restart, which
    the log says.
    """


@hookspec
def idle() -> None:
    """Nothing is in progress after a busy time: give back memory that only a busy time needs."""


@hookspec
def drain() -> Awaitable[None] | None:
    """No new calls from here on; calls in progress go on. What is returned is awaited."""


@hookspec
def stop() -> Awaitable[None] | None:
    """All calls have ended and their events were told; what is returned is awaited before exit.

    Called of every plugin that is not without its ``start``, also when another's start failed.
    """


def make_plugins() -> pluggy.PluginManager:
    """A plugin registry with these hooks, and nothing registered yet."""
    plugins = pluggy.PluginManager("softswitch")
    import softswitch.hookspecs as hooks

    plugins.add_hookspecs(hooks)
    plugins.hook.add_hooks.call_historic(kwargs={"plugins": plugins})
    return plugins
