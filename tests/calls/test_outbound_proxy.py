"""A carrier that is reached by way of its proxy, and still named as itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, World
from calls.carrier import Carrier
from softswitch.config import ConfigErrors

BEHIND = CONFIG.replace(
    'pstn: {to: "sip:10.2.0.1:5060", from: "10.2.0.0/24", max_calls: 5, keepalive: 0}',
    'pstn: {to: "sip:carrier.example", outbound_proxy: "sip:10.2.0.1:5060", keepalive: 0, '
    "user: acme, password: s3cret, register: true, messages: true}",
)
ROUTE = "<sip:10.2.0.1;lr>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, BEHIND)


def test_registered_called_and_written_to(world: World) -> None:
    carrier = Carrier(world)
    world.run(40)
    asked = carrier.passed[0]
    assert asked.method == "REGISTER"
    assert (asked.uri, asked["route"]) == ("sip:carrier.example", ROUTE)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    invite = carrier.passed[-1]
    assert (invite.uri, invite["route"]) == ("sip:5550100@carrier.example", ROUTE)
    assert carrier.challenged[-1]["route"] == ROUTE
    carrier.line.reply(200, ANSWER)
    a.ack()
    assert "route" not in carrier.line.find("ACK"), "it has not asked to stay on the way"
    a.bye()
    carrier.line.reply(200, to="BYE")
    # What comes from the proxy is the trunk's.
    line = carrier.call("1001")
    assert alice.line.what == ["INVITE"]
    alice.line.reply(486)
    line.acknowledge(line.last)
    world.switch.drain()
    world.rest()


def registered(folder: Path, *routes: str, config: str = BEHIND) -> tuple[World, Carrier]:
    """The carrier wants calls to go by these."""
    world = World(folder, config)
    carrier = Carrier(world)
    lines = "".join(f"Service-Route: {route}\r\n" for route in routes)
    carrier.answers["REGISTER"] = (200, f"Expires: 600\r\n{lines}")
    world.run(40)
    return world, carrier


@pytest.mark.parametrize(
    ("routes", "invited"),
    [
        (["<sip:edge.example;lr>"], [ROUTE, "<sip:edge.example;lr>"]),
        (["<sip:a.example;lr>, <sip:b.example;lr>"],
         [ROUTE, "<sip:a.example;lr>", "<sip:b.example;lr>"]),
        (["<sip:10.2.0.1;lr>", "<sip:b.example;lr>"], [ROUTE, "<sip:b.example;lr>"]),
        ([], [ROUTE]),
        (["nonsense"], [ROUTE]),
        (["<sip:a.example;lr>"] * 9, [ROUTE]),
        ([f"<sip:{'x' * 500}.example;lr>"], [ROUTE]),
    ],
)  # fmt: skip
def test_the_carrier_says_by_which_proxies(
    tmp_path: Path, routes: list[str], invited: list[str]
) -> None:
    """RFC 3608: as long as we are registered, and as it said last."""
    world, carrier = registered(tmp_path, *routes)
    alice = world.phone("1001", "10.9.0.1")
    alice.call("85550100")
    invite = carrier.passed[-1]
    assert invite.target == carrier.address, "it is sent where the trunk is, all the same"
    assert invite.headers["route"] == invited
    carrier.line.reply(486)
    asked = carrier.passed[0]
    assert asked.headers["route"] == [ROUTE], "REGISTER goes the straight way"
    del carrier.answers["REGISTER"]
    world.run(600)
    alice.call("85550100")
    assert carrier.passed[-1].headers["route"] == [ROUTE]
    carrier.line.reply(486)
    world.switch.drain()
    world.rest()


def test_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="outbound_proxy"):
        World(tmp_path, BEHIND.replace("sip:10.2.0.1:5060", "nonsense"))
