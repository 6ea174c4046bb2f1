"""A transfer: a party asks that whom it talks with talk to somebody else (REFER, RFC 3515, 5589).

Blind: the one who asks leaves the talk, and on behalf of the other somebody else is rung. Attended:
it has talked to somebody else already, in another call (Replaces, RFC 3891); the two others are
brought together, and then both its legs are over. Who asked is told what comes of it by NOTIFY
(§2.4.4), and may leave at any time; if nothing comes of it, it has its talk back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.core import Passage
from softswitch.calls.diversion import Diversion
from softswitch.calls.join import Join
from softswitch.calls.leg import Leg
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.sip import (
    REASON_PHRASES,
    SIPFRAG,
    Response,
    Session,
    Timer,
    fragment,
    opened,
    readable,
)

BLIND: Final = "blind-transfer"
ATTENDED: Final = "attended-transfer"
PARK: Final = "park"
RETURNED: Final = "returned"

STAYS: Final = 2.0
"""Seconds in which who asked may hang up itself once it has worked; then it is hung up on."""
EXPIRES: Final = 180
"""Seconds that the subscription of a REFER is said to last; it ends with what came of it."""

TRANSFERRED: Final = 'Reason: SIP;cause=200;text="Transferred"\r\n'


class Notes:
    """The NOTIFYs of one REFER, to the leg that sent it: one at a time, of several that are due
    the last. `id` is the Event's parameter, empty for the first REFER of a dialog. `session` and
    `contact` are those of a dialog of its own, if the REFER did not come in the leg's."""

    __slots__ = ("_contact", "_due", "_id", "_leg", "_sending", "_session", "_wanted", "last")

    def __init__(
        self,
        leg: Leg,
        event_id: str,
        wanted: bool,
        session: Session | None = None,
        contact: str = "",
    ) -> None:
        self._leg = leg
        self._session = session
        self._contact = contact
        self._id = event_id
        self._wanted = wanted
        self._sending = False
        self._due: tuple[int, str, bool] | None = None
        self.last = 0

    def say(self, status: int, reason: str, final: bool = False) -> None:
        """This is how it stands, and if `final` how it ended."""
        self.last = status
        if not self._wanted or not self._is_there():
            return
        if self._sending:
            self._due = status, reason, final
        else:
            self._send(status, reason, final)

    def stop(self) -> None:
        """Nobody is there to be told."""
        self._wanted = False
        self._due = None

    def left(self) -> None:
        """The leg is over: nobody is there, unless the dialog is another one."""
        if self._session is None:
            self.stop()

    def _is_there(self) -> bool:
        return self._session is not None or self._leg.up

    def _send(self, status: int, reason: str, final: bool) -> None:
        leg, session = self._leg, self._session
        self._sending = True
        state = "terminated;reason=noresource" if final else f"active;expires={EXPIRES}"
        (session or leg.session).send(
            "NOTIFY",
            f"{self._contact or leg.contact}Event: refer{self._id}\r\n"
            f"Subscription-State: {state}\r\n{SIPFRAG}",
            fragment(status, reason),
            self._answered,
        )
        if final:
            self._wanted = False

    def _answered(self, response: Response) -> None:
        if response.status < 200:
            return
        self._sending = False
        if response.status >= 300 and response.status != 500:
            # It takes none, or knows of no such subscription (any more).
            self._wanted, self._due = False, None
        due, self._due = self._due, None
        if due is not None and self._is_there():
            self._send(*due)


class Transferring(Passage):
    """A call as its transfers know it."""

    def leg_joined(self, leg: Leg, response: Response) -> events.LegAnswered:
        """A leg was answered, and belongs to the call's living ones."""
        raise NotImplementedError

    def begin_talk(self, first: Leg, second: Leg, how: str, by: str) -> Talk:
        """From now on these two talk."""
        raise NotImplementedError

    def begin_again(self, first: Leg, second: Leg, how: str, by: str) -> Talk:
        """The same of two who hear each other already."""
        raise NotImplementedError

    def hang_up_talk(self, talk: Talk, reason: str) -> None:
        """Those who talk so cannot: neither hears the other."""
        raise NotImplementedError

    def may_ring_back(self, transfer: BlindTransfer) -> bool:
        """Whether who asked for a transfer can be rung if nothing comes of it."""
        raise NotImplementedError

    def ring_back(self, transfer: BlindTransfer) -> None:
        """Ring who asked for a transfer of which nothing came."""
        raise NotImplementedError

    def return_to(self, transfer: BlindTransfer) -> bool:
        """The same for who has parked a call."""
        raise NotImplementedError

    def brought_together(self, transfer: AttendedTransfer, replaced: Leg | None) -> None:
        """The two whom somebody has talked to both are connected: their calls are one."""
        raise NotImplementedError

    def accept(self, body: bytes) -> None:
        """The caller, who has nobody to talk with yet, is answered with this description."""
        raise NotImplementedError

    def took_over(self, transfer: Transfer, response: Response) -> None:
        """Whom the caller is to talk with has answered what it had offered."""
        raise NotImplementedError

    def picked_up(self, transfer: Transfer, response: Response) -> None:
        """The caller has answered what the one who waits had offered."""
        raise NotImplementedError

    def park(self, transfer: BlindTransfer, orbit: str) -> None:
        """Who is transferred is to wait there until somebody calls that number."""
        raise NotImplementedError

    def transfer_over(self, transfer: Transfer) -> None:
        """Nothing more is to be done for it."""
        raise NotImplementedError


