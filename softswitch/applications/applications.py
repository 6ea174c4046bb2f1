"""All applications of a switch: which is opened for a ``play:`` of the dialplan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from softswitch.applications.mailbox import MailboxApplication
from softswitch.applications.menu import MenuApplication
from softswitch.applications.seat import Application, Seat
from softswitch.applications.simple import (
    AnnouncementApplication,
    ClockApplication,
    EchoApplication,
    NumberApplication,
    ToneApplication,
)
from softswitch.applications.stream import StreamApplication
from softswitch.applications.voicemail import VoicemailApplication
from softswitch.calls import Applications as Known
from softswitch.calls import Opened
from softswitch.dialplan import (
    Announcement,
    Clock,
    Dialplan,
    Echo,
    MailboxPlay,
    MenuPlay,
    OwnNumber,
    Played,
    Plays,
    Sounds,
    StreamPlay,
    Tone,
    VoicemailPlay,
)
from softswitch.media import Port, Workers
from softswitch.sip import Network, Timer, Timers
from softswitch.voicemail import Voicemail

NONE_FREE: Final = (503, "No Media Worker")
NO_MAILBOX: Final = (480, "No Mailbox")


class Applications(Known):
    """`workers` is None where nobody speaks for the switch (`media.spare: 0`, or a simulation)."""

    def __init__(
        self,
        name: str,
        dialplan: Callable[[], Dialplan],
        network: Network,
        timers: Timers,
        now_us: Callable[[], int],
    ) -> None:
        self.name = name
        self._dialplan = dialplan
        self._network = network
        self._timers = timers
        self._now_us = now_us
        self.workers: Workers | None = None
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

    # --- for calls

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
        seat = Seat(self, play)
        where = self.address or _host_of(address)
        workers.want(seat, where, partial(self._seated, seat, play, where, then))

    def _seated(
        self,
        seat: Seat,
        play: Plays,
        address: str,
        then: Callable[[Opened | tuple[int, str]], None],
        port: Port | None,
    ) -> None:
        """There is a port for it, or none."""
        if port is None:
            then(NONE_FREE)
            return
        flow = self._network.flow_to("udp", "127.0.0.1", port.sip, self.listener, "")
        if flow is None:
            port.release()
            then(NONE_FREE)
            return
        seat.opened(port, _application(seat, play.what), flow, address)
        then(seat)


def _application(seat: Seat, what: Played) -> Application:
    match what:
        case Echo():
            return EchoApplication(seat)
        case Tone():
            return ToneApplication(seat, what)
        case Announcement():
            return AnnouncementApplication(seat, what)
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
        case StreamPlay():
            return StreamApplication(seat, what)


def _host_of(sent_by: str) -> str:
    """The address in ``host:port`` (RFC 3261 §18.1.1), without brackets."""
    if sent_by.startswith("["):
        return sent_by[1:].partition("]")[0]
    return sent_by.partition(":")[0] or "127.0.0.1"
