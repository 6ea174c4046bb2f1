"""Which dialogs the watched phones have, and who is to hear when that changes.

Nothing is kept of a phone that nobody watches, and a switch where nobody watches anybody looks at
none of its events. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from softswitch.calls import Leg, Member
from softswitch.events import Event, LegMoved
from softswitch.notifier.lines import Line, line_of
from softswitch.sip import Timer, Timers

SOON: Final = 0.02
"""Seconds in which what happens at once is told at once."""


class Lamps:
    """Of `legs`, all that the switch has, those of watched parties; of `orbits`, the watched ones.

    `changed` is told of parties (`extension:NAME`, `orbit:NUMBER`) whose dialogs may be others now.
    """

    def __init__(
        self,
        legs: Mapping[str, Leg],
        orbits: Mapping[str, object],
        timers: Timers,
        changed: Callable[[str], None],
    ) -> None:
        self._legs = legs
        self._orbits = orbits
        self._timers = timers
        self._changed = changed
        self.watched: dict[str, dict[Leg, None]] = {}
        # Whose legs a call has that are watched: by callID and the leg's number.
        self._calls: dict[str, dict[int, str]] = {}
        self._occupied: dict[str, bool] = {}
        self._dirty: dict[str, None] = {}
        self._timer: Timer | None = None
        self.awake = False
        """Whether anybody is watched: else nothing needs to be told."""

    def watch(self, party: str) -> None:
        """From now on what this party does is told."""
        self.awake = True
        kind, _, name = party.partition(":")
        if kind == "orbit":
            self._occupied[name] = name in self._orbits
        elif party not in self.watched:
            self.watched[party] = {}
            for leg in list(self._legs.values()):
                if leg.party == party:
                    self.took(leg)

    def leave(self, party: str) -> None:
        """Nobody wants to know any more."""
        kind, _, name = party.partition(":")
        if kind == "orbit":
            self._occupied.pop(name, None)
        for leg in self.watched.pop(party, ()):
            if leg.call is not None:
                self._forget(leg.call.call_id, leg.index)
        self.awake = bool(self.watched or self._occupied)

    def lines(self, party: str) -> list[Line]:
        """The dialogs that a party has now."""
        kind, _, name = party.partition(":")
        if kind == "orbit":
            parked = name in self._orbits
            return [Line(party, "confirmed", "recipient")] if parked else []
        lines = [line_of(leg) for leg in self.watched.get(party, ())]
        return [line for line in lines if line is not None]

    # --- what the switch says

    def took(self, leg: Member) -> None:
        """A leg is known by its dialog from now on."""
        assert isinstance(leg, Leg)
        legs = self.watched.get(leg.party)
        if legs is None:
            return
        legs[leg] = None
        call = leg.call
        if call is not None:
            self._calls.setdefault(call.call_id, {})[leg.index] = leg.party
        self._soon(leg.party)

    def lost(self, leg: Member) -> None:
        """It is over."""
        assert isinstance(leg, Leg)
        legs = self.watched.get(leg.party)
        if legs is not None and leg in legs:
            del legs[leg]
            if leg.call is not None:
                self._forget(leg.call.call_id, leg.index)
            self._soon(leg.party)

    def told(self, event: Event) -> None:
        """Something has happened in a call."""
        if self._occupied:
            self._soon("")
        if type(event) is LegMoved:
            party = self._forget(event.was_call, event.was_leg)
            if party:
                self._calls.setdefault(event.call_id, {})[event.leg] = party
        # Of its other parties too, as they may talk with somebody else now.
        for party in self._calls.get(event.call_id, {}).values():
            self._soon(party)

    def _forget(self, call_id: str, leg: int) -> str:
        """Whose leg that was; empty: of nobody who is watched."""
        legs = self._calls.get(call_id)
        if legs is None:
            return ""
        party = legs.pop(leg, "")
        if not legs:
            del self._calls[call_id]
        return party

    def _soon(self, party: str) -> None:
        if party:
            self._dirty[party] = None
        if self._timer is None:
            self._timer = self._timers.after(SOON, self._tell)

    def _tell(self) -> None:
        self._timer = None
        dirty, self._dirty = self._dirty, {}
        for name, was in list(self._occupied.items()):
            now = name in self._orbits
            if now != was:
                self._occupied[name] = now
                self._changed(f"orbit:{name}")
        for party in dirty:
            if party in self.watched:
                self._changed(party)
