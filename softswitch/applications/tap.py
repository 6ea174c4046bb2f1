"""A program that listens to a talk (``tap: URL``): it hears both, and nobody hears it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from softswitch.config import Tap, TappingModel
from softswitch.media import Port, Stream, StreamEnded
from softswitch.sip import Timer

log = logging.getLogger(__name__)

STEADY: Final = 60.0
"""Seconds that a program has to listen until it is tried as often as one that is new."""


class House(Protocol):
    """What it needs of the switch."""

    name: str
    tapping: TappingModel

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back."""

    def seconds(self) -> float:
        """The time of day, UTC."""


class Hosts(Protocol):
    """Who has it."""

    def listens(self) -> None:
        """It hears them from now on."""

    def tell_tap(self, number: int, facts: dict[str, str]) -> None:
        """What is known of the one of that number."""


class Listener:
    """One program. What it hears is the worker's matter; here is whether it is there.

    ==========  ==============  =======================================  ==================
    it          it is there     its stream ends                          the talk ends
    ==========  ==============  =======================================  ==================
    comes       listens         waits, or has failed: it was tried       over
                                often enough
    listens     –               ``closed`` (by 1000): over; otherwise    over
                                waits, or has failed
    waits       comes, in time  –                                        over
    ==========  ==============  =======================================  ==================

    Whatever it does, the talk goes on.
    """

    def __init__(
        self,
        house: House,
        hosts: Hosts,
        tap: Tap,
        number: int,
        order: Stream,
        ports: tuple[Port, Port],
    ) -> None:
        self._house = house
        self._hosts = hosts
        self._tap = tap
        self._number = number
        self._order = order
        self._ports = ports
        self._job = 0  # of its stream; 0: there is none
        self._streams = 0  # that it has had
        self._failures = 0  # in a row
        self._since = 0.0  # when it was there; 0: it is not
        self._paused = False
        self._timer: Timer | None = None
        self._facts: dict[str, str] = {"host": tap.host}
        self.over = False

    def begin(self, paused: bool) -> None:
        """Connect."""
        self._paused = paused
        self._come()

    def _come(self) -> None:
        self._timer = None
        self._streams += 1
        first, second = self._ports
        order, tap = self._order, self._tap
        self._job = first.tap(
            Stream(
                port=0,
                job=0,
                url=tap.url,
                # Each connection is a stream of its own, whose time begins anew.
                sid=f"{order.sid}/{self._streams}",
                call_id=order.call_id,
                switch=order.switch,
                headers=tap.headers,
                parameters=order.parameters,
                linear=tap.linear,
                ca=tap.ca,
                connect=tap.connect,
                ping=tap.ping,
                backlog=tap.backlog,
                message=tap.message,
            ),
            first.number if tap.caller else 0,
            second.number if tap.callee else 0,
            self._paused,
        )

    def streaming(self, job: int) -> None:
        """The program is there."""
        if job != self._job or self.over:
            return
        self._since = self._house.seconds()
        if "listening_from" not in self._facts:
            self._facts["listening_from"] = datetime.fromtimestamp(self._since, UTC).isoformat()
        for name in ("ended", "error"):
            self._facts.pop(name, None)
        self._tell_state()
        self._hosts.listens()

    def ended(self, ended: StreamEnded) -> None:
        """Its stream is at its end."""
        if ended.job != self._job or self.over:
            return
        self._job, self._since = 0, 0.0
        self._facts["ended"] = ended.why
        if ended.error:
            self._facts["error"] = ended.error
        if ended.seconds:
            self._facts["seconds"] = f"{ended.seconds:.1f}"
        if ended.why == "closed":
            self.over = True
            self._tell("ended")
            return
        call, told = self._order.call_id, self._tap.told()
        settings = self._house.tapping
        if ended.seconds >= STEADY:
            self._failures = 0
        self._failures += 1
        if self._failures > settings.tries:
            self.over = True
            log.warning("%s: %s: %s", call, told, ended.error or ended.why)
            self._tell("failed")
            return
        pause = min(settings.pause * 2.0 ** (self._failures - 1), settings.longest_pause)
        log.warning("%s: %s: %s; again in %g s", call, told, ended.error or ended.why, pause)
        self._timer = self._house.after(pause, self._come)
        self._tell("waiting")

    def pause(self, on: bool) -> None:
        """It hears silence for a while; or what is said again."""
        if self.over or self._paused == on:
            return
        self._paused = on
        if self._job:
            self._ports[0].pause_tap(self._job, on)
        if self._since:
            self._tell_state()

    def close(self) -> None:
        """The talk is over."""
        if self._job and not self.over:
            self._ports[0].stop_tap(self._job)
        self._leave("")

    def lost(self) -> None:
        """The worker has died, or has hung up."""
        self._leave("its media worker has died")

    def _leave(self, error: str) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._since:
            self._facts["seconds"] = f"{max(self._house.seconds() - self._since, 0.0):.1f}"
        if error:
            self._facts["error"] = error
        # Of one that was never there nothing has ended.
        self._tell("ended" if "listening_from" in self._facts and not error else "failed")

    def _tell_state(self) -> None:
        self._tell("paused" if self._paused else "listening")

    def _tell(self, state: str) -> None:
        self._hosts.tell_tap(self._number, {"state": state, **self._facts})
