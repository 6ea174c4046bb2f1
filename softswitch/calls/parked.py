"""A parked call: a party waits at a number, its orbit, until somebody calls it and goes on with the
call. Who has parked it is rung after a while."""

from __future__ import annotations

from functools import partial

from softswitch.calls.core import Passage
from softswitch.calls.headers import SDP_LINE
from softswitch.calls.leg import Leg
from softswitch.calls.records import ParkedRecord
from softswitch.calls.transfer import PARK, BlindTransfer, Transfer, Transferring
from softswitch.sip import Response, granted, held


class Parked(Transfer):
    """`kept` waits at `to`; `by` has parked it."""

    __slots__ = ("_returning",)

    def __init__(self, call: Transferring, kept: Leg, orbit: str, by: str) -> None:
        super().__init__(call, None, by, kept, PARK, orbit)
        self._returning: BlindTransfer | None = None

    def record(self) -> ParkedRecord:
        """It as the journal holds it."""
        return ParkedRecord(self.kept.index, self.to, self.by)

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def start(self) -> None:
        """Park it: it is on hold, as there is nobody whom it could hear."""
        session = self.kept.session
        session.new_peer()
        if session.idle:
            self._hold()
        else:
            session.when_idle = self._hold
        self.wait()

    def wait(self) -> None:
        """It waits."""
        core = self.call.core
        core.orbits[self.to] = self
        if core.settings.parked:
            self.timer = core.timers.after(core.settings.parked, self._ring_back)

    def _hold(self) -> None:
        kept = self.kept
        session = kept.session
        if self.done or not session.ours or not kept.up:
            return
        sent = session.describe(held(session.ours))
        extra = f"{kept.contact}{kept.allow_line(self.call.update)}{kept.session_line()}{SDP_LINE}"
        session.invite(extra, sent, partial(self._held, sent))

    def _held(self, sent: bytes, response: Response) -> None:
        session, kept = self.kept.session, self.kept
        if response.status < 200 or kept.call is None:
            return
        if response.status < 300 and response.cseq == session.ack_cseq:
            session.ack_again(response.cseq)
            return
        session.outgoing = None
        if response.status < 300:
            # What it says of itself now is for nobody: what it has said before is kept.
            session.ours = sent
            kept.refresh_target(response)
            if kept.refresh is not None:
                kept.timed(granted(response))
            session.ack(response.cseq)
        session.settle()

    def _ring_back(self) -> None:
        """Nobody has called for it: who has parked it is rung, and then it waits on."""
        self.timer = None
        back = BlindTransfer(self.call, None, self.by, self.kept, self.to, PARK)
        back.returning = True
        back.unfound = self._waits_on
        back.wasfound = self._end
        self._returning = back
        if not self.call.return_to(back):
            self._waits_on()

    def _waits_on(self) -> None:
        self._returning = None
        if not self.done and self.kept.up:
            self.wait()

    def taken(self) -> None:
        """Somebody goes on with it."""
        returning, self._returning = self._returning, None
        if returning is not None:
            returning.stop(self.call)
            self.call.transfer_over(returning)
        self._end()

    def left(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.kept:
            self._end()

    def stop(self, ending: Passage) -> None:
        """See `Transfer`."""
        super().stop(ending)
        self._end()

    def _end(self) -> None:
        self.done = True
        self._returning = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        orbits = self.call.core.orbits
        if orbits.get(self.to) is self:
            del orbits[self.to]
        self.call.transfer_over(self)
