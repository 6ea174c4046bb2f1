"""Reliable provisional responses (RFC 3262), from the callee to the caller and across legs of which
only one knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, HOLD, PLAN, SDP, Line, Message, World
from calls.test_answered import parties

SUPPORTED = "Supported: 100rel\r\nAllow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE\r\n"
REQUIRED = "Require: 100rel\r\nAllow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE\r\n"
UPDATES = "Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE\r\n"
OTHER = ANSWER.replace("50000", "50002")


def reliably(number: int) -> str:
    return f"Require: 100rel\r\nRSeq: {number}\r\n{UPDATES}"


def prack(line: Line, body: str = "", of: Message | None = None) -> None:
    """The PRACK of the newest reliable response, or of that one."""
    response = of or next(m for m in reversed(line.received) if "rseq" in m)
    line.send("PRACK", body, f"RAck: {response['rseq']} {response.cseq} INVITE\r\n")


def placed(world: World, extra: str = SUPPORTED, body: str = SDP) -> tuple[Line, Line]:
    caller, callee = parties(world)
    a = caller.call("85550100", body, extra=extra)
    return a, callee.line


def descriptions(world: World) -> dict[int, tuple[str, str]]:
    """What each leg of the one call was sent last, and what it sent, by its number."""
    legs = next(iter(world.switch.calls)).legs
    return {leg.index: (leg.session.ours.decode(), leg.session.theirs.decode()) for leg in legs}


def ends(world: World, a: Line, b: Line) -> None:
    world.run(1)
    a.bye()
    b.reply(200, to="BYE")
    world.end()


# --- both know them


def test_a_response_and_its_prack_go_from_end_to_end(world: World) -> None:
    a, b = placed(world)
    assert "100rel" in b.last["supported"]
    assert "PRACK" in b.last["allow"]
    b.reply(183, ANSWER, reliably(70))
    shown = a.last
    assert (shown.what, shown.body, shown["require"]) == ("183 INVITE", ANSWER, "100rel")
    assert 1 <= int(shown["rseq"]) < 2**31
    assert b.last.what == "INVITE", "no PRACK before the caller's"
    prack(a)
    assert (b.last.what, b.last["rack"]) == ("PRACK", "70 1 INVITE")
    assert a.count("200 PRACK") == 0, "the callee has not said so yet"
    b.reply(200, to="PRACK")
    assert a.last.what == "200 PRACK"
    b.reply(180, "", reliably(71))
    assert int(a.last["rseq"]) == int(shown["rseq"]) + 1
    prack(a)
    assert b.last["rack"] == "71 1 INVITE"
    b.reply(200, to="PRACK")
    b.reply(200)
    assert (a.last.what, a.last.body) == ("200 INVITE", "")
    assert b.last.what == "ACK"
    a.ack()
    ends(world, a, b)


def test_it_comes_again_until_its_prack(world: World) -> None:
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(1))
    world.run(7.6)
    times = [m.at for m in a.received if m.what == "183 INVITE"]
    assert [round(t - times[0], 1) for t in times] == [0, 0.5, 1.5, 3.5, 7.5]
    assert len({m["rseq"] for m in a.received}) == 1
    prack(a)
    b.reply(200, to="PRACK")
    world.run(20)
    assert a.count("183 INVITE") == 5
    b.reply(200)
    a.ack()
    ends(world, a, b)


@pytest.fixture
def patient(tmp_path: Path) -> World:
    """Nobody gives up before the 32 s are over."""
    return World(tmp_path, plan=PLAN.replace("timeout: 20", "timeout: 60"))


def test_without_a_prack_the_call_fails(patient: World) -> None:
    world = patient
    a, b = placed(world)
    b.reply(180, "", reliably(1))
    world.run(33)
    assert a.find("504 INVITE").start == "SIP/2.0 504 No PRACK"
    a.acknowledge(a.last)
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    world.end()


def test_the_callees_comes_twice(world: World) -> None:
    """Its PRACK is on the way, or waits for the caller's: no other, and the caller hears no more
    of it than it would anyhow."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    b.reply(183, ANSWER, reliably(5))
    assert a.count("183 INVITE") == 1
    prack(a)
    b.reply(183, ANSWER, reliably(5))
    assert b.count("PRACK") == 1
    b.reply(200, to="PRACK")
    b.reply(183, ANSWER, reliably(5))
    assert a.count("183 INVITE") == 1
    b.reply(200)
    a.ack()
    ends(world, a, b)


