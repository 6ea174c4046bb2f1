"""A page: who has dialled it is heard by many phones (``play: {page: ...}``)."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from softswitch.applications.rooms import Member, Room, Rooms
from softswitch.applications.seat import Application, Seat
from softswitch.calls import NOTHING_TO_HEAR, Call, Paging, Wanted
from softswitch.dialplan import PagePlay, Play
from softswitch.media import Tone

BEEP: Final = Tone(880, on=250, level=-20.0)
"""What is heard before the first word."""
AGAIN: Final = 0.5
"""Seconds until it is tried again to have phones called, as who pages is being transferred."""

RINGS: Final = "rings"
HEARD: Final = "heard"
NOBODY: Final = "nobody"
ABANDONED: Final = "abandoned"
LOST: Final = "lost"
"""What has become of a page. Rings: nobody has picked up yet. Heard: somebody has. Abandoned: who
pages has hung up before that. Lost: what it heard has died before."""

BUSY: Final = "busy"
DISTURBED: Final = "do not disturb"
UNREACHABLE: Final = "not registered"
NO_ANSWER: Final = "no answer"
DECLINED: Final = "declined"
HUNG_UP: Final = "hung up"
NO_WORKER: Final = "no media worker"
_WHY: Final = {
    404: UNREACHABLE,
    408: NO_ANSWER,
    480: NO_ANSWER,
    486: BUSY,
    487: HUNG_UP,
    600: BUSY,
    603: DECLINED,
    NOTHING_TO_HEAR: NO_WORKER,
}
"""Why a phone has not picked up, by its status; another one is told as it is."""

NOBODY_PICKED_UP: Final = "Nobody Picked Up"


class Phones(Protocol):
    """What is known of the phones of this switch."""

    def address_of(self, extension: str) -> str:
        """The address and port by which a phone of it knows this switch; empty: none can be
        reached."""

    def all_in_use(self) -> frozenset[str]:
        """The extensions of which a leg rings or talks."""

    def wants_quiet(self, extension: str) -> bool:
        """Whether it is not to be disturbed."""


def header_lines(seconds: int) -> str:
    """What asks a phone to pick up by itself after so many seconds, each in the words of some:
    ``answer-after`` (Snom, Grandstream, Yealink, Cisco), ``alert-autoanswer`` (Yealink, Mitel,
    AudioCodes, Gigaset), RFC 5373, which knows no seconds."""
    lines = (
        f"Call-Info: <sip:127.0.0.1>;answer-after={seconds}\r\n"
        f"Alert-Info: <http://127.0.0.1>;info=alert-autoanswer;delay={seconds}\r\n"
    )
    return lines if seconds else lines + "Answer-Mode: Auto\r\n"


class InPage(Application):
    """Somebody who is in the room of a page (`rooms.Member`)."""

    NAME = PagePlay.NAME

    def __init__(self, seat: Seat, rooms: Rooms, settings: PagePlay, speaks: bool) -> None:
        super().__init__(seat)
        self.settings = settings
        self._rooms = rooms
        self._room: Room | None = None
        self._speaks = speaks

    @property
    def leads(self) -> bool:
        """See `rooms.Member`."""
        return not self.settings.paged

    @property
    def audible(self) -> bool:
        """See `rooms.Member`."""
        return self._speaks

    @property
    def shown(self) -> str:
        """See `rooms.Member`."""
        caller = self.seat.caller
        return "anonymous" if caller.private or not caller.number else caller.number

    def changed(self, came: Member | None, left: bool) -> None:
        """See `rooms.Member`."""

    def told(self) -> None:
        """See `rooms.Member`."""

    def sent_away(self, why: str) -> None:
        """See `rooms.Member`."""

    def enter(self) -> bool:
        """It hears, and is heard if it may be; whether there is a room."""
        room, port = self._rooms.room(self.settings.room), self.seat.port
        if room is None or port is None:
            return False
        self._room = room
        port.join(room.name, self._speaks)
        room.joined(self)
        return True

    def left(self) -> None:
        """See `Application`."""
        room = self._room or self._rooms.room(self.settings.room)
        self._room = None
        if room is not None:
            room.left(self)


class PagedApplication(InPage):
    """What one phone hears. It is there before the phone is rung."""

    def __init__(self, seat: Seat, rooms: Rooms, settings: PagePlay) -> None:
        super().__init__(seat, rooms, settings, settings.talks_back)

    def began(self) -> None:
        """See `Application`."""
        if not self.enter():
            self.seat.hang_up()

    def picked_up(self) -> None:
        """The phone has."""
        if self.settings.tone:
            self.seat.say([BEEP])


class PageApplication(InPage):
    """Who pages.

    ========  =====================================  ==============================================
    outcome   what is heard                          ends
    ========  =====================================  ==============================================
    rings     nothing                                somebody picks up; nobody has; it hangs up
    heard     a tone, first; who may talk back       after ``seconds``; with the last who listens
    nobody    that nobody is available, if nothing   hung up on, or by what the route says
              is to be done then
    ========  =====================================  ==============================================
    """

    def __init__(self, seat: Seat, rooms: Rooms, settings: PagePlay, phones: Phones) -> None:
        super().__init__(seat, rooms, settings, True)
        self._phones = phones
        self._calls = PageCalls(self)
        self._outcome = ""
        self._asked: list[str] = []
        self._pending: set[str] = set()
        self._listening: list[str] = []
        self._picked_up: list[str] = []
        self._without: dict[str, str] = {}  # who was not reached, and why
        self._says_so = False  # that nobody is available

    def began(self) -> None:
        """See `Application`."""
        if not self.enter():
            self.seat.otherwise()
            return
        self._outcome = RINGS
        own = self.seat.party
        self._asked = [name for name in self.settings.extensions if f"extension:{name}" != own]
        self._call()

    # --- whom it calls

    def _call(self) -> None:
        seat, settings = self.seat, self.settings
        leg = seat.leg
        if leg is None or not isinstance(leg.call, Call):
            return
        wanted = self._wanted()
        self._pending = {one.extension for one in wanted}
        self._tell()
        lines = header_lines(settings.answer_after)
        if not wanted:
            self._nobody()
        elif not leg.call.page(leg, wanted, lines, settings.timeout, self._calls):
            seat.wait(AGAIN, self._call)

    def _wanted(self) -> list[Wanted]:
        """The phones that are called; of the others it is noted why not."""
        phones, settings = self._phones, self.settings
        in_use = frozenset() if settings.disturbs else phones.all_in_use()
        play = Play(msgspec.structs.replace(settings, paged=True), self.seat.number)
        found: list[Wanted] = []
        self._without = {}
        for name in self._asked:
            address = phones.address_of(name)
            if not address:
                self._without[name] = UNREACHABLE
            elif phones.wants_quiet(name):
                self._without[name] = DISTURBED
            elif name in in_use:
                self._without[name] = BUSY
            else:
                found.append(Wanted(name, address, play))
        return found

    def picked_up(self, name: str) -> None:
        """That one has."""
        seat = self.seat
        self._pending.discard(name)
        self._picked_up.append(name)
        self._listening.append(name)
        if self._outcome == RINGS:
            self._outcome = HEARD
            seat.wait(self.settings.seconds, self._over)
            if self.settings.tone:
                seat.say([BEEP])
        for one in self._room.members if self._room is not None else ():
            if isinstance(one, PagedApplication) and one.shown == name:
                one.picked_up()
        self._tell()

    def not_picked_up(self, name: str, status: int) -> None:
        """That one has not."""
        self._pending.discard(name)
        self._without[name] = _WHY.get(status, str(status))
        self._tell()
        self._look()

    def hung_up(self, name: str) -> None:
        """That one hears no more."""
        if name in self._listening:
            self._listening.remove(name)
        self._tell()
        self._look()

    def _look(self) -> None:
        """Whether anybody is there, or may be yet."""
        if self._pending or self._listening:
            return
        if self._outcome == RINGS:
            self._nobody()
        else:
            self._over()

    # --- its end

    def _over(self) -> None:
        """It has been heard."""
        self._end()
        self._tell()
        self.seat.done()

    def _nobody(self) -> None:
        """Nobody has heard it."""
        seat = self.seat
        self._outcome = NOBODY
        self._end()
        self._tell()
        if seat.play.otherwise is not None:
            seat.otherwise()
            return
        paths = seat.spoken(["not-available"])
        if paths:
            self._says_so = True
            seat.say_files(paths)
        else:
            self._hang_up()

    def nobody(self, status: int, reason: str) -> None:
        """See `Application`."""
        self._hang_up()

    def _hang_up(self) -> None:
        """With a word of why."""
        leg = self.seat.leg
        if leg is not None and isinstance(leg.call, Call) and self._outcome == NOBODY:
            leg.call.hang_up_all(NOBODY_PICKED_UP)
        else:
            self.seat.hang_up()

    def _end(self) -> None:
        self.seat.stop_waiting()
        leg = self.seat.leg
        if leg is not None and isinstance(leg.call, Call):
            leg.call.end_page(leg)
        self._listening.clear()

    def last_word(self) -> None:
        """Its leg is about to be over."""
        self._gives_up(ABANDONED)

    def lost(self) -> None:
        """See `Application`."""
        self._gives_up(LOST)

    def _gives_up(self, outcome: str) -> None:
        """Unless somebody has heard it that is what it has come to."""
        self._listening.clear()
        if self._outcome == RINGS:
            self._outcome = outcome
        if self._outcome:
            self._tell()

    def left(self) -> None:
        """See `Application`."""
        self._calls.application = None
        super().left()

    def played(self) -> None:
        """See `Application`."""
        if self._says_so:
            self._hang_up()

    # --- what is known

    def counted(self) -> dict[str, int | str]:
        """What has become of it, and how many phones were asked, have picked up, and hear it."""
        return {
            "outcome": self._outcome,
            "asked": len(self._asked),
            "answered": len(self._picked_up),
            "listening": len(self._listening),
        }

    def _tell(self) -> None:
        without = ", ".join(f"{name} ({why})" for name, why in self._without.items())
        self.seat.note(
            outcome=self._outcome,
            asked=str(len(self._asked)),
            answered=str(len(self._picked_up)),
            answered_by=", ".join(self._picked_up),
            not_answered=str(len(self._without)),
            not_answered_by=without,
            listening=str(len(self._listening)),
        )


class PageCalls(Paging):
    """The same, as the call knows it that calls the phones. `application` is none once who pages
    has gone."""

    def __init__(self, application: PageApplication) -> None:
        self.application: PageApplication | None = application

    def picked_up(self, extension: str) -> None:
        """See `Paging`."""
        if self.application is not None:
            self.application.picked_up(extension)

    def not_picked_up(self, extension: str, status: int) -> None:
        """See `Paging`."""
        if self.application is not None:
            self.application.not_picked_up(extension, status)

    def hung_up(self, extension: str) -> None:
        """See `Paging`."""
        if self.application is not None:
            self.application.hung_up(extension)
