"""Callers and applications: a worker is rung as a phone is, and who talks with it goes on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.call_world import HOLD, PLAN, SDP, Agent, Line, World
from calls.players import SPEAKS, Player
from calls.transfers import BOB, CAROL, GROUPS, attended, heard, notes, port, refer, talks
from softswitch import events
from softswitch.media.orders import Echo, Gone, Play

PLAYS = (
    PLAN
    + """
  - {match: "*43", from: any, play: echo}
  - {match: "*44", from: any, play: echo, else: {dial: "1002", timeout: 20}}
  - {match: "*45", from: any, dial: "1002", timeout: 20, else: {play: echo}}
  - {match: "*46", from: any, play: {announcement: welcome}, then: {dial: "1002", timeout: 20}}
  - {match: "*47", from: any, play: {announcement: welcome}, then: {goto: "*43"}}
  - {match: "*48", from: any, play: {announcement: welcome}}
  - {match: "*49", from: any, play: echo, else: {goto: "701"}}
  - {match: "*50", from: any, play: {menu: main}}
  - {match: "*60", from: any, goto: "1002"}
  - {match: "*61", from: any, goto: "*62"}
  - {match: "*62", from: any, goto: "*61"}
  - {match: "*63", from: any, goto: "*43"}
  - {match: "*64", from: any, goto: "5555"}
  - {match: "70X", from: any, do: park}
menus:
  main:
    say: welcome
    tries: 3
    choices:
      "1": {dial: "1002", timeout: 20}
      "2": {play: echo}
      "3": {goto: "*61"}
      "4": {goto: "701"}
      "5": {goto: "*46"}
