"""Somebody sets the time of day: how long a call lasted, and a registration, does not change."""

from __future__ import annotations

import msgspec
import pytest

from calls.call_world import CONFIG, World
from calls.test_answered import answered
from calls.test_phones_restart import rings, unreachable
from softswitch.calls.records import CallRecord, Row, decode, encode
from softswitch.events import CallEnded, CallRestored, CallStarted, LegAnswered, Told

HOUR = 3600.0


def hung_up(world: World, lines: object) -> tuple[float, float]:
    """The caller hangs up. Seconds from the start and from the answer to the end."""
    caller, callee = lines  # type: ignore[misc]
    caller.bye()
    callee.reply(200, to="BYE")
    world.end()
    (start,), (answer,), (end,) = (world.of(k) for k in (CallStarted, LegAnswered, CallEnded))
    return (end.at - start.at) / 1e6, (end.at - answer.at) / 1e6


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_in_mid_call(world: World, step: float) -> None:
    lines = answered(world)
    world.run(10)
    world.utc_ahead += step
    world.run(10)
    duration, billed = hung_up(world, lines)
    assert 20 <= billed <= duration < 21
    told = [event.at for event in world.events]
    assert told == sorted(told)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_the_next_call_is_by_the_new_time(world: World, step: float) -> None:
    lines = answered(world)
    world.utc_ahead += step
    hung_up(world, lines)
    world.events.clear()
    answered(world)
    assert world.of(CallStarted)[0].at == int((world.now + step) * 1e6)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_while_the_switch_is_away(journalled: World, step: float) -> None:
    world = journalled
    lines = answered(world)
    world.run(0.25)
    world.kill()
    world.utc_ahead += step
    world.run(5)
    world.start()
    (back,) = world.of(CallRestored)
    assert back.at - back.told[-1].at == pytest.approx(5.25e6, abs=1e6)
    world.run(0.5)
    # Once more: the base is written again with the row.
    world.restart(5)
    duration, billed = hung_up(world, lines)
    assert 10 < billed <= duration < 12


@pytest.mark.parametrize(("step", "lasted"), [(HOUR, HOUR), (-HOUR, 0.0), (0.0, 0.0)])
def test_a_restart_of_the_machine(journalled: World, step: float, lasted: float) -> None:
    """Then the time of day is all there is; but nothing ends before it has begun."""
    world = journalled
    lines = answered(world)
    world.run(0.25)
    world.kill()
    world.boots += 1
    world.utc_ahead += step
    world.run(5)
    world.start()
    world.run(0.5)
    duration, billed = hung_up(world, lines)
    assert lasted + (0.5 if step < 0 else 5) <= billed <= duration < lasted + 7
    told = [event.at for event in world.events if isinstance(event, Told)]
    assert told == sorted(told)


def test_the_longest_time_of_a_call_is_not_over_sooner(journalled: World) -> None:
    world = journalled
    timers = "\ntimers: {max_duration: 600, session_check: 0, restart_check: 0}\n"
    world.kill()
    world.start(CONFIG + timers)
    answered(world)
    world.run(0.25)
    world.kill()
    world.utc_ahead += HOUR
    world.start(CONFIG + timers)
    world.run(590)
    assert not world.of(CallEnded)
    world.run(15)
    assert world.of(CallEnded)


def test_a_call_that_comes_back_has_one_time(world: World) -> None:
    """All passages of a call are told by the same clock."""
    numbers = world.switch.numbers
    base = numbers.base("a call")
    world.utc_ahead += HOUR
    assert numbers.base("a call") == base
    assert numbers.base("another") == base + int(HOUR * 1e6)


def test_an_older_journal_is_read(journalled: World) -> None:
    world = journalled
    lines = answered(world)
    world.run(0.25)
    world.kill()
    assert world.rows is not None
    for row, data in world.rows.rows.items():
        fields = msgspec.structs.astuple(decode(data))[: CallRecord.__struct_fields__.index("base")]
        older = msgspec.msgpack.encode([list(fields), False])
        assert older != data
        assert encode(decode(older)) != older
        world.rows.rows[row] = older
    world.run(5)
    world.start()
    world.run(0.5)
    _, billed = hung_up(world, lines)
    assert 5 < billed < 7


def test_a_registration_over_steps_and_restarts(journalled: World) -> None:
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    world.run(100)
    world.kill()
    world.utc_ahead += 2 * HOUR
    world.run(100)
    world.start()
    rings(world, "1001", phone)
    world.run(100)
    world.kill()
    world.utc_ahead -= 4 * HOUR
    world.start()
    rings(world, "1001", phone)
    world.run(3600 - 300)
    unreachable(world, "1001")


def test_a_registration_over_a_restart_of_the_machine(journalled: World) -> None:
    """By the time of day: an hour more, if that was set back by as much."""
    world = journalled
    phone = world.phone("1001", "10.9.0.1")
    world.run(100)
    world.kill()
    world.boots += 1
    world.utc_ahead -= 1000
    world.start()
    world.run(4000)
    rings(world, "1001", phone)
    world.run(1000)
    unreachable(world, "1001")


def test_the_row_says_which_start_its_base_is_of(journalled: World) -> None:
    world = journalled
    answered(world)
    world.run(0.25)
    assert world.rows is not None
    (row,) = world.rows.rows.values()
    record = msgspec.msgpack.decode(row, type=Row).record
    assert (record.base, record.boot) == (0, "boot 1")
