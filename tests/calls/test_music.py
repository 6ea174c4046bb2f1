"""Music on hold: a worker plays to who is on hold, parked, or waits; whatever happens meanwhile,
the call is what it would be without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.call_world import HOLD, PLAN, SDP, Line, World
from calls.players import SPEAKS, Player
from calls.transfers import (
    BOB,
    CAROL,
    GROUPS,
    INACTIVE,
    attended,
    dialog,
    heard,
    notes,
    phones,
    port,
    refer,
    talk,
    talks,
)
from softswitch import events
from softswitch.configuration import load_config
from softswitch.media.orders import Gone, Play

ROUTES = """
  - {match: "70X", from: any, do: park}
  - {match: "*43", from: any, play: echo}
"""
MUSIC = "music: {hold: welcome}\n" + PLAN + ROUTES
SILENT = PLAN + ROUTES
SETTINGS = GROUPS + (
    'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
    "timers: {session_check: 0}\n"
)
MOVED = BOB.replace("41000", "41500")
HOLDS = SDP + "a=sendonly\r\n"
ZERO = SDP.replace("192.0.2.9", "0.0.0.0")


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield World(tmp_path, SETTINGS, MUSIC)
    raised = [record for record in caplog.records if record.exc_info]
    assert not raised, [record.getMessage() for record in raised]


def offers(line: Line, other: Line, method: str, offer: str, answer: str) -> None:
    """One of two who talk makes an offer to the other, which agrees."""
    if method == "INVITE":
        line.invite(offer)
        other.reply(200, answer)
        line.ack()
    elif method == "UPDATE":
        line.send("UPDATE", offer, line.contact)
        other.reply(200, answer, to="UPDATE")
        assert line.last.what == "200 UPDATE"
    else:
        # It says what it wants in its ACK.
        line.invite("")
        other.reply(200, answer)
        line.ack(offer)


def told(line: Line) -> str:
    """The last description that it was sent."""
    return next(m.body for m in reversed(line.received) if "m=audio" in m.body)


def comes(player: Player, held: Line, own: str = BOB) -> Line:
    """The music: the worker's end of it."""
    m = player.takes()
    assert held.last.what == "INVITE"
    assert port(held.last.body) == port(SPEAKS)
    assert "sendonly" not in held.last.body
    held.reply(200, own)
    assert held.last.what == "ACK"
    assert isinstance(player.orders[-1], Play)
    assert player.orders[-1].loop
    return m


def together(a: Line, b: Line, mine: str = SDP, theirs: str = BOB) -> None:
    """Each was told last where the other is, and that it listens."""
    assert (port(told(b)), port(told(a))) == (port(mine), port(theirs))
    for line in (a, b):
        assert not any(word in told(line) for word in ("sendonly", "inactive", "recvonly"))


def ends(world: World, player: Player, one: Line, other: Line) -> None:
    """They talk, one hangs up on the other, and nothing is left."""
    world.run(2)
    one.send("INFO", "x", "Content-Type: text/plain\r\n")
    assert other.last.body == "x", "they talk with each other"
    other.reply(200, to="INFO")
    one.bye()
    assert other.last.what == "BYE"
    other.reply(200, to="BYE")
    over(world, player)


def over(world: World, player: Player) -> None:
    player.end()
    assert not [e for e in world.events if getattr(e, "leg", 0) < 0], "a leg that is none"
    assert not [e for e in world.of(events.LegInvited) if e.party == "application:music"]


def two(world: World) -> tuple[Player, Line, Line]:
    """Alice has called Bob."""
    player = Player(world)
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    world.run(2)
    return player, a, b


