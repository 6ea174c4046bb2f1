"""The outbox: what is sent waits until what it says is on disk.

Whoever hears of a call (a ringing phone, an answer, a BYE that was taken) may rely on it, so none
of that leaves before it would survive the process: a switch that is killed has then never told
anybody of something that it does not know when it is back. What one turn of the event loop sends
is one batch. If the switch has told of nothing new the batch leaves at the end of the turn; else
whoever keeps that (`store`) is asked once for the whole batch, and it leaves when that is done,
after all batches before it. Under load a batch is as long as `interval`, so that a commit serves
many calls.

A disk that does not answer must not silence the switch: after `within` seconds a batch leaves all
the same, which is said once and counted (`hurried`).

No I/O: the event loop is handed in as three functions, and `Way` is what sends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

log = logging.getLogger(__name__)

Target = tuple[str, int] | None
OnError = Callable[[], None] | None


class Way(Protocol):
    """What sends at once: a socket (to `target`), or a connection (which has its own)."""

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None: ...


_Message = tuple[Way, bytes, Target, OnError]


class _Batch:
    """Messages in their order, since when they wait (seconds), whether they may leave, and who is
    told when they have left."""

    __slots__ = ("asked", "left", "messages", "stored", "then")

    def __init__(self, messages: list[_Message], asked: float) -> None:
        self.messages = messages
        self.asked = asked
        self.stored = self.left = False
        self.then: Callable[[], None] | None = None

    def leave(self) -> None:
        """Send all of it."""
        _send(self.messages)
        self.left = True
        if self.then is not None:
            _call(self.then)


class Outbox:
    """All that one process sends. `soon` calls back at the end of the turn, `after` in so many
    seconds of `clock`.

    `store(then)` calls `then` once all that was told so far would survive the process; what it
    returns is called when the batch has left. Until it is set nothing is waited for.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        after: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        *,
        interval: float = 0.005,
        within: float = 0.4,
    ) -> None:
        self.store: Callable[[Callable[[], None]], Callable[[], None] | None] = _at_once
        self.hurried = 0
        """Batches that left before what they say was on disk."""
        self.closing = False
        """Whether the present batch is being made up until a time that is set: whoever has more to
        come for it may as well wait for that time (`at_close`)."""
        self._at_close: list[Callable[[], None]] = []
        self._soon = soon
        self._after = after
        self._clock = clock
        self._interval = interval
        self._within = within
        self._open: list[_Message] | None = None
        self._told = False
        self._waiting: deque[_Batch] = deque()
        self._asked = float("-inf")
        self._watching = False
        self._late = False

    def take_up(self, interval: float, within: float) -> None:
        """Go on with other times, in seconds."""
        self._interval = interval
        self._within = within

    def put(self, way: Way, data: bytes, target: Target, on_error: OnError) -> None:
        """Send this when its time has come."""
        messages = self._open
        if messages is None:
            messages = self._begin()
        messages.append((way, data, target, on_error))

    def told(self) -> None:
        """Something was told that what is sent from this turn on may rely on."""
        self._told = True
        if self._open is None:
            self._begin()

    def at_close(self, callback: Callable[[], None]) -> None:
        """Call back once, before the batch that is being made up is closed. While `closing`."""
        self._at_close.append(callback)

    def __len__(self) -> int:
        """Messages that wait."""
        waiting = sum(len(batch.messages) for batch in self._waiting)
        return waiting + len(self._open or ())

    def flush(self) -> None:
        """Send everything now: nobody is left who could store anything."""
        messages, self._open = self._open or [], None
        while self._waiting:
            self._waiting.popleft().leave()
        _send(messages)

    def _begin(self) -> list[_Message]:
        messages = self._open = []
        self._soon(self._turn_over)
        return messages

    def _turn_over(self) -> None:
        messages = self._open
        if messages is None:
            return
        if self._told:
            wait = self._asked + self._interval - self._clock()
            if wait > 0:
                self.closing = True
                self._after(wait, self._ask)
            else:
                self._ask()
            return
        self._open = None
        if self._waiting:
            # What it relies on was told before, and is not stored yet.
            self._waiting[-1].messages.extend(messages)
        else:
            _send(messages)

    def _ask(self) -> None:
        if self.closing:
            self.closing = False
            callbacks, self._at_close = self._at_close, []
            for callback in callbacks:
                _call(callback)
        messages = self._open
        if messages is None:
            return
        self._open = None
        self._told = False
        self._asked = now = self._clock()
        batch = _Batch(messages, now)
        self._waiting.append(batch)

        try:
            batch.then = self.store(partial(self._stored, batch))
        except Exception:
            log.exception("what calls do could not be stored")
            self._stored(batch)
        if batch.left and batch.then is not None:
            _call(batch.then)
        if not batch.stored and not self._watching:
            self._watching = True
            self._after(self._within, self._watch)

    def _stored(self, batch: _Batch) -> None:
        if self._late and self._clock() - batch.asked < self._within:
            self._late = False
            log.warning("what calls do is on disk in time again")
        batch.stored = True
        self._release()

    def _release(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0].stored:
            waiting.popleft().leave()

    def _watch(self) -> None:
        """Is the oldest batch waiting for too long?"""
        self._watching = False
        now = self._clock()
        for batch in self._waiting:
            if not batch.stored and now - batch.asked >= self._within:
                batch.stored = True
                self.hurried += 1
                if not self._late:
                    self._late = True
                    log.error(
                        "what calls do is not on disk after %g s (timers.store_within): they go on"
                        " without",
                        self._within,
                    )
        self._release()
        if self._waiting:
            self._watching = True
            oldest = self._waiting[0].asked
            self._after(max(oldest + self._within - now, 0.01), self._watch)


def _send(messages: list[_Message]) -> None:
    for way, data, target, on_error in messages:
        try:
            way.transmit(data, target, on_error)
        except Exception:
            # One message must never keep the others from leaving.
            log.exception("a message was not sent")


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.exception("who waited for a batch failed")


def _at_once(then: Callable[[], None]) -> None:
    then()
