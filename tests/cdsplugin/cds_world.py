"""Sites on the fake network, and a world of them: a server, what is on its disk, and somebody who
takes part in calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from cds_fakes import FakeNet, FakeServer, Listener

from cdsplugin.archive.disk import MemoryDisk
from cdsplugin.archive.foreign import Before, before
from cdsplugin.archive.journal import Journal
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.recovery import Recovery
from cdsplugin.archive.rows import Cdr, HandedOver, LegRow, LogRow, PropertyRow, TalkRow
from cdsplugin.data.clock import Timers
from cdsplugin.data.store import Store

NAMES = ("ant", "bee", "cat", "dog", "elk")


class Rows:
    """The archive of one machine: what is put is on disk at once, and survives the process."""

    def __init__(self) -> None:
        self.cdrs: dict[str, Cdr] = {}
        self.entries: dict[str, set[str]] = {}
        self.sip_call_ids: dict[str, list[str | None]] = {}
        self.puts = self.done = 0
        self.slow = False

    def put(
        self,
        *,
        cdr: Cdr | None = None,
        fill: Cdr | None = None,
        talks: Sequence[TalkRow] = (),
        legs: Sequence[LegRow] = (),
        properties: Sequence[PropertyRow] = (),
        logs: Sequence[LogRow] = (),
        finish: str | None = None,
        remove: HandedOver | None = None,
        composed: str | None = None,
    ) -> None:
        row = cdr or fill
        if row is not None:
            self.cdrs[row.call_id] = row
        for entry in properties:
            self.entries.setdefault(entry.call_id, set()).add(entry.name)
        for line in logs:
            self.entries.setdefault(line.call_id, set()).add(f"{line.author} {line.text}")
        for leg in legs:
            self.entries.setdefault(leg.call_id, set()).add(f"leg/{leg.switch}/{leg.leg}")
            self.sip_call_ids.setdefault(leg.call_id, []).append(leg.sip_call_id)
        if remove is not None:
            here, there = self.entries.get(remove.call_id, set()), remove.entries
            if there is None or here <= set(msgspec.json.decode(there)):
                del self.cdrs[remove.call_id]
                self.entries.pop(remove.call_id, None)
        self.puts += 1
        if not self.slow:
            self.done = self.puts

    def look(self, call_id: str, then: Callable[[Before | None], None]) -> None:
        """As the archive finds it, but at once."""
        row = self.cdrs.get(call_id)
        found = None
        if row is not None:
            found = before(row.ended_at, self.sip_call_ids.get(call_id, []))
        then(found)


class Site:
    """A machine with a server, its archive and somebody who takes part in calls."""

    def __init__(
        self,
        net: FakeNet,
        name: str,
        wrong: int = 0,
        commit: float | None = None,
        **options: object,
    ) -> None:
        self.disk = MemoryDisk(net.timers(0), commit) if commit is not None else None
        self.net = net
        self.name = name
        self.wrong = wrong
        self.judges = bool(options.pop("judges", False))
        """Whether it finds out which calls are its own."""
        self.options = options
        self.rows = Rows()
        self.start()

    def start(self) -> None:
        """The first start, or one with nothing left in memory; what is on disk comes back."""
        others = tuple(name for name in NAMES if name != self.name)
        options = dict(self.options)
        if self.disk is not None:
            self.disk.crash()
            options["make_journal"] = self._journal
        self.server = self.net.server(
            self.name, *others, wrong=self.wrong, records=self.rows, **options
        )
        look = self.rows.look if self.judges else None
        recorder = self.recorder = Recorder(self.name, self.rows, look)
        self.server.store.watch(recorder)
        self.server.proxy.on_handed_over = recorder.handed_over
        if self.judges:
            self.server.proxy.on_disowned = recorder.disowned
        self.client = Listener()
        if self.disk is not None:
            store, timers, clock = self.server.store, self.server.timers, self.server.clock
            recovery = Recovery(store, clock, timers, 20.0)
            recovery.begin(*self.journal.recover(), self.server.proxy)
            for call in store:
                recorder.back(call)

    def _journal(self, store: Store, timers: Timers) -> Journal:
        assert self.disk is not None
        self.journal = Journal(store, timers, self.disk, self.rows)
        return self.journal

    def restart(self, power: bool = False) -> None:
        self.kill()
        self.wrong = self.server.timers.wrong
        if power:
            self.net.booted[self.name] = self.server.timers.elapsed
        self.start()

    def join(self, call_id: str, owner: str = "ant") -> None:
        self.server.store.register(self.client, call_id, owner)

    def leave(self, call_id: str) -> None:
        self.server.store.unregister(self.client, call_id)

    def write(self, call_id: str, name: str, value: object = 1) -> bool:
        return self.server.store.write(self.client, call_id, self.name, {name: value})

    def stage(self, call_id: str = "c1") -> str:
        return self.server.proxy.stage(call_id)

    def has(self, call_id: str = "c1") -> set[str]:
        return set(self.server.values(call_id))

    def kill(self) -> None:
        self.net.kill(self.name)


class World:
    def __init__(self, *names: str, **options: object) -> None:
        self.net = FakeNet()
        self.sites = {name: Site(self.net, name, **options) for name in names}

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def call(self, call_id: str = "c1") -> None:
        """A call of ant, in which the others take part in the order of their names."""
        for name, site in self.sites.items():
            site.join(call_id)
            self.pass_time(0.1)
            site.write(call_id, f"from {name}")
            self.pass_time(0.1)

    def pass_time(self, seconds: float) -> None:
        """With attempts to reach others now and then, as the link makes them."""
        while seconds > 0:
            self.net.redial()
            self.net.advance(min(seconds, 1.0), step=0.1 if seconds < 2 else 0.5)
            seconds -= 1.0

    def rows(self) -> dict[str, list[str]]:
        """Which archives have a row of each call."""
        found: dict[str, list[str]] = {}
        for name, site in self.sites.items():
            for call_id in site.rows.cdrs:
                found.setdefault(call_id, []).append(name)
        return found


DEAD = "taking care of it while its owner is dead"
LIVE = "registered"


def listed(server: FakeServer, call_id: str = "c1") -> tuple[str, ...]:
    return server.proxy._registrations.joined[call_id].listed
