"""Call completion: who found somebody busy, gone or not answering is rung when that one is free,
and talks with it then; who waits for whom, for how long, and what is told of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls.call_world import CONFIG, PLAN, SDP, Agent, Line, World
from calls.test_transfer import BOB, CAROL, port, talks

from softswitch import events
from softswitch.configuration import load_config
from softswitch.features import COMPLETION

CODES = (
    PLAN
    + """
  - {match: "*37", do: complete}
  - {match: "*37.", strip: 3, do: complete}
  - {match: "*38", do: {complete: cancel}}
  - {match: "*38.", strip: 3, do: {complete: cancel}}
  - {match: "610", dial: {all: ["1002", "1003"]}, timeout: 10}
  - {match: "611", dial: {order: ["1002", "1003"]}, timeout: 10}
  - {match: "*66", do: redial}
  - {match: "*78", do: {dnd: on}}
  - {match: "*79", do: {dnd: off}}
"""
)
PAUSE = 5.0
RING = 20.0
DAVE = SDP.replace("40000", "43000").replace("192.0.2.9", "192.0.2.43")
ON = "480 Will Ring When 1002 Is Free"
NOTHING = "404 No Call To Complete"


def made(folder: Path, extra: str = "", *, journal: bool = False, plan: str = CODES) -> World:
    return World(folder, CONFIG + extra, plan, journal=journal)


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield made(tmp_path)
    raised = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not raised, [record.getMessage() for record in raised]


@pytest.fixture
def kept(tmp_path: Path) -> World:
    return made(tmp_path, journal=True)


def phones(world: World, count: int = 3) -> list[Agent]:
    return [world.phone(f"100{n}", f"10.9.0.{n}") for n in range(1, count + 1)]


def dial(phone: Agent, code: str) -> str:
    """Dial a star code; the final answer in short."""
    line = phone.call(code)
    line.acknowledge(line.last)
    return line.last.start.removeprefix("SIP/2.0 ")


def talk(caller: Agent, callee: Agent) -> tuple[Line, Line]:
    a = caller.call(callee.name)
    b = callee.line
    b.reply(200, CAROL)
    a.ack()
    return a, b


def hang_up(line: Line, other: Line) -> None:
    line.bye()
    other.reply(200, to="BYE")


def busy(caller: Agent, callee: Agent) -> None:
    """A call that finds the phone busy."""
    a = caller.call(callee.name)
    callee.line.reply(486, reason="Busy Here")
    a.acknowledge(a.last)
    assert a.last.status == 486


def rung(phone: Agent, before: int) -> Line:
    """The only call that it was sent since it had that many."""
    assert len(phone.lines) == before + 1, [line.what for line in phone.lines[before:]]
    return phone.line


def answer(caller: Line, callee: Agent, offer: str = SDP) -> Line:
    """The caller's phone answers, then the callee's; they hear each other."""
    assert set(caller.what) == {"INVITE"}
    assert caller.last.body == ""
    before = len(callee.lines)
    caller.reply(200, offer)
    assert caller.last.what == "ACK"
    assert "a=inactive" in caller.last.body
    line = rung(callee, before)
    assert port(line.last.body) == port(offer), "the codecs are the caller's phone's"
    assert "a=inactive" not in line.last.body
    line.reply(180)
    line.reply(200, BOB)
    assert line.last.what == "ACK"
    assert caller.last.what == "INVITE"
    assert port(caller.last.body) == port(BOB)
    caller.reply(200, offer)
    assert caller.last.what == "ACK"
    return line


def completed(world: World) -> str:
    """The callID of the only call that the switch has placed."""
    (event,) = [e for e in world.of(events.CallStarted) if not e.sip_call_id]
    return event.call_id


def placed(world: World) -> list[str]:
    return [e.call_id for e in world.of(events.CallStarted) if not e.sip_call_id]


def ended(world: World, call_id: str) -> events.CallEnded:
    (event,) = [e for e in world.of(events.CallEnded) if e.call_id == call_id]
    return event


def legs(world: World, call_id: str) -> list[tuple[int, str, str]]:
    return [(e.leg, e.party, e.by) for e in world.of(events.LegInvited) if e.call_id == call_id]


def waiting(world: World) -> list[str]:
    """Who waits for whom."""
    found = {one for all_ in world.switch.completions.awaited.values() for one in all_}
    return sorted(f"{one.caller} {one.callee}" for one in found)


def asked(world: World) -> tuple[Agent, Agent, Agent, Line, Line]:
    """Bob talks with Carol; Alice has found him busy, and waits."""
    alice, bob, carol = phones(world)
    c, b = talk(carol, bob)
    busy(alice, bob)
    assert dial(alice, "*37") == ON
    return alice, bob, carol, c, b


def test_busy(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before, "he still talks"
    hang_up(c, b)
    world.run(PAUSE - 0.5)
    assert len(alice.lines) == before, "he may want to make another call"
    world.run(1)
    a = rung(alice, before)
    assert a.last["from"].startswith('"Bob" <sip:1002@')
    a.reply(180)
    world.run(3)
    b = answer(a, bob)
    assert b.invited is not None
    assert b.invited["from"].startswith('"Alice" <sip:1001@')
    assert waiting(world) == []
    world.run(10)
    hang_up(a, b)
    world.end()
    call_id = completed(world)
    (started,) = [e for e in world.of(events.CallStarted) if e.call_id == call_id]
    assert (started.party, started.caller, started.caller_name, started.dialled, started.leg) == (
        "extension:1001", "1001", "Alice", "1002", 0,
    )  # fmt: skip
    assert (started.origin, started.owner) == (True, "hq")
    assert legs(world, call_id) == [
        (1, "extension:1001", ""),
        (2, "extension:1002", ""),
    ]
    assert talks(world)[-1] == ((0, 2), "dialled", "extension:1001")
    end = ended(world, call_id)
    assert (end.disposition, end.sip_status, end.hangup_by) == ("answered", 200, "caller")


def test_the_phone_is_shown_it(world: World) -> None:
    """And the record of the star code says it."""
    alice, _, _, c, b = asked(world)
    (event,) = [e for e in world.of(events.CallRouted) if "complete" in e.properties]
    assert (event.match, event.properties) == ("*37", {"complete": "1002"})
    end = ended(world, event.call_id)
    assert (end.disposition, end.sip_status) == ("answered", 480)
    assert dial(alice, "*38") == "480 Call Completion Is Off"
    hang_up(c, b)
    world.end()


def test_he_has_hung_up_meanwhile(world: World) -> None:
    alice, bob, carol = phones(world)
    c, b = talk(carol, bob)
    busy(alice, bob)
    hang_up(c, b)
    world.run(30)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_his_limit(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob = phones(world, 2)
    dave = world.phone("1004", "10.9.0.4")
    d, b = talk(dave, bob)
    line = alice.call("1004")
    assert line.last.what == "486 INVITE"
    line.acknowledge(line.last)
    assert dial(alice, "*37") == "480 Will Ring When 1004 Is Free"
    hang_up(d, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, dave))
    world.end()


@pytest.mark.parametrize("given_up", [False, True])
def test_no_answer(world: World, given_up: bool) -> None:
    """A sign is waited for that somebody is there."""
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(180)
    if given_up:
        world.run(15)
        a.cancel()
        bob.line.reply(200, to="CANCEL")
        bob.line.reply(487)
        assert a.last.what == "487 INVITE"
    else:
        world.run(21)
        bob.line.reply(200, to="CANCEL")
        bob.line.reply(487)
        assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    # Somebody else calls him, and he does not answer either.
    c = carol.call("1002")
    bob.line.reply(180)
    world.run(2)
    c.cancel()
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    c.acknowledge(c.last)
    world.run(60)
    assert len(alice.lines) == before
    b, c = talk(bob, carol)
    hang_up(b, c)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_a_call_that_fails_is_a_sign(world: World) -> None:
    """He has dialled something: he is there."""
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    bob.line.reply(480)
    a.acknowledge(a.last)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    assert dial(bob, "666") == "403 Not You"
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_given_up_before_it_rang(world: World) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    a.cancel()
    assert a.last.what == "487 INVITE"
    a.acknowledge(a.last)
    bob.line.reply(487)
    assert dial(alice, "*37") == NOTHING
    world.end()


def test_not_registered(world: World) -> None:
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("1002")
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    bob = world.phone("1002", "10.9.0.2")
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_not_to_be_disturbed(world: World) -> None:
    """What says so is the switch: the phone is not asked."""
    alice, bob, _ = phones(world)
    assert dial(bob, "*78").startswith("480 ")
    a = alice.call("1002")
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    assert dial(bob, "*79").startswith("480 ")
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_not_to_be_disturbed_and_said_otherwise(tmp_path: Path) -> None:
    """The status is not that of a busy phone; it is waited for the same."""
    config = CONFIG.replace("{name: Bob,", "{name: Bob, dnd: {status: 480, reason: Away},")
    world = World(tmp_path, config, CODES)
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    world.switch.phone_features.set_dnd("1002", False)  # as the API does
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_both_busy(world: World) -> None:
    """He is free, and she is not: she is rung when she is."""
    alice, bob, carol, c, b = asked(world)
    a, other = talk(alice, carol)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    assert waiting(world) == ["1001 1002"]
    hang_up(a, other)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_she_is_not_to_be_disturbed(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    assert dial(alice, "*78").startswith("480 ")
    hang_up(c, b)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    assert dial(alice, "*79").startswith("480 ")
    before += 1
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_she_is_not_registered(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    alice.register(f"{alice.contact};expires=0")
    hang_up(c, b)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    alice.register()
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_her_phone_says_that_it_is_busy(world: World) -> None:
    """Though the switch knows of no call of hers: she is rung after the next one."""
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(486)
    assert ended(world, completed(world)).disposition == "busy"
    assert waiting(world) == ["1001 1002"]
    world.run(60)
    assert len(alice.lines) == before + 1, "it is not asked again and again"
    assert dial(alice, "*99") == "404 No Route"
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_busy_again(world: World) -> None:
    """He has made another call before she has answered: she waits on."""
    alice, bob, carol, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    b, c = talk(bob, carol)
    a.reply(200, SDP)
    bob.line.reply(486, reason="Busy Here")
    assert a.last.what == "BYE"
    assert 'cause=486;text="Busy Here"' in a.last["reason"]
    a.reply(200, to="BYE")
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status, end.hangup_by) == ("busy", 486, "callee")
    assert waiting(world) == ["1001 1002"]
    world.run(60)
    assert len(alice.lines) == before + 1
    hang_up(b, c)
    world.run(PAUSE + 0.5)
    a = rung(alice, before + 1)
    hang_up(a, answer(a, bob))
    world.end()
    assert [ended(world, one).disposition for one in placed(world)] == ["busy", "answered"]


def test_his_phone_says_that_it_is_busy(world: World) -> None:
    """And the switch knows of no call of his: she is rung once, and then after his next call."""
    alice, bob, carol = phones(world)
    busy(alice, bob)
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(486)
    a.reply(200, to="BYE")
    world.run(120)
    assert len(alice.lines) == before + 1
    assert waiting(world) == ["1001 1002"]
    c, b = talk(carol, bob)
    hang_up(c, b)
    world.run(PAUSE + 0.5)
    a = rung(alice, before + 1)
    hang_up(a, answer(a, bob))
    world.end()


def test_another_call_in_the_pause(world: World) -> None:
    alice, bob, carol, c, b = asked(world)
    hang_up(c, b)
    world.run(PAUSE - 1)
    b, c = talk(bob, carol)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    hang_up(b, c)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_two_wait_for_one(world: World) -> None:
    """First come, first served; and the second is served after the first has had its talk."""
    alice, bob, _, c, b = asked(world)
    dave = world.phone("1004", "10.9.0.4")
    busy(dave, bob)
    assert dial(dave, "*37") == ON
    hang_up(c, b)
    before, others = len(alice.lines), len(dave.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    assert dial(dave, "*37") == ON
    others += 1
    world.run(PAUSE + 2)
    assert len(dave.lines) == others, "one at a time"
    b = answer(a, bob)
    world.run(30)
    assert len(dave.lines) == others
    assert waiting(world) == ["1004 1002"]
    hang_up(b, a)
    world.run(PAUSE + 0.5)
    d = rung(dave, others)
    hang_up(d, answer(d, bob, DAVE))
    world.end()


def test_the_first_of_two_is_busy(world: World) -> None:
    """Then the second is served, and the first after it."""
    alice, bob, carol, c, b = asked(world)
    dave = world.phone("1004", "10.9.0.4")
    busy(dave, bob)
    assert dial(dave, "*37") == ON
    a, other = talk(alice, carol)
    hang_up(c, b)
    others = len(dave.lines)
    world.run(PAUSE + 0.5)
    d = rung(dave, others)
    hang_up(d, answer(d, bob, DAVE))
    assert waiting(world) == ["1001 1002"]
    hang_up(a, other)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_she_does_not_answer(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    world.run(RING)
    assert a.last.what == "CANCEL"
    a.reply(200, to="CANCEL")
    a.reply(487)
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status, end.reason) == ("no-answer", 480, "No Answer")
    assert waiting(world) == []
    before = len(bob.lines)
    world.end()
    assert len(bob.lines) == before, "he has not noticed"


def test_she_declines(world: World) -> None:
    alice, _, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    rung(alice, before).reply(603)
    assert ended(world, completed(world)).disposition == "rejected"
    assert waiting(world) == []
    world.end()


def test_he_does_not_answer(world: World) -> None:
    """Then it was a call like any other: she may ask again."""
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(180)
    world.run(21)
    assert bob.line.last.what == "CANCEL"
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status) == ("no-answer", 480)
    assert waiting(world) == []
    assert dial(alice, "*37") == ON
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before, "a sign is waited for that he is there"
    assert dial(alice, "*38") == "480 Call Completion Is Off"
    world.end()
    assert not [e for e in world.of(events.TalkBegan) if e.call_id == completed(world)]


def test_she_hangs_up_while_he_rings(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(180)
    world.run(2)
    a.bye()
    assert bob.line.last.what == "CANCEL"
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    world.end()
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status, end.hangup_by) == ("cancelled", 487, "caller")


def test_all_her_phones(world: World) -> None:
    """The one that answers is the caller's; the others are told so."""
    alice, bob, _, c, b = asked(world)
    desk = Agent(world, ("10.9.0.11", 5060), "1001", "a")
    desk.register()
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    desk.line.reply(180)
    line = answer(desk.line, bob)
    assert "Call completed elsewhere" in a.find("CANCEL")["reason"]
    a.reply(200, to="CANCEL")
    a.reply(487)
    hang_up(line, desk.line)
    world.end()
    call_id = completed(world)
    assert [leg for leg, *_ in legs(world, call_id)] == [1, 2, 3]
    assert talks(world)[-1] == ((0, 3), "dialled", "extension:1001")
    assert ended(world, call_id).hangup_by == "callee"


