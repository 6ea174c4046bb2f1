"""`python -m bench`: the measurements on the command line, as tables and as JSON."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from bench import measure, systems
from bench.measure import Cost, Make, Memory
from bench.process import ProcessFailure
from bench.sipp import SippFailure
from softswitch import compiled

console = Console(width=140)
F = TypeVar("F", bound=Callable[..., Any])


def load_options(calls: int, rate: float) -> Callable[[F], F]:
    """The options that every load has, with these defaults."""

    def decorate(function: F) -> F:
        for option in (
            click.option("--calls", default=calls, show_default=True, help="Calls per load."),
            click.option("--rate", default=rate, show_default=True, help="Calls per second."),
            click.option("--hold", default=0, show_default=True, help="Milliseconds a call is up."),
            json_option,
        ):
            function = option(function)
        return function

    return decorate


json_option = click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too."
)
linger_option = click.option(
    "--linger", default=5.0, show_default=True, help="Seconds call data outlives its call."
)


def write(file: Path | None, command: str, results: Iterable[Cost | Memory]) -> None:
    """The figures as JSON, with the machine they were taken on."""
    if file is None:
        return
    machine = {"processor": _processor(), "python": platform.python_version()}
    figures = [asdict(result) for result in results]
    file.write_text(
        json.dumps({"command": command, **machine, "results": figures}, indent=2) + "\n"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def cost_table(title: str, results: Iterable[Cost]) -> None:
    """One line per load."""
    table = Table(title=title)
    for heading in ("system", "alive", "calls/s", "calls", "completed", "failed", "sent again"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    for heading in ("answer ms", "CPU ms/call", "records", "memory MB"):
        table.add_column(heading, justify="right")
    for cost in results:
        distinct = "" if cost.rows == cost.rows_distinct else f" of {cost.rows_distinct} calls"
        pending = f" ({cost.rows_unfinished} not final)" if cost.rows_unfinished else ""
        table.add_row(
            cost.system,
            str(cost.alive),
            f"{cost.rate:g}",
            str(cost.calls),
            str(cost.completed),
            str(cost.failed + cost.callee_failed),
            str(cost.retransmissions + cost.callee_retransmissions),
            f"{cost.response_ms:.1f}",
            f"{cost.cpu_ms:.3f}",
            f"{cost.rows}{distinct}{pending}",
            f"{cost.memory_before / 1e6:.0f} → {cost.memory_after / 1e6:.0f}",
        )
    console.print(table)


@click.group(help=__doc__)
def main() -> None:
    """The measurements."""


@main.command()
@load_options(20_000, 1000)
@linger_option
@click.option("--two", is_flag=True, help="Two switches in a row; the sum of both is given.")
def cpu(
    calls: int, rate: float, hold: int, linger: float, two: bool, json_file: Path | None
) -> None:
    """CPU per completed call of one switch, or of two in a row."""
    make: Make = partial(systems.two_switches if two else systems.switch, linger=linger)
    result = measure.cost(make, calls=calls, rate=rate, hold_ms=hold, settle=linger + 10)
    cost_table("CPU per call", [result])
    write(json_file, "cpu", [result])
    sys.exit(0 if result.clean else 1)


@main.command()
@click.option("--rate", default=1000.0, show_default=True, help="Calls per second.")
@click.option("--seconds", default=60.0, show_default=True, help="For how long.")
@click.option("--hold", default=0, show_default=True, help="Milliseconds a call is up.")
@linger_option
@json_option
def rate(rate: float, seconds: float, hold: int, linger: float, json_file: Path | None) -> None:
    """A rate held for a time: exit 0 only if no call failed and each has one record."""
    make: Make = partial(systems.switch, linger=linger)
    calls = round(rate * seconds)
    result = measure.cost(make, calls=calls, rate=rate, hold_ms=hold, settle=linger + 20)
    cost_table(f"{rate:g} calls/s for {seconds:g} s", [result])
    write(json_file, "rate", [result])
    sys.exit(0 if result.clean else 1)


@main.command()
@click.option("--calls", default=10_000, show_default=True, help="Calls up at once.")
@click.option("--ramp", default=400.0, show_default=True, help="Calls per second until then.")
@click.option("--system", type=click.Choice(["switch", "kamailio"]), default="switch")
@linger_option
@json_option
def memory(calls: int, ramp: float, system: str, linger: float, json_file: Path | None) -> None:
    """Memory per call that is up, and what is left after its end."""
    make: Make = partial(systems.switch, linger=linger) if system == "switch" else systems.kamailio
    result = measure.memory(make, calls=calls, ramp=ramp, settle=linger + 15)
    table = Table(title=f"{calls} calls up at once")
    for heading in ("system", "before MB", "up MB", "after MB", "KB per call", "failed"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    sizes = [f"{size / 1e6:.1f}" for size in (result.before, result.up, result.after)]
    table.add_row(result.system, *sizes, f"{result.per_call / 1000:.1f}", str(result.failed))
    console.print(table)
    write(json_file, "memory", [result])
    sys.exit(0 if result.failed == 0 else 1)


@main.command()
@load_options(4_000, 200)
@click.option("--few", default=100, show_default=True, help="Calls alive in the first load.")
@click.option("--many", default=10_000, show_default=True, help="Calls alive in the second.")
@linger_option
def alive(
    calls: int,
    rate: float,
    hold: int,
    few: int,
    many: int,
    linger: float,
    json_file: Path | None,
) -> None:
    """CPU per call while few and while many other calls are up."""
    make: Make = partial(systems.switch, linger=linger)
    results = [
        measure.cost(make, calls=calls, rate=rate, hold_ms=hold, alive=up, settle=linger + 10)
        for up in (few, many)
    ]
    cost_table("CPU per call beside calls that are up", results)
    console.print(f"{many} alive cost {results[1].cpu_ms / results[0].cpu_ms:.2f} times {few}.")
    write(json_file, "alive", results)
    sys.exit(0 if not any(result.failed for result in results) else 1)


@main.command()
@load_options(20_000, 1000)
@click.option("--workers", default=1, show_default=True, help="Kamailio's UDP workers.")
def kamailio(calls: int, rate: float, hold: int, workers: int, json_file: Path | None) -> None:
    """The same load through Kamailio: stateful, dialog, one record a call in SQLite."""
    make: Make = partial(systems.kamailio, workers=workers)
    result = measure.cost(make, calls=calls, rate=rate, hold_ms=hold, settle=15)
    console.print(systems.version("kamailio"))
    cost_table("CPU per call", [result])
    write(json_file, "kamailio", [result])
    sys.exit(0 if result.clean else 1)


@main.command()
@load_options(20_000, 1000)
@linger_option
@click.option("--rounds", default=3, show_default=True, help="Rounds; each system once in each.")
@click.option("--workers", default=1, show_default=True, help="Kamailio's UDP workers.")
@click.option("--two/--no-two", default=False, help="Two switches in a row as well.")
def compare(
    calls: int,
    rate: float,
    hold: int,
    linger: float,
    rounds: int,
    workers: int,
    two: bool,
    json_file: Path | None,
) -> None:
    """The switch and Kamailio in turn, several rounds: medians and their ratio."""
    makes: list[Make] = [
        partial(systems.switch, linger=linger),
        partial(systems.kamailio, workers=workers),
    ]
    if two:
        makes.append(partial(systems.two_switches, linger=linger))
    results: list[Cost] = []
    for _ in range(rounds):
        for make in makes:
            results.append(
                measure.cost(make, calls=calls, rate=rate, hold_ms=hold, settle=linger + 10)
            )
    cost_table(f"{rounds} rounds in turn; the switch is {compiled.state()}", results)
    _medians(results)
    write(json_file, "compare", results)
    sys.exit(0 if all(result.clean for result in results) else 1)


def _medians(results: Sequence[Cost]) -> None:
    table = Table(title="Medians")
    for heading in ("system", "CPU ms/call", "of Kamailio's", "answer ms", "failed"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    by_system: dict[str, list[Cost]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result)
    medians = {
        name: statistics.median(cost.cpu_ms for cost in costs) for name, costs in by_system.items()
    }
    peer = next(value for name, value in medians.items() if name.startswith("kamailio"))
    for name, costs in by_system.items():
        table.add_row(
            name,
            f"{medians[name]:.3f}",
            f"{medians[name] / peer:.2f}",
            f"{statistics.median(cost.response_ms for cost in costs):.1f}",
            str(sum(cost.failed + cost.callee_failed for cost in costs)),
        )
    console.print(table)


if __name__ == "__main__":
    try:
        main()
    except (ProcessFailure, SippFailure) as failure:
        console.print(f"[red]{failure}[/red]")
        sys.exit(2)
