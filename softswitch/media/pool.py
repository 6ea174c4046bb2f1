"""The pool of media workers: who takes the next call, how many are kept ahead of need, and what
becomes of those who had one that died.

Without I/O: workers are started by what the pool is given, and what they tell comes in by calls.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from softswitch.media.orders import (
    LOOPBACK,
    Ask,
    CallOut,
    Digit,
    Echo,
    Expect,
    Gone,
    Here,
    Join,
    Order,
    PauseRecording,
    PauseTap,
    Play,
    Played,
    Prepare,
    Prepared,
    Press,
    Ready,
    Record,
    Recorded,
    Release,
    Said,
    Sound,
    Speaking,
    StopRecording,
    StopStream,
    StopTap,
    Stream,
    StreamEnded,
    Streaming,
    Tap,
    Up,
)

log = logging.getLogger(__name__)

STARTS_WITHIN: Final = 10.0
"""Seconds that a worker may take until it is ready."""
COMES_WITHIN: Final = 5.0
"""Seconds that somebody waits for a port."""
_APART: Final = 16
ASKS: Final = 3.0
"""Seconds between asking workers whether they are still at work."""
SILENT: Final = 3
"""Times that one may leave that unanswered: then it is ended."""
AGAIN: Final = 1.0
"""Seconds until another one is started after one that died before it was ready."""


class Line(Protocol):
    """The way to a worker's process."""

    def send(self, order: Order) -> None:
        """Order something."""

    def close(self) -> None:
        """It is not needed any more: it ends."""

    def kill(self, pid: int) -> None:
        """It does not answer: it is ended."""


class After(Protocol):
    """The clock: calls back in so many seconds."""

    def after(self, seconds: float, callback: Callable[[], None]) -> object: ...


class User(Protocol):
    """Who has a port."""

    def up(self) -> None:
        """The call is there, and can be heard."""

    def digit(self, digit: str) -> None:
        """A key was pressed there."""

    def played(self, job: int, error: str) -> None:
        """A job is at its end; `error`: why it could not be played."""

    def recorded(self, recorded: Recorded) -> None:
        """A recording is at its end; it comes before `gone`."""

    def speaking(self, on: bool) -> None:
        """Something is to be heard from there, or nothing any more."""

    def streaming(self, job: int) -> None:
        """The program that it is connected with is there."""

    def stream_ended(self, ended: StreamEnded) -> None:
        """A stream is at its end. One that the end of the call ends tells nothing."""

    def gone(self) -> None:
        """The call is over."""

    def lost(self) -> None:
        """The worker has died."""


class PoolSettings(msgspec.Struct, frozen=True):
    """`spare` ports are kept free ahead of need, by at most `most` workers; a worker that has taken
    `calls` calls takes no more, and ends with the last of them. So many may be `waiting` for one
    that starts. `ports` are the first and last UDP port for audio (0: any),
    `addresses` those at which it will come in, as far as they are known. `lazily`: where none are
    kept ahead of need one is started all the same when it is wanted."""

    spare: int = 2
    most: int = 50
    calls: int = 1000
    waiting: int = 500
    ports: tuple[int, int] = (0, 0)
    addresses: tuple[str, ...] = ()
    lazily: bool = False


class _Wanted(msgspec.Struct, eq=False):
    """Somebody who waits for a port, or for several of one worker."""

    user: User | None
    address: str
    then: Callable[[Port | None], None] | None
    places: int = 1
    them: Callable[[Places | None], None] | None = None
    other: str = ""

    def nothing(self) -> None:
        """There is none, and none comes."""
        if self.then is not None:
            self.then(None)
        if self.them is not None:
            self.them(None)


