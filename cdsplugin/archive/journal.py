"""The journal: every live call of this server, on disk as it changes, and back after a crash.

To the local store it is a client for all calls. It appends what changed to a log (``disk``). What
is no more needed at the log's beginning is dropped a segment at a time, and calls that live longer
than ``keep`` seconds are written again at its end, so that the log stays as short as what is alive.
A call's records go when it has ended and its record is in the archive.

``after_commit`` is how everyone else keeps the rule that what is acknowledged is on disk first: it
calls back once everything said before is. ``docs/durability.md`` says what is on disk when.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from cdsplugin.archive.disk import (
    Base,
    Beat,
    Disk,
    Entries,
    Gone,
    Held,
    Lingers,
    NotStored,
    Shared,
    Whole,
)
from cdsplugin.data import (
    NOTHING_ELSE,
    Call,
    CallData,
    Client,
    Handle,
    Log,
    Property,
    Records,
    Standing,
    Store,
    Timers,
    UntilRecorded,
    give_back,
)

log = logging.getLogger("cdsplugin.journal")

Then = Callable[[], None]


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Seconds, and calls.

    ``keep`` is the age at which a call's records are written again at the end of the log,
    ``batch`` how many calls are written again in one go, ``waiting`` how many may wait for a commit
    at once.
    """

    keep: float = 120.0
    batch: int = 200
    waiting: int = 100_000


@dataclass(slots=True)
class Found:
    """A live call as the journal has it."""

    call_id: str
    owner: str
    data: CallData = field(default_factory=CallData)
    base: Base | None = None
    shared: Shared | None = None
    lingering: bool = False
    settled: bool = False


_TICK = 1.0
_SEGMENTS = 8  # of the log are younger than ``keep``


