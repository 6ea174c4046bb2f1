"""Transactions (RFC 3261 §17, figures 5 to 8, as corrected by RFC 6026).

Four state machines without I/O: they take messages and timers, send bytes on the flow they were
given, and tell their user. A timeout or a dead flow reaches the user of a client transaction as the
408 or 503 that §8.1.3.1 says it is to be treated as. 2xx responses to an INVITE are the user's to
retransmit (§13.3.1.4); the machines keep their transactions for 64*T1 so that retransmissions find
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, cast

from softswitch.memory import give_back
from softswitch.sip.client_transaction import (
    LARGE,
    ClientRequest,
    InviteClient,
    NonInviteClient,
    send,
)
from softswitch.sip.flow import Flow
from softswitch.sip.header_values import parse_address
from softswitch.sip.message import (
    BRANCH_COOKIE,
    REASON_PHRASES,
    Request,
    Response,
    encode_head,
    response_bytes,
)
from softswitch.sip.server_transaction import InviteServer, NonInviteServer, tag_for
from softswitch.sip.timers import Timers, TimerSettings
from softswitch.sip.transaction_layer import TransactionLayer
from softswitch.sip.transaction_states import CALLING, COMPLETED, PROCEEDING, TRYING

ServerTransaction = InviteServer | NonInviteServer
ClientTransaction = InviteClient | NonInviteClient

# What a response repeats of its request (§8.2.6.2).
_ECHOED: Final = (
    ("via", "Via"),
    ("from", "From"),
    ("to", "To"),
    ("call-id", "Call-ID"),
    ("cseq", "CSeq"),
)


class Answer(NamedTuple):
    """A response without a transaction; `extra` is header lines, each ended by CRLF.

    Of status 0: none for now. Who screens may send one later, by `Transactions.refuse`.
    """

    status: int
    reason: str | None = None
    extra: str = ""


class TransactionUser(Protocol):
    """What stands above the transactions (§17: the TU)."""

    def screen(self, request: Request, flow: Flow) -> Answer | None:
        """A new request, before anything is kept of it: the answer if that is all it gets.

        §26.3.2.4: whoever has not proved to be somebody is answered without state, so that
        strangers cannot fill the tables. None: make a transaction and hand it to `request`.
        """

    def unreadable(self, flow: Flow) -> bool:
        """A request with a defect has come: whether to answer it."""

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """A new request that is not an ACK or CANCEL."""

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK that belongs to a 2xx."""

    def refused(self, request: Request, flow: Flow, status: int, reason: str | None) -> None:
        """An INVITE outside of a dialog gets this answer, a challenge perhaps, and no transaction.
        Of one that cannot be read any header may be missing."""


