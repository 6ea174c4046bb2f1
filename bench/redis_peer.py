"""An update's way beside Redis: `python -m bench.redis_peer [--rounds 12] [--updates 400]`.

What is compared is one change of a call's data on its way from the process that makes it to another
process that wants to know:

* Redis 7: ``HSET`` and ``PUBLISH`` in one pipeline by redis-py with hiredis, and a subscriber in
  another process. Nothing is saved to disk (``save ""``, ``appendonly no``).
* call data: ``Store.write`` by a local client of one server, and the callback ``updated`` of a
  participant at another server in another process, over the real link on loopback TCP. From one
  participant to another it goes by way of the owner, as everything goes by way of Redis there.
  Without journal unless the line says so: Redis writes nothing to disk here either.

All processes stay up for the whole run and the rounds take turns, so that whatever else the machine
does hits all alike. Each update is made alone (a millisecond after the one before), carries the
time of its making, and is timed on arrival; CLOCK_MONOTONIC is common to all processes.
``--sustained`` measures instead how many updates a core carries, to 1,000 calls in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import redis
import uvloop
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from cdsplugin.config import Address, CdsSection, TlsSection
from cdsplugin.data.call import Call
from cdsplugin.data.clock import Clock
from cdsplugin.data.entries import Log, Property, Value
from cdsplugin.data.store import Store
from cdsplugin.link.key_files import make_authority, make_server
from cdsplugin.link.security import load_security
from cdsplugin.link.tcp import Link
from cdsplugin.proxy.network_proxy import NetworkProxy
from cdsplugin.server import CallDataServer
from cdsplugin.timers import LoopTimers

CALL = "0199c0de-0000-7000-8000-000000000001"
CALLS = [f"0199c0de-0000-7000-8001-{n:012d}" for n in range(1000)]
"""Those that ``--sustained`` writes to, in turn."""
TEXT = "x" * 60
"""With the number and the time a value of about 100 bytes: a leg's property is of that size."""
PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class Figures:
    """One way's latencies over all rounds, microseconds."""

    way: str
    count: int
    median: float
    p90: float
    p99: float
    worst: float


def figures(way: str, nanoseconds: Sequence[int]) -> Figures:
    """Median and percentiles (nearest rank)."""
    ordered = sorted(nanoseconds)
    rank = [ordered[min(len(ordered) - 1, int(len(ordered) * q))] / 1000 for q in (0.9, 0.99)]
    median = statistics.median(ordered) / 1000
    return Figures(way, len(ordered), median, rank[0], rank[1], ordered[-1] / 1000)


# Redis


def redis_publisher(pipe: Connection, port: int) -> None:
    """Makes the updates; each round is asked for with its number of updates."""
    client = redis.Redis(port=port)
    pipe.send("ready")
    while count := pipe.recv():
        for n in range(count):
            time.sleep(PAUSE)
            sent = time.monotonic_ns()
            value = json.dumps({"n": n, "sent": sent, "text": TEXT})
            pipeline = client.pipeline(transaction=False)
            pipeline.hset(CALL, "probe", value)
            pipeline.publish("changes", value)
            pipeline.execute()
        pipe.send(count)


def redis_subscriber(pipe: Connection, port: int) -> None:
    """Takes the messages as they come; hands over each round's latencies."""
    subscription = redis.Redis(port=port).pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("changes")
    subscription.get_message(timeout=5)
    pipe.send("ready")
    while count := pipe.recv():
        took = []
        while len(took) < count:
            message = subscription.get_message(timeout=60)
            if message is not None:
                value = json.loads(message["data"])
                took.append(time.monotonic_ns() - value["sent"])
        pipe.send(took)


