"""Talks that programs listen to, by a worker that is played: what is ordered, and what becomes of
the talk whatever the programs do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.bridges import RECORDED, Call, Phone, Studio, direct, phone
from calls.call_world import PLAN, World
from calls.test_anchored import end, talk, three
from calls.test_transcoded import refuses
from calls.transfers import attended, refer
from softswitch import events
from softswitch.media.orders import (
    Order,
    PauseTap,
    Play,
    Record,
    StopTap,
    StreamEnded,
    Streaming,
    Tap,
)

PLANS = (
    PLAN
    + """
  - match: "31003"
    from: any
    dial: "1003"
    tap: {url: "wss://route.example/x?t0ken", headers: {Authorization: s3cret}, tracks: caller}
  - {match: "41003", from: any, tap: "wss://one.example", record: true, dial: "1003"}
"""
)
CONFIG = RECORDED.replace("record: true", 'tap: "wss://bob.example/"') + (
    "tapping: {tries: 2, pause: 1, longest_pause: 1.5}\n"
)


class Listeners(Studio):
    """A worker whose programs are there as soon as they are asked, unless they are `away`."""

    def __init__(self, world: World) -> None:
        self.taps: list[Tap] = []
        self.others: list[Order] = []
        self.away = 0
        super().__init__(world)

    def takes_order(self, order: Order) -> None:
        super().takes_order(order)
        if isinstance(order, Tap):
            self.taps.append(order)
            if self.away:
                self.away -= 1
                self.ends(order, "unreachable", "Connection refused")
            else:
                self.says(order, Streaming(order.port, order.stream.job))
        elif isinstance(order, PauseTap | StopTap | Play):
            self.others.append(order)

    def says(self, tap: Tap, said: Streaming | StreamEnded) -> None:
        at = self._port(tap.port)
        if at is not None:
            self.world.at(self.world.now, lambda: at.worker.said(said))

    def ends(self, tap: Tap, why: str, error: str = "", seconds: float = 0.0) -> None:
        """Its stream does."""
        self.says(tap, StreamEnded(tap.port, tap.stream.job, why, error, seconds))


@pytest.fixture
def tapped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield World(tmp_path, CONFIG, PLANS)
    raised = [record for record in caplog.records if record.exc_info]
    assert not raised, [record.getMessage() for record in raised]


def states(world: World, number: int = 1, tap: int = 1) -> list[str]:
    """What was told of a program of that talk."""
    found = [e for e in world.of(events.TapTold) if (e.talk, e.tap) == (number, tap)]
    return [e.facts["state"] for e in found]


def tapped_talk(world: World, number: str = "31003") -> tuple[Listeners, Call, Call]:
    studio = Listeners(world)
    alice, _, carol = three(world)
    return studio, *talk(alice, carol, number)


def test_what_is_ordered(tapped: World) -> None:
    world = tapped
    studio, a, c = tapped_talk(world)
    assert studio.is_between(a, c)
    (tap,) = studio.taps
    first = min(studio.of)
    assert (tap.port, tap.inbound, tap.outbound) == (first, first, 0)
    stream = tap.stream
    call_id = world.of(events.CallStarted)[0].call_id
    assert stream.url == "wss://route.example/x?t0ken"
    assert stream.headers == (("Authorization", "s3cret"),)
    assert (stream.call_id, stream.switch) == (call_id, "hq")
    assert stream.sid == f"{call_id}/hq/1/1/1"
    assert dict(stream.parameters) == {
        "caller": "1001",
        "callerName": "Alice",
        "callee": "1003",
        "talk": "1",
        "legs": "0 1",
        "inbound": "extension:1001",
        "outbound": "extension:1003",
    }
    world.run(3)
    a.hangs_up()
    assert [type(one) for one in studio.others] == [StopTap]
    end(world, studio)
    assert states(world) == ["listening", "ended"]
    facts = world.of(events.TapTold)[-1].facts
    assert facts["host"] == "route.example"
    assert float(facts["seconds"]) >= 3
    assert not world.of(events.RecordingTold)
    told = str([e.facts for e in world.of(events.TapTold)])
    assert "t0ken" not in told
    assert "s3cret" not in told


def test_an_extension(tapped: World) -> None:
    """Both sides; others not."""
    world = tapped
    studio = Listeners(world)
    alice, bob, carol = three(world)
    a, b = talk(alice, bob)
    assert studio.is_between(a, b)
    (tap,) = studio.taps
    assert tap.inbound
    assert tap.outbound
    a.hangs_up()
    a, c = talk(alice, carol)
    assert direct(a, c)
    a.hangs_up()
    end(world, studio)
    assert len(studio.taps) == 1


def test_who_withholds_its_number(tapped: World) -> None:
    world = tapped
    studio = Listeners(world)
    alice, _, carol = three(world)
    a = alice.dials("31003", extra="Privacy: id\r\n")
    carol.line.picks_up()
    world.run(0.3)
    said = dict(studio.taps[0].stream.parameters)
    assert (said["caller"], said["callerName"]) == ("", "")
    a.hangs_up()
    end(world, studio)


def test_a_transfer(tapped: World) -> None:
    """By the route, and Bob's program too: each of the new talk."""
    world = tapped
    studio, a, c = tapped_talk(world)
    bob = world.agents[("10.9.0.2", 5060)]
    assert isinstance(bob, Phone)
    refer(c, "1002")
    world.settle()
    bob.line.picks_up()
    world.run(1)
    b = bob.line
    assert studio.is_between(a, b)
    assert [one.stream.url.split("/")[2] for one in studio.taps] == [
        "route.example",
        "route.example",
        "bob.example",
    ]
    assert [one.stream.sid.split("/", 2)[2] for one in studio.taps] == ["1/1/1", "2/1/1", "2/2/1"]
    c.hangs_up()
    a.hangs_up()
    end(world, studio)
    assert states(world, 1) == ["listening", "ended"]
    assert states(world, 2, 1) == states(world, 2, 2) == ["listening", "ended"]