class Port:
    """A place at a worker, for one call. `key` stands in the URI that the call goes to."""

    __slots__ = ("_job", "key", "number", "places", "user", "worker")

    def __init__(
        self,
        worker: MediaWorker,
        number: int,
        key: str,
        user: User,
        places: Places | None = None,
    ) -> None:
        self.worker = worker
        self.places = places
        self.number = number
        self.key = key
        self.user: User | None = user
        self._job = 0

    @property
    def sip(self) -> int:
        """The UDP port of 127.0.0.1 at which its worker takes the call."""
        return self.worker.sip

    def play(self, sounds: tuple[Sound, ...], loop: bool = False) -> int:
        """Play these in place of what was played; the number of the job."""
        self._job += 1
        self.worker.order(Play(self.number, self._job, sounds, loop))
        return self._job

    def echo(self, on: bool = True) -> None:
        """Whoever is there hears itself."""
        self.worker.order(Echo(self.number, on))

    def record(self, path: str, seconds: float, silence: float = 0.0, steady: bool = False) -> int:
        """Write what comes into that file; the number of the job."""
        self._job += 1
        self.worker.order(Record(self.number, self._job, path, seconds, silence, steady))
        return self._job

    def pause(self, on: bool) -> None:
        """Do not write it for a while; or again."""
        self.worker.order(PauseRecording(self.number, on))

    def press(self, digit: str) -> None:
        """Whoever is there is told of a key."""
        self.worker.order(Press(self.number, digit))

    def join(self, room: str, speaks: bool = True, watch: bool = False) -> None:
        """It hears who else is in that room of its worker, and is heard if it speaks."""
        self.worker.order(Join(self.number, room, speaks, watch))

    def call(self, other: Port) -> None:
        """Call another worker's port, instead of being called."""
        self.worker.prepare(LOOPBACK)
        self.worker.order(CallOut(self.number, f"sip:{other.key}@{LOOPBACK}:{other.sip}"))

    def stop_recording(self) -> None:
        """That is enough."""
        self.worker.order(StopRecording(self.number))

    def stream(self, order: Stream) -> int:
        """Connect it with a program, by an order whose port and job are filled in here; the number
        of the job."""
        self._job += 1
        self.worker.order(msgspec.structs.replace(order, port=self.number, job=self._job))
        return self._job

    def stop_stream(self) -> None:
        """That is enough."""
        self.worker.order(StopStream(self.number))

    def tap(self, order: Stream, inbound: int, outbound: int, paused: bool) -> int:
        """Connect a program that hears who is at two ports of its worker (0: not that one), by an
        order whose port and job are filled in here; the number of the job."""
        self._job += 1
        stream = msgspec.structs.replace(order, port=self.number, job=self._job)
        self.worker.order(Tap(self.number, stream, inbound, outbound, paused))
        return self._job

    def pause_tap(self, job: int, on: bool) -> None:
        """It hears silence for a while; or what is said again."""
        self.worker.order(PauseTap(self.number, job, on))

    def stop_tap(self, job: int) -> None:
        """That is enough."""
        self.worker.order(StopTap(self.number, job))

    def release(self) -> None:
        """It is needed no more."""
        if self.user is not None:
            self.user = None
            self.worker.release(self)


class Places:
    """So many ports of one worker that are kept for somebody."""

    def __init__(self, pool: Workers, worker: MediaWorker, size: int) -> None:
        self._pool = pool
        self.worker = worker
        self.size = size
        self.used = 0
        self._closed = False

    @property
    def free(self) -> int:
        """Those that are not in use."""
        return 0 if self._closed or self.worker.over else self.size - self.used

    def port(self, user: User) -> Port:
        """One of them; there must be one."""
        assert self.free, "no place is free"
        return self._pool.port(self.worker, user, self)

    def close(self) -> None:
        """They are kept no more; those in use are free when their calls are gone."""
        if not self._closed:
            self._closed = True
            self.worker.kept.remove(self)
            self._pool.freed(self.worker)


