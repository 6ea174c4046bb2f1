"""Typed header values (RFC 3261 §20, §25; RFC 3966): Via, URIs, addresses, parameters, lists.

Parsed from the raw strings of a message when somebody asks; every function raises ValueError, and
nothing else, for what is not well-formed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from functools import lru_cache
from typing import Final

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9_.\-]*[A-Za-z0-9.])?)"
_VIA_RE = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({TOKEN})\s+({_HOST})\s*+(?::\s*(\d{{1,5}}))?\s*+(;.*)?\Z",
    re.I | re.S | re.A,
)
# A value is a token, a host or quoted (§25.1 gen-value); IPv6 addresses in `received` come without
# brackets.
_PARAM_RE = re.compile(rf"\s*;\s*({TOKEN})\s*(?:=\s*({_QUOTED}|[^\s;,\"<>=]+))?\s*", re.A)
# A display name of tokens is one class with no way back: `(?:token *)*` would try every way of
# cutting a long word that no "<" follows.
_NAME_ADDR_RE = re.compile(
    rf"\s*+(?:({_QUOTED})\s*+|([A-Za-z0-9\-.!%*_+`'~\s]*+))<([^<>\"\s]+)>\s*+((?:;.*)?)\Z",
    re.S | re.A,
)
# Names that are not quite legal, as they are sent all the same: Bond, James <sip:...>.
_LOOSE_NAME_RE = re.compile(r"\s*+([^<>\"]+)<([^<>\"\s]+)>\s*+((?:;.*)?)\Z", re.S)
_ADDR_SPEC_RE = re.compile(
    r"\s*([A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\";?,]+)\s*((?:;.*)?)\Z", re.S | re.A
)
_USER = r"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]|%[0-9A-Fa-f]{2})+"
_PASSWORD = r"(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*"
_URI_PARAM = r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})+"
_SIP_URI_RE = re.compile(
    rf"(sips?):(?:({_USER})(?::{_PASSWORD})?@)?({_HOST})(?::(\d{{1,5}}))?"
    rf"((?:;{_URI_PARAM}(?:={_URI_PARAM})?)*)(\?[^\s<>\"?]+)?\Z",
    re.I,
)
_TEL_URI_RE = re.compile(
    rf"(tel):(\+?[0-9A-Fa-f*#\-.()]+)((?:;{_URI_PARAM}(?:={_URI_PARAM})?)*)\Z", re.I
)
_NUMBER_RE = re.compile(r"\+?[0-9A-Fa-f*#\-.()]+\Z")
_SCHEME_RE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_PERCENT_RE = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_PLAIN_VIA_RE = re.compile(
    r"SIP/2\.0/([A-Z]+) ([A-Za-z0-9.\-]+)(?::(\d{1,5}))?"
    r"(;rport)?;branch=([A-Za-z0-9\-.!%*_+`'~]+)(?:;received=([0-9A-Fa-f.:]+))?"
    r"(?:;(rport)(?:=(\d{1,5}))?)?\Z"
)


_VIA_HEADS: dict[str, tuple[str, str, int | None]] = {}
_MAX_VIA_HEADS: Final = 10_000  # peers remembered, with up to 64 characters each


class Via:
    """One Via value (§20.42). `port` is None when absent, `rport` "" when without value."""

    __slots__ = ("branch", "host", "port", "received", "rport", "transport")

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None,
        branch: str,
        received: str | None = None,
        rport: str | None = None,
    ) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.branch = branch
        self.received = received
        self.rport = rport

    def _values(self) -> tuple[str | int | None, ...]:
        return self.transport, self.host, self.port, self.branch, self.received, self.rport

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    @property
    def sent_by(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


_PARTIES: dict[str, tuple[str, str]] = {}
_MAX_PARTIES: Final = 2000
_MOST_SECONDS: Final = 2**32 - 1
_MOST_DIGITS: Final = 20

NO_VIA: Final = Via("", "", None, "")


@dataclass(frozen=True, slots=True)
class Uri:
    """A SIP or SIPS URI (§19.1), or a tel URI (RFC 3966) with its number in `user` and no host.

    `user` is percent-decoded; `params` are in lower case by name, value None for a bare one.
    `number_params` are those of the user part (RFC 3261 §19.1.1, RFC 3966): `;npdi;rn=+1555`, as
    written.
    """

    scheme: str
    user: str
    host: str
    port: int | None = None
    params: dict[str, str | None] = field(default_factory=dict)
    headers: str = ""
    number_params: str = ""

    def param(self, name: str) -> str | None:
        return self.params.get(name)


@dataclass(frozen=True, slots=True)
class Address:
    """A name-addr or addr-spec with header parameters (§20.10): From, To, Contact, Route."""

    display: str
    uri: str
    params: dict[str, str | None]


def _decode_percent(text: str) -> str:
    if "%" not in text:
        return text
    return _PERCENT_RE.sub(
        lambda m: bytes.fromhex(m.group().replace("%", "")).decode("utf-8", "surrogateescape"), text
    )


def parse_params(text: str) -> dict[str, str | None]:
    """Parameters ``;name[=value]…`` as a dict, names in lower case; ValueError if bad."""
    params: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        match = _PARAM_RE.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"bad parameters: {text[at : at + 40]!r}")
        params[match.group(1).lower()] = match.group(2)
        at = match.end()
    return params


def delta_seconds(value: str | None) -> int | None:
    """The seconds that a header's value begins with, whatever parameters or comment follow (RFC
    3261 §20.19, §20.33, RFC 4028 §4); None where there are none. More than the grammar means are
    the most that it does."""
    text = (value or "").partition(";")[0].partition("(")[0].strip()
    if not text.isascii() or not text.isdecimal():
        return None
    return min(int(text), _MOST_SECONDS) if len(text) <= _MOST_DIGITS else _MOST_SECONDS


def split_list(value: str) -> list[str]:
    """The comma-separated parts of a header value (§7.3.1), commas in quotes and <> not counted."""
    if "," not in value:
        return [value.strip()]
    parts: list[str] = []
    start, quoted, angle, escaped = 0, False, False, False
    for at, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            if char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "<":
            angle = True
        elif char == ">":
            angle = False
        elif char == "," and not angle:
            parts.append(value[start:at].strip())
            start = at + 1
    parts.append(value[start:].strip())
    return parts


def parse_via(value: str) -> Via:
    """One Via value. ValueError if it is none."""
    # Each peer says the same up to the branch, every time; most say no more than rport after it.
    head, _, branch = value.partition(";branch=")
    known = _VIA_HEADS.get(head)
    if known is not None:
        rport: str | None = None
        if branch.endswith(";rport"):
            branch, rport = branch[:-6], ""
        if is_plain(branch):
            transport, host, port = known
            return Via(transport, host, port, branch, None, rport)
    plain = _PLAIN_VIA_RE.match(value)
    if plain is not None:
        transport, host, text, before, branch, received, after, rport = plain.groups()
        if rport is None and (before or after):
            rport = ""
        port = _port(text) if text else None
        if len(_VIA_HEADS) < _MAX_VIA_HEADS and len(head) < 64 and not before:
            _VIA_HEADS[head] = (transport, host, port)
        return Via(transport, host, port, branch, received, rport)
    match = _VIA_RE.match(value)
    if match is None:
        raise ValueError(f"bad Via: {value[:80]!r}")
    params = parse_params(match.group(4) or "")
    port_text = match.group(3)
    rport = None
    if "rport" in params:
        rport = params["rport"] or ""
        if rport and not (rport.isascii() and rport.isdecimal()):
            raise ValueError("bad Via: rport is not a number")
    return Via(
        match.group(1).upper(),
        match.group(2),
        _port(port_text) if port_text else None,
        params.get("branch") or "",
        params.get("received"),
        rport,
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError("bad Via: port out of range")
    return port


def parse_address(value: str) -> Address:
    """A From, To, Contact, Route or P-Asserted-Identity value. ValueError if it is none."""
    match = _NAME_ADDR_RE.match(value)
    if match is not None:
        quoted, plain, uri, params = match.groups()
        if quoted is not None:
            display = quoted[1:-1]
            if "\\" in display:
                display = re.sub(r"\\(.)", r"\1", display, flags=re.S)
        else:
            display = " ".join((plain or "").split())
        return Address(_decode_words(display), uri, parse_params(params))
    # Without brackets a "?", "," or ";" belongs to the header, not to the URI (§20).
    match = _ADDR_SPEC_RE.match(value)
    if match is not None:
        return Address("", match.group(1), parse_params(match.group(2)))
    match = _LOOSE_NAME_RE.match(value)
    if match is None:
        raise ValueError(f"bad address: {value[:80]!r}")
    display, uri, params = match.groups()
    return Address(_decode_words(" ".join(display.split())), uri, parse_params(params))


def _decode_words(display: str) -> str:
    """A display name in which there may be encoded-words (RFC 2047), as gateways to mail write them
    (`=?utf-8?Q?J=C3=BCrgen?=`); as it is, if they cannot be read."""
    if "=?" not in display:
        return display
    try:
        decoded = "".join(
            text if isinstance(text, str) else text.decode(charset or "ascii")
            for text, charset in decode_header(display)
        )
    except (LookupError, ValueError, HeaderParseError):
        return display
    return decoded or display


def parse_party(value: str) -> tuple[str, str]:
    """Display name and user of a From, To or P-Asserted-Identity value; the user is empty where its
    URI has none. ValueError if it is no address of a SIP or tel URI."""
    party, mark, tag = value.partition(";tag=")
    if len(party) > _MAX_REMEMBERED_URI or (mark and not is_plain(tag)):
        address = parse_address(value)
        return address.display, parse_uri(address.uri).user
    # Behind it is nothing but a tag, so what it says depends on nothing else.
    known = _PARTIES.get(party)
    if known is None:
        address = parse_address(party)
        known = (address.display, parse_uri(address.uri).user)
        if len(_PARTIES) >= _MAX_PARTIES:
            _PARTIES.clear()
        _PARTIES[party] = known
    return known


def is_plain(text: str) -> bool:
    """Letters, digits and hyphens only, as the tags and branches of nearly everybody."""
    return text.isascii() and (text.isalnum() or text.replace("-", "").isalnum())


def forget() -> None:
    """Give back what is remembered of parties."""
    _PARTIES.clear()


def parse_uri(text: str) -> Uri:
    """A SIP, SIPS or tel URI. ValueError if it is none (another scheme included)."""
    # What is remembered is bounded in bytes too: a URI may be as long as a message.
    return _parse_uri(text) if len(text) <= _MAX_REMEMBERED_URI else _read_uri(text)


def _read_uri(text: str) -> Uri:
    match = _SIP_URI_RE.match(text)
    if match is not None:
        scheme, user, host, port, params, headers = match.groups()
        if port and int(port) > 65535:
            raise ValueError(f"bad port in URI: {text[:80]!r}")
        number, mark, more = (user or "").partition(";")
        if mark and _NUMBER_RE.match(number) is None:
            # A name, not a number: the semicolon is part of it (RFC 4475 §3.1.1.13).
            number, mark, more = user, "", ""
        return Uri(
            scheme.lower(),
            _decode_percent(number),
            host.lower(),
            int(port) if port else None,
            _uri_params(params),
            headers or "",
            mark + more,
        )
    match = _TEL_URI_RE.match(text)
    if match is not None:
        number, params = re.sub(r"[\-.()]", "", match.group(2)), match.group(3)
        return Uri("tel", number, "", None, _uri_params(params), "", params)
    raise ValueError(f"bad URI: {text[:80]!r}")


_MAX_REMEMBERED_URI: Final = 512
_parse_uri = lru_cache(maxsize=8192)(_read_uri)


def _uri_params(text: str) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for part in text.split(";")[1:]:
        name, equals, value = part.partition("=")
        params[_decode_percent(name).lower()] = _decode_percent(value) if equals else None
    return params


def uri_scheme(text: str) -> str | None:
    """The scheme of a URI in lower case, or None if there is none."""
    match = _SCHEME_RE.match(text)
    return match.group()[:-1].lower() if match else None


def quote_display(display: str) -> str:
    """A display name as a quoted-string with the space after it; empty for an empty name."""
    if not display:
        return ""
    safe = "".join(c for c in display if c >= " " and c != "\x7f")
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '" '


_USER_UNSAFE_RE = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/]")


def escape_user(user: str) -> str:
    """A user part for a URI, percent-encoded where §25.1 wants it; so is a semicolon that would be
    read as the beginning of a number's parameters."""
    escaped = _USER_UNSAFE_RE.sub(
        lambda m: "".join(f"%{b:02X}" for b in m.group().encode("utf-8", "surrogateescape")), user
    )
    if ";" in escaped and _NUMBER_RE.match(escaped.partition(";")[0]) is not None:
        return escaped.replace(";", "%3B")
    return escaped
