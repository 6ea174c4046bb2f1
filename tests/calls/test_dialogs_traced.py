"""Which dialogs a trace of a call has, as calls really go: refused, rung in vain, become one."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, World
from calls.test_merges import OLD, YOUNG, from_branch, is_now
from calls.transfers import BOB, CAROL, attended, hangs_up, heard, phones, two_calls
from softswitch import events
from softswitch.trace import Dialogs


@pytest.fixture
def dialogs(world: World) -> Dialogs:
    world.switch.dialogs = dialogs = Dialogs()
    dialogs.want_calls()
    return dialogs


def said(world: World) -> dict[str, set[str]]:
    """The SIP Call-IDs of each call, as its events have told them."""
    found: dict[str, set[str]] = {}
    for kind in (events.CallStarted, events.LegInvited, events.LegMoved):
        for event in world.of(kind):
            found.setdefault(event.call_id, set()).add(event.sip_call_id)
    return found


def test_a_call_and_its_end(world: World, dialogs: Dialogs) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    ((call_id, sips),) = said(world).items()
    assert set(dialogs.of(call_id)) == sips
    assert len(sips) == 2
    assert set(dialogs.of(call_id).values()) == {"extension:1001", "extension:1002"}
    bob.line.reply(486)
    a.ack()
    world.end()
    assert set(dialogs.of(call_id)) == sips
    assert dialogs.calls == dict.fromkeys(sips, call_id)


@pytest.mark.parametrize("first", [True, False])
def test_two_that_become_one(world: World, dialogs: Dialogs, first: bool) -> None:
    a, b1, b2, c = two_calls(world, first)
    attended(b1, b2)
    a.reply(200, SDP)
    c.reply(200, CAROL)
    heard(b1)
    heard(b1)
    b2.reply(200, to="BYE")
    b1.bye()
    hangs_up(a, c)
    world.end()
    (merged,) = world.of(events.CallMerged)
    everything = set().union(*said(world).values())
    assert len(everything) == 4
    assert set(dialogs.of(merged.into)) == set(dialogs.of(merged.call_id)) == everything
    assert dialogs.merged_into(merged.call_id) == merged.into


def test_it_becomes_part_of_one_that_never_was_here(world: World, dialogs: Dialogs) -> None:
    _, bob, _ = phones(world)
    n = from_branch(world, "1002", YOUNG)
    bob.line.reply(200, BOB)
    n.ack()
    before = set(dialogs.of(YOUNG))
    assert len(before) == 2
    is_now(n, OLD)
    assert set(dialogs.of(OLD)) == before
    hangs_up(n, bob.line)
    world.end()
    assert set(dialogs.of(OLD)) == before
    assert dialogs.merged_into(YOUNG) == OLD
