"""A consultation within one call: a party dials a code and a number, whom it talks with waits on
hold, and it talks with whoever answers there. Then it brings the two together (attended transfer),
or goes back. All three are legs of the one call.

For who waits and who was consulted somebody has to be there at any moment: if the one who asked
hangs up the two talk, and if one of the two does the others do.
"""

from __future__ import annotations

from typing import Final

from softswitch.calls import outcome
from softswitch.calls.core import Passage
from softswitch.calls.diversion import Diversion
from softswitch.calls.headers import reason_line
from softswitch.calls.holding import Hold
from softswitch.calls.join import GONE, Join
from softswitch.calls.leg import Leg
from softswitch.calls.records import ConsultationRecord
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.calls.transfer import (
    ATTENDED,
    RETURNED,
    Transfer,
    Transferring,
)
from softswitch.sip import Response, Session, is_held, opened

RINGS: Final = "rings"
TALKS: Final = "talks"
FOUND: Final = "found"
"""In the journal: they talk, but have not been brought together yet."""
COMPLETES: Final = "completes"
JOINS: Final = "joins"


class Consulting(Transferring):
    """A call as its consultations know it."""

    def consult(self, consultation: Consultation, offer: bytes) -> None:
        """Find whom the one who asks has dialled, with or without an offer."""
        raise NotImplementedError

    def hand_over(self, consultation: Consultation, search: Search) -> None:
        """Who rings yet rings for the one who waits from now on."""
        raise NotImplementedError


