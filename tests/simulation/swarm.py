"""Many seeds in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import msgspec

from . import plan as plans
from .broken import broken
from .run import run_seed
from .sources import WANTED


class Failed(msgspec.Struct):
    """A seed, and what did not hold."""

    seed: int
    failure: str


class Share(msgspec.Struct):
    """What one process has to do, and then what it did. ``seconds``: 0 is no limit; ``settled``:
    the longest of ``run.Outcome``."""

    first: int
    seeds: int
    stride: int
    seconds: float
    rule: str | None
    kinds: list[str]
    most_failures: int
    done: int = 0
    steps: int = 0
    simulated: float = 0.0
    settled: float = 0.0
    failed: list[Failed] = []


@dataclass
class Result:
    """The sum. ``simulated`` and ``settled`` (the longest) are in seconds."""

    seeds: int = 0
    steps: int = 0
    simulated: float = 0.0
    settled: float = 0.0
    failed: list[Failed] = field(default_factory=list)


def work(share: Share) -> Share:
    """Run every ``stride``-th seed; stop early after ``seconds``, or ``most_failures``."""
    begun = time.monotonic()
    with broken(share.rule):
        for seed in range(share.first, share.first + share.seeds, share.stride):
            outcome = run_seed(seed, tuple(share.kinds))
            share.done += 1
            share.steps += outcome.steps
            share.simulated += outcome.simulated
            share.settled = max(share.settled, outcome.settled)
            if outcome.failure is not None:
                share.failed.append(Failed(seed, outcome.failure))
                if len(share.failed) >= share.most_failures:
                    break
            if share.seconds and time.monotonic() - begun > share.seconds:
                break
    return share


def swarm(
    first: int,
    seeds: int,
    jobs: int,
    seconds: float | None = None,
    rule: str | None = None,
    kinds: tuple[str, ...] = plans.KINDS,
    most_failures: int = 20,
) -> Result:
    """Run seeds in ``jobs`` processes of their own, whose hashes are fixed."""
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    if rule is not None:
        env[WANTED] = "1"
    processes = []
    for n in range(jobs):
        share = Share(first + n, seeds - n, jobs, seconds or 0.0, rule, list(kinds), most_failures)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.swarm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(share))
        process.stdin.close()
        processes.append(process)
    result = Result()
    for process in processes:
        assert process.stdout is not None
        output = process.stdout.read()
        if process.wait():
            raise RuntimeError(f"a process of the simulation failed with {process.returncode}")
        share = msgspec.json.decode(output, type=Share)
        result.seeds += share.done
        result.steps += share.steps
        result.simulated += share.simulated
        result.settled = max(result.settled, share.settled)
        result.failed += share.failed
    result.failed.sort(key=lambda failed: failed.seed)
    return result


if __name__ == "__main__":
    done = work(msgspec.json.decode(sys.stdin.buffer.read(), type=Share))
    sys.stdout.buffer.write(msgspec.json.encode(done))
