"""Time conditions: when they hold, by another way of finding out, minute by minute; their mistakes;
and which route is taken then."""

from __future__ import annotations

import pickle
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from softswitch.config import ConfigErrors
from softswitch.dialplan import Dialplan, Route, Source, Surroundings, load_dialplan
from softswitch.dialplan.conditions import Condition, ConditionModel, read_condition
from softswitch.dialplan.times import MONTHS, WEEKDAYS

AROUND = Surroundings(frozenset({"1001"}), {"pstn": False}, time_zone="Europe/Berlin")
ALICE = Source("extension", "1001")
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"

# When the clocks of 2026 are put forward and back (UTC), and what they are ahead of UTC meanwhile.
CLOCKS = {
    BERLIN: (datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1), 60, 120),
    NEW_YORK: (datetime(2026, 3, 8, 7), datetime(2026, 11, 1, 6), -300, -240),
}


@cache
def year(zone: str) -> tuple[tuple[float, date, int], ...]:
    """Each minute of 2026 in UTC: the time, the day there, and the minute on the wall there."""
    forward, back, winter, summer = CLOCKS[zone]
    now, rows = datetime(2026, 1, 1), []
    while now.year == 2026:
        wall = now + timedelta(minutes=summer if forward <= now < back else winter)
        rows.append(
            (now.replace(tzinfo=UTC).timestamp(), wall.date(), wall.hour * 60 + wall.minute)
        )
        now += timedelta(minutes=1)
    return tuple(rows)


def condition(**keys: object) -> Condition:
    return read_condition("it", ConditionModel.model_validate(keys), None, "")


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    """A time on the wall of a place."""
    forward, back, winter, summer = CLOCKS[zone]
    wall = datetime.fromisoformat(text)
    for ahead in (winter, summer) if fold else (summer, winter):
        utc = wall - timedelta(minutes=ahead)
        if (summer if forward <= utc < back else winter) == ahead:
            return utc.replace(tzinfo=UTC).timestamp()
    raise ValueError(f"{text} never comes")


# --- against every minute of a year

minutes = st.integers(0, 1439)
spans = st.lists(st.tuples(minutes, minutes).filter(lambda s: s[0] != s[1]), max_size=3)
weekdays = st.none() | st.tuples(st.integers(0, 6), st.integers(0, 6))


def minutes_of_week(hours: list[tuple[int, int]], days: tuple[int, int] | None) -> set[int]:
    """By walking through each span from each of its days."""
    first, last = days or (0, 6)
    found = set()
    for i in range((last - first) % 7 + 1):
        midnight = (first + i) % 7 * 1440
        for begin, end in hours or [(0, 1440)]:
            length = (end - begin) % 1440 or 1440
            found |= {(midnight + begin + m) % (7 * 1440) for m in range(length)}
    return found


