"""`python -m bench`: the measurements on the command line, as tables and as JSON.

Tables go to stdout; what runs, and how long it will take, to stderr.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from bench import measure, systems, tables
from bench.measure import Cost, Make, Memory
from bench.process import ProcessFailure
from bench.progress import Progress, Step, load_name
from bench.sipp import SippFailure
from bench.split import MOST, shares
from softswitch import compiled

console = Console(width=160)
F = TypeVar("F", bound=Callable[..., Any])


def load_options(calls: int, rate: float) -> Callable[[F], F]:
    """The options that every load has, with these defaults."""

    def decorate(function: F) -> F:
        for option in (
            click.option("--calls", default=calls, show_default=True, help="Calls per load."),
            click.option("--rate", default=rate, show_default=True, help="Calls per second."),
            click.option("--hold", default=0, show_default=True, help="Milliseconds a call is up."),
            most_option,
            json_option,
        ):
            function = option(function)
        return function

    return decorate


json_option = click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too."
)
most_option = click.option(
    "--per-sipp",
    "most",
    type=click.IntRange(min=1),
    default=MOST,
    show_default=True,
    help="Calls per second of one SIPp; above it several share the load.",
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


@dataclass(frozen=True, slots=True)
class Load:
    """What is placed: `hold` in milliseconds, `most` calls per second by one SIPp."""

    calls: int
    rate: float
    hold: int
    most: int

    def pairs(self) -> int:
        """How many SIPps place it."""
        return len(shares(self.calls, self.rate, self.most))


@dataclass(frozen=True, slots=True)
class Run:
    """A system that takes the load, beside `alive` calls that stay; its call data linger."""

    name: str
    make: Make
    linger: float = 0.0
    alive: int = 0

    def step(self, load: Load) -> Step:
        """As the progress shows it."""
        up = f", {self.alive:,} up" if self.alive else ""
        seconds = measure.cost_seconds(
            load.calls, load.rate, load.hold, self.alive, linger=self.linger
        )
        return Step(load_name(f"{self.name}{up}", load.calls, load.rate, load.pairs()), seconds)


def switch(linger: float, alive: int = 0) -> Run:
    """One switch."""
    return Run("switch", partial(systems.switch, linger=linger), linger, alive)


def two_switches(linger: float) -> Run:
    """Two in a row."""
    return Run("two switches", partial(systems.two_switches, linger=linger), linger)


def measured(load: Load, runs: Sequence[Run], settle: float) -> list[Cost]:
    """Each run's cost, one after the other; they may take `settle` s for their last records."""
    progress = Progress([run.step(load) for run in runs])
    results: list[Cost] = []
    for run in runs:
        with progress.step() as watch:
            result = measure.cost(
                run.make,
                calls=load.calls,
                rate=load.rate,
                hold_ms=load.hold,
                alive=run.alive,
                settle=settle,
                most=load.most,
                watch=watch,
            )
        results.append(result)
    return results


@click.group(help=__doc__)
def main() -> None:
    """The measurements."""


@main.command()
@load_options(20_000, 1000)
@linger_option
@click.option("--two", is_flag=True, help="Two switches in a row; the sum of both is given.")
def cpu(
    calls: int, rate: float, hold: int, most: int, linger: float, two: bool, json_file: Path | None
) -> None:
    """CPU per completed call of one switch, or of two in a row."""
    run = two_switches(linger) if two else switch(linger)
    (result,) = measured(Load(calls, rate, hold, most), [run], linger + 10)
    console.print(tables.costs("CPU per call", [result]))
    write(json_file, "cpu", [result])
    sys.exit(0 if result.clean else 1)


