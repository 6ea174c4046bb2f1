"""Ways round the limits of what calls may cost, and calls that they are not meant for."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, PLAN, Line, World
from calls.test_in_call_codes import CODES, press
from calls.test_toll import MINE, alarms, made, takes
from calls.transfers import BOB, attended, heard, phones, refer, talk
from softswitch.parties.toll import TollCount, numbers_of

CODED = CODES + "timers: {session_check: 0}\n"
HELP = PLAN + '  - {match: "112", from: any, dial: "trunk:pstn", emergency: true}\n'
MINUTES = "all: {match: '.', calls: 3, minutes: 10}"
AFTER = MINE.replace("session_check: 0", "session_check: 0, restart_check: 0")


def settle(*lines: Line) -> None:
    """They take whatever they are offered."""
    for _ in range(4):
        for one in lines:
            if one.last.what == "INVITE":
                one.reply(200, ANSWER)


def only_count(world: World) -> tuple[TollCount, int]:
    ((count, seconds),) = world.switch.toll_counts.counts()
    return count, round(seconds)


def test_colleagues_at_another_switch_after_the_limit(tmp_path: Path) -> None:
    world = made(tmp_path, "all: {match: '.', calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    assert takes(world, alice, "85550100")
    branch = world.agent("10.0.0.2", "branch")
    alice.call("2001")
    assert len(branch.lines) == 1
    branch.line.reply(486)
    world.end()


def test_help_that_is_called_by_a_transfer(tmp_path: Path) -> None:
    """It is not counted, and never ended."""
    world = World(tmp_path, MINE + "toll: {all: {match: '.', minutes: 1}}\n", HELP)
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    pstn = world.agent("10.2.0.1", "pstn")
    refer(b, "112")
    heard(b)
    settle(a, pstn.line)
    b.bye()
    settle(a, pstn.line)
    world.run(100)
    assert "BYE" not in pstn.line.what
    assert alarms(world) == []


def test_a_call_for_help_that_goes_elsewhere(tmp_path: Path) -> None:
    """Who was called for help transfers the caller to a carrier: that is a call like any other."""
    plan = PLAN.replace(
        "routes:\n", 'routes:\n  - {match: "1003", dial: extension, emergency: true}\n', 1
    )
    world = World(tmp_path, MINE + "toll: {all: {match: '.', calls: 1}}\n", plan)
    alice, _, carol = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    for _ in range(2):
        a, c = talk(alice, carol)
        refer(c, "85550100")
        heard(c)
        settle(a, *pstn.lines[-1:])
        c.bye()
        settle(a, *pstn.lines[-1:])
        world.run(10)
        if a.last.what != "BYE":
            a.bye()
        pstn.line.reply(200, to="BYE")
    assert len(pstn.lines) == 1


def test_a_carrier_that_redirects(tmp_path: Path) -> None:
    world = made(tmp_path, "premium: {match: '0900.', at_once: 1, calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    for _ in range(3):
        alice.call("85550100")
        pstn.line.reply(302, contact="Contact: <sip:0900123@10.2.0.1>\r\n")
        if "0900123" in (pstn.line.find("INVITE").uri):
            pstn.line.reply(486)
    uris = [line.find("INVITE").uri for line in pstn.lines]
    assert sum("0900123" in uri for uri in uris) == 1


@pytest.mark.parametrize(
    ("dialled", "numbers"),
    [
        ("123", ["123"]),
        ("0-0 49.(30)", ["0-0 49.(30)", "004930"]),
        ("5550100;npdi;rn=+49900123", ["5550100", "+49900123"]),
        ("5550100;npdi;RN=%2B49900123", ["5550100", "+49900123"]),
        ("123;phone-context=+49900", ["123", "+49900123"]),
        ("123;phone-context=example.com", ["123"]),
        (";", [""]),
    ],
)
def test_what_a_number_may_be_taken_for(dialled: str, numbers: list[str]) -> None:
    assert numbers_of(dialled) == numbers


def test_parameters_of_a_number(tmp_path: Path) -> None:
    world = made(tmp_path, "abroad: {match: ['+49.', '0900.'], calls: 1}")
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    for number in ("85550100;npdi;rn=+49900123", "8123;phone-context=+49900", "80-900-1") * 2:
        count = len(pstn.lines)
        alice.call(number)
        if len(pstn.lines) > count:
            pstn.line.reply(486)
    assert len(pstn.lines) == 1


def test_one_long_call(tmp_path: Path) -> None:
    """There is an alarm in time."""
    world = made(tmp_path, "all: {match: '.', minutes: 10, alarm: 0.5}")
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    line = alice.call("85550100")
    pstn.line.reply(200, ANSWER)
    line.ack()
    world.run(299)
    assert alarms(world) == []
    world.run(6)  # long timers fire a little late
    assert alarms(world) == [("1001", "minutes", 5, 10, False)]
    world.run(300)
    assert alarms(world)[1:] == [("1001", "minutes", 10, 10, True)]
    assert pstn.line.last.what == "BYE"


@pytest.mark.parametrize("rings", [0.0, 1.0])
def test_killed_as_it_is_answered(tmp_path: Path, rings: float) -> None:
    """Before a row of the journal says so, or has the call at all: the call says it itself."""
    world = made(tmp_path, MINUTES, journal=True, config=AFTER)
    config = AFTER + "toll:\n  " + MINUTES + "\n"
    alice = world.phone("1001", "10.9.0.1")
    pstn = world.agent("10.2.0.1", "pstn")
    line = alice.call("85550100")
    pstn.line.reply(180)
    world.run(rings)
    pstn.line.reply(200, ANSWER)
    line.ack()
    world.run(0.1)
    world.kill()
    world.start(config)
    world.run(300)
    count, seconds = only_count(world)
    assert (count.calls, seconds, len(count.up)) == (1, 300, 1)
    world.run(306)
    assert pstn.line.last.what == "BYE"


def test_an_attended_transfer(tmp_path: Path) -> None:
    """The call is part of another one then, and goes on costing; also after a restart."""
    world = made(tmp_path, MINUTES, journal=True, config=AFTER)
    alice, bob, _ = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    a, b1 = talk(alice, bob)
    world.run(2)
    b2 = bob.call("85550100")
    p = pstn.line
    p.reply(200, ANSWER)
    b2.ack()
    world.run(1)
    attended(b1, b2, to="85550100")
    heard(b1)
    settle(a, p)
    for one in (b1, b2):
        if one.last.what == "BYE":
            one.reply(200, to="BYE")
    world.run(100)
    count, seconds = only_count(world)
    assert (count.party, len(count.up)) == ("extension:1002", 1)
    assert 100 <= seconds <= 103
    world.restart(config=AFTER + "toll:\n  " + MINUTES + "\n")
    assert len(only_count(world)[0].up) == 1
    world.run(490)
    assert p.last.what != "BYE"
    world.run(10)
    assert p.last.what == "BYE"


def test_one_consultation_after_the_other(tmp_path: Path) -> None:
    """All of them within one call."""
    world = World(tmp_path, CODED + "toll: {premium: {match: '0900.', calls: 1, at_once: 1}}\n")
    alice, bob, _ = phones(world)
    pstn = world.agent("10.2.0.1", "pstn")
    a, b = talk(alice, bob)
    for number in range(3):
        world.run(2)
        press(a, f"*280900{number}#")
        if b.last.what == "INVITE":
            b.reply(200, BOB)
        if len(pstn.lines) <= number:
            break
        pstn.line.reply(200, ANSWER)
        settle(a, b, pstn.line)
        world.run(5)
        press(a, "*1")
        settle(a, b)
        if pstn.line.last.what == "BYE":
            pstn.line.reply(200, to="BYE")
        world.run(2)
    assert len(pstn.lines) == 1
