"""The sockets of streams without a worker: a fault of one stream, and the end of all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest
from media.program import Program, Talk, echo, listens

from softswitch.media.audio_stream import AudioStream
from softswitch.media.orders import Stream
from softswitch.media.stream_sockets import Connection, StreamSockets

FRAME = bytes(320)


@pytest.fixture
def sockets() -> Iterator[StreamSockets]:
    """Their thread is gone in the end."""
    before = set(threading.enumerate())
    sockets = StreamSockets()
    yield sockets
    sockets.close()
    left = [one for one in threading.enumerate() if one not in before and one.name == "streams"]
    assert not left


class Faulty(AudioStream):
    """Whatever comes is too much for it."""

    def received(self, text: bytes) -> list[str]:
        raise ZeroDivisionError("a fault")


class Caller:
    """Who is connected, and what it is told."""

    def __init__(self, sockets: StreamSockets, url: str, stream: AudioStream | None = None) -> None:
        self.told: SimpleQueue[tuple[str, str]] = SimpleQueue()
        order = Stream(1, 1, url, "sid", "call", ping=0.0)
        self.sockets = sockets
        self.stream = stream or AudioStream(order)
        self.connection: Connection = sockets.open(
            order, self.stream, lambda what, error, seconds: self.told.put((what, error))
        )

    def next(self) -> tuple[str, str]:
        return self.told.get(timeout=15)

    def hears_itself(self) -> None:
        """There and back, as far as it goes."""
        self.sockets.heard(self.connection, "inbound", FRAME)
        for _ in range(1500):
            if not self.stream.silent:
                break
            threading.Event().wait(0.01)
        while not self.stream.silent:
            self.stream.next_frame()


def test_a_fault_costs_one_stream(sockets: StreamSockets, caplog: pytest.LogCaptureFixture) -> None:
    with Program(echo) as program:
        order = Stream(1, 1, program.url, "sid", "call")
        one, other = Caller(sockets, program.url, Faulty(order)), Caller(sockets, program.url)
        assert one.next() == other.next() == ("streaming", "")
        sockets.heard(one.connection, "inbound", FRAME)
        assert one.next() == ("lost", "ZeroDivisionError: a fault")
        assert "ZeroDivisionError" in caplog.text
        other.hears_itself()
        sockets.fail(other.connection, "a fault of the bridge")
        assert other.next() == ("lost", "a fault of the bridge")
        program.until_over()
        program.until_over()
        assert sorted(talk.code or 0 for talk in program.talks) == [1006, 1011]


def test_all_are_told_that_it_is_over(sockets: StreamSockets) -> None:
    with Program(listens) as program:
        callers = [Caller(sockets, program.url) for _ in range(5)]
        for one in callers:
            assert one.next()[0] == "streaming"
        for one in callers:
            sockets.stop(one.connection)
        sockets.close()
        for one in callers:
            assert one.next() == ("stopped", "")
            sockets.heard(one.connection, "inbound", FRAME)
            program.until_over()
        assert [talk.code for talk in program.talks] == [1000] * 5
        assert {talk.events()[-1] for talk in program.talks} == {"stop"}


def test_it_is_stopped_twice(sockets: StreamSockets) -> None:
    with Program(listens) as program:
        one = Caller(sockets, program.url)
        assert one.next()[0] == "streaming"
        sockets.stop(one.connection)
        sockets.stop(one.connection)
        sockets.fail(one.connection, "too late")
        assert one.next() == ("stopped", "")
        assert program.until_over().code == 1000
        assert one.told.empty()


def test_who_is_not_there_yet_is_stopped(sockets: StreamSockets) -> None:
    """And is not connected any more."""

    def late(talk: Talk) -> None:
        raise AssertionError("it is there")

    with Program(late) as program:
        one = Caller(sockets, program.url)
        sockets.stop(one.connection)
        assert one.next() == ("stopped", "")
        assert one.told.empty()
