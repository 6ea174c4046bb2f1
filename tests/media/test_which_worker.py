"""The pool of media workers, without a process: who takes a call, how many workers are kept, and
what becomes of calls whose worker dies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from softswitch.media.orders import (
    LOOPBACK,
    Ask,
    CallOut,
    Digit,
    Echo,
    Expect,
    File,
    Gone,
    Here,
    Join,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Record,
    Recorded,
    Release,
    Said,
    StopRecording,
    Up,
)
from softswitch.media.pool import (
    AGAIN,
    COMES_WITHIN,
    STARTS_WITHIN,
    MediaWorker,
    Places,
    PoolSettings,
    Port,
    Workers,
)
from softswitch.sip import Timers

HERE = "192.0.2.1"
ELSEWHERE = "198.51.100.1"
SETTINGS = PoolSettings(spare=2, most=5, calls=1000, waiting=10, addresses=(HERE,))


class FakeLine:
    """The way to a worker that does nothing but hang up when it is told to."""

    def __init__(self, worker: MediaWorker) -> None:
        self.worker = worker
        self.orders: list[Order] = []
        self.closed = False
        self.killed = 0

    def send(self, order: Order) -> None:
        assert not self.closed, f"{order} to a worker that has ended"
        self.orders.append(order)
        if isinstance(order, Release):
            self.worker.said(Gone(order.port))
        elif isinstance(order, Ask):
            self.worker.said(Here())

    def close(self) -> None:
        self.closed = True

    def kill(self, pid: int) -> None:
        self.killed = pid


class Caller:
    """Who has a port, and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.got: list[Port | None] = []

    @property
    def port(self) -> Port:
        """The only answer, which is a port."""
        (port,) = self.got
        assert port is not None
        return port

    def take(self, port: Port | None) -> None:
        self.got.append(port)

    def up(self) -> None:
        self.told.append("up")

    def digit(self, digit: str) -> None:
        self.told.append(digit)

    def played(self, job: int, error: str) -> None:
        self.told.append((job, error))

    def recorded(self, recorded: Recorded) -> None:
        self.told.append(recorded)

    def gone(self) -> None:
        self.told.append("gone")

    def lost(self) -> None:
        self.told.append("lost")


class Studio:
    """A pool, its clock, and all workers that it has ever started."""

    def __init__(self, settings: PoolSettings = SETTINGS, size: int = 2) -> None:
        self.now = 0.0
        self.size = size
        self.timers = Timers(lambda: self.now)
        self.started: list[MediaWorker] = []
        self.lines: list[FakeLine] = []
        self.refuses = False  # no process can be had
        self.bad: set[str] = set()  # addresses that cannot be prepared
        self.answered = 0
        serial = itertools.count(1)
        self.pool = Workers(settings, self.timers, lambda: f"key{next(serial)}", self._start)

    def _start(self, worker: MediaWorker) -> FakeLine | None:
        if self.refuses:
            return None
        self.started.append(worker)
        self.lines.append(FakeLine(worker))
        return self.lines[-1]

    def line(self, worker: MediaWorker) -> FakeLine:
        return self.lines[self.started.index(worker)]

    def orders(self, worker: MediaWorker, kind: type[Order]) -> list[Order]:
        return [order for order in self.line(worker).orders if isinstance(order, kind)]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.timers.advance()
        self.now = end

    def ready(self, *workers: MediaWorker, prepared: bool = True) -> None:
        """They have started; `prepared`: they are also for the addresses that they are told."""
        for worker in workers:
            number = self.started.index(worker)
            worker.said(Ready(1000 + number, 6000 + number, self.size))
        if prepared:
            self.prepare()

    def begin(self) -> None:
        """Workers start, as many as are wanted."""
        self.pool.look_ahead()
        while coming := [one for one in self.pool.workers if not one.pid]:
            self.ready(*coming)

    def prepare(self) -> None:
        """All that was to be prepared is, or cannot be."""
        for worker, line in zip(self.started, self.lines, strict=True):
            for order in list(line.orders):
                if isinstance(order, Prepare) and not worker.addresses[order.address]:
                    error = "no such address" if order.address in self.bad else ""
                    worker.said(Prepared(order.address, error))

    def want(self, address: str = HERE) -> Caller:
        caller = Caller()
        self.pool.want(caller, address, caller.take)
        return caller

    def keep(self, most: int, address: str = HERE) -> list[Places | None]:
        """What comes of wanting so many places of one worker."""
        got: list[Places | None] = []
        self.pool.keep(most, address, got.append)
        return got

    def die(self, worker: MediaWorker) -> None:
        self.line(worker).closed = True
        worker.lost()


