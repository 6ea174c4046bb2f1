"""A call: its legs, the search for who answers it, the talks of those who have.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

from typing import Final

import msgspec

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.callid import read_call_id, write_call_id
from softswitch.calls.core import Caller, Core, Member
from softswitch.calls.headers import contact_line, content_lines, reason_of
from softswitch.calls.last_words import LastWord, failed, leaves
from softswitch.calls.leg import INVITING, Leg
from softswitch.calls.records import CallRecord, encode, flow_record, head_of
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk, may_come, probe, relay_other
from softswitch.calls.transfer import (
    ATTENDED,
    RETURNED,
    TRANSFERRED,
    AttendedTransfer,
    BlindTransfer,
    Notes,
    Transfer,
    Transferring,
)
from softswitch.dialplan import Route, Source, Target
from softswitch.sip import (
    LATE,
    LONG,
    BadRefer,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Replaces,
    Request,
    Response,
    Session,
    Timer,
    decoded,
    first_codec,
    opened,
    read_refer,
    readable,
)

# After a restart it is no matter that the call was said to ring, or that a leg of it was over: who
# keeps call data has that on its own disk, and a leg is found out to be over when it is asked.
_LITTLE: Final = frozenset((events.LegRinging, events.LegEnded, events.CallEnded))

TOLD_LATE: Final = 0.05
"""Seconds after its answer within which a caller usually is told: it is not said otherwise."""

DIALLED: Final = "dialled"
MERGED: Final = "Merged"

_NORMAL: Final = 'Reason: Q.850;cause=16;text="Normal call clearing"\r\n'
_EARLY_DIALOGS: Final = 16  # that a caller is shown; a callee could make up any number


class Call(Transferring):
    """One passage of a call through this switch.

    `caller` is the leg that came in, `legs` are those that are answered and not over; `search` is
    the caller's, `transfers` have their own. `first`: this switch is the first that tells of the
    call, though another made its callID.
    """

    __slots__ = (
        "_by",
        "_check",
        "_goodbyes",
        "_longest",
        "_rename",
        "_transferred",
        "answered",
        "answered_at",
        "base",
        "call_id",
        "caller",
        "came",
        "core",
        "early",
        "first",
        "identity",
        "last_word",
        "legs",
        "most",
        "number",
        "origin",
        "over",
        "owner",
        "party",
        "row",
        "said",
        "search",
        "switch_name",
        "told",
        "transfers",
        "travelled",
        "update",
    )

    def __init__(
        self, core: Core, call_id: str, owner: str, origin: bool, party: str, identity: Caller
    ) -> None:
        self.core = core
        self.call_id = call_id
        self.owner = owner
        self.origin = origin
        self.party = party
        self.identity = identity
        self.switch_name = core.name
        self.most = core.settings.max_text  # characters of a text (`softswitch.sip.texts`)
        self.base = 0  # what the steady clock lacks to the call's time (`softswitch.calls.numbers`)
        self.came = ""
        self.first = False
        self.number = 0
        self.caller: Leg | None = None
        self.legs: list[Leg] = []
        self.search: Search | None = None
        self.transfers: list[Transfer] | None = None
        # Whose early media the caller has heard under which of our tags: (leg, its tag) to tag.
        self.early: dict[tuple[int, str], str] | None = None
        self.update = False
        self.answered = False
        self.answered_at = 0.0
        self.over = False
        self.said = False  # whether the log has it
        self.travelled = False
        self._check: Timer | None = None  # when both sides are asked if they are there
        self._longest: Timer | None = None  # when it has lasted long enough
        self._by = ""  # who hung up first
        self._goodbyes: list[Leg] | None = None  # legs whose BYE waits for an ACK
        self._rename: tuple[Leg, str] | None = None
        self._transferred = 0
        # What was told of the call, and its row in the journal (0: none yet).
        self.told: list[events.Told] | None = [] if core.journal is not None else None
        self.row = 0
        self.last_word: LastWord | None = None  # while its BYE waits for an ACK

    def written(self) -> bytes:
        """Its row in the journal, as of now."""
        return encode(self.record())

    def record(self) -> CallRecord:
        """It as the journal holds it."""
        caller = self.caller
        legs = list(self.legs)
        received, received_by = "", None
        key = merged = ""
        if caller is not None:
            if not self.answered:
                legs.append(caller)
            incoming = caller.incoming
            if incoming is None:
                pass
            elif incoming.request is not None:
                received = head_of(incoming.request)
                received_by = flow_record(incoming.flow)
            else:
                key, merged = incoming.key, incoming.merged
        if self.search is not None:
            legs += self.search.inviting()
        for transfer in self.transfers or ():
            if isinstance(transfer, BlindTransfer) and transfer.search is not None:
                legs += transfer.search.inviting()
        identity = self.identity
        numbers = self.core.numbers
        return CallRecord(
            self.call_id,
            self.owner,
            self.origin,
            self.travelled,
            self.update,
            identity.number,
            identity.name,
            identity.private,
            self.answered,
            numbers.peek(self.call_id),
            tuple(self.told or ()),
            tuple([leg.record() for leg in legs]),
            received,
            received_by,
            key,
            merged,
            self.base,
            self.core.boot,
            self.number,
            self.party,
            self.came,
            tuple([talk.record() for talk in self.talks()]),
            numbers.peek_talk(self.call_id),
        )

    def talks(self) -> list[Talk]:
        """Those that are on."""
        found = []
        for leg in self.legs:
            talk = leg.talk
            if isinstance(talk, Talk) and talk.first is leg:
                found.append(talk)
        return found

    def __repr__(self) -> str:
        return f"<call {self.call_id}>"

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
        leg.contact = call._response_head(request, flow)
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

    def _response_head(self, request: Request, flow: Flow) -> str:
        """The header lines of dialog-making responses to the caller (§12.1.1)."""
        lines = contact_line(flow)
        routes = request.headers.get("record-route")
        if routes:
            lines += "".join(f"Record-Route: {route}\r\n" for route in routes)
        return lines

    # --- before the answer

    def start(self, request: Request, dialled: str, route: Route | None) -> None:
        """Tell that the call exists and follow its route (None: the dialplan has none)."""
        core, leg = self.core, self.caller
        started = self._tell_start(request, dialled)
        if route is None:
            self.fail(404, "No Route")
            return
        assert leg is not None
        assert leg.incoming is not None
        routed = events.CallRouted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            match=route.match,
            where=route.where,
            number=readable(route.number, self.most),
            properties=route.properties,
            incoming=self.number,
            once=route.once,
        )
        self.tell(routed)
        lines = core.call_log
        if lines is not None:
            self.said = lines.begins(started, routed)
        assert self.search is not None
        self.search.act(route.action)

    def refuse(self, request: Request, dialled: str, status: int, reason: str) -> None:
        """A call that exists and may not go on: it has its record."""
        self._tell_start(request, dialled)
        self.fail(status, reason)

    def _tell_start(self, request: Request, dialled: str) -> events.CallStarted:
        leg = self.caller
        assert leg is not None
        dialog = leg.session.dialog
        most = self.most
        started = events.CallStarted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            site=self.core.site,
            owner=self.owner,
            origin=self.origin or self.first,
            caller=self.identity.number,
            caller_name=self.identity.name,
            dialled=readable(dialled, most),
            party=leg.party,
            address=_address(leg),
            user_agent=decoded(request.get("user-agent") or "", most),
            sip_call_id=readable(dialog.call_id, most),
            leg=leg.index,
            came=self.came,
        )
        self.tell(started)
        return started

    def cancelled(self, request: Request) -> None:
        """The caller gave up."""
        reason = reason_of(request)
        line = f"Reason: {reason}\r\n" if reason else ""
        self._refuse(487)
        assert self.search is not None
        assert self.caller is not None
        self.search.give_up("Cancelled by the caller", line)
        self.leg_ended(self.caller, 487, reason, "remote")
        self._end("cancelled", 487, reason, "caller")

    def fail(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        """The caller gets this failure, and the call is over."""
        self._refuse(status, reason or None, lines)
        assert self.caller is not None
        self.leg_ended(self.caller, status, reason, "switch")
        self._end(outcome.disposition(status), status, reason, by)

    def _refuse(self, status: int, reason: str | None = None, lines: str = "") -> None:
        """The failure that the caller gets, again until its ACK, by another process if need be."""
        assert self.caller is not None
        core, incoming = self.core, self.caller.incoming
        assert incoming is not None
        data = incoming.respond(status, reason, extra=lines)
        if core.journal is not None and data and not incoming.flow.reliable:
            wait = int(core.transactions.layer.timeout * 1e6)
            next_leg = 0 if self.comes_no_more() else core.numbers.peek(self.call_id)
            until, steady = core.now_us() + wait, core.steady_us() + wait
            failed(core.journal, incoming, data, until, self.call_id, next_leg, steady, core.boot)

    def comes_no_more(self) -> bool:
        """Whether no other INVITE can bring this call here after this passage."""
        return self.origin and (self.answered or not self.travelled)

    # --- what the caller's search says (`search.SearchUser`)

    def trying(self, search: Search) -> None:
        """Somebody is about to be rung."""
        assert self.caller is not None
        assert self.caller.incoming is not None
        self.caller.incoming.trying()

    def rings(self, search: Search, leg: Leg, response: Response, media: bool) -> None:
        """A provisional response, for the caller."""
        caller = self.caller
        assert caller is not None
        incoming = caller.incoming
        assert incoming is not None
        early = self.early
        to_tag = early.get((leg.index, response.to_tag)) if early else None
        # The media of several phones that ring at once cannot all be heard: then none is.
        if media and search.alone() and (to_tag or not early or len(early) < _EARLY_DIALOGS):
            if not early:
                to_tag = caller.session.dialog.local_tag
                self.early = {(leg.index, response.to_tag): to_tag}
            elif to_tag is None:
                # The caller keeps to the first answer of a dialog, whatever comes later (§13.2.1):
                # the media of another leg, or of another phone behind it, are another dialog.
                to_tag = early[leg.index, response.to_tag] = self.core.tokens.token()
            incoming.respond(
                response.status,
                response.reason,
                to_tag=to_tag,
                extra=caller.contact + content_lines(response),
                body=response.body,
            )
        else:
            status = 180 if media else response.status
            incoming.respond(
                status,
                None if media else response.reason,
                to_tag=to_tag or caller.session.dialog.local_tag,
                extra=caller.contact,
            )

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """Nobody has answered."""
        self.fail(status, reason, by, lines)

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """The first 2xx: this leg has the call."""
        core, caller = self.core, self.caller
        assert caller is not None
        incoming = caller.incoming
        assert incoming is not None
        mine, theirs = caller.session, leg.session
        # What its ACK will name, whatever came in the early dialog since (§13.2.2.4).
        request = incoming.request
        cseq = request.cseq if request is not None else mine.dialog.remote_cseq
        self.answered = True
        self.answered_at = core.timers.clock()
        self.search = None
        caller.status = response.status
        search.won_by(leg)
        early, self.early = self.early, None
        self.legs.append(caller)
        answered = self.leg_joined(leg, response)
        talk = Talk(self, core.numbers.talk(self.call_id), caller, leg, DIALLED, self.party)
        talk.began()
        if self.said and core.call_log is not None:
            core.call_log.answered(answered, leg.party, caller.index)
        if early:
            # This answer must not come in a dialog in which the caller has another one (§13.2.1).
            tag = early.get((leg.index, response.to_tag)) or core.tokens.token()
            if tag != mine.dialog.local_tag:
                core.forget(caller)
                mine.dialog.local = mine.dialog.local.replace(mine.dialog.local_tag, tag)
                mine.dialog.local_tag = tag
                # A dialog of its own: what came in another early one is no matter for its order.
                mine.dialog.remote_cseq = cseq
                core.remember(caller)
        self.update = self.update and "UPDATE" in (response.get("allow") or "")
        body = response.body
        theirs.ours, theirs.theirs, mine.ours = search.offer, body, body
        data = incoming.respond(
            response.status,
            response.reason,
            to_tag=mine.dialog.local_tag,
            extra=f"{caller.contact}{caller.allow_line(self.update)}"
            f"Server: {core.settings.user_agent}\r\n{content_lines(response) if body else ''}",
            body=body,
        )
        mine.accepted(incoming.flow, data, cseq, caller.not_acked)
        if search.offer:
            theirs.ack(response.cseq)
        else:
            # The offer is in this 2xx, so the answer comes with the caller's ACK (§13.2.1).
            mine.ack_for = response.cseq
        # From here on it goes into requests too, where a Record-Route is only for proxies (§16.6).
        caller.contact = caller.contact.partition("Record-Route:")[0]
        if core.journal is None or incoming.flow.reliable:
            caller.incoming = None
        else:
            # For the journal: until `terminated` it may come again.
            incoming.user = caller
        self._watch(core.settings.session_check)
        core.answered(self)

    def leg_joined(self, leg: Leg, response: Response) -> events.LegAnswered:
        """A leg was answered, and belongs to the call's living ones."""
        body = response.body
        most = self.most
        leg.status = response.status
        leg.codec = first_codec(body) if body else ""
        self.legs.append(leg)
        event = events.LegAnswered(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            leg=leg.index,
            status=response.status,
            callee=readable(leg.number, most),
            codec=leg.codec,
            user_agent=decoded(leg.user_agent, most),
        )
        self.tell(event)
        if leg.invite is not None:
            # Neither its ACK nor its CANCEL repeats these, and they are much of a call's memory.
            leg.invite.request.extra, leg.invite.request.body = "", b""
        return event

    def begin_talk(self, first: Leg, second: Leg, how: str, by: str) -> Talk:
        """From now on these two talk."""
        talk = Talk(self, self.core.numbers.talk(self.call_id), first, second, how, by)
        talk.began()
        return talk

    def answer_left(self) -> None:
        """The caller's 2xx has left."""
        now = self.core.timers.clock()
        if self.over or now - self.answered_at <= TOLD_LATE:
            return
        self.answered_at = now
        self.tell(
            events.CallerTold(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=self.number,
            )
        )

    def alone(
        self,
        leg: Member,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request other than BYE from a leg that talks with nobody: of an early dialog, or from
        who waits for somebody."""
        assert isinstance(leg, Leg)
        if not may_come(self, leg, request, transaction, flow):
            return
        if isinstance(transaction, InviteServer):
            if leg is self.caller and not self.answered:
                # §14.2: an INVITE while an earlier one is not done yet.
                transaction.respond(500, "Earlier INVITE Is Pending", extra="Retry-After: 1\r\n")
            else:
                transaction.respond(491)
            return
        other = None if self.answered else self._early_partner(leg)
        if other is None:
            transaction.respond(491)
        else:
            relay_other(self, leg, other, request, transaction)

    def _early_partner(self, leg: Leg) -> Leg | None:
        """Who a request goes to before the answer: the only one that it can mean."""
        if leg is not self.caller:
            return self.caller
        if self.search is None:
            return None
        ringing = [one for one in self.search.inviting() if one.session.dialog.remote_tag]
        return ringing[0] if len(ringing) == 1 else None

    # --- while it lasts

    def _watch(self, first: float) -> None:
        """Ask both sides in `first` seconds whether they are there, and then again and again (0:
        never); end the call when it has lasted too long."""
        core = self.core
        if first:
            self._check = core.timers.after(first, self._ask_all)
        if core.settings.max_duration:
            self._wait_for_longest()

    def _wait_for_longest(self) -> None:
        core = self.core
        left = self.answered_at + core.settings.max_duration - core.timers.clock()
        if left <= 0:
            self._longest = None
            self.hang_up_all("the longest time allowed is over")
            return
        if left >= LONG:
            # Long timers are late by up to one part in LATE: what is left then is timed exactly.
            left -= left / LATE
        self._longest = core.timers.after(left, self._wait_for_longest)

    def resume(self, wait: float) -> None:
        """A restored call goes on; in `wait` seconds (0: as usual) both sides are asked if they are
        there."""
        self.changed()
        self._watch(wait or self.core.settings.session_check)
        # A transfer that was under way has ended with the process: its parties talk again.
        alone = [leg for leg in self.legs if leg.talk is None]
        if len(alone) == 2:
            self.begin_talk(alone[0], alone[1], RETURNED, alone[1].party)
        else:
            for leg in alone:
                self.left_alone(leg, 503, "Restarted")

    def _ask_all(self) -> None:
        self._check = None
        for leg in list(self.legs):
            probe(self, leg)
        every = self.core.settings.session_check
        if every and not self.over:
            self._check = self.core.timers.after(every, self._ask_all)

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
                address=_address(leg),
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
                address=_address(came_in),
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

    # --- the end

    def bye_from(self, leg: Member, request: Request) -> None:
        """A party hung up."""
        assert isinstance(leg, Leg)
        reason = reason_of(request)
        if leg.state == INVITING:
            if leg is self.caller:
                self.cancelled(request)
            elif leg.search is not None:
                search = leg.search
                leg.cancel("")
                search.failed(leg, Response(480, "Hung Up Before Answering", request.headers))
            return
        talk = leg.talk
        other = talk.other(leg) if talk is not None else None
        self.leg_ended(leg, leg.status, reason, "remote")
        leg.close()
        if leg in self.legs:
            self.legs.remove(leg)
        by = "caller" if leg is self.caller else "callee"
        self._by = by
        if talk is not None:
            talk.end()
        if self.transfers:
            self._left_in_transfer(leg, other, reason)
        elif other is not None:
            self._hang_up(other, reason, f"Reason: {reason}\r\n" if reason else _NORMAL, leg)
        if not self.legs and not self.over:
            self._end("answered", 200, reason, by)

    def _left_in_transfer(self, leg: Leg, other: Leg | None, reason: str) -> None:
        """A leg has hung up while somebody is transferred: who it talked with may go on."""
        transfers = list(self.transfers or ())
        parts = any(transfer.parts(leg) for transfer in transfers)
        for transfer in transfers:
            transfer.left(leg)
        if other is not None and not parts and other.up:
            line = f"Reason: {reason}\r\n" if reason else _NORMAL
            self._hang_up(other, reason, line, leg)
            for transfer in list(self.transfers or ()):
                transfer.left(other)

    def _hang_up(self, leg: Leg, reason: str, line: str, other: Leg | None = None) -> None:
        """End a leg; `other` is whom it talked with."""
        leg.hang_up(line, other)
        self.leg_ended(leg, leg.status, reason, "switch")
        if leg in self.legs:
            self.legs.remove(leg)
        if leg.bye_waits is not None:
            if self._goodbyes is None:
                self._goodbyes = []
            self._goodbyes.append(leg)

    def let_go(self, leg: Member, reason: str, line: str) -> None:
        """Hang up a leg; `reason` is for the record, `line` a header line for the leg."""
        assert isinstance(leg, Leg)
        if not leg.up:
            return
        talk = leg.talk
        other = talk.other(leg) if talk is not None else None
        if talk is not None:
            talk.end()
        self._hang_up(leg, reason, line, other)
        for transfer in list(self.transfers or ()):
            transfer.left(leg)
        if not self.legs and not self.over:
            self._end("answered", 200, reason, self._by or "switch")

    def left_alone(self, leg: Member, status: int, reason: str) -> None:
        """Hang up a leg if it has nobody to talk with, and say why."""
        assert isinstance(leg, Leg)
        if leg.up and leg.talk is None:
            text = reason.replace('"', "'").replace("\\", "")
            self.let_go(leg, reason, f'Reason: SIP;cause={status};text="{text}"\r\n')

    def hang_up_talk(self, talk: Talk, reason: str) -> None:
        """Those who talk so cannot: neither hears the other."""
        first, second = talk.first, talk.second
        talk.end()
        for leg in (second, first):
            self.left_alone(leg, 488, reason or "Not Acceptable Here")

    def hang_up_all(self, why: str) -> None:
        """The switch ends the call: `why` goes into the record and to all parties."""
        if self.over:
            return
        line = f'Reason: SIP;cause=480;text="{why}"\r\n'
        if not self.answered:
            failure = (503, why)
            if self.search is not None:
                self.search.give_up(why, line)
                incoming = self.caller.incoming if self.caller is not None else None
                if incoming is not None and incoming.final:
                    # Restored, and the caller was told this before.
                    failure = self.search.best
            self.fail(*failure)
            return
        transfers, self.transfers = self.transfers, None
        for transfer in transfers or ():
            transfer.stop()
        talking = [(leg, leg.talk.other(leg) if leg.talk else None) for leg in self.legs]
        for leg, _ in talking:
            if leg.talk is not None:
                leg.talk.end()
        for leg, other in talking:
            self._hang_up(leg, why, line, other)
        self._end("answered", 200, why, "switch")

    def leg_ended(self, leg: Member, status: int, reason: str, by: str) -> None:
        """Tell that a leg is over, and give back its line."""
        assert isinstance(leg, Leg)
        if leg.line:
            holder = leg.holder
            if holder is None:
                holder = leg if leg.came_in else self
            self.core.line_counts.release(leg.line, holder)
            leg.line = ""
            leg.holder = None
        self.tell_leg_ended(leg, status, reason, by)

    def tell_leg_ended(self, leg: Leg, status: int, reason: str, by: str) -> None:
        """Tell that a leg is no leg of this call any more."""
        if leg.ended:
            return
        leg.ended = True
        self.tell(
            events.LegEnded(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=leg.index,
                status=status,
                reason=reason and readable(reason, self.most),
                by=by,
            )
        )

    def _end(self, disposition: str, status: int, reason: str, by: str) -> None:
        core = self.core
        self.over = True
        self._stop_timers()
        if self.search is not None:
            self.search.close()
            self.search = None
        self.early = None
        ended = events.CallEnded(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            disposition=disposition,
            sip_status=status,
            reason=reason and readable(reason, self.most),
            hangup_by=by,
            leg=self.number,
        )
        self.tell(ended)
        if self.said and core.call_log is not None:
            talked = core.timers.clock() - self.answered_at if self.answered else None
            core.call_log.ends(ended, talked)
        caller = self.caller
        if caller is not None and caller.state == INVITING:
            caller.close()
        if core.journal is not None:
            core.journal.over(self)
            for leg in self._goodbyes or ():
                if leg.bye_waits is not None:
                    self.last_word = leaves(core.journal, self._record_of(leg), leg.bye_waits)
        self._goodbyes = None
        self.told = None
        core.call_over(self)

    def _record_of(self, leg: Leg) -> CallRecord:
        """As the journal holds it when all but this leg is over, and told."""
        told = [event for event in self.told or () if type(event) is events.TalkBegan]
        return msgspec.structs.replace(self.record(), told=tuple(told), legs=(leg.record(),))

    def said_all(self) -> None:
        """Of a call that is over: the BYE that waited for an ACK is sent."""
        word, self.last_word = self.last_word, None
        if word is not None:
            word.heard()

    def now_us(self) -> int:
        """The call's time: microseconds since the epoch, UTC, as if nobody had set the time of day
        since the call came."""
        return self.base + self.core.steady_us()

    def tell(self, event: events.Told) -> None:
        """Tell an event, and note what a restart would have to tell again."""
        core = self.core
        core.emit(event)
        journal = core.journal
        if journal is not None and self.told is not None:
            self.told.append(event)
            if type(event) in _LITTLE:
                journal.changed_a_little(self)
            else:
                journal.changed(self)

    def tell_media(self, event: events.LegMedia) -> None:
        """Tell what has been agreed on; a restart would tell a leg's last such event."""
        if self.told is not None:
            index = event.leg
            self.told = [
                old for old in self.told if type(old) is not events.LegMedia or old.leg != index
            ]
        self.tell(event)

    def changed(self) -> None:
        """Something that the journal holds has changed."""
        if self.core.journal is not None and not self.over:
            self.core.journal.changed(self)

    def _stop_timers(self) -> None:
        for timer in (self._check, self._longest):
            if timer is not None:
                timer.cancel()
        self._check = self._longest = None


def _address(leg: Leg) -> str:
    flow = leg.session.dialog.flow
    host, port = flow.remote
    return f"{flow.transport}:{host}:{port}"
