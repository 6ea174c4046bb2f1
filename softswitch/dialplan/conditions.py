"""Time conditions: whether it is office hours, a weekend, a holiday, by the clock on the wall.

Hours mean what a clock on the wall shows: when it is put forward, the hour that it leaves out never
comes; when it is put back, an hour comes twice, and both are it. Hours over midnight belong to the
day on which they begin: ``fri`` with ``22:00-06:00`` ends on Saturday at six.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, StringConstraints

from softswitch.config import (
    TEXTS,
    Mistake,
    Section,
    Stamp,
    Text,
    TimeZoneText,
    Where,
    YamlFile,
    as_written,
    did_you_mean,
    one_or_more,
    stamp,
    text_then,
)
from softswitch.dialplan.times import (
    MONTHS,
    WEEKDAYS,
    Days,
    Hours,
    Numbers,
    parse_days,
    parse_hours,
    parse_month_days,
    parse_months,
    parse_weekdays,
    read_holidays,
)

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Condition:
    """All that is given has to hold; ``days`` (dates and holidays) do if the day is one of them.

    ``zone`` None is the machine's. Empty hours, weekdays, month_days and months are any; ``days``
    None are too, but empty ones are none: a file of holidays may be.
    """

    name: str
    zone: ZoneInfo | None = None
    hours: Hours = ()
    weekdays: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    days: tuple[Days, ...] | None = None

    def holds(self, at: float) -> bool:
        """Whether it holds at a time (seconds since 1970, UTC)."""
        now = datetime.fromtimestamp(at, self.zone)
        return any(self._has(day) for day in self._begun(now))

    def _begun(self, now: datetime) -> list[date]:
        """The days whose hours it is now: today, or yesterday, or both."""
        today = now.date()
        if not self.hours:
            return [today]
        minute = now.hour * 60 + now.minute
        days = []
        if any(begin <= minute and (minute < end or end <= begin) for begin, end in self.hours):
            days.append(today)
        if any(minute < end <= begin for begin, end in self.hours):
            days.append(today - _DAY)
        return days

    def _has(self, day: date) -> bool:
        return not self._lacks(day) and (self.days is None or self._day(day) is not None)

    def _lacks(self, day: date) -> str:
        """Which key a day does not fit."""
        if self.weekdays and day.weekday() not in self.weekdays:
            return "weekdays"
        if self.month_days and day.day not in self.month_days:
            return "month_days"
        if self.months and day.month not in self.months:
            return "months"
        return ""

    def _day(self, day: date) -> Days | None:
        return next((days for days in self.days or () if days.have(day)), None)

    def told(self, at: float) -> str:
        """Whether it holds at a time and why, in words for an admin."""
        now = datetime.fromtimestamp(at, self.zone)
        where = f" in {self.zone.key}" if self.zone is not None else ""
        text = f"it is {clock(now)}{where}"
        begun = self._begun(now)
        good = next((day for day in begun if self._has(day)), None)
        if good is not None:
            days = self._day(good)
            if days is not None:
                about = f" {days.text}" if days.text else ""
                text += f", and {days}{about}" + (f" ({days.where})" if days.where else "")
            return f"`{self.name}` holds: {text}"
        if not begun:
            text += f", and its hours are {', '.join(map(_span, self.hours))}"
        elif lacks := self._lacks(begun[0]):
            text += f", and its {lacks} are {self._listed(lacks)}"
        else:
            text += ", which is none of its days"
        return f"`{self.name}` does not hold: {text}"

    def _listed(self, key: str) -> str:
        if key == "weekdays":
            return ", ".join(WEEKDAYS[day] for day in sorted(self.weekdays))
        if key == "months":
            return ", ".join(MONTHS[month - 1] for month in sorted(self.months))
        return ", ".join(str(day) for day in sorted(self.month_days))


def _span(span: tuple[int, int]) -> str:
    begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in span)
    return f"{begin}-{end}"


def clock(now: datetime) -> str:
    """``Thu 2026-12-24 18:30``."""
    return f"{WEEKDAYS[now.weekday()].capitalize()} {now:%Y-%m-%d %H:%M}"


# How it is written

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT = "not"


def condition_name(text: str) -> str:
    """A condition's name. Raises ValueError."""
    if text == _NOT or not _NAME.fullmatch(text):
        raise ValueError("expected letters, digits, `.`, `_` and `-` for a condition")
    return text


def asked_of(text: str) -> tuple[str, bool]:
    """``NAME`` or ``not NAME``: the condition, and whether it has to hold. Raises ValueError."""
    words = text.split()
    wanted = words[:1] != [_NOT]
    if len(words) != (1 if wanted else 2):
        raise ValueError(f"found `{text}`, expected a condition's name, or `not NAME`")
    return words[-1], wanted