class Consultation(Transfer):
    """`referrer` asks, `kept` waits (None: has hung up), `target` is who was consulted (None: rings
    yet, or has gone).

    It RINGS; then the two talk (TALKS). COMPLETES: `kept` and `target` are being brought together,
    while `target` and `referrer` still talk. JOINS: two of them talk from now on, and are brought
    together; whoever else there was is out of it.
    """

    __slots__ = ("_pair", "consulting", "hold", "search", "state", "target", "waits")

    def __init__(self, call: Consulting, referrer: Leg, kept: Leg, number: str) -> None:
        super().__init__(call, referrer, referrer.party, kept, ATTENDED, number)
        self.consulting = call
        self.waits = True  # whether `kept` is there
        self.search: Search | None = None
        self.target: Leg | None = None
        self.state = RINGS
        self.hold: Hold | None = None
        self._pair: tuple[Leg, Leg] | None = None

    @property
    def holds(self) -> bool:
        """Whether somebody waits."""
        return self.waits and not self.done and self._pair is None

    def record(self) -> ConsultationRecord | None:
        """It as the journal holds it; None if it ends with the process."""
        referrer, target, pair = self.referrer, self.target, self._pair
        if self.done:
            return None
        if pair is not None:
            return ConsultationRecord(JOINS, pair[0].index, pair[1].index, -1, self.to, self.by)
        if referrer is None or not self.waits:
            return None
        if target is None:
            # Nobody rings any more then: the two first ones talk again.
            kept = self.kept.index
            return ConsultationRecord(JOINS, kept, referrer.index, -1, self.to, self.by)
        return ConsultationRecord(
            FOUND if self.state == TALKS and self.join is not None else self.state,
            self.kept.index,
            referrer.index,
            target.index,
            self.to,
            self.by,
        )

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`."""
        if self.done:
            return False
        if self._pair is not None:
            return leg in self._pair
        return leg is self.target or leg is self.referrer or (self.waits and leg is self.kept)

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        if self.done or self._pair is not None or not self.waits:
            return False
        return leg is self.referrer or leg is self.target

    def rung(self) -> list[Leg]:
        """See `Transfer`."""
        return self.search.inviting() if self.search is not None else []

    def answered_alone(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.kept and self.hold is not None:
            self.hold.answered()

    # --- it begins

    def start(self) -> None:
        """Put the one on hold, and ring the other."""
        self._hold_on()
        referrer = self.referrer
        assert referrer is not None
        self.consulting.consult(self, opened(referrer.session.theirs))

    def _hold_on(self) -> None:
        hold = self.hold = Hold(self.call, self.kept)
        hold.start()

    def who_waits(self) -> Leg | None:
        """See `search.SearchUser`."""
        return self.referrer

    def trying(self, search: Search) -> None:
        """See `search.SearchUser`."""

    def rings(
        self, search: Search, leg: Leg, session: Session, response: Response, reliable: bool
    ) -> bool:
        """See `search.SearchUser`."""
        return False

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """See `search.SearchUser`: the two talk."""
        self.search = None
        referrer = self.referrer
        assert referrer is not None
        self.target, self.state = leg, TALKS
        self.meet(search, referrer, leg, response, leg.how, leg.by or self.by)

    def forwarded(self, search: Search, way: Diversion) -> None:
        """See `search.SearchUser`."""

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """See `search.SearchUser`: they talk again."""
        self.search = None
        if status in outcome.NOT_ACCEPTABLE and search.offer:
            # See `BlindTransfer.nobody`.
            self.consulting.consult(self, b"")
            return
        self.came_to_nothing(status, reason)

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """See `search.SearchUser`."""
        self.search = None
        search.close()
        self.came_to_nothing(403, "Not By Transfer")

    def came_to_nothing(self, status: int, reason: str) -> None:
        """There is nobody to be consulted."""
        if self.waits:
            self._return()
        else:
            referrer = self.referrer
            self._end()
            if referrer is not None:
                self.call.left_alone(referrer, status, reason)

    # --- what the one who asked dials

    def complete(self) -> None:
        """The two others are to talk."""
        if self.done or not self.waits or self._pair is not None or self.state == COMPLETES:
            return
        target = self.target
        search = self.search
        if search is not None:
            self._hand_over(search)
        elif target is not None:
            self._drop_join()
            self._stop_hold()
            self.state = COMPLETES
            self.call.changed()
            self.tell(0)
            join = self.join = Join(
                self.call, self.kept, target, self._completed, self._not_completed
            )
            join.afresh()

    def back(self) -> None:
        """Who was consulted is not wanted any more."""
        if self.done or not self.waits or self._pair is not None or self.state == COMPLETES:
            return
        target, self.target = self.target, None
        search, self.search = self.search, None
        if search is not None:
            search.give_up("Cancelled by the caller", "")
            search.close()
            self._return()
        elif target is not None:
            self._drop_join()
            self.call.let_go(target, "Consulted", reason_line(200, "Consulted"))
            self._return(afresh=True)

    # --- somebody hangs up

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if self.done:
            if leg is self.referrer:
                self.referrer_left()
                self.finish()
            return
        if self._pair is not None:
            if leg is self.referrer:
                self.referrer_left()
            if leg in self._pair:
                self._end()
            return
        if leg is self.referrer:
            self._asker_left()
        elif leg is self.target:
            self._target_left()
        elif leg is self.kept and self.waits:
            self._kept_left()

    def _asker_left(self) -> None:
        self.referrer_left()
        target, search = self.target, self.search
        if search is not None and self.waits:
            self._hand_over(search)
        elif search is not None:
            self.search = None
            search.give_up("Cancelled by the caller", "")
            search.close()
            self._end()
        elif target is not None and self.waits:
            self._drop_join()
            target.free()
            self._bring_together(self.kept, target, ATTENDED)
        else:
            self._end()

    def _target_left(self) -> None:
        self.target = None
        self._drop_join()
        referrer = self.referrer
        if self.state == COMPLETES:
            self.tell(487)
        if not self.waits or referrer is None:
            self._end()
            return
        referrer.free()
        self._return(afresh=True)

    def _kept_left(self) -> None:
        self.waits = False
        self._stop_hold()
        if self.search is not None:
            return
        referrer, target = self.referrer, self.target
        if self.state == COMPLETES and referrer is not None and target is not None:
            # What the one was told of the other must be told anew.
            self._drop_join()
            self.tell(487)
            self._again(target)
        elif self.join is None:
            self._end()

    def stop(self, ending: Passage) -> None:
        """See `Transfer`."""
        search, self.search = self.search, None
        if search is not None:
            search.give_up("Call ended", "")
            search.close()
        self._stop_hold()
        super().stop(ending)
        self.done = True

    # --- they are brought together

    def _return(self, afresh: bool = False) -> None:
        """The two first ones talk again. `afresh`: the one who asked has talked with somebody else
        meanwhile."""
        kept, referrer = self.kept, self.referrer
        assert referrer is not None
        if not kept.up or not referrer.up:
            return
        hold = self.hold
        if not afresh and hold is not None and hold.refused:
            # Nothing has changed for them.
            self._stop_hold()
            self.call.begin_again(kept, referrer, RETURNED, self.by)
            self._end()
            return
        known = hold.known if hold is not None else kept.session.theirs
        self._bring_together(kept, referrer, RETURNED, None if afresh else known)

    def _bring_together(
        self, first: Leg, second: Leg, how: str, known: bytes | None = None
    ) -> None:
        """These two talk from now on. `known`: what the second knows of the first already."""
        self._stop_hold()
        self._pair = first, second
        self.state = JOINS
        talk = self.call.begin_talk(first, second, how, self.by)
        self._rejoin(talk, known)

    def _rejoin(self, talk: Talk, known: bytes | None = None) -> None:
        first, second = talk.first, talk.second
        if talk.anchor is not None and talk.anchor.placed:
            talk.anew()
            self._joined()
            return
        talk.joining = True
        join = self.join = Join(self.call, first, second, self._joined, self._not_joined)
        if known:
            join.answered(opened(known))
        else:
            join.afresh()

    def _joined(self) -> None:
        self.join = None
        pair, referrer = self._pair, self.referrer
        leg = pair[0] if pair is not None else referrer
        talk = leg.talk if leg is not None else None
        over = pair is not None or not self.waits
        if over:
            self._end()
        if isinstance(talk, Talk):
            talk.joined()
        if not self.call.over:
            self.call.changed()

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        """The two are connected and do not hear each other."""
        self.join = None
        pair, referrer = self._pair, self.referrer
        one = pair[0] if pair is not None else referrer
        talk = one.talk if one is not None else None
        if isinstance(talk, Talk) and talk.mix(status):
            self._joined()
            return
        if leg is referrer and status in GONE and self._may_return():
            self.call.let_go(referrer, reason, reason_line(status, reason))
            return
        if self._returns(status, reason):
            return
        self._end()
        if isinstance(talk, Talk):
            self.call.hang_up_talk(talk, reason)

    def _may_return(self) -> bool:
        """Whether there is somebody who waits for the one who consults."""
        pair, target, referrer = self._pair, self.target, self.referrer
        return pair is None and self.waits and target is not None and referrer is not None

    def _returns(self, status: int, reason: str) -> bool:
        """Who was consulted cannot be: back to who waits, if somebody does."""
        target = self.target
        if target is None or not self._may_return():
            return False
        self.target = None
        self.call.let_go(target, reason, reason_line(status, reason))
        self._return(afresh=True)
        return True

    def unheard(self, talk: Talk, reason: str) -> bool:
        """See `Transfer`."""
        consults = self.referrer is not None and self.referrer.talk is talk
        return not self.done and consults and self._returns(488, reason)

    def _completed(self) -> None:
        self.join = None
        self._stop_hold()
        target, referrer = self.target, self.referrer
        assert target is not None
        if target.talk is not None:
            target.talk.end()
        self.target = None
        self.call.begin_talk(self.kept, target, ATTENDED, self.by)
        if referrer is not None:
            referrer.free()
        self.worked()
        self.finish()

    def _not_completed(self, leg: Leg, status: int, reason: str) -> None:
        """The two others cannot be brought together; the one who asked is still there."""
        self.join = None
        self.tell(status)
        target, referrer = self.target, self.referrer
        if target is None or referrer is None:
            return
        if leg is target and status in GONE:
            self.target = None
            self.call.let_go(target, reason, reason_line(status, reason))
            self._return(afresh=True)
            return
        if leg is self.kept and status in GONE:
            self.waits = False
            self._stop_hold()
            self.call.let_go(self.kept, reason, reason_line(status, reason))
        self._again(target)

    def _again(self, target: Leg) -> None:
        """The consultation goes on."""
        self.state = TALKS
        self.call.changed()
        music = self.call.core.music is not None
        if self.waits and (music or not is_held(self.kept.session.ours)):
            # It has heard of the other one already, or has not been told yet that it waits.
            self._stop_hold()
            self._hold_on()
        if isinstance(target.talk, Talk):
            self._rejoin(target.talk)

    # --- over a restart

    def goes_on(self, state: str, target: Leg) -> None:
        """As it was in the process before; `resumed` follows once the call goes on."""
        self.state, self.target = state, target

    def joins(self) -> None:
        """The same, of two who were being brought together: `kept` and `referrer`."""
        referrer, self.referrer = self.referrer, None
        assert referrer is not None
        self.state = JOINS
        self._pair = self.kept, referrer

    def resumed(self) -> None:
        """What was under way is done once more."""
        if self._pair is not None:
            talk = self._pair[0].talk
            if isinstance(talk, Talk):
                self._rejoin(talk)
            else:
                self._end()
            return
        target = self.target
        assert target is not None
        if not isinstance(target.talk, Talk):
            self._end()
        elif self.state == COMPLETES:
            self.state = TALKS
            self.complete()
        elif self.state == FOUND:
            self._again(target)

    # --- the end

    def _hand_over(self, search: Search) -> None:
        self.search = None
        self._stop_hold()
        self.done = True
        self.consulting.hand_over(self, search)
        self._end()

    def _drop_join(self) -> None:
        if self.join is not None:
            self.join.abandon()
            self.join = None

    def _stop_hold(self) -> None:
        hold, self.hold = self.hold, None
        if hold is not None:
            hold.stop()

    def _end(self) -> None:
        self._drop_join()
        self._stop_hold()
        self.done = True
        self.referrer = None
        self.target = None
        self._pair = None
        self.finish()