def test_one_that_skips_another_is_not_acknowledged(world: World) -> None:
    """§4: one is missing before it, which will come again."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    prack(a)
    b.reply(200, to="PRACK")
    b.reply(180, "", reliably(7))
    assert a.count("180 INVITE") == 0
    b.reply(180, "", reliably(6))
    prack(a)
    assert b.last["rack"] == "6 1 INVITE"
    b.reply(200, to="PRACK")
    b.reply(180, "", reliably(7))
    prack(a)
    assert b.last["rack"] == "7 1 INVITE"
    b.reply(200, to="PRACK")
    b.reply(200)
    a.ack()
    ends(world, a, b)


def test_two_in_a_row_go_one_at_a_time(world: World) -> None:
    """§3: the second only when the first is acknowledged."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    b.reply(180, "", reliably(6))
    assert a.what == ["183 INVITE"]
    prack(a)
    assert a.last.what == "180 INVITE"
    b.reply(200, to="PRACK")
    prack(a)
    assert [m["rack"] for m in b.received if m.what == "PRACK"] == ["5 1 INVITE", "6 1 INVITE"]
    b.reply(200, to="PRACK")
    b.reply(200)
    a.ack()
    ends(world, a, b)


@pytest.mark.parametrize("rack", ["9 1 INVITE", "x 1 INVITE", "1 1", "{rseq} 2 INVITE", ""])
def test_a_prack_of_nothing(world: World, rack: str) -> None:
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    rack = rack.format(rseq=a.last["rseq"])
    a.send("PRACK", "", f"RAck: {rack}\r\n" if rack else "")
    assert a.last.what == "481 PRACK"
    assert b.last.what == "INVITE"
    prack(a)
    b.reply(200, to="PRACK")
    prack(a)
    assert a.last.what == "481 PRACK", "acknowledged already"
    b.reply(200)
    a.ack()
    ends(world, a, b)


def test_a_refused_prack_is_refused_to_the_caller(world: World) -> None:
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    prack(a)
    b.reply(481, to="PRACK")
    assert a.last.what == "481 PRACK"
    a.cancel()
    b.reply(200, to="CANCEL")
    b.reply(487)
    a.acknowledge(a.find("487 INVITE"))
    world.end()


# --- offers and answers


def test_an_offer_in_a_prack(world: World) -> None:
    """§5: once the first are done, a PRACK may bring another, answered in its 2xx."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    prack(a, HOLD)
    assert (b.last.what, b.last.body) == ("PRACK", HOLD)
    b.reply(200, OTHER, to="PRACK")
    assert (a.last.what, a.last.body) == ("200 PRACK", OTHER)
    b.reply(200)
    a.ack()
    assert a.last.body == ""
    assert descriptions(world) == {0: (OTHER, HOLD), 1: (HOLD, OTHER)}
    ends(world, a, b)


def test_an_update_before_the_answer(world: World) -> None:
    """RFC 3311: in a dialog in which both have agreed already, either may change it."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    prack(a)
    b.reply(200, to="PRACK")
    a.send("UPDATE", HOLD, a.contact)
    assert (b.last.what, b.last.body) == ("UPDATE", HOLD)
    b.reply(200, OTHER, to="UPDATE")
    assert a.last.body == OTHER
    b.send("UPDATE", SDP, b.contact)
    assert (a.last.what, a.last.body) == ("UPDATE", SDP)
    a.reply(200, HOLD, to="UPDATE")
    assert b.last.body == HOLD
    b.reply(200, extra=UPDATES)
    a.ack()
    assert descriptions(world) == {0: (SDP, HOLD), 1: (HOLD, SDP)}
    ends(world, a, b)


def test_an_offer_of_the_callee(world: World) -> None:
    """The INVITE had none: the callee's is in its reliable response, the answer in the PRACK."""
    a, b = placed(world, body="")
    b.reply(183, SDP, reliably(5))
    assert a.last.body == SDP
    prack(a, ANSWER)
    assert (b.last.what, b.last.body) == ("PRACK", ANSWER)
    b.reply(200, to="PRACK")
    b.reply(200)
    assert (a.last.what, a.last.body) == ("200 INVITE", "")
    assert (b.last.what, b.last.body) == ("ACK", "")
    a.ack()
    assert descriptions(world) == {0: (SDP, ANSWER), 1: (ANSWER, SDP)}
    ends(world, a, b)


