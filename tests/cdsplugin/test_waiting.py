"""What waits for a disk that refuses is not looked through again and again: 60,000 ends of calls
while the database is locked, 60,000 acknowledgements while the journal's disk is full. Counted in
looks at the queue, not in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from cds_fakes import FakeNet, FakeServer, FakeTimers, Listener

from cdsplugin.archive.disk import MemoryDisk
from cdsplugin.archive.journal import Journal
from cdsplugin.data import NoRecords, UntilRecorded
from cdsplugin.data.call import Call
from cdsplugin.data.clock import Clock
from cdsplugin.data.frames import EndOfCall
from cdsplugin.data.store import Store, StoreLimits

MANY = 60_000


class Looks(deque[Any]):
    """A queue that counts how many of its entries were touched."""

    count = 0

    def __iter__(self) -> Iterator[Any]:
        for entry in super().__iter__():
            self.count += 1
            yield entry

    def __getitem__(self, place: Any) -> Any:
        self.count += 1
        return super().__getitem__(place)

    def append(self, entry: Any) -> None:
        self.count += 1
        super().append(entry)

    def extend(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            self.append(entry)

    def popleft(self) -> Any:
        self.count += 1
        return super().popleft()


class Records:
    """An archive whose progress the test decides."""

    puts = 0
    done = 0


def test_what_was_added_waits_for_what_was_put_until_it_is_counted() -> None:
    records = Records()
    queue: UntilRecorded[str] = UntilRecorded(records)
    queue.add("a")
    records.puts = 1  # its record
    assert queue.take(9) == []
    queue.count()
    queue.add("b")
    records.puts = 2
    queue.count()
    queue.count()
    queue.add("c")
    assert (queue.take(9), len(queue)) == ([], 3)
    records.done = 1
    assert queue.take(9) == ["a"]
    records.done = 5
    assert queue.take(9) == ["b"]
    assert queue.clear() == ["c"]
    assert (len(queue), queue.take(9)) == (0, [])


def test_nobody_waits_where_there_are_no_records() -> None:
    queue: UntilRecorded[int] = UntilRecorded(NoRecords())
    for number in range(5):
        queue.add(number)
    queue.count()
    assert [queue.take(2), queue.take(2), queue.take(2)] == [[0, 1], [2, 3], [4]]


def ended_calls(records: Records) -> tuple[FakeNet, FakeServer]:
    """Calls in which ``branch`` took part, and which have ended while the database refuses."""
    net = FakeNet()
    hq = net.server("hq", "branch", records=records)
    net.server("branch", "hq")
    net.dial("hq", "branch")
    net.run()
    for number in range(MANY):
        call = Call(f"c{number}", "hq")
        hq.proxy.monitor.add(call.call_id, "branch")
        hq.proxy.ended(call)
        records.puts += 1
    return net, hq


def test_ends_that_wait_for_the_database_are_not_turned_over() -> None:
    records = Records()
    net, hq = ended_calls(records)
    hq.timers.advance(0.05)
    looks = hq.proxy._ending._waiting = Looks(hq.proxy._ending._waiting)
    assert len(looks) == MANY
    hq.timers.advance(2)  # a hundred turns
    assert looks.count <= 200
    # It works again: who waited longest comes first, and not all are told in one turn.
    records.done = 10
    hq.timers.advance(0.02)
    told = [frame.call_id for _, _, frame in net.run() if isinstance(frame, EndOfCall)]
    assert told == [f"c{number}" for number in range(len(told))]
    records.done = records.puts
    hq.timers.advance(0.02)
    some = [frame for _, _, frame in net.run() if isinstance(frame, EndOfCall)]
    assert 0 < len(some) <= 1000
    hq.timers.advance(60)
    rest = [frame for _, _, frame in net.run() if isinstance(frame, EndOfCall)]
    assert len(told) + len(some) + len(rest) == MANY
    assert looks.count <= 5 * MANY


def test_ends_that_wait_at_stop_are_told_if_all_is_stored() -> None:
    for stored, count in ((True, MANY), (False, 0)):
        net, hq = ended_calls(Records())
        hq.proxy.stop(stored)
        told = [frame for _, _, frame in net.run() if isinstance(frame, EndOfCall)]
        assert len(told) == count


class Journalled:
    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.disk = MemoryDisk(self.timers, 0.005, limit=10 * MANY)
        self.records = Records()
        self.store = Store("hq", Clock("hq", self.timers), self.timers, StoreLimits(5.0, 10.0, 100))
        self.journal = Journal(self.store, self.timers, self.disk, self.records)
        self.client = Listener()

    def end_many(self) -> None:
        for number in range(MANY):
            call_id = f"c{number}"
            self.store.register(self.client, call_id, "hq")
            self.store.write(self.client, call_id, "hq", {"n": number})
            self.records.puts += 1
            self.store.end(call_id)


def test_ended_calls_are_not_looked_through_each_second() -> None:
    world = Journalled()
    world.end_many()
    world.timers.advance(2)
    looks = world.journal._unrecorded._waiting = Looks(world.journal._unrecorded._waiting)
    assert len(looks) == MANY
    world.timers.advance(60)
    assert looks.count <= 120
    assert len(world.journal) == MANY
    # One of them goes on, and ends once more: what was put for its first end is not enough.
    world.store.register(world.client, "c7", "hq")
    world.store.write(world.client, "c7", "hq", {"again": 1})
    world.records.done = world.records.puts
    world.records.puts += 1
    world.store.end("c7")
    world.timers.advance(3)
    assert len(world.journal) == 1
    world.records.done = world.records.puts
    world.timers.advance(3)
    assert len(world.journal) == 0
    assert looks.count <= 5 * MANY


def test_who_waits_for_a_full_disk_is_not_looked_through_for_each_who_does_not() -> None:
    world = Journalled()
    journal, order = world.journal, []
    world.store.register(world.client, "c", "hq")
    world.store.write(world.client, "c", "hq", {"n": 1})
    journal.after_commit(lambda: order.append("before"))
    world.disk.full = True
    looks = journal._waiting = Looks(journal._waiting)
    world.timers.advance(0.01)
    assert (order, journal.trouble is None) == (["before"], False)
    for number in range(MANY):
        journal.after_commit(lambda number=number: order.append(number), must=True)
    looks.count = 0
    for _ in range(100):
        journal.after_commit(lambda: order.append("at once"))
    assert looks.count <= 200
    assert order == ["before", *["at once"] * 100]
    world.disk.full = False
    world.store.write(world.client, "c", "hq", {"n": 2})
    world.timers.advance(2)
    assert order[101:] == list(range(MANY))
    # The next time the disk refuses, those who came in between are called too.
    world.store.write(world.client, "c", "hq", {"n": 3})
    journal.after_commit(lambda: order.append("must"), must=True)
    journal.after_commit(lambda: order.append("need not"))
    world.disk.full = True
    world.timers.advance(0.01)
    assert order[-1] == "need not"
    world.disk.full = False
    world.timers.advance(2)
    assert order[-1] == "must"
