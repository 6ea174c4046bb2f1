"""A parked call: a party waits at a number, its orbit, until somebody calls it and goes on with the
call. Who has parked it is rung after a while."""

from __future__ import annotations

from softswitch.calls.core import Passage
from softswitch.calls.holding import Hold
from softswitch.calls.leg import Leg
from softswitch.calls.records import ParkedRecord
from softswitch.calls.transfer import PARK, BlindTransfer, Transfer, Transferring


class Parked(Transfer):
    """`kept` waits at `to`; `by` has parked it."""

    __slots__ = ("_hold", "_returning")

    def __init__(self, call: Transferring, kept: Leg, orbit: str, by: str) -> None:
        super().__init__(call, None, by, kept, PARK, orbit)
        self._returning: BlindTransfer | None = None
        self._hold: Hold | None = None

    def record(self) -> ParkedRecord:
        """It as the journal holds it."""
        return ParkedRecord(self.kept.index, self.to, self.by)

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def answered_alone(self, leg: Leg) -> None:
        """See `Transfer`."""
        if leg is self.kept and self._hold is not None:
            self._hold.answered()

    def start(self) -> None:
        """Park it: it is on hold, as there is nobody whom it could hear."""
        hold = self._hold = Hold(self.call, self.kept)
        hold.start()
        self.wait()

    def wait(self) -> None:
        """It waits."""
        core = self.call.core
        core.orbits[self.to] = self
        if core.settings.parked:
            self.timer = core.timers.after(core.settings.parked, self._ring_back)

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
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.stop()
        self._returning = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        orbits = self.call.core.orbits
        if orbits.get(self.to) is self:
            del orbits[self.to]
        self.call.transfer_over(self)
