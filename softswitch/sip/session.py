"""A session: what INVITE has made of a dialog (RFC 3261 §13, §14), from one side's view.

Who sends which offer is its user's matter; a session knows what is under way: an INVITE of the
peer that waits for an answer, one of ours, a 2xx of ours that waits for its ACK. While there is
any of these no other offer may be made (§14.1, §14.2). It remembers the last description of each
side, so that whoever comes next can be told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from softswitch.sip.account import Account, Exchange
from softswitch.sip.client_transaction import ClientRequest, InviteClient
from softswitch.sip.dialog import Dialog, Unacknowledged
from softswitch.sip.flow import Flow
from softswitch.sip.header_values import Uri
from softswitch.sip.message import Request, Response
from softswitch.sip.provisional import Provisionals
from softswitch.sip.sdp import Origin, origin_of, same_media, with_origin
from softswitch.sip.server_transaction import InviteServer
from softswitch.sip.timers import Timers
from softswitch.sip.tokens import Tokens
from softswitch.sip.transaction import Transactions


class Surroundings:
    """What sessions need of who has them."""

    timers: Timers
    tokens: Tokens
    transactions: Transactions

    def flow_to(self, hop: Uri, fallback: Flow) -> Flow:
        """The flow to a next hop; `fallback` is where the dialog's messages come from."""
        raise NotImplementedError


class Session:
    """Of one dialog. `nat`: requests follow its flow and not its target.

    `ours` and `theirs` are the descriptions in force: what this peer was sent last and what it
    sent; `agreed`: by reliable responses, before the answer (RFC 3262 §5). `rseq` is the last such
    response of the peer's (0: none), `provisionals` are ours to it. `ack_for` is the CSeq of an
    INVITE in another session whose 2xx brought the offer that this peer's ACK is to answer (0:
    none). `account` is what answers the peer's challenges, `credentials` the header lines that
    the last INVITE went with.
    """

    __slots__ = (
        "_around",
        "_origin",
        "account",
        "ack_body",
        "ack_cseq",
        "ack_data",
        "ack_for",
        "agreed",
        "answer",
        "credentials",
        "dialog",
        "nat",
        "ours",
        "outgoing",
        "pending",
        "provisionals",
        "rseq",
        "theirs",
        "when_idle",
    )

    def __init__(self, around: Surroundings, dialog: Dialog) -> None:
        self._around = around
        self.dialog = dialog
        self.nat = False
        self.account: Account | None = None
        self.credentials = ""
        self.pending: InviteServer | None = None  # a re-INVITE of the peer, not answered yet
        self.outgoing: InviteClient | None = None  # a re-INVITE of ours, not answered yet
        self.answer: Unacknowledged | None = None  # our 2xx, not acknowledged yet
        self.ack_for = 0
        self.ack_cseq = 0
        self.ack_body = b""
        self.ack_data = b""
        self.ours = b""
        self.theirs = b""
        self.agreed = False
        self.rseq = 0
        self.provisionals: Provisionals | None = None
        self._origin: Origin | None = None
        self.when_idle: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether an offer may be made."""
        return self.pending is None and self.outgoing is None and self.answer is None

    def settle(self) -> None:
        """Something that was under way is done: who waited for that goes on."""
        waiting = self.when_idle
        if waiting is not None and self.idle:
            self.when_idle = None
            waiting()

    def follows(self, where: tuple[str, str, int]) -> bool:
        """Whether requests go to where the peer speaks from, and that is there (transport, host,
        port)."""
        flow = self.dialog.flow
        return self.nat and (flow.transport, *flow.remote) == where

    # --- what is sent

    def flow(self) -> Flow:
        """The flow that requests within the dialog go out on (§12.2.1.1, §8.1.2)."""
        return self.flow_of(self.dialog)

    def flow_of(self, dialog: Dialog) -> Flow:
        """The same for another dialog with this peer."""
        if self.nat and not dialog.routes:
            return dialog.flow
        hop = dialog.next_hop()
        return self._around.flow_to(hop, dialog.flow) if hop is not None else dialog.flow

    def request(self, method: str, extra: str = "", body: bytes = b"") -> ClientRequest:
        """A request within the dialog."""
        request = self.dialog.request(method, self._around.tokens.branch(), extra=extra, body=body)
        if self.account is not None:
            exchange = Exchange(self.account, self.dialog)
            if method == "INVITE":
                exchange.told = self._authorized
            exchange.before(request)
            request.authorizer = exchange
        return request

    def authorize(self, request: ClientRequest, changed: Callable[[], None]) -> None:
        """The INVITE that makes the dialog is answered for as well; `changed` is called when it
        goes again: what a CANCEL of it repeats is something else then, and somebody is there."""
        if self.account is not None:
            exchange = Exchange(self.account, self.dialog)
            exchange.told = partial(self._first_authorized, changed)
            request.authorizer = exchange

    def _first_authorized(self, changed: Callable[[], None], lines: str) -> None:
        self.credentials = lines
        changed()

    def _authorized(self, lines: str) -> None:
        # The ACK of its 2xx goes with the same (§22.1).
        self.credentials = lines

    def send(
        self,
        method: str,
        extra: str = "",
        body: bytes = b"",
        on_response: Callable[[Response], None] | None = None,
    ) -> None:
        """Send a request other than INVITE and ACK."""
        self._around.transactions.send(self.request(method, extra, body), self.flow(), on_response)

    def invite(
        self, extra: str, body: bytes, on_response: Callable[[Response], None]
    ) -> InviteClient:
        """Send a re-INVITE; the session is not idle until its user takes `outgoing` away."""
        self.outgoing = outgoing = self._around.transactions.invite(
            self.request("INVITE", extra, body), self.flow(), on_response
        )
        return outgoing

    def ack(self, cseq: int, content: str = "", body: bytes = b"") -> None:
        """The ACK of the peer's 2xx; kept, since a 2xx that comes again wants it again."""
        around = self._around
        if self.credentials:
            content = self.credentials + content
        request = self.dialog.request(
            "ACK", around.tokens.branch(), cseq=cseq, extra=content, body=body
        )
        flow = self.flow()
        self.ack_cseq = cseq
        self.ack_body = body
        self.ack_data = request.encode(flow)
        if flow.reliable:
            around.transactions.carry(self.ack_data, flow)
        else:
            flow.send(self.ack_data)

    def ack_again(self, cseq: int) -> None:
        """The peer's 2xx came again: so does the ACK, if it was sent already."""
        if cseq == self.ack_cseq:
            self._around.transactions.carry(self.ack_data, self.flow())

    def accepted(
        self,
        flow: Flow,
        data: bytes,
        cseq: int,
        on_timeout: Callable[[], None],
        key: str = "",
    ) -> None:
        """Our 2xx `data` to the peer's INVITE of `cseq` went out on `flow`: it goes again until its
        ACK comes. `key` is what a re-INVITE is known by (§17.2.3)."""
        around = self._around
        transactions = around.transactions
        self.answer = Unacknowledged(
            around.timers,
            transactions.settings,
            flow,
            data,
            cseq,
            on_timeout,
            key,
            transactions.carry,
        )

    # --- what comes

    def acked(self, cseq: int) -> bool:
        """The peer's ACK of a 2xx of ours; false if there is none that waits for it."""
        answer = self.answer
        if answer is None or cseq != answer.cseq:
            return False
        answer.stop()
        self.answer = None
        return True

    def refresh(self, message: Request | Response) -> bool:
        """A re-INVITE or UPDATE, or its 2xx, may say where the peer is to be found from now on;
        whether it did."""
        was = self.dialog.target
        self.dialog.refresh_target(message)
        return self.dialog.target != was

    def drop(self) -> None:
        """The session ends: who waits for an answer within it gets one (§15.1.2), and a re-INVITE
        that the peer has not answered is not waited for any longer than a CANCEL takes."""
        self.when_idle = None
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.respond(487)
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is not None:
            outgoing.cancel()

    def stop(self) -> None:
        """Nothing more is expected of it."""
        self.drop()
        if self.answer is not None:
            self.answer.stop()
            self.answer = None
        if self.provisionals is not None:
            self.provisionals.stop()
            self.provisionals = None

    def sibling(self, dialog: Dialog) -> Session:
        """That of another dialog with the same peer, or behind it."""
        session = Session(self._around, dialog)
        session.nat = self.nat
        session.account = self.account
        session.credentials = self.credentials
        return session

    # --- descriptions

    def describe(self, body: bytes) -> bytes:
        """The description as this peer is to be sent it; whether it is in force the user finds out,
        and notes it as `ours` then.

        A peer that had descriptions of somebody else before has it as of the one session that it
        knows: with that one's origin, and a version that goes up with each change (RFC 3264 §8).
        """
        origin = self._origin
        if origin is None or not body:
            return body
        if not same_media(body, self.ours):
            origin = self._origin = origin.next()
        return with_origin(body, origin)

    def new_peer(self) -> None:
        """What it is sent from now on are descriptions of somebody else."""
        if self._origin is None:
            self._origin = origin_of(self.ours)

    @property
    def origin(self) -> Origin | None:
        """How its descriptions are named, if not as they come."""
        return self._origin

    @origin.setter
    def origin(self, origin: Origin | None) -> None:
        self._origin = origin
