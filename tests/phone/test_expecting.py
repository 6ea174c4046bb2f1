"""``softswitch phone`` with something expected: real processes, real audio, verdicts, statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from softswitch.lab.children import PhoneChild

StartPhone = Callable[..., PhoneChild]
PHONE = [sys.executable, "-m", "softswitch.phone", "--no-register", "--json"]


class Told:
    """A phone that was started with an errand; ``end`` waits for it."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen([*PHONE, *options], stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []

    @property
    def uri(self) -> str:
        """Where it can be called: in its first line."""
        assert self._process.stdout is not None
        if not self.lines:
            self.lines.append(self._process.stdout.readline())
        return str(json.loads(self.lines[0])["contact"])

    def end(self) -> int:
        """Its exit status; then ``events`` are all that it said."""
        said, _ = self._process.communicate(timeout=40)
        self.lines += said.splitlines()
        self.events = [json.loads(line) for line in self.lines]
        return self._process.returncode

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def verdicts(self) -> list[tuple[str, bool, str]]:
        return [
            (e["expected"], e["met"], e["found"]) for e in self.events if e["event"] == "verdict"
        ]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


StartTold = Callable[..., Told]


@pytest.fixture
def told() -> Iterator[StartTold]:
    phones: list[Told] = []

    def start(*options: str) -> Told:
        phones.append(Told(*options))
        return phones[-1]

    yield start
    for phone in phones:
        phone.kill()


def cases(report: Path) -> list[tuple[str, str | None]]:
    """The test cases of a report, each with its failure."""
    root = ElementTree.fromstring(report.read_text())
    return [
        (str(case.get("name")), None if (f := case.find("failure")) is None else f.get("message"))
        for case in root.iter("testcase")
    ]


def test_tones_that_are_heard(start_phone: StartPhone, told: StartTold, tmp_path: Path) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    report = tmp_path / "report.xml"
    alice = told("--call", bob.uri, "--expect-audio", "660", "--junit", str(report))
    assert alice.end() == 0
    assert [(name, met) for name, met, _ in alice.verdicts()] == [
        ("answered", True),
        ("a tone of 660 Hz", True),
    ]
    assert alice.of("ended")[0]["by"] == "local"  # as soon as all was met
    assert cases(report) == [("call 1: answered", None), ("call 1: a tone of 660 Hz", None)]


def test_tones_that_are_not(start_phone: StartPhone, told: StartTold, tmp_path: Path) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    report = tmp_path / "report.xml"
    options = ("--expect-audio", "660", "--expect-audio", "700", "--within", "3")
    alice = told("--call", bob.uri, *options, "--junit", str(report))
    assert alice.end() == 1
    answered, heard, missed = alice.of("verdict")
    assert (answered["met"], heard["met"], missed["met"]) == (True, True, False)
    assert missed["expected"] == "a tone of 700 Hz"
    assert missed["found"].startswith("a tone of 6")
    assert missed["seconds"] >= 2.9
    assert missed["call"] == 1
    assert [failure is None for _, failure in cases(report)] == [True, True, False]


