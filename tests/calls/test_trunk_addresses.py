"""A trunk with several addresses: the next one when one takes no calls (RFC 3263 §4.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, Agent, World
from softswitch.events import LegEnded, LegInvited

NAMED = CONFIG.replace(
    'pstn: {to: "sip:10.2.0.1:5060", from: "10.2.0.0/24", max_calls: 5, keepalive: 0}',
    'pstn: {to: "sip:carrier.example", from: "10.2.0.0/24", max_calls: 5, keepalive: 0}',
)
ONE, TWO, THREE = ("10.2.0.1", 5060), ("10.2.0.2", 5062), ("10.2.0.3", 5060)


class Carrier:
    """Its three hosts, as the DNS has them, and a phone that calls there."""

    def __init__(self, folder: Path, config: str = NAMED) -> None:
        self.world = World(folder, config)
        self.world.switch.trunks.set_addresses("pstn", (ONE, TWO, THREE))
        self.hosts = [self.world.agent(host, "pstn", port) for host, port in (ONE, TWO, THREE)]
        self.alice = self.world.phone("1001", "10.9.0.1")

    @property
    def invited(self) -> list[int]:
        """How many calls each host has got."""
        return [len(host.lines) for host in self.hosts]

    def take(self, host: Agent) -> None:
        host.line.reply(200, ANSWER)
        self.alice.line.ack()
        self.alice.line.bye()
        host.line.reply(200, to="BYE")


@pytest.fixture
def carrier(tmp_path: Path) -> Carrier:
    return Carrier(tmp_path)


def test_one_that_refuses(carrier: Carrier) -> None:
    carrier.alice.call("85550100")
    assert carrier.invited == [1, 0, 0]
    assert carrier.hosts[0].line.find("INVITE").uri == "sip:5550100@carrier.example"
    carrier.hosts[0].line.reply(503)
    assert carrier.invited == [1, 1, 0]
    carrier.take(carrier.hosts[1])
    # The next call does not try it again for a while.
    carrier.alice.call("85550100")
    assert carrier.invited == [1, 2, 0]
    carrier.take(carrier.hosts[1])
    carrier.world.run(31)
    carrier.alice.call("85550100")
    assert carrier.invited == [2, 2, 0]
    carrier.take(carrier.hosts[0])
    carrier.world.end()


def test_one_that_is_dead(carrier: Carrier) -> None:
    carrier.world.dead.add(ONE)
    carrier.alice.call("85550100")
    carrier.world.run(5.1)
    assert carrier.invited == [0, 1, 0]
    carrier.take(carrier.hosts[1])
    legs = [event.address for event in carrier.world.of(LegInvited)]
    assert legs == ["udp:10.2.0.1:5060", "udp:10.2.0.2:5062"]
    assert carrier.world.of(LegEnded)[0].status == 408
    carrier.world.end()


def test_all_refuse(carrier: Carrier) -> None:
    carrier.alice.call("85550100")
    for host in carrier.hosts:
        host.line.reply(503)
    assert carrier.invited == [1, 1, 1]
    assert carrier.alice.line.last.status >= 500
    carrier.world.end()


def test_they_say_for_how_long(carrier: Carrier) -> None:
    carrier.alice.call("85550100")
    carrier.hosts[0].line.reply(503, extra="Retry-After: 300\r\n")
    carrier.take(carrier.hosts[1])
    carrier.world.run(200)
    carrier.alice.call("85550100")
    assert carrier.invited == [1, 2, 0]
    carrier.take(carrier.hosts[1])
    carrier.world.run(120)
    carrier.alice.call("85550100")
    assert carrier.invited == [2, 2, 0]
    carrier.take(carrier.hosts[0])
    carrier.world.end()


def test_what_is_about_the_callee_is_not_tried_elsewhere(carrier: Carrier) -> None:
    carrier.alice.call("85550100")
    carrier.hosts[0].line.reply(486)
    assert carrier.invited == [1, 0, 0]
    assert carrier.alice.line.last.status == 486
    carrier.world.end()


def test_the_caller_gives_up(carrier: Carrier) -> None:
    carrier.world.dead.add(ONE)
    a = carrier.alice.call("85550100")
    carrier.world.run(1)
    a.cancel()
    carrier.world.run(60)
    assert carrier.invited == [0, 0, 0]
    carrier.world.end()


def test_its_line_is_taken_once(tmp_path: Path) -> None:
    carrier = Carrier(tmp_path, NAMED.replace("max_calls: 5", "max_calls: 1"))
    carrier.alice.call("85550100")
    carrier.hosts[0].line.reply(503)
    carrier.hosts[1].line.reply(503)
    carrier.take(carrier.hosts[2])
    carrier.world.end()


def test_each_is_asked_whether_it_is_there(tmp_path: Path) -> None:
    """OPTIONS go to all; the trunk is down when all are."""
    carrier = Carrier(
        tmp_path, NAMED.replace("keepalive: 0}\n  backup", "keepalive: 10}\n  backup")
    )
    world, trunks = carrier.world, carrier.world.switch.trunks

    def ask(*alive: int) -> None:
        """Those that are alive answer; the others time out."""
        seen = [len(host.inbox) for host in carrier.hosts]
        for _ in range(3):
            world.run(10)
            world.switch.trunk_checks.ask()
            world.settle()
            for index, host in enumerate(carrier.hosts):
                for message in host.inbox[seen[index] :]:
                    if index in alive and message.what == "OPTIONS":
                        host.send(
                            f"SIP/2.0 200 OK\r\nVia: {message['via']}\r\n"
                            f"From: {message['from']}\r\n"
                            f"To: {message['to']};tag=x\r\nCall-ID: {message['call-id']}\r\n"
                            f"CSeq: {message['cseq']}\r\n"
                        )
                seen[index] = len(host.inbox)
        world.run(33)

    ask(0, 1, 2)
    assert trunks.is_up("pstn")
    assert trunks.addresses("pstn")[0] == ONE
    ask(1)
    assert trunks.is_up("pstn")
    assert trunks.addresses("pstn")[0] == TWO
    ask()
    assert not trunks.is_up("pstn")
    ask(2)
    assert trunks.is_up("pstn")
    assert trunks.addresses("pstn")[0] == THREE


def test_a_trunk_of_one_address_that_asks_for_a_pause(tmp_path: Path) -> None:
    """It is the last choice until then, whatever it answers to OPTIONS."""
    config = CONFIG.replace(
        '"10.2.0.0/24", max_calls: 5, keepalive: 0', '"10.2.0.0/24", keepalive: 30'
    )
    world = World(tmp_path, config)
    pstn, backup = world.agent("10.2.0.1", "pstn"), world.agent("10.3.0.1", "backup")
    alice = world.phone("1001", "10.9.0.1")
    alice.call("95550100")
    pstn.line.reply(503, extra="Retry-After: 120\r\n")
    backup.line.reply(486)
    assert not world.switch.trunks.is_up("pstn")
    world.run(60)
    world.switch.trunks.heard("pstn")
    assert not world.switch.trunks.is_up("pstn")
    alice.call("95550100")
    assert (len(pstn.lines), len(backup.lines)) == (1, 2)
    backup.line.reply(486)
    world.run(61)
    world.switch.trunks.heard("pstn")
    assert world.switch.trunks.is_up("pstn")
    world.end()