class Journal:
    """See the module. It must be made before the network proxy, so that the store tells it first:
    what the proxy then sends waits for what the journal has just appended."""

    def __init__(
        self,
        store: Store,
        timers: Timers,
        disk: Disk,
        records: Records,
        settings: JournalSettings | None = None,
    ) -> None:
        self.settings = settings or JournalSettings()
        self._store = store
        self._timers = timers
        self._disk = disk
        self._append = disk.append
        self._calls: dict[str, int] = {}
        """The segment in which each call's records begin, the oldest first."""
        self._shared: dict[str, Shared] = {}
        self._ended: dict[str, int] = {}
        """Calls that are over, each with the number of its end: it may go on, and end again."""
        self._ends = 0
        self._unrecorded: UntilRecorded[tuple[str, int]] = UntilRecorded(records)
        """These ends, until the archive has their records."""
        self._waiting: deque[tuple[int, Then, bool]] = deque()
        self._held = 0
        """So many of these, from the first on, must wait: while the disk refuses they are not
        looked through for each one that comes."""
        self._rewriting: list[str] | None = None
        """Calls that are still to be written anew, the next one last."""
        self._after_rewriting: list[Then] = []
        self._segment = 0
        self._segment_until = 0
        self._dropped = 0
        self._timer: Handle | None = None
        disk.attach(self._on_disk)
        store.watch(self)

    # What others wait for

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored at present, for people; None if all is well."""
        return self._disk.trouble

    def after_commit(self, then: Then, must: bool = False) -> None:
        """Call ``then`` once all that was told to the journal so far is on disk; at once if it is.

        Callbacks come in the order in which they were asked for. While the disk refuses, those
        without ``must`` (what acknowledges nothing) are called all the same, so that calls go on
        being shared; those with it wait.
        """
        disk = self._disk
        if self._rewriting is not None or disk.overflowed:
            self._on_disk()  # what waits comes first
            if must:
                self._after_rewriting.append(then)
            else:
                _call(then)
        elif disk.trouble is not None:
            self._on_disk()
            if must:
                self._waiting.append((disk.appended, then, True))
                self._held += 1
                disk.want()
            else:
                _call(then)
        elif not self._waiting and disk.committed >= disk.appended:
            _call(then)
        else:
            self._waiting.append((disk.appended, then, must))
            disk.want()

    async def committed(self, within: float = 5.0) -> None:
        """Return when all that was told to the journal so far is on disk.

        Raises ``NotStored`` if the disk refuses, too many wait, or it takes longer than ``within``
        seconds. What was to be stored may then be stored later, or not.
        """
        trouble = self._disk.trouble
        if trouble is not None:
            raise NotStored(trouble)
        if len(self._waiting) >= self.settings.waiting:
            raise NotStored("too many wait for the disk (cds.limits.journal_waiting)")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.after_commit(partial(_arrived, stored), must=True)
        try:
            async with asyncio.timeout(within):
                await stored
        except TimeoutError:
            why = self._disk.trouble or f"the disk did not answer within {within:g} s"
            raise NotStored(why) from None

    # From the store

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Entries changed."""
        call_id = call.call_id
        begins = call_id not in self._calls or call_id in self._ended
        if begins:
            self._begin(call_id)
            call.base_kept = 0
        base = self._base(call) if call.base != call.base_kept else None
        # The lists are the store's own: nobody changes them after this.
        self._append(Entries(call_id, call.owner, properties, logs, base))  # type: ignore[arg-type]
        if begins and not call.held:
            self._append(Lingers(call_id, call.settled))

    def _base(self, call: Call) -> Base:
        call.base_kept = call.base
        return Base(call.base, self._timers.boot, call.based)

    def left(self, call_id: str, settled: bool = True) -> None:
        """Nobody here takes part in a call of another server, and its head has (or has not) all
        that we have of it."""
        if call_id in self._calls and call_id not in self._ended:
            self._append(Lingers(call_id, settled))

    def restamped(self, call: Call) -> None:
        """All entries have other stamps: what was written of them before must not come back."""
        if call.call_id in self._calls:
            self._again(call.call_id)

    def based(self, call: Call) -> None:
        """Its owner has said what time it is in a call: after a crash the times written of it are
        not to be moved by another estimate. Mostly its entries have come with it."""
        if call.based and call.base != call.base_kept and call.call_id in self._calls:
            self._append(Entries(call.call_id, call.owner, [], [], self._base(call)))

    def registered(self, call: Call, client: Client) -> None:
        """The first one who comes back to a lingering call, or to one that had ended; or nobody
        holds it any more."""
        call_id = call.call_id
        if call_id not in self._calls:
            return
        if call_id in self._ended and call.owner == self._store.server:
            self._begin(call_id)  # it has its data back: ``Store.fading``
        if not call.held:
            self._append(Lingers(call_id, False))
        elif len(call.clients) - len(call.followers) == 1 and client not in call.followers:
            self._append(Held(call_id))

    def unregistered(self, call: Call, client: Client) -> None:
        """The last one that held it has left."""
        if not call.held and call.call_id in self._calls:
            self._append(Lingers(call.call_id, call.settled))

    def ended(self, call: Call) -> None:
        """End of call. Its records stay until the archive has it; if others have it, they go."""
        call_id = call.call_id
        if call_id in self._calls:
            others = call.owner != self._store.server and not call.foreign
            if call.settled and others and not call.kept:
                self._gone(call_id)
            else:
                self._over(call_id)
                if call.owner == self._store.server:
                    self._store.fading[call_id] = call

    # From the proxy

    def shared(
        self,
        call_id: str,
        owner: str,
        present: Sequence[str],
        past: Sequence[str],
        standing: Standing = NOTHING_ELSE,
    ) -> None:
        """Who takes part in a call besides this server has changed, or what else it has to know
        of it after a restart."""
        begins = call_id not in self._calls or call_id in self._ended
        if begins:
            self._begin(call_id)
        record = Shared(call_id, owner, list(present), list(past), standing)
        self._shared[call_id] = record
        self._append(record)
        call = self._store.get(call_id) if begins else None
        if call is not None and not call.held:
            self._append(Lingers(call_id, call.settled))

    def released(self, call_id: str) -> None:
        """A call that was over here and waited for its owner (``Store.kept``), or is none of ours
        and recorded elsewhere, is needed no more."""
        if call_id not in self._calls or self._store.get(call_id) is not None:
            return
        if call_id in self._store.fading:
            self._ended.pop(call_id, None)
            self._gone(call_id)
            return
        self._over(call_id)
        self._tick_soon()

    # A server's life

    def recover(self) -> tuple[list[Found], Beat]:
        """The calls that were alive when the last life of this server ended, and when that was
        (0 if there was none)."""
        found: dict[str, Found] = {}
        alive = Beat(0)
        for record in self._disk.load():
            if type(record) is Beat:
                alive = record
                continue
            call_id = record.call_id  # type: ignore[union-attr]
            call = found.get(call_id)
            match record:
                case Gone():
                    found.pop(call_id, None)
                case Whole():
                    data = CallData(record.properties, record.logs)
                    found[call_id] = Found(call_id, record.owner, data, record.base)
                case Entries() | Shared():
                    if call is None:
                        call = found[call_id] = Found(call_id, record.owner)
                    if type(record) is Entries:
                        call.data.merge(record.properties, record.logs)
                        call.base = record.base or call.base
                    else:
                        call.shared = record  # type: ignore[assignment]
                case Lingers() if call is not None:
                    call.lingering = True
                    call.settled = record.settled
                case Held() if call is not None:
                    call.lingering = call.settled = False
        for call in found.values():
            self._calls[call.call_id] = 0
            if call.shared is not None:
                self._shared[call.call_id] = call.shared
        if self._disk.overflowed:  # the file was damaged: what could be read goes to a new one
            self._timers.schedule(0, self._rewrite)
        self._tick_soon()
        return list(found.values()), alive

    def stop(self) -> None:
        """All calls have ended and the archive has them: nothing is left to come back to."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sweep()
        self._sweep()
        if not self._calls:
            self._disk.clear()
        self._store.unwatch(self)

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._calls, self._shared, self._ended)

    def __len__(self) -> int:
        """Calls in the journal."""
        return len(self._calls)

    # The log

    def _begin(self, call_id: str) -> None:
        """The first record of a call, or the first after its end."""
        if self._ended.pop(call_id, None) is None:
            self._calls[call_id] = self._segment
        self._tick_soon()

    def _over(self, call_id: str) -> None:
        self._ends += 1
        self._ended[call_id] = self._ends
        self._unrecorded.add((call_id, self._ends))

    def _gone(self, call_id: str) -> None:
        del self._calls[call_id]
        self._shared.pop(call_id, None)
        self._store.fading.pop(call_id, None)
        self._append(Gone(call_id))

    def _tick_soon(self) -> None:
        if self._timer is None and self._calls:
            self._timer = self._timers.schedule(_TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._timers.monotonic_us()
        self._append(Beat(self._timers.now_us(), now, self._timers.boot))
        self._sweep()
        if now >= self._segment_until:
            self._segment = self._disk.cut()
            self._segment_until = now + int(self.settings.keep / _SEGMENTS * 1_000_000)
        if self._disk.overflowed and self._disk.trouble is None and self._rewriting is None:
            self._rewrite()
        else:
            self._shorten()
        self._tick_soon()

    def _sweep(self) -> None:
        """Take leave of ended calls that are in the archive."""
        ended, kept = self._ended, self._store.kept
        for call_id, end in self._unrecorded.take(len(self._unrecorded)):
            # One that is kept for its owner goes when it is released.
            if ended.get(call_id) == end and call_id not in kept:
                del ended[call_id]
                self._gone(call_id)
        self._unrecorded.count()

    def _shorten(self) -> None:
        """Write calls again that are older than ``keep``; drop the segments before the oldest."""
        if self._disk.trouble is None:
            for _ in range(self.settings.batch):
                oldest = next(iter(self._calls), None)
                if oldest is None or self._calls[oldest] > self._segment - _SEGMENTS:
                    break
                if not self._again(oldest):
                    break
        first = next(iter(self._calls.values()), self._segment)
        if first > self._dropped:
            self._dropped = first
            self._disk.drop(first)

    def _again(self, call_id: str) -> bool:
        """Write all of a call at the end of the log; false if it is another server's, over, and
        waits for the archive."""
        store = self._store
        call = store.get(call_id) or store.kept.get(call_id) or store.fading.get(call_id)
        if call is None:
            return False
        del self._calls[call_id]
        self._calls[call_id] = self._segment
        data = call.data
        properties, logs = list(data.properties.values()), data.log_lines()
        self._append(Whole(call_id, call.owner, properties, logs, self._base(call)))
        shared = self._shared.get(call_id)
        if shared is not None:
            self._append(shared)
        if not call.held:
            self._append(Lingers(call_id, call.settled))
        return True

    # When the disk refused for so long that not all could be kept

    def _rewrite(self) -> None:
        self._disk.overflowed = False
        self._segment = self._disk.cut()
        self._rewriting = list(reversed(self._calls))
        log.warning("the journal is written anew: %d calls", len(self._rewriting))
        self._rewrite_some()

    def _rewrite_some(self) -> None:
        assert self._rewriting is not None
        rewriting = self._rewriting
        for _ in range(min(self.settings.batch, len(rewriting))):
            call_id = rewriting.pop()
            if call_id in self._calls:
                self._again(call_id)
        if rewriting:
            self._timers.schedule(0.01, self._rewrite_some)
            return
        self._rewriting = None
        waiting, self._after_rewriting = self._after_rewriting, []
        for then in waiting:
            self.after_commit(then, must=True)

    def _on_disk(self) -> None:
        """The disk got further, or is in trouble."""
        waiting = self._waiting
        if self._disk.trouble is not None or self._disk.overflowed:
            if self._disk.overflowed or len(waiting) > self._held:
                self._let_go(self._disk.overflowed)
            if waiting:
                self._disk.want()
            return
        committed = self._disk.committed
        while waiting and waiting[0][0] <= committed:
            _call(waiting.popleft()[1])
        self._held = 0
        if waiting:
            self._disk.want()

    def _let_go(self, lost: bool) -> None:
        """Nobody waits for a disk that refuses but who must: until it works again, or (``lost``)
        all was written anew."""
        waiting = [*self._waiting]
        self._waiting.clear()
        must = [entry for entry in waiting if entry[2]]
        if lost:
            self._after_rewriting += [then for _, then, _ in must]
        else:
            self._waiting.extend(must)
        self._held = len(self._waiting)
        for _, then, held in waiting:
            if not held:
                _call(then)


def _call(then: Then) -> None:
    try:
        then()
    except Exception:
        log.exception("what waited for the disk failed")


def _arrived(stored: asyncio.Future[None]) -> None:
    if not stored.done():
        stored.set_result(None)
