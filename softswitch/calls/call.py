"""A call: its legs, the search for who answers it, the talks of those who have.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from softswitch.calls.aside import Aside
from softswitch.calls.codes import BACK, COMPLETE, CONSULT, PAUSE, RECORD
from softswitch.calls.consultation import Consultation
from softswitch.calls.core import Caller, Core, Member
from softswitch.calls.diversion import came_with
from softswitch.calls.early import takes_reliable
from softswitch.calls.headers import SDP_LINE, contact_line, content_lines
from softswitch.calls.leg import INVITING, Heard, Leg
from softswitch.calls.merging import MergingCall
from softswitch.calls.onward import Onward
from softswitch.calls.paging import Page, Paged, Paging, Wanted
from softswitch.calls.parked import Parked
from softswitch.calls.passing import Passed, any_in, passed
from softswitch.calls.search import Search
from softswitch.calls.summons import BEING_TRANSFERRED, Summons, Waiting, ring
from softswitch.calls.takeover import PICKUP, Pickup, Takeover
from softswitch.calls.talk import Talk
from softswitch.calls.transfer import (
    ATTENDED,
    PARK,
    TRANSFERRED,
    AttendedTransfer,
    BlindTransfer,
    Notes,
    Transfer,
    Transferring,
)
from softswitch.dialplan import Action, Source, Stage, Stages, Target
from softswitch.sip import (
    BadRefer,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Refer,
    Replaces,
    Request,
    Response,
    Session,
    opened,
    parse_uri,
    read_refer,
    read_replaces,
)


class Call(MergingCall):
    """One passage of a call through this switch, whose parties may change."""

    __slots__ = ()

    @classmethod
    def received(
        cls,
        core: Core,
        call_id: str,
        owner: str,
        origin: bool,
        source: Source,
        identity: Caller,
        request: Request,
        transaction: InviteServer,
        flow: Flow,
    ) -> Call:
        """The call that an INVITE makes.

        Raises ValueError if it cannot make a dialog (Contact, Record-Route).
        """
        dialog = Dialog.from_request(request, core.tokens.token(), flow)
        party = str(source)
        call = cls(core, call_id, owner, origin, party, identity)
        call.base = core.numbers.base(call_id)
        call.number = core.numbers.next(call_id)
        session = Session(core, dialog)
        session.nat = source.kind == "extension"
        if core.accounts:
            session.account = core.accounts.get(party)
        session.theirs = request.body
        call.caller = leg = Leg(call, call.number, party, identity.number, session, True)
        leg.between = source.switch
        leg.refers = core.parties.may_refer(party)
        leg.incoming = transaction
        leg.contact = call.response_head(request, flow)
        transaction.to_tag = dialog.local_tag
        transaction.user = leg
        call.update = "UPDATE" in (request.get("allow") or "")
        call.search = search = Search(
            call,
            call,
            party,
            identity,
            request.body,
            content_lines(request) if request.body else "",
            int(request.get("max-forwards") or core.settings.max_forwards) - 1,
        )
        headers = request.headers
        if not request.body and "supported" in headers:
            search.answers_early = takes_reliable(request, core.parties.may_prack(party))
        if any_in(headers) or core.passes_more:
            search.passed = passed(request, core.parties.passes(party), core.settings.max_passed)
        if source.kind == "trunk" and ("diversion" in headers or "history-info" in headers):
            limits = core.settings
            search.came = came_with(request, source.switch, limits.max_redirects, limits.max_text)
        core.remember(leg)
        return call

    # --- transfers

    def referred(
        self,
        leg: Member,
        request: Request,
        transaction: NonInviteServer,
        outside: Flow | None = None,
    ) -> None:
        """A party asks that whom it talks with talk to somebody else (REFER). `outside`: the
        request came by it, and not within the leg's dialog (RFC 4538)."""
        assert isinstance(leg, Leg)
        if not leg.refers:
            transaction.respond(405, extra=leg.allow_line(self.update))
            return
        try:
            refer = read_refer(request)
            session = self._subscribed(leg, request, outside) if outside is not None else None
        except BadRefer as error:
            transaction.respond(error.status, error.reason)
            return
        kept = leg.talk.other(leg) if leg.talk is not None else None
        if kept is not None and (kept.session.ack_for or leg.session.ack_for):
            # What one of them has offered in a 2xx is not answered yet.
            transaction.respond(491)
            return
        if kept is None or self._busy(leg) or self._busy(kept):
            transaction.respond(491 if self.answered and leg.up else 481)
            return
        if self._transferred >= self.core.settings.max_transfers:
            transaction.respond(403, "Transferred Too Often")
            return
        transfer: BlindTransfer | AttendedTransfer
        begin = self._begin_search
        if refer.replaces is None:
            transfer = BlindTransfer(self, leg, leg.party, kept, refer.number)
        else:
            try:
                found = self._replaced(leg, refer)
            except BadRefer as error:
                transaction.respond(error.status, error.reason)
                return
            if found is None:
                transfer = BlindTransfer(self, leg, leg.party, kept, refer.number, ATTENDED)
                begin = partial(self._begin_elsewhere, refer)
            elif found.up:
                assert found.talk is not None
                target = found.talk.other(found)
                assert target is not None
                transfer = AttendedTransfer(self, leg, kept, found, target)
            else:
                # Whom it has called rings yet: it rings on for the one who is kept.
                number = _dialled(found) or refer.number
                transfer = BlindTransfer(self, leg, leg.party, kept, number)
                assert isinstance(found.call, Call)
                found.call.withdraw("Transferred")
        transfer.referred_by = refer.referred_by
        self._transferred += 1
        within = session is None
        event_id = f";id={request.cseq}" if within and self._transferred > 1 else ""
        sub = "" if refer.wants_notes else "Refer-Sub: false\r\n"
        contact = leg.contact if outside is None else contact_line(outside, request.uri)
        tag = session.dialog.local_tag if session is not None else ""
        transaction.respond(202, to_tag=tag, extra=contact + sub)
        transfer.notes = Notes(leg, event_id, refer.wants_notes, session, contact)
        transfer.say(100, "Trying")
        if isinstance(transfer, AttendedTransfer):
            self._begin_together(transfer, transfer.other_call)
            transfer.tell(0)
            transfer.start()
        else:
            self._add(transfer)
            transfer.tell(0)
            assert leg.talk is not None
            leg.talk.end()
            kept.free()
            transfer.start(begin)

    def _subscribed(self, leg: Leg, request: Request, flow: Flow) -> Session:
        """The dialog that a REFER has made itself (RFC 3515 §2.4.4). Raises BadRefer."""
        try:
            dialog = Dialog.from_request(request, self.core.tokens.token(), flow)
        except ValueError as error:
            raise BadRefer(400, "Bad Contact Or Record-Route") from error
        session = Session(self.core, dialog)
        session.nat = leg.session.nat
        return session

    def _replaced(self, leg: Leg, refer: Refer) -> Leg | None:
        """The other leg of the one who transfers; None: it is at another of our switches. Raises
        BadRefer."""
        assert refer.replaces is not None
        other = self._leg_of(refer.replaces)
        if other is None:
            if self.core.parties.switch_at(refer.uri):
                return None
            raise BadRefer(481, "No Such Dialog To Replace")
        if other is leg or other.talk is leg.talk or other.party != leg.party:
            raise BadRefer(403, "Not Yours To Replace")
        if other.state == INVITING and other.came_in and isinstance(other.call, Call):
            return other
        if not other.up or other.talk is None or other.talk.other(other) is None:
            raise BadRefer(481, "Nobody There To Talk With")
        if refer.replaces.early_only:
            raise BadRefer(486, "Answered Already")
        target = other.talk.other(other)
        if self._busy(other) or (target is not None and self._busy(target)):
            raise BadRefer(491, "Being Transferred")
        return other

    def _busy(self, leg: Leg) -> bool:
        """Whether a leg takes part in a transfer that is under way."""
        if isinstance(leg.talk, Talk) and leg.talk.joining:
            return True
        call = leg.call
        assert isinstance(call, Call)
        return any(transfer.concerns(leg) for transfer in call.transfers or ())

    def _begin_search(self, transfer: BlindTransfer, offer: bytes) -> None:
        """Find whom a transfer asks for, by the dialplan as the one who asks could have called."""
        core = self.core
        route = core.route(transfer.to, core.parties.source_of(transfer.by))
        if route is None:
            transfer.failed(404, "No Route")
            return
        search = self._search_for(transfer, offer)
        search.take(route)

    # --- applications (`softswitch.applications`)

    def go_on(
        self,
        application: Leg,
        action: Action,
        came_to_nothing: Callable[[int, str], None],
    ) -> None:
        """Who talks with an application is to go on in the dialplan. Unless that leads to somebody,
        the two still talk, and `came_to_nothing` is told why."""
        talk = application.talk
        kept = talk.other(application) if talk is not None else None
        if self.over:
            return
        if kept is None or self._busy(kept) or kept.session.ack_for or application.session.ack_for:
            came_to_nothing(491, BEING_TRANSFERRED)
            return
        if self._transferred >= self.core.settings.max_transfers:
            came_to_nothing(403, "Went On Too Often")
            return
        self._transferred += 1
        onward = Onward(self, kept, application, came_to_nothing)
        self._add(onward)
        onward.start(partial(self._act, action))

    def _act(self, action: Action, transfer: BlindTransfer, offer: bytes) -> None:
        search = self._search_for(transfer, offer)
        search.act(action)

    def summon(self, application: Leg, stages: Stages, timeout: float, waiting: Waiting) -> bool:
        """Ring these for who talks with the application of a queue, which is heard until one of
        them answers; whether that can be just now. `waiting` is told what comes of it, which may be
        at once."""
        talk = application.talk
        kept = talk.other(application) if talk is not None else None
        if self.over or kept is None or self._busy(kept) or not kept.up:
            return False
        if kept.session.ack_for or application.session.ack_for:
            return False
        summons = Summons(self, kept, application, stages, timeout, waiting)
        self._add(summons)
        summons.start(self._ring_summoned)
        return True

    def _ring_summoned(self, transfer: BlindTransfer, offer: bytes) -> None:
        ring(transfer, self._search_for(transfer, offer))

    def withdraw_summons(self, application: Leg) -> None:
        """Nobody is to be rung any more for who talks with that one."""
        for transfer in list(self.transfers or ()):
            if isinstance(transfer, Summons) and transfer.application is application:
                transfer.withdraw()

    def page(
        self,
        application: Leg,
        wanted: Sequence[Wanted],
        lines: str,
        timeout: float,
        paging: Paging,
    ) -> bool:
        """Call these phones, with these header lines and for so many seconds, for who talks with
        the application of a page; whether that can be just now. `paging` is told what comes of
        it, which may be at once."""
        talk = application.talk
        kept = talk.other(application) if talk is not None else None
        if self.over or kept is None or self._busy(kept) or not kept.up:
            return False
        own = kept.index == self.number
        identity = self.identity if own else self.core.parties.named(kept.party, kept.number)
        page = Page(self, kept, application, identity, lines, timeout, paging)
        self._add(page)
        page.start(wanted)
        return True

    def end_page(self, application: Leg) -> None:
        """All phones that hear who talks with that one are hung up on."""
        for transfer in list(self.transfers or ()):
            if isinstance(transfer, Page) and transfer.application is application:
                transfer.end()

    def application_lost(self, application: Leg, otherwise: Action | None, why: str) -> None:
        """A worker has died, and the leg of its application with it: whom it talked with goes on
        with what the route says then (None: it is hung up on)."""
        if isinstance(application, Aside):
            if application.owner is not None:
                application.owner.lost(application)
            return
        talk = application.talk
        kept = talk.other(application) if talk is not None else None
        if talk is not None:
            talk.end()
        self.leg_ended(application, application.status, why, "switch")
        application.close()
        if application in self.legs:
            self.legs.remove(application)
        for transfer in list(self.transfers or ()):
            transfer.left(application)
        if kept is None:
            # It was alone, as somebody is rung for it.
            if not self.legs and not self.over:
                self._end("answered", 200, why, self._by or "switch")
            elif not self.over:
                self.changed()
            return
        kept.free()
        if self._busy(kept):
            self.changed()
            return
        self._by = self._by or "switch"
        if otherwise is None:
            self.left_alone(kept, 503, why)
            return
        onward = Onward(self, kept, None, _nothing)
        self._add(onward)
        onward.start(partial(self._act, otherwise))

    def _search_for(self, transfer: BlindTransfer, offer: bytes) -> Search:
        kept = transfer.kept
        identity = (
            self.identity
            if kept.index == self.number
            else self.core.parties.named(kept.party, kept.number)
        )
        content = SDP_LINE if offer else ""
        hops = self.core.settings.max_forwards
        transfer.search = search = Search(
            self,
            transfer,
            kept.party,
            identity,
            offer,
            content,
            hops,
            transfer.by if transfer.by != kept.party else "",
        )
        text = transfer.referred_by
        if text and len(text) <= self.most and text.isascii() and text.isprintable():
            search.passed = [Passed("referred-by", f"Referred-By: {text}\r\n")]
        return search

    # --- codes dialled within a call (`softswitch.calls.codes`)

    def heeds(self, leg: Member, what: str) -> bool:
        """Whether a leg may dial that code just now."""
        assert isinstance(leg, Leg)
        if self.over or not self.answered:
            return False
        if what in (COMPLETE, BACK):
            return self._consulted_by(leg) is not None
        kept = leg.talk.other(leg) if leg.talk is not None else None
        return (
            kept is not None
            and not (kept.session.ack_for or leg.session.ack_for)
            and not (self._busy(leg) or self._busy(kept))
            and self._transferred < self.core.settings.max_transfers
        )

    def _record_by_code(self, talk: Heard, what: str) -> None:
        """A party wants this talk, and those that follow, to be recorded; or not just now."""
        recorded = self.core.recorded
        if not isinstance(talk, Talk):
            return
        anchor = talk.anchor
        if what == RECORD:
            if recorded is None:
                return
            self.be_recorded()
            talk.pause(False)
            self.record_talk(talk)
        elif anchor is not None and (anchor.recorded or anchor.taps):
            talk.pause(not anchor.paused)

    def _consulted_by(self, leg: Leg) -> Consultation | None:
        """The consultation of a leg, if somebody waits for what comes of it."""
        for one in self.consultations():
            if one.referrer is leg and one.holds:
                return one
        return None

    def dialled_code(self, leg: Member, what: str, number: str) -> None:
        """A leg has dialled that code, and the number that follows it, if one does."""
        assert isinstance(leg, Leg)
        if what in (COMPLETE, BACK):
            consultation = self._consulted_by(leg)
            if consultation is not None and what == COMPLETE:
                consultation.complete()
            elif consultation is not None:
                consultation.back()
            return
        talk = leg.talk
        kept = talk.other(leg) if talk is not None else None
        if talk is None or kept is None:
            return
        if what in (RECORD, PAUSE):
            self._record_by_code(talk, what)
            return
        self._transferred += 1
        if what == CONSULT:
            consultation = Consultation(self, leg, kept, number)
            self._add(consultation)
            talk.end()
            kept.free()
            leg.free()
            consultation.start()
            return
        transfer = BlindTransfer(self, leg, leg.party, kept, number)
        self._add(transfer)
        transfer.tell(0)
        talk.end()
        kept.free()
        transfer.start(self._begin_search)

    def consult(self, consultation: Consultation, offer: bytes) -> None:
        """Find whom the one who asks has dialled, with or without an offer."""
        core, asks = self.core, consultation.referrer
        assert asks is not None
        route = core.route(consultation.to, core.parties.source_of(consultation.by))
        if route is None:
            consultation.came_to_nothing(404, "No Route")
            return
        own = asks.index == self.number
        identity = self.identity if own else core.parties.named(asks.party, asks.number)
        content = SDP_LINE if offer else ""
        hops = core.settings.max_forwards
        consultation.search = search = Search(
            self, consultation, asks.party, identity, offer, content, hops, consultation.by
        )
        search.take(route)

    def hand_over(self, consultation: Consultation, search: Search) -> None:
        """Who rings yet rings for the one who waits from now on."""
        kept, asks = consultation.kept, consultation.referrer
        transfer = BlindTransfer(self, asks, consultation.by, kept, consultation.to)
        transfer.search, transfer.begin = search, self._begin_search
        search.user, search.party = transfer, kept.party
        self._add(transfer)
        transfer.tell(0)
        transfer.referrer = consultation.referrer = None
        if asks is not None:
            self.let_go(asks, "Transferred", TRANSFERRED)

    def _begin_elsewhere(self, refer: Refer, transfer: BlindTransfer, offer: bytes) -> None:
        """The dialog that is to be replaced is at another of our switches."""
        name = self.core.parties.switch_at(refer.uri)
        search = self._search_for(transfer, offer)
        found = self.core.destinations(Target("trunk", name, refer.number), self)
        replaces = refer.replaces
        if isinstance(found, tuple) or replaces is None:
            search.refuse(*(found if isinstance(found, tuple) else (481, "")))
            return
        for destination in found:
            destination.lines = (
                f"Replaces: {replaces.call_id};to-tag={replaces.to_tag}"
                f";from-tag={replaces.from_tag}\r\nRequire: replaces\r\n"
            )
        search.ring_at(found)

    def return_to(self, transfer: BlindTransfer) -> bool:
        """Ring who has parked a call; whether that can be."""
        if not self.may_ring_back(transfer):
            return False
        self._add(transfer)
        self.ring_back(transfer)
        return True

    def may_ring_back(self, transfer: BlindTransfer) -> bool:
        """Whether who asked for a transfer can be rung if nothing comes of it."""
        return self.core.settings.ring_back > 0 and transfer.by.startswith("extension:")

    def ring_back(self, transfer: BlindTransfer) -> None:
        """Ring who asked for a transfer of which nothing came."""
        seconds = self.core.settings.ring_back
        name = transfer.by.partition(":")[2]
        search = self._search_for(transfer, opened(transfer.kept.session.theirs))
        search.ring((Stage((Target("extension", name, name),)),), seconds, None)

    def transfer_over(self, transfer: Transfer) -> None:
        """Nothing more is to be done for it."""
        if self.transfers is not None and transfer in self.transfers:
            self.transfers.remove(transfer)
        rename, self._rename = self._rename, None
        if rename is not None and not self.over:
            self.renamed(*rename)

    # --- what the switch itself does, by the dialplan (`search.SearchUser`)

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """The route of the caller leads to nobody, but to something that the switch does."""
        if what == PICKUP:
            self._pick_up_at(number)
        elif what == PARK:
            self._retrieve(number)
        else:
            super().do(search, what, argument, number)

    def _pick_up_at(self, number: str) -> None:
        """The caller wants what rings at an extension; at anybody of its groups, if empty."""
        leg = self.core.ringing(self.party, number)
        if isinstance(leg, Leg):
            self._pick_up(leg)
        else:
            self.fail(404, "Nothing Rings There")

    def park(self, transfer: BlindTransfer, orbit: str) -> None:
        """Who is transferred is to wait there until somebody calls that number."""
        if orbit in self.core.orbits:
            transfer.failed(486, "Somebody Is Parked There")
            return
        if transfer.kept.party.startswith("application:"):
            # It would wait there for ever.
            transfer.failed(403, "Nobody To Park")
            return
        parked = Parked(self, transfer.kept, orbit, transfer.by)
        self._add(parked)
        parked.start()
        transfer.parked()

    def park_again(self, kept: Leg, orbit: str, by: str) -> None:
        """Who wanted a parked one does not have it: it waits on."""
        if kept.up and kept.talk is None and orbit not in self.core.orbits and not self.over:
            parked = Parked(self, kept, orbit, by)
            self._add(parked)
            parked.start()
        else:
            self.left_alone(kept, 480, "Not Retrieved")

    def _retrieve(self, orbit: str) -> None:
        """The caller wants who is parked there."""
        parked = self.core.orbits.get(orbit)
        caller = self.caller
        assert caller is not None
        if not isinstance(parked, Parked):
            self.fail(404, "Nobody Is Parked There")
            return
        takeover = Takeover(self, caller, parked.kept, None, PARK)
        other = takeover.other_call
        assert isinstance(other, Call)
        takeover.again = partial(other.park_again, parked.kept, orbit, parked.by)
        self._begin_together(takeover, takeover.other_call)
        parked.taken()
        takeover.start()

    # --- somebody calls to take a place in a call

    def replace(self, request: Request, dialled: str) -> None:
        """The INVITE is to replace a dialog that there is (RFC 3891)."""
        self._tell_start(request, dialled)
        try:
            values = request.headers["replaces"]
            if len(values) != 1:
                raise BadRefer(400, "Bad Replaces")
            leg = self._to_replace(read_replaces(values[0]))
        except BadRefer as error:
            self.fail(error.status, error.reason)
            return
        caller = self.caller
        assert caller is not None
        if leg.up:
            kept = leg.talk.other(leg) if leg.talk is not None else None
            assert kept is not None
            takeover = Takeover(self, caller, kept, leg, ATTENDED)
            self._begin_together(takeover, takeover.other_call)
            takeover.start()
        else:
            self._pick_up(leg)

    def _to_replace(self, replaces: Replaces) -> Leg:
        """The leg of that dialog. Raises BadRefer."""
        leg = self._leg_of(replaces)
        if leg is None or leg.call is None:
            raise BadRefer(481, "No Such Dialog")
        caller = self.caller
        assert caller is not None
        assert isinstance(leg.call, Call)
        ringing = leg.state == INVITING and _search_of(leg) is not None and leg.call.lets_take(leg)
        allowed = caller.between or leg.party == self.party
        if not allowed and not (ringing and self.core.parties.may_pick_up(self.party, leg.party)):
            raise BadRefer(403, "Not Yours To Replace")
        if ringing:
            return leg
        if not leg.up or leg.talk is None:
            raise BadRefer(481, "No Such Dialog")
        if replaces.early_only:
            raise BadRefer(486, "Answered Already")
        kept = leg.talk.other(leg)
        if kept is not None and (kept.session.ack_for or leg.session.ack_for):
            raise BadRefer(491, "Not Acknowledged Yet")
        if kept is None or self._busy(leg) or self._busy(kept):
            raise BadRefer(491, "Being Transferred")
        return leg

    def lets_take(self, leg: Leg) -> bool:
        """Whether somebody else may take the call that rings at a leg."""
        search = _search_of(leg)
        return search is None or not isinstance(search.user, Paged)

    def _leg_of(self, replaces: Replaces) -> Leg | None:
        for ours, theirs in (
            (replaces.to_tag, replaces.from_tag),
            (replaces.from_tag, replaces.to_tag),
        ):
            leg = self.core.leg_of(replaces.call_id, ours)
            if isinstance(leg, Leg) and leg.session.dialog.remote_tag == theirs:
                return leg
        return None

    def _pick_up(self, leg: Leg) -> None:
        """The caller is to have the call that rings at this leg."""
        assert self.caller is not None
        search = _search_of(leg)
        assert search is not None
        if not self.caller.session.theirs and not search.offer:
            self.fail(488, "Nobody Makes An Offer")
            return
        pickup = Pickup(self, self.caller, search)
        self._add(pickup)
        pickup.start()

    def took_over(self, transfer: Transfer, response: Response) -> None:
        """Whom the caller is to talk with has answered what it had offered."""
        assert isinstance(transfer, Takeover)
        caller, kept = transfer.caller, transfer.kept
        self.accept(response.body)
        if not caller.session.theirs:
            caller.session.ack_for = response.cseq
        self._unite(kept, caller, transfer.how, transfer.by, transfer.replaced)

    def picked_up(self, transfer: Transfer, response: Response) -> None:
        """The caller has answered what the one who waits had offered: it is the leg that has won
        the search."""
        assert isinstance(transfer, Pickup)
        search, leg = transfer.search, transfer.caller
        other = search.call
        assert isinstance(other, Call)
        leg.how, leg.by = PICKUP, transfer.by
        if other is not self:
            other._take_in(self, leg)
            other.legs.remove(leg)  # until the search is told of it
        user = search.user
        assert user is not None
        user.found(search, leg, response)
        leg.session.settle()
        if other is not self:
            self._merged(other)

    def _begin_together(self, transfer: Transfer, other_call: Transferring) -> None:
        """A transfer is a matter of two calls."""
        self._add(transfer)
        if other_call is not self:
            assert isinstance(other_call, Call)
            other_call._add(transfer)

    def another(self, call_id: str, owner: str) -> MergingCall:
        """A passage of another call, of which this one becomes part."""
        return Call(self.core, call_id, owner, False, self.party, self.identity)


def _nothing(status: int, reason: str) -> None:
    """Nobody waits to hear why."""


def _search_of(leg: Leg) -> Search | None:
    """The one that rings a leg."""
    search = leg.attempt.search if leg.attempt is not None else None
    return search if isinstance(search, Search) else None


def _dialled(leg: Leg) -> str:
    """The number that a caller who is not answered yet has dialled."""
    request = leg.incoming.request if leg.incoming is not None else None
    return parse_uri(request.uri).user if request is not None else ""
