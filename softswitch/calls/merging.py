"""How two calls become one: the older one lives on (see `softswitch.events.CallMerged`).

The legs of the younger one that go on belong to the older one from then on, and a neighbour of ours
is told so within the dialog, as its part of the younger call has become one of the older.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch import events
from softswitch.calls.callid import read_call_id, write_call_id
from softswitch.calls.core import Member
from softswitch.calls.last_words import leaves
from softswitch.calls.lasting import address_of
from softswitch.calls.leg import DIALLED, Leg
from softswitch.calls.placed import PlacedCall
from softswitch.calls.records import CallRecord
from softswitch.calls.transfer import ATTENDED, TRANSFERRED, AttendedTransfer
from softswitch.sip import Response, decoded, readable

MERGED: Final = "Merged"
_AGAIN: Final = 10.0
"""Seconds until a neighbour that has not heard of a merge is told again."""


class MergingCall(PlacedCall):
    """A call that may take in legs of another, or become part of one."""

    __slots__ = ()

    def another(self, call_id: str, owner: str) -> MergingCall:
        """A passage of another call, of which this one becomes part."""
        raise NotImplementedError

    def brought_together(self, transfer: AttendedTransfer, replaced: Leg | None) -> None:
        """The two whom somebody has talked to both are connected: their calls are one."""
        for leg in (transfer.kept, transfer.target):
            if leg.talk is not None:
                leg.talk.end()
        transfer.worked()
        transfer.call = self._unite(transfer.kept, transfer.target, ATTENDED, transfer.by, replaced)
        transfer.finish()

    # --- when two calls become one

    def _unite(
        self, first: Leg, second: Leg, how: str, by: str, leaving: Leg | None
    ) -> MergingCall:
        """These two, of one call or of two, talk from now on, in the older one; `leaving` is a leg
        that has no part in it any more."""
        one, two = first.call, second.call
        assert isinstance(one, MergingCall)
        assert isinstance(two, MergingCall)
        for leg in (first, second):
            if leg.talk is not None:
                leg.talk.end()
        older, younger = (two, one) if two.call_id < one.call_id else (one, two)
        moved = first if first.call is younger else second
        if leaving is not None and leaving.call is not None:
            leaving.call.let_go(leaving, "Transferred", TRANSFERRED)
        if older is younger:
            older.begin_talk(first, second, how, by)
            return older
        older._take_in(younger, moved)
        older.begin_talk(first, second, how, by)
        younger._merged(older)
        older._rename_neighbour(moved)
        return older

    def _take_in(self, younger: MergingCall, leg: Leg, came: str = "") -> None:
        """A leg of another call belongs to this one from now on."""
        core, most = self.core, self.most
        was = leg.index
        self._recorded_as(younger)
        younger.tell_leg_ended(leg, leg.status, MERGED, "switch")
        younger.legs.remove(leg)
        if leg.line and leg.holder is None:
            leg.holder = leg if leg.came_in else younger
        leg.ended = False
        leg.call = self
        leg.index = core.numbers.next(self.call_id)
        self.legs.append(leg)
        self.answered = True
        dialog = leg.session.dialog
        self.tell(
            events.LegMoved(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=leg.index,
                was_call=younger.call_id,
                was_leg=was,
                direction="in" if leg.came_in else "out",
                party=leg.party,
                number=readable(leg.number, most),
                address=address_of(leg),
                sip_call_id=readable(dialog.call_id, most),
                codec=leg.codec,
                user_agent=decoded(leg.user_agent, most),
                between=leg.between,
                came=came,
                incoming=self.number,
            )
        )

    def _recorded_as(self, younger: MergingCall) -> None:
        """If all talks of that one are recorded, those of this one are, too; and if programs
        listen to them."""
        recorded = self.core.recorded
        if recorded is not None and younger.call_id in recorded.calls:
            recorded.calls.add(self.call_id)
        tapped = self.core.tapped
        if tapped is not None:
            tapped.add(self.call_id, tapped.calls.get(younger.call_id, ()))

    def _merged(self, older: MergingCall) -> None:
        """What is left of this call is part of an older one."""
        if older.call_id != self.call_id:  # else it was another passage of the same call
            self.tell(
                events.CallMerged(
                    call_id=self.call_id,
                    at=self.now_us(),
                    switch=self.switch_name,
                    into=older.call_id,
                    owner=older.owner,
                    leg=self.number,
                )
            )
        for transfer in self.transfers or ():
            if transfer not in (older.transfers or ()):
                older._add(transfer)
            transfer.call = older
        self.transfers = None
        left: CallRecord | None = None
        for leg in list(self.legs):
            # It is told of a transfer yet, and then hung up on, by another process if need be.
            self.leg_ended(leg, leg.status, "Transferred", "switch")
            self.legs.remove(leg)
            if self.core.journal is not None:
                left = self.record_of(leg)
        self._end("answered", 200, MERGED, "switch")
        if left is not None and self.core.journal is not None:
            self.last_word = leaves(self.core.journal, left, TRANSFERRED)

    def resumed(self) -> None:
        """See `LastingCall`. Whether a neighbour has heard which call it is now is not known."""
        super().resumed()
        moved = [event.leg for event in self.told or () if type(event) is events.LegMoved]
        for leg in self.legs:
            if leg.index in moved:
                self._rename_neighbour(leg)

    def _rename_neighbour(self, leg: Leg) -> None:
        """Tell another of our switches at the other end of which call this leg is now."""
        if not leg.between or not leg.up or leg.call is not self:
            return
        self.travelled = True
        carried = write_call_id(
            self.call_id, self.owner, self.came, f"{self.switch_name}/{leg.index}"
        )
        header = self.core.settings.call_id_header
        leg.session.send(
            "UPDATE",
            f"{leg.contact}{header}: {carried}\r\n",
            on_response=partial(self._neighbour_renamed, leg),
        )

    def _neighbour_renamed(self, leg: Leg, response: Response) -> None:
        """It has been told, or has not heard: then again, as long as there is something to tell."""
        status = response.status
        if status < 300 or status == 481 or self.over or leg.call is not self:
            return
        self.core.timers.after(_AGAIN, partial(self._rename_neighbour, leg))

    def renamed(self, leg: Member, value: str) -> None:
        """The neighbour behind a leg says that the call is part of another (the callID header)."""
        assert isinstance(leg, Leg)
        core = self.core
        carried = read_call_id(value)
        if carried is None or carried.call_id == self.call_id or not self.answered or self.over:
            return
        if carried.call_id > self.call_id:
            self._rename_neighbour(leg)
            return
        if any(not transfer.done for transfer in self.transfers or ()):
            self._rename = leg, value
            return
        # Who has transferred and is about to leave is told so in the call that it has been in.
        going = [one for one in self.legs if one.talk is not None]
        if leg not in going:
            return
        came_in = next((one for one in going if one.index == self.number), going[0])
        older = self.another(carried.call_id, carried.owner)
        older.base = core.numbers.base(carried.call_id)
        older.number = core.numbers.next(carried.call_id)
        older.came = carried.legs if leg is came_in else ""
        older.answered, older.answered_at = True, self.answered_at
        older.update, older.said = self.update, self.said
        older.caller = came_in
        core.adopt(older, 0, 1)
        talks = [(talk.first, talk.second, talk.how, talk.by) for talk in self.talks()]
        for talk in self.talks():
            talk.end()
        agent = decoded(came_in.user_agent, self.most)
        sip_call_id = readable(came_in.session.dialog.call_id, self.most)
        older.tell_start("", came_in.party, address_of(came_in), agent, sip_call_id)
        self.tell_leg_ended(came_in, came_in.status, MERGED, "switch")
        self.legs.remove(came_in)
        came_in.ended = False
        if came_in.line and came_in.holder is None:
            came_in.holder = came_in if came_in.came_in else self
        came_in.call, came_in.index = older, older.number
        older.legs.append(came_in)
        older._recorded_as(self)
        came = carried.legs.rpartition(" ")[2]
        for other in going:
            if other is came_in:
                continue
            older._take_in(self, other, came if other is leg else "")
        for first, second, how, by in talks:
            # What the neighbour has done is carried on here.
            theirs = leg in (first, second)
            older.begin_again(first, second, *((DIALLED, leg.party) if theirs else (how, by)))
        self._merged(older)
        older._watch(core.settings.session_check)
        for other in older.legs:
            if other is not leg:
                older._rename_neighbour(other)
