"""The local store: register, update, callback, linger, end of call."""

from __future__ import annotations

import gc

import pytest
from cds_fakes import FakeTimers, Listener

from cdsplugin.data.clock import Clock
from cdsplugin.data.entries import FIRST, Log, Once, Property
from cdsplugin.data.store import Store, StoreLimits


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def store(timers: FakeTimers) -> Store:
    store = Store("hq", Clock("hq", timers), timers, StoreLimits(30, 60, 10, 100, 20))
    store.initialize()
    return store


def test_an_update_reaches_the_others_and_not_its_author(store: Store) -> None:
    author, other, watcher = Listener(), Listener(), Listener()
    store.watch(watcher)
    store.register(author, "c1", "hq")
    store.register(other, "c1", "hq")
    assert store.write(author, "c1", "hq", {"a": 1}, ["line"])
    assert author.told == []
    assert other.names() == ["a"]
    assert watcher.names() == ["a"]
    assert [line.text for _, _, lines in other.told for line in lines] == ["line"]


def test_only_changes_are_told_and_what_was_seen_is_disregarded(store: Store) -> None:
    client = Listener()
    store.register(client, "c1", "hq")
    first = [Property("a", 1, 10, "branch"), Property("b", 1, 11, "branch")]
    assert store.update(None, "c1", first) == (first, [])
    assert store.update(None, "c1", first) == ([], [])
    assert len(client.told) == 1
    newer = Property("b", 2, 12, "branch")
    line = Log(13, "branch", "hello")
    assert store.update(None, "c1", [first[0], newer], [line]) == ([newer], [line])
    assert client.told[1:] == [("c1", [newer], [line])]
    assert store.update(None, "unknown", first) == ([], [])


def test_what_is_there_already_is_not_set_once_nor_told(store: Store) -> None:
    client = Listener()
    store.register(client, "c1", "hq")
    assert store.write(None, "c1", "hq", {"a": Once(1, FIRST), "b": 2})
    assert client.names() == ["a", "b"]
    assert store.write(None, "c1", "hq", {"a": Once(3, FIRST), "b": Once(3, FIRST)})
    assert len(client.told) == store.updates == 1
    assert store.write(None, "c1", "hq", {"a": 4})
    data = store.get("c1").data
    assert (data.value("a"), data.value("b")) == (4, 2)


def test_a_registrant_gets_all_entries(store: Store) -> None:
    store.register(Listener(), "c1", "hq")
    store.write(None, "c1", "hq", {"a": 1})
    call = store.register(Listener(), "c1", "another name that comes too late")
    assert call.data.value("a") == 1
    assert call.owner == "hq"


def test_watchers_are_told_of_registrations_and_do_not_keep_a_call(
    store: Store, timers: FakeTimers
) -> None:
    client, watcher = Listener(), Listener()
    store.watch(watcher)
    store.register(client, "c1", "hq")
    store.register(client, "c1", "hq")
    assert watcher.came == [("c1", client)]
    store.unregister(client, "c1")
    store.unregister(client, "c1")
    assert watcher.left == [("c1", client)]
    timers.advance(31)
    assert [call.call_id for call in watcher.over] == ["c1"]
    assert len(store) == 0
    store.unwatch(watcher)
    store.register(client, "c2", "hq")
    assert len(watcher.came) == 1


def test_the_call_lingers_and_then_ends_with_all_entries(store: Store, timers: FakeTimers) -> None:
    client, watcher = Listener(), Listener()
    store.watch(watcher)
    store.register(client, "c1", "hq")
    store.write(client, "c1", "hq", {"a": 1})
    store.unregister(client, "c1")
    timers.advance(29.9)
    assert store.get("c1") is not None
    assert store.write(None, "c1", "hq", {"note": "after the hangup"})
    timers.advance(0.2)
    assert store.get("c1") is None
    (call,) = watcher.over
    assert call.data.value("a") == 1
    assert call.data.value("note") == "after the hangup"
    assert client.over == []
    assert not store.write(None, "c1", "hq", {"too": "late"})


def test_someone_coming_back_keeps_the_call(store: Store, timers: FakeTimers) -> None:
    client = Listener()
    store.register(client, "c1", "hq")
    store.unregister(client, "c1")
    timers.advance(20)
    store.register(client, "c1", "hq")
    timers.advance(100)
    assert store.get("c1") is not None
    store.unregister(client, "c1")
    timers.advance(29)
    assert store.get("c1") is not None
    timers.advance(2)
    assert store.get("c1") is None


def test_a_call_of_another_server_lingers_longer(store: Store, timers: FakeTimers) -> None:
    client = Listener()
    store.register(client, "c1", "branch")
    store.unregister(client, "c1")
    timers.advance(59)
    assert store.get("c1") is not None
    timers.advance(2)
    assert store.get("c1") is None


def test_one_timer_for_all_that_linger(store: Store, timers: FakeTimers) -> None:
    client = Listener()
    for n in range(1000):
        store.register(client, f"c{n}", "hq")
    for n in range(1000):
        store.unregister(client, f"c{n}")
        timers.advance(0.001)
    assert timers.waiting() == 1
    timers.advance(29.5)
    assert 400 < len(store) < 600
    timers.advance(2)
    assert len(store) == 0
    assert timers.waiting() == 0


def test_finalize_ends_every_call_at_once(store: Store, timers: FakeTimers) -> None:
    client, watcher = Listener(), Listener()
    store.watch(watcher)
    for n in range(3):
        store.register(client, f"c{n}", "hq")
    store.unregister(client, "c2")
    store.finalize()
    assert len(watcher.over) == 3
    assert [call.call_id for call in client.over] == ["c0", "c1"]
    assert len(store) == 0
    assert timers.waiting() == 0
    assert not store.initialized


