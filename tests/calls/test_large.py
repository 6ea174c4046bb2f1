"""Requests too large for a datagram (RFC 3261 §18.1.1), to trunks that take TCP as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls import call_world
from calls.call_world import ANSWER, CONFIG, SDP, Agent, Line, Stream, World

BOTH = CONFIG.replace(
    'pstn: {to: "sip:10.2.0.1:5060"', 'pstn: {large_by_tcp: true, to: "sip:10.2.0.1:5060"'
)
LARGE = SDP + "".join(
    f"a=candidate:{n} 1 UDP 2130706431 192.0.2.{n} 40000 typ host\r\n" for n in range(20)
)
TCP = "SIP/2.0/TCP"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, BOTH, journal=True)


def by(agent: Agent, method: str = "INVITE") -> list[str]:
    """By what it got its requests."""
    return [m["via"].split()[0] for m in agent.inbox if m.method == method and not m.status]


def call(world: World, offer: str = LARGE) -> tuple[Line, Agent]:
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    return alice.call("85550100", offer), pstn


def test_by_a_connection(world: World) -> None:
    world.listening.add(("10.2.0.1", 5060))
    a, pstn = call(world)
    assert by(pstn) == [TCP]
    assert world.connects == [("10.2.0.1", 5060)]
    pstn.line.reply(200, ANSWER)
    a.ack()
    assert by(pstn, "ACK") == ["SIP/2.0/UDP"], "what is small goes as ever"
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end()


def test_what_is_small(world: World) -> None:
    world.listening.add(("10.2.0.1", 5060))
    _, pstn = call(world, SDP)
    assert by(pstn) == ["SIP/2.0/UDP"]
    pstn.line.reply(486)
    assert world.connects == []
    world.end()


def test_who_takes_no_connection(world: World) -> None:
    """It gets it as a datagram, at once; and is not asked again for a while."""
    a, pstn = call(world)
    assert set(by(pstn)) == {"SIP/2.0/UDP"}
    assert world.connects == [("10.2.0.1", 5060)]
    pstn.line.reply(486)
    assert a.last.status == 486
    world.run(200)
    alice = a.agent
    alice.call("85550100", LARGE)
    pstn.line.reply(486)
    assert len(world.connects) == 1
    world.run(101)
    world.listening.add(("10.2.0.1", 5060))
    alice.call("85550100", LARGE)
    assert by(pstn)[-1] == TCP
    pstn.line.reply(486)
    world.end()


def test_a_firewall_that_says_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is not waited for as long as somebody waits for an answer."""

    class Swallowed(Stream):
        def __init__(self, *args: object, refused: bool = False) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            self.made = False

        def transmit(self, data: bytes, target: object, on_error: object) -> None:
            """Nothing comes of it."""

    monkeypatch.setattr(call_world, "Stream", Swallowed)
    a, pstn = call(world)
    world.run(0.9)
    assert by(pstn) == []
    world.run(0.2)
    assert by(pstn) == ["SIP/2.0/UDP"]
    pstn.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end()


def test_a_call_that_is_given_up_meanwhile(world: World) -> None:
    """No datagram follows it."""
    world.listening.add(("10.2.0.1", 5060))
    world.dead.add(("10.2.0.1", 5060))
    a, pstn = call(world)
    a.cancel()
    world.streams[("10.0.0.1", 5060), ("10.2.0.1", 5060)].close()
    world.dead.clear()
    world.run(40)
    assert by(pstn) == []
    world.end()


def test_other_requests(world: World) -> None:
    """A re-INVITE and an INFO of that size go the same way."""
    world.listening.add(("10.2.0.1", 5060))
    a, pstn = call(world, SDP)
    pstn.line.reply(200, ANSWER)
    a.ack()
    a.send("INFO", "x" * 1500, "Content-Type: text/plain\r\n")
    assert by(pstn, "INFO") == [TCP]
    pstn.line.reply(200, to="INFO")
    assert a.last.what == "200 INFO"
    a.invite(LARGE)
    assert by(pstn)[-1] == TCP
    pstn.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end()