@pytest.fixture
def studio() -> Iterator[Studio]:
    """With its first workers ready: four ports."""
    made = Studio()
    made.begin()
    yield made
    made.pool.close()
    made.run(60.0)
    assert not made.pool.workers
    assert all(line.closed for line in made.lines)


def with_settings(**changed: object) -> PoolSettings:
    return msgspec.structs.replace(SETTINGS, **changed)


# --- how many there are


def test_none_without_need() -> None:
    studio = Studio(with_settings(spare=0))
    studio.pool.look_ahead()
    assert not studio.started
    caller = studio.want()
    assert caller.got == [None]
    assert not studio.started


def test_they_are_started_ahead_of_need(studio: Studio) -> None:
    # As long as none is ready nobody knows how many calls one takes.
    assert len(studio.started) == 2
    assert studio.pool.free == 4
    callers = [studio.want() for _ in range(2)]
    assert len(studio.started) == 2, "two ports are still free"
    callers.append(studio.want())
    assert len(studio.started) == 3
    assert all(len(one.got) == 1 for one in callers)
    callers.append(studio.want())
    assert len(studio.started) == 3, "that one will have two ports"
    assert (studio.pool.busy, studio.pool.free) == (4, 0)


def test_of_large_ones_one_is_enough() -> None:
    studio = Studio(with_settings(spare=1), size=50)
    studio.begin()
    assert len(studio.started) == 1
    for _ in range(49):
        assert studio.want().port
    assert len(studio.started) == 1
    assert studio.want().port
    assert len(studio.started) == 2


def test_never_more_than_most(studio: Studio) -> None:
    callers = []
    for _ in range(30):
        callers.append(studio.want())
        studio.begin()
    assert len(studio.started) == 5
    assert sum(1 for one in callers if one.got and one.got[0] is not None) == 10
    assert studio.pool.busy == 10


def test_idle_ones_are_let_go(studio: Studio) -> None:
    callers = [studio.want() for _ in range(8)]
    studio.begin()
    assert studio.pool.busy == 8
    assert len(studio.pool.workers) == 5
    for caller in callers:
        caller.port.release()
    assert studio.pool.busy == 0
    # Those that were wanted, and one more, so that none is started and ended again by each call.
    assert len(studio.pool.workers) == 2
    assert studio.pool.free == 4
    assert sum(line.closed for line in studio.lines) == 3
    assert studio.pool.failed == 0


def test_none_is_let_go_while_somebody_waits_for_it(studio: Studio) -> None:
    """Those that are ready, and not yet prepared, look idle."""
    callers = [studio.want() for _ in range(8)]
    coming = studio.started[2:]
    studio.ready(*coming, prepared=False)
    assert not any(line.closed for line in studio.lines)
    studio.prepare()
    assert all(caller.port for caller in callers)
    assert len(studio.started) == 5


def test_one_with_a_call_is_never_let_go(studio: Studio) -> None:
    callers = [studio.want() for _ in range(8)]
    studio.begin()
    stays = callers[0].port
    for caller in callers[1:]:
        caller.port.release()
    assert stays.worker in studio.pool.workers
    assert not studio.line(stays.worker).closed
    assert callers[0].told == []


