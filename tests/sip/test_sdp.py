"""What is read of SDP bodies: codec and hold, whatever strangers send."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.sip.sdp import Summary, first_codec, is_held, summary


def sdp(*media: str, session: str = "c=IN IP4 192.0.2.5") -> bytes:
    head = ["v=0", "o=a 1 1 IN IP4 192.0.2.5", "s=-", session, "t=0 0"]
    return "".join(line + "\r\n" for line in [*head, *media] if line).encode()


@pytest.mark.parametrize(
    ("media", "codec"),
    [
        (["m=audio 4000 RTP/AVP 0 8 101"], "PCMU/8000"),
        (["m=audio 4000 RTP/AVP 8"], "PCMA/8000"),
        (["m=audio 4000 RTP/AVP 9", "a=rtpmap:9 G722/8000"], "G722/8000"),
        (["m=audio 4000/2 RTP/SAVP 18 0"], "G729/8000"),
        (["m=audio 4000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2"], "opus/48000/2"),
        (["m=audio 4000 RTP/AVP 97 0", "a=rtpmap:97 AMR-WB/16000"], "AMR-WB/16000"),
        # A dynamic type that nobody explains, then one that needs no explanation.
        (["m=audio 4000 RTP/AVP 97 0", "a=rtpmap:96 opus/48000/2"], "PCMU/8000"),
        # Digits and comfort noise first.
        (["m=audio 4000 RTP/AVP 101 13 8", "a=rtpmap:101 telephone-event/8000"], "PCMA/8000"),
        # Audio refused; refused once and accepted once.
        (["m=audio 0 RTP/AVP 0"], ""),
        (["m=audio 0 RTP/SAVP 0", "m=audio 4000 RTP/AVP 8"], "PCMA/8000"),
        # Video first, and its rtpmap is not the audio's.
        (["m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000", "m=audio 4000 RTP/AVP 96"], ""),
        (
            [
                "m=audio 4000 RTP/AVP 96",
                "a=rtpmap:96 speex/16000",
                "m=video 5000 RTP/AVP 96",
                "a=rtpmap:96 H264/90000",
            ],
            "speex/16000",
        ),
        (["m=video 5000 RTP/AVP 31"], ""),
        (["m=audio 4000 RTP/AVP 96", "a=rtpmap:96 \x01\x02"], ""),
        (["m=audio 4000 RTP/AVP"], ""),
        (["m=audio 99999999 RTP/AVP 0"], ""),
        ([], ""),
    ],
)
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_first_codec(media: list[str], codec: str, newline: bytes) -> None:
    body = sdp(*media).replace(b"\r\n", newline)
    assert first_codec(body) == codec
    assert first_codec(body.rstrip()) == codec
    assert summary(body).codec == codec


AUDIO = "m=audio 4000 RTP/AVP 0"


@pytest.mark.parametrize(
    ("media", "session", "held"),
    [
        ([AUDIO], "c=IN IP4 192.0.2.5", False),
        ([AUDIO, "a=sendrecv"], "c=IN IP4 192.0.2.5", False),
        ([AUDIO, "a=recvonly"], "c=IN IP4 192.0.2.5", False),
        ([AUDIO, "a=sendonly"], "c=IN IP4 192.0.2.5", True),
        ([AUDIO, "a=inactive"], "c=IN IP4 192.0.2.5", True),
        ([AUDIO, "a=sendonly-ish"], "c=IN IP4 192.0.2.5", False),
        # At session level, for the audio unless it says otherwise.
        ([AUDIO], "a=sendonly", True),
        ([AUDIO, "a=sendrecv"], "a=inactive", False),
        # Only the video is on hold.
        ([AUDIO, "m=video 5000 RTP/AVP 31", "a=inactive"], "c=IN IP4 192.0.2.5", False),
        (["m=video 5000 RTP/AVP 31", "a=inactive", AUDIO], "c=IN IP4 192.0.2.5", False),
        # RFC 2543 hold.
        ([AUDIO], "c=IN IP4 0.0.0.0", True),
        ([AUDIO, "c=IN IP4 192.0.2.5"], "c=IN IP4 0.0.0.0", False),
        ([AUDIO, "c=IN IP4 0.0.0.0"], "c=IN IP4 192.0.2.5", True),
        ([AUDIO, "c=IN IP4 0.0.0.0", "a=sendrecv"], "c=IN IP4 192.0.2.5", True),
        ([AUDIO], "c=IN IP4 10.0.0.0.0", False),
        # The same of IPv6.
        ([AUDIO], "c=IN IP6 ::", True),
        ([AUDIO], "c=IN IP6 0:0:0:0:0:0:0:0", True),
        ([AUDIO], "c=IN IP6 ::0.0.0.0", True),
        ([AUDIO, "c=IN IP6 2001:db8::5"], "c=IN IP6 ::", False),
        ([AUDIO, "c=IN IP6 ::"], "c=IN IP6 2001:db8::5", True),
        ([AUDIO], "c=IN IP6 ::1", False),
        ([AUDIO], "c=IN IP6 ::ffff:0:0", False),
        ([AUDIO], "c=IN IP6 fe80::", False),
        ([], "a=sendonly", True),
        ([], "", False),
    ],
)
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_is_held(media: list[str], session: str, held: bool, newline: bytes) -> None:
    body = sdp(*media, session=session).replace(b"\r\n", newline)
    assert is_held(body) is held
    assert is_held(body.rstrip()) is held
    assert summary(body).held is held


def test_summary_of_nothing() -> None:
    assert summary(b"") == Summary("", False)


def test_audio_inside_a_multipart_body() -> None:
    body = b"--7a\r\nContent-Type: application/sdp\r\n\r\n" + sdp(AUDIO) + b"\r\n--7a--\r\n"
    assert first_codec(body) == "PCMU/8000"


_line = st.sampled_from(
    [
        b"m=audio 0 RTP/AVP 0",
        b"m=audio 1 RTP/AVP 96 0",
        b"a=rtpmap:96 x/8000",
        b"a=sendonly",
        b"c=IN IP4 0.0.0.0",
        b"m=",
        b"a=rtpmap:",
        b"",
    ]
)


@given(st.binary(max_size=300) | st.lists(_line | st.binary(max_size=20)).map(b"\r\n".join))
def test_whatever_comes_is_answered(body: bytes) -> None:
    result = summary(body)
    assert result == Summary(first_codec(body), is_held(body))
    assert result.codec.isprintable()


@pytest.mark.parametrize(
    "piece",
    [
        b"\nm=audio 0 RTP/AVP 0",
        b"\na=rtpmap:96 x/1",
        b"\nm=audio ",
        b" 96",
        b"\na=sendonly ",
        b"\nc=",
    ],
)
def test_the_largest_body_takes_no_longer_than_its_length(piece: bytes) -> None:
    def seconds(length: int) -> float:
        body = b"v=0\nm=audio 1 RTP/AVP 96 96 " + piece * (length // len(piece))
        best = math.inf
        for _ in range(3):
            start = time.process_time()
            summary(body)
            best = min(best, time.process_time() - start)
        return best

    # Against itself: 16 times the length takes some 16 times as long, and not 256 times.
    assert seconds(65535) < 80 * max(seconds(4096), 50e-6)
