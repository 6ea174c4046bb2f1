"""Names of SIP headers (RFC 3261 §7.3): long, compact, in any case, and as they are written."""

from __future__ import annotations

import re
from typing import Final

from softswitch.sip.header_values import TOKEN

COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}
_ODD_CASE = {
    "call-id": "Call-ID",
    "cseq": "CSeq",
    "www-authenticate": "WWW-Authenticate",
    "mime-version": "MIME-Version",
    "rseq": "RSeq",
    "rack": "RAck",
    "sip-etag": "SIP-ETag",
    "sip-if-match": "SIP-If-Match",
}
# Every spelling seen on the wire so far maps to its key: one dictionary look-up a header instead of
# strip, lower and compact-form expansion. Filled with the usual spellings here and, up to a bound,
# as new ones arrive (the bound keeps a sender of random names from growing it).
KEYS: Final[dict[str, str]] = {}
_DISPLAY: Final[dict[str, str]] = dict(_ODD_CASE)
_MAX_KEYS: Final = 512
_MAX_KEY_LENGTH: Final = 64
for _name in [
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Max-Forwards",
    "Content-Type",
    "Content-Length",
    "Route",
    "Record-Route",
    "Allow",
    "Supported",
    "Require",
    "Proxy-Require",
    "User-Agent",
    "Server",
    "Expires",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Subject",
    "Accept",
    "Reason",
    "P-Asserted-Identity",
    "Privacy",
    "Retry-After",
    "Event",
    "Min-Expires",
    "Unsupported",
    "Date",
    "Warning",
]:
    for _spelling in (_name, _name.lower(), _name.upper()):
        KEYS[_spelling] = _name.lower()
    _DISPLAY[_name.lower()] = _name
for _short, _long in COMPACT.items():
    KEYS[_short] = KEYS[_short.upper()] = _long
SINGLE_VALUED: Final = frozenset(
    ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "expires")
)
_TOKEN_RE: Final = re.compile(TOKEN + r"\Z")


def is_token(text: str) -> bool:
    """Whether it is a `token` of §25.1, as methods and names of headers are."""
    return _TOKEN_RE.match(text) is not None


def header_key(name: str) -> str:
    """The lower-case long form of a header name as it came."""
    key = KEYS.get(name)
    if key is not None:
        return key
    key = name.strip(" \t").lower()
    key = COMPACT.get(key, key)
    # A name that is none must be found wanting again when it comes again.
    if len(KEYS) < _MAX_KEYS and len(name) <= _MAX_KEY_LENGTH and is_token(key):
        KEYS[name] = key
    return key


def display_name(key: str) -> str:
    """A header's name as it is written, from its lower-case long form."""
    name = _DISPLAY.get(key)
    if name is None:
        name = "-".join(part.capitalize() for part in key.split("-"))
        if len(_DISPLAY) < _MAX_KEYS and len(key) <= _MAX_KEY_LENGTH:
            _DISPLAY[key] = name
    return name
