"""Applications that only speak: echo, tone, announcement, time, number."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import digits, time_and_date
from softswitch.dialplan import Announcement, Clock, Echo, MusicPlay, OwnNumber, Tone
from softswitch.media import File, Sound
from softswitch.media import Tone as ToneSound


class EchoApplication(Application):
    """Whoever calls hears itself."""

    NAME = Echo.NAME

    def began(self) -> None:
        """See `Application`."""
        if self.seat.port is not None:
            self.seat.port.echo()

    def digit(self, digit: str) -> None:
        """They are kept, so that a lab sees that they have come."""
        self.seat.note_digit(digit)


class ToneApplication(Application):
    """A tone."""

    NAME = Tone.NAME

    def __init__(self, seat: Seat, settings: Tone) -> None:
        super().__init__(seat)
        self._settings = settings

    def began(self) -> None:
        """See `Application`."""
        seconds = self._settings.seconds
        on = round(seconds * 1000) if seconds else 1000
        self.seat.say(
            [ToneSound(self._settings.hz, on=min(on, 60_000), times=1 if 0 < seconds <= 60 else 0)]
        )
        if seconds > 60:
            self.seat.wait(seconds, self.seat.done)

    def played(self) -> None:
        """See `Application`."""
        if self._settings.seconds <= 60:
            self.seat.done()


class Spoken(Application):
    """Something is said, and that is all."""

    def said(self) -> list[Sound]:
        """What."""
        raise NotImplementedError

    def began(self) -> None:
        """See `Application`."""
        self._say()

    def _say(self) -> None:
        said = self.said()
        if said:
            self.seat.say(said)
        else:
            self.seat.otherwise()

    def played(self) -> None:
        """See `Application`."""
        self.seat.done()


class AnnouncementApplication(Spoken):
    """Files."""

    NAME = Announcement.NAME

    def __init__(self, seat: Seat, settings: Announcement) -> None:
        super().__init__(seat)
        self._settings = settings
        self._left = settings.times

    def said(self) -> list[Sound]:
        """See `Spoken`."""
        return [File(path) for path in self._settings.say]

    def played(self) -> None:
        """See `Application`."""
        self._left -= 1
        if self._left > 0:
            self.seat.wait(self._settings.pause, self._say)
        else:
            self.seat.done()


class MusicApplication(Application):
    """Files, again and again."""

    NAME = MusicPlay.NAME

    def __init__(self, seat: Seat, settings: MusicPlay) -> None:
        super().__init__(seat)
        self._settings = settings

    def began(self) -> None:
        """See `Application`."""
        self.seat.say_files(self._settings.say, loop=True)

    def played(self) -> None:
        """See `Application`: what cannot be played at all comes to an end."""
        self.seat.otherwise()


class ClockApplication(Spoken):
    """Time of day and date."""

    NAME = Clock.NAME

    def __init__(self, seat: Seat, settings: Clock) -> None:
        super().__init__(seat)
        self._zone = settings.zone

    def said(self) -> list[Sound]:
        """See `Spoken`."""
        around = self.seat.around
        zone = self._zone or around.zone()
        now = datetime.fromtimestamp(around.seconds(), ZoneInfo(zone) if zone else None)
        return [File(path) for path in self.seat.spoken(time_and_date(now))]


class NumberApplication(Spoken):
    """The caller's number."""

    NAME = OwnNumber.NAME

    def said(self) -> list[Sound]:
        """See `Spoken`."""
        caller = self.seat.caller
        number = caller.number if caller is not None and not caller.private else ""
        said = digits(number)
        names = ["your-number", *said] if said else ["no-number"]
        return [File(path) for path in self.seat.spoken(names)]