def start_redis(folder: Path, stack: ExitStack) -> int:
    """A Redis of our own on a free port of loopback, without persistence; returns the port."""
    binary = shutil.which("redis-server")
    if binary is None:
        sys.exit("redis-server is needed: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder}
    command = [
        binary,
        *(text for key, value in options.items() for text in (f"--{key}", str(value))),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(lambda: (process.terminate(), process.wait()))
    deadline = time.monotonic() + 10
    while True:
        try:
            redis.Redis(port=port).ping()
            return port
        except redis.ConnectionError:
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit("redis-server did not start")
            time.sleep(0.02)


# Call data


class Probe:
    """A client that times the updates it is told of."""

    def __init__(self) -> None:
        self.took: list[int] = []
        self.wanted = 0
        self.full = asyncio.Event()

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """An update arrived: how long was it on its way?"""
        now = time.monotonic_ns()
        for entry in properties:
            if isinstance(entry.value, dict):
                sent = entry.value["sent"]
                assert isinstance(sent, int)
                self.took.append(now - sent)
        if len(self.took) >= self.wanted:
            self.full.set()

    def ended(self, call: Call) -> None:
        """Not before the bench is over."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How the servers of a run are made. ``certificates`` is a folder of ``cds keys``."""

    journal: bool
    certificates: Path | None = None
    secret: str | None = None

    def section(self, name: str, folder: Path, hq: Address | None) -> CdsSection:
        """A server's configuration."""
        files: dict[str, Any] = {}
        if self.certificates is not None:
            own = self.certificates / name
            authority = self.certificates / "authority.pem"
            files = {
                "certificate": own.with_suffix(".pem"),
                "key": own.with_suffix(".key"),
                "authority": authority,
            }
        return CdsSection(
            database=folder / f"{name}.db",
            listen=Address("127.0.0.1", 0) if hq is None else None,
            peers={} if hq is None else {"hq": hq},
            tls=TlsSection(**files) if files else None,
            secret=None if self.secret is None else SecretStr(self.secret),
        )


class Parts:
    """A server without journal and archive: the same store, proxy and link."""

    def __init__(self, name: str, section: CdsSection) -> None:
        timers = LoopTimers(asyncio.get_running_loop())
        clock = Clock(name, timers)
        self.section = section
        self.store = Store(name, clock, timers)
        self.link = Link(
            name,
            {peer: (address.host, address.port) for peer, address in section.peers.items()},
            security=load_security(name, section.link_keys()),
        )
        self.proxy = NetworkProxy(self.store, clock, timers, self.link)
        self.link.attach(self.proxy)

    async def start(self) -> None:
        """Listen, if it is to."""
        listen = self.section.listen
        await self.link.start(None if listen is None else (listen.host, listen.port))

    async def stop(self) -> None:
        """Close everything."""
        self.store.finalize()
        self.proxy.stop()
        await self.link.stop()


def cds_server(pipe: Connection, name: str, folder: Path, hq: Address | None, setup: Setup) -> None:
    """A process with one server; ``hq`` owns the call and is None for the owner itself."""
    uvloop.run(_cds_server(pipe, name, setup.section(name, folder, hq), setup.journal))


async def _cds_server(pipe: Connection, name: str, section: CdsSection, journal: bool) -> None:
    server = CallDataServer(name, section) if journal else Parts(name, section)
    await server.start()
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[tuple[str, int, int]] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: orders.put_nowait(pipe.recv()))
    probe = Probe()
    for call_id in (*CALLS, CALL):
        server.store.register(probe, call_id, "hq")
    if name != "hq":
        while server.proxy.stage(CALL) != "registered":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    pipe.send(server.link.address() if name == "hq" else "ready")
    while True:
        order, count, batch = await orders.get()
        if order == "write":
            for n in range(count):
                await asyncio.sleep(PAUSE)
                values: dict[str, Value] = {
                    "probe": {"n": n, "sent": time.monotonic_ns(), "text": TEXT}
                }
                server.store.write(probe, CALL, name, values)
            pipe.send(count)
        elif order == "expect":
            probe.took, probe.wanted = [], count
            probe.full.clear()
            pipe.send("expecting")
            await probe.full.wait()
            pipe.send(probe.took)
        elif order == "flood":
            # Some at a time and then a turn of the loop, as a busy server has it.
            for n in range(count):
                value = {"n": n, "sent": time.monotonic_ns(), "text": TEXT}
                server.store.write(probe, CALLS[n % len(CALLS)], name, {"probe": value})
                if n % batch == batch - 1:
                    await asyncio.sleep(0)
            pipe.send(count)
        elif order == "cpu":
            pipe.send(time.process_time_ns())
        else:
            break
    loop.remove_reader(pipe.fileno())
    await server.stop()


# The run


class Children:
    """The processes of a run, and a pipe to each."""

    def __init__(self, stack: ExitStack) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._stack = stack

    def start(self, target: Callable[..., None], *args: Any) -> Connection:
        """A process that runs ``target`` with its end of a pipe."""
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=target, args=(theirs, *args), daemon=True)
        process.start()
        theirs.close()

        def stop() -> None:
            process.join(5)
            if process.is_alive():
                process.kill()

        self._stack.callback(stop)
        return ours


def network(
    children: Children, folder: Path, setup: Setup, names: Sequence[str]
) -> dict[str, Connection]:
    """An owner, ``hq``, and participants by these names, all registered."""
    folder.mkdir()
    pipes = {"hq": children.start(cds_server, "hq", folder, None, setup)}
    address = Address(*pipes["hq"].recv())
    for name in names:
        pipes[name] = children.start(cds_server, name, folder, address, setup)
        pipes[name].recv()
    return pipes


def make_certificates(folder: Path) -> Path:
    """An authority, and certificates for the servers of a run."""
    now = datetime.datetime.now(datetime.UTC)
    make_authority(folder, 90, now)
    for name in ("hq", "branch", "depot"):
        make_server(name, folder, 90, now)
    return folder


