"""What a call needs of its switch, and what it is told by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from softswitch import events
from softswitch.calls.destination import Destination
from softswitch.calls.journal import Journal
from softswitch.calls.numbers import LegNumbers
from softswitch.dialplan import Target
from softswitch.log import CallLog
from softswitch.sip import Flow, Timers, Tokens, Transactions, Uri

if TYPE_CHECKING:
    from softswitch.calls.call import Call
    from softswitch.calls.leg import Leg


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What calls are limited by. Times in seconds; 0 switches a check off.

    `no_response`: an INVITE that nothing at all answers goes to the next target after this time.
    `session_check`: how often both sides of an answered call are asked whether they are still
    there.
    """

    no_response: float = 5.0
    session_check: float = 300.0
    max_duration: float = 0.0
    max_redirects: int = 5
    max_forwards: int = 70
    call_id_header: str = "X-CDS-Call-ID"
    user_agent: str = "softswitch"
    max_text: int = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as this switch believes it. `private`: asked not to be shown (RFC 3323)."""

    number: str
    name: str
    private: bool = False


class Lines(Protocol):
    """How many calls a party may have at once (`softswitch.parties`)."""

    def take(self, line: str, holder: object) -> bool:
        """One leg more at `extension:NAME` or `trunk:NAME`; False if there may be no more."""

    def release(self, line: str, holder: object) -> None:
        """One leg less."""


class Trunks(Protocol):
    """Which trunks live (`softswitch.parties`)."""

    down: int
    """How many do not."""

    def is_up(self, name: str) -> bool:
        """Whether to send calls there before others."""

    def is_checked(self, name: str) -> bool:
        """Whether a call of it is over when it does not answer OPTIONS within the call."""

    def heard(self, name: str) -> None:
        """Something came from there."""

    def failed(self, name: str) -> None:
        """A call to it was not answered at all."""


class Core(Protocol):
    """What a call needs of its switch."""

    name: str
    site: str
    settings: CallSettings
    timers: Timers
    tokens: Tokens
    transactions: Transactions
    journal: Journal | None
    boot: str
    numbers: LegNumbers
    call_log: CallLog | None

    @property
    def lines(self) -> Lines: ...
    @property
    def trunks(self) -> Trunks: ...
    def now_us(self) -> int: ...
    def steady_us(self) -> int: ...
    def emit(self, event: events.Event) -> None: ...
    def flow_to(self, hop: Uri, fallback: Flow) -> Flow: ...
    def destinations(
        self, target: Target, holder: object
    ) -> list[Destination] | tuple[int, str]: ...
    def redirected(
        self, party: str, number: str, uri: Uri
    ) -> Sequence[tuple[Target, ...]] | Destination | None: ...
    def answered(self, call: Call) -> None: ...
    def adopt(self, call: Call, next_leg: int) -> None: ...
    def remember(self, leg: Leg) -> None: ...
    def forget(self, leg: Leg) -> None: ...
    def call_over(self, call: Call) -> None: ...