def test_two_calls_become_one(tapped: World) -> None:
    """The younger was tapped by its route: so is what becomes of it."""
    world = tapped
    studio = Listeners(world)
    alice, carol, dave = phone(world, "1001"), phone(world, "1003"), phone(world, "1004")
    d1, a = talk(dave, alice)
    a2, c = talk(alice, carol, "31003")
    assert direct(d1, a)
    assert studio.is_between(a2, c)
    attended(a, a2)
    world.run(5)
    assert studio.is_between(d1, c) or studio.is_between(c, d1)
    assert len(studio.taps) == 2
    c.hangs_up()
    end(world, studio)


def test_hold_and_pause(tapped: World) -> None:
    world = tapped
    studio, a, c = tapped_talk(world)
    a.says(a.own + "a=sendonly\r\n")
    world.run(0.2)
    a.says(a.own.replace("a=sendonly\r\n", ""))
    c.digits("*6")
    world.run(0.2)
    (job,) = [one.stream.job for one in studio.taps]
    assert [one.on for one in studio.others if isinstance(one, PauseTap)] == [True]
    c.digits("*6")
    world.run(0.2)
    pauses = [one for one in studio.others if isinstance(one, PauseTap)]
    assert [(one.job, one.on) for one in pauses] == [(job, True), (job, False)]
    assert studio.is_between(a, c)
    c.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "paused", "listening", "ended"]


def test_recorded_as_well(tapped: World) -> None:
    """One way for both; whose program comes only once the talk is paused hears silence."""
    world = tapped
    studio, a, _ = tapped_talk(world, "41003")
    assert states(world) == ["listening"]
    a.digits("*6")
    world.run(0.2)
    studio.ends(studio.taps[0], "lost", "the connection is gone")
    world.run(3)
    assert [one.paused for one in studio.taps] == [False, True]
    a.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "paused", "waiting", "paused", "ended"]
    recorded = [e.facts["state"] for e in world.of(events.RecordingTold)]
    assert recorded == ["recording", "paused", "kept"]


def test_it_closes(tapped: World) -> None:
    """It has heard enough."""
    world = tapped
    studio, a, c = tapped_talk(world)
    studio.ends(studio.taps[0], "closed", seconds=2.0)
    world.run(100)
    assert studio.is_between(a, c)
    assert len(studio.taps) == 1
    a.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "ended"]
    assert world.of(events.TapTold)[-1].facts["ended"] == "closed"


@pytest.mark.parametrize("why", ["unreachable", "tls", "refused", "late", "slow", "lost"])
def test_it_is_not_there(tapped: World, caplog: pytest.LogCaptureFixture, why: str) -> None:
    """It is tried again, with growing pauses, and not for ever."""
    world = tapped
    studio, a, c = tapped_talk(world)
    studio.ends(studio.taps[0], why, "so it is", 1.0)
    studio.away = 100
    at = world.now
    world.run(0.9)
    assert len(studio.taps) == 1
    world.run(0.2)
    assert len(studio.taps) == 2
    world.run(1.3)
    assert len(studio.taps) == 2
    world.run(0.2)
    assert len(studio.taps) == 3
    assert world.now - at < 3
    world.run(1000)
    assert len(studio.taps) == 3
    assert studio.is_between(a, c)
    assert [one.stream.sid[-1] for one in studio.taps] == ["1", "2", "3"]
    a.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "waiting", "waiting", "failed"]
    last = world.of(events.TapTold)[-1].facts
    assert (last["ended"], last["error"]) == ("unreachable", "Connection refused")
    assert world.ended.hangup_by == "caller"
    assert "t0ken" not in caplog.text


