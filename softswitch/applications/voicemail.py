"""Leaving a message: greeting, tone, and what the caller says is recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import digits
from softswitch.dialplan import VoicemailPlay
from softswitch.media import File, Recorded, Sound, Tone
from softswitch.voicemail import Message

BEEP: Final = Tone(1000, on=400, level=-12.0)
_GREETS: Final = 1
_RECORDS: Final = 2
_ENDS: Final = 3


class VoicemailApplication(Application):
    """Of the mailbox that is named, or of the extension that was dialled.

    =========  =============================  ==========================  ======================
    it         a key                          what is played ends         the recording ends
    =========  =============================  ==========================  ======================
    greets     ``#``: the tone at once        the tone, then it records   –
    records    ``#``: that was all            –                           kept, and goodbye
    ends       –                              hangs up                    –
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
        seat.note(mailbox=self._mailbox)
        call = seat.leg.call if seat.leg is not None else None
        if call is None:
            return
        who = call.identity
        self._asked = True
        kept.begin(
            self._mailbox,
            "" if who.private else who.number,
            "" if who.private else who.name,
            call.call_id,
            seat.around.seconds(),
            self._placed,
        )
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

    def _placed(self, message: Message | None) -> None:
        """There is a place for the message, or none."""
        self._asked = False
        kept = self.seat.around.voicemail
        if self._left:
            if message is not None and kept is not None:
                kept.discard(message)
            return
        self._message = message
        if message is None:
            self._state = _ENDS
            self.seat.note(message="mailbox full")
            self._say("mailbox-full")
        elif self._waits:
            self._waits = False
            self._record()

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
        said = recorded.seconds
        if recorded.why == "silence":
            said -= recorded.silent
        there = not recorded.error and said >= kept.settings.least
        self._state = _ENDS
        if there:
            self.seat.note(seconds=f"{recorded.seconds:.1f}")
            kept.keep(message, recorded.seconds, self._thanked)
        else:
            self.seat.note(message="none")
            kept.discard(message)
            self._thanked(False)

    def _thanked(self, there: bool = True) -> None:
        """It is on disk: now it may be said so."""
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
