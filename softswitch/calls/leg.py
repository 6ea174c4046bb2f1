"""A leg: one party of a call, the session with it and the transactions that are under way in it."""

from __future__ import annotations

from typing import Final

from softswitch.calls.core import Member, Passage
from softswitch.calls.destination import Destination
from softswitch.calls.diversion import Diversion
from softswitch.calls.headers import ALLOW, ALLOW_ALL, ALLOW_REFER, ALLOW_UPDATE, SDP_LINE
from softswitch.calls.records import InviteRecord, LegRecord, flow_record
from softswitch.sip import (
    Flow,
    InviteClient,
    InviteServer,
    NonInviteServer,
    Refresh,
    Request,
    Response,
    Session,
    Terms,
    answer_lines,
    asked,
    granted,
    least_of,
)

INVITING: Final = 0
CANCELLED: Final = 1
WAITING: Final = 2
TALKING: Final = 3
LEAVING: Final = 4
OVER: Final = 5

DIALLED: Final = "dialled"
FORWARDED: Final = "forward"
APPLICATION: Final = "application"

_GONE: Final = frozenset((408, 481))
_BUSY: Final = 5.0
"""Seconds until a refresh that cannot be made just now is tried again."""

_BAD_2XX: Final = (
    'Reason: SIP;cause=400;text="Contact or Record-Route of the 2xx is missing or bad"\r\n'
)


class Rung:
    """A search as the legs that it rings know it (`softswitch.calls.search`). `offer` is what all
    of them are offered."""

    offer: bytes
    some_down: bool

    def heard(self, leg: Leg) -> None:
        """The leg has answered: its trunk lives."""
        raise NotImplementedError

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """A provisional response of a leg that is still wanted, in one of its early dialogs; of a
        reliable one, whether somebody else is to acknowledge it."""
        raise NotImplementedError

    def answered(self, leg: Leg, response: Response) -> None:
        """The first 2xx of a leg that is still wanted."""
        raise NotImplementedError

    def failed(self, leg: Leg, response: Response) -> None:
        """A final response other than 2xx of a leg that is still wanted."""
        raise NotImplementedError


class Ringing:
    """An attempt as its leg knows it (`softswitch.calls.attempt`). `search` is the one that rings
    the leg (None: no more), `invite` the INVITE, `destination` where that went, until the answer.
    `told` is the last provisional status, and whether it had media; `way` by which forwarding the
    call came there. `mixer`: who makes the
    offer, if it is a media worker in the caller's place."""

    __slots__ = ("destination", "invite", "mixer", "search", "told", "way")

    def __init__(self) -> None:
        self.search: Rung | None = None
        self.invite: InviteClient | None = None
        self.destination: Destination | None = None
        self.told = (0, False)
        self.way: Diversion | None = None
        self.mixer: Rung | None = None

    def session_of(self, tag: str) -> Session | None:
        """The session with that one of those to whom the INVITE was forked."""
        raise NotImplementedError

    def on_response(self, response: Response) -> None:
        """A response to the INVITE."""
        raise NotImplementedError

    def cancel(self, reason: str) -> None:
        """Nobody waits for an answer any more. `reason` is header lines."""
        raise NotImplementedError

    def stop(self) -> None:
        """Nothing more is expected of it."""
        raise NotImplementedError


