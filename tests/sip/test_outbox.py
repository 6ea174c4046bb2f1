"""The outbox: what leaves when, in which order, and what a disk that hangs does to it."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softswitch.sip.outbox import OnError, Outbox, Target


class Loop:
    """An event loop's time, and who has to store: `asked` holds what is to be called back."""

    def __init__(self, interval: float = 0.005, within: float = 0.4) -> None:
        self.now = 0.0
        self.sent: list[bytes] = []
        self.asked: list[Callable[[], None]] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.outbox = Outbox(
            lambda what: self.after(0.0, what),
            self.after,
            lambda: self.now,
            interval=interval,
            within=within,
        )
        self.outbox.store = self.asked.append

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), what))

    def run(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, what = heapq.heappop(self._due)
            what()
        self.now = end

    def send(self, data: bytes) -> None:
        self.outbox.put(self, data, None, None)

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        if data == b"raises":
            raise RuntimeError("a bug below")
        self.sent.append(data)


def test_nothing_told_leaves_with_the_turn() -> None:
    loop = Loop()
    loop.send(b"1")
    loop.send(b"2")
    assert loop.sent == []
    loop.run()
    assert (loop.sent, loop.asked) == ([b"1", b"2"], [])


@pytest.mark.parametrize("first", ["told", "sent"])
def test_what_was_told_is_stored_first(first: str) -> None:
    """Whichever came first within the turn: a message may rely on what is told after it."""
    loop = Loop()
    if first == "told":
        loop.outbox.told()
        loop.send(b"1")
    else:
        loop.send(b"1")
        loop.outbox.told()
    loop.run(0.1)
    assert (loop.sent, len(loop.asked), len(loop.outbox)) == ([], 1, 1)
    loop.asked.pop()()
    assert loop.sent == [b"1"]
    loop.send(b"2")
    loop.run()
    assert loop.sent == [b"1", b"2"]


def test_a_later_message_does_not_overtake() -> None:
    """It may rely on what was told before, and is not stored yet."""
    loop = Loop()
    loop.outbox.told()
    loop.send(b"1")
    loop.run()
    loop.send(b"2")
    loop.run(0.1)
    assert loop.sent == []
    loop.asked.pop()()
    assert loop.sent == [b"1", b"2"]


def test_batches_leave_in_their_order() -> None:
    loop = Loop(interval=0.0)
    for number in range(3):
        loop.outbox.told()
        loop.send(b"%d" % number)
        loop.run()
    first, second, third = loop.asked
    third()
    second()
    assert loop.sent == []
    first()
    assert loop.sent == [b"0", b"1", b"2"]


def test_the_first_batch_is_closed_at_once_and_the_next_takes_its_time() -> None:
    loop = Loop()
    loop.run(1)
    loop.outbox.told()
    loop.send(b"1")
    loop.run()
    assert len(loop.asked) == 1
    loop.asked.pop()()
    for _ in range(3):
        loop.outbox.told()
        loop.send(b"more")
        loop.run(0.001)
    assert loop.outbox.closing
    closed: list[float] = []
    loop.outbox.at_close(lambda: closed.append(loop.now))
    assert loop.asked == []
    loop.run(0.0021)
    assert len(loop.asked) == 1
    assert closed == [pytest.approx(1.005)]
    assert not loop.outbox.closing
    loop.asked.pop()()
    assert loop.sent == [b"1", b"more", b"more", b"more"]


def test_what_comes_as_a_batch_closes_is_in_it() -> None:
    loop = Loop()
    loop.outbox.told()
    loop.run()
    loop.outbox.told()
    loop.run()

    def last_word() -> None:
        loop.outbox.told()
        loop.send(b"last word")

    loop.outbox.at_close(last_word)
    loop.run(0.01)
    assert len(loop.asked) == 2
    for stored in loop.asked:
        stored()
    loop.run(0.1)
    assert (loop.sent, len(loop.asked)) == ([b"last word"], 2)


def test_a_disk_that_hangs_silences_nobody(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    loop.outbox.told()
    loop.send(b"1")
    loop.run(0.3)
    loop.outbox.told()
    loop.send(b"2")
    loop.run(0.11)
    assert loop.sent == [b"1"]
    loop.run(0.3)
    assert loop.sent == [b"1", b"2"]
    assert loop.outbox.hurried == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "timers.store_within" in caplog.text
    # Late as they are, the answers do no harm; and in time again is said too.
    for stored in loop.asked:
        stored()
    caplog.set_level(logging.WARNING)
    loop.asked.clear()
    loop.outbox.told()
    loop.send(b"3")
    loop.run(0.1)
    loop.asked.pop()()
    loop.run(1)
    assert loop.sent == [b"1", b"2", b"3"]
    assert caplog.records[-1].getMessage() == "what calls do is on disk in time again"


def test_who_stored_is_told_when_it_has_left() -> None:
    """At once if it is stored at once, else after the messages, and in their order."""
    loop = Loop(interval=0.0)
    left: list[str] = []

    def store(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
        def asked(then: Callable[[], None]) -> Callable[[], None]:
            loop.asked.append(then)
            return lambda: left.append(f"{name} after {len(loop.sent)}")

        return asked

    for name in ("first", "second"):
        loop.outbox.store = store(name)
        loop.outbox.told()
        loop.send(name.encode())
        loop.run()
    loop.asked[1]()
    assert left == []
    loop.asked[0]()
    assert left == ["first after 1", "second after 2"]

    def at_once(then: Callable[[], None]) -> Callable[[], None]:
        then()
        return lambda: left.append(f"third after {len(loop.sent)}")

    loop.outbox.store = at_once
    loop.outbox.told()
    loop.send(b"third")
    loop.run()
    assert left[2:] == ["third after 3"]
    # At the end nobody is waited for, and who waits is told all the same.
    loop.outbox.store = store("last")
    loop.outbox.told()
    loop.send(b"last")
    loop.run()
    loop.outbox.flush()
    assert left[3:] == ["last after 4"]


def test_who_raises_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    loop.outbox.told()
    loop.run()
    loop.asked.pop()()
    loop.outbox.told()
    loop.send(b"1")
    loop.run()

    def fails(*_: object) -> None:
        raise RuntimeError("a bug elsewhere")

    called: list[int] = []
    loop.outbox.at_close(fails)
    loop.outbox.at_close(lambda: called.append(1))
    loop.outbox.store = fails
    loop.run(0.01)
    assert (loop.sent, called) == ([b"1"], [1])
    assert "who waited for a batch failed" in caplog.text
    assert "what calls do could not be stored" in caplog.text


def test_stored_at_once() -> None:
    loop = Loop()
    loop.outbox.store = lambda then: then()
    loop.outbox.told()
    loop.send(b"1")
    loop.run()
    assert loop.sent == [b"1"]


def test_one_message_that_cannot_be_sent_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    for data in (b"1", b"raises", b"2"):
        loop.send(data)
    loop.run()
    assert loop.sent == [b"1", b"2"]
    assert "a message was not sent" in caplog.text


def test_flush_sends_everything_in_order() -> None:
    loop = Loop(interval=0.0)
    for number in range(2):
        loop.outbox.told()
        loop.send(b"%d" % number)
        loop.run()
    loop.send(b"2")
    loop.outbox.flush()
    assert (loop.sent, len(loop.outbox)) == ([b"0", b"1", b"2"], 0)
    loop.run(1)
    for stored in loop.asked:
        stored()
    assert loop.sent == [b"0", b"1", b"2"]


@given(st.lists(st.sampled_from(["tell", "send", "turn", "wait", "store", "hang"]), max_size=60))
def test_whatever_happens(steps: list[str]) -> None:
    """In order, each once, and none before what was told until its turn's end is stored, unless it
    has waited for too long."""
    loop = Loop(within=0.4)
    sent = 0
    told: list[float] = []  # when
    relies: list[int] = []  # on how much of that each message does
    turn: list[int] = []
    stored = 0
    asked: list[int] = []
    loop.outbox.store = lambda then: (loop.asked.append(then), asked.append(len(told)))[0]

    def check() -> None:
        assert loop.sent == [b"%d" % number for number in range(len(loop.sent))]
        for need in relies[: len(loop.sent)]:
            # The newest of it is stored, or was waited for long enough.
            assert need <= stored or loop.now - told[need - 1] >= 0.4 - 1e-9

    def end_turn(seconds: float) -> None:
        for number in turn:
            relies[number] = len(told)
        turn.clear()
        loop.run(seconds)

    for step in steps:
        match step:
            case "tell":
                told.append(loop.now)
                loop.outbox.told()
            case "send":
                relies.append(len(told))
                turn.append(sent)
                loop.send(b"%d" % sent)
                sent += 1
            case "turn":
                end_turn(0.0)
            case "wait":
                end_turn(0.003)
            case "hang":
                end_turn(0.5)
            case "store":
                if loop.asked:
                    stored = max(stored, asked.pop(0))
                    loop.asked.pop(0)()
        check()
    end_turn(0.01)
    loop.run(1.0)
    assert len(loop.sent) == sent
    assert len(loop.outbox) == 0
