"""One leg of a call: a dialog of its own with one party, and the INVITEs under way in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from softswitch.calls.records import InviteRecord, LegRecord, flow_record
from softswitch.sip import (
    ClientRequest,
    Dialog,
    Flow,
    InviteClient,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Timer,
    Unacknowledged,
    local_response,
)

if TYPE_CHECKING:
    from softswitch.calls.call import Call

INVITING: Final = "inviting"
CONFIRMED: Final = "confirmed"
CANCELLED: Final = "cancelled"
LEAVING: Final = "leaving"
OVER: Final = "over"

_BAD_2XX: Final = (
    'Reason: SIP;cause=400;text="Contact or Record-Route of the 2xx is missing or bad"\r\n'
)


class Leg:
    """One party of a call. `index` is its number at this switch (`softswitch.events`)."""

    __slots__ = (
        "ack_cseq",
        "ack_data",
        "ack_for",
        "answer",
        "bye_waits",
        "call",
        "contact",
        "dialog",
        "incoming",
        "index",
        "invite",
        "line",
        "nat",
        "number",
        "outgoing",
        "party",
        "pending",
        "ringing",
        "state",
        "status",
        "timer",
        "user_agent",
    )

    def __init__(self, call: Call, index: int, party: str, number: str, dialog: Dialog) -> None:
        self.call: Call | None = call
        self.index = index
        self.party = party
        self.number = number
        self.dialog = dialog
        self.state = INVITING
        self.status = 0
        self.line = ""
        self.nat = False
        self.contact = ""
        self.user_agent = ""
        # The INVITE that made leg 0: until its answer, and for the journal until 64*T1 after it.
        self.incoming: InviteServer | None = None
        self.invite: InviteClient | None = None  # the INVITE that made any other leg
        self.pending: InviteServer | None = None  # a re-INVITE from this party, being relayed
        self.outgoing: InviteClient | None = None  # a re-INVITE to this party, unanswered
        self.answer: Unacknowledged | None = None  # our 2xx to this party, not yet acknowledged
        self.ack_for = 0  # CSeq of the other leg's INVITE that waits for this party's ACK
        self.ack_cseq = 0
        self.ack_data = b""
        self.bye_waits: str | None = None
        self.ringing = (0, False)  # the last provisional status, and whether it had media
        self.timer: Timer | None = None

    @property
    def key(self) -> str:
        """What requests within the dialog are found by."""
        return f"{self.dialog.call_id} {self.dialog.local_tag}"

    def on_response(self, response: Response) -> None:
        """A response to the INVITE that made this leg."""
        call = self.call
        if call is None:
            return
        status = response.status
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if call.search is not None and call.search.some_down and not response.ours:
            call.search.heard(self)
        if status < 200:
            if status > 100 and self.state == INVITING and call.search is not None:
                call.search.rings(self, response)
        elif status < 300:
            self._accepted(response)
        elif self.state == INVITING and call.search is not None:
            call.search.failed(self, response)
        else:
            self.close()

    def _accepted(self, response: Response) -> None:
        """A 2xx: the first, one sent again, of another fork, or one that crossed our CANCEL."""
        call = self.call
        assert call is not None
        dialog = self.dialog
        try:
            ours = dialog.follow(response)
        except ValueError:
            # It says not where it is, or not so that one could send there; but it would send this
            # for 32 s and then have a call with nobody.
            wanted = self.state == INVITING
            self._end_accepted(response, _BAD_2XX)
            if wanted and call.search is not None:
                call.search.failed(self, local_response(502, "Bad 2xx From Callee"))
            return
        if not ours:
            self._refuse_fork(response)
            return
        if self.state == INVITING:
            if self.user_agent == "":
                self.user_agent = response.get("user-agent") or response.get("server") or ""
            call.leg_answered(self, response)
        elif self.state == CANCELLED:
            self._end_accepted(response, "")
        else:
            self.acknowledge_again(response.cseq)

    def _end_accepted(self, response: Response, reason: str) -> None:
        """A 2xx that nobody can use: acknowledge and end it (§13.2.2.4)."""
        self.state = LEAVING
        self.send_ack(response.cseq)
        self.bye(reason)

    def _refuse_fork(self, response: Response) -> None:
        """A second 2xx, forked behind the peer: acknowledge and end it (§13.2.2.4)."""
        call = self.call
        assert call is not None
        mine = self.dialog
        other = Dialog(mine.call_id, mine.local, mine.local_tag, "", mine.flow)
        # Where the INVITE went; what the response says, if that can be read, goes before it.
        other.target = self.invite.request.uri if self.invite is not None else mine.target
        with contextlib.suppress(ValueError):
            other.follow(response)
        other.local_cseq = response.cseq
        tokens = call.core.tokens
        flow = self._flow_of(other)
        ack = other.request("ACK", tokens.branch(), cseq=response.cseq).encode(flow)
        call.core.transactions.carry(ack, flow)
        call.core.transactions.send(other.request("BYE", tokens.branch()), flow)

    # --- requests to this party

    def flow(self) -> Flow:
        """The flow that requests within the dialog go out on (§12.2.1.1, §8.1.2)."""
        return self._flow_of(self.dialog)

    def _flow_of(self, dialog: Dialog) -> Flow:
        if self.nat and not dialog.routes:
            return dialog.flow
        hop = dialog.next_hop()
        assert self.call is not None
        return self.call.core.flow_to(hop, dialog.flow) if hop is not None else dialog.flow

    def request(self, method: str, extra: str = "", body: bytes = b"") -> ClientRequest:
        assert self.call is not None
        return self.dialog.request(method, self.call.core.tokens.branch(), extra=extra, body=body)

    def send_ack(self, cseq: int, content: str = "", body: bytes = b"") -> None:
        """The ACK of this party's 2xx; kept, since a 2xx that comes again wants it again."""
        call = self.call
        assert call is not None
        request = self.dialog.request(
            "ACK", call.core.tokens.branch(), cseq=cseq, extra=content, body=body
        )
        flow = self.flow()
        self.ack_cseq = cseq
        self.ack_data = request.encode(flow)
        if flow.reliable:
            call.core.transactions.carry(self.ack_data, flow)
        else:
            flow.send(self.ack_data)

    def acknowledge_again(self, cseq: int) -> None:
        """This party's 2xx came again: so does the ACK, if it was sent already."""
        if cseq == self.ack_cseq and self.call is not None:
            self.call.core.transactions.carry(self.ack_data, self.flow())

    def cancel(self, reason: str) -> None:
        """End the INVITE that this party has not answered yet. `reason` is header lines."""
        self.state = CANCELLED
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.invite is not None:
            self.invite.cancel(reason)

    def hang_up(self, reason: str) -> None:
        """End an answered leg with BYE; not before its ACK, which a callee must await (§15)."""
        if self.state != CONFIRMED:
            return
        self.state = LEAVING
        self._drop_reinvites()
        call = self.call
        other = None
        if call is not None:
            other = call.winner if self is call.caller else call.caller
        if other is not None and other.ack_for:
            # The answer that this ACK was to carry will never come: not from one who hangs up
            # instead, nor is it of use to one that is hung up on.
            self.send_ack(other.ack_for)
            other.ack_for = 0
        if self.answer is not None:
            self.bye_waits = reason
        else:
            self.bye(reason)

    def bye(self, reason: str) -> None:
        call = self.call
        assert call is not None
        call.core.transactions.send(self.request("BYE", reason), self.flow(), self._bye_answered)

    def _bye_answered(self, response: Response) -> None:
        if response.status >= 200:
            self.close()

    def refresh_target(self, message: Request | Response) -> None:
        """What a re-INVITE or UPDATE, or its 2xx, says of where this party is to be found."""
        was = self.dialog.target
        self.dialog.refresh_target(message)
        if self.dialog.target != was and self.call is not None:
            self.call.changed()

    def stray(self, response: Response) -> None:
        """A 2xx to an INVITE that this party was sent before the switch was killed.

        Without its ACK the party would send it for 32 s and then end the call (§13.3.1.4). If the
        INVITE was a re-INVITE its sender never hears of the answer, and may ask again.
        """
        call, cseq = self.call, response.cseq
        if call is None or response.to_tag != self.dialog.remote_tag:
            return
        other = call.other(self)
        if cseq == self.ack_cseq:
            self.acknowledge_again(cseq)
        elif cseq <= self.dialog.local_cseq and not (other is not None and other.ack_for == cseq):
            self.refresh_target(response)
            self.send_ack(cseq)

    # --- requests from this party

    def acked(self, request: Request) -> bool:
        """An ACK of this party; False if no 2xx of ours waits for it."""
        answer, call = self.answer, self.call
        if answer is None or call is None or request.cseq != answer.cseq:
            return False
        answer.stop()
        self.answer = None
        call.changed()
        cseq, self.ack_for = self.ack_for, 0
        if cseq:
            call.late_answer(self, cseq, request)
        if self.bye_waits is not None:
            self._bye_that_waited(call)
        return True

    def not_acked(self) -> None:
        """No ACK of our 2xx within 64*T1: the session is to be ended (§13.3.1.4)."""
        self.answer = None
        call = self.call
        if call is None:
            return
        if self.bye_waits is not None:
            self._bye_that_waited(call)
        else:
            call.hang_up_all("no ACK")

    def _bye_that_waited(self, call: Call) -> None:
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
        elif transaction is self.pending:
            other = call.other(self)
            if other is not None and other.outgoing is not None:
                other.outgoing.cancel("")

    def terminated(self, transaction: InviteServer) -> None:
        """The INVITE that made this leg cannot come again."""
        if transaction is self.incoming:
            self.incoming = None

    def within_dialog(
        self, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """Any request but ACK and CANCEL within this leg's dialog."""
        call = self.call
        if call is None or (self.dialog.remote_tag and request.from_tag != self.dialog.remote_tag):
            transaction.respond(481)
        elif self.state == CANCELLED or self.state == LEAVING:
            # Told to end already, and its end has been told: nothing it says changes the call. A
            # BYE that crossed ours has its 200 (§15.1.2), and the rest finds no call any more.
            transaction.respond(200 if request.method == "BYE" else 481)
        elif not self.dialog.in_order(request):
            # §12.2.2: out of order.
            transaction.respond(500, "CSeq Out Of Order")
        elif request.method == "BYE":
            transaction.respond(200)
            call.bye_from(self, request)
        else:
            call.relay(self, request, transaction, flow)

    def _drop_reinvites(self) -> None:
        """The session ends: who waits for an answer within it gets one (§15.1.2), and a re-INVITE
        that this party has not answered is not waited for any longer than a CANCEL takes."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.respond(487)
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is not None:
            outgoing.cancel()

    def close(self) -> None:
        """Nothing more is expected of this leg: let go of everything, so that no cycle is left."""
        call = self.call
        if call is None:
            return
        self.state = OVER
        self.call = None
        self._drop_reinvites()
        if self.answer is not None:
            self.answer.stop()
            self.answer = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.invite is not None:
            self.invite.abandon()
        if self.incoming is not None and self.incoming.user is self:
            self.incoming.user = None
        self.incoming = self.invite = None
        call.core.forget(self)

    # --- its life after the process

    def record(self) -> LegRecord:
        """It as the journal holds it."""
        dialog, answer = self.dialog, self.answer
        invite = self.invite.request if self.invite is not None and not self.status else None
        return LegRecord(
            self.index,
            self.party,
            self.number,
            self.line,
            self.nat,
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
            self.ack_cseq,
            self.ack_for,
            answer.data if answer is not None else b"",
            answer.cseq if answer is not None else 0,
            InviteRecord(invite.uri, invite.branch, invite.to, invite.max_forwards)
            if invite is not None
            else None,
            answer.key if answer is not None else "",
        )
