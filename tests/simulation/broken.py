"""Rules broken on purpose: the simulation has to find each of them.

Each is one small change to the real code, of the kind that a hurried hand would make. What was seen
of some before, and what finds it again:

==================================  ============================================================
a call that began at a switch       ``owned-by-each``, ``no-origin``; ``strangers-recorded`` for
without a server has rows at every  calls that are none of their owners'
server, or none at its owner
durations by the wall clock         ``wall-clocks``, ``base-not-told``, ``base-not-kept``; of the
                                    switch's own times tests/calls/test_set_clocks.py
an application erases a call's end  ``applications-fill-calls``, ``applications-crowd-out``
an INVITE that is sent again after  no server sees it: tests/calls/test_invites_again.py
a restart is another call
two rows for minutes, as one left   ``who-left-untold``, ``who-left-unasked``
the call through its caretaker
==================================  ============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from cdsplugin.archive import foreign
from cdsplugin.archive import sqlite as archive
from cdsplugin.archive.journal import Journal
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.recovery import Recovery
from cdsplugin.data import call_data
from cdsplugin.data.call import Call
from cdsplugin.data.clock import Clock
from cdsplugin.data.entries import Log, Property
from cdsplugin.data.frames import Update
from cdsplugin.data.store import Store
from cdsplugin.proxy import registration
from cdsplugin.proxy.joined import Joined, Stage
from cdsplugin.proxy.network_proxy import NetworkProxy
from cdsplugin.proxy.participants import RegistrationMonitor
from cdsplugin.proxy.registration import Registrations
from cdsplugin.tms import passages
from cdsplugin.tms.passages import SwitchCall
from cdsplugin.tms.tms import SwitchModule
from softswitch.calls import callid
from softswitch.calls.callid import CarriedCallID

Broken = Callable[[], AbstractContextManager[Any]]


def _last_writer_wins() -> AbstractContextManager[Any]:
    """Merging: what comes last replaces what is there, whatever the stamps say."""

    def supersedes(new: Property, old: Property) -> bool:
        return new != old

    return patch.object(call_data, "supersedes", supersedes)


def _author_disregarded() -> AbstractContextManager[Any]:
    """Merging: of two values with the same stamp, the one that is there stays."""

    def supersedes(new: Property, old: Property) -> bool:
        return new.stamp > old.stamp

    # Equal stamps are rare with a clock of microseconds: this one ticks once in five seconds.
    def stamp(self: Clock, base: int, newest: int) -> int:
        return max(((self.monotonic_us() + base) // 5_000_000 + 1) * 5_000_000, newest + 1)

    return _both(
        patch.object(call_data, "supersedes", supersedes), patch.object(Clock, "stamp", stamp)
    )


def _local_clock() -> AbstractContextManager[Any]:
    """Stamps from the local clock, and never mind what was seen."""

    def stamp(self: Clock, base: int, newest: int) -> int:
        return self._now_us()

    return patch.object(Clock, "stamp", stamp)


def _back_to_author() -> AbstractContextManager[Any]:
    """The owner sends each update to every participant, its author included."""

    def take(
        self: NetworkProxy,
        server: str,
        call_id: str,
        properties: list[Property],
        logs: list[Log],
        *_: Any,
        **__: Any,
    ) -> None:
        changed, added = self._store.update(self, call_id, properties, logs)
        participants = self.monitor.of(call_id)
        if (changed or added) and participants is not None:
            for other in participants.present:
                self._peers.send(other, Update(call_id, changed, added))

    return patch.object(NetworkProxy, "take", take)


def _not_forwarded() -> AbstractContextManager[Any]:
    """The owner keeps participants' updates to itself."""

    def take(
        self: NetworkProxy,
        server: str,
        call_id: str,
        properties: list[Property],
        logs: list[Log],
        *_: Any,
        **__: Any,
    ) -> None:
        self._store.update(self, call_id, properties, logs)

    return patch.object(NetworkProxy, "take", take)


def _no_linger() -> AbstractContextManager[Any]:
    """The owner ends the call as soon as the last one has left."""
    unregister = Store.unregister

    def at_once(self: Store, client: Any, call_id: str) -> None:
        unregister(self, client, call_id)
        call = self.get(call_id)
        if call is not None and not call.clients and call.owner == self.server:
            self.end(call_id)

    return patch.object(Store, "unregister", at_once)


