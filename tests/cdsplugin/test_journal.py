"""The journal on a disk in memory: what a crash leaves, what waits for it, what is dropped."""

from __future__ import annotations

import asyncio

import pytest
from cds_fakes import FakeTimers, Listener

from cdsplugin.archive.disk import Disk, MemoryDisk, NotStored, Whole
from cdsplugin.archive.journal import Found, Journal, JournalSettings
from cdsplugin.data.clock import Clock
from cdsplugin.data.store import Store, StoreLimits


class Records:
    """An archive whose progress the test decides."""

    puts = 0
    done = 0


class World:
    """One server's store and journal; ``crash`` gives the next life, on the same disk."""

    def __init__(self, disk: MemoryDisk | None = None, timers: FakeTimers | None = None) -> None:
        self.timers = timers or FakeTimers()
        self.disk = disk or MemoryDisk(self.timers, 0.005, limit=50)
        self.records = Records()
        self.store = Store("hq", Clock("hq", self.timers), self.timers, StoreLimits(5.0, 10.0, 100))
        as_disk: Disk = self.disk
        self.journal = Journal(
            self.store, self.timers, as_disk, self.records, JournalSettings(keep=80.0, batch=3)
        )
        self.client = Listener()

    def call(self, call_id: str, owner: str = "hq") -> None:
        self.store.register(self.client, call_id, owner)
        self.write(call_id, n=0)

    def write(self, call_id: str, **values: int | str) -> None:
        assert self.store.write(self.client, call_id, "hq", values)

    def crash(self) -> tuple[World, dict[str, Found]]:
        self.disk.crash()
        next_life = World(self.disk, self.timers)
        found, _ = next_life.journal.recover()
        return next_life, {each.call_id: each for each in found}


def test_what_is_committed_is_back() -> None:
    world = World()
    world.call("a")
    world.call("b", owner="branch")
    world.timers.advance(0.01)
    world.write("a", n=1)
    world.timers.advance(0.01)
    world.write("a", n=2)  # not committed
    _, found = world.crash()
    assert found["a"].data.value("n") == 1
    assert (found["b"].owner, found["b"].lingering) == ("branch", False)


def test_lingering_and_coming_back_are_known() -> None:
    world = World()
    for call_id in "ab":
        world.call(call_id)
        world.store.unregister(world.client, call_id)
    world.store.register(world.client, "b", "hq")
    world.timers.advance(0.01)
    _, found = world.crash()
    assert (found["a"].lingering, found["b"].lingering) == (True, False)


def test_a_call_goes_once_the_archive_has_it() -> None:
    world = World()
    world.call("a")
    world.call("b")
    world.records.puts = 7
    world.store.end("a")
    world.timers.advance(3)
    assert set(world.crash()[1]) == {"a", "b"}, "its record is not on disk yet"


def test_a_call_that_is_archived_is_gone() -> None:
    world = World()
    world.call("a")
    world.records.puts = 7
    world.store.end("a")
    world.timers.advance(1.5)
    world.records.done = 7
    world.timers.advance(1.5)
    assert world.crash()[1] == {}


def test_a_call_that_comes_back_after_its_end_stays() -> None:
    world = World()
    world.call("a")
    world.store.end("a")
    world.call("a")
    world.write("a", again=1)
    world.records.puts = world.records.done = 1
    world.timers.advance(5)
    assert world.crash()[1]["a"].data.value("again") == 1


def test_a_call_that_comes_back_goes_on_with_what_the_journal_has_of_it() -> None:
    """If its copy began empty, old entries would be back after a crash, and be shown to others
    after newer ones."""
    world = World()
    world.call("a")
    world.store.end("a")
    call = world.store.register(world.client, "a", "hq")
    world.write("a", again=1)
    assert (call.data.value("n"), call.data.value("again")) == (0, 1)
    world.timers.advance(0.01)
    assert world.crash()[1]["a"].data == call.data


def test_a_call_whose_journal_is_gone_begins_anew() -> None:
    world = World()
    world.call("a")
    world.store.end("a")
    world.timers.advance(5)
    call = world.store.register(world.client, "a", "hq")
    assert (len(call.data), len(world.store.fading)) == (0, 0)
    world.write("a", again=1)
    world.timers.advance(0.01)
    assert world.crash()[1]["a"].data == call.data


