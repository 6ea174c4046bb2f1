"""A call that the switch places: it rings who has asked for it, and on behalf of that one, when it
has answered, whom it wanted (call completion, ITU-T Q.733.3 and Q.733.5; RFC 3725 flow IV).

No leg came in. The caller is told as such a leg all the same, the passage's own: each of its phones
is rung by a leg, and the one that answers is the caller's from then on.

The caller is asked for an offer, so that codecs are those of phones. A phone that wants one itself
gets one of which nothing is heard; then whom it wanted is asked. What the caller says is answered
at once, with nothing to be heard: whom it wanted may ring for longer than an answer can wait.
"""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.call import Call
from softswitch.calls.core import Caller, Core
from softswitch.calls.destination import Destination
from softswitch.calls.headers import SDP_LINE, reason_line
from softswitch.calls.leg import DIALLED, INVITING, Leg
from softswitch.calls.records import CallRecord
from softswitch.calls.search import Search, Unheard
from softswitch.calls.transfer import BlindTransfer
from softswitch.dialplan import Route, Target
from softswitch.sip import Response, Session, Timer, held, opened, readable

REACHED: Final = 0
CALLER_BUSY: Final = 1
CALLEE_BUSY: Final = 2
NOTHING: Final = 3
"""What a call came to: the two talked, one of them was busy, or anything else."""

_ELSEWHERE: Final = 'Reason: SIP;cause=200;text="Call completed elsewhere"\r\n'
_NO_ANSWER: Final = 'Reason: Q.850;cause=19;text="No answer"\r\n'
_NO_OFFER: Final = outcome.NOT_ACCEPTABLE | {400, 406, 500, 501}
"""What phones say to an INVITE without an offer that know none."""
_AS_THE_CALLER: Final = "Answered As The Caller"


def in_use(leg: Leg) -> bool:
    """Whether it takes a line of its phone."""
    return leg.up or leg.state == INVITING


def silent(call_id: str) -> bytes:
    """An offer of which nothing is heard (RFC 3725 §5, with RFC 3264 §8.4's word for it)."""
    number = int(call_id.replace("-", "")[:12], 16)
    return (
        f"v=0\r\no=- {number} 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
        "m=audio 9 RTP/AVP 9 8 0 18 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        "a=fmtp:101 0-15\r\na=inactive\r\n"
    ).encode()


class Errand:
    """Who has such a call placed."""

    def reached(self) -> None:
        """The two talk."""
        raise NotImplementedError

    def over(self, came_to: int) -> None:
        """The call is over."""
        raise NotImplementedError


class Recall(Unheard):
    """The phones of the caller ring. Each has a search of its own, so that one which wants an offer
    can be rung again while the others ring. `shown` is whom they show, `party` its party."""

    __slots__ = ("_best", "_call", "_rung", "_timer", "party", "route", "shown")

    def __init__(self, call: CompletingCall, route: Route, party: str, shown: Caller) -> None:
        self._call = call
        self._best = (0, "")
        self._rung: dict[Search, Destination] = {}
        self._timer: Timer | None = None
        self.route = route
        self.party = party
        self.shown = shown

    def ring(self, destinations: list[Destination], seconds: float) -> None:
        """Ring these, whose lines are taken, for so long."""
        self._timer = self._call.core.timers.after(seconds, self._rang_out)
        for destination in destinations:
            self._ring(destination, b"")

    def _ring(self, destination: Destination, offer: bytes) -> None:
        call = self._call
        settings = call.core.settings
        content = SDP_LINE if offer else ""
        hops = settings.max_forwards
        search = Search(call, self, self.party, self.shown, offer, content, hops)
        # The caller is wanted, not whom its phone would have called instead.
        search.redirects = settings.max_redirects
        self._rung[search] = destination
        search.ring_at([destination])

    def inviting(self) -> list[Leg]:
        """The legs that may still answer."""
        return [leg for search in self._rung for leg in search.inviting()]

    def stop(self, reason: str, line: str) -> None:
        """Nobody is rung any more. `reason` is for the record, `line` header lines for them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rung, self._rung = self._rung, {}
        for search in rung:
            search.give_up(reason, line)
            search.close()

    def _rang_out(self) -> None:
        self._timer = None
        self.stop("No answer", _NO_ANSWER)
        self._call.not_recalled(480, "No Answer")

    # what its searches say (`search.SearchUser`)

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """A phone was answered: it is the caller's."""
        del self._rung[search]
        search.won_by(leg)
        self.stop("Answered elsewhere", _ELSEWHERE)
        self._call.recalled(self.route, leg, response, search.offer)

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """A phone does not take it."""
        destination = self._rung.pop(search)
        search.close()
        call = self._call
        again = status in _NO_OFFER and not search.offer
        if again and call.core.line_counts.take(destination.line, call):
            self._ring(destination, silent(call.call_id))
            return
        if not self._best[0] or outcome.better(self._best[0], status):
            self._best = status, reason
        if not self._rung:
            self.stop("", "")
            call.not_recalled(*self._best)

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """No route is followed to the caller."""


