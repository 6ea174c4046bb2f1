"""Header lines that this switch writes itself, and those that go on with a body it relays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from softswitch.sip import Flow, Request, Response, delta_seconds, split_list

_QUOTED_RE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')

METHODS: Final = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, MESSAGE, PRACK"
"""What is taken within any call; UPDATE is added where the other party takes it too, REFER where
it may be used."""

_TIMER: Final = "Supported: 100rel, timer\r\n"
ALLOW: Final = f"Allow: {METHODS}\r\n{_TIMER}"
ALLOW_UPDATE: Final = f"Allow: {METHODS}, UPDATE\r\n{_TIMER}"
_REFERS: Final = "Supported: 100rel, timer, replaces, norefersub, tdialog\r\n"
ALLOW_REFER: Final = f"Allow: {METHODS}, REFER\r\n{_REFERS}"
ALLOW_ALL: Final = f"Allow: {METHODS}, REFER, UPDATE\r\n{_REFERS}"

KNOWN_METHODS = frozenset(
    (
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "INFO",
        "MESSAGE",
        "UPDATE",
        "PRACK",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
    )
)
"""What is refused with 405 where it is not taken; all else is 501 (§8.2.1, §21.5.2)."""

SUPPORTED: Final = frozenset(("100rel", "timer", "replaces", "norefersub", "tdialog"))
"""Option tags of what may be required."""

_CONTENT_HEADERS = (
    ("content-disposition", "Content-Disposition"),
    ("content-encoding", "Content-Encoding"),
    ("content-language", "Content-Language"),
    ("mime-version", "MIME-Version"),
)


def contact_line(flow: Flow, asked: str) -> str:
    """Our Contact towards a peer. `asked` is the URI of the request that makes the dialog: where
    that is a SIPS URI the Contact is one (§8.1.1.8, §12.1.1; RFC 5630 §5: without a transport)."""
    if flow.transport == "udp":
        return f"Contact: <sip:{flow.sent_by}>\r\n"
    if asked[:5] in ("sips:", "SIPS:"):
        web = ";transport=ws" if flow.transport in ("ws", "wss") else ""
        return f"Contact: <sips:{flow.sent_by}{web}>\r\n"
    # RFC 7118 §5.2: ws, whether over TLS or not.
    kind = "ws" if flow.transport == "wss" else flow.transport
    return f"Contact: <sip:{flow.sent_by};transport={kind}>\r\n"


def route_lines(path: Iterable[str]) -> str:
    """The Route header lines of a request that goes by these proxies (RFC 3327 §5.3)."""
    return "".join([f"Route: <{uri}>\r\n" for uri in path])


def unsupported(request: Request) -> str:
    """The Unsupported header line of the 420 that a request wants; empty if it asks for nothing.

    §8.2.2.3: of extensions this switch has `SUPPORTED`; §16.3: of the proxy it is not, none.
    """
    headers = request.headers
    if "require" not in headers and "proxy-require" not in headers:
        return ""
    values = headers.get("require", []) + headers.get("proxy-require", [])
    parts = [part for value in values for part in split_list(value)]
    wanted = ", ".join([part for part in parts if part and part.lower() not in SUPPORTED])
    return f"Unsupported: {wanted}\r\n" if wanted else ""


def reason_line(status: int, text: str) -> str:
    """The Reason header line of what this switch ends by itself (RFC 3326)."""
    text = text.replace('"', "'").replace("\\", "")
    return f'Reason: SIP;cause={status};text="{text}"\r\n'


_LONGEST = 3600


def retry_after(response: Response) -> float:
    """The seconds for which it asks not to be asked again, an hour at most; 0: it does not
    (§20.33)."""
    return float(min(delta_seconds(response.get("retry-after")) or 0, _LONGEST))


_REASONS = 4  # one a protocol: there are two, SIP and Q.850


def reason_of(message: Request | Response) -> str:
    """Its Reason header, all values as one list (RFC 3326); empty without one.

    Each has been cut to `limits.max_text`: one that was cut within quotes ends before its text.
    """
    values = message.headers.get("reason")
    if not values:
        return ""
    return ", ".join([_whole(value) for value in values[:_REASONS]])


def _whole(value: str) -> str:
    if "\\" not in value and not value.count('"') % 2:
        return value
    if _QUOTED_RE.sub("", value).find('"') < 0:
        return value
    return value.partition('"')[0].rpartition(";")[0].rstrip()


SDP_LINE: Final = "Content-Type: application/sdp\r\n"

_EXPLAINS: Final[dict[int, tuple[tuple[str, str], ...]]] = {
    415: (
        ("accept", "Accept"),
        ("accept-encoding", "Accept-Encoding"),
        ("accept-language", "Accept-Language"),
    ),
    420: (("unsupported", "Unsupported"),),
    421: (("require", "Require"),),
    422: (("min-se", "Min-SE"),),
    469: (("recv-info", "Recv-Info"),),
}


def explanation(response: Response) -> str:
    """The header lines without which whoever gets this failure cannot tell what would be better:
    Warning (§20.43), and what the status demands (§21.4.13, §21.4.15, §21.4.16, RFC 4028 §6,
    RFC 6086)."""
    headers = response.headers
    lines = ""
    if "warning" in headers:
        lines = "".join(f"Warning: {value}\r\n" for value in headers["warning"])
    for key, name in _EXPLAINS.get(response.status, ()):
        if key in headers:
            lines += "".join(f"{name}: {value}\r\n" for value in headers[key])
    return lines


def content_lines(message: Request | Response) -> str:
    """The header lines that describe a body, to go on with it."""
    content_type = message.headers.get("content-type")
    return (f"Content-Type: {content_type[0]}\r\n" if content_type else "") + body_lines(message)


def body_lines(message: Request | Response) -> str:
    """The same but for its Content-Type."""
    headers = message.headers
    lines = ""
    for key, name in _CONTENT_HEADERS:
        if key in headers:
            lines += f"{name}: {headers[key][0]}\r\n"
    return lines