"""
)


@pytest.fixture
def plays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield World(tmp_path, GROUPS, PLAYS)
    raised = [record for record in caplog.records if record.exc_info]
    assert not raised, [record.getMessage() for record in raised]


def in_application(player: Player, alice: Agent, number: str = "*43") -> tuple[Line, Line]:
    """Alice talks with it."""
    a = alice.call(number)
    m = player.takes()
    assert port(a.find("200 INVITE").body) == port(SPEAKS)
    a.ack()
    return a, m


def hangs_up(player: Player, a: Line, m: Line) -> None:
    """The caller does."""
    a.bye()
    player.gone(m)
    assert a.last.what == "200 BYE"


def leaves(player: Player, m: Line, reason: str = "Went On") -> None:
    """The worker is hung up on, as the caller has gone on."""
    assert reason in m.find("BYE")["reason"]
    m.reply(200, to="BYE")
    at = player.port
    player.says(at, Gone(at.number))


def joins(a: Line, b: Line, body: str = BOB, own: str = SDP) -> None:
    """The caller has someone to talk with by a new offer."""
    assert a.last.what == "INVITE"
    assert port(a.last.body) == port(body)
    a.reply(200, own)
    assert b.last.what == "ACK"


def dialled(world: World) -> list[tuple[tuple[int, ...], str]]:
    return [(legs, how) for legs, how, _ in talks(world)]


@pytest.mark.parametrize("who", ["caller", "worker"])
def test_echo(plays: World, who: str) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice)
    assert m.what == ["INVITE", "ACK"]
    assert port(m.find("INVITE").body) == port(SDP)
    assert player.orders[-1] == Echo(player.port.number)
    world.run(30)
    if who == "caller":
        hangs_up(player, a, m)
    else:
        m.bye()
        assert m.last.what == "200 BYE"
        player.says(player.port, Gone(player.port.number))
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
    player.end()
    (invited,) = world.of(events.LegInvited)
    assert (invited.leg, invited.party) == (1, "application:echo")
    assert talks(world) == [((0, 1), "application", "extension:1001")]
    ended = world.ended
    assert (ended.disposition, ended.sip_status) == ("answered", 200)
    assert ended.hangup_by == ("caller" if who == "caller" else "callee")
    assert [e.leg for e in world.of(events.LegEnded)] in ([0, 1], [1, 0])


def test_the_caller_leaves_before_there_is_a_port(plays: World) -> None:
    world = plays
    player = Player(world, ready=False)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*43")
    world.run(1)
    assert a.what == ["100 INVITE"]
    a.cancel()
    a.acknowledge(a.find("487 INVITE"))
    player.ready()
    assert player.released() == [1]
    assert not player.agent.lines
    player.end()
    assert world.ended.disposition == "cancelled"


def test_the_caller_waits_for_a_port(plays: World) -> None:
    world = plays
    player = Player(world, ready=False)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*43")
    world.run(2)
    player.ready()
    m = player.takes()
    a.ack()
    hangs_up(player, a, m)
    player.end()


@pytest.mark.parametrize("answers", [True, False])
def test_the_caller_leaves_before_the_worker_answers(plays: World, answers: bool) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*43")
    m = player.line
    if answers:
        m.reply(100)
    a.cancel()
    a.acknowledge(a.find("487 INVITE"))
    if answers:
        assert m.last.what == "CANCEL"
        m.reply(200, to="CANCEL")
        m.reply(487)
        player.says(player.port, Gone(player.port.number))
    else:
        world.dead.add(player.agent.address)
    player.end()
    assert player.released() == ([] if answers else [1])
    assert world.ended.disposition == "cancelled"


@pytest.mark.parametrize("spare", [True, False])
def test_no_worker(plays: World, spare: bool) -> None:
    """What the route says then; where workers are to be had, after a while."""
    world = plays
    player = Player(world, ready=False) if spare else None
    bob = world.phone("1002", "10.9.0.2")
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*44")
    if spare:
        world.run(4)
        assert a.what == ["100 INVITE"]
        world.run(2)
    b = bob.line
    b.reply(200, BOB)
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.run(40)
    assert dialled(world) == [((0, 1), "dialled")]
    a = alice.call("*43")
    if spare:
        world.run(6)
    assert a.last.start == "SIP/2.0 503 No Media Worker"
    a.acknowledge(a.last)
    if player is not None:
        player.end()
    else:
        world.end()
    assert [e.sip_status for e in world.of(events.CallEnded)] == [200, 503]


@pytest.mark.parametrize("workers", [True, False])
def test_after_a_busy_phone(plays: World, workers: bool) -> None:
    """What the phone said is the answer, if nothing can be played."""
    world = plays
    alice = world.phone("1001", "10.9.0.1")
    bob = world.phone("1002", "10.9.0.2")
    player = Player(world) if workers else None
    a = alice.call("*45")
    bob.line.reply(486)
    if player is None:
        assert a.last.what == "486 INVITE"
        a.acknowledge(a.last)
        assert world.ended.disposition == "busy"
        world.end()
        return
    m = player.takes()
    a.ack()
    hangs_up(player, a, m)
    player.end()
    assert dialled(world) == [((0, 2), "application")]


def test_a_worker_is_lost(plays: World) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice)
    world.run(5)
    player.dies()
    assert a.last.what == "BYE"
    assert 'text="Media Worker Lost"' in a.last["reason"]
    a.reply(200, to="BYE")
    assert "BYE" not in m.what
    player.end()
    ended = world.ended
    assert (ended.hangup_by, ended.reason) == ("switch", "Media Worker Lost")
    assert ended.disposition == "answered"
    assert {e.leg: e.reason for e in world.of(events.LegEnded)}[1] == "Media Worker Lost"


@pytest.mark.parametrize("there", [True, False])
def test_a_worker_is_lost_and_the_route_says_what_then(plays: World, there: bool) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, _ = in_application(player, alice, "*44")
    player.dies()
    b = bob.line
    assert port(b.find("INVITE").body) == port(SDP)
    assert "BYE" not in a.what
    if there:
        b.reply(200, BOB)
        joins(a, b)
        world.run(3)
        b.bye()
        a.reply(200, to="BYE")
    else:
        b.reply(486, reason="Busy Here")
        assert a.last.what == "BYE"
        assert "Busy Here" in a.last["reason"]
        a.reply(200, to="BYE")
    player.end()
    expected = [((0, 1), "application"), ((0, 2), "dialled")]
    assert dialled(world) == (expected if there else expected[:1])
    assert world.ended.hangup_by == ("callee" if there else "switch")


@pytest.mark.parametrize("number", ["*43", "*44"])
@pytest.mark.parametrize("said", [True, False])
def test_a_worker_is_lost_before_it_answers(plays: World, number: str, said: bool) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = alice.call(number)
    if said:
        player.line.reply(100)
    world.dead.add(player.agent.address)
    player.dies()
    if number == "*44":
        b = bob.line
        b.reply(200, BOB)
        a.ack()
        a.bye()
        b.reply(200, to="BYE")
    else:
        assert a.last.start == "SIP/2.0 500 Media Worker Lost"
        a.acknowledge(a.last)
    player.end()
    assert world.ended.disposition == ("answered" if number == "*44" else "failed")


@pytest.mark.parametrize("said", [True, False])
def test_a_worker_does_not_answer(plays: World, said: bool) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*43")
    if said:
        player.line.reply(100)
    world.dead.add(player.agent.address)
    world.run(11)
    assert a.last.start == "SIP/2.0 500 Media Worker Lost"
    a.acknowledge(a.last)
    assert player.released() == [1]
    player.end()


def test_a_menu_leads_to_a_phone(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    (welcome,) = [order for order in player.orders if isinstance(order, Play)]
    assert welcome.sounds
    player.key("1")
    b = bob.line
    assert port(b.find("INVITE").body) == port(SDP)
    b.reply(180)
    world.run(3)
    assert "BYE" not in m.what, "it is heard while the phone rings"
    assert not world.of(events.TalkEnded)
    b.reply(200, BOB)
    joins(a, b)
    leaves(player, m)
    world.run(3)
    a.bye()
    b.reply(200, to="BYE")
    player.end()
    assert talks(world) == [
        ((0, 1), "application", "extension:1001"),
        ((0, 2), "dialled", "extension:1001"),
    ]
    told = [type(e).__name__ for e in world.events if "Talk" in type(e).__name__]
    assert told == ["TalkBegan", "TalkEnded", "TalkBegan", "TalkEnded"]
    assert world.of(events.ApplicationTold)[-1].facts == {
        "menu": "main",
        "digits": "1",
        "choice": "1",
        "choices": "main:1",
    }
    assert world.ended.hangup_by == "caller"


def test_the_phone_is_busy(plays: World) -> None:
    """The caller is in the menu still, and can choose again."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    first = bob.line
    first.reply(486)
    assert "BYE" not in m.what
    assert a.count("INVITE") == 0
    player.key("1")
    b = bob.line
    assert b is not first
    b.reply(200, BOB)
    joins(a, b)
    leaves(player, m)
    b.bye()
    a.reply(200, to="BYE")
    player.end()
    assert dialled(world) == [((0, 1), "application"), ((0, 3), "dialled")]


