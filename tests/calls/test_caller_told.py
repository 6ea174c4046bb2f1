"""When a call was answered: at the moment at which the caller was told."""

from __future__ import annotations

from collections.abc import Callable

from calls.call_world import ANSWER, World
from calls.test_answered import answered, parties
from softswitch.calls.records import decode
from softswitch.events import CallEnded, CallerTold, CallRestored, LegAnswered, LegEnded

HQ = ("10.0.0.1", 5060)


def held_up(world: World) -> list[Callable[[], None]]:
    """From now on nothing is stored until a test does what is in this list."""
    waiting: list[Callable[[], None]] = []
    outbox = world.outboxes[HQ]
    store = outbox.store
    outbox._within = 1e9

    def later(then: Callable[[], None]) -> Callable[[], None] | None:
        return store(lambda: waiting.append(then))

    outbox.store = later
    return waiting


def test_a_call_that_nothing_holds_up_has_no_more_events(journalled: World) -> None:
    answered(journalled)
    journalled.run(1)
    assert not journalled.of(CallerTold)


def test_a_commit_that_waits(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    waiting = held_up(world)
    callee.line.reply(200, ANSWER)
    world.run(8)
    assert a.last.what == "180 INVITE"
    world.outboxes[HQ].store = world.switch.stored
    while waiting:
        waiting.pop()()
    world.settle()
    assert a.last.what == "200 INVITE"
    (told,), (leg,) = world.of(CallerTold), world.of(LegAnswered)
    assert (told.call_id, told.leg) == (leg.call_id, 0)
    assert told.at - leg.at == 8_000_000
    a.ack()
    world.run(1)
    a.bye()
    callee.line.reply(200, to="BYE")
    world.end()
    (end,) = world.of(CallEnded)
    assert end.at - told.at == 1_000_000


def test_a_short_wait_is_not_said(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    caller.call("85550100")
    waiting = held_up(world)
    callee.line.reply(200, ANSWER)
    world.run(0.04)
    for then in waiting:
        then()
    assert not world.of(CallerTold)


def test_killed_before_the_answer_has_left(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    held_up(world)
    callee.line.reply(200, ANSWER)
    world.run(0.01)
    world.kill()
    world.run(10)
    assert a.last.what == "180 INVITE"
    world.start()
    assert a.last.what == "180 INVITE", "most have heard it: not at once"
    world.run(0.6)
    assert a.last.what == "200 INVITE"
    (told,), (leg,) = world.of(CallerTold), world.of(LegAnswered)
    assert 10_400_000 <= told.at - leg.at < 10_600_000
    a.ack()
    world.run(0.3)
    # In the next life, too, this is when the caller was told.
    assert world.rows is not None
    (row,) = world.rows.rows.values()
    assert decode(row).told[-1] == told
    world.restart(5)
    assert world.of(CallRestored)[-1].told[-1] == told
    assert len(world.of(CallerTold)) == 1, "it was acknowledged"


def test_killed_after_the_answer_was_acknowledged(journalled: World) -> None:
    world = journalled
    answered(world)
    world.restart(10)
    assert not world.of(CallerTold)


def test_a_call_that_is_over_before_the_caller_is_told(journalled: World) -> None:
    """Its answer stays where it was: nothing is told of a call after its end."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    waiting = held_up(world)
    callee.line.reply(200, ANSWER)
    callee.line.bye()
    world.run(1)
    while waiting:
        waiting.pop(0)()
    world.settle()
    assert not world.of(CallerTold)
    assert isinstance(world.events[-1], CallEnded)
    assert len(world.of(LegEnded)) == 2
    assert a.last.what == "200 INVITE"
