"""Codes that phones without a transfer key dial within a call: transfer, consultation, back."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, HOLD, PLAN, SDP, Line, World
from calls.transfers import BOB, CAROL, phones, port, talk, talks
from softswitch import events

CODES = CONFIG + 'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
RELAY = "Content-Type: application/dtmf-relay\r\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, CODES)


@pytest.fixture
def journalled(tmp_path: Path) -> World:
    return World(tmp_path, CODES, journal=True)


def press(line: Line, digits: str) -> None:
    """Each by an INFO of its own, as most phones send them."""
    for digit in digits:
        line.send("INFO", f"Signal={digit}\r\nDuration=160\r\n", RELAY)


def heard(line: Line) -> str:
    """The digits that reach it."""
    infos = [m.body for m in line.received if m.what == "INFO"]
    return "".join(body.partition("Signal=")[2][:1] for body in infos)


def take(line: Line, *, body: str = "") -> str:
    """It agrees to the re-INVITE that it has just got; the offer that it was made."""
    assert line.last.what == "INVITE"
    offer = line.last.body
    line.reply(200, body or SDP)
    return offer


def consulting(world: World) -> tuple[Line, Line, Line]:
    """Alice talks with Bob, who waits while she has Carol rung."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    world.run(2)
    press(a, "*21003#")
    assert "a=inactive" in take(b, body=BOB)
    assert b.last.what == "ACK"
    return a, b, carol.line


def consulted(world: World) -> tuple[Line, Line, Line]:
    """The same, and she talks with Carol."""
    a, b, c = consulting(world)
    world.run(1)
    c.reply(200, CAROL)
    assert c.last.what == "ACK"
    assert port(take(a)) == port(CAROL)
    assert a.last.what == "ACK"
    world.run(3)
    return a, b, c


def joined(first: Line, second: Line, mine: str, theirs: str) -> None:
    """The two are brought together: one says what it can, the other answers it."""
    assert first.last.what == "INVITE"
    first.reply(200, mine)
    assert second.last.what == "INVITE"
    assert port(second.last.body) == port(mine)
    second.reply(200, theirs)
    assert (first.last.what, second.last.what) == ("ACK", "ACK")


def over(world: World, one: Line, two: Line) -> None:
    """They talk and hang up, and nothing is left."""
    world.run(2)
    one.send("INFO", "x", "Content-Type: text/plain\r\n")
    assert two.last.body == "x", "they talk with each other"
    two.reply(200, to="INFO")
    one.bye()
    assert two.last.what == "BYE"
    two.reply(200, to="BYE")
    world.end()


# --- digits


@pytest.mark.parametrize("digits", ["5", "#5", "*5", "*4711", "#*#", "12#", "**", "*#2"])
def test_other_digits_go_on_in_order(world: World, digits: str) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    for digit in digits:
        press(a, digit)
        if b.last.what == "INFO":
            b.reply(200, to=b.last)
    for _ in range(10):
        world.run(0.5)
        if b.last.what == "INFO":
            b.reply(200, to=b.last)
    assert heard(b) == digits
    assert a.count("200 INFO") == len(digits)
    over(world, a, b)


