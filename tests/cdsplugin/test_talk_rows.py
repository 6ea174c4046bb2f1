"""Talks composed to their true ends: transfers on one switch and over several, and calls that
became one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cds_talks import A, B, C, D, Sites, blind

from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive
from cdsplugin.data.call import Call
from cdsplugin.data.call_data import CallData


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path, "hq", "branch", "depot")


def test_a_blind_transfer(sites: Sites) -> None:
    blind(sites)
    sites.close()
    hq = sites["hq"]
    assert hq.talks("c1") == [
        (A, B, 1.0, 11.0, "dialled", A, "hq"),
        (A, C, 13.0, 33.0, "blind-transfer", B, "hq"),
    ]
    assert hq.numbers("c1") == [(0, "1001", "1002"), (1, "1001", "1003")]
    assert hq.row("c1", "answered_party", "billsec", "parties", "merged_into", "final") == (
        B, 32.0, f'["{A}","{B}","{C}"]', None, 1,
    )  # fmt: skip
    legs = hq.query("SELECT leg, by, referred_to FROM cdr_legs ORDER BY leg")
    assert legs == [(0, None, None), (1, None, "1003"), (2, B, None)]


def test_a_transfer_that_fails(sites: Sites) -> None:
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, B)
    sites.at(1)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(5)
    hq.refers("c1", 1, "1003", "blind-transfer")
    hq.quiet("c1", 1)
    hq.rings("c1", 2, C, by=B)
    sites.at(8)
    hq.leaves("c1", 2, status=486)
    hq.refers("c1", 1, "1003", "blind-transfer", 486)
    hq.talk("c1", 2, (0, 1), "returned", B)
    sites.at(18)
    hq.leaves("c1", 1)
    hq.quiet("c1", 2)
    hq.leaves("c1", 0)
    hq.over("c1")
    sites.close()
    assert hq.talks("c1") == [
        (A, B, 1.0, 5.0, "dialled", A, "hq"),
        (A, B, 8.0, 18.0, "returned", B, "hq"),
    ]


def there_and_back(sites: Sites) -> None:
    """1001 of hq calls 1002 of branch, who sends the caller on to 1003 of hq: the call comes back
    there."""
    hq, branch = sites["hq"], sites["branch"]
    hq.comes("c1", A)
    hq.rings("c1", 1, "trunk:branch", between=True, sip_call_id="x")
    sites.at(0.5)
    branch.comes("c1", "trunk:hq", "1001", owner="hq", sip_call_id="x", came="hq/1")
    branch.rings("c1", 1, B)
    sites.at(1)
    branch.answers("c1", 1, "1002")
    branch.talk("c1", 1, (0, 1), by="trunk:hq")
    sites.at(1.5)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(11)
    branch.refers("c1", 1, "1003", "blind-transfer")
    branch.quiet("c1", 1)
    branch.rings("c1", 2, "trunk:hq", between=True, sip_call_id="y", by=B)
    sites.at(12)
    hq.comes("c1", "trunk:branch", "1001", leg=2, owner="hq", sip_call_id="y", came="hq/1 branch/2",
             origin=False)  # fmt: skip
    hq.rings("c1", 3, C, incoming=2)
    sites.at(14)
    hq.answers("c1", 3, "1003")
    hq.talk("c1", 2, (2, 3), by="trunk:branch", incoming=2)
    sites.at(14.5)
    branch.answers("c1", 2, "1003")
    branch.talk("c1", 2, (0, 2), "blind-transfer", B)
    branch.leaves("c1", 1)


def goes(sites: Sites, *, answered: bool = True) -> None:
    hq, branch = sites["hq"], sites["branch"]
    sites.at(30)
    hq.leaves("c1", 3)
    hq.quiet("c1", 2)
    hq.leaves("c1", 2)
    hq.over("c1", 2)
    sites.at(30.5)
    branch.leaves("c1", 2)
    branch.quiet("c1", 2)
    branch.leaves("c1", 0)
    branch.over("c1")
    sites.at(31)
    hq.leaves("c1", 1)
    hq.quiet("c1", 1)
    hq.leaves("c1", 0)
    hq.over("c1")


BACK = [
    (A, B, 1.5, 11.0, "dialled", A, "hq"),
    (A, C, 14.5, 30.0, "blind-transfer", B, "branch"),
]


def test_a_transfer_at_the_second_switch_back_to_the_first(sites: Sites) -> None:
    there_and_back(sites)
    goes(sites)
    sites.close()
    assert sites["hq"].talks("c1") == BACK
    assert sites["hq"].row("c1", "answered_party", "answered_switch", "parties") == (
        B, "branch", f'["{A}","{B}","{C}"]',
    )  # fmt: skip


def test_a_switch_that_was_cut_off_is_heard_later(sites: Sites) -> None:
    """What the database has, and what comes to it, are put together."""
    there_and_back(sites)
    sites.at(15)
    sites.net.cut("hq", "branch")
    goes(sites)
    sites.at(100)
    assert sites["hq"].talks("c1")[:1] == BACK[:1]
    sites.net.mend("hq", "branch")
    sites.close(400)
    assert sites["hq"].talks("c1") == BACK


@pytest.mark.parametrize("later", ["row", "fill"])
def test_who_knows_less_takes_nothing_away(sites: Sites, later: str) -> None:
    """A part of the call, of before the transfer, comes when all of it is recorded."""
    blind(sites)
    sites.at(40)
    hq = sites["hq"]
    before = hq.talks("c1")
    data = CallData(
        entry
        for entry in hq.call("c1").data.properties.values()
        if entry.name in ("call", "leg/hq/0", "leg/hq/1")
        or (later == "row" and entry.name == "end")
    )
    call = Call("c1", "hq")
    call.data = data
    Recorder("hq", hq.archive).ended(call)
    assert hq.talks("c1") == before
    sites.close()


def test_talks_wait_in_the_overflow_as_well(sites: Sites) -> None:
    """While the database is locked, and the server stops."""
    hq = sites["hq"]
    assert hq.archive.flush()
    with sqlite3.connect(hq.archive.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        blind(sites)
        sites.at(34)
        assert not hq.archive.close(timeout=30)
    other.close()
    assert hq.archive.spool.exists()
    archive = hq.archive = Archive(hq.archive.path)
    archive.open()
    assert archive.close()
    assert [talk[:2] for talk in hq.talks("c1")] == [(A, B), (A, C)]


def consult(sites: Sites) -> None:
    """At hq, 1001 calls 1002, who calls 1003 (call c2) and puts them through."""
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, B)
    sites.at(1)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(5)
    hq.comes("c2", B)
    hq.rings("c2", 1, C)
    sites.at(6)
    hq.answers("c2", 1, "1003")
    hq.talk("c2", 1, (0, 1), by=B)
    sites.at(9)
    hq.refers("c1", 1, "1003", "attended-transfer")
    hq.quiet("c1", 1)
    hq.quiet("c2", 1)
    hq.merges("c2", "c1", "hq")
    hq.moves("c1", 2, ("c2", 1), "out", C, "1003")
    hq.leaves("c2", 0, 1)
    hq.over("c2")
    hq.talk("c1", 2, (0, 2), "attended-transfer", B)
    hq.refers("c1", 1, "1003", "attended-transfer", 200)
    hq.leaves("c1", 1)
    sites.at(29)
    hq.leaves("c1", 0)
    hq.quiet("c1", 2)
    hq.leaves("c1", 2)
    hq.over("c1")


def test_two_calls_become_one(sites: Sites) -> None:
    consult(sites)
    sites.close()
    hq = sites["hq"]
    assert hq.talks("c1") == [
        (A, B, 1.0, 9.0, "dialled", A, "hq"),
        (A, C, 9.0, 29.0, "attended-transfer", B, "hq"),
    ]
    assert hq.talks("c2") == [(B, C, 6.0, 9.0, "dialled", B, "hq")]
    assert hq.row("c2", "merged_into", "disposition", "billsec") == ("c1", "answered", 3.0)
    assert hq.row("c1", "merged_into", "billsec", "parties") == (
        None, 28.0, f'["{A}","{B}","{C}"]',
    )  # fmt: skip
    assert hq.query("SELECT was FROM cdr_legs WHERE call_id = 'c1' AND leg = 2") == [("c2 hq/1",)]
    assert hq.numbers("c1")[1] == (1, "1001", "1003")


def merge_over_two(sites: Sites) -> None:
    """1001 of hq calls 1002 of branch, who calls 1004 of hq (call c2, of branch) and puts them
    through: both calls meet at both switches, and c1 lives on."""
    hq, branch = sites["hq"], sites["branch"]
    hq.comes("c1", A)
    hq.rings("c1", 1, "trunk:branch", between=True, sip_call_id="x")
    branch.comes("c1", "trunk:hq", "1001", owner="hq", sip_call_id="x", came="hq/1")
    branch.rings("c1", 1, B)
    sites.at(1)
    branch.answers("c1", 1, "1002")
    branch.talk("c1", 1, (0, 1), by="trunk:hq")
    sites.at(1.5)
    hq.answers("c1", 1, "1002")
    hq.talk("c1", 1, (0, 1), by=A)
    sites.at(5)
    branch.comes("c2", B)
    branch.rings("c2", 1, "trunk:hq", between=True, sip_call_id="y")
    hq.comes("c2", "trunk:branch", "1002", owner="branch", sip_call_id="y", came="branch/1")
    hq.rings("c2", 1, D)
    sites.at(6)
    hq.answers("c2", 1, "1004")
    hq.talk("c2", 1, (0, 1), by="trunk:branch")
    sites.at(6.5)
    branch.answers("c2", 1, "1004")
    branch.talk("c2", 1, (0, 1), by=B)
    sites.at(10)
    branch.refers("c1", 1, "1004", "attended-transfer")
    branch.quiet("c1", 1)
    branch.quiet("c2", 1)
    branch.merges("c2", "c1", "hq")
    branch.moves("c1", 2, ("c2", 1), "out", "trunk:hq", "1004", sip_call_id="y", between=True)
    branch.leaves("c2", 0, 1)
    branch.over("c2")
    branch.talk("c1", 2, (0, 2), "attended-transfer", B)
    branch.leaves("c1", 1)
    sites.at(10.5)
    hq.quiet("c2", 1)
    hq.merges("c2", "c1", "hq")
    hq.comes("c1", "trunk:branch", "1002", leg=2, owner="hq", origin=False, sip_call_id="y",
             came="branch/2")  # fmt: skip
    hq.moves("c1", 3, ("c2", 1), "out", D, "1004", incoming=2)
    hq.leaves("c2", 0, 1)
    hq.over("c2")
    hq.talk("c1", 2, (2, 3), "attended-transfer", "trunk:branch", incoming=2)


def test_nobody_talks_with_the_way_to_a_call_that_is_parked(sites: Sites) -> None:
    """1003 of hq dials an orbit of branch: its call goes on there as part of another."""
    hq, branch = sites["hq"], sites["branch"]
    hq.comes("c2", C)
    hq.rings("c2", 1, "trunk:branch", between=True, sip_call_id="y")
    branch.comes("c2", "trunk:hq", "1003", owner="hq", sip_call_id="y", came="hq/1")
    sites.at(1)
    branch.merges("c2", "c1", "hq")
    branch.leaves("c2", 0)
    branch.over("c2")
    sites.at(1.1)
    hq.answers("c2", 1, "1001")
    hq.talk("c2", 1, (0, 1), by=C)
    sites.at(1.2)
    hq.quiet("c2", 1)
    hq.merges("c2", "c1", "hq")
    hq.leaves("c2", 0, 1)
    hq.over("c2")
    sites.at(3)
    sites.close()
    assert hq.talks("c2") == []
    assert hq.row("c2", "merged_into", "parties", "disposition") == ("c1", None, "answered")


def both_end(sites: Sites) -> None:
    hq, branch = sites["hq"], sites["branch"]
    sites.at(40)
    hq.leaves("c1", 0)
    hq.quiet("c1", 1)
    hq.leaves("c1", 1)
    hq.over("c1")
    branch.leaves("c1", 0)
    branch.quiet("c1", 2)
    branch.leaves("c1", 2)
    branch.over("c1")
    hq.leaves("c1", 2)
    hq.quiet("c1", 2)
    hq.leaves("c1", 3)
    hq.over("c1", 2)


def test_two_calls_of_two_servers_become_one(sites: Sites) -> None:
    merge_over_two(sites)
    sites.at(11.5)
    hq, branch = sites["hq"], sites["branch"]
    assert hq.call("c1").data == branch.call("c1").data
    assert branch.call("c2").data == hq.call("c2").data
    both_end(sites)
    sites.at(41)
    assert hq.call("c1").data == branch.call("c1").data
    sites.close()
    assert hq.talks("c1") == [
        (A, B, 1.5, 10.0, "dialled", A, "hq"),
        (A, D, 10.5, 40.0, "attended-transfer", B, "branch"),
    ]
    assert branch.talks("c2") == [(B, D, 6.5, 10.0, "dialled", B, "branch")]
    assert branch.row("c2", "merged_into", "answered_party", "final") == ("c1", D, 1)
    assert hq.query("SELECT call_id, merged_into FROM cdrs") == [("c1", None)]
    assert branch.query("SELECT call_id FROM cdrs") == [("c2",)]


def test_who_is_not_the_owner_knows_that_it_merged(sites: Sites) -> None:
    """The owner's own switch may have left by then: its record is brought up to date."""
    hq, branch = sites["hq"], sites["branch"]
    hq.comes("c2", A)
    hq.rings("c2", 1, "trunk:branch", between=True, sip_call_id="x")
    branch.comes("c2", "trunk:hq", owner="hq", sip_call_id="x", came="hq/1")
    branch.rings("c2", 1, B)
    sites.at(1)
    branch.answers("c2", 1, "1002")
    branch.talk("c2", 1, (0, 1), by="trunk:hq")
    hq.answers("c2", 1, "1002")
    hq.talk("c2", 1, (0, 1), by=A)
    sites.at(5)
    hq.leaves("c2", 0, 1)
    hq.quiet("c2", 1)
    hq.over("c2")
    sites.at(6)
    assert hq.row("c2", "merged_into", "final") == (None, 0)
    branch.quiet("c2", 1)
    branch.merges("c2", "c1", "hq")
    branch.leaves("c2", 0, 1)
    branch.over("c2")
    sites.at(7)
    assert hq.row("c2", "merged_into", "final") == ("c1", 0)
    sites.close()