def test_a_call_that_comes_back_and_is_not_written_to_stays() -> None:
    world = World()
    world.call("a")
    world.store.end("a")
    world.store.register(world.client, "a", "hq")
    world.timers.advance(5)
    found = world.crash()[1]["a"]
    assert (found.data.value("n"), found.lingering) == (0, False)


def test_an_ended_call_is_written_anew_after_an_overflow() -> None:
    """It may be in no archive yet."""
    world = World()
    world.disk.full = True
    world.records.puts = 1
    world.call("a")
    world.store.end("a")
    world.call("b")
    for n in range(60):
        world.write("b", n=n)
    world.timers.advance(3)
    assert world.disk.overflowed
    world.disk.full = False
    world.timers.advance(5)
    assert world.crash()[1]["a"].data.value("n") == 0


def test_moved_stamps_take_the_place_of_the_old_ones() -> None:
    world = World()
    world.call("a", owner="branch")
    call = world.store.get("a")
    assert call is not None
    world.store.restamp(call, -3_600_000_000)
    world.journal.restamped(call)
    world.timers.advance(0.01)
    assert world.crash()[1]["a"].data == call.data


def test_the_log_stays_short_while_calls_live_long() -> None:
    world = World()
    for n in range(10):
        world.call(f"old{n}")
    for minute in range(30):
        for n in range(20):
            world.call(f"short{minute}-{n}")
            world.store.end(f"short{minute}-{n}")
            world.records.puts = world.records.done = world.records.puts + 1
        world.timers.advance(60)
    assert len(world.journal) <= 10 + 20
    assert len(world.disk) < 500, "some 30 minutes of it would be 3,000"
    assert any(type(r) is Whole for r in world.disk.load())
    found = world.crash()[1]
    assert {f"old{n}" for n in range(10)} <= found.keys()
    assert found["old3"].data.value("n") == 0


def test_after_commit_keeps_the_order_and_waits() -> None:
    world = World()
    told: list[int] = []
    world.journal.after_commit(lambda: told.append(0))
    assert told == [0], "nothing to wait for"
    world.call("a")
    world.journal.after_commit(lambda: told.append(1))
    world.write("a", n=1)
    world.journal.after_commit(lambda: told.append(2), must=True)
    assert told == [0]
    world.timers.advance(0.01)
    assert told == [0, 1, 2]


def test_while_the_disk_is_full_only_what_must_not_go_waits() -> None:
    world = World()
    world.disk.full = True
    told: list[str] = []
    world.call("a")
    world.journal.after_commit(lambda: told.append("update"))
    world.journal.after_commit(lambda: told.append("acknowledgement"), must=True)
    world.timers.advance(0.01)
    assert (told, world.journal.trouble) == (["update"], "database or disk is full")
    world.disk.full = False
    world.timers.advance(2)
    assert (told, world.journal.trouble) == (["update", "acknowledgement"], None)


def test_after_an_overflow_all_live_calls_are_written_anew() -> None:
    world = World()
    world.disk.full = True
    told: list[str] = []
    for n in range(10):
        world.call(f"c{n}")
    for n in range(60):
        world.write("c0", n=n)
    world.journal.after_commit(lambda: told.append("c0 is stored"), must=True)
    world.timers.advance(3)
    assert world.disk.overflowed
    world.disk.full = False
    world.timers.advance(0.9)
    assert not told or world.disk.committed
    world.timers.advance(5)
    assert told == ["c0 is stored"]
    found = world.crash()[1]
    assert len(found) == 10
    assert found["c0"].data.value("n") == 59


async def test_committed_says_why_it_is_not() -> None:
    world = World()
    world.call("a")
    with pytest.raises(NotStored, match="did not answer"):
        await world.journal.committed(0.01)
    world.disk.full = True
    world.timers.advance(0.01)
    with pytest.raises(NotStored, match="full"):
        await world.journal.committed(0.01)
    world.disk.full = False
    world.timers.advance(2)
    async with asyncio.timeout(1):
        await world.journal.committed()


def test_nothing_is_left_when_everything_has_ended() -> None:
    world = World()
    world.call("a")
    world.timers.advance(1)
    world.store.end("a")
    world.records.puts = world.records.done = 1
    world.journal.stop()
    assert list(world.disk.load()) == []
    assert world.timers.waiting() <= 1, "the disk's own, at most"
