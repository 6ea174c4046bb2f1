"""Transactions (RFC 3261 §17, figures 5 to 8, as corrected by RFC 6026).

Four state machines without I/O: they take messages and timers, send bytes on the flow they were
given, and tell their user. A timeout or a dead flow reaches the user of a client transaction as the
408 or 503 that §8.1.3.1 says it is to be treated as. 2xx responses to an INVITE are the user's to
retransmit (§13.3.1.4); the machines keep their transactions for 64*T1 so that retransmissions find
them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from softswitch.sip.header_values import parse_address
from softswitch.sip.message import (
    BRANCH_COOKIE,
    REASON_PHRASES,
    Request,
    Response,
    encode_head,
    response_bytes,
)
from softswitch.sip.timers import Timer, Timers

CALLING: Final = "calling"
TRYING: Final = "trying"
PROCEEDING: Final = "proceeding"
COMPLETED: Final = "completed"
CONFIRMED: Final = "confirmed"
ACCEPTED: Final = "accepted"
TERMINATED: Final = "terminated"


# What a response repeats of its request (§8.2.6.2).
_ECHOED: Final = (
    ("via", "Via"),
    ("from", "From"),
    ("to", "To"),
    ("call-id", "Call-ID"),
    ("cseq", "CSeq"),
)
# A remainder this small, in seconds, is the rounding of sums and no time left.
_NOTHING: Final = 1e-6


class Flow(Protocol):
    """Where a message came from or goes to: one peer over one transport."""

    @property
    def reliable(self) -> bool: ...
    @property
    def transport(self) -> str: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    @property
    def sent_by(self) -> str: ...
    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None: ...


class Answer(NamedTuple):
    """A response without a transaction; `extra` is header lines, each ended by CRLF."""

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

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """A new request that is not an ACK or CANCEL."""

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK that belongs to a 2xx."""


