"""The way of a talk through a media worker: two of its ports, which are joined, what is recorded
there, and the programs that listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from softswitch.applications.tap import Listener
from softswitch.calls import Bridged, Destination
from softswitch.config import Tap, TappingModel
from softswitch.media import File, Places, Port, Stream, StreamEnded
from softswitch.media import Recorded as RecordedPort
from softswitch.recordings import Finished, Recording, Recordings
from softswitch.sip import Flow, Timer

STOPS_WITHIN: Final = 2.0
"""Seconds that a worker has to say that a recording is at its end."""


class House(Protocol):
    """What it needs of the switch."""

    name: str
    tapping: TappingModel

    @property
    def recordings(self) -> Recordings | None:
        """Where recordings are kept; None: nowhere."""

    @property
    def hold_music(self) -> tuple[str, ...]:
        """What is heard on hold (paths)."""

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back."""

    def seconds(self) -> float:
        """The time of day, UTC."""

    def tell_tap(self, call_id: str, talk: int, tap: int, at: int, facts: dict[str, str]) -> None:
        """What is known of a program that listens to a talk."""

    def tell_recording(self, call_id: str, talk: int, at: int, facts: dict[str, str]) -> None:
        """What is known of a talk's recording."""


class _Side:
    """One of its ports (`media.User`): that of leg 0, or 1."""

    def __init__(self, bridge: Bridge, number: int) -> None:
        self._bridge = bridge
        self._number = number

    def up(self) -> None:
        """See `media.User`."""

    def digit(self, digit: str) -> None:
        """See `media.User`."""
        self._bridge.digit(self._number, digit)

    def played(self, job: int, error: str) -> None:
        """See `media.User`."""
        self._bridge.played()

    def speaking(self, on: bool) -> None:
        """See `media.User`."""

    def streaming(self, job: int) -> None:
        """See `media.User`."""
        self._bridge.streaming(job)

    def stream_ended(self, ended: StreamEnded) -> None:
        """See `media.User`."""
        self._bridge.stream_ended(ended)

    def recorded(self, recorded: RecordedPort) -> None:
        """See `media.User`."""
        self._bridge.recorded(recorded)

    def gone(self) -> None:
        """See `media.User`."""
        self._bridge.lost()

    def lost(self) -> None:
        """See `media.User`."""
        self._bridge.lost()


