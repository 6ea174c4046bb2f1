"""The pool of media workers, without processes: the test is what they tell."""

from __future__ import annotations

import itertools

import pytest

from softswitch.media import MediaWorker, PoolSettings, Port, Workers
from softswitch.media.orders import (
    Ask,
    Digit,
    Expect,
    Gone,
    Here,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Recorded,
    Release,
    StopStream,
    Stream,
    StreamEnded,
    Streaming,
    Up,
)
from softswitch.media.pool import AGAIN, ASKS, COMES_WITHIN, SILENT, STARTS_WITHIN
from softswitch.sip import Timers

HERE = "192.0.2.1"


class Process:
    """A worker's process."""

    def __init__(self, worker: MediaWorker) -> None:
        self.worker = worker
        self.orders: list[Order] = []
        self.closed = self.killed = False
        self.answers = True
        self.refuses = ""
        self.says: list[Prepared | Here | Gone] = []

    def send(self, order: Order) -> None:
        self.orders.append(order)
        if isinstance(order, Prepare) and self.answers:
            self.says.append(Prepared(order.address, self.refuses))
        elif isinstance(order, Ask) and self.answers:
            self.says.append(Here())
        elif isinstance(order, Release) and self.answers:
            self.says.append(Gone(order.port))

    def settle(self) -> bool:
        """What it tells by itself comes later than it was ordered; whether there was something."""
        says, self.says = self.says, []
        for said in says:
            self.worker.said(said)
        return bool(says)

    def close(self) -> None:
        self.closed = True

    def kill(self, pid: int) -> None:
        self.killed = True
        self.worker.lost()

    def ready(self, size: int = 4) -> None:
        self.worker.said(Ready(100 + self.worker.number, 5000 + self.worker.number, size))

    def of(self, kind: type) -> list[Order]:
        return [order for order in self.orders if isinstance(order, kind)]


