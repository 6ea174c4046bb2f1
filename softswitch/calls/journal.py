"""What is written down of calls, so that they outlive the process: which calls, what, and when.
Beside them in the same journal: what is still to be said of calls that are over
(`softswitch.calls.last_words`), and registrations.

A call is one row: who takes part, both dialogs (RFC 3261 §12), and what the plugins were told. It
is written before anybody hears of the call, again at its answer and when something else changes
that a restart could not do without, and ended with it; what changes a little (it rings) is
written within 0.2 s, if the call lasts so long. The CSeq of requests is no change: a restored
dialog jumps ahead (`CSEQ_AHEAD`).

No I/O: the rows go to a `Store`; the file is `softswitch.disk.journal_file`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from softswitch.memory import give_back
from softswitch.sip import Timer, Timers

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

A_LITTLE = 0.2
"""Seconds at most until a change is written that a restart could do without."""
TRY_AGAIN = 1.0
"""Seconds between tries when the disk refuses."""
CSEQ_AHEAD = 10_000
"""How far the CSeq of a restored dialog jumps: over all requests since its row was written."""
_COPIES = 50  # rows that are written again with each commit, while there is a new file to fill


class Kept(Protocol):
    """What has a row: a call, or a phone's registrations (`softswitch.parties.registrations`)."""

    row: int
    """Its number; 0 until it is written for the first time."""

    def written(self) -> bytes:
        """The row's bytes, as of now."""


class Store(Protocol):
    """Where rows are kept: what was written is there for the next process."""

    @property
    def behind(self) -> bool:
        """Whether the disk refuses, and rows wait for it."""

    @property
    def crowded(self) -> bool:
        """Whether so little of what it has counts that it wants to `begin` anew."""

    def write(
        self,
        rows: Sequence[tuple[int, bytes]],
        over: Iterable[int],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Store these rows, by their numbers, and end those that are over; then call `then`. While
        it is behind `then` is called at once."""

    def try_again(self) -> None:
        """Does the disk take now what it has refused?"""

    def begin(self) -> None:
        """Begin anew: all rows that count will be written again, and then `finish` is called."""

    def finish(self) -> None:
        """All rows that count were handed over since `begin`."""


class Journal:
    """What changed since the last commit, and what ended. `last_row` is taken already.

    `on_change` is told when there is something to commit; whoever it is calls `commit` soon, and
    `end` with what `ended` gives once the last words of those calls have left. Not before: were
    they marked as over first and the process killed then, nobody would ever say them.
    """

    def __init__(
        self,
        timers: Timers,
        store: Store,
        last_row: int = 0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._timers = timers
        self._store = store
        self._last_row = last_row
        self._on_change = on_change
        self._changed: dict[Kept, None] = {}
        self._later: dict[Kept, None] = {}
        self._over: list[int] = []
        self._alive: dict[int, Kept] = {}
        self._copying: list[int] | None = None
        self._timer: Timer | None = None

    def changed(self, kept: Kept) -> None:
        """It is new, or something that its row holds has changed."""
        self._changed[kept] = None
        self._on_change()

    def changed_a_little(self, kept: Kept) -> None:
        """Something has changed that a restart could do without: it may wait for `A_LITTLE`."""
        if kept not in self._changed:
            self._later[kept] = None
            self._tick_after(A_LITTLE)

    def over(self, kept: Kept) -> None:
        """It has ended."""
        self._changed.pop(kept, None)
        self._later.pop(kept, None)
        if kept.row:
            self.drop(kept.row)
            kept.row = 0

    def drop(self, row: int) -> None:
        """A row is of no use any more."""
        self._alive.pop(row, None)
        self._over.append(row)
        self._on_change()

    def restored(self, kept: Kept, row: int) -> None:
        """What the process before had goes on, and this is its row."""
        kept.row = row
        self._alive[row] = kept

    @property
    def behind(self) -> bool:
        """Whether the disk refuses: what has changed is not stored."""
        return self._store.behind

    def commit(self, then: Callable[[], None] = lambda: None) -> None:
        """Write what has changed; `then` is called once that is stored."""
        changed = self._changed
        rows: list[tuple[int, bytes]] = []
        for kept in changed:
            self._later.pop(kept, None)
            if not kept.row:
                self._last_row += 1
                kept.row = self._last_row
                self._alive[kept.row] = kept
            self._put(kept, rows)
        changed.clear()
        if rows:
            self._write(rows, (), then)
        else:
            then()

    def ended(self) -> list[int]:
        """The rows of the calls that have ended since this was asked last, for `end`."""
        over, self._over = self._over, []
        return over

    def end(self, rows: list[int]) -> None:
        """What these calls had to say last has left."""
        self._write([], rows, None)

    def _write(
        self,
        rows: list[tuple[int, bytes]],
        over: Sequence[int],
        then: Callable[[], None] | None,
    ) -> None:
        store = self._store
        if self._copying is not None:
            self._copy(rows)
        store.write(rows, over, then)
        if self._copying is not None and not self._copying:
            self._copying = None
            store.finish()
        elif self._copying is None and store.crowded:
            store.begin()
            self._copying = list(self._alive)
        if store.behind:
            self._tick_after(TRY_AGAIN)

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._changed, self._later, self._alive)

    def _put(self, kept: Kept, rows: list[tuple[int, bytes]]) -> None:
        try:
            rows.append((kept.row, kept.written()))
        except Exception:
            # This one will not outlive the process; all others are to.
            log.exception("%r cannot be written down", kept)

    def _copy(self, rows: list[tuple[int, bytes]]) -> None:
        """Some of the rows that the store has to get again."""
        assert self._copying is not None
        now, self._copying = self._copying[:_COPIES], self._copying[_COPIES:]
        fresh = {row for row, _ in rows}
        for row in now:
            kept = self._alive.get(row)
            if kept is not None and row not in fresh:
                self._put(kept, rows)

    def _tick_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._timers.after(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._later:
            self._changed.update(self._later)
            self._later.clear()
            self._on_change()
        self._store.try_again()
        if self._store.behind:
            self._tick_after(TRY_AGAIN)
