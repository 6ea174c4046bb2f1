"""Neighbours: calls that come to a switch with a callID which its owner never heard of, or which is
over. They add nothing to anybody's record, and are recorded apart where they came in."""

from __future__ import annotations

from typing import Any

from cdsplugin.archive.schema import CDR_COLUMNS
from softswitch.events import CallEnded, CallRouted, CallStarted, Event, LegEnded, LegInvited

from .disk import SimArchive
from .plan import NeighbourItem
from .scheduler import World
from .server import Process, Server

LEG = 80
"""The first of its legs at the switch, so that they are told from those of a real call."""


class Neighbour:
    """One such call. It ends with the process of its switch."""

    def __init__(self, world: World, servers: dict[str, Server], item: NeighbourItem) -> None:
        self.world = world
        self.servers = servers
        self.server = servers[item.server]
        self.item = item
        self._process: Process | None = None
        self.stored = False
        """Whether its server has its beginning on disk."""
        world.at(item.at, self._begins)
        world.at(item.ends, self._ends)

    def wrong(self) -> str | None:
        """Everything is over: what is where it must not be, or is not where it must be; None if
        all is well."""
        item, name = self.item, self.server.name
        for server in self.servers.values():
            archive = server.disk.archive
            if not item.over and _rows(archive, "cdrs", "call_id = ?", item.call_id):
                return f"9: {server.name} has a row of {item.call_id}, which {item.owner} never had"
            legs = _rows(archive, "cdr_legs", "call_id = ? AND leg >= ?", item.call_id, LEG)
            if legs:
                return f"9: {server.name} has legs of a neighbour's call in {item.call_id}: {legs}"
        apart = [
            (server.name, *row)
            for server in self.servers.values()
            for row in _rows(server.disk.archive, "cdrs", "caller = ?", item.caller)
        ]
        if not apart and not self.stored:
            return None
        final = CDR_COLUMNS.index("final")
        found = {(at, row[1], row[2], row[final]) for at, *row in apart}
        if len(apart) != 1 or found != {(name, name, name, 1)}:
            return f"9: the call of a neighbour at {name} that named {item.call_id}: {apart}"
        return None

    def _begins(self) -> None:
        process, item = self.server.process, self.item
        if process is None or (item.over and not self._forgotten()):
            return
        self._process = process
        first = {**self._base(), "leg": LEG}
        self._tell(
            CallStarted(
                **first, site="", owner=item.owner, origin=False, caller=item.caller,
                caller_name="", dialled="2999", party="trunk:x", address="", user_agent="",
                sip_call_id=f"{item.caller}-in",
            )
        )  # fmt: skip
        self._tell(
            CallRouted(
                **self._base(), match="X", where="x:1", number="2999", properties={}, incoming=LEG
            )
        )
        self._tell(
            LegInvited(
                **self._base(), leg=LEG + 1, party="extension:2999", uri="sip:x", address="",
                sip_call_id=f"{item.caller}-out", incoming=LEG,
            )
        )  # fmt: skip

        def stored() -> None:
            self.stored = True

        process.timers.schedule(0, lambda: process.journal.after_commit(stored, must=True))

    def _forgotten(self) -> bool:
        """Whether no server has anything of the call any more but its record, and that says that it
        is long over."""
        owner = self.servers[self.item.owner]
        row = SimArchive(owner.disk, 0.0).look(self.item.call_id)
        if row is None or row.ended_at is None:
            return False
        if owner.machine.now_us() - row.ended_at < 60_000_000:
            return False
        processes = [server.process for server in self.servers.values()]
        return all(
            process is not None
            and process.store.get(self.item.call_id) is None
            and self.item.call_id not in process.store.kept
            and self.item.call_id not in process.store.fading
            for process in processes
        )

    def _ends(self) -> None:
        if self._process is None or self.server.process is not self._process:
            return
        for leg in (LEG, LEG + 1):
            self._tell(LegEnded(**self._base(), leg=leg, status=200, reason="", by="remote"))
        self._tell(
            CallEnded(
                **self._base(), disposition="answered", sip_status=200, reason="",
                hangup_by="caller", leg=LEG,
            )
        )  # fmt: skip

    def _base(self) -> dict[str, Any]:
        at = self.server.machine.now_us()
        return {"call_id": self.item.call_id, "switch": self.server.name, "at": at}

    def _tell(self, event: Event) -> None:
        assert self._process is not None
        if self.world.tracing:
            self.world.note(self.server.name, f"its switch says of a neighbour's call {event!r}")
        self._process.tms.event(event)


def _rows(archive: Any, table: str, where: str, *values: object) -> list[tuple[Any, ...]]:
    return list(archive.execute(f"SELECT * FROM {table} WHERE {where}", values))
