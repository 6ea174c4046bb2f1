"""The local CDS store: the call data that this server has, and the clients that are told of
changes.

The source's "local CDS store" with its control interface: initialize, finalize, register,
unregister, update and callback. No I/O: the clock and the timers are handed in, and the callback is
the methods of ``Client``. The network proxy is a client like any other, registered for all calls.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cdsplugin.data.call import Call, Client, Watcher
from cdsplugin.data.call_data import CallData
from cdsplugin.data.clock import Clock, Handle, Timers
from cdsplugin.data.entries import Log, Once, Property, Value
from cdsplugin.data.tables import give_back

log = logging.getLogger("cdsplugin.store")

_OFF = 50_000
"""Microseconds by which times have to be off to be written anew."""

_SAID = 20
"""Authors of one call of whom the log says that they write too much."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """``linger`` and ``handed_linger`` are seconds. The others count properties and logs of one
    call: ``call_entries`` those of one application, ``switch_entries`` those of the switches of one
    server, which no application's writing can keep from being heard; ``peer_authors`` is how many
    applications may have written to it at other servers, and how many servers.

    A call of this server lingers for ``linger`` after the last one that held it has left, whoever
    follows it. A call of another server lingers for ``handed_linger``: longer, so that the owner's
    end of call normally comes first.
    """

    linger: float = 30.0
    handed_linger: float = 60.0
    call_entries: int = 1000
    switch_entries: int = 10_000
    peer_authors: int = 200


class Store:
    """Call data by callID. All methods are to be called from one thread."""

    def __init__(
        self, server: str, clock: Clock, timers: Timers, limits: StoreLimits | None = None
    ) -> None:
        self.server = server
        self.limits = limits or StoreLimits()
        self._clock = clock
        self._timers = timers
        self._calls: dict[str, Call] = {}
        self._left: _Left | None = None
        self._watchers: tuple[Watcher, ...] = ()
        self._own_lingers = _Lingers(timers, self.limits.linger, self._linger_over)
        self._handed_lingers = _Lingers(timers, self.limits.handed_linger, self._linger_over)
        self.initialized = False
        self.updates = 0
        self.kept: dict[str, Call] = {}
        """Calls of other servers that ended here before their owners had all of them."""
        self.fading: dict[str, Call] = {}
        """Calls of this server that have ended, and are in the journal until the archive has them:
        one that comes back meanwhile goes on with what it had, as it would after a restart."""

    # The control interface

    def initialize(self) -> None:
        """Open for business; called when the associated TMS starts."""
        self.initialized = True

    def finalize(self) -> None:
        """Shut down when the associated TMS stops: every call ends now, without lingering."""
        for call in list(self._calls.values()):
            self._end(call)
        self._own_lingers.clear()
        self._handed_lingers.clear()
        self.initialized = False

    def watch(self, watcher: Watcher) -> None:
        """Register for all calls, those to come included."""
        self._watchers = (*self._watchers, watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Take back a registration for all calls."""
        self._watchers = tuple(w for w in self._watchers if w is not watcher)

    def register(self, client: Client, call_id: str, owner: str, holds: bool = True) -> Call:
        """Register interest in a call; its data, all entries, is ``Call.data`` of what is returned.

        Who ``holds`` it has a part in it that is not over: until he leaves the call does not end.
        Who does not follows it: he is told the same. ``owner`` counts only when the call is new
        here. Registering again changes nothing but ``holds``.
        """
        call = self._calls.get(call_id)
        if call is None:
            if owner == self.server:
                call = self.fading.pop(call_id, None)
            if call is None:
                call = self._new(call_id, owner)
            self._calls[call_id] = call
        if client not in call.clients:
            call.clients = (*call.clients, client)
            if not holds:
                call.followers = (*call.followers, client)
        elif holds != (client in call.followers):
            return call
        elif holds:
            call.followers = tuple(c for c in call.followers if c is not client)
        else:
            call.followers = (*call.followers, client)
        self._came(client, call)
        return call

    def _new(self, call_id: str, owner: str) -> Call:
        newest, base = self._left.pop(call_id) if self._left is not None else (0, 0)
        based = owner == self.server or base != 0
        call = Call(call_id, owner, base or self._clock.time_base(owner), based)
        call.data.newest = newest
        return call

    def _came(self, client: Client, call: Call) -> None:
        if call.held or call.led:
            call.lingering = 0
        for watcher in self._watchers:
            if watcher is not client:
                try:
                    watcher.registered(call, client)
                except Exception:
                    log.exception("call %s: a client failed to take a registration", call.call_id)
        call.settled = False
        if self._calls.get(call.call_id) is call:
            self.linger(call)

    def unregister(self, client: Client, call_id: str) -> None:
        """Take back an interest. When it was the last one that held the call, that begins to
        linger."""
        call = self._calls.get(call_id)
        if call is None or client not in call.clients:
            return
        call.clients = tuple(c for c in call.clients if c is not client)
        if call.followers:
            call.followers = tuple(c for c in call.followers if c is not client)
        for watcher in self._watchers:
            if watcher is not client:
                try:
                    watcher.unregistered(call, client)
                except Exception:
                    log.exception("call %s: a client failed to take an unregistration", call_id)
        if self._calls.get(call_id) is call:
            self.linger(call)

    def update(
        self,
        client: Client | None,
        call_id: str,
        properties: Sequence[Property],
        logs: Sequence[Log] = (),
        *,
        back: bool = False,
    ) -> tuple[list[Property], list[Log]]:
        """Take in stamped entries (from a remote server); return those that were not seen before.

        Unknown callID: nothing happens and nothing is returned. What is far beyond what a server
        lets its own applications and switches write is not taken, unless it is ``back``: it has
        been taken here before.
        """
        call = self._calls.get(call_id)
        if call is None:
            return [], []
        if not back and len(call.data) + len(properties) + len(logs) > self.limits.call_entries:
            properties, logs = self._within_limits(call, properties, logs)
        changed, added = call.data.merge(properties, logs)
        if changed or added:
            self._tell(client, call, changed, added)
        return changed, added

    def write(
        self,
        client: Client | None,
        call_id: str,
        author: str,
        values: Mapping[str, Value | Once],
        lines: Sequence[str] = (),
    ) -> bool:
        """Take in what a local client has to say: stamp it in the owner's time base and tell the
        others.

        False, and nothing is stored, if the call is unknown or this author would have more entries
        than it may (``StoreLimits``). An ``author`` with a slash is an application.
        """
        call = self._calls.get(call_id)
        if call is None:
            return False
        data = call.data
        if len(data) + len(values) + len(lines) > self.limits.call_entries and self._full(
            call, author, values, lines
        ):
            return False
        stamp = self._clock.stamp(call.base, data.newest)
        if not call.based and author == self.server != call.owner:
            call.guessed = call.guessed | values.keys()
        changed, added = data.write(stamp, author, values, lines)
        if changed or added:
            self._tell(client, call, changed, added)
        return True

    # What others need to know

    def get(self, call_id: str) -> Call | None:
        """The call, None if it is not (or no more) here."""
        return self._calls.get(call_id)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls.values()))

    def __len__(self) -> int:
        return len(self._calls)

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._calls, self.kept, self.fading)

    def adopt(self, call: Call) -> None:
        """Take in a call as the journal has it, without telling anybody."""
        self._calls[call.call_id] = call

    def end(self, call_id: str) -> None:
        """End a call now: its owner said so."""
        call = self._calls.get(call_id)
        if call is not None:
            self._end(call)

    def let_go(self, call: Call) -> None:
        """A call that was ``kept`` is not needed any more. Its stamps may be others than when it
        ended here."""
        kept = self.kept.pop(call.call_id, None)
        if kept is not None:
            self._remember(kept)

    def linger(self, call: Call) -> None:
        """Let a call that nobody holds end in its time, unless another server will say that."""
        if call.held or call.lingering or (call.led and call.clients):
            return
        # Who follows a call whose owner is away gives that, and others, time to come back.
        own = call.owner == self.server or (call.head == self.server and not call.clients)
        (self._own_lingers if own else self._handed_lingers).add(call)

    def restamp(self, call: Call, shift: int, after: int = 0) -> None:
        """The call's time is by ``shift`` microseconds another. Move the stamps that are greater
        than ``after``, in their order and never behind ``after`` nor ahead of now, and what those
        entries say of times. Nobody else may have seen them.

        If others have seen times of ours that are by the old clock, all wait for ``rebase``.
        """
        data = call.data
        seen = (e for e in data.properties.values() if e.stamp <= after)
        by = 0 if any(self._timed(call, e, shift) != e.value for e in seen) else shift
        call.base += by
        shift = min(shift, self._clock.monotonic_us() + call.base + shift - by - data.newest)
        properties = list(data.properties.values())
        lines = data.log_lines()
        stamps: dict[int, int] = {}
        newest = after
        old = {e.stamp for e in properties} | {e.stamp for e in lines}
        for stamp in sorted(stamp for stamp in old if stamp > after):
            newest = stamps[stamp] = max(stamp + shift, newest + 1)
        call.data = CallData(
            [
                Property(e.name, self._timed(call, e, by), stamps[e.stamp], e.author, e.once)
                if e.stamp > after
                else e
                for e in properties
            ],
            [Log(stamps.get(e.stamp, e.stamp), e.author, e.text) for e in lines],
        )
        call.data.newest = max(call.data.newest, newest)
        if call.back is not None and call.back.since > after:
            call.back.since = min(stamps.values(), default=0)

    def rebase(self, call: Call, base: int) -> list[Property]:
        """The owner has said what time it is in the call. What was written here by a clock that was
        off is written anew; its times, as its stamps have been seen. Returns what of that the owner
        has to be told still: all of it, if the call is over here."""
        off = base - call.base
        values: dict[str, Value] = {}
        if abs(off) >= 1000:
            call.base = base
        if abs(off) >= _OFF:
            for entry in call.data.properties.values():
                timed = self._timed(call, entry, off)
                if timed != entry.value:
                    values[entry.name] = timed
        call.based, call.base_kept, call.guessed = True, 0, set()
        if not values:
            return []
        if self._calls.get(call.call_id) is call:
            self.write(None, call.call_id, self.server, values)
            return []
        stamp = self._clock.stamp(call.base, call.data.newest)
        return call.data.write(stamp, self.server, values, ())[0]

    def _timed(self, call: Call, entry: Property, by: int) -> Value:
        if entry.author != self.server or entry.name not in call.guessed:
            return entry.value
        return call.retimed(entry.name, entry.value, by)

    def _tell(
        self,
        client: Client | None,
        call: Call,
        properties: Sequence[Property],
        logs: Sequence[Log],
    ) -> None:
        self.updates += 1
        for watcher in self._watchers:
            if watcher is not client:
                try:
                    watcher.updated(call, properties, logs)
                except Exception:
                    log.exception("call %s: a client failed to take an update", call.call_id)
        for other in call.clients:
            # The proxy watches all calls and is registered for those with remote participants.
            if other is not client and other not in self._watchers:
                try:
                    other.updated(call, properties, logs)
                except Exception:
                    log.exception("call %s: a client failed to take an update", call.call_id)

    def _limit(self, author: str) -> int:
        return self.limits.call_entries if "/" in author else self.limits.switch_entries

    def _full(
        self,
        call: Call,
        author: str,
        values: Mapping[str, Value | Once],
        lines: Sequence[str],
    ) -> bool:
        held = call.data.properties
        new = sum(name not in held or held[name].author != author for name in values) + len(lines)
        if not new or call.data.count(author) + new <= self._limit(author):
            return False
        self._refuse(call, author)
        return True

    def _within_limits(
        self, call: Call, properties: Sequence[Property], logs: Sequence[Log]
    ) -> tuple[Sequence[Property], Sequence[Log]]:
        """What may be taken of entries that another server has sent: ten times what it would let
        its own write here, as it may have other limits. Of whom one was refused nothing is taken
        any more: what a copy has of an author stays a beginning of what that wrote."""
        held, lines = call.data.properties, call.data.logs or {}
        more: dict[str, int] = {}
        for entry in properties:
            before = held.get(entry.name)
            if before is None or before.author != entry.author:
                more[entry.author] = more.get(entry.author, 0) + 1
        for line in logs:
            if (line.stamp, line.author) not in lines:
                more[line.author] = more.get(line.author, 0) + 1
        known = call.data.counts()
        many = [a for a, count in more.items() if known.get(a, 0) + count > 10 * self._limit(a)]
        peers = [a for a in {**known, **more} if a.partition("/")[0] != self.server]
        late: list[str] = []
        for application in (True, False):  # however many those are, a switch has its place
            these = [author for author in peers if ("/" in author) == application]
            late += [a for a in these[self.limits.peer_authors :] if a not in known]
        again = {a for a in call.refused or () if a in peers}
        refused = again.union(many, late)
        if not refused:
            return properties, logs
        for author in many:
            self._refuse(call, author)
        for author in late:
            self._refuse(call, author, "is one more than may write to it", "peer_authors")
        return (
            [e for e in properties if e.author not in refused],
            [e for e in logs if e.author not in refused],
        )

    def _refuse(
        self,
        call: Call,
        author: str,
        why: str = "has written as many entries as it may",
        setting: str = "call_entries",
    ) -> None:
        said = call.refused or frozenset()
        if author in said or len(said) >= max(self.limits.peer_authors, _SAID):
            return
        call.refused = said | {author}
        if len(said) < _SAID:
            log.warning(
                "call %s: %s %s (cds.limits.%s): no more of it are taken",
                call.call_id,
                author,
                why,
                setting,
            )

    def _linger_over(self, call: Call) -> None:
        if self._calls.get(call.call_id) is call:
            self._end(call)

    def _remember(self, call: Call) -> None:
        if self._left is None:
            self._left = _Left()
        self._left.put(call.call_id, call.data.newest, call.base if call.based else 0)

    def _end(self, call: Call) -> None:
        del self._calls[call.call_id]
        call.lingering = 0
        self._remember(call)
        clients: tuple[Client, ...] = self._watchers
        if call.clients:
            clients += tuple(c for c in call.clients if c not in clients)
            call.clients = call.followers = ()
        for client in clients:
            try:
                client.ended(call)
            except Exception:
                log.exception("call %s: a client failed to take the end of call", call.call_id)


