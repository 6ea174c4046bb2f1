"""Passages: what a switch's module keeps of the calls at its switch, and how they are found again.

A call that comes back to a switch which it has passed is there more than once. Each passage is told
apart by the number of its incoming leg.
"""

from __future__ import annotations

from typing import Any

from cdsplugin.data import RESTARTED, Call, Property, leg_of, passage_name, talk_of

Leg = dict[str, Any]
Talk = dict[str, Any]
TIMES = ("invited_at", "ringing_at", "answered_at", "ended_at")
SUPPOSED = ("ended_at", "ended_by", "reason", "supposed")
"""What a leg loses again when it turns out that its end was only supposed (``recovery.ending``)."""


class Passage:
    """A call's way through a switch, from one incoming leg on."""

    __slots__ = ("answered", "dialled", "origin", "site", "started_at")

    def __init__(self, origin: bool, site: str, dialled: str, started_at: int) -> None:
        self.origin = origin
        self.site = site
        self.dialled = dialled
        self.started_at = started_at
        self.answered = False


class SwitchCall:
    """What a switch's module keeps of a live call.

    ``legs`` and ``talks`` hold the values last written, ``passages`` those not over, by their
    incoming leg, and ``incoming`` the passage of each leg that belongs to another than the first.
    ``plain`` are the legs of talk 1, the incoming one first, as long as its legs tell all that
    there is to say of it; ``plain_over`` is when that ended, if no leg of it has ended so far.
    ``base`` is the switch's time of the call minus our monotonic clock, ``ahead`` by how much the
    times in here are ahead of it, in microseconds.
    """

    __slots__ = (
        "ahead", "base", "incoming", "legs", "once", "owner", "passages", "plain", "plain_over",
        "released", "talks",
    )  # fmt: skip

    def __init__(self, owner: str, base: int) -> None:
        self.owner = owner
        self.base = base
        self.ahead = 0
        self.legs: dict[int, Leg] = {}
        self.passages: dict[int, Passage] = {}
        self.incoming: dict[int, int] | None = None
        self.plain: tuple[int, int] | None = None
        self.plain_over = 0
        self.talks: dict[int, Talk] | None = None
        self.once = False
        """Whether a route of it has set something once."""
        self.released = False
        """Whether the store was told that we are no participant any more; see ``release``."""

    def passage_of(self, number: int) -> int:
        """The incoming leg of the passage to which a leg belongs."""
        if number in self.passages:
            return number
        return self.incoming.get(number, 0) if self.incoming else 0

    def first_talk(self, number: int) -> int | None:
        """The first talk of the passage with that incoming leg, if it has a property."""
        numbers = [n for n, talk in (self.talks or {}).items() if talk.get("incoming", 0) == number]
        return min(numbers, default=None)

    def answered_with(self, number: int) -> Leg | None:
        """The leg with which the passage's incoming leg talked first."""
        if self.plain is not None and self.plain[0] == number:
            return self.legs.get(self.plain[1])
        first = self.first_talk(number)
        if first is None or self.talks is None:
            return None
        others = [n for n in legs_of_talk(self.talks[first]) if n != number]
        return self.legs.get(others[0]) if others else None


def legs_of_talk(talk: Talk) -> list[int]:
    """The numbers of a talk's legs, as its property has them."""
    legs = talk.get("legs")
    if type(legs) is not str:
        return []
    return [int(n) for n in legs.split() if n.isdecimal() and len(n) <= 9]


def found_again(call: Call, switch: str, base: int) -> SwitchCall | None:
    """A call as the store has it, for the module of a switch; None if it is over there. ``base`` as
    in ``SwitchCall``."""
    legs: dict[int, Leg] = {}
    talks: dict[int, Talk] = {}
    values = call.data.properties
    for name, entry in values.items():
        if type(entry.value) is not dict:
            continue
        found = leg_of(name)
        if found is not None and found[0] == switch:
            legs[found[1]] = dict(entry.value)
        talked = talk_of(name)
        if talked is not None and talked[0] == switch:
            talks[talked[1]] = dict(entry.value)
    taken = SwitchCall(call.owner, base)
    taken.ahead = call.base - base
    taken.legs = legs
    taken.talks = talks or None
    newest = max((leg.get("invited_at", 0) for leg in legs.values() if came_in(leg)), default=0)
    summary = call.data.value("call")
    began = summary if isinstance(summary, dict) else {}
    for number in sorted(legs):
        leg = legs[number]
        if not came_in(leg):
            incoming = leg.get("incoming", 0)
            if incoming:
                taken.incoming = {**(taken.incoming or {}), number: incoming}
            continue
        origin = number == 0 and began.get("switch") == switch
        end = values.get("end" if origin else passage_name("switch", switch, number))
        if not over(end) and not _given_up(leg, newest):
            passage = taken.passages[number] = Passage(
                origin,
                str(leg.get("site") or ""),
                str(leg.get("dialled") or ""),
                int(leg.get("invited_at") or 0),
            )
            passage.answered = "answered_at" in leg
    if 1 not in talks:
        taken.plain = _plain(taken)
    return taken if taken.passages else None


def came_in(leg: Leg) -> bool:
    """Whether a passage begins with it: not with one that came from another call."""
    return leg.get("direction") == "in" and "was" not in leg


def _plain(call: SwitchCall) -> tuple[int, int] | None:
    """The legs of talk 1, if it has no property: who answered the only passage that has none."""
    for number, passage in call.passages.items():
        if not passage.answered or call.first_talk(number) is not None:
            continue
        answered = [
            (leg["answered_at"], n)
            for n, leg in call.legs.items()
            if leg.get("direction") == "out"
            and "answered_at" in leg
            and leg.get("incoming", 0) == number
            and "was" not in leg
        ]
        if answered:
            return number, min(answered)[1]
    return None


def over(entry: Property | None) -> bool:
    """Whether a passage ended. Not if that was only supposed after a restart: the switch knows."""
    value = None if entry is None else entry.value
    return isinstance(value, dict) and value.get("reason") != RESTARTED


def _given_up(leg: Leg, newest: int) -> bool:
    """Whether a passage was found to be over after a restart, by its incoming leg.

    One that was only supposed to be goes on when its switch has it still. Had it been so, the
    switch would have said it before the call came in there another time (``newest``).
    """
    if leg.get("reason") != RESTARTED:
        return False
    return "supposed" not in leg or newest > leg.get("ended_at", 0)