def holding(world: World) -> tuple[Player, Line, Line]:
    """She has him on hold, and he hears music."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    comes(player, b)
    world.run(2)
    return player, a, b


# --- hold and unhold


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "ACK"])
@pytest.mark.parametrize("offer", [HOLDS, INACTIVE, ZERO])
@pytest.mark.parametrize("by", ["caller", "callee"])
def test_held(world: World, method: str, offer: str, by: str) -> None:
    player, a, b = two(world)
    holder, other = (a, b) if by == "caller" else (b, a)
    mine, theirs = (SDP, BOB) if by == "caller" else (BOB, SDP)
    offer = offer.replace("40000", str(port(mine)))
    answer = theirs + ("a=inactive\r\n" if "inactive" in offer and method != "ACK" else "")
    for times in range(2):
        offers(holder, other, method, offer, answer)
        comes(player, other, theirs)
        world.run(3)
        offers(holder, other, method, mine, theirs)
        together(holder, other, mine, theirs)
        assert player.pool.busy == 0
        assert len(player.released()) == times + 1
        world.run(3)
        assert other.last.what in ("ACK", "UPDATE")
    ends(world, player, other, holder)
    assert talks(world) == [((0, 1), "dialled", "extension:1001")]


def test_the_same_is_told(tmp_path: Path) -> None:
    """Events and record are those of a switch without music."""
    tales = []
    for plan in (MUSIC, SILENT):
        world = World(tmp_path, SETTINGS, plan)
        player, a, b = two(world)
        for method in ("INVITE", "UPDATE", "ACK"):
            offers(a, b, method, HOLDS, BOB)
            if plan == MUSIC:
                comes(player, b)
            world.run(3)
            offers(a, b, method, SDP, BOB)
        ends(world, player, b, a)
        tales.append(world.told())
    assert tales[0] == tales[1]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "ACK"])
@pytest.mark.parametrize("when", ["no worker yet", "the worker is asked", "the held one is asked"])
def test_unheld_while_it_comes(world: World, method: str, when: str) -> None:
    """By an offer that waits while the held one is asked; that of an UPDATE is made again."""
    player = Player(world, ready=when != "no worker yet")
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    offers(a, b, "INVITE", HOLDS, BOB)
    if when == "no worker yet":
        assert not player.agent.lines
        offers(a, b, method, SDP, BOB)
        player.ready()
        assert not player.agent.lines
    elif when == "the worker is asked":
        m = player.line
        offers(a, b, method, SDP, BOB)
        m.reply(200, SPEAKS)
        assert "ACK" not in m.what
    else:
        player.takes()
        assert port(b.last.body) == port(SPEAKS)
        if method == "UPDATE":
            a.send("UPDATE", SDP, a.contact)
            assert a.last.what == "491 UPDATE"
            b.reply(200, BOB)
            offers(a, b, "UPDATE", SDP, BOB)
        else:
            a.invite(SDP if method == "INVITE" else "")
            world.run(0.3)
            assert a.last.what == "100 INVITE"
            b.reply(200, BOB)
            assert b.count("INVITE") == 4
            b.reply(200, BOB)
            a.ack("" if method == "INVITE" else SDP)
    together(a, b)
    world.run(5)
    together(a, b)
    assert player.pool.busy == 0
    ends(world, player, a, b)


def test_the_answer_to_an_update_is_late(world: World) -> None:
    """No music may be offered to who has not answered yet that it is off hold."""
    player, a, b = two(world)
    offers(a, b, "UPDATE", HOLDS, BOB)
    a.send("UPDATE", SDP, a.contact)
    player.line.reply(200, SPEAKS)
    assert b.last.what == "UPDATE"
    b.reply(200, BOB, to="UPDATE")
    world.run(5)
    assert b.last.what == "UPDATE"
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "ACK"])
def test_the_held_one_does_not_agree_to_go_on(world: World, method: str) -> None:
    """It is on hold then, and hears music."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    if method == "UPDATE":
        a.send("UPDATE", SDP, a.contact)
        b.reply(488, to="UPDATE")
        assert a.last.what == "488 UPDATE"
    else:
        a.invite(SDP if method == "INVITE" else "")
        b.reply(488)
        a.acknowledge(a.find("488 INVITE"))
    comes(player, b)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, b, a)