def _not_again() -> AbstractContextManager[Any]:
    """After a reconnect live calls are not registered again."""
    present = Registrations._present

    def only_new(self: Registrations, server: str, call: Call, joined: Joined) -> None:
        if joined.known and joined.stage is Stage.WAITING and server == call.owner:
            joined.stage = Stage.LIVE
        else:
            present(self, server, call, joined)

    return patch.object(Registrations, "_present", only_new)


def _not_handed_back() -> AbstractContextManager[Any]:
    """A caretaker goes on when the owner is back."""
    present = Registrations._present

    def keeps(self: Registrations, server: str, call: Call, joined: Joined) -> None:
        if joined.stage is not Stage.CARETAKER:
            present(self, server, call, joined)

    return patch.object(Registrations, "_present", keeps)


def _too_early() -> AbstractContextManager[Any]:
    """What waits for the disk does not wait."""

    def at_once(self: Journal, then: Callable[[], None], must: bool = False) -> None:
        then()

    return patch.object(Journal, "after_commit", at_once)


def _insert() -> AbstractContextManager[Any]:
    """The archive inserts rows, and the first one stays."""
    statements = tuple(
        s.partition(" ON CONFLICT")[0] + " ON CONFLICT DO NOTHING" if "INSERT" in s else s
        for s in archive._STATEMENTS
    )
    return patch.object(archive, "_STATEMENTS", statements)


def _not_marked_final() -> AbstractContextManager[Any]:
    """What comes after the hangup does not reach the record."""

    def updated(
        self: Recorder, call: Call, properties: Sequence[Property], logs: Sequence[Log]
    ) -> None:
        if call.call_id not in self._written:
            real(self, call, properties, logs)

    real = Recorder.updated
    return patch.object(Recorder, "updated", updated)


def _expired_forgotten() -> AbstractContextManager[Any]:
    """A server that does not come back in time stays on the list."""
    return patch.object(RegistrationMonitor, "_expire", lambda self, server: None)


def _who_left_untold() -> AbstractContextManager[Any]:
    """The owner waits for those who have left the call by way of its caretaker."""
    return patch.object(NetworkProxy, "_drop", lambda self, call, names: None)


def _who_left_unasked() -> AbstractContextManager[Any]:
    """It does, and does not ask them either when they are back."""

    def on_listing(self: Registrations, server: str, call_id: str, names: Sequence[str]) -> None:
        self.listed(call_id, names)

    return _both(_who_left_untold(), patch.object(Registrations, "on_listing", on_listing))


def _followers_hold() -> AbstractContextManager[Any]:
    """Who follows a call holds it."""
    register = Store.register

    def holds(self: Store, client: Any, call_id: str, owner: str, holds: bool = True) -> Call:
        return register(self, client, call_id, owner)

    return patch.object(Store, "register", holds)


def _followers_elsewhere_hold() -> AbstractContextManager[Any]:
    """Who follows a call at another server holds it."""
    add = RegistrationMonitor.add

    def holds(self: RegistrationMonitor, call_id: str, server: str, follows: bool = False) -> Any:
        return add(self, call_id, server)

    return patch.object(RegistrationMonitor, "add", holds)


def _strangers_recorded() -> AbstractContextManager[Any]:
    """Whatever names this server as its owner gets a record here."""
    return patch.object(Recorder, "_judge", lambda self, call: None)


def _late_parts_disowned() -> AbstractContextManager[Any]:
    """What comes late to a call that is over is taken for another call's."""
    return patch.object(foreign, "took_part", lambda data, before: False)


def _disowned_and_forgotten() -> AbstractContextManager[Any]:
    """Nobody records a call that is none of its owner's."""

    return patch.object(Recorder, "_apart", lambda self, call: None)


def _settled_too_early() -> AbstractContextManager[Any]:
    """Who has left a call forgets it, though its owner has not heard of it from its own switch."""
    return patch.object(NetworkProxy, "_may_disown", lambda self, call: False)


def _wall_clocks() -> AbstractContextManager[Any]:
    """How far the owner's time is ahead is looked up anew for each event, by the wall clock."""

    def ahead(self: SwitchModule, call_id: str, call: SwitchCall) -> int:
        return self._clock.time_base(call.owner) - self._clock.own()

    return patch.object(SwitchModule, "_ahead", ahead)


