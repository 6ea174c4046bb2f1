"""SIP messages cut out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1), and marks in a Via."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softswitch.sip.framing import StreamFramer
from softswitch.sip.header_values import parse_via
from softswitch.sip.message import Request
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source

LIMIT = 1000


def message(body: bytes = b"", length: str = "Content-Length: %d\r\n", extra: str = "") -> bytes:
    line = length % len(body) if "%d" in length else length
    return f"OPTIONS sip:a@b SIP/2.0\r\n{extra}{line}X: y\r\n\r\n".encode() + body


PARTS = st.one_of(
    st.binary(max_size=30).map(message),
    st.binary(max_size=30).map(lambda b: message(b, "l : %d\r\n")),
    st.binary(max_size=30).map(lambda b: message(b, "CONTENT-LENGTH:\r\n  %d \r\n")),
    st.sampled_from(
        [
            b"\r\n\r\n", b"\r\n", b"\n", b"\r", message(b"", ""), message(b"x" * 900),
            message(b"x", extra="X: " + "y" * 2000 + "\r\n"), message(b"x" * 2000),
            message(b"x", "Content-Length: -1\r\n"),
            message(b"abc", "l: 3\r\nContent-Length: 3\r\n"),
            message(b"abc", "l: 3\r\nContent-Length: 2\r\n"), b"garbage", b"\0" * 50,
        ]
    ),
)  # fmt: skip


def feed(data: bytes, cuts: list[int]) -> tuple[list[bytes], int, str]:
    framer = StreamFramer(LIMIT)
    found: list[bytes] = []
    at = 0
    for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
        found += framer.feed(data[at:cut])
        at = cut
    return found, framer.pings, framer.lost


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_chunking_gives_the_same(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    whole = feed(data, [])
    assert feed(data, cuts) == whole
    assert feed(data, list(range(len(data)))) == whole


def test_messages_pings_and_line_ends_between_them() -> None:
    one, two, three = message(b"a\r\n\r\nb"), message(), message(b"c", "l: %d\r\n")
    data = b"\r\n" + one + b"\r\n\r\n" + two + b"\r\n\r\n\r\n\r\n" + three + b"\r\n"
    assert feed(data, []) == ([one, two, three], 3, "")


@pytest.mark.parametrize(
    ("data", "messages", "lost"),
    [
        (message(b"x" * LIMIT), 0, "message is too large"),
        (b"x" * LIMIT, 0, "headers are too large"),
        (message(b"", "Content-Length: 99999999999\r\n"), 1, "bad Content-Length"),
        (message(b"", "Content-Length: -5\r\n"), 1, "bad Content-Length"),
        (message(b"", "Content-Length: 1 2\r\n"), 1, "bad Content-Length"),
        (message(b"", "Content-Length: 1\r\nl: 2\r\n"), 1, "bad Content-Length"),
        (message(b"", "Content-Length:\r\n"), 1, "bad Content-Length"),
        (message(b"", "Content-Lengthy: 5\r\nLanguage: x\r\n"), 1, ""),
        (message(b"", ""), 1, ""),
    ],
)
def test_what_loses_the_stream(data: bytes, messages: int, lost: str) -> None:
    """A message before the one that is wrong is not lost with it."""
    found, _, why = feed(message() + data + (message() if lost else b""), [])
    assert (len(found), why) == (messages + 1, lost)


def test_nothing_after_the_loss_is_kept() -> None:
    framer = StreamFramer(LIMIT)
    framer.feed(b"x" * LIMIT)
    assert framer.feed(message() * 10) == []
    assert not framer._buffer


def test_a_byte_at_a_time_costs_no_more_than_its_bytes() -> None:
    framer = StreamFramer(65535)
    data = message(b"x" * 30_000, extra="X: " + "y" * 30_000 + "\r\n")
    started = time.process_time()
    found = [m for at in range(len(data)) for m in framer.feed(data[at : at + 1])]
    assert found == [data]
    assert time.process_time() - started < 2.0


# --- marks in the topmost Via (§18.2.1, RFC 3581 §4)


@pytest.mark.parametrize(
    ("via", "marked", "port"),
    [
        ("192.0.2.9;branch=z", "192.0.2.9;branch=z", 5060),
        ("192.0.2.9:5070;branch=z", "192.0.2.9:5070;branch=z", 5070),
        ("phone.local;branch=z", "phone.local;branch=z;received=192.0.2.9", 5060),
        ("10.0.0.1:5070;branch=z", "10.0.0.1:5070;branch=z;received=192.0.2.9", 5070),
        ("10.0.0.1;branch=z;rport", "10.0.0.1;branch=z;received=192.0.2.9;rport=40000", 40000),
        ("10.0.0.1;rport;branch=z", "10.0.0.1;received=192.0.2.9;rport=40000;branch=z", 40000),
        ("192.0.2.9;branch=z;rport", "192.0.2.9;branch=z;received=192.0.2.9;rport=40000", 40000),
        ("10.0.0.1;RPort ;branch=z", "10.0.0.1;received=192.0.2.9;rport=40000;branch=z", 40000),
        ("10.0.0.1; rport;branch=z", "10.0.0.1;received=192.0.2.9;rport=40000;branch=z", 40000),
        ("10.0.0.1;rport=7;branch=z", "10.0.0.1;received=192.0.2.9;rport=40000;branch=z", 40000),
        # Another parameter whose name begins so.
        (
            "10.0.0.1;rport;rportish=1;branch=z",
            "10.0.0.1;received=192.0.2.9;rport=40000;rportish=1;branch=z",
            40000,
        ),
        # What a client says of what was received is not believed.
        ("10.0.0.1;received=1.2.3.4;branch=z", "10.0.0.1;branch=z;received=192.0.2.9", 5060),
        (
            "10.0.0.1;received=1.2.3.4;branch=z;rport",
            "10.0.0.1;branch=z;received=192.0.2.9;rport=40000",
            40000,
        ),
    ],
)
def test_marks(via: str, marked: str, port: int) -> None:
    request = _request(f"SIP/2.0/UDP {via}")
    assert mark_source(request, ("192.0.2.9", 40000)) == port
    assert request.headers["via"] == [f"SIP/2.0/UDP {marked}", "SIP/2.0/UDP h2;rport"]
    parse_via(request.headers["via"][0])


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[2001:db8::2]"])
def test_marks_of_ipv6(host: str) -> None:
    request = _request(f"SIP/2.0/UDP {host}:5070;branch=z")
    assert mark_source(request, ("2001:db8::1", 40000)) == 5070
    received = parse_via(request.headers["via"][0]).received
    assert received == (None if host == "[2001:db8::1]" else "2001:db8::1")


def test_a_via_that_cannot_be_read_is_left_alone() -> None:
    for text in ("Via: ;;\r\n", ""):
        request = parse(f"OPTIONS sip:b SIP/2.0\r\n{text}CSeq: 1 OPTIONS\r\n\r\n".encode())
        assert isinstance(request, Request)
        assert mark_source(request, ("192.0.2.9", 40000)) == 40000
        assert request.get("via") == (";;" if text else None)


def _request(via: str) -> Request:
    request = parse(
        f"OPTIONS sip:b@h SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP h2;rport\r\n"
        "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n".encode()
    )
    assert isinstance(request, Request)
    return request
