"""Makes a failing plan smaller: items are left out as long as it still fails."""

from __future__ import annotations

from dataclasses import replace

from .plan import Plan
from .run import Outcome, run

MAX_RUNS = 200


def shrink(plan: Plan, max_runs: int = MAX_RUNS) -> tuple[Plan, Outcome]:
    """A smallest plan found within so many runs, and how it fails. It need not be the same failure:
    any is worth looking at."""
    keep = set(range(len(plan.items))) if plan.keep is None else set(plan.keep)
    outcome = run(plan)
    runs = 1
    shorter = True
    while shorter and runs < max_runs:
        shorter = False
        for number in sorted(keep, reverse=True):
            if runs >= max_runs:
                break
            smaller = replace(plan, keep=frozenset(keep - {number}))
            tried = run(smaller)
            runs += 1
            if tried.failure is not None:
                keep.discard(number)
                plan, outcome, shorter = smaller, tried, True
    return plan, outcome
