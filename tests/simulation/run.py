"""Runs a plan: brings up the servers, lets calls, notes and faults happen, checks at each step."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from cdsplugin.data.frames import Frame

from . import plan as plans
from .calls import Application, Switch, Truth
from .floods import Flood, recorded
from .followers import Follower
from .invariants import Auditor, Violated, busy, copies_are_equal, listening, one_right_row
from .neighbours import Neighbour
from .network import SimNetwork
from .plan import (
    CallItem,
    FaultItem,
    FloodItem,
    FollowItem,
    MergeItem,
    NeighbourItem,
    NoteItem,
    Plan,
    TransferItem,
)
from .scheduler import World
from .server import Process, Server
from .settling import Settling
from .times import times_are_right
from .way import UnservedSwitch, Way

SECOND = 1_000_000
MAX_STEPS = 300_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """``failure`` is None if every invariant held. ``trace``: the last lines, if asked for.

    Seconds: ``simulated``, and ``settled``: the longest that a call's only row was not a final one
    at its owner, after all was healed and the call was over.
    """

    failure: str | None
    steps: int
    simulated: float
    settled: float
    trace: tuple[str, ...] = ()


class _Receiver:
    """Stands between link and proxy, so that the invariants know what comes from outside."""

    __slots__ = ("_auditor", "_process", "_server")

    def __init__(self, auditor: Auditor, server: Server, process: Process) -> None:
        self._auditor = auditor
        self._server = server
        self._process = process

    def connected(self, peer: str) -> None:
        self._process.proxy.connected(peer)

    def disconnected(self, peer: str) -> None:
        self._process.proxy.disconnected(peer)

    def received(self, peer: str, frame: Frame) -> None:
        auditor = self._auditor
        auditor.frame_comes(self._server, self._process, frame)
        auditor.incoming = self._server
        try:
            self._process.proxy.received(peer, frame)
        finally:
            auditor.incoming = None


class Simulation:
    """One plan in progress."""

    def __init__(self, plan: Plan, keep_trace: int = 0) -> None:
        self.plan = plan
        settings = plan.settings
        world = self.world = World(plan.seed, keep_trace)
        self.network = SimNetwork(world, settings.delay_us, settings.jitter_us)
        self.servers: dict[str, Server] = {}
        self.truths: dict[str, Truth] = {}
        self.followers: list[Follower] = []
        self.neighbours: list[Neighbour] = []
        self.floods: list[Flood] = []
        self.ways: dict[str, Way] = {}
        self.auditor = Auditor(world, self.servers, self.truths)
        self.settling = Settling(plan, self.network, self.servers, self.truths, self.auditor.acted)
        self.network.on_frame = self.auditor.frame_sent
        for name in settings.servers:
            self.servers[name] = Server(world, self.network, settings, name, self.auditor)
        self.switches = {
            name: Switch(world, server, self.truths) for name, server in self.servers.items()
        }
        self.unserved = {name: UnservedSwitch(world, self.ways) for name in settings.unserved}
        for name in settings.servers:
            self._boot(name)
        items = plan.kept()
        calls = [i for i in plan.items if isinstance(i, CallItem)]
        transfers = [i for i in items if isinstance(i, TransferItem)]
        for n, call in enumerate(calls):
            if call in items:
                self._call(call, {i.passage: i for i in transfers if i.call == n})
        for item in items:
            if isinstance(item, NoteItem):
                truth = self.truths.get(calls[item.call].call_id)
                if truth is not None:
                    Application(world, self.servers[item.server], truth, item)
            elif isinstance(item, FollowItem):
                truth = self.truths.get(calls[item.call].call_id)
                if truth is not None:
                    self.followers.append(Follower(world, self.servers[item.server], truth, item))
            elif isinstance(item, FloodItem):
                truth = self.truths.get(calls[item.call].call_id)
                if truth is not None:
                    server = self.servers[item.server]
                    self.floods.append(Flood(world, server, truth, item, self.auditor))
            elif isinstance(item, NeighbourItem):
                self.neighbours.append(Neighbour(world, self.servers, item))
                self.auditor.owners.setdefault(item.call_id, item.owner)
            elif isinstance(item, MergeItem):
                older, younger = calls[item.older[0]], calls[item.younger[0]]
                one, other = older.passages[item.older[1]], younger.passages[item.younger[1]]
                switch = self.switches.get(one.switch)
                if switch is not None:
                    switch.plan_merge(item, (older, one), (younger, other))
            elif isinstance(item, FaultItem):
                self._fault(item)

    def run(self) -> None:
        """Raises ``Violated``."""
        settings = self.plan.settings
        self._until(settings.faults_end)
        self.world.note("world", "all faults are over")
        for one in settings.servers:
            for other in settings.servers:
                self.network.heal(one, other)
        for server in self.servers.values():
            server.disk.fill(False)
        self.settling.healed = self.world.now
        slow = 16 * SECOND + 6 * (settings.delay_us + settings.jitter_us)
        settle = settings.dead_after + 2 * settings.alive_interval + 25 + settings.jitter_us / 1e5
        self._until(self.world.now + int(settle * SECOND))
        self.world.note("world", "all copies must be equal now")
        since = self.world.now - slow
        copies_are_equal(self.servers, self.truths, self.auditor.changed, since)
        last = max(
            [i.origin.ends + SECOND for i in self.plan.kept() if isinstance(i, CallItem)]
            + [i.at + i.stays for i in self.plan.kept() if isinstance(i, NoteItem)]
            + [i.at + i.stays for i in self.plan.kept() if isinstance(i, FollowItem)]
            + [i.ends for i in self.plan.kept() if isinstance(i, NeighbourItem)]
            + [self.world.now]
        )
        self._until(last)
        self.world.note("world", "everybody has hung up")
        quiet = settings.reregister_within + 3 * settings.linger + 3 * settings.dead_after + 60
        deadline = self.world.now + int(quiet * SECOND)
        while (left := busy(self.servers)) is not None:
            if self.world.now >= deadline:
                raise Violated(f"{quiet:g} s after everything was over: {left}")
            self._until(min(self.world.now + 5 * SECOND, deadline))
        callers = [neighbour.item.caller for neighbour in self.neighbours]
        for neighbour in self.neighbours:
            if (wrong := neighbour.wrong()) is not None:
                raise Violated(wrong)
        faults = [item for item in self.plan.kept() if isinstance(item, FaultItem)]
        # What waited in a frozen process comes later than any INVITE that is on its way.
        stepped = any(fault.kind in ("jump", "away", "freeze") for fault in faults)
        one_right_row(self.servers, self.truths, callers, stepped)
        times_are_right(self.plan, self.servers, self.truths, self.auditor)
        records = recorded(self.servers) if self.floods else {}
        for flood in self.floods:
            if (wrong := flood.wrong(records)) is not None:
                raise Violated(wrong)
        for follower in self.followers:
            if (wrong := follower.wrong()) is not None:
                raise Violated(wrong)

    def close(self) -> None:
        """Free the databases."""
        for server in self.servers.values():
            server.disk.close()

    def _until(self, when: int) -> None:
        settling = self.settling
        if settling.healed is None and not settling.early:
            self._steps(when)
            return
        while self.world.now < when:
            self._steps(min(when, self.world.now + SECOND))
            settling.look()

    def _steps(self, when: int) -> None:
        step, check = self.world.step, self.auditor.check
        while step(when):
            check()
        if self.world.steps > MAX_STEPS:
            raise Violated(f"more than {MAX_STEPS} steps: something goes round in circles")

    def _boot(self, name: str) -> None:
        server = self.servers[name]
        process = server.boot()
        process.link.receiver = _Receiver(self.auditor, server, process)

    def _call(self, item: CallItem, transfers: dict[int, TransferItem]) -> None:
        truth = self.truths[item.call_id] = Truth(item)
        self.ways[item.call_id] = truth.way
        self.auditor.owners[item.call_id] = item.owner
        for n, passage in enumerate(item.passages):
            switch = self.switches.get(passage.switch)
            if switch is None:
                self.unserved[passage.switch].plan(item, passage)
            else:
                switch.plan(item, passage, transfers.get(n))

    def _fault(self, fault: FaultItem) -> None:
        begin, end = self._acts(fault)

        def begins() -> None:
            self.world.note("world", f"fault: {fault.kind} {fault.one} {fault.other} {fault.group}")
            begin()

        def is_over() -> None:
            self.world.note("world", f"over: {fault.kind} {fault.one} {fault.other} {fault.group}")
            end()

        self.world.at(fault.at, begins)
        if fault.until > fault.at:
            self.world.at(fault.until, is_over)

    def _acts(self, fault: FaultItem) -> tuple[Callable[[], None], Callable[[], None]]:
        network, one, other = self.network, fault.one, fault.other
        if fault.kind in ("partition", "cut", "oneway", "absent"):
            if fault.kind == "partition":
                rest = [s for s in self.servers if s not in fault.group]
                ways = [(a, b) for a in fault.group for b in rest]
                ways += [(b, a) for a, b in ways]
            else:
                ways = [(one, other), (other, one)][: 1 if fault.kind == "oneway" else 2]
            return (
                lambda: [network.block(*way) for way in ways] and None,  # type: ignore[func-returns-value]
                lambda: [network.heal(*way) for way in ways] and None,  # type: ignore[func-returns-value]
            )
        server = self.servers[one]
        if fault.kind == "reset":
            return (lambda: network.reset(one, other)), (lambda: None)
        if fault.kind == "jump":
            return (lambda: setattr(server.machine, "off", server.machine.off + fault.by)), (
                lambda: None
            )
        if fault.kind == "full":
            return (lambda: server.disk.fill(True)), (lambda: server.disk.fill(False))
        if fault.kind == "freeze":
            machine = server.machine
            return (lambda: machine.freeze() if server.process is not None else None), machine.go_on
        if fault.kind == "away":
            return (lambda: self._kill(server, False)), (lambda: self._restart(server, fault.by))
        return (lambda: self._kill(server, fault.kind == "power")), (lambda: self._restart(server))

    def _kill(self, server: Server, power: bool) -> None:
        if server.process is not None:
            server.kill(power)
            self.switches[server.name].killed()
            server.machine.go_on()  # a signal that a frozen process dies of too

    def _restart(self, server: Server, by: int = 0) -> None:
        server.machine.off += by
        if server.process is None:
            self._boot(server.name)
            self.switches[server.name].restarted()


def run(plan: Plan, keep_trace: int = 0) -> Outcome:
    """Run a plan to its end, or to the first invariant that does not hold."""
    simulation = None
    failure = None
    # The parts refer to each other in circles: freeing them by the collector, once for each run
    # and not at its leisure, is a third quicker.
    gc.disable()
    try:
        with listening():
            simulation = Simulation(plan, keep_trace)
            simulation.run()
    except Violated as violation:
        failure = str(violation)
    except Exception as error:
        import traceback

        failure = f"raised {error!r}\n{traceback.format_exc(limit=-8)}"
    finally:
        if simulation is not None:
            simulation.close()
    world = simulation.world if simulation is not None else World(0)
    settled = simulation.settling.longest / SECOND if simulation is not None else 0.0
    outcome = Outcome(failure, world.steps, world.now / SECOND, settled, tuple(world.trace()))
    # What is still referred to would be taken for old, and nobody collects that.
    del simulation, world
    gc.collect(1)
    return outcome


def run_seed(seed: int, kinds: tuple[str, ...] = plans.KINDS, keep_trace: int = 0) -> Outcome:
    """Make the plan of a seed and run it."""
    return run(plans.make(seed, kinds), keep_trace)
