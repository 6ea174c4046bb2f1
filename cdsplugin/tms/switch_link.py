"""Switches elsewhere that this server manages: the server's side of ``switch_client``.

On the link's connections switches are those whose name begins with ``switch.``; all others are
servers, and the network proxy's. A switch's events go to the TMS, as those of a switch in the same
process do. They are confirmed when their effect is in the server's journal and their number in a
file beside the database (``DATABASE.switches``): after a crash the switch sends again from there.
Events that were taken just before the crash may come twice then; they write the same values again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from cdsplugin.data import Frame, Handle, Switch, SwitchEvents, SwitchState, Timers
from cdsplugin.tms.progress import Progress
from cdsplugin.tms.switch_client import PREFIX
from cdsplugin.tms.tms import Tms
from softswitch.events import Event, SwitchStarted

log = logging.getLogger("cdsplugin.switch_link")


@dataclass(slots=True)
class _Managed:
    """A switch. ``taken`` events are in the store, ``stored`` ones on disk."""

    spool: str = ""
    taken: int = 0
    stored: int = 0
    greeted: bool = False
    catch_up: int | None = None
    """The last event that the switch had when it greeted, until that one is taken."""
    passages: set[tuple[str, int]] | None = None
    """What was in progress there after that event, by call and incoming leg, if it said so."""
    heard: int = 0
    gone: Handle | None = None


class Receiver(Protocol):
    """Who is told of connections and frames."""

    def connected(self, server: str) -> None:
        """A connection to ``server`` passed its handshake."""

    def disconnected(self, server: str) -> None:
        """That connection is gone."""

    def received(self, server: str, frame: Frame) -> None:
        """A frame came from ``server``."""


class Line(Protocol):
    """The link, as far as switches elsewhere need it."""

    def attach(self, receiver: Receiver) -> None:
        """Say who is told of connections and frames."""

    def send(self, server: str, frame: Frame) -> None:
        """Send a frame; dropped if ``server`` is not connected."""

    def drop(self, server: str) -> None:
        """Close the connection to ``server`` at once."""


class Stored(Protocol):
    """The journal's ``after_commit``."""

    def __call__(self, then: Callable[[], None], must: bool = ...) -> object:
        """Call ``then`` once what was written so far is on disk."""


@dataclass(frozen=True, slots=True)
class SwitchLinkSettings:
    """Seconds, as for other servers: between signs of life, until a silent switch counts as gone,
    and until its calls are held up no more."""

    alive_interval: float = 5.0
    dead_after: float = 30.0
    reregister_within: float = 300.0