def test_it_is_not_forwarded(tmp_path: Path) -> None:
    """She is wanted, and not whom she forwards her calls to."""
    config = CONFIG.replace('"1001": {', '"1001": {forward: {always: "1003"}, ')
    world = World(tmp_path, config, CODES)
    alice, _, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(302, extra="Contact: <sip:1003@10.9.0.3>\r\n")
    assert ended(world, completed(world)).disposition == "no-answer"
    world.end()


# --- offers


def test_a_phone_that_wants_an_offer(world: World) -> None:
    """488 to the INVITE without one: it gets one of which nothing is heard, and he makes one."""
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    rung(alice, before).reply(488)
    a = rung(alice, before + 1)
    assert "a=inactive" in a.last.body
    assert "PCMA/8000" in a.last.body
    a.reply(200, SDP + "a=inactive\r\n")
    assert a.last.what == "ACK"
    assert a.last.body == ""
    b = bob.line
    assert b.last.what == "INVITE"
    assert b.last.body == "", "he says first what he can"
    b.reply(200, BOB)
    assert a.last.what == "INVITE"
    assert port(a.last.body) == port(BOB)
    assert a.last.body.splitlines()[1].split()[1:3] != BOB.splitlines()[1].split()[1:3], "o="
    a.reply(200, SDP)
    assert b.last.what == "ACK"
    assert port(b.last.body) == port(SDP)
    hang_up(a, b)
    world.end()
    assert legs(world, completed(world))[0][0] == 1
    assert talks(world)[-1] == ((0, 3), "dialled", "extension:1001")