class OnBehalf(BlindTransfer):
    """Whom the caller wanted is rung. `silent`: the caller was made an offer of which nothing is
    heard, so what it says itself is but a part of what it can."""

    __slots__ = ("_route", "_silent", "_turned")

    def __init__(
        self, call: CompletingCall, kept: Leg, number: str, route: Route, silent: bool
    ) -> None:
        super().__init__(call, None, call.party, kept, number, DIALLED)
        self._route = route
        self._silent = silent
        self._turned = False  # whether it was tried the other way round

    def go(self) -> None:
        """Find it."""
        self._search(b"" if self._silent else opened(self.kept.session.theirs))

    def _search(self, offer: bytes) -> None:
        call = self.call
        content = SDP_LINE if offer else ""
        hops = call.core.settings.max_forwards
        self.search = search = Search(call, self, call.party, call.identity, offer, content, hops)
        search.take(self._route)

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """See `BlindTransfer`."""
        self.search = None
        call = self.call
        assert isinstance(call, CompletingCall)
        self.found_leg = leg
        call.answered = True
        call.answered_at = call.core.timers.clock()
        answered = self.meet(search, self.kept, leg, response, leg.how, leg.by or self.by)
        self.done = True
        call.reached(answered, leg, response)

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """See `BlindTransfer`."""
        self.search = None
        search.close()
        refused = status in (_NO_OFFER if not search.offer else outcome.NOT_ACCEPTABLE)
        if refused and not self._turned:
            # Who says first what it can may be the other one.
            self._turned = True
            offer = b"" if search.offer else opened(self.kept.session.theirs)
            if offer or search.offer:
                self._search(offer)
                return
        self._nothing(status, reason, by)

    def failed(self, status: int, reason: str) -> None:
        """See `BlindTransfer`."""
        self._nothing(status, reason, "switch")

    def _nothing(self, status: int, reason: str, by: str) -> None:
        call = self.call
        assert isinstance(call, CompletingCall)
        self.done = True
        call.not_reached(self.to, status, reason, by)

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """See `BlindTransfer`."""
        self.failed(403, "Nobody To Call")


