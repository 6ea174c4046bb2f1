"""The rounds of ``make faults`` on the command line: how far they are, and a table at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.bad_days.plan import KINDS, plans
from bench.bad_days.rounds import WITHIN, Round, folder, run
from bench.bad_days.sites import small_disks
from bench.progress import Progress, Step

SHOWN = 30
"""Calls whose wrong records are shown, in each round."""
ROUND = 25.0
"""Seconds of a round besides its calls, about: starts, the last calls, the records."""


def main(
    rounds: int, seconds: float, rate: float, seed: int, only: int | None = None, keep: bool = False
) -> bool:
    """Run them, or one of them alone, and print what came of it; whether all records were right in
    time. ``rate`` is of calls a second at each site."""
    print(f"seed {seed}: {rounds} rounds of {seconds:g} s, {3 * rate:g} calls a second", flush=True)
    kinds = [kind for kind in KINDS if kind != "full" or small_disks()]
    planned = dict(enumerate(plans(seed, rounds, seconds, kinds), 1))
    if only is not None:
        planned = {only: planned[only]}
    step = Step(f"{seconds:g} s of faults, {3 * rate:g} calls/s", seconds + ROUND)
    progress = Progress([step] * len(planned))
    found: list[Round] = []
    for number, faults in planned.items():
        with folder(keep) as directory, progress.step() as watch:
            if keep:
                print(directory, file=sys.stderr)
            one = run(directory, seed + number, faults, rate=rate, watch=watch)
        found.append(one)
        print(_line(number, one), flush=True)
        _explain(one)
    _print_table(found)
    return not any(one.wrong for one in found)


def _line(number: int, one: Round) -> str:
    faults = ", ".join(f"with {fault}" if fault.beside else str(fault) for fault in one.faults)
    return (
        f"{number}: {faults}: {one.calls} calls, {one.notes} notes, {len(one.wrong)} wrong,"
        f" all right after {one.took:.1f} s"
    )


def _explain(one: Round) -> None:
    """What is wrong, call by call."""
    if len(one.wrong) > SHOWN:
        print(f"  the first {SHOWN} of {len(one.wrong)}:")
    for caller, said in list(one.wrong.items())[:SHOWN]:
        print(f"  {caller}: {'; '.join(said)}")
        if one.rows.get(caller):
            print(one.rows[caller])


def _print_table(found: Sequence[Round]) -> None:
    kinds = Counter(fault.kind for one in found for fault in one.faults)
    refused: Counter[str] = Counter()
    for one in found:
        refused.update(one.unacknowledged)
    table = Table(title="Bad days: three sites and a server without a switch", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "rounds": str(len(found)),
        "faults": f"{sum(kinds.values())}: " + ", ".join(f"{n} {k}" for k, n in kinds.items()),
        "calls of which the caller was told something": str(sum(one.calls for one in found)),
        "  answered": str(sum(one.answered for one in found)),
        "notes acknowledged": str(sum(one.notes for one in found)),
        "  not acknowledged": ", ".join(f"{n} {k}" for k, n in refused.items()) or "none",
        f"records or notes wrong {WITHIN:g} s after the healing": str(
            sum(len(one.wrong) for one in found)
        ),
        "until all were right, at most": f"{max((one.took for one in found), default=0):.1f} s",
        "calls that stood in two servers' records": str(sum(one.doubled for one in found)),
        "  for, at most": f"{max((one.doubled_for for one in found), default=0):.1f} s",
        "  after the healing, at most": (
            f"{max((one.doubled_after for one in found), default=0):.1f} s"
        ),
        "calls that a server took for live at the end": str(sum(one.alive for one in found)),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(width=110)
    console.print(table)
    if not small_disks():
        console.print("No disk was filled up: that takes a tmpfs, and root.")
