"""A connection to SQLite for a thread that writes all day."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from typing import Any


class Connection(sqlite3.Connection):
    """`run` is `execute` with one cursor for all: each cursor that is made leaves a reference
    behind, up to 200 of them, and each of those holds on to a piece of the memory of its time."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._cursor = self.cursor()

    def run(self, statement: str, values: Iterable[Any] = ()) -> None:
        """Execute a statement that returns nothing. Raises as `execute` does."""
        self._cursor.execute(statement, values)  # type: ignore[arg-type]

    def prepare(self, statement: str) -> None:
        """Have a statement that takes values ready, without executing it."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # it wants its values, and is kept
            self._cursor.execute(statement)

    def close(self) -> None:
        """As usual. A cursor keeps its last statement, and that would keep the file open."""
        self._cursor.close()
        super().close()
