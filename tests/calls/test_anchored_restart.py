"""Talks whose media goes by way of the switch, and a switch that is killed and started again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from calls.bridges import RECORDED, Studio, direct, facts, phone
from calls.call_world import World
from calls.test_anchored import PLANS, end, talk
from calls.test_transcoded import refuses
from calls.transfers import refer
from softswitch import events


def killed(world: World, studio: Studio, worker: bool = True, away: float = 0.5) -> None:
    """And started again."""
    studio.dies_with_the_switch()
    world.run(away)
    world.start(RECORDED, PLANS)
    studio.begins_again(worker)
    world.run(2)


@pytest.mark.parametrize(
    "when", ["at once", "asked", "moving first", "moving second", "moved", "held", "going back"]
)
@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str, worker: bool, written: bool
) -> None:
    """The two talk on, by way of the worker if there is one, and send to each other if not."""
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    if when == "asked":
        studio.answers = [0, 0]
    elif when == "moving first":
        alice.refuses.append(0)
    elif when == "moving second":
        bob.refuses.append(0)
    if when == "at once":
        a = alice.dials("1002")
        b = bob.line
        b.picks_up()
    else:
        a, b = talk(alice, bob)
    if when == "held":
        b.says(b.own + "a=sendonly\r\n")
    elif when == "going back":
        bob.refuses.append(0)
        with caplog.at_level(logging.CRITICAL, "softswitch.media.pool"):
            studio.vanishes()  # else its worker is kept alive by what is logged
    if written:
        world.run(0.4)
    for line in (a, b):
        if line.waits is not None:
            line.accepts(line.waits)
    studio.dies_with_the_switch()
    world.run(0.5)
    world.start(RECORDED, PLANS)
    studio.begins_again(worker)
    world.run(4)
    if not a.over:
        assert studio.is_between(a, b) if worker else direct(a, b)
        if when == "held":
            b.says(b.own.replace("a=sendonly\r\n", ""))
        else:
            b.says()
        assert not a.held
        assert studio.is_between(a, b) if worker else direct(a, b)
    else:
        assert not written
    a.hangs_up()
    world.run(1)
    b.hangs_up()
    end(world, studio)


def test_paused(tmp_path: Path) -> None:
    """It is paused still."""
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world)
    a, b = talk(phone(world, "1001"), phone(world, "1002"))
    b.digits("*6")
    world.run(0.5)
    killed(world, studio)
    assert studio.is_between(a, b)
    assert facts(world, 1)[-1] == "paused"
    b.digits("*6")
    assert facts(world, 1)[-1] == "recording"
    a.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("by", ["route", "code"])
def test_all_that_follow(tmp_path: Path, by: str) -> None:
    """By a route or a code: also those that follow after the restart."""
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world)
    alice, carol, dave = phone(world, "1001"), phone(world, "1003"), phone(world, "1004")
    a, c = talk(alice, carol, "31003" if by == "route" else "1003")
    if by == "code":
        a.digits("*5")
    world.run(0.5)
    killed(world, studio)
    assert studio.is_between(a, c)
    refer(c, "1004")
    world.settle()
    dave.line.picks_up()
    world.run(1)
    assert studio.is_between(a, dave.line)
    c.hangs_up()
    a.hangs_up()
    end(world, studio)
    assert facts(world, 2) == ["recording", "kept"]


@pytest.mark.parametrize("worker", [True, False])
def test_transcoded(tmp_path: Path, worker: bool) -> None:
    """By way of a worker again, and not recorded; without one it is ended with a reason."""
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world)
    alice, carol = phone(world, "1001"), phone(world, "1003")
    a = alice.dials("1003")
    c = carol.line
    refuses(c)
    c.picks_up()
    world.run(0.5)
    assert studio.is_between(a, c)
    if not worker:
        carol.refuses += [488] * 5
    killed(world, studio, worker)
    if worker:
        assert studio.is_between(a, c)
        a.hangs_up()
    else:
        assert a.over
        assert c.over
    end(world, studio)
    assert not world.of(events.RecordingTold)
    assert world.ended.disposition == "answered"


@pytest.mark.parametrize("outcome", ["rings", "waits for a worker"])
def test_killed_before_the_answer(tmp_path: Path, outcome: str) -> None:
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world, ready=outcome == "rings")
    alice, carol = phone(world, "1001"), phone(world, "1003")
    a = alice.dials("1003")
    c = carol.line
    refuses(c)
    if outcome == "rings":
        c.reply(180, contact=c.contact)
    world.run(0.5)
    killed(world, studio)
    world.run(1)
    assert a.over == 500 or a.over == 503
    assert outcome != "rings" or c.over == 487
    end(world, studio)


def test_killed_while_somebody_is_transferred(tmp_path: Path) -> None:
    """The two talk again."""
    world = World(tmp_path, RECORDED, PLANS, journal=True)
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    a, b = talk(alice, bob)
    refer(b, "1003")
    world.settle()
    carol.line.reply(180, contact=carol.line.contact)
    world.run(1)
    killed(world, studio)
    assert studio.is_between(a, b)
    a.hangs_up()
    world.run(2)
    end(world, studio)
