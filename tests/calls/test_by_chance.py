"""Robots call each other over a network that loses, doubles and reorders: what must hold, holds.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from calls.call_world import CONFIG, T1, World
from calls.robots import Robot
from softswitch.events import CallEnded, CallRestored, CallStarted, LegAnswered, LegInvited

BRANCH = """
switch: {name: branch, listen: ["udp:10.0.0.2:5060"]}
extensions: {"2001": {password: c}}
trunks:
  hq: {to: "sip:10.0.0.1:5060", switch: true, keepalive: 0}
  far: {to: "sip:10.8.0.1:5060", keepalive: 0}
dialplan: plan.yaml
"""
BRANCH_PLAN = """
routes:
  - {match: "2001", from: any, dial: "trunk:far"}
  - {match: "21XX", from: any, strip: 2, prepend: "10", dial: "trunk:hq", timeout: 15}
  - match: "22XX"
    from: any
    strip: 2
    prepend: "10"
    dial: {all: ["trunk:hq", "trunk:far"]}
    timeout: 15
  - {match: "23XX", from: any, dial: {order: ["trunk:far", "trunk:hq"]}, timeout: 15}
"""
NUMBERS = """
    1001 1002 600 601 602 603 604 605 666 777 2001 2101 2102 2201 2301 85550100 95550100
