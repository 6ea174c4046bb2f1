"""Reliable provisional responses (RFC 3262): sent again until their PRACK comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.sip.header_values import split_list
from softswitch.sip.message import Request, Response
from softswitch.sip.server_transaction import InviteServer
from softswitch.sip.timers import Timer, Timers, TimerSettings

RELIABLE: Final = "100rel"
"""The option tag."""

_LARGEST: Final = 2**31 - 1
_NOTHING: Final = 1e-6
_WAITING: Final = 16
"""Responses of one INVITE that wait for the PRACK of one before."""


def has_option(message: Request | Response, header: str, option: str) -> bool:
    """Whether Supported or Require (`header`, in lower case) names an option tag."""
    values = message.headers.get(header)
    if not values:
        return False
    return any(part.lower() == option for value in values for part in split_list(value))


def sequence_of(response: Response) -> int:
    """The RSeq of a provisional response that is reliable; 0 of any other (§7.1)."""
    values = response.headers.get("rseq")
    if values is None or not has_option(response, "require", RELIABLE):
        return 0
    text = values[0]
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return 0
    number = int(text)
    return number if number <= _LARGEST else 0


def rack_line(number: int, cseq: int) -> str:
    """The RAck header line of the PRACK for the response `number` to the INVITE `cseq` (§7.2)."""
    return f"RAck: {number} {cseq} INVITE\r\n"


def read_rack(request: Request) -> tuple[int, int, str]:
    """RSeq, CSeq and method that a PRACK names; zeros if it names none that could be."""
    parts = (request.get("rack") or "").split()
    if len(parts) != 3 or not all(
        part.isascii() and part.isdigit() and len(part) <= 10 for part in parts[:2]
    ):
        return 0, 0, ""
    return int(parts[0]), int(parts[1]), parts[2]


class Provisional:
    """One to be sent, of the dialog with the To tag `to_tag`. `lines` are header lines, `key` is
    its user's."""

    __slots__ = ("body", "key", "lines", "reason", "status", "to_tag")

    def __init__(
        self, status: int, reason: str | None, to_tag: str, lines: str, body: bytes, key: object
    ) -> None:
        self.status = status
        self.reason = reason
        self.to_tag = to_tag
        self.lines = lines
        self.body = body
        self.key = key


class Provisionals:
    """Those of one INVITE of a peer, which is answered by `transaction`: one at a time (§3).

    `first` is the RSeq of the first one, from 1 to 2**31 - 1. `on_timeout` is called if a PRACK
    does not come within 64*T1.
    """

    __slots__ = (
        "_cseq",
        "_data",
        "_interval",
        "_left",
        "_next",
        "_on_timeout",
        "_sent",
        "_settings",
        "_timer",
        "_timers",
        "_transaction",
        "_waiting",
    )

    def __init__(
        self,
        timers: Timers,
        settings: TimerSettings,
        transaction: InviteServer,
        cseq: int,
        first: int,
        on_timeout: Callable[[], None],
    ) -> None:
        self._timers = timers
        self._settings = settings
        self._transaction = transaction
        self._cseq = cseq
        self._next = first
        self._on_timeout: Callable[[], None] | None = on_timeout
        self._sent: Provisional | None = None
        self._data = b""
        self._waiting: list[Provisional] = []
        self._interval = 0.0
        self._left = 0.0
        self._timer: Timer | None = None

    @property
    def describing(self) -> bool:
        """Whether one with a description waits for its PRACK: a 2xx has to wait as well (§3)."""
        if self._sent is not None and self._sent.body:
            return True
        return any(one.body for one in self._waiting)

    def send(self, one: Provisional) -> bool:
        """Send it, as soon as those before are acknowledged; false if there are too many."""
        if self._sent is None:
            self._send(one)
        elif len(self._waiting) < _WAITING:
            self._waiting.append(one)
        else:
            return False
        return True

    def acknowledged(self, request: Request) -> Provisional | None:
        """Which one a PRACK is for; None if that is none that waits for one. The next may go out
        once the PRACK is answered (`go_on`)."""
        sent = self._sent
        if sent is None or request.to_tag != sent.to_tag:
            return None
        if read_rack(request) != (self._next, self._cseq, "INVITE"):
            return None
        self._next += 1
        self._sent = None
        self._stop_timer()
        return sent

    def go_on(self) -> None:
        """Send what has waited for that."""
        if self._sent is None and self._waiting:
            self._send(self._waiting.pop(0))

    def stop(self) -> None:
        """A final response goes out: none is sent again, though its PRACK may come yet (§3)."""
        self._stop_timer()
        self._waiting.clear()
        self._on_timeout = None

    def _send(self, one: Provisional) -> None:
        self._sent = one
        self._data = self._transaction.respond(
            one.status,
            one.reason,
            to_tag=one.to_tag,
            extra=f"Require: {RELIABLE}\r\nRSeq: {self._next}\r\n{one.lines}",
            body=one.body,
        )
        self._interval = self._settings.t1
        self._left = 64 * self._settings.t1
        self._timer = self._timers.after(self._interval, self._again)

    def _again(self) -> None:
        self._left -= self._interval
        if self._left <= _NOTHING:
            on_timeout, self._on_timeout = self._on_timeout, None
            self._timer = None
            if on_timeout is not None:
                on_timeout()
            return
        self._transaction.send_again(self._data)
        self._interval = min(self._interval * 2, self._left)
        self._timer = self._timers.after(self._interval, self._again)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._data = b""