def test_who_cannot_answer_it_has_nobody_make_one(world: World) -> None:
    """A caller without PRACK could not answer an offer that comes before the 2xx."""
    a, b = placed(world, "", body="")
    assert "100rel" not in b.last["supported"]
    b.reply(180)
    b.reply(200, SDP)
    a.ack(ANSWER)
    assert b.last.body == ANSWER
    ends(world, a, b)


def test_the_answer_waits_for_the_prack(world: World) -> None:
    """§3: a 2xx goes out once the caller has what was described."""
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    assert "rseq" in a.last
    b.reply(200, ANSWER)
    assert a.count("200 INVITE") == 0
    prack(a)
    assert a.what[-2:] == ["200 PRACK", "200 INVITE"]
    assert a.last.body == "", "it has this answer"
    assert b.last.what == "ACK"
    a.ack()
    ends(world, a, b)


def test_the_caller_gives_up_meanwhile(world: World) -> None:
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    b.reply(200, ANSWER)
    a.cancel()
    assert a.last.what == "487 INVITE"
    a.acknowledge(a.last)
    assert b.what[-2:] == ["ACK", "BYE"], "no CANCEL of what is answered"
    b.reply(200, ANSWER)
    assert b.last.what == "ACK"
    b.reply(200, to="BYE")
    world.end()
    assert world.told()[-1] == "CallEnded 0"


def test_no_prack_of_what_an_answer_waits_for(patient: World) -> None:
    world = patient
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    b.reply(200, ANSWER)
    world.run(33)
    assert a.find("504 INVITE")
    a.acknowledge(a.find("504 INVITE"))
    assert b.what[:3] == ["INVITE", "ACK", "BYE"]
    b.reply(200, to="BYE")
    world.end()


# --- one side knows them


def test_only_the_callee_does(world: World) -> None:
    a, b = placed(world, "")
    b.reply(183, ANSWER, reliably(5))
    assert "rseq" not in a.last
    assert a.last.body == ANSWER
    assert (b.last.what, b.last["rack"]) == ("PRACK", "5 1 INVITE")
    b.reply(200, to="PRACK")
    b.reply(200)
    assert (a.last.what, a.last.body) == ("200 INVITE", ANSWER), "as it was acknowledged"
    assert a.last["content-type"] == "application/sdp"
    a.ack()
    assert descriptions(world) == {0: (ANSWER, SDP), 1: (SDP, ANSWER)}
    ends(world, a, b)


def test_only_the_caller_does(world: World) -> None:
    a, b = placed(world)
    b.reply(183, ANSWER)
    assert "rseq" not in a.last, "it may come so, as the callee's did"
    b.reply(200, ANSWER)
    assert a.last.body == ANSWER
    a.ack()
    ends(world, a, b)


def test_the_caller_insists(world: World) -> None:
    a, b = placed(world, REQUIRED)
    assert "require" not in b.last, "it need not be so at the other end"
    b.reply(180)
    assert "rseq" in a.last
    prack(a)
    assert a.last.what == "200 PRACK"
    assert b.last.what == "INVITE"
    b.reply(200, ANSWER)
    assert a.last.body == ANSWER
    a.ack()
    ends(world, a, b)


def test_another_answer_than_it_has_acknowledged(world: World) -> None:
    """Of a callee for whom its first was no answer yet: it is one of another dialog then."""
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    early = a.last.tag("to")
    prack(a)
    b.reply(200, OTHER)
    assert a.last.body == OTHER
    assert a.last.tag("to") != early
    a.ack()
    ends(world, a, b)


def test_an_offer_in_a_prack_that_nobody_could_answer(world: World) -> None:
    a, b = placed(world, REQUIRED)
    b.reply(183, ANSWER)
    prack(a, HOLD)
    assert a.last.what == "488 PRACK"
    b.reply(200, ANSWER)
    a.ack()
    ends(world, a, b)


def test_an_update_that_the_other_could_not_take(world: World) -> None:
    """The callee has agreed, the caller has not been told reliably: it takes no offer yet."""
    a, b = placed(world, UPDATES)
    b.reply(183, ANSWER, reliably(5))
    b.reply(200, to="PRACK")
    b.send("UPDATE", OTHER, b.contact)
    assert b.last.what == "491 UPDATE"
    assert a.what == ["183 INVITE"]
    b.reply(200)
    a.ack()
    ends(world, a, b)


