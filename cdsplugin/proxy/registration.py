"""Our part in the calls of other servers: registration with each call's head, and who that is.

The source: "The local CDS instance registers with the owning CDS on behalf of local participants."
The **head** of a call is its owner. While the owner is dead it is the caretaker: the first living
name of the list of participants that the owner gave us, in the order of the list; that may be this
server. When the owner is back every call is registered with it again, and the copies merge. Should
two servers take care of one call (on two sides of a partition), that does no harm for the same
reason.

A call that ends here while its owner does not have all of it is **kept** (``kept``) until it has.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from cdsplugin.data import (
    Call,
    CallData,
    Clock,
    EndOfCall,
    Log,
    Property,
    Refused,
    Register,
    Registered,
    Standing,
    Store,
    Timers,
    Unregister,
    Unregistered,
    Update,
)
from cdsplugin.proxy.heads import Heads
from cdsplugin.proxy.joined import WITH_HEAD, Joined, JoinedCalls, Stage
from cdsplugin.proxy.kept import KeptCalls
from cdsplugin.proxy.peers import Journal, Peer, Peers

log = logging.getLogger("cdsplugin.proxy")


_HANDED = 3
"""So often an owner is given everything that ends a call without it. What it then still lacks it
does not take: it is stamped too far in the future."""


def _complete(data: CallData, theirs: set[tuple[int, str]], refused: Sequence[str]) -> bool:
    """Whether the head has all of this, but what it does not take."""
    keys = [(e.stamp, e.author) for e in data.properties.values()] + [*(data.logs or ())]
    return all(key in theirs or key[1] in refused for key in keys)


def _written_since(stamp: int, server: str, entry: Property | Log) -> bool:
    return entry.stamp >= stamp and entry.author.partition("/")[0] == server


class Side(Protocol):
    """The other side of the proxy: of those that are registered here."""

    def take(
        self, server: str, call_id: str, properties: Sequence[Property], logs: Sequence[Log]
    ) -> None:
        """Entries from ``server``: into the local store, and what was new on to all others."""

    def send_away(self, call: Call, instead: str) -> None:
        """Those registered here for ``call`` shall register with ``instead``."""

    def ask_time(self, server: str) -> None:
        """``server`` shall say at once what time it is there."""

    def disowned(self, call: Call) -> None:
        """The owner of a call has none such: what was written here in its place is recorded
        apart."""

    def handed_over(self, call: Call) -> None:
        """The head of a call has written its record: the one that was written here has to go."""


class Registrations:
    """See the module. The proxy tells what happens; ``Side`` is what it is asked for."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timers: Timers,
        peers: Peers,
        journal: Journal,
        side: Side,
        *,
        batch: int,
        caretaker_within: float,
        kept_calls: int,
        listed: int,
    ) -> None:
        self.server = store.server
        self._calls = JoinedCalls(store, timers, peers, journal, batch)
        self.kept = KeptCalls(store, self._calls, journal, kept_calls)
        self._heads = Heads(self._calls, timers, peers, self._register, caretaker_within)
        self.joined = self._calls.joined
        self._store = store
        self._clock = clock
        self._timers = timers
        self._peers = peers
        self._journal = journal
        self._side = side
        self._listed = listed
        self._unknown_owners: set[str] = set()
        self._leavings = 0

    # The store says

    def came(self, call: Call) -> None:
        """Somebody here takes part in a call of another server: register on its behalf."""
        self._revive(call)
        call.handed = 0
        joined = self.joined.get(call.call_id)
        if joined is not None:
            # It comes back while we are leaving: the head takes both in their order.
            self._calls.lead(call, joined)
            if joined.stage in (Stage.LEAVING, Stage.LEFT):
                self._register(call, joined)
            elif joined.stage is Stage.WAITING:
                self._unbased(call, joined)
                if joined.head == call.owner:
                    self._reach_owner(call, joined)  # of a call that had ended here, perhaps
            else:
                self._tell_holds(call, joined)
            return
        joined = self._calls.add(call, Joined(call.owner, call.settled))
        if not len(call.data):
            joined.before = call.data.newest
        self._unbased(call, joined)
        self._reach_owner(call, joined)

    def _reach_owner(self, call: Call, joined: Joined) -> None:
        """Register as soon as possible."""
        if not self._peers.network.knows(call.owner):
            joined.stage = Stage.UNSHARED
            self._calls.lead(call, joined)
            self._say_unknown(call)
            return
        self._calls.lead(call, joined)
        peer = self._peers.of(call.owner)
        self._peers.health.watch(call.owner)
        if not peer.connected:
            self._peers.network.want(call.owner, True)
            if self._peers.health.is_down(call.owner):
                self._heads.seek(call, joined)
        elif peer.basing is None:
            if self._clock.base(call.owner) is not None:
                self._register(call, joined)
            else:
                # It has opened the connection, for calls of its own interest.
                self._await_base(call.owner, peer)
                self._side.ask_time(call.owner)

    def _unbased(self, call: Call, joined: Joined) -> None:
        """What is written from here on is stamped by our own clock, if the owner's is not known."""
        if joined.unseen is None and not call.based and self._clock.base(call.owner) is None:
            joined.unseen = call.data.newest
            self._calls.note(call, joined)

    def changed(
        self, call: Call, properties: Sequence[Property], logs: Sequence[Log], author: str = ""
    ) -> None:
        """Entries changed here, or those registered here (``author``) changed some: on to the
        head."""
        joined = self.joined.get(call.call_id)
        if joined is None:
            if not author:
                # A word after the last participant here has left.
                self._again(call)
        elif joined.stage in (Stage.FIRST, Stage.LIVE):
            if joined.head != author:
                self._peers.send(joined.head, Update(call.call_id, list(properties), list(logs)))
        elif joined.stage in (Stage.LEAVING, Stage.LEFT) and joined.head != author:
            self._register(call, joined)

    def _again(self, call: Call) -> None:
        """Register once more for a call that we have left: something of it is to be said yet."""
        call.settled = False
        self._journal.left(call.call_id, False)
        self.came(call)

    def left(self, call: Call) -> None:
        """Somebody here takes part no more, or only follows from now on. If nobody is left:
        unregister with the head."""
        joined = self.joined.get(call.call_id)
        # In the other stages the answer to the registration has to come first; see on_registered.
        if joined is None or joined.stage is not Stage.LIVE:
            return
        if call.clients:
            self._tell_holds(call, joined)
        else:
            self._leave(call, joined)

    def _tell_holds(self, call: Call, joined: Joined) -> None:
        """The head need not go on with a call for those who only follow it."""
        if joined.stage is Stage.LIVE and joined.follows != call.only_followed:
            self._register(call, joined)

    def over(self, call: Call, present: Sequence[str] = ()) -> None:
        """The call ended here, also for those who were ``present``. What its owner lacks of it is
        kept."""
        joined = self.joined.get(call.call_id)
        self._calls.was_over(call.call_id)
        if call.settled or not len(call.data):
            self._calls.forget(call)
            if call.kept:
                self._side.handed_over(call)
            return
        if joined is None:
            return
        if joined.stage is Stage.UNSHARED and not (
            joined.known or joined.sent or self._peers.network.knows(call.owner)
        ):
            self._calls.forget(call)
            return
        joined.left = tuple(dict.fromkeys((*joined.left, *present)))
        self._keep(call, joined)

    # The network says

    def connected(self, server: str) -> None:
        """Register for everything of which ``server`` is the head, or would be."""
        peer = self._peers.of(server)
        peer.reachable = True
        if peer.trying is not None:
            peer.trying.cancel()
            peer.trying = None
        joined = list(peer.joined)
        if joined and self._clock.base(server) is None:
            self._await_base(server, peer)
            calls = map(self._calls.call, joined)
            joined = [call.call_id for call in calls if call is not None and call.based]
        self._with(server, [*joined, *peer.headed, *peer.preferred])

    def _await_base(self, server: str, peer: Peer) -> None:
        """Entries of new calls carry our own clock's stamps. They are put right before anybody sees
        them: ``based``, when the answer to our ``Alive`` is here. However long that takes: they may
        be behind what we have shown before a crash."""
        if peer.basing is None:
            self._peers.health.watch(server)
            peer.basing = self._timers.schedule(1.0, lambda: self._unanswered(server, peer))

    def _unanswered(self, server: str, peer: Peer) -> None:
        """Ask again: should it be silent for good, ``health`` closes the connection."""
        if peer.joined and self._clock.base(server) is None:
            peer.basing = None
            self._await_base(server, peer)
            self._side.ask_time(server)
        else:
            self.based(server)

    def based(self, server: str) -> None:
        """The clock of ``server`` is known."""
        peer = self._peers.of(server)
        if peer.basing is None:
            return
        peer.basing.cancel()
        peer.basing = None
        self._with(server, [*peer.joined, *peer.headed, *peer.preferred])

    def disconnected(self, server: str) -> None:
        """Live calls are registered again when ``server`` is back, or when another took its
        place."""
        peer = self._peers.of(server)
        if peer.basing is not None:
            peer.basing.cancel()
            peer.basing = None
        for call_id in (*peer.joined, *peer.headed):
            joined = self.joined.get(call_id)
            if joined is not None and joined.head == server and joined.stage in WITH_HEAD:
                joined.stage = Stage.WAITING
        if peer.joined or peer.headed or peer.preferred:
            self._peers.network.want(server, True)
        if peer.headed:
            self._heads.reach(server)
        if self._peers.health.is_down(server):
            self.down(server)

    def down(self, server: str) -> None:
        """``server`` was silent for ``dead_after``: whoever it was the head for seeks another."""
        peer = self._peers.of(server)
        if peer.headed:
            peer.reachable = False
        self._heads.seek_instead(server, [*peer.joined, *peer.headed])

    def on_registered(self, server: str, frame: Registered) -> None:
        """The head's answer to a registration."""
        call = self._calls.call(frame.call_id)
        joined = self.joined.get(frame.call_id)
        if call is not None and call.owner == server:
            self._clock.sample(server, frame.utc, self._timers.monotonic_us() - frame.echo)
        if call is None or joined is None or joined.head != server:
            self._peers.send(server, Unregister(frame.call_id))
            return
        renewed = joined.stage is Stage.RENEWING
        if not renewed and joined.stage is not Stage.FIRST:
            return
        anew: list[Property] = []
        if server == call.owner and not call.based:
            anew = self._store.rebase(call, self._clock.time_base(server) + frame.ahead)
        joined.known = True
        joined.stage = Stage.LIVE
        joined.behind = ()
        if server == call.owner:
            joined.whole = None
        joined.tried = frozenset()
        self.listed(frame.call_id, frame.participants)
        untold = joined.untold()
        if server == call.owner and joined.left != untold:
            joined.left = untold
            self._calls.note(call, joined)
        self._take(server, call, frame.properties, frame.logs)
        self._journal.based(call)
        if renewed:
            # After taking its entries: what they have replaced here it need not hear of again.
            # Where we had nothing, it has said what it has by sending it.
            have = frame.have or CallData(frame.properties, frame.logs).have()
            properties, logs = call.data.newer(have)
            # Its own that it asks for may be among those it sends: see ``store.Back``.
            theirs = {(e.stamp, e.author) for e in frame.properties}
            theirs.update((e.stamp, e.author) for e in frame.logs)
            properties = [e for e in properties if (e.stamp, e.author) not in theirs]
            logs = [e for e in logs if (e.stamp, e.author) not in theirs]
            if frame.since:
                properties = [e for e in properties if not _written_since(frame.since, server, e)]
                logs = [e for e in logs if not _written_since(frame.since, server, e)]
            if properties or logs:
                self._peers.send(server, Update(frame.call_id, properties, logs))
        if anew:
            self._journal.restamped(call)
            self._peers.send(server, Update(frame.call_id, anew, []))
        if server != call.owner:
            self._side.send_away(call, server)
        if untold:
            self._register(call, joined)
        elif call.clients:
            self._tell_holds(call, joined)
        else:
            self._leave(call, joined)

    def on_unregistered(self, server: str, frame: Unregistered) -> None:
        """The head has everything on its disk."""
        call = self._calls.call(frame.call_id)
        joined = self.joined.get(frame.call_id)
        if (
            call is None
            or joined is None
            or joined.stage is not Stage.LEAVING
            or joined.head != server
            or frame.number not in (0, joined.leaving)
        ):
            return
        if self._calls.is_kept(call) or frame.apart:
            joined.stage = Stage.LEFT
            return
        call.settled = True
        self._journal.left(call.call_id)
        self._calls.forget(call)

    def on_refused(self, server: str, frame: Refused) -> None:
        """The head did not accept, or accepts no more."""
        call = self._calls.call(frame.call_id)
        joined = self.joined.get(frame.call_id)
        if call is None or joined is None or joined.head != server:
            return
        if joined.stage not in WITH_HEAD:
            return
        if server == call.owner:
            log.warning("call %s goes on unshared: %s said: %s", call.call_id, server, frame.reason)
            joined.stage = Stage.UNSHARED
            self._calls.lead(call, joined)
            return
        joined.tried |= {server}
        instead = frame.instead
        if (
            instead not in ("", self.server, call.owner)
            and instead not in joined.tried
            and self._peers.network.knows(instead)
        ):
            self._heads.ask(call, joined, instead)
        else:
            self._heads.seek(call, joined)

    def on_end_of_call(self, server: str, frame: EndOfCall) -> None:
        """The head ended the call and has written its record."""
        call = self._calls.call(frame.call_id)
        if call is None or server not in (call.owner, call.head):
            return
        joined = self.joined.get(frame.call_id)
        if joined is not None and self._hides(call, joined):
            # Stamps of two clocks are not to be merged. It lacks these, so we register in any case.
            peer = self._peers.of(server)
            if server == call.owner and peer.connected and peer.basing is None:
                peer.joined[call.call_id] = None
                self._await_base(server, peer)
                self._side.ask_time(server)
            return
        self._take(server, call, frame.properties, frame.logs)
        theirs = {(e.stamp, e.author) for e in frame.properties}
        theirs.update((e.stamp, e.author) for e in frame.logs)
        complete = _complete(call.data, theirs, frame.refused)
        kept = self._calls.is_kept(call)
        if frame.foreign and not call.held:
            self._disowned(call, frame.foreign, kept)
        elif complete and kept:
            self._release(call)
        elif complete or not (kept or joined is None or self._unheard(server, call, joined)):
            call.settled = complete
            self._store.end(frame.call_id)
        elif joined is not None and (
            joined.stage is Stage.FIRST or (joined.stage is Stage.RENEWING and not joined.follows)
        ):
            pass  # it is being given everything
        elif call.handed < _HANDED:
            # What we left with another head, this one lacks; or it has lost it in a crash. Which
            # entries these are ``have`` need not tell: the head may have lost some of an author's
            # and have later ones. So it is given everything.
            handed = call.handed
            if joined is None:
                call.lingering = 0  # until its owner ends it once more
                self._again(call)
                self._store.linger(call)
            else:
                joined.known = False
                joined.before = 0
                self._register(call, joined)
            call.handed = handed + 1
        elif kept:
            self.kept.drop(call)  # it does not take them: they are in our record, which stays
        else:
            call.settled = False
            self._store.end(frame.call_id)

    def _disowned(self, call: Call, server: str, kept: bool) -> None:
        """Its owner has no such call: ``server`` records it, to which it came first."""
        call.foreign = True
        call.came_to = server
        if kept:
            self._side.disowned(call)
            self.kept.drop(call)
        else:
            call.settled = True
            self._store.end(call.call_id)

    @staticmethod
    def _unheard(server: str, call: Call, joined: Joined) -> bool:
        """Whether what was said here may just have come too late for the head, as it does not wait
        for those who do not hold the call."""
        return joined.head == server and not call.held

    def listed(self, call_id: str, names: Sequence[str]) -> None:
        """Who takes part in a call, in order."""
        joined = self.joined.get(call_id)
        call = self._calls.call(call_id)
        if joined is None or call is None or not names:
            return
        listed = tuple(names[: self._listed])
        if listed != joined.listed:
            for name in joined.listed:
                if name not in listed or len(listed) < 2:
                    self._calls.prefer_no_more(name, call_id)
            joined.listed = listed
            # Alone on it we are the caretaker with or without it.
            if listed != (self.server,) or call.kept:
                self._calls.note(call, joined)

    def on_listing(self, server: str, call_id: str, names: Sequence[str]) -> None:
        """The head of a call says who takes part. If we do not (any more), having left it by way of
        another server or lost it in a crash, the head is told so."""
        call = self._calls.call(call_id)
        joined = self.joined.get(call_id)
        if call is None or joined is None or server not in (joined.head, call.owner):
            self._peers.send(server, Unregister(call_id))
        else:
            self.listed(call_id, names)

    def tidy(self) -> None:
        """Give back the room of tables that are empty."""
        self._calls.tidy()

    # As head for others

    def admits(self, server: str, call_id: str, owner: str) -> str | None:
        """``server`` wants to register here for a call of another server.

        None: welcome, and ``accept`` is to be called; else the name of who is to be asked instead
        (empty: unknown). Only who is in touch with the owner, or takes its place, is head for
        others: so there are no circles.
        """
        joined = self.joined.get(call_id)
        call = self._calls.call(call_id)
        if joined is None or call is None:
            return owner if self._peers.living(owner) else None
        if joined.stage is Stage.CARETAKER:
            return None
        if joined.head == call.owner:
            if self._peers.connected(call.owner) and joined.stage is not Stage.UNSHARED:
                return None
            if not self._calls.is_kept(call):
                # That it asks tells us that it finds the owner dead.
                self._heads.seek(call, joined)
            if joined.head in (call.owner, self.server):
                return None
        if joined.head == server and self.server < server:
            return None  # each takes the other for the head
        return joined.head

    def accept(self, server: str, call: Call, listed: Sequence[str], left: Sequence[str]) -> None:
        """``server`` registered here for a call of another server, as ``admits`` allowed. Those in
        ``left`` have left the call there, and do not take part here."""
        self._revive(call)
        joined = self.joined.get(call.call_id)
        if joined is None:
            joined = self._calls.add(call, Joined(call.owner, True))
            self._peers.health.watch(call.owner)
            self._peers.network.want(call.owner, True)
        if not joined.listed:
            joined.listed = tuple(listed)
        if joined.unseen is not None or call.learnt:
            joined.unseen = None
            self._calls.note(call, joined)
        if server in joined.left:
            joined.left = tuple(name for name in joined.left if name != server)
            self._calls.note(call, joined)
        self.went(call, left)
        if joined.stage in (Stage.LEAVING, Stage.LEFT):
            self._register(call, joined)
        elif joined.head != call.owner or not self._peers.connected(call.owner):
            self._heads.care(call, joined)

    def went(self, call: Call, names: Sequence[str]) -> None:
        """These took part in a call of another server by way of this one, and have left it. Its
        head may be waiting for them since before they came here."""
        joined = self.joined.get(call.call_id)
        if joined is None:
            return
        left = tuple(dict.fromkeys((*joined.left, *names)))
        if left != joined.left:
            joined.left = left
            self._calls.note(call, joined)
            if joined.stage is Stage.LIVE:
                self._register(call, joined)

    def participants(self, call_id: str, registered: Sequence[str]) -> list[str]:
        """The list that a caretaker tells: the owner's, and who came after that."""
        joined = self.joined.get(call_id)
        names = dict.fromkeys((*(joined.listed if joined is not None else ()), *registered))
        return list(names)[: self._listed]

    def _with(self, server: str, call_ids: list[str]) -> None:
        self._calls.some(list(dict.fromkeys(call_ids)), lambda c, j: self._present(server, c, j))

    def _present(self, server: str, call: Call, joined: Joined) -> None:
        """``server`` is connected: register with it if it is the call's head or has to be."""
        peer = self._peers.of(server)
        if not peer.connected:
            return
        before = joined.head
        if server == call.owner:
            if before == server and joined.stage not in (Stage.WAITING, Stage.UNSHARED):
                return
            for name in joined.listed:
                self._calls.prefer_no_more(name, call.call_id)
            joined.tried = frozenset()
        elif before == server:
            if joined.stage is not Stage.WAITING:
                return
        elif call.call_id in peer.preferred:
            peer.preferred.pop(call.call_id, None)
            joined.tried -= {server}
            if self._peers.living(call.owner) or not self._heads.before(server, joined):
                return
        else:
            return
        if before not in (server, self.server) and joined.stage in WITH_HEAD:
            self._peers.send(before, Unregister(call.call_id))
        self._calls.set_head(call, joined, server)
        self._peers.health.watch(server)
        self._register(call, joined)

    def _register(self, call: Call, joined: Joined) -> None:
        if joined.unseen is not None:
            if self._hides(call, joined):
                self._reveal(call, joined, joined.unseen)
                return
            if not (call.based or call.have_of(self.server)):
                call.base = self._clock.time_base(call.owner)
            joined.unseen = None
            self._calls.note(call, joined)
        sent = self._timers.monotonic_us()
        listed = list(joined.listed) if joined.head != call.owner else []
        joined.told = joined.left
        joined.sent = joined.sent or joined.head == call.owner
        joined.follows = call.only_followed
        left = list(joined.left)
        if joined.known:
            joined.stage = Stage.RENEWING
            have = call.have()
            if joined.whole is not None:
                for author in call.have_of(self.server):
                    have[author] = joined.whole.get(author, -1)
            properties: list[Property] = []
            logs: list[Log] = []
            before = 0
        else:
            joined.stage = Stage.FIRST
            have, before = {}, joined.before
            properties, logs = call.data.newer({})
        self._calls.lead(call, joined)
        frame = Register(
            call.call_id, call.owner, sent, have, properties, logs, listed, before, left,
            joined.follows, True, [name for name in joined.behind if name != joined.head],
        )  # fmt: skip
        self._peers.send(joined.head, frame)

    @staticmethod
    def _hides(call: Call, joined: Joined) -> bool:
        """Whether there are entries that nobody else has seen, stamped by our own clock."""
        return joined.unseen is not None and call.data.newest > joined.unseen

    def _reveal(self, call: Call, joined: Joined, unseen: int) -> None:
        """Put right what is stamped by our own clock, and register once that is on disk. Even if
        the disk refuses: put right once more after a crash it would come to the others twice."""
        joined.stage = Stage.WAITING
        if joined.revealing:
            return
        joined.revealing = True
        # First, so that they are not moved again if this is as far as the disk gets.
        self._calls.note(call, joined)
        if self._clock.base(call.owner) is not None and not call.based:
            shift = self._clock.time_base(call.owner) - call.base
            if abs(shift) > 1000:
                self._store.restamp(call, shift, unseen)
                self._journal.restamped(call)
        self._journal.after_commit(partial(self._revealed, call.call_id, joined), must=True)

    def _revealed(self, call_id: str, joined: Joined) -> None:
        joined.revealing = False
        if self.joined.get(call_id) is not joined:
            return
        joined.unseen = None  # it may be already: somebody registered here meanwhile
        call = self._calls.call(call_id)
        waits = joined.stage is Stage.WAITING and self._peers.connected(joined.head)
        if call is not None and waits:
            self._register(call, joined)

    def _leave(self, call: Call, joined: Joined) -> None:
        # As a follower we may have been too late with what was said here.
        if joined.untold() or (joined.follows and call.have_of(self.server)):
            self._register(call, joined)  # and leave when that is answered
            return
        self._leavings += 1
        joined.leaving = self._leavings
        joined.stage = Stage.LEAVING
        self._peers.send(joined.head, Unregister(call.call_id, joined.leaving))

    # Calls that are over here, but not for their owner

    def restore(self, call: Call, standing: Standing) -> None:
        """A call is back after a restart; if it is not over, the store will say who takes part."""
        unseen = standing.unseen
        if unseen is not None and max(call.data.have().values(), default=0) <= unseen:
            unseen = None  # nothing was written
        whole = call.have_of(self.server)
        if len(whole) == len(call.data.have()):
            whole = {}  # a copy that was begun anew, perhaps: the owner has never answered
        self._calls.was(call.call_id, standing, unseen, whole)
        if standing.kept:
            call.kept = True
            self._store.kept[call.call_id] = call
            self._calls.add(call, Joined(call.owner, True))
            self._peers.health.watch(call.owner)
            self._peers.network.want(call.owner, True)

    def _keep(self, call: Call, joined: Joined) -> None:
        self.kept.keep(call, joined)
        match joined.stage:
            case Stage.LIVE:
                self._leave(call, joined)
            case Stage.UNSHARED:
                joined.stage = Stage.WAITING
                self._peers.of(call.owner).joined[call.call_id] = None
                if self._peers.network.knows(call.owner):  # it has reached us in the meantime
                    self._reach_owner(call, joined)
            case Stage.CARETAKER:
                # Another may have taken care of it too, before us on the list.
                joined.tried = frozenset()
                self._heads.seek(call, joined)

    def _revive(self, call: Call) -> None:
        """A call goes on that had ended here: its entries come back."""
        old = self.kept.revive(call)
        if old is not None:
            properties, logs = old.data.newer({})
            self._side.take(self.server, call.call_id, properties, logs)
            self.note(call)  # after a crash it is not over either

    def _release(self, call: Call) -> None:
        self.kept.drop(call)
        self._side.handed_over(call)

    # The rest

    def _take(
        self, server: str, call: Call, properties: Sequence[Property], logs: Sequence[Log]
    ) -> None:
        if self._calls.is_kept(call):
            call.data.merge(properties, logs)
        else:
            self._side.take(server, call.call_id, properties, logs)

    def note(self, call: Call) -> None:
        """What is to be known of a call after a crash has changed."""
        joined = self.joined.get(call.call_id)
        if joined is not None:
            self._calls.note(call, joined)

    def _say_unknown(self, call: Call) -> None:
        if call.owner not in self._unknown_owners:
            if len(self._unknown_owners) < 1000:
                self._unknown_owners.add(call.owner)
            log.warning(
                "call %s is owned by %r, which is not in cds.peers: it goes on unshared"
                " (said once for each such owner)",
                call.call_id,
                call.owner,
            )
