"""Reading SIP messages (RFC 3261 §7, §25).

`parse` reads one datagram or one framed stream message. A request that can be answered but not
served comes back with its `defect` set, so that whoever sent it gets the 4xx or 5xx that the RFC
names; what cannot be answered raises `MalformedMessage` and is dropped.
"""

from __future__ import annotations

import re
from typing import Final

from softswitch.sip import header_values
from softswitch.sip.header_names import KEYS, SINGLE_VALUED, display_name, header_key, is_token
from softswitch.sip.header_values import (
    TOKEN,
    is_plain,
    parse_address,
    parse_uri,
    parse_via,
    split_list,
    uri_scheme,
)
from softswitch.sip.message import REASON_PHRASES, Defect, MalformedMessage, Request, Response
from softswitch.sip.texts import MAX_TEXT, printable

MAX_HEADERS: Final = 256
MAX_KEPT: Final = 8192
MAX_CSEQ: Final = 2**31

_NEEDED: Final = ("via", "from", "to", "call-id", "cseq")
_METHODS: Final = frozenset(
    ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK", "MESSAGE")
)
# What nearly all messages have, read beforehand.
_USUAL_STATUS_LINES: Final = {
    f"SIP/2.0 {status} {reason}": (status, reason) for status, reason in REASON_PHRASES.items()
}
_USUAL_CSEQS: Final = {
    f"{number} {method}": (number, method) for method in _METHODS for number in range(1, 200)
}
_USUAL_NUMBERS: Final = {str(number): number for number in range(2000)}
# Lines that come again and again as they are, and what they say; the parties of a call are named
# alike in all its messages. Whoever sends ever new ones only makes these be filled anew.
_STEADY: Final = frozenset(
    (
        "accept", "allow", "contact", "content-length", "content-type", "cseq", "expires",
        "max-forwards", "min-se", "server", "session-expires", "subject", "supported", "user-agent",
        "content-disposition", "content-encoding", "content-language", "mime-version", "reason",
    )
)  # fmt: skip
# Of these what is shown, kept, or told to the other side as it stands; all others are read first.
_TEXTS: Final = frozenset(
    (
        "content-disposition", "content-encoding", "content-language", "content-type",
        "mime-version", "reason", "server", "subject", "user-agent",
    )
)  # fmt: skip
# What a call keeps of a message, and writes into its journal.
_KEPT: Final = ("via", "from", "to", "call-id", "contact", "record-route", "cseq")
_LINES: dict[str, tuple[str, str]] = {}
_MAX_LINES: Final = 2000
_MAX_LINE: Final = 160  # characters
_PARTIES: set[str] = set()
_MAX_PARTIES: Final = 2000
# Leading zeros do not count, and more than ten digits are beyond 2**31 whatever they are.
_CSEQ_RE = re.compile(rf"\s*0*(\d{{1,10}})\s+({TOKEN})\s*\Z", re.A)
_FOLD_RE = re.compile(r"\r\n[ \t]+")
_REQUEST_LINE_RE = re.compile(rf"({TOKEN}) (\S+) (SIP/\d+\.\d+)\Z", re.I | re.A)
_STATUS_LINE_RE = re.compile(r"SIP/2\.0 (\d{3})(?: (.*))?\Z", re.I | re.A)
# The two header values that every message has to have read: the common forms, in one match each.
_PLAIN_FROM_TO_RE = re.compile(
    r"(?:\"[^\"\\<>]*\" ?|[A-Za-z0-9 .\-_]*)<sips?:[A-Za-z0-9\-_.!~*'()&=+$,#]+@"
    r"[A-Za-z0-9.\-]+(?::\d{1,5})?(?:;[A-Za-z0-9\-=.]+)*>(?:;tag=([A-Za-z0-9\-.!%*_+`'~]+))?\Z"
)


def forget() -> None:
    """Give back what is remembered of lines and parties: it lies among the memory of past calls."""
    _LINES.clear()
    _PARTIES.clear()
    header_values.forget()


