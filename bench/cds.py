"""CPU of the call data server per call: what each part costs, measured in this process.

    python -m bench.cds [--calls 10000] [--rate 1000] [--only one|two|memory|archive]

Feeds the plugin's parts with the events of ordinary answered calls, in the pattern of a switch
under load: each call's eight events are spread over its life, many calls are alive at once, records
go to a real file. CPU is that of the whole process, the archive's thread included
(``time.process_time``): so progress says what begins and how long it takes, and nothing in between.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sqlite3
import sys
import tempfile
import time
import tracemalloc
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import uvloop

from bench.progress import Progress, Step, load_name
from cdsplugin.archive.rows import Cdr, LegRow, LogRow, PropertyRow, TalkRow, values_of
from cdsplugin.archive.schema import CDR_COLUMNS
from cdsplugin.archive.sqlite import Archive, ArchiveSettings
from cdsplugin.config import Address, CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms.tms import Tms
from softswitch.events import (
    CallEnded,
    CallRouted,
    CallStarted,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegRinging,
    TalkBegan,
    TalkEnded,
)

EVENTS = 8


def call_events(call_id: str, n: int, switch: str, owner: str, at: int) -> list[Event]:
    """An ordinary answered call at one switch."""
    origin = switch == owner
    return [
        CallStarted(
            call_id=call_id,
            at=at,
            switch=switch,
            site="Sunnyvale",
            owner=owner,
            origin=origin,
            caller=f"{1000 + n % 100}",
            caller_name="Alice Example",
            dialled=f"2{n % 1000:03d}",
            party=f"extension:{1000 + n % 100}" if origin else "trunk:hq",
            address=f"udp:127.0.0.1:{20000 + n % 1000}",
            user_agent="SIPp v3.6.1",
            sip_call_id=f"{n}-1234@127.0.0.1",
        ),
        CallRouted(
            call_id=call_id,
            at=at + 200,
            switch=switch,
            match="2XXX",
            where="hq.yaml:12",
            number=f"2{n % 1000:03d}",
            properties={"account": "outbound"} if origin else {},
        ),
        LegInvited(
            call_id=call_id,
            at=at + 400,
            switch=switch,
            leg=1,
            party="trunk:branch" if origin else "extension:2001",
            uri=f"sip:2{n % 1000:03d}@127.0.0.1:5070",
            address="udp:127.0.0.1:5070",
            sip_call_id=f"b{n}-1234@127.0.0.1",
        ),
        LegRinging(
            call_id=call_id, at=at + 9000, switch=switch, leg=1, status=180, early_media=False
        ),
        LegAnswered(
            call_id=call_id,
            at=at + 500_000,
            switch=switch,
            leg=1,
            status=200,
            callee=f"2{n % 1000:03d}",
            codec="PCMU/8000",
            user_agent="SIPp v3.6.1",
        ),
        TalkBegan(
            call_id=call_id,
            at=at + 500_000,
            switch=switch,
            talk=1,
            legs=(0, 1),
            how="dialled",
            by="",
        ),
        LegEnded(
            call_id=call_id,
            at=at + 900_000,
            switch=switch,
            leg=0,
            status=200,
            reason="",
            by="remote",
        ),
        LegEnded(
            call_id=call_id,
            at=at + 900_100,
            switch=switch,
            leg=1,
            status=200,
            reason="",
            by="switch",
        ),
        TalkEnded(call_id=call_id, at=at + 900_100, switch=switch, talk=1),
        CallEnded(
            call_id=call_id,
            at=at + 900_200,
            switch=switch,
            disposition="answered",
            sip_status=200,
            reason="",
            hangup_by="caller",
        ),
    ]


def section(folder: Path, name: str, linger: float, **more: object) -> CdsSection:
    """A server's configuration."""
    return CdsSection(
        server=name, database=folder / f"{name}.db", linger=linger, stop_within=5.0, **more
    )


def call_id(n: int) -> str:
    """Sorts by time, as UUIDv7 does."""
    return f"{time.time_ns() // 1_000_000:012x}-7{n % 4096:03x}-{uuid.uuid4().hex[:20]}"


async def play(tmses: list[tuple[str, Tms]], calls: int, rate: int, alive: int) -> list[float]:
    """Feed events at ``rate`` calls a second, ``alive`` calls at a time; returns CPU seconds of
    each event's place in its call."""
    spent = [0.0] * EVENTS
    live: deque[list[list[Event]]] = deque()
    begun = time.monotonic()
    for n in range(calls + alive):
        if n < calls:
            identity = call_id(n)
            at = time.time_ns() // 1000
            live.append([call_events(identity, n, switch, tmses[0][0], at) for switch, _ in tmses])
            first = live[-1]
            for place in range(4):
                for (_, tms), events in zip(tmses, first, strict=True):
                    before = time.perf_counter()
                    tms.event(events[place])
                    spent[place] += time.perf_counter() - before
        if len(live) > alive or n >= calls:
            for place in range(4, EVENTS):
                for (_, tms), events in zip(tmses, live[0], strict=False):
                    before = time.perf_counter()
                    tms.event(events[place])
                    spent[place] += time.perf_counter() - before
            live.popleft()
        if n % 10 == 9:
            ahead = begun + n / rate - time.monotonic()
            await asyncio.sleep(max(ahead, 0))
    return spent


