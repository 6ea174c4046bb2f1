"""Numbers, times and dates as prompts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from softswitch.applications.speech import date, digits, number, time_and_date, time_of_day
from softswitch.dialplan.sounds import OWN, check_wav

ENGLISH = {
    line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip().rstrip(".")
    for line in (OWN / "en.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
}


def words(names: list[str]) -> str:
    """What is heard."""
    return " ".join(ENGLISH[name] for name in names)


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (0, "zero"),
        (7, "seven"),
        (13, "thirteen"),
        (20, "twenty"),
        (21, "twenty one"),
        (90, "ninety"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (115, "one hundred fifteen"),
        (999, "nine hundred ninety nine"),
        (1000, "one thousand"),
        (1001, "one thousand one"),
        (45_678, "forty five thousand six hundred seventy eight"),
        (100_000, "one hundred thousand"),
        (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
        (1_000_000, "one zero zero zero zero zero zero"),
    ],
)
def test_number(value: int, heard: str) -> None:
    assert words(number(value)) == heard


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("1001", ["digit-1", "digit-0", "digit-0", "digit-1"]),
        ("+49 (30)-7", ["digit-plus", "digit-4", "digit-9", "digit-3", "digit-0", "digit-7"]),
        ("*8#", ["digit-star", "digit-8", "digit-pound"]),
        ("alice", []),
        ("١²", []),  # digits elsewhere, but no prompts
    ],
)
def test_digits(text: str, names: list[str]) -> None:
    assert digits(text) == names


@pytest.mark.parametrize(
    ("hour", "minute", "heard"),
    [
        (0, 0, "twelve o'clock A M"),
        (0, 5, "twelve oh five A M"),
        (1, 0, "one o'clock A M"),
        (9, 10, "nine ten A M"),
        (11, 59, "eleven fifty nine A M"),
        (12, 0, "twelve o'clock P M"),
        (12, 30, "twelve thirty P M"),
        (13, 1, "one oh one P M"),
        (23, 59, "eleven fifty nine P M"),
    ],
)
def test_time_of_day(hour: int, minute: int, heard: str) -> None:
    assert words(time_of_day(datetime(2026, 3, 1, hour, minute, 59))) == heard


@pytest.mark.parametrize(
    ("year", "month", "day", "heard"),
    [
        (2026, 1, 1, "Thursday January first"),
        (2024, 2, 29, "Thursday February twenty-ninth"),
        (2026, 7, 20, "Monday July twentieth"),
        (2026, 12, 31, "Thursday December thirty-first"),
        (2026, 3, 22, "Sunday March twenty-second"),
    ],
)
def test_date(year: int, month: int, day: int, heard: str) -> None:
    assert words(date(datetime(year, month, day))) == heard


def test_in_sentences() -> None:
    heard = words(time_and_date(datetime(2026, 7, 20, 15, 4)))
    assert heard == "The time is three oh four P M Today is Monday July twentieth"


@pytest.fixture(scope="module")
def there() -> set[str]:
    return {path.stem for path in (OWN / "en").glob("*.wav")}


def test_every_prompt_is_there_and_can_be_heard(there: set[str]) -> None:
    assert there == set(ENGLISH)
    for name in there:
        assert check_wav(Path(OWN / "en" / f"{name}.wav")) > 0.1


def test_there_is_a_prompt_for_all_that_may_be_said(there: set[str]) -> None:
    said = {name for value in range(1_000_000) for name in number(value)}
    at = datetime(2024, 1, 1)  # a leap year
    said |= {
        name
        for minutes in range(24 * 60)
        for name in time_and_date(at + timedelta(minutes=minutes))
    }
    said |= {name for day in range(366) for name in time_and_date(at + timedelta(days=day))}
    said |= set(digits("0123456789*#+"))
    assert said <= there, said - there
