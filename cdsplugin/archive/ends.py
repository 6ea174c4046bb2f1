"""The true ends of a call: who talked with whom, however many switches lie between them.

Each switch writes its legs. What one switch sends to another is an outgoing leg here and an
incoming leg there; the incoming one says by which legs the call came (``came``), or has the same
SIP Call-ID. So the answer is followed from the caller's switch to the leg behind which there is
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from cdsplugin.archive.rows import Ends, Place
from cdsplugin.data import LEG, Property, leg_of

Leg: TypeAlias = dict[str, Any]


def legs_of(properties: Mapping[str, Property]) -> dict[Place, Leg]:
    """All legs of a call."""
    legs: dict[Place, Leg] = {}
    for name, entry in properties.items():
        if name.startswith(LEG) and type(entry.value) is dict:
            place = leg_of(name)
            if place is not None:
                legs[place] = entry.value
    return legs


def true_ends(legs: dict[Place, Leg], began: Leg) -> Ends:
    """``began`` is the property ``call``, empty if its switch never told it."""
    if len(legs) == 2 and (ends := _ordinary(legs, began)) is not None:
        return ends
    behind = _behind(legs)
    came_in = _first(legs, began, behind)
    if came_in is None:
        return Ends(None)
    site = began.get("site") if came_in[0] == began.get("switch") else None
    place, answered = came_in, None
    seen = {came_in}
    while (won := first_answered(legs, place)) is not None:
        answered = won
        if legs[place].get("site") is not None:
            site = legs[place]["site"]
        following = behind.get(won)
        if following is None or following in seen:
            break
        seen.add(following)
        place = following
    if answered is None:
        return Ends(came_in)
    return _ends(came_in, answered, legs[answered], site)


def _ordinary(legs: dict[Place, Leg], began: Leg) -> Ends | None:
    """Those of a call of one switch that rang in one place, which most calls are, and which need
    no search; None if it is another."""
    for place, leg in legs.items():
        if leg.get("direction") == "out":
            came_in = (place[0], 0)
            ours = came_in[0] == began.get("switch") and leg.get("incoming", 0) == 0
            if ours and came_in in legs:
                if "answered_at" not in leg:
                    return Ends(came_in)
                site = legs[came_in].get("site")
                return _ends(came_in, place, leg, began.get("site") if site is None else site)
    return None


def ends_at(legs: dict[Place, Leg], began: Leg, came_in: Place | None, answered: Place) -> Ends:
    """Those of a call of which another leg than the one that was followed has really answered."""
    leg = legs.get(answered, {})
    incoming = leg.get("incoming", 0)
    site = legs.get((answered[0], incoming), {}).get("site")
    if site is None and answered[0] == began.get("switch"):
        site = began.get("site")
    return _ends(came_in, answered, leg, site)


def _ends(came_in: Place | None, answered: Place, leg: Leg, site: object) -> Ends:
    party = _text(leg.get("party"))
    left = party is not None and party.startswith("trunk:") and not leg.get("between")
    return Ends(
        came_in,
        answered,
        party,
        _text(leg.get("callee")),
        _text(site),
        party[len("trunk:") :] if party is not None and left else None,
    )


def _behind(legs: dict[Place, Leg]) -> dict[Place, Place]:
    """By outgoing leg, the incoming one at the next switch. Of several (a fork at a switch that has
    no server) the one that is the other end of its dialog, else one that was answered."""
    by_call_id: dict[object, Place] = {}
    for place, leg in legs.items():
        call_id = leg.get("sip_call_id")
        if leg.get("direction") == "out" and call_id:
            by_call_id[call_id] = min(place, by_call_id.get(call_id, place))
    best: dict[Place, tuple[bool, bool, Place]] = {}
    moved: list[tuple[Place, Place]] = []
    for place, leg in legs.items():
        came = leg.get("came")
        if leg.get("direction") != "in":
            # Of a leg of another call that went to a switch of ours.
            there = _came_by(legs, came, "in") if came is not None and "was" in leg else None
            if there is not None:
                moved.append((place, there))
            continue
        exact = by_call_id.get(leg.get("sip_call_id"))
        before = exact or _came_by(legs, came, "out")
        if before is not None and before != place:
            rank = exact is None, "answered_at" not in leg, place
            if before not in best or rank < best[before]:
                best[before] = rank
    behind = {before: rank[2] for before, rank in best.items()}
    for place, there in sorted(moved):
        if place not in behind and there not in behind.values():
            behind[place] = there
    return behind


def joined(legs: dict[Place, Leg]) -> dict[Place, Place]:
    """The two ends of what goes from switch to switch: each by the other."""
    behind = _behind(legs)
    return {**behind, **{there: here for here, there in behind.items()}}


def _came_by(legs: dict[Place, Leg], came: object, direction: str) -> Place | None:
    """The last of these legs (``SWITCH/N``, separated by blanks) that is known."""
    if not isinstance(came, str):
        return None
    for text in reversed(came.split()):
        place = leg_of(LEG + text)
        if place is not None and place in legs and legs[place].get("direction") == direction:
            return place
    return None


def _first(legs: dict[Place, Leg], began: Leg, behind: dict[Place, Place]) -> Place | None:
    """Where the call came in: at its origin; else at the first switch that is known."""
    origin = (str(began.get("switch")), 0)
    if origin in legs:
        return origin
    later = set(behind.values())
    first = [
        place
        for place, leg in legs.items()
        if leg.get("direction") == "in" and "was" not in leg and place not in later
    ]
    return min(first, key=lambda place: (_time(legs[place]), place), default=None)


def first_answered(legs: dict[Place, Leg], came_in: Place) -> Place | None:
    """The outgoing leg of a passage that was answered first."""
    switch, number = came_in
    won: Place | None = None
    for place, leg in legs.items():
        if (
            place[0] == switch
            and leg.get("direction") == "out"
            and leg.get("incoming", 0) == number
            and "answered_at" in leg
            and (won is None or (leg["answered_at"], place) < (legs[won]["answered_at"], won))
        ):
            won = place
    return won


def _time(leg: Leg) -> int:
    at = leg.get("invited_at")
    return at if type(at) is int else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