async def one_server(
    calls: int, rate: int, alive: int, linger: float, journal: bool = True
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = CallDataServer("hq", section(folder, "hq", linger))
        await server.start()
        if not journal:
            server.store.unwatch(server.journal)
        tms = Tms(server.store, server.clock)
        await play([("hq", tms)], 500, rate, 10)  # warm
        gc.collect()
        cpu, loop_cpu = time.process_time(), time.thread_time()
        spent = await play([("hq", tms)], calls, rate, alive)
        await asyncio.sleep(linger + 0.3)
        await asyncio.get_running_loop().run_in_executor(None, server.archive.flush)
        cpu, loop_cpu = time.process_time() - cpu, time.thread_time() - loop_cpu
        idle = time.process_time()
        await play([], calls, rate, alive)
        idle = time.process_time() - idle
        what = "journal" if journal else "no journal"
        print(f"one server, {what}: {(cpu - idle) / calls * 1e6:.1f} us CPU per call")
        print(f"  event loop  {(loop_cpu - idle) / calls * 1e6:.1f}")
        print(f"  the threads of archive and journal  {(cpu - loop_cpu) / calls * 1e6:.1f}")
        print(f"  not counted: the bench's own  {idle / calls * 1e6:.1f}")
        names = ("started", "routed", "invited", "ringing", "answered",
                 "talk began", "leg 0 ended",
                 "leg 1 ended", "talk ended", "ended (with the record's rows)")  # fmt: skip
        for what, seconds in zip(names, spent, strict=True):
            print(f"  {what:32} {seconds / calls * 1e6:6.1f}")
        print(f"  sum of the events                {sum(spent) / calls * 1e6:6.1f}")
        await server.stop()
        db = sqlite3.connect(folder / "hq.db")
        rows = db.execute("select count(*), sum(final) from cdrs").fetchone()
        print(f"  rows, final: {rows}; commits {server.archive.commits};"
              f" journal {server.disk.commits}")  # fmt: skip


async def two_servers(calls: int, rate: int, alive: int, linger: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hq = CallDataServer("hq", section(folder, "hq", linger, listen=Address("127.0.0.1", 0)))
        await hq.start()
        address = Address(*hq.link.address())
        branch = CallDataServer("branch", section(folder, "branch", linger, peers={"hq": address}))
        await branch.start()
        tmses = [("hq", Tms(hq.store, hq.clock)), ("branch", Tms(branch.store, branch.clock))]
        await play(tmses, 500, rate, 10)
        gc.collect()
        frames = hq.proxy.frames_in + hq.proxy.frames_out
        cpu = time.process_time()
        spent = await play(tmses, calls, rate, alive)
        await asyncio.sleep(linger + 0.5)
        await asyncio.get_running_loop().run_in_executor(None, hq.archive.flush)
        cpu = time.process_time() - cpu
        frames = hq.proxy.frames_in + hq.proxy.frames_out - frames
        print(f"two servers, both in this process: {cpu / calls * 1e6:.1f} us CPU per call in sum")
        print(f"  events: {sum(spent) / calls * 1e6:.1f}; frames per call: {frames / calls:.1f}")
        await branch.stop()
        await hq.stop()
        db = sqlite3.connect(folder / "hq.db")
        print("  rows, final:", db.execute("select count(*), sum(final) from cdrs").fetchone(),
              "legs:", db.execute("select count(*) from cdr_legs").fetchone())  # fmt: skip


async def memory(calls: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        server = CallDataServer("hq", section(Path(name), "hq", 30))
        tms = Tms(server.store, server.clock)
        events = [call_events(call_id(n), n, "hq", "hq", n) for n in range(calls)]
        gc.collect()
        tracemalloc.start()
        for of_call in events:
            for event in of_call[:5]:
                tms.event(event)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        strings = sum(
            sys.getsizeof(getattr(e, f))
            for e in events[0][:5] for f in e.__struct_fields__ if isinstance(getattr(e, f), str)
        )  # fmt: skip
        print(f"memory: {held / calls:.0f} bytes per live call with two legs, and at most {strings}"
              " of strings that the switch's events hold too")  # fmt: skip


def archive_alone(calls: int) -> None:
    """The two writes of a call, and sqlite-utils' own upsert for comparison."""

    def rows(n: int) -> tuple[Cdr, list[LegRow], list[PropertyRow], list[LogRow], list[TalkRow]]:
        identity = f"{n:012x}-7000-{uuid.uuid4().hex[:20]}"
        iso = "2026-01-02T03:04:05.678901Z"
        cdr = Cdr(identity, "hq", "hq", "hq", "Sunnyvale", "1001", "Alice", "2001", "2001",
                  "extension:1001", "trunk:branch", "trunk:branch", "2001", "hq", "Sunnyvale", None,
                  '["extension:1001","trunk:branch"]', iso, iso, iso, 12.5, 11.5, "answered", 200,
                  None, "caller", 0)  # fmt: skip
        talk = TalkRow(identity, 0, "hq", "extension:1001", "1001", "trunk:branch", "2001", iso,
                       iso, "dialled", "extension:1001")  # fmt: skip
        legs = [
            LegRow(identity, "hq", leg, "out", "trunk:branch", "2001", "sip:2001@127.0.0.1",
             "udp:127.0.0.1:5070", "SIPp", "PCMU/8000", iso, iso, iso, iso, 200, None, "remote",
             "1-234@127.0.0.1", iso) for leg in range(2)]  # fmt: skip
        properties = [PropertyRow(identity, f"name{i}", "value", iso, "hq") for i in range(10)]
        logs = [LogRow(identity, iso[:-2] + f"{i}Z", "hq", "a line") for i in range(2)]
        return cdr, legs, properties, logs, [talk]

    made = [rows(n) for n in range(calls)]
    for mode in ("normal", "full"):
        with tempfile.TemporaryDirectory() as name:
            archive = Archive(
                Path(name) / "a.db",
                ArchiveSettings(synchronous=mode),  # type: ignore[arg-type]
            )
            archive.open()
            cpu = time.process_time()
            for first in range(0, calls, 20):
                for cdr, legs, properties, logs, talks in made[first : first + 20]:
                    archive.put(cdr=cdr, talks=talks, legs=legs, properties=properties, logs=logs)
                for cdr, *_ in made[max(first - 2000, 0) : max(first - 1980, 0)]:
                    archive.put(finish=cdr.call_id)
                archive.flush()
            archive.close()
            cpu = time.process_time() - cpu
            print(f"archive alone, 2 legs, 10 properties, 2 logs, commits of 20 calls, synchronous"
                  f" {mode}: {cpu / calls * 1e6:.1f} us CPU per call")  # fmt: skip
    from sqlite_utils import Database

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "u.db"
        archive = Archive(path)
        archive.open()
        archive.close()
        db = Database(sqlite3.connect(path))
        cpu = time.process_time()
        for first in range(0, calls, 20):
            with db.atomic() if hasattr(db, "atomic") else db.conn:
                db.table("cdrs").upsert_all(
                    [
                        dict(zip(CDR_COLUMNS, values_of(r[0]), strict=True))
                        for r in made[first : first + 20]
                    ],
                    pk="call_id",
                )
        cpu = time.process_time() - cpu
        print(f"sqlite-utils upsert_all, the row of cdrs alone: {cpu / calls * 1e6:.1f} us CPU")


def _run(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(make())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1000, help="calls a second")
    parser.add_argument("--alive", type=int, default=1000, help="calls up at once")
    parser.add_argument("--linger", type=float, default=2.0)
    parser.add_argument("--only", choices=("one", "two", "memory", "archive"))
    args = parser.parse_args()
    gc.disable()
    played = (args.calls + args.alive) / args.rate
    steps: list[tuple[str, Step, Callable[[], None]]] = []
    for journal in (False, True):
        name = f"one server, {'journal' if journal else 'no journal'}"
        one = partial(one_server, args.calls, args.rate, args.alive, args.linger, journal)
        # Once with the calls, once without: the bench's own part is taken off.
        step = Step(load_name(name, args.calls, args.rate), 1 + 2 * played + args.linger)
        steps.append(("one", step, partial(_run, one)))
    two = partial(two_servers, args.calls, args.rate, args.alive, args.linger)
    step = Step(load_name("two servers", args.calls, args.rate), 1 + played + args.linger)
    steps.append(("two", step, partial(_run, two)))
    steps.append(("memory", Step("memory of 2,000 calls", 1), partial(_run, partial(memory, 2000))))
    steps.append(
        ("archive", Step("the archive alone, 5,000 calls", 1), partial(archive_alone, 5000))
    )
    chosen = [(step, do) for name, step, do in steps if args.only in (None, name)]
    progress = Progress([step for step, _ in chosen])
    for _, do in chosen:
        # What it prints comes after the step: the line on the terminal is gone by then.
        with progress.step(), redirect_stdout(StringIO()) as said:
            do()
        print(said.getvalue(), end="", flush=True)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} KB")


if __name__ == "__main__":
    main()
