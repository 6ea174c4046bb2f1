"""Stamps: the owner's time base, strictly increasing, whatever the clocks do."""

from __future__ import annotations

from cds_fakes import START, FakeTimers
from hypothesis import given
from hypothesis import strategies as st

from cdsplugin.data.clock import DRIFT_PPM, Clock

HOUR = 3_600_000_000


def now(clock: Clock, owner: str) -> int:
    """The time in a call of that owner that begins just now."""
    return clock.monotonic_us() + clock.time_base(owner)


def believed(clock: Clock, owner: str, newest: int) -> int:
    return clock.believed(owner, clock.time_base(owner), newest)


def ahead(clock: Clock, owner: str) -> int:
    return clock.time_base(owner) - clock.own()


def test_own_calls_are_stamped_with_our_own_clock() -> None:
    timers = FakeTimers()
    clock = Clock("hq", timers)
    assert clock.stamp(clock.time_base("hq"), 0) == START


def test_a_participant_simulates_the_owners_clock() -> None:
    timers = FakeTimers(wrong=-3 * HOUR)
    clock = Clock("branch", timers)
    assert now(clock, "hq") == timers.now_us(), "nothing is known of it yet"
    assert ahead(clock, "hq") == 0
    timers.advance(0.010)
    # The owner said START+5 ms; the answer took 10 ms in all.
    clock.sample("hq", START + 5_000, 10_000)
    assert now(clock, "hq") == START + 10_000
    assert ahead(clock, "hq") == 3 * HOUR
    timers.advance(60)
    assert now(clock, "hq") == START + 60_010_000


def test_a_jump_of_the_local_wall_clock_changes_nothing() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", START, 0)
    timers.wrong = -HOUR
    timers.advance(1)
    assert now(clock, "hq") == START + 1_000_000


def test_the_sample_that_is_most_exact_at_present_counts() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", timers.now_us(), 100)
    clock.sample("hq", timers.now_us() - 15_000, 20_000)
    assert clock.base("hq").round_trip == 100
    # It gets less exact with its age: the clocks may have drifted apart by as much as the other's
    # round trip leaves open.
    timers.advance(10_000 / DRIFT_PPM)
    clock.sample("hq", timers.now_us() - 15_000, 20_000)
    assert clock.base("hq").round_trip == 20_000
    clock.sample("hq", timers.now_us() - 50, 100)
    assert clock.base("hq").round_trip == 100


@given(
    st.lists(
        st.tuples(st.integers(1, 60_000_000), st.integers(0, 200_000), st.integers(0, 200_000)),
        min_size=1,
        max_size=30,
    ),
    st.integers(-DRIFT_PPM, DRIFT_PPM),
)
def test_the_error_stays_within_half_of_the_best_round_trip_and_the_drift(
    steps: list, drift: int
) -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    best: list[tuple[int, int]] = []
    for passes, there, back in steps:
        timers.elapsed += passes + there + back

        def theirs(elapsed: int) -> int:
            return START + 3 * HOUR + elapsed + elapsed * drift // 1_000_000

        clock.sample("hq", theirs(timers.elapsed - back), there + back)
        best.append((timers.elapsed, there + back))
        bound = min(
            trip // 2 + 2 + (timers.elapsed - taken) * DRIFT_PPM // 1_000_000
            for taken, trip in best
        )
        # Half a round trip drifts too.
        assert abs(now(clock, "hq") - theirs(timers.elapsed)) <= bound + 50


def test_a_stamp_far_in_the_future_is_not_believed() -> None:
    timers = FakeTimers()
    clock = Clock("hq", timers, max_ahead=3600)
    assert believed(clock, "hq", 0) >= START + HOUR
    assert believed(clock, "hq", 0) < START + HOUR + 1
    assert believed(clock, "hq", 0) >= 0, "however late it comes"
    # What a call has already is the measure when a clock was set back.
    assert believed(clock, "hq", START + 19 * HOUR) >= START + 20 * HOUR
    # Of a clock that is not known nothing can be said, but that one must be able to count on.
    assert believed(clock, "branch", 0) >= START + 20 * HOUR
    assert believed(clock, "branch", 0) < 1 << 62
    clock.sample("branch", START, 0)
    assert believed(clock, "branch", 0) < START + 20 * HOUR


def test_a_sample_that_disagrees_is_taken_the_owners_clock_was_set() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", timers.now_us(), 100)
    clock.sample("hq", timers.now_us() + HOUR, 20_000)
    assert ahead(clock, "hq") == HOUR + 10_000


def test_a_negative_round_trip_counts_as_none() -> None:
    timers = FakeTimers()
    clock = Clock("branch", timers)
    clock.sample("hq", START, -50)
    assert now(clock, "hq") == START


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
    newest, base = 0, clock.time_base(owner)
    for jump, passes, sample, seen in steps:
        timers.wrong += jump
        timers.elapsed += passes
        if sample is not None:
            clock.sample("hq", *sample)
            base = clock.time_base(owner)
        if seen is not None:
            newest = max(newest, seen)
        stamp = clock.stamp(base, newest)
        assert stamp > newest
        newest = stamp
