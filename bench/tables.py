"""The figures as tables. What went wrong stands in each: failed calls, sent again, dropped."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from rich.table import Table

from bench.measure import Cost, Memory

TROUBLE = ("failed", "sent again", "dropped", "by system")
"""Calls failed at either side, messages sent again by either, datagrams dropped by any socket of
the network namespace, and by the system's own."""


def trouble(results: Sequence[Cost | Memory]) -> list[str]:
    """The columns of `TROUBLE`, in sum."""
    return [
        str(sum(result.failed + result.callee_failed for result in results)),
        str(sum(result.retransmissions + result.callee_retransmissions for result in results)),
        str(sum(result.dropped for result in results)),
        str(sum(result.dropped_by_system for result in results)),
    ]


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "system" else "right")
    return table


def costs(title: str, results: Iterable[Cost]) -> Table:
    """One line per load."""
    load = ("system", "alive", "calls/s", "calls", "completed")
    cost = ("answer ms", "CPU ms/call", "records", "memory MB")
    table = _table(title, *load, *TROUBLE, *cost)
    for result in results:
        distinct = (
            "" if result.rows == result.rows_distinct else f" of {result.rows_distinct} calls"
        )
        pending = f" ({result.rows_unfinished} not final)" if result.rows_unfinished else ""
        table.add_row(
            result.system,
            str(result.alive),
            f"{result.rate:g}" + (f" ({result.pairs} SIPps)" if result.pairs > 1 else ""),
            str(result.calls),
            str(result.completed),
            *trouble([result]),
            f"{result.response_ms:.1f}",
            f"{result.cpu_ms:.3f}",
            f"{result.rows}{distinct}{pending}",
            f"{result.memory_before / 1e6:.0f} → {result.memory_after / 1e6:.0f}",
        )
    return table


def medians(results: Sequence[Cost]) -> Table:
    """One line per system: medians of what it cost, and how that compares with Kamailio's."""
    table = _table("Medians", "system", "CPU ms/call", "of Kamailio's", "answer ms", *TROUBLE)
    by_system: dict[str, list[Cost]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result)
    medians = {
        name: statistics.median(cost.cpu_ms for cost in costs) for name, costs in by_system.items()
    }
    peer = next(value for name, value in medians.items() if name.startswith("kamailio"))
    for name, of_one in by_system.items():
        table.add_row(
            name,
            f"{medians[name]:.3f}",
            f"{medians[name] / peer:.2f}",
            f"{statistics.median(cost.response_ms for cost in of_one):.1f}",
            *trouble(of_one),
        )
    return table


def memory(result: Memory) -> Table:
    """What the calls take."""
    title = f"{result.calls} calls up at once"
    sizes = ("before MB", "up MB", "after MB", "KB per call")
    table = _table(title, "system", *sizes, *TROUBLE)
    table.add_row(
        result.system,
        *(f"{size / 1e6:.1f}" for size in (result.before, result.up, result.after)),
        f"{result.per_call / 1000:.1f}",
        *trouble([result]),
    )
    return table
