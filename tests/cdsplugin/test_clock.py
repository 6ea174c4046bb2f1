"""Stamps: the owner's time base, strictly increasing, whatever the clocks do."""

from __future__ import annotations

from cds_fakes import START, FakeTimers
from hypothesis import given
from hypothesis import strategies as st

from cdsplugin.clock import KEEP_US, Clock

HOUR = 3_600_000_000


def test_own_calls_are_stamped_with_our_own_clock() -> None:
    timers = FakeTimers()
    assert Clock("hq", timers).stamp("hq", 0) == START


def test_a_participant_simulates_the_owners_clock() -> None:
    timers = FakeTimers(wrong=-3 * HOUR)
    clock = Clock("branch", timers)
    assert clock.now("hq") == timers.now_us(), "nothing is known of it yet"
    assert clock.ahead("hq") == 0
    timers.advance(0.010)
    # The owner said START+5 ms; the answer took 10 ms in all.
    clock.sample("hq", START + 5_000, 10_000)
    assert clock.now("hq") == START + 10_000
    assert clock.ahead("hq") == 3 * HOUR
    timers.advance(60)
    assert clock.now("hq") == START + 60_010_000


def test_a_jump_of_the_local_wall_clock_changes_nothing() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", START, 0)
    timers.wrong = -HOUR
    timers.advance(1)
    assert clock.now("hq") == START + 1_000_000


def test_a_less_exact_sample_that_agrees_is_left_aside_while_the_other_is_fresh() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", timers.now_us(), 100)
    clock.sample("hq", timers.now_us() - 15_000, 20_000)
    assert clock.base("hq").round_trip == 100
    timers.advance(KEEP_US / 1e6 + 1)
    clock.sample("hq", timers.now_us() - 15_000, 20_000)
    assert clock.base("hq").round_trip == 20_000


def test_a_sample_that_disagrees_is_taken_the_owners_clock_was_set() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", timers.now_us(), 100)
    clock.sample("hq", timers.now_us() + HOUR, 20_000)
    assert clock.ahead("hq") == HOUR + 10_000


def test_a_negative_round_trip_counts_as_none() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", START, -50)
    assert clock.now("hq") == START


@given(
    st.lists(
        st.tuples(
            st.integers(-HOUR, HOUR),  # the wall clock jumps
            st.integers(0, 10_000_000),  # time passes
            st.none() | st.tuples(st.integers(0, 2 * START), st.integers(-10, 10_000_000)),
            st.none() | st.integers(0, 2 * START),  # a stamp of someone else is seen
        ),
        max_size=20,
    ),
    st.sampled_from(["hq", "branch"]),
)
def test_stamps_strictly_increase_whatever_the_clocks_do(steps: list, owner: str) -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    newest = 0
    for jump, passes, sample, seen in steps:
        timers.wrong += jump
        timers.elapsed += passes
        if sample is not None:
            clock.sample("hq", *sample)
        if seen is not None:
            newest = max(newest, seen)
        stamp = clock.stamp(owner, newest)
        assert stamp > newest
        newest = stamp
