"""A switch whose server is elsewhere: its events go there over the link, and none is lost.

Each event is on disk (``spool``) before it is sent, and stays there until the server has it on its
own disk. While the server is away they gather; when it is back it says what it has, and gets the
rest in order. Calls are switched all the same, whatever happens here.

On the link the switch is called ``switch.NAME``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from cdsplugin.data import Frame, Handle, Switch, SwitchEvents, SwitchState, Timers
from cdsplugin.tms.spool import Spool
from softswitch.events import CallEnded, CallRestored, CallStarted, Event, SwitchStarted

log = logging.getLogger("cdsplugin.switch_client")

PREFIX = "switch."
"""How the names of switches begin on the link."""

_WINDOW = 5000  # events on their way that the server has not confirmed
_FRAME = 500  # events in one frame
_RETRY = 1.0  # seconds until the disk is tried again
_IN_MEMORY = 100_000  # events that wait for the disk, at most


class Network(Protocol):
    """What carries the frames: the link."""

    def connected(self, server: str) -> bool:
        """Whether there is a connection that passed its handshake."""

    def want(self, server: str, wanted: bool) -> None:
        """Dial the server until it is connected, again after each loss."""

    def send(self, server: str, frame: Frame) -> None:
        """Send a frame; dropped if it is not connected."""

    def drop(self, server: str) -> None:
        """Close the connection."""


class SwitchClient:
    """Sends a switch's events to the server ``server``. ``Receiver`` towards the link.

    ``soon`` calls a function in the next turn of the loop: the events of one turn are kept and sent
    together. ``alive_interval`` and ``dead_after`` are seconds.
    """

    def __init__(
        self,
        server: str,
        network: Network,
        spool: Spool,
        timers: Timers,
        soon: Callable[[Callable[[], None]], object],
        *,
        alive_interval: float = 5.0,
        dead_after: float = 30.0,
    ) -> None:
        self.server = server
        self._network = network
        self._spool = spool
        self._timers = timers
        self._soon = soon
        self._interval = alive_interval
        self._dead_after_us = int(dead_after * 1_000_000)
        self._encode = msgspec.msgpack.Encoder().encode
        self._batch: list[bytes] = []
        self.told = 0
        """Events that were told."""
        self._scheduled = False
        self._retrying = False
        self._calls: dict[str, list[int]] = {}
        """The passages in progress, by their incoming legs."""
        self._refused: dict[str, list[int]] = {}
        self._complete = False
        """Whether ``_calls`` has all of them: after a restart the switch tells of each first."""
        self._greeted = False
        self._sent = 0
        self._acked = 0
        self._heard = 0
        self._ticker: Handle | None = None
        self._said = ""
        self.dropped = 0
        """Events that are lost: the spool was full."""

    def start(self) -> None:
        """Dial the server, from now on again and again."""
        self._network.want(self.server, True)
        self._heard = self._timers.monotonic_us()
        self._ticker = self._timers.schedule(self._interval, self._tick)

    def stop(self) -> int:
        """Keep what is left; returns how many events the server has not confirmed."""
        if self._ticker is not None:
            self._ticker.cancel()
        self._keep()
        return self.waiting()

    def settled(self) -> bool:
        """Whether the server has confirmed everything."""
        return self._greeted and not self._batch and self._acked >= self._spool.last

    @property
    def acked(self) -> int:
        """The number up to which the server has the events."""
        return self._acked

    def waiting(self) -> int:
        """Events that the server has not confirmed, as far as is known."""
        return max(self._spool.last - max(self._acked, self._spool.first - 1), 0) + len(self._batch)

    def event(self, event: Event) -> None:
        """Take an event of the switch. Never blocks but for one write to the page cache."""
        if not self._admits(event):
            self.dropped += 1
            return
        self._batch.append(self._encode(event))
        self.told += 1
        if not self._scheduled:
            self._scheduled = True
            self._soon(self.flush)

    # From the link

    def connected(self, server: str) -> None:
        """Greet."""
        self._greeted = False
        self._heard = self._timers.monotonic_us()
        self._keep()
        spool = self._spool
        calls = list(self._calls)
        passages = None
        if self._complete and not self._batch:  # all that ended is in the spool
            passages = [list(legs) for legs in self._calls.values()]
        self._network.send(server, Switch(spool.name, spool.first, spool.last, calls, passages))

    def disconnected(self, server: str) -> None:
        """From here on events gather."""
        self._greeted = False
        self._network.want(server, True)

    def received(self, server: str, frame: Frame) -> None:
        """The server says what it has."""
        self._heard = self._timers.monotonic_us()
        if not isinstance(frame, SwitchState) or frame.spool != self._spool.name:
            return
        if not self._greeted:
            self._greeted = True
            self._spool.skip(frame.number)
            self._sent = max(frame.number, self._spool.first - 1)
            self._acked = frame.number
        elif frame.number < self._acked:
            # It lacks what it had: it starts again from there.
            self._sent = frame.number
        self._acked = max(self._acked, frame.number)
        self._spool.drop(self._acked)
        self._pump()

    # Keeping and sending

    def flush(self) -> None:
        """Keep what was told so far, and send it; if the disk has refused, when it is tried
        again."""
        if not self._retrying:
            self._flush()

    def store(self, upto: int) -> None:
        """Keep, and send, what was ``told`` up to then; nothing that was told after it."""
        batch = self._batch
        ready = len(batch) - (self.told - upto)
        if self._retrying or ready <= 0:
            return
        self._batch, later = batch[:ready], batch[ready:]
        self._flush()
        self._batch += later

    def _again(self) -> None:
        self._retrying = False
        self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        spool = self._spool
        direct = self._greeted and self._sent == spool.last and self._sent - self._acked < _WINDOW
        batch, first = self._batch, spool.last + 1
        if not self._keep():
            return
        if direct and len(batch) <= _FRAME:
            self._network.send(self.server, SwitchEvents(first, batch))
            self._sent = spool.last
        else:
            self._pump()

    def _keep(self) -> bool:
        if not self._batch:
            return False
        try:
            self._spool.append(self._batch)
        except OSError as error:
            self._say(f"cannot be written ({error.strerror or error}): events are kept in memory")
            if len(self._batch) > _IN_MEMORY:
                self.dropped += len(self._batch) - _IN_MEMORY
                del self._batch[_IN_MEMORY:]
            if not self._retrying:
                self._retrying = True
                self._timers.schedule(_RETRY, self._again)
            return False
        self._batch = []
        if self._said.startswith("cannot"):
            self._say("")
        return True

    def _pump(self) -> None:
        """Send from disk what was not sent yet, as far as the window goes."""
        spool = self._spool
        while self._greeted and self._sent < spool.last and self._sent - self._acked < _WINDOW:
            try:
                events = spool.read(max(self._sent + 1, spool.first), _FRAME)
            except OSError as error:
                log.error("the spool %s cannot be read: %s", spool.folder, error)
                return
            if not events:
                # Numbers that a loss of power took: nothing has them.
                self._sent = spool.after(self._sent)
                continue
            first = max(self._sent + 1, spool.first)
            self._network.send(self.server, SwitchEvents(first, events))
            self._sent = first + len(events) - 1

    def _tick(self) -> None:
        self._ticker = self._timers.schedule(self._interval, self._tick)
        if not self._network.connected(self.server):
            return
        if self._timers.monotonic_us() - self._heard > self._dead_after_us:
            log.warning("the server %s is silent: the connection is renewed", self.server)
            self._network.drop(self.server)
        elif self._greeted:
            self._network.send(self.server, SwitchEvents(self._sent + 1, []))

    # What is taken when the disk fills up

    def _admits(self, event: Event) -> bool:
        call_id = event.call_id
        size, limit = self._spool.size, self._spool.limit
        if isinstance(event, CallStarted):
            if size >= limit * 0.9:
                self._say("is nine tenths full: new calls have no record (cds.limits.spool_bytes)")
                _add(self._refused, call_id, event.leg)
                return False
            if self._said.startswith("is ") and size < limit * 0.8:
                self._say("")
            _add(self._calls, call_id, event.leg)
        elif isinstance(event, CallRestored):
            _add(self._calls, call_id, event.leg)
        elif isinstance(event, SwitchStarted):
            self._complete = True
        elif call_id in self._refused and (
            not isinstance(event, CallEnded) or _remove(self._refused, call_id, event.leg)
        ):
            return call_id in self._calls
        elif isinstance(event, CallEnded):
            _remove(self._calls, call_id, event.leg)
        if size >= limit and not isinstance(event, SwitchStarted):
            self._say("is full: events are lost (cds.limits.spool_bytes)")
            return False
        return True

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            if what:
                log.error("the spool %s %s", self._spool.folder, what)
            else:
                log.warning("the spool %s takes events again", self._spool.folder)


def _add(passages: dict[str, list[int]], call_id: str, leg: int) -> None:
    legs = passages.setdefault(call_id, [])
    if leg not in legs:
        legs.append(leg)


def _remove(passages: dict[str, list[int]], call_id: str, leg: int) -> bool:
    """False if it is not among them."""
    legs = passages.get(call_id, [])
    if leg not in legs:
        return False
    legs.remove(leg)
    if not legs:
        del passages[call_id]
    return True
