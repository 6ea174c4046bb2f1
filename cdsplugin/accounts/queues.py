"""The report of queues: how many callers came, what became of them, and how long they waited.

A caller's way through a queue is a property of its call, `application/SWITCH/LEG`, as the switch
has told it (docs/queues.md). Of a call that is over and of which it says that the caller still
waits, the switch was killed meanwhile: the caller is gone, as one who has hung up.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlite_utils import Database

QUEUE_GROUPS = ("queue", "agent", "day", "site", "switch")
"""What a report of queues may group by, `queue` among them. ``agent`` is the extension that has
answered, ``switch`` the one with the queue, ``site`` where the call began; the day is in UTC."""

WITHIN = 20.0
"""Seconds within which a caller is to be answered, unless something else is said."""

_ANSWERED, _ABANDONED, _WAITING = "answered", "abandoned", "waiting"


@dataclass(slots=True)
class QueueLine:
    """A line of the report: its group's values, and what became of how many. ``waits`` are the
    seconds of all who came, ``in_time`` are those who were answered within the time."""

    group: tuple[str, ...]
    outcomes: dict[str, int] = field(default_factory=dict)
    waits: float = 0.0
    longest: float = 0.0
    in_time: int = 0

    @property
    def offered(self) -> int:
        """Callers that came."""
        return sum(self.outcomes.values())

    @property
    def answered(self) -> int:
        """Of these, who has talked with an agent."""
        return self.outcomes.get(_ANSWERED, 0)

    @property
    def abandoned(self) -> int:
        """Who has hung up, or is gone."""
        return self.outcomes.get(_ABANDONED, 0)

    @property
    def average(self) -> float:
        """Seconds that each has waited."""
        return self.waits / self.offered if self.offered else 0.0

    @property
    def level(self) -> float:
        """Per cent of those who came that were answered within the time."""
        return 100 * self.in_time / self.offered if self.offered else 0.0


def queue_report(
    databases: Sequence[Database],
    by: Iterable[str],
    since: str | None = None,
    until: str | None = None,
    within: float = WITHIN,
) -> list[QueueLine]:
    """What became of the callers of each group, in the order of the groups. A call that several
    databases have counts once; one that is not over, not yet.

    ``since`` and ``until`` (excluded) are ISO 8601 dates or times in UTC, of the call's beginning.
    ValueError for a group that does not go with `queue`.
    """
    groups = list(by)
    for name in groups:
        if name not in QUEUE_GROUPS:
            raise ValueError(f"`{name}` does not go with `queue`: {', '.join(QUEUE_GROUPS)} do")
    lines: dict[tuple[str, ...], QueueLine] = {}
    for call_id, db, ended_at, merged, day, site in _calls(databases, since, until):
        for name, value in db.execute(_WAYS, (call_id,)):
            facts = _facts(value)
            outcome = facts.get("outcome", "")
            if facts.get("name") != "queue" or not outcome or (merged and outcome == _WAITING):
                # Of one that waits on in another call, that one tells.
                continue
            waited = _number(facts.get("waited", ""))
            if outcome == _WAITING:
                outcome, waited = _ABANDONED, _between(facts.get("since", ""), ended_at)
            its = {
                "queue": facts.get("queue", ""),
                "agent": facts.get("agent", ""),
                "day": day,
                "site": site,
                "switch": name.split("/")[1] if name.count("/") == 2 else "",
            }
            group = tuple(its[one] for one in groups)
            line = lines.setdefault(group, QueueLine(group))
            line.outcomes[outcome] = line.outcomes.get(outcome, 0) + 1
            line.waits += waited
            line.longest = max(line.longest, waited)
            line.in_time += outcome == _ANSWERED and waited <= within
    return [lines[key] for key in sorted(lines)]


_WAYS = (
    "SELECT name, value FROM cdr_properties WHERE call_id = ? AND name GLOB 'application/*'"
    " ORDER BY name"
)

_Call = tuple[str, Database, str, bool, str, str]


def _calls(databases: Sequence[Database], since: str | None, until: str | None) -> Iterator[_Call]:
    """The calls that are over: by their callIDs, each once, from the best of its records."""
    best: tuple[str, int, _Call] | None = None
    found = heapq.merge(*(_rows(db, since, until) for db in databases), key=lambda one: one[0])
    for row in found:
        if best is not None and best[0] != row[0]:
            yield best[2]
            best = None
        if best is None or row[1] > best[1]:
            best = row
    if best is not None:
        yield best[2]


def _rows(db: Database, since: str | None, until: str | None) -> Iterator[tuple[str, int, _Call]]:
    terms, values = ["started_at IS NOT NULL", "ended_at IS NOT NULL"], []
    for compared, when in ((">=", since), ("<", until)):
        if when is not None:
            terms.append(f"started_at {compared} ?")
            values.append(when)
    known = {column.name for column in db.table("cdrs").columns}
    # A database that an earlier version wrote, and that no server has opened since.
    merged = "merged_into" if "merged_into" in known else "NULL"
    query = (
        "SELECT call_id, (written_by IS owner) * 2 + final, ended_at,"
        f" {merged}, substr(started_at, 1, 10), coalesce(site, '')"
        f" FROM cdrs WHERE {' AND '.join(terms)} ORDER BY call_id"
    )
    for call_id, good, ended_at, into, day, site in db.execute(query, values):
        yield call_id, good, (call_id, db, ended_at, into is not None, day, site)


def _facts(value: Any) -> dict[str, str]:
    """What an application has told; nothing where somebody else has written there."""
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0.0 <= found < float("inf") else 0.0


def _between(begin: str, end: str) -> float:
    """Seconds from one time to another, or 0."""
    try:
        lasted = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    except (TypeError, ValueError):
        return 0.0
    return max(lasted.total_seconds(), 0.0)