class _Left:
    """The newest stamps of the calls that ended here last, and their time bases: should one come
    back, as it went on elsewhere, nothing may be stamped behind what we said of it before, nor by
    another clock.

    Numbers in three arrays of a fixed size, and no objects: thousands of small ones, made while
    many calls were alive, would each hold a piece of the memory that those calls had. Each callID
    has `_WAYS` places, and the newest calls have them.
    """

    def __init__(self) -> None:
        self._keys = array("q", bytes(8 * _WAYS * _SETS))
        self._stamps = array("q", bytes(8 * _WAYS * _SETS))
        self._bases = array("q", bytes(8 * _WAYS * _SETS))

    def put(self, call_id: str, stamp: int, base: int) -> None:
        """A call has ended. ``base`` is 0 if it is not known."""
        key = hash(call_id) or 1
        keys, stamps = self._keys, self._stamps
        at = first = key % _SETS * _WAYS
        for other in range(first, first + _WAYS):
            if keys[other] == key:
                at = other
                break
            if stamps[other] < stamps[at]:
                at = other
        keys[at] = key
        stamps[at] = stamp
        self._bases[at] = base

    def pop(self, call_id: str) -> tuple[int, int]:
        """A call comes back: its newest stamp and its base, 0 if that is not known (any more)."""
        key = hash(call_id) or 1
        first = key % _SETS * _WAYS
        for at in range(first, first + _WAYS):
            if self._keys[at] == key:
                stamp = self._stamps[at]
                self._keys[at] = self._stamps[at] = 0
                return stamp, self._bases[at]
        return 0, 0


_WAYS, _SETS = 4, 2048


class _Lingers:
    """Calls in the order in which their lingering is over: one timer for all of them.

    All linger equally long, so a queue is in order by itself. A call that someone registered for
    again stays in the queue and is passed over when its turn comes.
    """

    def __init__(self, timers: Timers, delay: float, over: _Over) -> None:
        self._timers = timers
        self._delay = delay
        self._delay_us = int(delay * 1_000_000)
        self._over = over
        self._queue: deque[tuple[int, Call]] = deque()
        self._timer: Handle | None = None

    def add(self, call: Call) -> None:
        due = self._timers.monotonic_us() + self._delay_us
        call.lingering = due
        self._queue.append((due, call))
        if self._timer is None:
            self._timer = self._timers.schedule(self._delay, self._fire)

    def clear(self) -> None:
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._timers.monotonic_us()
        queue = self._queue
        while queue:
            due, call = queue[0]
            if call.lingering != due:
                queue.popleft()  # someone came back, or the owner ended it
            elif due <= now:
                queue.popleft()
                self._over(call)
            else:
                # Never sooner than in 10 ms: at many calls a second one turn ends several of them.
                self._timer = self._timers.schedule(max((due - now) / 1e6, 0.01), self._fire)
                return


class _Over(Protocol):
    def __call__(self, call: Call) -> None: ...