def test_an_rseq_of_an_unreliable_one(world: World) -> None:
    """Without Require there is nothing to acknowledge; nor if the number is none."""
    a, b = placed(world)
    b.reply(180, "", "RSeq: 5\r\n")
    b.reply(180, "", "Require: 100rel\r\nRSeq: 0\r\n")
    b.reply(180, "", "Require: 100rel\r\nRSeq: x\r\n")
    b.reply(180, "", "Require: 100rel\r\nRSeq: 4294967295\r\n")
    assert b.what == ["INVITE"]
    assert not any("rseq" in m for m in a.received)
    b.reply(200, ANSWER)
    a.ack()
    ends(world, a, b)


# --- late, lost, and several


def test_a_prack_after_the_answer(world: World) -> None:
    """§3: a response without a description does not hold the 2xx; its PRACK may come later."""
    a, b = placed(world)
    b.reply(180, "", reliably(5))
    ringing = a.last
    b.reply(200, ANSWER)
    assert a.last.what == "200 INVITE"
    prack(a, of=ringing)
    assert a.last.what == "200 PRACK"
    a.ack()
    prack(a, of=ringing)
    assert a.last.what == "481 PRACK"
    world.run(5)
    assert a.count("180 INVITE") == 1
    ends(world, a, b)


def test_a_failure_ends_it(world: World) -> None:
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(5))
    b.reply(486)
    assert a.last.what == "486 INVITE"
    prack(a)
    a.acknowledge(a.find("486 INVITE"))
    world.run(10)
    assert a.count("183 INVITE") == 1
    world.end()


def test_forks_that_are_acknowledged_each(world: World) -> None:
    """§4: each of those behind a proxy has responses of its own, and the caller a dialog with
    each; the one that answers has the call."""
    a, b = placed(world)
    one, two = "Contact: <sip:one@10.2.0.1>\r\n", "Contact: <sip:two@10.2.0.1>\r\n"
    b.reply(183, ANSWER, reliably(5), tag="one", contact=one)
    first = a.last
    b.reply(183, OTHER, reliably(90), tag="two", contact=two)
    prack(a, of=first)
    assert (b.last.uri, b.last.tag("to"), b.last["rack"]) == (
        "sip:one@10.2.0.1",
        "one",
        "5 1 INVITE",
    )
    b.reply(200, to="PRACK")
    second = a.find("183 INVITE")
    assert second.body == OTHER
    assert second.tag("to") != first.tag("to")
    a.cseq, a.remote = 1, second["to"]
    prack(a, of=second)
    assert (b.last.uri, b.last.tag("to"), b.last.cseq) == ("sip:two@10.2.0.1", "two", 2)
    b.reply(200, to="PRACK")
    assert a.last.what == "200 PRACK"
    b.reply(200, "", tag="one", contact=one)
    assert a.last.tag("to") == first.tag("to")
    assert (b.last.what, b.last.uri, b.last.tag("to")) == ("ACK", "sip:one@10.2.0.1", "one")
    a.ack()
    b.reply(200, "", tag="two", contact=two)
    assert [m.what for m in b.received[-2:]] == ["ACK", "BYE"]
    assert b.last.tag("to") == "two"
    b.reply(200, to="BYE")
    a.send("INFO")
    assert b.last.uri == "sip:one@10.2.0.1"
    b.reply(200, to="INFO")
    ends(world, a, b)


def test_a_group_of_which_each_rings_reliably(world: World) -> None:
    """The media of several cannot be heard at once, but each wants its PRACK."""
    for number in ("1001", "1002"):
        world.phone(number, f"10.9.0.{number[-1]}")
    caller, _ = parties(world)
    a = caller.call("600", extra=SUPPORTED)
    one, two = (world.agents[f"10.9.0.{n}", 5060].line for n in "12")
    one.reply(183, ANSWER, reliably(5))
    two.reply(183, OTHER, reliably(6))
    assert one.last["rack"] == "5 1 INVITE"
    assert two.last["rack"] == "6 1 INVITE"
    for line in (one, two):
        line.reply(200, to="PRACK")
    assert not any(m.body for m in a.received)
    prack(a, of=a.received[0])
    two.reply(200)
    assert a.find("200 INVITE").body == OTHER
    a.ack()
    assert one.last.what == "CANCEL"
    one.reply(200, to="CANCEL")
    one.reply(487)
    ends(world, a, two)


