"""What all passages of a callID at this switch have in common: the numbers of its legs and talks
(`softswitch.events`), of which none is used twice, and its time base.

A time base is what is added to the steady clock to have the time of day. It is taken once, as the
call comes here, so that whoever sets the time of day meanwhile changes nothing of how long the call
lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from softswitch.memory import give_back
from softswitch.sip import Timers

KEPT: Final = 64.0
"""Seconds for which a switch that a call has passed keeps its numbers after it: the call may come
again on another try of the switch before, and numbers must not be used twice. So does the switch of
its origin if it was given up there: an INVITE may be on its way back to it."""


class _Numbering:
    """Of one callID: the next numbers, the time base, and how many passages of it are alive."""

    __slots__ = ("alive", "base", "next", "next_talk")

    def __init__(self, base: int) -> None:
        self.next = 0
        self.next_talk = 1
        self.base = base
        self.alive = 0


class LegNumbers:
    """The numbers of all calls that are alive, or were a moment ago. `ahead` is the time base of a
    call that comes just now, in microseconds."""

    def __init__(self, timers: Timers, ahead: Callable[[], int]) -> None:
        self._timers = timers
        self._ahead = ahead
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

    def talk(self, call_id: str) -> int:
        """The next free number of a talk."""
        numbering = self._of(call_id)
        number = numbering.next_talk
        numbering.next_talk = number + 1
        return number

    def peek_talk(self, call_id: str) -> int:
        """The number that `talk` would give. KeyError if the call is over."""
        return self._calls[call_id].next_talk

    def base(self, call_id: str) -> int:
        """The call's time base, in microseconds."""
        return self._of(call_id).base

    def begin(self, call_id: str) -> None:
        """A passage of the call is alive."""
        self._of(call_id).alive += 1

    def go_on(self, call_id: str, at_least: int, base: int, talk: int = 1) -> None:
        """A passage of an earlier process is alive; the call's numbers go on from there, and its
        times by that base."""
        numbering = self._of(call_id)
        numbering.next = max(numbering.next, at_least)
        numbering.next_talk = max(numbering.next_talk, talk)
        numbering.base = base
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
            numbering = self._calls[call_id] = _Numbering(self._ahead())
        return numbering

    def _drop(self, call_id: str) -> None:
        numbering = self._calls.get(call_id)
        if numbering is not None and not numbering.alive:
            del self._calls[call_id]
