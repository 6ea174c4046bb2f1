"""A leg on hold by us: there is nobody whom it could hear (RFC 3264 §8.4), but music, if the
dialplan has some."""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch.calls.core import Passage
from softswitch.calls.headers import SDP_LINE
from softswitch.calls.join import pause
from softswitch.calls.leg import Leg
from softswitch.calls.tune import Tune
from softswitch.sip import Response, Timer, granted, held

_TRIES: Final = 5
"""Of an offer that crosses others."""


class Hold:
    """Of one leg. `refused`: it says that it cannot, and goes on sending to whom it has talked
    with. `known` is what that one knows of it: what it has said before."""

    __slots__ = ("_call", "_timer", "_tries", "_tune", "known", "leg", "over", "refused")

    def __init__(self, call: Passage, leg: Leg) -> None:
        self._call = call
        self.leg = leg
        self.known = leg.session.theirs
        self._timer: Timer | None = None
        self._tries = 0
        self._tune: Tune | None = None
        self.refused = False
        self.over = False

    def start(self) -> None:
        """As soon as its session is idle."""
        music = self._call.core.music
        if music is None or self.leg.party.startswith("application:"):
            self._silence()
        else:
            tune = self._tune = Tune(self._call, self.leg, music, self._tuned)
            tune.start()

    def answered(self) -> None:
        """It has made an offer, and was told that there is nobody: music goes on."""
        tune = self._tune
        if tune is not None and not tune.comes:
            tune.stop()
            self.start()

    def _tuned(self, heard: bool) -> None:
        if heard:
            return
        self._tune = None
        if not self.over and self.leg.up:
            self._silence()

    def _silence(self) -> None:
        session = self.leg.session
        session.new_peer()
        if session.idle:
            self._offer()
        else:
            session.when_idle = self._offer

    def stop(self) -> None:
        """Somebody else makes the next offer."""
        self.over = True
        tune, self._tune = self._tune, None
        if tune is not None:
            tune.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        session = self.leg.session
        if session.when_idle == self._offer:
            session.when_idle = None

    def _offer(self) -> None:
        self._timer = None
        leg = self.leg
        session = leg.session
        if self.over or not session.ours or not leg.up:
            return
        if not session.idle:
            session.when_idle = self._offer
            return
        sent = session.describe(held(session.ours))
        extra = f"{leg.contact}{leg.allow_line(self._call.update)}{leg.session_line()}{SDP_LINE}"
        session.invite(extra, sent, partial(self._answered, sent))

    def _answered(self, sent: bytes, response: Response) -> None:
        leg, status = self.leg, response.status
        session = leg.session
        if status < 200 or leg.call is None:
            return
        if status < 300 and response.cseq == session.ack_cseq:
            session.ack_again(response.cseq)
            return
        session.outgoing = None
        if status < 300:
            # What it says of itself now is for nobody: what it has said before is kept.
            session.ours = sent
            leg.refresh_target(response)
            if leg.refresh is not None:
                leg.timed(granted(response))
            session.ack(response.cseq)
            leg.call.changed()
        elif not self.over and (status == 491 or (status == 500 and response.get("retry-after"))):
            self._tries += 1
            if self._tries < _TRIES:
                self._timer = leg.call.core.timers.after(pause(leg, status), self._offer)
        else:
            self.refused = True
        session.settle()
