"""Server transactions (RFC 3261 §17.2, figures 7 and 8, RFC 6026): requests that we answer.

2xx responses to an INVITE are the user's to retransmit (§13.3.1.4); the machine stays for 64*T1 so
that retransmissions of the INVITE find it.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from softswitch.sip.flow import Flow
from softswitch.sip.message import Request, response_bytes
from softswitch.sip.timers import Timer
from softswitch.sip.transaction_layer import TransactionLayer
from softswitch.sip.transaction_states import (
    ACCEPTED,
    COMPLETED,
    CONFIRMED,
    NOTHING,
    PROCEEDING,
    TERMINATED,
    TRYING,
)


class InviteUser(Protocol):
    """Who answers one INVITE, set as its transaction's `user`; until its final response, or longer
    if it is set again after that."""

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        """`request`, a CANCEL already answered with 200, asks to end this pending INVITE."""

    def terminated(self, transaction: InviteServer) -> None:
        """The time is over in which this INVITE could come again."""


def tag_for(text: str) -> str:
    """A To tag that a retransmission of the same request gets again (§8.2.7)."""
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


class InviteServer:
    """Figure 7 with the Accepted state of RFC 6026 §7.1. One timer: until the 100 of `trying`; then
    G until H, I, or L."""

    __slots__ = (
        "_interval",
        "_last",
        "_layer",
        "_left",
        "_timer",
        "flow",
        "key",
        "merged",
        "request",
        "state",
        "to_tag",
        "user",
    )

    def __init__(
        self, layer: TransactionLayer, key: str, request: Request | None, flow: Flow, merged: str
    ) -> None:
        self._layer = layer
        self.key = key
        self.request = request
        self.flow = flow
        self.state = PROCEEDING
        self.to_tag = ""
        self.user: InviteUser | None = None
        self.merged = merged
        self._last = b""
        self._interval = 0.0
        self._left = 0.0
        self._timer: Timer | None = None

    @classmethod
    def answered(
        cls,
        layer: TransactionLayer,
        key: str,
        merged: str,
        flow: Flow,
        data: bytes,
        seconds: float,
        *,
        accepted: bool,
    ) -> InviteServer:
        """Put back one that an earlier process answered, for the `seconds` that are left to it.

        `data` is the response. A failure is sent until its ACK comes. A 2xx (`accepted`) is the
        user's to send; here it is sent when the INVITE comes, as its sender has no response then.
        Empty: the ACK has come.
        """
        self = cls(layer, key, None, flow, merged)
        self._last = data
        if accepted:
            self.state = ACCEPTED
            self._timer = layer.timers.after(seconds, self._terminate)
        else:
            self.state = COMPLETED
            self._left = seconds
            self._interval = min(layer.settings.t1, seconds)
            self._timer = layer.timers.after(self._interval, self._timer_g_or_h)
        layer.servers[key] = self
        if merged:
            layer.merged[merged] = key
        return self

    @property
    def final(self) -> bytes:
        """The failure that it waits to see acknowledged; empty in any other state."""
        return self._last if self.state == COMPLETED else b""

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
        self._stop_timer()
        if to_tag:
            self.to_tag = to_tag
        elif status > 100:
            to_tag = self.to_tag
            if not to_tag and not self.request.to_tag:
                to_tag = self.to_tag = tag_for(self.key)
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
        flow = self.flow
        if flow.reliable:
            layer.carry(data, flow)
        else:
            flow.send(data)
        return data

    def send_again(self, data: bytes) -> None:
        """A provisional response that is to be acknowledged once more (RFC 3262 §3)."""
        if self.state == PROCEEDING:
            self._layer.carry(data, self.flow)

    def trying(self) -> None:
        """The user has begun, and may need longer than `TimerSettings.trying`: 100 (Trying) if it
        has sent nothing by then (figure 7: "send 100 if TU won't in 200ms")."""
        after = self._layer.settings.trying
        if not after:
            self.respond(100)
        elif self.state == PROCEEDING and not self._last and self._timer is None:
            self._timer = self._layer.timers.after(after, self._timer_100)

    def _timer_100(self) -> None:
        self.respond(100)

    def retransmitted(self) -> None:
        """The INVITE came again."""
        if self._last:
            self._layer.carry(self._last, self.flow)
        elif self._timer is not None and self.state == PROCEEDING:
            self.respond(100)

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
            # Some give the ACK of a 2xx their INVITE's branch, and a To tag that is not ours.
            request.to_tag = self.to_tag
            self._layer.on_ack(request, flow)

    def _timer_g_or_h(self) -> None:
        self._left -= self._interval
        if self._left <= NOTHING:
            self._terminate()
            return
        self._layer.carry(self._last, self.flow)
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
        if self.merged:
            self._layer.merged.pop(self.merged, None)
        user, self.user = self.user, None
        if user is not None:
            user.terminated(self)


class NonInviteServer:
    """Figure 8. One timer: J."""

    __slots__ = ("_last", "_layer", "_timer", "flow", "key", "request", "state")

    def __init__(self, layer: TransactionLayer, key: str, request: Request, flow: Flow) -> None:
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
            to_tag = tag_for(self.key)
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
        self._layer.carry(data, self.flow)
        return data

    def retransmitted(self) -> None:
        """The request came again."""
        if self._last:
            self._layer.carry(self._last, self.flow)

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK never matches a non-INVITE transaction: its key ends in INVITE."""

    def _terminate(self) -> None:
        self.state = TERMINATED
        self.request = None
        self._last = b""
        self._timer = None
        self._layer.servers.pop(self.key, None)