def test_on_hold_twice(world: World) -> None:
    """As a phone does that refreshes its session."""
    player, a, b = holding(world)
    for _ in range(3):
        offers(a, b, "INVITE", HOLDS, BOB)
        comes(player, b)
        world.run(100)
        assert player.pool.busy == 1
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_the_held_one_refreshes(world: World, method: str) -> None:
    player, a, b = holding(world)
    offers(b, a, method, BOB, HOLDS)
    assert "sendonly" in told(b)
    comes(player, b)
    world.run(5)
    assert player.pool.busy == 1
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_a_refresh_without_a_description(world: World) -> None:
    """It is a matter of one side: the music plays on."""
    player, a, b = holding(world)
    lines = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n"
    for one in (a, b):
        one.send("UPDATE", "", one.contact + lines)
        assert one.last.what == "200 UPDATE"
    assert not player.released()
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_we_refresh(world: World) -> None:
    """Who hears music is told what it was told last."""
    player = Player(world)
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    lines = "Require: timer\r\nSession-Expires: 600;refresher=uac\r\n"
    b.reply(200, BOB, lines)
    a.ack()
    a.invite(HOLDS)
    b.reply(200, BOB, lines)
    a.ack()
    player.takes()
    b.reply(200, BOB, lines)
    world.run(290)
    assert b.last.what == "ACK"
    world.run(15)
    assert b.last.what == "INVITE"
    assert port(b.last.body) == port(SPEAKS)
    b.reply(200, BOB, lines)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_both_hold(world: World) -> None:
    """Nobody would listen; then each in turn."""
    player, a, b = holding(world)
    inactive = BOB + "a=inactive\r\n"
    offers(b, a, "INVITE", inactive, INACTIVE)
    world.run(3)
    assert player.pool.busy == 0
    assert b.last.what == "200 INVITE"
    offers(a, b, "INVITE", SDP, inactive)
    comes(player, a, SDP)
    world.run(3)
    offers(a, b, "INVITE", HOLDS, inactive)
    assert player.pool.busy == 0
    offers(b, a, "INVITE", BOB, HOLDS)
    comes(player, b)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_an_answer_puts_on_hold(world: World) -> None:
    """Who holds says so in answers, too."""
    player, a, b = two(world)
    offers(a, b, "INVITE", SDP, BOB + "a=sendonly\r\n")
    comes(player, a, SDP)
    offers(b, a, "UPDATE", BOB, SDP)
    together(a, b)
    ends(world, player, a, b)


def test_who_makes_an_offer_when_asked_is_heard(world: World) -> None:
    """A held one that holds itself by that hears nothing, and the other music."""
    player, a, b = two(world)
    a.invite("")
    b.reply(200, BOB + "a=sendonly\r\n")
    a.ack(SDP + "a=recvonly\r\n")
    comes(player, a, SDP)
    offers(b, a, "INVITE", BOB, SDP)
    together(a, b)
    ends(world, player, a, b)


def test_no_music_between_a_late_offer_and_its_ack(world: World) -> None:
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    a.invite("")
    b.reply(200, BOB)
    player.line.reply(200, SPEAKS)
    world.run(2)
    assert b.what[-1] == "INVITE", "its 2xx waits for its ACK"
    assert b.count("INVITE") == 3
    a.ack(SDP)
    assert b.last.what == "ACK"
    together(a, b)
    ends(world, player, a, b)


# --- it does not come


@pytest.mark.parametrize("status", [488, 500, 606])
def test_the_held_one_refuses(world: World, status: int) -> None:
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    b.reply(status)
    assert player.pool.busy == 0
    world.run(5)
    assert b.last.what == "ACK"
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("again", [True, False])
def test_it_crosses_an_offer(world: World, again: bool) -> None:
    """It is tried again; unless the other goes on before that."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    b.reply(491)
    if again:
        world.run(5)
        assert port(b.last.body) == port(SPEAKS)
        b.reply(200, BOB)
        world.run(5)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    world.run(5)
    together(a, b)
    ends(world, player, a, b)


def test_the_held_one_asks_meanwhile(world: World) -> None:
    """Its own offer crosses ours: 491 both ways, and both come later."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    b.invite(BOB)
    assert b.last.what == "491 INVITE"
    b.acknowledge(b.last)
    b.reply(491)
    offers(b, a, "INVITE", BOB, HOLDS)
    comes(player, b)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("rings", [True, False])
