"""The true ends of calls: followed from leg to leg over all switches."""

from __future__ import annotations

from typing import Any

import pytest
from cds_calls import AT, through
from cds_fakes import FakeNet
from msgspec.structs import astuple

from cdsplugin.archive.ends import joined, true_ends
from cdsplugin.archive.rows import Ends, values_of
from cdsplugin.archive.view import View
from cdsplugin.tms.tms import Tms

HQ: dict[str, Any] = {"switch": "hq", "site": "Sunnyvale"}


def came_in(party: str, sip: str, **more: Any) -> dict[str, Any]:
    return {"direction": "in", "party": party, "sip_call_id": sip, "invited_at": AT, **more}


def out(party: str, sip: str, answered: int | None = None, **more: Any) -> dict[str, Any]:
    leg = {"direction": "out", "party": party, "sip_call_id": sip, "invited_at": AT, **more}
    if answered is not None:
        leg |= {"answered_at": AT + answered, "callee": more.get("callee", "2001")}
    return leg


def answered_in(party: str, sip: str, site: str = "", **more: Any) -> dict[str, Any]:
    return came_in(party, sip, answered_at=AT, **({"site": site} if site else {}), **more)


def test_one_switch() -> None:
    legs = {
        ("hq", 0): answered_in("extension:1001", "a"),
        ("hq", 1): out("extension:1002", "b"),
        ("hq", 2): out("trunk:pstn", "c", 3, callee="0441"),
    }
    assert true_ends(legs, HQ) == Ends(
        ("hq", 0), ("hq", 2), "trunk:pstn", "0441", "Sunnyvale", "pstn"
    )
    del legs[("hq", 2)]
    assert true_ends(legs, HQ) == Ends(("hq", 0)), "nobody answered"
    assert true_ends({}, {}) == Ends(None)


def test_three_in_a_row_and_a_carrier_at_the_last() -> None:
    legs = {
        ("hq", 0): answered_in("extension:1001", "a"),
        ("hq", 1): out("trunk:branch", "b", 5, between=True),
        ("branch", 0): answered_in("trunk:hq", "b", "Austin"),
        ("branch", 1): out("trunk:depot", "c", 4, between=True),
        ("depot", 0): answered_in("trunk:branch", "c", "Reno"),
        ("depot", 1): out("trunk:telco", "d", 3, callee="15550100"),
    }
    assert true_ends(legs, HQ) == Ends(
        ("hq", 0), ("depot", 1), "trunk:telco", "15550100", "Reno", "telco"
    )
    # As far as is known, while the last switch has not told: our switch there is no carrier.
    for leg in (("depot", 0), ("depot", 1)):
        del legs[leg]
    assert true_ends(legs, HQ) == Ends(
        ("hq", 0), ("branch", 1), "trunk:depot", "2001", "Austin", None
    )


def test_a_loop_comes_back_to_the_switch_where_it_began() -> None:
    legs = {
        ("hq", 0): answered_in("extension:1001", "a"),
        ("hq", 1): out("trunk:branch", "b", 5, between=True),
        ("branch", 0): answered_in("trunk:hq", "b", "Austin"),
        ("branch", 1): out("trunk:hq", "c", 4, between=True),
        ("hq", 2): answered_in("trunk:branch", "c", "Sunnyvale"),
        # Two phones ring for the second passage; a leg of the first passage is none of it.
        ("hq", 3): out("extension:1003", "d", incoming=2),
        ("hq", 4): out("extension:1004", "e", 3, incoming=2, callee="1004"),
    }
    ends = true_ends(legs, HQ)
    assert (ends.answered_at, ends.party, ends.site) == (("hq", 4), "extension:1004", "Sunnyvale")


def test_a_loop_without_end_ends() -> None:
    legs = {
        ("hq", 0): answered_in("extension:1001", "a", came="branch/1"),
        ("hq", 1): out("trunk:branch", "b", 5),
        ("branch", 0): answered_in("trunk:hq", "b", came="hq/1"),
        ("branch", 1): out("trunk:hq", "c", 4),
    }
    assert true_ends(legs, HQ).answered_at == ("branch", 1)


def test_a_ring_group_over_two_switches() -> None:
    legs = {
        ("hq", 0): answered_in("trunk:pstn", "a"),
        ("hq", 1): out("trunk:branch", "b", between=True),
        ("hq", 2): out("trunk:depot", "c", 6, between=True),
        ("branch", 0): came_in("trunk:hq", "b"),
        ("branch", 1): out("extension:1", "d"),
        ("depot", 0): answered_in("trunk:hq", "c", "Reno"),
        ("depot", 1): out("extension:2", "e"),
        ("depot", 2): out("extension:3", "f", 5, callee="3"),
    }
    assert astuple(true_ends(legs, HQ))[1:5] == (("depot", 2), "extension:3", "3", "Reno")


@pytest.mark.parametrize("came", ["hq/1 annex/4", "hq/1 annex/4 kiosk/9"])
def test_switches_without_a_server_in_between(came: str) -> None:
    """Their legs are known to nobody; the header has told which they were."""
    legs = {
        ("hq", 0): answered_in("extension:1001", "a"),
        ("hq", 1): out("trunk:annex", "b", 5, between=True),
        # The one without a server has rung two switches: one of them was answered.
        ("branch", 0): came_in("trunk:annex", "x", came=came),
        ("depot", 0): answered_in("trunk:annex", "y", "Reno", came=came),
        ("depot", 1): out("extension:3", "z", 4, callee="3"),
    }
    assert astuple(true_ends(legs, HQ))[1:5] == (("depot", 1), "extension:3", "3", "Reno")
    # Nothing was told of the way: as far as is known.
    del legs[("depot", 0)]["came"]
    assert true_ends(legs, HQ).answered_at == ("hq", 1)


def test_of_several_the_other_end_of_the_dialog_goes_on() -> None:
    """Whichever was told first; else one that was answered."""
    legs = {
        ("hq", 0): answered_in("extension:1001", "a"),
        ("hq", 1): out("trunk:branch", "b", 5, between=True),
        ("annex", 0): answered_in("trunk:kiosk", "x", came="hq/1 kiosk/1"),
        ("branch", 0): answered_in("trunk:hq", "b", came="hq/1"),
        ("depot", 0): came_in("trunk:kiosk", "y", came="hq/1 kiosk/3"),
    }
    backwards = dict(reversed(legs.items()))
    assert joined(legs)["hq", 1] == joined(backwards)["hq", 1] == ("branch", 0)
    del legs["branch", 0], backwards["branch", 0]
    assert joined(legs)["hq", 1] == joined(backwards)["hq", 1] == ("annex", 0)
    assert ("depot", 0) not in joined(legs)


def test_who_has_not_heard_from_the_origin() -> None:
    legs = {
        ("branch", 1): out("trunk:depot", "c", 4, between=True),
        ("depot", 0): answered_in("trunk:branch", "c", "Reno"),
        ("branch", 0): answered_in("trunk:hq", "b", "Austin"),
        ("depot", 1): out("extension:3", "d", 3, callee="3"),
    }
    assert true_ends(legs, {}) == Ends(
        ("branch", 0), ("depot", 1), "extension:3", "3", "Reno", None
    )


@pytest.mark.parametrize(
    "leg",
    [
        {"direction": "out", "party": 7, "answered_at": AT, "callee": []},
        {"direction": "in", "came": 9},
        {"direction": "in", "came": "a/b c//2 /1 hq/x"},
        {"direction": None},
        {},
    ],
)
def test_what_others_wrote_may_be_anything(leg: dict[str, Any]) -> None:
    legs = {("hq", 0): answered_in("extension:1", "a"), ("hq", 1): leg, ("x", 0): dict(leg)}
    true_ends(legs, HQ)
    true_ends({("x", 3): leg}, {"switch": ["hq"]})


def test_events_of_two_switches_become_one_record() -> None:
    store = FakeNet().server("hq").store
    tms = Tms(store, FakeNet().server("hq").clock)
    here, there = through("c1")
    tms.event(here[0])
    held = store.get("c1")
    assert held is not None
    for event in [*there, *here[1:]]:
        tms.event(event)
    view = View(held)
    row = view.cdr("hq", False)
    assert (row.callee, row.callee_party) == ("8100", "trunk:branch")
    assert values_of(row)[11:17] == (
        "trunk:telco", "100", "branch", "Austin", "telco", '["extension:1001","trunk:telco"]',
    )  # fmt: skip
    (talk,) = view.talks(row)
    assert (talk.from_party, talk.from_number) == ("extension:1001", "1001")
    assert (talk.to_party, talk.to_number, talk.how, talk.by) == (
        "trunk:telco", "100", "dialled", "extension:1001",
    )  # fmt: skip
    assert (talk.began_at, talk.ended_at) == (row.answered_at, row.ended_at)


def test_who_never_heard_from_the_owner_keeps_caller_and_dialled() -> None:
    store = FakeNet().server("branch").store
    tms = Tms(store, FakeNet().server("branch").clock)
    _, there = through("c1")
    tms.event(there[0])
    held = store.get("c1")
    assert held is not None
    for event in there[1:]:
        tms.event(event)
    row = View(held).pieced("branch", True)
    assert (row.switch, row.site, row.caller, row.caller_name, row.dialled, row.caller_party) == (
        "branch", "Austin", "1001", "Alice", "2001", "trunk:hq",
    )  # fmt: skip
    assert (row.answered_party, row.outgoing_trunk) == ("trunk:telco", "telco")
