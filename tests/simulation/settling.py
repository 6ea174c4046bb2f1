"""9, in time: how long it takes until a call that is over has one row, a final one at its owner.

Two bounds. After all faults a call's row is right ``linger`` after it is over, and what it takes to
notice a dead connection and to dial again. And also while others are still away: as soon as all
that have something of the call reach its owner, it takes them twice ``linger`` (somebody may bring
something to a call that has just ended) and some seconds. Who has left it by way of them is not
waited for. That one is looked at in plans that kill nobody: one that lost a call in a crash has to
be asked.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdsplugin.proxy.joined import Stage

from .calls import Truth
from .invariants import Violated
from .network import SimNetwork
from .plan import FaultItem, Plan, settles_together
from .server import Server

SECOND = 1_000_000


def unsettled(
    servers: Mapping[str, Server], truths: Mapping[str, Truth]
) -> dict[str, dict[str, int]]:
    """The calls whose only row is not a final one in their owner's archive, by callID: ``final`` of
    the rows that there are, by server. A row at one that does not know the owner stays there."""
    rows: dict[str, dict[str, int]] = {}
    for server in servers.values():
        known = server.settings.peers[server.name]
        for call_id, final in server.disk.archive.execute("SELECT call_id, final FROM cdrs"):
            if call_id not in truths:
                continue  # a neighbour's, which is recorded where it came in
            owner = truths[call_id].item.owner
            if owner == server.name or owner in known:
                rows.setdefault(call_id, {})[server.name] = final
    return {
        call_id: found
        for call_id, found in rows.items()
        if found != {truths[call_id].item.owner: 1}
    }


class Settling:
    """Looks at the archives once a second. Times are the world's."""

    def __init__(
        self,
        plan: Plan,
        network: SimNetwork,
        servers: Mapping[str, Server],
        truths: Mapping[str, Truth],
        acted: dict[str, int],
    ) -> None:
        settings = plan.settings
        self.longest = 0
        """After all faults, of all calls."""
        self.healed: int | None = None
        """When all faults were over."""
        self._network = network
        self._servers = servers
        self._truths = truths
        self._acted = acted
        self._together: dict[str, int] = {}
        """Of calls that are not settled: since when, or since when all who have something of one
        reach its owner."""
        self._alone: set[tuple[str, str]] = set()
        """Calls of which a server took care itself, which nobody told to the owner yet; and it."""
        kinds = {item.kind for item in plan.kept() if isinstance(item, FaultItem)}
        self._calm = not kinds & {"kill", "power", "away"}
        self.early = self._calm and "absent" in kinds
        """Whether it is looked at before all faults are over."""
        # A connection that one side alone believes in is known for what it is after ``dead_after``.
        noticed = settings.dead_after + settings.alive_interval
        delays = 6 * (settings.delay_us + settings.jitter_us)
        self._within = 16 * SECOND + delays + int((noticed + settings.linger) * SECOND)
        self._within_together = int(settles_together(settings) * SECOND)

    def look(self) -> None:
        """Raises ``Violated``."""
        acted, now = self._acted, self._network.world.now
        if self._calm:
            self._who_cares()
        found = unsettled(self._servers, self._truths)
        self._together = {call_id: self._together.get(call_id, now) for call_id in found}
        for call_id, rows in found.items():
            if any(_takes_part(server, call_id) for server in self._servers.values()):
                acted[call_id] = now
            if self._cannot_ask(call_id):
                acted[call_id] = now
            since = acted.get(call_id, 0)
            if self.healed is not None:
                stands = now - max(since, self.healed)
                self._at_most(stands, self._within, call_id, rows, "its end")
                self.longest = max(self.longest, stands)
            if self._calm:
                if self._are_apart(call_id, rows):
                    self._together[call_id] = now
                stands = now - max(since, self._together[call_id])
                self._at_most(
                    stands, self._within_together, call_id, rows, "all who have it reach its owner"
                )

    def _at_most(
        self, stands: int, within: int, call_id: str, rows: dict[str, int], since: str
    ) -> None:
        if stands > within:
            found = ", ".join(f"{name}: final {final}" for name, final in rows.items())
            raise Violated(
                f"9: {stands / 1e6:.1f} s after {since} (at most {within / 1e6:.1f}) the rows of"
                f" {call_id}, owned by {self._truths[call_id].item.owner}, are at {found}"
            )

    def _who_cares(self) -> None:
        for name, server in self._servers.items():
            if server.process is not None:
                calls = server.process.proxy._registrations.joined.items()
                self._alone.update((c, name) for c, j in calls if j.stage is Stage.CARETAKER)
        self._alone = {
            (call_id, name)
            for call_id, name in self._alone
            if call_id in self._truths
            and not self._network.joined(name, self._truths[call_id].item.owner)
        }

    def _are_apart(self, call_id: str, rows: dict[str, int]) -> bool:
        """Whether the owner does nothing, or one that has something of the call does not reach
        it; or the owner has not noticed yet that one who takes part does not reach it: while it
        believes in that connection, it waits for him whatever others say."""
        owner = self._truths[call_id].item.owner
        if not self._servers[owner].works() or self._believes(owner, call_id):
            return True
        known = self._servers[owner].settings.peers
        return any(
            (name in rows or (call_id, name) in self._alone or _has(server, call_id))
            and not (server.works() and self._network.joined(name, owner))
            for name, server in self._servers.items()
            if name != owner and (owner in known[name] or name in known[owner])
        )

    def _cannot_ask(self, call_id: str) -> bool:
        """Whether the owner waits for one that it cannot dial, and that has nothing of the call any
        more for which it would dial itself: so ``reregister_within`` has to pass."""
        owner = self._servers[self._truths[call_id].item.owner]
        monitor = owner.process and owner.process.proxy.monitor
        participants = monitor and monitor.of(call_id)
        if not monitor or participants is None:
            return False
        return any(
            monitor.awaits(call_id, name)
            and name not in owner.settings.peers[owner.name]
            and not self._network.joined(name, owner.name)
            and not _has(self._servers[name], call_id)
            for name in participants.present
        )

    def _believes(self, owner: str, call_id: str) -> bool:
        process = self._servers[owner].process
        participants = process and process.proxy.monitor.of(call_id)
        if process is None or participants is None:
            return False
        return any(
            process.link.connected(name) and not self._network.joined(name, owner)
            for name in participants.present
        )


def _has(server: Server, call_id: str) -> bool:
    """Whether it has anything of the call that is not in its archive alone."""
    process = server.process
    if process is None:
        return True
    store, proxy = process.store, process.proxy
    return (
        store.get(call_id) is not None
        or call_id in store.kept
        or call_id in proxy._registrations.joined
    )


def _takes_part(server: Server, call_id: str) -> bool:
    """Whether anybody but the network proxy holds the call there."""
    process = server.process
    if process is None:
        return False
    call = process.store.get(call_id)
    return call is not None and any(
        client is not process.proxy and client not in call.followers for client in call.clients
    )
