"""A connection to SQLite for a thread that writes all day."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Any

from cdsplugin.archive import schema
from cdsplugin.archive.rows import Row

SIZES = (32, 16, 8, 4, 2, 1)
"""How many rows one statement may write. Few sizes: a prepared statement for each stays for good,
and every one made in the middle of a load would hold on to a piece of the memory that the load's
calls had."""

_for_rows = lru_cache(maxsize=None)(schema.for_rows)


class Connection(sqlite3.Connection):
    """`run` is `execute` with one cursor for all: each cursor that is made leaves a reference
    behind, up to 200 of them, and each of those holds on to a piece of the memory of its time."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._cursor = self.cursor()

    def run(self, statement: str, values: Iterable[Any] = ()) -> None:
        """Execute a statement that returns nothing. Raises as `execute` does."""
        self._cursor.execute(statement, values)  # type: ignore[arg-type]

    def write(self, statement: str, rows: list[Row]) -> None:
        """Write rows, up to 32 with one statement. Raises as `execute` does.

        Python hands its lock over at each statement, and under load has to wait until it gets it
        back: fewer statements, less of that. sqlite-utils' own ``upsert_all`` is not used because
        it builds its statement, and looks up the table's columns, each time (``bench/cds.py``
        measures both).
        """
        first = 0
        for size in SIZES:
            while len(rows) - first >= size:
                together = rows[first : first + size]
                self.run(_for_rows(statement, size), tuple(chain.from_iterable(together)))
                first += size

    def prepare(self, statement: str) -> None:
        """Have all ready that `write` makes of a statement."""
        for size in SIZES:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it wants its values, and is kept
                self._cursor.execute(_for_rows(statement, size))

    def close(self) -> None:
        """As usual. A cursor keeps its last statement, and that would keep the file open."""
        self._cursor.close()
        super().close()