def latency(rounds: int, updates: int) -> list[Figures]:
    """All ways, in turns."""
    took: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        children = Children(stack)
        port = start_redis(folder, stack)
        subscriber = children.start(redis_subscriber, port)
        publisher = children.start(redis_publisher, port)
        for pipe in (subscriber, publisher):
            pipe.recv()
        certificates = make_certificates(folder / "keys")
        open_net = network(children, folder / "open", Setup(False), ("branch", "depot"))
        tls_net = network(children, folder / "tls", Setup(False, certificates), ("branch",))
        journal_net = network(children, folder / "journal", Setup(True), ("branch",))

        def by_redis() -> list[int]:
            subscriber.send(updates)
            publisher.send(updates)
            publisher.recv()
            return list(subscriber.recv())

        def by_cds(net: dict[str, Connection], writer: str, reader: str) -> Callable[[], list[int]]:
            def go() -> list[int]:
                net[reader].send(("expect", updates, 0))
                net[reader].recv()
                net[writer].send(("write", updates, 0))
                net[writer].recv()
                return list(net[reader].recv())

            return go

        ways: dict[str, Callable[[], list[int]]] = {
            "Redis: HSET + PUBLISH to a subscriber": by_redis,
            "owner to participant": by_cds(open_net, "hq", "branch"),
            "participant to owner": by_cds(open_net, "branch", "hq"),
            "participant to participant, by the owner": by_cds(open_net, "branch", "depot"),
            "owner to participant, TLS": by_cds(tls_net, "hq", "branch"),
            "owner to participant, journal on": by_cds(journal_net, "hq", "branch"),
        }
        for number in range(rounds + 1):
            for way, go in ways.items():
                sample = go()
                if number:  # the first round warms up
                    took.setdefault(way, []).extend(sample)
        for net in (open_net, tls_net, journal_net):
            for pipe in net.values():
                pipe.send(("stop", 0, 0))
        for pipe in (subscriber, publisher):
            pipe.send(0)
    return [figures(way, sample) for way, sample in took.items()]


@dataclass(frozen=True, slots=True)
class Rate:
    """An update from a participant to the owner: microseconds of CPU at each (journal's thread
    included), and of time when ``batch`` are made in each turn of the writer's loop, as fast as it
    can.
    """

    kind: str
    batch: int
    writer: float
    receiver: float
    took: float


def sustained(rounds: int, updates: int) -> list[Rate]:
    """Updates as fast as they can be made; the median of the rounds."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        children = Children(stack)
        certificates = make_certificates(folder / "keys")
        nets = {
            "no journal": network(children, folder / "open", Setup(False), ("branch",)),
            "no journal, secret": network(
                children,
                folder / "secret",
                Setup(False, secret="a secret of the bench"),
                ("branch",),
            ),
            "no journal, TLS": network(
                children, folder / "tls", Setup(False, certificates), ("branch",)
            ),
            "journal": network(children, folder / "journal", Setup(True), ("branch",)),
            "journal, TLS": network(
                children, folder / "both", Setup(True, certificates), ("branch",)
            ),
        }

        def cpu(pipe: Connection) -> int:
            pipe.send(("cpu", 0, 0))
            return int(pipe.recv())

        spent: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for number in range(rounds + 1):
            for kind, net in nets.items():
                for batch in (1, 50):
                    writer, reader = net["branch"], net["hq"]
                    before = cpu(writer), cpu(reader)
                    reader.send(("expect", updates, 0))
                    reader.recv()
                    begun = time.monotonic_ns()
                    writer.send(("flood", updates, batch))
                    writer.recv()
                    reader.recv()
                    took = time.monotonic_ns() - begun
                    time.sleep(0.1)  # what is still being written to disk belongs to this round
                    after = cpu(writer) - before[0], cpu(reader) - before[1]
                    if number:
                        spent.setdefault((kind, batch), []).append((*after, took))
        for net in nets.values():
            for pipe in net.values():
                pipe.send(("stop", 0, 0))
    return [
        Rate(
            kind,
            batch,
            *(statistics.median(column) / updates / 1000 for column in zip(*rows, strict=True)),
        )
        for (kind, batch), rows in spent.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--updates", type=int, default=400, help="updates of each way in a round")
    parser.add_argument(
        "--sustained", action="store_true", help="CPU per update in rounds of 25 times as many"
    )
    args = parser.parse_args()
    console = Console(width=110)
    if args.sustained:
        table = Table("participant to owner", "a turn", "writer, us CPU", "owner, us CPU")
        table.add_column("updates/s per core")
        table.add_column("updates/s, both")
        for rate in sustained(args.rounds, args.updates * 25):
            busiest = max(rate.writer, rate.receiver)
            table.add_row(
                rate.kind,
                str(rate.batch),
                f"{rate.writer:.1f}",
                f"{rate.receiver:.1f}",
                f"{1e6 / busiest:,.0f}",
                f"{1e6 / rate.took:,.0f}",
            )
    else:
        table = Table("microseconds", "updates", "median", "p90", "p99", "worst")
        for line in latency(args.rounds, args.updates):
            numbers = (line.median, line.p90, line.p99, line.worst)
            table.add_row(line.way, str(line.count), *(f"{number:.0f}" for number in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


if __name__ == "__main__":
    main()
