"""The talks of a call: who heard whom, from when to when, however many switches lie between them.

Each switch tells which of its legs talk with each other (``talk/SWITCH/N``); of an ordinary passage
the legs themselves say it. Such a talk is an edge between two places. What one switch sends to
another is a leg at both, and these two are one place (``ends.joined``). At each moment a true talk
is a path of edges between two legs that lead nowhere further: it lasts while all of them do.

Times may be numbers or texts, as long as they are all of one kind and sort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from cdsplugin.archive.ends import Leg, first_answered, joined
from cdsplugin.archive.rows import Place, TalkRow
from cdsplugin.data import passage_name

Time: TypeAlias = Any

_TAKEN: Final = frozenset(("park", "pickup"))
"""Done at the switch that tells it, though it is a neighbour that asked for it."""

MOST: Final = 1000
"""Talks of one call, at all its switches together; of more the first ones count."""


class Edge(NamedTuple):
    """Legs of one switch that heard each other. ``ended`` is None if that is not known."""

    switch: str
    number: int
    legs: tuple[Place, ...]
    began: Time
    ended: Time | None
    how: str
    by: str | None


class Heard(NamedTuple):
    """A true talk. ``ends`` are the legs of the two who talked, first the one who called or was
    kept; the second is None if nobody of a call is there: an application, or more than one.
    ``cause`` is the edge that brought it about."""

    ends: tuple[Place, Place | None]
    began: Time
    ended: Time | None
    cause: Edge


class Caller(NamedTuple):
    """Who called, and at which leg."""

    place: Place | None
    party: object
    number: object


def compose(
    legs: dict[Place, Leg], talks: dict[Place, Leg], ended: Mapping[str, Time], kind: type = int
) -> list[Heard]:
    """The true talks of a call, in the order in which they began.

    ``talks`` are the values of ``talk/SWITCH/N`` by switch and number, ``ended`` is when passages
    were over, by ``passage_name("switch", …)``: that goes for legs whose end was not told.
    Times of another ``kind`` are disregarded.
    """
    edges = _edges(legs, talks, ended, kind)
    beyond = joined(legs)
    known = {place for edge in edges for place in edge.legs}
    # Of a switch that has told of no talk the way is known no further than to it, until it has told
    # that the leg is over: then nobody was heard there, at least in this call.
    beyond = {
        place: other
        for place, other in beyond.items()
        if other in known or "ended_at" in legs.get(other, _NO_LEG)
    }
    times = sorted({t for edge in edges for t in (edge.began, edge.ended) if t is not None})
    begins: dict[Time, list[Edge]] = {}
    for edge in edges:
        begins.setdefault(edge.began, []).append(edge)
    heard: list[Heard] = []
    last: dict[frozenset[Place], int] = {}
    active: list[Edge] = []
    for begin, end in pairwise([*times, None]):
        active = [edge for edge in active if edge.ended is None or edge.ended > begin]
        active += begins.get(begin, ())
        for ends, cause in _paths(active, beyond, legs):
            # Two applications one after the other are two talks.
            nobody = (cause.switch, -cause.number)
            pair = frozenset((ends[0], nobody if ends[1] is None else ends[1]))
            before = last.get(pair)
            if before is not None and heard[before].ended == begin:
                heard[before] = heard[before]._replace(ended=end)
            else:
                last[pair] = len(heard)
                heard.append(Heard(ends, begin, end, cause))
    return heard


def answered_leg(heard: Sequence[Heard], caller: Place | None) -> Place | None:
    """The leg of who answered first."""
    for talk in heard:
        if talk.ends[1] is not None and caller in talk.ends:
            return talk.ends[0] if talk.ends[1] == caller else talk.ends[1]
    return next((talk.ends[1] for talk in heard if talk.ends[1] is not None), None)


def talk_rows(
    call_id: str,
    heard: Sequence[Heard],
    legs: dict[Place, Leg],
    caller: Caller,
    over: str | None,
    text: Callable[[Time], str | None],
) -> list[TalkRow]:
    """The rows of ``cdr_talks``. ``over`` is when the call ended, if it did; ``text`` makes what
    the rows have of a time."""
    rows: list[TalkRow] = []
    for number, (ends, began, ended, cause) in enumerate(heard):
        rows.append(
            TalkRow(
                call_id,
                number,
                cause.switch,
                *_who(ends[0], legs, caller),
                *_who(ends[1], legs, caller),
                text(began),
                over if ended is None else text(ended),
                cause.how,
                _by(ends, cause, legs, caller),
            )
        )
    return rows


def parties_of(rows: Sequence[TalkRow]) -> list[str]:
    """All who talked, in the order in which they began to."""
    found = [party for row in rows for party in (row.from_party, row.to_party)]
    return list(dict.fromkeys(party for party in found if party is not None))


def _by(
    ends: tuple[Place, Place | None], cause: Edge, legs: Mapping[Place, Leg], caller: Caller
) -> str | None:
    """Who brought it about. What another switch of ours did for somebody (it took a call that was
    parked here) was done by who is behind it."""
    if cause.how in _TAKEN:
        # Whoever comes into a talk is its second leg: both may be behind the same switch.
        for place, end in reversed(list(zip(cause.legs, ends, strict=False))):
            if end not in (None, place) and cause.by == legs.get(place, _NO_LEG).get("party"):
                return _who(end, legs, caller)[0]
    return cause.by


def _who(
    place: Place | None, legs: Mapping[Place, Leg], caller: Caller
) -> tuple[str | None, str | None]:
    """Party and number."""
    if place is None:
        return None, None
    if place == caller.place:
        return _text(caller.party), _text(caller.number)
    leg = legs.get(place, _NO_LEG)
    party = _text(leg.get("party"))
    number = _text(leg.get("callee")) or _text(leg.get("caller"))
    if number is None and party is not None and party.startswith("extension:"):
        number = party[len("extension:") :]
    return party, number


def _edges(
    legs: dict[Place, Leg], talks: dict[Place, Leg], ended: Mapping[str, Time], kind: type
) -> list[Edge]:
    """All edges that lasted, those of ordinary passages included."""
    edges: list[Edge] = []
    passages: set[Place] = set()
    for (switch, number), talk in talks.items():
        numbers = _numbers(talk.get("legs"))
        incoming = talk.get("incoming", 0)
        passages.add((switch, incoming if type(incoming) is int else 0))
        places = tuple((switch, n) for n in numbers)
        edge = Edge(
            switch,
            number,
            places,
            talk.get("began_at"),
            talk.get("ended_at"),
            str(talk.get("how") or ""),
            _text(talk.get("by")),
        )
        edges.append(edge)
    for place, leg in legs.items():
        if leg.get("direction") != "in" or "answered_at" not in leg:
            continue
        won = None if "was" in leg or place in passages else first_answered(legs, place)
        if won is None:
            continue
        began = leg["answered_at"]
        plain = Edge(place[0], 1, (place, won), began, None, "dialled", _text(leg.get("party")))
        edges.append(plain)
    edges = [_limited(e, legs, ended, kind) for e in edges if type(e.began) is kind and e.legs]
    edges = [e for e in edges if e.ended is None or e.ended > e.began]
    edges.sort(key=lambda e: (e.began, e.switch, e.number, e.legs))
    return edges[:MOST]


def _limited(edge: Edge, legs: dict[Place, Leg], ended: Mapping[str, Time], kind: type) -> Edge:
    """It lasts no longer than its legs; if nobody told of their end, than their passage."""
    told = [edge.ended, *(legs.get(place, _NO_LEG).get("ended_at") for place in edge.legs)]
    ends: list[Time] = [end for end in told if type(end) is kind]
    if not ends:
        for place in edge.legs:
            leg = legs.get(place, _NO_LEG)
            incoming = leg.get("incoming", 0)
            if leg.get("direction") == "in" and "was" not in leg:
                incoming = place[1]
            end = ended.get(passage_name("switch", place[0], incoming))
            if type(end) is kind:
                ends.append(end)
    return edge._replace(ended=min(ends) if ends else None)


def _paths(
    active: Iterable[Edge], beyond: Mapping[Place, Place], legs: Mapping[Place, Leg]
) -> list[tuple[tuple[Place, Place | None], Edge]]:
    """The pairs of ends that hear each other while these edges last, each with its cause."""
    edge_of: dict[Place, Edge] = {}
    for edge in active:
        for place in edge.legs:
            edge_of[place] = edge  # the later one: a leg has one peer at a time
    found: list[tuple[tuple[Place, Place | None], Edge]] = []
    for edge in dict.fromkeys(edge_of.values()):
        if not all(edge_of[place] is edge for place in edge.legs):
            continue
        first, way = _follow(edge, edge.legs[0], edge_of, beyond)
        second: Place | None = None
        if len(edge.legs) == 2:
            second, onward = _follow(edge, edge.legs[1], edge_of, beyond)
            way += onward
            if second is None:
                continue
        if first is None:
            continue
        cause = edge
        for other in way:
            if _rank(other, beyond, legs) > _rank(cause, beyond, legs):
                cause = other
        # Each path is found from each of its edges: it counts where its cause is.
        if cause is edge or second is None:
            found.append(((first, second), cause))
    return found


def _follow(
    edge: Edge, place: Place, edge_of: Mapping[Place, Edge], beyond: Mapping[Place, Place]
) -> tuple[Place | None, list[Edge]]:
    """The end behind a leg of an edge, and the edges on the way; None if there is none at present,
    as what is behind it talks with nobody."""
    way: list[Edge] = []
    seen = {edge}
    while (other := beyond.get(place)) is not None:
        following = edge_of.get(other)
        if following is None or following in seen or len(following.legs) != 2:
            return None, way
        if not all(edge_of[each] is following for each in following.legs):
            return None, way
        seen.add(following)
        way.append(following)
        place = following.legs[1] if following.legs[0] == other else following.legs[0]
    return place, way


def _rank(
    edge: Edge, beyond: Mapping[Place, Place], legs: Mapping[Place, Leg]
) -> tuple[bool, Time, str, int, tuple[Place, ...]]:
    """What brought a talk about is the edge that began last; but not one that only carries on what
    another switch of ours has done."""
    carried = edge.how not in _TAKEN and any(
        place in beyond and edge.by in (None, legs.get(place, _NO_LEG).get("party"))
        for place in edge.legs
    )
    return not carried, edge.began, edge.switch, edge.number, edge.legs


def _numbers(legs: object) -> list[int]:
    if type(legs) is not str:
        return []
    return [int(n) for n in legs.split()[:64] if n.isdecimal() and len(n) <= 9]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_NO_LEG: Final[Leg] = {}
