"""Robots put each other on hold, where there is music, transfer, park and consult, on a bad
network, while media workers die and hang, and the switch is killed: nothing is left of it.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from applications.storms import STORMS, Storm
from calls.call_world import World
from calls.robots import Robot
from test_applications_by_chance import SPEAKING, Speaking

from softswitch.events import TalkBegan

PLAN = """
music: {hold: welcome, ringing: sales}
routes:
  - {match: "700", from: any, play: {announcement: welcome}, then: {dial: "1002", timeout: 5}}
  - {match: "701", from: any, play: {music: welcome}}
  - {match: "78X", from: any, do: park}
  - {match: "1XXX", from: any, dial: extension, timeout: 8}
"""


@STORMS
def test_robots_on_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture, storm: Storm) -> None:
    world = World(tmp_path, SPEAKING, PLAN, journal=storm.kills > 0)
    dice = random.Random(storm.seed)
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
    storm.over(world)
    numbers = ("1001", "1002", "1001", "1002", "700", "701", "780", "781")
    for _ in range(250):
        robot = dice.choice(robots)
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(numbers)))
    for _ in range(storm.strikes):
        robots[0].after(5, 300, speaking.strike)
    for _ in range(storm.kills):
        world.run(60)
        world.run(0.25)
        speaking.dies_with_the_switch(SPEAKING, PLAN)
    world.run(900)
    storm.passed(world, caplog)
    asides = {m["call-id"] for m in world.wire if m.what == "INVITE" and "@" not in m["from"]}
    assert len(asides) > 1, "there was music"
    assert not [e for e in world.events if getattr(e, "leg", 0) < 0], "and nobody was told of it"
    assert {event.how for event in world.of(TalkBegan)} >= {"dialled", "application"}