def test_other_settings(studio: Studio) -> None:
    studio.pool.take_up(with_settings(spare=6))
    assert len(studio.started) == 3
    studio.begin()
    assert studio.pool.free == 6
    studio.pool.take_up(with_settings(spare=2))
    assert studio.pool.free == 4


def test_none_is_kept_when_nothing_is_played_any_more(studio: Studio) -> None:
    caller = studio.want()
    studio.pool.take_up(with_settings(spare=0))
    assert studio.pool.workers == [caller.port.worker]
    caller.port.release()
    assert not studio.pool.workers


def test_after_so_many_calls_one_retires() -> None:
    studio = Studio(with_settings(spare=1, calls=3), size=10)
    studio.begin()
    (first,) = studio.started
    callers = [studio.want() for _ in range(3)]
    assert first.retired
    assert first.free == 0
    assert len(studio.started) == 2, "another one is started in its place"
    studio.begin()
    late = studio.want()
    assert late.port.worker is studio.started[1]
    callers[0].port.release()
    callers[1].port.release()
    assert not studio.line(first).closed
    first.said(Gone(callers[2].port.number))
    assert callers[2].told == ["gone"]
    assert studio.line(first).closed
    assert first not in studio.pool.workers
    first.lost()  # its process ends
    assert studio.pool.failed == 0
    assert late.told == []


# --- who takes a call


def test_calls_are_spread(studio: Studio) -> None:
    one, other = studio.started
    callers = [studio.want() for _ in range(4)]
    assert len(one.ports) == len(other.ports) == 2
    assert {caller.port.worker for caller in callers[:2]} == {one, other}


def test_a_port(studio: Studio) -> None:
    caller = studio.want()
    port = caller.port
    worker = port.worker
    assert studio.orders(worker, Expect) == [Expect(port.number, port.key)]
    assert port.sip == worker.sip
    assert port.play((File("a.wav"),)) == 1
    assert port.play((), loop=True) == 2
    port.echo()
    port.echo(False)
    assert port.record("m.wav", 60.0, 3.0) == 3
    port.stop_recording()
    n = port.number
    recorded = Recorded(n, 3, 5.0, 0.0, "stopped")
    said: list[Said] = [Up(n), Digit(n, "5"), Played(n, 2), Played(n, 1, "why"), recorded]
    for one in said:
        worker.said(one)
    assert caller.told == ["up", "5", (2, ""), (1, "why"), recorded]
    port.release()
    port.release()
    assert studio.line(worker).orders[-7:] == [
        Play(n, 1, (File("a.wav"),)),
        Play(n, 2, (), True),
        Echo(n),
        Echo(n, False),
        Record(n, 3, "m.wav", 60.0, 3.0),
        StopRecording(n),
        Release(n),
    ]
    worker.said(Digit(n, "6"))
    worker.said(Gone(n))
    worker.said(Up(4711))
    assert caller.told == ["up", "5", (2, ""), (1, "why"), recorded]
    assert studio.pool.busy == 0


def test_ports_and_keys_are_never_used_again(studio: Studio) -> None:
    seen: set[tuple[int, str]] = set()
    for _ in range(20):
        port = studio.want().port
        seen.add((port.number, port.key))
        port.release()
    assert len({number for number, _ in seen}) == len({key for _, key in seen}) == 20


def test_a_call_that_is_over_frees_its_port(studio: Studio) -> None:
    caller = studio.want()
    port = caller.port
    port.worker.said(Gone(port.number))
    assert caller.told == ["gone"]
    assert studio.pool.busy == 0
    port.release()
    assert not studio.orders(port.worker, Release)


# --- who waits


def test_waiting_for_one_that_starts() -> None:
    studio = Studio()
    callers = [studio.want() for _ in range(3)]
    assert not any(one.got for one in callers)
    coming = studio.pool.workers
    assert coming
    studio.run(1.0)
    studio.ready(coming[0])
    assert [len(one.got) for one in callers] == [1, 1, 0], "in their order"
    studio.begin()
    assert all(one.port for one in callers)
    studio.run(COMES_WITHIN)
    assert all(len(one.got) == 1 for one in callers)


def test_waiting_for_a_port_that_becomes_free() -> None:
    studio = Studio(with_settings(spare=1, most=1))
    studio.begin()
    first, second, third = (studio.want() for _ in range(3))
    assert third.got == []
    second.port.release()
    assert third.port
    fourth = studio.want()
    first.port.worker.said(Gone(first.port.number))
    assert fourth.port


def test_whoever_waits_too_long_gets_none() -> None:
    studio = Studio()
    first = studio.want()
    studio.run(1.0)
    second = studio.want()
    studio.run(COMES_WITHIN - 1.1)
    assert first.got == []
    studio.run(0.2)
    assert first.got == [None]
    assert second.got == []
    studio.begin()
    assert second.port
    assert first.got == [None]
    assert studio.pool.busy == 1


def test_only_so_many_wait() -> None:
    studio = Studio(with_settings(waiting=3))
    callers = [studio.want() for _ in range(5)]
    assert [one.got for one in callers] == [[], [], [], [None], [None]]


def test_who_gets_a_port_may_give_it_back_at_once() -> None:
    """As whoever waited so long that the caller has hung up."""
    studio = Studio(with_settings(spare=1, most=1), size=1)
    got: list[str] = []

    def back(port: Port | None) -> None:
        assert port is not None
        got.append(port.key)
        port.release()

    for _ in range(5):
        studio.pool.want(Caller(), HERE, back)
    last = studio.want()
    studio.begin()
    assert len(got) == 5
    assert last.port
    assert studio.pool.busy == 1


def test_many_who_have_waited_give_it_back_at_once() -> None:
    """However many they are: the stack is not deep enough for all of them within each other."""
    studio = Studio(with_settings(spare=1, most=1, waiting=2000), size=1)
    served = 0

    def back(port: Port | None) -> None:
        nonlocal served
        assert port is not None
        served += 1
        port.release()

    for _ in range(2000):
        studio.pool.want(Caller(), HERE, back)
    studio.begin()
    assert served == 2000
    assert studio.pool.busy == 0


# --- those that die


def test_one_that_dies_takes_only_its_own_with_it(studio: Studio) -> None:
    callers = [studio.want() for _ in range(4)]
    one, other = studio.started[:2]
    released = callers.pop()
    released.port.release()
    theirs = [caller for caller in callers if caller.port.worker is one]
    assert theirs
    studio.die(one)
    studio.die(one)
    for caller in callers:
        assert caller.told == (["lost"] if caller in theirs else [])
        assert len(caller.got) == 1
    assert released.told == []
    assert studio.pool.failed == 1
    assert one not in studio.pool.workers
    assert other in studio.pool.workers
    for caller in theirs:  # what is ordered of it comes to nothing
        assert caller.port.play(()) == 1
        caller.port.release()
        one.said(Gone(caller.port.number))
        assert caller.told == ["lost"]
    assert studio.pool.busy == len(callers) - len(theirs)


def test_another_one_is_started_for_it(studio: Studio) -> None:
    studio.pool.take_up(with_settings(spare=4))
    assert len(studio.started) == 2
    studio.die(studio.started[0])
    assert len(studio.started) == 2, "not at once: what has killed it may kill the next one"
    studio.run(AGAIN + 0.1)
    assert len(studio.started) == 3
    studio.begin()
    assert studio.pool.free == 4


def test_who_was_lost_may_want_another_port(studio: Studio) -> None:
    again = Caller()

    class Stubborn(Caller):
        def lost(self) -> None:
            super().lost()
            studio.pool.want(again, HERE, again.take)

    stubborn = Stubborn()
    studio.pool.want(stubborn, HERE, stubborn.take)
    worker = stubborn.port.worker
    studio.die(worker)
    assert stubborn.told == ["lost"]
    assert again.port.worker is not worker