@main.command()
@click.option("--rate", default=1000.0, show_default=True, help="Calls per second.")
@click.option("--seconds", default=60.0, show_default=True, help="For how long.")
@click.option("--hold", default=0, show_default=True, help="Milliseconds a call is up.")
@linger_option
@most_option
@json_option
def rate(
    rate: float, seconds: float, hold: int, linger: float, most: int, json_file: Path | None
) -> None:
    """A rate held for a time: exit 0 only if no call failed and each has one record."""
    load = Load(round(rate * seconds), rate, hold, most)
    (result,) = measured(load, [switch(linger)], linger + 20)
    console.print(tables.costs(f"{rate:g} calls/s for {seconds:g} s", [result]))
    write(json_file, "rate", [result])
    sys.exit(0 if result.clean else 1)


@main.command()
@click.option("--calls", default=10_000, show_default=True, help="Calls up at once.")
@click.option("--ramp", default=400.0, show_default=True, help="Calls per second until then.")
@click.option("--system", type=click.Choice(["switch", "kamailio"]), default="switch")
@linger_option
@most_option
@json_option
def memory(
    calls: int, ramp: float, system: str, linger: float, most: int, json_file: Path | None
) -> None:
    """Memory per call that is up, and what is left after its end."""
    make: Make = partial(systems.switch, linger=linger) if system == "switch" else systems.kamailio
    expected = measure.memory_seconds(calls, ramp, linger if system == "switch" else 0)
    what = load_name(system, calls, ramp, Load(calls, ramp, 0, most).pairs())
    with Progress([Step(what, expected)]).step() as watch:
        result = measure.memory(
            make, calls=calls, ramp=ramp, settle=linger + 15, most=most, watch=watch
        )
    console.print(tables.memory(result))
    write(json_file, "memory", [result])
    sys.exit(0 if result.failed == result.callee_failed == 0 else 1)


@main.command()
@load_options(4_000, 200)
@click.option("--few", default=100, show_default=True, help="Calls alive in the first load.")
@click.option("--many", default=10_000, show_default=True, help="Calls alive in the second.")
@linger_option
def alive(
    calls: int,
    rate: float,
    hold: int,
    most: int,
    few: int,
    many: int,
    linger: float,
    json_file: Path | None,
) -> None:
    """CPU per call while few and while many other calls are up."""
    runs = [switch(linger, alive=up) for up in (few, many)]
    results = measured(Load(calls, rate, hold, most), runs, linger + 10)
    console.print(tables.costs("CPU per call beside calls that are up", results))
    console.print(f"{many} alive cost {results[1].cpu_ms / results[0].cpu_ms:.2f} times {few}.")
    write(json_file, "alive", results)
    sys.exit(0 if not any(result.failed + result.callee_failed for result in results) else 1)


@main.command()
@load_options(20_000, 1000)
@click.option("--workers", default=1, show_default=True, help="Kamailio's UDP workers.")
def kamailio(
    calls: int, rate: float, hold: int, most: int, workers: int, json_file: Path | None
) -> None:
    """The same load through Kamailio: stateful, dialog, one record a call in SQLite."""
    run = Run("kamailio", partial(systems.kamailio, workers=workers))
    (result,) = measured(Load(calls, rate, hold, most), [run], 15)
    console.print(systems.version("kamailio"))
    console.print(tables.costs("CPU per call", [result]))
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
    most: int,
    linger: float,
    rounds: int,
    workers: int,
    two: bool,
    json_file: Path | None,
) -> None:
    """The switch and Kamailio in turn, several rounds: medians and their ratio."""
    runs = [switch(linger), Run("kamailio", partial(systems.kamailio, workers=workers))]
    if two:
        runs.append(two_switches(linger))
    results = measured(Load(calls, rate, hold, most), runs * rounds, linger + 10)
    title = f"{rounds} rounds in turn; the switch is {compiled.state()}"
    console.print(tables.costs(title, results))
    console.print(tables.medians(results))
    write(json_file, "compare", results)
    sys.exit(0 if all(result.clean for result in results) else 1)


if __name__ == "__main__":
    try:
        main()
    except (ProcessFailure, SippFailure) as failure:
        console.print(f"[red]{failure}[/red]")
        sys.exit(2)