def test_the_caller_leaves_while_the_phone_rings(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    b = bob.line
    b.reply(180)
    hangs_up(player, a, m)
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    player.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "caller")


@pytest.mark.parametrize("how", ["bye", "dies"])
@pytest.mark.parametrize("answers", [True, False])
def test_the_worker_leaves_while_the_phone_rings(plays: World, how: str, answers: bool) -> None:
    """The caller gets the phone all the same."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    b = bob.line
    b.reply(180)
    if how == "bye":
        m.bye()
        player.says(player.port, Gone(player.port.number))
    else:
        player.dies()
    assert "BYE" not in a.what
    assert "CANCEL" not in b.what
    if answers:
        b.reply(200, BOB)
        joins(a, b)
        a.bye()
        b.reply(200, to="BYE")
    else:
        b.reply(486)
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
    player.end()


def test_a_menu_leads_to_another_application(plays: World) -> None:
    """It is at a port of its own."""
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice, "*50")
    first = player.port
    player.key("2")
    other = player.takes()
    assert other is not m
    joins(a, other, SPEAKS)
    assert "Went On" in m.last["reason"]
    m.reply(200, to="BYE")
    player.says(first, Gone(first.number))
    hangs_up(player, a, other)
    player.end()
    assert dialled(world) == [((0, 1), "application"), ((0, 2), "application")]


def test_announced_and_on(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*46")
    player.finishes()
    b = bob.line
    b.reply(200, BOB)
    joins(a, b)
    leaves(player, m)
    a.bye()
    b.reply(200, to="BYE")
    player.end()


def test_announced_and_over(plays: World) -> None:
    """The worker hangs up when its port is given back."""
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice, "*48")
    player.finishes()
    assert player.released() == [1]
    m.bye()
    a.reply(200, to="BYE")
    player.end()
    assert world.ended.hangup_by == "callee"


@pytest.mark.parametrize("there", [True, False])
def test_nobody_is_there_after_an_announcement(plays: World, there: bool) -> None:
    """It is over: the worker hangs up."""
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    if there:
        bob = world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*46")
    player.finishes()
    if there:
        bob.line.reply(486)
    assert player.released() == [1]
    m.bye()
    a.reply(200, to="BYE")
    player.end()


def test_on_hold(plays: World) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice)
    a.invite(HOLD)
    assert "a=sendonly" in m.last.body
    m.reply(200, SPEAKS + "a=recvonly\r\n")
    assert "a=recvonly" in a.last.body
    a.ack()
    assert m.last.what == "ACK"
    world.run(2)
    a.invite(SDP)
    m.reply(200, SPEAKS)
    a.ack()
    hangs_up(player, a, m)
    player.end()
    assert any(e.held for e in world.of(events.LegMedia))


def test_an_announcement_ends_on_hold(plays: World) -> None:
    """The caller goes on nevertheless."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*46")
    a.invite(HOLD)
    m.reply(200, SPEAKS + "a=recvonly\r\n")
    a.ack()
    player.finishes()
    b = bob.line
    b.reply(200, BOB)
    assert a.last.what == "INVITE"
    a.reply(200, SDP)
    world.run(1)
    leaves(player, m)
    if b.last.what == "INVITE":
        b.reply(200, BOB)
    a.bye()
    b.reply(200, to="BYE")
    player.end()


