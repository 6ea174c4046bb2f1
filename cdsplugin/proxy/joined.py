"""Calls of other servers in which this one takes part, and how far each registration is."""

from __future__ import annotations

import enum
from collections.abc import Callable

from cdsplugin.data import Call, Standing, Store, Timers, give_back
from cdsplugin.proxy.peers import Journal, Peers


class Stage(enum.Enum):
    """How far our registration with a call's head is."""

    WAITING = "waiting for a connection to the owner"
    FIRST = "registered for the first time, no answer yet"
    RENEWING = "registering again, no answer yet"
    LIVE = "registered"
    LEAVING = "unregistering"
    LEFT = "handed over, waiting for the record of it"
    CARETAKER = "taking care of it while its owner is dead"
    UNSHARED = "the owner cannot be reached by configuration, or refused"


_ASKING = (Stage.FIRST, Stage.RENEWING, Stage.LIVE)
WITH_HEAD = (*_ASKING, Stage.LEAVING, Stage.LEFT)
_UNLED = (Stage.CARETAKER, Stage.UNSHARED)


class Joined:
    """A call of another server in which we take part.

    ``known``: we were registered before; ``sent``: perhaps, as the owner was asked. ``unseen``:
    entries newer than that were written while nothing was known of the owner's clock, and nobody
    else has seen them (the journal says so too).
    ``revealing``: that is about to change. ``whole``: how new our own entries were at a restart,
    before the owner answers: what was shared while the disk refused, others have and we have lost.
    ``before``: see ``Register``. ``listed``: its participants, as last told. ``tried``: who of them
    refused. ``left``: who has left the call here, and its owner does not know that yet; ``told``:
    who of them the last registration spoke of; ``follows``: whether it said that nobody here holds
    the call. ``behind``: by way of whom we took part, and the head does not know that.
    """

    __slots__ = (
        "before", "behind", "follows", "head", "known", "leaving", "left", "listed", "revealing",
        "sent", "stage", "told", "tried", "unseen", "whole",
    )  # fmt: skip

    def __init__(self, head: str, known: bool) -> None:
        self.stage = Stage.WAITING
        self.head = head
        self.known = known
        self.sent = False
        self.before = 0
        self.behind: tuple[str, ...] = ()
        self.unseen: int | None = None
        self.revealing = False
        self.whole: dict[str, int] | None = None
        self.listed: tuple[str, ...] = ()
        self.tried: frozenset[str] = frozenset()
        self.leaving = 0
        self.left: tuple[str, ...] = ()
        self.told: tuple[str, ...] = ()
        self.follows = False

    def untold(self) -> tuple[str, ...]:
        """Who has left, and the head has not been told."""
        return tuple(name for name in self.left if name not in self.told)


class JoinedCalls:
    """All of them, also those that are over here, but not for their owner (``Store.kept``).

    ``batch``: so many are dealt with in one turn.
    """

    def __init__(
        self, store: Store, timers: Timers, peers: Peers, journal: Journal, batch: int
    ) -> None:
        self.server = store.server
        self.joined: dict[str, Joined] = {}
        self._store = store
        self._timers = timers
        self._peers = peers
        self._journal = journal
        self._batch = batch
        self._back: dict[str, tuple[Standing, int | None, dict[str, int]]] = {}
        """From before a restart, of calls that nobody spoke of yet: their standing, and what is
        ``unseen`` and ``whole``."""

    def call(self, call_id: str) -> Call | None:
        """It, if it is alive or kept."""
        return self._store.get(call_id) or self._store.kept.get(call_id)

    def is_kept(self, call: Call) -> bool:
        """Whether it is over here, and waits for its owner."""
        return self._store.kept.get(call.call_id) is call

    def was(
        self, call_id: str, standing: Standing, unseen: int | None, whole: dict[str, int]
    ) -> None:
        """What is known of a call from before a restart."""
        self._back[call_id] = standing, unseen, whole

    def was_over(self, call_id: str) -> None:
        """What is known of a call from before a restart is not needed any more."""
        self._back.pop(call_id, None)

    def add(self, call: Call, joined: Joined) -> Joined:
        """We take part in this call from now on."""
        self.joined[call.call_id] = joined
        call.head = joined.head
        if self._back:
            back = self._back.pop(call.call_id, None)
            if back is not None:
                standing, joined.unseen, joined.whole = back
                joined.listed = tuple(standing.listed)
                joined.left = tuple(standing.left)
        if self._peers.network.knows(call.owner) or joined.known:
            self._peers.of(call.owner).joined[call.call_id] = None
        return joined

    def forget(self, call: Call) -> None:
        """We take no part any more in this call of another server."""
        joined = self.joined.pop(call.call_id, None)
        if joined is None:
            return
        for server in {call.owner, joined.head} - {self.server}:
            peer = self._peers.get(server)
            if peer is not None:
                peer.joined.pop(call.call_id, None)
                peer.headed.pop(call.call_id, None)
                self._peers.idle(server)
        if len(joined.listed) > 1:
            for name in joined.listed:
                self.prefer_no_more(name, call.call_id)

    def prefer_no_more(self, name: str, call_id: str) -> None:
        """A server that could not be reached need not be the call's head when it is back."""
        peer = self._peers.get(name)
        if peer is not None and call_id in peer.preferred:
            peer.preferred.pop(call_id, None)
            self._peers.idle(name)

    def set_head(self, call: Call, joined: Joined, head: str) -> None:
        """The call's head is another server."""
        before = joined.head
        if before not in (head, call.owner, self.server):
            joined.behind = tuple(dict.fromkeys((*joined.behind, before)))
            self._peers.of(before).headed.pop(call.call_id, None)
            self._peers.idle(before)
        joined.head = call.head = head
        if head not in (call.owner, self.server):
            peer = self._peers.of(head)
            peer.headed[call.call_id] = None
            peer.preferred.pop(call.call_id, None)

    def lead(self, call: Call, joined: Joined) -> None:
        """Another server will say when the call is over, or none will (any more)."""
        call.led = joined.stage not in _UNLED
        if call.led and call.clients:
            call.lingering = 0
        elif self._store.get(call.call_id) is call:
            self._store.linger(call)

    def note(self, call: Call, joined: Joined) -> None:
        """What is to be known of a call after a crash."""
        kept = self.is_kept(call)
        standing = Standing(
            listed=list(joined.listed),
            kept=kept,
            revived=call.kept and not kept,
            learnt=call.learnt,
            unseen=None if joined.revealing else joined.unseen,
            left=list(joined.left),
            claimed=call.claimed,
        )
        self._journal.shared(call.call_id, call.owner, (), (), standing)

    def some(self, call_ids: list[str], do: Callable[[Call, Joined], None]) -> None:
        """Do something for many calls, so many at a time that other work gets its turn."""
        now, later = call_ids[: self._batch], call_ids[self._batch :]
        for call_id in now:
            call = self.call(call_id)
            joined = self.joined.get(call_id)
            if call is not None and joined is not None:
                do(call, joined)
        if later:
            self._timers.schedule(0.01, lambda: self.some(later, do))

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self.joined, self._back)
