"""What an update and an idle server cost, with 3 servers and 10 calls and with 1,000 and 100,000.

    python -m bench.scale                    # about a minute
    python -m bench.scale --servers 100 --calls 10000

The real store, clock and proxy of each server, in one process under the simulation's scheduler,
with its network (frames are encoded and decoded). Work is counted in two ways: CPU time, which
grows somewhat as the data of 1,000 servers does not fit into one processor's caches, and calls of
functions, which tell whether anything is gone through that need not be. Without journal and
archive: their work for an update depends on that update alone; ``bench.cds`` measures it. There are
no sockets in it: nothing is dropped or sent again. Progress is silent while CPU is measured.
"""

from __future__ import annotations

import gc
import random
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.progress import Progress, Step, Watch, unwatched
from cdsplugin.data.call import Call
from cdsplugin.data.clock import Clock
from cdsplugin.data.frames import Alive, Frame, Update
from cdsplugin.data.store import Store, StoreLimits
from cdsplugin.proxy.network_proxy import NetworkProxy
from tests.simulation.network import SimLink, SimNetwork
from tests.simulation.scheduler import Machine, ProcessTimers, World

SECOND = 1_000_000
UPDATES = 20_000
UPDATE_EVERY_US = 500
IDLE_SECONDS = 30
_LEG = {"direction": "out", "party": "extension:2001", "status": 200, "callee": "2001"}


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one size. Times are CPU; memory in kilobytes."""

    servers: int
    calls: int
    participants: float
    messages: float
    update_us: float
    update_calls: float
    alive_frames: float
    alive_us: float
    idle_kilobytes: float
    kilobytes_a_call: float
    quiet_frames: int


class _Client:
    """A switch's module, as far as the store knows it."""

    def updated(self, call: Call, properties: object, logs: object) -> None:
        """No use for it."""

    def ended(self, call: Call) -> None:
        """No use for it."""


class Site:
    """A server with one local client."""

    __slots__ = ("client", "name", "proxy", "store")

    def __init__(self, world: World, network: SimNetwork, name: str, peers: set[str]) -> None:
        self.name = name
        self.client = _Client()
        timers = ProcessTimers(Machine(world, 0, 0), lambda: None)
        clock = Clock(name, timers)
        self.store = Store(name, clock, timers, StoreLimits(30.0, 60.0, 1000))
        link = SimLink(network, name, peers)
        self.proxy = NetworkProxy(self.store, clock, timers, link)
        link.receiver = self.proxy
        network.links[name] = link
        network.powered.add(name)
        self.store.initialize()


