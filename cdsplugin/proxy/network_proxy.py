"""The network proxy: the local store's link to the stores of other servers.

The source's "network proxy", with its registration monitor (``participants``), network health
monitor (``health``), timestamp module (``clock``) and remote update (here, and in ``registration``
where it is about calls that other servers lead). To the local store it is a client for all calls;
towards other servers it takes frames and emits frames. No I/O: ``Network`` carries the frames.

For a call of which this server is the head (its owner, or its caretaker while the owner is dead) it
keeps the participant list and sends each change to everyone on it but the author. For a call of
another head it registers with that on behalf of the local participants, sends it their changes,
hands its updates to the local store, and unregisters when the last of them leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from cdsplugin.data import (
    LEARNT,
    NOTHING_ELSE,
    Alive,
    Back,
    Call,
    Client,
    Clock,
    EndOfCall,
    Frame,
    Handle,
    Hello,
    Listing,
    Log,
    NoRecords,
    Property,
    Records,
    Refused,
    Register,
    Registered,
    Standing,
    Store,
    Timers,
    Unregister,
    Unregistered,
    UntilRecorded,
    Update,
    for_a_switch,
)
from cdsplugin.proxy.health import Health
from cdsplugin.proxy.joined import Stage
from cdsplugin.proxy.participants import Listings, Participants, RegistrationMonitor
from cdsplugin.proxy.peers import Journal, Network, NoJournal, Peer, Peers
from cdsplugin.proxy.registration import Registrations

__all__ = ["Journal", "Network", "NetworkProxy", "Stage"]

log = logging.getLogger("cdsplugin.proxy")


def _without(frame: Update, author: str) -> Update:
    properties = [e for e in frame.properties if e.author != author]
    return Update(frame.call_id, properties, [e for e in frame.logs if e.author != author])


_ASKED = 1000  # calls in one frame
_ENDS = 500  # told in one go: of many that have waited for the database nobody is to feel it

_Parts: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]


def _parts(participants: Participants | None) -> _Parts:
    """Who is present, and who of them only follows."""
    return ((), ()) if participants is None else (participants.present, participants.following)


class NetworkProxy:
    """See the module.

    ``on_health(server, up)`` is called when a server falls silent or is back; more listeners may
    be added to ``health_listeners``. ``on_handed_over(call)`` is called when the owner of a call
    has written its record, so that the one which this server wrote in its place has to go,
    ``on_disowned(call)`` when that server has no such call.
    Seconds: ``caretaker_within`` is how long a server on the list may take to be reached before
    the next one is tried.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timers: Timers,
        network: Network,
        *,
        alive_interval: float = 5.0,
        dead_after: float = 30.0,
        reregister_within: float = 300.0,
        reregister_batch: int = 200,
        max_remote_calls: int = 200_000,
        caretaker_within: float = 10.0,
        kept_calls: int = 20_000,
        listed: int = 16,
        missed: int = 1000,
        gather: float = 0.02,
        on_health: Callable[[str, bool], None] | None = None,
        on_handed_over: Callable[[Call], None] | None = None,
        on_disowned: Callable[[Call], None] | None = None,
        journal: Journal | None = None,
        records: Records | None = None,
    ) -> None:
        self.server = store.server
        self._store = store
        self._clock = clock
        self._timers = timers
        self._network = network
        self._max_remote_calls = max_remote_calls
        self._gather = gather
        self._ask_after = alive_interval
        self._journal = journal if journal is not None else NoJournal()
        self.on_handed_over = on_handed_over
        self.on_disowned = on_disowned
        self.health_listeners: list[Callable[[str, bool], None]] = []
        if on_health is not None:
            self.health_listeners.append(on_health)
        self.monitor = RegistrationMonitor(timers, reregister_within, self._not_renewed)
        self.health = Health(
            timers, alive_interval, dead_after, self._send_alive, self._down, self._report, missed
        )
        self._peers = Peers(network, self._journal, self.health, self.monitor)
        self._listings = Listings(timers, self._peers.send, listed, gather)
        self._registrations = Registrations(
            store,
            clock,
            timers,
            self._peers,
            self._journal,
            self,
            batch=reregister_batch,
            caretaker_within=caretaker_within,
            kept_calls=kept_calls,
            listed=listed,
        )
        self._ending: UntilRecorded[tuple[Call, tuple[str, ...]]] = UntilRecorded(
            records if records is not None else NoRecords()
        )
        self._ending_timer: Handle | None = None
        self._insane_said: set[str] = set()
        self._restored: set[str] = set()
        self.frames_in = 0
        self.insane_entries = 0
        store.watch(self)

    # From the local store: the proxy as its client for all calls

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """A local participant changed entries: on to the head, and to all remote participants."""
        if call.back is not None and not call.back.since:
            call.back.since = min([*(e.stamp for e in properties), *(e.stamp for e in logs)])
        participants = self.monitor.of(call.call_id)
        if participants is not None and participants.present:
            frame = Update(call.call_id, list(properties), list(logs))
            for server in participants.present:
                if not self.monitor.awaits(call.call_id, server):
                    self._peers.send(server, frame)
        if call.owner != self.server:
            self._registrations.changed(call, properties, logs)

    def registered(self, call: Call, client: Client) -> None:
        """A local participant came, or does (not) hold the call any more: register with the owner
        on its behalf."""
        if call.owner != self.server:
            self._registrations.came(call)
        if call.learnt and for_a_switch(client):
            call.learnt = False
            self._note(call)

    def unregistered(self, call: Call, client: Client) -> None:
        """A local participant left: if it was the last one, unregister with the owner."""
        if call.owner != self.server:
            self._registrations.left(call)

    def ended(self, call: Call) -> None:
        """End of call: the head tells everybody who takes or took part, once the record is on
        disk."""
        participants = self.monitor.end(call.call_id)
        if call.owner != self.server:
            if participants is not None:
                call.claimed = True  # they have left it to us, and need not have it any more
            self._registrations.over(call, participants.present if participants else ())
        if participants is None:
            return
        for server in participants.present:
            self._unwatch(server)
        self._ending.add((call, participants.past))
        if self._ending_timer is None:
            self._ending_timer = self._timers.schedule(self._gather, self._end_some)

    # From the network

    def connected(self, server: str) -> None:
        """There is a connection to ``server`` (it passed its handshake)."""
        peer = self._peers.of(server)
        peer.connected = True
        peer.session += 1
        peer.heard_sent = 0
        self._clock.doubt(server)
        self.health.heard(server)
        if peer.joined or peer.headed:
            self._send_alive(server)
        if peer.asking is None and self.monitor.awaited(server):
            peer.asking = self._timers.schedule(self._ask_after, partial(self._ask, server, peer))
        self._registrations.connected(server)

    def disconnected(self, server: str) -> None:
        """The connection to ``server`` is gone. Live calls are registered again when it is back."""
        peer = self._peers.of(server)
        peer.connected = False
        peer.session += 1
        if peer.asking is not None:
            peer.asking.cancel()
            peer.asking = None
        self.monitor.cut_off(server)
        for call_id in self.monitor.gone(server):
            self._remove(call_id, server)
        self._clock.doubt(server)
        if self.monitor.awaited(server):
            # It may have nothing here any more that it would dial for, and cannot say so then.
            self._network.want(server, True)
        self._registrations.disconnected(server)

    def received(self, server: str, frame: Frame) -> None:
        """A frame came from ``server``."""
        self.frames_in += 1
        self.health.heard(server)
        match frame:
            case Update():
                self.take(server, frame.call_id, frame.properties, frame.logs)
            case Register():
                self._on_register(server, frame)
            case Registered():
                self._registrations.on_registered(server, frame)
            case Unregister():
                self._on_unregister(server, frame)
            case Unregistered():
                self._registrations.on_unregistered(server, frame)
            case EndOfCall():
                self._registrations.on_end_of_call(server, frame)
            case Alive():
                self._on_alive(server, frame)
            case Listing():
                for call_id, names in frame.calls:
                    self._registrations.on_listing(server, call_id, names)
                for call_id, name in frame.moved:
                    self._moved(call_id, name)
            case Refused():
                self._registrations.on_refused(server, frame)
            case Hello():
                log.warning("server %s greets again; disregarded", server)

    # Remote update, at the head

    def _on_register(self, server: str, frame: Register) -> None:
        call_id = frame.call_id
        call = self._store.get(call_id)
        owner = frame.owner
        if call is not None and call.owner != owner:
            why = f"{self.server} has {call.owner} as its owner, not {owner}"
            self._peers.send(server, Refused(call_id, why))
            return
        if owner != self.server:
            instead = self._registrations.admits(server, call_id, owner)
            if instead is not None:
                why = f"{self.server} does not own this call"
                self._peers.send(server, Refused(call_id, why, instead))
                return
            call = self._store.get(call_id)
        participants = self.monitor.of(call_id)
        if participants is None and len(self.monitor) >= self._max_remote_calls:
            self._peers.send(server, Refused(call_id, "cds.limits.remote_calls is reached"))
            return
        before = _parts(participants)
        participants = self.monitor.add(call_id, server, frame.follows)
        self.health.watch(server)
        learnt = call is None
        # After a restart without its data the owner learns of its call here, from a participant; or
        # of one that has ended here, from somebody who was away for too long.
        call = self._store.register(self, call_id, owner, participants.hold)
        if learnt:
            call.learnt = True
        if not frame.apart:
            call.claimed = True
        if frame.left:
            self._drop(call, frame.left)
        if owner != self.server:
            registered = [*participants.present, self.server]
            left = [name for name in frame.left if name not in registered]
            self._registrations.accept(server, call, frame.participants, left)
        if frame.before:
            call.gap(server, frame.before)
        self.take(server, call_id, frame.properties, frame.logs)
        properties, logs = call.data.newer(frame.have)
        if frame.properties:
            theirs = {(p.stamp, p.author) for p in frame.properties}
            properties = [p for p in properties if (p.stamp, p.author) not in theirs]
        if frame.logs:
            their_lines = {(line.stamp, line.author) for line in frame.logs}
            logs = [line for line in logs if (line.stamp, line.author) not in their_lines]
        have = call.have() if frame.have else {}
        if call.back is None and frame.have:
            self._notice_forgotten(call, frame.have)
        since = 0
        if call.back is not None:
            since = self._ask_lost(call, call.back, server, frame.have, have)
        utc = ahead = 0
        if owner == self.server:
            utc = max(self._timers.now_us(), 0)
            ahead = call.base - self._clock.own()
        listed = self._listed(call)
        answer = Registered(call_id, utc, frame.sent, have, properties, logs, listed, ahead, since)
        self._peers.send(server, answer)
        self._changed(call, before, server)
        self._hold(call)
        if participants.moved and (untold := self.monitor.untold(call_id, server)):
            self._peers.send(server, Listing([], [(call_id, name) for name in untold]))
        if frame.behind:
            self._tell_behind(call_id, server, frame.behind)

    def _tell_behind(self, call_id: str, server: str, behind: Sequence[str]) -> None:
        """``server`` took part by way of these. Who is not there is told when it registers."""
        away = []
        for name in behind[: self._listings.length]:
            if self._peers.connected(name):
                self._peers.send(name, Listing([], [(call_id, server)]))
            elif name != self.server:
                away.append(name)
        self.monitor.moved(call_id, server, away)

    def _moved(self, call_id: str, server: str) -> None:
        """``server`` is registered with the head of a call: here it need not register again."""
        call = self._store.get(call_id)
        if call is not None:
            self._drop(call, (server,))
            self._hold(call)

    def _hold(self, call: Call) -> None:
        """Take part in a call as those do that are registered here for it."""
        participants = self.monitor.of(call.call_id)
        if participants is None or not participants.present:
            self._store.unregister(self, call.call_id)
        else:
            self._store.register(self, call.call_id, call.owner, participants.hold)
        if call.owner != self.server:
            self._registrations.left(call)

    def _ask_lost(
        self, call: Call, back: Back, server: str, theirs: dict[str, int], have: dict[str, int]
    ) -> int:
        """What this server had shared while its disk refused, and lost, ``server`` may have: it is
        asked for, by less in ``have``, unless it has heard of what was written since without having
        been asked before; and once more with each connection. Returns ``Registered.since``."""
        session = self._peers.of(server).session
        asked = back.asked.get(server)
        if asked == session:
            return 0
        back.asked[server] = session
        since = 0
        for author, newest in call.have_of(self.server).items():
            heard = 0 < back.since <= theirs.get(author, 0) <= newest
            if author in have and (asked is not None or not heard):
                have[author] = min(have[author], back.whole)
                if heard:
                    since = back.since
        return since

    def _notice_forgotten(self, call: Call, theirs: dict[str, int]) -> None:
        """A call that this server had lost as a whole, and has begun anew: who has nothing of it
        that is as new as the oldest here may have what was there before."""
        oldest = call.data.oldest_of(self.server)
        if any(theirs.get(author, stamp) < stamp for author, stamp in oldest.items()):
            call.back = Back(-1)
            call.back.since = min(oldest.values())

    def _listed(self, call: Call) -> list[str]:
        participants = self.monitor.of(call.call_id)
        present = participants.present if participants is not None else ()
        if call.owner == self.server:
            return list(present[: self._listings.length])
        return self._registrations.participants(call.call_id, present)

    def _changed(self, call: Call, before: _Parts, but: str = "") -> None:
        """Who takes part in a call has changed."""
        participants = self.monitor.of(call.call_id)
        if participants is None or _parts(participants) == before:
            return
        if call.owner == self.server:
            self._listings.changed(call.call_id, before[0], participants.present, but)
            self._note(call)

    def _note(self, call: Call) -> None:
        """What is to be known after a crash of who takes part in a call."""
        if call.owner != self.server:
            self._registrations.note(call)
            return
        participants = self.monitor.of(call.call_id)
        if participants is not None:
            present, past = participants.present, participants.past
            standing = LEARNT if call.learnt else NOTHING_ELSE
            if participants.following or call.claimed:
                following = list(participants.following)
                standing = Standing(learnt=call.learnt, following=following, claimed=call.claimed)
            self._journal.shared(call.call_id, call.owner, present, past, standing)

    def _drop(self, call: Call, names: Sequence[str]) -> None:
        """These have left the call while they were cut off from here, as the server says by way of
        which they took part meanwhile. Who has registered again has come back since; or it is not
        known here yet that it is cut off."""
        gone = [name for name in names if self.monitor.awaits(call.call_id, name)]
        participants = self.monitor.of(call.call_id)
        for name in participants.present if participants is not None else ():
            if name in names and name not in gone:
                self.monitor.said_gone(call.call_id, name)
        for name in gone:
            self.monitor.remove(call.call_id, name)
            self._unwatch(name)
        if gone:
            self._note(call)  # on disk before the answer: it will not be said again

    def _on_unregister(self, server: str, frame: Unregister) -> None:
        call = self._store.get(frame.call_id)
        participants = self.monitor.of(frame.call_id)
        present = participants.present if participants is not None else ()
        if call is not None and call.owner != self.server and server in present:
            self._registrations.went(call, (server,))
        self._remove(frame.call_id, server)
        # This answer says that everything is on disk.
        apart = call is not None and self._may_disown(call)
        self._peers.send(server, Unregistered(frame.call_id, frame.number, apart), must=True)

    def _remove(self, call_id: str, server: str) -> None:
        before = _parts(self.monitor.of(call_id))
        removed = self.monitor.remove(call_id, server)
        call = self._store.get(call_id)
        if removed and call is not None:
            self._changed(call, before)
            self._hold(call)
        self._unwatch(server)

    def _ask(self, server: str, peer: Peer) -> None:
        """``server`` is back for a while, and has not registered again for all its calls. Of those
        that it knows nothing of (any more) it is not waited for: see ``on_listing``."""
        peer.asking = None
        asked = [
            (call_id, self._listed(call))
            for call_id in self.monitor.awaited(server)
            if (call := self._store.get(call_id)) is not None
        ]
        for first in range(0, len(asked), _ASKED):
            self._peers.send(server, Listing(asked[first : first + _ASKED]))

    def _not_renewed(self, call_id: str, server: str) -> None:
        log.warning("call %s: %s did not register again in time, unregistered", call_id, server)
        self._remove(call_id, server)

    def handed_over(self, call: Call) -> None:
        """The owner of a call (or its caretaker) has the record: the one written here has to go."""
        if self.on_handed_over is not None:
            self.on_handed_over(call)

    def _may_disown(self, call: Call) -> bool:
        ours = call.owner == self.server and self.on_disowned is not None
        return ours and not (call.claimed or call.told)

    def disowned(self, call: Call) -> None:
        """Its owner has no such call: what was written in its place has to be recorded apart."""
        if self.on_disowned is not None:
            self.on_disowned(call)

    def send_away(self, call: Call, instead: str) -> None:
        """Another server leads this call now: those registered here shall register there."""
        participants = self.monitor.of(call.call_id)
        for server in participants.present if participants is not None else ():
            why = f"{self.server} does not take care of this call any more"
            self._peers.send(server, Refused(call.call_id, why, instead))
            self._remove(call.call_id, server)

    def _end_some(self) -> None:
        """Tell the end of those calls whose records are on disk."""
        self._ending_timer = None
        self._ending.count()
        for call, past in self._ending.take(_ENDS):
            self._tell_end(call, past)
        if len(self._ending):
            self._ending_timer = self._timers.schedule(self._gather, self._end_some)

    def _tell_end(self, call: Call, past: tuple[str, ...]) -> None:
        if self._store.get(call.call_id) is not None:
            # Somebody came back to it in the meantime: it ends another time.
            self.monitor.remember(call.call_id, past)
            return
        properties, logs = call.data.newer({})
        apart = call.came_to if call.foreign else ""
        here = apart == self.server or apart in past
        if past and call.foreign and call.owner == self.server and not here:
            apart = past[0]  # it is not told, having been here another time perhaps
        refused = sorted(call.refused) if call.refused else []
        frame = EndOfCall(call.call_id, properties, logs, apart, refused)
        for server in past:
            self._peers.send(server, frame, must=True)
        if past and call.foreign and call.owner == self.server and apart != self.server:
            # Of what is recorded elsewhere by now nothing is to go on here, should it come back:
            # who came first then is not told again.
            self._journal.released(call.call_id)

    # Remote update, both ways

    def take(
        self, server: str, call_id: str, properties: Sequence[Property], logs: Sequence[Log]
    ) -> None:
        """Entries from ``server``: into the local store, and what was new on to the others."""
        if not properties and not logs:
            return
        call = self._store.get(call_id)
        if call is None:
            return
        if server != call.owner and server != self.server:
            properties, logs = self._sane(server, call, properties, logs)
        back = server == self.server
        changed, added = self._store.update(self, call_id, properties, logs, back=back)
        if not changed and not added:
            return
        participants = self.monitor.of(call_id)
        if participants is not None and participants.present not in ((), (server,)):
            frame = Update(call_id, changed, added)
            # A caretaker hands back what others wrote: they may be registered here already.
            relayed = any(e.author != server for e in changed) or any(
                e.author != server for e in added
            )
            for other in participants.present:
                if other != server and not self.monitor.awaits(call_id, other):
                    whole = not relayed or (call.gaps is not None and other in call.gaps)
                    self._peers.send(other, frame if whole else _without(frame, other))
        if call.owner != self.server:
            self._registrations.changed(call, changed, added, server)

    def _sane(
        self, server: str, call: Call, properties: Sequence[Property], logs: Sequence[Log]
    ) -> tuple[Sequence[Property], Sequence[Log]]:
        """Leave out what a broken clock has stamped. Who wrote it keeps it, in its own record."""
        believed = self._clock.believed(call.owner, call.base, call.data.newest)
        good = [e for e in properties if e.stamp <= believed]
        good_logs = [e for e in logs if e.stamp <= believed]
        insane = len(properties) + len(logs) - len(good) - len(good_logs)
        if insane:
            self.insane_entries += insane
            if server not in self._insane_said:
                self._insane_said.add(server)
                log.error(
                    "call %s: server %s sent entries stamped too far in the future"
                    " (cds.limits.max_ahead); not taken (said once for each server)",
                    call.call_id,
                    server,
                )
        return good, good_logs

    # Health

    def _send_alive(self, server: str, answer: bool = False) -> None:
        peer = self._peers.of(server)
        if peer.connected:
            now = self._timers.monotonic_us()
            held = now - peer.heard_at if peer.heard_sent else 0
            utc = max(self._timers.now_us(), 0)
            self._peers.send_now(server, Alive(utc, now, peer.heard_sent, held, answer))

    def _on_alive(self, server: str, frame: Alive) -> None:
        peer = self._peers.of(server)
        now = self._timers.monotonic_us()
        peer.heard_sent = frame.sent
        peer.heard_at = now
        if frame.echo:
            self._clock.sample(server, frame.utc, now - frame.echo - frame.held)
            self._registrations.based(server)
        # One without an echo asks for the time.
        if not frame.answer and (not self.health.watches(server) or not frame.echo):
            self._send_alive(server, True)

    def ask_time(self, server: str) -> None:
        """An ``Alive`` that is answered at once, as the very first is."""
        now = self._timers.monotonic_us()
        self._peers.send_now(server, Alive(max(self._timers.now_us(), 0), now, 0, 0))

    def _down(self, server: str) -> None:
        if self._peers.connected(server):
            self._network.drop(server)
        self._registrations.down(server)

    def _report(self, server: str, up: bool) -> None:
        if up:
            log.warning("server %s is back", server)
            self._peers.idle(server)  # it need not be dialled for that any more
        else:
            log.warning("server %s is silent: the network or that server may be down", server)
        for listener in self.health_listeners:
            try:
                listener(server, up)
            except Exception:
                log.exception("server %s: a listener failed to take its health", server)

    # What others need to know

    def participants(self, call: Call) -> list[str]:
        """The remote servers that take part in a call, as far as this server knows."""
        listed = self.monitor.of(call.call_id)
        present = list(listed.present) if listed is not None else []
        if call.owner == self.server:
            return present
        joined = self._registrations.joined.get(call.call_id)
        if joined is None or joined.head == self.server:
            return present
        return [joined.head, *(s for s in present if s != joined.head)]

    def stage(self, call_id: str) -> str:
        """How far the registration with another head is, in words; empty for our own calls."""
        joined = self._registrations.joined.get(call_id)
        return joined.stage.value if joined is not None else ""

    def servers(self) -> dict[str, bool]:
        """All servers we heard of, and whether they are connected."""
        return {name: peer.connected for name, peer in self._peers.all()}

    @property
    def frames_out(self) -> int:
        """Frames sent."""
        return self._peers.frames_out

    @property
    def kept_dropped(self) -> int:
        """Kept calls that were let go for want of room: their records stay with this server."""
        return self._registrations.kept.dropped

    def unsettled(self) -> bool:
        """Whether there are calls whose last word has not been taken by the other side: what
        ``stop`` waits for.

        Those of servers that are not connected do not count: there is nothing to wait for.
        """
        waits = (Stage.FIRST, Stage.RENEWING, Stage.LIVE, Stage.LEAVING)
        return any(
            peer.connected and self.monitor.calls_of(name) for name, peer in self._peers.all()
        ) or any(joined.stage in waits for joined in self._registrations.joined.values())

    # A server's life

    def restore(
        self,
        call: Call,
        present: Sequence[str] = (),
        past: Sequence[str] = (),
        standing: Standing = NOTHING_ELSE,
    ) -> bool:
        """Take up a call after a restart, with what was last told of it to ``Journal.shared``.

        False if it was over here and only waits for its owner: then it is in ``Store.kept``, and
        not to be put into the store. Any other is in the store already.
        """
        call.back = Back(call.data.newest)
        call.kept = standing.revived
        call.claimed = standing.claimed
        if call.owner == self.server:
            if present or past:
                self.monitor.restore(call.call_id, present, past, standing.following)
            if present:
                self._hold(call)
                for server in present:
                    if server not in self._restored:
                        self._restored.add(server)
                        self._peers.of(server)
                        self.health.watch(server)
                        self._network.want(server, True)
            return True
        self._registrations.restore(call, standing)
        return not standing.kept

    def stop(self, stored: bool = True) -> None:
        """Say what is still to be said and forget everything; the store has ended its calls before.

        ``stored``: all records are on disk. If they are not, nobody is told of the end of a call,
        so that everybody keeps what he has.
        """
        self._store.unwatch(self)
        if self._ending_timer is not None:
            self._ending_timer.cancel()
            self._ending_timer = None
        for call, past in self._ending.clear():
            if stored:
                self._tell_end(call, past)
        self._listings.stop()
        self.health.stop()
        self.monitor.stop()
        self._registrations.joined.clear()
        self._peers.clear()

    def tidy(self) -> None:
        """Give back the room of tables that are empty."""
        self.monitor.tidy()
        self._registrations.tidy()

    def _unwatch(self, server: str) -> None:
        """Stop watching a server with which no call is shared any more."""
        if not self.monitor.calls_of(server):
            self._peers.idle(server)
