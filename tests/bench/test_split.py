"""A load cut into shares for several SIPps, and their counts added up."""

from __future__ import annotations

import pytest

from bench.sipp import SippResult
from bench.split import MOST, Share, added, number, shares


@pytest.mark.parametrize("rate", [0.5, 1, 999.5, 1000, 1000.9])
def test_one_caller_up_to_the_limit(rate: float) -> None:
    """As asked for, to the word: nothing of such a measurement has changed."""
    assert MOST == 1000
    assert shares(20_000, rate) == [Share(20_000, rate)]


@pytest.mark.parametrize(
    ("calls", "rate", "most", "expected"),
    [
        (3000, 1001, 1000, [(1500, 501), (1500, 500)]),
        (3000, 2000, 1000, [(1500, 1000), (1500, 1000)]),
        (20_000, 2500, 1000, [(6667, 834), (6667, 833), (6666, 833)]),
        (100, 50, 20, [(34, 17), (33, 17), (33, 16)]),
        (2, 50, 20, [(1, 17), (1, 17)]),
    ],
)
def test_shares(calls: int, rate: float, most: int, expected: list[tuple[int, int]]) -> None:
    assert shares(calls, rate, most) == [Share(*share) for share in expected]


@pytest.mark.parametrize("rate", range(1001, 9000, 777))
def test_nothing_is_lost_and_nobody_has_too_much(rate: int) -> None:
    parts = shares(54_321, rate)
    assert sum(part.calls for part in parts) == 54_321
    assert sum(part.rate for part in parts) == rate
    assert max(part.rate for part in parts) <= MOST
    times = [part.calls / part.rate for part in parts]
    assert max(times) - min(times) < 0.05 * max(times), "all end at about the same time"


def test_each_caller_has_a_number() -> None:
    assert [number(place) for place in range(12)] == [str(2001 + n) for n in range(12)]


def result(**more: object) -> SippResult:
    values: dict[str, object] = {
        "scenario": "uac-answered",
        "created": 0,
        "successful": 0,
        "failed": 0,
        "retransmissions": 0,
        "current": 0,
        "response_ms": 0.0,
        "exit_code": 0,
        "seconds": 1.0,
        "errors": "",
    }
    return SippResult(**{**values, **more})  # type: ignore[arg-type]


def test_counts_are_summed() -> None:
    one = result(
        created=11,
        successful=10,
        failed=1,
        retransmissions=3,
        current=2,
        seconds=4.0,
        errors="a\n",
        reasons={"FailedTimeout": 1},
    )
    two = result(
        created=21,
        successful=15,
        failed=5,
        retransmissions=4,
        exit_code=1,
        seconds=3.0,
        errors="b\n",
        reasons={"FailedTimeout": 2, "FailedUnexpectedMessage": 3},
    )
    both = added([one, two])
    assert (both.created, both.successful, both.failed, both.current) == (32, 25, 6, 2)
    assert both.retransmissions == 7
    assert both.reasons == {"FailedTimeout": 3, "FailedUnexpectedMessage": 3}
    assert (both.exit_code, both.seconds, both.errors) == (1, 4.0, "a\nb\n")
    assert not both.passed


def test_response_time_is_weighed_by_calls() -> None:
    both = added(
        [result(successful=300, response_ms=10.0), result(successful=100, response_ms=50.0)]
    )
    assert both.response_ms == pytest.approx(20.0)
    assert added([result(failed=2), result(failed=1)]).response_ms == 0.0


def test_one_result_stays_as_it_is() -> None:
    one = result(created=5, failed=5, response_ms=7.0)
    assert added([one]) is one
