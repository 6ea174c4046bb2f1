"""All applications of a switch: which is opened for a ``play:`` of the dialplan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from softswitch import events
from softswitch.applications.bridge import Bridge, facts_of
from softswitch.applications.conference import ConferenceApplication, DoorApplication
from softswitch.applications.mailbox import MailboxApplication
from softswitch.applications.menu import MenuApplication
from softswitch.applications.page import PageApplication, PagedApplication, Phones
from softswitch.applications.queue import QueueApplication
from softswitch.applications.queues import Queues
from softswitch.applications.rooms import NONE_FREE, Rooms
from softswitch.applications.seat import Application, Seat
from softswitch.applications.simple import (
    AnnouncementApplication,
    ClockApplication,
    EchoApplication,
    MusicApplication,
    NumberApplication,
    ToneApplication,
)
from softswitch.applications.stream import StreamApplication
from softswitch.applications.voicemail import VoicemailApplication
from softswitch.calls import Applications as Known
from softswitch.calls import Bridged, Member, Opened
from softswitch.config import TappingModel
from softswitch.dialplan import (
    Announcement,
    Clock,
    Conference,
    ConferencePlay,
    Dialplan,
    Echo,
    MailboxPlay,
    MenuPlay,
    MusicPlay,
    OwnNumber,
    PagePlay,
    Play,
    Played,
    Plays,
    QueuePlay,
    Sounds,
    StreamPlay,
    Tone,
    VoicemailPlay,
)
from softswitch.media import Places, Port, Workers
from softswitch.recordings import Finished, Recordings
from softswitch.sip import Network, Timer, Timers
from softswitch.voicemail import Voicemail

NO_MAILBOX: Final = (480, "No Mailbox")
NO_CONFERENCE: Final = (404, "No Such Conference")
PAGE_OVER: Final = (404, "Page Over")


class Applications(Known):
    """`workers` is None where nobody speaks for the switch (`media.spare: 0`, or a simulation)."""

    def __init__(
        self,
        name: str,
        dialplan: Callable[[], Dialplan],
        network: Network,
        timers: Timers,
        now_us: Callable[[], int],
        emit: Callable[[events.Event], None],
        queues: Queues,
    ) -> None:
        self.name = name
        self._emit = emit
        self.recordings: Recordings | None = None
        self.tapping = TappingModel()
        self._dialplan = dialplan
        self._network = network
        self._timers = timers
        self._now_us = now_us
        self.queues = queues
        self.workers: Workers | None = None
        self.rooms = Rooms(self)
        self.pages = Rooms(self)
        """Those of pages."""
        self._paged = 0  # pages, so far
        self.phones: Phones | None = None
        """Whom a page can call; None: nobody."""
        self.sounds: Sounds | None = None
        self.messages: Voicemail | None = None
        self.address = ""
        """Where phones send audio for the switch itself; empty: where they know it."""
        self.time_zone = ""
        self.listener = ""
        """The switch's own port of 127.0.0.1, for its workers."""

    # --- for its applications (`seat.Surroundings`)

    @property
    def dialplan(self) -> Dialplan:
        """The one in force."""
        return self._dialplan()

    @property
    def voicemail(self) -> Voicemail | None:
        """Where messages are kept; None: nowhere."""
        return self.messages

    def prompt(self, name: str) -> str:
        """The path of a prompt; empty if there is none."""
        return self.sounds.prompt(name) if self.sounds is not None else ""

    def seconds(self) -> float:
        """The time of day, UTC."""
        return self._now_us() / 1e6

    def zone(self) -> str:
        """The switch's time zone; empty: the machine's."""
        return self.time_zone

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back."""
        return self._timers.after(seconds, callback)

    @property
    def hold_music(self) -> tuple[str, ...]:
        """What is heard on hold (paths)."""
        return self._dialplan().hold_music

    def tell_recording(self, call_id: str, talk: int, at: int, facts: dict[str, str]) -> None:
        """What is known of a talk's recording; `at` 0: now, as there is no call any more."""
        self._emit(
            events.RecordingTold(
                call_id=call_id,
                at=at or self._now_us(),
                switch=self.name,
                talk=talk,
                facts=facts,
            )
        )

    def tell_tap(self, call_id: str, talk: int, tap: int, at: int, facts: dict[str, str]) -> None:
        """What is known of a program that listens to a talk; `at` is as above."""
        self._emit(
            events.TapTold(
                call_id=call_id,
                at=at or self._now_us(),
                switch=self.name,
                talk=talk,
                tap=tap,
                facts=facts,
            )
        )

    def made_whole(self, finished: Finished) -> None:
        """What a killed process has left of a recording is one now."""
        about = finished.about
        if about.get("call_id") and about.get("talk", "").isdigit():
            self.tell_recording(about["call_id"], int(about["talk"]), 0, facts_of(finished))

    # --- for calls

    def bridge(
        self,
        call_id: str,
        addresses: tuple[str, str],
        then: Callable[[Bridged | tuple[int, str]], None],
    ) -> None:
        """See `calls.Applications`."""
        workers = self.workers
        if workers is None:
            then(NONE_FREE)
            return
        first, second = (self.address or _host_of(one) for one in addresses)
        bridged = partial(self._bridged, call_id, (first, second), then)
        workers.keep(2, first, bridged, second if second != first else "")

    def _bridged(
        self,
        call_id: str,
        addresses: tuple[str, str],
        then: Callable[[Bridged | tuple[int, str]], None],
        places: Places | None,
    ) -> None:
        if places is None or places.size < 2:
            if places is not None:
                places.close()
            then(NONE_FREE)
            return
        flow = self._network.flow_to("udp", "127.0.0.1", places.worker.sip, self.listener, "")
        if flow is None:
            places.close()
            then(NONE_FREE)
            return
        then(Bridge(self, call_id, places, flow, addresses))

    def open(
        self, play: Plays, address: str, then: Callable[[Opened | tuple[int, str]], None]
    ) -> None:
        """See `calls.Applications`."""
        workers = self.workers
        if workers is None:
            then(NONE_FREE)
            return
        what = play.what
        if isinstance(what, VoicemailPlay):
            kept = self.messages
            if kept is None or not kept.has(what.of or play.number):
                # Not answered, to be hung up on at once.
                then(NO_MAILBOX)
                return
        if isinstance(what, PagePlay) and not what.room:
            self._paged += 1
            # No conference can have that name.
            what = msgspec.structs.replace(what, room=f"page {self._paged}")
            play = Play(what, play.number, play.then, play.otherwise)
        seat = Seat(self, play)
        where = self.address or _host_of(address)
        seated = partial(self._seated, seat, play, where, then)
        if isinstance(what, ConferencePlay):
            conference = self.dialplan.conferences.get(what.room)
            if conference is None:
                then(NO_CONFERENCE)
                return
            if what.admitted or not conference.guarded:
                self.rooms.enter(conference, seat, what.leads, where, seated)
                return
        if isinstance(what, PagePlay):
            if what.paged and self.pages.room(what.room) is None:
                then(PAGE_OVER)
                return
            room = Conference(what.room, len(what.extensions) + 1)
            self.pages.enter(room, seat, True, where, seated)
            return
        workers.want(seat, where, seated)

    def leg_over(self, leg: Member) -> None:
        """See `calls.Applications`."""
        self.queues.leg_over(leg)
        for room in self.pages.all:
            # Who pages comes first.
            first = room.members[0] if room.members else None
            if isinstance(first, PageApplication) and first.seat.leg is leg:
                first.last_word()

    def _seated(
        self,
        seat: Seat,
        play: Plays,
        address: str,
        then: Callable[[Opened | tuple[int, str]], None],
        port: Port | tuple[int, str] | None,
    ) -> None:
        """There is a port for it, or none, or why it may have none."""
        if not isinstance(port, Port):
            then(NONE_FREE if port is None else port)
            return
        flow = self._network.flow_to("udp", "127.0.0.1", port.sip, self.listener, "")
        if flow is None:
            port.release()
            then(NONE_FREE)
            return
        seat.opened(port, self._application(seat, play.what), flow, address)
        then(seat)

    def _application(self, seat: Seat, what: Played) -> Application:
        if isinstance(what, ConferencePlay):
            conference = self.dialplan.conferences.get(what.room)
            if conference is not None and not what.admitted and conference.guarded:
                return DoorApplication(seat, conference)
            return ConferenceApplication(seat, self.rooms, what)
        if isinstance(what, PagePlay):
            if what.paged or self.phones is None:
                return PagedApplication(seat, self.pages, what)
            return PageApplication(seat, self.pages, what, self.phones)
        return _application(seat, what, self.queues)


def _application(seat: Seat, what: Played, queues: Queues) -> Application:
    match what:
        case Echo():
            return EchoApplication(seat)
        case Tone():
            return ToneApplication(seat, what)
        case Announcement():
            return AnnouncementApplication(seat, what)
        case MusicPlay():
            return MusicApplication(seat, what)
        case MenuPlay():
            return MenuApplication(seat, what)
        case Clock():
            return ClockApplication(seat, what)
        case OwnNumber():
            return NumberApplication(seat)
        case VoicemailPlay():
            return VoicemailApplication(seat, what)
        case MailboxPlay():
            return MailboxApplication(seat, what)
        case QueuePlay():
            return QueueApplication(seat, what, queues)
        case ConferencePlay() | PagePlay():
            raise AssertionError("rooms are the applications' own")
        case StreamPlay():
            return StreamApplication(seat, what)


def _host_of(sent_by: str) -> str:
    """The address in ``host:port`` (RFC 3261 §18.1.1), without brackets."""
    if sent_by.startswith("["):
        return sent_by[1:].partition("]")[0]
    return sent_by.partition(":")[0] or "127.0.0.1"
