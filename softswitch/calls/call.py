"""A call: one incoming leg, the search for who answers it, and the bridge of the two that talk.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

import msgspec

from softswitch import events
from softswitch.calls import bridge, outcome
from softswitch.calls.core import Caller, Core
from softswitch.calls.headers import ALLOW, contact_line, content_lines, reason_of
from softswitch.calls.last_words import LastWord, failed, leaves
from softswitch.calls.leg import CONFIRMED, INVITING, Leg
from softswitch.calls.records import CallRecord, encode, flow_record, head_of
from softswitch.calls.search import Search
from softswitch.dialplan import Route, Source
from softswitch.sip import (
    LATE,
    LONG,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Timer,
    Unacknowledged,
    decoded,
    first_codec,
    readable,
)

# After a restart it is no matter that the call was said to ring, or that a leg of it was over: who
# keeps call data has that on its own disk, and a leg is found out to be over when it is asked.
_LITTLE = frozenset((events.LegRinging, events.LegEnded, events.CallEnded))

TOLD_LATE = 0.05
"""Seconds after its answer within which a caller usually is told: it is not said otherwise."""

_NORMAL = 'Reason: Q.850;cause=16;text="Normal call clearing"\r\n'


class Call:
    """One passage of a call through this switch."""

    __slots__ = (
        "_check",
        "_longest",
        "answered",
        "answered_at",
        "base",
        "call_id",
        "caller",
        "core",
        "identity",
        "last_word",
        "most",
        "origin",
        "over",
        "owner",
        "row",
        "said",
        "search",
        "switch_name",
        "told",
        "travelled",
        "update",
        "winner",
    )

    def __init__(
        self, core: Core, call_id: str, owner: str, origin: bool, identity: Caller
    ) -> None:
        self.core = core
        self.call_id = call_id
        self.owner = owner
        self.origin = origin
        self.identity = identity
        self.switch_name = core.name
        self.most = core.settings.max_text  # characters of a text (`softswitch.sip.texts`)
        self.base = 0  # what the steady clock lacks to the call's time (`softswitch.calls.numbers`)
        self.caller: Leg
        self.winner: Leg | None = None
        self.search: Search | None = None
        self.update = False
        self.answered = False
        self.answered_at = 0.0
        self.over = False
        self.said = False  # whether the log has it
        self.travelled = False
        self._check: Timer | None = None  # when both sides are asked if they are there
        self._longest: Timer | None = None  # when it has lasted long enough
        # What was told of the call, and its row in the journal (0: none yet).
        self.told: list[events.Told] | None = [] if core.journal is not None else None
        self.row = 0
        self.last_word: LastWord | None = None  # while its BYE waits for an ACK

    def written(self) -> bytes:
        """Its row in the journal, as of now."""
        return encode(self.record())

    def record(self) -> CallRecord:
        """It as the journal holds it."""
        caller, winner, search = self.caller, self.winner, self.search
        legs = [caller] if winner is None else [caller, winner]
        if search is not None:
            legs += search.inviting()
        received, received_by = "", None
        key = merged = ""
        incoming = caller.incoming
        if incoming is None:
            pass
        elif incoming.request is not None:
            received = head_of(incoming.request)
            received_by = flow_record(incoming.flow)
        else:
            key, merged = incoming.key, incoming.merged
        identity = self.identity
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
            self.core.numbers.peek(self.call_id),
            tuple(self.told or ()),
            tuple([leg.record() for leg in legs]),
            received,
            received_by,
            key,
            merged,
            self.base,
            self.core.boot,
        )

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
        call = cls(core, call_id, owner, origin, identity)
        call.base = core.numbers.base(call_id)
        call.caller = leg = Leg(
            call, core.numbers.next(call_id), str(source), identity.number, dialog
        )
        leg.incoming = transaction
        leg.nat = source.kind == "extension"
        leg.contact = call._response_head(request, flow)
        transaction.to_tag = dialog.local_tag
        transaction.user = leg
        call.update = "UPDATE" in (request.get("allow") or "")
        call.search = Search(call, request)
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
        assert leg.incoming is not None
        routed = events.CallRouted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            match=route.match,
            where=route.where,
            number=readable(route.number, self.most),
            properties=route.properties,
            incoming=self.caller.index,
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
        core, leg, search = self.core, self.caller, self.search
        remote = leg.dialog.flow.remote
        most = self.most
        started = events.CallStarted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            site=core.site,
            owner=self.owner,
            origin=self.origin or (search is not None and search.first),
            caller=self.identity.number,
            caller_name=self.identity.name,
            dialled=readable(dialled, most),
            party=leg.party,
            address=f"{leg.dialog.flow.transport}:{remote[0]}:{remote[1]}",
            user_agent=decoded(request.get("user-agent") or "", most),
            sip_call_id=readable(leg.dialog.call_id, most),
            leg=leg.index,
            came=search.came if search is not None else "",
        )
        self.tell(started)
        return started

    def allow_line(self) -> str:
        return f"Allow: {ALLOW}, UPDATE\r\n" if self.update else f"Allow: {ALLOW}\r\n"

    def cancelled(self, request: Request) -> None:
        """The caller gave up."""
        reason = reason_of(request)
        line = f"Reason: {reason}\r\n" if reason else ""
        self._refuse(487)
        assert self.search is not None
        self.search.give_up("Cancelled by the caller", line)
        self.leg_ended(self.caller, 487, reason, "remote")
        self._end("cancelled", 487, reason, "caller")

    def fail(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        self._refuse(status, reason or None, lines)
        self.leg_ended(self.caller, status, reason, "switch")
        self._end(outcome.disposition(status), status, reason, by)

    def _refuse(self, status: int, reason: str | None = None, lines: str = "") -> None:
        """The failure that the caller gets, again until its ACK, by another process if need be."""
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

    # --- the answer

    def leg_answered(self, leg: Leg, response: Response) -> None:
        """The first 2xx: this leg has the call."""
        core, caller, search = self.core, self.caller, self.search
        incoming = caller.incoming
        assert incoming is not None
        assert search is not None
        # What its ACK will name, whatever came in the early dialog since (§13.2.2.4).
        request = incoming.request
        cseq = request.cseq if request is not None else caller.dialog.remote_cseq
        self.answered = True
        self.answered_at = core.timers.clock()
        self.winner = leg
        self.search = None
        leg.state = caller.state = CONFIRMED
        leg.status = caller.status = response.status
        tag = search.won_by(leg, response.to_tag)
        body = response.body
        most = self.most
        event = events.LegAnswered(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            leg=leg.index,
            status=response.status,
            callee=readable(leg.number, most),
            codec=first_codec(body) if body else "",
            user_agent=decoded(leg.user_agent, most),
        )
        self.tell(event)
        if self.said and core.call_log is not None:
            core.call_log.answered(event, leg.party, caller.index)
        if tag and tag != caller.dialog.local_tag:
            core.forget(caller)
            caller.dialog.local = caller.dialog.local.replace(caller.dialog.local_tag, tag)
            caller.dialog.local_tag = tag
            # A dialog of its own: what came in another early one is no matter for its order.
            caller.dialog.remote_cseq = cseq
            core.remember(caller)
        self.update = self.update and "UPDATE" in (response.get("allow") or "")
        data = incoming.respond(
            response.status,
            response.reason,
            to_tag=caller.dialog.local_tag,
            extra=f"{caller.contact}{self.allow_line()}Server: {core.settings.user_agent}\r\n"
            f"{content_lines(response) if body else ''}",
            body=body,
        )
        caller.answer = Unacknowledged(
            core.timers,
            core.transactions.settings,
            incoming.flow,
            data,
            cseq,
            caller.not_acked,
            "",
            core.transactions.carry,
        )
        if search.offer:
            leg.send_ack(response.cseq)
        else:
            # The offer is in this 2xx, so the answer comes with the caller's ACK (§13.2.1).
            caller.ack_for = response.cseq
        # From here on it goes into requests too, where a Record-Route is only for proxies (§16.6).
        caller.contact = caller.contact.partition("Record-Route:")[0]
        if core.journal is None or incoming.flow.reliable:
            caller.incoming = None
        else:
            # For the journal: until `terminated` it may come again.
            incoming.user = caller
        if leg.invite is not None:
            # Neither its ACK nor its CANCEL repeats these, and they are much of a call's memory.
            leg.invite.request.extra, leg.invite.request.body = "", b""
        self._watch(core.settings.session_check)
        core.answered(self)

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
                leg=self.caller.index,
            )
        )

    def late_answer(self, leg: Leg, cseq: int, request: Request) -> None:
        """The ACK that carries the answer: the other leg's INVITE waits for it."""
        other = self.other(leg)
        if other is not None and other.call is not None:
            content = content_lines(request) if request.body else ""
            other.send_ack(cseq, content, request.body)

    def other(self, leg: Leg) -> Leg | None:
        """The leg that `leg` talks with; None before the answer."""
        if leg is self.caller:
            return self.winner
        return self.caller if leg is self.winner else None

    def relay(
        self,
        leg: Leg,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request within a dialog that concerns the other party."""
        bridge.relay(self, leg, request, transaction, flow)

    def _watch(self, first: float) -> None:
        """Ask both sides in `first` seconds whether they are there, and then again and again (0:
        never); end the call when it has lasted too long."""
        core = self.core
        if first:
            self._check = core.timers.after(first, self._ask_both)
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

    def _ask_both(self) -> None:
        self._check = None
        for leg in (self.caller, self.winner):
            if leg is not None:
                bridge.probe(self, leg)
        every = self.core.settings.session_check
        if every and not self.over:
            self._check = self.core.timers.after(every, self._ask_both)

    # --- the end

    def bye_from(self, leg: Leg, request: Request) -> None:
        """One party hung up."""
        reason = reason_of(request)
        by = "caller" if leg is self.caller else "callee"
        if not self.answered:
            if leg is self.caller:
                self.cancelled(request)
            elif self.search is not None and leg in self.search.legs:
                leg.cancel("")
                self.search.failed(leg, Response(480, "Hung Up Before Answering", request.headers))
            return
        other = self.other(leg)
        self.leg_ended(leg, leg.status, reason, "remote")
        leg.close()
        if other is not None:
            other.hang_up(f"Reason: {reason}\r\n" if reason else _NORMAL)
            self.leg_ended(other, other.status, reason, "switch")
        self._end("answered", 200, reason, by)

    def hang_up_all(self, why: str) -> None:
        """The switch ends the call: `why` goes into the record and to both parties."""
        if self.over:
            return
        line = f'Reason: SIP;cause=480;text="{why}"\r\n'
        if not self.answered:
            failure = (503, why)
            if self.search is not None:
                self.search.give_up(why, line)
                incoming = self.caller.incoming
                if incoming is not None and incoming.final:
                    # Restored, and the caller was told this before.
                    failure = self.search.best
            self.fail(*failure)
            return
        talking = [leg for leg in (self.caller, self.winner) if leg is not None]
        for leg in talking:
            if leg.state == CONFIRMED:
                leg.hang_up(line)
                self.leg_ended(leg, leg.status, why, "switch")
        self._end("answered", 200, why, "switch")

    def leg_ended(self, leg: Leg, status: int, reason: str, by: str) -> None:
        core = self.core
        if leg.line:
            core.lines.release(leg.line, leg if leg is self.caller else self)
            leg.line = ""
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
        ended = events.CallEnded(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            disposition=disposition,
            sip_status=status,
            reason=reason and readable(reason, self.most),
            hangup_by=by,
            leg=self.caller.index,
        )
        self.tell(ended)
        if self.said and core.call_log is not None:
            talked = core.timers.clock() - self.answered_at if self.answered else None
            core.call_log.ends(ended, talked)
        if self.caller.state == INVITING:
            self.caller.close()
        if core.journal is not None:
            core.journal.over(self)
            for leg in (self.caller, self.winner):
                if leg is not None and leg.bye_waits is not None:
                    self.last_word = leaves(core.journal, self._record_of(leg), leg.bye_waits)
        self.winner = None
        self.told = None
        core.call_over(self)

    def _record_of(self, leg: Leg) -> CallRecord:
        """As the journal holds it when all but this leg is over, and told."""
        told = [event for event in self.told or () if type(event) is events.LegAnswered]
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

    def changed(self) -> None:
        """Something that the journal holds has changed."""
        if self.core.journal is not None and not self.over:
            self.core.journal.changed(self)

    def _stop_timers(self) -> None:
        for timer in (self._check, self._longest):
            if timer is not None:
                timer.cancel()
        self._check = self._longest = None
