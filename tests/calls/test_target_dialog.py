"""REFER outside of a dialog, about one (RFC 4538)."""

from __future__ import annotations

import pytest

from calls.call_world import Agent, Line, Message, World
from calls.transfers import CAROL, phones, talk, talks
from softswitch import events
from softswitch.sip.digest import answer


def target(line: Line) -> str:
    """The dialog of a line as its own side sees it."""
    local, remote = (text.partition(";tag=")[2] for text in (line.local, line.remote))
    return f"Target-Dialog: {line.call_id};local-tag={local};remote-tag={remote}\r\n"


def refer(agent: Agent, lines: str, to: str = "1003") -> Message:
    """Sent with credentials once it is challenged; the last answer to it."""
    uri = "sip:10.0.0.1"
    lines = (
        f"Contact: {agent.contact}\r\nRefer-To: <sip:{to}@10.0.0.1>\r\nRequire: tdialog\r\n{lines}"
    )
    first = agent.request("REFER", lines, uri)
    if first.status != 401:
        return first
    value = answer(
        first["www-authenticate"], "REFER", uri, agent.name, agent.password or "wrong", "cn"
    )
    count = len(agent.inbox)
    agent.request("REFER", f"{lines}Authorization: {value}\r\n", uri)
    return next(m for m in agent.inbox[count:] if m.method == "REFER")


def notes(agent: Agent) -> list[str]:
    """What the NOTIFYs outside of its calls have said; the newest is answered."""
    calls = {line.call_id for line in agent.lines}
    found = [m for m in agent.inbox if m.what == "NOTIFY" and m["call-id"] not in calls]
    if found:
        Line(agent, found[-1]["call-id"]).reply(200, to=found[-1])
    return [m.body.strip().removeprefix("SIP/2.0 ") for m in found]


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_transferred(world: World, by: str) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    who, mine, kept = (alice, a, b) if by == "caller" else (bob, b, a)
    accepted = refer(who, target(mine))
    assert accepted.what == "202 REFER"
    assert ";tag=" in accepted["to"]
    assert notes(who) == ["100 Trying"]
    first = next(m for m in who.inbox if m.what == "NOTIFY")
    assert first["event"] == "refer"
    assert first.tag("from") == accepted.tag("to")
    assert first["call-id"] == accepted["call-id"]
    c = carol.line
    c.reply(180)
    assert notes(who)[1:] == ["180 Whatever"]
    c.reply(200, CAROL)
    assert kept.last.what == "INVITE"
    kept.reply(200)
    assert notes(who)[2:] == ["200 OK"]
    last = [m for m in who.inbox if m.what == "NOTIFY"][-1]
    assert last["subscription-state"].startswith("terminated")
    mine.bye()
    world.run(5)
    kept.bye()
    c.reply(200, to="BYE")
    world.end()
    party = "extension:1001" if by == "caller" else "extension:1002"
    assert talks(world)[1][1:] == ("blind-transfer", party)
    assert [e.status for e in world.of(events.LegReferred)] == [0, 200]


def test_who_has_hung_up_is_told_all_the_same(world: World) -> None:
    """Its dialog is another one."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(alice, target(a))
    notes(alice)
    a.bye()
    carol.line.reply(200, CAROL)
    b.reply(200)
    assert notes(alice)[-1] == "200 OK"
    b.bye()
    carol.line.reply(200, to="BYE")
    world.end()


def test_what_has_no_subscription_is_not_told(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    accepted = refer(alice, f"{target(a)}Refer-Sub: false\r\n")
    assert accepted["refer-sub"] == "false"
    carol.line.reply(486)
    assert notes(alice) == []
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_not_by_others(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    assert refer(carol, target(a)).start == "SIP/2.0 403 Not Your Dialog"
    # Nor by the other one, who knows its own dialog alone.
    assert refer(bob, target(a)).status == 403
    stranger = world.agent("10.7.7.7", "1001")
    stranger.password = "guessed"
    assert refer(stranger, target(a)).status == 401
    assert not carol.lines
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_a_dialog_that_there_is_not(world: World) -> None:
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    assert refer(alice, target(a).replace("remote-tag=", "remote-tag=x")).status == 481
    assert refer(alice, target(a).replace("local-tag=", "local-tag=x")).status == 481
    assert refer(alice, target(a).replace(a.call_id, "other")).status == 481
    known = target(a)
    a.bye()
    b.reply(200, to="BYE")
    assert refer(alice, known).status == 481
    world.end()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Target-Dialog: x\r\n", 400),
        ("Target-Dialog: x;local-tag=1\r\n", 400),
        ("Target-Dialog: x;local-tag=1;remote-tag=2\r\n" * 2, 400),
        ("Target-Dialog: x;local-tag=1;local-tag=1;remote-tag=2\r\n", 400),
        ("", 405),
    ],
)
def test_what_cannot_be_read(world: World, lines: str, status: int) -> None:
    alice, _, _ = phones(world)
    assert refer(alice, lines).status == status
    world.end()


def test_two_that_are_asked_at_once(world: World) -> None:
    """One transfer at a time, whichever way it is asked for."""
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    assert refer(alice, target(a)).status == 202
    assert refer(alice, target(a)).status in (481, 491)
    carol.line.reply(486)
    a.bye()
    b.reply(200, to="BYE")
    world.end()
