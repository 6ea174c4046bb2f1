"""What the switch and its media workers write to each other."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.media import orders
from softswitch.media.orders import (
    Ask,
    CallOut,
    Digit,
    Echo,
    Expect,
    File,
    Gone,
    Here,
    Join,
    Order,
    PauseRecording,
    PauseTap,
    Play,
    Played,
    Prepare,
    Prepared,
    Press,
    Ready,
    Record,
    Recorded,
    Release,
    Said,
    Speaking,
    StopRecording,
    StopStream,
    StopTap,
    Stream,
    StreamEnded,
    Streaming,
    Tap,
    Tone,
    Up,
    encode,
    order_of,
    said_of,
)

ORDERS: list[Order] = [
    Ask(),
    Prepare("192.0.2.1"),
    Prepare("2001:db8::1", 20000, 20999),
    Expect(7, "k3y"),
    Play(7, 1),
    Play(7, 2, (File("/prompts/welcome.wav"), Tone(440, 480, 2000, 4000, 0, -19.0)), loop=True),
    Echo(7),
    Echo(7, on=False),
    Record(7, 3, "/messages/ä.wav", 120.0, 4.5),
    StopRecording(7),
    Stream(7, 4, "wss://agent.example/ws", "0199/hq/1", "0199"),
    Stream(
        7,
        5,
        "ws://127.0.0.1:8765/",
        "0199/hq/1",
        "0199",
        "hq",
        (("Authorization", "Bearer x"),),
        (("caller", "1001"), ("ä", "ö")),
        True,
        "/etc/ca.pem",
        2.5,
        0.0,
        10.0,
        1.0,
        4096,
    ),
    StopStream(7),
    PauseRecording(7),
    PauseRecording(7, on=False),
    Press(7, "#"),
    CallOut(7, "sip:k3y@127.0.0.1:5062"),
    Join(7, "sales"),
    Join(7, "sales", speaks=False, watch=True),
    Release(7),
    CallOut(7, "sip:key@127.0.0.1:40001"),
    Tap(7, Stream(7, 5, "wss://agent.example/ws", "0199/hq/1/1/1", "0199"), 7, 8),
    Tap(7, Stream(7, 6, "wss://agent.example/ws", "0199/hq/1/2/1", "0199"), 0, 8, True),
    PauseTap(7, 5),
    PauseTap(7, 5, on=False),
    StopTap(7, 5),
    Join(7, "team"),
    Join(7, "", False, True),
]
SAID: list[Said] = [
    Ready(4711, 5062, 50),
    Prepared("192.0.2.1"),
    Prepared("192.0.2.1", "Cannot assign requested address"),
    Up(7),
    Digit(7, "#"),
    Speaking(7, on=True),
    Played(7, 1),
    Played(7, 1, "/prompts/welcome.wav: no such file"),
    Recorded(7, 3, 4.25, 1.5, "silence"),
    Recorded(7, 3, 0.0, 0.0, "gone", "the disk is full"),
    Streaming(7, 4),
    StreamEnded(7, 4, "closed", "", 12.5),
    StreamEnded(7, 4, "refused", "it answers 403"),
    Gone(7),
    Here(),
    Speaking(7, True),
    Speaking(7, False),
]

KEYS = st.integers(1, 2**31 - 1)
TEXTS = st.text(max_size=50)
REALS = st.floats(allow_nan=False)
SOUNDS = st.builds(File, TEXTS) | st.builds(Tone, KEYS, KEYS, KEYS, KEYS, KEYS, REALS)
ANY_ORDER = st.one_of(
    st.builds(Ask),
    st.builds(Prepare, TEXTS, KEYS, KEYS),
    st.builds(Expect, KEYS, TEXTS),
    st.builds(Play, KEYS, KEYS, st.lists(SOUNDS, max_size=5).map(tuple), st.booleans()),
    st.builds(Echo, KEYS, st.booleans()),
    st.builds(Record, KEYS, KEYS, TEXTS, REALS, REALS),
    st.builds(StopRecording, KEYS),
    st.builds(PauseRecording, KEYS, st.booleans()),
    st.builds(Press, KEYS, TEXTS),
    st.builds(CallOut, KEYS, TEXTS),
    st.builds(Join, KEYS, TEXTS, st.booleans(), st.booleans()),
    st.builds(Release, KEYS),
    st.builds(CallOut, KEYS, TEXTS),
    st.builds(Join, KEYS, TEXTS, st.booleans(), st.booleans()),
)
ANY_SAID = st.one_of(
    st.builds(Ready, KEYS, KEYS, KEYS),
    st.builds(Prepared, TEXTS, TEXTS),
    st.builds(Up, KEYS),
    st.builds(Digit, KEYS, TEXTS),
    st.builds(Speaking, KEYS, st.booleans()),
    st.builds(Played, KEYS, KEYS, TEXTS),
    st.builds(Recorded, KEYS, KEYS, REALS, REALS, TEXTS, TEXTS),
    st.builds(Gone, KEYS),
    st.builds(Here),
    st.builds(Speaking, KEYS, st.booleans()),
)


def test_each_has_its_turn() -> None:
    """What is added to orders or events is to be added here."""
    structs = {
        one
        for one in vars(orders).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct)
    }
    assert {type(one) for one in [*ORDERS, *SAID]} == structs - {File, Tone, msgspec.Struct}


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_comes_as_it_was_given(order: Order) -> None:
    data = encode(order)
    assert len(data) < orders.LONGEST
    assert order_of(data) == order
    with pytest.raises(msgspec.MsgspecError):
        said_of(data)


@pytest.mark.parametrize("said", SAID)
def test_what_is_told_comes_as_it_was_said(said: Said) -> None:
    data = encode(said)
    assert len(data) < orders.LONGEST
    assert said_of(data) == said
    with pytest.raises(msgspec.MsgspecError):
        order_of(data)


@given(order=ANY_ORDER, said=ANY_SAID)
def test_with_whatever_in_them(order: Order, said: Said) -> None:
    assert order_of(encode(order)) == order
    assert said_of(encode(said)) == said


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    for read in (order_of, said_of):
        with suppress(msgspec.MsgspecError):
            read(data)


@given(ANY_ORDER | ANY_SAID, st.data())
def test_what_was_damaged_is_refused_or_something_else(
    message: Order | Said, data: st.DataObject
) -> None:
    whole = bytearray(encode(message))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    for read in (order_of, said_of):
        for damaged in (bytes(whole), bytes(whole[:end]), bytes(whole) + b"\0"):
            with suppress(msgspec.MsgspecError):
                read(damaged)


@pytest.mark.parametrize("value", [None, 7, [], {}, ["Play"], ["Play", "7", 1], ["Other", 7], "Up"])
def test_what_is_msgpack_but_no_message(value: object) -> None:
    data = msgspec.msgpack.encode(value)
    with pytest.raises(msgspec.MsgspecError):
        order_of(data)
    with pytest.raises(msgspec.MsgspecError):
        said_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\xa2\xff\xfe\x01",  # a name that is no text
        b"\x92\xa8Prepared\xa1\xff",
        b"\x93\xa2Up\x01" + b"\x91" * 60_000,  # nested without end
        b"\x93\xa7Release\x01" + b"\x91" * 60_000 + b"\xc0",
    ],
)
def test_no_text_or_nested_too_deep(data: bytes) -> None:
    for read in (order_of, said_of):
        with pytest.raises(msgspec.MsgspecError):
            read(data)
