"""What the legs of a call cost whom, where it was more than one talk.

Each leg that left by a carrier's trunk and was answered costs, for as long as it was up. It is
charged to who had it placed (``by``: who transferred or forwarded the call); what a later switch
placed for a call that was sent to it, to who had it sent there; else to the caller. A leg that came
from another call (``was``) is one call for the carrier all the time: what it cost there stands with
that call, and the rest with this one, charged to who had placed it there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from sqlite_utils import Database

from cdsplugin.archive import joined, read_legs

_FAR = 64
"""How many legs are followed to who had one placed."""

_CAUSE = "SELECT by FROM cdr_talks WHERE call_id = ? AND began_at >= ? ORDER BY began_at LIMIT 1"


class Charge(NamedTuple):
    """A leg that left. ``payer`` is a party; ``seconds`` are those in this call, ``before`` those
    in other ones from which it has ``moved``."""

    payer: str | None
    switch: str
    trunk: str
    number: str
    seconds: Decimal
    before: Decimal = Decimal(0)
    moved: bool = False


def charges(
    db: Database, others: Sequence[Database], call_id: str, caller: str | None, over: str | None
) -> Iterator[Charge]:
    """Of a call of ``db`` that ``caller`` began and that was ``over`` then. ``others`` are all
    databases: a call of which a leg came may be in another one."""
    legs = read_legs(db, call_id)
    calls = _Calls(others, call_id, legs)
    for place in sorted(legs):
        leg = legs[place]
        party = leg.get("party")
        if (
            leg.get("direction") != "out"
            or "answered_at" not in leg
            or "between_switches" in leg
            or not isinstance(party, str)
            or not party.startswith("trunk:")
        ):
            continue
        payer = calls.payer(call_id, place)
        if payer is None and "was" in leg:
            cause = db.execute(_CAUSE, [call_id, leg["answered_at"]]).fetchone()
            payer = cause[0] if cause is not None else None
        yield Charge(
            payer or caller,
            place[0],
            party.removeprefix("trunk:"),
            leg.get("callee", ""),
            _seconds(leg["answered_at"], leg.get("ended_at", over)),
            calls.before(call_id, place),
            "was" in leg,
        )


class _Calls:
    """A call, and those of which it has legs, from whichever database knows most of them."""

    def __init__(
        self, databases: Sequence[Database], call_id: str, legs: dict[tuple[str, int], Any]
    ) -> None:
        self._databases = databases
        self._legs = {call_id: legs}

    def legs(self, call_id: str) -> dict[tuple[str, int], Any]:
        """All legs of a call; none if it is in no database."""
        found = self._legs.get(call_id)
        if found is None:
            found = {}
            for db in self._databases:
                try:
                    legs = read_legs(db, call_id)
                except sqlite3.OperationalError:
                    continue  # an earlier version wrote it, when no leg came from another call
                found = max(found, legs, key=len)
            self._legs[call_id] = found
        return found

    def payer(self, call_id: str, place: tuple[str, int]) -> str | None:
        """Who had a leg placed; None if that is not known."""
        for _ in range(_FAR):
            legs = self.legs(call_id)
            leg = legs.get(place)
            if leg is None:
                return None
            if "by" in leg:
                return str(leg["by"])
            if "was" in leg:
                call_id, place = _place(leg["was"])
                continue
            came_in = place[0], leg.get("incoming", 0)
            before = joined(legs).get(came_in)
            if before is None:
                party = legs.get(came_in, {}).get("party")
                return party if isinstance(party, str) else None
            place = before
        return None

    def before(self, call_id: str, place: tuple[str, int]) -> Decimal:
        """How long a leg was up in the calls from which it came."""
        seconds = Decimal(0)
        for _ in range(_FAR):
            leg = self.legs(call_id).get(place, {})
            if "was" not in leg:
                break
            call_id, place = _place(leg["was"])
            earlier = self.legs(call_id).get(place, {})
            seconds += _seconds(earlier.get("answered_at"), earlier.get("ended_at"))
        return seconds


def _place(was: str) -> tuple[str, tuple[str, int]]:
    """Of ``CALLID SWITCH/N``."""
    call_id, _, place = was.partition(" ")
    switch, _, number = place.rpartition("/")
    return call_id, (switch, int(number) if number.isdecimal() else -1)


def _seconds(begin: str | None, end: str | None) -> Decimal:
    if begin is None or end is None:
        return Decimal(0)
    lasted = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return Decimal(max(lasted // timedelta(microseconds=1), 0)) / 1_000_000
