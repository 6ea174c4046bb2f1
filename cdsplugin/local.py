"""The local store as a program in the server's process has it: what a plugin's hook ``call_data``
is handed.

The source's control interface: register, unregister, update, and the callback, which is the two
methods of ``Client``. (Initialize and finalize are the server's start and stop.) Everything a
plugin's author needs of call data is imported from here; ``docs/plugins.md`` shows it in use.

What a client is told it is told in a turn of the event loop of its own, in order, and never within
the call that caused it: so a client may write, register and unregister as it is told something, and
others hear of that after what it was told. What a client raises is logged and concerns nobody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from cdsplugin.archive import NotStored
from cdsplugin.config import CdsSection
from cdsplugin.data import (
    Call,
    CallData,
    Client,
    Log,
    NotStorable,
    Property,
    Scalar,
    Store,
    Timers,
    TooLong,
    Value,
    check_line,
    check_property,
    server_name,
)
from cdsplugin.link import Link
from cdsplugin.proxy import NetworkProxy, Stage
from softswitch.hookspecs import hookimpl

__all__ = [
    "Call",
    "CallData",
    "CallFull",
    "Client",
    "LocalStore",
    "Log",
    "NoSuchCall",
    "NotStorable",
    "NotStored",
    "OwnerAway",
    "Property",
    "Scalar",
    "TooLong",
    "Value",
    "hookimpl",
]

log = logging.getLogger("cdsplugin.local")

_ANSWERED = (Stage.LIVE.value, Stage.CARETAKER.value, Stage.UNSHARED.value, "")
_LONGEST_ID = 128
_ENTRY_BYTES = "cds.limits.entry_bytes"

_Changes: TypeAlias = tuple[Sequence[Property], Sequence[Log]]


class NoSuchCall(LookupError):
    """There is no such live call; the text says what to do about it."""


class OwnerAway(ConnectionError):
    """The call's owner does not answer, and what is known of the call here may not be all."""


class CallFull(RuntimeError):
    """This program has written to the call what it may (``cds.limits.call_entries``)."""


class Server(Protocol):
    """A call data server (``cdsplugin.server``), as far as programs beside it need it."""

    name: str
    section: CdsSection
    store: Store
    link: Link
    proxy: NetworkProxy
    timers: Timers

    async def stored(self, within: float = ...) -> None:
        """Return once everything written so far is on disk. Raises OSError with the reason."""


async def answered(server: Server, call_id: str, within: float) -> str:
    """Wait until the owner of a call has answered our registration, at most so many seconds; how
    far the registration is then (a ``Stage``'s value; empty for a call of our own)."""
    proxy, timers = server.proxy, server.timers
    deadline = timers.monotonic_us() + int(within * 1_000_000)
    pause = 0.001
    while True:
        stage = proxy.stage(call_id)
        if stage in _ANSWERED or timers.monotonic_us() >= deadline:
            return stage
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)