def agrees(
    hours: list[tuple[int, int]], days: tuple[int, int] | None, zone: str, every: int
) -> None:
    keys: dict[str, object] = {"time_zone": zone}
    if hours:
        keys["hours"] = [f"{b // 60:02}:{b % 60:02}-{e // 60}:{e % 60:02}" for b, e in hours]
    if days is not None:
        keys["weekdays"] = f"{WEEKDAYS[days[0]]}-{WEEKDAYS[days[1]]}"
    found, right = condition(**keys), minutes_of_week(hours, days)
    rows = year(zone)
    looked = set(range(0, len(rows), every))
    start = rows[0][0]
    for change in CLOCKS[zone][:2]:
        there = int((change.replace(tzinfo=UTC).timestamp() - start) // 60)
        looked |= set(range(there - 26 * 60, there + 26 * 60, 1 if every == 1 else 7))
        looked |= set(range(there - 120, there + 120))
    for index in sorted(looked):
        now, day, minute = rows[index]
        assert found.holds(now) is (day.weekday() * 1440 + minute in right), (day, minute)


@pytest.mark.parametrize("zone", CLOCKS)
@settings(max_examples=25, deadline=None)
@given(hours=spans, days=weekdays, every=st.integers(301, 401))
@example(hours=[(1320, 360)], days=(4, 6), every=311)
@example(hours=[(150, 180)], days=None, every=311)
def test_hours_and_weekdays_minute_by_minute(
    zone: str, hours: list[tuple[int, int]], days: tuple[int, int] | None, every: int
) -> None:
    agrees(hours, days, zone, every)


@pytest.mark.parametrize("zone", CLOCKS)
def test_every_minute_of_a_year(zone: str) -> None:
    agrees([(8 * 60, 18 * 60), (22 * 60, 2 * 60 + 30)], (4, 0), zone, 1)


@settings(max_examples=40, deadline=None)
@given(
    first=st.dates(date(2026, 1, 2), date(2026, 12, 28)),
    length=st.integers(0, 20),
    months=st.tuples(st.integers(0, 11), st.integers(0, 11)),
)
def test_dates_and_months_day_by_day(first: date, length: int, months: tuple[int, int]) -> None:
    last = first + timedelta(days=length)
    once = condition(dates=f"{first}..{last}", time_zone=NEW_YORK)
    yearly = condition(dates=f"{first:%m-%d}..{last:%m-%d}", time_zone=NEW_YORK)
    named = condition(months=f"{MONTHS[months[0]]}-{MONTHS[months[1]]}", time_zone=NEW_YORK)
    of_year = {(months[0] + i) % 12 + 1 for i in range((months[1] - months[0]) % 12 + 1)}
    inside = {(first + timedelta(days=i)) for i in range(length + 1)}
    for n in range(365):
        day = date(2026, 1, 1) + timedelta(days=n)
        noon = at(f"{day} 12:00", NEW_YORK)
        assert once.holds(noon) is (day in inside)
        assert yearly.holds(noon) is any(
            (one.month, one.day) == (day.month, day.day) for one in inside
        )
        assert named.holds(noon) is (day.month in of_year)


# --- one by one


@pytest.mark.parametrize(
    ("keys", "when", "holds"),
    [
        ({"hours": "08:00-18:00"}, "2026-06-01 08:00", True),
        ({"hours": "08:00-18:00"}, "2026-06-01 17:59", True),
        ({"hours": "08:00-18:00"}, "2026-06-01 18:00", False),
        ({"hours": "8:00-12:00, 13:00-18:00"}, "2026-06-01 12:30", False),
        ({"hours": ["08:00-12:00", "13:00-18:00"]}, "2026-06-01 13:30", True),
        ({"hours": "00:00-24:00"}, "2026-06-01 23:59", True),
        ({"hours": "18:00-00:00"}, "2026-06-01 23:59", True),
        ({"hours": "18:00-00:00"}, "2026-06-02 00:00", False),
        # The hours after midnight are those of the day before.
        ({"hours": "22:00-06:00", "weekdays": "fri"}, "2026-06-06 05:59", True),
        ({"hours": "22:00-06:00", "weekdays": "fri"}, "2026-06-05 05:59", False),
        ({"hours": "18:00-02:00", "dates": "12-31"}, "2027-01-01 01:59", True),
        ({"weekdays": "sat-mon"}, "2026-06-07 12:00", True),
        ({"weekdays": ["Monday", "wed"]}, "2026-06-02 12:00", False),
        ({"weekdays": "mon", "month_days": "1-7"}, "2026-06-01 12:00", True),
        ({"weekdays": "mon", "month_days": "1-7"}, "2026-06-08 12:00", False),
        ({"month_days": "15"}, "2026-06-15 12:00", True),
        ({"months": "nov-feb"}, "2026-01-15 12:00", True),
        ({"months": "nov-feb"}, "2026-03-15 12:00", False),
        ({"dates": ["2026-12-24", "12-25"]}, "2027-12-25 12:00", True),
        ({"dates": ["2026-12-24", "12-25"]}, "2027-12-24 12:00", False),
        ({"dates": "12-24..01-02"}, "2026-01-02 12:00", True),
        ({"dates": "02-29"}, "2026-02-28 12:00", False),
        ({"dates": "2026-12-24..2027-01-02", "hours": "09:00-10:00"}, "2026-12-30 09:30", True),
    ],
)  # fmt: skip
def test_when_it_holds(keys: dict[str, object], when: str, holds: bool) -> None:
    assert condition(**keys, time_zone=BERLIN).holds(at(when)) is holds


def test_the_hour_that_comes_twice_counts_twice() -> None:
    night = condition(hours="02:00-03:00", time_zone=BERLIN)
    first, second = at("2026-10-25 02:30"), at("2026-10-25 02:30", fold=1)
    assert second - first == 3600
    assert night.holds(first)
    assert night.holds(second)
    # And the one that is left out never comes: from 01:59 to 03:00.
    early = at("2026-03-29 01:59")
    assert [night.holds(early + 60 * m) for m in range(3)] == [False, False, False]


# --- what is written


def plan(folder: Path, text: str, around: Surroundings = AROUND) -> Dialplan:
    (folder / "dp.yaml").write_text(text)
    return load_dialplan(folder / "dp.yaml", around)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as errors:
        plan(folder, text)
    return [str(one).replace(f"{folder}/", "") for one in errors.value.mistakes]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("hours: 8-18", "`hours`: found `8-18`, expected hours such as 08:00-18:00"),
        ("hours: [08:00-18:00, 25:00-26:00]", "found `25:00-26:00`: 25:00 is no time of the day"),
        ("hours: 08:60-18:00", "found `08:60-18:00`: 08:60 is no time of the day"),
        ("hours: 08:00-08:00", "which ends as it begins: the whole day is 00:00-24:00"),
        ("hours: []", "`hours`: found an empty list, expected at least 1"),
        ("hours: {a: 1}", "`hours`: expected text: hours such as 08:00-18:00"),
        ("weekdays: mon-fry", "`weekdays`: found `mon-fry`, expected days such as mon-fri"),
        ("weekdays: weekend", "`weekdays`: found `weekend`, expected days such as mon-fri"),
        ("weekdays: ''", "`weekdays`: found ``, expected days such as mon-fri"),
        ("months: 13", "`months`: found `13`, expected months such as jun-aug"),
        ("month_days: 0-5", "`month_days`: found `0-5`, expected days from 1 to 31"),
        ("month_days: 5-1", "`month_days`: found `5-1`, expected days from 1 to 31"),
        ("month_days: x", "`month_days`: found `x`, expected days of a month such as 1-7"),
        ("dates: 2026-02-29", "`dates`: found `2026-02-29`: there is no 2026-02-29"),
        ("dates: 24.12.2026", "`dates`: found `24.12.2026`, expected a date such as 2026-12-24"),
        ("dates: 2026-12-24..12-26", "expected both with the year, or both without"),
        ("dates: 2026-12-24..2026-12-01", "which runs backwards"),
        ("time_zone: Europe/Berlyn, hours: 08:00-18:00", "`time_zone`: found `Europe/Berlyn`, "
         "which is no time zone: did you mean `Europe/Berlin`?"),
        ("time_zone: Europe, hours: 08:00-18:00", "found `Europe`, which is no time zone"),
        ("time_zone: ../etc/passwd, hours: 08:00-18:00", "which is no time zone"),
        ("time_zone: Europe/Berlin", "2:3: `it` always holds: expected one of `hours`, `weekdays`"),
        ("hour: 08:00-18:00", "unknown key `hour`: did you mean `hours`?"),
        ("holidays: none.txt", "`holidays`: there is no file none.txt"),
        ("holidays: .", "cannot be read: Is a directory"),
        ('holidays: "a\\0"', "`holidays`: a\\x00 cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_in_conditions(tmp_path: Path, written: str, told: str) -> None:
    found = mistakes(tmp_path, f"conditions:\n  it: {{{written}}}\nroutes: []\n")
    assert len(found) == 1
    assert found[0].startswith("dp.yaml:2:")
    assert told in found[0]


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("ofice", "4:37: `when`: there is no condition `ofice`: did you mean `office`?"),
        ("not ofice", "4:37: `when`: there is no condition `ofice`: did you mean `office`?"),
        ("[office, 'not office']", "4:46: `when`: `office` and `not office` never hold together"),
        (
            "office night",
            "4:37: `when`: found `office night`, expected a condition's name, or `not",
        ),
        ("[]", "4:37: `when`: found an empty list, expected at least 1"),
        ("{a: 1}", "4:37: `when`: expected text: a condition's name"),
    ],
)
def test_mistakes_in_when(tmp_path: Path, when: str, told: str) -> None:
    text = (
        "conditions:\n  office: {weekdays: mon}\nroutes:\n"
        f"  - {{match: '1', status: 480, when: {when}}}\n"
    )
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"dp.yaml:{told}")


