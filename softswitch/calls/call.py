"""A call: its legs, the search for who answers it, the talks of those who have.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch import events
from softswitch.calls.callid import read_call_id, write_call_id
from softswitch.calls.core import Caller, Core, Member
from softswitch.calls.diversion import came_with
from softswitch.calls.headers import content_lines
from softswitch.calls.lasting import address_of
from softswitch.calls.leg import DIALLED, INVITING, Leg
from softswitch.calls.parked import Parked
from softswitch.calls.passing import Passed, any_in, passed
from softswitch.calls.placed import PlacedCall
from softswitch.calls.search import Search
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
from softswitch.dialplan import Source, Target
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
    decoded,
    opened,
    parse_uri,
    read_refer,
    read_replaces,
    readable,
)

MERGED: Final = "Merged"
_AGAIN: Final = 10.0
"""Seconds until a neighbour that has not heard of a merge is told again."""


class Call(PlacedCall):
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
        session.theirs = request.body
        call.caller = leg = Leg(call, call.number, party, identity.number, session, True)
        leg.between = source.switch
        leg.refers = core.may_refer(party)
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
        if any_in(headers) or core.passes_more:
            search.passed = passed(request, core.passes(party), core.settings.max_passed)
        if source.kind == "trunk" and ("diversion" in headers or "history-info" in headers):
            limits = core.settings
            search.came = came_with(request, source.switch, limits.max_redirects, limits.max_text)
        core.remember(leg)
        return call

    # --- transfers

    def referred(self, leg: Member, request: Request, transaction: NonInviteServer) -> None:
        """A party asks that whom it talks with talk to somebody else (REFER)."""
        assert isinstance(leg, Leg)
        if not leg.refers:
            transaction.respond(405, extra=leg.allow_line(self.update))
            return
        try:
            refer = read_refer(request)
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
        event_id = f";id={request.cseq}" if self._transferred > 1 else ""
        sub = "" if refer.wants_notes else "Refer-Sub: false\r\n"
        transaction.respond(202, extra=leg.contact + sub)
        transfer.notes = Notes(leg, event_id, refer.wants_notes)
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

    def _add(self, transfer: Transfer) -> None:
        if self.transfers is None:
            self.transfers = []
        self.transfers.append(transfer)

    def _replaced(self, leg: Leg, refer: Refer) -> Leg | None:
        """The other leg of the one who transfers; None: it is at another of our switches. Raises
        BadRefer."""
        assert refer.replaces is not None
        other = self._leg_of(refer.replaces)
        if other is None:
            if self.core.switch_at(refer.uri):
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
        route = core.route(transfer.to, core.source_of(transfer.by))
        if route is None:
            transfer.failed(404, "No Route")
            return
        search = self._search_for(transfer, offer)
        search.take(route)

    def _search_for(self, transfer: BlindTransfer, offer: bytes) -> Search:
        kept = transfer.kept
        identity = (
            self.identity if kept.index == self.number else self.core.named(kept.party, kept.number)
        )
        content = "Content-Type: application/sdp\r\n" if offer else ""
        hops = self.core.settings.max_forwards
        transfer.search = search = Search(
            self, transfer, kept.party, identity, offer, content, hops, transfer.by
        )
        text = transfer.referred_by
        if text and len(text) <= self.most and text.isascii() and text.isprintable():
            search.passed = [Passed("referred-by", f"Referred-By: {text}\r\n")]
        return search

    def _begin_elsewhere(self, refer: Refer, transfer: BlindTransfer, offer: bytes) -> None:
        """The dialog that is to be replaced is at another of our switches."""
        name = self.core.switch_at(refer.uri)
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
        search.ring(((Target("extension", name, name),),), seconds, None)

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
        ringing = leg.search is not None and leg.state == INVITING
        allowed = caller.between or leg.party == self.party
        if not allowed and not (ringing and self.core.may_pick_up(self.party, leg.party)):
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
        assert isinstance(leg.search, Search)
        if not self.caller.session.theirs and not leg.search.offer:
            self.fail(488, "Nobody Makes An Offer")
            return
        pickup = Pickup(self, self.caller, leg.search)
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

    def brought_together(self, transfer: AttendedTransfer, replaced: Leg | None) -> None:
        """The two whom somebody has talked to both are connected: their calls are one."""
        for leg in (transfer.kept, transfer.target):
            if leg.talk is not None:
                leg.talk.end()
        transfer.worked()
        transfer.call = self._unite(transfer.kept, transfer.target, ATTENDED, transfer.by, replaced)
        transfer.finish()

    # --- when two calls become one

    def _unite(self, first: Leg, second: Leg, how: str, by: str, leaving: Leg | None) -> Call:
        """These two, of one call or of two, talk from now on, in the older one; `leaving` is a leg
        that has no part in it any more."""
        one, two = first.call, second.call
        assert isinstance(one, Call)
        assert isinstance(two, Call)
        for leg in (first, second):
            if leg.talk is not None:
                leg.talk.end()
        older, younger = (two, one) if two.call_id < one.call_id else (one, two)
        moved = first if first.call is younger else second
        if leaving is not None and leaving.call is not None:
            leaving.call.let_go(leaving, "Transferred", TRANSFERRED)
        if older is younger:
            older.begin_talk(first, second, how, by)
            return older
        older._take_in(younger, moved)
        older.begin_talk(first, second, how, by)
        younger._merged(older)
        older._rename_neighbour(moved)
        return older

    def _take_in(self, younger: Call, leg: Leg, came: str = "") -> None:
        """A leg of another call belongs to this one from now on."""
        core, most = self.core, self.most
        was = leg.index
        younger.tell_leg_ended(leg, leg.status, MERGED, "switch")
        younger.legs.remove(leg)
        if leg.line and leg.holder is None:
            leg.holder = leg if leg.came_in else younger
        leg.ended = False
        leg.call = self
        leg.index = core.numbers.next(self.call_id)
        self.legs.append(leg)
        self.answered = True
        dialog = leg.session.dialog
        self.tell(
            events.LegMoved(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=leg.index,
                was_call=younger.call_id,
                was_leg=was,
                direction="in" if leg.came_in else "out",
                party=leg.party,
                number=readable(leg.number, most),
                address=address_of(leg),
                sip_call_id=readable(dialog.call_id, most),
                codec=leg.codec,
                user_agent=decoded(leg.user_agent, most),
                between=leg.between,
                came=came,
                incoming=self.number,
            )
        )

    def _merged(self, older: Call) -> None:
        """What is left of this call is part of an older one."""
        if older.call_id != self.call_id:  # else it was another passage of the same call
            self.tell(
                events.CallMerged(
                    call_id=self.call_id,
                    at=self.now_us(),
                    switch=self.switch_name,
                    into=older.call_id,
                    owner=older.owner,
                    leg=self.number,
                )
            )
        for transfer in self.transfers or ():
            if transfer not in (older.transfers or ()):
                older._add(transfer)
            transfer.call = older
        self.transfers = None
        for leg in list(self.legs):
            # It is told of a transfer yet, and then hung up on.
            self.leg_ended(leg, leg.status, "Transferred", "switch")
            self.legs.remove(leg)
        self._end("answered", 200, MERGED, "switch")

    def resume(self, wait: float) -> None:
        """See `LastingCall`. Whether a neighbour has heard which call it is now is not known."""
        super().resume(wait)
        moved = [event.leg for event in self.told or () if type(event) is events.LegMoved]
        for leg in self.legs:
            if leg.index in moved:
                self._rename_neighbour(leg)

    def _rename_neighbour(self, leg: Leg) -> None:
        """Tell another of our switches at the other end of which call this leg is now."""
        if not leg.between or not leg.up or leg.call is not self:
            return
        self.travelled = True
        carried = write_call_id(
            self.call_id, self.owner, self.came, f"{self.switch_name}/{leg.index}"
        )
        header = self.core.settings.call_id_header
        leg.session.send(
            "UPDATE",
            f"{leg.contact}{header}: {carried}\r\n",
            on_response=partial(self._neighbour_renamed, leg),
        )

    def _neighbour_renamed(self, leg: Leg, response: Response) -> None:
        """It has been told, or has not heard: then again, as long as there is something to tell."""
        status = response.status
        if status < 300 or status == 481 or self.over or leg.call is not self:
            return
        self.core.timers.after(_AGAIN, partial(self._rename_neighbour, leg))

    def renamed(self, leg: Member, value: str) -> None:
        """The neighbour behind a leg says that the call is part of another (the callID header)."""
        assert isinstance(leg, Leg)
        core = self.core
        carried = read_call_id(value)
        if carried is None or carried.call_id == self.call_id or not self.answered or self.over:
            return
        if carried.call_id > self.call_id:
            self._rename_neighbour(leg)
            return
        if any(not transfer.done for transfer in self.transfers or ()):
            self._rename = leg, value
            return
        # Who has transferred and is about to leave is told so in the call that it has been in.
        going = [one for one in self.legs if one.talk is not None]
        if leg not in going:
            return
        came_in = next((one for one in going if one.index == self.number), going[0])
        older = Call(core, carried.call_id, carried.owner, False, self.party, self.identity)
        older.base = core.numbers.base(carried.call_id)
        older.number = core.numbers.next(carried.call_id)
        older.came = carried.legs if leg is came_in else ""
        older.answered, older.answered_at = True, self.answered_at
        older.update, older.said = self.update, self.said
        older.caller = came_in
        core.adopt(older, 0, 1)
        talks = [(talk.first, talk.second, talk.how, talk.by) for talk in self.talks()]
        for talk in self.talks():
            talk.end()
        dialog = came_in.session.dialog
        older.tell(
            events.CallStarted(
                call_id=older.call_id,
                at=older.now_us(),
                switch=older.switch_name,
                site=core.site,
                owner=older.owner,
                origin=False,
                caller=self.identity.number,
                caller_name=self.identity.name,
                dialled="",
                party=came_in.party,
                address=address_of(came_in),
                user_agent=decoded(came_in.user_agent, self.most),
                sip_call_id=readable(dialog.call_id, self.most),
                leg=older.number,
                came=older.came,
            )
        )
        self.tell_leg_ended(came_in, came_in.status, MERGED, "switch")
        self.legs.remove(came_in)
        came_in.ended = False
        if came_in.line and came_in.holder is None:
            came_in.holder = came_in if came_in.came_in else self
        came_in.call, came_in.index = older, older.number
        older.legs.append(came_in)
        came = carried.legs.rpartition(" ")[2]
        for other in going:
            if other is came_in:
                continue
            older._take_in(self, other, came if other is leg else "")
        for first, second, how, by in talks:
            # What the neighbour has done is carried on here.
            theirs = leg in (first, second)
            older.begin_talk(first, second, *((DIALLED, leg.party) if theirs else (how, by)))
        self._merged(older)
        older._watch(core.settings.session_check)
        for other in older.legs:
            if other is not leg:
                older._rename_neighbour(other)


def _dialled(leg: Leg) -> str:
    """The number that a caller who is not answered yet has dialled."""
    request = leg.incoming.request if leg.incoming is not None else None
    return parse_uri(request.uri).user if request is not None else ""
