"""The timestamp module: stamps in the time base of a call's owner, whatever the local clock does.

From the source: "On each interaction between a client and the owning CDS the current Coordinated
Universal Time (UTC) of the owning CDS is returned to the client. The timestamp module at the client
computes the difference (...). The difference is stored at the client and added to the local UTC
time whenever a local client needs a timestamp." Here the difference is kept to the local
*monotonic* clock, so that a jump of the local wall clock between two interactions changes nothing,
and half of the round trip is added to what the owner said.

Each call has a **time base**: what is added to our monotonic clock to have the call's time. It is
taken once, as the call begins at its owner, and as the owner says what time it is in the call. So
whoever sets a clock while the call lasts changes nothing of its times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Handle(Protocol):
    """A timer that was scheduled."""

    def cancel(self) -> None:
        """Make it never fire; no harm if it already has."""


class Timers(Protocol):
    """Time, as the call data server is given it."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC. May jump in either direction."""

    def monotonic_us(self) -> int:
        """Microseconds from an arbitrary start. Never runs backwards."""

    @property
    def boot(self) -> str:
        """Names that start; empty if it is the process's own. A process that finds the same name as
        an earlier one goes on with what that has read of the clock."""

    def schedule(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Call ``callback`` once after ``delay`` seconds."""


@dataclass(frozen=True, slots=True)
class TimeBase:
    """What is known of another server's clock. All in microseconds.

    ``difference`` is its UTC minus our monotonic clock; ``round_trip`` bounds the error of that (it
    is at most half of it); ``taken`` is our monotonic clock when it was learnt. ``in_doubt``: its
    clock may be another one by now.
    """

    difference: int
    round_trip: int
    taken: int
    in_doubt: bool = False


DRIFT_PPM = 100
"""By how much two machines' clocks drift apart, at most: microseconds a second. A sample gets less
exact by that as it gets older; it is replaced by one that is more exact then."""

MAX_AHEAD = 86_400.0
"""Seconds by which a stamp may be ahead of the owner's clock (see ``Clock.believed``)."""


class Clock:
    """Knows each owner's clock, and gives stamps."""

    def __init__(self, server: str, timers: Timers, max_ahead: float = MAX_AHEAD) -> None:
        self.server = server
        self._max_ahead_us = int(max_ahead * 1_000_000)
        self._now_us = timers.now_us
        self._monotonic_us = timers.monotonic_us
        self._bases: dict[str, TimeBase] = {}

    def sample(self, owner: str, utc: int, round_trip: int) -> None:
        """Note that ``owner``'s clock said ``utc`` in an answer that took ``round_trip``
        microseconds.

        The sample kept is the one that is most exact at present. One that cannot be true together
        with it means that a clock was set: the newer one counts.
        """
        round_trip = max(round_trip, 0)
        now = self._monotonic_us()
        kept = self._bases.get(owner)
        if kept is not None and not kept.in_doubt:
            error = kept.round_trip // 2 + (now - kept.taken) * DRIFT_PPM // 1_000_000 + 1
            if round_trip // 2 > error:
                simulated = now + kept.difference
                if utc - error <= simulated <= utc + round_trip + error:
                    return
        self._bases[owner] = TimeBase(utc + round_trip // 2 - now, round_trip, now)

    def doubt(self, server: str) -> None:
        """The connection to ``server`` is another one: until it says what time it is there, nothing
        is known of its clock. It may have restarted because that was put right."""
        base = self._bases.get(server)
        if base is not None:
            self._bases[server] = TimeBase(base.difference, base.round_trip, base.taken, True)

    def base(self, owner: str) -> TimeBase | None:
        """What is known of that server's clock; None before the first interaction."""
        base = self._bases.get(owner)
        return None if base is None or base.in_doubt else base

    def own(self) -> int:
        """By how much our UTC is ahead of our monotonic clock just now."""
        return self._now_us() - self._monotonic_us()

    def time_base(self, owner: str) -> int:
        """The time base of a call of ``owner`` that begins just now. While nothing is known of its
        clock, what was known before, or our own clock."""
        base = self._bases.get(owner)
        return self.own() if base is None else base.difference

    def monotonic_us(self) -> int:
        """What a time base is added to."""
        return self._monotonic_us()

    def believed(self, owner: str, base: int, newest: int) -> int:
        """The greatest stamp made by another server that is to be believed, in a call of ``owner``
        with the time base ``base``, in which ``newest`` is the greatest seen.

        One that is further ahead of the owner's clock than ``max_ahead`` (and than what was seen of
        that call already) comes from a broken server: taken in, it would drag all later stamps of
        the call after it. While nothing is known of the owner's clock everything is believed that
        can be counted on from.
        """
        if owner != self.server and self.base(owner) is None:
            return _LAST_STAMP
        now = self._monotonic_us() + max(base, self.time_base(owner))
        return min(max(now, newest) + self._max_ahead_us, _LAST_STAMP)

    def stamp(self, base: int, newest: int) -> int:
        """The next stamp for a call with the time base ``base`` in which ``newest`` is the greatest
        stamp seen.

        Always greater than ``newest``, which makes the stamps of one author strictly increase even
        when a call goes on by another clock.
        """
        now = self._monotonic_us() + base
        return now if now > newest else newest + 1


_LAST_STAMP = 1 << 61
"""Half of what a frame can carry: there is always room to count on."""