class LocalStore:
    """The local store, for one program: each plugin has its own, for as long as the server runs.

    All methods belong into the server's event loop, and none blocks. ``server`` is this server's
    name, ``author`` (``SERVER/PLUGIN``) who has written what this program writes. A ``Call`` is the
    store's own and always up to date: read ``call_id``, ``owner`` and ``data`` (``value(name)``,
    ``properties`` by name, ``log_lines()``), and change nothing in it but by ``update``.
    """

    def __init__(
        self, server: Server, program: str, soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """``soon`` is an event loop's ``call_soon``. Raises ValueError if ``program`` cannot be
        part of an author's name."""
        self.server = server.name
        self.author = f"{server.name}/{server_name(program)}"
        if len(self.author) > 128:
            raise ValueError(f"`{self.author}` is longer than 128 characters")
        self._program = program
        self._server = server
        self._soon = soon
        self._registrants: dict[int, Registrant] = {}
        """By ``id`` of the client, which need not be hashable."""
        self._untold: deque[tuple[Registrant, Call, _Changes | None]] = deque()
        self._telling = False

    # What there is

    def calls(self) -> list[Call]:
        """The live calls that this server has data of: those of its switches, and those in which it
        takes part. Those that are over and linger are among them."""
        return list(self._server.store)

    def get(self, call_id: str) -> Call | None:
        """A live call, None if this server has no data of it (any more)."""
        return self._server.store.get(call_id)

    def participants(self, call_id: str) -> list[str]:
        """The other servers that take part in a call, as far as this one knows."""
        call = self._server.store.get(call_id)
        return [] if call is None else self._server.proxy.participants(call)

    # The control interface

    def register(self, client: Client, call_id: str, owner: str = "") -> Call:
        """Take part in a call: ``client`` gets what is returned, the call with all entries that are
        known here, then by ``updated`` what changes, but for what it writes itself, and once
        ``ended``. Registering again changes nothing.

        The call is not held by this: when it is over at the switches it lingers for ``cds.linger``
        seconds, in which what is written gets into its record, and then ends.

        ``owner`` is needed for a call of another server that is not here yet. This server registers
        with that one then; what it has comes as the first ``updated`` (see ``registered``). Raises
        ``NoSuchCall`` if the call is not here and no owner is named, or one that is not known.
        """
        server = self._server
        if server.store.get(call_id) is None:
            if not 0 < len(call_id) <= _LONGEST_ID:
                raise NoSuchCall(f"a callID has 1 to {_LONGEST_ID} characters")
            if not owner:
                raise NoSuchCall(
                    f"no live call `{call_id}` here; if another server owns it, say which: owner"
                )
            if owner == server.name:
                raise NoSuchCall(f"no live call `{call_id}` here")
            if not server.link.knows(owner):
                raise NoSuchCall(f"the server `{owner}` is not known here (cds.peers)")
        registrant = self._registrant(client)
        call = server.store.register(registrant, call_id, owner, holds=False)
        registrant.calls[call_id] = call
        return call

    async def registered(self, call_id: str, within: float = 5.0) -> Call:
        """A call with all that its owner has, once that has answered; clients are told of it
        before. Waits at most ``within`` seconds; what was registered stays so in any case.

        Raises ``OwnerAway`` if the owner did not answer or shares nothing, and ``NoSuchCall`` if it
        knows nothing of the call, or the call has ended.
        """
        stage = await answered(self._server, call_id, within)
        self._tell()
        call = self._server.store.get(call_id)
        if call is None:
            raise NoSuchCall(f"no live call `{call_id}` here")
        if stage not in _ANSWERED:
            raise OwnerAway(f"the server `{call.owner}` does not answer at present")
        if not len(call.data):
            if stage == Stage.UNSHARED.value:
                raise OwnerAway(f"the server `{call.owner}` does not share the call `{call_id}`")
            raise NoSuchCall(f"`{call.owner}` has no live call `{call_id}`")
        return call

    def unregister(self, client: Client, call_id: str) -> None:
        """Take part no more: ``client`` is told nothing of that call from here on."""
        registrant = self._registrants.get(id(client))
        if registrant is not None and registrant.calls.pop(call_id, None) is not None:
            self._server.store.unregister(registrant, call_id)
            self._forget_idle(registrant)

    def register_all(self, client: Client) -> list[Call]:
        """Be told of all calls, those to come included: ``client`` gets what is returned, every
        live call with all entries, and then changes and ends as by ``register``. A call that begins
        later comes with its first ``updated``. No other server is asked for calls by this.
        """
        registrant = self._registrant(client)
        if not registrant.of_all:
            registrant.of_all = True
            self._server.store.watch(registrant)
        return self.calls()

    def unregister_all(self, client: Client) -> None:
        """Be told only of those calls for which ``client`` is registered one by one."""
        registrant = self._registrants.get(id(client))
        if registrant is not None and registrant.of_all:
            registrant.of_all = False
            self._server.store.unwatch(registrant)
            self._forget_idle(registrant)

    def update(
        self,
        client: Client | None,
        call_id: str,
        properties: Mapping[str, Value] | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        """Set properties of a call and add log lines, also after the hangup while it lingers. They
        are stamped in the time base of the call's owner, and ``author`` is ``SERVER/PLUGIN``.

        ``client`` is who is not told of it, being the one who says it; None if all are to be. It
        need not be registered. Values are text, numbers, true, false, None, and flat lists and
        mappings of these; they are copied.

        All or nothing is written. Raises ``NotStorable`` for a name or a value that call data
        cannot hold, and for names that belong to the switches (``call``, ``answer``, ``end``, and
        all with a slash); ``TooLong``, one of these, if an entry has more than
        ``cds.limits.entry_bytes``; ``NoSuchCall``; ``CallFull``.
        """
        limits = self._server.section.limits
        values: dict[str, Value] = {}
        for name, value in (properties or {}).items():
            check_property(name, value, limits.entry_bytes, _ENTRY_BYTES)
            values[name] = value.copy() if isinstance(value, dict | list) else value
        if isinstance(lines, str):
            raise NotStorable("found a text as `lines`, expected a list of log lines")
        for line in lines:
            check_line(line, limits.entry_bytes, _ENTRY_BYTES)
        store = self._server.store
        if store.get(call_id) is None:
            raise NoSuchCall(f"no live call `{call_id}` here")
        if not values and not lines:
            return
        registrant = None if client is None else self._registrants.get(id(client))
        if not store.write(registrant, call_id, self.author, values, lines):
            raise CallFull(
                f"`{self.author}` has written {limits.call_entries} entries to `{call_id}`"
                " (cds.limits.call_entries): no more are taken"
            )

    async def stored(self, within: float = 5.0) -> None:
        """Return once what was written so far is on this server's disk, so that ``kill -9`` costs
        nothing of it. Raises ``NotStored`` (an ``OSError``) with the reason, after ``within``
        seconds at the latest: then it is shared with the others, but not safe yet."""
        await self._server.stored(within)

    # Telling clients

    def _registrant(self, client: Client) -> Registrant:
        registrant = self._registrants.get(id(client))
        if registrant is None:
            registrant = self._registrants[id(client)] = Registrant(client, self._later)
        return registrant

    def _forget_idle(self, registrant: Registrant) -> None:
        if not registrant.of_all and not registrant.calls:
            self._registrants.pop(id(registrant.client), None)

    def _later(self, registrant: Registrant, call: Call, changes: _Changes | None) -> None:
        self._untold.append((registrant, call, changes))
        if not self._telling:
            self._telling = True
            self._soon(self._turn)

    def _turn(self) -> None:
        self._telling = False
        self._tell()

    def _tell(self) -> None:
        # No more than there is now: two clients that answer each other must not stop the rest.
        for _ in range(len(self._untold)):
            registrant, call, changes = self._untold.popleft()
            held = registrant.calls.get(call.call_id) is call
            if not held and not registrant.of_all:
                continue  # it has left meanwhile
            if changes is None and held:
                del registrant.calls[call.call_id]
                self._forget_idle(registrant)
            try:
                if changes is None:
                    registrant.client.ended(call)
                else:
                    registrant.client.updated(call, *changes)
            except Exception:
                what = "the end" if changes is None else "an update"
                log.exception(
                    "plugin %s failed to take %s of call %s", self._program, what, call.call_id
                )


class Registrant:
    """A program's client in the store: registered for some calls, or for all, or both."""

    __slots__ = ("_later", "calls", "client", "of_all")

    def __init__(
        self, client: Client, later: Callable[[Registrant, Call, _Changes | None], None]
    ) -> None:
        self.client = client
        self.calls: dict[str, Call] = {}
        self.of_all = False
        self._later = later

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """From the store: entries changed."""
        self._later(self, call, (properties, logs))

    def ended(self, call: Call) -> None:
        """From the store: the call is over."""
        self._later(self, call, None)

    def registered(self, call: Call, client: Client) -> None:
        """Who takes part is not told."""

    def unregistered(self, call: Call, client: Client) -> None:
        """Who takes part is not told."""
