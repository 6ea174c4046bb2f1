"""The cost report over three sites that call through each other's carriers, beside a calculation by
hand; and over databases that have a call twice."""

from __future__ import annotations

import json
import sqlite3
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cds_calls import AT, SECOND, started
from cds_fakes import FakeNet
from click.testing import CliRunner

from cdsplugin.accounts.rates import read_rates
from cdsplugin.accounts.report import Report, cost_report
from cdsplugin.archive.reading import reading_records
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive
from cdsplugin.cli import main
from cdsplugin.tms.tms import Tms
from softswitch.events import CallEnded, LegAnswered, LegInvited, TalkBegan

SITES = {"hq": "Sunnyvale", "branch": "Austin", "depot": "Reno"}
RATES = """
currency: EUR
rates:
  - {trunk: pstn, prefix: "1", per_minute: 0.60, increment: 1}
  - {trunk: pstn, switch: branch, prefix: "1", per_minute: 1.20, setup: 0.05, increment: 60}
  - {trunk: pstn, prefix: "144", per_minute: 3, increment: 1}
  - {trunk: gsm, prefix: "", per_minute: 6, increment: 1}
"""


class Sites:
    """Three servers that share what their switches tell, each with its archive."""

    def __init__(self, folder: Path) -> None:
        self.net = FakeNet()
        self.paths = {name: folder / f"{name}.db" for name in SITES}
        self.archives: dict[str, Archive] = {}
        self.tms: dict[str, Tms] = {}
        for name in SITES:
            archive = self.archives[name] = Archive(self.paths[name])
            archive.open()
            server = self.net.server(name, *(other for other in SITES if other != name))
            server.store.watch(Recorder(name, archive))
            self.tms[name] = Tms(server.store, server.clock)
        self._ids = iter(range(1000))

    def call(
        self, way: str, party: str, number: str, seconds: int, caller: str = "extension:1001"
    ) -> str:
        """A call from the first switch of ``way`` (names, separated by blanks), answered by
        ``party`` at the last one after 2 s, and up for ``seconds``; 0: not answered."""
        call_id, names = f"c{next(self._ids):03}", way.split()
        answered = AT + 2 * SECOND
        over = answered + seconds * SECOND
        for place, name in enumerate(names):
            last = place == len(names) - 1
            self.tms[name].event(
                started(
                    call_id,
                    name,
                    names[0],
                    party=f"trunk:{names[place - 1]}" if place else caller,
                    site=SITES[name],
                    sip_call_id=f"{call_id}-{place}",
                    dialled=number,
                )
            )
            self.tms[name].event(
                LegInvited(
                    call_id=call_id,
                    at=AT,
                    switch=name,
                    leg=1,
                    party=party if last else f"trunk:{names[place + 1]}",
                    uri="",
                    address="",
                    sip_call_id=f"{call_id}-{place + 1}",
                    between=not last,
                )
            )
            self.net.advance(0.1)
        for name in reversed(names):
            base: dict[str, Any] = {"call_id": call_id, "switch": name}
            if seconds:
                # To the next switch with a prefix, to the carrier without.
                sent = number if name == names[-1] else f"9{number}"
                self.tms[name].event(
                    LegAnswered(
                        **base, at=answered, leg=1, status=200, callee=sent, codec="", user_agent=""
                    )
                )
                self.tms[name].event(
                    TalkBegan(**base, at=answered, talk=1, legs=(0, 1), how="dialled", by="")
                )
            self.net.advance(0.1)
        for name in names:
            self.tms[name].event(
                CallEnded(call_id=call_id, at=over, switch=name, reason="",
                          disposition="answered" if seconds else "no-answer",
                          sip_status=200 if seconds else 480, hangup_by="caller")
            )  # fmt: skip
        self.net.advance(0.1)
        return call_id

    def close(self) -> None:
        self.net.advance(120.0)
        for archive in self.archives.values():
            assert archive.close()

    def report(self, by: str, rates: Path | None = None, *names: str) -> Report:
        with ExitStack() as stack:
            opened = [
                stack.enter_context(reading_records(self.paths[name])) for name in names or SITES
            ]
            return cost_report(opened, by.split(), read_rates(rates) if rates is not None else None)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path)


