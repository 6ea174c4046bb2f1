"""INVITEs that come again, by chance: a switch is killed, and no INVITE makes a second call.

The network doubles and delays what is sent; the switch is killed at any moment, also between what
it has written down and what it was about to send. The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from calls.call_world import CONFIG, PLAN, SDP, Message, World
from calls.robots import Robot, RobotLine
from softswitch.events import CallRestored, CallStarted

LATE = 0.8
"""Seconds that the network holds a datagram back, at most."""
HQ = CONFIG.replace("max_calls: 5, ", "") + "timers: {restart_check: 1, no_response: 0}\n"
BRANCH = """
switch: {name: branch, listen: ["udp:10.0.0.2:5060"]}
trunks:
  hq: {to: "sip:10.0.0.1:5060", switch: true, keepalive: 0}
  far: {to: "sip:10.8.0.1:5060", keepalive: 0}
dialplan: plan.yaml
timers: {no_response: 0}
"""
BRANCH_PLAN = """
routes:
  - {match: "2001", from: any, dial: "trunk:far"}
  - {match: "8.", from: any, dial: "trunk:hq"}
  - {match: "777", from: any, dial: "trunk:hq"}
"""


class Patient(Robot):
    """A robot of whose calls one side hangs up, and the other never does: the switch must see to
    it. What it offers says which call it is, and who hangs up."""

    def called(self, invite: Message) -> RobotLine:
        """Somebody calls."""
        return PatientLine.called(self, invite)

    def calling(self, number: str) -> RobotLine:
        """A call that is about to begin."""
        return PatientLine(self, f"r{next(self.world.serial)}@{self.host_port}", number)

    def receive(self, message: Message) -> None:
        """Whoever is answered after it has given up hangs up (§13.2.2.4)."""
        super().receive(message)
        line = next((one for one in self.lines if one.call_id == message["call-id"]), None)
        if message.what == "200 INVITE" and line is not None and line.outcome != 200:
            line.outcome = 200
            line.remote, line.uri = message["to"], message.target_uri
            self.ask(line, "BYE", lambda answer: answer is None or answer.status >= 200)


class PatientLine(RobotLine):
    """`leaves`: whether it is this side that hangs up."""

    leaves = False

    def begin(self) -> None:
        """The INVITE, again until something comes; some give up."""
        agent, dice = self.agent, self.agent.dice
        who = dice.choice(("caller", "callee"))
        self.leaves = who == "caller"
        uri = self.uri
        offer = SDP.replace("s=-", f"s={who} {self.call_id}")
        agent.ask(self, "INVITE", self._invited, offer, self.contact)
        self.invite_branch, self.invite_cseq, self.invite_uri = self.branch, self.cseq, uri
        if dice.random() < 0.25:
            agent.after(0.0, 6.0, self._give_up)
        agent.after(60.0, 61.0, self._give_up)

    @classmethod
    def called(cls, agent: Robot, invite: Message) -> PatientLine:  # type: ignore[override]
        """It rings, and answers or refuses, at once or in a while."""
        line = super(RobotLine, cls).called(agent, invite)
        assert isinstance(line, PatientLine)
        line.received.append(invite)
        line.leaves = "s=callee" in invite.body
        dice = agent.dice
        if dice.random() < 0.5:
            line.reply(100)
        if dice.random() < 0.5:
            agent.after(0, 3, lambda: line._rings(False))
        within = dice.choice((0.0, 0.5, 5.0))
        if dice.random() < 0.7:
            agent.after(0, within, line._answers)
        else:
            agent.after(0, within, lambda: line._refuses(dice.choice((404, 486, 603))))
        return line

    def _talk(self) -> None:
        """Longer than the network holds anything back."""
        if self.leaves:
            self.agent.after(
                2 * self.agent.world.delay, self.agent.dice.choice((2, 8)), self._hang_up
            )


def invited(robot: Patient) -> list[str]:
    """Whose calls it was called for, by their offers."""
    return [
        line.invited.body.partition("s=")[2].partition("\r\n")[0]
        for line in robot.lines
        if line.invited is not None
    ]


@pytest.mark.parametrize("some", range(5))
def test_no_invite_makes_a_second_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, some: int
) -> None:
    restored = 0
    for seed in range(50 * some, 50 * some + 50):
        restored += _seed(tmp_path, seed)
    assert restored > 20, "the dice make calls that are there at a kill"
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised


def _seed(folder: Path, seed: int) -> int:
    """Returns how many calls outlived a kill."""
    dice = random.Random(seed)
    world = World(folder, HQ, PLAN, journal=True)
    branch = ("10.0.0.2", 5060)
    world.add_switch("branch", branch, BRANCH, BRANCH_PLAN).opened()
    robots = [
        Patient(world, (host, 5060), name, dice)
        for host, name in (("10.1.0.1", "alice"), ("10.2.0.1", "pstn"), ("10.8.0.1", "far"))
    ]
    alice, _, far = robots
    far.switch = branch
    world.chance.seed(seed)
    world.double = dice.choice((0.0, 0.3))
    world.delay = dice.choice((0.0, 0.01, LATE))
    for _ in range(8):
        caller, number = dice.choice(
            ((alice, "85550100"), (alice, "2001"), (far, "85550100"), (far, "777"))
        )
        caller.after(0, 12, partial(caller.place, number))
    for _ in range(3):
        world.run(dice.random() * 6)
        if dice.random() < 0.7:
            world.mute()
            world.run(dice.random() * 0.39)
        world.kill()
        world.run(dice.choice((0.0, 0.5, 5.0)) * dice.random())
        world.start(HQ)
    try:
        world.rest(300)
        started = Counter((event.switch, event.sip_call_id) for event in world.of(CallStarted))
        assert max(started.values()) == 1, "an INVITE made two calls"
        called = Counter(one for robot in robots for one in invited(robot))
        assert not called or max(called.values()) == 1, "a callee was called twice"
        up = [line.call_id for robot in robots for line in robot.lines if line.state != "over"]
        assert not up, "nobody hung up"
        assert world.rows is not None
        assert world.rows.rows == {}
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
    return len(world.of(CallRestored))
