"""The cost report: what the calls of one or several archives were, and what they cost.

From the source: "a call accounting process may later retrieve information from the database to
generate a cost report." A call costs what the carrier takes by whose trunk it really left our
switches, at whichever of them that was; what goes from switch to switch costs nothing. A call that
left by a carrier and that no rate covers is named. Where a call was more than one talk, each leg
that left costs, and is charged to who had it placed (``charges``).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from sqlite_utils import Database

from cdsplugin.accounts.charges import Charge, charges
from cdsplugin.accounts.rates import Rates

# Records of before the true ends were known name the trunk of the first switch alone.
_OUTGOING = (
    "coalesce(c.outgoing_trunk, CASE WHEN c.answered_party IS NULL AND c.callee_party LIKE"
    " 'trunk:%' THEN substr(c.callee_party, 7) END, '')"
)

_ENDS = ("answered_party", "answered_number", "answered_switch", "outgoing_trunk")

GROUPS = {
    "account": "coalesce((SELECT p.value FROM cdr_properties p"
    " WHERE p.call_id = c.call_id AND p.name = 'account'), '')",
    "extension": "CASE WHEN c.caller_party LIKE 'extension:%' THEN substr(c.caller_party, 11)"
    " ELSE '' END",
    "site": "coalesce(c.site, '')",
    "switch": "coalesce(c.switch, '')",
    "incoming": "CASE WHEN c.caller_party LIKE 'trunk:%' THEN substr(c.caller_party, 7)"
    " ELSE '' END",
    "outgoing": _OUTGOING,
    "trunk": _OUTGOING,
    "callee": "coalesce(c.answered_number, c.callee, c.dialled, '')",
    "day": "substr(c.started_at, 1, 10)",
}
"""What a report may group by, and the SQL for it. ``site`` and ``switch`` are where a call began,
``incoming`` and ``outgoing`` the carriers' trunks by which it came and left (``trunk`` is the same
as ``outgoing``), ``callee`` the number that answered, or that was dialled; the day is in UTC. What
a leg costs that somebody else had placed stands with that one's ``extension``, and with the trunk
and the number of that leg."""

_TALKED = (
    "EXISTS (SELECT 1 FROM cdr_properties p WHERE p.call_id = c.call_id AND p.name GLOB 'talk/*')"
)
"""Whether it was more than one talk between the two ends that its row names."""


@dataclass(slots=True)
class Line:
    """A line of the report: its group's values, and the sums. ``uncovered`` counts the calls that
    left by a carrier's trunk and that no rate covers."""

    group: tuple[str, ...]
    calls: int = 0
    answered: int = 0
    seconds: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    uncovered: int = 0

    @property
    def minutes(self) -> Decimal:
        """Minutes from answer to end, to the hundredth."""
        return (self.seconds / 60).quantize(Decimal("0.01"), ROUND_HALF_UP)


class Uncovered(NamedTuple):
    """Where calls went that no rate covers."""

    switch: str
    trunk: str
    number: str


@dataclass(slots=True)
class Report:
    """The lines in the order of their groups; how many calls went where no rate covers them."""

    lines: list[Line] = field(default_factory=list)
    uncovered: dict[Uncovered, int] = field(default_factory=dict)