def test_half_a_code_goes_on_after_a_while(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    press(a, "*")
    assert a.last.what == "200 INFO"
    world.run(2.9)
    assert heard(b) == ""
    world.run(0.2)
    assert heard(b) == "*"
    b.reply(200, to="INFO")
    press(a, "2")
    assert heard(b) == "*2", "by itself it begins nothing"
    b.reply(200, to="INFO")
    over(world, a, b)


def test_what_is_no_digit_goes_on_as_it_is(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    for kind, body in (
        ("application/dtmf-relay", "Signal=x\r\n"),
        ("application/dtmf-relay", "Duration=160\r\n"),
        ("text/plain", "*"),
        ("application/dtmf-relay", "Signal=*\r\n" + 300 * "x"),
    ):
        a.send("INFO", body, f"Content-Type: {kind}\r\n")
        assert b.last.body == body
        b.reply(415, to="INFO")
        assert a.last.what == "415 INFO"
    over(world, a, b)


def test_without_codes_all_digits_go_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    press(a, "#")
    assert heard(b) == "#"
    b.reply(486, to="INFO")
    assert a.last.what == "486 INFO", "the other one answers"
    over(world, a, b)


def test_trunks_dial_no_codes(world: World) -> None:
    alice, _, _ = phones(world)
    caller = world.agent("10.1.0.1", "caller")
    c, a = talk(caller, alice)
    for digits in ("#", "##"):
        press(c, "#")
        assert heard(a) == digits
        a.reply(200, to="INFO")
    over(world, c, a)


@pytest.mark.parametrize("kind", ["application/dtmf", "application/dtmf-relay"])
def test_digits_of_both_kinds(world: World, kind: str) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    signs = {"*": "10", "#": "11"} if kind == "application/dtmf-relay" else {}
    for digit in "##1003#":
        sign = signs.get(digit, digit)
        body = sign if kind == "application/dtmf" else f"Signal={sign}\r\n"
        a.send("INFO", body, f"Content-Type: {kind}\r\n")
    assert carol.line.last.what == "INVITE"
    carol.line.reply(200, CAROL)
    take(b, body=BOB)
    a.reply(200, to="BYE")
    over(world, b, carol.line)


# --- transfer


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_blind(world: World, by: str) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    who, kept = (a, b) if by == "caller" else (b, a)
    world.run(3)
    press(who, "##1003")
    assert not carol.lines
    world.run(3.1)
    c = carol.line
    c.reply(200, CAROL)
    assert port(take(kept, body=BOB if kept is b else SDP)) == port(CAROL)
    assert who.last.what == "BYE", "it would not leave by itself"
    who.reply(200, to="BYE")
    over(world, kept, c)
    party = f"extension:100{1 if who is a else 2}"
    assert talks(world)[1][1:] == ("blind-transfer", party)
    assert [e.status for e in world.of(events.LegReferred)] == [0, 200]


def test_blind_to_a_busy_one(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "##1003#")
    carol.line.reply(486)
    assert "BYE" not in a.what + b.what
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


def test_too_often(tmp_path: Path) -> None:
    world = World(tmp_path, f"{CODES}limits: {{max_transfers: 1}}\n")
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "##1003#")
    carol.line.reply(486)
    press(a, "#")
    assert heard(b) == "#", "no code any more"
    b.reply(200, to="INFO")
    over(world, a, b)


def test_a_number_without_end(tmp_path: Path) -> None:
    """It ends where no number may be longer."""
    world = World(tmp_path, f"{CODES}limits: {{max_number: 6}}\n")
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "##100300")
    assert not carol.lines
    assert talks(world)[-1][1] == "returned", "nobody has it, without another digit"
    press(a, "5")
    assert heard(b) == "5"
    b.reply(200, to="INFO")
    over(world, a, b)


@pytest.mark.parametrize("digits", ["##10", "*"])
def test_hung_up_while_dialling(world: World, digits: str) -> None:
    """Nothing is kept of it."""
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    press(a, digits)
    assert world.switch.dialling
    a.bye()
    b.reply(200, to="BYE")
    assert not world.switch.dialling
    world.end()


# --- consultation


def test_consulted_and_completed(world: World) -> None:
    a, b, c = consulted(world)
    press(a, "*3")
    joined(b, c, BOB, CAROL)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    over(world, b, c)
    assert talks(world) == [
        ((0, 1), "dialled", "extension:1001"),
        ((0, 2), "dialled", "extension:1001"),
        ((1, 2), "attended-transfer", "extension:1001"),
    ]
    began, ended = world.of(events.TalkBegan), world.of(events.TalkEnded)
    assert [e.talk for e in ended] == [1, 2, 3]
    assert ended[0].at <= began[1].at
    assert ended[1].at <= began[2].at
    assert world.of(events.LegInvited)[1].by == "extension:1001"
    assert world.ended.disposition == "answered"