def test_names_of_conditions(tmp_path: Path) -> None:
    routes = "routes:\n  - {match: '1', status: 480, when: x}\n"
    text = f"conditions:\n  not: {{weekdays: mon}}\n  a b: {{weekdays: mon}}\n{routes}"
    assert [one.split(" expected")[0] for one in mistakes(tmp_path, text)] == [
        "dp.yaml:2:3: `not`:",
        "dp.yaml:3:3: `a b`:",
        "dp.yaml:5:37: `when`: there is no condition `x`,",
    ]
    (found,) = mistakes(tmp_path, routes)
    assert found.endswith("there is no condition `x`: there are no `conditions`")


HOLIDAYS = """\ufeff# of the office
2026-12-24  Christmas Eve, from noon   # only this year
12-25 Christmas
\t05-01\tLabour Day

2026-12-27..2026-12-30
"""


def test_holidays_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "holidays.txt").write_text(HOLIDAYS)
    dialplan = plan(
        tmp_path,
        "conditions:\n  free: {holidays: holidays.txt, dates: 2026-06-01}\nroutes: []\n",
    )
    free = dialplan.conditions["free"]
    days = {
        day.isoformat()
        for n in range(365)
        if free.holds(at(f"{(day := date(2026, 1, 1) + timedelta(days=n))} 12:00"))
    }
    assert days == {
        *("2026-05-01", "2026-06-01", "2026-12-24", "2026-12-25"),
        *("2026-12-27", "2026-12-28", "2026-12-29", "2026-12-30"),
    }
    assert free.told(at("2026-05-01 09:00")) == (
        "`free` holds: it is Fri 2026-05-01 09:00 in Europe/Berlin, and 05-01 Labour Day "
        "(holidays.txt:4)"
    )
    assert [path for path, _ in dialplan.files] == [tmp_path / "holidays.txt"]


