"""Listening to one's messages."""

from __future__ import annotations

import hmac
import logging
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import date, digits, number, time_of_day
from softswitch.applications.voicemail import BEEP, worth
from softswitch.dialplan import Goto, MailboxPlay
from softswitch.media import Recorded
from softswitch.voicemail import Message

log = logging.getLogger(__name__)

WAITS: Final = 10.0
"""Seconds for a key."""
MOST_SILENT: Final = 3
"""Times that the keys are said to one who presses none."""
_PIN: Final = 1
_MENU: Final = 2
_LISTENS: Final = 3
_GREETING: Final = 4
_RECORDS: Final = 5
_ENDS: Final = 6
_LISTS: Final = 7
_FAILS: Final = 8
_CALLS: Final = 9
_DEAF: Final = (_ENDS, _LISTS, _FAILS, _CALLS)
"""Keys do nothing then."""


class MailboxApplication(Application):
    """Of the extension that calls, or of the one that is named. Nothing is heeded while the disk is
    waited for.

    =========  ==================================================================================
    it         keys
    =========  ==================================================================================
    PIN        digits, then ``#``
    menu       ``1`` messages, ``0`` greeting, ``#`` the end
    listens    ``1`` again, ``2`` keep and next, ``3`` delete and next, ``4`` call back, ``#`` menu
    greeting   ``1`` record, ``2`` listen, ``3`` remove, ``#`` menu
    records    ``#`` that was all
    =========  ==================================================================================
    """

    NAME = MailboxPlay.NAME

    def __init__(self, seat: Seat, settings: MailboxPlay) -> None:
        super().__init__(seat)
        self._of = settings.of
        self._mailbox = ""
        self._state = _PIN
        self._pin = ""
        self._tries = 0
        self._silent = 0
        self._messages: list[Message] = []
        self._at = 0
        self._recording: Message | None = None
        self._beeps = False
        self._gone = False

    def began(self) -> None:
        """See `Application`."""
        seat = self.seat
        kept = seat.around.voicemail
        # Not of the call: who was transferred here is none of the one who has placed it.
        kind, _, name = seat.party.partition(":")
        own = name if kind == "extension" else ""
        self._mailbox = self._of or own
        if kept is None or not kept.has(self._mailbox):
            seat.otherwise()
            return
        seat.note(mailbox=self._mailbox)
        pin = kept.pin(self._mailbox)
        if pin:
            self._state = _PIN
            self._say("enter-pin")
        elif own == self._mailbox:
            self._list()
        else:
            # Nobody else listens without one.
            seat.otherwise()

    def _say(self, *names: str) -> None:
        paths = self.seat.spoken(names)
        self.seat.stop_waiting()
        if paths:
            self.seat.say_files(paths)
        else:
            self.played()

    def digit(self, digit: str) -> None:
        """See `Application`."""
        self._silent = 0
        state = self._state
        if state == _PIN:
            self._pin_digit(digit)
        elif state == _RECORDS:
            if digit == "#" and not self._beeps:
                self.seat.stop_recording()
        elif state not in _DEAF:
            self.seat.stop_waiting()
            self.seat.hush()
            if state == _MENU:
                self._menu_digit(digit)
            elif state == _LISTENS:
                self._message_digit(digit)
            else:
                self._greeting_digit(digit)

    def played(self) -> None:
        """See `Application`."""
        if self._state == _ENDS:
            self.seat.done()
        elif self._state == _FAILS:
            self.seat.otherwise()
        elif self._state == _RECORDS and self._beeps:
            self._beeps = False
            self._record_greeting()
        elif self._state not in (_RECORDS, _LISTS, _CALLS):
            self.seat.wait(WAITS, self._no_key)

    def _no_key(self) -> None:
        self._silent += 1
        if self._silent >= MOST_SILENT:
            self._end()
        elif self._state == _PIN:
            self._pin = ""
            self._say("enter-pin")
        elif self._state == _MENU:
            self._menu()
        elif self._state == _LISTENS:
            self._say("message-keys")
        else:
            self._say("greeting-keys")

    def _end(self) -> None:
        self._state = _ENDS
        self._say("goodbye")

    # --- who listens

    def _pin_digit(self, digit: str) -> None:
        seat = self.seat
        kept = seat.around.voicemail
        if digit != "#":
            seat.hush()
            self._pin = (self._pin + digit)[-20:]
            seat.wait(WAITS, self._no_key)
            return
        pressed, self._pin = self._pin, ""
        if kept is None:
            seat.otherwise()
            return
        pin = kept.pin(self._mailbox)
        if not pin:
            # There is another configuration since.
            seat.otherwise()
            return
        if hmac.compare_digest(pressed.encode(), pin.encode()):
            self._list()
            return
        self._tries += 1
        seat.note(pin="wrong")
        if self._tries >= kept.settings.pin_tries:
            self._state = _FAILS
            self._say("wrong-pin", "goodbye")
        else:
            self._say("wrong-pin", "enter-pin")

    # --- the menu

    def _list(self) -> None:
        kept = self.seat.around.voicemail
        if kept is not None:
            self._state = _LISTS
            self.seat.stop_waiting()
            kept.listing(self._mailbox, self._listed)

    def _listed(self, messages: list[Message] | None) -> None:
        if self._gone:
            return
        if messages is None:
            # The disk does not do.
            self._state = _FAILS
            self._say("error")
            return
        self._messages = messages
        self._at = 0
        new = sum(one.new for one in self._messages)
        self.seat.note(new=str(new), old=str(len(self._messages) - new))
        self._menu()

    def _menu(self) -> None:
        self._state = _MENU
        new = sum(one.new for one in self._messages)
        old = len(self._messages) - new
        names = ["you-have", *(number(new) if new else ["no"])]
        names.append("new-message" if new == 1 else "new-messages")
        if old:
            names += ["and", *number(old), "old-message" if old == 1 else "old-messages"]
        self._say(*names, "mailbox-keys")

    def _menu_digit(self, digit: str) -> None:
        if digit == "1":
            self._next(0)
        elif digit == "0":
            self._greeting()
        elif digit in "#*":
            self._end()
        else:
            self._say("invalid", "mailbox-keys")

    # --- messages

    def _next(self, at: int) -> None:
        """The message with that place in the list."""
        self._at = at
        if at >= len(self._messages):
            self._state = _MENU
            self._say("no-more-messages", "mailbox-keys")
            return
        self._state = _LISTENS
        message, seat = self._messages[at], self.seat
        zone = seat.around.zone()
        when = datetime.fromtimestamp(message.at, ZoneInfo(zone) if zone else None)
        names = ["message", *number(at + 1), *date(when), *time_of_day(when)]
        if message.caller:
            names += ["from", *digits(message.caller)]
        seat.note(heard=str(message.id))
        seat.say_files([*seat.spoken(names), message.path, *seat.spoken(["message-keys"])])
        kept = seat.around.voicemail
        if kept is not None and message.new:
            kept.heard(message)

    def _message_digit(self, digit: str) -> None:
        kept = self.seat.around.voicemail
        if kept is None or self._at >= len(self._messages):
            self._menu()
            return
        message = self._messages[self._at]
        if digit == "1":
            self._next(self._at)
        elif digit == "2":
            self._next(self._at + 1)
        elif digit == "3":
            kept.discard(message)
            del self._messages[self._at]
            self.seat.note(deleted=str(message.id))
            self._next(self._at)
        elif digit == "4" and message.caller:
            self._state = _CALLS
            self.seat.note(called_back=message.caller)
            self.seat.go_on(Goto(message.caller))
        elif digit in "#*":
            self._list()
        else:
            self._say("invalid", "message-keys")

    def nobody(self, status: int, reason: str) -> None:
        """See `Application`: whom it has called back does not answer. Who was sent on because it
        may not listen here still may not."""
        if self._state != _CALLS:
            self.seat.otherwise()
            return
        self._state = _MENU
        self._say("not-available", "mailbox-keys")

    # --- the greeting

    def _greeting(self) -> None:
        self._state = _GREETING
        self._say("greeting-keys")

    def _greeting_digit(self, digit: str) -> None:
        seat = self.seat
        kept = seat.around.voicemail
        if kept is None:
            seat.otherwise()
        elif digit == "1":
            self._state = _RECORDS
            self._beeps = True
            seat.say_files(seat.spoken(["record-greeting"]))
            kept.begin_greeting(self._mailbox, self._placed)
        elif digit == "2":
            own = kept.greeting(self._mailbox)
            seat.say_files([*([own] if own else seat.spoken(["no-greeting"]))])
        elif digit == "3":
            self._state = _LISTS
            kept.set_greeting(self._mailbox, None, self._removed)
        elif digit in "#*":
            self._list()
        else:
            self._say("invalid", "greeting-keys")

    def _placed(self, message: Message | None) -> None:
        kept = self.seat.around.voicemail
        if self._gone or self._state != _RECORDS:
            if message is not None and kept is not None:
                kept.discard(message)
            return
        self._recording = message
        if message is None:
            self._greeted(False, "error")
        elif not self._beeps:
            self._record_greeting()

    def _record_greeting(self) -> None:
        kept = self.seat.around.voicemail
        if self._recording is None or kept is None:
            return  # `_placed` goes on
        self.seat.say([BEEP])
        self.seat.record(self._recording.path, kept.settings.seconds, kept.settings.silence)

    def recorded(self, recorded: Recorded) -> None:
        """See `Application`."""
        message, self._recording = self._recording, None
        kept = self.seat.around.voicemail
        if message is None or kept is None:
            return
        self._state = _LISTS
        most = worth(recorded)
        if recorded.error:
            log.error("greeting of %s: %s", self._mailbox, recorded.error)
            kept.discard(message)
            self._greeted(False)
        elif min(most, recorded.seconds) < kept.settings.least:
            kept.discard(message)
            self._greeted(False, "try-again")
        else:
            kept.set_greeting(self._mailbox, message, self._greeted, most)

    def _removed(self, done: bool) -> None:
        """The greeting is gone, or could not be removed."""
        self._greeted(True, "greeting-removed" if done else "error")

    def _greeted(self, done: bool, said: str = "") -> None:
        """What has become of the greeting: it is said, and the keys again."""
        if not self._gone:
            self._state = _GREETING
            self._say(said or ("greeting-kept" if done else "error"), "greeting-keys")

    def left(self) -> None:
        """See `Application`."""
        self._gone = True
        message, self._recording = self._recording, None
        kept = self.seat.around.voicemail
        if message is not None and kept is not None:
            kept.discard(message)
