"""A simulated machine with a call data server on it: the real parts put together as
``cdsplugin.server`` does, on simulated clocks, network and disk. The process can be killed; the
machine's clocks and disk remain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cdsplugin.archive.foreign import Before
from cdsplugin.archive.journal import Journal, JournalSettings
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.recovery import Recovery
from cdsplugin.data.call import Call, Watcher
from cdsplugin.data.clock import Clock
from cdsplugin.data.store import Store, StoreLimits
from cdsplugin.proxy.network_proxy import NetworkProxy
from cdsplugin.tms.tms import Tms

from .disk import Disk, SimArchive
from .network import SimLink, SimNetwork
from .plan import Settings
from .scheduler import Machine, ProcessTimers, World


class _Audited:
    """A journal as the proxy sees it; the audit is told of moved stamps too."""

    def __init__(self, journal: Journal, watch: Watch) -> None:
        self._journal = journal
        self._watch = watch
        self.after_commit = journal.after_commit
        self.shared = journal.shared
        self.left = journal.left
        self.based = journal.based
        self.released = journal.released

    def restamped(self, call: Call) -> None:
        self._journal.restamped(call)
        self._watch.restamped(call)


class Process:
    """One run of a server, from its start to its death. ``number`` counts them."""

    def __init__(self, server: Server, number: int) -> None:
        settings = server.settings
        name = server.name
        self.number = number
        self.timers = ProcessTimers(server.machine, self._turn)
        self.clock = Clock(name, self.timers)
        self.store = Store(
            name,
            self.clock,
            self.timers,
            StoreLimits(
                settings.linger,
                settings.linger + settings.dead_after,
                settings.call_entries.get(name, 1000),
                peer_authors=settings.peer_authors,
            ),
        )
        # First of all clients: it sees what is written before anyone can send it.
        watch = server.audit.watch(server, self)
        self.store.watch(watch)
        self.link = SimLink(server.network, server.machine, name, settings.peers[name])
        self.archive = SimArchive(server.disk, settings.commit_interval)
        self.journal = Journal(
            self.store,
            self.timers,
            server.disk.journal,
            self.archive,
            JournalSettings(keep=settings.journal_keep, batch=2),
        )
        self.proxy = NetworkProxy(
            self.store,
            self.clock,
            self.timers,
            self.link,
            alive_interval=settings.alive_interval,
            dead_after=settings.dead_after,
            reregister_within=settings.reregister_within,
            reregister_batch=2,
            on_health=lambda peer, up: server.audit.reported(self, peer, up),
            on_handed_over=self._handed_over,
            on_disowned=lambda call: self.recorder.disowned(call),
            journal=_Audited(self.journal, watch),
            records=self.archive,
        )
        self.recorder = Recorder(name, self.archive, self._look)
        self.store.watch(self.recorder)
        self.tms = Tms(self.store, self.clock, lambda do: self.timers.schedule(0, do))
        self.recovery = Recovery(self.store, self.clock, self.timers, settings.reregister_within)
        self.restored: set[str] = set()
        """Calls that came back from the journal."""
        self.link.receiver = self.proxy
        self.link.on_turn = self._turn

    def _look(self, call_id: str, then: Callable[[Before | None], None]) -> None:
        found = self.archive.look(call_id)
        self.timers.schedule(0.001, lambda: then(found))

    def _handed_over(self, call: Call) -> None:
        self.recorder.handed_over(call)

    def start(self) -> None:
        """As ``CallDataServer.start``: what the journal has comes back first."""
        found, alive = self.journal.recover()
        self.restored = {call.call_id for call in found}
        self.recovery.begin(found, alive, self.proxy)
        for call in self.store:
            self.recorder.back(call)
        self.store.initialize()

    def die(self) -> None:
        """SIGKILL: nothing runs any more, and what was in memory is gone."""
        self.timers.alive = False
        self.archive.alive = False

    def _turn(self) -> None:
        """The end of a turn of the event loop."""


class Watch(Watcher, Protocol):
    """A client of a store for all calls that is told of moved stamps too."""

    def restamped(self, call: Call) -> None:
        """All entries of a call have other stamps than before."""


class Audit(Protocol):
    """What the invariants want of each process."""

    def watch(self, server: Server, process: Process) -> Watch:
        """A client of the store for all calls."""

    def reported(self, process: Process, peer: str, up: bool) -> None:
        """A server fell silent, or is heard again."""


class Server:
    """A machine, and the server on it while that runs."""

    def __init__(
        self, world: World, network: SimNetwork, settings: Settings, name: str, audit: Audit
    ) -> None:
        self.world = world
        self.network = network
        self.settings = settings
        self.name = name
        self.audit = audit
        self.machine = Machine(world, settings.off[name], settings.drift[name])
        self.disk = Disk(self.machine, settings.journal_sync)
        self.process: Process | None = None
        self.starts = 0

    def works(self) -> bool:
        """Whether it runs, and its disk takes what it is given."""
        return self.process is not None and not self.machine.frozen and not self.disk.full

    def boot(self) -> Process:
        """Start the process."""
        self.starts += 1
        self.world.note(self.name, f"starts, number {self.starts}")
        process = self.process = Process(self, self.starts)
        self.network.powered.add(self.name)
        self.network.links[self.name] = process.link
        process.start()
        return process

    def kill(self, power: bool) -> None:
        """SIGKILL, or the machine loses its power."""
        self.world.note(self.name, "loses its power" if power else "is killed")
        process, self.process = self.process, None
        if process is not None:
            process.die()
            self.disk.crash()
            self.network.kill(self.name, power)
        if power:
            self.machine.reboot()
