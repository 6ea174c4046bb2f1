"""Verdicts: what was expected of a call, told event by event; and JUnit XML of them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from softswitch.phone.junit import junit
from softswitch.phone.quality import Received, Stream, mos, quality
from softswitch.phone.verdicts import Digits, Expectation, Judge, Silence, Status, Tone, Verdict


def judge(*expected: Expectation, answered: bool = True) -> Judge:
    """Of a call that began at 100 s, and was answered at 101 s."""
    judged = Judge([Status(), *expected], 100.0)
    if answered:
        assert [v.met for v in judged.answered(101.0)] == [True]
    return judged


def test_answered() -> None:
    judged = judge()
    assert judged.verdicts == [Verdict("answered", True, 1.0, "answered", "200 OK")]
    assert judged.met


def test_not_answered() -> None:
    judged = judge(Tone(440), answered=False)
    judged.ended(103.0, 486, "Busy Here")
    assert judged.verdicts == [
        Verdict("answered", False, 3.0, "answered", "486 Busy Here"),
        Verdict("audio", False, 3.0, "a tone of 440 Hz", "no answer"),
    ]
    assert judged.decided
    assert not judged.met


@pytest.mark.parametrize(("comes", "met"), [(486, True), (404, False), (200, False)])
def test_a_status_that_is_expected(comes: int, met: bool) -> None:
    judged = Judge([Status(486, asked=True)], 100.0)
    if comes == 200:
        judged.answered(101.0)
    judged.ended(102.0, comes, "Why")
    (verdict,) = judged.verdicts
    assert (verdict.name, verdict.met, verdict.expected) == ("status", met, "status 486")
    assert verdict.found == ("200 OK" if comes == 200 else f"{comes} Why")


@pytest.mark.parametrize(
    ("hz", "heard", "met"),
    [
        (1000, 1019, True),
        (1000, 1022, False),
        (1000, 980, True),
        (200, 208, True),
        (200, 209, False),
    ],
)
def test_a_tone_is_within_2_percent_or_8_hz(hz: float, heard: float, met: bool) -> None:
    judged = judge(Tone(hz))
    judged.heard(101.5, heard, -8.0, False)
    assert judged.decided is met
    judged.time_is_up(111.0)
    (verdict,) = judged.verdicts[1:]
    assert (verdict.met, verdict.seconds) == (met, 0.5 if met else 10.0)
    assert verdict.found == f"a tone of {heard:g} Hz at -8 dB"


def test_each_tone_has_to_be_heard() -> None:
    judged = judge(Tone(440), Tone(660))
    assert [v.expected for v in judged.heard(101.5, 660, -8.0, False)] == ["a tone of 660 Hz"]
    assert not judged.decided
    judged.heard(102.0, None, -90.0, True)
    judged.heard(103.0, None, -20.0, False)
    (verdict,) = judged.time_is_up(111.0)
    assert verdict.found == "a tone of 660 Hz at -8 dB, then silence, then sound at -20 dB"
    assert judged.time_is_up(112.0) == []


def test_what_was_heard_before_the_answer_counts_if_it_goes_on() -> None:
    judged = judge(Tone(440), answered=False)
    judged.heard(100.1, 440, -8.0, False)
    assert not judged.decided
    assert len(judged.answered(101.0)) == 2
    ringing = judge(Tone(440), answered=False)
    ringing.heard(100.1, 440, -8.0, False)
    ringing.heard(100.5, None, -90.0, True)
    ringing.answered(101.0)
    assert [v.met for v in ringing.time_is_up(111.0)] == [False]
    other = judge(Tone(440), answered=False)
    other.heard(100.1, 440, -8.0, False)
    other.heard(100.5, None, -20.0, False)
    assert len(other.answered(101.0)) == 1


def test_a_call_that_ends_too_early() -> None:
    judged = judge(Tone(440))
    (verdict,) = judged.ended(103.5, 200, "OK")
    assert verdict.found == "no audio, and the call ended after 2.5 s"
    assert judged.ended(104.0, 200, "OK") == []


@pytest.mark.parametrize(
    ("came", "met"),
    [("12#a", True), ("0012#A0", True), ("132#a", False), ("12#", False)],
)
def test_digits_come_in_a_row(came: str, met: bool) -> None:
    judged = judge(Digits("12#A"))
    for digit in came:
        judged.digit(102.0, digit)
    assert judged.decided is met
    judged.time_is_up(111.0)
    assert judged.met is met
    assert judged.verdicts[1].found == (
        f"digits {came}" if not met else f"digits {came.rstrip('0')}"
    )


def test_no_digits() -> None:
    assert judge(Digits("1")).time_is_up(111.0)[0].found == "no digits"


def test_silence() -> None:
    judged = judge(Silence())
    assert judged.heard(101.3, None, -100.0, True) == []
    assert [v.met for v in judged.time_is_up(111.0)] == [True]
    judged = judge(Silence())
    judged.heard(101.3, None, -100.0, True)
    (verdict,) = judged.heard(103.0, 440, -8.0, False)
    assert (verdict.met, verdict.seconds) == (False, 2.0)
    assert verdict.found == "silence, then a tone of 440 Hz at -8 dB"


def test_silence_is_no_lack_of_audio_and_may_follow_the_ringing_tone() -> None:
    assert [v.met for v in judge(Silence()).time_is_up(111.0)] == [False]
    for stops in (True, False):
        judged = judge(Silence(), answered=False)
        judged.heard(100.2, 425, -8.0, False)
        judged.answered(101.0)
        if stops:
            judged.heard(101.2, None, -100.0, True)
        assert [v.met for v in judged.time_is_up(111.0)] == [stops]


def test_a_call_that_never_was() -> None:
    judged = judge(Tone(440), answered=False)
    judged.over(105.0, "registration failed: 403 Forbidden")
    assert [v.found for v in judged.verdicts] == [
        "registration failed: 403 Forbidden",
        "no answer",
    ]


def test_junit() -> None:
    calls = [
        [
            Verdict("answered", True, 0.25, "answered", "200 OK"),
            Verdict("audio", False, 10.0, "a tone of 440 Hz", '<&"\x1b]]>\ud800 é'),
        ],
        [Verdict("answered", False, 1.0, "answered", "486 Busy Here")],
    ]
    document = junit("softswitch phone to <600>", calls, 1_700_000_000.5)
    assert document.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n")
    root = ElementTree.fromstring(document.decode())
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.attrib == {
        "name": "softswitch phone to <600>",
        "tests": "3",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
        "time": "11.000",
        "timestamp": "2023-11-14T22:13:20",
    }
    assert [(case.get("name"), case.get("time")) for case in suite] == [
        ("call 1: answered", "0.250"),
        ("call 1: a tone of 440 Hz", "10.000"),
        ("call 2: answered", "1.000"),
    ]
    failures = [case.find("failure") for case in suite]
    assert failures[0] is None
    assert failures[1] is not None
    assert failures[1].get("message") == 'expected a tone of 440 Hz, found <&"?]]>? é'
    assert failures[1].get("type") == "audio"


def test_the_mos_falls_with_loss_and_delay() -> None:
    best = mos("PCMU/8000", 0.0, 0.0)
    assert best == pytest.approx(4.41, abs=0.01)  # G.107: R = 93.2
    lossy = mos("pcma/8000", 0.05, 50.0)
    late = mos("PCMU/8000", 0.0, 400.0)
    assert best is not None
    assert lossy is not None
    assert late is not None
    assert 3.4 < lossy < 4.0
    assert 2.9 < late < 3.5
    assert mos("PCMU/8000", 1.0, 5000.0) == 1.0
    assert mos("G722/16000", 0.0, 0.0) is None


def test_quality_is_of_all_streams_of_a_call() -> None:
    assert quality([]) is None
    first = Stream("PCMU/8000", Received(100, 16000), Received(90, 14400, 10, 0, 2.0, 5.0), 30.0)
    second = Stream("PCMU/8000", Received(50, 8000), Received(30, 4800, 0, 3, 6.0, 9.0), None, 40.0)
    facts = quality([first, second])
    assert facts is not None
    score = facts.pop("mos")
    assert isinstance(score, float)
    assert 2.5 < score < 4
    assert facts == {
        "codec": "PCMU/8000",
        "sent_packets": 150,
        "sent_bytes": 24000,
        "sent_lost": 0,
        "sent_jitter_ms": None,
        "received_packets": 120,
        "received_bytes": 19200,
        "lost": 10,
        "discarded": 3,
        "loss_percent": 10.0,
        "jitter_ms": 3.0,
        "jitter_max_ms": 9.0,
        "rtt_ms": 30.0,
    }
    deaf = quality([Stream("PCMU/8000", Received(5, 800), Received())])
    assert deaf is not None
    assert deaf["mos"] is None
