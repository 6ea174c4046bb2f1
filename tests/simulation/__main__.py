"""``python -m tests.simulation``: run seeds, or replay one.

python -m tests.simulation --seeds 2000            # in as many processes as there are cores
python -m tests.simulation --seed 17 --trace       # the last lines before it fails
python -m tests.simulation --seed 17 --keep 0,3 --trace
python -m tests.simulation --seeds 200 --broken no-linger
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import click

from . import plan as plans
from .broken import RULES, broken
from .run import run
from .shrink import shrink
from .sources import WANTED
from .swarm import Failed, swarm


@click.command(help=__doc__.replace("\n    ", "\n\n\b\n    ", 1) if __doc__ else None)
@click.option("--seed", type=int, help="Replay this one.")
@click.option("--keep", default="", help="Only these items of its plan, by number: 0,3,4.")
@click.option("--trace", is_flag=True, help="Print what happened before it failed.")
@click.option("--lines", default=200, show_default=True, help="Lines of the trace.")
@click.option(
    "--shrink/--no-shrink", "smaller", default=True, help="Leave out what does not matter."
)
@click.option("--seeds", default=2000, show_default=True, help="How many to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seconds", type=float, help="Stop after this time.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--broken", "rule", type=click.Choice(list(RULES)), help="Break this rule.")
@click.option("--faults", default=",".join(plans.KINDS), show_default=True, help="Kinds of them.")
def main(
    seed: int | None,
    keep: str,
    trace: bool,
    lines: int,
    smaller: bool,
    seeds: int,
    first: int,
    seconds: float | None,
    jobs: int,
    rule: str | None,
    faults: str,
) -> None:
    if rule is not None and WANTED not in os.environ:
        os.environ[WANTED] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    kinds = tuple(k for k in faults.split(",") if k)
    if seed is not None:
        sys.exit(_replay(seed, kinds, keep, lines if trace else 0, rule))
    begun = time.monotonic()
    result = swarm(first, seeds, jobs, seconds, rule, kinds)
    took = time.monotonic() - begun
    print(f"{result.seeds} seeds, {result.steps} steps, {result.simulated / 86400:.1f} days"
          f" in {took:.1f} s; records settled within {result.settled:.0f} s;"
          f" {len(result.failed)} failed")  # fmt: skip
    for failed in result.failed[:5]:
        _explain(failed, kinds, rule, smaller, lines if trace else 40)
    sys.exit(1 if result.failed else 0)


def _replay(seed: int, kinds: tuple[str, ...], keep: str, lines: int, rule: str | None) -> int:
    plan = plans.make(seed, kinds)
    if keep:
        plan = replace(plan, keep=frozenset(int(n) for n in keep.split(",")))
    with broken(rule):
        outcome = run(plan, lines)
    if lines:
        _print_plan(plan)
        print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.steps} steps, {outcome.simulated:.0f} s simulated,"
          f" records settled within {outcome.settled:.0f} s:"
          f" {outcome.failure or 'all holds'}")  # fmt: skip
    return 0 if outcome.failure is None else 1


def _explain(
    failed: Failed, kinds: tuple[str, ...], rule: str | None, smaller: bool, lines: int
) -> None:
    print(f"\nseed {failed.seed}: {failed.failure}")
    plan = plans.make(failed.seed, kinds)
    with broken(rule):
        if smaller:
            plan, _ = shrink(plan)
        outcome = run(plan, lines)
    _print_plan(plan)
    print("\n".join(line[:400] for line in outcome.trace))
    print(outcome.failure)
    kept = sorted(plan.keep) if plan.keep is not None else range(len(plan.items))
    print(f"replay: python -m tests.simulation --seed {failed.seed}"
          f" --keep {','.join(map(str, kept))} --faults {','.join(kinds)} --trace"
          + (f" --broken {rule}" if rule else ""))  # fmt: skip


def _print_plan(plan: plans.Plan) -> None:
    print(plan.settings)
    for number, item in enumerate(plan.items):
        if plan.keep is None or number in plan.keep:
            print(f"  {number}: {item}")


if __name__ == "__main__":
    # Sets of names are walked in the order of their hashes: a seed fixes that too.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    main()
