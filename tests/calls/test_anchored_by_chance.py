"""Phones do whatever their dice say in talks that go by way of the switch, workers die, the switch
is killed: when all is quiet those who talk send to each other, or to a worker that joins them.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from calls.bridges import RECORDED, Call, Studio, phone
from calls.call_world import World
from calls.test_anchored import PLANS, end, is_connected
from calls.transfers import attended, refer

ACTIONS = 25
WHAT = ["dial", "dial", "hold", "offer", "late", "refer", "attended", "code", "bye", "refuse"]
WHAT += ["update", "slow", "worker"]
KILLED = RECORDED + "timers: {session_check: 30, restart_check: 1}\n"


class Chance:
    """What the dice say."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.studio = Studio(world)
        self.phones = [phone(world, number) for number in ("1001", "1002", "1003", "1004")]

    def lines(self) -> list[Call]:
        """Those that talk."""
        return [line for one in self.phones for line in one.lines if line.up and not line.over]

    def act(self) -> None:
        """One thing."""
        dice, world = self.dice, self.world
        what = dice.choice(WHAT)
        lines = self.lines()
        line = dice.choice(lines) if lines else None
        if what == "dial":
            self.dial()
        elif what == "refuse":
            dice.choice(self.phones).refuses.append(dice.choice([488, 491, 500, 0]))
        elif what == "slow":
            self.studio.answers.append(dice.choice([0, 503]))
        elif what == "worker":
            if self.studio.is_used():
                self.studio.vanishes()
                world.at(world.now, self.studio.looks_ahead)
        elif line is None or line.offered is not None:
            pass
        elif what in ("hold", "offer", "late"):
            line.says({"hold": line.agent.own + "a=sendonly\r\n", "late": ""}.get(what))
        elif what == "update":
            line.send("UPDATE", line.own, line.contact)
        elif what == "refer":
            refer(line, dice.choice(["1001", "1003", "1004", "701", "5555"]))
        elif what == "attended":
            others = [one for one in line.agent.lines if one in lines and one is not line]
            if others:
                attended(line, dice.choice(others))
        elif what == "code":
            line.digits(dice.choice(["*5", "*6", "*21003", "*21004", "*3", "*1", "##1004"]))
        elif what == "bye":
            line.hangs_up()
        world.settle()

    def dial(self) -> None:
        """Somebody calls somebody, who perhaps answers."""
        dice = self.dice
        if len(self.lines()) < 6:
            number = dice.choice(["1001", "1002", "1003", "31003", "600"])
            offer = "" if dice.random() < 0.15 else None
            dice.choice(self.phones).dials(number, offer)

    def answers(self) -> None:
        """Those that ring do something about it."""
        for one in self.phones:
            for line in list(one.lines):
                if line.invited is None or line.up or line.over or line.last.what != "INVITE":
                    continue
                fate = self.dice.random()
                if fate < 0.2:
                    line.reply(self.dice.choice([488, 415]))
                elif fate < 0.3:
                    line.reply(486)
                elif fate < 0.9:
                    line.picks_up()
                self.world.settle()

    def check(self) -> None:
        """Whoever talks is connected."""
        of = {line.call_id: line for one in self.phones for line in one.lines}
        for call in self.world.switch.calls:
            for talk in call.talks():
                ends = [of.get(leg.session.dialog.call_id) for leg in (talk.first, talk.second)]
                one, other = ends
                if one is None or other is None:
                    continue
                if talk.anchor is None and (one.held or other.held):
                    # By an attended transfer that has come to nothing: its phone would offer again.
                    continue
                assert is_connected(self.studio, one, other), (call, talk.number, one.told)

    def over(self) -> None:
        """All hang up."""
        for one in self.phones:
            one.refuses.clear()
            for line in one.lines:
                if line.up:
                    line.hangs_up()
                elif line.invited is None and not line.over:
                    line.cancel()
        self.world.run(60)


@pytest.mark.parametrize("seed", range(1, 21))
def test_by_chance(tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    with caplog.at_level(logging.CRITICAL, "softswitch.media.pool"):
        world = World(tmp_path, RECORDED, PLANS)
        chance = Chance(world, seed)
        for _ in range(3):
            for _ in range(ACTIONS):
                chance.act()
                chance.answers()
                world.run(chance.dice.choice([0.0, 0.02, 0.2, 1.0]))
            for one in chance.phones:
                one.refuses.clear()
            chance.studio.answers.clear()
            world.run(75)
            chance.check()
        chance.over()
        end(world, chance.studio)
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


@pytest.mark.parametrize("seed", range(31, 41))
def test_and_the_switch_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    with caplog.at_level(logging.CRITICAL, "softswitch.media.pool"):
        world = World(tmp_path, KILLED, PLANS, journal=True)
        chance = Chance(world, seed)
        for _ in range(4):
            for _ in range(ACTIONS):
                chance.act()
                chance.answers()
                world.run(chance.dice.choice([0.0, 0.02, 0.2, 1.0]))
            chance.studio.dies_with_the_switch()
            world.run(chance.dice.choice([0.01, 1.0]))
            world.start(KILLED, PLANS)
            chance.studio.begins_again(chance.dice.random() < 0.8)
            for one in chance.phones:
                one.refuses.clear()
            world.run(100)
            chance.check()
        chance.over()
        world.run(200)
        end(world, chance.studio)
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised
