"""The cost report: what the calls of an archive were, and what they cost.

From the source: "a call accounting process may later retrieve information from the database to
generate a cost report." Costs come of a rate file (YAML)::

    currency: EUR
    rates:
      - {trunk: pstn, prefix: "0044", per_minute: 0.03, setup: 0.05, increment: 60}
      - {prefix: "0", per_minute: 0.02}

The longest ``prefix`` of the number called wins, among equal ones a rate that names the trunk by
which the call left. ``increment`` is the seconds to which a call is rounded up, ``setup`` is
charged once for each answered call. A call that no rate covers costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlite_utils import Database

GROUPS = {
    "account": "coalesce((SELECT p.value FROM cdr_properties p"
    " WHERE p.call_id = c.call_id AND p.name = 'account'), '')",
    "extension": "CASE WHEN c.caller_party LIKE 'extension:%' THEN substr(c.caller_party, 11)"
    " ELSE '' END",
    "trunk": "CASE WHEN c.callee_party LIKE 'trunk:%' THEN substr(c.callee_party, 7) ELSE '' END",
    "day": "substr(c.started_at, 1, 10)",
}
"""What a report may group by, and the SQL for it. The day is in UTC."""


class RatesError(Exception):
    """The rate file cannot be used. The text says why, a line for each mistake."""


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number")
    try:
        number = Decimal(str(value))
    except ArithmeticError as error:
        raise ValueError(f"found `{value}`, expected a number") from error
    if not number.is_finite() or number < 0:
        raise ValueError(f"found `{value}`, expected a number that is not negative")
    return number


Money = Annotated[Decimal, BeforeValidator(_decimal)]


class Rate(BaseModel):
    """What calls to numbers with ``prefix`` cost, by trunk ``trunk`` if it is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)] = ""
    trunk: str | None = None
    per_minute: Money
    setup: Money = Decimal(0)
    increment: int = Field(default=1, ge=1)


class Rates(BaseModel):
    """A rate file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = ""
    rates: tuple[Rate, ...]

    def cost(self, number: str, trunk: str, billsec: Decimal) -> Decimal | None:
        """What an answered call costs; None if no rate covers it."""
        best: Rate | None = None
        for rate in self.rates:
            if not number.startswith(rate.prefix) or rate.trunk not in (None, trunk):
                continue
            if best is None or _rank(rate) > _rank(best):
                best = rate
        if best is None:
            return None
        increments = (billsec / best.increment).to_integral_value(ROUND_CEILING)
        return best.setup + best.per_minute * increments * best.increment / 60


def _rank(rate: Rate) -> tuple[int, bool]:
    return len(rate.prefix), rate.trunk is not None


def read_rates(path: Path) -> Rates:
    """Read a rate file. Raises ``RatesError``."""
    try:
        return Rates.model_validate(yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader))
    except OSError as error:
        raise RatesError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RatesError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in error.errors()
        ]
        raise RatesError("\n".join(lines)) from error


@dataclass(slots=True)
class Line:
    """A line of the report: its group's values, and the sums."""

    group: tuple[str, ...]
    calls: int = 0
    answered: int = 0
    seconds: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)

    @property
    def minutes(self) -> Decimal:
        """Minutes from answer to end, to the hundredth."""
        return (self.seconds / 60).quantize(Decimal("0.01"), ROUND_HALF_UP)


def cost_report(
    db: Database,
    by: Iterable[str],
    rates: Rates | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[Line]:
    """Calls, answered calls, minutes and cost for each group, in the order of the groups.

    ``since`` and ``until`` (excluded) are ISO 8601 dates or times in UTC. ValueError for an unknown
    group.
    """
    groups = list(by)
    if unknown := [name for name in groups if name not in GROUPS]:
        raise ValueError(f"`{unknown[0]}` is not one of {', '.join(GROUPS)}")
    columns = ", ".join([*(GROUPS[name] for name in groups), ""]) if groups else ""
    terms, values = ["c.started_at IS NOT NULL"], []
    if since is not None:
        terms.append("c.started_at >= ?")
        values.append(since)
    if until is not None:
        terms.append("c.started_at < ?")
        values.append(until)
    query = (
        f"SELECT {columns} {GROUPS['trunk']}, coalesce(c.callee, c.dialled, ''), c.disposition,"
        f" coalesce(c.billsec, 0) FROM cdrs c WHERE {' AND '.join(terms)}"
    )
    lines: dict[tuple[str, ...], Line] = {}
    row: tuple[Any, ...]
    for row in db.execute(query, values):
        *group, trunk, number, disposition, billsec = row
        key = tuple("" if value is None else str(value) for value in group)
        line = lines.get(key)
        if line is None:
            line = lines[key] = Line(key)
        line.calls += 1
        if disposition == "answered":
            seconds = Decimal(str(billsec))
            line.answered += 1
            line.seconds += seconds
            if rates is not None:
                line.cost += rates.cost(number, trunk, seconds) or 0
    return [lines[key] for key in sorted(lines)]