def test_the_sum_is_that_by_hand(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(RATES)
    sites.call("hq", "trunk:pstn", "1555", 90)  # 90 s at 0.60: 0.90
    sites.call("hq branch", "trunk:pstn", "1555", 61)  # two minutes at 1.20, and 0.05: 2.45
    sites.call("branch hq", "trunk:pstn", "1555", 10)  # 10 s at 0.60: 0.10
    sites.call("hq branch depot", "trunk:gsm", "0777", 30)  # 30 s at 6: 3.00
    sites.call("depot hq branch", "trunk:pstn", "1445", 60)  # a longer prefix: 3.00
    sites.call("branch depot", "extension:301", "301", 600)  # between sites: nothing
    sites.call("depot", "extension:302", "302", 60)  # within one: nothing
    sites.call("hq branch", "trunk:pstn", "1555", 0)  # not answered: nothing
    sites.call("depot branch", "trunk:pstn", "0049", 20, caller="trunk:pstn")  # no rate
    sites.call("depot branch", "trunk:pstn", "0049", 25, caller="trunk:pstn")
    sites.close()
    rates = tmp_path / "rates.yaml"
    whole = sites.report("", rates)
    (line,) = whole.lines
    assert line.cost == sum(map(Decimal, ("0.90", "2.45", "0.10", "3.00", "3.00")))
    assert (line.calls, line.answered, line.uncovered) == (10, 9, 2)
    assert line.seconds == 90 + 61 + 10 + 30 + 60 + 600 + 60 + 20 + 25
    assert {tuple(where): count for where, count in whole.uncovered.items()} == {
        ("branch", "pstn", "0049"): 2
    }
    by_trunk = {x.group: (x.calls, x.cost) for x in sites.report("outgoing", rates).lines}
    assert by_trunk == {
        ("",): (3, 0),
        ("gsm",): (1, Decimal(3)),
        ("pstn",): (6, Decimal("6.45")),
    }
    assert {x.group: x.calls for x in sites.report("switch site").lines} == {
        ("branch", "Austin"): 2, ("depot", "Reno"): 4, ("hq", "Sunnyvale"): 4,
    }  # fmt: skip
    assert {x.group: x.calls for x in sites.report("incoming callee").lines}[("pstn", "0049")] == 2


def test_each_call_counts_once(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text(RATES)
    call_id = sites.call("hq branch", "trunk:gsm", "0777", 60)
    sites.close()
    # A caretaker has pieced a record together, and not heard yet that the owner is back.
    with sqlite3.connect(sites.paths["branch"]) as conn:
        conn.execute(
            "INSERT INTO cdrs (call_id, owner, written_by, switch, started_at, ended_at,"
            " disposition, billsec, final) VALUES (?, 'hq', 'branch', 'branch', '2027-01-15',"
            " '2027-01-16', 'answered', 9999, 1)",
            [call_id],
        )
    for names in (("hq", "branch", "depot"), ("branch", "hq")):
        (line,) = sites.report("", tmp_path / "rates.yaml", *names).lines
        assert (line.calls, line.seconds, line.cost) == (1, 60, 6)


def test_a_database_of_before(sites: Sites, tmp_path: Path) -> None:
    """Nobody has opened it since the true ends are known: the first switch's word counts."""
    (tmp_path / "rates.yaml").write_text(RATES)
    sites.call("hq", "trunk:gsm", "0777", 60)
    sites.close()
    with sqlite3.connect(sites.paths["hq"]) as conn:
        for name in ("answered_party", "answered_number", "answered_switch", "outgoing_trunk"):
            conn.execute(f"ALTER TABLE cdrs DROP COLUMN {name}")
    (line,) = sites.report("trunk callee", tmp_path / "rates.yaml", "hq").lines
    assert (line.group, line.cost) == (("gsm", "0777"), 6)


def test_the_command_names_what_no_rate_covers(sites: Sites, tmp_path: Path) -> None:
    rates = tmp_path / "rates.yaml"
    rates.write_text(RATES)
    sites.call("hq branch", "trunk:pstn", "0049", 60)
    sites.call("hq branch", "trunk:gsm", "0049", 7)
    sites.close()
    command = ["report", *map(str, sites.paths.values()), "--rates", str(rates)]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert "1 calls by carriers have no rate" in told.stderr
    assert "1 to 0049 by trunk pstn of branch" in told.stderr
    found = json.loads(CliRunner().invoke(main, [*command, "--by", "switch", "--json"]).stdout)
    assert found == {
        "lines": [
            {"switch": "hq", "calls": 2, "answered": 2, "seconds": "67.0", "minutes": "1.12",
             "cost": "0.70", "uncovered": 1}
        ],
        "currency": "EUR",
        "uncovered": [{"switch": "branch", "trunk": "pstn", "number": "0049", "calls": 1}],
    }  # fmt: skip