def test_in_words(start_phone: StartPhone) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    alice = subprocess.run(
        [
            *(*PHONE[:-1], "--call", bob.uri, "--within", "3"),
            *("--expect-audio", "660", "--expect-dtmf", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert alice.returncode == 1
    lines = [line for line in alice.stdout.splitlines() if "met" in line.lower().split()]
    assert lines[1].startswith("call 1: met after ")
    assert lines[1].endswith(" s: a tone of 660 Hz")
    assert lines[2].startswith("call 1: NOT MET after ")
    assert lines[2].endswith(" s: digits 1; found no digits")


@pytest.mark.parametrize(("sent", "met"), [("0159#", True), ("195", False)])
def test_the_called_side_expects_digits(
    told: StartTold, tmp_path: Path, sent: str, met: bool
) -> None:
    """Whatever the method: both wait at once."""
    pairs = []
    for method in ("rfc4733", "info"):
        report = tmp_path / f"{method}.xml"
        bob = told(
            *("--user", "bob", "--answer", "--expect-dtmf", "159", "--within", "4"),
            *("--junit", str(report)),
        )
        alice = told("--call", bob.uri, "--dtmf", sent, "--dtmf-method", method)
        pairs.append((alice, bob, report))
    for alice, bob, report in pairs:
        assert bob.end() == (0 if met else 1)
        assert alice.end() == 0
        assert bob.verdicts()[1] == ("digits 159", met, "digits 0159" if met else "digits 195")
        assert alice.of("ended")[0]["by"] == "remote"
        assert [failure is None for _, failure in cases(report)] == [True, met]


@pytest.mark.parametrize("tone", [False, True])
def test_silence(start_phone: StartPhone, told: StartTold, tone: bool) -> None:
    bob = start_phone("bob", "--answer", *(["--tone", "660"] if tone else []))
    alice = told("--call", bob.uri, "--expect-silence", "--within", "2")
    assert alice.end() == (1 if tone else 0)
    assert alice.verdicts()[1][:2] == ("silence", not tone)


@pytest.mark.parametrize(("expected", "status"), [(486, 0), (404, 1), (200, 1)])
def test_a_status(
    start_phone: StartPhone, told: StartTold, tmp_path: Path, expected: int, status: int
) -> None:
    bob = start_phone("bob", "--reject", "486")
    report = tmp_path / "report.xml"
    alice = told("--call", bob.uri, "--expect-status", str(expected), "--junit", str(report))
    assert alice.end() == status
    assert alice.verdicts() == [(f"status {expected}", status == 0, "486 Busy Here")]
    failure = f"expected status {expected}, found 486 Busy Here" if status else None
    assert cases(report) == [(f"call 1: status {expected}", failure)]


def test_nobody_answers(start_phone: StartPhone, told: StartTold) -> None:
    bob = start_phone("bob", "--ring-only")
    alice = told("--call", bob.uri, "--wait", "1", "--expect-audio", "440")
    assert alice.end() == 1
    assert alice.verdicts() == [
        ("answered", False, "no answer within 1 s"),
        ("a tone of 440 Hz", False, "no answer"),
    ]
    bob.expect("ended", answered=False, by="remote")


def test_nobody_calls(told: StartTold, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    bob = told("--answer", "--calls", "2", "--wait", "1", "--junit", str(report))
    assert bob.end() == 1
    said = "expected answered, found no call within 1 s"
    assert cases(report) == [("call 1: answered", said), ("call 2: answered", said)]


def test_several_calls_at_once(told: StartTold, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    bob = told("--user", "bob", "--answer", "--calls", "4", "--tone", "660")
    alice = told(
        *("--call", bob.uri, "--calls", "4", "--expect-audio", "660", "--duration", "3"),
        *("--junit", str(report)),
    )
    assert (alice.end(), bob.end()) == (0, 0)
    kinds = [e["event"] for e in alice.events if e["event"] in ("answered", "ended")]
    assert kinds == ["answered"] * 4 + ["ended"] * 4  # at once
    assert sorted(e["call"] for e in alice.of("verdict") if e["name"] == "audio") == [1, 2, 3, 4]
    assert len(cases(report)) == 8
    assert all(failure is None for _, failure in cases(report))


def test_the_status_is_of_all_calls(told: StartTold) -> None:
    bob = told("--user", "bob", "--answer", "--max-calls", "1", "--calls", "1")
    alice = told("--call", bob.uri, "--calls", "2", "--duration", "1")
    assert (alice.end(), bob.end()) == (1, 0)
    assert sorted(e["answered"] for e in alice.of("ended")) == [False, True]


@pytest.mark.parametrize("refused", [False, True])
def test_an_attended_transfer(start_phone: StartPhone, told: StartTold, refused: bool) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    carol = start_phone("carol", *(["--reject", "486"] if refused else ["--answer"]))
    alice = told(
        *("--call", bob.uri, "--attended", carol.uri, "--expect-audio", "660"),
    )
    assert alice.end() == (1 if refused else 0)
    if refused:
        assert alice.of("transfer") == []
    else:
        assert alice.of("transfer")[-1]["status"] == 200
        carol.expect_tone(660)


def test_quality(start_phone: StartPhone, told: StartTold) -> None:
    bob = start_phone("bob", "--answer", "--tone", "660")
    alice = told("--call", bob.uri, "--duration", "7")  # RTCP: every five seconds or so
    assert alice.end() == 0
    (facts,) = alice.of("quality")
    assert facts["codec"] == "PCMU/8000"
    # 50 packets a second of 160 bytes; a machine under load may not keep up.
    assert 200 < facts["sent_packets"] < 400
    assert 200 < facts["received_packets"] < 400
    assert facts["received_bytes"] == 160 * facts["received_packets"]
    assert facts["lost"] == 0
    assert 0 <= facts["jitter_ms"] < 100
    assert facts["rtt_ms"] is None or 0 <= facts["rtt_ms"] < 1000  # RTCP comes when it comes
    assert 1 <= facts["mos"] < 4.5
    assert alice.events.index(facts) < alice.events.index(alice.of("ended")[0])


def test_a_call_without_audio_has_no_quality(start_phone: StartPhone, told: StartTold) -> None:
    bob = start_phone("bob", "--reject", "486")
    alice = told("--call", bob.uri)
    assert alice.end() == 1
    assert alice.of("quality") == []


def test_stopped_before_it_is_done(told: StartTold, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    bob = told("--answer", "--expect-dtmf", "1", "--junit", str(report))
    assert bob.uri
    bob._process.terminate()
    assert bob.end() == 1
    assert cases(report)[0] == ("call 1: answered", "expected answered, found stopped before")


def test_a_phone_that_cannot_start_has_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [*PHONE, "--call", "2001", "--junit", str(report), "--codec", "MP3/8000"],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 1
    ((name, failure),) = cases(report)
    assert name == "call 1: answered"
    assert str(failure).startswith("expected answered, found codec MP3/8000 is not one of")


def test_a_report_that_cannot_be_written(start_phone: StartPhone, tmp_path: Path) -> None:
    bob = start_phone("bob", "--answer")
    done = subprocess.run(
        [*PHONE, "--call", bob.uri, "--junit", str(tmp_path / "nowhere" / "x.xml")],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 1
    assert "x.xml: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--expect-dtmf", "1x"], "digits are 0-9"),
        (["--expect-dtmf", "1,2"], "digits are 0-9"),
        (["--dtmf", "1x"], "digits are 0-9"),
        (["--expect-audio", "50"], "not in the range"),
        (["--expect-audio", "440", "--expect-silence"], "exclude one another"),
        (["--expect-status", "486", "--expect-dtmf", "1"], "nothing is heard"),
        (["--expect-dtmf", "1", "--stdin"], "--stdin"),
        (["--calls", "5"], "not in the range"),
        (["--calls", "2", "--max-calls", "1"], "at most --max-calls (1)"),
        (["--calls", "3", "--attended", "1"], "two for each"),
        (["--attended", "1", "--transfer", "2"], "exclude one another"),
        (["--within", "0"], "not in the range"),
    ],
)
def test_what_makes_no_sense(options: list[str], said: str) -> None:
    done = subprocess.run(
        [*PHONE, *options], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
