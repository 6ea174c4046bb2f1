"""Robots that acknowledge what rings, or require it, or know nothing of it, also behind one proxy,
on a bad network: nothing is left of any call, and every answer comes through."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, SDP, Address, Message, World
from calls.robots import Robot, RobotLine
from calls.test_by_chance import NUMBERS
from softswitch.events import LegRinging, TalkBegan


class Careful(Robot):
    """`calls_with` and `rings_with` are what its next call, and its next ringing, do of it."""

    def __init__(self, world: World, address: Address, name: str, dice: random.Random) -> None:
        super().__init__(world, address, name, dice)
        self.acknowledged = self.sent_reliably = 0

    def called(self, invite: Message) -> RobotLine:
        return CarefulLine.called(self, invite)

    def calling(self, number: str) -> RobotLine:
        return CarefulLine(self, f"r{next(self.world.serial)}@{self.host_port}", number)


class CarefulLine(RobotLine):
    agent: Careful

    def __init__(self, agent: Robot, call_id: str, number: str = "") -> None:
        super().__init__(agent, call_id, number)
        self.sequences: dict[str, int] = {}  # RSeq by To tag: of what came, or was sent
        self.open: set[tuple[str, int]] = set()  # those sent and not acknowledged

    def begin(self) -> None:
        was = self.contact
        option = self.agent.dice.choice(["Supported: 100rel\r\n", "Require: 100rel\r\n", ""])
        self.contact += option
        super().begin()
        self.contact = was

    def _invited(self, message: Message | None) -> bool:
        if message is not None and 100 < message.status < 200 and "rseq" in message:
            tag, number = message.tag("to"), int(message["rseq"])
            last = self.sequences.get(tag)
            if self.state == "trying" and (last is None or number == last + 1):
                self.sequences[tag] = number
                if self.agent.dice.random() < 0.97:
                    self._acknowledge(message)
        return super()._invited(message)

    def _acknowledge(self, message: Message) -> None:
        was = self.remote, self.uri
        self.remote, self.uri = message["to"], message.target_uri
        offered = bool(message.body) and not self.offered
        self.agent.ask(
            self,
            "PRACK",
            self._pracked,
            ANSWER if offered else "",
            f"RAck: {message['rseq']} {message.cseq} INVITE\r\n",
        )
        self.remote, self.uri = was

    @property
    def offered(self) -> bool:
        """Whether the INVITE had an offer."""
        return bool(self.first_body)

    def send(self, method: str, body: str = "", extra: str = "", **more: object) -> None:  # type: ignore[override]
        if method == "INVITE" and not hasattr(self, "first_body"):
            self.first_body = body
        super().send(method, body, extra, **more)  # type: ignore[arg-type]

    def _pracked(self, message: Message | None) -> bool:
        self.agent.acknowledged += message is not None and message.status == 200
        return message is None or message.status >= 200

    def _rings(self, media: bool) -> None:
        invite = self.received[0]
        if self.state != "trying" or self.dead:
            return
        dice = self.agent.dice
        if "100rel" not in invite["supported"] or dice.random() < 0.3:
            if invite.body or not media:
                super()._rings(media)
            return
        tag = dice.choice([self.tag, f"{self.tag}-fork"])
        if any(open_tag == tag for open_tag, _ in self.open):
            return
        number = self.sequences.get(tag, dice.randrange(1, 1000)) + 1
        self.sequences[tag] = number
        self.open.add((tag, number))
        self.agent.sent_reliably += 1

        def again(wait: float) -> None:
            if (tag, number) in self.open and self.state == "trying" and not self.dead:
                self.reply(
                    183 if media else 180,
                    SDP if media else "",
                    f"Require: 100rel\r\nRSeq: {number}\r\n",
                    to=invite,
                    tag=tag,
                )
                if wait < 32:
                    self.agent.after(wait, wait, lambda: again(2 * wait))

        again(0.5)

    def _answers(self) -> None:
        # RFC 3262 §3: not while it has described itself and nobody has acknowledged that.
        if self.open and self.state == "trying":
            self.agent.after(1, 1, self._answers)
            return
        super()._answers()

    def asked(self, request: Message) -> None:
        if request.method == "PRACK":
            number = int(request["rack"].split()[0])
            known = (request.tag("to"), number) in self.open
            self.open.discard((request.tag("to"), number))
            self.reply(200 if known else 481, to=request)
        else:
            super().asked(request)


@pytest.mark.parametrize(
    ("seed", "loss", "double", "delay"),
    [
        (1, 0.0, 0.0, 0.0),
        (2, 0.0, 0.3, 0.3),
        (3, 0.1, 0.1, 0.1),
        (4, 0.25, 0.1, 1.0),
    ],
)
def test_robots_acknowledge(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
    loss: float,
    double: float,
    delay: float,
) -> None:
    world = World(tmp_path, CONFIG)
    dice = random.Random(seed)
    for number, host in (("1001", "10.9.0.1"), ("1001", "10.9.0.2"), ("1002", "10.9.0.3")):
        world.phone(number, host)
    robots = [
        Careful(world, (host, 5060), name, dice)
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
        robot.vanishes = 0.01
    world.chance.seed(seed)
    world.loss, world.double, world.delay = loss, double, delay
    for _ in range(200):
        robot = dice.choice(robots[:3])
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(NUMBERS.split())))
    world.run(600)
    world.end(idle=900)
    assert sum(robot.sent_reliably for robot in robots) > 20
    assert sum(robot.acknowledged for robot in robots) > 20
    assert len(world.of(TalkBegan)) > 20
    assert world.of(LegRinging)
    raised = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not raised
