"""A leg to the switch's own media that is none of the call's parties: nobody is told of it, and no
record has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from softswitch.calls.attempt import Attempt
from softswitch.calls.core import Passage
from softswitch.calls.destination import Destination
from softswitch.calls.headers import SDP_LINE, contact_line
from softswitch.calls.leg import WAITING, Leg, Rung
from softswitch.sip import (
    ClientRequest,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Session,
)

_NOT_COUNTED = -1
"""The number of a leg that nobody is told of."""


class Beside(Rung):
    """Who has such legs."""

    def lost(self, aside: Leg) -> None:
        """That one has hung up, or never came."""
        raise NotImplementedError


class Aside(Leg):
    """One of them."""

    __slots__ = ("asked", "owner")

    def __init__(self, call: Passage, party: str, session: Session, owner: Beside) -> None:
        super().__init__(call, _NOT_COUNTED, party, "", session, False)
        self.ended = True  # nobody was told that it began
        self.owner: Beside | None = owner
        self.asked: NonInviteServer | None = None  # an UPDATE that it is to answer

    def close(self) -> None:
        """See `Leg`: also when its worker has died."""
        super().close()
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.lost(self)

    def within_dialog(
        self, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """It may hang up, and nothing else."""
        owner = self.owner
        if request.method != "BYE":
            transaction.respond(405)
        elif owner is None:
            transaction.respond(481)
        else:
            transaction.respond(200)
            owner.lost(self)

    def gone(self) -> None:
        """It says that it is not there any more."""
        if self.owner is not None:
            self.owner.lost(self)

    def leave(self) -> None:
        """It is not needed any more: its application hangs up."""
        self.owner = None
        asked, self.asked = self.asked, None
        if asked is not None:
            asked.respond(491)
        self.close()


def invite_aside(call: Passage, owner: Beside, destination: Destination, offer: bytes) -> Aside:
    """Call an application there, with that offer."""
    core, flow, uri = call.core, destination.flow, destination.uri
    tag = core.tokens.token()
    from_ = f"<sip:{flow.sent_by}>;tag={tag}"
    dialog = Dialog(core.tokens.token(), from_, tag, f"<{uri}>", flow)
    dialog.target = uri
    dialog.local_cseq = 1
    aside = Aside(call, destination.party, Session(core, dialog), owner)
    attempt = Attempt(aside, owner, destination)
    aside.attempt = attempt
    aside.contact = contact_line(flow, uri)
    core.remember(aside)
    request = ClientRequest(
        "INVITE",
        uri,
        core.tokens.branch(),
        from_,
        f"<{uri}>",
        dialog.call_id,
        1,
        max_forwards=core.settings.max_forwards,
        extra=f"{aside.contact}{aside.allow_line(False)}{SDP_LINE}",
        body=offer,
    )
    attempt.wait(core.settings.no_response)
    attempt.invite = core.transactions.invite(request, flow, attempt.on_response)
    return aside


def tell_aside(aside: Aside, description: bytes, told: Callable[[bool], None]) -> None:
    """Tell an application that is there already where whom it speaks with is, by an offer. `told`
    is called once, with whether it has agreed; not if its leg is over by then. The session has to
    be idle, and is again."""
    session = aside.session
    # What it is sent next comes from somebody else.
    session.new_peer()
    session.invite(
        f"{aside.contact}{aside.allow_line(False)}{SDP_LINE}",
        description,
        partial(_told, aside, description, told),
    )


def _told(
    aside: Aside, description: bytes, told: Callable[[bool], None], response: Response
) -> None:
    status, session = response.status, aside.session
    if status < 200 or aside.call is None:
        return
    if status < 300 and response.cseq == session.ack_cseq:
        session.ack_again(response.cseq)
        return
    session.outgoing = None
    if status < 300:
        session.ack(response.cseq)
        session.ours, session.theirs = description, response.body
    told(status < 300)
    session.settle()


def take_answer(aside: Leg, offer: bytes, response: Response) -> None:
    """It has answered that offer."""
    session = aside.session
    session.ours, session.theirs = offer, response.body
    session.ack(response.cseq)
    if isinstance(aside.attempt, Attempt):
        aside.attempt.won()
    aside.state = WAITING