def test_one_that_dies_before_it_is_ready() -> None:
    studio = Studio(with_settings(spare=1))
    studio.pool.look_ahead()
    caller = studio.want()
    count = len(studio.started)
    for worker in studio.pool.workers:
        studio.die(worker)
    assert studio.pool.failed == count
    studio.run(AGAIN / 2)
    assert len(studio.started) == count, "not at once: the next one might die as well"
    studio.run(AGAIN + 0.1)
    assert len(studio.started) > count
    assert caller.got == []
    studio.begin()
    assert caller.port


def test_however_often_they_die_only_so_many_are_started() -> None:
    studio = Studio(with_settings(spare=1))
    studio.pool.look_ahead()
    for _ in range(100):
        for worker in studio.pool.workers:
            studio.die(worker)
        studio.run(0.1)
    assert len(studio.started) <= 11


def test_no_process_can_be_had() -> None:
    studio = Studio(with_settings(spare=1))
    studio.refuses = True
    caller = studio.want()
    assert studio.pool.workers == []
    assert caller.got == []
    studio.refuses = False
    studio.run(AGAIN + 0.1)
    studio.begin()
    assert caller.port


def test_one_that_never_gets_ready(caplog: pytest.LogCaptureFixture) -> None:
    studio = Studio(with_settings(spare=1))
    studio.pool.look_ahead()
    (first,) = studio.started
    studio.run(STARTS_WITHIN - 0.1)
    assert not studio.line(first).closed
    studio.run(0.2)
    assert studio.line(first).closed
    assert first not in studio.pool.workers
    assert "did not start within 10 s" in caplog.text
    studio.run(AGAIN + 0.1)
    assert len(studio.started) == 2
    studio.begin()
    studio.run(STARTS_WITHIN * 2)
    assert not studio.lines[1].closed, "it was ready in time"
    assert studio.pool.failed == 1


# --- its end


def test_close() -> None:
    studio = Studio(with_settings(spare=1, most=1))
    studio.begin()
    first, second, third = (studio.want() for _ in range(3))
    studio.pool.close()
    assert third.got == [None]
    assert not studio.pool.workers
    assert all(line.closed for line in studio.lines)
    assert studio.want().got == [None]
    first.port.release()
    second.port.worker.lost()
    studio.pool.take_up(with_settings(spare=5))
    studio.run(60.0)
    assert len(studio.started) == 1
    assert studio.pool.failed == 0
    assert (first.told, second.told) == ([], [])


def test_close_while_some_start(caplog: pytest.LogCaptureFixture) -> None:
    studio = Studio(with_settings(spare=2))
    studio.pool.look_ahead()
    worker, _ = studio.started
    studio.pool.close()
    worker.said(Ready(1, 2, 3))
    worker.lost()
    studio.run(60.0)
    assert len(studio.started) == 2
    assert studio.pool.failed == 0
    assert not caplog.text, "the other one is not waited for"


# --- addresses


def prepared(studio: Studio, worker: MediaWorker) -> list[str]:
    return [order.address for order in studio.line(worker).orders if isinstance(order, Prepare)]


def test_none_comes_before_the_address_is_prepared() -> None:
    studio = Studio(with_settings(spare=1))
    caller = studio.want()
    studio.ready(*studio.started, prepared=False)
    assert prepared(studio, studio.started[0]) == [HERE]
    assert caller.got == []
    assert not studio.orders(studio.started[0], Expect)
    studio.prepare()
    assert caller.port


def test_an_address_that_nobody_knew_of(studio: Studio) -> None:
    caller = studio.want(ELSEWHERE)
    assert caller.got == []
    assert studio.want(HERE).port, "others need not wait for it"
    studio.prepare()
    assert caller.port
    assert studio.want(ELSEWHERE).port
    studio.pool.take_up(with_settings(spare=6))
    studio.begin()
    for worker in studio.started:
        assert sorted(prepared(studio, worker)) == [HERE, ELSEWHERE], "and once only"


