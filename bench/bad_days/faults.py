"""The faults: what each does, and how it is healed. They run in threads of their own."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.bad_days.plan import Planned
from bench.bad_days.sites import SERVERS, Sites
from bench.bad_days.truth import Fault
from bench.sites import Site

NOTICED = 7.0
"""Seconds in which a server sees that its file is gone, and a little more."""


@dataclass(slots=True)
class Faults:
    """Does what is planned, and remembers when."""

    sites: Sites
    done: list[Fault] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    moved: int = 0

    def run(self, planned: Sequence[Planned], say: Callable[[str], None]) -> float:
        """All of them; returns when the last one was healed (seconds since 1970)."""
        threads: list[threading.Thread] = []
        for one in planned:
            if not one.beside:
                for thread in threads:
                    thread.join()
                threads = []
            time.sleep(one.after)
            say(str(one))
            threads.append(threading.Thread(target=self._guarded, args=(one,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()
        if self.failed:
            raise self.failed[0]
        return max((fault.healed for fault in self.done), default=time.time())

    def _guarded(self, one: Planned) -> None:
        began = time.time()
        try:
            self._do(one)
        except BaseException as error:
            self.failed.append(error)
        self.done.append(Fault(began, time.time()))

    def _do(self, one: Planned) -> None:
        sites = [self.sites.by_name[name] for name in one.servers]
        if one.kind in ("kill", "kill all"):
            self._kill(sites, one.lasts)
        elif one.kind in ("stop", "stop all"):
            self._stop(sites, one.lasts)
        elif one.kind in ("cut", "cut off"):
            self._cut(one)
        elif one.kind == "locked":
            self._lock(sites[0], lambda: time.sleep(one.lasts))
        elif one.kind == "locked, killed":
            self._lock(sites[0], lambda: self._kill_and_wait(sites, one.lasts))
        elif one.kind == "full":
            self._fill(sites[0], one.lasts)
        elif one.kind in ("moved", "deleted"):
            self._move(sites[0], one.kind == "deleted")
        else:
            raise ValueError(one.kind)

    def _kill(self, sites: Sequence[Site], lasts: float) -> None:
        for site in sites:
            site.kill()
        time.sleep(lasts)
        for site in sites:
            site.launch()
        for site in sites:
            site.ready()

    def _kill_and_wait(self, sites: Sequence[Site], lasts: float) -> None:
        """It starts while its records are locked, which go on being locked for a while."""
        self._kill(sites, 0.0)
        time.sleep(lasts)

    def _stop(self, sites: Sequence[Site], lasts: float) -> None:
        for site in sites:
            site.freeze()
        time.sleep(lasts)
        for site in sites:
            site.go_on()

    def _cut(self, one: Planned) -> None:
        near = one.servers[0]
        others = one.servers[1:] or [name for name in SERVERS if name != near]
        for far in others:
            self.sites.relays.cut(near, far, one.silent)
        time.sleep(one.lasts)
        for far in others:
            self.sites.relays.heal(near, far)

    def _lock(self, site: Site, meanwhile: Callable[[], None]) -> None:
        database = sqlite3.connect(site.database, timeout=10, isolation_level=None)
        try:
            database.execute("BEGIN EXCLUSIVE")
            meanwhile()
            database.execute("ROLLBACK")
        finally:
            database.close()

    def _fill(self, site: Site, lasts: float) -> None:
        """Fill its disk, again and again: what is deleted meanwhile does not help it."""
        filler = site.database.with_name("filler")
        until = time.monotonic() + lasts
        try:
            with filler.open("ab", buffering=0) as file:
                while time.monotonic() < until:
                    _fill(file.fileno())
                    time.sleep(0.02)
        finally:
            filler.unlink()

    def _move(self, site: Site, whole: bool) -> None:
        """Move it away, or delete it: what is kept under another name is for those who count."""
        self.moved += 1
        kept = site.database.with_name(f"moved-{self.moved:02d}.db")
        if whole:
            os.link(site.database, kept)
            for ending in ("", "-wal", "-shm"):
                site.database.with_name(site.database.name + ending).unlink(missing_ok=True)
        else:
            site.database.rename(kept)
        until = time.monotonic() + NOTICED
        while not site.database.exists() and time.monotonic() < until:
            time.sleep(0.02)


def _fill(file: int) -> None:
    for size in (1 << 16, 1 << 12):
        with contextlib.suppress(OSError):
            while True:
                _write(file, size)


def _write(file: int, size: int) -> None:
    written = os.write(file, b"\0" * size)
    if written < size:
        raise OSError(errno.ENOSPC, "it is full")
