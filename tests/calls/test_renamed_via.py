"""A NAT, or a client that asks for its address anew, changes the sent-by of a Via: what belongs to
an INVITE is found by its branch, Call-ID, tags and CSeq."""

from __future__ import annotations

import pytest

from calls.call_world import ANSWER, HOLD, Agent, Line, World
from calls.test_answered import answered, parties

ELSEWHERE = "203.0.113.9:40000"


def renamed(line: Line, method: str, *, branch: str = "", to: str = "", cseq: int = 0) -> None:
    """A request of the INVITE's transaction, with a Via that a NAT has changed."""
    line.agent.send(
        f"{method} {line.invite_uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {ELSEWHERE};branch={branch or line.invite_branch};rport\r\n"
        f"From: {line.local}\r\nTo: {to or line.remote}\r\nCall-ID: {line.call_id}\r\n"
        f"CSeq: {cseq or line.invite_cseq} {method}\r\nMax-Forwards: 70\r\n{line.contact}"
    )


def ringing(world: World) -> tuple[Line, Line]:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    return a, callee.line


def end(world: World, a: Line, b: Line) -> None:
    a.cancel()
    b.reply(200, to="CANCEL")
    b.reply(487)
    a.acknowledge(a.find("487 INVITE"))
    world.end()


def test_cancel(world: World) -> None:
    a, b = ringing(world)
    renamed(a, "CANCEL", to=a.received[0]["to"].partition(";tag=")[0])
    assert a.what[1:] == ["200 CANCEL", "487 INVITE"]
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    renamed(a, "ACK", to=a.last["to"])
    heard = len(a.received)
    world.run(10)
    assert len(a.received) == heard, "the 487 is acknowledged"
    world.end()
    assert world.ended.disposition == "cancelled"


@pytest.mark.parametrize("what", ["branch", "cseq", "to", "cookie"])
def test_a_cancel_of_something_else(world: World, what: str) -> None:
    a, b = ringing(world)
    to = a.received[0]["to"].partition(";tag=")[0]
    if what == "branch":
        renamed(a, "CANCEL", to=to, branch=a.invite_branch[:-1])
    elif what == "cseq":
        renamed(a, "CANCEL", to=to, cseq=7)
    elif what == "to":
        renamed(a, "CANCEL", to=f"{to};tag=another")
    else:
        renamed(a, "CANCEL", to=to, branch="z9hG4bK")
    assert a.last.what == "481 CANCEL"
    assert b.last.what == "INVITE"
    end(world, a, b)


def test_ack_of_a_failure(world: World) -> None:
    a, b = ringing(world)
    b.reply(486)
    renamed(a, "ACK", to=a.last["to"] + "x")
    world.run(0.6)
    assert a.count("486 INVITE") == 2, "that was another's"
    renamed(a, "ACK", to=a.last["to"])
    world.run(10)
    assert a.count("486 INVITE") == 2
    world.end()


def test_ack_of_a_failure_after_a_restart(journalled: World) -> None:
    world = journalled
    a, b = ringing(world)
    b.reply(486)
    world.restart()
    heard = len(a.received)
    renamed(a, "ACK", to=a.last["to"])
    world.run(10)
    assert len(a.received) == heard
    world.end()


def test_a_reinvite_and_all_that_belongs_to_it(world: World) -> None:
    a, b = answered(world)
    a.invite(HOLD)
    b.reply(100)
    renamed(a, "INVITE")
    assert b.count("INVITE") == 2, "it came twice"
    assert a.last.what == "100 INVITE", "and is the same"
    renamed(a, "CANCEL", to=f"{a.remote}x")
    assert a.last.what == "481 CANCEL", "of another dialog"
    renamed(a, "CANCEL")
    assert a.last.what == "200 CANCEL"
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    assert a.last.what == "487 INVITE"
    renamed(a, "ACK")
    world.run(10)
    assert a.count("487 INVITE") == 1
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_an_invite_that_comes_again_is_no_loop(world: World) -> None:
    a, b = ringing(world)
    renamed(a, "INVITE", to=a.received[0]["to"].partition(";tag=")[0])
    assert a.what == ["180 INVITE", "180 INVITE"]
    assert len(b.received) == 1
    end(world, a, b)


def test_by_another_path_it_is_one(world: World) -> None:
    a, b = ringing(world)
    renamed(a, "INVITE", to=a.received[0]["to"].partition(";tag=")[0], branch="z9hG4bKanother-path")
    assert a.last.what == "482 INVITE"
    end(world, a, b)


def test_two_that_have_the_same_branch_by_chance(world: World) -> None:
    """Clients that count their branches: each has its own call."""
    one, callee = parties(world)
    two = Agent(world, ("10.2.0.9", 5060), "second")
    a = one.call("85550100", branch="z9hG4bK-1-0")
    c = two.call("81550100", branch="z9hG4bK-1-0")
    first, second = callee.lines
    c.cancel()
    assert [first.last.what, second.last.what] == ["INVITE", "INVITE"], "nothing came of it yet"
    second.reply(180)
    assert [first.last.what, second.last.what] == ["INVITE", "CANCEL"]
    second.reply(200, to="CANCEL")
    second.reply(487)
    c.acknowledge(c.find("487 INVITE"))
    first.reply(200, ANSWER)
    a.ack()
    a.bye()
    first.reply(200, to="BYE")
    world.end()
