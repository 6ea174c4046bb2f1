"""A load split over several SIPp callers and callees, and what they counted added up.

One SIPp is at its end at some 1,200 calls/s: what it sends again then, and the calls it fails, are
its own. Above ``MOST`` calls/s more of them share the load. Each caller has a callee of its own and
dials that one's number (``number``), so that no callee has more calls than a caller either. At
``MOST`` and below there is one of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sipp import Callee, Sipp, SippFailure, SippResult, sipp_callee, start_caller

MOST = 1000
"""Calls per second of one SIPp."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one caller places: so many calls, so many a second."""

    calls: int
    rate: float


def shares(calls: int, rate: float, most: int = MOST) -> list[Share]:
    """One share for each caller, none above `most` calls/s. All take about the same time."""
    whole = int(rate)  # SIPp places whole calls a second
    if whole <= most:
        return [Share(calls, rate)]
    count = -(-whole // most)
    parts = zip(_parts(calls, count), _parts(whole, count), strict=True)
    return [Share(part, speed) for part, speed in parts if part]


def _parts(total: int, count: int) -> list[int]:
    return [total // count + (place < total % count) for place in range(count)]


def number(place: int) -> str:
    """What the caller at this place dials: the number of the callee at the same place."""
    return str(2001 + place)


def added(results: Sequence[SippResult]) -> SippResult:
    """Counts in sum; `response_ms` is the mean over the calls that passed, whoever placed them."""
    if len(results) == 1:
        return results[0]
    passed = sum(result.successful for result in results)
    weighed = sum(result.response_ms * result.successful for result in results)
    reasons: dict[str, int] = {}
    for result in results:
        for reason, count in result.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return SippResult(
        scenario=results[0].scenario,
        created=sum(result.created for result in results),
        successful=passed,
        failed=sum(result.failed for result in results),
        retransmissions=sum(result.retransmissions for result in results),
        current=sum(result.current for result in results),
        response_ms=weighed / passed if passed else 0.0,
        exit_code=next((result.exit_code for result in results if result.exit_code), 0),
        seconds=max(result.seconds for result in results),
        errors="".join(result.errors for result in results),
        reasons=reasons,
    )


class Callers:
    """SIPp callers that place a load together. Made by `start_callers`."""

    def __init__(self, running: Sequence[Sipp]) -> None:
        self._running = running

    def placed(self) -> int:
        """Calls placed so far (SIPp counts once a second)."""
        return sum(sipp.placed() for sipp in self._running)

    def counts(self) -> SippResult:
        """The counts of all as of now."""
        return added([sipp.counts() for sipp in self._running])

    def wait(self, timeout: float, meanwhile: Callable[[], None] = lambda: None) -> SippResult:
        """What all counted once they have ended, `SippFailure` after `timeout` s.

        `meanwhile` is called about once a second. None of them is left afterwards.
        """
        deadline = time.monotonic() + timeout
        try:
            while running := [sipp for sipp in self._running if not sipp.ended(0)]:
                if any(sipp.broke() for sipp in self._running):
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SippFailure(
                        f"{len(running)} of {len(self._running)} callers did not end in"
                        f" {timeout:g} s: {self.counts()}"
                    )
                if not running[0].ended(min(1.0, left)):
                    meanwhile()
            # One that could not run says why, though others are still at it.
            ordered = sorted(self._running, key=lambda sipp: not sipp.broke())
            return added([sipp.wait(0) for sipp in ordered])
        finally:
            self.kill()

    def kill(self) -> None:
        """End those that still run; their calls are left as they are."""
        for sipp in self._running:
            sipp.kill()


def start_callers(
    remote: str,
    parts: Sequence[Share],
    ports: Sequence[int],
    *,
    hold_ms: int = 0,
    timeout: float = 30,
) -> Callers:
    """Start a caller of `uac-answered` for each share, at these ports, without waiting."""
    running: list[Sipp] = []
    try:
        for place, (share, port) in enumerate(zip(parts, ports, strict=True)):
            caller = start_caller(
                "uac-answered",
                remote,
                calls=share.calls,
                rate=share.rate,
                hold_ms=hold_ms,
                number=number(place),
                port=port,
                timeout=timeout,
            )
            running.append(caller)
    except BaseException:
        Callers(running).kill()
        raise
    return Callers(running)


@dataclass(slots=True)
class Callees:
    """SIPp callees that share a load, each at a port of its own."""

    each: list[Callee]

    @property
    def ports(self) -> list[int]:
        """Where they listen, by their places."""
        return [callee.port for callee in self.each]

    def counts(self) -> SippResult:
        """The counts of all as of now (SIPp's are up to a second old)."""
        return added([callee.sipp.counts() for callee in self.each])

    @property
    def counted(self) -> SippResult:
        """The final counts of all. `SippFailure` while they still run."""
        return added([callee.counted for callee in self.each])


@contextmanager
def sipp_callees(
    count: int, scenario: str | Path = "uas-answered", *, timeout: float = 60, grace: float = 3.0
) -> Iterator[Callees]:
    """So many callees, all listening when the block begins. See `sipp_callee`."""
    with ExitStack() as stack:
        started = (sipp_callee(scenario, timeout=timeout, grace=grace) for _ in range(count))
        yield Callees([stack.enter_context(callee) for callee in started])
