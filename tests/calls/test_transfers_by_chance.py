"""Robots that transfer whom they talk with, on a bad network: whatever they do, nothing is left of
it, and what was told makes sense."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from calls.call_world import CONFIG, World
from calls.robots import Robot
from calls.test_by_chance import NUMBERS
from softswitch.events import CallMerged, CallRestored, TalkBegan
from softswitch.parties import REGISTRATION

REFER = CONFIG.replace("keepalive: 0}", "keepalive: 0, refer: true}") + (
    "timers: {session_check: 30, restart_check: 1}\n"
)

CODES = REFER + 'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'


def robots_of(world: World, dice: random.Random) -> list[Robot]:
    for number, host in (("1001", "10.9.0.1"), ("1001", "10.9.0.2"), ("1002", "10.9.0.3")):
        world.phone(number, host)
    robots = [
        Robot(world, (host, 5060), name, dice)
        for host, name in (
            ("10.1.0.1", "alice"),
            ("10.2.0.1", "pstn"),
            ("10.3.0.1", "backup"),
            ("10.9.0.1", "1001"),
            ("10.9.0.2", "1001b"),
            ("10.9.0.3", "1002"),
        )
    ]
    for robot in robots:
        robot.transfers = ("1001", "1002", "600", "601", "603", "666", "777", "85550100")
        robot.vanishes = 0.01
    return robots


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay"),
    [
        (1, 0.0, 0.0, 0.0),
        (2, 0.0, 0.0, 0.0),
        (3, 0.0, 0.0, 0.3),
        (4, 0.0, 0.3, 0.3),
        (5, 0.1, 0.1, 0.1),
        (6, 0.25, 0.1, 1.0),
        (7, 0.1, 0.0, 0.5),
    ],
)
def test_robots_transfer(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
) -> None:
    world = World(tmp_path, REFER)
    dice = random.Random(seed)
    robots = robots_of(world, dice)
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    for _ in range(200):
        robot = dice.choice(robots[:3])
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(NUMBERS.split())))
    world.run(600)
    world.end(idle=900)
    how = {event.how for event in world.of(TalkBegan)}
    assert how >= {"dialled", "blind-transfer", "attended-transfer"}
    assert world.of(CallMerged)
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay", "kills"),
    [
        (51, 0.0, 0.0, 0.0, 0),
        (52, 0.0, 0.3, 0.3, 0),
        (53, 0.1, 0.1, 0.1, 0),
        (54, 0.25, 0.1, 1.0, 0),
        (55, 0.0, 0.0, 0.0, 12),
        (56, 0.1, 0.0, 0.2, 12),
    ],
)
def test_robots_dial_codes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
    kills: int,
) -> None:
    world = World(tmp_path, CODES, journal=kills > 0)
    dice = random.Random(seed)
    robots = robots_of(world, dice)
    for robot in robots:
        robot.codes = ("*21002#", "*21001", "##601", "*2603#", "*3", "*3", "*1", "##77", "5", "*")
        robot.transfers = ("1001", "1002", "600") if robot.name in ("pstn", "1002") else ()
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    for _ in range(200):
        robot = dice.choice(robots[:3])
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(("1001", "1002", "600"))))
    for _ in range(kills):
        world.run(dice.random() * 50)
        world.kill()
        world.run(dice.choice((0.0, 0.01, 3.0)) * dice.random())
        world.start(CODES)
    world.run(600)
    world.end(idle=900)
    how = [event.how for event in world.of(TalkBegan)]
    assert len(set(how) & {"blind-transfer", "attended-transfer", "returned"}) > 1, set(how)
    assert not world.switch.dialling
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


@pytest.mark.parametrize(
    ("seed", "loss", "delay"), [(31, 0.0, 0.0), (32, 0.0, 0.3), (33, 0.1, 0.2)]
)
def test_robots_transfer_and_the_switch_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int, loss: float, delay: float
) -> None:
    world = World(tmp_path, REFER, journal=True)
    dice = random.Random(seed)
    robots = robots_of(world, dice)
    world.chance.seed(seed)
    world.loss, world.delay = loss, delay
    for _ in range(250):
        robot = dice.choice(robots[:3])
        robot.after(0, 400, lambda robot=robot: robot.place(dice.choice(NUMBERS.split())))
    for _ in range(15):
        world.run(dice.random() * 50)
        alive = {(call.call_id, call.number) for call in world.switch.calls}
        told = len(world.events)
        world.kill()
        world.run(dice.choice((0.0, 0.01, 3.0)) * dice.random())
        world.start(REFER)
        assert alive == {
            (event.call_id, event.leg)
            for event in world.events[told:]
            if isinstance(event, CallRestored)
        }
    world.run(600)
    world.end(idle=900)
    assert world.rows is not None
    assert all(REGISTRATION.is_one(row) for row in world.rows.rows.values())
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised
