"""SIP over WebSocket (RFC 7118): the handshake, and a message in each WebSocket message. No I/O."""

from __future__ import annotations

import http
import logging
from collections.abc import Sequence
from typing import Final

from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

_SIP: Final = Subprotocol("sip")
_SILENT: Final = logging.Logger("softswitch.sip.ws", logging.CRITICAL)
"""What its clients do wrong is no news, and what they say is not to be in any log."""


def _sip_alone(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    if _SIP in offered:
        return _SIP
    raise InvalidHandshake("the subprotocol is sip (RFC 7118 §4.1)")


class WsLayer:
    """One connection: bytes in, messages out. `origins`: the pages that may connect; empty: all.
    The keep-alives of WebSocket are answered here."""

    __slots__ = ("_accepted", "_part", "_protocol", "lost")

    def __init__(self, max_message_size: int, origins: Sequence[str] = ()) -> None:
        self._protocol = ServerProtocol(
            origins=[Origin(one) for one in origins] or None,
            subprotocols=[_SIP],
            select_subprotocol=_sip_alone,
            max_size=max_message_size,
            logger=_SILENT,
        )
        self._accepted = False
        self._part = bytearray()
        self.lost = ""

    @property
    def open(self) -> bool:
        """Whether anything can be sent: neither side has said goodbye."""
        return self._accepted and self._protocol.state is State.OPEN

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The messages completed by `data`, and what has to go back."""
        protocol = self._protocol
        protocol.receive_data(data)
        messages: list[bytes] = []
        for event in protocol.events_received():
            if isinstance(event, Request):
                response = protocol.accept(event)
                protocol.send_response(response)
                self._accepted = response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS
                if not self._accepted:
                    self.lost = f"no SIP over WebSocket: {response.status_code}"
            elif isinstance(event, Frame):
                self._take(event, messages)
        if protocol.close_expected() and not self.lost:
            self.lost = "the peer has closed it"
        return messages, self._written()

    def _take(self, frame: Frame, messages: list[bytes]) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._part += frame.data
        if frame.fin:
            message = bytes(self._part)
            self._part.clear()
            # A client may keep the connection open as over TCP (RFC 7118 §6).
            if message.strip(b"\r\n"):
                messages.append(message)

    def send(self, data: bytes) -> bytes:
        """What goes on the wire for a message, while it is `open`."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._protocol.send_binary(data)
        else:
            self._protocol.send_text(text.encode())
        return self._written()

    def ping(self) -> bytes:
        """What goes on the wire to keep the way open."""
        if self.open:
            self._protocol.send_ping(b"")
        return self._written()

    def close(self) -> bytes:
        """What goes on the wire last."""
        if self.open:
            self._protocol.send_close(1001)
        return self._written()

    def _written(self) -> bytes:
        return b"".join(self._protocol.data_to_send())