def test_the_owner_may_end_a_call(store: Store) -> None:
    client = Listener()
    store.register(client, "c1", "branch")
    store.end("c1")
    store.end("c1")
    assert [call.call_id for call in client.over] == ["c1"]
    store.unregister(client, "c1")


def test_an_author_writes_no_more_entries_than_allowed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.register(Listener(), "c1", "hq")
    assert store.write(None, "c1", "hq/crm", {f"p{n}": n for n in range(9)})
    assert not store.write(None, "c1", "hq/crm", {"x": 1, "y": 2})
    assert not store.write(None, "c1", "hq/crm", {"x": 1}, ["line"])
    assert store.write(None, "c1", "hq/crm", {"p0": "a new value for a name of mine", "x": 1})
    assert not store.write(None, "c1", "hq/crm", {}, ["line"])
    assert caplog.text.count("hq/crm has written as many entries as it may") == 1
    # Another application, and the switch above all, are not refused for that.
    assert store.write(None, "c1", "hq/wall", {"seen": 1}, ["a line"])
    assert store.write(None, "c1", "hq", {f"leg/hq/{n}": {} for n in range(30)})
    assert store.write(None, "c1", "hq", {"end": {"ended_at": 1}})
    assert not store.write(None, "c1", "hq", {f"leg/hq/{n}": {} for n in range(30, 200)})


def test_what_peers_send_has_limits_too(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.register(Listener(), "c1", "hq")
    lines = [Log(n, "branch/crm", "x") for n in range(90)]
    assert store.update(None, "c1", [], lines) == ([], lines)
    assert store.update(None, "c1", [], [Log(n, "branch/crm", "x") for n in range(90, 200)]) == (
        [], [],
    )  # fmt: skip
    assert "branch/crm has written" in caplog.text
    # What their switch says is taken all the same.
    leg = Property("leg/branch/0", {}, 500, "branch")
    assert store.update(None, "c1", [leg], []) == ([leg], [])
    many = [Property(f"p{n}", n, 600 + n, f"branch/{n}") for n in range(50)]
    taken, _ = store.update(None, "c1", many, [])
    held = store.get("c1")
    assert held is not None
    assert sum("/" in author for author in held.data.counts()) == 20
    assert len(taken) == 19
    assert "branch/19 is one more than may write to it (cds.limits.peer_authors)" in caplog.text
    # Nor is another server's switch kept out by so many applications.
    leg = Property("leg/depot/0", {}, 900, "depot")
    assert store.update(None, "c1", [leg, *many], []) == ([leg], [])
    # What an application of ours wrote comes back, too, as after a crash.
    own = Log(950, "hq/wall", "x")
    assert store.update(None, "c1", [], [own]) == ([], [own])
    servers = [Property(f"leg/s{n}/0", {}, 1000 + n, f"s{n}") for n in range(50)]
    assert len(store.update(None, "c1", servers, [])[0]) == 18


def test_of_whom_one_was_refused_nothing_more_is_taken(store: Store) -> None:
    """What a copy has of an author stays a beginning of what that wrote: so its newest stamp says
    what it has."""
    call = store.register(Listener(), "c1", "hq")
    lines = [Log(n, "branch/crm", "x") for n in range(130)]
    assert store.update(None, "c1", [], lines[:90])[1] == lines[:90]
    assert store.update(None, "c1", [], lines[90:120]) == ([], [])
    assert store.update(None, "c1", [], lines[120:125]) == ([], [])
    assert call.refused == {"branch/crm"}
    # Here it may have been refused what it wrote too much, and lost what it wrote before.
    own = [Log(200 + n, "hq/crm", "x") for n in range(10)]
    assert not store.write(None, "c1", "hq/crm", {}, ["x"] * 11)
    assert store.update(None, "c1", [], own)[1] == own


def test_what_comes_once_more_counts_once(store: Store) -> None:
    call = store.register(Listener(), "c1", "hq")
    lines = [Log(n, "branch/crm", "x") for n in range(60)]
    named = [Property(f"p{n}", 1, 100 + n, "branch/crm") for n in range(30)]
    for _ in range(3):
        store.update(None, "c1", named, lines)
    later = [Property(f"p{n}", 2, 200 + n, "branch/crm") for n in range(30)]
    assert store.update(None, "c1", later, [])[0] == later
    assert call.refused is None


def test_a_client_that_fails_harms_nobody(
    store: Store, timers: FakeTimers, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Listener):
        def updated(self, *_: object) -> None:
            raise RuntimeError("broken client")

        ended = registered = unregistered = updated  # type: ignore[assignment]

    good = Listener()
    store.watch(Failing())
    store.register(Failing(), "c1", "hq")
    store.register(good, "c1", "hq")
    store.write(None, "c1", "hq", {"a": 1})
    assert good.names() == ["a"]
    store.unregister(good, "c1")
    store.finalize()
    assert caplog.text.count("broken client") >= 5


def test_a_call_that_nobody_registered_for_lingers(store: Store, timers: FakeTimers) -> None:
    client = Listener()
    call = store.register(client, "c1", "hq")
    store.linger(call)
    assert not call.lingering
    call.clients = ()
    store.linger(call)
    timers.advance(31)
    assert len(store) == 0


def test_calls_that_are_over_leave_no_garbage(timers: FakeTimers, store: Store) -> None:
    client = Listener()
    gc.collect()
    gc.disable()
    try:
        for n in range(200):
            store.register(client, f"c{n}", "hq")
            store.write(client, f"c{n}", "hq", {"leg": {"at": n}, "x": [1]}, ["line"])
            store.unregister(client, f"c{n}")
        timers.advance(31)
        assert len(store) == 0
        assert [call.call_id for call in store] == []
        assert gc.collect() == 0
    finally:
        gc.enable()
