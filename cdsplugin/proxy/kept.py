"""Calls that are over here, but not for their owners: kept until those have all of them."""

from __future__ import annotations

import logging

from cdsplugin.data import Call, Store
from cdsplugin.proxy.joined import Joined, JoinedCalls
from cdsplugin.proxy.peers import Journal

log = logging.getLogger("cdsplugin.proxy")


class KeptCalls:
    """``limit`` of them at most; of more, the oldest is let go."""

    def __init__(self, store: Store, calls: JoinedCalls, journal: Journal, limit: int) -> None:
        self._store = store
        self._calls = calls
        self._journal = journal
        self._limit = limit
        self._full_said = False
        self.dropped = 0
        """Those that were let go: their records stay here."""

    def keep(self, call: Call, joined: Joined) -> None:
        """A call ended here while its owner lacks something of it."""
        call.kept = True
        kept = self._store.kept
        if len(kept) >= self._limit:
            self.dropped += 1
            if not self._full_said:
                self._full_said = True
                log.error(
                    "%d calls wait for their owners (cds.limits.kept_calls): the oldest are not"
                    " handed over any more, their records stay here (said once)",
                    len(kept),
                )
            self.drop(next(iter(kept.values())))
        kept[call.call_id] = call
        self._calls.note(call, joined)

    def revive(self, call: Call) -> Call | None:
        """A call goes on that had ended here: what it was then, if that was kept."""
        old = self._store.kept.pop(call.call_id, None)
        if old is None or old is call:
            return None
        call.kept = True
        call.settled = False
        call.head = old.head
        return old

    def drop(self, call: Call) -> None:
        """It need not be kept any more."""
        self._store.let_go(call)
        self._journal.released(call.call_id)
        self._calls.forget(call)
