"""Robots put each other on hold, where there is music, transfer, park and consult, on a bad
network, while media workers die and hang, and the switch is killed: nothing is left of it.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from calls.call_world import World
from calls.robots import Robot
from test_applications_by_chance import SPEAKING, Speaking

from softswitch.events import CallEnded, CallStarted, TalkBegan

PLAN = """
music: {hold: welcome, ringing: sales}
routes:
  - {match: "700", from: any, play: {announcement: welcome}, then: {dial: "1002", timeout: 5}}
  - {match: "701", from: any, play: {music: welcome}}
  - {match: "78X", from: any, do: park}
  - {match: "1XXX", from: any, dial: extension, timeout: 8}
"""


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay", "strikes", "kills"),
    [
        (1, 0.0, 0.0, 0.0, 0, 0),
        (2, 0.0, 0.0, 0.2, 10, 0),
        (3, 0.0, 0.2, 0.2, 20, 0),
        (4, 0.1, 0.1, 0.2, 20, 0),
        (5, 0.0, 0.0, 0.0, 5, 4),
        (6, 0.1, 0.1, 0.3, 10, 4),
    ],
)
def test_robots_on_hold(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
    strikes: int,
    kills: int,
) -> None:
    world = World(tmp_path, SPEAKING, PLAN, journal=kills > 0)
    dice = random.Random(seed)
    speaking = Speaking(world, dice)
    speaking.begin()
    for number, host in (("1001", "10.9.0.1"), ("1002", "10.9.0.2")):
        world.phone(number, host)
    robots = [
        Robot(world, (host, 5060), name, dice)
        for host, name in (
            ("10.1.0.1", "caller"),
            ("10.2.0.1", "pstn"),
            ("10.9.0.1", "1001"),
            ("10.9.0.2", "1002"),
        )
    ]
    for robot in robots:
        robot.transfers = ("700", "1001", "1002", "780", "781", "666")
        robot.codes = ("##1002#", "*21002#", "*21001#", "*3", "*1", "##780#")
        robot.vanishes = 0.01
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    numbers = ("1001", "1002", "1001", "1002", "700", "701", "780", "781")
    for _ in range(250):
        robot = dice.choice(robots)
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(numbers)))
    for _ in range(strikes):
        robots[0].after(5, 300, speaking.strike)
    for _ in range(kills):
        world.run(60)
        world.run(0.25)
        for one in speaking.media:
            one.dead = True
        world.kill()
        world.run(dice.uniform(0.2, 5))
        world.start(SPEAKING, PLAN)
        speaking.begin()
    world.run(900)
    workers = world.switch.spoken.workers
    assert workers is not None
    assert not workers.busy, [one.ports for one in workers.workers]
    workers.close()
    world.rest(idle=600)
    asides = {m["call-id"] for m in world.wire if m.what == "INVITE" and "@" not in m["from"]}
    assert len(asides) > 1, "there was music"
    assert not [e for e in world.events if getattr(e, "leg", 0) < 0], "and nobody was told of it"
    assert {event.how for event in world.of(TalkBegan)} >= {"dialled", "application"}
    assert len(world.of(CallEnded)) >= len(world.of(CallStarted)) - kills
    raised = [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "ERROR" and not record.name.startswith("softswitch.media")
    ]
    assert not raised
