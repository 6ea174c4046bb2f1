"""Talks of several switches put together, beside what is so at each moment."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsplugin.archive import talks as module
from cdsplugin.archive.talks import compose, parties_of

Place: TypeAlias = tuple[str, int]
Legs: TypeAlias = dict[Place, dict[str, Any]]
LONG = 12


@st.composite
def calls(draw: st.DrawFn) -> tuple[Legs, Legs, list[tuple[Place, Place]]]:
    """Legs of three switches, some of them joined, and who talks with whom there."""
    legs: Legs = {}
    free: dict[str, list[Place]] = {"in": [], "out": []}
    for switch in "abc":
        for number in range(draw(st.integers(2, 5))):
            place = switch, number
            direction = draw(st.sampled_from(("in", "out")))
            # Nothing is to be derived of these: "was".
            legs[place] = {"direction": direction, "party": f"p:{switch}{number}", "was": "x"}
            free[direction].append(place)
    links: list[tuple[Place, Place]] = []
    for out in free["out"]:
        others = [p for p in free["in"] if p[0] != out[0] and "sip_call_id" not in legs[p]]
        if others and draw(st.booleans()):
            there = draw(st.sampled_from(others))
            legs[out]["sip_call_id"] = legs[there]["sip_call_id"] = f"{out}"
            links.append((out, there))
    talks: Legs = {}
    for switch in "abc":
        places = [place for place in legs if place[0] == switch]
        until = dict.fromkeys(places, 0)
        for number in range(1, draw(st.integers(1, 6))):
            one, other = draw(st.permutations(places))[:2]
            began = draw(st.integers(max(until[one], until[other]), LONG))
            ended = draw(st.integers(began, LONG))
            until[one] = until[other] = ended
            talks[switch, number] = {
                "legs": f"{one[1]} {other[1]}", "began_at": began, "ended_at": ended,
            }  # fmt: skip
    return legs, talks, links


def seconds(legs: Legs, talks: Legs, links: list[tuple[Place, Place]]) -> Counter[frozenset[Place]]:
    """For how long each pair of ends heard each other: counted, moment by moment."""
    edges = [
        (*((switch, int(n)) for n in talk["legs"].split()), talk["began_at"], talk["ended_at"])
        for (switch, _), talk in talks.items()
    ]
    ever = {place for one, other, began, ended in edges if began < ended for place in (one, other)}
    links = [link for link in links if set(link) <= ever]
    linked = {place for link in links for place in link}
    found: Counter[frozenset[Place]] = Counter()
    for moment in range(LONG):
        now = [edge[:2] for edge in edges if edge[2] <= moment < edge[3]]
        group = {place: {place} for place in legs}
        for one, other in [*now, *links]:
            both = group[one] | group[other]
            for place in both:
                group[place] = both
        for members in {frozenset(places) for places in group.values()}:
            ends = members - linked
            talking = {place for edge in now for place in edge}
            if len(ends) == 2 and members <= talking:
                found[ends] += 1
    return found


@settings(max_examples=400, deadline=None)
@given(calls())
def test_each_second_of_each_pair_counts_once(case: tuple[Legs, Legs, Any]) -> None:
    legs, talks, links = case
    heard = compose(legs, talks, {})
    total: Counter[frozenset[Place]] = Counter()
    for talk in heard:
        assert talk.ends[1] is not None
        total[frozenset((talk.ends[0], talk.ends[1]))] += talk.ended - talk.began
    assert total == seconds(legs, talks, links)
    assert [talk.began for talk in heard] == sorted(talk.began for talk in heard)
    last: dict[frozenset[Any], int] = {}
    for talk in heard:
        assert last.get(frozenset(talk.ends)) != talk.began, "one row, not two in a row"
        last[frozenset(talk.ends)] = talk.ended


@given(calls(), st.randoms())
def test_the_order_in_which_it_was_told_does_not_matter(case: Any, chance: Any) -> None:
    legs, talks, _ = case
    mixed = [list(legs.items()), list(talks.items())]
    for each in mixed:
        chance.shuffle(each)
    assert compose(dict(mixed[0]), dict(mixed[1]), {}) == compose(legs, talks, {})


def leg(direction: str, **more: Any) -> dict[str, Any]:
    return {"direction": direction, "party": "extension:1", **more}


def test_a_circle_is_nobodys_talk() -> None:
    legs = {
        ("a", 0): leg("in", sip_call_id="y"),
        ("a", 1): leg("out", sip_call_id="x"),
        ("b", 0): leg("in", sip_call_id="x"),
        ("b", 1): leg("out", sip_call_id="y"),
    }
    talks = {(s, 1): {"legs": "0 1", "began_at": 1, "ended_at": 9} for s in "ab"}
    assert compose(legs, talks, {}) == []


def test_of_what_was_not_told_to_be_over() -> None:
    """Talks end with their legs, and those with their passage; else nobody knows."""
    legs = {("a", 0): leg("in"), ("a", 2): leg("out"), ("b", 3): leg("in"), ("b", 4): leg("out")}
    talks = {
        ("a", 1): {"legs": "0 2", "began_at": 1},
        ("b", 1): {"legs": "3 4", "began_at": 2, "incoming": 3},
    }
    heard = compose(legs, talks, {"switch/b/3": 7})
    assert [(t.ends[0], t.began, t.ended) for t in heard] == [(("a", 0), 1, None), (("b", 3), 2, 7)]
    legs["b", 4]["ended_at"] = 5
    legs["a", 2]["ended_at"] = 4
    assert [t.ended for t in compose(legs, talks, {"switch/b/3": 7})] == [4, 5]


def test_while_a_switch_has_told_nothing_the_way_ends_before_it() -> None:
    legs = {
        ("a", 0): leg("in"),
        ("a", 1): leg("out", sip_call_id="x"),
        ("b", 0): leg("in", sip_call_id="x"),
    }
    talks = {("a", 1): {"legs": "0 1", "began_at": 1, "ended_at": 9}}
    assert [t.ends for t in compose(legs, talks, {})] == [(("a", 0), ("a", 1))]
    legs["b", 0]["ended_at"] = 9
    assert compose(legs, talks, {}) == [], "it had nobody there who was to be heard"


def test_what_another_switch_carries_on_is_not_the_cause() -> None:
    """Though by its clock it began later."""
    legs = {
        ("a", 0): leg("in"),
        ("a", 1): leg("out", sip_call_id="x"),
        ("b", 0): leg("in", sip_call_id="x", answered_at=3),
        ("b", 1): leg("out", answered_at=3, ended_at=9),
    }
    talks = {("a", 2): {"legs": "0 1", "began_at": 2, "how": "blind-transfer", "by": "me"}}
    (talk,) = compose(legs, talks, {})
    assert (talk.ends, talk.began, talk.ended) == ((("a", 0), ("b", 1)), 3, 9)
    assert (talk.cause.how, talk.cause.by, talk.cause.switch) == ("blind-transfer", "me", "a")


def test_who_took_a_call_that_was_parked_elsewhere() -> None:
    """Two phones of a: the call of one is parked at b, where the other has dialled the orbit."""
    legs = {
        ("a", 0): leg("in", party="extension:1"),
        ("a", 1): leg("out", party="trunk:b", sip_call_id="x"),
        ("a", 2): leg("in", party="extension:3", was="c2 a/0"),
        ("a", 3): leg("out", party="trunk:b", sip_call_id="y", was="c2 a/1"),
        ("b", 0): leg("in", party="trunk:a", sip_call_id="x"),
        ("b", 2): leg("in", party="trunk:a", sip_call_id="y", was="c2 b/0"),
    }
    talks = {
        ("a", 1): {"legs": "0 1", "began_at": 1, "ended_at": 9, "how": "dialled"},
        ("b", 2): {"legs": "0 2", "began_at": 4, "ended_at": 9, "how": "park", "by": "trunk:a"},
        ("a", 2): {"legs": "2 3", "began_at": 5, "ended_at": 9, "how": "dialled", "by": "trunk:b"},
    }
    heard = compose(legs, talks, {})
    caller = module.Caller(("a", 0), "extension:1", "1")
    (row,) = module.talk_rows("c", heard, legs, caller, None, str)
    assert (row.from_party, row.to_party) == ("extension:1", "extension:3")
    assert (row.began_at, row.how, row.by, row.switch) == ("5", "park", "extension:3", "b")


@pytest.mark.parametrize(
    "talk",
    [
        {},
        {"legs": "0 1"},
        {"legs": [0, 1], "began_at": 1},
        {"legs": "0 x 7777777777", "began_at": 1, "incoming": "0"},
        {"legs": "0 0", "began_at": 1, "how": None, "by": 7},
        {"legs": "0 1 2", "began_at": 1.5, "ended_at": "x"},
        {"legs": "0 1 2", "began_at": 1, "ended_at": "x"},
        {"legs": "0 1", "began_at": "x", "ended_at": 7},
    ],
)
def test_what_others_wrote_may_be_anything(talk: dict[str, Any]) -> None:
    legs = {("a", 0): leg("in", came=7, ended_at="x"), ("a", 1): {"direction": "out", "party": 7}}
    heard = compose(legs, {("a", 1): talk, ("b", 1): talk}, {"switch/a": None})
    parties_of(module.talk_rows("c", heard, legs, module.Caller(("a", 0), 1, 2), None, str))


def test_no_more_talks_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    legs = {("a", 0): leg("in"), ("a", 1): leg("out")}
    talks = {("a", n): {"legs": "0 1", "began_at": 2 * n, "ended_at": 2 * n + 1} for n in range(9)}
    assert [t.began for t in compose(legs, talks, {})] == [0, 2, 4]