class Caller:
    """Who has a port, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.port: Port | None = None
        self.answered = False

    def got(self, port: Port | None) -> None:
        self.answered, self.port = True, port

    def up(self) -> None:
        self.told.append("up")

    def digit(self, digit: str) -> None:
        self.told.append(digit)

    def played(self, job: int, error: str) -> None:
        self.told.append(f"played {job} {error}".strip())

    def recorded(self, recorded: Recorded) -> None:
        self.told.append(f"recorded {recorded.why}")

    def streaming(self, job: int) -> None:
        self.told.append(f"streaming {job}")

    def stream_ended(self, ended: StreamEnded) -> None:
        self.told.append(f"{ended.why} {ended.job}")

    def gone(self) -> None:
        self.told.append("gone")

    def lost(self) -> None:
        self.told.append("lost")


class Pool:
    """With its processes, and a clock that the test moves."""

    def __init__(self, **settings: int | tuple[str, ...] | tuple[int, int]) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        self.processes: list[Process] = []
        self.cannot = False
        tokens = itertools.count(1)
        given = {"spare": 2, "most": 3, **settings}
        self.workers = Workers(
            PoolSettings(**given),  # type: ignore[arg-type]
            self.timers,
            lambda: f"key{next(tokens)}",
            self._start,
        )

    def _start(self, worker: MediaWorker) -> Process | None:
        if self.cannot:
            return None
        self.processes.append(Process(worker))
        return self.processes[-1]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.05, end)
            self.timers.advance()
            self.settle()

    def settle(self) -> None:
        while sum(process.settle() for process in self.processes):
            pass

    def begin(self, size: int = 4) -> None:
        self.workers.look_ahead()
        for process in list(self.processes):
            process.ready(size)
        self.settle()

    def call(self, address: str = HERE) -> Caller:
        caller = Caller()
        self.workers.want(caller, address, caller.got)
        self.settle()
        return caller


def fully(pool: Pool) -> list[Caller]:
    """All ports of all workers that there may be are taken."""
    pool.begin()
    callers = []
    for _ in range(12):
        callers.append(pool.call())
        for process in pool.processes:
            if not process.worker.pid:
                process.ready()
        pool.settle()
    return callers


def test_ahead_of_need() -> None:
    pool = Pool(spare=5, most=10)
    pool.workers.look_ahead()
    assert len(pool.processes) == 5, "how many calls each takes is not known yet"
    for process in pool.processes:
        process.ready()
    pool.run(1)
    kept = [one for one in pool.processes if not one.closed]
    assert pool.workers.free == 4 * len(kept)
    assert 5 <= pool.workers.free <= 12


def test_a_call_goes_where_fewest_are() -> None:
    pool = Pool(spare=6)
    pool.begin()
    callers = [pool.call() for _ in range(4)]
    used = [one.port.worker.number for one in callers if one.port is not None]
    assert sorted(used[:2]) != [used[0], used[0]]
    assert len(set(used)) >= 2
    keys = [one.port.key for one in callers if one.port is not None]
    assert len(set(keys)) == 4
    expected = [order for process in pool.processes for order in process.of(Expect)]
    assert sorted(order.key for order in expected if isinstance(order, Expect)) == sorted(keys)


def test_what_a_worker_tells_is_told_the_one_who_has_the_port() -> None:
    pool = Pool()
    pool.begin()
    one, other = pool.call(), pool.call()
    assert one.port is not None
    worker, number = one.port.worker, one.port.number
    for said in (Up(number), Digit(number, "5"), Played(number, 7), Played(number, 8, "no file")):
        worker.said(said)
    worker.said(Recorded(number, 9, 1.0, 0.0, "gone"))
    worker.said(Gone(number))
    worker.said(Digit(number, "6"))
    assert one.told == ["up", "5", "played 7", "played 8 no file", "recorded gone", "gone"]
    assert other.told == []
    assert number not in worker.ports


def test_a_stream() -> None:
    """The order is filled in with the port and a job of its own."""
    pool = Pool()
    pool.begin()
    one = pool.call()
    port = one.port
    assert port is not None
    process = next(each for each in pool.processes if each.worker is port.worker)
    played, job = port.play(()), port.stream(Stream(0, 0, "ws://x/", "sid", "call"))
    assert job != played
    port.stop_stream()
    assert process.of(Stream) == [Stream(port.number, job, "ws://x/", "sid", "call")]
    assert process.of(StopStream) == [StopStream(port.number)]
    port.worker.said(Streaming(port.number, job))
    port.worker.said(StreamEnded(port.number, job, "closed"))
    assert one.told[-2:] == [f"streaming {job}", f"closed {job}"]


def test_release() -> None:
    pool = Pool()
    pool.begin()
    one = pool.call()
    assert one.port is not None
    worker = one.port.worker
    assert one.port.play(()) == 1
    assert one.port.play(()) == 2
    one.port.release()
    one.port.release()
    process = next(p for p in pool.processes if p.worker is worker)
    assert [order.job for order in process.of(Play) if isinstance(order, Play)] == [1, 2]
    assert len(process.of(Release)) == 1
    worker.said(Gone(one.port.number))
    assert one.told == []
    assert pool.workers.busy == 0


def test_more_than_there_is_room_for() -> None:
    """The thirteenth of twelve waits, and has the port of who leaves first; or gives up."""
    pool = Pool()
    callers = fully(pool)
    assert all(one.port is not None for one in callers)
    late, later = pool.call(), pool.call()
    assert not late.answered
    assert callers[0].port is not None
    callers[0].port.release()
    assert not late.answered, "its worker would refuse it yet"
    pool.settle()
    assert late.port is not None
    assert not later.answered
    pool.run(COMES_WITHIN + 0.2)
    assert later.answered
    assert later.port is None
    assert len(pool.processes) == 3


def test_so_many_may_wait() -> None:
    pool = Pool(waiting=1)
    fully(pool)
    first, second = pool.call(), pool.call()
    assert not first.answered
    assert second.answered
    assert second.port is None


def test_nobody_speaks() -> None:
    pool = Pool(spare=0)
    pool.workers.look_ahead()
    assert not pool.processes
    caller = pool.call()
    assert caller.answered
    assert caller.port is None


def test_one_that_died() -> None:
    """Who was there is told, once; nobody else. Another takes its place after a pause."""
    pool = Pool(spare=6)
    pool.begin()
    callers = [pool.call() for _ in range(4)]
    assert callers[0].port is not None
    dead = callers[0].port.worker
    count = len(pool.processes)
    dead.lost()
    dead.lost()
    for one in callers:
        assert one.port is not None
        assert one.told == (["lost"] if one.port.worker is dead else [])
    assert pool.workers.failed == 1
    pool.run(AGAIN - 0.1)
    assert len(pool.processes) == count
    pool.run(0.2)
    assert len(pool.processes) >= count


def test_what_kills_each_is_no_storm() -> None:
    pool = Pool()
    pool.workers.look_ahead()
    for _ in range(100):
        for process in pool.processes:
            if not process.worker.over:
                process.ready()
                process.worker.lost()
        pool.run(0.1)
    assert len(pool.processes) <= 2 * (100 * 0.1 / AGAIN + 2)


@pytest.mark.parametrize("cannot", [True, False])
def test_one_that_does_not_start(cannot: bool) -> None:
    pool = Pool(spare=1)
    pool.cannot = cannot
    pool.workers.look_ahead()
    caller = pool.call()
    pool.run(0.5)
    pool.cannot = False
    if cannot:
        pool.run(AGAIN)
    else:
        pool.run(STARTS_WITHIN)
        assert pool.processes[0].closed
        pool.run(AGAIN + 0.1)
        caller = pool.call()
    pool.processes[-1].ready()
    pool.settle()
    assert caller.port is not None


def test_one_that_hangs() -> None:
    pool = Pool()
    pool.begin()
    caller = pool.call()
    assert caller.port is not None
    process = next(p for p in pool.processes if p.worker is caller.port.worker)
    pool.run(ASKS * 5)
    assert not process.killed
    process.answers = False
    pool.run(ASKS * (SILENT + 1.2))
    assert process.killed
    assert caller.told == ["lost"]


def test_so_many_calls_and_it_makes_room() -> None:
    pool = Pool(spare=1, calls=3)
    pool.begin()
    first = pool.processes[0]
    callers = [pool.call() for _ in range(3)]
    assert first.worker.retired
    for process in pool.processes[1:]:
        process.ready()
    other = pool.call()
    assert other.port is not None
    assert other.port.worker is not first.worker
    for one in callers:
        assert not first.closed
        assert one.port is not None
        one.port.release()
        assert not first.closed
        pool.settle()
    assert first.closed
    assert pool.workers.failed == 0


def test_an_address_is_made_ready_first() -> None:
    pool = Pool(addresses=(HERE,))
    pool.begin()
    for process in pool.processes:
        assert [order.address for order in process.of(Prepare) if isinstance(order, Prepare)] == [
            HERE
        ]
        process.answers = False
    caller = pool.call("192.0.2.2")
    assert not caller.answered
    asked = [p for p in pool.processes if len(p.of(Prepare)) == 2]
    asked[0].worker.said(Prepared("192.0.2.2"))
    assert caller.port is not None
    assert caller.port.worker is asked[0].worker


def test_an_address_that_cannot_be() -> None:
    """Nobody waits for it, and it is said once."""
    pool = Pool()
    pool.begin()
    for process in pool.processes:
        process.refuses = "no IPv6"
    for _ in range(3):
        caller = pool.call("2001:db8::1")
        assert caller.answered
        assert caller.port is None
    assert pool.call().port is None, "it was refused too, by all"


def test_ports_for_audio_are_apart() -> None:
    pool = Pool(spare=9, ports=(20000, 20100), addresses=(HERE,))
    pool.begin()
    firsts = []
    for process in pool.processes:
        (order,) = process.of(Prepare)
        assert isinstance(order, Prepare)
        assert 20000 <= order.first < order.last == 20100
        assert order.first % 2 == 0
        firsts.append(order.first)
    assert len(set(firsts)) == len(firsts) == 3


def test_the_switch_stops() -> None:
    pool = Pool()
    fully(pool)
    late = pool.call()
    pool.workers.close()
    assert late.answered
    assert late.port is None
    assert all(process.closed for process in pool.processes)
    count = len(pool.processes)
    pool.run(10)
    assert len(pool.processes) == count
    assert pool.workers.failed == 0
