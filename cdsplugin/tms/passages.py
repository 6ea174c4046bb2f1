"""Passages: what a switch's module keeps of the calls at its switch, and how they are found again.

A call that comes back to a switch which it has passed is there more than once. Each passage is told
apart by the number of its incoming leg.
"""

from __future__ import annotations

from typing import Any

from cdsplugin.data import RESTARTED, Call, Property, leg_of, passage_name

Leg = dict[str, Any]
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

    ``legs`` holds the values last written, ``passages`` those not over, by their incoming leg, and
    ``incoming`` the passage of each outgoing leg that belongs to another than the first. ``base``
    is the switch's time of the call minus our monotonic clock, ``ahead`` by how much the times in
    here are ahead of it, in microseconds.
    """

    __slots__ = ("ahead", "base", "incoming", "legs", "once", "owner", "passages", "released")

    def __init__(self, owner: str, base: int) -> None:
        self.owner = owner
        self.base = base
        self.ahead = 0
        self.legs: dict[int, Leg] = {}
        self.passages: dict[int, Passage] = {}
        self.incoming: dict[int, int] | None = None
        self.once = False
        """Whether a route of it has set something once."""
        self.released = False
        """Whether the store was told that we are no participant any more; see ``release``."""

    def passage_of(self, number: int) -> int:
        """The incoming leg of the passage to which a leg belongs."""
        if number in self.passages:
            return number
        return self.incoming.get(number, 0) if self.incoming else 0


def found_again(call: Call, switch: str, base: int) -> SwitchCall | None:
    """A call as the store has it, for the module of a switch; None if it is over there. ``base`` as
    in ``SwitchCall``."""
    legs: dict[int, Leg] = {}
    values = call.data.properties
    for name, entry in values.items():
        found = leg_of(name)
        if found is not None and found[0] == switch and type(entry.value) is dict:
            legs[found[1]] = dict(entry.value)
    taken = SwitchCall(call.owner, base)
    taken.ahead = call.base - base
    taken.legs = legs
    newest = max(
        (leg.get("invited_at", 0) for leg in legs.values() if leg.get("direction") == "in"),
        default=0,
    )
    summary = call.data.value("call")
    began = summary if isinstance(summary, dict) else {}
    for number in sorted(legs):
        leg = legs[number]
        if leg.get("direction") != "in":
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
    return taken if taken.passages else None


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
