"""Rounds: calls, notes and faults, and how long it takes until all records are right."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.bad_days.desk import Desk, Note, at_the_desk
from bench.bad_days.faults import Faults
from bench.bad_days.plan import Planned
from bench.bad_days.sites import ROW, Sites, databases, made
from bench.bad_days.truth import Heard, Records, as_text, heard, judge, records
from bench.progress import Watch, unwatched
from bench.sipp import Sipp, sipp_callee, start_caller

WITHIN = 10.0
"""Seconds after the healing, or after a call's own end if that is later, until its row is right."""
PATIENCE = 20.0
"""Seconds more for which those that are late are watched, so that late and never differ."""
SHARE = 0.5
"""Of the calls, those to which the desk writes."""


@dataclass(slots=True)
class Doubled:
    """Calls with rows in the files of several servers, from the first look to the last that saw
    it (time.time)."""

    seen: dict[str, list[float]] = field(default_factory=dict)

    def look(self, sites: Sites) -> None:
        """Look now."""
        where: dict[str, int] = {}
        for site in sites.all():
            try:
                with sqlite3.connect(f"file:{site.database}?mode=ro", uri=True, timeout=1) as file:
                    for (call_id,) in file.execute("SELECT call_id FROM cdrs"):
                        where[call_id] = where.get(call_id, 0) + 1
                file.close()
            except sqlite3.OperationalError:
                continue  # it is away at present
        now = time.time()
        for call_id in [call_id for call_id, count in where.items() if count > 1]:
            self.seen.setdefault(call_id, [now, now])[1] = now

    def longest(self, after: float = 0.0) -> float:
        """The longest that a call was seen so, in seconds; only what was after that moment."""
        spans = (last - max(first, after) for first, last in self.seen.values())
        return max((span for span in spans if span > 0), default=0.0)


@dataclass(frozen=True, slots=True)
class Round:
    """What came of it. ``wrong`` is by caller's number what is wrong with its record, when it had
    to be right; ``took`` the seconds until the last one was right (None: some never were)."""

    seed: int
    faults: list[Planned]
    calls: int
    answered: int
    notes: int
    unacknowledged: dict[str, int]
    wrong: dict[str, list[str]]
    rows: dict[str, str]
    """The rows of those that are wrong, as text."""
    took: float
    slowest: tuple[float, list[str]]
    right: bool
    doubled: int
    doubled_for: float
    doubled_after: float
    """Seconds that rows stood twice, at most: in all, and after the last healing."""
    alive: int
    """Calls that some server took for live at the end."""


def run(
    directory: Path,
    seed: int,
    faults: Sequence[Planned],
    *,
    rate: float = 8.0,
    watch: Watch = unwatched,
) -> Round:
    """One round: these faults. ``rate`` is of calls a second at each of the three sites; who calls
    whom, and what is typed when, comes by the seed."""
    rng = random.Random(seed)
    watch("starts", None)
    with ExitStack() as stack:
        carriers = {
            name: stack.enter_context(
                sipp_callee("uas-answered", hold_ms=100, timeout=200, grace=0.2, args=("-aa",))
            )
            for name in ROW
        }
        sites = stack.enter_context(made(directory, {n: c.port for n, c in carriers.items()}))
        for site in sites.all():
            site.launch()
        for site in sites.all():
            site.ready()
        callers = stack.enter_context(_calling(directory, sites, rng, rate))
        desk = stack.enter_context(at_the_desk(sites, rng, SHARE))
        doubled = Doubled()
        stack.enter_context(_looking(doubled, sites))
        done = Faults(sites)
        time.sleep(1.0)
        healed = done.run(faults, lambda what: watch(what, None))
        for caller in callers:
            caller.no_more()
        watch("waits for the records", None)
        end = _settled(directory, sites, desk, callers, done, healed)
        alive = sum(len(site.get("/calls?state=live")["calls"]) for site in sites.all())
        told = [call for call in end.calls if call.told is not None]
        return Round(
            seed=seed,
            faults=list(faults),
            calls=len(told),
            answered=sum(call.answered is not None for call in told),
            notes=len(desk.taken),
            unacknowledged=dict(sorted(desk.answers.items())),
            wrong=end.wrong,
            rows={caller: as_text(end.records.rows.get(caller, ())) for caller in end.wrong},
            took=max((seconds for seconds, _ in end.slow.values()), default=0.0),
            slowest=max(end.slow.values(), default=(0.0, [])),
            right=end.right,
            doubled=len(doubled.seen),
            doubled_for=doubled.longest(),
            doubled_after=doubled.longest(healed),
            alive=alive,
        )


