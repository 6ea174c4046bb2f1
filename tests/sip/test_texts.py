"""Texts of peers: what may be shown, and what the parser makes of them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.calls.headers import reason_of
from softswitch.sip.message import MalformedMessage, Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.texts import MAX_TEXT, printable, readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Alice", "Alice"),
        ("Jürgen Groß", "Jürgen Groß"),
        ("山田\u3000太郎", "山田\u3000太郎"),
        ("a\tb", "a b"),
        ("\x1b[2Jx\x07\x00", "?[2Jx??"),
        ("a\r\nb\x7f", "a??b?"),
        ("\x9b31m\x85", "?31m?"),
        ("\u202egnp.exe\u2028x", "?gnp.exe?x"),
        ("x" * 300, "x" * 256),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert readable(text) == shown
    assert printable(text, 3) == shown[:3]


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_no_text_does_harm(text: str) -> None:
    for shown in (printable(text), readable(text)):
        assert len(shown) <= MAX_TEXT
        assert not any(unicodedata.category(c) == "Cc" for c in shown)
        assert not any(0xDC80 <= ord(c) < 0xDCA0 for c in shown)
    readable(text).encode()
    assert readable(readable(text)) == readable(text)


def test_bytes_that_are_no_utf8() -> None:
    """An é of Latin-1 stays what it is for the other side, and is an é in the log; CSI is none."""
    text = b"caf\xe9 \x9b31m".decode("utf-8", "surrogateescape")
    assert printable(text).encode("utf-8", "surrogateescape") == b"caf\xe9 ?31m"
    assert readable(text) == "café ?31m"
    mixed = "À".encode() + b"\xe9"
    assert readable(mixed.decode("utf-8", "surrogateescape")).isprintable()


def message(start: str, *lines: str, via: str = "h") -> bytes:
    needed = [
        f"Via: SIP/2.0/UDP {via};branch=z9hG4bK1",
        "From: <sip:a@h>;tag=1",
        "To: <sip:b@h>",
        "Call-ID: c",
        "CSeq: 1 INVITE",
    ]
    return "\r\n".join([start, *needed, *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("User-Agent", "user-agent"),
        ("Server", "server"),
        ("Reason", "reason"),
        ("Subject", "subject"),
        ("s", "subject"),
        ("Content-Type", "content-type"),
        ("Content-Disposition", "content-disposition"),
    ],
)
def test_what_is_kept_or_told_of_a_header_is_cut_where_it_comes_in(name: str, key: str) -> None:
    for text, shown in (("\x1b]0;x\x07" + "y" * 50_000, "?]0;x?" + "y" * 34), ("a\tb", "a b")):
        for _ in range(2):  # also where the line is known from before
            read = parse(message("INVITE sip:b@h SIP/2.0", f"{name}: {text}"), max_text=40)
            assert isinstance(read, Request)
            assert read.defect is None
            assert read.headers[key] == [shown]


def test_a_reason_phrase() -> None:
    start = "SIP/2.0 486 Busy\x1b[2J" + "x" * 50_000
    read = parse(message(start))
    assert isinstance(read, Response)
    assert read.reason == "Busy?[2J" + "x" * 248


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (['Q.850;cause=16;text="Normal"'], 'Q.850;cause=16;text="Normal"'),
        (
            ["Q.850;cause=16", 'SIP;cause=200;text="a,b"'],
            'Q.850;cause=16, SIP;cause=200;text="a,b"',
        ),
        # Cut within its text: what is left must be a value that the other side can read.
        (['SIP;cause=200;text="' + "x" * 500 + '"'], "SIP;cause=200"),
        (['SIP;text="\\"' + "x" * 500 + '"'], "SIP"),
        (['SIP;text="a \\" b"'], 'SIP;text="a \\" b"'),
        (["SIP;cause=1"] * 200, ", ".join(["SIP;cause=1"] * 4)),
        ([], ""),
    ],
)
def test_reasons_for_the_other_side(values: list[str], told: str) -> None:
    read = parse(message("BYE sip:b@h SIP/2.0", *(f"Reason: {value}" for value in values)))
    assert reason_of(read) == told


@pytest.mark.parametrize("header", ["Call-ID", "From", "Contact", "Record-Route"])
def test_what_a_call_would_keep_is_bounded(header: str) -> None:
    value = f"<sip:{'x' * 9000}@h>"
    lines = {"Call-ID": "c", "From": "<sip:a@h>;tag=1"} | {header: value}
    data = (
        "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:b@h>\r\n"
        "CSeq: 1 INVITE\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    ).encode()
    read = parse(data)
    assert isinstance(read, Request)
    assert read.defect is not None
    assert (read.defect.status, read.defect.reason) == (400, "Headers Too Long")
    read = parse(data, max_kept=10_000)
    assert isinstance(read, Request)
    assert read.defect is None
    with pytest.raises(MalformedMessage, match="Headers Too Long"):
        parse(data.replace(b"INVITE sip:b@h SIP/2.0", b"SIP/2.0 200 OK"))


def test_long_headers_that_no_call_keeps_are_none_of_it() -> None:
    read = parse(message("INVITE sip:b@h SIP/2.0", f"Identity: {'x' * 20_000}"))
    assert isinstance(read, Request)
    assert read.defect is None
