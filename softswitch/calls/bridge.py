"""The bridge: requests of one party of an answered call, relayed to the other.

re-INVITE and UPDATE (offers and answers pass as they are: the media goes from phone to phone), INFO
and MESSAGE. Glare is RFC 3261 §14.1 and §14.2; a dialog that turns out to be gone is §12.2.1.2.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.headers import KNOWN_METHODS, content_lines, explanation, unsupported
from softswitch.calls.leg import CONFIRMED, Leg
from softswitch.sip import (
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Unacknowledged,
    first_codec,
    is_held,
)

if TYPE_CHECKING:
    from softswitch.calls.call import Call

_RELAYED = frozenset(("UPDATE", "INFO", "MESSAGE"))
_GONE = frozenset((408, 481))


def relay(
    call: Call,
    leg: Leg,
    request: Request,
    transaction: InviteServer | NonInviteServer,
    flow: Flow,
) -> None:
    """A request other than BYE from `leg` within its dialog, which came by `flow`."""
    method = request.method
    missing = unsupported(request)
    if missing:
        transaction.respond(420, extra=missing)
        return
    if leg.nat and (method == "INVITE" or method == "UPDATE" or flow.reliable):
        # Who is behind NAT and got another port is to be found there; who had to connect again is
        # wherever it speaks from.
        if leg.dialog.flow.remote != flow.remote:
            call.changed()
        leg.dialog.flow = flow
    if isinstance(transaction, InviteServer):
        _relay_invite(call, leg, request, transaction)
    elif method == "OPTIONS":
        transaction.respond(200, extra=call.allow_line())
    elif method in _RELAYED:
        _relay_other(call, leg, request, transaction)
    else:
        transaction.respond(405 if method in KNOWN_METHODS else 501, extra=call.allow_line())


def _partner(call: Call, leg: Leg) -> Leg | None:
    """Who a request goes to: the other party, or before the answer the only one it can mean."""
    if call.answered:
        return call.other(leg)
    if leg is not call.caller:
        return call.caller
    if call.search is None:
        return None
    ringing = [other for other in call.search.inviting() if other.dialog.remote_tag]
    return ringing[0] if len(ringing) == 1 else None


def _relay_invite(call: Call, leg: Leg, request: Request, transaction: InviteServer) -> None:
    other = call.other(leg)
    if other is None and leg is not call.caller:
        # §14.2: our own INVITE in this dialog is not answered yet.
        transaction.respond(491)
        return
    if other is None or leg.pending is not None or leg.answer is not None:
        # §14.2: an INVITE while an earlier one is not done yet.
        transaction.respond(500, "Earlier INVITE Is Pending", extra="Retry-After: 1\r\n")
        return
    if leg.outgoing is not None or other.pending is not None or other.answer is not None:
        transaction.respond(491)
        return
    leg.refresh_target(request)
    transaction.user = leg
    transaction.trying()
    leg.pending = transaction
    core = call.core
    offer = request.body
    sent = other.request(
        "INVITE",
        f"{other.contact}{call.allow_line()}{content_lines(request) if offer else ''}",
        offer,
    )
    other.outgoing = core.transactions.invite(
        sent,
        other.flow(),
        partial(_reinvite_answered, call, leg, other, transaction, offer, request.cseq),
    )


def _reinvite_answered(
    call: Call,
    leg: Leg,
    other: Leg,
    transaction: InviteServer,
    offer: bytes,
    cseq: int,
    response: Response,
) -> None:
    """To the re-INVITE that `leg` sent and `other` was sent, `other` said this."""
    status = response.status
    if status < 200 or other.call is None:
        return
    if leg.pending is not transaction:
        # Its 2xx once more, or one that crossed the end of the call: each wants its ACK.
        if status < 300 and other.ack_cseq < response.cseq and not leg.ack_for:
            other.send_ack(response.cseq)
        elif status < 300:
            other.acknowledge_again(response.cseq)
        return
    leg.pending = other.outgoing = None
    if status >= 300:
        failure = outcome.for_caller(status, response.reason)
        transaction.respond(*failure, extra=explanation(response))
        if status in _GONE:
            call.hang_up_all("the other side is gone")
        return
    other.refresh_target(response)
    body = response.body
    data = transaction.respond(
        status,
        response.reason,
        extra=f"{leg.contact}{call.allow_line()}{content_lines(response) if body else ''}",
        body=body,
    )
    if not data:
        other.send_ack(response.cseq)
        return
    core = call.core
    leg.answer = Unacknowledged(
        core.timers,
        core.transactions.settings,
        transaction.flow,
        data,
        cseq,
        leg.not_acked,
        transaction.key,
        core.transactions.carry,
    )
    if offer:
        other.send_ack(response.cseq)
    else:
        leg.ack_for = response.cseq
    _tell_media(call, leg, offer, body)


def _relay_other(call: Call, leg: Leg, request: Request, transaction: NonInviteServer) -> None:
    other = _partner(call, leg)
    if other is None or other.call is None:
        transaction.respond(481 if call.answered else 491)
        return
    update = request.method == "UPDATE"
    extra = content_lines(request) if request.body else ""
    if update:
        leg.refresh_target(request)
        extra = other.contact + extra
    package = request.get("info-package")
    if package:
        # RFC 6086: without it the body of an INFO means nothing.
        extra += f"Info-Package: {package}\r\n"

    call.core.transactions.send(
        other.request(request.method, extra, request.body),
        other.flow(),
        partial(_other_answered, call, leg, other, request, transaction),
    )


def _other_answered(
    call: Call,
    leg: Leg,
    other: Leg,
    request: Request,
    transaction: NonInviteServer,
    response: Response,
) -> None:
    """To `request`, which `leg` sent, `other` said this."""
    status = response.status
    if status < 200:
        return
    update = request.method == "UPDATE"
    lines = content_lines(response) if response.body else ""
    if update and status < 300:
        other.refresh_target(response)
        lines = leg.contact + lines
    elif status >= 300:
        lines += explanation(response)
    transaction.respond(status, response.reason, extra=lines, body=response.body)
    if status in _GONE and call.answered:
        call.hang_up_all("the other side is gone")
    elif update and status < 300 and request.body:
        _tell_media(call, leg, request.body, response.body)


def _probed(call: Call, leg: Leg, response: Response) -> None:
    if response.status not in _GONE or call.over:
        return
    # Many a carrier throws OPTIONS within a call away.
    kind, _, name = leg.party.partition(":")
    if kind == "trunk" and response.ours and not call.core.trunks.is_checked(name):
        return
    call.hang_up_all("a side vanished")


def probe(call: Call, leg: Leg) -> None:
    """Ask a party of an answered call whether it is still there; end the call if it is not."""
    if leg.state == CONFIRMED:
        call.core.transactions.send(leg.request("OPTIONS"), leg.flow(), partial(_probed, call, leg))


def _tell_media(call: Call, leg: Leg, offer: bytes, answer: bytes) -> None:
    if call.over:
        return
    if call.told is not None:
        index = leg.index
        call.told = [
            event for event in call.told if type(event) is not events.LegMedia or event.leg != index
        ]
    call.tell(
        events.LegMedia(
            call_id=call.call_id,
            at=call.now_us(),
            switch=call.switch_name,
            leg=leg.index,
            held=is_held(offer or answer),
            codec=first_codec(answer or offer),
        )
    )