def test_the_held_one_does_not_answer(world: World, rings: bool) -> None:
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    if rings:
        b.reply(100)
    world.run(33)
    assert player.pool.busy == 0
    if rings:
        b.reply(200, to="CANCEL")
        b.reply(487)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_what_waits_for_who_does_not_answer(world: World) -> None:
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    a.invite(SDP)
    world.run(33)
    assert port(b.last.body) == port(SDP)
    b.reply(200, BOB)
    a.ack()
    together(a, b)
    ends(world, player, a, b)


def test_an_offer_of_the_held_one_waits_for_nothing(world: World) -> None:
    """The music is there, the holder's ACK is not: the held one is told to ask again."""
    player, a, b = two(world)
    a.invite(HOLDS)
    b.reply(200, BOB)
    comes(player, b)
    b.invite(BOB)
    assert b.last.what == "491 INVITE"
    b.acknowledge(b.last)
    a.ack()
    offers(b, a, "INVITE", BOB, HOLDS)
    comes(player, b)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_the_held_one_waits_for_the_holder(world: World) -> None:
    """The worker is not there yet, nor is the holder's ACK: the held one's offer waits, and both
    come."""
    player = Player(world, ready=False)
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    a.invite(HOLDS)
    b.reply(200, BOB)
    b.invite(BOB)
    world.run(0.3)
    assert b.last.what == "100 INVITE"
    a.ack()
    player.ready()
    player.takes()
    assert b.find("491 INVITE"), "one goes first"
    b.acknowledge(b.find("491 INVITE"))
    b.reply(200, BOB)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("how", ["refuses", "dies", "dies later", "hangs up", "never answers"])
def test_the_worker(world: World, how: str) -> None:
    """There is silence, and nothing else changes."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    if how == "refuses":
        player.line.reply(488)
    elif how == "dies":
        player.dies()
    elif how == "never answers":
        world.run(11)
    else:
        m = player.takes()
        if how == "hangs up":
            m.bye()
            assert m.last.what == "200 BYE"
        else:
            player.dies()
        assert port(b.last.body) == port(SPEAKS)
        b.reply(200, BOB)
        assert b.last.what == "ACK"
    world.run(5)
    assert player.pool.busy == 0
    assert b.what.count("INVITE") == (3 if "ater" in how or how == "hangs up" else 2)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_the_worker_hangs_up_while_the_holder_waits(world: World) -> None:
    """What has waited goes on; that the held one is busy yet, it says itself."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    m = player.takes()
    a.invite(SDP)
    world.run(0.3)
    assert a.last.what == "100 INVITE"
    m.bye()
    assert port(b.last.body) == port(SDP)
    b.reply(200, BOB)
    a.ack()
    together(a, b)
    ends(world, player, a, b)


@pytest.mark.parametrize("when", ["it plays", "it plays and the phone is asked"])
def test_the_worker_dies_while_it_plays(world: World, when: str) -> None:
    player, a, b = holding(world)
    if when != "it plays":
        a.invite(SDP)
    player.dies()
    if when == "it plays":
        assert b.last.what == "ACK"
        a.invite(SDP)
    b.reply(200, BOB)
    a.ack()
    together(a, b)
    ends(world, player, a, b)
    assert len(world.of(events.LegEnded)) == 2


@pytest.mark.parametrize("workers", [True, False])
def test_no_port_is_free(world: World, workers: bool) -> None:
    player = Player(world, ready=False)
    if not workers:
        world.switch.spoken.workers = None
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    offers(a, b, "INVITE", HOLDS, BOB)
    world.run(20)
    assert b.count("INVITE") == 2
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


# --- the end


@pytest.mark.parametrize("who", ["holder", "held"])
@pytest.mark.parametrize(
    "when", ["no worker yet", "the worker is asked", "the held one is asked", "it plays"]
)
@pytest.mark.parametrize("waits", [True, False])
def test_one_hangs_up(world: World, who: str, when: str, waits: bool) -> None:
    player = Player(world, ready=when != "no worker yet")
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    offers(a, b, "INVITE", HOLDS, BOB)
    if when == "it plays":
        comes(player, b)
    elif when == "the held one is asked":
        player.takes()
    if waits:
        a.invite(SDP)
    one, other = (a, b) if who == "holder" else (b, a)
    one.bye()
    assert other.find("BYE")
    other.reply(200, to="BYE")
    for line in (a, b):
        for message in line.received:
            if message.what == "487 INVITE":
                line.acknowledge(message)
    if other is b:
        for message in list(b.received):
            if message.what == "CANCEL":
                b.reply(200, to=message)
                b.reply(487)
    if when == "no worker yet":
        player.ready()
    over(world, player)
    assert world.ended.hangup_by == ("caller" if who == "holder" else "callee")


