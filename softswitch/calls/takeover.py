"""Somebody who calls takes the place of a leg that there is: of one that talks (Replaces, RFC 3891,
a parked call), or of one that rings (pickup)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.calls.core import Passage
from softswitch.calls.join import GONE, Join
from softswitch.calls.leg import Leg
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.calls.transfer import Transfer, Transferring
from softswitch.sip import Response, held

PICKUP: Final = "pickup"


def _nothing() -> None:
    """`Join.for_caller` has told it."""


class Takeover(Transfer):
    """`caller`, whose INVITE is not answered yet, is to talk with `kept` in the place of
    `replaced` (None: in nobody's)."""

    __slots__ = ("again", "caller", "other_call", "replaced")

    def __init__(
        self, call: Transferring, caller: Leg, kept: Leg, replaced: Leg | None, how: str
    ) -> None:
        super().__init__(call, None, caller.party, kept, how, kept.number)
        self.caller = caller
        self.replaced = replaced
        # What becomes of the kept one if it comes to nothing, if it is not left alone.
        self.again: Callable[[], None] | None = None
        assert isinstance(kept.call, Transferring)
        self.other_call: Transferring = kept.call

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return not self.done and (leg is self.kept or leg is self.replaced)

    def start(self) -> None:
        """Offer the one what the other has offered."""
        if self.caller.incoming is not None:
            self.caller.incoming.trying()
        if isinstance(self.kept.talk, Talk):
            self.kept.talk.hush()
        join = self.join = Join(self.call, self.kept, self.caller, _nothing, self._not_joined)
        join.for_caller(self.caller.session.theirs, self._answered, acknowledge=True)

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return leg is self.replaced

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.replaced:
            self.replaced = None
        elif leg is self.kept and self.join is not None:
            self._not_joined(leg, 480, "Hung Up")

    def stop(self, ending: Passage) -> None:
        """See `Transfer`: of one of the two calls, the other goes on."""
        super().stop(ending)
        self._end()
        if self.call is not ending and not self.call.over:
            self.call.fail(480, "Hung Up")
        if self.other_call is not ending:
            self._stays(480, "Hung Up")

    def _answered(self, response: Response) -> None:
        self.join = None
        self.call.took_over(self, response)
        self._end()

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        if self.join is not None:
            self.join.abandon()
            self.join = None
        self._end()
        if not self.call.over:
            self.call.fail(status, reason)
        self._stays(status, reason)

    def _stays(self, status: int, reason: str) -> None:
        again, self.again = self.again, None
        if again is not None and status not in GONE:
            again()
        else:
            self.other_call.left_alone(self.kept, status, reason)
        if isinstance(self.kept.talk, Talk):
            self.kept.talk.as_before()

    def _end(self) -> None:
        self.done = True
        self.call.transfer_over(self)
        self.other_call.transfer_over(self)


class Pickup(Transfer):
    """`caller` is to have the call that `search` is for. It is answered at once, so that it can be
    offered what whoever waits has offered; its answer to that is the one of the leg that has won.
    """

    __slots__ = ("caller", "search")

    def __init__(self, call: Transferring, caller: Leg, search: Search) -> None:
        super().__init__(call, None, caller.party, caller, PICKUP, "")
        self.caller = caller
        self.search = search

    def start(self) -> None:
        """Answer it."""
        caller = self.caller
        offer = caller.session.theirs
        self.call.accept(held(offer or self.search.offer))
        join = self.join = Join(self.call, caller, caller, _nothing, self._not_joined)
        # Who has found it acknowledges it, as of any leg.
        join.for_caller(self.search.offer, self._answered, acknowledge=False)

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.caller and self.join is not None:
            self.join.abandon()
            self.join = None
            self._end()

    def _answered(self, response: Response) -> None:
        self.join = None
        self._end()
        search, caller = self.search, self.caller
        if search.user is None:
            caller.session.ack(response.cseq)
            self.call.left_alone(caller, 480, "Answered Elsewhere")
            return
        self.call.picked_up(self, response)

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        self.join = None
        self._end()
        self.call.left_alone(self.caller, status, reason)

    def _end(self) -> None:
        self.done = True
        self.call.transfer_over(self)