class Transfer:
    """`referrer` asks (None once it has left) that `kept` talk to somebody else; `by` is its party.

    Its call tells it of each of its legs that hangs up (`left`), and ends it (`stop`).
    """

    __slots__ = (
        "by",
        "call",
        "done",
        "how",
        "join",
        "kept",
        "notes",
        "referred_by",
        "referrer",
        "timer",
        "to",
    )

    def __init__(
        self, call: Transferring, referrer: Leg | None, by: str, kept: Leg, how: str, to: str
    ) -> None:
        self.call = call
        self.referrer = referrer
        self.kept = kept
        self.referred_by = ""  # that header's value
        self.how = how
        self.to = to
        self.by = by
        self.notes: Notes | None = None
        self.join: Join | None = None
        self.done = False  # it has worked; who asked may still be there
        self.timer: Timer | None = None

    def concerns(self, leg: Leg) -> bool:
        """Whether a leg takes part in it, and is in no other meanwhile."""
        return not self.done and (leg is self.kept or leg is self.referrer)

    def parts(self, leg: Leg) -> bool:
        """Whether a leg may hang up without ending what whom it talks with is in."""
        raise NotImplementedError

    def left(self, leg: Leg) -> None:
        """A leg has hung up."""
        raise NotImplementedError

    def rung(self) -> list[Leg]:
        """The legs that are rung for it."""
        return []

    def answered_alone(self, leg: Leg) -> None:
        """A leg that talks with nobody has made an offer, and was told so."""

    def stop(self, ending: Passage) -> None:
        """That call ends."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.join is not None:
            self.join.abandon()
            self.join = None
        if self.notes is not None:
            self.notes.stop()
        referrer, self.referrer = self.referrer, None
        if referrer is not None and referrer.call is not None and referrer.call is not ending:
            # It has been a leg of a call that is over already.
            referrer.call.let_go(referrer, "Transferred", TRANSFERRED)

    def meet(
        self, search: Search, first: Leg, leg: Leg, response: Response, how: str, by: str
    ) -> events.LegAnswered:
        """`leg` was found on behalf of `first`: from now on the two talk, and are brought together
        (`_joined`, `_not_joined`)."""
        search.won_by(leg)
        call = self.call
        answered = call.leg_joined(leg, response)
        talk = call.begin_talk(first, leg, how, by)
        talk.joining = True
        join = self.join = Join(call, first, leg, self._joined, self._not_joined)
        leg.session.theirs = response.body
        if search.offer:
            leg.session.ours = search.offer
            leg.session.ack(response.cseq)
            join.answered(search.offer)
        else:
            join.offered(response.cseq)
        return answered

    def _joined(self) -> None:
        """They hear each other."""
        raise NotImplementedError

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        """They cannot: by whose fault, and why."""
        raise NotImplementedError

    def say(self, status: int, reason: str, final: bool = False) -> None:
        """Tell who asked, if it is there."""
        if self.notes is not None:
            self.notes.say(status, reason, final)

    def tell(self, status: int) -> None:
        """Tell that it was asked for (0), or what came of it."""
        call, referrer = self.call, self.referrer
        if referrer is None:
            return
        event = events.LegReferred(
            call_id=call.call_id,
            at=call.now_us(),
            switch=call.switch_name,
            leg=referrer.index,
            to=readable(self.to, call.most),
            how=self.how,
            status=status,
        )
        call.tell(event)
        lines = call.core.call_log
        if call.said and lines is not None:
            lines.referred(event, self.by, call.number)

    def unheard(self, talk: Talk, reason: str) -> bool:
        """Two who talk do not hear each other even by way of a worker: whether something else
        becomes of them than that they are hung up on."""
        return False

    def worked(self) -> None:
        """Who asked is told so, and hung up on if it does not leave by itself."""
        self.done = True
        self.tell(200)
        self.say(200, "OK", final=True)
        if self.referrer is None:
            return
        if self.notes is None:
            # It has dialled a code: a phone that would hear nothing of it, and not leave.
            self.let_go()
        else:
            self.timer = self.call.core.timers.after(STAYS, self.let_go)

    def let_go(self) -> None:
        """Who asked is hung up on."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        referrer, self.referrer = self.referrer, None
        if self.notes is not None:
            self.notes.left()
        if referrer is not None and referrer.call is not None:
            referrer.call.let_go(referrer, "Transferred", TRANSFERRED)
        self.finish()

    def referrer_left(self) -> None:
        """Nobody is there to be told."""
        self.referrer = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.notes is not None:
            self.notes.left()

    def finish(self) -> None:
        """Let go of it if nothing more is to be done."""
        if self.done and self.referrer is None and self.join is None:
            self.call.transfer_over(self)


