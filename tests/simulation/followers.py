"""Followers: screens, ``cds watch``. They are told what happens in a call until it ends, at any
server, and hold none: most of them never leave by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from cdsplugin.data.call import Call
from cdsplugin.data.entries import Log, Property

from .calls import Truth
from .plan import FollowItem
from .scheduler import World
from .server import Process, Server


class Follower:
    """A client of a server's store."""

    def __init__(self, world: World, server: Server, truth: Truth, item: FollowItem) -> None:
        self.world = world
        self.server = server
        self.truth = truth
        self.item = item
        self.process: Process | None = None
        """Where it follows; what it was told goes with that."""
        self.ends = 0
        world.at(item.at, self._follows)

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """For the screen."""

    def ended(self, call: Call) -> None:
        """End of call."""
        self.ends += 1

    def wrong(self) -> str | None:
        """Everything is over: what it was not told, or too often; None if all was well."""
        if self.process is None or self.server.process is not self.process or self.ends == 1:
            return None
        call = self.truth.item.call_id
        return f"5: who follows {call} at {self.server.name} was told {self.ends} ends of it"

    def _follows(self) -> None:
        process, item = self.server.process, self.truth.item
        if process is None:
            return
        if item.owner == self.server.name and process.store.get(item.call_id) is None:
            return  # never begun, or over
        self.world.note(self.server.name, f"somebody follows {item.call_id}")
        self.process = process
        process.store.register(self, item.call_id, item.owner, holds=False)
        if self.item.stays:
            self.world.after(self.item.stays, self._leaves)

    def _leaves(self) -> None:
        process = self.process
        if process is not None and self.server.process is process and not self.ends:
            self.world.note(self.server.name, "a follower leaves")
            process.store.unregister(self, self.truth.item.call_id)
            self.process = None