def test_the_caller_transfers_what_it_hears(plays: World) -> None:
    """Whom it names talks with the application from then on."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice)
    refer(a, "1002")
    heard(a)
    b = bob.line
    assert port(b.find("INVITE").body) == port(SPEAKS)
    b.reply(200, BOB)
    assert notes(a)[-1] == "200 OK"
    heard(a)
    assert m.last.what == "INVITE"
    assert port(m.last.body) == port(BOB)
    m.reply(200, SPEAKS)
    a.bye()
    world.run(2)
    b.bye()
    player.gone(m)
    player.end()
    assert dialled(world) == [((0, 1), "application"), ((1, 2), "blind-transfer")]


@pytest.mark.parametrize("number", ["*48", "*46", "*50"])
def test_it_ends_while_the_caller_transfers_it(plays: World, number: str) -> None:
    """There is nobody that could go on: what it plays is over, and the port is free."""
    world = plays
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, m = in_application(player, alice, number)
    refer(a, "1003")
    heard(a)
    c = carol.line
    c.reply(180)
    heard(a)
    if number == "*50":
        player.key("1")
        # Whoever answers hears the menu, and can choose.
        c.reply(200, CAROL)
        m.reply(200, SPEAKS)
        heard(a)
        a.bye()
        bob = world.phone("1002", "10.9.0.2")
        player.key("1")
        b = bob.line
        b.reply(200, BOB)
        assert c.last.what == "INVITE"
        c.reply(200, CAROL)
        leaves(player, m)
        c.bye()
        b.reply(200, to="BYE")
        player.end()
        return
    player.finishes()
    assert player.released() == [1]
    m.bye()
    world.run(1)
    assert c.last.what == "CANCEL"
    c.reply(200, to="CANCEL")
    c.reply(487)
    heard(a)
    if "BYE" in a.what:
        a.reply(200, to="BYE")
    player.end()


def test_goto(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = alice.call("*60")
    b = bob.line
    b.reply(200, BOB)
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    assert [e.match for e in world.of(events.CallRouted)] == ["*60", "1XXX"]
    a, m = in_application(player, alice, "*63")
    hangs_up(player, a, m)
    player.end()
    a = alice.call("*61")
    assert a.last.start == "SIP/2.0 482 Goes In A Circle"
    a.acknowledge(a.last)
    a = alice.call("*64")
    assert a.last.what == "404 INVITE"
    a.acknowledge(a.last)
    player.end()


def test_then_goto(plays: World) -> None:
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice, "*47")
    first = player.port
    player.finishes()
    other = player.takes()
    joins(a, other, SPEAKS)
    m.reply(200, to="BYE")
    player.says(first, Gone(first.number))
    assert player.orders[-1] == Echo(player.port.number)
    hangs_up(player, a, other)
    player.end()


def test_a_menu_leads_in_a_circle(plays: World) -> None:
    """The caller may choose again."""
    world = plays
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice, "*50")
    player.key("3")
    assert "BYE" not in m.what + a.what
    player.key("3")
    player.key("3")
    assert player.released() == [1], "those were all tries"
    m.bye()
    a.reply(200, to="BYE")
    player.end()


def test_a_menu_parks_the_caller(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, m = in_application(player, alice, "*50")
    player.key("4")
    leaves(player, m)
    assert "a=inactive" in a.last.body
    a.reply(200, SDP + "a=inactive\r\n")
    world.run(5)
    c = carol.call("701", CAROL)
    a.reply(200, SDP)
    c.ack()
    a.bye()
    c.reply(200, to="BYE")
    player.end()


def test_the_orbit_is_taken(plays: World) -> None:
    """The caller is in the menu still."""
    world = plays
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, m = in_application(player, alice, "*50")
    player.key("4")
    leaves(player, m)
    a.reply(200, SDP + "a=inactive\r\n")
    c, n = in_application(player, carol, "*50")
    player.key("4")
    assert "BYE" not in n.what
    hangs_up(player, c, n)
    a.bye()
    player.end()


def test_digits_before_the_caller_has_acknowledged(plays: World) -> None:
    """An offer of the worker in its 2xx is not answered yet: nobody can go on."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = alice.call("*50", "")
    m = player.takes()
    player.key("1")
    assert not bob.lines
    a.ack(SDP)
    assert m.last.what == "ACK"
    assert port(m.last.body) == port(SDP)
    player.key("1")
    b = bob.line
    b.reply(200, BOB)
    joins(a, b)
    leaves(player, m)
    a.bye()
    b.reply(200, to="BYE")
    player.end()