@contextmanager
def _calling(
    directory: Path, sites: Sites, rng: random.Random, rate: float
) -> Iterator[list[Sipp]]:
    """The phones of all sites, placing calls until they are told to stop."""
    callers: list[Sipp] = []
    try:
        for place, site in enumerate(sites.row(), 1):
            lines = ["SEQUENTIAL"]
            for number in range(int(rate * 300)):
                dialled = f"{rng.randint(1, 3)}{rng.randrange(1000):03d}"
                lines.append(f"{dialled};{place}{number:05d};{rng.randint(200, 6000)}")
            numbers = directory / f"{site.name}.csv"
            numbers.write_text("\n".join(lines) + "\n")
            trace = ("-trace_msg", "-message_file", str(_trace(directory, site.name)))
            callers.append(
                start_caller(
                    "uac-csv",
                    site.address,
                    calls=len(lines) - 1,
                    rate=rate,
                    port=sites.phones[site.name],
                    timeout=200,
                    args=("-inf", str(numbers), "-aa", *trace),
                )
            )
        yield callers
    finally:
        for caller in callers:
            caller.kill()


def _trace(directory: Path, name: str) -> Path:
    return directory / f"{name}.messages.log"


@contextmanager
def _looking(doubled: Doubled, sites: Sites) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            doubled.look(sites)

    thread = threading.Thread(target=look, name="doubled", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@dataclass(frozen=True, slots=True)
class _End:
    calls: list[Heard]
    records: Records
    wrong: dict[str, list[str]]
    slow: dict[str, tuple[float, list[str]]]
    """By caller, how long its record was not right yet, and what was wrong with it at last."""
    right: bool


def _settled(
    directory: Path, sites: Sites, desk: Desk, callers: list[Sipp], done: Faults, healed: float
) -> _End:
    """Look until all is right, or it is too late. What was not right in time is wrong, though it
    be right later."""
    late: dict[str, list[str]] = {}
    slow: dict[str, tuple[float, list[str]]] = {}
    calls: list[Heard] = []
    calling = True
    while True:
        looked = time.time()
        if calling:
            calling = any(not caller.ended(0) for caller in callers)
            calls = [c for name in ROW for c in heard(_trace(directory, name), name).values()]
        notes = list(desk.taken)
        found = records(databases(sites.all()))
        wrong = judge(calls, found, notes, done.done)
        due = _due(calls, found, notes, healed)
        talking = {call.caller for call in calls if calling and not call.ended}
        for caller, said in wrong.items():
            if caller not in talking and (caller in due or not calling):
                since = looked - due.get(caller, healed)
                slow[caller] = since, said
                if since > WITHIN:
                    late.setdefault(caller, said)
        if not wrong and not calling:
            return _End(calls, found, late, slow, True)
        if looked > max([healed, *due.values()]) + WITHIN + PATIENCE or looked > healed + 90:
            return _End(calls, found, {**wrong, **late}, slow, False)
        time.sleep(0.1)


def _due(calls: list[Heard], found: Records, notes: list[Note], healed: float) -> dict[str, float]:
    """From when on nothing is left to wait for but the servers, by caller: all is healed, the call
    is over, and the last note was taken."""
    taken: dict[str, float] = {}
    for note in notes:
        taken[note.call_id] = max(note.taken, taken.get(note.call_id, 0.0))
    due = {call.caller: max(healed, call.over) for call in calls}
    for caller, rows in found.rows.items():
        for _, row in rows:
            due[caller] = max(due.get(caller, healed), taken.get(row["call_id"], 0.0))
    return due


@contextmanager
def folder(keep: bool) -> Iterator[Path]:
    """A folder for a round; it is left for people to look at if that is wanted."""
    path = Path(tempfile.mkdtemp(prefix="bad-days-"))
    try:
        yield path
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)
