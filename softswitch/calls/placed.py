"""How a call comes and is answered."""

from __future__ import annotations

from typing import Final

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.core import Member
from softswitch.calls.headers import SDP_LINE, contact_line, content_lines, reason_of
from softswitch.calls.last_words import failed
from softswitch.calls.lasting import LastingCall, address_of
from softswitch.calls.leg import WAITING, Leg
from softswitch.calls.passing import IN_RESPONSES, any_back, lines_to, passed
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk, may_come, relay_other
from softswitch.dialplan import Route
from softswitch.sip import (
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    answer_lines,
    asked,
    decoded,
    first_codec,
    granted,
    held,
    parse_uri,
    readable,
)

_EARLY_DIALOGS: Final = 16  # that a caller is shown; a callee could make up any number


class PlacedCall(LastingCall):
    """A call whose parties stay as they are: who calls, and who has answered."""

    __slots__ = ()

    def response_head(self, request: Request, flow: Flow) -> str:
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
        self.emergency = route.emergency
        lines = core.call_log
        if lines is not None:
            self.said = lines.begins(started, routed)
        assert self.search is not None
        if core.remembers and route.action.stages:
            core.features.has_called(leg.party, dialled)
        self.search.take(route)

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
            address=address_of(leg),
            user_agent=decoded(request.get("user-agent") or "", most),
            sip_call_id=readable(dialog.call_id, most),
            leg=leg.index,
            came=self.came,
        )
        self.tell(started)
        return started

    def cancelled(self, request: Request) -> None:
        """The caller gave up."""
        if self.core.completes and any(leg.ringing[0] for leg in self.ringing()):
            self._came_to_nothing(487)
        reason = reason_of(request)
        line = f"Reason: {reason}\r\n" if reason else ""
        self._refuse(487)
        assert self.search is not None
        assert self.caller is not None
        self.search.give_up("Cancelled by the caller", line)
        self.leg_ended(self.caller, 487, reason, "remote")
        self._end("cancelled", 487, reason, "caller")

    def withdraw(self, reason: str) -> None:
        """The call is not wanted any more, though its caller has not said so."""
        if self.search is not None:
            self.search.give_up(reason, "")
        self.fail(487, reason)

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
                extra=caller.contact + self._passed(leg, response) + content_lines(response),
                body=response.body,
            )
        else:
            status = 180 if media else response.status
            incoming.respond(
                status,
                None if media else response.reason,
                to_tag=to_tag or caller.session.dialog.local_tag,
                extra=caller.contact + self._passed(leg, response),
            )

    def _passed(self, leg: Leg, response: Response) -> str:
        """What of a response of a leg goes on to the caller, besides its description."""
        if not any_back(response.headers):
            return ""
        core = self.core
        found = passed(
            response, core.parties.passes(leg.party) & IN_RESPONSES, core.settings.max_passed
        )
        return lines_to(found, core.parties.passes(self.party), "") if found is not None else ""

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """Nobody has answered."""
        if self.core.completes:
            self._came_to_nothing(status)
        self.fail(status, reason, by, lines)

    def _came_to_nothing(self, status: int) -> None:
        """Who calls may want to be rung when whom it has called is free."""
        caller = self.caller
        if caller is not None and caller.incoming is not None:
            request = caller.incoming.request
            if request is not None:
                self.core.features.has_failed(self.party, parse_uri(request.uri).user, status)

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """The caller has dialled a star code."""
        core = self.core
        kind, _, name = self.party.partition(":")
        if kind != "extension":
            search.refuse(403, "Only From A Phone Of This Switch")
        elif what in ("redial", "return"):
            last = core.features.last(name, what)
            route = core.route(last, core.parties.source_of(self.party)) if last else None
            if route is None or not route.action.stages:
                search.refuse(404, "No Number To Call")
            else:
                search.take(route)
        else:
            self._set(name, what, argument, number)

    def _set(self, name: str, what: str, argument: str, number: str) -> None:
        """Set what an extension wants of its calls. Nobody can speak of it yet: the caller is shown
        it as the phrase of a failure, and the record is that of a call that had its answer."""
        core, caller = self.core, self.caller
        assert caller is not None
        try:
            key, value, phrase = core.features.set(name, what, argument, number)
        except ValueError as error:
            self.fail(403, str(error))
            return
        except LookupError as error:
            self.fail(404, str(error))
            return
        assert caller.incoming is not None
        assert caller.incoming.request is not None
        dialled = parse_uri(caller.incoming.request.uri).user
        route = core.route(dialled, core.parties.source_of(self.party))
        if route is not None:
            self.tell(
                events.CallRouted(
                    call_id=self.call_id,
                    at=self.now_us(),
                    switch=self.switch_name,
                    match=route.match,
                    where=route.where,
                    number=readable(route.number, self.most),
                    properties={key: value},
                    incoming=self.number,
                )
            )
        self._refuse(480, phrase)
        self.leg_ended(caller, 480, phrase, "switch")
        self._end("answered", 480, phrase, "switch")

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
        if core.completes:
            core.features.has_talked(self.party)
        self.search = None
        caller.status = response.status
        search.won_by(leg)
        early, self.early = self.early, None
        self.legs.append(caller)
        answered = self.leg_joined(leg, response)
        talk = Talk(
            self, core.numbers.talk(self.call_id), caller, leg, leg.how, leg.by or self.party
        )
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
        content = self._passed(leg, response) + (content_lines(response) if body else "")
        self._answer(caller, response.status, response.reason, content, body, cseq)
        if search.offer:
            theirs.ack(response.cseq)
        else:
            # The offer is in this 2xx, so the answer comes with the caller's ACK (§13.2.1).
            mine.ack_for = response.cseq

    def accept(self, body: bytes) -> None:
        """The caller, who has nobody to talk with yet, is answered with this description."""
        caller, search = self.caller, self.search
        assert caller is not None
        assert search is not None
        self.answered = True
        self.answered_at = self.core.timers.clock()
        self.search = None
        search.close()
        caller.status = 200
        caller.state = WAITING
        caller.session.ours = body
        self.legs.append(caller)
        cseq = caller.session.dialog.remote_cseq
        self._answer(caller, 200, "OK", SDP_LINE if body else "", body, cseq)

    def _answer(
        self, caller: Leg, status: int, reason: str, content: str, body: bytes, cseq: int
    ) -> None:
        """Our 2xx to the caller."""
        core, session, incoming = self.core, caller.session, caller.incoming
        assert incoming is not None
        request = incoming.request
        timed = ""
        if request is not None:
            caller.updates = "UPDATE" in (request.get("allow") or "")
            settings = core.settings
            terms = asked(request, settings.session_expires, settings.min_se)
            if terms is not None:
                caller.timed(terms)
                timed = answer_lines(terms)
        data = incoming.respond(
            status,
            reason,
            to_tag=session.dialog.local_tag,
            extra=f"{caller.contact}{caller.allow_line(self.update)}{timed}"
            f"Server: {core.settings.user_agent}\r\n{content}",
            body=body,
        )
        session.accepted(incoming.flow, data, cseq, caller.not_acked)
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
        leg.updates = "UPDATE" in (response.get("allow") or "")
        if "session-expires" in response.headers:
            leg.timed(granted(response))
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
            if leg.up and leg.session.idle and leg.session.ours and request.body:
                self._answer_alone(leg, request, transaction)
            elif leg is self.caller and not self.answered:
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

    def _answer_alone(self, leg: Leg, request: Request, transaction: InviteServer) -> None:
        """An offer of who waits for somebody, perhaps only to refresh its session: there is nobody
        to be heard."""
        leg.refresh_target(request)
        session = leg.session
        session.new_peer()
        body = session.describe(held(session.ours))
        lines = leg.asks(request) if leg.timer_wanted(request) else ""
        data = transaction.respond(
            200,
            extra=f"{leg.contact}{leg.allow_line(self.update)}{lines}{SDP_LINE}",
            body=body,
        )
        session.theirs, session.ours = request.body, body
        session.accepted(transaction.flow, data, request.cseq, leg.not_acked, transaction.key)

    def _early_partner(self, leg: Leg) -> Leg | None:
        """Who a request goes to before the answer: the only one that it can mean."""
        if leg is not self.caller:
            return self.caller
        if self.search is None:
            return None
        ringing = [one for one in self.search.inviting() if one.session.dialog.remote_tag]
        return ringing[0] if len(ringing) == 1 else None
