"""Rules broken on purpose: the simulation has to find each of them.

Each is one small change to the real code, of the kind that a hurried hand would make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from cdsplugin import entries, schema
from cdsplugin.clock import Clock
from cdsplugin.entries import Log, Property
from cdsplugin.frames import Update
from cdsplugin.participants import RegistrationMonitor
from cdsplugin.proxy import NetworkProxy, Stage
from cdsplugin.record import Recorder
from cdsplugin.store import Call, Store

Broken = Callable[[], AbstractContextManager[Any]]


def _last_writer_wins() -> AbstractContextManager[Any]:
    """Merging: what comes last replaces what is there, whatever the stamps say."""

    def supersedes(new: Property, old: Property) -> bool:
        return new != old

    return patch.object(entries, "supersedes", supersedes)


def _author_disregarded() -> AbstractContextManager[Any]:
    """Merging: of two values with the same stamp, the one that is there stays."""

    def supersedes(new: Property, old: Property) -> bool:
        return new.stamp > old.stamp

    # Equal stamps are rare with a clock of microseconds: this one has milliseconds.
    def stamp(self: Clock, owner: str, newest: int) -> int:
        return max((self.now(owner) // 1000 + 1) * 1000, newest + 1)

    return _both(
        patch.object(entries, "supersedes", supersedes), patch.object(Clock, "stamp", stamp)
    )


def _local_clock() -> AbstractContextManager[Any]:
    """Stamps from the local clock, and never mind what was seen."""

    def stamp(self: Clock, owner: str, newest: int) -> int:
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
                self._send(other, Update(call_id, changed, added))

    return patch.object(NetworkProxy, "_take", take)


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

    return patch.object(NetworkProxy, "_take", take)


def _no_linger() -> AbstractContextManager[Any]:
    """The owner ends the call as soon as the last one has left, and takes no late words."""
    unregister = Store.unregister

    def at_once(self: Store, client: Any, call_id: str) -> None:
        unregister(self, client, call_id)
        call = self.get(call_id)
        if call is not None and not call.clients and call.owner == self.server:
            self.end(call_id)

    def refused(self: NetworkProxy, server: str, frame: Any) -> None:
        if self._store.get(frame.call_id) is not None:
            on_register(self, server, frame)

    on_register = NetworkProxy._on_register
    return _both(
        patch.object(Store, "unregister", at_once),
        patch.object(NetworkProxy, "_on_register", refused),
    )


def _not_again() -> AbstractContextManager[Any]:
    """After a reconnect live calls are not registered again."""

    def nothing(self: NetworkProxy, server: str, call_ids: list[str], *_: Any) -> None:
        for call_id in call_ids:
            self._joined[call_id].stage = Stage.LIVE

    again = NetworkProxy._register_some

    def only_new(self: NetworkProxy, server: str, call_ids: list[str], *rest: Any) -> None:
        again(self, server, [c for c in call_ids if not self._joined[c].known], *rest)
        nothing(self, server, [c for c in call_ids if self._joined[c].known])

    return patch.object(NetworkProxy, "_register_some", only_new)


def _insert() -> AbstractContextManager[Any]:
    """The archive inserts rows, and the first one stays."""
    insert = schema._insert("cdrs", schema.CDR_COLUMNS) + " ON CONFLICT DO NOTHING"
    from cdsplugin import archive

    statements = (insert, *archive._STATEMENTS[1:])
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


@contextmanager
def _both(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    first, second = patches
    with first, second:
        yield


RULES: Mapping[str, Broken] = {
    "last-writer-wins": _last_writer_wins,
    "author-disregarded": _author_disregarded,
    "local-clock": _local_clock,
    "back-to-author": _back_to_author,
    "not-forwarded": _not_forwarded,
    "no-linger": _no_linger,
    "not-again": _not_again,
    "insert": _insert,
    "late-words-lost": _not_marked_final,
    "expired-forgotten": _expired_forgotten,
}


def broken(rule: str | None) -> AbstractContextManager[Any]:
    """While this lasts the rule does not hold; with None all do."""
    return nullcontext() if rule is None else RULES[rule]()