def test_a_file_without_holidays_is_no_mistake_and_never_holds(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# none yet\n")
    dialplan = plan(tmp_path, "conditions:\n  free: {holidays: none.txt}\nroutes: []\n")
    assert not dialplan.conditions["free"].holds(at("2026-12-25 12:00"))


def test_mistakes_in_a_file_of_holidays(tmp_path: Path) -> None:
    (tmp_path / "h.txt").write_text("2026-12-24\n  24.12. Eve\n2026-13-01 x\n")
    text = "conditions:\n  a: {holidays: h.txt}\n  b: {holidays: h.txt}\nroutes: [{match: '1'}]\n"
    found = mistakes(tmp_path, text)
    assert [one.split(", expected")[0] for one in found] == [
        "dp.yaml:4:10: nothing to do: expected one of `dial`, `do`, `goto`, `play`, `status`",
        "h.txt:2:3: found `24.12.`",
        "h.txt:3:1: found `2026-13-01`: there is no 2026-13-01",
    ]
    (tmp_path / "h.txt").write_bytes(b"2026-12-24\n12-25 \xff\n")
    assert mistakes(tmp_path, text)[1:] == ["h.txt:2:7: not UTF-8 text"]
    (tmp_path / "h.txt").write_text("12-25\n" * 10_001)
    assert mistakes(tmp_path, text)[1:] == ["h.txt:10001:1: more than 10000 holidays"]


# --- which route

TIMED = """conditions:
  office: {hours: 08:00-18:00, weekdays: mon-fri}
  holidays: {dates: ["2026-12-24", "12-25"]}
routes:
  - {match: "100X", from: any, when: [office, not holidays], dial: "1001"}
  - {match: "1002", when: not office, status: 603}
  - {match: "100X", when: holidays, status: 486}
  - {match: "100X", from: any, status: 480}
  - {match: "9.", dial: trunk:pstn}
"""


class Clock:
    """A time of day that stands still; how often it was asked."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


@pytest.fixture
def timed(tmp_path: Path) -> tuple[Dialplan, Clock]:
    clock = Clock(at("2026-12-23 17:59"))
    return plan(tmp_path, TIMED).by(clock), clock


def line(route: Route | None) -> int:
    assert route is not None
    return int(route.where.split(":")[1])


@pytest.mark.parametrize(
    ("when", "number", "where"),
    [
        ("2026-12-23 17:59", "1001", 5),
        ("2026-12-23 18:00", "1001", 8),
        ("2026-12-23 18:00", "1002", 6),
        ("2026-12-24 10:00", "1002", 7),
        ("2026-12-24 19:00", "1001", 7),
        ("2026-12-24 19:00", "1002", 6),
        ("2026-12-27 10:00", "1003", 8),
    ],
)
def test_the_first_open_route_is_taken(
    timed: tuple[Dialplan, Clock], when: str, number: str, where: int
) -> None:
    dialplan, clock = timed
    for _ in range(2):  # remembered or not
        assert line(dialplan.route(number, ALICE, at(when))) == where
    clock.now = at(when)
    assert line(dialplan.route(number, ALICE)) == where
    assert [one.where for one in dialplan.explain(number, ALICE, at(when)) if one.taken] == [
        f"dp.yaml:{where}"
    ]


def test_no_open_route_is_no_route(tmp_path: Path) -> None:
    dialplan = plan(
        tmp_path,
        TIMED.replace('{match: "100X", from: any, status: 480}', "{match: '7', status: 480}"),
    )
    assert dialplan.route("1001", ALICE, at("2026-12-23 19:00")) is None
    assert dialplan.route("1001", ALICE, at("2026-12-23 12:00")) is not None


def test_the_time_is_asked_for_only_where_it_matters(timed: tuple[Dialplan, Clock]) -> None:
    dialplan, clock = timed
    for _ in range(3):
        dialplan.route("91", ALICE)
        dialplan.route("nobody", ALICE)
    assert clock.asked == 0
    dialplan.route("1001", ALICE)
    assert clock.asked == 1


def test_a_condition_is_asked_once_a_minute(
    timed: tuple[Dialplan, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialplan, clock = timed
    asked: list[str] = []
    holds = Condition.holds

    def counted(self: Condition, at: float) -> bool:
        asked.append(self.name)
        return holds(self, at)

    monkeypatch.setattr(Condition, "holds", counted)
    for second in range(60):
        clock.now = at("2026-12-23 17:59") + second
        assert line(dialplan.route("1001", ALICE)) == 5
        assert line(dialplan.route("1003", ALICE)) == 5
    assert sorted(asked) == ["holidays", "office"]
    clock.now += 1
    assert line(dialplan.route("1001", ALICE)) == 8
    # Whoever puts the clock back is believed too.
    clock.now -= 60
    assert line(dialplan.route("1001", ALICE)) == 5


def test_what_depends_on_the_time_is_remembered_within_limits(tmp_path: Path) -> None:
    around = Surroundings(frozenset(), {"pstn": False}, max_remembered=3)
    dialplan = plan(
        tmp_path,
        "conditions: {a: {weekdays: mon}}\nroutes:\n  - {match: '.', when: a, status: 480}\n",
        around,
    )
    for number in range(20):
        dialplan.route(str(number), ALICE)
        assert len(dialplan._choices) <= 3
    assert dialplan._remembered == {}


def test_a_dialplan_goes_to_another_process_with_its_conditions(tmp_path: Path) -> None:
    dialplan = plan(tmp_path, TIMED)
    again = pickle.loads(pickle.dumps(dialplan)).with_routes(dialplan.routes)
    assert again.conditions == dialplan.conditions
    assert line(again.route("1002", ALICE, at("2026-12-24 10:00"))) == 7


def test_explain_says_which_condition(timed: tuple[Dialplan, Clock]) -> None:
    dialplan, _ = timed
    told = [one.reason for one in dialplan.explain("1002", ALICE, at("2026-12-24 10:00"))]
    assert told == [
        "`holidays` holds: it is Thu 2026-12-24 10:00 in Europe/Berlin, and 2026-12-24",
        "`office` holds: it is Thu 2026-12-24 10:00 in Europe/Berlin",
        "1002 matches, and calls from internal may take it; `holidays` holds: it is Thu "
        "2026-12-24 10:00 in Europe/Berlin, and 2026-12-24",
        "dp.yaml:7 comes first",
        "1002 does not match",
    ]
    told = [one.reason for one in dialplan.explain("1001", ALICE, at("2026-12-20 10:00"))]
    assert told[0] == (
        "`office` does not hold: it is Sun 2026-12-20 10:00 in Europe/Berlin, and its weekdays are "
        "mon, tue, wed, thu, fri"
    )
    assert told[2].endswith("which is none of its days")


@pytest.mark.parametrize(
    ("first", "second", "warned"),
    [
        ("", "when: a, ", True),
        ("when: a, ", "", False),
        ("when: a, ", "when: b, ", False),
        ("when: a, ", "when: not a, ", False),
        ("when: a, ", "when: [b, a], ", True),
    ],
)
def test_a_route_that_is_never_reached_whatever_the_time(
    tmp_path: Path, first: str, second: str, warned: bool
) -> None:
    dialplan = plan(
        tmp_path,
        "conditions: {a: {weekdays: mon}, b: {weekdays: tue}}\nroutes:\n"
        f"  - {{match: '1X', {first}status: 480}}\n  - {{match: '11', {second}status: 486}}\n",
    )
    assert bool(dialplan.warnings) is warned


def test_the_machines_time_zone_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "conditions:\n  a: {hours: 08:00-09:00}\n"
        "  b: {hours: 08:00-09:00, time_zone: Asia/Tokyo}\nroutes: []\n"
    )
    switches = plan(tmp_path, text)
    monkeypatch.setenv("TZ", NEW_YORK)
    time.tzset()
    try:
        machines = plan(tmp_path, text, Surroundings(frozenset(), {}))
        eight = at("2026-06-01 08:30", NEW_YORK)
        assert machines.conditions["a"].holds(eight)
        assert machines.conditions["a"].told(eight) == "`a` holds: it is Mon 2026-06-01 08:30"
        assert not switches.conditions["a"].holds(eight)
    finally:
        monkeypatch.undo()
        time.tzset()
    tokyo = datetime(2026, 6, 1, 23, 30, tzinfo=UTC).timestamp()
    assert switches.conditions["b"].holds(tokyo)
    assert not switches.conditions["a"].holds(tokyo)
