"""What of a message on the wire a trace shows; read when somebody looks at it, never before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from softswitch.log import SECRETS
from softswitch.sip import Entry, host_port, local_address_for, readable

_CALL_ID_RE: Final = re.compile(rb"\n(?:call-id|i)[ \t]*:\s*([^\r\n]*?)[ \t]*\r?\n", re.I)
_CSEQ_RE: Final = re.compile(rb"\ncseq[ \t]*:\s*(\d+)\s+([^\s]+)", re.I)


def packed(one: str, other: str) -> tuple[bytes, bytes]:
    """Two hosts as their addresses are on the wire, both of IPv6 if one of them is. ValueError for
    what is no address."""
    # An interface may be named after it: fe80::1%eth0.
    found = [ip_address(host.strip("[]").partition("%")[0]).packed for host in (one, other)]
    if len(found[0]) != len(found[1]):
        found = [one if len(one) == 16 else bytes(10) + b"\xff\xff" + one for one in found]
    return found[0], found[1]


@dataclass(frozen=True, slots=True)
class Seen:
    """A message on the wire. `at` is seconds since 1970, UTC; `sent`: the switch has sent it."""

    at: float
    sent: bool
    transport: str
    local: tuple[str, int]
    peer: tuple[str, int]
    data: bytes

    @property
    def call_id(self) -> str:
        """Its SIP Call-ID; empty if there is none."""
        return call_id_of(self.data)

    @property
    def start_line(self) -> str:
        """Its first line, fit to be shown."""
        return readable(self.data.partition(b"\r\n")[0].decode("utf-8", "surrogateescape"))

    @property
    def cseq(self) -> tuple[int, str]:
        """Its CSeq; (0, "") if there is none."""
        found = _CSEQ_RE.search(head_of(self.data))
        if found is None:
            return 0, ""
        return int(found[1][:10]), readable(found[2].decode("latin-1"))

    @property
    def body(self) -> bytes:
        """What follows its headers."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def summary(self) -> str:
        """In a few words: `INVITE SDP`, `200 OK (BYE)`."""
        line = self.start_line
        if line.startswith("SIP/2.0 "):
            method = self.cseq[1]
            text = line[8:] + (f" ({method})" if method not in ("INVITE", "") else "")
        else:
            text = line.partition(" ")[0]
        return text + (" SDP" if self.body.startswith(b"v=0") else "")

    def masked(self) -> Seen:
        """Without its secrets: as many x in their place, so that it has its length."""
        data = self.data
        for secret in SECRETS:
            data = secret.sub(_crossed_out, data)
        return Seen(self.at, self.sent, self.transport, self.local, self.peer, data)

    def in_json(self) -> dict[str, Any]:
        """For the control socket and the API; each byte of the message is a character."""
        return {
            "at": self.at,
            "sent": self.sent,
            "transport": self.transport,
            "local": list(self.local),
            "peer": list(self.peer),
            "data": self.data.decode("latin-1"),
        }

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Seen:
        """What `in_json` gave."""
        return cls(
            float(told["at"]),
            bool(told["sent"]),
            str(told["transport"]),
            (str(told["local"][0]), int(told["local"][1])),
            (str(told["peer"][0]), int(told["peer"][1])),
            str(told["data"]).encode("latin-1"),
        )

    @property
    def address(self) -> str:
        """The peer's."""
        return f"{self.transport}:{host_port(*self.peer)}"


def seen(entry: Entry) -> Seen:
    """A message that was kept; where the switch listens at all addresses, with the one by which it
    reaches the peer."""
    at, sent, transport, local, peer, data = entry
    # Of IPv6 a socket gives more than address and port.
    peer = (peer[0], peer[1])
    if local[0] in ("0.0.0.0", "::"):
        local = (_address_for(peer[0]), local[1])
    return Seen(at, sent, transport, local, peer, data)


@lru_cache(maxsize=1024)
def _address_for(host: str) -> str:
    return local_address_for(host)


def head_of(data: bytes) -> bytes:
    """The start line and headers of a message, with the end of the last one."""
    head, end, _ = data.partition(b"\r\n\r\n")
    return head + end[:2]


def call_id_of(data: bytes) -> str:
    """The SIP Call-ID of a message; empty if it has none."""
    found = _CALL_ID_RE.search(head_of(data))
    return "" if found is None else found[1].decode("utf-8", "surrogateescape")


def _crossed_out(found: re.Match[bytes]) -> bytes:
    return found[1] + b"x" * (len(found[0]) - len(found[1]))