@pytest.mark.parametrize("ringing", [True, False])
def test_killed(tmp_path: Path, ringing: bool) -> None:
    """The worker has ended with the process; what the application knew last is told once more."""
    world = World(tmp_path, GROUPS, PLAYS, journal=True)
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("9")
    player.key("1")
    if ringing:
        bob.line.reply(180)
    else:
        bob.line.reply(486)
    newest = world.of(events.ApplicationTold)[-1]
    world.run(1)
    world.kill()
    world.dead.add(player.agent.address)
    gc.collect()
    world.start(GROUPS, PLAYS)
    world.run(1)
    assert a.last.what == "BYE"
    assert 'text="Media Worker Lost"' in a.last["reason"]
    a.reply(200, to="BYE")
    if ringing:
        assert bob.line.last.what == "CANCEL"
        bob.line.reply(200, to="CANCEL")
        bob.line.reply(487)
    del player
    world.end()
    (restored,) = world.of(events.CallRestored)
    assert [e for e in restored.told if isinstance(e, events.ApplicationTold)] == [newest]
    assert newest.facts["digits"] == "91"
    ended = world.ended
    assert (ended.hangup_by, ended.reason) == ("switch", "Media Worker Lost")
    assert "BYE" not in m.what


def test_killed_before_the_worker_answers(tmp_path: Path) -> None:
    world = World(tmp_path, GROUPS, PLAYS, journal=True)
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("*43")
    world.run(1)
    world.kill()
    world.dead.add(player.agent.address)
    del player
    world.start(GROUPS, PLAYS)
    world.run(1)
    assert a.last.status == 503
    a.acknowledge(a.last)
    world.end()
    assert len(world.of(events.CallEnded)) == 1


def test_killed_after_it_went_on(tmp_path: Path) -> None:
    """Who talks with a phone by then talks on."""
    world = World(tmp_path, GROUPS, PLAYS, journal=True)
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    b = bob.line
    b.reply(200, BOB)
    joins(a, b)
    leaves(player, m)
    world.run(1)
    del player
    world.kill()
    world.start(GROUPS, PLAYS)
    world.run(1)
    for line in (a, b):
        if line.last.what == "OPTIONS":
            line.reply(200, to="OPTIONS")
    assert "BYE" not in a.what + b.what
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    (restored,) = world.of(events.CallRestored)
    assert [type(e) for e in restored.told].count(events.ApplicationTold) == 1


def test_the_phone_wants_to_make_the_offer(plays: World) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    first = bob.line
    first.reply(488)
    b = bob.line
    assert b is not first
    assert not b.find("INVITE").body
    b.reply(200, BOB)
    assert a.last.what == "INVITE"
    assert port(a.last.body) == port(BOB)
    a.reply(200, SDP)
    assert b.last.what == "ACK"
    assert port(b.last.body) == port(SDP)
    leaves(player, m)
    a.bye()
    b.reply(200, to="BYE")
    player.end()


