"""Callers and phones that share no codec: a media worker between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.bridges import RECORDED, Call, Phone, Studio, direct, facts, phone
from calls.call_world import CONFIG, PLAN, World
from calls.test_anchored import end
from calls.transfers import port, refer
from softswitch import events
from softswitch.media.pool import COMES_WITHIN

CODES = 'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
CODECS = PLAN + (
    '  - {match: "61X", from: any, dial: {order: ["1002", "1003"]}, timeout: 10, '
    'else: {dial: "1004", timeout: 10}}\n'
)


@pytest.fixture
def mixed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    yield World(tmp_path, CONFIG, CODECS)
    raised = [record for record in caplog.records if record.exc_info]
    assert not raised, [record.getMessage() for record in raised]


def gsm(one: Phone) -> Phone:
    """It knows nothing but GSM."""
    one.own = one.own.replace("RTP/AVP 0 101", "RTP/AVP 3").replace("0 PCMU", "3 GSM")
    return one


def refuses(line: Call, status: int = 488) -> None:
    """An INVITE that it is called by."""
    line.reply(status)
    line.agent.world.settle()


def rings(line: Call, body: str = "", extra: str = "") -> None:
    line.reply(183 if body else 180, body, extra, contact=line.contact)
    line.agent.world.settle()


@pytest.mark.parametrize("status", [415, 488, 606])
@pytest.mark.parametrize("early", [True, False])
def test_no_codec_in_common(mixed: World, status: int, early: bool) -> None:
    world = mixed
    studio = Studio(world)
    alice, bob = phone(world, "1001"), gsm(phone(world, "1002"))
    a = alice.dials("1002")
    b = bob.line
    refuses(b, status)
    assert len(b.received) == 3
    again = b.find("INVITE")
    assert "m=audio" in again.body
    assert " 3 " in again.body
    assert again.cseq == 2
    assert not a.over
    if early:
        rings(b, b.own)
        assert a.last.what == "183 INVITE"
        a.told, b.told = a.last.body, again.body
        assert studio.is_between(a, b), "it hears it already"
        assert [type(order).__name__ for order in studio.orders].count("Join") == 2
    b.picks_up()
    world.run(0.3)
    assert studio.is_between(a, b)
    (answered,) = world.of(events.LegAnswered)
    assert (answered.leg, answered.codec) == (2, "GSM/8000")
    assert [(e.leg, e.status) for e in world.of(events.LegEnded)] == [(1, status)]
    was = b.own
    b.says(was + "a=sendonly\r\n")
    b.says(was)
    assert studio.is_between(a, b)
    assert (
        len(
            {
                m.body.partition("o=")[2].rpartition(" IN ")[0].split()[1]
                for m in b.received
                if m.body
            }
        )
        == 1
    ), "one origin"
    b.hangs_up()
    assert a.over
    end(world, studio)
    assert world.ended.disposition == "answered"


@pytest.mark.parametrize("when", ["answered", "settling"])
@pytest.mark.parametrize(
    "then", ["another port", "the same", "hangs up", "the worker dies", "busy"]
)
def test_heard_before_it_answers(mixed: World, then: str, when: str) -> None:
    """By way of the worker; with its answer it may say something else, even before the worker has
    taken the first. `when`: whether it has."""
    world = mixed
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    a = alice.dials("610" if then == "busy" else "1002")
    b = bob.line
    refuses(b)
    studio.again += [] if when == "answered" else [0]
    rings(b, b.own)
    a.told = a.last.body
    if then == "busy":
        b.reply(486)
        world.settle()
        c = carol.line
        refuses(c)
        rings(c, c.own)
        assert (a.last.body == a.told) == (when == "answered"), (
            "the worker is not ready for another"
        )
        c.picks_up()
        if when == "settling":
            waits = next(line for line in studio.of.values() if line.waits is not None)
            waits.accepts(waits.waits)
            world.settle()
        world.run(0.3)
        assert studio.is_between(a, c)
        a.hangs_up()
    elif then == "hangs up":
        a.cancel()
    elif then == "the worker dies":
        studio.vanishes()
        b.picks_up()
    else:
        if then == "another port":
            b.own = b.own.replace(f"m=audio {port(b.own)}", f"m=audio {port(b.own) + 10}")
        b.picks_up()
        if when == "settling":
            waits = next(line for line in studio.of.values() if line.waits is not None)
            waits.accepts(waits.waits)
            world.settle()
        world.run(0.3)
        assert studio.is_between(a, b)
        a.hangs_up()
    world.run(40)
    assert a.over
    end(world, studio)


@pytest.mark.parametrize("when", ["at once", "late", "asks"])
def test_no_worker(mixed: World, when: str) -> None:
    """The phone's answer is the caller's; the route goes on."""
    world = mixed
    studio = Studio(world, ready=when == "asks")
    if when == "at once":
        studio.pool.close()
    elif when == "asks":
        studio.answers = [200, 503]
    alice, bob = phone(world, "1001"), gsm(phone(world, "1002"))
    a = alice.dials("1002")
    refuses(bob.line)
    if when == "late":
        world.run(3)
        assert not a.over
        world.run(3)
    world.settle()
    assert a.over == 488
    end(world, studio)
    assert world.ended.sip_status == 488
    assert [e.leg for e in world.of(events.LegInvited)] == [1]


def test_the_stage_is_over_before_there_is_a_worker(mixed: World) -> None:
    world = mixed
    studio = Studio(world, ready=False)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    dave = phone(world, "1004")
    a = alice.dials("610")
    refuses(bob.line)
    world.run(4)
    a.cancel()
    world.run(1)
    assert a.over == 487
    studio.ready()
    world.run(10)
    assert not carol.lines
    assert not dave.lines
    end(world, studio)


@pytest.mark.parametrize("then", ["answers", "refuses", "busy", "silent", "cancelled", "no answer"])
@pytest.mark.parametrize("number", ["1002", "610"])
def test_after_another_offer(mixed: World, then: str, number: str) -> None:
    world = mixed
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    dave = phone(world, "1004")
    a = alice.dials(number)
    b = bob.line
    refuses(b)
    if then != "silent":
        rings(b)
    follows = 488
    if then == "answers":
        b.picks_up()
    elif then == "refuses":
        refuses(b)
    elif then == "busy":
        refuses(b, 486)
        follows = 486
    elif then == "silent":
        world.dead.add(bob.address)
        world.run(6)
        follows = 480
    elif then == "cancelled":
        a.cancel()
    else:
        world.run(21 if number == "1002" else 11)
        follows = 480
    world.run(0.5)
    if then == "answers":
        assert studio.is_between(a, b)
        a.hangs_up()
    elif then == "cancelled":
        assert a.over == 487
        assert b.over == 487
    elif number == "1002":
        assert a.over == follows
    else:
        refuses(carol.line)
        carol.line.picks_up()
        world.run(0.5)
        assert studio.is_between(a, carol.line)
        assert not dave.lines
        a.hangs_up()
    world.dead.clear()
    end(world, studio)


@pytest.mark.parametrize("first", ["mixed", "plain"])
@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_group(mixed: World, first: str, all_of_them: bool) -> None:
    """All refuse, or one of two: whoever picks up has it."""
    world = mixed
    studio = Studio(world)
    alice, dave = phone(world, "1004"), phone(world, "1001")
    bob = phone(world, "1002")
    a = alice.dials("600")
    b, d = bob.line, dave.line
    if not all_of_them:
        rings(b)
    refuses(d)
    if all_of_them:
        refuses(b)
        rings(b)
    picked, other = (d, b) if first == "mixed" else (b, d)
    rings(d)
    picked.picks_up()
    world.run(0.3)
    assert other.over == 487
    if first == "mixed" or all_of_them:
        assert studio.is_between(a, picked)
    else:
        assert direct(a, picked)
        assert not studio.pool.busy
    a.hangs_up()
    end(world, studio)


@pytest.mark.parametrize(
    ("when", "another"),
    [
        ("before", False),
        ("ringing", False),
        *((when, another) for when in ("answered", "settling") for another in (True, False)),
    ],
)
@pytest.mark.parametrize("number", ["1002", "610"])
def test_the_worker_dies(mixed: World, when: str, another: bool, number: str) -> None:
    world = mixed
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    if when == "before":
        studio.answers = [0, 0]
    elif when == "settling":
        studio.again.append(0)
    a = alice.dials(number)
    b = bob.line
    refuses(b)
    if when == "ringing":
        rings(b)
    if when in ("answered", "settling"):
        b.picks_up()
        world.run(0.3)
        if another:
            # They go on by way of that, and of one after it.
            for _ in range(2):
                bob.refuses += [488]
                studio.vanishes()
                world.run(0.3)
                studio.looks_ahead()
                world.run(2)
                assert studio.is_between(a, b)
            a.hangs_up()
            end(world, studio)
            return
        bob.refuses += [488] * 5
        studio.vanishes()
        world.run(0.3)
        world.run(COMES_WITHIN)
        assert a.over
        assert b.over
        end(world, studio)
        assert world.ended.hangup_by == "switch"
        return
    studio.vanishes()
    if when == "ringing":
        b.picks_up()
        world.settle()
        assert b.over
    world.run(0.5)
    if number == "610":
        carol.line.picks_up()
        world.run(0.3)
        assert direct(a, carol.line)
        a.hangs_up()
    else:
        assert a.over == (488 if when == "before" else 500)
    end(world, studio)


@pytest.mark.parametrize("when", ["waits", "asks", "rings", "answered", "settling"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_hung_up(mixed: World, when: str, who: str) -> None:
    world = mixed
    studio = Studio(world, ready=when != "waits")
    if when == "asks":
        studio.answers = [0, 0]
    elif when == "settling":
        studio.again.append(0)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a = alice.dials("1002")
    b = bob.line
    refuses(b)
    if when in ("answered", "settling"):
        b.picks_up()
        world.settle()
        (a if who == "caller" else b).hangs_up()
    else:
        if when == "rings":
            rings(b)
        a.cancel()
    world.run(0.2)
    assert a.over
    if when == "waits":
        studio.ready()
    world.run(1)
    assert len(b.received) == 2 or b.over
    end(world, studio)


def test_with_prack(mixed: World) -> None:
    """A reliable response of one that is mixed, and of one that is not."""
    world = mixed
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a = alice.dials("1002", extra="Supported: 100rel\r\n")
    b = bob.line
    refuses(b)
    b.reply(183, b.own, "Require: 100rel\r\nRSeq: 1\r\n", contact=b.contact)
    world.settle()
    shown = a.find("183 INVITE")
    a.told = shown.body
    assert a.hears == port(studio.calls()[-2].own)
    a.send("PRACK", extra=f"RAck: {shown['rseq']} {shown['cseq']}\r\n")
    world.settle()
    assert b.last.what == "PRACK"
    b.reply(200, to="PRACK")
    b.picks_up(b.own)
    world.run(0.5)
    assert a.count("200 PRACK") == 1
    assert studio.is_between(a, b)
    a.hangs_up()
    end(world, studio)


@pytest.mark.parametrize("gives_up", [True, False])
def test_the_answer_waits_for_a_prack(mixed: World, gives_up: bool) -> None:
    """Of what another one has described, who rang before."""
    world = mixed
    studio = Studio(world)
    dave, bob, alice = phone(world, "1004"), phone(world, "1002"), phone(world, "1001")
    d = dave.dials("601", extra="Supported: 100rel\r\n")
    a = alice.line
    a.reply(183, a.own, "Require: 100rel\r\nRSeq: 1\r\n", contact=a.contact)
    world.run(11)
    b = bob.line
    refuses(b)
    b.picks_up()
    assert d.last.what == "183 INVITE"
    if gives_up:
        d.cancel()
        world.run(1)
        assert d.over == 487
        assert b.over
    else:
        shown = d.last
        d.send("PRACK", extra=f"RAck: {shown['rseq']} {shown['cseq']}\r\n")
        world.settle()
        if a.last.what == "PRACK":
            a.reply(200, to="PRACK")
        world.run(1)
        assert studio.is_between(d, b)
        d.hangs_up()
    a.agent.world.run(40)
    end(world, studio)


@pytest.mark.parametrize("outcome", ["busy", "answered"])
def test_transferred(mixed: World, outcome: str) -> None:
    """Back to whom it has talked with by way of a worker: by way of one again."""
    world = mixed
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    a = alice.dials("1002")
    b = bob.line
    refuses(b)
    b.picks_up()
    world.run(0.3)
    refer(b, "1003")
    world.settle()
    c = carol.line
    if outcome == "busy":
        bob.refuses += [488]
        c.reply(486)
        world.run(1)
        assert studio.is_between(a, b)
    else:
        c.picks_up()
        world.run(1)
        assert direct(a, c)
        b.hangs_up()
    a.hangs_up()
    world.run(1)
    end(world, studio)
    assert not world.of(events.RecordingTold)


@pytest.mark.parametrize("takes", ["with a worker", "nothing"])
@pytest.mark.parametrize("another", [True, False])
def test_transferred_to_one_without_a_codec_in_common(
    mixed: World, takes: str, another: bool
) -> None:
    """It is rung without an offer then, and what it offers the other refuses."""
    world = mixed
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    a = alice.dials("1002")
    b = bob.line
    b.picks_up()
    refer(b, "1003")
    world.settle()
    refuses(carol.line)
    c = carol.line
    assert not c.find("INVITE").body
    alice.refuses += [488] * (1 if takes == "with a worker" else 9)
    if not another:
        studio.answers = [486]
    c.picks_up()
    world.run(3)
    if takes == "with a worker" and another:
        assert studio.is_between(a, c)
        b.hangs_up()
        c.says()
        world.run(0.3)
        assert studio.is_between(a, c)
        a.hangs_up()
    world.run(3)
    assert a.over
    assert c.over
    b.hangs_up()
    end(world, studio)
    assert world.ended.hangup_by == ("caller" if takes == "with a worker" and another else "switch")


@pytest.mark.parametrize("takes", ["with a worker", "nothing"])
@pytest.mark.parametrize("then", ["back", "complete"])
def test_one_without_a_codec_in_common_is_consulted(tmp_path: Path, takes: str, then: str) -> None:
    world = World(tmp_path, CONFIG + CODES, CODECS)
    studio = Studio(world)
    alice, bob, carol = phone(world, "1001"), phone(world, "1002"), phone(world, "1003")
    a = alice.dials("1002")
    b = bob.line
    b.picks_up()
    b.digits("*21003#")
    world.run(0.3)
    refuses(carol.line)
    c = carol.line
    bob.refuses += [500] * (1 if takes == "with a worker" else 2)
    if takes == "nothing":
        carol.refuses += [488] * 9
    c.picks_up()
    world.run(3)
    if takes == "nothing":
        assert c.over
        assert direct(a, b)
    else:
        assert studio.is_between(b, c)
        b.digits("*1" if then == "back" else "*3")
        world.run(3)
        assert direct(a, b if then == "back" else c)
        assert (c if then == "back" else b).over
    a.hangs_up()
    end(world, studio)


def test_late_offer(mixed: World) -> None:
    """Who offers nothing is not spoken for."""
    world = mixed
    studio = Studio(world)
    alice, bob = phone(world, "1001"), phone(world, "1002")
    a = alice.dials("1002", body="")
    refuses(bob.line)
    world.settle()
    assert a.over == 488
    end(world, studio)


@pytest.mark.parametrize("number", ["85550100", "95550100"])
def test_a_carrier(mixed: World, number: str) -> None:
    """It is asked once more, before any other one."""
    world = mixed
    studio = Studio(world)
    alice = phone(world, "1001")
    pstn, backup = world.agent("10.2.0.1", "pstn"), world.agent("10.3.0.1", "backup")
    a = alice.dials(number)
    refuses_plain = pstn.line
    refuses_plain.reply(488)
    world.settle()
    assert pstn.line.count("INVITE") == 2
    assert world.switch.trunks.calls("pstn") == 1
    pstn.line.reply(503)
    world.settle()
    if number[0] == "9":
        backup.line.reply(488)
        world.settle()
        backup.line.reply(200, a.own)
        world.run(0.5)
        assert a.up
        a.hangs_up()
        backup.line.reply(200, to="BYE")
    else:
        assert a.over == 500
    end(world, studio)
    assert all(not world.switch.trunks.calls(name) for name in ("pstn", "backup"))


@pytest.mark.parametrize("by", ["extension", "code"])
def test_recorded_as_well(tmp_path: Path, by: str) -> None:
    world = World(tmp_path, RECORDED, CODECS)
    studio = Studio(world)
    alice = phone(world, "1001")
    callee = phone(world, "1002" if by == "extension" else "1003")
    a = alice.dials(callee.name)
    b = callee.line
    refuses(b)
    b.picks_up()
    world.run(0.5)
    assert studio.is_between(a, b)
    if by == "code":
        assert not world.of(events.RecordingTold)
        b.digits("*6")
        b.digits("*5")
        world.run(0.3)
    assert studio.is_between(a, b)
    a.hangs_up()
    end(world, studio)
    assert facts(world, 1) == ["recording", "kept"]


def test_who_has_rung_is_not_rung_again(mixed: World) -> None:
    """A phone that refuses when somebody takes the call would ring a second time for that."""
    world = mixed
    studio = Studio(world)
    alice, bob = phone(world, "1001"), gsm(phone(world, "1002"))
    a = alice.dials("1002")
    b = bob.line
    rings(b)
    refuses(b)
    assert b.what.count("INVITE") == 1
    assert a.last.status == 488
    end(world, studio)
