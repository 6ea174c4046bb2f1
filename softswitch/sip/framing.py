"""Framing: SIP messages cut from a byte stream (RFC 3261 §18.3). No I/O."""

from __future__ import annotations

import re
from typing import Final

PING: Final = b"\r\n\r\n"
"""Also the end of a message's head."""
PONG: Final = b"\r\n"
HTTP_REFUSED: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 28\r\n"
    b"Connection: close\r\n\r\nThis port takes SIP alone.\r\n"
)
"""What a browser is told, or who looks for one."""

_HTTP: Final = re.compile(rb"[A-Z]+ [^ \r\n]+ HTTP/\d")


def is_http(message: bytes) -> bool:
    """Whether what was framed as a message is a request of HTTP."""
    return _HTTP.match(message) is not None


class StreamFramer:
    """Cuts a byte stream into SIP messages by Content-Length (§18.3).

    `pings` counts the keep-alives (RFC 5626 §3.5.1) that the caller has to answer. `lost` says why
    nothing more can be read: a message was too large, or said its length in a way that cannot be
    right. The latter is still handed over, so that it can be refused, but nobody knows where the
    next one begins.
    """

    def __init__(self, max_message_size: int) -> None:
        self._max = max_message_size
        self._buffer = bytearray()
        # Length of the message at the buffer's start once its headers are complete, else 0.
        self._total = 0
        self._searched = 0
        self.pings = 0
        self.lost = ""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages completed by `data`; none once `lost` is set."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while buffer and not self.lost:
            if not self._total:
                if buffer[0] in b"\r\n":
                    if buffer.startswith(PING):
                        self.pings += 1
                        del buffer[:4]
                        continue
                    if PING.startswith(bytes(buffer[:4])):
                        break
                    # Line ends between messages (§7.5).
                    del buffer[:1]
                    continue
                end = buffer.find(PING, self._searched, self._max)
                if end < 0:
                    if len(buffer) >= self._max:
                        self.lost = "headers are too large"
                    self._searched = max(0, len(buffer) - 3)
                    break
                length = _content_length(bytes(buffer[: end + 2]))
                if length < 0:
                    self.lost = "bad Content-Length"
                    length = 0
                self._total = end + 4 + length
                if self._total > self._max:
                    self.lost = "message is too large"
                    break
            if len(buffer) < self._total:
                break
            messages.append(bytes(buffer[: self._total]))
            del buffer[: self._total]
            self._total = self._searched = 0
        if self.lost:
            buffer.clear()
        return messages


_FOLDED: Final = re.compile(rb"\r\n[ \t]+")


def _content_length(head: bytes) -> int:
    """What the Content-Length in a message's head says: 0 without one, -1 if it is not sane."""
    lower = head.lower()
    if b"\r\n " in lower or b"\r\n\t" in lower:
        lower = _FOLDED.sub(b" ", lower)
    found = -2
    for name in (b"\r\ncontent-length", b"\r\nl"):
        at = lower.find(name)
        while at >= 0:
            rest = lower[at + len(name) : lower.find(b"\r\n", at + 2)].lstrip(b" \t")
            if rest.startswith(b":"):
                text = rest[1:].strip(b" \t")
                length = int(text) if text.isdigit() and len(text) < 10 else -1
                if found not in (-2, length):
                    # Two that differ: whoever believes the other one sees other messages.
                    return -1
                found = length
            at = lower.find(name, at + 2)
    return 0 if found == -2 else found
