"""A call: its legs, the search for who answers it, the talks of those who have.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

from typing import Final

from softswitch import events
from softswitch.calls.callid import read_call_id, write_call_id
from softswitch.calls.core import Caller, Core, Member
from softswitch.calls.headers import content_lines
from softswitch.calls.lasting import address_of
from softswitch.calls.leg import Leg
from softswitch.calls.placed import PlacedCall
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.calls.transfer import (
    ATTENDED,
    TRANSFERRED,
    AttendedTransfer,
    BlindTransfer,
    Notes,
    Transfer,
)
from softswitch.dialplan import Source, Target
from softswitch.sip import (
    BadRefer,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Replaces,
    Request,
    Session,
    decoded,
    opened,
    read_refer,
    readable,
)

MERGED: Final = "Merged"


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
        call.search = Search(
            call,
            call,
            party,
            identity,
            request.body,
            content_lines(request) if request.body else "",
            int(request.get("max-forwards") or core.settings.max_forwards) - 1,
        )
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
        if kept is None or (isinstance(leg.talk, Talk) and leg.talk.joining):
            transaction.respond(491 if self.answered and leg.up else 481)
            return
        if self._transferred >= self.core.settings.max_transfers:
            transaction.respond(403, "Transferred Too Often")
            return
        transfer: BlindTransfer | AttendedTransfer
        if refer.replaces is None:
            transfer = BlindTransfer(self, leg, kept, refer.number)
        else:
            found = self._replaced(leg, refer.replaces)
            if isinstance(found, BadRefer):
                transaction.respond(found.status, found.reason)
                return
            transfer = AttendedTransfer(self, leg, kept, found[0], found[1])
        self._transferred += 1
        event_id = f";id={request.cseq}" if self._transferred > 1 else ""
        sub = "" if refer.wants_notes else "Refer-Sub: false\r\n"
        transaction.respond(202, extra=leg.contact + sub)
        transfer.notes = Notes(leg, event_id, refer.wants_notes)
        transfer.say(100, "Trying")
        self._add(transfer)
        transfer.tell(0)
        if isinstance(transfer, AttendedTransfer):
            if transfer.other_call is not self:
                other = transfer.other_call
                assert isinstance(other, Call)
                other._add(transfer)
            transfer.start()
        else:
            assert leg.talk is not None
            leg.talk.end()
            transfer.start(self._begin_search)

    def _add(self, transfer: Transfer) -> None:
        if self.transfers is None:
            self.transfers = []
        self.transfers.append(transfer)

    def _replaced(self, leg: Leg, replaces: Replaces) -> tuple[Leg, Leg] | BadRefer:
        """The other leg of the one who transfers, and whom it talks with there."""
        core = self.core
        for ours, theirs in (
            (replaces.to_tag, replaces.from_tag),
            (replaces.from_tag, replaces.to_tag),
        ):
            other = core.leg_of(replaces.call_id, ours)
            if isinstance(other, Leg) and other.session.dialog.remote_tag == theirs:
                break
        else:
            return BadRefer(481, "No Such Dialog To Replace")
        if other is leg or other.party != leg.party:
            return BadRefer(403, "Not Yours To Replace")
        target = other.talk.other(other) if other.talk is not None else None
        if target is None or not other.up or other.call is None:
            return BadRefer(481, "Nobody There To Talk With")
        if replaces.early_only:
            return BadRefer(486, "Answered Already")
        return other, target

    def _begin_search(self, transfer: BlindTransfer, offer: bytes) -> None:
        """Find whom a transfer asks for, by the dialplan as the one who asks could have called."""
        core = self.core
        route = core.route(transfer.to, core.source_of(transfer.by))
        if route is None:
            transfer.failed(404, "No Route")
            return
        search = self._search_for(transfer, offer)
        search.act(route.action)

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
        return search

    def ring_back(self, transfer: BlindTransfer) -> bool:
        """Ring who asked for a transfer of which nothing came; whether that can be."""
        seconds = self.core.settings.ring_back
        kind, _, name = transfer.by.partition(":")
        if not seconds or kind != "extension":
            return False
        search = self._search_for(transfer, opened(transfer.kept.session.theirs))
        search.ring(((Target("extension", name, name),),), seconds, None)
        return True

    def transfer_over(self, transfer: Transfer) -> None:
        """Nothing more is to be done for it."""
        if self.transfers is not None and transfer in self.transfers:
            self.transfers.remove(transfer)
        rename, self._rename = self._rename, None
        if rename is not None and not self.over:
            self.renamed(*rename)

    def brought_together(self, transfer: AttendedTransfer, replaced: Leg | None) -> None:
        """The two whom somebody has talked to both are connected: their calls are one."""
        other_call = transfer.other_call
        assert isinstance(other_call, Call)
        kept, target, by = transfer.kept, transfer.target, transfer.by
        for leg in (kept, target):
            if leg.talk is not None:
                leg.talk.end()
        transfer.worked()
        if other_call is self:
            older = younger = self
        elif self.call_id < other_call.call_id:
            older, younger = self, other_call
        else:
            older, younger = other_call, self
        younger_leg = kept if kept.call is younger else target
        if replaced is not None and replaced.call is not None:
            replaced.call.let_go(replaced, "Transferred", TRANSFERRED)
        if older is not younger:
            older._take_in(younger, younger_leg)
        older.begin_talk(kept, target, ATTENDED, by)
        if older is not younger:
            younger._merged(older)
            older._rename_neighbour(younger_leg)
        transfer.call = older
        transfer.finish()

    # --- when two calls become one

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
        for leg in list(self.legs):
            # It is told of a transfer yet, and then hung up on.
            self.tell_leg_ended(leg, leg.status, "Transferred", "switch")
            self.legs.remove(leg)
        self._end("answered", 200, MERGED, "switch")

    def _rename_neighbour(self, leg: Leg) -> None:
        """Tell another of our switches at the other end of which call this leg is now."""
        if not leg.between or not leg.up:
            return
        self.travelled = True
        carried = write_call_id(
            self.call_id, self.owner, self.came, f"{self.switch_name}/{leg.index}"
        )
        header = self.core.settings.call_id_header
        leg.session.send("UPDATE", f"{leg.contact}{header}: {carried}\r\n")

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
        if self.transfers:
            self._rename = leg, value
            return
        came_in = next((one for one in self.legs if one.index == self.number), self.legs[0])
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
        for other in list(self.legs):
            older._take_in(self, other, came if other is leg else "")
        for first, second, how, by in talks:
            older.begin_talk(first, second, how, by)
        self._merged(older)
        older._watch(core.settings.session_check)
        for other in older.legs:
            if other is not leg:
                older._rename_neighbour(other)
