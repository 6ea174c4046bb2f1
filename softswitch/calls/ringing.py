"""What passes while a call rings, between the caller and those who ring: responses, early dialogs,
and what is agreed on in them (RFC 3261 §13, RFC 3262, RFC 3311)."""

from __future__ import annotations

from functools import partial

from softswitch.calls.core import Member
from softswitch.calls.diversion import Diversion, told_line
from softswitch.calls.early import Early, Relayed, takes_reliable
from softswitch.calls.headers import content_lines
from softswitch.calls.lasting import LastingCall
from softswitch.calls.leg import INVITING, Leg
from softswitch.calls.passing import IN_RESPONSES, any_back, lines_to, passed
from softswitch.calls.search import Search
from softswitch.calls.talk import agreed, may_come, relay_other
from softswitch.sip import (
    Flow,
    InviteServer,
    NonInviteServer,
    Provisional,
    Request,
    Response,
    Session,
    has_option,
    rack_line,
    same_media,
)


class RingingCall(LastingCall):
    """A call as its caller and those who ring know it, before one has answered."""

    __slots__ = ()

    # --- what those who ring say (`search.SearchUser`)

    def rings(
        self, search: Search, leg: Leg, session: Session, response: Response, reliable: bool
    ) -> bool:
        """A provisional response, for the caller; whether its PRACK is that of a reliable one."""
        caller = self.caller
        assert caller is not None
        incoming = caller.incoming
        assert incoming is not None
        early = self.early
        tag = early.tags.get((leg.index, response.to_tag), "") if early is not None else ""
        media = bool(response.body)
        request = incoming.request
        reliably = False
        if request is not None and (reliable or "require" in request.headers):
            told = reliable and self.core.parties.may_prack(self.party)
            reliably = takes_reliable(request, told)
        # The media of several phones that ring at once cannot all be heard: then none is. But for
        # offers, each of which the caller has to answer, if who makes it awaits that.
        shown = (
            media
            and (search.alone() if search.offer or not reliably else reliable)
            and (tag != "" or early is None or early.has_room())
        )
        if shown or reliably:
            early = self._shown(caller, incoming)
        status, reason, body = response.status, response.reason, b""
        if status == 181 and self._keeps_to_ourselves(leg):
            status, reason = 183, ""
        lines = caller.contact + self._passed(leg, response)
        if shown:
            assert early is not None
            tag = early.open(leg, response.to_tag)
            lines += content_lines(response)
            body = response.body
        elif media:
            status, reason = 180, ""
        tag = tag or caller.session.dialog.local_tag
        if not reliably:
            incoming.respond(status, reason or None, to_tag=tag, extra=lines, body=body)
            return False
        assert early is not None
        relayed = Relayed(leg, session, response) if reliable and (shown or not media) else None
        sent = early.send(Provisional(status, reason or None, tag, lines, body, relayed))
        return sent and relayed is not None

    def forwarded(self, search: Search, way: Diversion) -> None:
        """Somebody is rung to whom the call was forwarded: the caller is told so (§21.1.3), but for
        a carrier, and for one who hears somebody already."""
        caller, early, core = self.caller, self.early, self.core
        if (early is not None and early.tags) or not core.parties.is_ours(self.party):
            return
        assert caller is not None
        incoming = caller.incoming
        assert incoming is not None
        request = incoming.request
        tag = caller.session.dialog.local_tag
        lines = caller.contact
        if request is not None and has_option(request, "supported", "histinfo"):
            lines += told_line(search.came, way, incoming.flow.sent_by)
        if request is not None and takes_reliable(request, False):
            one = Provisional(181, None, tag, lines, b"", None)
            self._shown(caller, incoming).send(one)
        else:
            incoming.respond(181, to_tag=tag, extra=lines)

    def _shown(self, caller: Leg, incoming: InviteServer) -> Early:
        """What the caller is shown."""
        early = self.early
        if early is None:
            early = self.early = Early(self.core, caller, incoming, self._not_acknowledged)
        return early

    def _keeps_to_ourselves(self, leg: Leg) -> bool:
        """Whether the caller is not to know what that one's call is forwarded to."""
        parties = self.core.parties
        return parties.is_ours(leg.party) and not parties.is_ours(self.party)

    def _not_acknowledged(self) -> None:
        """No PRACK has come (RFC 3262 §3)."""
        if not self.over and not self.answered:
            if self.search is not None:
                self.search.give_up("No PRACK", 'Reason: SIP;cause=504;text="No PRACK"\r\n')
            self.fail(504, "No PRACK")

    def _passed(self, leg: Leg, response: Response) -> str:
        """What of a response of a leg goes on to the caller, besides its description."""
        if not any_back(response.headers):
            return ""
        core = self.core
        found = passed(
            response, core.parties.passes(leg.party) & IN_RESPONSES, core.settings.max_passed
        )
        return lines_to(found, core.parties.passes(self.party), "") if found is not None else ""

    def _answers_in(self, early: Early, leg: Leg, response: Response) -> str:
        """The dialog of the caller's 2xx: not one in which it has another answer (§13.2.1)."""
        key = leg.index, response.to_tag
        tag = early.tags.get(key, "")
        if not tag and not early.tags:
            assert self.caller is not None
            tag = self.caller.session.dialog.local_tag
        session = early.session_of(tag) if tag else None
        body = response.body
        if (
            session is not None
            and session.agreed
            and not leg.session.agreed
            and body
            and not same_media(body, session.ours)
        ):
            # What the caller has acknowledged was to this callee no answer yet.
            session = None
        return tag if session is not None else self.core.tokens.token()

    def _found_later(self, search: Search, leg: Leg, response: Response) -> None:
        """What an answer has waited for is there."""
        if self.search is search and leg.state == INVITING:
            search.answered(leg, response)

    def before_the_answer(
        self,
        leg: Member,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request within an early dialog."""
        assert isinstance(leg, Leg)
        mine = self._early_session(leg, request)
        if mine is None:
            transaction.respond(481)
        elif not mine.dialog.in_order(request):
            # §12.2.2: out of order.
            transaction.respond(500, "CSeq Out Of Order")
        elif request.method == "BYE":
            transaction.respond(200)
            self.bye_from(leg, request)
        elif not may_come(self, leg, request, transaction, flow):
            pass
        elif isinstance(transaction, InviteServer):
            if leg is self.caller:
                # §14.2: an INVITE while an earlier one is not done yet.
                transaction.respond(500, "Earlier INVITE Is Pending", extra="Retry-After: 1\r\n")
            else:
                transaction.respond(491)
        else:
            partner = self._early_partner(leg, mine)
            if partner is None or (
                request.method == "UPDATE" and request.body and mine.agreed != partner[1].agreed
            ):
                # What one has agreed on already the other has not (RFC 3311 §5.2).
                transaction.respond(491)
            else:
                other, theirs = partner
                relay_other(self, leg, mine, other, theirs, request, transaction)

    def _early_session(self, leg: Leg, request: Request) -> Session | None:
        """The dialog of a request of who is not answered yet, or has not answered."""
        session, tag = leg.session, request.from_tag
        if leg is self.caller:
            if session.dialog.remote_tag and tag != session.dialog.remote_tag:
                return None
            return session if self.early is None else self.early.session_of(request.to_tag)
        if not session.dialog.remote_tag or leg.attempt is None:
            return session
        return leg.attempt.session_of(tag)

    def acknowledged(self, leg: Member, request: Request, transaction: NonInviteServer) -> None:
        """A PRACK (RFC 3262 §3, §5)."""
        assert isinstance(leg, Leg)
        early = self.early if leg is self.caller and leg.state == INVITING else None
        provisionals = early.provisionals if early is not None else leg.session.provisionals
        one = provisionals.acknowledged(request) if provisionals is not None else None
        if one is None:
            transaction.respond(481)
            return
        session = early.session_of(one.to_tag) if early is not None else leg.session
        assert session is not None
        body = request.body
        answers = False
        if early is not None and one.body and not session.agreed:
            session.ours = one.body
            if early.offer:
                session.agreed = True
            elif body:
                session.theirs, session.agreed, answers = body, True, True
        relayed = one.key
        if early is None or not isinstance(relayed, Relayed) or relayed.leg.state != INVITING:
            # There is nobody who would answer an offer.
            transaction.respond(488 if body and not answers else 200)
        elif body and not answers and not (session.agreed and relayed.session.agreed):
            # One of them has no answer yet, and may get no other offer (RFC 3262 §5).
            transaction.respond(488)
            relayed.session.send("PRACK", rack_line(relayed.number, relayed.cseq))
        else:
            self._acknowledge_too(session, relayed, request, transaction, answers)
        if early is not None:
            early.go_on()

    def _acknowledge_too(
        self,
        mine: Session,
        relayed: Relayed,
        request: Request,
        transaction: NonInviteServer,
        answers: bool,
    ) -> None:
        """The caller has acknowledged what came from somebody who waits for that."""
        theirs, body = relayed.session, request.body
        sent = theirs.describe(body)
        if answers:
            theirs.ours, theirs.agreed = sent, True
        theirs.send(
            "PRACK",
            rack_line(relayed.number, relayed.cseq) + (content_lines(request) if body else ""),
            sent,
            partial(self._acknowledged_too, mine, theirs, body, sent, transaction, answers),
        )

    def _acknowledged_too(
        self,
        mine: Session,
        theirs: Session,
        offer: bytes,
        sent: bytes,
        transaction: NonInviteServer,
        answers: bool,
        response: Response,
    ) -> None:
        if response.status < 200:
            return
        answer = response.body
        body = mine.describe(answer)
        if offer and answer and not answers and response.status < 300:
            agreed(mine, theirs, offer, sent, answer, body)
        lines = content_lines(response) if answer else ""
        transaction.respond(response.status, response.reason, extra=lines, body=body)

    def _early_partner(self, leg: Leg, mine: Session) -> tuple[Leg, Session] | None:
        """Who a request goes to before the answer: who is in the same early dialog, or else the
        only one that it can mean."""
        early, search, caller = self.early, self.search, self.caller
        if search is None or caller is None:
            return None
        if leg is not caller:
            tag = ""
            if early is not None:
                tag = early.tags.get((leg.index, mine.dialog.remote_tag), "")
            session = early.session_of(tag) if early is not None and tag else caller.session
            return (caller, session) if session is not None else None
        rings = early.rings_in(mine.dialog.local_tag) if early is not None else None
        ringing = [one for one in search.inviting() if one.session.dialog.remote_tag]
        if rings is not None:
            for one in ringing:
                theirs = one.attempt.session_of(rings[1]) if one.attempt is not None else None
                if one.index == rings[0] and theirs is not None:
                    return one, theirs
            return None
        return (ringing[0], ringing[0].session) if len(ringing) == 1 else None
