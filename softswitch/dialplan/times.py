"""Hours, days and dates as a dialplan writes them, and files of holidays.

All are of the clock on the wall. The names of days and months are Asterisk's: their first three
letters, or the whole word.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from softswitch.config import Mistake

MIDNIGHT: Final = 24 * 60
"""Minutes of a day: the end of hours that last until midnight."""
MAX_HOLIDAYS: Final = 10_000
"""Lines with a date in a file of holidays."""

# The locale's names are somebody else's.
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_WEEKDAYS: Final = (
    *("monday", "tuesday", "wednesday", "thursday"),
    *("friday", "saturday", "sunday"),
)
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)

_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2}) *- *([0-9]{1,2}):([0-9]{2})")
_DATE = re.compile(r"(?:([0-9]{4})-)?([0-9]{2})-([0-9]{2})")
_LEAP_YEAR = 2000

Hours: TypeAlias = tuple[tuple[int, int], ...]
"""Minutes since midnight, from and until; over midnight where the second is not the greater."""
Numbers: TypeAlias = tuple[int, ...]
"""Days of a week from 0, which is Monday; months and days of a month from 1."""


class Days(NamedTuple):
    """A day or several, both ends included: (year, month, day), or of each year (month, day).

    ``text`` and ``where`` (``file:line``) are a holiday's.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    text: str = ""
    where: str = ""

    def have(self, day: date) -> bool:
        """Whether the day is one of them."""
        if len(self.first) == 3:
            return self.first <= (day.year, day.month, day.day) <= self.last
        of_year = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= of_year <= self.last
        return of_year >= self.first or of_year <= self.last

    def __str__(self) -> str:
        first, last = ("-".join(f"{part:02}" for part in end) for end in (self.first, self.last))
        return first if first == last else f"{first}..{last}"


def parse_hours(text: str) -> Hours:
    """``08:00-18:00``, or several with commas between. Raises ValueError, as the others do."""
    return tuple([_hours(part.strip()) for part in text.split(",")])


def _hours(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"found `{text}`, expected hours such as 08:00-18:00")
    ends = []
    for hour, minute in ((match[1], match[2]), (match[3], match[4])):
        end = int(hour) * 60 + int(minute)
        if int(minute) > 59 or end > MIDNIGHT:
            raise ValueError(f"found `{text}`: {hour}:{minute} is no time of the day")
        ends.append(end)
    begin, end = ends
    if begin % MIDNIGHT == end % MIDNIGHT and (begin, end) != (0, MIDNIGHT):
        raise ValueError(f"found `{text}`, which ends as it begins: the whole day is 00:00-24:00")
    return begin % MIDNIGHT, end


def parse_weekdays(text: str) -> Numbers:
    """``mon-fri``, ``fri-mon``, ``sat,sun``."""
    return _named(text, WEEKDAYS, _WEEKDAYS, 0, "days such as mon-fri")


def parse_months(text: str) -> Numbers:
    """``jun-aug``, ``nov-feb``, ``jan,jul``."""
    return _named(text, MONTHS, _MONTHS, 1, "months such as jun-aug")


def _named(
    text: str, short: Sequence[str], long: Sequence[str], least: int, expected: str
) -> Numbers:
    def number(name: str) -> int:
        name = name.strip().lower()
        for names in (short, long):
            if name in names:
                return names.index(name)
        raise ValueError(f"found `{text}`, expected {expected}")

    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = number(first)
        end = number(last) if dash else begin
        count = (end - begin) % len(short) + 1
        found += [least + (begin + i) % len(short) for i in range(count)]
    return tuple(found)


def parse_month_days(text: str) -> Numbers:
    """``1-7``, ``15``, ``1,15``."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (one.strip() for one in part.partition("-"))
        last = last if dash else first
        if not (re.fullmatch("[0-9]{1,2}", first) and re.fullmatch("[0-9]{1,2}", last)):
            raise ValueError(f"found `{text}`, expected days of a month such as 1-7")
        if not 1 <= int(first) <= int(last) <= 31:
            raise ValueError(f"found `{text}`, expected days from 1 to 31")
        found += range(int(first), int(last) + 1)
    return tuple(found)


def parse_days(text: str) -> Days:
    """``2026-12-24``, ``12-25`` (of each year), ``2026-12-24..2027-01-02``, ``12-24..01-02``."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    begin = _date(first, text)
    end = _date(last, text) if dots else begin
    if len(begin) != len(end):
        raise ValueError(f"found `{text}`, expected both with the year, or both without")
    if len(begin) == 3 and end < begin:
        raise ValueError(f"found `{text}`, which runs backwards")
    return Days(begin, end)


def _date(part: str, text: str) -> tuple[int, ...]:
    match = _DATE.fullmatch(part)
    if match is None:
        raise ValueError(
            f"found `{text}`, expected a date such as 2026-12-24, or 12-25 for each year, or "
            "2026-12-24..2027-01-02"
        )
    year, month, day = int(match[1] or _LEAP_YEAR), int(match[2]), int(match[3])
    if not (1 <= month <= 12 and year and 1 <= day <= calendar.monthrange(year, month)[1]):
        raise ValueError(f"found `{text}`: there is no {part}")
    return (year, month, day) if match[1] else (month, day)


def read_holidays(path: Path) -> tuple[tuple[Days, ...], list[Mistake]]:
    """A file with a day a line, or several as ``parse_days`` has them, and what it is if you like.

    ``#`` begins a comment. Returns the mistakes besides; raises OSError and ValueError if the file
    cannot be read at all.
    """
    found: list[Days] = []
    mistakes: list[Mistake] = []
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        return (), [Mistake(str(path), line, column, "not UTF-8 text")]
    for number, written in enumerate(lines, 1):
        if len(found) >= MAX_HOLIDAYS:
            mistakes.append(Mistake(str(path), number, 1, f"more than {MAX_HOLIDAYS} holidays"))
            break
        words = written.partition("#")[0].split(None, 1)
        if not words:
            continue
        text = words[1].strip() if len(words) > 1 else ""
        try:
            found.append(parse_days(words[0])._replace(text=text, where=f"{path.name}:{number}"))
        except ValueError as error:
            column = written.index(words[0]) + 1
            shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error))
            mistakes.append(Mistake(str(path), number, column, shown))
    return tuple(found), mistakes
