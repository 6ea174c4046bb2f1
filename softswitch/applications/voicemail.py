"""Leaving a message: greeting, tone, and what the caller says is recorded."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from math import inf
from typing import Final

from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import digits
from softswitch.dialplan import VoicemailPlay
from softswitch.media import File, Recorded, Sound, Tone
from softswitch.voicemail import Message

log = logging.getLogger(__name__)

BEEP: Final = Tone(1000, on=400, level=-12.0)
_GREETS: Final = 1
_RECORDS: Final = 2
_ENDS: Final = 3
_FAILS: Final = 4


def worth(recorded: Recorded) -> float:
    """The seconds of a recording that are to be kept: the silence that has ended it is not."""
    if recorded.why != "silence":
        return inf
    return max(recorded.seconds - recorded.silent, 0.0)


class VoicemailApplication(Application):
    """Of the mailbox that is named, or of the extension that was dialled.

    =========  =============================  ==========================  ======================
    it         a key                          what is played ends         the recording ends
    =========  =============================  ==========================  ======================
    greets     ``#``: the tone at once        the tone, then it records   –
    records    ``#``: that was all            –                           kept, and goodbye
    ends       –                              `then`, or hangs up         –
    fails      –                              `else`, or hangs up         –
    =========  =============================  ==========================  ======================
    """

    NAME = VoicemailPlay.NAME

    def __init__(self, seat: Seat, settings: VoicemailPlay) -> None:
        super().__init__(seat)
        self._mailbox = settings.of or seat.number
        self._greeting = settings.greeting
        self._message: Message | None = None
        self._state = _GREETS
        self._asked = False
        self._beeping = False
        self._waits = False  # for its place on disk
        self._left = False

    def began(self) -> None:
        """See `Application`."""
        seat = self.seat
        kept = seat.around.voicemail
        if kept is None or not kept.has(self._mailbox):
            seat.otherwise()
            return
        call = seat.leg.call if seat.leg is not None else None
        if call is None:
            return
        seat.note(mailbox=self._mailbox)
        own = kept.greeting(self._mailbox)
        sounds: list[Sound]
        if self._greeting:
            sounds = [File(path) for path in self._greeting]
        elif own:
            sounds = [File(own)]
        else:
            names = ["mailbox-of", *digits(self._mailbox), "not-here", "leave-message"]
            sounds = [File(path) for path in seat.spoken(names)]
        seat.say(sounds or [BEEP])
        who = seat.caller
        self._asked = True
        kept.begin(
            self._mailbox,
            "" if who.private else who.number,
            "" if who.private else who.name,
            call.call_id,
            seat.around.seconds(),
            self._placed,
            self._full,
        )

    def _placed(self, message: Message | None) -> None:
        """There is a place for the message; or the disk does not do."""
        self._asked = False
        kept = self.seat.around.voicemail
        if self._left:
            if message is not None and kept is not None:
                kept.discard(message)
            return
        self._message = message
        if message is None:
            self._fails("disk", "error")
        elif self._waits:
            self._waits = False
            self._record()

    def _full(self) -> None:
        """There are as many messages as there may be."""
        self._asked = False
        if not self._left:
            self._fails("full", "mailbox-full")

    def _fails(self, why: str, prompt: str) -> None:
        """No message can be left: the caller hears so, and goes on by the route's `else`."""
        self._state = _FAILS
        self.seat.note(message=why)
        self._say(prompt)

    def _say(self, *names: str) -> None:
        paths = self.seat.spoken(names)
        if paths:
            self.seat.say_files(paths)
        else:
            self.played()

    def digit(self, digit: str) -> None:
        """See `Application`."""
        if digit != "#":
            return
        if self._state == _GREETS and not self._beeping:
            self._beep()
        elif self._state == _RECORDS:
            self.seat.stop_recording()

    def _beep(self) -> None:
        self._beeping = True
        self.seat.say([BEEP])

    def played(self) -> None:
        """See `Application`."""
        if self._state == _ENDS:
            self.seat.done()
        elif self._state == _FAILS:
            self.seat.otherwise()
        elif self._state == _GREETS and not self._beeping:
            self._beep()
        elif self._state == _GREETS:
            self._record()

    def _record(self) -> None:
        message, kept = self._message, self.seat.around.voicemail
        if message is None:
            self._waits = self._asked
            return
        if kept is None:
            self.seat.otherwise()
            return
        self._state = _RECORDS
        settings = kept.settings
        # Who hangs up ends the call before the recording is at its end: from here to there it goes.
        since = datetime.fromtimestamp(self.seat.around.seconds(), UTC)
        self.seat.note(message=str(message.id), recorded_from=since.isoformat())
        self.seat.record(message.path, settings.seconds, settings.silence)

    def recorded(self, recorded: Recorded) -> None:
        """See `Application`."""
        message, self._message = self._message, None
        kept = self.seat.around.voicemail
        if message is None or kept is None:
            return
        if recorded.error:
            log.error("message %d for %s: %s", message.id, self._mailbox, recorded.error)
            kept.discard(message)
            self._fails("disk", "error")
            return
        self._state = _ENDS
        most = worth(recorded)
        seconds = min(most, recorded.seconds)
        if seconds < kept.settings.least:
            kept.discard(message)
            self._thanked(False)
            return
        self.seat.note(seconds=f"{seconds:.1f}")
        kept.keep(message, self._thanked, most)

    def _thanked(self, there: bool | None) -> None:
        """It is on disk, and only now that may be said; or it is none."""
        if there is None:
            self._fails("disk", "error")
            return
        if not there:
            self.seat.note(message="none")
        if not self._left:
            self._say(*(["message-kept"] if there else []), "goodbye")

    def left(self) -> None:
        """See `Application`."""
        self._left = True
        message, self._message = self._message, None
        kept = self.seat.around.voicemail
        if message is None or kept is None:
            return
        if self._state == _RECORDS:
            # Its worker has died, and could not say how much there is.
            kept.rescue(message)
        else:
            kept.discard(message)