def cost_report(
    databases: Sequence[Database],
    by: Iterable[str],
    rates: Rates | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Report:
    """Calls, answered calls, minutes and cost for each group. A call that several databases have
    counts once.

    ``since`` and ``until`` (excluded) are ISO 8601 dates or times in UTC. ValueError for an unknown
    group.
    """
    groups = list(by)
    if unknown := [name for name in groups if name not in GROUPS]:
        raise ValueError(f"`{unknown[0]}` is not one of {', '.join(GROUPS)}")
    lines: dict[tuple[str, ...], Line] = {}
    report = Report()
    for call_id, _, db, row in _each_once(_rows(db, groups, since, until) for db in databases):
        switch, trunk, number, party, over, talked, disposition, billsec, *group = row
        line = _line(lines, group)
        line.calls += 1
        if disposition != "answered":
            continue
        seconds = Decimal(str(billsec))
        line.answered += 1
        line.seconds += seconds
        if rates is None:
            continue
        left: Iterable[Charge] = ()
        if talked:
            left = charges(db, databases, call_id, party, over)
        elif trunk:
            left = (Charge(party, switch, trunk, number, seconds),)
        for charge in left:
            # Of a plain call they are the call's own.
            other = _group(groups, group, charge) if talked else group
            _charge(report, _line(lines, other), rates, charge)
    report.lines = [lines[key] for key in sorted(lines)]
    return report


def _line(lines: dict[tuple[str, ...], Line], group: Sequence[object]) -> Line:
    key = tuple("" if value is None else str(value) for value in group)
    return lines.get(key) or lines.setdefault(key, Line(key))


def _group(groups: Sequence[str], values: Sequence[object], charge: Charge) -> list[object]:
    """Where a charge stands in a report."""
    payer = charge.payer or ""
    its = {
        "extension": payer.removeprefix("extension:") if payer.startswith("extension:") else "",
        "outgoing": charge.trunk,
        "trunk": charge.trunk,
        "callee": charge.number,
    }
    return [its.get(name, value) for name, value in zip(groups, values, strict=True)]


def _charge(report: Report, line: Line, rates: Rates, charge: Charge) -> None:
    cost = rates.cost(charge.number, charge.trunk, charge.switch, charge.seconds + charge.before)
    if cost is None:
        line.uncovered += 1
        where = Uncovered(charge.switch, charge.trunk, charge.number)
        report.uncovered[where] = report.uncovered.get(where, 0) + 1
        return
    line.cost += cost
    if charge.moved:
        earlier = rates.cost(charge.number, charge.trunk, charge.switch, charge.before)
        line.cost -= earlier or 0


_Found = tuple[str, int, Database, tuple[Any, ...]]


def _rows(
    db: Database, groups: Sequence[str], since: str | None, until: str | None
) -> Iterator[_Found]:
    """CallID, how good the row is (greater is better), whose it is, and what the report needs of
    it; in the order of the callIDs."""
    terms, values = ["c.started_at IS NOT NULL"], []
    for compared, when in ((">=", since), ("<", until)):
        if when is not None:
            terms.append(f"c.started_at {compared} ?")
            values.append(when)
    # The owner's own record before one that another server has pieced together meanwhile.
    good = "(c.ended_at IS NOT NULL) * 4 + (c.written_by IS c.owner) * 2 + c.final"
    columns = [
        "c.call_id", good, "coalesce(c.answered_switch, c.switch, '')", _OUTGOING,
        "coalesce(c.answered_number, c.callee, c.dialled, '')", "c.caller_party", "c.ended_at",
        _TALKED, "c.disposition", "coalesce(c.billsec, 0)", *(GROUPS[name] for name in groups),
    ]  # fmt: skip
    known = {column.name for column in db.table("cdrs").columns}
    # A database that an earlier version wrote, and that no server has opened since.
    lacking = "".join(f", NULL AS {name}" for name in _ENDS if name not in known)
    query = (
        f"SELECT {', '.join(columns)} FROM (SELECT cdrs.*{lacking} FROM cdrs) c"
        f" WHERE {' AND '.join(terms)} ORDER BY c.call_id"
    )
    for call_id, rank, *rest in db.execute(query, values):
        yield call_id, rank, db, tuple(rest)


def _each_once(found: Iterable[Iterator[_Found]]) -> Iterator[_Found]:
    """The best row of each callID."""
    best: _Found | None = None
    for row in heapq.merge(*found, key=lambda one: one[0]):
        if best is not None and best[0] != row[0]:
            yield best
            best = None
        if best is None or row[1] > best[1]:
            best = row
    if best is not None:
        yield best
