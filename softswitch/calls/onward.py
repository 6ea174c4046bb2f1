"""On in the dialplan: who has talked with an application is to talk with somebody else, or with
another application (`dialplan.Action`). It hears the application until then."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.calls.leg import APPLICATION, DIALLED, Leg
from softswitch.calls.search import Search
from softswitch.calls.transfer import PARK, BlindTransfer, Transferring
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
        application = self._end_talk()
        how = leg.how if leg.how == APPLICATION else self.how
        self.meet(search, self.kept, leg, response, how, leg.by or self.by)
        self._let_go(application)
        self.worked()

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """See `search.SearchUser`: who is parked talks with nobody, and is not rung for it."""
        if what == PARK and number not in self.call.core.orbits:
            self.by = ""
            application = self._end_talk()
            super().do(search, what, argument, number)
            self._let_go(application)
        else:
            super().do(search, what, argument, number)

    def _end_talk(self) -> Leg | None:
        """The application has nobody from now on; its leg."""
        application, self.application = self.application, None
        talk = self.kept.talk
        if talk is not None:
            talk.end()
            self.kept.free()
        return application

    def _let_go(self, application: Leg | None) -> None:
        if application is not None:
            self.call.let_go(application, "Went On", DONE)

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