class InviteUser(Protocol):
    """Who answers one INVITE, set as its transaction's `user`."""

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        """`request`, a CANCEL already answered with 200, asks to end this pending INVITE."""


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """T1, T2, T4 in seconds (§17, table 4)."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0


class ClientRequest:
    """A request that we send: the parts that its ACK and its CANCEL must repeat (§9.1, §17.1.1.3).

    `routes` and `extra` are header lines, each ended by CRLF.
    """

    __slots__ = (
        "body",
        "branch",
        "call_id",
        "cseq",
        "extra",
        "from_",
        "max_forwards",
        "method",
        "routes",
        "to",
        "uri",
    )

    def __init__(
        self,
        method: str,
        uri: str,
        branch: str,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
        *,
        routes: str = "",
        max_forwards: int = 70,
        extra: str = "",
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.uri = uri
        self.branch = branch
        self.from_ = from_
        self.to = to
        self.call_id = call_id
        self.cseq = cseq
        self.routes = routes
        self.max_forwards = max_forwards
        self.extra = extra
        self.body = body

    def encode(self, flow: Flow) -> bytes:
        """The request as bytes, its one Via naming the side of `flow` that is ours."""
        return (
            f"{self.method} {self.uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{flow.transport.upper()} {flow.sent_by};branch={self.branch};rport\r\n"
            f"{self.routes}Max-Forwards: {self.max_forwards}\r\nFrom: {self.from_}\r\n"
            f"To: {self.to}\r\nCall-ID: {self.call_id}\r\nCSeq: {self.cseq} {self.method}\r\n"
            f"{self.extra}Content-Length: {len(self.body)}\r\n\r\n"
        ).encode("utf-8", "surrogateescape") + self.body

    def ack(self, to: str) -> ClientRequest:
        """The ACK for a final response other than 2xx whose To was `to` (§17.1.1.3)."""
        return self._same_transaction("ACK", to)

    def cancel(self, reason: str = "") -> ClientRequest:
        """The CANCEL for this INVITE (§9.1); `reason` is a Reason line (RFC 3326) or empty."""
        return self._same_transaction("CANCEL", self.to, reason)

    def _same_transaction(self, method: str, to: str, extra: str = "") -> ClientRequest:
        return ClientRequest(
            method,
            self.uri,
            self.branch,
            self.from_,
            to,
            self.call_id,
            self.cseq,
            routes=self.routes,
            max_forwards=self.max_forwards,
            extra=extra,
        )


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
        self.timeout = 64 * self.settings.t1
        self.servers: dict[str, ServerTransaction] = {}
        self.clients: dict[str, ClientTransaction] = {}
        self.merged: dict[str, str] = {}
        self.refused = 0
        self.unmatched = 0

    def receive(self, message: Request | Response, flow: Flow) -> None:
        """A message from the transport; `flow` leads back to its sender."""
        if type(message) is Response:
            client = self.clients.get(message.via.branch + message.cseq_method)
            # §8.1.3.3: our requests carry one Via; a response with more has gone astray.
            if client is not None and len(message.headers["via"]) == 1:
                client.receive(message)
            else:
                self.unmatched += 1
            return
        assert isinstance(message, Request)
        self._request(message, flow)

    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        if request.defect is not None:
            if method != "ACK":
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
        if method == "ACK":
            self.user.ack(request, flow)
            return
        target: ServerTransaction | None = None
        if method == "CANCEL":
            target = self.servers.get(key[: -len("CANCEL")] + "INVITE")
            if target is None:
                self.refuse(request, flow, 481)
                return
        else:
            answer = self.user.screen(request, flow)
            if answer is not None:
                self.refuse(request, flow, *answer)
                return
        # What ends a call in the making, a CANCEL, must not fail for want of room.
        if target is None and len(self.servers) >= self.max_transactions:
            self.refused += 1
            self.refuse(request, flow, 503, "Too Many Transactions", "Retry-After: 5\r\n")
            return
        if method == "INVITE":
            merged = ""
            if not request.to_tag:
                # §8.2.2.2: the same request by another path.
                merged = f"{request.headers['call-id'][0]} {request.from_tag} {request.cseq}"
                if merged in self.merged:
                    self.refuse(request, flow, 482)
                    return
                self.merged[merged] = key
            invite = InviteServer(self, key, request, flow, merged)
            self.servers[key] = invite
            self.user.request(request, invite, flow)
            return
        transaction = NonInviteServer(self, key, request, flow)
        self.servers[key] = transaction
        if method != "CANCEL":
            self.user.request(request, transaction, flow)
            return
        assert isinstance(target, InviteServer)
        # §9.2: the To tag of the 200 is that of the INVITE's responses.
        transaction.respond(200, to_tag=target.to_tag)
        if target.state == PROCEEDING and target.user is not None:
            target.user.cancelled(target, request)

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
        if "via" not in headers or not headers["via"][0]:
            # Nobody to answer to.
            return
        call_id = headers.get("call-id", [""])[0]
        tag = _tag_for(request.via.branch + call_id)
        if all(name in headers for name in ("from", "to", "call-id", "cseq")):
            if not request.to_tag:
                # The parser may have stopped before it came to the To.
                request.to_tag = _tag_of(headers["to"][0])
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
        client = InviteClient(self, request, flow, on_response)
        self.clients[client.key] = client
        client.start(request.encode(flow) if data is None else data)
        return client

    def send(
        self,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None] | None = None,
    ) -> NonInviteClient:
        """Send any other request (figure 6)."""
        client = NonInviteClient(self, request, flow, on_response)
        self.clients[client.key] = client
        client.start(request.encode(flow))
        return client

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


def _tag_for(text: str) -> str:
    """A To tag that a retransmission of the same request gets again (§8.2.7)."""
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def local_response(status: int, reason: str) -> Response:
    """The response that a timeout (408) or a dead flow (503) counts as (§8.1.3.1)."""
    return Response(status, reason, {})


class InviteClient:
    """Figure 5 with the Accepted state of RFC 6026 §7.2. One timer: A until B, then D or M."""

    __slots__ = (
        "_ack",
        "_cancel_reason",
        "_data",
        "_interval",
        "_layer",
        "_left",
        "_timer",
        "cancelling",
        "flow",
        "key",
        "on_response",
        "request",
        "state",
    )

    def __init__(
        self,
        layer: Transactions,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None],
    ) -> None:
        self._layer = layer
        self.key = request.branch + "INVITE"
        self.request = request
        self.flow = flow
        self.on_response: Callable[[Response], None] | None = on_response
        self.state = CALLING
        self.cancelling = False
        self._cancel_reason = ""
        self._data = b""
        self._ack = b""
        self._interval = 0.0
        self._left = 0.0
        self._timer: Timer | None = None

    def start(self, data: bytes) -> None:
        layer = self._layer
        self._data = data
        self._left = layer.timeout
        # Over a reliable transport only timer B runs.
        self._interval = layer.timeout if self.flow.reliable else layer.settings.t1
        self._timer = layer.timers.after(self._interval, self._timer_a_or_b)
        self.flow.send(data, self.transport_error)

    def receive(self, response: Response) -> None:
        status = response.status
        state = self.state
        if state in (CALLING, PROCEEDING):
            if status < 200:
                if state == CALLING:
                    self.state = PROCEEDING
                    self._stop_timer()
                    self._data = b""
                    if self.cancelling:
                        self._send_cancel()
                self._tell(response)
            elif status < 300:
                self.state = ACCEPTED
                self._wait(self._layer.timeout)
                self._data = b""
                self._tell(response)
            else:
                self.state = COMPLETED
                self._data = b""
                self._ack = self.request.ack(response.headers["to"][0]).encode(self.flow)
                self.flow.send(self._ack, self.transport_error)
                # Timer D: at least 32 s over UDP, zero over a reliable transport.
                tell, self.on_response = self.on_response, None
                if self.flow.reliable:
                    self._terminate()
                else:
                    self._wait(max(32.0, self._layer.timeout))
                if tell is not None:
                    tell(response)
        elif state == COMPLETED:
            if status >= 300:
                self.flow.send(self._ack, self.transport_error)
        elif state == ACCEPTED and 200 <= status < 300:
            self._tell(response)

    def cancel(self, reason: str = "") -> None:
        """Ask for the end of the INVITE: now, or after the first provisional response (§9.1).

        `reason` is a Reason header line to say why, or empty.
        """
        if self.cancelling:
            return
        self._cancel_reason = reason
        if self.state == CALLING:
            self.cancelling = True
        elif self.state == PROCEEDING:
            self.cancelling = True
            self._send_cancel()

    def abandon(self) -> None:
        """Nobody wants further responses but the transaction runs its course."""
        self.on_response = None

    def transport_error(self) -> None:
        """The flow is dead: as if a 503 had come."""
        if self.state in (CALLING, PROCEEDING):
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(503, "Transport Error"))
        elif self.state == COMPLETED:
            # The ACK cannot be sent; the user has its final response already.
            self._terminate()

    def _send_cancel(self) -> None:
        layer = self._layer
        layer.send(self.request.cancel(self._cancel_reason), self.flow)
        # §9.1: no final response within 64*T1 of the CANCEL: the transaction is over.
        self._stop_timer()
        self._left = 0.0
        self._timer = layer.timers.after(layer.timeout, self._timer_a_or_b)

    def _tell(self, response: Response) -> None:
        if self.on_response is not None:
            self.on_response(response)

    def _timer_a_or_b(self) -> None:
        self._left -= self._interval
        if self._left <= _NOTHING:
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(408, "Request Timeout"))
            return
        self.flow.send(self._data, self.transport_error)
        self._interval = min(self._interval * 2, self._left)
        self._timer = self._layer.timers.after(self._interval, self._timer_a_or_b)

    def _wait(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._layer.timers.after(seconds, self._terminate)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _terminate(self) -> None:
        self._stop_timer()
        self.state = TERMINATED
        self.on_response = None
        self._layer.clients.pop(self.key, None)


class NonInviteClient:
    """Figure 6. One timer: E until F, then K."""

    __slots__ = (
        "_data",
        "_interval",
        "_layer",
        "_left",
        "_next",
        "_timer",
        "flow",
        "key",
        "on_response",
        "state",
    )

    def __init__(
        self,
        layer: Transactions,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None] | None,
    ) -> None:
        self._layer = layer
        self.key = request.branch + request.method
        self.flow = flow
        self.on_response = on_response
        self.state = TRYING
        self._data = b""
        self._interval = 0.0
        self._next = 0.0
        self._left = 0.0
        self._timer: Timer | None = None

    def start(self, data: bytes) -> None:
        layer = self._layer
        self._data = data
        self._left = layer.timeout
        self._interval = self._next = layer.timeout if self.flow.reliable else layer.settings.t1
        self._timer = layer.timers.after(self._interval, self._timer_e_or_f)
        self.flow.send(data, self.transport_error)

    def receive(self, response: Response) -> None:
        if self.state == COMPLETED:
            return
        tell = self.on_response
        if response.status < 200:
            self.state = PROCEEDING
        else:
            self._stop_timer()
            self._data = b""
            self.on_response = None
            if self.flow.reliable:
                self._terminate()
            else:
                self.state = COMPLETED
                self._timer = self._layer.timers.after(self._layer.settings.t4, self._terminate)
        if tell is not None:
            tell(response)

    def transport_error(self) -> None:
        """The flow is dead: as if a 503 had come."""
        if self.state in (TRYING, PROCEEDING):
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(503, "Transport Error"))

    def _timer_e_or_f(self) -> None:
        self._left -= self._interval
        if self._left <= _NOTHING:
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(408, "Request Timeout"))
            return
        self.flow.send(self._data, self.transport_error)
        settings = self._layer.settings
        # Timer E doubles up to T2 while trying and is T2 once a provisional response came.
        self._next = settings.t2 if self.state == PROCEEDING else min(self._next * 2, settings.t2)
        self._interval = min(self._next, self._left)
        self._timer = self._layer.timers.after(self._interval, self._timer_e_or_f)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _terminate(self) -> None:
        self._stop_timer()
        self.state = TERMINATED
        self.on_response = None
        self._data = b""
        self._layer.clients.pop(self.key, None)


class InviteServer:
    """Figure 7 with the Accepted state of RFC 6026 §7.1. One timer: G until H, I, or L."""

    __slots__ = (
        "_interval",
        "_last",
        "_layer",
        "_left",
        "_merged",
        "_timer",
        "flow",
        "key",
        "request",
        "state",
        "to_tag",
        "user",
    )

    def __init__(
        self, layer: Transactions, key: str, request: Request, flow: Flow, merged: str
    ) -> None:
        self._layer = layer
        self.key = key
        self.request: Request | None = request
        self.flow = flow
        self.state = PROCEEDING
        self.to_tag = ""
        self.user: InviteUser | None = None
        self._merged = merged
        self._last = b""
        self._interval = 0.0
        self._left = 0.0
        self._timer: Timer | None = None

    def respond(
        self,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str = "",
        extra: str = "",
        body: bytes = b"",
    ) -> bytes:
        """Send a response; returns its bytes (of a 2xx the user sends them again until the ACK)."""
        if self.state != PROCEEDING or self.request is None:
            return b""
        if to_tag:
            self.to_tag = to_tag
        elif status > 100:
            to_tag = self.to_tag
            if not to_tag and not self.request.to_tag:
                to_tag = self.to_tag = _tag_for(self.key)
        data = response_bytes(self.request, status, reason, to_tag=to_tag, extra=extra, body=body)
        layer = self._layer
        if status < 200:
            self._last = data
        elif status < 300:
            # Retransmissions of the INVITE are absorbed here without an answer (RFC 6026 §7.1).
            self.state = ACCEPTED
            self._last = b""
            self.request = self.user = None
            self._timer = layer.timers.after(layer.timeout, self._terminate)
        else:
            self.state = COMPLETED
            self._last = data
            self.request = self.user = None
            self._left = layer.timeout
            self._interval = layer.timeout if self.flow.reliable else layer.settings.t1
            self._timer = layer.timers.after(self._interval, self._timer_g_or_h)
        self.flow.send(data)
        return data

    def retransmitted(self) -> None:
        """The INVITE came again."""
        if self._last and self.state in (PROCEEDING, COMPLETED):
            self.flow.send(self._last)

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK that matches this transaction's branch."""
        if self.state == COMPLETED:
            self._stop_timer()
            self.state = CONFIRMED
            self._last = b""
            if self.flow.reliable:
                self._terminate()
            else:
                self._timer = self._layer.timers.after(self._layer.settings.t4, self._terminate)
        elif self.state == ACCEPTED:
            self._layer.user.ack(request, flow)

    def _timer_g_or_h(self) -> None:
        self._left -= self._interval
        if self._left <= _NOTHING:
            self._terminate()
            return
        self.flow.send(self._last)
        self._interval = min(self._interval * 2, self._layer.settings.t2, self._left)
        self._timer = self._layer.timers.after(self._interval, self._timer_g_or_h)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _terminate(self) -> None:
        self._stop_timer()
        self.state = TERMINATED
        self.request = None
        self._last = b""
        self._layer.servers.pop(self.key, None)
        if self._merged:
            self._layer.merged.pop(self._merged, None)


