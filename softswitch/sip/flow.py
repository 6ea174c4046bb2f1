"""Flows: what the layers above the transport know of a peer and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from softswitch.sip.message import Request, Response


class ListenError(OSError):
    """An address that cannot be listened on; the text is one line for whoever configured it."""


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
    @property
    def listener(self) -> str:
        """By which of several addresses of ours it goes, ``host:port``; empty: the first."""
        ...

    @property
    def peer(self) -> str:
        """Who has to be there and had to prove it over TLS, as `Network.flow_to` was told; empty:
        nobody."""
        ...

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None: ...


class Network(Protocol):
    """The sockets, as far as the switch needs them."""

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> Flow | None:
        """A way to an address, by that listener of ours if it is there, else by the first of its
        kind. `peer` names who has to be there: over TLS it has to prove that."""

    def connection(self, transport: str, host: str, port: int) -> Flow | None:
        """The connection that there is to a peer; None if there is none, or over UDP."""


class Trace(Protocol):
    """Who is shown each message as it is on the wire; `peer` is (host, port)."""

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None: ...
    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None: ...


TraceAt = Callable[[tuple[str, int]], Trace]
"""Gives who is shown what comes and goes at an address of ours, (host, port)."""

Receiver = Callable[[Request | Response, Flow], None]
"""Who takes the messages that come in."""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """What a stranger may cost: sizes in bytes, times in seconds.

    `max_text` and `max_kept` are characters, of a text that is shown, and of what a call keeps of a
    message. `max_connections` counts those that others have opened, `max_per_address` those of one
    address that have not shown whose they are, `max_opened` our own. One on which no whole message
    came within `first_message` is closed. `max_queued` is what may wait for a connection that does
    not take it; of datagrams that the system does not take, a thousandth of it in number.
    One that is idle for `keepalive` is asked whether it lives (0: never).
    `last_words` is how long a connection that is closed gets for what it was told last.
    """

    max_message_size: int = 65535
    max_headers: int = 256
    max_text: int = 256
    max_kept: int = 8192
    max_connections: int = 1000
    max_per_address: int = 100
    max_opened: int = 1000
    max_queued: int = 1_000_000
    tcp_idle: float = 3600.0
    keepalive: float = 30.0
    first_message: float = 10.0
    connect_timeout: float = 5.0
    last_words: float = 5.0
