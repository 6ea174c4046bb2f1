"""What a call needs of its switch, and what it is told by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from softswitch import events
from softswitch.calls.leg import Destination, Leg
from softswitch.calls.numbers import LegNumbers
from softswitch.dialplan.targets import Target
from softswitch.parties.lines import Lines
from softswitch.sip.flow import Flow
from softswitch.sip.header_values import Uri
from softswitch.sip.timers import Timers
from softswitch.sip.tokens import Tokens
from softswitch.sip.transaction import Transactions

if TYPE_CHECKING:
    from softswitch.calls.call import Call
    from softswitch.calls.journal import Journal


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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as this switch believes it. `private`: asked not to be shown (RFC 3323)."""

    number: str
    name: str
    private: bool = False


class Core(Protocol):
    """What a call needs of its switch."""

    name: str
    site: str
    settings: CallSettings
    timers: Timers
    tokens: Tokens
    transactions: Transactions
    journal: Journal | None
    lines: Lines
    numbers: LegNumbers

    def now_us(self) -> int: ...
    def emit(self, event: events.Event) -> None: ...
    def flow_to(self, hop: Uri, fallback: Flow) -> Flow: ...
    def destinations(
        self, target: Target, holder: object
    ) -> list[Destination] | tuple[int, str]: ...
    def redirected(
        self, leg: Leg, uri: Uri
    ) -> Sequence[tuple[Target, ...]] | Destination | None: ...
    def adopt(self, call: Call, next_leg: int) -> None: ...
    def remember(self, leg: Leg) -> None: ...
    def forget(self, leg: Leg) -> None: ...
    def call_over(self, call: Call) -> None: ...
