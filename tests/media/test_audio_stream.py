"""What is said with a program, by itself: no sockets, no audio, no time but the test's."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.media.audio_stream import MOST_MARKS, AudioStream, Flood, Garbage
from softswitch.media.g711 import linear_of, mulaw_of
from softswitch.media.orders import Stream

QUIET = bytes(320)


def stream(linear: bool = False, buffer: float = 120.0, **more: Any) -> AudioStream:
    order = Stream(1, 1, "ws://x/", 'a "b"', "call", "hq", linear=linear, buffer=buffer)
    return AudioStream(order, **more)


def media(payload: bytes) -> bytes:
    what = {"event": "media", "media": {"payload": b64encode(payload).decode()}}
    return json.dumps(what).encode()


def mark(name: str) -> bytes:
    return json.dumps({"event": "mark", "mark": {"name": name}}).encode()


def marks(messages: list[str]) -> list[str]:
    return [json.loads(one)["mark"]["name"] for one in messages]


CLEAR = b'{"event": "clear"}'


# --- to the program


def test_frames_and_what_is_between() -> None:
    one = stream()
    assert len(one.begin(10.0)) == 2
    first = json.loads(one.heard("inbound", QUIET, 10.0))
    key = json.loads(one.pressed("#"))
    second = json.loads(one.heard("inbound", QUIET, 10.02))
    last = json.loads(one.stop())
    assert [m["sequenceNumber"] for m in (first, key, second, last)] == ["2", "3", "4", "5"]
    assert {m["streamSid"] for m in (first, key, second, last)} == {'a "b"'}
    assert [m["media"]["chunk"] for m in (first, second)] == ["1", "2"]
    assert [m["media"]["timestamp"] for m in (first, second)] == ["0", "20"]
    assert b64decode(first["media"]["payload"]) == b"\xff" * 160
    assert last["stop"] == {"accountSid": "hq", "callSid": "call"}


def test_who_is_held_leaves_a_gap() -> None:
    """Timestamps are the caller's time; chunks have no gap."""
    one = stream()
    one.begin(0.0)
    for number in range(50):
        one.heard("inbound", QUIET, number * 0.02 + 0.3)
    after = json.loads(one.heard("inbound", QUIET, 61.0))["media"]
    assert after["chunk"] == "51"
    assert 60_400 <= int(after["timestamp"]) <= 61_000
    again = json.loads(one.heard("inbound", QUIET, 61.02))["media"]
    assert int(again["timestamp"]) == int(after["timestamp"]) + 20


def test_more_tracks_than_one() -> None:
    """As of two who talk with each other: each counts its own frames."""
    one = stream(tracks=("inbound", "outbound"))
    start = json.loads(one.begin(0.0)[1])
    assert start["start"]["tracks"] == ["inbound", "outbound"]
    found = [
        json.loads(one.heard(track, QUIET, 0.0))["media"] for track in ("inbound", "outbound") * 2
    ]
    assert [(m["track"], m["chunk"]) for m in found] == [
        ("inbound", "1"),
        ("outbound", "1"),
        ("inbound", "2"),
        ("outbound", "2"),
    ]


# --- from the program


@given(st.binary(max_size=100))
def test_who_listens_is_not_heard(text: bytes) -> None:
    """Whatever it sends."""
    one = stream(listens=True, tracks=("inbound", "outbound"))
    for message in (text, media(bytes(160)), mark("said"), CLEAR):
        assert one.received(message) == []
    assert one.silent
    assert one.next_frame() is None


