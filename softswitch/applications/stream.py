"""A program that hears and speaks for the caller (``play: {stream: URL}``)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final

from softswitch.applications.seat import Application, Seat
from softswitch.dialplan import StreamPlay
from softswitch.media import Stream, StreamEnded
from softswitch.sip import readable

log = logging.getLogger(__name__)

MOST: Final = 256
"""Characters of what the program is told of who calls and whom."""


class StreamApplication(Application):
    """What is said with the program is the worker's matter; here is whether it is there.

    ============  =======================  ===============================================
    it            a key                    the stream ends
    ============  =======================  ===============================================
    is connected  –                        `else`, or hangs up
    streams       goes to the program too  ``closed`` (by 1000): `then`, or hangs up;
                                           otherwise: `else`, or hangs up
    ============  =======================  ===============================================

    A caller who hangs up ends it: that comes by `left`.
    """

    NAME = StreamPlay.NAME

    def __init__(self, seat: Seat, settings: StreamPlay) -> None:
        super().__init__(seat)
        self._settings = settings

    def began(self) -> None:
        """See `Application`."""
        seat, settings = self.seat, self._settings
        call = seat.leg.call if seat.leg is not None else None
        if seat.leg is None or call is None:
            return
        seat.note(host=settings.host)
        who = seat.caller
        parameters = [
            ("caller", "" if who.private else readable(who.number, MOST)),
            ("callerName", "" if who.private else readable(who.name, MOST)),
            ("callee", readable(seat.number, MOST)),
        ]
        for name, value in settings.parameters:
            # Those of the dialplan are the last word.
            parameters = [one for one in parameters if one[0] != name]
            parameters.append((name, value))
        seat.stream(
            Stream(
                port=0,
                job=0,
                url=settings.url,
                # As in the call's data: application/SWITCH/LEG.
                sid=f"{call.call_id}/{call.switch_name}/{seat.leg.index}",
                call_id=call.call_id,
                switch=call.switch_name,
                headers=settings.headers,
                parameters=tuple(parameters),
                linear=settings.linear,
                ca=settings.ca,
                connect=settings.connect,
                ping=settings.ping,
                buffer=settings.buffer,
                backlog=settings.backlog,
                message=settings.message,
            )
        )

    def streaming(self) -> None:
        """See `Application`."""
        # Who hangs up ends the call before the stream is at its end: from here to there it goes.
        since = datetime.fromtimestamp(self.seat.around.seconds(), UTC)
        self.seat.note(streaming_from=since.isoformat())

    def stream_ended(self, ended: StreamEnded) -> None:
        """See `Application`."""
        seat = self.seat
        facts = {"ended": ended.why, "seconds": f"{ended.seconds:.1f}"}
        if ended.error:
            facts["error"] = ended.error
        seat.note(**facts)
        if ended.why == "closed":
            seat.done()
            return
        call = seat.leg.call if seat.leg is not None else None
        log.warning("%s: %s: %s", call, self._settings.told(), ended.error or ended.why)
        seat.otherwise()

    def digit(self, digit: str) -> None:
        """See `Application`: the worker has told the program."""
        self.seat.note_digit(digit)
