"""How far a run is and how long it takes, on stderr: tables and figures stay alone on stdout.

On a terminal it is one line that changes and goes when the step is over; elsewhere (a pipe, CI) a
line at the start of each step and one every ten seconds. Nothing runs between two words of who
measures, so that what is measured in this very process (``bench.cds``, ``bench.scale``) has
nothing of it as long as it keeps still.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

Watch = Callable[[str, float | None], None]
"""Told what goes on, and how many seconds that will still take, if that is known."""


def unwatched(what: str, left: float | None = None) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Step:
    """One of the measurements of a run, and how many seconds it is expected to take."""

    what: str
    seconds: float


def duration(seconds: float) -> str:
    """As one would say it: seconds up to a minute and a half, then minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def load_name(name: str, calls: int, rate: float, pairs: int = 1) -> str:
    """What a load is called: by whom it is taken, its calls, and who places them if several do."""
    shared = "" if pairs == 1 else f" from {pairs} SIPps to {pairs}"
    return f"{name}, {calls:,} calls at {rate:,g}/s{shared}"


def remaining(done: int, total: int, rate: float, elapsed: float) -> float:
    """Seconds until `total` are done: at `rate` a second, or at the pace seen if that is slower."""
    # The counts that are looked at are a second old: too early no pace is to be seen.
    pace = min(rate, done / elapsed) if done and elapsed > 5 else rate
    return max(total - done, 0) / pace


class Course:
    """The steps of a run: which one it is at, and how long all will take. No clock, no output."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._took: list[float] = []

    def over(self, seconds: float) -> None:
        """The current step is over and took so long."""
        self._took.append(seconds)

    def _expected(self, step: Step) -> float:
        """What the same step took the last time; before that, what it is expected to take."""
        done = zip(self._steps, self._took, strict=False)
        return next((took for past, took in reversed(list(done)) if past == step), step.seconds)

    def total(self, elapsed: float, left: float | None = None) -> float:
        """Seconds of the whole run, `elapsed` seconds into the current step."""
        current, *later = self._steps[len(self._took) :]
        this = max(self._expected(current), elapsed + (left or 0))
        return sum(self._took) + this + sum(self._expected(step) for step in later)

    def share(self, elapsed: float, left: float | None = None) -> float:
        """How much of the run is over, from 0 to 1."""
        return (sum(self._took) + elapsed) / max(self.total(elapsed, left), 0.001)

    def text(self, elapsed: float, doing: str = "", left: float | None = None) -> str:
        """The line that tells all that."""
        place = len(self._took)
        which = f"{place + 1} of {len(self._steps)}: " if len(self._steps) > 1 else ""
        now = f": {doing}" if doing else ""
        more = "" if left is None else f", {duration(left)} left"
        total = duration(self.total(elapsed, left))
        return f"{which}{self._steps[place].what}{now}{more}; about {total} in all"


class Progress:
    """Shows the steps of a run as they are gone through."""

    def __init__(
        self,
        steps: Sequence[Step],
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._course = Course(steps)
        self._stream = stream or sys.stderr
        self._clock = clock

    @contextmanager
    def step(self) -> Iterator[Watch]:
        """The next step is what the block does; it tells how far it is. stdout is free after it."""
        began = self._clock()
        console = Console(file=self._stream)
        terminal = self._stream.isatty() and not console.is_dumb_terminal
        with _bar(console) if terminal else _lines(self._stream) as show:
            shown = began
            show(self._course.text(0), self._course.share(0))

            def watch(doing: str, left: float | None = None) -> None:
                nonlocal shown
                now = self._clock()
                if terminal or now - shown >= EVERY:
                    shown, elapsed = now, now - began
                    share = self._course.share(elapsed, left)
                    show(self._course.text(elapsed, doing, left), share)

            yield watch
        self._course.over(self._clock() - began)


Show = Callable[[str, float], None]


@contextmanager
def _lines(stream: TextIO) -> Iterator[Show]:
    yield lambda text, share: print(text, file=stream, flush=True)


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    # Without a thread of its own, and stdout left alone: tables are read from there.
    bar = Bar(
        BarColumn(20),
        text,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=share, refresh=True)
