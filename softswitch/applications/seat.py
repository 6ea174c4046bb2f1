"""The place of one application: the port of a worker, and the leg that the switch has to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from softswitch import events
from softswitch.calls import Call, Caller, Destination, Leg, Member, Opened, Passage, Waiting
from softswitch.config import Tap
from softswitch.dialplan import Action, Dialplan, Menu, Play, Plays, Stages
from softswitch.media import File, Port, Recorded, Sound, Stream, StreamEnded, Tone
from softswitch.sip import Flow, Timer, local_response
from softswitch.voicemail import Voicemail

log = logging.getLogger(__name__)

COMES_WITHIN: Final = 10.0
"""Seconds within which the call has to be at the worker."""
MOST_DIGITS: Final = 100
"""Digits of one leg that are kept in the call's data."""
RINGING: Final = Tone(440, 480, on=2000, off=4000, times=0, level=-19.0)
"""What callers hear while somebody is rung: as in North America (ITU-T E.180)."""
LOST: Final = "Media Worker Lost"
NOBODY: Final = Caller("", "")
"""Who is here before anybody is."""


class Surroundings(Protocol):
    """What applications need of the switch."""

    @property
    def dialplan(self) -> Dialplan:
        """The one in force."""

    @property
    def voicemail(self) -> Voicemail | None:
        """Where messages are kept; None: nowhere."""

    def prompt(self, name: str) -> str:
        """The path of a prompt; empty if there is none."""

    def seconds(self) -> float:
        """The time of day, UTC."""

    def zone(self) -> str:
        """The switch's time zone; empty: the machine's."""

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back."""


class Application:
    """What an application does, each by its class. All that happens is told it by its seat."""

    NAME = ""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def began(self) -> None:
        """The caller can hear it."""
        raise NotImplementedError

    def digit(self, digit: str) -> None:
        """The caller has pressed a key."""

    def played(self) -> None:
        """What was last said is at its end."""

    def recorded(self, recorded: Recorded) -> None:
        """What was recorded is at its end. Also after the caller has gone, but before `left`."""

    def speaking(self, on: bool) -> None:
        """The caller is to be heard, or not any more. Only of ports that are watched."""

    def streaming(self) -> None:
        """The program that the caller is connected with is there."""

    def stream_ended(self, ended: StreamEnded) -> None:
        """It is not there any more, or could not be had."""

    def nobody(self, status: int, reason: str) -> None:
        """Where the caller was to go on there is nobody: it is still here."""
        self.seat.otherwise()

    def lost(self) -> None:
        """The worker has died, or has ended the call; `left` follows. There may be a last word for
        the call's data."""

    def left(self) -> None:
        """The caller has gone, or has gone on."""


