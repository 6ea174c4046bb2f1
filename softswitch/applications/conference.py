"""In a room with others: ``play: {conference: ROOM}``."""

from __future__ import annotations

import hmac
from typing import Final

from softswitch.applications.rooms import Member, Room, Rooms
from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import number
from softswitch.dialplan import Conference, ConferencePlay, Play
from softswitch.media import Tone

COMES: Final = Tone(660, on=120, level=-24.0)
LEAVES: Final = Tone(440, on=120, level=-24.0)
"""What is heard when somebody does."""
KEYS_WITHIN: Final = 4.0
"""Seconds after ``*`` in which the key that belongs to it is pressed."""
SEVERAL: Final = 2


class DoorApplication(Application):
    """Lets in who knows the PIN: of leaders, or of others."""

    NAME = ConferencePlay.NAME

    def __init__(self, seat: Seat, conference: Conference) -> None:
        super().__init__(seat)
        self._conference = conference
        self._pin = ""
        self._tries = conference.tries
        self._through = False

    def began(self) -> None:
        """See `Application`."""
        self.seat.note(conference=self._conference.name)
        self._ask("enter-pin")

    def _ask(self, *names: str) -> None:
        self._pin = ""
        self.seat.stop_waiting()
        self.seat.say_files(self.seat.spoken(names))
        # From the beginning: where there is no prompt nothing comes to its end.
        self.seat.wait(self._conference.timeout * 2, self._enough)

    def played(self) -> None:
        """See `Application`."""
        if self._through:
            self.seat.otherwise()
        else:
            self.seat.wait(self._conference.timeout, self._enough)

    def digit(self, digit: str) -> None:
        """See `Application`. A PIN is no call data."""
        if self._through:
            return
        if not self._pin:
            self.seat.hush()
        if digit == "#":
            self._enough()
            return
        self._pin = (self._pin + digit)[:20]
        self.seat.wait(self._conference.timeout, self._enough)

    def _enough(self) -> None:
        conference = self._conference
        # What is configured is compared in any case: it takes as long whatever was pressed.
        leads = _same(self._pin, conference.leader_pin)
        known = _same(self._pin, conference.pin)
        if leads and conference.leader_pin:
            self._let_in(True)
        elif known:
            self._let_in(not conference.leader_pin)
        else:
            self._wrong()

    def _let_in(self, leads: bool) -> None:
        seat = self.seat
        self._through = True
        seat.stop_waiting()
        play = seat.play
        what = ConferencePlay(self._conference.name, True, leads)
        seat.go_on(Play(what, play.number, play.then, play.otherwise))

    def _wrong(self) -> None:
        self._tries -= 1
        if self._tries > 0:
            self._ask("wrong-pin", "enter-pin")
            return
        self._through = True
        self.seat.stop_waiting()
        said = self.seat.spoken(["wrong-pin"])
        if said:
            self.seat.say_files(said)
        else:
            self.seat.otherwise()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class ConferenceApplication(Application):
    """Somebody who is let in (`rooms.Member`).

    =========  ==================================================================================
    keys       what they do
    =========  ==================================================================================
    ``*1``     mute, or unmute, oneself
    ``*2``     lock the room, or open it again (leaders)
    ``*3``     hear how many are here
    ``*9``     remove who came last (leaders)
    =========  ==================================================================================
    """

    NAME = ConferencePlay.NAME

    def __init__(self, seat: Seat, rooms: Rooms, play: ConferencePlay) -> None:
        super().__init__(seat)
        self._rooms = rooms
        self._name = play.room
        self._room: Room | None = None
        self._leads = play.leads
        self._muted = False
        self._star = False
        self._says = False  # something that is for this caller alone
        self._idles = False  # hears what is for who is alone
        self._away = ""  # why it has to leave
        self._placed = ("", False, False)  # as its worker was told: room, speaks, is listened to
        self._waited = False  # for a leader, when this was looked at last
        self._talks = False  # something comes from there, whether others hear it or not
        self._speaks = 0.0  # since when it is heard, on the clock of `Surroundings.seconds`
        self._spoke = 0.0

    # --- as its room knows it (`rooms.Member`)

    @property
    def leads(self) -> bool:
        """See `rooms.Member`."""
        return self._leads

    @property
    def audible(self) -> bool:
        """See `rooms.Member`."""
        return not self._muted and not self._waits() and not self._away

    @property
    def shown(self) -> str:
        """See `rooms.Member`."""
        caller = self.seat.caller
        return "anonymous" if caller.private or not caller.number else caller.number

    def changed(self, came: Member | None, left: bool) -> None:
        """See `rooms.Member`."""
        room = self._room
        if room is None or self._away:
            return
        self._place()
        waits = self._waits()
        begins, self._waited = waits and not self._waited, waits
        if waits:
            self.speaking(False)  # it is not listened to any more
        self._tell()
        if came is self:
            return
        if begins:
            self._say("conference-waits")
        elif came is not None or left:
            self._idle(COMES if came is not None else LEAVES)

    def told(self) -> None:
        """See `rooms.Member`."""
        if self._room is not None:
            self._tell()

    def sent_away(self, why: str) -> None:
        """See `rooms.Member`."""
        if self._away:
            return
        self._away = why
        self._place()
        self.speaking(False)  # it is not listened to any more
        self.seat.stop_waiting()
        # What it is told yet it is told alone: others are without it from now on.
        self.left()
        said = self.seat.spoken([why])
        if said:
            self.seat.say_files(said)
        else:
            self._go()

    # --- what happens

    def began(self) -> None:
        """See `Application`."""
        room = self._room = self._rooms.room(self._name)
        if room is None:
            self.seat.otherwise()
            return
        self._leads = self._leads or not room.conference.leader_pin
        self._muted = room.conference.muted and not self._leads
        room.joined(self)
        if self._waits():
            self._say("conference-waits")
        elif len(room.members) == 1:
            self._say("conference-alone")
        elif self._muted:
            self._say("conference-muted")
        elif room.conference.tones:
            self._says = True
            self.seat.say([COMES])

    def digit(self, digit: str) -> None:
        """See `Application`."""
        room = self._room
        if room is None or self._away:
            return
        self.seat.note_digit(digit)
        if digit == "*":
            self._star = True
            self.seat.wait(KEYS_WITHIN, self._no_key)
            return
        if not self._star:
            return
        self._no_key()
        self.seat.stop_waiting()
        if digit == "1":
            self.mute(not self._muted)
        elif digit == "3":
            self._count(room)
        elif digit in "29" and not self._leads:
            self._say("conference-only-leaders")
        elif digit == "2":
            room.lock(not room.locked)
            self._say("conference-locked" if room.locked else "conference-unlocked")
        elif digit == "9":
            others = [one for one in room.members if one is not self]
            if others:
                others[-1].sent_away("conference-removed")

    def _no_key(self) -> None:
        self._star = False

    def mute(self, on: bool) -> None:
        """It is not heard any more, or is again."""
        self._muted = on
        self._place()
        self._time()
        self._tell()
        self._say("conference-muted" if on else "conference-unmuted")
        if self._room is not None:
            self._room.spoke(self, self._talks)

    def _count(self, room: Room) -> None:
        here = len(room.members)
        if here < SEVERAL:
            self._say("conference-alone")
        elif here == SEVERAL:
            self._say("conference-one-other")
        else:
            self._say(*number(here), "conference-others")

    def played(self) -> None:
        """See `Application`."""
        self._says = False
        if self._away:
            self._go()
        else:
            self._idle(None)

    def speaking(self, on: bool) -> None:
        """See `Application`."""
        room = self._room
        if room is None:
            return
        self._talks = on
        self._time()
        room.spoke(self, on)

    def _time(self) -> None:
        """Count how long others have heard it, not what is said by who is muted."""
        if self._talks and self.audible:
            self._speaks = self._speaks or self.seat.around.seconds()
        elif self._speaks:
            self._spoke, self._speaks = self._spoken(), 0.0
            self._tell()

    def _spoken(self) -> float:
        """Seconds that it has spoken, up to now."""
        now = self.seat.around.seconds()
        return self._spoke + (max(now - self._speaks, 0.0) if self._speaks else 0.0)

    def left(self) -> None:
        """See `Application`."""
        room = self._room or self._rooms.room(self._name)
        self._room = None
        if room is not None:
            room.left(self)

    def _go(self) -> None:
        """It leaves."""
        if self._away == "conference-ended":
            self.seat.done()
        else:
            self.seat.hang_up()

    # --- what is heard

    def _waits(self) -> bool:
        """Whether it is to be without the others until a leader is here."""
        room = self._room
        return room is not None and room.conference.wait and not self._leads and not room.led

    def _place(self) -> None:
        room, port = self._room, self.seat.port
        if room is None or port is None:
            return
        apart = bool(self._away) or self._waits()
        placed = ("" if apart else room.name, not self._muted, not apart)
        if placed != self._placed:
            # For each order a worker connects it with all others anew.
            self._placed = placed
            port.join(*placed)

    def _say(self, *names: str) -> None:
        paths = self.seat.spoken(names)
        self._idles = False
        if paths:
            self._says = True
            self.seat.say_files(paths)
        else:
            self._says = False
            self._idle(None)

    def _idle(self, tone: Tone | None) -> None:
        """Nothing is said to this caller alone: it hears what is for who is alone, or nothing but
        the others; or first that somebody came or left."""
        room, seat = self._room, self.seat
        if room is None or self._says or self._away:
            return
        alone = self._waits() or len(room.members) == 1
        if tone is not None and room.conference.tones and not self._waits():
            self._idles = False
            self._says = True
            seat.say([tone])
        elif alone and room.conference.alone:
            if not self._idles:
                self._idles = True
                seat.say_files(room.conference.alone, loop=True)
        elif self._idles:
            self._idles = False
            seat.hush()

    # --- what is known

    def _tell(self) -> None:
        room = self._room
        if room is None:
            return
        facts = {
            "conference": room.name,
            "role": "leader" if self._leads else "guest",
            "members": str(len(room.members)),
            "most_members": str(
                max(len(room.members), int(self.seat.facts.get("most_members", "0")))
            ),
            "muted": "yes" if self._muted else "no",
            "locked": "yes" if room.locked else "no",
            "speaker": room.speaker,
            "spoke": f"{self._spoken():.1f}",
        }
        if any(self.seat.facts.get(name) != value for name, value in facts.items()):
            self.seat.note(**facts)
