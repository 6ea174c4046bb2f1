"""What calls to carriers may cost (`toll:`): at once, a day, by number and by who places them."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, PLAN, Agent, World
from calls.transfers import phones
from softswitch.configuration import load_config
from softswitch.control import toll_rows
from softswitch.events import CallEnded, TollAlarm

MINE = CONFIG.replace("switch: {name: hq,", "switch: {name: hq, time_zone: Europe/Berlin,")
MINE += "timers: {session_check: 0}\n"
BERLIN_MIDNIGHT = 2800  # seconds from the world's start


def made(folder: Path, *rules: str, journal: bool = False, config: str = MINE) -> World:
    toll = "toll:\n" + "".join(f"  {rule}\n" for rule in rules)
    return World(folder, config + toll, journal=journal)


def takes(world: World, agent: Agent, number: str, seconds: float = 0.0) -> bool:
    """Call a number outside; whether the carrier gets it. It lasts so long."""
    pstn = world.agent("10.2.0.1", "pstn")
    count = len(pstn.lines)
    line = agent.call(number)
    if len(pstn.lines) == count:
        assert line.last.status >= 400
        return False
    pstn.line.reply(200, ANSWER)
    line.ack()
    world.run(seconds)
    if agent.line.what[-1:] == ["BYE"]:
        return True
    line.bye()
    pstn.line.reply(200, to="BYE")
    return True


def take_up(world: World, config: str) -> None:
    (world.folder / "switch.yaml").write_text(config)
    (world.folder / "plan.yaml").write_text(PLAN)
    world.switch.take_up(load_config(world.folder / "switch.yaml"))


def alarms(world: World) -> list[tuple[str, str, int, int, bool]]:
    return [
        (one.party.removeprefix("extension:"), one.what, one.used, one.most, one.refused)
        for one in world.of(TollAlarm)
    ]


def test_calls_a_day(tmp_path: Path) -> None:
    world = made(tmp_path, 'abroad: {match: ["00.", "900."], calls: 5}')
    alice, bob, _ = phones(world)
    assert [takes(world, alice, "80049") for _ in range(6)] == [True] * 5 + [False]
    assert alice.line.last.start == "SIP/2.0 403 Toll Limit"
    assert takes(world, alice, "8030"), "another number"
    assert not takes(world, alice, "8900123"), "the same limit"
    assert takes(world, bob, "80049"), "another caller"
    assert alarms(world) == [
        ("1001", "calls", 4, 5, False),
        ("1001", "calls", 5, 5, True),
        ("1001", "calls", 5, 5, True),
    ]
    refused = world.of(TollAlarm)[1]
    ended = next(one for one in world.of(CallEnded) if one.call_id == refused.call_id)
    assert (ended.sip_status, ended.reason) == (403, "Toll Limit")
    world.run(BERLIN_MIDNIGHT + 1)
    assert takes(world, alice, "80049"), "another day"
    world.end()


def test_at_once(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: ['.', '+.'], at_once: 2, per: switch, trunks: pstn}")
    alice, bob, carol = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    first = alice.call("85550100")
    pstn.line.reply(180)
    second = bob.call("85550100")
    pstn.line.reply(180)
    assert len(pstn.lines) == 2
    assert not takes(world, carol, "85550101")
    assert carol.line.last.status == 403
    second.cancel()
    pstn.line.reply(200, to="CANCEL")
    pstn.line.reply(487)
    assert takes(world, carol, "85550101")
    first.cancel()
    pstn.lines[0].reply(200, to="CANCEL")
    pstn.lines[0].reply(487)
    assert alarms(world) == [("1003", "at once", 2, 2, True)]
    world.end()


def test_minutes(tmp_path: Path) -> None:
    """The call that uses them up is ended; the next is refused."""
    world = made(tmp_path, "all: {match: '.', minutes: 10, alarm: 0.5}")
    alice = world.phone("1001", "10.9.0.1")
    assert takes(world, alice, "85550100", 290)
    assert alarms(world) == []
    assert takes(world, alice, "85550100", 100)
    assert alarms(world) == [("1001", "minutes", 5, 10, False)]
    pstn = world.agent("10.2.0.1", "pstn")
    line = alice.call("85550100")
    pstn.line.reply(200, ANSWER)
    line.ack()
    world.run(200)
    assert line.last.what != "BYE"
    world.run(20)
    bye = line.find("BYE")
    assert "Toll Limit" in bye["reason"]
    line.reply(200, to="BYE")
    pstn.line.reply(200, to="BYE")
    assert not takes(world, alice, "85550100")
    assert alarms(world)[1:] == [("1001", "minutes", 10, 10, True)] * 2
    assert world.of(CallEnded)[2].reason == "Toll Limit"
    world.end()


def test_over_midnight(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: '.', minutes: 10}")
    alice = world.phone("1001", "10.9.0.1")
    world.run(BERLIN_MIDNIGHT - 540)
    assert takes(world, alice, "85550100", 540 + 500), "9 minutes of one day, 8 of the next"
    pstn = world.agent("10.2.0.1", "pstn")
    assert pstn.line.what[-1] == "BYE"
    assert [round(seconds) for _, seconds in world.switch.toll_counts.counts()] == [500]
    assert [one[1:] for one in alarms(world)] == [("minutes", 8, 10, False)] * 2, "one a day"
    assert takes(world, alice, "85550100", 50)
    assert len(alarms(world)) == 2
    world.end()


def test_another_trunk_is_no_other_call(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: '.', calls: 2, at_once: 1}")
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    backup = world.agent("10.3.0.1", "backup")
    for _ in range(2):
        alice.call("95550100")
        pstn.line.reply(503)
        backup.line.reply(486)
        assert alice.line.last.status == 486
    alice.call("95550100")
    assert alice.line.last.status == 403
    assert len(backup.lines) == 2
    world.end()


def test_who_forwards_pays(tmp_path: Path) -> None:
    """A call from outside that an extension has forwarded outside."""
    config = MINE.replace(
        "name: Bob, password: b", 'name: Bob, password: b, forward: {always: "85550100"}'
    )
    world = made(tmp_path, "all: {match: '.', calls: 1, extensions: '1002'}", config=config)
    alice, _, _ = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    for number in range(3):
        alice.call("1002")
        if number == 0:
            pstn.line.reply(486)
        assert alice.line.last.status == (486 if number == 0 else 403)
    assert takes(world, alice, "85550100"), "for herself she may"
    assert [one[0] for one in alarms(world)] == ["1002"] * 3
    world.end()


def test_nobody_stops_a_call_for_help(tmp_path: Path) -> None:
    plan = 'routes:\n  - {match: "112", emergency: true, dial: "trunk:pstn"}\n'
    world = World(tmp_path, MINE + "toll: {all: {match: '.', calls: 1}}\n", plan)
    alice = world.phone("1001", "10.9.0.1")
    assert all(takes(world, alice, "112") for _ in range(3))
    assert alarms(world) == []
    world.end()


def test_a_switch_of_ours_is_no_carrier(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: '.', calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    branch = world.agent("10.0.0.2", "branch")
    for _ in range(3):
        alice.call("2001")
        branch.line.reply(486)
    assert len(branch.lines) == 3
    world.end()


def test_after_a_kill(tmp_path: Path) -> None:
    """What was used today stays used, and a call that goes on is counted to its end."""
    rules = ("all: {match: '.', calls: 3, minutes: 10}",)
    world = made(tmp_path, *rules, journal=True)
    config = MINE + "toll:\n  " + rules[0] + "\n"
    alice = world.phone("1001", "10.9.0.1")
    assert takes(world, alice, "85550100", 120)
    pstn = world.agent("10.2.0.1", "pstn")
    line = alice.call("85550100")
    pstn.line.reply(200, ANSWER)
    line.ack()
    rings = alice.call("85550101")
    pstn.line.reply(180)
    world.run(60)
    world.restart(away=30, config=config)
    assert rings.last.status >= 480
    counts = [(c.calls, round(seconds), len(c.up)) for c, seconds in _counts(world)]
    assert counts == [(3, 210, 1)]
    line.bye()
    pstn.lines[1].reply(200, to="BYE")
    assert not takes(world, alice, "85550100")
    world.restart(config=config)
    assert not takes(world, alice, "85550100")
    world.restart(away=BERLIN_MIDNIGHT, config=config)
    assert takes(world, alice, "85550100")
    world.end()


def test_rules_that_change(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: '.', calls: 2}", "other: {match: '7.', calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    assert [takes(world, alice, "85550100") for _ in range(3)] == [True, True, False]
    take_up(world, MINE + "toll: {all: {match: '.', calls: 3}}\n")
    assert [takes(world, alice, "85550100") for _ in range(2)] == [True, False]
    take_up(world, MINE)
    assert takes(world, alice, "85550100")
    assert _counts(world) == []
    world.end()


def test_how_many_there_are(tmp_path: Path) -> None:
    """Nothing grows but by parties and rules, and is gone the next day."""
    world = made(tmp_path, "a: {match: '.', calls: 9}", "b: {match: '5.', at_once: 9, per: switch}")
    for agent in phones(world):
        for _ in range(3):
            assert takes(world, agent, "85550100")
    rows = toll_rows(world.switch)
    assert [(row["rule"], row["party"], row["calls"]) for row in rows] == [
        ("a", "extension:1001", 3),
        ("b", "all", 9),
        ("a", "extension:1002", 3),
        ("a", "extension:1003", 3),
    ]
    assert len(world.switch.toll_counts) == 0
    world.run(BERLIN_MIDNIGHT)
    assert len(_counts(world)) == 0
    world.end()


def _counts(world: World):  # type: ignore[no-untyped-def]
    return list(world.switch.toll_counts.counts())


@pytest.mark.parametrize("when", ["2023-03-26", "2023-10-29"])
def test_days_of_23_and_25_hours(tmp_path: Path, when: str) -> None:
    world = made(tmp_path, "all: {match: '.', calls: 1}")
    hours = 23 if when.endswith("26") else 25
    midnight = 1679785200 if hours == 23 else 1698530400
    world.utc_ahead = midnight - world.now + 1.0
    toll = world.switch.toll_counts
    toll.counts()
    assert (toll._day, toll._day_ends - toll._day_began) == (when, hours * 3600 * 10**6)