class BlindTransfer(Transfer):
    """Who asks leaves the talk, and somebody else is rung on behalf of the other.

    `begin` starts a search, with or without an offer; None: nobody is to be called like that.
    """

    __slots__ = ("begin", "found_leg", "returning", "search", "unfound", "wasfound")

    def __init__(
        self,
        call: Transferring,
        referrer: Leg | None,
        by: str,
        kept: Leg,
        to: str,
        how: str = BLIND,
    ) -> None:
        super().__init__(call, referrer, by, kept, how, to)
        self.search: Search | None = None
        self.begin: Callable[[BlindTransfer, bytes], None] | None = None
        self.found_leg: Leg | None = None
        self.returning = False
        # What is to be done with who was kept, if nobody is found, and if somebody is.
        self.unfound: Callable[[], None] | None = None
        self.wasfound: Callable[[], None] | None = None

    def start(self, begin: Callable[[BlindTransfer, bytes], None]) -> None:
        """Go and find who is asked for."""
        self.begin = begin
        begin(self, opened(self.kept.session.theirs))

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return leg is self.referrer

    def rung(self) -> list[Leg]:
        """See `Transfer`."""
        return self.search.inviting() if self.search is not None else []

    # what its search says (`search.SearchUser`)

    def who_waits(self) -> Leg | None:
        """See `search.SearchUser`."""
        return self.kept

    def trying(self, search: Search) -> None:
        """Somebody is about to be rung."""

    def rings(
        self, search: Search, leg: Leg, session: Session, response: Response, reliable: bool
    ) -> bool:
        """A provisional response."""
        status = response.status
        if self.notes is not None and status != self.notes.last:
            parties = self.call.core.parties
            if status != 181 or parties.is_ours(self.by) or not parties.is_ours(leg.party):
                self.notes.say(status, response.reason)
        return False

    def forwarded(self, search: Search, way: Diversion) -> None:
        """Somebody is rung to whom the call was forwarded."""
        notes = self.notes
        if notes is not None and notes.last != 181 and self.call.core.parties.is_ours(self.by):
            notes.say(181, REASON_PHRASES[181])

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """A leg was answered: the two talk."""
        self.search = None
        if self.wasfound is not None:
            self.wasfound()
        self.found_leg = leg
        self.meet(search, self.kept, leg, response, self.how, self.by)
        self.worked()

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """Nobody was found."""
        self.search = None
        begin, self.begin = self.begin, None
        if status in outcome.NOT_ACCEPTABLE and search.offer and begin is not None:
            # What was offered is what was left of an agreement with somebody else. Another time
            # the other side says first what it can.
            begin(self, b"")
            return
        self.failed(status, reason)

    def failed(self, status: int, reason: str) -> None:
        """Nothing came of it: who asked has its talk back, or is rung for it; who was kept is not
        left alone."""
        call, kept, referrer = self.call, self.kept, self.referrer
        self.tell(status)
        if referrer is not None and referrer.up and kept.up:
            self.say(status, reason, final=True)
            call.begin_again(kept, referrer, RETURNED, self.by)
            self._end()
        elif kept.up and not self.returning and call.may_ring_back(self):
            # Of that, too, nothing may come at once.
            self.returning = True
            self.how = RETURNED
            call.ring_back(self)
        else:
            self.say(status, reason, final=True)
            unfound = self.unfound
            self._end()
            if unfound is not None:
                unfound()
            else:
                call.left_alone(kept, status, reason)

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.referrer:
            self.referrer_left()
        if self.join is not None and (leg is self.kept or leg is self.found_leg):
            self.join.abandon()
            self.join = None
        if leg is self.kept and not self.done:
            search, self.search = self.search, None
            if search is not None:
                search.give_up("Cancelled by the caller", "")
                search.close()
            self.tell(487)
            self.say(487, "Request Terminated", final=True)
            referrer = self.referrer
            self._end()
            if referrer is not None:
                self.call.left_alone(referrer, 487, "Hung Up")
            return
        self.finish()

    def stop(self, ending: Passage) -> None:
        """See `Transfer`."""
        search, self.search = self.search, None
        if search is not None:
            search.give_up("Call ended", "")
            search.close()
        super().stop(ending)

    def _end(self) -> None:
        self.done = True
        self.referrer = None
        self.finish()

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """Its route leads to nobody, but to something that the switch does."""
        if what == PARK:
            self.call.park(self, number)
        else:
            self.failed(403, "Not By Transfer")

    def parked(self) -> None:
        """Who was kept has been parked: who asked may go."""
        self.search = None
        self.how = PARK
        self.worked()
        self.finish()

    def _joined(self) -> None:
        self.join = None
        talk = self.kept.talk
        if isinstance(talk, Talk):
            talk.joined()
        self.finish()

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        """The two are connected and do not hear each other."""
        self.join = None
        self.finish()
        talk = self.kept.talk
        if isinstance(talk, Talk) and not talk.mix(status):
            self.call.hang_up_talk(talk, reason)