def _split_headers(
    head: str, max_headers: int, max_text: int
) -> tuple[str, dict[str, list[str]], str]:
    """Start line, headers, and the first thing wrong with them (empty if nothing)."""
    lines = head.split("\r\n")
    start = lines.pop(0)
    wrong = ""
    # Passed on in a header's value it would start a line of its own for whoever is less strict.
    bare = "\n" in start or "\r" in start
    if len(lines) > max_headers:
        wrong = "Too Many Headers"
        del lines[max_headers:]
    headers: dict[str, list[str]] = {}
    repeated = False
    keys = KEYS
    known_lines = _LINES
    for line in lines:
        known = known_lines.get(line)
        if known is not None:
            key, value = known
        else:
            clean = "\n" not in line and "\r" not in line
            if not clean:
                bare = True
            # As nearly everybody writes it, with one space.
            name, colon, value = line.partition(": ")
            found = keys.get(name)
            if found is None or not colon:
                name, colon, value = line.partition(":")
                found = keys.get(name) if colon else None
            if found is not None:
                key = found
            else:
                if line[:1] in (" ", "\t"):
                    # A folded line (§7.3.1): rare enough to be looked for here, and to begin anew.
                    return _split_headers(_FOLD_RE.sub(" ", head), max_headers, max_text)
                if not colon:
                    wrong = wrong or "Header Without Colon"
                    continue
                key = header_key(name)
                if not is_token(key):
                    wrong = wrong or "Bad Header Name"
            value = value.strip()
            if key in _STEADY:
                if key in _TEXTS:
                    value = printable(value, max_text)
                if clean and len(line) <= _MAX_LINE:
                    if len(known_lines) >= _MAX_LINES:
                        known_lines.clear()
                    known_lines[line] = (key, value)
        values = headers.get(key)
        if values is None:
            headers[key] = [value]
        else:
            repeated = True
            values.append(value)
    if bare and wrong != "Too Many Headers":
        wrong = "Bare CR Or LF"
    if repeated and not wrong:
        for key, values in headers.items():
            if len(values) > 1 and key in SINGLE_VALUED:
                wrong = f"Several {display_name(key)}"
                break
    return start, headers, wrong


def parse(
    data: bytes,
    *,
    datagram: bool = True,
    max_headers: int = MAX_HEADERS,
    max_text: int = MAX_TEXT,
    max_kept: int = MAX_KEPT,
) -> Request | Response:
    """One SIP message. `data` is a datagram, or head and body of a stream message already framed.

    Texts (`softswitch.sip.texts`) come out with at most `max_text` characters; what a call keeps
    of a message has `max_kept`, or the message is as wrong as with more than `max_headers` lines.

    Raises `MalformedMessage` for what can not or must not be answered (§16.7, §18: bad responses
    are dropped); a request that can be answered comes back with `defect` set instead.
    """
    if data[:1] in (b"\r", b"\n"):
        # §7.5: line ends before the start line are ignored.
        data = data.lstrip(b"\r\n")
    head_bytes, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        # A datagram may end right behind its last header line; the empty line is then missing only.
        head_bytes = data.rstrip(b"\r\n")
    try:
        head = head_bytes.decode("utf-8")
    except UnicodeDecodeError:
        head = head_bytes.decode("utf-8", "surrogateescape")
    start, headers, wrong = _split_headers(head, max_headers, max_text)
    answer = start.startswith("SIP/") or start[:4].upper() == "SIP/"
    if len(head) > max_kept and not wrong and _kept("" if answer else start, headers) > max_kept:
        wrong = "Headers Too Long"
    if answer:
        return _parse_response(start, headers, wrong, body, datagram, max_text)
    return _parse_request(start, headers, wrong, body, datagram)


def _kept(start: str, headers: dict[str, list[str]]) -> int:
    """Characters that a call keeps of a message."""
    return len(start) + sum(len(value) for key in _KEPT for value in headers.get(key, ()))


def _parse_request(
    start: str, headers: dict[str, list[str]], wrong: str, body: bytes, datagram: bool
) -> Request:
    method, _, rest = start.partition(" ")
    uri, _, version = rest.rpartition(" ")
    if (
        version != "SIP/2.0"
        or not uri
        or " " in uri
        or not (method in _METHODS or is_token(method))
    ):
        match = _REQUEST_LINE_RE.match(start)
        if match is None:
            return _odd_request_line(start, headers, body)
        method, uri, version = match.groups()
    request = Request(method, uri, headers, body)
    missing = _missing(headers)
    if missing:
        request.defect = Defect(400, f"Missing {display_name(missing)}")
        return request
    if version.upper() != "SIP/2.0":
        request.defect = Defect(505, "Version Not Supported")
        return request
    try:
        request.via = parse_via(_split_via(headers))
        _read_tags(request, headers)
        cseq = _read_cseq(headers["cseq"][0])
        if cseq is None:
            request.defect = Defect(400, "Bad CSeq")
            return request
        request.cseq = cseq[0]
    except ValueError as error:
        request.defect = Defect(400, _phrase(str(error)))
        return request
    if wrong:
        request.defect = Defect(400, wrong)
    elif cseq[1] != method:
        request.defect = Defect(400, "CSeq Method Does Not Match")
    else:
        request.defect = _request_defect(request, headers, datagram)
    return request


def _missing(headers: dict[str, list[str]]) -> str:
    """The first header without which no request can be answered; empty if all are there."""
    if (
        "via" in headers
        and "from" in headers
        and "to" in headers
        and "call-id" in headers
        and "cseq" in headers
    ):
        return ""
    return next(name for name in _NEEDED if name not in headers)


def _number(text: str) -> int | None:
    """A number of up to nine digits; None if it is none."""
    usual = _USUAL_NUMBERS.get(text)
    if usual is not None:
        return usual
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        return None
    return int(text)


