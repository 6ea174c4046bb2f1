"""Two phones put each other on hold and take it back, by whatever way, at any moment; workers are
late, refuse and die: once both listen again, each was told where the other is.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from calls.call_world import SDP, Agent, Line, Message, World
from calls.players import SPEAKS, Player
from calls.test_music import MUSIC, SETTINGS
from calls.transfers import BOB, phones, port, talk
from softswitch import events
from softswitch.media.orders import Play, Up


class Later(Agent):
    """What it sends is not delivered from within."""

    def send(self, text: str, body: str = "") -> None:
        """See `Agent`."""
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        self.world.carry(data, self.address, self.switch)


class Phone(Later):
    """It answers everything after a while, as RFC 3264 has it. `own` is where it is; `holds`:
    whether it holds, `wants`: whether it wants to."""

    def __init__(self, before: Agent, own: str, dice: random.Random) -> None:
        super().__init__(before.world, before.address, before.name)
        self.own, self.dice = own, dice
        self.holds = self.wants = self.offers = self.late = False
        self.asked: list[Message] = []
        self.hears = ""  # the other's description, in force
        self.lines = before.lines
        for line in self.lines:
            line.agent = self

    def soon(self, what: Callable[[], None], most: float = 0.6) -> None:
        late = self.dice.choice([0.0, 0.0, self.dice.uniform(0.0, most)])
        self.world.at(self.world.now + late, what)

    def description(self, holds: bool) -> str:
        if not holds:
            return self.own
        return self.own + self.dice.choice(("a=sendonly\r\n", "a=inactive\r\n"))

    def answer(self, offer: str) -> str:
        if not offer:
            return self.description(self.holds)
        if "inactive" in offer or ("sendonly" in offer and self.holds):
            return self.own + "a=inactive\r\n"
        if "sendonly" in offer:
            return self.own + "a=recvonly\r\n"
        return self.own + ("a=sendonly\r\n" if self.holds else "")

    def receive(self, message: Message) -> None:
        """See `Agent`."""
        super().receive(message)
        line = next(line for line in self.lines if line.call_id == message["call-id"])
        if message.status:
            if message.status >= 200 and message.method in ("INVITE", "UPDATE"):
                self._done(line, message)
        elif message.method == "ACK":
            self.hears = message.body or self.hears
        elif message.method == "CANCEL":
            line.reply(200, to=message)
            for asked in [one for one in self.asked if one.branch == message.branch]:
                self.asked.remove(asked)
                line.reply(487, to=asked)
        elif message.method in ("INVITE", "UPDATE"):
            if any(one.branch == message.branch for one in self.asked):
                return
            if ";tag=" in message["to"] and (self.offers or self.asked):
                line.reply(491 if self.offers else 500, "", "Retry-After: 1\r\n", to=message)
                return
            self.asked.append(message)
            self.soon(lambda: self._answers(line, message))
        else:
            line.reply(200, to=message)

    def _answers(self, line: Line, message: Message) -> None:
        if message not in self.asked:
            return
        self.asked.remove(message)
        if ";tag=" in message["to"] and self.dice.random() < 0.1:
            line.reply(self.dice.choice((488, 491)), to=message)
        else:
            line.reply(200, self.answer(message.body), to=message)
            self.hears = message.body or self.hears

    def _done(self, line: Line, message: Message) -> None:
        if message.method == "INVITE":
            if message.cseq != line.invite_cseq:
                return
            if message.status < 300:
                line.ack(self.description(self.wants) if self.late else "")
            else:
                line.acknowledge(message)
        if message.status < 300:
            self.holds = self.wants
            self.hears = message.body or self.hears
        self.offers = self.late = False

    def says(self, holds: bool, method: str) -> None:
        """It holds from now on, or not any more, if the other agrees."""
        if self.offers or self.asked:
            return
        self.offers, self.wants, self.late = True, holds, method == "ACK"
        line = self.line
        if method == "UPDATE":
            line.send("UPDATE", self.description(holds), line.contact)
        else:
            line.invite("" if self.late else self.description(holds))


class Worker(Later):
    """Where the workers take calls: late, or not at all."""

    def __init__(self, world: World, player: Player, dice: random.Random) -> None:
        super().__init__(world, player.agent.address, "media")
        self.player, self.dice = player, dice
        player.agent = self

    def receive(self, message: Message) -> None:
        """See `Agent`."""
        super().receive(message)
        if message.what == "INVITE":
            line, fate = self.line, self.dice.random()
            if fate < 0.8:
                late = self.dice.choice((0.0, self.dice.uniform(0.0, 1.0)))
                self.world.at(self.world.now + late, lambda: self._answers(line))
            elif fate < 0.9:
                line.reply(488)
        elif message.what == "BYE":
            self.lines[0].reply(200, to=message)

    def _answers(self, line: Line) -> None:
        key = line.find("INVITE").uri.partition(":")[2].partition("@")[0]
        for worker in self.player.pool.workers:
            for at in list(worker.ports.values()):
                if at.key == key:
                    line.reply(200, SPEAKS)
                    worker.said(Up(at.number))
                    if self.dice.random() < 0.1:
                        line.bye()
                    return
        line.reply(480)


def strike(player: Player) -> None:
    """A worker dies that plays."""
    busy = [worker for worker in player.pool.workers if worker.ports]
    if busy:
        busy[0].lost()


def together(alice: Phone, bob: Phone) -> None:
    """Each sends to where the other is."""
    assert (port(bob.hears), port(alice.hears)) == (port(SDP), port(BOB))
    assert not any(one in alice.hears + bob.hears for one in ("inactive", "sendonly"))


def listen(world: World, phones: list[Phone]) -> None:
    """Nobody holds any more; each says so until the other agrees."""
    world.run(45)
    for phone in phones:
        for _ in range(20):
            phone.says(False, "INVITE")
            world.run(3)
            if not phone.holds and not phone.offers and phone.line.last.what != "INVITE":
                break
    before = phones[0].line.cseq
    for _ in range(20):
        phones[0].says(False, "INVITE")
        world.run(3)
        if phones[0].line.find("200 INVITE").cseq > before:
            break


@pytest.mark.parametrize("seed", range(1, 25))
def test_on_hold_and_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    dice = random.Random(seed)
    killed = seed % 4 == 0
    world = World(tmp_path, SETTINGS, MUSIC, journal=killed)
    player = Player(world)
    worker = Worker(world, player, dice)
    one, other, _ = phones(world)
    a, _ = talk(one, other)
    alice, bob = Phone(one, SDP, dice), Phone(other, BOB, dice)
    alice.hears, bob.hears = BOB, SDP
    for number in range(80):
        if number % 8 == 7:
            world.run(60)
            if not (alice.holds or bob.holds or killed):
                together(alice, bob)
                assert player.pool.busy == 0
        fate = dice.random()
        if fate < 0.06:
            strike(player)
        elif fate < 0.09 and killed:
            world.restart(dice.choice((0.0, 1.0)), SETTINGS, MUSIC)
            player.begin()
            for agent in (alice, bob):
                # Nobody answers what was asked of a process that is gone.
                agent.offers = False
        else:
            agent = dice.choice((alice, alice, bob))
            agent.says(dice.random() < 0.5, dice.choice(("INVITE", "UPDATE", "ACK")))
        world.run(dice.choice((0.3, 0.6, 1.0, 4.0)) * dice.random())
    world.run(70)
    for agent in (alice, bob):
        agent.offers = False
    listen(world, [bob, alice])
    together(alice, bob)
    assert player.pool.busy == 0
    a.bye()
    worker.lines.clear()
    plays = len([order for order in player.orders if isinstance(order, Play)])
    if killed:
        # What was logged of the process before keeps it alive.
        world.run(15)
        player.pool.close()
        world.rest()
    else:
        player.end()
    assert plays > 3
    assert len(world.of(events.TalkBegan)) == 1
    assert not [e for e in world.of(events.LegInvited) if e.party.startswith("application")]
    assert not [record for record in caplog.records if record.exc_info]
