"""SIP messages (RFC 3261 §7, §20): what they are, and writing them; no sockets, no state.

A message keeps its header values as the raw strings that came; typed values (`Via`, `Address`,
`Uri`) are parsed when asked for (`header_values`). `parser.parse` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from softswitch.sip.header_names import display_name
from softswitch.sip.header_values import NO_VIA, Via

BRANCH_COOKIE: Final = "z9hG4bK"

REASON_PHRASES: Final = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    429: "Provide Referrer Identity",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}


class MalformedMessage(ValueError):
    """What came is no SIP message, or must not be answered; the text says what is wrong."""


class Defect(NamedTuple):
    """Why a request is refused before it is looked into: the status and phrase to send."""

    status: int
    reason: str


class Request:
    """A SIP request. `headers` maps a lower-case long name to its values, in the order they came.

    Raises nothing of its own: `cseq`, `from_tag`, `to_tag` and `via` were checked by `parse` and
    are only meaningful while `defect` is None. `party` is for the transaction user, who notes there
    whom it has found the sender to be.
    """

    __slots__ = (
        "body", "cseq", "defect", "from_tag", "headers", "method", "party", "to_tag", "uri",
        "via",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        uri: str,
        headers: dict[str, list[str]],
        body: bytes = b"",
        cseq: int = 0,
        from_tag: str = "",
        to_tag: str = "",
        via: Via = NO_VIA,
        defect: Defect | None = None,
        party: object = None,
    ) -> None:
        self.method = method
        self.uri = uri
        self.headers = headers
        self.body = body
        self.cseq = cseq
        self.from_tag = from_tag
        self.to_tag = to_tag
        self.via = via
        self.defect = defect
        self.party = party

    def get(self, name: str) -> str | None:
        """The first value of a header (lower-case long name), or None."""
        values = self.headers.get(name)
        return values[0] if values else None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response:
    """A SIP response; `headers` as in `Request`, `cseq_method` the method of its CSeq.

    `ours`: it did not come from the other side, but says what became of our request (a timeout, a
    dead flow).
    """

    __slots__ = (
        "body", "cseq", "cseq_method", "from_tag", "headers", "ours", "reason", "status",
        "to_tag", "via",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        reason: str,
        headers: dict[str, list[str]],
        body: bytes = b"",
        cseq: int = 0,
        cseq_method: str = "",
        from_tag: str = "",
        to_tag: str = "",
        via: Via = NO_VIA,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.cseq = cseq
        self.cseq_method = cseq_method
        self.from_tag = from_tag
        self.to_tag = to_tag
        self.via = via
        self.ours = False

    def get(self, name: str) -> str | None:
        """The first value of a header (lower-case long name), or None."""
        values = self.headers.get(name)
        return values[0] if values else None

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason} to {self.cseq_method}>"


def encode_head(start: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Start line, header lines as given, Content-Length and body, as bytes for the wire."""
    lines = [start]
    lines.extend([f"{name}: {value}" for name, value in headers])
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def encode_request(request: Request) -> bytes:
    """A request as bytes for the wire; Content-Length is computed."""
    return encode_head(
        f"{request.method} {request.uri} SIP/2.0", _lines(request.headers), request.body
    )


def encode_response(response: Response) -> bytes:
    """A response as bytes for the wire; Content-Length is computed."""
    return encode_head(
        f"SIP/2.0 {response.status} {response.reason}", _lines(response.headers), response.body
    )


def _lines(headers: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [
        (display_name(key), value)
        for key, values in headers.items()
        if key != "content-length"
        for value in values
    ]


def response_bytes(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str = "",
    extra: str = "",
    body: bytes = b"",
) -> bytes:
    """A response to `request` (§8.2.6) as bytes.

    The Via values, From, Call-ID and CSeq are the request's; `to_tag` is added to a To without one.
    `extra` is header lines, each ended by CRLF; Content-Length is added here.
    """
    headers = request.headers
    to = headers["to"][0]
    if to_tag and not request.to_tag:
        to = f"{to};tag={to_tag}"
    vias = headers["via"]
    via = vias[0] if len(vias) == 1 else "\r\nVia: ".join(vias)
    if reason is None:
        reason = REASON_PHRASES.get(status, "")
    if status == 100 and "timestamp" in headers:
        # §8.2.6.1: so that the client can measure the round trip.
        extra = f"{extra}Timestamp: {headers['timestamp'][0]}\r\n"
    return (
        f"SIP/2.0 {status} {reason}\r\nVia: {via}\r\nFrom: {headers['from'][0]}\r\nTo: {to}\r\n"
        f"Call-ID: {headers['call-id'][0]}\r\nCSeq: {headers['cseq'][0]}\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode("utf-8", "surrogateescape") + body
