"""Applications that write more than a call may have: many names, long values, all at once, up to
its end. What they write too much is refused and they are named; what switches say is not."""

from __future__ import annotations

from functools import partial

from .calls import Truth
from .invariants import Auditor, Violated
from .plan import FloodItem
from .scheduler import World
from .server import Process, Server

_AT_ONCE = 10
"""Entries in one request."""
_NAMED = 20
"""So many authors of a call are named at most."""


class Flood:
    """Some applications at one server: clients of its store as the API makes them."""

    def __init__(
        self, world: World, server: Server, truth: Truth, item: FloodItem, auditor: Auditor
    ) -> None:
        self.world = world
        self.server = server
        self.truth = truth
        self.item = item
        self.auditor = auditor
        self.acknowledged: dict[str, str] = {}
        """What is on disk here: the author by the text."""
        self._written = 0
        for at in item.bursts:
            world.at(at, partial(server.machine.comes, self._writes))
        world.at(item.bursts[-1] + 1, partial(server.machine.comes, self._leaves))
        self._process: Process | None = None

    def updated(self, *_: object) -> None:
        """Somebody else's entries, of no interest."""

    def ended(self, *_: object) -> None:
        """End of call."""

    def wrong(self, records: dict[str, str]) -> str | None:
        """Everything is over: what was acknowledged and is in none of the ``records`` (the author
        by the text), though nobody refused its author by name; None if all is well."""
        if self.truth.started is None:
            return None  # a call that its owner lost
        call_id = self.truth.item.call_id
        named = self.auditor.refused.get(call_id, set())
        for text, author in self.acknowledged.items():
            if records.get(text) != author and author not in named and len(named) < _NAMED:
                return f"8: {call_id}: {author} wrote {text[:40]!r}: in no record, and not refused"
        return None

    def _writes(self) -> None:
        process, item, call_id = self.server.process, self.item, self.truth.item.call_id
        if process is None or not self.truth.begun:
            return
        owner, name, store = self.truth.item.owner, self.server.name, process.store
        if owner == name and store.get(call_id) is None:
            return  # the call is over
        call = store.register(self, call_id, owner, holds=False)
        self._process = process
        self.world.note(name, f"applications write {item.size} entries")
        for first in range(0, item.size, _AT_ONCE):
            author = f"{name}/{first // _AT_ONCE % item.authors}"
            texts = [self._text() for _ in range(min(_AT_ONCE, item.size - first))]
            values = {} if item.lines else {f"{author} {text[:20]}": text for text in texts}
            lines = texts if item.lines else []
            if store.write(self, call_id, author, values, lines):  # type: ignore[arg-type]
                written = partial(self.acknowledged.update, dict.fromkeys(texts, author))
                process.journal.after_commit(written, must=True)
            elif author not in (call.refused or ()) and len(call.refused or ()) < _NAMED:
                raise Violated(f"9: {name} refuses what {author} writes, and does not say so")

    def _text(self) -> str:
        self._written += 1
        return f"{self.server.name} {self.item.bursts[0]} {self._written}".ljust(self.item.length)

    def _leaves(self) -> None:
        process = self._process
        if process is not None and self.server.process is process:
            process.store.unregister(self, self.truth.item.call_id)


def recorded(servers: dict[str, Server]) -> dict[str, str]:
    """All that is in anybody's archive: the author by the text of a line, or a property's value."""
    found: dict[str, str] = {}
    for server in servers.values():
        conn = server.disk.archive
        found.update(conn.execute("SELECT text, author FROM cdr_logs"))
        found.update(conn.execute("SELECT value, author FROM cdr_properties"))
    return found