class NonInviteServer:
    """Figure 8. One timer: J."""

    __slots__ = ("_last", "_layer", "_timer", "flow", "key", "request", "state")

    def __init__(self, layer: Transactions, key: str, request: Request, flow: Flow) -> None:
        self._layer = layer
        self.key = key
        self.request: Request | None = request
        self.flow = flow
        self.state = TRYING
        self._last = b""
        self._timer: Timer | None = None

    def respond(
        self,
        status: int,
        reason: str | None = None,
        *,
        to_tag: str = "",
        extra: str = "",
        body: bytes = b"",
    ) -> bytes:
        """Send a response; returns its bytes, empty if a final one was sent before."""
        request = self.request
        if request is None:
            return b""
        if not to_tag and not request.to_tag and status > 100:
            to_tag = _tag_for(self.key)
        data = response_bytes(request, status, reason, to_tag=to_tag, extra=extra, body=body)
        if status < 200:
            self.state = PROCEEDING
            self._last = data
        else:
            self.state = COMPLETED
            self.request = None
            if self.flow.reliable:
                self._terminate()
            else:
                self._last = data
                self._timer = self._layer.timers.after(self._layer.timeout, self._terminate)
        self.flow.send(data)
        return data

    def retransmitted(self) -> None:
        """The request came again."""
        if self._last:
            self.flow.send(self._last)

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK never matches a non-INVITE transaction: its key ends in INVITE."""

    def _terminate(self) -> None:
        self.state = TERMINATED
        self.request = None
        self._last = b""
        self._timer = None
        self._layer.servers.pop(self.key, None)


ServerTransaction = InviteServer | NonInviteServer
ClientTransaction = InviteClient | NonInviteClient
