"""Transfers between switches: the callID travels on, and where two calls become one each switch on
the way is told."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, Agent, World
from calls.transfers import (
    CAROL,
    attended,
    hangs_up,
    heard,
    leaves,
    notes,
    port,
    refer,
    talk,
)
from softswitch import events

BRANCH = """
switch: {name: branch, listen: ["udp:10.0.0.2:5060"]}
extensions: {"2001": {name: Bob, password: b}, "2003": {name: Cora, password: b}}
trunks:
  hq: {to: "sip:10.0.0.1:5060", switch: true, keepalive: 0}
dialplan: plan.yaml
"""
BRANCH_PLAN = """
routes:
  - {match: "1XXX", from: any, dial: "trunk:hq"}
  - {match: "2XXX", from: any, dial: extension}
"""
BRANCH_AT = ("10.0.0.2", 5060)


@pytest.fixture
def sites(world: World) -> World:
    world.add_switch("branch", BRANCH_AT, BRANCH, BRANCH_PLAN).opened()
    return world


def phone(world: World, number: str, host: str) -> Agent:
    """A phone of branch."""
    agent = Agent(world, (host, 5060), number, "b")
    agent.switch = BRANCH_AT
    agent.register()
    return agent


def of(world: World, kind: type, switch: str) -> list:
    return [event for event in world.of(kind) if event.switch == switch]


def test_blind_back_to_the_first_switch(sites: World) -> None:
    """Bob at branch, called from hq, transfers to a phone at hq."""
    world = sites
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    bob = phone(world, "2001", "10.9.0.2")
    a, b = talk(alice, bob)
    refer(b, "1003")
    c = carol.line
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    leaves(b)
    a.invite(SDP.replace("40000", "47000"))
    assert port(c.last.body) == 47000
    c.reply(200, CAROL)
    a.ack()
    a.bye()
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    world.end()
    assert len({e.call_id for e in world.of(events.CallStarted)}) == 1
    assert [(e.legs, e.how) for e in of(world, events.TalkBegan, "hq")] == [
        ((0, 1), "dialled"),
        ((2, 3), "dialled"),
    ]
    assert [(e.legs, e.how) for e in of(world, events.TalkBegan, "branch")] == [
        ((0, 1), "dialled"),
        ((0, 2), "blind-transfer"),
    ]


@pytest.mark.parametrize("first", [True, False])
def test_attended_at_the_second_switch(sites: World, first: bool) -> None:
    """Bob at branch was called from hq and has called a phone at hq, or first called and then was
    called: two callIDs, of two owners. The older lives on at both switches."""
    world = sites
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    bob = phone(world, "2001", "10.9.0.2")
    if first:
        a, b1 = talk(alice, bob)
        world.run(1)
    b2 = bob.call("1003")
    c = carol.line
    c.reply(200, CAROL)
    b2.ack()
    if not first:
        world.run(1)
        a, b1 = talk(alice, bob)
    world.run(5)
    attended(b1, b2)
    assert a.last.what == "INVITE"
    assert a.last.body == ""
    a.reply(200, SDP)
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    heard(b1)
    assert notes(b1)[-1] == "200 OK"
    leaves(b1)
    b2.reply(200, to="BYE")
    world.run(10)
    older, younger = sorted({e.call_id for e in world.of(events.CallStarted)})
    assert {call.call_id for switch in world.switches.values() for call in switch.calls} == {older}
    merged = world.of(events.CallMerged)
    assert [(e.call_id, e.into) for e in merged] == [(younger, older)] * 2
    assert {e.switch for e in merged} == {"hq", "branch"}
    assert {e.owner for e in merged} == {"hq" if first else "branch"}
    c.invite(CAROL.replace("42000", "47000"))
    assert port(a.last.body) == 47000
    a.reply(200, SDP)
    c.ack()
    hangs_up(c, a)
    world.end()
    ends = {(e.switch, e.call_id): e for e in world.of(events.CallEnded)}
    assert ends["hq", younger].at == merged[0].at
    assert len(of(world, events.TalkBegan, "hq")) == 3
    last = of(world, events.TalkBegan, "hq")[-1]
    assert (last.call_id, last.how) == (older, "dialled")
    assert last.by == "trunk:branch", "it has brought them together"
    again = [e for e in of(world, events.CallStarted, "hq") if e.call_id == older][-1]
    if first:
        assert again.came.rpartition(" ")[2].startswith("branch/")


def test_an_update_that_is_no_neighbours(world: World) -> None:
    """Whoever is not one of our switches renames nothing."""
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, b = talk(alice, bob)
    header = "X-CDS-Call-ID: 018bcfe5-0000-7d42-8287-a87426e0f4ed;owner=hq\r\n"
    a.send("UPDATE", extra=f"{a.contact}{header}")
    assert b.last.what == "UPDATE"
    assert "x-cds-call-id" not in b.last
    b.reply(200, to="UPDATE")
    hangs_up(a, b)
    world.end()
    assert not world.of(events.CallMerged)


@pytest.mark.parametrize("first", [True, False])
def test_attended_whose_calls_lie_on_two_switches(sites: World, first: bool) -> None:
    """Bob has a phone at both: at hq he is called, at branch he calls. The REFER at hq names a
    dialog at branch."""
    world = sites
    alice = world.phone("1001", "10.9.0.1")
    bob_hq, bob_branch = world.phone("1002", "10.9.0.2"), phone(world, "2001", "10.9.0.2")
    carol = phone(world, "2003", "10.9.0.3")
    world.agents["10.9.0.2", 5060] = bob_hq
    if first:
        a, b1 = talk(alice, bob_hq)
        world.run(1)
    world.agents["10.9.0.2", 5060] = bob_branch
    b2 = bob_branch.call("2003")
    c = carol.line
    c.reply(200, CAROL)
    b2.ack()
    if not first:
        world.run(1)
        world.agents["10.9.0.2", 5060] = bob_hq
        a, b1 = talk(alice, bob_hq)
    world.agents["10.9.0.2", 5060] = bob_hq
    world.run(2)
    attended(b1, b2, "2003", at="10.0.0.2")
    assert b1.find("202 REFER")
    assert c.last.what == "INVITE"
    assert port(c.last.body) == port(SDP)
    c.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    assert a.last.what == "ACK"
    heard(b1)
    assert notes(b1)[-1] == "200 OK"
    world.run(0.9)
    older = min({e.call_id for e in world.of(events.CallStarted)})
    assert {call.call_id for switch in world.switches.values() for call in switch.calls} == {older}
    world.run(5)
    a.invite(SDP)
    c.reply(200, CAROL)
    a.ack()
    hangs_up(c, a)
    for line in (b1, b2):
        if line.count("BYE"):
            line.reply(200, to="BYE")
    world.end()
    merged = world.of(events.CallMerged)
    assert {e.into for e in merged} == {older}


def test_nothing_is_smuggled_in(sites: World) -> None:
    """What the REFER of a phone names goes into a header of an INVITE to another switch."""
    world = sites
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, b = talk(alice, bob)
    evil = "x%0D%0AP-Asserted-Identity:%20%3Csip:911@10.0.0.1%3E%0D%0AX:%20y"
    to = f"<sip:2001@10.0.0.2?Replaces={evil}%3Bto-tag%3D1%3Bfrom-tag%3D2>"
    b.send("REFER", extra=f"{b.contact}Refer-To: {to}\r\n")
    assert b.last.what == "400 REFER"
    assert not any(message.target == BRANCH_AT for message in world.wire)
    hangs_up(a, b)
    world.end()


def test_a_neighbour_that_does_not_hear_of_it(
    sites: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told again until it does."""
    world = sites
    alice = phone(world, "2001", "10.9.0.1")
    bob, carol = world.phone("1002", "10.9.0.2"), world.phone("1003", "10.9.0.3")
    b2 = bob.call("1003")
    c = carol.line
    c.reply(200, CAROL)
    b2.ack()
    world.run(1)
    a, b1 = talk(alice, bob)
    carry, deaf_until = world.carry, world.now + 60

    def lossy(data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        if world.now > deaf_until or not data.startswith(b"UPDATE"):
            carry(data, source, target)

    monkeypatch.setattr(world, "carry", lossy)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    leaves(b1)
    b2.reply(200, to="BYE")
    world.run(40)
    assert len({call.call_id for s in world.switches.values() for call in s.calls}) == 2
    world.run(60)
    assert len({call.call_id for s in world.switches.values() for call in s.calls}) == 1
    hangs_up(a, c)
    world.end()
    assert {event.switch for event in world.of(events.CallMerged)} == {"hq", "branch"}
