"""Callers and agents come and go, on a bad network, while media workers die and configurations
change: no agent is rung for two, nobody is lost, the order is kept, and nothing is left at the end.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from applications.storms import STORMS, Storm
from applications.test_applications_by_chance import Speaking
from calls.call_world import CONFIG, World, _configuration
from calls.robots import Robot

from softswitch.applications import OUTCOMES
from softswitch.events import (
    ApplicationTold,
    LegEnded,
    LegInvited,
    LegMoved,
    TalkBegan,
)

AGENTS = ("1001", "1002", "1003")
QUEUES = CONFIG.replace("max_calls: 5", "max_calls: 40").replace(
    "keepalive: 0}", "keepalive: 0, refer: true, session_check: true}"
) + (
    "timers: {session_check: 30, restart_check: 1, no_answer: 8}\n"
    'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
)
PLAN = """
queues:
  idle: {agents: ["1001", "1002", "1003"], ring: 6, retry: 2, wrap_up: 3, announce: 4,
         longest_wait: 60, choices: {"1": {goto: "700"}, "2": {status: 486}}}
  all: {agents: ["1001", {extension: "1002", penalty: 1}, {extension: "1003", logged_in: false}],
        strategy: ring-all, ring: 5, retry: 1, most: 6, longest_wait: 90,
        else: {play: {announcement: closed}}}
  round: {agents: ["1001", "1003"], strategy: round-robin, ring: 5, empty: wait, longest_wait: 40}
routes:
  - {match: "700", from: any, play: {queue: idle}}
  - {match: "701", from: any, play: {queue: all}, else: {play: {queue: idle}}}
  - {match: "702", from: any, play: {queue: round}, else: {goto: "701"}}
  - {match: "704", from: any, play: {queue: idle}, else: {play: {queue: round}}}
"""
OTHER = PLAN.replace("  idle: {", "  gone: {", 1).replace("queue: idle", "queue: gone")
NUMBERS = ("700", "700", "701", "702", "704")


class Watch:
    """What must hold at any time of `world`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen = 0
        self.rung: dict[str, set[tuple[str, int]]] = {f"extension:{name}": set() for name in AGENTS}
        self.worst = 0

    def look(self) -> None:
        for event in self.world.events[self.seen :]:
            if isinstance(event, LegInvited) and event.party in self.rung:
                legs = self.rung[event.party]
                assert not legs, f"{event.party} is rung twice"
                legs.add((event.call_id, event.leg))
            elif isinstance(event, LegEnded):
                for legs in self.rung.values():
                    legs.discard((event.call_id, event.leg))
        self.seen = len(self.world.events)
        queues = self.world.switch.queues
        for line in queues.lines.values():
            serials = [caller.serial for caller in line.callers]
            assert serials == sorted(serials), "out of order"
            assert all(caller.waits for caller in line.callers)
            self.worst = max(self.worst, len(serials))
        for state in queues.agents.values():
            assert state.rung_by is None or state.rung_by.rings
            assert state.serves is None or state.serves in state.legs


def _changes(world: World, dice: random.Random, folder: Path, plans: bool) -> None:
    """An agent sets something, or the configuration becomes another one."""
    if plans and dice.random() < 0.1:
        plan = dice.choice((PLAN, OTHER))
        world.switch.take_up(_configuration(folder, QUEUES, plan))
        return
    features, name = world.switch.phone_features, dice.choice(AGENTS)
    what = dice.randrange(4)
    if what == 0:
        features.set_agent(name, dice.choice((True, False, None)))
    elif what == 1:
        features.set_paused(name, dice.random() < 0.5)
    elif what == 2:
        features.set_dnd(name, dice.random() < 0.5)
    else:
        features.set_agent(name, True)
        features.set_paused(name, False)
        features.set_dnd(name, None)


@STORMS
def test_callers_and_agents_come_and_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, storm: Storm
) -> None:
    world = World(tmp_path, QUEUES, PLAN, journal=storm.kills > 0)
    dice = random.Random(storm.seed)
    speaking = Speaking(world, dice)
    speaking.begin()
    hosts = ("10.9.0.1", "10.9.0.2", "10.9.0.3")
    for number, host in zip(AGENTS, hosts, strict=True):
        world.phone(number, host)
    callers = [Robot(world, ("10.2.0.1", 5060), "pstn", dice)]
    robots = [
        *callers,
        *(Robot(world, (host, 5060), name, dice) for host, name in zip(hosts, AGENTS, strict=True)),
    ]
    for robot in robots:
        robot.codes = ("##700#", "*2701#", "*3", "*1")
        robot.transfers = ("700", "701", "702")
        robot.vanishes = 0.01
    # Nobody dials an agent, so that whoever rings one is a queue.
    storm.over(world)
    watch = Watch(world)
    for _ in range(150):
        callers[0].after(0, 300, lambda: callers[0].place(dice.choice(NUMBERS)))
    dies = {dice.randrange(5, 300) for _ in range(storm.kills)}
    strikes_at = {dice.randrange(5, 300) for _ in range(storm.strikes)}
    for second in range(1200):
        world.run(1)
        watch.look()
        if second in strikes_at:
            speaking.strike()
        if second in dies:
            speaking.dies_with_the_switch(QUEUES, PLAN)
        elif second < 300 and dice.random() < 0.15:
            _changes(world, dice, tmp_path, storm.kills == 0)
    storm.passed(world, caplog)
    queues = world.switch.queues
    assert not queues._by_leg
    assert not any(state.legs or state.serves or state.rung_by for state in queues.agents.values())
    assert {event.how for event in world.of(TalkBegan)} >= {"application", "queue"}
    told: dict[tuple[str, int], dict[str, str]] = {}
    for event in world.events:
        if isinstance(event, ApplicationTold) and event.application == "queue":
            told[event.call_id, event.leg] = event.facts
        elif isinstance(event, LegMoved):
            # It waits on in another call.
            moved = told.pop((event.was_call, event.was_leg), None)
            if moved is not None:
                told[event.call_id, event.leg] = moved
    found = [facts["outcome"] for facts in told.values() if "outcome" in facts]
    assert set(found) <= {*OUTCOMES, *(["waiting"] if storm.kills else [])}
    assert {"answered", "abandoned"} <= set(found)
    assert all("waited" in facts for facts in told.values() if facts.get("outcome") in OUTCOMES)
    assert watch.worst > 1