def test_whoever_asks_hangs_up(world: World) -> None:
    a, b, c = consulted(world)
    a.bye()
    assert "BYE" not in b.what + c.what
    joined(b, c, BOB, CAROL)
    over(world, b, c)
    assert talks(world)[-1] == ((1, 2), "attended-transfer", "extension:1001")


def test_back(world: World) -> None:
    a, b, c = consulted(world)
    press(a, "*1")
    assert c.last.what == "BYE"
    c.reply(200, to="BYE")
    joined(b, a, BOB, SDP)
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


def test_back_while_it_rings(world: World) -> None:
    a, b, c = consulting(world)
    c.reply(180)
    press(a, "*1")
    assert c.last.what == "CANCEL"
    c.reply(200, to="CANCEL")
    c.reply(487)
    assert port(take(b, body=BOB)) == port(SDP), "it hears her again"
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


@pytest.mark.parametrize("how", ["dials", "hangs up"])
def test_completed_while_it_rings(world: World, how: str) -> None:
    a, b, c = consulting(world)
    c.reply(180)
    if how == "dials":
        press(a, "*3")
        assert a.last.what == "BYE"
        a.reply(200, to="BYE")
    else:
        a.bye()
    assert "CANCEL" not in c.what
    world.run(1)
    c.reply(200, CAROL)
    assert port(take(b, body=BOB)) == port(CAROL)
    # Carol was offered what Alice had said, and is told where Bob is.
    assert port(take(c, body=CAROL)) == port(BOB)
    over(world, b, c)
    assert talks(world)[-1][1:] == ("blind-transfer", "extension:1001")


@pytest.mark.parametrize("status", [486, 404, 480, 603])
def test_nobody_to_be_consulted(world: World, status: int) -> None:
    a, b, c = consulting(world)
    c.reply(status)
    assert port(take(b, body=BOB)) == port(SDP)
    assert "BYE" not in a.what + b.what
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


def test_a_number_that_leads_nowhere(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    press(a, "*277777#")
    assert "a=inactive" in take(b, body=BOB)
    take(b, body=BOB)
    over(world, a, b)


def test_who_waits_is_not_rung_for_itself(tmp_path: Path) -> None:
    """It is in the group that rings for it from now on."""
    plan = f'{PLAN}  - {{match: "620", dial: {{order: ["1003", "1002"]}}}}\n'
    world = World(tmp_path, CODES, plan)
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "*2620#")
    take(b, body=BOB)
    press(a, "*3")
    a.reply(200, to="BYE")
    carol.line.reply(486)
    assert len(bob.lines) == 1
    alice.line.reply(486)  # she is rung, as nobody is there
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.end()


def test_a_star_code_is_nobody_to_be_consulted(tmp_path: Path) -> None:
    world = World(tmp_path, CODES, f'{PLAN}  - {{match: "*8", do: pickup}}\n')
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    press(a, "*2*8#")
    take(b, body=BOB)
    take(b, body=BOB)
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


def test_who_was_consulted_hangs_up(world: World) -> None:
    a, b, c = consulted(world)
    c.bye()
    joined(b, a, BOB, SDP)
    over(world, a, b)
    assert talks(world)[-1][1] == "returned"


def test_who_waits_hangs_up(world: World) -> None:
    a, b, c = consulted(world)
    b.bye()
    assert "BYE" not in a.what + c.what
    press(a, "*")
    assert heard(c) == "", "a code may come"
    world.run(4)
    c.reply(200, to="INFO")
    over(world, a, c)


def test_who_waits_hangs_up_while_it_rings(world: World) -> None:
    a, b, c = consulting(world)
    b.bye()
    assert "BYE" not in a.what
    c.reply(200, CAROL)
    take(a)
    over(world, a, c)


def test_and_then_nobody_answers(world: World) -> None:
    a, b, c = consulting(world)
    b.bye()
    c.reply(486)
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.end()


