"""Behind NAT: requests within a call follow the flow of a phone, or of such a trunk; also after a
restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from notifier.watchers import Watch

from calls.call_world import ANSWER, CONFIG, HOLD, Agent, Line, World
from calls.test_answered import parties

NATTED = CONFIG.replace("max_calls: 5, keepalive: 0", "max_calls: 5, keepalive: 0, nat: true")
PRIVATE = "Contact: <sip:gw@192.168.7.7:5066>\r\n"


@pytest.fixture
def natted(tmp_path: Path) -> World:
    """A switch with a journal whose trunk `pstn` is behind NAT."""
    return World(tmp_path, NATTED, journal=True)


def called(world: World) -> tuple[Line, Line]:
    """Trunk `caller` calls trunk `pstn`, which names a private address."""
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.contact = PRIVATE
    b.reply(200, ANSWER)
    a.ack()
    return a, b


def from_elsewhere(line: Line, port: int) -> Agent:
    """The NAT gives the agent of this line another port."""
    moved = Agent(line.agent.world, (line.agent.address[0], port), line.agent.name)
    moved.lines.append(line)
    line.agent = moved
    return moved


def test_what_is_said_to_a_trunk_goes_where_it_is(natted: World) -> None:
    world = natted
    a, b = called(world)
    assert b.last.what == "ACK"
    assert b.last.uri == "sip:gw@192.168.7.7:5066", "the URI is its Contact all the same"
    a.invite(HOLD)
    b.reply(200, ANSWER, contact=PRIVATE)
    a.ack()
    a.bye()
    assert b.what == ["INVITE", "ACK", "INVITE", "ACK", "BYE"]
    b.reply(200, to="BYE")
    world.end()


def test_a_trunk_that_redirects_within_itself(natted: World) -> None:
    world = natted
    caller, callee = parties(world)
    a = caller.call("85550100")
    there = world.agent("10.2.0.5", "gw")
    callee.line.reply(302, contact="Contact: <sip:5550100@10.2.0.5>\r\n")
    b = there.line
    b.contact = PRIVATE
    b.reply(200, ANSWER)
    a.ack()
    assert b.last.what == "ACK"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("contact", ["192.168.7.7:5066", "127.0.0.1:5080", "100.64.0.9"])
def test_an_address_that_only_its_own_network_knows(tmp_path: Path, contact: str) -> None:
    """No setting is needed to see that a Contact cannot be meant."""
    world = World(tmp_path, CONFIG.replace("10.2.0.1:5060", "203.0.113.5:5060"))
    trunk = world.agent("203.0.113.5", "gw")
    a = world.agent("10.1.0.1", "alice").call("85550100")
    b = trunk.line
    b.contact = f"Contact: <sip:gw@{contact}>\r\n"
    b.reply(200, ANSWER)
    a.ack()
    assert b.last.what == "ACK"
    assert b.last.uri == f"sip:gw@{contact}"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_without_the_setting_its_contact_is_followed(world: World) -> None:
    a, b = called(world)
    assert b.what == ["INVITE"]
    there = world.agent("192.168.7.7", "gw", 5066)
    b.reply(200, ANSWER, contact=PRIVATE)
    assert [m.what for m in there.inbox] == ["ACK"]
    a.bye()
    assert [m.what for m in there.inbox] == ["ACK", "BYE"]
    b.reply(200, to=there.inbox[-1])
    world.end()


def test_a_trunk_that_calls(natted: World) -> None:
    """From a port that is none of its own: its `from` lets it in."""
    world = natted
    trunk = world.agent("10.2.0.77", "gw", 31000)
    phone = world.phone("1001", "10.9.0.1")
    a = trunk.call("1001")
    b = phone.line
    b.reply(200, ANSWER)
    a.ack()
    a.contact = PRIVATE
    a.invite(HOLD)
    b.reply(200, ANSWER)
    a.ack()
    world.restart()
    b.bye()
    assert a.last.what == "BYE"
    assert a.last.uri == "sip:gw@192.168.7.7:5066"
    a.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("again", [False, True])
def test_a_trunk_that_moved(natted: World, again: bool) -> None:
    world = natted
    a, b = called(world)
    from_elsewhere(b, 40404)
    b.invite(HOLD)
    a.reply(488)
    b.acknowledge(b.last)
    if again:
        world.restart()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == ("10.2.0.1", 40404)
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("rewrites", [False, True])
def test_a_phone_that_registers_from_elsewhere(
    journalled: World, rewrites: bool, again: bool
) -> None:
    """Its call is there, too: by the Call-ID of its REGISTERs, or by its Contact."""
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    other = world.phone("1002", "10.9.0.2")
    a = world.agent("10.1.0.1", "alice").call("1001")
    b = phone.line
    b.reply(200, ANSWER)
    a.ack()
    world.run(1)
    watch = Watch(phone, "1002")
    moved = from_elsewhere(b, 40404)
    moved.password = phone.password
    first = moved.contact if rewrites else phone.contact
    if rewrites:
        # Its Call-ID is the one from before, whatever its Contact says.
        (known,) = world.switch.registrar.contacts("1001")
        moved.call_id = known.call_id
    assert moved.register(first).status == 200
    if again:
        world.restart()
    other.call("1003")  # the lamp of 1002
    world.run(0.3)
    assert [m.target for m in world.wire if m.start.startswith("NOTIFY")][-1] == moved.address
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == moved.address
    b.reply(200, to="BYE")
    assert watch is not None
    world.run(70)
    world.rest()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO"])
def test_a_phone_that_moved_is_found_there_after_a_restart(journalled: World, method: str) -> None:
    """Nothing else of the call has changed: its Contact is the old one, the media stays."""
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    a = world.agent("10.1.0.1", "alice").call("1001")
    b = phone.line
    b.reply(200, ANSWER)
    a.ack()
    world.run(1)
    from_elsewhere(b, 40404)
    if method == "INVITE":
        b.invite(HOLD)
        a.reply(488)
        b.acknowledge(b.last)
    else:
        b.send(method, extra=b.contact)
        a.reply(200, to=method)
    world.restart()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == ("10.9.0.1", 40404)
    b.reply(200, to="BYE")
    world.end()