def measure(servers: int, calls: int, seed: int = 1, watch: Watch = unwatched) -> Measured:
    """Build it up, let it idle, update it."""
    rng = random.Random(seed)
    tracemalloc.start()
    world = World(seed)
    network = SimNetwork(world, 500, 0)
    counted: dict[type, int] = {}

    def count(sender: str, receiver: str, frame: Frame) -> None:
        counted[type(frame)] = counted.get(type(frame), 0) + 1

    network.on_frame = count
    names = [f"site-{n:04d}" for n in range(servers)]
    everybody = set(names)
    sites = [Site(world, network, name, everybody) for name in names]
    empty = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    _run(world, 60)
    quiet = sum(counted.values())
    gc.collect()
    before = _kilobytes()
    live: list[tuple[str, Site, list[Site]]] = []
    shared = 0
    for n in range(calls):
        owner = n % servers
        # Calls go mostly to the same few other sites, as people's do; some to a third one as well.
        others = [(owner + rng.choice((1, 2, 3, 5, 8))) % servers]
        if n % 4 == 0:
            others.append((owner + 13) % servers)
        parties = [sites[o] for o in dict.fromkeys(others) if o != owner]
        shared += len(parties)
        call_id = f"0199c0de-{n:012d}"
        live.append((call_id, sites[owner], parties))
        for site in (sites[owner], *parties):
            site.store.register(site.client, call_id, names[owner])
            site.store.write(site.client, call_id, site.name, {f"leg/{site.name}/0": _LEG})
        if n % 100 == 99:
            _run(world, 0.01)
        if n % 1000 == 999:
            watch(f"{n + 1:,} calls begun", None)
    _run(world, 5)
    gc.collect()
    full = _kilobytes()
    gc.freeze()
    gc.disable()
    counted.clear()
    watch("idles", None)
    idle = _run(world, IDLE_SECONDS)
    alives = counted.get(Alive, 0)
    counted.clear()
    watch("updates", None)
    begun = time.process_time()
    _update(world, live, rng, UPDATES)
    spent = time.process_time() - begun
    messages = counted.get(Update, 0)
    spent -= idle * (UPDATES * UPDATE_EVERY_US / SECOND) / IDLE_SECONDS
    _run(world, 5)
    idle_calls = _calls(lambda: _run(world, 5))
    update_calls = _calls(lambda: _update(world, live, rng, 5 * SECOND // UPDATE_EVERY_US))
    gc.enable()
    gc.unfreeze()
    return Measured(
        servers,
        calls,
        shared / calls,
        messages / UPDATES,
        spent / UPDATES * 1e6,
        (update_calls - idle_calls) / (5 * SECOND // UPDATE_EVERY_US),
        alives / servers / IDLE_SECONDS,
        idle / servers / IDLE_SECONDS * 1e6,
        empty / servers,
        (full - before) / calls,
        quiet,
    )


def _update(
    world: World, live: list[tuple[str, Site, list[Site]]], rng: random.Random, count: int
) -> None:
    """A random participant of a random call changes a property; so many times."""
    for n in range(count):
        call_id, owner, parties = live[rng.randrange(len(live))]
        site = rng.choice((owner, *parties))
        site.store.write(site.client, call_id, site.name, {f"leg/{site.name}/0": {**_LEG, "n": n}})
        until = world.now + UPDATE_EVERY_US
        while world.step(until):
            pass


def _calls(do: Callable[[], object]) -> int:
    """How many functions were called, Python's and C's."""
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(profile)
    try:
        do()
    finally:
        sys.setprofile(None)
    return count


def _run(world: World, seconds: float) -> float:
    """Let simulated time pass; returns the CPU seconds that it took."""
    begun = time.process_time()
    until = world.now + int(seconds * SECOND)
    while world.step(until):
        pass
    return time.process_time() - begun


def _kilobytes() -> float:
    """Memory of this process at present."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


@click.command(help=__doc__)
@click.option("--servers", default=1000, show_default=True)
@click.option("--calls", default=100_000, show_default=True)
def main(servers: int, calls: int) -> None:
    wanted = [(3, 10), (30, 1000), (servers, calls)]
    progress = Progress(
        [Step(f"{s:,} servers, {c:,} calls", 1 + s / 250 + c / 5000) for s, c in wanted]
    )
    sizes = []
    for size in wanted:
        with progress.step() as watch:
            sizes.append(measure(*size, watch=watch))
    table = Table("", *(f"{m.servers} servers, {m.calls} calls" for m in sizes))
    rows = (
        ("participants besides the owner, a call", "{0.participants:.2f}"),
        ("messages an update", "{0.messages:.2f}"),
        ("CPU an update, everywhere, µs", "{0.update_us:.1f}"),
        ("functions called an update, everywhere", "{0.update_calls:.0f}"),
        ("Alive a server sends a second", "{0.alive_frames:.2f}"),
        ("CPU a server with calls takes a second, nothing changing, µs", "{0.alive_us:.0f}"),
        ("frames in 60 s while no call is alive", "{0.quiet_frames}"),
        ("memory of a server without calls, kB", "{0.idle_kilobytes:.0f}"),
        ("memory of a call, all its copies, kB", "{0.kilobytes_a_call:.1f}"),
    )
    for name, text in rows:
        table.add_row(name, *(text.format(m) for m in sizes))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
