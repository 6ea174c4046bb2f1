"""People page each other, pick up or do not, transfer and leave, on a bad network, while media
workers die and the switch is killed: what is told makes sense, and nothing is left at the end.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from applications.storms import STORMS, Storm
from applications.test_applications_by_chance import Speaking
from calls.call_world import CONFIG, World
from calls.robots import Robot

from softswitch.events import ApplicationTold, LegInvited, TalkBegan

PHONES = ("1001", "1002", "1003")
PAGES = CONFIG.replace("max_calls: 5", "max_calls: 40").replace(
    "keepalive: 0}", "keepalive: 0, refer: true, session_check: true}"
) + (
    "timers: {session_check: 30, restart_check: 1, no_answer: 8}\n"
    'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
)
PLAN = """
menus:
  main: {say: welcome, timeout: 2, choices: {"1": {play: {page: ["1001", "1002"]}}}}
routes:
  - {match: "750", from: any, play: {page: ["1001", "1002", "1003"]}}
  - match: "751"
    from: any
    play: {page: {extensions: ["1002", "1003"], timeout: 2, talk_back: true, seconds: 9}}
    then: {play: {menu: main}}
    else: {dial: "1001", timeout: 5}
  - {match: "752", from: any, play: {page: {extensions: ["1003"], busy: ring}}, else: {goto: "753"}}
  - {match: "753", from: any, play: {menu: main}, else: {dial: "1002", timeout: 4}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5}
"""
NUMBERS = ("750", "750", "751", "752", "753", "1002", "1003")


@STORMS
def test_people_page_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, storm: Storm
) -> None:
    world = World(tmp_path, PAGES, PLAN, journal=storm.kills > 0)
    dice = random.Random(storm.seed)
    speaking = Speaking(world, dice)
    speaking.begin()
    hosts = ("10.9.0.1", "10.9.0.2", "10.9.0.3")
    for number, host in zip(PHONES, hosts, strict=True):
        world.phone(number, host)
    outside = Robot(world, ("10.2.0.1", 5060), "pstn", dice)
    phones = [
        Robot(world, (host, 5060), name, dice) for host, name in zip(hosts, PHONES, strict=True)
    ]
    for robot in (outside, *phones):
        robot.codes = ("##750#", "*2751#", "*3", "*1")
        robot.transfers = ("750", "751", "1001")
        robot.vanishes = 0.01
    storm.over(world)
    for _ in range(100):
        outside.after(0, 600, lambda: outside.place(dice.choice(NUMBERS)))
    dies = {dice.randrange(5, 600) for _ in range(storm.kills)}
    strikes_at = {dice.randrange(5, 600) for _ in range(storm.strikes)}
    for second in range(1500):
        world.run(1)
        if second in strikes_at:
            speaking.strike()
        if second in dies:
            speaking.dies_with_the_switch(PAGES, PLAN)
    storm.passed(world, caplog)
    assert not world.switch.spoken.pages.all
    assert {event.how for event in world.of(TalkBegan)} >= {"application", "page"}
    paged: dict[str, dict[str, str]] = {}
    for event in world.of(ApplicationTold):
        if event.application == "page":
            paged[event.call_id] = event.facts
    outcomes = {facts["outcome"] for facts in paged.values()}
    assert outcomes <= {"heard", "nobody", "abandoned", "lost", *(["rings"] if storm.kills else [])}
    assert {"heard", "nobody"} <= outcomes
    for facts in paged.values():
        if facts["outcome"] in ("heard", "nobody"):
            assert facts["listening"] == "0" or storm.kills or storm.strikes, facts
        assert int(facts["answered"]) + int(facts["not_answered"]) <= int(facts["asked"])
    rung = {event.party for event in world.of(LegInvited)}
    assert rung >= {f"extension:{name}" for name in PHONES}