class Transactions:
    """All transactions of a switch, and the matching of §17.1.3 and §17.2.3."""

    def __init__(
        self,
        timers: Timers,
        user: TransactionUser,
        settings: TimerSettings | None = None,
        *,
        max_transactions: int = 500_000,
    ) -> None:
        self.timers = timers
        self.user = user
        self.settings = settings or TimerSettings()
        self.max_transactions = max_transactions
        self.layer = layer = TransactionLayer(timers, self.settings, user.ack)
        self.servers = cast(dict[str, ServerTransaction], layer.servers)
        self.clients = cast(dict[str, ClientTransaction], layer.clients)
        self.merged = layer.merged
        # One for all that want to hand it on.
        self.carry: Callable[[bytes, Flow], None] = layer.carry
        self.refused = 0
        self.unmatched = 0
        # Called with responses that belong to no transaction; §17.1.1.2 leaves them to the user.
        # Each message passes it first.
        self.translate: Callable[[Request | Response, Flow], None] | None = None
        self.on_stray: Callable[[Response], None] | None = None

    def take_up(self, settings: TimerSettings, max_transactions: int) -> None:
        """Go on with other timers and another limit."""
        self.settings = settings
        self.max_transactions = max_transactions
        self.layer.take_up(settings)

    def receive(self, message: Request | Response, flow: Flow) -> None:
        """A message from the transport; `flow` leads back to its sender."""
        if self.translate is not None:
            self.translate(message, flow)
        if type(message) is Response:
            client = self.clients.get(message.via.branch + message.cseq_method)
            # §8.1.3.3: our requests carry one Via; a response with more has gone astray.
            if client is not None and len(message.headers["via"]) == 1:
                client.receive(message)
            else:
                self.unmatched += 1
                if self.on_stray is not None:
                    self.on_stray(message)
            return
        assert isinstance(message, Request)
        self._request(message, flow)

    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        if request.defect is not None:
            if self.user.unreadable(flow) and method != "ACK":
                self.refuse(request, flow, *request.defect)
            return
        key = server_key(request)
        server = self.servers.get(key)
        if server is not None:
            if method == "ACK":
                server.ack(request, flow)
            else:
                server.retransmitted()
            return
        merged = ""
        if method == "INVITE":
            merged = f"{request.headers['call-id'][0]} {request.from_tag} {request.cseq}"
            if merged in self.merged:
                renamed = self._renamed(request)
                if renamed is not None:
                    renamed.retransmitted()
                    return
        elif method == "ACK":
            self.user.ack(request, flow)
            return
        elif method == "CANCEL":
            self._cancel(request, flow, key)
            return
        answer = self.user.screen(request, flow)
        if answer is not None:
            if answer.status:
                self.refuse(request, flow, *answer)
            return
        if len(self.servers) >= self.max_transactions:
            self.refused += 1
            self.refuse(request, flow, 503, "Too Many Transactions", "Retry-After: 5\r\n")
            return
        if merged:
            if merged not in self.merged:
                self.merged[merged] = key
            elif request.to_tag:
                merged = ""
            else:
                # §8.2.2.2: the same request by another path.
                self.refuse(request, flow, 482)
                return
            invite = InviteServer(self.layer, key, request, flow, merged)
            invite.to_tag = request.to_tag
            self.servers[key] = invite
            self.user.request(request, invite, flow)
            return
        transaction = NonInviteServer(self.layer, key, request, flow)
        self.servers[key] = transaction
        self.user.request(request, transaction, flow)

    def _cancel(self, request: Request, flow: Flow, key: str) -> None:
        """§9.2. What ends a call in the making must not fail for want of room."""
        target = self.servers.get(key[: -len("CANCEL")] + "INVITE") or self._renamed(request)
        if target is None:
            self.refuse(request, flow, 481)
            return
        assert isinstance(target, InviteServer)
        transaction = NonInviteServer(self.layer, key, request, flow)
        self.servers[key] = transaction
        # §9.2: the To tag of the 200 is that of the INVITE's responses.
        transaction.respond(200, to_tag=target.to_tag)
        if target.state == PROCEEDING and target.user is not None:
            target.user.cancelled(target, request)

    def ack_of_failure(self, request: Request, flow: Flow) -> None:
        """For the user: an ACK that is of no 2xx. Its INVITE's Via may have been another."""
        server = self._renamed(request)
        if server is not None and server.state == COMPLETED:
            server.ack(request, flow)

    def _renamed(self, request: Request) -> InviteServer | None:
        """The INVITE that this is a CANCEL, an ACK or a retransmission of though its Via has
        another sent-by: a NAT, or a client that asks for its address anew, may have changed it. All
        else that §17.2.3 and §9.2 compare agrees, Call-ID, tags and CSeq besides."""
        branch = request.via.branch
        if not branch.startswith(BRANCH_COOKIE) or len(branch) <= 7:
            return None
        key = self.merged.get(
            f"{request.headers['call-id'][0]} {request.from_tag} {request.cseq}", ""
        )
        if not key.startswith(f"{branch} "):
            return None
        server = self.servers.get(key)
        if not isinstance(server, InviteServer):
            return None
        tags_agree = not request.to_tag or not server.to_tag or request.to_tag == server.to_tag
        return server if tags_agree else None

    def refuse(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str | None = None,
        extra: str = "",
    ) -> None:
        """Answer without a transaction (§8.2.7): the To tag is made from the request alone."""
        headers = request.headers
        if "to" in headers and not request.to_tag:
            # The parser may have stopped before it came to the To.
            request.to_tag = _tag_of(headers["to"][0])
        if request.method == "INVITE" and not request.to_tag:
            self.user.refused(request, flow, status, reason)
        if "via" not in headers or not headers["via"][0]:
            # Nobody to answer to.
            return
        call_id = headers.get("call-id", [""])[0]
        tag = tag_for(request.via.branch + call_id)
        if all(name in headers for name in ("from", "to", "call-id", "cseq")):
            flow.send(response_bytes(request, status, reason, to_tag=tag, extra=extra))
            return
        lines = [
            (display, value)
            for key, display in _ECHOED
            for value in headers.get(key, ())[: None if key == "via" else 1]
        ]
        start = f"SIP/2.0 {status} {reason or REASON_PHRASES.get(status, '')}"
        flow.send(encode_head(start, lines, b""))

    def invite(
        self,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None],
        data: bytes | None = None,
    ) -> InviteClient:
        """Send an INVITE (figure 5). `on_response` gets every response but retransmitted ones."""
        client = InviteClient(self.layer, request, flow, on_response)
        self.clients[client.key] = client
        if data is None:
            data = request.encode(flow)
        if len(data) > LARGE and not flow.reliable:
            connection = self.layer.larger(flow)
            if connection is not None:
                data = request.encode(connection)
                client.by_connection(connection, flow)
        client.start(data)
        return client

    def send(
        self,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None] | None = None,
    ) -> NonInviteClient:
        """Send any other request (figure 6)."""
        return send(self.layer, request, flow, on_response)

    def lost(self, flow: Flow) -> None:
        """This connection has closed. Requests of which nothing was heard since may have been
        written to it and never read: they go on another, or fail now and not after 64*T1."""
        for client in list(self.clients.values()):
            if client.flow is flow and (client.state == CALLING or client.state == TRYING):
                client.transport_error()

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self.servers, self.clients, self.merged)

    def tables(self) -> dict[str, int]:
        """How many of each are alive: zero in an idle switch."""
        return {
            "server_transactions": len(self.servers),
            "client_transactions": len(self.clients),
            "merged": len(self.merged),
        }


def server_key(request: Request) -> str:
    """What §17.2.3 matches a request by; an ACK has its INVITE's key; the method is last."""
    via = request.via
    method = "INVITE" if request.method == "ACK" else request.method
    branch = via.branch
    if branch.startswith(BRANCH_COOKIE) and len(branch) > 7:
        return f"{branch} {via.host} {via.port} {method}"
    # RFC 2543 peers, and the empty branch of RFC 4475 §3.2.1.
    return (
        f"{branch} {via.host} {via.port} {request.uri} {request.from_tag} "
        f"{request.headers['call-id'][0]} {request.cseq} {method}"
    )


def _tag_of(value: str) -> str:
    """The tag of a To value, empty if there is none or the value cannot be read."""
    try:
        return parse_address(value).params.get("tag") or ""
    except ValueError:
        return ""