def _odd_request_line(start: str, headers: dict[str, list[str]], body: bytes) -> Request:
    """A request line that §7.1 does not allow: answerable as 400 if its other parts can be read."""
    words = start.split()
    if len(words) < 3 or not words[-1].upper().startswith("SIP/") or not is_token(words[0]):
        raise MalformedMessage(f"no SIP start line: {start[:60]!r}")
    request = Request(words[0], " ".join(words[1:-1]), headers, body)
    request.defect = Defect(400, "Bad Request-Line")
    try:
        request.via = parse_via(_split_via(headers))
        _read_tags(request, headers)
    except (ValueError, KeyError, IndexError):
        raise MalformedMessage(f"no SIP request: {start[:60]!r}") from None
    return request


def _parse_response(
    start: str,
    headers: dict[str, list[str]],
    wrong: str,
    body: bytes,
    datagram: bool,
    max_text: int,
) -> Response:
    if wrong:
        raise MalformedMessage(wrong)
    status, reason = _USUAL_STATUS_LINES.get(start) or _read_status_line(start, max_text)
    response = Response(status, reason, headers, body)
    try:
        response.via = parse_via(_split_via(headers))
        _read_tags(response, headers)
        cseq = _read_cseq(headers["cseq"][0])
    except (KeyError, ValueError) as error:
        raise MalformedMessage(f"bad response: {error}") from None
    if "call-id" not in headers:
        raise MalformedMessage("response without Call-ID")
    if cseq is None:
        raise MalformedMessage("response with a bad CSeq")
    response.cseq, response.cseq_method = cseq
    length = headers.get("content-length")
    if length is not None:
        size = _number(length[0])
        if size is None:
            raise MalformedMessage("response with a bad Content-Length")
        if size > len(body):
            raise MalformedMessage("response shorter than its Content-Length")
        if size < len(body):
            response.body = body[:size]
    elif not datagram:
        # §20.14: on a stream nothing else says where it ends.
        raise MalformedMessage("response without Content-Length over a stream")
    return response


def _read_status_line(start: str, max_text: int) -> tuple[int, str]:
    match = _STATUS_LINE_RE.match(start)
    if match is None:
        raise MalformedMessage(f"bad status line: {start[:60]!r}")
    status = int(match.group(1))
    if not 100 <= status <= 699:
        raise MalformedMessage(f"status {status} out of range")
    return status, printable(match.group(2) or "", max_text)


def _read_cseq(value: str) -> tuple[int, str] | None:
    """Number and method of a CSeq; None if it is none."""
    usual = _USUAL_CSEQS.get(value)
    if usual is not None:
        return usual
    match = _CSEQ_RE.match(value)
    if match is None:
        return None
    number = int(match.group(1))
    return (number, match.group(2)) if number < MAX_CSEQ else None


def _request_defect(
    request: Request, headers: dict[str, list[str]], datagram: bool
) -> Defect | None:
    body = request.body
    length = headers.get("content-length")
    if length is not None:
        size = _number(length[0])
        if size is None:
            return Defect(400, "Bad Content-Length")
        if size > len(body):
            return Defect(400, "Body Shorter Than Content-Length")
        if size < len(body):
            request.body = body[:size]
    elif not datagram:
        return Defect(400, "Missing Content-Length")
    hops = headers.get("max-forwards")
    if hops is not None:
        left = _number(hops[0])
        if left is None or left > 255:
            return Defect(400, "Bad Max-Forwards")
    uri = request.uri
    try:
        if parse_uri(uri).headers:
            # §19.1.1: header components are not allowed in a Request-URI.
            return Defect(400, "Headers In Request-URI")
    except ValueError:
        scheme = uri_scheme(uri)
        if scheme is not None and scheme not in ("sip", "sips", "tel"):
            return Defect(416, "Unsupported URI Scheme")
        return Defect(400, "Bad Request-URI")
    return None


def _split_via(headers: dict[str, list[str]]) -> str:
    """The topmost Via value; splits a comma-joined header in place, so that each value stands
    alone.
    """
    values = headers["via"]
    for value in values:
        if "," in value:
            values = headers["via"] = [part for value in values for part in split_list(value)]
            break
    return values[0]


def _read_tags(message: Request | Response, headers: dict[str, list[str]]) -> None:
    message.from_tag = _tag(headers["from"][0])
    message.to_tag = _tag(headers["to"][0])


def _tag(value: str) -> str:
    party, mark, tag = value.partition(";tag=")
    if party in _PARTIES:
        if not mark:
            return ""
        if is_plain(tag):
            return tag
    match = _PLAIN_FROM_TO_RE.match(value)
    if match is None:
        return parse_address(value).params.get("tag") or ""
    if len(party) <= _MAX_LINE and party.endswith(">"):
        if len(_PARTIES) >= _MAX_PARTIES:
            _PARTIES.clear()
        _PARTIES.add(party)
    return match.group(1) or ""


def _phrase(text: str) -> str:
    """A reason phrase from an error text: one line, nothing that could break the status line."""
    return (
        "".join(c for c in text.split(":")[0] if c.isprintable()).strip().title() or "Bad Request"
    )