class Seat(Opened):
    """Of one call. `number` is the one that was dialled for it."""

    def __init__(self, around: Surroundings, play: Plays) -> None:
        self.around = around
        self.play = play
        self.number = play.number
        self.leg: Leg | None = None
        self.party = ""
        """Who is here, as `Leg.party`: not always who has placed the call."""
        self.caller = NOBODY
        self.port: Port | None = None
        self.application: Application | None = None
        self.facts: dict[str, str] = {}
        self._job = 0
        self._stream = 0  # its job
        self._timer: Timer | None = None
        self._late: Timer | None = None
        self._going = False
        self._otherwise = False

    def opened(self, port: Port, application: Application, flow: Flow, address: str) -> None:
        """It has a port, where a call has to come now."""
        self.port = port
        self.application = application
        host = f"[{address}]" if ":" in address else address
        what = self.play.what
        number = getattr(what, "of", "") or self.number
        self.destination = Destination(
            f"application:{application.NAME}",
            number,
            f"sip:{port.key}@{host}",
            flow,
            reliable=False,
        )
        self._late = self.around.after(COMES_WITHIN, self._never_came)

    def placed(self, leg: Member, party: str, caller: Caller) -> None:
        """See `Opened`."""
        assert isinstance(leg, Leg)
        self.leg = leg
        self.party = party
        self.caller = caller

    def abandoned(self) -> None:
        """See `Opened`."""
        self.hang_up()

    def _never_came(self) -> None:
        """The worker does not answer."""
        self._late = None
        leg = self.leg
        self.hang_up()
        if leg is not None and leg.call is not None and not leg.up and leg.attempt is not None:
            leg.attempt.on_response(local_response(503, LOST))

    # --- what its port tells (`media.User`)

    def up(self) -> None:
        """The caller can hear."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self.application is not None:
            self.application.began()

    def digit(self, digit: str) -> None:
        """A key was pressed."""
        if not self._going and self.application is not None:
            self.application.digit(digit)

    def played(self, job: int, error: str) -> None:
        """Something is at its end."""
        if error:
            where = self.leg.call if self.leg is not None else None
            log.error("%s: %s cannot be played: %s", where, self.play.what.told(), error)
        if job == self._job and not self._going and self.application is not None:
            self._job = 0
            self.application.played()

    def recorded(self, recorded: Recorded) -> None:
        """A recording is at its end."""
        if self.application is not None:
            self.application.recorded(recorded)

    def speaking(self, on: bool) -> None:
        """Something is to be heard of the caller, or nothing any more."""
        if self.application is not None:
            self.application.speaking(on)

    def streaming(self, job: int) -> None:
        """A program is there."""
        if job == self._stream and self.application is not None:
            self.application.streaming()

    def stream_ended(self, ended: StreamEnded) -> None:
        """A program is there no more."""
        if ended.job == self._stream and not self._going and self.application is not None:
            self._stream = 0
            self.application.stream_ended(ended)

    def gone(self) -> None:
        """The call is over."""
        if self.application is not None:
            self.application.lost()
        self._end()

    def lost(self) -> None:
        """The worker has died."""
        leg, self.port = self.leg, None
        if self.application is not None:
            self.application.lost()
        self._end()
        if leg is None or leg.call is None:
            return
        if leg.up and isinstance(leg.call, Call):
            leg.call.application_lost(leg, self.play.otherwise, LOST)
        elif leg.attempt is not None:
            leg.attempt.on_response(local_response(503, LOST))

    def _end(self) -> None:
        self.stop_waiting()
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self.port = None
        application, self.application = self.application, None
        if application is not None:
            application.left()

    # --- what its application wants

    def say(self, sounds: Sequence[Sound], loop: bool = False) -> None:
        """Play these in place of what is heard; `Application.played` comes at their end."""
        if self.port is not None:
            self._job = self.port.play(tuple(sounds), loop)

    def say_files(self, paths: Sequence[str], loop: bool = False) -> None:
        """The same of files; of those that there are."""
        self.say([File(path) for path in paths if path], loop)

    def record(self, path: str, seconds: float, silence: float = 0.0) -> bool:
        """Record the caller; whether that can be."""
        if self.port is None:
            return False
        self.port.record(path, seconds, silence)
        return True

    def stop_recording(self) -> None:
        """That is enough; `Application.recorded` comes."""
        if self.port is not None:
            self.port.stop_recording()

    def stream(self, order: Stream) -> None:
        """Connect the caller with a program; `Application.streaming` comes, and `stream_ended`."""
        if self.port is not None:
            self._stream = self.port.stream(order)

    def hush(self) -> None:
        """Be silent."""
        self._job = 0
        if self.port is not None:
            self.port.play(())

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        """Call back, unless something else is waited for meanwhile."""
        self.stop_waiting()
        self._timer = self.around.after(seconds, then)

    def stop_waiting(self) -> None:
        """Do not call back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def note(self, **facts: str) -> None:
        """Into the call's data."""
        self.facts.update(facts)
        leg = self.leg
        if leg is None or leg.call is None or leg.ended or self.application is None:
            # What comes before the worker has heard of the end is no data of a call that is over.
            return
        call: Passage = leg.call
        call.tell_facts(
            events.ApplicationTold(
                call_id=call.call_id,
                at=call.now_us(),
                switch=call.switch_name,
                leg=leg.index,
                application=self.application.NAME,
                facts=dict(self.facts),
            )
        )

    def note_digit(self, digit: str) -> None:
        """Digits are call data, but those of a PIN."""
        digits = self.facts.get("digits", "") + digit
        self.note(digits=digits[-MOST_DIGITS:])

    def go_on(self, action: Action) -> None:
        """The caller goes on in the dialplan."""
        leg = self.leg
        if leg is None or not isinstance(leg.call, Call):
            return
        self.stop_waiting()
        self._going = True
        if not isinstance(action, Play):
            # What was said is at its end: nobody is to wait in silence.
            music = self.around.dialplan.ringing_music
            if music:
                self.say_files(music, loop=True)
            else:
                self.say([RINGING])
        leg.call.go_on(leg, action, self._nobody)

    def ring(self, stages: Stages, timeout: float, waiting: Waiting) -> bool:
        """Ring these for the caller, who hears on what it hears until one of them answers; see
        `Call.summon`."""
        leg = self.leg
        if self._going or leg is None or not isinstance(leg.call, Call):
            return False
        return leg.call.summon(leg, stages, timeout, waiting)

    def record_call(self) -> None:
        """From now on all talks of the call are recorded."""
        leg = self.leg
        if leg is not None and isinstance(leg.call, Call):
            leg.call.be_recorded()

    def tap_call(self, tap: Tap) -> None:
        """From now on that program listens to all talks of the call."""
        leg = self.leg
        if leg is not None and isinstance(leg.call, Call):
            leg.call.be_tapped(tap)

    def stop_ringing(self) -> None:
        """They are rung no more."""
        leg = self.leg
        if leg is not None and isinstance(leg.call, Call):
            leg.call.withdraw_summons(leg)

    def _nobody(self, status: int, reason: str) -> None:
        self._going = False
        if self.application is not None:
            self.application.nobody(status, reason)

    def done(self) -> None:
        """It has come to its end."""
        if self.play.then is not None and not self._otherwise:
            self.go_on(self.play.then)
        else:
            self.hang_up()

    def otherwise(self) -> None:
        """It cannot go on: what the route says then, once."""
        if self.play.otherwise is not None and not self._otherwise:
            self._otherwise = True
            self.go_on(self.play.otherwise)
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """The application hangs up, as anybody does whom one has called."""
        port = self.port
        self._end()
        if port is not None:
            port.release()

    def menu(self, name: str) -> Menu | None:
        """A menu of the dialplan in force."""
        return self.around.dialplan.menus.get(name)

    def spoken(self, names: Sequence[str]) -> list[str]:
        """The files of prompts."""
        return [path for name in names if (path := self.around.prompt(name))]
