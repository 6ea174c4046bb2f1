"""The parser: what it reads, what it refuses, and that nothing costs it more than its size."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from softswitch.sip import header_names, parser, received
from softswitch.sip import header_values as values
from softswitch.sip.header_values import (
    escape_user,
    parse_address,
    parse_params,
    parse_party,
    parse_uri,
    parse_via,
    quote_display,
    split_list,
    uri_scheme,
)
from softswitch.sip.message import (
    MalformedMessage,
    Request,
    Response,
    encode_request,
    encode_response,
    response_bytes,
)
from softswitch.sip.parser import parse

HEAD = (
    "INVITE sip:bob@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc;rport\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Alice" <sip:alice@example.com>;tag=a1\r\n'
    "To: <sip:bob@example.com>\r\n"
    "Call-ID: c1@192.0.2.1\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:alice@192.0.2.1>\r\n"
)
VALID = (HEAD + "Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody").encode()
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKabc\r\n"
    b"From: <sip:a@b>;tag=a1\r\nTo: <sip:b@b>;tag=b1\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


READERS: list[Callable[[str], object]] = [
    parse_params,
    parse_address,
    parse_party,
    parse_uri,
    parse_via,
    split_list,
]


def request(data: bytes | str, **more: bool | int) -> Request:
    message = parse(data.encode() if isinstance(data, str) else data, **more)  # type: ignore[arg-type]
    assert isinstance(message, Request)
    return message


def response(data: bytes) -> Response:
    message = parse(data)
    assert isinstance(message, Response)
    return message


def test_a_request() -> None:
    message = request(VALID)
    assert message.defect is None
    assert (message.method, message.uri) == ("INVITE", "sip:bob@example.com")
    assert (message.from_tag, message.to_tag, message.cseq) == ("a1", "", 1)
    assert message.via == values.Via("UDP", "192.0.2.1", 5060, "z9hG4bKabc", None, "")
    assert message.via.sent_by == "192.0.2.1:5060"
    assert message.body == b"body"
    assert message.get("contact") == "<sip:alice@192.0.2.1>"
    assert message.get("subject") is None
    assert repr(message) == "<Request INVITE sip:bob@example.com>"


def test_a_response() -> None:
    message = response(ANSWER)
    assert (message.status, message.reason) == (200, "OK")
    assert (message.cseq, message.cseq_method) == (7, "INVITE")
    assert (message.from_tag, message.to_tag) == ("a1", "b1")
    assert message.via.sent_by == "192.0.2.9"
    assert message.get("contact") is None
    assert repr(message) == "<Response 200 OK to INVITE>"


def test_compact_forms_and_any_case() -> None:
    message = request(
        "OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nF: <sip:a@b>;tag=1\r\n"
        "t: <sip:b@b>\r\nI: x\r\ncSeQ: 1 OPTIONS\r\nMAX-FORWARDS : 3\r\nl: 0\r\nX-Own: 1\r\n\r\n"
    )
    assert message.defect is None
    assert message.headers["max-forwards"] == ["3"]
    assert message.headers["x-own"] == ["1"]


def test_a_datagram_may_end_with_its_headers() -> None:
    assert request(HEAD).defect is None
    assert request(HEAD.rstrip()).defect is None
    assert request("\r\n\r\n" + HEAD + "\r\n").defect is None


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        (("CSeq: 1", "CSeq: 2147483648"), (400, "Bad CSeq")),
        (("CSeq: 1", "CSeq: " + "9" * 5000), (400, "Bad CSeq")),
        (("CSeq: 1", "CSeq: x"), (400, "Bad CSeq")),
        (("CSeq: 1 INVITE", "CSeq: 1 invite"), (400, "CSeq Method Does Not Match")),
        (("Max-Forwards: 70", "Max-Forwards: 256"), (400, "Bad Max-Forwards")),
        (("Max-Forwards: 70", "Max-Forwards: ٣"), (400, "Bad Max-Forwards")),
        (("Content-Length: 4", "Content-Length: 5"), (400, "Body Shorter Than Content-Length")),
        (("Content-Length: 4", "Content-Length: -1"), (400, "Bad Content-Length")),
        (("Content-Length: 4", "Content-Length: " + "9" * 5000), (400, "Bad Content-Length")),
        (("Content-Length: 4", "Content-Length: ４"), (400, "Bad Content-Length")),
        (("To:", "To: <sip:a@b>\r\nTo:"), (400, "Several To")),
        (("Contact:", "Bad Name:"), (400, "Bad Header Name")),
        (("Contact:", ": x\r\nContact:"), (400, "Bad Header Name")),
        (("Contact:", "nonsense\r\nContact:"), (400, "Header Without Colon")),
        (("Contact:", "X: a\nVia: b\r\nContact:"), (400, "Bare CR Or LF")),
        (("Contact:", "X: a\rVia: b\r\nContact:"), (400, "Bare CR Or LF")),
        (("192.0.2.1:5060;", "192.0.2.1:0;"), (400, "Bad Via")),
        (("192.0.2.1:5060;", "192.0.2.1:65536;"), (400, "Bad Via")),
        (("192.0.2.1:5060;branch", "192.0.2.1:99999;x;branch"), (400, "Bad Via")),
        (("rport", "rport=²"), (400, "Bad Via")),
        (("Via: ", "Via: ,"), (400, "Bad Via")),
        (("From: ", "From: <"), (400, "Bad Address")),
        (("sip:bob@example.com SIP", "tel:+1-201 SIP"), None),
        (("sip:bob@example.com SIP", "sips:bob@[2001:db8::1]:5061;x SIP"), None),
        (("sip:bob@example.com SIP", "bob SIP"), (400, "Bad Request-URI")),
        (("sip:bob@example.com SIP", "sip:bob@ SIP"), (400, "Bad Request-URI")),
        (("sip:bob@example.com SIP", "sip:b@h:65536 SIP"), (400, "Bad Request-URI")),
        (("sip:bob@example.com SIP", "http://x SIP"), (416, "Unsupported URI Scheme")),
        (("sip:bob@example.com SIP", "sip:b@h?a=b SIP"), (400, "Headers In Request-URI")),
        (("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), (505, "Version Not Supported")),
        (("SIP/2.0\r\nVia", "sip/2.0\r\nVia"), None),
        (("com SIP/2.0\r\nVia", "com  SIP/2.0\r\nVia"), (400, "Bad Request-Line")),
        (("rport", "received=2001:db8::1"), None),
        (("rport", "rport=5060"), None),
    ],
)
def test_requests_that_are_answered_with_their_defect(
    change: tuple[str, str], defect: tuple[int, str] | None
) -> None:
    text = VALID.decode()
    assert change[0] in text
    data = text.replace(*change, 1).encode()
    # Twice: what is remembered of a header's name must not make it a good one.
    assert request(data).defect == defect
    assert request(data).defect == defect


@pytest.mark.parametrize("missing", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_a_missing_header(missing: str) -> None:
    data = re.sub(rf"{missing}: .*\r\n", "", VALID.decode())
    assert request(data).defect == (400, f"Missing {missing}")


def test_limits() -> None:
    many = VALID.replace(b"Contact:", b"X: 1\r\n" * 300 + b"Contact:")
    assert request(many).defect == (400, "Too Many Headers")
    assert request(VALID, max_headers=5).defect == (400, "Missing CSeq")
    assert request(VALID, max_headers=8).defect == (400, "Too Many Headers")
    assert request(many, max_headers=400).defect is None


def test_over_a_stream_the_length_must_be_said() -> None:
    data = VALID.replace(b"Content-Length: 4\r\n", b"")
    assert request(data).body == b"body"
    assert request(data, datagram=False).defect == (400, "Missing Content-Length")
    assert request(VALID, datagram=False).defect is None
    short = ANSWER.replace(b"Content-Length: 0\r\n", b"")
    assert isinstance(parse(short), Response)
    with pytest.raises(MalformedMessage):
        parse(short, datagram=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"hello",
        b"\xff" * 100,
        b"INVITE sip:a@b HTTP/1.1\r\n\r\n",
        b"INVITE  sip:a@b  SIP/2.0\r\nVia: x\r\n\r\n",
        b"INVITE  sip:a@b  SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n",
        b"@ sip:a@b SIP/2.0\r\n\r\n",
        ANSWER.replace(b"200 OK", b"099 Low"),
        ANSWER.replace(b"200 OK", b"700 High"),
        ANSWER.replace(b"200 OK", b"2000 OK"),
        ANSWER.replace(b"200 OK", b"200"[:2]),
        ANSWER.replace(b"Call-ID: c1\r\n", b""),
        ANSWER.replace(b"CSeq: 7 INVITE\r\n", b""),
        ANSWER.replace(b"CSeq: 7", b"CSeq: 2147483648"),
        ANSWER.replace(b"CSeq: 7", b"CSeq: " + b"9" * 5000),
        ANSWER.replace(b"CSeq: 7", b"CSeq: -7"),
        ANSWER.replace(b"Via: SIP", b"Via: SAP"),
        ANSWER.replace(b"Content-Length: 0", b"Content-Length: 1"),
        ANSWER.replace(b"Content-Length: 0", b"Content-Length: x"),
        ANSWER.replace(b"Content-Length: 0", b"Content-Length: " + b"9" * 5000),
        ANSWER.replace(b"Content-Length", b"Content Length"),
        ANSWER.replace(b"Call-ID: c1", b"Call-ID: c1\nX: y"),
    ],
)
def test_what_is_dropped(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data)


def test_bodies_end_where_they_say() -> None:
    assert request(VALID + b"more").body == b"body"
    data = ANSWER.replace(b"Length: 0\r\n\r\n", b"Length: 2\r\n\r\nabcd")
    assert response(data).body == b"ab"


# --- typed values


@pytest.mark.parametrize(
    ("value", "display", "uri", "params"),
    [
        ("<sip:a@b>", "", "sip:a@b", {}),
        ('"A \\"B\\" C" <sip:a@b;x=1>;tag=t', 'A "B" C', "sip:a@b;x=1", {"tag": "t"}),
        ("Alice  B. <sip:a@b>", "Alice B.", "sip:a@b", {}),
        ("sip:a@b;tag=t", "", "sip:a@b", {"tag": "t"}),
        ("Alice<tel:+1>;a=\"x;y\";B", "Alice", "tel:+1", {"a": '"x;y"', "b": None}),
        ("<sip:a@[::1]:5060>;received=2001:db8::1", "", "sip:a@[::1]:5060",
         {"received": "2001:db8::1"}),
    ],
)  # fmt: skip
def test_addresses(value: str, display: str, uri: str, params: dict[str, str | None]) -> None:
    address = parse_address(value)
    assert (address.display, address.uri, address.params) == (display, uri, params)


@pytest.mark.parametrize(
    "value", ["", "<>", "<sip:a@b", "a b c", '"a <sip:a@b>', "sip:a@b?x", "<sip:a b>"]
)
def test_no_addresses(value: str) -> None:
    with pytest.raises(ValueError, match="bad address"):
        parse_address(value)


def test_uris() -> None:
    uri = parse_uri("SIP:%41lice:secret@EXAMPLE.com:5070;Transport=TCP;lr?Subject=x")
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("sip", "Alice", "example.com", 5070)
    assert uri.params == {"transport": "TCP", "lr": None}
    assert uri.headers == "?Subject=x"
    assert uri.param("lr") is None
    assert parse_uri("tel:+1-201.555(1);phone-context=x").user == "+12015551"
    assert parse_uri("sip:host").user == ""
    assert parse_uri("sip:%ff@h").user == "\udcff"
    long = "sip:" + "a" * 5000 + "@h"
    before = values._parse_uri.cache_info().currsize
    assert parse_uri(long).user == "a" * 5000
    assert values._parse_uri.cache_info().currsize == before
    assert uri_scheme("SIP:x") == "sip"
    assert uri_scheme("x") is None


def test_names_and_users_are_written_so_that_they_read_the_same() -> None:
    assert quote_display("") == ""
    assert quote_display('a"b\\c\r\nX: y\x7f') == '"a\\"b\\\\cX: y" '
    assert escape_user("+1 (2)é@%") == "+1%20(2)%C3%A9%40%25"


@given(st.text(max_size=40) | st.text("0123;=+%ab", max_size=12))
@example("0;")
@example("+49;x=%3B")
@example("a;b")
def test_any_name_and_user_come_back(text: str) -> None:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        assume(False)
    assume("=?" not in text)  # an encoded-word is read as what it stands for
    visible = "".join(c for c in text if c >= " " and c != "\x7f")
    assert parse_address(f"{quote_display(text)}<sip:a@b>").display == visible
    if text:
        assert parse_uri(f"sip:{escape_user(text)}@h").user == text


def test_lists() -> None:
    assert split_list(' a , "x, \\" y" <sip:b,c>;q=1,,d') == [
        "a",
        '"x, \\" y" <sip:b,c>;q=1',
        "",
        "d",
    ]
    assert split_list(" a ") == ["a"]


def test_vias_joined_by_commas_are_taken_apart() -> None:
    message = request(
        VALID.replace(b";rport\r\n", b", SIP/2.0/TCP h2;branch=z9hG4bK2\r\nVia: SIP/2.0/TLS h3\r\n")
    )
    assert [parse_via(v).transport for v in message.headers["via"]] == ["UDP", "TCP", "TLS"]


def test_a_100_repeats_the_timestamp() -> None:
    message = request(VALID.replace(b"Contact:", b"Timestamp: 54\r\nContact:"))
    assert b"\r\nTimestamp: 54\r\n" in response_bytes(message, 100)
    assert b"Timestamp" not in response_bytes(message, 180)


def test_a_response_repeats_what_it_must() -> None:
    message = request(VALID.replace(b"Max-Forwards", b"Via: SIP/2.0/UDP h2\r\nMax-Forwards"))
    reply = response(response_bytes(message, 486, to_tag="t9", extra="X-A: 1\r\n", body=b"why"))
    assert (reply.status, reply.reason, reply.to_tag, reply.body) == (
        486,
        "Busy Here",
        "t9",
        b"why",
    )
    assert reply.headers["via"] == message.headers["via"]
    assert reply.headers["call-id"] == message.headers["call-id"]
    assert reply.headers["x-a"] == ["1"]
    message.to_tag = "already"
    assert b"t9" not in response_bytes(message, 200, to_tag="t9")
    assert response_bytes(message, 299).startswith(b"SIP/2.0 299 \r\n")


# --- properties

TOKEN = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12)
PIECE = st.sampled_from(
    ["", " ", "\t", "\r\n", "\r\n ", "\n", "\r", "\0", "<", ">", '"', "\\", ";", ",", ":", "=", "@",
     "%", "sip:", "tel:", "SIP/2.0", "UDP", "INVITE", "Via:", "v:", "To", "CSeq:", "l: ",
     "Content-Length:", "999999999999999999999", "-1", "é", "\ufeff", "[::1]", "z9hG4bK", ";tag=",
     ";rport", "a" * 300]
)  # fmt: skip
JUNK = st.lists(st.one_of(PIECE, TOKEN), max_size=12).map("".join)
NAMES = st.sampled_from(
    ["Via", "v", "From", "To", "t", "Call-ID", "i", "CSeq", "Max-Forwards", "Contact", "Route",
     "Content-Length", "Expires", "X-Any", "Bad Name", "", "cOnTaCt"]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid message with some bytes cut, doubled, exchanged or put in."""
    data = bytearray(draw(st.sampled_from([VALID, ANSWER])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            del data[at:end]
        elif kind == 1:
            data[at:at] = data[at:end]
        elif kind == 2:
            data[at:end] = draw(st.binary(max_size=6))
        else:
            data[at:at] = draw(JUNK).encode("utf-8", "surrogatepass")
    return bytes(data)


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A start line and headers, each of its own kind or of any."""
    start = draw(
        st.one_of(
            st.just("INVITE sip:a@b SIP/2.0"),
            st.just("SIP/2.0 180 Ringing"),
            st.builds("{} {} SIP/{}".format, JUNK, JUNK, JUNK),
            JUNK,
        )
    )
    lines = draw(st.lists(st.builds("{}:{}".format, NAMES, JUNK), max_size=8))
    if draw(st.booleans()):
        lines += HEAD.split("\r\n")[1:-1]
    text = "\r\n".join([start, *draw(st.permutations(lines))])
    return (text + draw(st.sampled_from(["", "\r\n", "\r\n\r\n", "\r\n\r\nbody"]))).encode()


def check(data: bytes, datagram: bool) -> None:
    """Dropped, or answerable; written and read again the same."""
    try:
        message = parse(data, datagram=datagram)
    except MalformedMessage:
        return
    if isinstance(message, Response):
        again = parse(encode_response(message))
        assert isinstance(again, Response)
        assert (again.status, again.reason.strip()) == (message.status, message.reason.strip())
    else:
        if message.defect is not None:
            assert 400 <= message.defect.status <= 699
            assert message.defect.reason.isprintable()
            return
        reply = parse(response_bytes(message, 200, to_tag="x"))
        assert isinstance(reply, Response)
        assert reply.via == message.via
        assert reply.cseq == message.cseq
        again = parse(encode_request(message))
        assert isinstance(again, Request)
        assert again.defect is None
        assert (again.method, again.uri) == (message.method, message.uri)
        assert encode_request(again) == encode_request(message)
    assert (again.via, again.cseq) == (message.via, message.cseq)
    assert (again.from_tag, again.to_tag) == (message.from_tag, message.to_tag)
    assert again.body == message.body
    message.headers.pop("content-length", None)
    again.headers.pop("content-length")
    assert again.headers == message.headers


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), mutated(), structured()), st.booleans())
def test_anything_is_dropped_or_answerable(data: bytes, datagram: bool) -> None:
    check(data, datagram)


@settings(max_examples=300, deadline=None)
@given(st.one_of(JUNK, st.text(max_size=60)))
@pytest.mark.parametrize(
    "read", [parse_params, parse_address, parse_party, parse_uri, parse_via, split_list]
)
def test_typed_values_raise_only_valueerror(read: Callable[[str], object], text: str) -> None:
    try:
        read(text)
    except ValueError:
        return


# --- what is remembered

PARTIES = st.one_of(
    st.sampled_from(
        (
            '"Alice" <sip:alice@example.com>',
            "<sip:b@b>",
            "sip:b@b",
            "tel:+1-201",
            "<tel:123>",
            '"a;tag=b" <sip:c@d>',
            '"<x>;tag=1" <sip:c@d>',
            '"a>',
            "<sip:a@b",
            "<sip:a@b;tag=1>",
            "Bob <sips:b@b:5061;transport=tcp>",
            "",
        )
    ),
    st.text('";<>@:sipa=tg-1 ', max_size=25),
)
TAGS = st.sampled_from(
    (
        "", ";tag=1", ";tag=a-b", ";tag=a.b", ";tag=", ";tag=-", ";tag=1>", ';tag=1" <sip:x@y>',
        ";x=y;tag=7", "; tag=7", ";tag=1;x=y", ";tag=1;tag=2", ";TAG=5", ">;tag=1", ";tag=é",
    )
)  # fmt: skip


def read_or_refused(read: Callable[[str], object], text: str) -> object:
    try:
        return read(text)
    except ValueError:
        return ValueError


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(str.__add__, PARTIES, TAGS), max_size=8))
def test_a_party_is_read_as_if_it_were_the_first(texts: list[str]) -> None:
    def of_party(text: str) -> object:
        address = parse_address(text)
        return address.display, parse_uri(address.uri).user

    parser.forget()
    for text in texts:
        assert read_or_refused(parse_party, text) == read_or_refused(of_party, text)
        again = read_or_refused(parser._tag, text)
        parser.forget()
        assert again == read_or_refused(parser._tag, text)
        for earlier in texts:  # remembered anew
            read_or_refused(parse_party, earlier)
            read_or_refused(parser._tag, earlier)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                "Max-Forwards: 70",
                "max-forwards:70",
                "Max-Forwards : 70",
                "Contact: <sip:a@b>",
                "Contact: <sip:a@b>\nX: y",
                "Contact: <sip:a@b>\r",
                "Content-Length: 0",
                "l: 0",
                "Subject: é",
                " folded",
                "Subject",
                "User-Agent: x\r\n y",
            )
        ),
        max_size=6,
    )
)
def test_a_line_is_read_as_if_it_were_the_first(lines: list[str]) -> None:
    head = HEAD.replace("Max-Forwards: 70\r\n", "").partition("Contact")[0]
    data = (head + "\r\n".join([*lines, "", ""])).encode()
    seen = []
    for forgets in (True, False, False):
        if forgets:
            parser.forget()
        message = request(data)
        seen.append((message.headers, message.defect, message.uri, message.from_tag))
    assert seen[0] == seen[1] == seen[2]


# --- what a bad value may cost

HOSTILE = [
    "a" * 60_000,
    "a " * 30_000,
    " " * 60_000,
    "\t" * 60_000 + "x",
    '"' + "a" * 60_000,
    '"' + "\\" * 60_001,
    '"a" ' * 15_000,
    "<" * 60_000,
    "<sip:" + "a" * 60_000,
    "sip:" + "a" * 60_000,
    "sip:" + "a;" * 30_000 + "@",
    "sip:a@" + "a-" * 30_000,
    "sip:a@h" + ";a" * 30_000 + '"',
    "sip:a@h" + ";a=b" * 15_000 + "?",
    "sip:" + "%41" * 20_000,
    "sip:a:" + "b" * 60_000,
    "tel:" + "1" * 60_000 + "x",
    "tel:1" + ";a" * 30_000 + "@",
    ";" * 60_000,
    ";a" * 30_000 + "(",
    ";a=" * 20_000,
    ";a" + " " * 60_000 + "x",
    "SIP/2.0/UDP h" + " " * 60_000 + "x",
    "SIP/2.0/UDP " + "h." * 30_000 + "!",
    "SIP" + " " * 60_000,
    "SIP/2.0/" + "U" * 60_000,
    "SIP/2.0/UDP h;branch=" + "z" * 60_000 + '"',
    "0" * 60_000 + " x (",
    "1" * 60_000,
    "0" * 60_000 + "1" + " " * 60_000,
    "," * 60_000,
]


@pytest.mark.parametrize("at", range(len(HOSTILE)))
def test_no_value_costs_more_than_its_length(at: int) -> None:
    """64 kB of the worst for every expression takes milliseconds; what is quadratic takes seconds,
    what is exponential for ever."""
    text = HOSTILE[at]
    started = time.process_time()
    for module in (parser, header_names, values, received):
        for expression in vars(module).values():
            if isinstance(expression, re.Pattern) and isinstance(expression.pattern, str):
                expression.match(text)
    for read in READERS:
        with contextlib.suppress(ValueError):
            read(text)
    for header in ("Via", "From", "To", "CSeq", "Contact", "X" * 60_000, "Content-Length"):
        data = VALID.replace(b"Contact: ", f"{header}: {text}\r\nContact: ".encode())
        with contextlib.suppress(MalformedMessage):
            parse(data)
    assert time.process_time() - started < 1.0


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2000):
        request(VALID.replace(b"Contact:", b"X-%d: 1\r\nContact:" % number))
        header_names.display_name(f"x-{number}")
    assert len(header_names.KEYS) <= 512
    assert len(header_names._DISPLAY) <= 512
    assert max(len(name) for name in (*header_names.KEYS, *header_names._DISPLAY)) <= 64
    assert header_names.header_key("V") == header_names.header_key("Via \t") == "via"
    assert header_names.display_name("y-unheard-of") == "Y-Unheard-Of"
