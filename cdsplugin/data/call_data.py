"""The entries of one call, and how two copies of them become one (`cdsplugin.data.entries`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cdsplugin.data.entries import Log, Once, Property, Value

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def supersedes(new: Property, old: Property) -> bool:
    """Whether ``new`` takes the place of ``old``; false when they are the same. The total order of
    ``cdsplugin.data.entries``."""
    if new.once or old.once:
        if not new.once or not old.once:
            return not new.once
        if new.once != old.once:
            return new.once < old.once
        new, old = old, new
    if new.stamp != old.stamp:
        return new.stamp > old.stamp
    if new.author != old.author:
        return new.author > old.author
    return _encode(new.value) > _encode(old.value)


class CallData:
    """All entries of one call, by name (properties) and by ``(stamp, author)`` (logs).

    ``newest`` is the greatest stamp seen in this copy, 0 if there is none.
    """

    __slots__ = ("logs", "newest", "properties")

    def __init__(self, properties: Iterable[Property] = (), logs: Iterable[Log] = ()) -> None:
        self.properties: dict[str, Property] = {}
        self.logs: dict[tuple[int, str], Log] | None = None
        self.newest = 0
        self.merge(properties, logs)

    def __len__(self) -> int:
        return len(self.properties) + (len(self.logs) if self.logs else 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CallData):
            return NotImplemented
        return self.properties == other.properties and (self.logs or {}) == (other.logs or {})

    __hash__ = None  # type: ignore[assignment]

    def merge(
        self, properties: Iterable[Property], logs: Iterable[Log]
    ) -> tuple[list[Property], list[Log]]:
        """Take in entries; return those that changed this copy. What was seen is disregarded."""
        held = self.properties
        newest = self.newest
        changed: list[Property] = []
        for entry in properties:
            old = held.get(entry.name)
            if old is None or supersedes(entry, old):
                held[entry.name] = entry
                changed.append(entry)
            # A property that lost was seen all the same: nothing may be stamped behind it.
            if entry.stamp > newest:
                newest = entry.stamp
        added: list[Log] = []
        for line in logs:
            if self.logs is None:
                self.logs = {}
            key = (line.stamp, line.author)
            known = self.logs.get(key)
            if known is None or line.text > known.text:
                self.logs[key] = line
                added.append(line)
                if line.stamp > newest:
                    newest = line.stamp
        self.newest = newest
        return changed, added

    def write(
        self, stamp: int, author: str, values: Mapping[str, Value | Once], lines: Sequence[str]
    ) -> tuple[list[Property], list[Log]]:
        """Make entries of this server's own, stamped ``stamp``, ``stamp + 1`` and so on. A value
        that is ``Once`` makes none if there is a property of that name which wins over it.

        ``stamp`` must be greater than ``newest``; that is why nothing needs comparing here.
        """
        held = self.properties
        changed = []
        once = Once  # looked up here, not for each value
        for name, value in values.items():
            if type(value) is once:
                assert isinstance(value, Once)
                entry = Property(name, value.value, stamp, author, value.once)
                before = held.get(name)
                if before is not None and not supersedes(entry, before):
                    continue
            else:
                entry = Property(name, value, stamp, author)  # type: ignore[arg-type]
            held[name] = entry
            changed.append(entry)
            stamp += 1
        added = []
        for text in lines:
            if self.logs is None:
                self.logs = {}
            line = self.logs[(stamp, author)] = Log(stamp, author, text)
            added.append(line)
            stamp += 1
        self.newest = stamp - 1
        return changed, added

    def value(self, name: str) -> Value:
        """The value of a property, None if there is none."""
        entry = self.properties.get(name)
        return None if entry is None else entry.value

    def log_lines(self) -> list[Log]:
        """All log lines in the order of their stamps."""
        return [self.logs[key] for key in sorted(self.logs)] if self.logs else []

    def have(self) -> dict[str, int]:
        """How new this copy is: for each author the greatest stamp of its entries here."""
        newest: dict[str, int] = {}
        for entry in self.properties.values():
            if entry.stamp > newest.get(entry.author, -1):
                newest[entry.author] = entry.stamp
        for line in self.logs.values() if self.logs else ():
            if line.stamp > newest.get(line.author, -1):
                newest[line.author] = line.stamp
        return newest

    def counts(self) -> dict[str, int]:
        """How many entries each author has here."""
        counts: dict[str, int] = {}
        for entry in self.properties.values():
            counts[entry.author] = counts.get(entry.author, 0) + 1
        for line in self.logs.values() if self.logs else ():
            counts[line.author] = counts.get(line.author, 0) + 1
        return counts

    def count(self, author: str) -> int:
        """How many entries that author has here."""
        return self.counts().get(author, 0)

    def oldest_of(self, server: str) -> dict[str, int]:
        """For each author of that server the smallest stamp of its entries here."""
        oldest: dict[str, int] = {}
        lines = self.logs.values() if self.logs else ()
        for author, stamp in [
            *((e.author, e.stamp) for e in self.properties.values()),
            *((e.author, e.stamp) for e in lines),
        ]:
            if author.partition("/")[0] == server and stamp < oldest.get(author, stamp + 1):
                oldest[author] = stamp
        return oldest

    def newer(self, have: Mapping[str, int]) -> tuple[list[Property], list[Log]]:
        """The entries that a copy with ``have`` lacks, in the order of their stamps.

        The order matters to a receiver that is cut off half-way: what it has of an author must stay
        a beginning of what that author wrote.
        """
        properties = [e for e in self.properties.values() if e.stamp > have.get(e.author, -1)]
        properties.sort(key=_stamp_of)
        if not self.logs:
            return properties, []
        logs = [e for e in self.logs.values() if e.stamp > have.get(e.author, -1)]
        logs.sort(key=_stamp_of)
        return properties, logs


def _stamp_of(entry: Property | Log) -> int:
    return entry.stamp