def test_a_pickup_answers_with_a_leg_of_another_call(sites: Sites) -> None:
    hq = sites["hq"]
    hq.comes("c1", A)
    hq.rings("c1", 1, B)
    sites.at(2)
    hq.comes("c2", C)
    hq.merges("c2", "c1", "hq")
    hq.moves("c1", 2, ("c2", 0), "in", C, "1003")
    hq.leaves("c2", 0)
    hq.over("c2")
    hq.talk("c1", 1, (0, 2), "pickup", C)
    hq.leaves("c1", 1, status=487)
    sites.at(9)
    hq.leaves("c1", 0, 2)
    hq.quiet("c1", 1)
    hq.over("c1")
    sites.close()
    assert hq.talks("c1") == [(A, C, 2.0, 9.0, "pickup", C, "hq")]
    assert hq.row("c1", "answered_party", "answered_number", "callee", "billsec") == (
        C, "1003", "1003", 7.0,
    )  # fmt: skip


def test_a_talk_with_an_application(sites: Sites) -> None:
    hq = sites["hq"]
    hq.comes("c1", A)
    sites.at(1)
    hq.talk("c1", 1, (0,), "park", B)
    sites.at(4)
    hq.quiet("c1", 1)
    hq.rings("c1", 1, C)
    hq.answers("c1", 1, "1003")
    hq.talk("c1", 2, (0, 1), "park", C)
    sites.at(9)
    hq.leaves("c1", 0, 1)
    hq.quiet("c1", 2)
    hq.over("c1")
    sites.close()
    assert hq.talks("c1") == [
        (A, None, 1.0, 4.0, "park", B, "hq"),
        (A, C, 4.0, 9.0, "park", C, "hq"),
    ]