class MediaWorker:
    """One process, as the pool knows it. `pid` is 0 until it is ready."""

    def __init__(self, pool: Workers, number: int) -> None:
        self._pool = pool
        self.number = number
        self.pid = 0
        self.sip = 0
        self.size = 0  # ports that it can have at a time
        self.taken = 0  # calls that it has had
        self.ports: dict[int, Port] = {}
        self.kept: list[Places] = []
        # The addresses that calls may come for; not yet, if False.
        self.addresses: dict[str, bool] = {}
        self.retired = False
        self.over = False
        self.asked = 0  # times that it was asked whether it is there, and has not answered
        self.line: Line | None = None

    def __repr__(self) -> str:
        return f"<media worker {self.number}, process {self.pid}>"

    @property
    def free(self) -> int:
        """Ports that may be taken."""
        if self.retired or self.over:
            return 0
        kept = 0
        for places in self.kept:
            kept += places.size - places.used
        return max(self.size - len(self.ports) - kept, 0)

    @property
    def idle(self) -> bool:
        """Whether nobody needs it."""
        return not self.ports and not self.kept

    def prepare(self, address: str) -> None:
        """Calls for that address may come, or be made."""
        self._pool.prepare(self, address)

    def order(self, order: Order) -> None:
        """Order something of it; of one that has died nothing comes."""
        if self.line is not None and not self.over:
            self.line.send(order)

    def release(self, port: Port) -> None:
        """A port is needed no more. Its place is free when the worker says that its call is gone:
        until then it would refuse another one."""
        self.order(Release(port.number))

    def said(self, said: Said) -> None:
        """It tells something."""
        if isinstance(said, Ready):
            self.pid, self.sip, self.size = said.pid, said.sip, said.ports
            self._pool.ready(self)
            return
        if isinstance(said, Prepared):
            self._pool.prepared(self, said)
            return
        if isinstance(said, Here):
            self.asked = 0
            return
        port = self.ports.get(said.port)
        user = port.user if port is not None else None
        if isinstance(said, Gone):
            if port is not None:
                port.user = None
                del self.ports[said.port]
                if port.places is not None:
                    port.places.used -= 1
                self._pool.freed(self)
            if user is not None:
                user.gone()
            return
        if user is None:
            return
        if isinstance(said, Up):
            user.up()
        elif isinstance(said, Digit):
            user.digit(said.digit)
        elif isinstance(said, Speaking):
            user.speaking(said.on)
        elif isinstance(said, Played):
            user.played(said.job, said.error)
        elif isinstance(said, Recorded):
            user.recorded(said)
        elif isinstance(said, Streaming):
            user.streaming(said.job)
        elif isinstance(said, StreamEnded):
            user.stream_ended(said)

    def lost(self) -> None:
        """Its process is gone."""
        if self.over:
            return
        self.over = True
        ports, self.ports = list(self.ports.values()), {}
        self._pool.lost(self)
        for port in ports:
            user, port.user = port.user, None
            if user is not None:
                user.lost()