def test_one_that_cannot_be_held(world: World) -> None:
    """488: it goes on hearing itself, and is back all the same."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "*21003#")
    b.reply(488)
    c = carol.line
    c.reply(486)
    assert b.count("INVITE") == 2, "nothing has changed for it"
    over(world, a, b)


def test_one_that_is_just_asking_itself(world: World) -> None:
    """491: held a moment later."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "*21003#")
    b.reply(491)
    world.run(5)
    assert "a=inactive" in take(b, body=BOB)
    carol.line.reply(200, CAROL)
    take(a)
    world.run(1)
    press(a, "*3")
    joined(b, carol.line, BOB, CAROL)
    a.reply(200, to="BYE")
    over(world, b, carol.line)


def test_two_that_cannot_be_brought_together(world: World) -> None:
    a, b, c = consulted(world)
    press(a, "*3")
    b.reply(200, BOB)
    c.reply(488)
    assert "BYE" not in a.what + b.what + c.what
    world.run(1)
    # She is still there, and Carol hears her again; Bob is held.
    for _ in range(6):
        for line, body in ((a, SDP), (b, BOB), (c, CAROL)):
            if line.last.what == "INVITE":
                line.reply(200, body)
        world.run(0.5)
    press(a, "*1")
    c.reply(200, to="BYE")
    joined(b, a, BOB, SDP)
    over(world, a, b)


def test_hold_of_the_one_who_waits_is_nobodys(world: World) -> None:
    """An offer of who waits is answered by the switch: it is still heard by nobody."""
    a, b, c = consulted(world)
    before = list(c.what)
    b.invite(HOLD)
    assert b.last.what == "200 INVITE"
    assert "a=inactive" in b.last.body
    b.ack()
    assert c.what == before
    press(a, "*3")
    joined(b, c, BOB, CAROL)
    a.reply(200, to="BYE")
    over(world, b, c)


# --- killed


def test_killed_while_they_consult(journalled: World) -> None:
    world = journalled
    a, b, c = consulted(world)
    world.restart(1, config=CODES)
    assert "BYE" not in a.what + b.what + c.what
    answer_probes(world, a, b, c)
    press(a, "*3")
    joined(b, c, BOB, CAROL)
    a.reply(200, to="BYE")
    over_after(world, b, c)


@pytest.mark.parametrize("held", [True, False])
def test_killed_before_they_hear_each_other(journalled: World, held: bool) -> None:
    """What was under way is done once more."""
    world = journalled
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    press(a, "*21003#")
    if held:
        take(b, body=BOB)
    c = carol.line
    c.reply(200, CAROL)
    assert a.last.what == "INVITE"
    world.restart(1, config=CODES)
    if held:
        assert b.last.what == "ACK", "it knows that it waits"
    else:
        assert "a=inactive" in take(b, body=BOB)
    joined(a, c, SDP, CAROL)
    answer_probes(world, a, b, c)
    press(a, "*3")
    joined(b, c, BOB, CAROL)
    a.reply(200, to="BYE")
    over_after(world, b, c)


def test_killed_while_it_rings(journalled: World) -> None:
    """The consultation ends with the process; the two first ones talk again."""
    world = journalled
    a, b, c = consulting(world)
    c.reply(180)
    world.restart(1, config=CODES)
    assert c.last.what == "CANCEL"
    c.reply(200, to="CANCEL")
    c.reply(487)
    joined(a, b, SDP, BOB)
    answer_probes(world, a, b)
    over_after(world, a, b)
    assert [e.how for e in world.of(events.TalkBegan)][-1] == "returned"


def test_killed_while_they_are_brought_together(journalled: World) -> None:
    world = journalled
    a, b, c = consulted(world)
    press(a, "*3")
    world.restart(1, config=CODES)
    assert b.last.what == "INVITE"
    joined(b, c, BOB, CAROL)
    a.reply(200, to="BYE")
    answer_probes(world, b, c)
    over_after(world, b, c)


def answer_probes(world: World, *lines: Line) -> None:
    """They say that they are there."""
    for _ in range(3):
        world.run(0.7)
        for line in lines:
            if line.last.what == "OPTIONS":
                line.reply(200, to=line.last)


def over_after(world: World, one: Line, two: Line) -> None:
    """They hang up, and no row is left."""
    over(world, one, two)
    assert world.rows is not None
    assert not [row for row in world.rows.rows.values() if row[:1] in (b"g",)]
