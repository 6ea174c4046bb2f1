"""What the transactions of one switch share: time, and the tables in which they are found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from softswitch.sip.flow import Flow
from softswitch.sip.message import Request
from softswitch.sip.timers import Timers, TimerSettings


class TransactionLayer:
    """Made by `Transactions`, which types its tables; a transaction does no more there than leave.

    `timeout` is 64*T1, in seconds. `on_ack` takes an ACK that belongs to a 2xx. `reconnect` is
    asked for another connection to where a message goes, of which the one at hand turned out to be
    closed; None: there is none. `larger` is asked for a connection to where a request goes that is
    too large for a datagram (§18.1.1), and told by `small` that there was none.
    """

    __slots__ = (
        "clients",
        "larger",
        "merged",
        "on_ack",
        "reconnect",
        "servers",
        "settings",
        "small",
        "timeout",
        "timers",
    )

    def __init__(
        self, timers: Timers, settings: TimerSettings, on_ack: Callable[[Request, Flow], None]
    ) -> None:
        self.timers = timers
        self.settings = settings
        self.timeout = 64 * settings.t1
        self.on_ack = on_ack
        self.reconnect: Callable[[bytes, Flow], Flow | None] = _nowhere
        self.larger: Callable[[Flow], Flow | None] = _by_datagram
        self.small: Callable[[Flow], None] = _nothing
        self.servers: dict[str, object] = {}
        self.clients: dict[str, object] = {}
        self.merged: dict[str, str] = {}

    def take_up(self, settings: TimerSettings) -> None:
        """Go on with other timers: those that run already end as they were set."""
        self.settings = settings
        self.timeout = 64 * settings.t1

    def carry(self, data: bytes, flow: Flow) -> None:
        """Send what has no transaction to send it again: a response, or the ACK of a 2xx. Where its
        connection has closed it goes on a new one (§18.1.1, §18.2.2)."""
        if flow.reliable:
            flow.send(data, partial(self._carry_elsewhere, data, flow))
        else:
            flow.send(data)

    def _carry_elsewhere(self, data: bytes, flow: Flow) -> None:
        other = self.reconnect(data, flow)
        if other is not None:
            other.send(data)


def _by_datagram(flow: Flow) -> Flow | None:
    return None


def _nothing(flow: Flow) -> None:
    """Nobody wants to know."""


def _nowhere(data: bytes, flow: Flow) -> Flow | None:
    return None