def _base_not_told() -> AbstractContextManager[Any]:
    """Who joins a call takes the owner's clock as it is, not as it was when the call began."""

    def rebase(self: Store, call: Call, base: int) -> None:
        call.based = True

    return patch.object(Store, "rebase", rebase)


def _base_not_kept() -> AbstractContextManager[Any]:
    """After a restart calls go on by the wall clock."""
    return patch.object(Recovery, "_goes_on", lambda self, found: False)


def _owned_by_each() -> AbstractContextManager[Any]:
    """A call that carries no owner gets none: every server on its way takes it for its own."""

    def take_up(carried: CarriedCallID, server: str) -> tuple[CarriedCallID, bool]:
        return carried, False

    return patch.object(callid, "take_up", take_up)


def _no_origin() -> AbstractContextManager[Any]:
    """The first server on the way of such a call owns it, and its switch does not tell of it as a
    whole: it is taken for a stranger's."""
    real = callid.take_up

    def take_up(carried: CarriedCallID, server: str) -> tuple[CarriedCallID, bool]:
        return real(carried, server)[0], False

    return patch.object(callid, "take_up", take_up)


def _applications_fill_calls() -> AbstractContextManager[Any]:
    """What applications write counts against what switches say, the end of the call among it."""

    def full(self: Store, call: Call, author: str, *_: Any) -> bool:
        self._refuse(call, author)
        return True

    return patch.object(Store, "_full", full)


def _applications_crowd_out() -> AbstractContextManager[Any]:
    """So do the applications that write to a call at other servers: it has no place for the word of
    another one's switch."""
    real = Store._within_limits

    def within(self: Store, call: Call, properties: Any, logs: Any) -> Any:
        known = call.data.counts()
        if len(known) >= self.limits.peer_authors:
            properties = [e for e in properties if e.author in known]
        return real(self, call, properties, logs)

    return patch.object(Store, "_within_limits", within)


def _refused_untold() -> AbstractContextManager[Any]:
    """Who wrote too much is given no word of it, and keeps a record for it."""
    real = registration._complete
    return patch.object(registration, "_complete", lambda data, theirs, _: real(data, theirs, ()))


@contextmanager
def _both(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    first, second = patches
    with first, second:
        yield


def _talks_as_known_here() -> AbstractContextManager[Any]:
    """The talks of a record are those of whoever wrote it last, whatever the database has."""

    def put(self: archive.Archive, *, composed: str | None = None, **rows: Any) -> None:
        real(self, **rows)

    real = archive.Archive.put
    return patch.object(archive.Archive, "put", put)


def _ends_of_talks_forgotten() -> AbstractContextManager[Any]:
    """After a restart it is not known any more which talk an ordinary call's legs told."""
    return patch.object(passages, "_plain", lambda call: None)


RULES: Mapping[str, Broken] = {
    "last-writer-wins": _last_writer_wins,
    "author-disregarded": _author_disregarded,
    "local-clock": _local_clock,
    "back-to-author": _back_to_author,
    "not-forwarded": _not_forwarded,
    "no-linger": _no_linger,
    "not-again": _not_again,
    "not-handed-back": _not_handed_back,
    "too-early": _too_early,
    "insert": _insert,
    "late-words-lost": _not_marked_final,
    "expired-forgotten": _expired_forgotten,
    "strangers-recorded": _strangers_recorded,
    "late-parts-disowned": _late_parts_disowned,
    "disowned-and-forgotten": _disowned_and_forgotten,
    "settled-too-early": _settled_too_early,
    "who-left-untold": _who_left_untold,
    "who-left-unasked": _who_left_unasked,
    "followers-hold": _followers_hold,
    "followers-elsewhere-hold": _followers_elsewhere_hold,
    "wall-clocks": _wall_clocks,
    "base-not-told": _base_not_told,
    "base-not-kept": _base_not_kept,
    "owned-by-each": _owned_by_each,
    "no-origin": _no_origin,
    "applications-fill-calls": _applications_fill_calls,
    "applications-crowd-out": _applications_crowd_out,
    "refused-untold": _refused_untold,
    "talks-as-known-here": _talks_as_known_here,
    "ends-of-talks-forgotten": _ends_of_talks_forgotten,
}


def broken(rule: str | None) -> AbstractContextManager[Any]:
    """While this lasts the rule does not hold; with None all do."""
    return nullcontext() if rule is None else RULES[rule]()
