"""The cost report and the command ``cds``."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from cds_calls import AT, answered_call, busy_call
from cds_fakes import FakeNet
from click.testing import CliRunner

from cdsplugin.accounts.rates import Rates, RatesError, read_rates
from cdsplugin.accounts.report import cost_report
from cdsplugin.archive.reading import reading_records
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive
from cdsplugin.cli import main
from cdsplugin.tms.tms import Tms

RATES = """
currency: EUR
rates:
  - {prefix: "2", per_minute: 0.06, increment: 1}
  - {trunk: branch, prefix: "2", per_minute: "0.60", setup: 0.05, increment: 60}
  - {prefix: 44, per_minute: 1}
"""
DAY = 86_400_000_000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    archive = Archive(tmp_path / "hq.db")
    archive.open()
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    for n in range(3):
        for event in answered_call(f"c{n}", at=AT + n * DAY):
            tms.event(event)
    for event in busy_call("c3"):
        tms.event(event)
    server.store.write(None, "c0", "crm", {}, ["a note"])
    archive.close()
    return archive.path


def test_the_sums_of_each_group(database: Path, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(RATES)
    rates = read_rates(tmp_path / "rates.yaml")
    with reading_records(database) as db:
        lines = cost_report([db], ["account"], rates).lines
        assert [(x.group, x.calls, x.answered, x.seconds) for x in lines] == [
            (("",), 1, 0, 0),
            (("outbound",), 3, 3, 30),
        ]
        assert lines[1].minutes == Decimal("0.50")
        assert lines[1].cost == 3 * (Decimal("0.05") + Decimal("0.60"))
        days = cost_report([db], ["day", "extension"]).lines
        assert [(x.group, x.calls) for x in days] == [
            (("2027-01-15", "1001"), 2),
            (("2027-01-16", "1001"), 1),
            (("2027-01-17", "1001"), 1),
        ]
        assert [x.group for x in cost_report([db], ["trunk"]).lines] == [("",), ("branch",)]
        some = cost_report([db], [], since="2027-01-16", until="2027-01-17").lines
        assert [(x.group, x.calls) for x in some] == [((), 1)]
        with pytest.raises(ValueError, match="`month` is not one of"):
            cost_report([db], ["month"])


def test_which_rate_applies() -> None:
    rates = Rates.model_validate(
        {
            "rates": [
                {"per_minute": 60},
                {"prefix": "00", "per_minute": 120, "increment": 6},
                {"prefix": "0044", "trunk": "pstn", "per_minute": 1, "setup": 7, "increment": 60},
            ]
        }
    )
    assert rates.cost("123", "x", "hq", Decimal(10)) == 10
    assert rates.cost("0033", "pstn", "hq", Decimal("6.1")) == 24
    assert rates.cost("0044", "other", "hq", Decimal("6")) == 12
    assert rates.cost("0044", "pstn", "hq", Decimal("60.000001")) == 9
    assert rates.cost("0044", "pstn", "hq", Decimal(0)) == 7
    assert Rates(rates=()).cost("1", "x", "hq", Decimal(1)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rates: [{per_minute: -1}]", "not negative"),
        ("rates: [{per_minute: x}]", "expected a number"),
        ("rates: [{per_minute: true}]", "expected a number"),
        (
            "rates: [{per_minute: 1, increment: 0}]",
            "1:36: `increment`: found `0`, expected at least 1",
        ),
        ("rates:\n  - {per_mnute: 1}", r"rates.yaml:2:6: unknown key `per_mnute`: did you mean"),
        ("rates:\n  - {}", r"rates.yaml:2:5: missing key `per_minute`: price of a minute"),
        ("rates: [", r"rates.yaml:2:1: not YAML"),
        ("", "missing key `rates`"),
    ],
)
def test_a_rate_file_with_mistakes(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(text)
    with pytest.raises(RatesError, match=says):
        read_rates(path)
    with pytest.raises(RatesError, match=r"none\.yaml"):
        read_rates(tmp_path / "none.yaml")


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output


def test_cds_report(database: Path, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(RATES)
    text = run(
        "report", database, "--by", "account,day", "--rates", tmp_path / "rates.yaml", "--csv"
    )
    assert text.splitlines() == [
        "account,day,calls,answered,minutes,cost EUR,no rate",
        ",2027-01-15,1,0,0.00,0.00,0",
        "outbound,2027-01-15,1,1,0.17,0.65,0",
        "outbound,2027-01-16,1,1,0.17,0.65,0",
        "outbound,2027-01-17,1,1,0.17,0.65,0",
    ]
    assert "outbound" in run("report", database)
    assert "is not one of" in run("report", database, "--by", "month", code=2)
    assert "no database" in run("report", tmp_path / "none.db", code=1)
    (tmp_path / "rates.yaml").write_text("rates: 1")
    assert "rates" in run("report", database, "--rates", tmp_path / "rates.yaml", code=1)


def test_cds_cdr(database: Path, tmp_path: Path) -> None:
    text = run("cdr", database, "--limit", 2)
    assert "c3" in text
    assert "c2" in text
    assert "c1" not in text.replace("c1x", "")
    rows = json.loads(run("cdr", database, "--json", "--before", "c2"))
    assert [row["call_id"] for row in rows] == ["c1", "c0"]
    one = run("cdr", database, "c0")
    for words in ("disposition      answered", "leg hq/1", "account", "crm: a note"):
        assert words in one
    assert json.loads(run("cdr", database, "c0", "--json"))["legs"][0]["leg"] == 0
    assert "no record" in run("cdr", database, "none", code=1)
    (tmp_path / "empty.db").touch()
    assert "no table" in run("cdr", tmp_path / "empty.db", code=1)
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 50)
    assert "cannot read" in run("cdr", tmp_path / "text.db", code=1)


EVIL = ["=HYPERLINK(1)", "+4930123", "-1+1", "@SUM(1)", "[red]x[/y]", "a\x1b[2Jb", "\t=1"]


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Records as an earlier version wrote them, with what strangers had sent."""
    archive = Archive(tmp_path / "hq.db")
    archive.open()
    server = FakeNet().server("hq")
    server.store.watch(Recorder("hq", archive))
    tms = Tms(server.store, server.clock)
    for n, text in enumerate(EVIL):
        first, *rest = busy_call(f"c{n}")
        tms.event(msgspec.structs.replace(first, caller=text, dialled=text, user_agent=text))
        for event in rest:
            tms.event(event)
        server.store.write(None, f"c{n}", "crm", {"note": text}, [text + "\n\x1b[31m"])
    archive.close()
    return archive.path


def test_a_spreadsheet_runs_nothing(evil: Path) -> None:
    rows = list(csv.reader(run("report", evil, "--by", "callee", "--csv").splitlines()))
    assert rows[0] == ["callee", "calls", "answered", "minutes"]
    assert {row[0] for row in rows[1:]} == {
        "'=HYPERLINK(1)",
        "'+4930123",
        "'-1+1",
        "'@SUM(1)",
        "[red]x[/y]",
        "a?[2Jb",
        "' =1",
    }
    assert {tuple(row[1:]) for row in rows[1:]} == {("1", "0", "0.00")}


def test_a_terminal_is_told_nothing(evil: Path) -> None:
    """Nor is what strangers sent taken for markup."""
    outputs = [run("report", evil, "--by", "callee"), run("cdr", evil)]
    outputs += [run("cdr", evil, f"c{n}") for n in range(len(EVIL))]
    for output in outputs:
        assert output.replace("\n", "").isprintable()
    assert "[red]x[/y]" in outputs[0]
    assert "[red]x[/y]" in outputs[1]