class CompletingCall(Call):
    """`errand` has it placed (None: a process before), as if its caller had `dialled` a number.
    `recall` is there while phones of the caller ring, and `came_to` what it has come to."""

    __slots__ = ("came_to", "dialled", "errand", "recall")

    def __init__(
        self, core: Core, call_id: str, owner: str, origin: bool, party: str, identity: Caller
    ) -> None:
        super().__init__(core, call_id, owner, origin, party, identity)
        self.came_to = NOTHING
        self.dialled = ""
        self.errand: Errand | None = None
        self.recall: Recall | None = None

    @classmethod
    def placed(
        cls,
        core: Core,
        call_id: str,
        owner: str,
        caller: str,
        callee: str,
        number: str,
        errand: Errand,
    ) -> CompletingCall:
        """The call of the extension `caller`, which has dialled `number` and meant the extension
        `callee`."""
        party = f"extension:{caller}"
        call = cls(core, call_id, owner, True, party, core.parties.named(party, caller))
        call.base = core.numbers.base(call_id)
        call.number = core.numbers.next(call_id)
        call.dialled, call.errand = number, errand
        core.adopt(call, 0, 1)
        call._begin(caller, callee)
        return call

    def _begin(self, caller: str, callee: str) -> None:
        """Tell that it exists, and ring who has asked for it."""
        core, number = self.core, self.dialled
        started = self.tell_start(number, self.party)
        route = core.route(number, core.parties.source_of(self.party))
        if route is None or not route.action.stages:
            self.fail(404, "No Route")
            return
        routed = self.tell_route(route, route.properties, route.once)
        if core.call_log is not None:
            self.said = core.call_log.begins(started, routed)
        found = core.destinations(Target("extension", caller, caller), self)
        if isinstance(found, tuple):
            # It can be rung another time.
            self.came_to = CALLER_BUSY
            self.not_recalled(*found)
            return
        if core.remembers:
            core.features.has_called(self.party, number)
        wanted = f"extension:{callee}"
        self.recall = recall = Recall(self, route, wanted, core.parties.named(wanted, number))
        recall.ring(found, core.settings.completion_ring)

    def ringing(self) -> list[Leg]:
        """See `LastingCall`."""
        legs = super().ringing()
        return legs if self.recall is None else [*self.recall.inviting(), *legs]

    def lets_take(self, leg: Leg) -> bool:
        """See `Call`: that the caller is rung is nobody else's call."""
        return self.recall is None and super().lets_take(leg)

    def record(self) -> CallRecord:
        """See `LastingCall`."""
        record = super().record()
        legs = record.legs
        if self.caller is not None and not self.answered:
            legs = legs[1:]  # it has answered, though the call is not: it was taken twice
        return msgspec.structs.replace(record, legs=legs, placed=True)

    # --- the caller

    def recalled(self, route: Route, leg: Leg, response: Response, offer: bytes) -> None:
        """A phone of the caller was answered: it is the caller's leg. `offer` is what it had."""
        self.recall = None
        self.tell_leg_ended(leg, response.status, _AS_THE_CALLER, "switch")
        leg.ended = False
        leg.index = self.number
        self.has_leg(leg, response)
        self.update = leg.updates
        self.caller = leg
        body = response.body
        session = leg.session
        answer = held(body) if body and not offer else b""
        session.theirs, session.ours = body, offer or answer
        session.ack(response.cseq, SDP_LINE if answer else "", answer)
        self.changed()
        transfer = OnBehalf(self, leg, self.dialled, route, bool(offer))
        self._add(transfer)
        transfer.go()

    def not_recalled(self, status: int, reason: str) -> None:
        """No phone of the caller was answered."""
        self.recall = None
        if status in outcome.BUSY:
            self.came_to = CALLER_BUSY
        self.fail(*outcome.for_caller(status, reason))

    def _early_partner(self, leg: Leg, mine: Session) -> tuple[Leg, Session] | None:
        """See `PlacedCall`: the caller has its answer, and hears nobody yet."""
        return None

    # --- whom it wanted

    def reached(self, answered: events.LegAnswered, leg: Leg, response: Response) -> None:
        """The two talk."""
        core = self.core
        self.update = self.update and "UPDATE" in (response.get("allow") or "")
        self.came_to = REACHED
        if self.said and core.call_log is not None:
            core.call_log.answered(answered, leg.party, self.number)
        self._watch(core.settings.session_check)
        if self.errand is not None:
            self.errand.reached()

    def not_reached(self, number: str, status: int, reason: str, by: str) -> None:
        """Whom the caller wanted has not answered."""
        if status in outcome.BUSY:
            self.came_to = CALLEE_BUSY
        if self.core.completes:
            self.core.features.has_failed(self.party, number, status)
        self.fail(status, reason, by)

    # --- the end

    def fail(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        """See `Passage`: the caller, whose phone rings or was answered, is hung up on."""
        line = reason_line(status, reason)
        self._stop_ringing(reason, line)
        for leg in list(self.legs):
            self._hang_up(leg, reason, line)
        self._end(outcome.disposition(status), status, reason, by)

    def withdraw(self, reason: str) -> None:
        """See `PlacedCall`. Whoever has answered goes on."""
        if self.caller is None:
            self.fail(487, reason)

    def _stop_ringing(self, reason: str, line: str) -> None:
        recall, self.recall = self.recall, None
        if recall is not None:
            recall.stop(reason, line)

    def _end(self, disposition: str, status: int, reason: str, by: str) -> None:
        if disposition == "answered" and not self.answered:
            # Who has asked for it has hung up.
            disposition, status = "cancelled", 487
        if self.caller is None:
            self.tell(
                events.LegEnded(
                    call_id=self.call_id,
                    at=self.now_us(),
                    switch=self.switch_name,
                    leg=self.number,
                    status=status,
                    reason=reason and readable(reason, self.most),
                    by="switch",
                )
            )
        super()._end(disposition, status, reason, by)
        errand, self.errand = self.errand, None
        if errand is not None:
            errand.over(self.came_to)
