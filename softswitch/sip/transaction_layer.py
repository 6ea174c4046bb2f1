"""What the transactions of one switch share: time, and the tables in which they are found."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.sip.flow import Flow
from softswitch.sip.message import Request
from softswitch.sip.timers import Timers, TimerSettings


class TransactionLayer:
    """Made by `Transactions`, which types its tables; a transaction does no more there than leave.

    `timeout` is 64*T1, in seconds. `on_ack` takes an ACK that belongs to a 2xx.
    """

    __slots__ = ("clients", "merged", "on_ack", "servers", "settings", "timeout", "timers")

    def __init__(
        self, timers: Timers, settings: TimerSettings, on_ack: Callable[[Request, Flow], None]
    ) -> None:
        self.timers = timers
        self.settings = settings
        self.timeout = 64 * settings.t1
        self.on_ack = on_ack
        self.servers: dict[str, object] = {}
        self.clients: dict[str, object] = {}
        self.merged: dict[str, str] = {}

    def take_up(self, settings: TimerSettings) -> None:
        """Go on with other timers: those that run already end as they were set."""
        self.settings = settings
        self.timeout = 64 * settings.t1