class ConditionModel(Section):
    """When it holds. Of several keys all have to."""

    hours: Annotated[
        list[Annotated[Hours, text_then(parse_hours, "hours such as 08:00-18:00")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=[], description="hours such as 08:00-18:00, or a list; over midnight too")
    weekdays: Annotated[
        list[Annotated[Numbers, text_then(parse_weekdays, "days such as mon-fri")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=[], description="days of the week, such as mon-fri")
    month_days: Annotated[
        list[Annotated[Numbers, text_then(parse_month_days, "days of a month such as 1-7")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=[], description="days of the month, such as 1-7")
    months: Annotated[
        list[Annotated[Numbers, text_then(parse_months, "months such as jun-aug")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(default=[], description="months, such as jun-aug")
    dates: Annotated[
        list[Annotated[Days, text_then(parse_days, "a date such as 2026-12-24")]],
        BeforeValidator(one_or_more),
        Field(min_length=1),
        TEXTS,
    ] = Field(
        default=[],
        description="dates: 2026-12-24, 12-25 of each year, 2026-12-24..2027-01-02",
    )
    holidays: Annotated[Text, StringConstraints(min_length=1)] | None = Field(
        default=None, description="a file with a date a line, relative to this one"
    )
    time_zone: TimeZoneText | None = Field(
        default=None, description="time zone, by default that of the switch"
    )


_Read = TypeVar("_Read")


def _flat(lists: Iterable[Iterable[_Read]]) -> Iterable[_Read]:
    return chain.from_iterable(lists)


def read_condition(
    name: str, written: ConditionModel, holidays: tuple[Days, ...] | None, zone: str
) -> Condition:
    """As written. ``holidays`` are what its file holds (None: it names none), ``zone`` is for who
    names none; empty is the machine's."""
    zone = written.time_zone or zone
    days = tuple(written.dates)
    return Condition(
        name,
        ZoneInfo(zone) if zone else None,
        tuple(_flat(written.hours)),
        frozenset(_flat(written.weekdays)),
        frozenset(_flat(written.month_days)),
        frozenset(_flat(written.months)),
        (*days, *(holidays or ())) if days or holidays is not None else None,
    )


def check_conditions(read: YamlFile) -> None:
    """Note what conditions lack, and what `when` asks for that there is not or that cannot be."""
    value = read.value if isinstance(read.value, dict) else {}
    written, routes = value.get("conditions"), value.get("routes")
    conditions = written if isinstance(written, dict) else {}
    for name, condition in conditions.items():
        if isinstance(condition, dict) and not condition.keys() - {"time_zone"}:
            keys = [key for key in ConditionModel.model_fields if key != "time_zone"]
            listed = ", ".join(f"`{key}`" for key in keys)
            read.at_key(("conditions", name), f"`{name}` always holds: expected one of {listed}")
    for i, route in enumerate(routes if isinstance(routes, list) else ()):
        when = route.get("when") if isinstance(route, dict) else None
        place: Where = ("routes", i, "when")
        if isinstance(when, list):
            asked = [((*place, j), text) for j, text in enumerate(when)]
        else:
            asked = [(place, when)]
        _check_when(read, asked, list(conditions))


def _check_when(read: YamlFile, asked: list[tuple[Where, object]], names: list[str]) -> None:
    seen: dict[str, bool] = {}
    for where, written in asked:
        text = as_written(written)
        try:
            name, wanted = asked_of(text) if isinstance(text, str) else ("", True)
        except ValueError:
            continue
        if name and name not in names:
            hint = did_you_mean(name, names) if names else ": there are no `conditions`"
            read.at(where, f"`when`: there is no condition `{name}`{hint}")
        elif seen.setdefault(name, wanted) is not wanted:
            read.at(where, f"`when`: `{name}` and `not {name}` never hold together")


def holidays_of(
    read: YamlFile, folder: Path
) -> tuple[dict[str, tuple[Days, ...]], list[tuple[Path, Stamp]], list[Mistake]]:
    """The days of each file of holidays by its name, the stamps of these files, and what is wrong
    in them."""
    conditions = read.value.get("conditions") if isinstance(read.value, dict) else None
    found: dict[str, tuple[Days, ...]] = {}
    files: list[tuple[Path, Stamp]] = []
    wrong: list[Mistake] = []
    for name, condition in (conditions if isinstance(conditions, dict) else {}).items():
        file = as_written(condition.get("holidays")) if isinstance(condition, dict) else None
        if not isinstance(file, str) or not file or file in found:
            continue
        where: Where = ("conditions", name, "holidays")
        path = folder / Path(file).expanduser()
        # Before it is read: a change meanwhile is seen the next time.
        files.append((path, stamp(path)))
        found[file] = ()
        try:
            found[file], mistakes = read_holidays(path)
            wrong += mistakes
        except FileNotFoundError:
            read.at(where, f"`holidays`: there is no file {path}")
        except OSError as error:
            read.at(where, f"`holidays`: {path} cannot be read: {error.strerror}")
        except ValueError as error:
            read.at(where, f"`holidays`: {path} cannot be read: {error}")
    return found, files, wrong
