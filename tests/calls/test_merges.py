"""Two calls become one: what another of our switches says of it, and is told of it; lines that are
held on."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import SDP, Agent, Line, World
from calls.test_transfer_sites import BRANCH, BRANCH_AT, BRANCH_PLAN
from calls.test_transfer_sites import phone as branch_phone
from calls.transfers import (
    BOB,
    CAROL,
    attended,
    hangs_up,
    leaves,
    phones,
    refer,
    talk,
    talks,
)
from softswitch import events

OLD = "0100c0de-0000-7000-8000-000000000001"
YOUNG = "fff9c0de-0000-7000-8000-000000000002"
"""CallIDs of the other switch, older and younger than all that are made here."""
CALL_ID = "x-cds-call-id"


def from_branch(world: World, number: str, call_id: str) -> Line:
    """A call of the other switch comes to this number."""
    line = world.agent("10.0.0.2", "2001")
    return line.call(number, SDP, f"X-CDS-Call-ID: {call_id};owner=branch\r\n")


def is_now(line: Line, call_id: str) -> None:
    """The other switch says which call this is part of."""
    line.send("UPDATE", extra=f"{line.contact}X-CDS-Call-ID: {call_id};owner=branch\r\n")
    assert line.find("200 UPDATE")


def calls(world: World) -> set[str]:
    """Those that are on."""
    return {call.call_id for switch in world.switches.values() for call in switch.calls}


def test_it_is_part_of_an_older_one(world: World) -> None:
    _, bob, _ = phones(world)
    n = from_branch(world, "1002", YOUNG)
    bob.line.reply(200, BOB)
    n.ack()
    is_now(n, OLD)
    assert calls(world) == {OLD}
    hangs_up(n, bob.line)
    world.end()
    (merged,) = world.of(events.CallMerged)
    assert (merged.call_id, merged.into, merged.owner) == (YOUNG, OLD, "branch")


def test_ours_is_the_older_one(world: World) -> None:
    """The other switch is told so, and here all is as it was."""
    _, bob, _ = phones(world)
    n = from_branch(world, "1002", OLD)
    bob.line.reply(200, BOB)
    n.ack()
    is_now(n, YOUNG)
    assert n.last.what == "UPDATE"
    assert n.last[CALL_ID].startswith(f"{OLD};owner=branch;")
    n.reply(200, to="UPDATE")
    assert calls(world) == {OLD}
    hangs_up(n, bob.line)
    world.end()
    assert not world.of(events.CallMerged)


def test_it_is_told_while_somebody_is_transferred(world: World) -> None:
    """Then it is so once that is over."""
    _, bob, carol = phones(world)
    n = from_branch(world, "1002", YOUNG)
    b = bob.line
    b.reply(200, BOB)
    n.ack()
    refer(b, "1003")
    is_now(n, OLD)
    assert calls(world) == {YOUNG}
    c = carol.line
    c.reply(200, CAROL)
    n.reply(200, SDP)
    leaves(b)
    assert calls(world) == {OLD}
    hangs_up(c, n)
    world.end()
    assert [(how, by) for _, how, by in talks(world)] == [
        ("dialled", "trunk:branch"),
        ("blind-transfer", "extension:1002"),
        ("dialled", "trunk:branch"),
    ]


def test_whether_it_was_told_is_not_known_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told again at once."""
    world = World(tmp_path, journal=True)
    world.add_switch("branch", BRANCH_AT, BRANCH, BRANCH_PLAN).opened()
    alice = branch_phone(world, "2001", "10.9.0.1")
    bob, carol = world.phone("1002", "10.9.0.2"), world.phone("1003", "10.9.0.3")
    b2 = bob.call("1003")
    c = carol.line
    c.reply(200, CAROL)
    b2.ack()
    world.run(1)
    a, b1 = talk(alice, bob)
    carry = world.carry

    def deaf(data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        if not data.startswith(b"UPDATE"):
            carry(data, source, target)

    monkeypatch.setattr(world, "carry", deaf)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    leaves(b1)
    b2.reply(200, to="BYE")
    world.run(1)
    assert len(calls(world)) == 2
    monkeypatch.undo()
    world.restart()
    world.run(0.1)
    assert len(calls(world)) == 1
    hangs_up(a, c)
    world.end()


# --- lines


def rings(world: World, phone: Agent) -> bool:
    """Whether a call to a phone that may have one finds its line free."""
    before = len(phone.lines)
    line = world.agent("10.1.0.1", "caller").call(phone.name)
    if len(phone.lines) > before:
        phone.line.reply(180)
        line.cancel()
        phone.line.reply(487)
    final = line.last
    line.acknowledge(final)
    return final.status == 487


def test_a_leg_that_has_moved_holds_its_line(world: World) -> None:
    """Dave, who was called by Bob, is in Alice's call then."""
    alice, bob, _ = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a, b1 = talk(alice, bob)
    world.run(1)
    b2, d = talk(bob, dave)
    attended(b1, b2, "1004")
    a.reply(200, SDP)
    d.reply(200, BOB)
    leaves(b1)
    b2.reply(200, to="BYE")
    assert not rings(world, dave)
    hangs_up(a, d)
    assert rings(world, dave)
    world.end()


def test_so_does_one_whose_call_is_part_of_another(world: World) -> None:
    """Dave was called by Alice, who has transferred him to the other switch."""
    alice, _, _ = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    there = world.agent("10.0.0.2", "2001")
    a, d = talk(alice, dave)
    refer(a, "2001")
    n = there.line
    n.reply(200, SDP)
    d.reply(200, BOB)
    leaves(a)
    world.run(1)
    is_now(n, OLD)
    assert calls(world) == {OLD}
    assert not rings(world, dave)
    hangs_up(n, d)
    assert rings(world, dave)
    world.end()
