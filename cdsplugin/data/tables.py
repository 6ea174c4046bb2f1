"""Tables that many things were taken out of."""

from __future__ import annotations

from typing import Protocol


class Table(Protocol):
    """A dict or a set."""

    def __len__(self) -> int: ...
    def clear(self) -> None: ...


def give_back(*tables: Table) -> None:
    """Make those tables small that are empty: they keep the room that they had for all that was in
    them, for good, and only ``clear`` lets go of it. To be called when nothing is in progress."""
    for table in tables:
        if not len(table):
            table.clear()
