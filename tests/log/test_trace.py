"""SIP traced: whole messages, and nothing in them that would be worth stealing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from softswitch.config import Log as Settings
from softswitch.log import Log, SipTrace
from softswitch.log.trace import masked

REGISTER = (
    b"REGISTER sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK1\r\n"
    b'Authorization: Digest username="1001", nonce="n", uri="sip:10.0.0.1",\r\n'
    b' response = "0123456789abcdef", cnonce="c"\r\nContent-Length: 0\r\n\r\n'
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(Settings(file=tmp_path / "trace.log", lines_per_second=1))
    log.open()
    yield log
    log.close()


def written(log: Log) -> str:
    assert log.writer.flush()
    assert log.writer.path is not None
    return log.writer.path.read_text()


def test_a_message_is_there_whole_but_for_its_response(log: Log) -> None:
    SipTrace(log).received("udp", ("10.0.0.2", 5060), REGISTER)
    text = written(log)
    assert "sip: from udp:10.0.0.2:5060\nREGISTER sip:10.0.0.1 SIP/2.0\nVia: " in text
    assert 'username="1001"' in text
    assert ' response = "...", cnonce="c"\n' in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        (b"INVITE x\r\nProxy-Authorization: Digest response=\"guess\"\r\n", b"guess"),
        (b"INVITE x\r\nauthorization: Bearer abc.def\r\n", b"abc"),
        (b"INVITE x\r\nAuthorization: Basic YTpi\r\n", b"YTpi"),
        (b"m=audio 1 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVC|2^20\r\n",
         b"d0RmdmcmVC"),
        (b"v=0\r\na=crypto:1  AES inline:A1|2^20|1:4;inline:B2|2^20|2:4 KDR=1\r\nt=0 0\r\n", b"B2"),
        (b"INVITE x\r\nAuthorization: Digest nc=1, response=guess, cnonce=c\r\n", b"guess"),
        (b"INVITE x\r\nAuthorization:\r\n Basic\r\n YTpi\r\n\tZZ9\r\nTo: b\r\n", b"YTpi"),
        (b"INVITE x\r\nAuthorization:\r\n Basic\r\n YTpi\r\n\tZZ9\r\nTo: b\r\n", b"ZZ9"),
    ],
)  # fmt: skip
def test_secrets(data: bytes, secret: bytes) -> None:
    assert secret not in masked(data)


def test_no_limit_of_lines_and_no_keep_alives(log: Log) -> None:
    trace = SipTrace(log)
    for _ in range(5):
        trace.sent("tcp", ("2001:db8::1", 5061), b"SIP/2.0 200 OK\r\n\r\n")
        trace.received("tcp", ("2001:db8::1", 5061), b"\r\n\r\n")
    assert written(log).count("to tcp:[2001:db8::1]:5061\nSIP/2.0 200 OK\n") == 5
    assert "from" not in written(log)


def test_what_is_no_text_does_nothing_to_a_terminal(log: Log) -> None:
    SipTrace(log).received("udp", ("10.0.0.2", 5060), b"INVITE \x1b[2J\xff\r\n\r\n")
    assert "INVITE \\x1b[2J\\xff\n" in written(log)