class Bridge(Bridged):
    """Of one talk."""

    def __init__(
        self,
        house: House,
        call_id: str,
        places: Places,
        flow: Flow,
        addresses: tuple[str, str],
    ) -> None:
        self._house = house
        self._call_id = call_id
        self._talk = 0
        self._places = places
        first, second = places.port(_Side(self, 0)), places.port(_Side(self, 1))
        self._room = f"talk {first.key}"
        self._ports: tuple[Port, Port] = (first, second)
        self.destinations = (
            _destination(first, flow, addresses[0]),
            _destination(second, flow, addresses[1]),
        )
        self._lost: Callable[[], None] | None = None
        self._now_us: Callable[[], int] | None = None
        self._recording: Recording | None = None
        self._writes = 0  # ports that write
        self._paused = False
        self._holds = [False, False]
        self._errors: list[str] = []
        self._listeners: list[Listener] = []
        self._announces: list[str] = []  # what is being said to both (paths)
        self._announced = False  # that programs listen
        self._joined = False
        self._closed = False
        self._late: Timer | None = None

    def placed(self, lost: Callable[[], None], now_us: Callable[[], int]) -> None:
        """See `Bridged`."""
        self._lost = lost
        self._now_us = now_us

    def together(self, talk: int, recorded: bool) -> None:
        """See `Bridged`."""
        self._talk = talk
        if self._closed:
            return
        if not self._joined:
            self._joined = True
            for port in self._ports:
                port.join(self._room)
        recordings = self._house.recordings
        if not recorded or self._recording is not None:
            return
        if recordings is not None:
            recordings.begin(self._call_id, self._talk, self._begun)
        else:
            self._tell({"state": "failed", "error": "there is no folder for recordings"})

    def _begun(self, recording: Recording | None) -> None:
        if recording is None:
            self._tell({"state": "failed", "error": "the disk does not take it"})
            return
        if self._closed:
            recording.finish(_nothing)
            return
        self._recording = recording
        seconds = self._house.recordings.settings.seconds if self._house.recordings else 0.0
        for port, path in zip(self._ports, (recording.first, recording.second), strict=True):
            self._writes += 1
            port.record(str(path), seconds, steady=True)
            if self._paused:
                port.pause(True)
        settings = self._house.recordings.settings if self._house.recordings else None
        if settings is not None and settings.announce:
            self._announce(settings.announce)
        self._tell_state(recording)

    def _announce(self, path: str) -> None:
        """Both hear this, and what they are just being told."""
        if path not in self._announces:
            self._announces.append(path)
            for port in self._ports:
                port.play(tuple([File(one) for one in self._announces]))

    def played(self) -> None:
        """A side has heard all that was said."""
        self._announces = []

    def tap(self, talk: int, taps: tuple[Tap, ...], about: tuple[tuple[str, str], ...]) -> None:
        """See `Bridged`."""
        if self._closed or self._listeners:
            return
        for number, tap in enumerate(taps, 1):
            # Those of the configuration are the last word.
            own = {name for name, _ in tap.parameters}
            parameters = tuple([one for one in about if one[0] not in own]) + tap.parameters
            name = self._house.name
            order = Stream(
                port=0,
                job=0,
                url=tap.url,
                # As in the call's data: tap/SWITCH/TALK/NUMBER.
                sid=f"{self._call_id}/{name}/{talk}/{number}",
                call_id=self._call_id,
                switch=name,
                parameters=parameters,
            )
            listener = Listener(self._house, self, tap, number, order, self._ports)
            self._listeners.append(listener)
            listener.begin(self._paused)

    def listens(self) -> None:
        """A program hears them."""
        said = self._house.tapping.announce
        if said and not self._announced and not self._closed:
            self._announced = True
            self._announce(said)

    def streaming(self, job: int) -> None:
        """A program is there."""
        for one in self._listeners:
            one.streaming(job)

    def stream_ended(self, ended: StreamEnded) -> None:
        """A program is not there any more, or could not be had."""
        for one in self._listeners:
            one.ended(ended)

    def tell_tap(self, number: int, facts: dict[str, str]) -> None:
        """What is known of a program."""
        at = self._now_us() if self._now_us is not None else 0
        self._house.tell_tap(self._call_id, self._talk, number, at, facts)

    def digit(self, side: int, digit: str) -> None:
        """A key that one side has pressed (RFC 4733) is for the other one."""
        if self._joined and not self._closed:
            self._ports[1 - side].press(digit)

    def held(self, holder: int, on: bool) -> None:
        """See `Bridged`."""
        hears = self._ports[1 - holder]
        if self._holds[holder] == on or self._closed:
            return
        self._holds[holder] = on
        self._announces = []
        music = self._house.hold_music
        if on and music:
            hears.join("")
            hears.play(tuple([File(path) for path in music]), True)
        elif not on:
            hears.play(())
            hears.join(self._room)

    def pause(self, on: bool) -> None:
        """See `Bridged`."""
        self._paused = on
        if not self._closed:
            for one in self._listeners:
                one.pause(on)
        if self._recording is not None and not self._closed:
            for port in self._ports:
                port.pause(on)
            self._tell_state(self._recording)

    def close(self) -> None:
        """See `Bridged`."""
        if self._closed:
            return
        self._closed = True
        self._lost = None
        for one in self._listeners:
            one.close()
        if self._writes:
            for port in self._ports:
                port.stop_recording()
            self._late = self._house.after(STOPS_WITHIN, self._leave)
        else:
            self._leave()

    def recorded(self, recorded: RecordedPort) -> None:
        """A side is written."""
        if recorded.error:
            self._errors.append(recorded.error)
        self._writes -= 1
        if not self._writes and self._closed:
            self._leave()

    def lost(self) -> None:
        """The worker has died, or has hung up."""
        self._writes = 0
        lost, self._lost = self._lost, None
        self._closed = True
        for one in self._listeners:
            one.lost()
        self._leave()
        if lost is not None:
            lost()

    def _leave(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        for port in self._ports:
            port.release()
        self._places.close()
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.finish(self._finished)

    def _finished(self, finished: Finished | str) -> None:
        if isinstance(finished, str):
            error = self._errors[0] if self._errors else finished
            self._tell({"state": "failed", "error": error})
            return
        self._tell(facts_of(finished))

    def _tell_state(self, recording: Recording) -> None:
        state = "paused" if self._paused else "recording"
        self._tell({"state": state, "path": str(recording.path)})

    def _tell(self, facts: dict[str, str]) -> None:
        at = self._now_us() if self._now_us is not None else 0
        self._house.tell_recording(self._call_id, self._talk, at, facts)


def facts_of(finished: Finished) -> dict[str, str]:
    """What a call's data say of a recording that is on disk."""
    return {
        "state": "kept",
        "path": str(finished.path),
        "seconds": f"{finished.seconds:.2f}",
        "sha256": finished.sha256,
    }


def _destination(port: Port, flow: Flow, address: str) -> Destination:
    host = f"[{address}]" if ":" in address else address
    return Destination("application:bridge", "", f"sip:{port.key}@{host}", flow, reliable=False)


def _nothing(finished: Finished | str) -> None:
    """Nobody wants to know."""