class AttendedTransfer(Transfer):
    """`kept` is to talk with `target`, whom the referrer has talked with by another leg of its,
    `replaced`. Until they do nothing changes for anybody."""

    __slots__ = ("other_call", "replaced", "target")

    def __init__(
        self, call: Transferring, referrer: Leg, kept: Leg, replaced: Leg, target: Leg
    ) -> None:
        super().__init__(call, referrer, referrer.party, kept, ATTENDED, target.number)
        self.replaced: Leg | None = replaced
        self.target = target
        assert isinstance(replaced.call, Transferring)
        self.other_call: Transferring = replaced.call

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return super().concerns(leg) or (
            not self.done and (leg is self.target or leg is self.replaced)
        )

    def start(self) -> None:
        """Bring them together."""
        for leg in (self.kept, self.target):
            if isinstance(leg.talk, Talk):
                leg.talk.hush()
        join = self.join = Join(self.call, self.kept, self.target, self._joined, self._not_joined)
        join.afresh()

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return not self.done and (leg is self.referrer or leg is self.replaced)

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.referrer:
            self.referrer_left()
        if leg is self.replaced:
            self.replaced = None
        if not self.done and (leg is self.kept or leg is self.target):
            self._failed(487, "Hung Up")
            return
        self.finish()

    def stop(self, ending: Passage) -> None:
        """See `Transfer`: of one of the two calls, the other goes on."""
        if self.call is ending or self.done:
            super().stop(ending)
        else:
            # Who asked is in the call that goes on.
            if self.join is not None:
                self.join.abandon()
                self.join = None
            self.tell(480)
            self.say(480, "Hung Up", final=True)
            self.referrer = None
        self.done = True
        self.call.transfer_over(self)
        self.other_call.transfer_over(self)
        for leg in (self.kept, self.target):
            if isinstance(leg.talk, Talk) and leg.call is not ending:
                leg.talk.goes_on(leg)
        if self.call is not ending:
            self.call.left_alone(self.kept, 480, "Hung Up")
        if self.other_call is not ending:
            self.other_call.left_alone(self.target, 480, "Hung Up")
        self._as_before()

    def _as_before(self) -> None:
        for leg in (self.kept, self.target):
            if isinstance(leg.talk, Talk):
                leg.talk.as_before()

    def _joined(self) -> None:
        self.join = None
        replaced, self.replaced = self.replaced, None
        self.call.brought_together(self, replaced)

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        self.join = None
        self._failed(status, reason)

    def _failed(self, status: int, reason: str) -> None:
        """All is as it was, but for who has left meanwhile."""
        if self.join is not None:
            self.join.abandon()
            self.join = None
        self.tell(status)
        self.say(status, reason, final=True)
        self.done = True
        self.referrer = None
        call, other_call = self.call, self.other_call
        call.transfer_over(self)
        other_call.transfer_over(self)
        for leg in (self.kept, self.target):
            if isinstance(leg.talk, Talk):
                leg.talk.goes_on(leg)
        call.left_alone(self.kept, status, reason)
        other_call.left_alone(self.target, status, reason)
        self._as_before()
