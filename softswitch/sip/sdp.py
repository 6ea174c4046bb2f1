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