def test_calls_for_an_address_that_nobody_knew_of_are_spread(studio: Studio) -> None:
    studio.want(ELSEWHERE)
    studio.prepare()
    studio.want(ELSEWHERE)
    assert [len(worker.ports) for worker in studio.started] == [1, 1]


def test_an_address_that_cannot_be_prepared(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    studio.bad.add(ELSEWHERE)
    callers = [studio.want(ELSEWHERE) for _ in range(3)]
    studio.prepare()
    assert f"no audio at {ELSEWHERE}: no such address" in caplog.text
    assert studio.want(HERE).port
    studio.run(COMES_WITHIN + 0.1)
    assert [caller.got for caller in callers] == [[None]] * 3
    for worker in studio.started:
        assert len(studio.orders(worker, Expect)) == len(worker.ports)


def test_nobody_waits_behind_one_whose_address_cannot_be_prepared() -> None:
    studio = Studio(with_settings(spare=1, most=1), size=1)
    studio.begin()
    holds = studio.want(HERE)
    studio.bad.add(ELSEWHERE)
    hopeless, good = studio.want(ELSEWHERE), studio.want(HERE)
    holds.port.release()
    studio.prepare()
    assert good.port
    assert hopeless.got == [None], "and need not wait for what cannot come"
    studio.run(COMES_WITHIN + 0.1)
    assert len(hopeless.got) == 1
    assert len(good.got) == 1


@pytest.mark.parametrize("ports", [(20000, 20999), (30000, 30017), (40000, 40010), (1024, 65535)])
def test_ports_for_audio_are_those_that_are_allowed(ports: tuple[int, int]) -> None:
    studio = Studio(with_settings(ports=ports, calls=1, spare=1), size=1)
    for _ in range(200):
        studio.begin()
        studio.want().port.release()
    firsts = set()
    for line in studio.lines:
        for order in line.orders:
            if isinstance(order, Prepare):
                firsts.add(order.first)
                assert order.last == ports[1]
                assert ports[0] <= order.first < order.last
                assert (order.first - ports[0]) % 2 == 0
    assert len(studio.lines) > 150
    if ports[1] - ports[0] > 100:
        assert len(firsts) > 10, "each begins elsewhere"


def test_any_port_for_audio(studio: Studio) -> None:
    for worker in studio.started:
        assert studio.orders(worker, Prepare) == [Prepare(HERE)]


# --- several places of one worker


def places_of(got: list[Places | None]) -> Places:
    (places,) = got
    assert places is not None
    return places


def test_places_are_of_one_worker(studio: Studio) -> None:
    places = places_of(studio.keep(12))
    assert (places.size, places.free) == (2, 2), "as many as it can have"
    assert places.worker.free == 0
    assert len(studio.started) == 2, "there are two spare ports yet"
    first, second = Caller(), Caller()
    port = places.port(first)
    places.port(second)
    assert places.free == 0
    with pytest.raises(AssertionError, match="no place is free"):
        places.port(Caller())
    assert studio.orders(places.worker, Expect)[0] == Expect(port.number, port.key)
    port.release()
    assert (places.free, places.worker.free) == (1, 0), "it stays kept"
    other = studio.want()
    assert other.port.worker is not places.worker
    (number,) = places.worker.ports
    places.worker.said(Gone(number))
    assert second.told == ["gone"]
    assert places.free == 2
    places.close()
    places.close()
    assert places.free == 0
    assert other.told == []


def test_few_places_of_a_large_worker() -> None:
    studio = Studio(with_settings(spare=1), size=10)
    studio.begin()
    one, two = places_of(studio.keep(4)), places_of(studio.keep(4))
    assert one.worker is two.worker
    assert one.worker.free == 2
    got = studio.keep(4)
    studio.begin()
    three = places_of(got)
    assert three.worker is not one.worker
    one.close()
    assert one.worker.free == 6
    for places in (two, three):
        places.close()
    studio.pool.close()


def test_one_with_calls_is_not_whole(studio: Studio) -> None:
    """Another one is started, at once."""
    callers = [studio.want(), studio.want()]
    assert len({one.port.worker for one in callers}) == 2
    got = studio.keep(2)
    assert got == []
    studio.begin()
    assert not places_of(got).worker.ports
    places_of(got).close()


def test_no_whole_one_in_time(studio: Studio) -> None:
    """As many as there may be have a call each: whoever wants one waits in vain, not for long."""
    studio.pool.take_up(with_settings(most=2))
    for _ in range(2):
        studio.want()
    got = studio.keep(2)
    assert studio.want().got, "a single port is free: nobody waits behind who waits for more"
    studio.run(COMES_WITHIN - 0.1)
    assert got == []
    studio.run(0.2)
    assert got == [None]


def test_whoever_waits_for_a_whole_one_gets_it_as_it_is_free(studio: Studio) -> None:
    studio.pool.take_up(with_settings(most=2))
    callers = [studio.want() for _ in range(2)]
    worker = callers[0].port.worker
    got = studio.keep(2)
    callers[0].port.release()
    assert places_of(got).worker is worker
    places_of(got).close()


def test_several_wait_for_whole_ones() -> None:
    studio = Studio(with_settings(spare=1, most=10), size=4)
    got = [studio.keep(4) for _ in range(4)]
    studio.begin()
    workers = [places_of(one).worker for one in got]
    assert len(set(workers)) == 4
    assert len(studio.started) == 5, "and one that is spare"
    for one in got:
        places_of(one).close()
    assert len(studio.pool.workers) < 5
    studio.pool.close()


def test_kept_places_keep_a_worker(studio: Studio) -> None:
    """It is not let go while nobody is there yet, nor when it has had its calls."""
    studio.pool.take_up(with_settings(calls=1))
    places = places_of(studio.keep(2))
    caller = Caller()
    places.port(caller).release()
    assert places.worker.retired
    assert not studio.line(places.worker).closed
    places.port(caller)  # whoever keeps them may still use them
    assert places.free == 1
    places.close()
    assert not studio.line(places.worker).closed, "somebody is there"
    (number,) = places.worker.ports
    places.worker.said(Gone(number))
    assert studio.line(places.worker).closed


def test_places_of_one_that_dies(studio: Studio) -> None:
    places = places_of(studio.keep(2))
    caller = Caller()
    places.port(caller)
    studio.die(places.worker)
    assert caller.told == ["lost"]
    assert places.free == 0
    places.close()
    studio.run(AGAIN)
    assert places.worker not in studio.pool.workers


def test_places_for_an_address_that_is_new(studio: Studio) -> None:
    got = studio.keep(2, ELSEWHERE)
    assert got == []
    studio.prepare()
    assert places_of(got).worker.addresses[ELSEWHERE]
    places_of(got).close()


def test_places_for_an_address_that_cannot_be_had(studio: Studio) -> None:
    studio.bad.add(ELSEWHERE)
    got = studio.keep(2, ELSEWHERE)
    studio.prepare()
    assert got == [None]
    assert studio.keep(2, ELSEWHERE) == [None], "at once"


def test_no_places_when_nothing_is_played() -> None:
    studio = Studio(with_settings(spare=0))
    assert studio.keep(4) == [None]
    assert not studio.started


def test_who_waits_for_places_when_the_switch_stops() -> None:
    studio = Studio()
    got = studio.keep(4)
    studio.pool.close()
    assert got == [None]


def test_a_call_to_another_worker(studio: Studio) -> None:
    near, far = places_of(studio.keep(2)), places_of(studio.keep(2))
    one, other = near.port(Caller()), far.port(Caller())
    one.call(other)
    one.join("a")
    assert studio.line(near.worker).orders[-3:] == [
        Prepare(LOOPBACK),
        CallOut(one.number, f"sip:{other.key}@127.0.0.1:{other.sip}"),
        Join(one.number, "a"),
    ]
    for places, port in ((near, one), (far, other)):
        port.release()
        places.close()