def test_who_waits_changes_its_mind(world: World) -> None:
    """CANCEL of what has waited: all is as before."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    player.takes()
    a.invite(SDP)
    a.cancel()
    a.acknowledge(a.find("487 INVITE"))
    b.reply(200, BOB)
    assert b.last.what == "ACK"
    world.run(2)
    assert player.pool.busy == 1
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_an_unhold_is_cancelled(world: World) -> None:
    """While music comes, or plays: it comes, or plays on."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    for plays in (False, True):
        a.invite(SDP)
        b.reply(100)
        a.cancel()
        b.reply(200, to="CANCEL")
        b.reply(487)
        a.acknowledge(a.find("487 INVITE"))
        if not plays:
            comes(player, b)
    world.run(2)
    assert player.pool.busy == 1
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


# --- who gets none


@pytest.mark.parametrize("by", ["trunk", "switch"])
def test_a_holder_with_music_of_its_own(world: World, by: str) -> None:
    player = Player(world)
    _, bob, _ = phones(world)
    caller = world.agent("10.2.0.1", "pstn") if by == "trunk" else world.agent("10.0.0.2", "2001")
    a, b = talk(caller, bob)
    offers(a, b, "INVITE", HOLDS, BOB)
    world.run(2)
    assert not player.agent.lines
    offers(b, a, "INVITE", BOB, HOLDS)
    assert not player.agent.lines
    offers(a, b, "INVITE", SDP, BOB)
    offers(b, a, "INVITE", BOB + "a=sendonly\r\n", SDP)
    comes(player, a, SDP)
    offers(b, a, "INVITE", BOB, SDP)
    together(a, b)
    ends(world, player, a, b)


def test_an_application_on_hold(world: World) -> None:
    player = Player(world)
    alice, _, _ = phones(world)
    a = alice.call("*43")
    m = player.takes()
    a.ack()
    offers(a, m, "INVITE", HOLDS, SPEAKS)
    world.run(2)
    assert len(player.agent.lines) == 1
    offers(a, m, "INVITE", SDP, SPEAKS)
    a.bye()
    player.gone(m)
    player.end()


@pytest.mark.parametrize("plan", [SILENT, MUSIC.replace("hold: welcome", "hold: [sales, welcome]")])
@pytest.mark.parametrize("plays", [True, False])
def test_reloaded(world: World, plan: str, plays: bool) -> None:
    """What plays plays on; from then on it is as the dialplan says."""
    player, a, b = two(world)
    if plays:
        offers(a, b, "INVITE", HOLDS, BOB)
        comes(player, b)
    (world.folder / "switch.yaml").write_text(SETTINGS)
    (world.folder / "plan.yaml").write_text(plan)
    world.switch.take_up(load_config(world.folder / "switch.yaml"))
    if plays:
        assert player.pool.busy == 1
        offers(a, b, "INVITE", SDP, BOB)
        together(a, b)
    offers(a, b, "INVITE", HOLDS, BOB)
    if plan == SILENT:
        world.run(2)
        assert player.pool.busy == 0
    else:
        comes(player, b)
        assert isinstance(player.orders[-1], Play)
        assert len(player.orders[-1].sounds) == 2
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


# --- transfers


