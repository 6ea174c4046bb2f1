"""Timers on a fake clock, and random tokens."""

from __future__ import annotations

import logging

import pytest

from softswitch.sip.timers import TICK, Timers
from softswitch.sip.tokens import Tokens


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timers(clock: Clock) -> Timers:
    return Timers(clock)


def test_fires_at_the_first_tick_not_before_due(clock: Clock, timers: Timers) -> None:
    fired: list[float] = []
    timers.after(0.5, lambda: fired.append(clock.now))
    clock.now = 0.5 - 1e-6
    timers.advance()
    assert not fired
    clock.now = 0.5 + TICK
    timers.advance()
    assert fired == [clock.now]
    timers.advance()
    assert len(fired) == 1


def test_fires_in_the_order_of_time_then_of_setting(clock: Clock, timers: Timers) -> None:
    fired: list[str] = []
    for delay, name in [(2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")]:
        timers.after(delay, lambda name=name: fired.append(name))
    clock.now = 10.0
    timers.advance()
    assert fired == ["a", "b", "c", "d"]


def test_cancelled_never_fires_and_lets_go(clock: Clock, timers: Timers) -> None:
    fired: list[int] = []
    timer = timers.after(1.0, lambda: fired.append(1))
    assert len(timers) == 1
    timer.cancel()
    assert timer.callback is None
    assert len(timers) == 0
    clock.now = 2.0
    timers.advance()
    timer.cancel()
    assert not fired
    assert timers.next_due() is None


def test_one_of_the_same_tick_may_cancel_another(clock: Clock, timers: Timers) -> None:
    fired: list[str] = []
    later = []
    timers.after(1.0, lambda: later[0].cancel())
    later.append(timers.after(1.0, lambda: fired.append("no")))
    clock.now = 2.0
    timers.advance()
    assert not fired


@pytest.mark.parametrize("now", [0.0, 0.01, 0.29, 0.57, 1.1, 123456.78])
def test_what_a_callback_sets_fires_later(clock: Clock, timers: Timers, now: float) -> None:
    """Also with no delay, and at moments whose ticks are not exact in binary."""
    clock.now = now
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        timers.after(0.0, again)

    timers.after(0.0, again)
    clock.now += 5.0
    timers.advance()
    assert count == 1
    due = timers.next_due()
    assert due is not None
    clock.now = due
    timers.advance()
    assert count == 2


def test_one_that_raises_keeps_no_other_from_firing(
    clock: Clock, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[int] = []

    def bad() -> None:
        raise RuntimeError("broken")

    timers.after(1.0, bad)
    timers.after(1.0, lambda: fired.append(1))
    timers.after(1.5, lambda: fired.append(2))
    clock.now = 2.0
    with caplog.at_level(logging.ERROR):
        timers.advance()
    assert fired == [1, 2]
    assert "a timer failed" in caplog.text


def test_tells_of_earlier_deadlines_only(clock: Clock, timers: Timers) -> None:
    told: list[float] = []
    timers.on_earlier = told.append
    for delay in (5.0, 7.0, 5.0, 1.0):
        timers.after(delay, lambda: None)
    assert told == pytest.approx([5.01, 1.01])
    assert timers.next_due() == pytest.approx(1.01)


def test_tokens_are_cut_from_the_pool_and_never_repeat() -> None:
    calls: list[int] = []

    def source(size: int) -> bytes:
        calls.append(size)
        return bytes((i * 7 + len(calls)) % 256 for i in range(size))

    tokens = Tokens(source)
    first = [tokens.token(16) for _ in range(512)]
    assert len(calls) == 1
    assert all(len(t) == 16 and set(t) <= set("0123456789abcdef") for t in first)
    tokens.token()
    assert len(calls) == 2
    assert tokens.branch().startswith("z9hG4bK")
    assert len(tokens.branch()) == 27
    system = Tokens()
    assert len({system.token() for _ in range(5000)}) == 5000