def test_both_want_an_offer(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    rung(alice, before).reply(488)
    a = rung(alice, before + 1)
    a.reply(200, SDP + "a=inactive\r\n")
    bob.line.reply(488)
    b = bob.line
    assert port(b.last.body) == port(SDP)
    assert "a=inactive" not in b.last.body
    b.reply(200, BOB)
    assert port(a.last.body) == port(BOB)
    a.reply(200, SDP)
    hang_up(a, b)
    world.end()
    assert ended(world, completed(world)).disposition == "answered"


def test_an_answer_without_a_description(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200)
    b = bob.line
    assert b.last.body == ""
    b.reply(200, BOB)
    assert port(a.last.body) == port(BOB)
    a.reply(200, SDP)
    assert port(b.last.body) == port(SDP)
    hang_up(a, b)
    world.end()


def test_he_refuses_her_offer(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(488)
    b = bob.line
    assert b.last.body == ""
    b.reply(488)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status) == ("failed", 488)


# --- asking


def test_nothing_to_complete(world: World) -> None:
    alice, bob, carol = phones(world)
    assert dial(alice, "*37") == NOTHING
    assert dial(alice, "*38") == NOTHING
    c, b = talk(carol, bob)
    busy(alice, bob)
    assert dial(alice, "*371003") == NOTHING, "that was not it"
    a, other = talk(alice, carol)
    assert dial(alice, "*37") == NOTHING, "the last call was answered"
    hang_up(a, other)
    a = alice.call("1002")
    bob.line.reply(603)
    a.acknowledge(a.last)
    assert dial(alice, "*37") == NOTHING, "he has declined"
    hang_up(c, b)
    world.end()


@pytest.mark.parametrize("number", ["610", "611", "81234", "666", "1001"])
def test_no_extension_of_another(world: World, number: str) -> None:
    """A group, a number outside, one that is refused, her own one."""
    alice, bob, carol = phones(world)
    others = (alice, bob, carol, Agent(world, ("10.2.0.1", 5060)))
    before = {phone: len(phone.lines) for phone in others}
    line = alice.call(number)
    before[alice] += 1
    for _ in range(2):
        for phone in others:
            if len(phone.lines) > before[phone]:
                before[phone] += 1
                phone.line.reply(486)
    assert line.last.status in (403, 486)
    line.acknowledge(line.last)
    assert dial(alice, "*37") == NOTHING
    world.end()


def test_by_redial(world: World) -> None:
    alice, bob, carol = phones(world)
    c, b = talk(carol, bob)
    busy(alice, bob)
    a, other = talk(alice, carol)
    hang_up(a, other)
    c2 = alice.call("1002")
    bob.line.reply(180)
    c2.cancel()
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    c2.acknowledge(c2.last)
    a, other = talk(alice, carol)
    hang_up(a, other)
    assert dial(alice, "*37") == NOTHING
    busy(alice, bob)
    line = alice.call("*66")
    bob.line.reply(486)
    line.acknowledge(line.last)
    assert dial(alice, "*37") == ON
    assert dial(alice, "*38").startswith("480 ")
    hang_up(c, b)
    world.end()


def test_forgotten_after_a_while(world: World) -> None:
    alice, bob, _ = phones(world)
    busy(alice, bob)
    world.run(2701)
    assert dial(alice, "*37") == NOTHING
    world.end()


def test_asked_twice(world: World) -> None:
    """It is one request, which lasts anew."""
    alice, bob, _, c, b = asked(world)
    world.run(100)
    assert dial(alice, "*37") == ON
    assert waiting(world) == ["1001 1002"]
    assert len(world.switch.completions) == 1
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.end()


def test_cancelled(world: World) -> None:
    alice, _, _, c, b = asked(world)
    assert dial(alice, "*381003") == NOTHING
    assert dial(alice, "*381002") == "480 Will Not Ring For 1002"
    assert waiting(world) == []
    hang_up(c, b)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    assert dial(alice, "*38") == NOTHING
    world.end()


def test_cancelled_while_it_rings(world: World) -> None:
    alice, _, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    assert dial(alice, "*38") == "480 Call Completion Is Off"
    assert a.last.what == "CANCEL"
    a.reply(200, to="CANCEL")
    a.reply(487)
    world.end()
    assert ended(world, completed(world)).disposition == "cancelled"


def test_cancelled_while_it_rings_and_another_waits(world: World) -> None:
    alice, bob, _, c, b = asked(world)
    dave = world.phone("1004", "10.9.0.4")
    busy(dave, bob)
    assert dial(dave, "*37") == ON
    hang_up(c, b)
    before, others = len(alice.lines), len(dave.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    assert dial(alice, "*38") == "480 Call Completion Is Off"
    a.reply(200, to="CANCEL")
    a.reply(487)
    world.run(PAUSE + 0.5)
    d = rung(dave, others)
    hang_up(d, answer(d, bob, DAVE))
    world.end()


def test_expired(tmp_path: Path) -> None:
    world = made(tmp_path, "timers: {completion: 50}\n")
    alice, _, _, c, b = asked(world)
    world.run(49)
    assert waiting(world) == ["1001 1002"]
    world.run(2)
    assert waiting(world) == []
    hang_up(c, b)
    before = len(alice.lines)
    world.run(60)
    assert len(alice.lines) == before
    world.end()


def test_asked_again_it_lasts_anew(tmp_path: Path) -> None:
    world = made(tmp_path, "timers: {completion: 50}\n", journal=True)
    alice = asked(world)[0]
    world.run(40)
    assert dial(alice, "*37") == ON
    world.run(40)
    assert waiting(world) == ["1001 1002"]
    world.restart(1, CONFIG + "timers: {completion: 50}\n", CODES)
    assert waiting(world) == ["1001 1002"]
    world.run(11)
    assert waiting(world) == []


def test_45_minutes(world: World) -> None:
    assert world.switch.config.timers.completion == 45 * 60


def test_limits(tmp_path: Path) -> None:
    world = made(tmp_path, "limits: {max_completions: 1}\n")
    alice, bob, carol, c, b = asked(world)
    dave = world.phone("1004", "10.9.0.4")
    busy(dave, bob)
    assert dial(dave, "*37") == "403 Too Many Wait For 1002"
    busy(alice, carol)
    assert dial(alice, "*37") == "403 Too Many Calls To Complete"
    assert waiting(world) == ["1001 1002"]
    assert dial(alice, "*38").startswith("480 ")
    assert dial(alice, "*37").startswith("403 ") is False
    assert dial(alice, "*38").startswith("480 ")
    hang_up(c, b)
    world.end()


def test_only_where_somebody_may_ask(tmp_path: Path) -> None:
    """Nothing is noted of calls where no route asks for completions."""
    world = made(tmp_path, plan=PLAN)
    alice, bob, _ = phones(world)
    busy(alice, bob)
    assert not world.switch.completes
    assert not world.switch.completions._failed
    world.end()


def test_nobody_else_takes_it(tmp_path: Path) -> None:
    """That she is rung is no call that her group could pick up."""
    config = CONFIG
    for name in ("Alice", "Carol"):
        config = config.replace(f"{{name: {name},", f"{{name: {name}, pickup: desk,")
    plan = CODES + '  - {match: "*8", do: pickup}\n'
    world = World(tmp_path, config, plan)
    alice, bob, carol, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    assert dial(carol, "*8") == "404 Nothing Rings There"
    replaces = f"{a.call_id};to-tag={a.tag};from-tag={a.find('INVITE').tag('from')}"
    line = carol.call("1001", extra=f"Replaces: {replaces}\r\n")
    assert line.last.what in ("481 INVITE", "403 INVITE")
    line.acknowledge(line.last)
    hang_up(a, answer(a, bob))
    world.end()


# --- transfers of such a call


def test_it_can_be_transferred(world: World) -> None:
    alice, bob, carol, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    b = answer(a, bob)
    world.run(5)
    a.send("REFER", extra=f"{a.contact}Refer-To: <sip:1003@10.0.0.1>\r\nRefer-Sub: false\r\n")
    assert a.find("202 REFER")
    c = carol.line
    c.reply(200, CAROL)
    assert port(b.last.body) == port(CAROL)
    b.reply(200, BOB)
    world.run(3)
    if a.last.what == "BYE":
        a.reply(200, to="BYE")
    b.bye()
    c.reply(200, to="BYE")
    world.end()
    assert [how for _, how, _ in talks(world)][-2:] == ["dialled", "blind-transfer"]


# --- restart and reload


def test_kept_over_a_restart(kept: World) -> None:
    """Both who wait, in their order."""
    world = kept
    alice, bob, _, c, b = asked(world)
    dave = world.phone("1004", "10.9.0.4")
    busy(dave, bob)
    assert dial(dave, "*37") == ON
    assert world.rows is not None
    assert sum(map(COMPLETION.is_one, world.rows.rows.values())) == 2, "on disk when it is answered"
    world.restart(5, CONFIG, CODES)
    world.run(2)
    for line in (c, b):
        line.reply(200, to="OPTIONS")
    assert waiting(world) == ["1001 1002", "1004 1002"]
    before, others = len(alice.lines), len(dave.lines)
    world.run(60)
    assert (len(alice.lines), len(dave.lines)) == (before, others), "he still talks"
    hang_up(c, b)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    b = answer(a, bob)
    assert len(dave.lines) == others
    hang_up(a, b)
    world.run(PAUSE + 0.5)
    d = rung(dave, others)
    hang_up(d, answer(d, bob, DAVE))
    world.rest()
    assert not any(map(COMPLETION.is_one, world.rows.rows.values()))


def test_it_ended_while_the_switch_was_away(kept: World) -> None:
    world = kept
    alice, bob, _, c, b = asked(world)
    before = len(alice.lines)
    world.run(0.25)
    world.kill()
    world.run(2)
    c.bye()
    b.bye()
    world.run(40)
    world.start(CONFIG, CODES)
    world.run(3)
    for line in (c, b):
        line.reply(481, to="OPTIONS")
    world.run(PAUSE + 3)
    a = rung(alice, before)
    hang_up(a, answer(a, bob))
    world.rest()


def test_it_runs_out_while_the_switch_is_away(tmp_path: Path) -> None:
    extra = "timers: {completion: 50}\n"
    world = made(tmp_path, extra, journal=True)
    asked(world)
    world.restart(60, CONFIG + extra, CODES)
    assert waiting(world) == []
    assert world.rows is not None
    world.run(1)
    assert not any(map(COMPLETION.is_one, world.rows.rows.values()))


@pytest.mark.parametrize("answered", [False, True])
def test_killed_while_it_is_placed(kept: World, answered: bool) -> None:
    """Her phone rings, or she waits for him: it ends with a record, and she is rung again."""
    world = kept
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    if answered:
        a.reply(200, SDP)
        bob.line.reply(180)
    first = completed(world)
    world.restart(5, CONFIG, CODES)
    if answered:
        assert a.last.what == "BYE"
        assert a.count("BYE") == 1
        a.reply(200, to="BYE")
        ringing = bob.line
    else:
        ringing = a
    assert ringing.last.what == "CANCEL"
    ringing.reply(200, to="CANCEL")
    ringing.reply(487)
    end = ended(world, first)
    assert (end.disposition, end.sip_status, end.reason) == ("failed", 503, "switch restarted")
    assert waiting(world) == ["1001 1002"]
    world.run(PAUSE + 0.5)
    a = rung(alice, before + 1)
    hang_up(a, answer(a, bob))
    world.rest()
    assert [ended(world, one).disposition for one in placed(world)] == ["failed", "answered"]


def test_killed_while_they_talk(kept: World) -> None:
    world = kept
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    b = answer(a, bob)
    for _ in range(2):
        world.restart(5, CONFIG, CODES)
        world.run(2)
        for line in (a, b):
            line.reply(200, to="OPTIONS")
    assert "BYE" not in a.what
    assert waiting(world) == []
    (call,) = world.switch.calls
    assert [leg.came_in for leg in call.legs] == [False, False], "of both it made the dialog"
    a.invite(SDP)
    assert b.last.what == "INVITE"
    b.reply(200, BOB)
    a.ack()
    hang_up(a, b)
    world.rest()
    end = ended(world, completed(world))
    assert (end.disposition, end.sip_status, end.hangup_by) == ("answered", 200, "caller")


@pytest.mark.parametrize("gone", ["1001", "1002"])
def test_a_changed_configuration(tmp_path: Path, gone: str) -> None:
    world = made(tmp_path, journal=True)
    alice, _, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    config = CONFIG.replace(f'  "{gone}"', '  "1007"')
    (tmp_path / "other.yaml").write_text(config)
    (tmp_path / "plan.yaml").write_text(CODES.replace(f'"{gone}"', '"1007"'))
    world.switch.take_up(load_config(tmp_path / "other.yaml"))
    world.settle()
    assert waiting(world) == []
    assert a.last.what == "CANCEL"
    a.reply(200, to="CANCEL")
    a.reply(487)
    assert world.rows is not None
    world.rest()
    assert not any(map(COMPLETION.is_one, world.rows.rows.values()))
    assert ended(world, completed(world)).disposition == "cancelled"


def test_other_settings(tmp_path: Path) -> None:
    """They count for what begins from then on."""
    world = made(tmp_path)
    alice, _, _, c, b = asked(world)
    (tmp_path / "plan.yaml").write_text(CODES)
    (tmp_path / "other.yaml").write_text(
        CONFIG + "timers: {completion_pause: 1, completion_ring: 3}\n"
    )
    world.switch.take_up(load_config(tmp_path / "other.yaml"))
    hang_up(c, b)
    before = len(alice.lines)
    world.run(1.5)
    a = rung(alice, before)
    a.reply(180)
    world.run(3)
    assert a.last.what == "CANCEL"
    a.reply(200, to="CANCEL")
    a.reply(487)
    world.end()
