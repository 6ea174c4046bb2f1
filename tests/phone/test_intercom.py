"""Calls that ask to be answered by the phone itself, and those that do not."""

from __future__ import annotations

import pytest

from softswitch.applications.page import header_lines
from softswitch.phone.intercom import answer_after


def invite(*lines: str) -> str:
    head = "".join(f"{line}\r\n" for line in ("INVITE sip:1001@127.0.0.1 SIP/2.0", *lines))
    return f"{head}\r\nCall-Info: <sip:x>;answer-after=7\r\n"


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("Call-Info: <sip:10.0.0.1>;answer-after=0", 0),
        ("call-info:<sip:10.0.0.1> ; Answer-After = 12", 12),
        ("Call-Info: <http://a/icon.png>;purpose=icon, <sip:a>;answer-after=3", 3),
        ("Alert-Info: <http://127.0.0.1>;info=alert-autoanswer;delay=2", 2),
        ("Alert-Info: info=alert-autoanswer", 0),
        ("Answer-Mode: Auto", 0),
        ("Answer-Mode: Auto;require", 0),
        ("Answer-Mode: Manual", None),
        ("Call-Info: <sip:10.0.0.1>;answer-after=61", None),
        ("Call-Info: <sip:10.0.0.1>;answer-after=1000", None),
        ("Call-Info: <sip:10.0.0.1>;answer-after=x", None),
        ("Alert-Info: <http://127.0.0.1/internal>;info=internal", None),
        ("Subject: answer-after=0", None),
    ],
)
def test_what_asks_for_it(line: str, seconds: int | None) -> None:
    assert answer_after(invite("Max-Forwards: 70", line, "To: <sip:1001@a>")) == seconds


@pytest.mark.parametrize("seconds", [0, 5])
def test_pages_do(seconds: int) -> None:
    """By each of their lines."""
    lines = header_lines(seconds).split("\r\n")[:-1]
    assert [answer_after(invite(line)) for line in lines] == [seconds] * len(lines)
    assert len(lines) == (2 if seconds else 3)
