"""Who pays for what was transferred: the cost report where calls were more than one talk."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cds_talks import A, B, C, Sites, blind

from cdsplugin.accounts.rates import Rates
from cdsplugin.accounts.report import cost_report
from cdsplugin.archive.reading import reading_records

RATES = Rates.model_validate(
    {
        "rates": [
            {"prefix": "", "per_minute": 6},
            {"prefix": "", "trunk": "gsm", "per_minute": 60, "setup": 5, "increment": 60},
            {"prefix": "44", "trunk": "gsm", "switch": "branch", "per_minute": 30, "setup": 5},
        ]
    }
)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path, "hq", "branch")


def costs(sites: Sites, by: str, *names: str) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Calls, seconds and costs by group."""
    with ExitStack() as stack:
        paths = [sites[name].archive.path for name in names or sites.names]
        opened = [stack.enter_context(reading_records(path)) for path in paths]
        lines = cost_report(opened, by.split(), RATES).lines
    return {line.group: (line.calls, line.seconds, line.cost) for line in lines}


def test_who_transfers_pays_for_the_leg_that_it_had_placed(sites: Sites) -> None:
    blind(sites, to="trunk:pstn", number="0441")
    sites.close()
    assert costs(sites, "extension") == {
        ("1001",): (1, 32, 0),
        ("1002",): (0, 0, 2),  # 20 s at 6 a minute
    }
    assert costs(sites, "outgoing callee") == {
        ("", "1002"): (1, 32, 0),
        ("pstn", "0441"): (0, 0, 2),
    }
    assert costs(sites, "") == {(): (1, 32, 2)}


def test_each_leg_that_left_costs(sites: Sites) -> None:
    """The callee, at a carrier, sends the caller on to another one."""
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, "trunk:gsm")
    hq.rings("c1", 2, "trunk:pstn")  # not answered: nothing
    hq.answers("c1", 1, "0441")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(30)
    hq.refers("c1", 1, "0442", "blind-transfer")
    hq.quiet("c1", 1)
    hq.leaves("c1", 1)
    hq.rings("c1", 3, "trunk:pstn", by="trunk:gsm")
    hq.answers("c1", 3, "0442")
    hq.talk("c1", 2, (0, 3), "blind-transfer", "trunk:gsm")
    sites.at(90)
    hq.leaves("c1", 0, 3)
    hq.quiet("c1", 2)
    hq.over("c1")
    sites.close()
    assert costs(sites, "extension outgoing") == {
        ("1001", "gsm"): (1, 90, 65),
        ("", "pstn"): (0, 0, 6),
    }


def test_a_call_through_two_switches_leaves_once(sites: Sites) -> None:
    hq, branch = sites["hq"], sites["branch"]
    hq.comes("c1", A)
    hq.rings("c1", 1, B)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(10)
    hq.refers("c1", 1, "944", "blind-transfer")
    hq.quiet("c1", 1)
    hq.leaves("c1", 1)
    hq.rings("c1", 2, "trunk:branch", by=B, between=True, sip_call_id="x")
    branch.comes("c1", "trunk:hq", owner="hq", sip_call_id="x", came="hq/2")
    branch.rings("c1", 1, "trunk:gsm")
    sites.at(12)
    branch.answers("c1", 1, "44")
    branch.talk("c1", 1, (0, 1), by="trunk:hq")
    hq.answers("c1", 2, "944")
    hq.talk("c1", 2, (0, 2), "blind-transfer", B)
    sites.at(72)
    hq.leaves("c1", 0, 2)
    hq.quiet("c1", 2)
    hq.over("c1")
    branch.leaves("c1", 0, 1)
    branch.quiet("c1", 1)
    branch.over("c1")
    sites.close()
    # Placed at branch for what was sent there: by whom?
    assert costs(sites, "extension") == {("1001",): (1, 72, 0), ("1002",): (0, 0, 35)}


def consulted(sites: Sites) -> None:
    """1002, called by 1001, calls a carrier (c2), and after 30 s puts them through; 60 s."""
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, B)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(10)
    hq.comes("c2", B)
    hq.rings("c2", 1, "trunk:gsm")
    hq.answers("c2", 1, "0441")
    hq.talk("c2", 1, (0, 1), by=B)
    sites.at(40)
    hq.quiet("c1", 1)
    hq.quiet("c2", 1)
    hq.merges("c2", "c1", "hq")
    hq.moves("c1", 2, ("c2", 1), "out", "trunk:gsm", "0441")
    hq.leaves("c2", 0, 1)
    hq.over("c2")
    hq.talk("c1", 2, (0, 2), "attended-transfer", B)
    hq.leaves("c1", 1)
    sites.at(100)
    hq.leaves("c1", 0, 2)
    hq.quiet("c1", 2)
    hq.over("c1")


def test_a_merged_calls_minutes_count_once(sites: Sites) -> None:
    """To the carrier it was one call of 90 s: two minutes begun, and one setup."""
    consulted(sites)
    sites.close()
    assert costs(sites, "extension") == {
        ("1001",): (1, 100, 0),
        ("1002",): (1, 30, 5 + 120),
    }
    assert costs(sites, "") == {(): (2, 130, 125)}


def test_where_the_younger_call_is_not_at_hand(sites: Sites) -> None:
    """Its part of the costs is not either; who brought the merge about pays."""
    consulted(sites)
    sites.close()
    hq = sites["hq"]
    with sqlite3.connect(hq.archive.path) as conn:
        conn.execute("DELETE FROM cdrs WHERE call_id = 'c2'")
    assert costs(sites, "extension") == {("1001",): (1, 100, 0), ("1002",): (0, 0, 60)}


def test_a_forwarded_leg_is_charged_to_who_forwards(sites: Sites) -> None:
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, "trunk:pstn", by=C)
    hq.answers("c1", 1, "0441")
    hq.talk("c1", 1, (0, 1), "forward", C)
    sites.at(10)
    hq.leaves("c1", 0, 1)
    hq.quiet("c1", 1)
    hq.over("c1")
    sites.close()
    assert costs(sites, "extension") == {("1001",): (1, 10, 0), ("1003",): (0, 0, Decimal(1))}