@given(st.lists(st.binary(max_size=700), max_size=20), st.booleans())
def test_all_is_heard_in_its_order(parts: list[bytes], linear: bool) -> None:
    """However it was cut; what is missing of the last frame is silence."""
    one = stream(linear)
    parts = [part[: len(part) & ~1] for part in parts]
    for part in parts:
        assert one.received(media(part)) == []
    one.received(mark("end"))
    said = b"".join(parts)
    said = said if linear else linear_of(said)
    got = b""
    while not one.silent:
        got += one.next_frame() or b""
    assert got[: len(said)] == said
    assert len(got) == (len(said) + 319) // 320 * 320
    assert set(got[len(said) :]) <= {0}


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=500), st.just("mark"), st.just("clear"), st.none())
    )
)
def test_every_mark_comes_back_once_and_in_order(what: list[bytes | str | None]) -> None:
    """Whatever else happens. None: a frame is heard."""
    one = stream()
    sent: list[str] = []
    back: list[str] = []
    for number, step in enumerate(what):
        if step is None:
            one.next_frame()
        elif step == "mark":
            sent.append(str(number))
            back += marks(one.passed()) + marks(one.received(mark(str(number))))
        elif step == "clear":
            back += marks(one.passed()) + marks(one.received(CLEAR))
            assert back == sent
            assert one.silent
            assert one.next_frame() is None
        else:
            assert isinstance(step, bytes)
            one.received(media(step))
        back += marks(one.passed())
    for _ in range(200):
        one.next_frame()
    back += marks(one.passed())
    assert back == sent
    assert one.silent


def test_a_mark_is_back_when_its_frame_was_heard() -> None:
    one = stream()
    assert marks(one.received(mark("at once"))) == ["at once"]
    one.received(media(b"\0" * 320))
    assert one.received(mark("both")) == []
    for _ in range(2):
        assert one.next_frame() == linear_of(b"\0" * 160)
        assert not one.has_passed
    assert one.next_frame() is None
    assert one.has_passed
    assert marks(one.passed()) == ["both"]
    assert not one.has_passed
    assert one.passed() == []


def test_marks_that_clear_gives_back_keep_their_order() -> None:
    """Also those that were on their way already."""
    one = stream()
    one.received(media(b"\0" * 160))
    one.received(mark("a"))
    one.received(media(b"\0" * 160))
    one.received(mark("b"))
    one.received(media(b"\0" * 160))
    one.received(mark("c"))
    one.next_frame()
    one.next_frame()
    assert marks(one.received(CLEAR)) == ["a", "b", "c"]
    assert one.passed() == []


def test_what_is_less_than_a_frame_waits_for_the_rest() -> None:
    """One frame: then it is heard as it is."""
    one = stream()
    one.received(media(b"\0" * 100))
    assert one.next_frame() is None
    one.received(media(b"\0" * 100))
    assert one.next_frame() == linear_of(b"\0" * 160)
    assert one.next_frame() is None
    rest = one.next_frame()
    assert rest == linear_of(b"\0" * 40 + b"\xff" * 120)
    assert one.silent


def test_crumbs_are_put_together() -> None:
    """A minute of single samples takes no more room than a minute of frames."""
    one = stream()
    for _ in range(60 * 8000):
        one._say(b"\0")
    assert len(one._queue) <= 60 * 50 + 1
    for _ in range(60 * 50):
        assert one.next_frame() == linear_of(b"\0" * 160)
    assert one.silent


@pytest.mark.parametrize("linear", [False, True])
def test_as_much_as_may_wait(linear: bool) -> None:
    one = stream(linear, buffer=1.0)
    second = bytes(16000 if linear else 8000)
    one.received(media(second))
    with pytest.raises(Flood, match="more than 1 s"):
        one.received(media(b"\0\0"))
    one.next_frame()
    one.received(media(bytes(320 if linear else 160)))
    with pytest.raises(Flood):
        one.received(media(b"\0\0"))
    one.received(CLEAR)
    one.received(media(second))


def test_as_many_marks_as_may_wait() -> None:
    one = stream()
    one.received(media(b"\0"))
    for _ in range(MOST_MARKS):
        one.received(mark("x"))
    with pytest.raises(Flood):
        one.received(mark("x"))


@given(st.binary() | st.text().map(str.encode))
def test_whatever_comes_is_passed_over_or_garbage(text: bytes) -> None:
    one = stream()
    with suppress(Garbage):
        assert one.received(text) == []


def test_a_name_is_said_as_it_was_written() -> None:
    one = stream()
    name = 'ä"\\\n\u2028😀'
    assert marks(one.received(mark(name))) == [name]


def test_mulaw_of_what_is_heard() -> None:
    one = stream()
    one.begin(0.0)
    linear = bytes(range(256)) + bytes(64)
    payload = json.loads(one.heard("inbound", linear, 0.0))["media"]["payload"]
    assert b64decode(payload) == mulaw_of(linear)
