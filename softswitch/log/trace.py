"""SIP traced: each message that comes or goes, whole, with what is secret left out."""

from __future__ import annotations

import logging
import re
from typing import Final

from softswitch.log.lines import Log

log = logging.getLogger("softswitch.sip.trace")

SECRETS: Final = (
    # What a password was hashed to can be guessed at leisure (RFC 3261 §22.4).
    re.compile(rb'(?i)(\bresponse\s*=\s*"?)[^",\r\n]*'),
    re.compile(
        rb"(?im)^((?:proxy-)?authorization[ \t]*:\s*(?:basic|bearer)\s+)"
        rb"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"
    ),
    # The keys of the audio (RFC 4568): several may stand in a line.
    re.compile(rb"(?im)^(a=crypto:[^\r\n]*?inline:)[^\r\n]*"),
)
"""What is not shown of a message: each but its first group."""
_UNPRINTABLE: Final = {i: f"\\x{i:02x}" for i in (*range(9), *range(11, 13), *range(14, 32), 127)}


def masked(data: bytes) -> bytes:
    """A message without its secrets."""
    for secret in SECRETS:
        data = secret.sub(rb"\1...", data)
    return data


class SipTrace:
    """Writes messages to a log. `received` and `sent` take them as they are on the wire."""

    def __init__(self, to: Log) -> None:
        self._log = to

    def received(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` came from `peer`."""
        self._write("from", transport, peer, data)

    def sent(self, transport: str, peer: tuple[str, int], data: bytes) -> None:
        """`data` goes to `peer`."""
        self._write("to", transport, peer, data)

    def _write(self, way: str, transport: str, peer: tuple[str, int], data: bytes) -> None:
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive
        text = masked(data).decode("utf-8", "backslashreplace").translate(_UNPRINTABLE)
        host, port = peer
        host = f"[{host}]" if ":" in host else host
        record = log.makeRecord(
            log.name, logging.INFO, "", 0, "%s %s:%s:%d\n%s",
            (way, transport, host, port, text.replace("\r\n", "\n").rstrip("\n")), None,
        )  # fmt: skip
        # Not limited: who traces wants to see all, and what the writer cannot take it counts.
        self._log.write(record)