@pytest.mark.parametrize(
    "when", ["no worker yet", "the worker is asked", "the held one is asked", "it plays"]
)
@pytest.mark.parametrize("there", [True, False])
def test_blind_transfer(world: World, when: str, there: bool) -> None:
    player = Player(world, ready=when != "no worker yet")
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    offers(a, b, "INVITE", HOLDS, BOB)
    if when == "it plays":
        comes(player, b)
    elif when == "the held one is asked":
        player.takes()
    refer(a, "1003")
    heard(a)
    assert player.pool.busy == 0
    if when == "the held one is asked":
        b.reply(200, BOB)
    c = carol.line
    assert port(c.find("INVITE").body) == port(BOB)
    assert "sendonly" not in c.find("INVITE").body
    if there:
        c.reply(200, CAROL)
        heard(a)
        assert b.last.what == "INVITE"
        assert port(b.last.body) == port(CAROL)
        b.reply(200, BOB)
        a.bye()
        together(c, b, CAROL, BOB)
        if when == "no worker yet":
            player.ready()
        ends(world, player, b, c)
    else:
        c.reply(486)
        heard(a)
        assert notes(a)[-1] == "486 Whatever"
        if when == "no worker yet":
            player.ready()
        comes(player, b)
        offers(a, b, "INVITE", SDP, BOB)
        together(a, b)
        ends(world, player, b, a)


