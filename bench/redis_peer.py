"""An update's way beside Redis: `python -m bench.redis_peer [--rounds 12] [--updates 400]`.

What is compared is one change of a call's data on its way from the process that makes it to another
process that wants to know:

* Redis 7: ``HSET`` and ``PUBLISH`` in one pipeline by redis-py with hiredis, and a subscriber in
  another process. Nothing is saved to disk (``save ""``, ``appendonly no``).
* call data: ``Store.write`` by a local client of one server, and the callback ``updated`` of a
  participant at another server in another process, over the real link on loopback TCP, journal
  off. "one hop" is between owner and participant; "two hops" from one participant to another by
  way of the owner, which is the way that Redis goes.

All processes stay up for the whole run and the rounds take turns, so that whatever else the machine
does hits all alike. Each update is made alone (a millisecond after the one before), carries the
time of its making, and is timed on arrival; CLOCK_MONOTONIC is common to all processes.
``--sustained`` measures instead how many updates a core carries, with the journal on.
"""

from __future__ import annotations

import argparse
import asyncio
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
from rich.console import Console
from rich.table import Table

from cdsplugin.config import Address, CdsSection
from cdsplugin.entries import Log, Property, Value
from cdsplugin.server import CallDataServer
from cdsplugin.store import Call

CALL = "0199c0de-0000-7000-8000-000000000001"
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
    command = [binary, *(text for key, value in options.items() for text in (f"--{key}", str(value)))]
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


def cds_server(pipe: Connection, name: str, folder: Path, hq: Address | None, more: Any) -> None:
    """A process with one server; ``hq`` owns the call and is None for the owner itself."""
    uvloop.run(_cds_server(pipe, name, folder, hq, more))


async def _cds_server(
    pipe: Connection, name: str, folder: Path, hq: Address | None, more: dict[str, Any]
) -> None:
    section = CdsSection(
        database=folder / f"{name}.db",
        listen=Address("127.0.0.1", 0) if hq is None else None,
        peers={} if hq is None else {"hq": hq},
        **more,
    )
    server = CallDataServer(name, section)
    await server.start()
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    loop.add_reader(pipe.fileno(), lambda: orders.put_nowait(pipe.recv()))
    probe = Probe()
    server.store.register(probe, CALL, "hq")
    if hq is not None:
        while server.proxy.stage(CALL) != "registered":
            await asyncio.sleep(0.01)
    pipe.send(server.link.address() if hq is None else "ready")
    while True:
        order, count = await orders.get()
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
            # A thousand at a time, and then a turn of the loop: a busy server's mixture.
            cpu = time.process_time_ns()
            for n in range(count):
                value = {"n": n, "sent": time.monotonic_ns(), "text": TEXT}
                server.store.write(probe, CALL, name, {"probe": value})
                if n % 50 == 49:
                    await asyncio.sleep(0)
            pipe.send(time.process_time_ns() - cpu)
        elif order == "cpu":
            pipe.send(time.process_time_ns())
        else:
            break
    loop.remove_reader(pipe.fileno())
    await server.stop()


# The run

Ask = Callable[[Any], Any]


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


def latency(rounds: int, updates: int, more: dict[str, Any]) -> list[Figures]:
    """All ways, in turns."""
    took: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        children = Children(stack)
        port = start_redis(folder, stack)
        subscriber = children.start(redis_subscriber, port)
        publisher = children.start(redis_publisher, port)
        hq = children.start(cds_server, "hq", folder, None, more)
        address = Address(*hq.recv())
        branch = children.start(cds_server, "branch", folder, address, more)
        depot = children.start(cds_server, "depot", folder, address, more)
        for pipe in (subscriber, publisher, branch, depot):
            pipe.recv()

        def by_redis() -> list[int]:
            subscriber.send(updates)
            publisher.send(updates)
            publisher.recv()
            return list(subscriber.recv())

        def by_cds(writer: Connection, reader: Connection) -> list[int]:
            reader.send(("expect", updates))
            reader.recv()
            writer.send(("write", updates))
            writer.recv()
            return list(reader.recv())

        ways: dict[str, Callable[[], list[int]]] = {
            "Redis: HSET + PUBLISH to a subscriber": by_redis,
            "call data: owner to participant (one hop)": lambda: by_cds(hq, branch),
            "call data: participant to owner (one hop)": lambda: by_cds(branch, hq),
            "call data: participant to participant (two hops)": lambda: by_cds(branch, depot),
        }
        for number in range(rounds + 1):
            for way, go in ways.items():
                sample = go()
                if number:  # the first round warms up
                    took.setdefault(way, []).extend(sample)
        for pipe in (hq, branch, depot):
            pipe.send(("stop", 0))
        for pipe in (subscriber, publisher):
            pipe.send(0)
    return [figures(way, sample) for way, sample in took.items()]


def sustained(rounds: int, updates: int, more: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Microseconds of CPU an update costs the writing and the receiving server, each way."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        children = Children(stack)
        hq = children.start(cds_server, "hq", folder, None, more)
        branch = children.start(cds_server, "branch", folder, Address(*hq.recv()), more)
        branch.recv()

        def cpu(pipe: Connection) -> int:
            pipe.send(("cpu", 0))
            return int(pipe.recv())

        results = []
        ways = (("owner to participant", hq, branch), ("participant to owner", branch, hq))
        for way, writer, reader in ways:
            wrote = read = 0
            for number in range(rounds + 1):
                before = cpu(writer), cpu(reader)
                reader.send(("expect", updates))
                reader.recv()
                writer.send(("flood", updates))
                writer.recv()
                reader.recv()
                time.sleep(0.2)  # what is still being written to disk belongs to this round
                if number:
                    wrote += cpu(writer) - before[0]
                    read += cpu(reader) - before[1]
            each = rounds * updates * 1000
            results.append((way, wrote / each, read / each))
        for pipe in (hq, branch):
            pipe.send(("stop", 0))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--updates", type=int, default=400, help="updates of each way in a round")
    parser.add_argument("--sustained", action="store_true", help="CPU per update, journal on")
    args = parser.parse_args()
    console = Console(width=110)
    if args.sustained:
        table = Table("way", "writer, us CPU", "receiver, us CPU", "updates/s per core")
        for way, wrote, read in sustained(args.rounds, args.updates * 25, {}):
            each = f"{1e6 / wrote:,.0f} and {1e6 / read:,.0f}"
            table.add_row(way, f"{wrote:.1f}", f"{read:.1f}", each)
    else:
        table = Table("microseconds", "updates", "median", "p90", "p99", "worst")
        for line in latency(args.rounds, args.updates, {}):
            numbers = (line.median, line.p90, line.p99, line.worst)
            table.add_row(line.way, str(line.count), *(f"{number:.0f}" for number in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


if __name__ == "__main__":
    main()