def test_it_is_there_for_a_while(tapped: World) -> None:
    """Then it is tried as often again."""
    world = tapped
    studio, a, _ = tapped_talk(world)
    for _ in range(10):
        studio.ends(studio.taps[-1], "lost", "", 61.0)
        world.run(1.1)
    assert len(studio.taps) == 11
    a.hangs_up()
    end(world, studio)
    assert states(world)[-1] == "ended"


def test_the_talk_ends_while_it_is_waited_for(tapped: World) -> None:
    world = tapped
    studio, a, _ = tapped_talk(world)
    studio.ends(studio.taps[0], "lost", "gone", 1.0)
    world.run(0.5)
    a.hangs_up()
    end(world, studio)
    assert len(studio.taps) == 1
    assert states(world) == ["listening", "waiting", "ended"]


def test_no_worker(tapped: World) -> None:
    """There is no tap, and the call is there."""
    world = tapped
    alice, _, carol = three(world)
    a, c = talk(alice, carol, "31003")
    world.run(30)
    assert direct(a, c)
    a.hangs_up()
    world.run(15)
    world.end()


def test_the_worker_dies(tapped: World, caplog: pytest.LogCaptureFixture) -> None:
    """From phone to phone."""
    world = tapped
    studio, a, c = tapped_talk(world)
    with caplog.at_level(logging.CRITICAL, "softswitch.media.pool"):
        studio.vanishes()
        world.run(2)
    assert direct(a, c)
    a.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "failed"]
    assert len(studio.taps) == 1


def test_transcoded(tapped: World, caplog: pytest.LogCaptureFixture) -> None:
    """They share no codec: the worker is between them already."""
    world = tapped
    studio = Listeners(world)
    alice, _, carol = three(world)
    a = alice.dials("31003")
    c = carol.line
    refuses(c)
    c.picks_up()
    world.run(0.5)
    assert studio.is_between(a, c)
    assert len(studio.taps) == 1
    a.hangs_up()
    end(world, studio)
    assert states(world) == ["listening", "ended"]


@pytest.mark.parametrize("then", ["the same", "none"])
def test_killed(tmp_path: Path, then: str) -> None:
    """By the route, also of what follows; unless the configuration has it no more."""
    world = World(tmp_path, CONFIG, PLANS, journal=True)
    studio, a, c = tapped_talk(world)
    c.digits("*6")
    world.run(0.5)
    studio.dies_with_the_switch()
    assert world.rows is not None
    kept = list(world.rows.rows.values())
    assert kept
    assert not any(b"t0ken" in one or b"s3cret" in one for one in kept)
    world.run(0.5)
    plan = PLANS if then == "the same" else PLANS.replace("route.example", "other.example")
    world.start(CONFIG, plan)
    studio.begins_again()
    world.run(2)
    assert studio.is_between(a, c)
    if then == "the same":
        assert studio.taps[-1].paused
        c.digits("*6")
        dave = phone(world, "1004")
        refer(c, "1004")
        world.settle()
        dave.line.picks_up()
        world.run(1)
        assert studio.is_between(a, dave.line)
        assert len(studio.taps) == 3
    else:
        # It has been told of none, and its media goes that way all the same.
        assert len(studio.taps) == 1
    c.hangs_up()
    a.hangs_up()
    end(world, studio)
    if then == "the same":
        assert states(world, 2) == ["listening", "ended"]


def test_no_tap_and_nothing_is_dearer(tmp_path: Path) -> None:
    """No talk is looked at."""
    world = World(tmp_path)
    assert world.switch.tapped is None
    world.end()


def test_announced(tmp_path: Path) -> None:
    """Once, however often the program comes; with what is said of a recording."""
    config = CONFIG.replace("tries: 2,", "announce: welcome, tries: 2,")
    world = World(tmp_path, config, PLANS)
    studio, a, _ = tapped_talk(world)
    heard = [one for one in studio.others if isinstance(one, Play)]
    assert len(heard) == 2
    assert {Path(one.sounds[0].path).name for one in heard} == {"welcome.wav"}  # type: ignore[union-attr]
    studio.ends(studio.taps[0], "lost", "gone", 1.0)
    world.run(3)
    assert len(studio.taps) == 2
    assert len([one for one in studio.others if isinstance(one, Play)]) == 2
    assert not any(isinstance(one, Record) for one in studio.others)
    a.hangs_up()
    end(world, studio)