@pytest.mark.parametrize("then", ["answered", "dies", "dies, else", "left"])
def test_an_offer_of_the_caller_is_under_way(plays: World, then: str) -> None:
    """It is answered, whatever becomes of the application meanwhile."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*44" if then == "dies, else" else "*50")
    if then in ("answered", "left"):
        player.key("1")
        bob.line.reply(180)
    world.run(1)
    a.invite(HOLD)
    assert m.last.what == "INVITE"
    if then.startswith("dies"):
        world.dead.add(player.agent.address)
        player.dies()
    elif then == "left":
        m.bye()
        player.says(player.port, Gone(player.port.number))
    else:
        bob.line.reply(200, BOB)
    a.acknowledge(a.find("491 INVITE"))
    if then == "dies":
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
        player.end()
        return
    b = bob.line
    if then == "answered":
        for what in m.received:
            if what.what == "BYE":
                m.reply(200, to="BYE")
        m.reply(487)
        player.says(player.port, Gone(player.port.number))
    else:
        b.reply(200, BOB)
    world.run(3)
    assert a.last.what == "INVITE"
    a.reply(200, SDP)
    world.run(1)
    if b.last.what == "INVITE":
        b.reply(200, BOB)
    a.bye()
    b.reply(200, to="BYE")
    player.end()


@pytest.mark.parametrize("number", ["*43", "*44"])
@pytest.mark.parametrize("offer", [SDP, ""])
def test_a_worker_is_lost_before_the_caller_acknowledges(
    plays: World, number: str, offer: str
) -> None:
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = alice.call(number, offer)
    player.takes()
    world.dead.add(player.agent.address)
    player.dies()
    assert "BYE" not in a.what
    if number == "*44":
        b = bob.line
        b.reply(200, BOB)
        assert a.last.what == "200 INVITE"
        a.ack("" if offer else SDP)
        world.run(2)
        assert a.last.what == "INVITE"
        a.reply(200, SDP)
        if b.last.what == "INVITE":
            b.reply(200, BOB)
        world.run(1)
        assert b.last.what == "ACK"
        a.bye()
        b.reply(200, to="BYE")
    else:
        a.ack("" if offer else SDP)
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
    player.end()


def test_a_transfer_while_the_phone_rings(plays: World) -> None:
    """One thing at a time."""
    world = plays
    player = Player(world)
    alice, bob = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a, m = in_application(player, alice, "*50")
    player.key("1")
    bob.line.reply(180)
    refer(a, "1003")
    assert a.last.what == "491 REFER"
    bob.line.reply(486)
    hangs_up(player, a, m)
    player.end()


def test_the_caller_connects_what_it_hears_with_another(plays: World) -> None:
    """An attended transfer: whom the caller has called talks with the application."""
    world = plays
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, m = in_application(player, alice, "*50")
    a2 = alice.call("1003")
    c = carol.line
    c.reply(200, CAROL)
    a2.ack()
    attended(a2, a, "*50")
    for _ in range(4):
        for line in (m, c):
            if line.last.what == "INVITE":
                line.reply(200, SPEAKS if line is m else CAROL)
        for line in (a, a2):
            if line.last.what in ("NOTIFY", "BYE"):
                line.reply(200, to=line.last.what)
        world.run(1)
    assert dialled(world)[-1][1] == "attended-transfer"
    bob = world.phone("1002", "10.9.0.2")
    player.key("1")
    b = bob.line
    b.reply(200, BOB)
    joins(c, b, own=CAROL)
    leaves(player, m)
    c.bye()
    b.reply(200, to="BYE")
    player.end()
    assert dialled(world)[-1][1] == "dialled"


def test_lost_and_parked(plays: World) -> None:
    """A route may park whose worker was lost."""
    world = plays
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, _ = in_application(player, alice, "*49")
    player.dies()
    assert "a=inactive" in a.last.body
    a.reply(200, SDP + "a=inactive\r\n")
    for _ in range(40):
        world.run(10)
        if a.last.what == "OPTIONS":
            a.reply(200, to="OPTIONS")
    assert len(alice.lines) == 1, "who has parked itself is not rung"
    assert "BYE" not in a.what
    c = carol.call("701", CAROL)
    a.reply(200, SDP)
    c.ack()
    a.bye()
    c.reply(200, to="BYE")
    player.end()


def test_parked_by_a_menu_over_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, GROUPS, PLAYS, journal=True)
    player = Player(world)
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    a, m = in_application(player, alice, "*50")
    player.key("4")
    leaves(player, m)
    a.reply(200, SDP + "a=inactive\r\n")
    world.run(5)
    del player
    world.kill()
    world.start(GROUPS, PLAYS)
    for _ in range(15):
        world.run(10)
        if a.last.what == "OPTIONS":
            a.reply(200, to="OPTIONS")
    assert "BYE" not in a.what
    assert len(alice.lines) == 1
    c = carol.call("701", CAROL)
    a.reply(200, SDP)
    c.ack()
    a.bye()
    c.reply(200, to="BYE")
    world.end()
