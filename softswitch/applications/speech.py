"""Numbers, times and dates as prompts, in English: the names of the files that say them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_DIGITS: Final = {"*": "digit-star", "#": "digit-pound", "+": "digit-plus"}


def digits(text: str) -> list[str]:
    """One after the other; what is no digit is not said."""
    return [
        _DIGITS.get(one) or f"digit-{one}"
        for one in text
        if one in _DIGITS or (one.isascii() and one.isdecimal())
    ]


def number(value: int) -> list[str]:
    """A whole number, 0 to 999,999."""
    if not 0 <= value < 1_000_000:
        return digits(str(value))
    if value >= 1000:
        rest = value % 1000
        return [*number(value // 1000), "thousand", *(number(rest) if rest else [])]
    if value >= 100:
        rest = value % 100
        return [f"number-{value // 100}", "hundred", *(number(rest) if rest else [])]
    if value <= 20 or value % 10 == 0:
        return [f"number-{value}"]
    return [f"number-{value // 10 * 10}", f"number-{value % 10}"]


def time_of_day(at: datetime) -> list[str]:
    """By the twelve-hour clock."""
    hour, minute = at.hour % 12 or 12, at.minute
    half = "am" if at.hour < 12 else "pm"
    if not minute:
        return [*number(hour), "oclock", half]
    return [*number(hour), *(["oh"] if minute < 10 else []), *number(minute), half]


def date(at: datetime) -> list[str]:
    """The day of the week, month and day."""
    return [f"day-{at.isoweekday()}", f"month-{at.month}", f"ordinal-{at.day}"]


def time_and_date(at: datetime) -> list[str]:
    """In sentences."""
    return ["time-is", *time_of_day(at), "today-is", *date(at)]