"""
CALLS = 150


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay", "switches"),
    [
        (1, 0.0, 0.0, 0.0, 1),
        (2, 0.0, 0.0, 0.3, 1),
        (3, 0.0, 0.3, 0.3, 1),
        (4, 0.1, 0.1, 0.1, 1),
        (5, 0.2, 0.1, 0.4, 1),
        (6, 0.3, 0.3, 1.0, 1),
        (7, 0.15, 0.0, 0.0, 1),
        (8, 0.05, 0.05, 2.0, 1),
        (9, 0.0, 0.0, 0.0, 2),
        (10, 0.1, 0.2, 0.3, 2),
        (11, 0.25, 0.1, 1.0, 2),
    ],
)
def test_robots(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
    switches: int,
) -> None:
    by_chance(tmp_path, caplog, CONFIG, seed, loss, double, delay, switches)


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay", "switches"),
    [
        (31, 0.0, 0.0, 0.0, 1),
        (32, 0.1, 0.1, 0.3, 1),
        (33, 0.0, 0.2, 0.3, 2),
        (34, 0.2, 0.1, 1.0, 2),
    ],
)
def test_robots_that_forward(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
    switches: int,
) -> None:
    """In circles, over two switches, to groups and carriers."""
    config = CONFIG
    for number, forward in (
        ("1001", '{busy: "1002", no_answer: {to: "600", after: 8}, unreachable: "2101"}'),
        ("1002", '{busy: "1001", no_answer: "95550100", unreachable: "2301"}'),
        ("1003", '{always: "2103"}'),
    ):
        config = config.replace(f'"{number}": {{', f'"{number}": {{forward: {forward}, ')
    by_chance(tmp_path, caplog, config, seed, loss, double, delay, switches)


def by_chance(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    config: str,
    seed: int,
    loss: float,
    double: float,
    delay: float,
    switches: int,
) -> None:
    world = World(
        tmp_path,
        config + "timers: {session_check: 30, t4: 5, nonce_lifetime: 300}\n",
    )
    if switches == 2:
        world.add_switch("branch", ("10.0.0.2", 5060), BRANCH, BRANCH_PLAN).opened()
    for number, host in (("1001", "10.9.0.1"), ("1001", "10.9.0.2"), ("1002", "10.9.0.3")):
        world.phone(number, host)
    dice = random.Random(seed)
    robots = [
        Robot(world, (host, 5060), name, dice)
        for host, name in (
            ("10.1.0.1", "alice"),
            ("10.2.0.1", "pstn"),
            ("10.3.0.1", "backup"),
            ("10.0.0.2" if switches == 1 else "10.8.0.1", "far"),
            ("10.9.0.1", "1001"),
            ("10.9.0.2", "1001b"),
            ("10.9.0.3", "1002"),
        )
    ]
    if switches == 2:
        robots[3].switch = ("10.0.0.2", 5060)
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    for _ in range(CALLS):
        robot = robots[dice.randrange(4)]
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(NUMBERS.split())))
    world.run(500)
    # The switch may have sent its last BYE into the storm; robots whose lines are dead stay silent.
    world.end(idle=600)
    check_agreement(world, robots, lossy=bool(loss))
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay"),
    [(21, 0.0, 0.0, 0.0), (22, 0.0, 0.2, 0.3), (23, 0.1, 0.1, 0.4), (24, 0.0, 0.0, 0.05)],
)
def test_robots_and_a_switch_that_is_killed(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
) -> None:
    """At any moment, and started again: all its calls are there again, and each ends once."""
    config = CONFIG + "timers: {session_check: 30, restart_check: 1}\n"
    world = World(tmp_path, config, journal=True)
    dice = random.Random(seed)
    robots = [
        Robot(world, (host, 5060), name, dice)
        for host, name in (
            ("10.1.0.1", "alice"),
            ("10.2.0.1", "pstn"),
            ("10.3.0.1", "backup"),
            ("10.0.0.2", "far"),
        )
    ]
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    for _ in range(300):
        robot = dice.choice(robots)
        robot.after(0, 500, lambda robot=robot: robot.place(dice.choice(NUMBERS.split())))
    for _ in range(20):
        world.run(dice.random() * 40)
        alive = {(call.call_id, call.caller.index) for call in world.switch.calls}
        told = len(world.events)
        world.kill()
        world.run(dice.choice((0.0, 0.01, 3.0, 40.0)) * dice.random())
        world.start(config)
        # Nobody has heard of a call that was not written down.
        assert alive == {
            (event.call_id, event.leg)
            for event in world.events[told:]
            if isinstance(event, CallRestored)
        }
    world.run(500)
    world.end(idle=600)
    assert world.rows.rows == {}
    ends: dict[tuple[str, int], CallEnded] = {}
    for event in world.of(CallEnded):
        assert (event.call_id, event.leg) not in ends
        ends[event.call_id, event.leg] = event
    # What was restored has ended, in this life or in a later one.
    restored = {(event.call_id, event.leg): event for event in world.of(CallRestored)}
    assert restored.keys() <= ends.keys()
    by_the_parties = 0
    for key, event in restored.items():
        answered = any(isinstance(told, LegAnswered) for told in event.told)
        assert ends[key].disposition == ("answered" if answered else "failed")
        assert answered or ends[key].reason == "switch restarted"
        by_the_parties += answered and ends[key].hangup_by != "switch"
    assert by_the_parties > 10, "the dice make calls that go on"
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


def check_agreement(world: World, robots: list[Robot], lossy: bool) -> None:
    """Both sides and the record say the same of each call."""
    ended = {(e.switch, e.call_id, e.leg): e for e in world.of(CallEnded)}
    started = {e.sip_call_id: e for e in world.of(CallStarted)}
    assert len(ended) == len(started) > CALLS / 2
    answered = 0
    # A callee that nothing came from before timer B cannot be told to stop (§9.1).
    too_late = {event.sip_call_id: event.at / 1e6 + 64 * T1 for event in world.of(LegInvited)}
    heard = {
        message["call-id"]
        for message in world.wire
        if message.source in world.agents and message.at < too_late.get(message["call-id"], 1e99)
    }
    for robot in robots:
        for line in robot.lines:
            assert line.state == "over" or line.call_id not in heard, (
                f"{robot.name} is still {line.state} in {line.call_id}"
            )
            start = started.get(line.call_id)
            if start is None:
                continue
            end = ended[start.switch, start.call_id, start.leg]
            if line.outcome == 200:
                answered += 1
                assert end.disposition == "answered", (line.call_id, end)
            elif line.outcome >= 300 and line.outcome != 408:
                assert end.sip_status == line.outcome, (line.call_id, line.outcome, end)
                assert end.disposition != "answered"
            elif end.disposition == "answered":
                assert line.dead or lossy, f"{line.call_id} never heard of its answer"
    assert answered > CALLS / 10, "the dice make calls that are answered"