class Workers:
    """All workers. `start` makes a process for one and returns the way to it; None: it cannot be
    had."""

    def __init__(
        self,
        settings: PoolSettings,
        clock: After,
        token: Callable[[], str],
        start: Callable[[MediaWorker], Line | None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._token = token
        self._start = start
        self._workers: list[MediaWorker] = []
        self._numbers = 0
        self._ports = 0
        self._waits = False  # until another one is tried
        self._closed = False
        self._asks = False
        self._serving = False
        self._wanted: deque[_Wanted] = deque()
        self._addresses: dict[str, None] = {}  # that were asked for
        self._refused: set[str] = set()  # that no worker can have
        self.failed = 0
        """Workers that died while they were needed."""

    @property
    def workers(self) -> list[MediaWorker]:
        """Those that there are, those that are not ready yet among them."""
        return list(self._workers)

    @property
    def busy(self) -> int:
        """Ports in use."""
        return sum(len(one.ports) for one in self._workers)

    @property
    def free(self) -> int:
        """Ports that could be taken at once."""
        return sum(one.free for one in self._workers)

    def take_up(self, settings: PoolSettings) -> None:
        """Go on by other settings."""
        self._settings = settings
        self.look_ahead()

    def look_ahead(self) -> None:
        """Start what will be needed next, and let go of what is not."""
        if self._closed:
            return
        settings = self._settings
        coming = sum(1 for one in self._workers if not one.pid)
        size = max((one.size for one in self._workers), default=1) or 1
        wanted = 0
        together = 0
        for waits in self._wanted:
            if waits.places > 1:
                together += min(waits.places, size)
            else:
                wanted += 1
        whole = -(-together // size)  # workers that are wanted, as places are to be of one
        unused = sum(1 for one in self._workers if one.pid and one.idle and not one.retired)
        while (
            not self._waits
            and (settings.spare or self._wanted)
            and (
                self.free + coming * size < settings.spare + wanted + whole * size
                or coming + unused < whole
            )
            and len(self._workers) < settings.most
        ):
            if not self._begin():
                return
            coming += 1
        # Who waits may take one that is ready, and not yet prepared.
        kept = wanted + whole * size + (settings.spare + size if settings.spare else 0)
        for one in list(self._workers):
            idle = one.pid and one.idle and not one.retired
            if idle and self.free - one.size >= kept:
                self._end(one)

    def _begin(self) -> bool:
        self._numbers += 1
        worker = MediaWorker(self, self._numbers)
        worker.line = self._start(worker)
        if worker.line is None:
            self._later()
            return False
        self._workers.append(worker)
        self._ask_later()
        self._clock.after(STARTS_WITHIN, lambda: self._too_late(worker))
        return True

    def _ask(self) -> None:
        """One that does not go on is as good as dead, but nobody would know."""
        self._asks = False
        for one in list(self._workers):
            if not one.pid:
                continue
            if one.asked >= SILENT:
                log.error("%r does not answer", one)
                if one.line is not None:
                    one.line.kill(one.pid)
            else:
                one.asked += 1
                one.order(Ask())
        self._ask_later()

    def _ask_later(self) -> None:
        if self._workers and not self._asks and not self._closed:
            self._asks = True
            self._clock.after(ASKS, self._ask)

    def _too_late(self, worker: MediaWorker) -> None:
        if not worker.pid and not worker.over:
            log.error("media worker %d did not start within %g s", worker.number, STARTS_WITHIN)
            if worker.line is not None:
                worker.line.close()
            worker.lost()

    def _later(self) -> None:
        if not self._waits:
            self._waits = True
            self._clock.after(AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._waits = False
        self.look_ahead()

    def _end(self, worker: MediaWorker) -> None:
        worker.over = True
        self._workers.remove(worker)
        if worker.line is not None:
            worker.line.close()

    def want(self, user: User, address: str, then: Callable[[Port | None], None]) -> None:
        """`then` gets a port for a call whose audio goes to `address` of this host: at once, if one
        is free, or as soon as a worker has started. None: there is none, and none comes in time."""
        port = self._take(user, address)
        if port is not None:
            self.look_ahead()
            then(port)
            return
        self._wait(_Wanted(user, address, then))

    def keep(
        self,
        most: int,
        address: str,
        then: Callable[[Places | None], None],
        other: str = "",
    ) -> None:
        """`then` gets as many places of one worker as it can have calls at a time, `most` of them
        at most, as `want` does a port. `other` is an address that calls come for as well."""
        places = self._keep(most, address, other)
        if places is not None:
            self.look_ahead()
            then(places)
            return
        self._wait(_Wanted(None, address, None, most, then, other))

    def _wait(self, wanted: _Wanted) -> None:
        settings = self._settings
        if (
            self._closed
            or not (settings.spare or settings.lazily)
            or len(self._wanted) >= settings.waiting
            or wanted.address in self._refused
            or wanted.other in self._refused
        ):
            wanted.nothing()
            return
        self._wanted.append(wanted)
        self._clock.after(COMES_WITHIN, lambda: self._give_up(wanted))
        self.look_ahead()

    def _give_up(self, wanted: _Wanted) -> None:
        if wanted in self._wanted:
            self._wanted.remove(wanted)
            wanted.nothing()

    def _serve(self) -> None:
        """Those who wait, in their order. Who gives its port back at once does so in between."""
        if self._serving:
            return
        self._serving = True
        try:
            while (found := self._next()) is not None:
                wanted, served = found
                self.look_ahead()
                if isinstance(served, Port):
                    if wanted.then is not None:
                        wanted.then(served)
                elif wanted.them is not None:
                    wanted.them(served)
        finally:
            self._serving = False

    def _next(self) -> tuple[_Wanted, Port | Places] | None:
        """The first for whose address there is a port: nobody waits behind one for whose there is
        none."""
        in_vain: set[tuple[str, int, str]] = set()
        for wanted in self._wanted:
            kind = (wanted.address, wanted.places, wanted.other)
            if kind in in_vain:
                continue
            found: Port | Places | None = (
                self._take(wanted.user, wanted.address)
                if wanted.user is not None
                else self._keep(wanted.places, wanted.address, wanted.other)
            )
            if found is not None:
                self._wanted.remove(wanted)
                return wanted, found
            in_vain.add(kind)
        return None

    def _keep(self, most: int, address: str, other: str) -> Places | None:
        """Of the worker that has fewest calls, if all that it can have of those are free."""
        found: MediaWorker | None = None
        for one in self._workers:
            if not one.free:
                continue
            for needed in (address, other):
                if needed and needed not in one.addresses:
                    self.prepare(one, needed)
            if (
                one.addresses.get(address)
                and (not other or one.addresses.get(other))
                and one.free >= min(most, one.size)
                and (found is None or one.free > found.free)
            ):
                found = one
        if found is None:
            return None
        places = Places(self, found, min(most, found.size))
        found.kept.append(places)
        return places

    def _take(self, user: User, address: str) -> Port | None:
        """The worker that has fewest calls takes it, so that one that dies takes few with it."""
        found: MediaWorker | None = None
        for one in self._workers:
            if not one.free:
                continue
            if address not in one.addresses:
                self.prepare(one, address)
            elif one.addresses[address] and (found is None or len(one.ports) < len(found.ports)):
                found = one
        if found is None:
            return None
        return self.port(found, user)

    def port(self, worker: MediaWorker, user: User, places: Places | None = None) -> Port:
        """A port of that worker, for a call that is expected now."""
        self._ports += 1
        port = Port(worker, self._ports, self._token(), user, places)
        worker.ports[port.number] = port
        worker.taken += 1
        if places is not None:
            places.used += 1
        if worker.taken >= self._settings.calls:
            worker.retired = True
        worker.order(Expect(port.number, port.key))
        return port

    def _ports_of(self, worker: MediaWorker) -> tuple[int, int]:
        """Where a worker looks for ports for audio: each begins elsewhere, so that few are in use
        there already."""
        first, last = self._settings.ports
        if first and last - first > _APART:
            first += (worker.number * _APART) % (last - first - _APART) // 2 * 2
        return first, last

    def prepare(self, worker: MediaWorker, address: str) -> None:
        """Calls for that address may come there soon."""
        if address not in worker.addresses:
            worker.addresses[address] = False
            self._addresses.setdefault(address)
            worker.order(Prepare(address, *self._ports_of(worker)))

    # --- what becomes of workers

    def ready(self, worker: MediaWorker) -> None:
        """It takes calls."""
        log.debug("%r is ready for %d calls", worker, worker.size)
        for address in [*self._settings.addresses, *self._addresses]:
            self.prepare(worker, address)
        self._serve()
        self.look_ahead()

    def prepared(self, worker: MediaWorker, said: Prepared) -> None:
        """It takes calls for that address, or not."""
        if not said.error:
            worker.addresses[said.address] = True
            self._serve()
            return
        if said.address not in self._refused:
            log.error("no audio at %s: %s", said.address, said.error)
            self._refused.add(said.address)
        for one in [
            one
            for one in self._wanted
            if one.address in self._refused or one.other in self._refused
        ]:
            self._give_up(one)

    def freed(self, worker: MediaWorker) -> None:
        """One of its ports is free."""
        if worker.retired and worker.idle and not worker.over:
            self._end(worker)
        self._serve()
        self.look_ahead()

    def lost(self, worker: MediaWorker) -> None:
        """Its process is gone."""
        if worker in self._workers:
            self._workers.remove(worker)
        if self._closed:
            return
        self.failed += 1
        log.error("%r has died", worker)
        # Not at once: what has killed it may kill the next one as well.
        self._later()
        self.look_ahead()

    def close(self) -> None:
        """The switch stops: all end."""
        self._closed = True
        wanted, self._wanted = self._wanted, deque()
        for one in wanted:
            one.nothing()
        for worker in list(self._workers):
            self._end(worker)
