"""Client transactions (RFC 3261 §17.1, figures 5 and 6, RFC 6026): requests that we send.

A timeout or a dead flow reaches the user as the 408 or 503 that §8.1.3.1 says it counts as.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.sip.flow import Flow
from softswitch.sip.message import Response
from softswitch.sip.timers import Timer
from softswitch.sip.transaction_layer import TransactionLayer
from softswitch.sip.transaction_states import (
    ACCEPTED,
    CALLING,
    COMPLETED,
    NOTHING,
    PROCEEDING,
    TERMINATED,
    TRYING,
)


class Authorizer:
    """Who answers challenges of a request (401, 407)."""

    __slots__ = ()

    def answered(self, request: ClientRequest, response: Response) -> bool:
        """Make the request anew, with another branch and CSeq and with what answers the challenge;
        False if that cannot be answered."""
        raise NotImplementedError


class ClientRequest:
    """A request that we send: the parts that its ACK and its CANCEL must repeat (§9.1, §17.1.1.3).

    `routes` and `extra` are header lines, each ended by CRLF. `authorizer` answers its challenges;
    without one its sender gets them.
    """

    __slots__ = (
        "authorizer", "body", "branch", "call_id", "cseq", "extra", "from_", "max_forwards",
        "method", "routes", "to", "uri",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        uri: str,
        branch: str,
        from_: str,
        to: str,
        call_id: str,
        cseq: int,
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
        self.authorizer: Authorizer | None = None

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


def _ignore(response: Response) -> None:
    """Nobody is told."""


def local_response(status: int, reason: str) -> Response:
    """A response of our own, as a timeout (408) or a dead flow (503) counts as (§8.1.3.1)."""
    response = Response(status, reason, {})
    response.ours = True
    return response


LARGE: Final = 1300
"""Bytes of a request above which a datagram may be cut on its way (§18.1.1)."""


CONNECT_WITHIN: Final = 1.0
"""Seconds that there are for a connection for such a request."""


class InviteClient:
    """Figure 5 with the Accepted state of RFC 6026 §7.2. One timer: A until B, then D or M."""

    __slots__ = (
        "_ack", "_cancel_reason", "_data", "_datagram", "_interval", "_layer", "_left", "_timer",
        "cancelling", "flow", "key", "on_response", "reconnected", "request", "state",
    )  # fmt: skip

    def __init__(
        self,
        layer: TransactionLayer,
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
        self.reconnected = False
        self._cancel_reason = ""
        self._data = b""
        self._datagram: Flow | None = None
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
                self._send_ack()
                if (status == 401 or status == 407) and self._authorized(response):
                    return
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
                self._send_ack()
        elif state == ACCEPTED and 200 <= status < 300:
            self._tell(response)

    def _authorized(self, response: Response) -> bool:
        """A challenge: the INVITE goes again with what answers it, as another transaction whose
        user sees none of it. What is left of this one acknowledges the challenge if that comes
        again."""
        request, layer = self.request, self._layer
        if request.authorizer is None or self.cancelling:
            return False
        old = InviteClient(layer, request, self.flow, _ignore)
        if not request.authorizer.answered(request, response):
            return False
        self._stop_timer()
        old.key, old.state, old._ack, old.on_response = self.key, COMPLETED, self._ack, None
        layer.clients.pop(self.key, None)
        if not self.flow.reliable:
            layer.clients[old.key] = old
            old._wait(max(32.0, layer.timeout))
        self.key = request.branch + "INVITE"
        self.state = CALLING
        self._ack = b""
        layer.clients[self.key] = self
        self.start(request.encode(self.flow))
        return True

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

    def by_connection(self, flow: Flow, datagram: Flow) -> None:
        """It is too large for `datagram`: it goes by this connection, and if there is none after
        all, as it would have."""
        self.flow, self._datagram = flow, datagram
        self._layer.timers.after(CONNECT_WITHIN, self._looks_for_it)

    def _looks_for_it(self) -> None:
        """A firewall may have swallowed what was to open the connection."""
        if self._datagram is not None and not getattr(self.flow, "made", True):
            self.transport_error()

    def transport_error(self) -> None:
        """The flow is dead: on another, or as if a 503 had come."""
        datagram, self._datagram = self._datagram, None
        if datagram is not None:
            self._layer.small(datagram)
            if self.state == CALLING and not self.cancelling:
                self._stop_timer()
                self.flow = datagram
                self.start(self.request.encode(datagram))
                return
        if self.state == CALLING and not self.reconnected and not self.cancelling:
            self.reconnected = True
            flow = self._layer.reconnect(self._data, self.flow) if self.flow.reliable else None
            if flow is not None:
                self.flow = flow
                flow.send(self._data, self.transport_error)
                return
        if self.state in (CALLING, PROCEEDING):
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(503, "Transport Error"))
        elif self.state == COMPLETED:
            # The ACK cannot be sent; the user has its final response already.
            self._terminate()

    def _send_ack(self) -> None:
        if self.flow.reliable:
            self._layer.carry(self._ack, self.flow)
        else:
            self.flow.send(self._ack, self.transport_error)

    def _send_cancel(self) -> None:
        layer = self._layer
        send(layer, self.request.cancel(self._cancel_reason), self.flow)
        # §9.1: no final response within 64*T1 of the CANCEL: the transaction is over.
        self._stop_timer()
        self._left = 0.0
        self._timer = layer.timers.after(layer.timeout, self._timer_a_or_b)

    def _tell(self, response: Response) -> None:
        if self.on_response is not None:
            self.on_response(response)

    def _timer_a_or_b(self) -> None:
        self._left -= self._interval
        if self._left <= NOTHING:
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
        "_data", "_datagram", "_interval", "_layer", "_left", "_next", "_request", "_timer", "flow",
        "key", "on_response", "reconnected", "state",
    )  # fmt: skip

    def __init__(
        self,
        layer: TransactionLayer,
        request: ClientRequest,
        flow: Flow,
        on_response: Callable[[Response], None] | None,
    ) -> None:
        self._layer = layer
        self.key = request.branch + request.method
        # Only if it may have to be sent anew.
        self._request = request if request.authorizer is not None else None
        self.flow = flow
        self.on_response = on_response
        self.state = TRYING
        self.reconnected = False
        self._data = b""
        self._datagram: Flow | None = None
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
            if self._request is not None and self._authorized(self._request, response):
                return
            self._data = b""
            self.on_response = None
            if self.flow.reliable:
                self._terminate()
            else:
                self.state = COMPLETED
                self._timer = self._layer.timers.after(self._layer.settings.t4, self._terminate)
        if tell is not None:
            tell(response)

    def _authorized(self, request: ClientRequest, response: Response) -> bool:
        """A challenge: the request goes again with what answers it, as another transaction whose
        user sees none of it."""
        if response.status != 401 and response.status != 407:
            return False
        authorizer = request.authorizer
        if authorizer is None or not authorizer.answered(request, response):
            return False
        self._layer.clients.pop(self.key, None)
        self.key = request.branch + request.method
        self.state = TRYING
        self._layer.clients[self.key] = self
        self.start(request.encode(self.flow))
        return True

    def by_connection(self, flow: Flow, datagram: Flow, request: ClientRequest) -> None:
        """See `InviteClient.by_connection`."""
        self.flow, self._datagram, self._request = flow, datagram, request
        self._layer.timers.after(CONNECT_WITHIN, self._looks_for_it)

    def _looks_for_it(self) -> None:
        """See `InviteClient`."""
        if self._datagram is not None and not getattr(self.flow, "made", True):
            self.transport_error()

    def transport_error(self) -> None:
        """The flow is dead: on another, or as if a 503 had come."""
        datagram, self._datagram = self._datagram, None
        request = self._request
        if datagram is not None and request is not None:
            self._layer.small(datagram)
            if self.state == TRYING:
                self._stop_timer()
                self.flow = datagram
                self.start(request.encode(datagram))
                return
        if self.state == TRYING and not self.reconnected:
            self.reconnected = True
            flow = self._layer.reconnect(self._data, self.flow) if self.flow.reliable else None
            if flow is not None:
                self.flow = flow
                flow.send(self._data, self.transport_error)
                return
        if self.state in (TRYING, PROCEEDING):
            tell = self.on_response
            self._terminate()
            if tell is not None:
                tell(local_response(503, "Transport Error"))

    def _timer_e_or_f(self) -> None:
        self._left -= self._interval
        if self._left <= NOTHING:
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


def send(
    layer: TransactionLayer,
    request: ClientRequest,
    flow: Flow,
    on_response: Callable[[Response], None] | None = None,
) -> NonInviteClient:
    """Send a request other than INVITE (figure 6)."""
    client = NonInviteClient(layer, request, flow, on_response)
    layer.clients[client.key] = client
    data = request.encode(flow)
    if len(data) > LARGE and not flow.reliable:
        connection = layer.larger(flow)
        if connection is not None:
            data = request.encode(connection)
            client.by_connection(connection, flow, request)
    client.start(data)
    return client
