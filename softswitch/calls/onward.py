"""On in the dialplan: who has talked with an application is to talk with somebody else, or with
another application (`dialplan.Action`). It hears the application until then."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.calls.leg import APPLICATION, DIALLED, Leg
from softswitch.calls.search import Search
from softswitch.calls.transfer import BlindTransfer, Transferring
from softswitch.sip import Response

DONE = 'Reason: SIP;cause=200;text="Went On"\r\n'


class Onward(BlindTransfer):
    """Of `kept`, who has talked with `application` (a leg; None: it is gone). `came_to_nothing` is
    told why nobody was found, if the two still talk."""

    __slots__ = ("application", "came_to_nothing")

    def __init__(
        self,
        call: Transferring,
        kept: Leg,
        application: Leg | None,
        came_to_nothing: Callable[[int, str], None],
    ) -> None:
        super().__init__(call, None, kept.party, kept, "", DIALLED)
        self.application = application
        self.came_to_nothing = came_to_nothing

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return not self.done and leg is self.application

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """See `search.SearchUser`: the application's talk is over."""
        self.search = None
        self.found_leg = leg
        call, application = self.call, self.application
        self.application = None
        talk = self.kept.talk
        if talk is not None:
            talk.end()
            self.kept.free()
        how = leg.how if leg.how == APPLICATION else self.how
        self.meet(search, self.kept, leg, response, how, leg.by or self.by)
        if application is not None:
            call.let_go(application, "Went On", DONE)
        self.worked()

    def failed(self, status: int, reason: str) -> None:
        """See `BlindTransfer`."""
        call, kept, application = self.call, self.kept, self.application
        self._end()
        if application is not None and application.up and kept.up:
            self.came_to_nothing(status, reason)
        else:
            call.left_alone(kept, status, reason)

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.application:
            self.application = None
        super().left(leg)
