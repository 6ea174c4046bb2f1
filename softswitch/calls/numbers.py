"""Leg numbers: each leg of a callID at this switch has one of its own (`softswitch.events`)."""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch.memory import give_back
from softswitch.sip import Timers

KEPT: Final = 64.0
"""Seconds for which a switch that a call has passed keeps its numbers after it: the call may come
again on another try of the switch before, and numbers must not be used twice. So does the switch of
its origin if it was given up there: an INVITE may be on its way back to it."""


class _Numbering:
    """Of one callID: the next number, and how many passages of it are alive."""

    __slots__ = ("alive", "next")

    def __init__(self) -> None:
        self.next = 0
        self.alive = 0


class LegNumbers:
    """The numbers of all calls that are alive, or were a moment ago."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._calls: dict[str, _Numbering] = {}

    def __len__(self) -> int:
        """CallIDs of which something is remembered."""
        return len(self._calls)

    def next(self, call_id: str) -> int:
        """The next free number of a call."""
        numbering = self._of(call_id)
        number = numbering.next
        numbering.next = number + 1
        return number

    def peek(self, call_id: str) -> int:
        """The number that `next` would give. KeyError if the call is over."""
        return self._calls[call_id].next

    def begin(self, call_id: str, at_least: int = 0) -> None:
        """A passage of the call is alive; its numbers go on from there."""
        numbering = self._of(call_id)
        numbering.next = max(numbering.next, at_least)
        numbering.alive += 1

    def end(self, call_id: str, for_good: bool) -> None:
        """A passage is over. `for_good`: no INVITE of the call can come here any more."""
        numbering = self._calls[call_id]
        numbering.alive -= 1
        if not numbering.alive:
            if for_good:
                del self._calls[call_id]
            else:
                self._timers.after(KEPT, partial(self._drop, call_id))

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._calls)

    def _of(self, call_id: str) -> _Numbering:
        numbering = self._calls.get(call_id)
        if numbering is None:
            numbering = self._calls[call_id] = _Numbering()
        return numbering

    def _drop(self, call_id: str) -> None:
        numbering = self._calls.get(call_id)
        if numbering is not None and not numbering.alive:
            del self._calls[call_id]
