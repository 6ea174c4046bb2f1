"""What a switch that lets media pass needs to know of an SDP body (RFC 8866, 3264): codec and hold.

One answer of every call goes through here, so the body is searched and not taken apart. Bodies come
from strangers: whatever they hold, the functions answer, in time linear in the length of the body.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

STATIC_CODECS: Final = {
    b"0": "PCMU/8000",
    b"3": "GSM/8000",
    b"4": "G723/8000",
    b"5": "DVI4/8000",
    b"6": "DVI4/16000",
    b"7": "LPC/8000",
    b"8": "PCMA/8000",
    b"9": "G722/8000",
    b"10": "L16/44100/2",
    b"11": "L16/44100",
    b"12": "QCELP/8000",
    b"14": "MPA/90000",
    b"15": "G728/8000",
    b"16": "DVI4/11025",
    b"17": "DVI4/22050",
    b"18": "G729/8000",
}
"""Audio payload types that need no rtpmap (RFC 3551 table 4)."""

MAX_PAYLOAD_TYPES: Final = 32
"""Payload types of one media line that are looked at."""

# Payload types that carry no speech: comfort noise and digits (RFC 3389, RFC 4733).
_NO_SPEECH: Final = frozenset(("CN", "TELEPHONE-EVENT"))

_AUDIO_RE = re.compile(rb"\n?m=audio (\d{1,5})(?:/\d+)? +[A-Za-z0-9/]+ ([0-9 ]+)")
_RTPMAP_RE = re.compile(rb"\na=rtpmap:(\d{1,3}) +([A-Za-z0-9.\-_]{1,32}(?:/\d{1,6}){1,2})")
_DIRECTION_RE = re.compile(rb"\na=(sendrecv|sendonly|recvonly|inactive)[ \r]*(?=\n|\Z)")
_HELD: Final = frozenset((b"sendonly", b"inactive"))
# 0.0.0.0 (RFC 2543's hold) and, of IPv6, all ways to write :: (RFC 4291 §2.5.2).
_NO_ADDRESS_RE = re.compile(
    rb"\nc=IN (?:IP4 0\.0\.0\.0|IP6 [0:]{2,39}(?:\.0\.0\.0)?)[ \r]*(?=\n|\Z)"
)


class Summary(NamedTuple):
    """The first audio stream of a body that is not refused: codec, and whether its sender holds."""

    codec: str
    held: bool


def first_codec(body: bytes) -> str:
    """The codec that the audio of an answer begins with, as ``PCMU/8000``; "" if there is none."""
    audio = _audio(body)
    return _codec(audio, body) if audio else ""


def is_held(body: bytes) -> bool:
    """Whether the sender of this body holds: sendonly, inactive (RFC 3264 §8.4), 0.0.0.0 or ::."""
    return _held(_audio(body), body)


def summary(body: bytes) -> Summary:
    """Both at once."""
    audio = _audio(body)
    return Summary(_codec(audio, body) if audio else "", _held(audio, body))


def _audio(body: bytes) -> re.Match[bytes] | None:
    """The first audio line whose port is not 0, which would refuse it (RFC 3264 §6)."""
    at = 0 if body.startswith(b"m=audio ") else body.find(b"\nm=audio ")
    while at >= 0:
        match = _AUDIO_RE.match(body, at)
        if match is not None and int(match.group(1)):
            return match
        at = body.find(b"\nm=audio ", at + 1)
    return None


def _section_end(body: bytes, start: int) -> int:
    end = body.find(b"\nm=", start)
    return len(body) if end < 0 else end


def _codec(audio: re.Match[bytes], body: bytes) -> str:
    start = audio.end()
    maps: dict[bytes, str] | None = None
    for payload_type in audio.group(2).split(None, MAX_PAYLOAD_TYPES)[:MAX_PAYLOAD_TYPES]:
        codec = STATIC_CODECS.get(payload_type)
        if codec is None:
            if maps is None:
                maps = {
                    number: text.decode("ascii")
                    for number, text in _RTPMAP_RE.findall(body, start, _section_end(body, start))
                }
            codec = maps.get(payload_type, "")
        if codec and codec.partition("/")[0].upper() not in _NO_SPEECH:
            return codec
    return ""


def _held(audio: re.Match[bytes] | None, body: bytes) -> bool:
    """What the media section says goes before what the session says (RFC 8866 §5.7, §6.7)."""
    session_end = _section_end(body, 0)
    start, end = (audio.end(), _section_end(body, audio.end())) if audio else (0, session_end)
    direction = _DIRECTION_RE.search(body, start, end) or _DIRECTION_RE.search(body, 0, session_end)
    if direction is not None and direction.group(1) in _HELD:
        return True
    if body.find(b"\nc=", start, end) >= 0:
        return _NO_ADDRESS_RE.search(body, start, end) is not None
    return _NO_ADDRESS_RE.search(body, 0, session_end) is not None


class Origin(NamedTuple):
    """An ``o=`` line (RFC 8866 §5.2): what comes before its version, the version, and what comes
    after it."""

    before: bytes
    version: int
    after: bytes

    def next(self) -> Origin:
        """The same of a description that has changed."""
        return Origin(self.before, self.version + 1, self.after)


_ORIGIN_RE = re.compile(rb"(?:\A|\n)o=(\S+ +\d{1,20}) +(\d{1,20}) +(IN +IP[46] +\S+)")
_DIRECTIONS_RE = re.compile(rb"\na=(?:sendrecv|sendonly|recvonly|inactive)[ \r]*(?=\n|\Z)")
_PLACES_RE = re.compile(rb"\n(c=[^\r\n]*|m=\S+ \d{1,5})")
_MEDIA_RE = re.compile(rb"\nm=(\S+) (\d{1,5})(/\d+)? +(\S+)( [^\r\n]*)?")
# Lines without which what comes from elsewhere cannot be received, or would not be understood.
_TRANSPORT_RE = re.compile(
    rb"\n(?:c=|a=(?:crypto|ice-ufrag|ice-pwd|candidate|fingerprint|setup|rtcp-mux|rtcp|"
    rb"sendonly|recvonly|inactive)(?=[:\r\n]|\Z))[^\r\n]*"
)


def origin_of(body: bytes) -> Origin | None:
    """The origin of a description, None if it has none that can be read."""
    match = _ORIGIN_RE.search(body)
    if match is None:
        return None
    return Origin(match.group(1), int(match.group(2)), match.group(3))


def with_origin(body: bytes, origin: Origin) -> bytes:
    """The description under another origin; unchanged if it has none."""
    match = _ORIGIN_RE.search(body)
    if match is None:
        return body
    line = b"%b %d %b" % (origin.before, origin.version, origin.after)
    return body[: match.start(1)] + line + body[match.end(3) :]


def same_media(first: bytes, second: bytes) -> bool:
    """Whether two descriptions say the same but for their origin."""
    if first == second:
        return True
    return _without_origin(first) == _without_origin(second)


def _without_origin(body: bytes) -> bytes:
    match = _ORIGIN_RE.search(body)
    return body if match is None else body[: match.start(1)] + body[match.end(3) :]


def sends_as(answer: bytes, offer: bytes) -> bool:
    """Whether who makes this answer receives where the description ``offer`` of its own says, and
    what it says there: so that whoever was told that description need not be told this one.

    The formats of an answer may be fewer (RFC 3264 §6.1).
    """
    was, now = _MEDIA_RE.findall(offer), _MEDIA_RE.findall(answer)
    if len(was) != len(now):
        return False
    for one, other in zip(was, now, strict=True):
        if one[:4] != other[:4] or not set(other[4].split()) <= set(one[4].split()):
            return False
    if _TRANSPORT_RE.findall(offer) != _TRANSPORT_RE.findall(answer):
        return False
    maps = dict(_RTPMAP_RE.findall(offer))
    return all(maps.get(number, text) == text for number, text in _RTPMAP_RE.findall(answer))


def same_place(first: bytes, second: bytes) -> bool:
    """Whether media is to be sent to the same addresses and ports by two descriptions."""
    return _PLACES_RE.findall(first) == _PLACES_RE.findall(second)


def opened(body: bytes) -> bytes:
    """The description with every stream in both directions (RFC 3264 §6.1): of somebody who said
    otherwise only because of who it was connected to."""
    return _DIRECTIONS_RE.sub(b"", body)


def held(body: bytes) -> bytes:
    """The description, but nothing is sent nor received (RFC 3264 §8.4): for who has nobody to
    talk with yet."""
    end = b"\r\n" if b"\r\n" in body else b"\n"
    session, *media = _DIRECTIONS_RE.sub(b"", body.rstrip(b"\r\n")).split(b"\nm=")
    lines = [one.rstrip(b"\r") + end + b"a=inactive" for one in media]
    if not lines:
        return body
    return (end.rstrip(b"\n") + b"\nm=").join([session.rstrip(b"\r"), *lines]) + end


_SPOKEN: Final = (
    (b"0", b"PCMU/8000"),
    (b"8", b"PCMA/8000"),
    (b"9", b"G722/8000"),
    (b"3", b"GSM/8000"),
    (b"96", b"speex/8000"),
    (b"97", b"iLBC/8000"),
    (b"101", b"telephone-event/8000"),
)
"""What media workers know."""
_CONNECTION_RE = re.compile(rb"(?:\A|\n)c=(IN IP[46] [0-9A-Fa-f.:]+)")


def _description(connection: bytes, port: bytes, direction: bytes) -> bytes:
    numbers = b" ".join([number for number, _ in _SPOKEN])
    lines = [
        b"v=0",
        b"o=- 1 1 %b" % connection,
        b"s=-",
        b"c=%b" % connection,
        b"t=0 0",
        b"m=audio %b RTP/AVP %b" % (port, numbers),
        *[b"a=rtpmap:%b %b" % one for one in _SPOKEN],
        b"a=fmtp:97 mode=30",
        b"a=fmtp:101 0-16",
        b"a=%b" % direction,
    ]
    return b"\r\n".join(lines) + b"\r\n"


def any_codec() -> bytes:
    """An offer of all codecs that a media worker knows, by somebody who has no port yet."""
    return _description(b"IN IP4 127.0.0.1", b"9", b"inactive")


def all_codecs(answer: bytes) -> bytes:
    """An offer of the same codecs, where the sender of this answer receives; empty if it receives
    nothing."""
    audio, connection = _audio(answer), _CONNECTION_RE.search(answer)
    if audio is None or connection is None:
        return b""
    return _description(connection.group(1), audio.group(1), b"sendrecv")
