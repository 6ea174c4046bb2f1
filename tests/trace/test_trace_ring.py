"""What is kept of the wire: as many messages as fit, and which of them are a call's."""

from __future__ import annotations

import pytest

from softswitch.sip import Recorder, Ring
from softswitch.sip.kept import OVERHEAD
from softswitch.trace import Dialogs, Finder

US, PEER = ("192.0.2.1", 5060), ("192.0.2.9", 5062)
OLD = "01a21a77-bd45-7b2c-93d7-01ee2c0cc531"
NEW = "01a21a88-bd45-7b2c-93d7-01ee2c0cc531"


def message(call_id: str, start: str = "BYE sip:a SIP/2.0", more: str = "") -> bytes:
    return f"{start}\r\nCSeq: 1 BYE\r\n{more}Call-ID: {call_id}\r\n\r\n".encode()


def test_the_oldest_go() -> None:
    one = message("x" * 100)
    ring = Ring(100 * (len(one) + OVERHEAD))
    kept = Recorder(ring, US)
    for _ in range(500):
        kept.received("udp", PEER, one)
        assert len(ring.entries) <= 100 + 65
    ring.settle()
    assert 100 - 65 <= len(ring.entries) <= 100
    assert ring.size == len(ring.entries) * (len(one) + OVERHEAD)
    kept.sent("udp", PEER, b"x" * (ring.most + 1))
    ring.settle()
    assert (len(ring.entries), ring.size) == (0, 0)
    kept.sent("udp", PEER, one)
    ring.take_up(0)
    assert (len(ring.entries), ring.size) == (0, 0)


def test_what_is_kept() -> None:
    ring = Ring(100_000)
    Recorder(ring, US).received("tcp", PEER, message("a"))
    ((at, sent, transport, local, peer, data),) = ring.entries
    assert at > 1e9
    assert (sent, transport, local, peer, data) == (False, "tcp", US, PEER, message("a"))


def test_dialogs_of_calls() -> None:
    dialogs = Dialogs(most=2)
    dialogs.began(OLD, "a", "extension:1")
    dialogs.began(OLD, "b", "extension:2")
    assert dialogs.of(OLD) == {"a": "extension:1", "b": "extension:2"}
    assert dialogs.call_of("b") == OLD
    dialogs.ended(OLD)
    assert dialogs.of(OLD) == {"a": "extension:1", "b": "extension:2"}
    # It comes by again, and ends again.
    dialogs.began(OLD, "c", "extension:1")
    assert list(dialogs.of(OLD)) == ["a", "b", "c"]
    dialogs.ended(OLD)
    for number in range(2):
        dialogs.began(f"later-{number}", f"x{number}", "")
        dialogs.ended(f"later-{number}")
    assert dialogs.of(OLD) == {}
    assert dialogs.call_of("a") == ""
    assert len(dialogs) == 2


def test_two_that_become_one_share_theirs() -> None:
    dialogs = Dialogs()
    dialogs.want_calls()
    dialogs.began(OLD, "a", "extension:1")
    dialogs.began(OLD, "b", "extension:2")
    dialogs.began(NEW, "c", "extension:1")
    dialogs.began(NEW, "d", "extension:2")
    assert dialogs.calls == {"a": OLD, "b": OLD, "c": NEW, "d": NEW}
    dialogs.merged(NEW, OLD)
    assert dialogs.calls == dict.fromkeys("abcd", OLD)
    dialogs.ended(NEW)
    assert set(dialogs.of(OLD)) == set(dialogs.of(NEW)) == {"a", "b", "c", "d"}
    assert dialogs.merged_into(NEW) == OLD
    dialogs.ended(OLD)
    assert set(dialogs.of(OLD)) == {"a", "b", "c", "d"}
    dialogs.take_up(0)
    dialogs.began("another", "e", "")
    dialogs.ended("another")
    assert (len(dialogs), dialogs.calls) == (0, {})


async def test_a_story_is_of_one_call() -> None:
    ring, dialogs = Ring(10_000_000), Dialogs()
    kept = Recorder(ring, US)
    dialogs.began(OLD, "a", "extension:1")
    dialogs.began(OLD, "b", "extension:2")
    for number in range(300):
        kept.received("udp", PEER, message(f"other-{number}"))
        kept.sent("udp", PEER, message(f"xx{number}", more="Replaces: a;to-tag=1\r\nX: b\r\n"))
    kept.received("udp", PEER, message("a"))
    kept.sent("udp", PEER, b"BYE sip:a SIP/2.0\r\nI : b\r\nCSeq: 1 BYE\r\n\r\nCall-ID: a")
    finder = Finder(ring, dialogs, "hq", "X-CDS-Call-ID")
    for asked in (OLD, OLD.upper(), "a", "b"):
        story = await finder.story(asked)
        assert story.call_id == OLD
        assert [one.call_id for one in story.messages] == ["a", "b"]
    story = await finder.story("other-7")
    assert (story.call_id, len(story.messages)) == ("", 1)
    assert (await finder.story("nobody")).messages == []


async def test_a_call_that_is_forgotten_is_found_by_its_header() -> None:
    ring = Ring(1_000_000)
    kept = Recorder(ring, US)
    kept.received("udp", PEER, message("q", more=f"X-Mine: {OLD};owner=hq\r\n"))
    kept.received("udp", PEER, message("q"))
    kept.received("udp", PEER, message("r", more=f"Subject: {OLD}\r\n"))
    story = await Finder(ring, Dialogs(), "hq", "X-Mine").story(OLD)
    assert [one.call_id for one in story.messages] == ["q", "q"]


async def test_not_more_than_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softswitch.trace.finding.MOST", 3)
    ring = Ring(1_000_000)
    for _ in range(5):
        Recorder(ring, US).received("udp", PEER, message("q"))
    story = await Finder(ring, Dialogs(), "hq", "X").story("q")
    assert (len(story.messages), story.more) == (3, True)