class SwitchLink:
    """``Receiver`` of the link, in the place of the proxy: it gets what is not of a switch."""

    def __init__(
        self,
        tms: Tms,
        switches: Iterable[str],
        progress: Path,
        line: Line,
        proxy: Receiver,
        timers: Timers,
        *,
        stored: Stored,
        reported: Callable[[str], None],
        settings: SwitchLinkSettings | None = None,
    ) -> None:
        """``progress`` is the file of what each switch need not send again. ``stored`` calls back
        once what was written so far is on disk; ``reported`` is told that a switch has said which
        of its calls are alive.
        """
        self._tms = tms
        self._switches = {name: _Managed() for name in switches}
        tms.elsewhere(self._switches)
        self._decode = msgspec.msgpack.Decoder(Event).decode
        self._progress = Progress(progress)
        self._line = line
        self._proxy = proxy
        self._timers = timers
        self._when_stored = stored
        self._reported = reported
        self._settings = settings or SwitchLinkSettings()
        self._ticker: Handle | None = None
        self.events = 0
        self.unreadable = 0

    def start(self) -> None:
        """Before the link listens. Raises OSError, with one line for people."""
        for name, (spool, number) in self._progress.open().items():
            managed = self._switches.get(name)
            if managed is not None:
                managed.spool = spool
                managed.taken = managed.stored = number
        self._line.attach(self)
        self._tick()

    def stop(self) -> None:
        """No more events are taken."""
        if self._ticker is not None:
            self._ticker.cancel()
        for managed in self._switches.values():
            if managed.gone is not None:
                managed.gone.cancel()
        self._progress.close()

    # From the link

    def connected(self, server: str) -> None:
        """A switch has to be one of ours."""
        if not server.startswith(PREFIX):
            self._proxy.connected(server)
            return
        managed = self._switches.get(server.removeprefix(PREFIX))
        if managed is None:
            log.warning("%s is not in cds.switches: dropped", server)
            self._line.drop(server)
            return
        managed.heard = self._timers.monotonic_us()

    def disconnected(self, server: str) -> None:
        """Its calls are held up for ``reregister_within``."""
        if not server.startswith(PREFIX):
            self._proxy.disconnected(server)
            return
        name = server.removeprefix(PREFIX)
        managed = self._switches.get(name)
        if managed is None:
            return
        managed.greeted = False
        if managed.gone is not None:
            managed.gone.cancel()
        managed.gone = self._timers.schedule(
            self._settings.reregister_within, lambda: self._gone(name)
        )

    def received(self, server: str, frame: Frame) -> None:
        """A frame of a switch, or of a server."""
        if not server.startswith(PREFIX):
            if not isinstance(frame, Switch | SwitchState | SwitchEvents):
                self._proxy.received(server, frame)
            return
        name = server.removeprefix(PREFIX)
        managed = self._switches.get(name)
        if managed is None:
            return
        managed.heard = self._timers.monotonic_us()
        if isinstance(frame, Switch):
            self._greeting(name, managed, frame)
        elif isinstance(frame, SwitchEvents) and managed.greeted:
            self._events(name, managed, frame)

    def untold(self) -> bool:
        """Whether a switch may have something to tell of the time in which it was away."""
        return any(not m.greeted or m.catch_up is not None for m in self._switches.values())

    # Events

    def _greeting(self, name: str, managed: _Managed, frame: Switch) -> None:
        if managed.gone is not None:
            managed.gone.cancel()
            managed.gone = None
        if managed.spool != frame.spool:
            managed.spool, managed.taken, managed.stored = frame.spool, 0, 0
        # What it has no more it was told that we have.
        managed.taken = max(managed.taken, frame.first - 1)
        managed.stored = max(managed.stored, frame.first - 1)
        managed.greeted = True
        managed.catch_up = frame.last
        managed.passages = None
        if frame.passages is not None:
            listed = zip(frame.calls, frame.passages, strict=False)
            managed.passages = {(call_id, leg) for call_id, legs in listed for leg in legs}
        self._tms.alive(name, frame.calls)
        log.info("switch %s: %d events to come", name, max(frame.last - managed.taken, 0))
        self._answer(name, managed)
        self._caught_up(name, managed)

    def _events(self, name: str, managed: _Managed, frame: SwitchEvents) -> None:
        if frame.first > managed.taken + 1 and frame.events:
            # Numbers between them that a loss of power took from the switch.
            log.warning("switch %s: events %d to %d are lost", name, managed.taken + 1,
                        frame.first - 1)  # fmt: skip
            managed.taken = frame.first - 1
            self._caught_up(name, managed)
        for data in frame.events[managed.taken + 1 - frame.first :]:
            managed.taken += 1
            self._event(name, data)
            if managed.taken == managed.catch_up:
                self._caught_up(name, managed)  # before what began after it had greeted
        if not frame.events:
            self._answer(name, managed)
            return
        # What is acknowledged below has to be in the journal's hands.
        self._tms.flush()
        taken, spool = managed.taken, managed.spool
        self._when_stored(lambda: self._stored(name, spool, taken), must=True)

    def _event(self, name: str, data: bytes) -> None:
        try:
            event = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.unreadable += 1
            log.error("switch %s: an event cannot be read: %s", name, error)
            return
        if event.switch != name:
            self.unreadable += 1
            log.error("switch %s: an event of another switch, %s: disregarded", name, event.switch)
            return
        self.events += 1
        try:
            self._tms.event(event)
        except Exception:
            log.exception("call %s: its data could not take %s", event.call_id, type(event))
        if isinstance(event, SwitchStarted):
            self._reported(name)

    def _caught_up(self, name: str, managed: _Managed) -> None:
        """All that the switch had to say of the time without us was said."""
        if managed.catch_up is not None and managed.taken >= managed.catch_up:
            managed.catch_up = None
            passages, managed.passages = managed.passages, None
            self._tms.flush()
            if passages is not None:
                self._tms.only(name, passages)
            self._reported(name)

    def _stored(self, name: str, spool: str, number: int) -> None:
        managed = self._switches[name]
        if managed.spool != spool or number <= managed.stored:
            return
        try:
            self._progress.note(name, spool, number)
        except OSError as error:
            log.error("%s cannot be written: %s", self._progress.path, error)
            return
        managed.stored = number
        if managed.greeted:
            self._answer(name, managed)

    def _answer(self, name: str, managed: _Managed) -> None:
        self._line.send(PREFIX + name, SwitchState(managed.spool, managed.stored))

    # Silence

    def _gone(self, name: str) -> None:
        self._switches[name].gone = None
        count = self._tms.release(name)
        log.warning("switch %s did not come back: %d calls are held up no more", name, count)

    def _tick(self) -> None:
        settings, timers = self._settings, self._timers
        self._ticker = timers.schedule(settings.alive_interval, self._tick)
        now = timers.monotonic_us()
        for name, managed in self._switches.items():
            if managed.greeted and now - managed.heard > settings.dead_after * 1_000_000:
                log.warning("switch %s is silent: the connection is closed", name)
                self._line.drop(PREFIX + name)