def test_a_transferred_one_is_rung_reliably(world: World) -> None:
    """Whoever waits in a talk that is over knows nothing of it: the switch acknowledges."""
    for number in ("1001", "1002", "1003"):
        world.phone(number, f"10.9.0.{number[-1]}")
    one, two, three = (world.agents[f"10.9.0.{n}", 5060] for n in "123")
    a = one.call("1002")
    b = two.line
    b.reply(200, ANSWER)
    a.ack()
    b.send("REFER", "", f"{b.contact}Refer-To: <sip:1003@10.0.0.1>\r\n")
    c = three.line
    c.reply(183, OTHER, reliably(5))
    assert c.last["rack"] == "5 1 INVITE"
    c.reply(200, to="PRACK")
    c.reply(200)
    assert c.last.what == "ACK"
    assert a.last.what == "INVITE"
    assert "50002" in a.last.body, "what it has answered reliably"
    a.reply(200, HOLD)
    world.run(1)
    a.bye()
    c.reply(200, to="BYE")
    world.end(busy=True)


def waiting(world: World) -> int:
    early = next(iter(world.switch.calls)).early
    assert early is not None
    assert early.provisionals is not None
    return len(early.provisionals._waiting)


def test_numbers_never_end(world: World) -> None:
    """A callee that rings without end costs no more than a few that wait."""
    a, b = placed(world)
    b.reply(183, ANSWER, reliably(1))
    for number in range(2, 60):
        b.reply(180, "", reliably(number))
    assert waiting(world) == 16
    a.cancel()
    b.reply(200, to="CANCEL")
    b.reply(487)
    a.acknowledge(a.find("487 INVITE"))
    world.end()


# --- who may not


def test_a_trunk_that_does_it_wrongly_is_not_asked(tmp_path: Path) -> None:
    for name in ("pstn", "caller"):
        config = CONFIG.replace(f"  {name}: {{", f"  {name}: {{prack: false, ")
        world = World(tmp_path, config=config)
        a, b = placed(world)
        assert ("100rel" in b.last["supported"]) == (name == "caller")
        b.reply(183, ANSWER, reliably(5))
        assert ("rseq" in a.last) == (name == "pstn"), "what it does unasked is taken all the same"
        if name == "pstn":
            prack(a)
        b.reply(200, to="PRACK")
        b.reply(200)
        a.ack()
        ends(world, a, b)


def test_a_phone_that_does_it_wrongly_is_not_asked(tmp_path: Path) -> None:
    config = CONFIG.replace("password: b}", "password: b, prack: false}")
    world = World(tmp_path, config=config)
    phone = world.phone("1002", "10.9.0.2")
    caller, _ = parties(world)
    a = caller.call("1002", extra=SUPPORTED)
    assert "100rel" not in phone.line.last["supported"]
    phone.line.reply(200, ANSWER)
    a.ack()
    ends(world, a, phone.line)


def test_the_second_of_two_forks_answers(world: World) -> None:
    """What it has agreed on counts, and its own order of requests."""
    a, b = placed(world)
    one, two = "Contact: <sip:one@10.2.0.1>\r\n", "Contact: <sip:two@10.2.0.1>\r\n"
    b.reply(183, ANSWER, reliably(5), tag="one", contact=one)
    first = a.last
    b.reply(183, OTHER, reliably(90), tag="two", contact=two)
    prack(a, of=first)
    b.reply(200, to="PRACK")
    second = a.find("183 INVITE")
    a.cseq, a.remote = 1, second["to"]
    prack(a, of=second)
    b.reply(200, to="PRACK")
    b.reply(200, "", tag="two", contact=two)
    assert (a.last.what, a.last.body) == ("200 INVITE", "")
    assert a.last.tag("to") == second.tag("to")
    a.ack()
    assert descriptions(world) == {0: (OTHER, SDP), 1: (SDP, OTHER)}
    a.send("INFO")
    assert (b.last.uri, b.last.tag("to"), b.last.cseq) == ("sip:two@10.2.0.1", "two", 3)
    b.reply(200, to="INFO")
    ends(world, a, b)


def test_forks_without_end(tmp_path: Path) -> None:
    """Beyond the limit they may ring, but are not told apart; one of them may have the call."""
    config = f"{CONFIG}limits: {{max_early_dialogs: 3}}\n"
    world = World(tmp_path, config=config)
    a, b = placed(world, "")
    for number in range(50):
        b.reply(183, ANSWER, reliably(5), tag=f"fork{number}")
    assert b.count("PRACK") == 4, "the first, and as many as may be"
    assert a.count("183 INVITE") == 3
    for message in [m for m in b.received if m.what == "PRACK"]:
        b.reply(200, to=message)
    b.reply(200, OTHER, tag="fork49")
    assert a.find("200 INVITE").body == OTHER
    a.ack()
    ends(world, a, b)
