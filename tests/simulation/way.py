"""A call's way from switch to switch, as the callID's header tells it: also past switches beside
which no server runs. These tell nobody anything; where a call begins at one, the first server after
it owns the call."""

from __future__ import annotations

from functools import partial

from softswitch.calls import callid

from .plan import CallItem, Passage
from .scheduler import World


class Way:
    """Of one call: the header with which each passage sent it on."""

    def __init__(self, item: CallItem) -> None:
        self._item = item
        self._headers: dict[int, str] = {}
        """By the passage's place in the item."""

    def reaches(self, passage: Passage) -> bool:
        """Whether the call gets there: not behind its origin, while that has not taken it."""
        passages = self._item.passages
        origin = passages.index(self._item.origin)
        return passages.index(passage) < origin or origin in self._headers

    def goes_on(self, passage: Passage, server: str) -> tuple[callid.CarriedCallID, bool]:
        """The call comes to a switch and goes on from there. ``server`` is that of the switch,
        empty if it has none. Returns what the switch tells: its owner and the legs by which it
        came, and whether it is the call's origin."""
        place = self._item.passages.index(passage)
        before = max((n for n in self._headers if n < place), default=None)
        if before is None:
            named, origin = callid.CarriedCallID(self._item.call_id, server), True
        else:
            carried = callid.read_call_id(self._headers[before])
            assert carried is not None, self._headers[before]
            named, origin = callid.take_up(carried, server)
        leg = f"{passage.switch}/{passage.first_leg + 1}"
        header = callid.write_call_id(named.call_id, named.owner, named.legs, leg)
        self._headers[place] = header
        return named, origin


class UnservedSwitch:
    """A switch without a server: calls pass it, and nothing fails there."""

    def __init__(self, world: World, ways: dict[str, Way]) -> None:
        self._world = world
        self._ways = ways

    def plan(self, call: CallItem, passage: Passage) -> None:
        """Have it happen."""
        self._world.at(passage.begins, partial(self._begins, call, passage))

    def _begins(self, call: CallItem, passage: Passage) -> None:
        way = self._ways[call.call_id]
        if way.reaches(passage):
            self._world.note(passage.switch, f"passes {call.call_id} on")
            way.goes_on(passage, "")