class Heard:
    """A talk as its legs know it (`softswitch.calls.talk`)."""

    def other(self, leg: Leg) -> Leg | None:
        """Whom a leg of it talks with."""
        raise NotImplementedError

    def relay(
        self,
        leg: Leg,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request other than BYE from one of its legs, which came by `flow`."""
        raise NotImplementedError

    def late_answer(self, leg: Leg, cseq: int, request: Request) -> None:
        """The ACK that carries the answer: the other leg's INVITE of `cseq` waits for it."""
        raise NotImplementedError

    def astray(self, leg: Leg) -> None:
        """What became of an offer to `leg` the one who made it never hears."""
        raise NotImplementedError

    def goes_first(self, leg: Leg) -> None:
        """An offer to `leg`: one of its own can wait no longer."""
        raise NotImplementedError

    def cancelled(self, transaction: InviteServer) -> None:
        """A CANCEL of an INVITE that is not under way."""
        raise NotImplementedError

    def end(self) -> None:
        """It is over, whatever its legs do next."""
        raise NotImplementedError


_STATES: Final = ("ringing", "cancelled", "waiting", "talking", "leaving", "over")


def state_of(leg: Leg) -> str:
    """Its state in a word, for people."""
    return _STATES[leg.state]


class Leg(Member):
    """One party of a call. `index` is its number at this switch (`softswitch.events`).

    `came_in`: it was an INVITE of theirs, not of ours. `between`: another of our switches is at the
    other end. `talk` is the one that it takes part in, `attempt` how it is rung, or was.
    """

    __slots__ = (
        "attempt",
        "between",
        "by",
        "bye_waits",
        "call",
        "came_in",
        "codec",
        "contact",
        "ended",
        "holder",
        "how",
        "incoming",
        "index",
        "line",
        "number",
        "party",
        "refers",
        "refresh",
        "session",
        "state",
        "status",
        "talk",
        "updates",
        "user_agent",
    )

    def __init__(
        self, call: Passage, index: int, party: str, number: str, session: Session, came_in: bool
    ) -> None:
        self.call: Passage | None = call
        self.index = index
        self.party = party
        self.number = number
        self.session = session
        self.came_in = came_in
        self.between = False
        self.refers = False  # whether it may transfer
        self.how = DIALLED  # how its first talk comes about, and by whom, if not the caller
        self.by = ""
        self.ended = False  # whether its end has been told
        self.state = INVITING
        self.status = 0
        self.line = ""
        self.holder: object = None  # of its line, if that is another than usual
        self.contact = ""
        self.codec = ""
        self.user_agent = ""
        # The INVITE that made it, one of theirs (until its answer, and for the journal until 64*T1
        # after it) or one of ours.
        self.incoming: InviteServer | None = None
        self.attempt: Ringing | None = None
        self.talk: Heard | None = None
        self.bye_waits: str | None = None
        self.refresh: Refresh | None = None  # if the session has a timer (RFC 4028)
        self.updates = False  # whether it takes UPDATE

    @property
    def key(self) -> str:
        """What requests within the dialog are found by."""
        dialog = self.session.dialog
        return f"{dialog.call_id} {dialog.local_tag}"

    @property
    def up(self) -> bool:
        """Whether it is answered and goes on."""
        return self.state == TALKING or self.state == WAITING

    def allow_line(self, update: bool) -> str:
        """What is taken within the call."""
        if self.refers:
            return ALLOW_ALL if update else ALLOW_REFER
        return ALLOW_UPDATE if update else ALLOW

    # --- requests to this party

    def cancel(self, reason: str) -> None:
        """End the INVITE that this party has not answered yet. `reason` is header lines."""
        self.state = CANCELLED
        if self.attempt is not None:
            self.attempt.cancel(reason)

    def hang_up(self, reason: str, other: Leg | None = None) -> None:
        """End an answered leg with BYE; not before its ACK, which a callee must await (§15).
        `other` is whom it talked with."""
        if not self.up:
            return
        self.state = LEAVING
        session = self.session
        session.drop()
        if self.refresh is not None:
            self.refresh.stop()
            self.refresh = None
        if other is not None and other.session.ack_for:
            # The answer that this ACK was to carry will never come: not from one who hangs up
            # instead, nor is it of use to one that is hung up on.
            session.ack(other.session.ack_for)
            other.session.ack_for = 0
        if session.answer is not None:
            self.bye_waits = reason
        else:
            self.bye(reason)

    def free(self) -> None:
        """Its talk is over and it goes on: an offer of its own that nobody will answer any more it
        may make again."""
        session = self.session
        pending, session.pending = session.pending, None
        if pending is not None:
            pending.respond(491)

    def bye(self, reason: str) -> None:
        """Send it."""
        self.session.send("BYE", reason, b"", self._bye_answered)

    def _bye_answered(self, response: Response) -> None:
        if response.status >= 200:
            self.close()

    def refresh_target(self, message: Request | Response) -> None:
        """What a re-INVITE or UPDATE, or its 2xx, says of where this party is to be found."""
        if self.session.refresh(message) and self.call is not None:
            self.call.changed()

    def stray(self, response: Response) -> None:
        """A 2xx to an INVITE that this party was sent before the switch was killed.

        Without its ACK the party would send it for 32 s and then end the call (§13.3.1.4). If the
        INVITE was a re-INVITE its sender never hears of the answer, and may ask again; if it was to
        bring two together, they may not hear each other.
        """
        session = self.session
        cseq, dialog = response.cseq, session.dialog
        if self.call is None or response.to_tag != dialog.remote_tag:
            return
        other = self.talk.other(self) if self.talk is not None else None
        if cseq == session.ack_cseq:
            session.ack_again(cseq)
        elif cseq <= dialog.local_cseq and not (
            other is not None and other.session.ack_for == cseq
        ):
            self.refresh_target(response)
            session.ack(cseq)
            if self.talk is not None:
                self.talk.astray(self)

    # --- requests from this party

    def acked(self, request: Request) -> bool:
        """An ACK of this party; False if no 2xx of ours waits for it."""
        call, session = self.call, self.session
        if call is None or not session.acked(request.cseq):
            return False
        call.changed()
        cseq, session.ack_for = session.ack_for, 0
        if cseq and self.talk is not None:
            self.talk.late_answer(self, cseq, request)
        if self.bye_waits is not None:
            self._bye_that_waited(call)
        elif session.when_idle is not None:
            session.settle()
        return True

    def not_acked(self) -> None:
        """No ACK of our 2xx within 64*T1: the session is to be ended (§13.3.1.4)."""
        self.session.answer = None
        call = self.call
        if call is None:
            return
        if self.bye_waits is not None:
            self._bye_that_waited(call)
        else:
            call.vanished(self, "no ACK")

    def _bye_that_waited(self, call: Passage) -> None:
        reason, self.bye_waits = self.bye_waits or "", None
        self.bye(reason)
        call.said_all()

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        """A CANCEL of an INVITE from this party."""
        call = self.call
        if call is None:
            return
        if transaction is self.incoming:
            call.cancelled(request)
        elif transaction is self.session.pending:
            other = self.talk.other(self) if self.talk is not None else None
            if other is not None and other.session.outgoing is not None:
                other.session.outgoing.cancel("")
        elif self.talk is not None:
            self.talk.cancelled(transaction)

    def terminated(self, transaction: InviteServer) -> None:
        """The INVITE that made this leg cannot come again."""
        if transaction is self.incoming:
            self.incoming = None

    def within_dialog(
        self, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """Any request but ACK and CANCEL within this leg's dialog."""
        call, dialog = self.call, self.session.dialog
        if call is not None and self.state == INVITING:
            call.before_the_answer(self, request, transaction, flow)
        elif call is None or (dialog.remote_tag and request.from_tag != dialog.remote_tag):
            transaction.respond(481)
        elif self.state == CANCELLED or self.state == LEAVING:
            # Told to end already, and its end has been told: nothing it says changes the call. A
            # BYE that crossed ours has its 200 (§15.1.2), and the rest finds no call any more.
            transaction.respond(200 if request.method == "BYE" else 481)
        elif not dialog.in_order(request):
            # §12.2.2: out of order.
            transaction.respond(500, "CSeq Out Of Order")
        elif request.method == "BYE":
            transaction.respond(200)
            call.bye_from(self, request)
        elif self.talk is not None:
            self.talk.relay(self, request, transaction, flow)
        else:
            call.alone(self, request, transaction, flow)

    def close(self) -> None:
        """Nothing more is expected of this leg: let go of everything, so that no cycle is left."""
        call = self.call
        if call is None:
            return
        self.state = OVER
        self.call = None
        self.session.stop()
        if self.refresh is not None:
            self.refresh.stop()
            self.refresh = None
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            attempt.stop()
        if self.incoming is not None and self.incoming.user is self:
            self.incoming.user = None
        self.incoming = None
        call.core.forget(self)

    # --- session timers (RFC 4028)

    def timed(self, terms: Terms | None) -> None:
        """The session has these terms from now on; None: no timer."""
        call, refresh = self.call, self.refresh
        if refresh is not None:
            if terms is not None and terms == refresh.terms:
                refresh.again()
                return
            refresh.stop()
            self.refresh = None
        if terms is not None and call is not None:
            self.refresh = Refresh(call.core.timers, terms, self._refresh, self._not_refreshed)

    def session_line(self) -> str:
        """The header line of a re-INVITE or UPDATE to it, without which it would have no timer any
        more (§7.4)."""
        return self.refresh.line() if self.refresh is not None else ""

    def timer_wanted(self, request: Request) -> bool:
        """Whether a re-INVITE or UPDATE of its has to do with a session timer."""
        return self.refresh is not None or "session-expires" in request.headers

    def asks(self, request: Request) -> str:
        """It refreshes the session by this re-INVITE or UPDATE; the header lines of our 2xx."""
        call = self.call
        if call is None:
            return ""
        settings = call.core.settings
        terms = asked(request, settings.session_expires, settings.min_se)
        self.timed(terms)
        return answer_lines(terms) if terms is not None else ""

    def _refresh(self) -> None:
        """It is ours to refresh the session."""
        call, session = self.call, self.session
        if call is None or not self.up or self.refresh is None:
            return
        if not session.idle or not (self.updates or session.ours):
            # What is under way refreshes it as well.
            self.refresh.again(_BUSY)
            return
        extra = f"{self.contact}{self.allow_line(call.update)}{self.session_line()}"
        if self.updates:
            session.send("UPDATE", extra, b"", self._refreshed)
        else:
            session.invite(f"{extra}{SDP_LINE}", session.ours, self._refreshed)

    def _refreshed(self, response: Response) -> None:
        status, session = response.status, self.session
        if status < 200 or self.call is None:
            return
        if response.cseq_method == "INVITE":
            if status < 300 and response.cseq == session.ack_cseq:
                session.ack_again(response.cseq)
                return
            session.outgoing = None
            if status < 300:
                session.ack(response.cseq)
                if response.body:
                    session.theirs = response.body
        if status < 300:
            self.refresh_target(response)
            self.timed(granted(response))
        elif status in _GONE:
            self.call.vanished(self, "a side vanished")
        elif self.refresh is not None:
            terms = self.refresh.terms
            if status == 422:
                self.timed(Terms(max(terms.expires, least_of(response)), True))
            # 491 and whatever else it has against it just now (§7.4): before it is over.
            if self.refresh is not None:
                self.refresh.again(_BUSY)
        session.settle()

    def _not_refreshed(self) -> None:
        if self.call is not None:
            self.call.vanished(self, "the session was not refreshed")

    # --- its life after the process

    def record(self) -> LegRecord:
        """It as the journal holds it."""
        session = self.session
        dialog, answer = session.dialog, session.answer
        client = self.attempt.invite if self.attempt is not None and not self.status else None
        invite = client.request if client is not None else None
        return LegRecord(
            self.index,
            self.party,
            self.number,
            self.line,
            session.nat,
            self.contact,
            self.user_agent,
            self.status,
            dialog.call_id,
            dialog.local,
            dialog.local_tag,
            dialog.remote,
            dialog.remote_tag,
            dialog.target,
            dialog.routes,
            dialog.local_cseq,
            dialog.remote_cseq,
            flow_record(dialog.flow),
            session.ack_cseq,
            session.ack_for,
            answer.data if answer is not None else b"",
            answer.cseq if answer is not None else 0,
            InviteRecord(invite.uri, invite.branch, invite.to, invite.max_forwards, invite.cseq)
            if invite is not None
            else None,
            answer.key if answer is not None else "",
            self.came_in,
            self.between,
            self.codec,
            session.theirs,
            session.ours if session.origin is not None else b"",
            session.origin,
            self.refresh.terms if self.refresh is not None else None,
            self.updates,
            session.ack_body,
        )
