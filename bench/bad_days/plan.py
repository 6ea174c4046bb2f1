"""Which faults a round has, by a seed: the same seed, the same faults at the same moments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bad_days.sites import ROW, SERVERS

KINDS = (
    "kill",
    "stop",
    "kill all",
    "stop all",
    "cut",
    "cut off",
    "locked",
    "locked, killed",
    "full",
    "moved",
    "deleted",
)
"""``cut`` is one link, ``cut off`` all links of one server; ``deleted`` with what SQLite has
beside a database, ``moved`` without that."""

_LASTS = {
    "kill": (0.0, 4.0),
    "stop": (0.5, 12.0),
    "kill all": (0.0, 2.0),
    "stop all": (0.5, 8.0),
    "cut": (0.5, 8.0),
    "cut off": (0.5, 8.0),
    "locked": (1.0, 8.0),
    "locked, killed": (1.0, 5.0),
    "full": (2.0, 6.0),
    "moved": (0.0, 0.0),
    "deleted": (0.0, 0.0),
}
FIRST = 1.5
"""Seconds of calls before the first fault."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault: ``after`` seconds from the end of the one before (with ``beside`` from its
    beginning), at these servers, for so long. ``silent`` is of cuts: nobody is told."""

    kind: str
    servers: tuple[str, ...]
    after: float
    lasts: float
    silent: bool = False
    beside: bool = False

    def __str__(self) -> str:
        how = " silently" if self.silent else ""
        at = "" if "all" in self.kind else " " + " and ".join(self.servers)
        return f"{self.kind}{at}{how} {self.lasts:.1f} s"


def _one(rng: random.Random, kind: str, busy: Sequence[str]) -> Planned:
    free = [name for name in SERVERS if name not in busy]
    lasts = rng.uniform(*_LASTS[kind])
    after = rng.uniform(0.3, 2.0)
    if "all" in kind:
        return Planned(kind, SERVERS, after, lasts)
    # The owners more often than the desk, which owns nothing.
    weights = [2 if name in ROW else 1 for name in free]
    first = rng.choices(free, weights)[0]
    if kind == "cut":
        other = rng.choice([name for name in SERVERS if name != first])
        return Planned(kind, (first, other), after, lasts, rng.random() < 0.5)
    silent = kind == "cut off" and rng.random() < 0.5
    return Planned(kind, (first,), after, lasts, silent)


def plans(seed: int, rounds: int, seconds: float, kinds: Sequence[str]) -> list[list[Planned]]:
    """The faults of so many rounds, about so many seconds each. All kinds come before one comes
    again, whatever the round."""
    deck: list[str] = []
    return [_plan(random.Random(seed + number), seconds, deck, kinds) for number in range(rounds)]


def _plan(
    rng: random.Random, seconds: float, deck: list[str], kinds: Sequence[str]
) -> list[Planned]:
    found: list[Planned] = []
    length = FIRST
    while True:
        if not deck:
            deck += rng.sample(kinds, len(kinds))
        kind = deck.pop()
        one = _one(rng, kind, ())
        if found and length + one.after + one.lasts > seconds:
            deck.append(kind)
            return found
        found.append(one)
        length += one.after + one.lasts
        if "all" in kind or rng.random() > 0.3:
            continue
        # Another one meanwhile, elsewhere.
        beside = [k for k in ("kill", "stop", "cut", "locked", "full") if k in kinds]
        if beside:
            other = _one(rng, rng.choice(beside), one.servers)
            lasts = min(other.lasts, max(one.lasts, 1.0))
            after = rng.uniform(0, 0.5)
            found.append(Planned(other.kind, other.servers, after, lasts, other.silent, True))
