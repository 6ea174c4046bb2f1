"""URIs of one phone among those of an extension (GRUU, RFC 5627)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calls.call_world import ANSWER, Agent, SwitchFlow, World
from softswitch.parties.bindings import TEMPORARY
from softswitch.sip import parse

ONE, TWO = "urn:uuid:00000000-0000-1000-8000-00000000000a", "urn:uuid:other"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, journal=True)


def registered(world: World, host: str, instance: str, ask: str = "gruu, path") -> Agent:
    agent = Agent(world, (host, 5060), "1002", "b")
    refresh(agent, instance, ask)
    return agent


def refresh(agent: Agent, instance: str, ask: str = "gruu") -> None:
    contact = f'<sip:1002@{agent.address[0]}>;+sip.instance="<{instance}>"'
    assert agent.register(contact, f"Supported: {ask}\r\n").status == 200


def uris(agent: Agent) -> dict[str, str]:
    """What the last REGISTER was answered, of its own Contact."""
    said = next(m for m in reversed(agent.inbox) if m.method == "REGISTER" and m.status == 200)
    (own,) = [one for one in said.headers["contact"] if f"@{agent.address[0]}" in one]
    return dict(re.findall(r';(pub-gruu|temp-gruu)="([^"]*)"', own))


def user(uri: str) -> str:
    return uri.removeprefix("sip:").partition("@")[0]


def test_who_asks_gets_them(world: World) -> None:
    phone = registered(world, "10.9.0.2", ONE)
    given = uris(phone)
    assert given["pub-gruu"] == f"sip:1002@10.0.0.1;gr={ONE}"
    assert given["temp-gruu"].startswith(f"sip:{TEMPORARY}")
    assert given["temp-gruu"].endswith("@10.0.0.1;gr")
    assert uris(registered(world, "10.9.0.3", TWO, ask="path")) == {}
    strange = Agent(world, ("10.9.0.4", 5060), "1002", "b")
    assert strange.register("<sip:1002@10.9.0.4>", "Supported: gruu\r\n").status == 200
    assert uris(strange) == {}, "it says no instance"
    odd = Agent(world, ("10.9.0.5", 5060), "1002", "b")
    refresh(odd, "a;b")
    assert uris(odd) == {}, "that cannot stand in a URI"


@pytest.mark.parametrize("kind", ["pub-gruu", "temp-gruu"])
@pytest.mark.parametrize("again", [False, True])
def test_that_phone_rings_alone(world: World, kind: str, again: bool) -> None:
    one = registered(world, "10.9.0.2", ONE)
    other = registered(world, "10.9.0.3", TWO)
    uri = uris(one)[kind]
    alice = world.phone("1001", "10.9.0.1")
    if again:
        world.restart()
    line = alice.call(user(uri), uri=uri)
    assert (len(one.lines), len(other.lines)) == (1, 0)
    assert one.line.find("INVITE").uri == "sip:1002@10.9.0.2"
    one.line.reply(486)
    assert line.last.status == 486
    assert not world.switch.only
    alice.call("1002")
    assert (len(one.lines), len(other.lines)) == (2, 1)
    for agent in (one, other):
        agent.line.reply(486)
    world.run(70)
    world.rest()


def test_a_phone_that_is_gone(world: World) -> None:
    one = registered(world, "10.9.0.2", ONE)
    registered(world, "10.9.0.3", TWO)
    given = uris(one)
    one.register(f'<sip:1002@10.9.0.2>;+sip.instance="<{ONE}>";expires=0')
    alice = world.phone("1001", "10.9.0.1")
    for kind, status in (("pub-gruu", 480), ("temp-gruu", 404)):
        assert alice.call(user(given[kind]), uri=given[kind]).last.status == status
    assert len(world.switch.registrar.temporary) == 1


def test_one_refresh_after_the_other(world: World) -> None:
    """A temporary one holds as long as the registration goes on, and goes with it."""
    phone = registered(world, "10.9.0.2", ONE)
    phone.call_id = "same"
    refresh(phone, ONE)
    first = uris(phone)["temp-gruu"]
    for _ in range(3):
        refresh(phone, ONE)
        assert uris(phone)["temp-gruu"] == first
    phone.call_id = "started anew"
    refresh(phone, ONE)
    assert uris(phone)["temp-gruu"] != first
    assert len(world.switch.registrar.temporary) == 1


@pytest.mark.parametrize("kind", ["pub-gruu", "temp-gruu"])
def test_a_phone_that_names_itself_so(world: World, kind: str) -> None:
    """What is said within its call goes to the Contact that it has registered."""
    one = registered(world, "10.9.0.2", ONE)
    alice = world.phone("1001", "10.9.0.1")
    line = alice.call("1002")
    one.line.contact = f"Contact: <{uris(one)[kind]}>\r\n"
    one.line.reply(200, ANSWER)
    line.ack()
    assert one.line.find("ACK").uri == "sip:1002@10.9.0.2"
    line.bye()
    assert one.line.find("BYE").uri == "sip:1002@10.9.0.2"
    one.line.reply(200, to="BYE")
    world.run(70)
    world.rest()


def test_nobody_else_is_believed(world: World) -> None:
    one = registered(world, "10.9.0.2", ONE)
    uri = uris(one)["pub-gruu"]
    for host, said in (("10.9.0.2", "<sip:1002@10.9.0.2>"), ("10.2.0.1", f"<{uri}>")):
        message = parse(
            f"OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK1\r\n"
            f"From: <sip:a@b>;tag=1\r\nTo: <sip:c>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
            f"Contact: <{uri}>\r\n"
            "Max-Forwards: 70\r\n\r\n".encode()
        )
        world.switch.gruus.translate(message, SwitchFlow(world, ("10.0.0.1", 5060), (host, 5060)))
        assert message.headers["contact"] == [said]


def test_a_trunk_does_not_choose_a_phone(world: World) -> None:
    """Who calls from outside knows numbers."""
    one = registered(world, "10.9.0.2", ONE)
    other = registered(world, "10.9.0.3", TWO)
    caller = world.agent("10.1.0.1", "caller")
    caller.call("1002", uri=uris(one)["pub-gruu"])
    assert (len(one.lines), len(other.lines)) == (1, 1)
    for agent in (one, other):
        agent.line.reply(486)


def test_other_requests_find_the_extension(world: World) -> None:
    one = registered(world, "10.9.0.2", ONE)
    alice = world.phone("1001", "10.9.0.1")
    assert alice.request("MESSAGE", "Content-Type: text/plain\r\n", uris(one)["temp-gruu"], "x")
    assert world.switch.route(
        user(uris(one)["temp-gruu"]), world.switch.parties.source_of("extension:1001")
    )
