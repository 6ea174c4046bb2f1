"""The application: it types notes and sets properties in calls, and remembers what was taken.

It writes by the HTTP API, mostly at ``desk`` (a server without a switch), now and then at a site
on the call's way: while people talk, and after the hangup while the call lingers. What was answered
2xx has to be in the call's record in the end; what was refused or got no answer may be.
"""

from __future__ import annotations

import heapq
import http.client
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.error import HTTPError

from bench.bad_days.sites import DESK, Sites
from bench.sites import Site

WRITERS = 12
"""Requests at once: some of them wait for a server that is stopped."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was written: a log line, or a property of this name."""

    call_id: str
    text: str
    name: str | None
    at: str
    """At which server."""
    taken: float
    """When its 2xx came, seconds since 1970."""


@dataclass(slots=True)
class Desk:
    """``taken`` has all that was acknowledged; ``asked`` counts all that was tried."""

    sites: Sites
    rng: random.Random
    share: float
    """Of the calls, those in which it writes."""
    taken: list[Note] = field(default_factory=list)
    asked: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    """Requests that were not taken, by their status."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, call_id: str, owner: str, at: Site, number: int) -> None:
        """Write one note, and remember it if it was taken."""
        text, name = f"note {number} typed at {at.name}", None
        path = f"/calls/{call_id}"
        if number % 3 == 0:
            name = f"note-{number}"
        try:
            if name is None:
                at.ask(f"{path}/log?owner={owner}", {"text": text})
            else:
                at.ask(f"{path}?owner={owner}", {name: text}, method="PATCH")
        except HTTPError as error:
            self._count(str(error.code))
        except (OSError, ValueError, http.client.HTTPException):
            self._count("no answer")
        else:
            with self._lock:
                self.taken.append(Note(call_id, text, name, at.name, time.time()))

    def _count(self, answer: str) -> None:
        with self._lock:
            self.answers[answer] = self.answers.get(answer, 0) + 1

    def run(self, over: threading.Event) -> None:
        """Look for calls and write to them, until it is over."""
        known: set[str] = set()
        due: list[tuple[float, int, str, str, Site]] = []
        with ThreadPoolExecutor(WRITERS, "desk") as pool:
            while not over.wait(0.1):
                for call_id, owner in self._seen(known):
                    for _ in range(self.rng.randint(1, 3)):
                        when = time.monotonic() + self.rng.uniform(0, 5)
                        self.asked += 1
                        at = DESK if self.rng.random() < 0.8 else owner
                        site = self.sites.by_name[at]
                        heapq.heappush(due, (when, self.asked, call_id, owner, site))
                while due and due[0][0] <= time.monotonic():
                    _, number, call_id, owner, site = heapq.heappop(due)
                    pool.submit(self.write, call_id, owner, site, number)

    def _seen(self, known: set[str]) -> Iterator[tuple[str, str]]:
        """Calls that are new, and in which it writes: callID and owner."""
        for site in self.sites.row():
            try:
                calls = site.get(f"/calls?owner={site.name}&limit=1000", timeout=0.2)["calls"]
            except (OSError, ValueError, http.client.HTTPException):
                continue  # it is dead, stopped, or busy
            for call in calls:
                if call["call_id"] not in known:
                    known.add(call["call_id"])
                    if self.rng.random() < self.share:
                        yield call["call_id"], site.name


@contextmanager
def at_the_desk(sites: Sites, rng: random.Random, share: float) -> Iterator[Desk]:
    """The application, at work while the block runs."""
    desk, over = Desk(sites, rng, share), threading.Event()
    thread = threading.Thread(target=desk.run, args=(over,), name="desk", daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        over.set()
        thread.join(30)