@pytest.mark.parametrize("plays", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_the_held_one_transfers(world: World, plays: bool, there: bool) -> None:
    """Who has it on hold, and is off hold by that."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    if plays:
        comes(player, b)
    refer(b, "1003")
    heard(b)
    assert player.pool.busy == 0
    c = world.agent("10.9.0.3").line
    assert "sendonly" not in c.last.body
    if there:
        c.reply(200, CAROL)
        heard(b)
        a.reply(200, SDP)
        b.bye()
        together(a, c, SDP, CAROL)
        ends(world, player, a, c)
    else:
        c.reply(486)
        heard(b)
        comes(player, b)
        offers(a, b, "INVITE", SDP, BOB)
        together(a, b)
        ends(world, player, b, a)


@pytest.mark.parametrize("plays", ["both", "one", "none"])
@pytest.mark.parametrize("works", [True, False])
def test_attended_transfer(world: World, plays: str, works: bool) -> None:
    """Bob has Alice on hold, asks Carol, and has her on hold as well."""
    player = Player(world)
    alice, bob, carol = phones(world)
    a, b1 = talk(alice, bob)
    offers(b1, a, "INVITE", BOB + "a=sendonly\r\n", SDP)
    if plays != "none":
        comes(player, a, SDP)
    b2 = bob.call("1003", BOB)
    c = carol.line
    c.reply(200, CAROL)
    b2.ack()
    offers(b2, c, "INVITE", BOB + "a=sendonly\r\n", CAROL)
    if plays == "both":
        comes(player, c, CAROL)
    attended(b1, b2)
    heard(b1)
    assert player.pool.busy == 0
    assert (a.last.what, a.last.body) == ("INVITE", "")
    if works:
        a.reply(200, SDP)
        c.reply(200, CAROL)
        heard(b1)
        b1.bye()
        b2.reply(200, to="BYE")
        together(a, c, SDP, CAROL)
        ends(world, player, a, c)
        return
    a.reply(200, SDP)
    c.reply(488)
    heard(b1)
    assert notes(b1)[-1].startswith("488")
    lines = {line.find("INVITE").uri: line for line in player.agent.lines}
    for one in list(player.pool.workers):
        for at in list(one.ports.values()):
            lines[f"sip:{at.key}@10.0.0.1"].reply(200, SPEAKS)
    assert player.pool.busy == 2
    for line, own in ((a, SDP), (c, CAROL)):
        assert port(line.last.body) == port(SPEAKS)
        line.reply(200, own)
    offers(b2, c, "INVITE", BOB, CAROL)
    together(b2, c, BOB, CAROL)
    offers(b1, a, "INVITE", BOB, SDP)
    together(a, b1)
    for one, other in ((b1, a), (b2, c)):
        one.bye()
        other.reply(200, to="BYE")
    over(world, player)


@pytest.mark.parametrize("plays", [True, False])
@pytest.mark.parametrize("works", ["yes", "refused", "given up", "hung up"])
def test_replaced(world: World, plays: bool, works: str) -> None:
    """Another phone takes the holder's place."""
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    if plays:
        comes(player, b)
    other = world.phone("1001", "10.9.0.11")
    c = other.call("1002", CAROL, f"Replaces: {dialog(a)}\r\n")
    assert player.pool.busy == 0
    assert port(b.last.body) == port(CAROL)
    if works == "yes":
        b.reply(200, BOB)
        c.ack()
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
        together(c, b, CAROL, BOB)
        ends(world, player, b, c)
    elif works == "hung up":
        b.bye()
        a.reply(200, to="BYE")
        c.acknowledge(c.find("480 INVITE"))
        over(world, player)
    else:
        if works == "refused":
            b.reply(488)
            c.acknowledge(c.find("488 INVITE"))
        else:
            b.reply(100)
            c.cancel()
            c.acknowledge(c.find("487 INVITE"))
            b.reply(200, to="CANCEL")
            b.reply(487)
        comes(player, b)
        offers(a, b, "INVITE", SDP, BOB)
        together(a, b)
        ends(world, player, b, a)


def test_the_call_becomes_part_of_another(world: World) -> None:
    """The music goes on."""
    from calls.test_merges import OLD, YOUNG, from_branch, is_now

    player = Player(world)
    _, bob, _ = phones(world)
    n = from_branch(world, "1002", YOUNG)
    b = bob.line
    b.reply(200, BOB)
    n.ack()
    offers(b, n, "INVITE", BOB + "a=sendonly\r\n", SDP)
    comes(player, n, SDP)
    is_now(n, OLD)
    comes(player, n, SDP)
    assert player.pool.busy == 1
    offers(b, n, "INVITE", BOB, SDP)
    together(n, b)
    ends(world, player, b, n)
    assert len(world.of(events.CallMerged)) == 1


# --- parked and consulting


def parked(world: World) -> tuple[Player, Line]:
    """Bob has parked Alice."""
    player, a, b = two(world)
    refer(b, "701")
    heard(b)
    b.bye()
    return player, a


def test_parked(world: World) -> None:
    player, a = parked(world)
    comes(player, a, SDP)
    assert player.pool.busy == 1
    world.run(20)
    c = world.agent("10.9.0.3").call("701", CAROL)
    assert player.pool.busy == 0
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    c.ack()
    together(a, c, SDP, CAROL)
    ends(world, player, a, c)


@pytest.mark.parametrize("when", ["the worker is asked", "the parked one is asked"])
def test_retrieved_while_it_comes(world: World, when: str) -> None:
    player, a = parked(world)
    if when == "the parked one is asked":
        player.takes()
        assert port(a.last.body) == port(SPEAKS)
    c = world.agent("10.9.0.3").call("701", CAROL)
    if when == "the parked one is asked":
        assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    c.ack()
    together(a, c, SDP, CAROL)
    ends(world, player, a, c)


def test_not_retrieved(world: World) -> None:
    """It waits on, and hears music again."""
    player, a = parked(world)
    comes(player, a, SDP)
    c = world.agent("10.9.0.3").call("701", CAROL)
    a.reply(488)
    c.acknowledge(c.find("488 INVITE"))
    comes(player, a, SDP)
    a.bye()
    over(world, player)


@pytest.mark.parametrize("how", ["refuses", "no port"])
def test_parked_in_silence(world: World, how: str) -> None:
    player, a = parked(world)
    if how == "refuses":
        player.line.reply(488)
    else:
        world.run(11)
    assert "a=inactive" in a.last.body
    a.reply(200, INACTIVE)
    c = world.agent("10.9.0.3").call("701", CAROL)
    a.reply(200, SDP)
    c.ack()
    together(a, c, SDP, CAROL)
    ends(world, player, a, c)


def test_a_parked_one_refreshes(world: World) -> None:
    """It is told that nobody is there, and hears music again."""
    player, a = parked(world)
    comes(player, a, SDP)
    a.invite(SDP)
    assert a.last.what == "200 INVITE"
    a.ack()
    comes(player, a, SDP)
    a.bye()
    over(world, player)


@pytest.mark.parametrize("who", ["returns", "completes", "kept leaves", "asker leaves"])
@pytest.mark.parametrize("plays", [True, False])
def test_consulting(world: World, who: str, plays: bool) -> None:
    from calls.test_in_call_codes import press, take

    player, a, b = two(world)
    carol = world.agent("10.9.0.3")
    press(a, "*21003#")
    if plays:
        comes(player, b)
    c = carol.line
    c.reply(200, CAROL)
    assert port(take(a)) == port(CAROL)
    world.run(2)
    if who == "returns":
        press(a, "*1")
        c.reply(200, to="BYE")
        assert player.pool.busy == 0
        b.reply(200, BOB)
        a.reply(200, SDP)
        together(a, b)
        ends(world, player, a, b)
        return
    if who == "kept leaves":
        b.bye()
        a.bye()
        c.reply(200, to="BYE")
        over(world, player)
        return
    if who == "completes":
        press(a, "*3")
    else:
        a.bye()
    assert player.pool.busy == 0
    b.reply(200, BOB)
    c.reply(200, CAROL)
    if who == "completes":
        a.reply(200, to="BYE")
    together(b, c, BOB, CAROL)
    ends(world, player, b, c)


def test_nobody_to_consult(world: World) -> None:
    """The one who waited has another port now: who asked is told so."""
    from calls.test_in_call_codes import press, take

    player, a, b = two(world)
    press(a, "*21003#")
    comes(player, b, MOVED)
    world.agent("10.9.0.3").line.reply(486)
    assert port(take(b, body=MOVED)) == port(SDP)
    assert port(take(a)) == port(MOVED)
    together(a, b, SDP, MOVED)
    ends(world, player, a, b)


def test_completing_fails_while_music_comes(world: World) -> None:
    from calls.test_in_call_codes import press, take

    player, a, b = two(world)
    carol = world.agent("10.9.0.3")
    press(a, "*21003#")
    c = carol.line
    c.reply(200, CAROL)
    take(a)
    press(a, "*3")
    assert player.pool.busy == 0
    assert b.last.body == ""
    b.reply(200, BOB)
    c.reply(488)
    # They talk on, and he hears music.
    comes(player, b)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    together(a, c, SDP, CAROL)
    press(a, "*3")
    b.reply(200, BOB)
    c.reply(200, CAROL)
    a.reply(200, to="BYE")
    together(b, c, BOB, CAROL)
    ends(world, player, b, c)


# --- the switch is killed


@pytest.mark.parametrize("when", ["the worker is asked", "the held one is asked", "it plays"])
def test_killed(tmp_path: Path, when: str) -> None:
    """The call goes on in silence, and off hold as ever."""
    world = World(tmp_path, SETTINGS, MUSIC, journal=True)
    player, a, b = two(world)
    offers(a, b, "INVITE", HOLDS, BOB)
    if when == "it plays":
        comes(player, b)
    elif when == "the held one is asked":
        player.takes()
    world.restart(1.0, SETTINGS, MUSIC)
    player.begin()
    if when == "the held one is asked":
        b.reply(200, BOB)
        assert b.last.what == "ACK"
    world.run(2)
    for line in (a, b):
        if line.last.what == "OPTIONS":
            line.reply(200, to="OPTIONS")
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    offers(a, b, "INVITE", HOLDS, BOB)
    comes(player, b)
    offers(a, b, "INVITE", SDP, BOB)
    together(a, b)
    ends(world, player, a, b)


def test_killed_while_one_is_parked(tmp_path: Path) -> None:
    world = World(tmp_path, SETTINGS, MUSIC, journal=True)
    player, a = parked(world)
    comes(player, a, SDP)
    world.restart(1.0, SETTINGS, MUSIC)
    player.begin()
    world.run(2)
    if a.last.what == "OPTIONS":
        a.reply(200, to="OPTIONS")
    c = world.agent("10.9.0.3").call("701", CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    c.ack()
    together(a, c, SDP, CAROL)
    ends(world, player, a, c)


def test_gone_is_said_late(world: World) -> None:
    """A port that is free again is used again."""
    player, a, b = holding(world)
    at = player.port
    offers(a, b, "INVITE", SDP, BOB)
    player.says(at, Gone(at.number))
    offers(a, b, "INVITE", HOLD.replace("40000", "40000"), BOB)
    comes(player, b)
    ends(world, player, b, a)
