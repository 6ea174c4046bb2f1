"""The network health monitor: signs of life, silence, return, and what all that costs."""

from __future__ import annotations

import pytest
from cds_fakes import FakeNet, FakeTimers, Listener

from cdsplugin.data.frames import Alive
from cdsplugin.proxy.health import Health


class Told:
    def __init__(self, timers: FakeTimers) -> None:
        self.alive: list[str] = []
        self.dead: list[str] = []
        self.changes: list[tuple[str, bool]] = []
        self.health = Health(
            timers,
            5.0,
            30.0,
            self.alive.append,
            self.dead.append,
            lambda server, up: self.changes.append((server, up)),
            2,
        )


def test_silence_is_told_once_and_so_is_the_return() -> None:
    timers = FakeTimers()
    told = Told(timers)
    told.health.watch("hq")
    timers.advance(12)
    told.health.heard("hq")
    timers.advance(29.9)
    assert told.changes == []
    # After 30 s, not at the next tick.
    timers.advance(0.1)
    assert told.changes == [("hq", False)]
    timers.advance(60)
    assert told.changes == [("hq", False)]
    assert told.health.is_down("hq")
    assert told.health.down() == ["hq"]
    told.health.heard("hq")
    told.health.heard("hq")
    assert told.changes[1:] == [("hq", True)]
    assert not told.health.is_down("hq")


def test_who_was_reported_is_missed_until_it_is_heard_whatever_is_shared() -> None:
    timers = FakeTimers()
    told = Told(timers)
    told.health.watch("hq")
    timers.advance(40)
    told.health.unwatch("hq")
    assert timers.waiting() == 0, "it costs nothing"
    assert told.health.down() == ["hq"]
    assert told.health.is_missed("hq")
    # Watched anew it may be back: for `dead_after` nothing else is known. But it is not told twice.
    told.health.watch("hq")
    assert not told.health.is_down("hq")
    timers.advance(40)
    assert told.health.is_down("hq")
    assert told.dead == ["hq", "hq"]
    told.health.unwatch("hq")
    told.health.heard("hq")
    told.health.heard("hq")
    assert told.changes == [("hq", False), ("hq", True)]
    assert told.health.down() == []


def test_so_many_are_remembered() -> None:
    timers = FakeTimers()
    told = Told(timers)
    for n in range(4):
        told.health.watch(f"s{n}")
    timers.advance(40)
    assert told.health.down() == ["s0", "s1", "s2", "s3"]
    for n in range(4):
        told.health.unwatch(f"s{n}")
    assert told.health.down() == ["s0", "s1"]
    told.health.stop()
    assert told.health.down() == []


def test_a_return_is_told_after_the_registrations_were_given_up() -> None:
    net = FakeNet()
    hq = net.server("hq", "branch", reregister_within=60.0)
    branch = net.server("branch", "hq")
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    net.kill("branch")
    net.closed_ways.add(frozenset(("hq", "branch")))
    net.advance(120, step=1)
    assert hq.proxy.participants(hq.store.get("c1")) == []
    assert hq.health == [("branch", False)]
    assert hq.proxy.health.down() == ["branch"]
    assert not hq.proxy.health.watches("branch")
    net.log.clear()
    net.server("branch", "hq")  # with no calls
    net.mend("hq", "branch")
    net.advance(60, step=1)
    assert hq.health == [("branch", False), ("branch", True)]
    assert hq.proxy.health.down() == []
    assert net.log == [], "no call is shared: no signs of life either"
    assert hq.wanted == set()


def test_one_timer_for_all_and_none_for_nobody() -> None:
    timers = FakeTimers()
    told = Told(timers)
    for n in range(100):
        told.health.watch(f"s{n}")
    assert timers.waiting() == 1
    timers.advance(5)
    assert len(told.alive) == 100
    for n in range(100):
        assert told.health.watches(f"s{n}")
        told.health.unwatch(f"s{n}")
    assert timers.waiting() == 0
    told.health.heard("s1")
    assert not told.health.is_down("s1")


def test_any_frame_is_a_sign_of_life() -> None:
    timers = FakeTimers()
    told = Told(timers)
    told.health.watch("hq")
    for _ in range(10):
        timers.advance(25)
        told.health.heard("hq")
    assert told.changes == []


def test_who_is_not_shared_with_any_more_still_answers() -> None:
    """Our registration is over for him, while we wait for the end of the call: he is not dead."""
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq")
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    hq.proxy.health.unwatch("branch")
    net.advance(120)
    assert branch.health == []
    assert hq.proxy.health.down() == []
    # Each Alive is answered once, and answers are not answered.
    last = [f for _, to, f in net.log if isinstance(f, Alive) and to == "branch"][-5:]
    assert [frame.answer for frame in last] == [True] * 5
    alive = [to for _, to, f in net.log if isinstance(f, Alive)]
    assert abs(alive.count("hq") - alive.count("branch")) <= 1
    assert len(alive) < 60


def test_a_listener_that_fails_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq")

    def broken(server: str, up: bool) -> None:
        raise RuntimeError("no")

    told: list[tuple[str, bool]] = []
    branch.proxy.health_listeners[:] = [broken, lambda server, up: told.append((server, up))]
    client = Listener()
    hq.store.register(client, "c1", "hq")
    branch.store.register(client, "c1", "hq")
    net.run()
    net.cut("hq", "branch")
    net.advance(40, step=1)
    assert told == [("hq", False)]
    assert "failed to take its health" in caplog.text


def test_many_calls_are_registered_again_in_batches() -> None:
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq", reregister_within=300.0)
    here, there = Listener(), Listener()
    for n in range(40):
        hq.store.register(here, f"c{n}", "hq")
        branch.store.register(there, f"c{n}", "hq")
    net.advance(1, step=0.01)
    net.cut("hq", "branch")
    net.advance(5)
    net.mend("hq", "branch")
    most = 0
    for _ in range(60):
        before = hq.proxy.frames_in
        net.advance(0.01, step=0.01)
        most = max(most, hq.proxy.frames_in - before)
    assert all(branch.proxy.stage(f"c{n}") == "registered" for n in range(40))
    # Two calls at once, two more 10 ms later, and a sign of life.
    assert most <= 5
