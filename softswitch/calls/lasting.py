"""What lasts of a call: what was told of it, its row in the journal, its talks and its end."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from softswitch import events
from softswitch.calls.consultation import Consultation, Consulting
from softswitch.calls.core import Caller, Core, Member
from softswitch.calls.early import Early
from softswitch.calls.headers import reason_line, reason_of
from softswitch.calls.last_words import LastWord, leaves
from softswitch.calls.leg import APPLICATION, INVITING, Leg
from softswitch.calls.mixing import Mixer
from softswitch.calls.parked import Parked
from softswitch.calls.records import CallRecord, encode, flow_record, head_of
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk, probe
from softswitch.calls.transfer import RETURNED, Transfer
from softswitch.config import Tap
from softswitch.dialplan import Action, Route
from softswitch.sip import (
    LATE,
    LONG,
    Request,
    Response,
    Timer,
    readable,
    same_place,
)

# After a restart it is no matter that the call was said to ring, or that a leg of it was over: who
# keeps call data has that on its own disk, and a leg is found out to be over when it is asked.
_LITTLE: Final = frozenset((events.LegRinging, events.LegEnded, events.CallEnded))

DESERTED: Final = 2.0
"""Seconds that two applications may talk with each other."""
TOLD_LATE: Final = 0.05
"""Seconds after its answer within which a caller usually is told: it is not said otherwise."""

_NORMAL: Final = 'Reason: Q.850;cause=16;text="Normal call clearing"\r\n'


class LastingCall(Consulting):
    """A call without its beginning.

    `caller` is the leg that came in, `legs` are those that are answered and not over; `search` is
    the caller's, `transfers` have their own. `first`: this switch is the first that tells of the
    call, though another made its callID.
    """

    __slots__ = (
        "_asked",
        "_by",
        "_check",
        "_goodbyes",
        "_longest",
        "_rename",
        "_transferred",
        "answered",
        "answered_at",
        "base",
        "call_id",
        "caller",
        "came",
        "core",
        "early",
        "emergency",
        "first",
        "identity",
        "last_word",
        "legs",
        "most",
        "number",
        "origin",
        "over",
        "owner",
        "party",
        "row",
        "said",
        "search",
        "switch_name",
        "told",
        "transfers",
        "travelled",
        "update",
    )

    def __init__(
        self, core: Core, call_id: str, owner: str, origin: bool, party: str, identity: Caller
    ) -> None:
        self.core = core
        self.call_id = call_id
        self.owner = owner
        self.origin = origin
        self.party = party
        self.identity = identity
        self.switch_name = core.name
        self.most = core.settings.max_text  # characters of a text (`softswitch.sip.texts`)
        self.base = 0  # what the steady clock lacks to the call's time (`softswitch.calls.numbers`)
        self.came = ""
        self.first = False
        self.number = 0
        self.caller: Leg | None = None
        self.legs: list[Leg] = []
        self.search: Search | None = None
        self.transfers: list[Transfer] | None = None
        self.early: Early | None = None  # what the caller has been shown before the answer
        self.update = False
        self.answered = False
        self.answered_at = 0.0
        self.over = False
        self.said = False  # whether the log has it
        self.travelled = False
        self.emergency = False
        self._check: Timer | None = None  # when both sides are asked if they are there
        self._longest: Timer | None = None  # when it has lasted long enough
        self._by = ""  # who hung up first
        self._goodbyes: list[Leg] | None = None  # legs whose BYE waits for an ACK
        self._rename: tuple[Leg, str] | None = None
        self._transferred = 0
        # Whether all have been asked since the process began; of a new call they need not be.
        self._asked = True
        # What was told of the call, and its row in the journal (0: none yet).
        self.told: list[events.Told] | None = [] if core.journal is not None else None
        self.row = 0
        self.last_word: LastWord | None = None  # while its BYE waits for an ACK

    def written(self) -> bytes:
        """Its row in the journal, as of now."""
        return encode(self.record())

    def record(self) -> CallRecord:
        """It as the journal holds it."""
        caller = self.caller
        legs = list(self.legs)
        received, received_by = "", None
        key = merged = ""
        if caller is not None:
            if not self.answered:
                legs.append(caller)
            incoming = caller.incoming
            if incoming is None:
                pass
            elif incoming.request is not None:
                received = head_of(incoming.request)
                received_by = flow_record(incoming.flow)
            else:
                key, merged = incoming.key, incoming.merged
        legs += self.ringing()
        identity, core = self.identity, self.core
        numbers, recorded, tapped = core.numbers, core.recorded, core.tapped
        # All by their places: names would cost more than what they name.
        return CallRecord(
            self.call_id,
            self.owner,
            self.origin,
            self.travelled,
            self.update,
            identity.number,
            identity.name,
            identity.private,
            self.answered,
            numbers.peek(self.call_id),
            tuple(self.told or ()),
            tuple([leg.record() for leg in legs]),
            received,
            received_by,
            key,
            merged,
            self.base,
            core.boot,
            self.number,
            self.party,
            self.came,
            tuple([talk.record() for talk in self.talks()]),
            numbers.peek_talk(self.call_id),
            tuple([parked.record() for parked in self.parked()]) if self.transfers else (),
            False,  # see `completing.CompletingCall`
            tuple([record for one in self.consultations() if (record := one.record()) is not None])
            if self.transfers
            else (),
            recorded is not None and self.call_id in recorded.calls,
            () if tapped is None else tapped.keys(self.call_id),
        )

    def ringing(self) -> list[Leg]:
        """Legs that are rung."""
        legs = self.search.inviting() if self.search is not None else []
        for transfer in self.transfers or ():
            legs += transfer.rung()
        return legs

    def consultations(self) -> list[Consultation]:
        """Those that are under way."""
        return [one for one in self.transfers or () if isinstance(one, Consultation)]

    def waiting(self) -> list[Leg]:
        """Legs that talk with nobody, and are to."""
        legs = [one.kept for one in self.parked()]
        return legs + [one.kept for one in self.consultations() if one.holds]

    def parked(self) -> list[Parked]:
        """Legs that wait to be retrieved."""
        return [one for one in self.transfers or () if isinstance(one, Parked)]

    def talks(self) -> list[Talk]:
        """Those that are on."""
        found = []
        for leg in self.legs:
            talk = leg.talk
            if isinstance(talk, Talk) and talk.first is leg:
                found.append(talk)
        return found

    def _add(self, transfer: Transfer) -> None:
        """A transfer of its parties is under way."""
        if self.transfers is None:
            self.transfers = []
        self.transfers.append(transfer)

    def __repr__(self) -> str:
        return f"<call {self.call_id}>"

    def tell_start(
        self,
        dialled: str,
        party: str,
        address: str = "",
        user_agent: str = "",
        sip_call_id: str = "",
    ) -> events.CallStarted:
        """Tell that the call exists, and who calls: that one's address, and what its INVITE says
        (none: no leg came in)."""
        started = events.CallStarted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            site=self.core.site,
            owner=self.owner,
            origin=self.origin or self.first,
            caller=self.identity.number,
            caller_name=self.identity.name,
            dialled=readable(dialled, self.most),
            party=party,
            address=address,
            user_agent=user_agent,
            sip_call_id=sip_call_id,
            leg=self.number,
            came=self.came,
        )
        self.tell(started)
        return started

    def tell_route(
        self, route: Route, properties: dict[str, str], once: dict[str, str] | None = None
    ) -> events.CallRouted:
        """Tell which route it takes, and the properties that it gets by that."""
        routed = events.CallRouted(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            match=route.match,
            where=route.where,
            number=readable(route.number, self.most),
            properties=properties,
            incoming=self.number,
            once=once if once is not None else {},
        )
        self.tell(routed)
        return routed

    def begin_talk(self, first: Leg, second: Leg, how: str, by: str) -> Talk:
        """From now on these two talk."""
        talk = Talk(self, self.core.numbers.talk(self.call_id), first, second, how, by)
        talk.began()
        if self.core.recorded is not None:
            self.record_talk(talk)
        if self.core.tapped is not None:
            self.tap_talk(talk)
        if _is_application(first) and _is_application(second):
            self.core.timers.after(DESERTED, partial(self._deserted, talk))
        return talk

    def begin_again(self, first: Leg, second: Leg, how: str, by: str) -> Talk:
        """The same of two who hear each other already: unless their media has gone by way of a
        worker, which a talk leaves with its end. Who was on hold is."""
        talk = self.begin_talk(first, second, how, by)
        if talk.resumes():
            return talk
        if first.session.ours and second.session.ours:
            there = same_place(first.session.ours, second.session.theirs)
            if not (there and same_place(second.session.ours, first.session.theirs)):
                talk.apart()
        return talk

    def be_recorded(self) -> None:
        """From now on all its talks are recorded."""
        recorded = self.core.recorded
        if recorded is not None and self.call_id not in recorded.calls:
            recorded.calls.add(self.call_id)
            self.changed()

    def be_tapped(self, tap: Tap) -> None:
        """From now on that program listens to all its talks."""
        tapped = self.core.tapped
        if tapped is not None and tapped.add(self.call_id, (tap,)):
            self.changed()

    def record_talk(self, talk: Talk) -> None:
        """If it is to be recorded, it is."""
        if self._is_recorded(talk):
            talk.record_it()

    def _is_recorded(self, talk: Talk) -> bool:
        recorded = self.core.recorded
        first, second = talk.first, talk.second
        if recorded is None or _is_application(first) or _is_application(second):
            return False
        return (
            self.call_id in recorded.calls
            or first.party in recorded.parties
            or second.party in recorded.parties
        )

    def tap_talk(self, talk: Talk) -> None:
        """If programs are to hear it, they do."""
        taps = self.taps_of(talk)
        if taps:
            talk.tap_it(taps)

    def taps_of(self, talk: Talk) -> tuple[Tap, ...]:
        """The programs that are to hear a talk."""
        tapped = self.core.tapped
        first, second = talk.first, talk.second
        if tapped is None or _is_application(first) or _is_application(second):
            return ()
        return tapped.of(self.call_id, first.party, second.party)

    def mix_talk(self, talk: Talk, mixer: object) -> None:
        """Its two sides share no codec: a media worker is between them already."""
        assert isinstance(mixer, Mixer)
        found = mixer.take()
        if found is not None:
            bridge, asides = found
            talk.is_mixed(bridge, asides, self._is_recorded(talk), self.taps_of(talk))
        else:
            self.core.timers.after(0.0, partial(self._unmixed, talk))

    def _unmixed(self, talk: Talk) -> None:
        """The worker died just then."""
        if not self.over and talk.first.talk is talk:
            self.hang_up_talk(talk, "Media Worker Lost")

    def _deserted(self, talk: Talk) -> None:
        """Two applications were brought together: neither would ever hang up."""
        if not self.over and talk.first.talk is talk:
            self.hang_up_talk(talk, "Nobody Is There")

    def answer_left(self) -> None:
        """The caller's 2xx has left."""
        now = self.core.timers.clock()
        if self.over or now - self.answered_at <= TOLD_LATE:
            return
        self.answered_at = now
        self.tell(
            events.CallerTold(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=self.number,
            )
        )

    # --- while it lasts

    def application_lost(self, application: Leg, otherwise: Action | None, why: str) -> None:
        """A worker has died, and the leg of its application with it: whom it talked with goes on
        with what the route says then (None: it is hung up on)."""
        raise NotImplementedError

    def _watch(self, first: float) -> None:
        """Ask both sides in `first` seconds whether they are there, and then again and again (0:
        never); end the call when it has lasted too long."""
        core = self.core
        if first:
            self._check = core.timers.after(first, self._ask_all)
        if core.settings.max_duration:
            self._wait_for_longest()

    def _wait_for_longest(self) -> None:
        core = self.core
        left = self.answered_at + core.settings.max_duration - core.timers.clock()
        if left <= 0:
            self._longest = None
            self.hang_up_all("the longest time allowed is over")
            return
        if left >= LONG:
            # Long timers are late by up to one part in LATE: what is left then is timed exactly.
            left -= left / LATE
        self._longest = core.timers.after(left, self._wait_for_longest)

    def resume(self, wait: float) -> None:
        """A restored call goes on; in `wait` seconds (0: as usual) both sides are asked if they are
        there."""
        self.changed()
        self._asked = False
        self._watch(wait or self.core.settings.session_check)

    def resumed(self) -> None:
        """The switch listens again after a restart: a transfer that was under way has ended with
        the process, and its parties talk again. From now on, as now they can be told so."""
        for leg in [one for one in self.legs if _is_application(one)]:
            # The workers have ended with the process.
            self.application_lost(leg, None, "Media Worker Lost")
        if self.over:
            return
        waiting = self.waiting()
        anchored = [talk.anchor for talk in self.talks() if talk.anchor is not None]
        alone = [leg for leg in self.legs if leg.talk is None and leg not in waiting]
        if len(alone) == 2:
            self.begin_again(alone[0], alone[1], RETURNED, alone[1].party)
        else:
            for leg in alone:
                self.left_alone(leg, 503, "Restarted")
        for anchor in anchored:
            anchor.begin()
        for one in self.consultations():
            one.resumed()

    def _ask_all(self) -> None:
        self._check = None
        again = self._asked
        self._asked = True
        for leg in list(self.legs):
            # Where there is a session timer, the refreshes say whether it is still there.
            if leg.refresh is None or not again:
                probe(self, leg)
        every = self.core.settings.session_check
        if every and not self.over:
            self._check = self.core.timers.after(every, self._ask_all)

    # --- the end

    def bye_from(self, leg: Member, request: Request) -> None:
        """A party hung up."""
        assert isinstance(leg, Leg)
        reason = reason_of(request)
        if leg.state == INVITING:
            if leg is self.caller:
                self.cancelled(request)
            elif leg.attempt is not None and leg.attempt.search is not None:
                search = leg.attempt.search
                leg.cancel("")
                search.failed(leg, Response(480, "Hung Up Before Answering", request.headers))
            return
        talk = leg.talk
        other = talk.other(leg) if talk is not None else None
        self.leg_ended(leg, leg.status, reason, "remote")
        leg.close()
        if leg in self.legs:
            self.legs.remove(leg)
        by = "caller" if leg is self.caller else "callee"
        if not self.transfers or not any(
            one.done and one.referrer is leg for one in self.transfers
        ):
            self._by = by
        if talk is not None:
            talk.end()
        line = f"Reason: {reason}\r\n" if reason else _NORMAL
        if self.transfers:
            self._left_in_transfer(leg, other, reason, line)
        elif other is not None:
            self._hang_up(other, reason, line, leg)
        if self.legs:
            self.changed()
        elif not self.over:
            self._end("answered", 200, reason, self._by or by)
        else:
            self.said_all()

    def vanished(self, leg: Member, why: str) -> None:
        """See `Passage`: who talks with others, or waits for somebody, goes on."""
        assert isinstance(leg, Leg)
        if not self.transfers or not leg.up or self.over:
            self.hang_up_all(why)
            return
        talk = leg.talk
        other = talk.other(leg) if talk is not None else None
        if talk is not None:
            talk.end()
        line = reason_line(480, why)
        self._by = self._by or "switch"
        self._hang_up(leg, why, line, other)
        self._left_in_transfer(leg, other, why, line)
        if self.legs:
            self.changed()
        elif not self.over:
            self._end("answered", 200, why, "switch")

    def _left_in_transfer(self, leg: Leg, other: Leg | None, reason: str, line: str) -> None:
        """A leg has hung up while somebody is transferred: who it talked with may go on."""
        transfers = list(self.transfers or ())
        parts = any(transfer.parts(leg) for transfer in transfers)
        for transfer in transfers:
            transfer.left(leg)
        if other is not None and not parts and other.up:
            self._hang_up(other, reason, line, leg)
            for transfer in list(self.transfers or ()):
                transfer.left(other)
        elif other is not None:
            other.free()

    def _hang_up(self, leg: Leg, reason: str, line: str, other: Leg | None = None) -> None:
        """End a leg; `other` is whom it talked with."""
        leg.hang_up(line, other)
        self.leg_ended(leg, leg.status, reason, "switch")
        if leg in self.legs:
            self.legs.remove(leg)
        if leg.bye_waits is not None:
            if self._goodbyes is None:
                self._goodbyes = []
            self._goodbyes.append(leg)

    def let_go(self, leg: Member, reason: str, line: str) -> None:
        """Hang up a leg; `reason` is for the record, `line` a header line for the leg."""
        assert isinstance(leg, Leg)
        if not leg.up:
            return
        talk = leg.talk
        other = talk.other(leg) if talk is not None else None
        if talk is not None:
            talk.end()
        self._hang_up(leg, reason, line, other)
        for transfer in list(self.transfers or ()):
            transfer.left(leg)
        if self.legs:
            self.changed()
        elif not self.over:
            self._end("answered", 200, reason, self._by or "switch")
        elif leg.bye_waits is None:
            self.said_all()

    def left_alone(self, leg: Member, status: int, reason: str) -> None:
        """Hang up a leg if it has nobody to talk with, and say why."""
        assert isinstance(leg, Leg)
        if leg.up and leg.talk is None and leg not in self.waiting():
            self.let_go(leg, reason, reason_line(status, reason))

    def hang_up_talk(self, talk: Talk, reason: str) -> None:
        """Those who talk so cannot: neither hears the other."""
        first, second = talk.first, talk.second
        talk.end()
        self._by = "switch"
        for leg in (second, first):
            self.left_alone(leg, 488, reason or "Not Acceptable Here")

    def talk_failed(self, talk: object, reason: str) -> None:
        """See `Passage`."""
        assert isinstance(talk, Talk)
        for transfer in self.transfers or ():
            if transfer.unheard(talk, reason):
                return
        self.hang_up_talk(talk, reason)

    def hang_up_all(self, why: str) -> None:
        """The switch ends the call: `why` goes into the record and to all parties."""
        if self.over:
            return
        line = reason_line(480, why)
        if not self.answered:
            failure = (503, why)
            if self.search is not None:
                self.search.give_up(why, line)
                incoming = self.caller.incoming if self.caller is not None else None
                if incoming is not None and incoming.final:
                    # Restored, and the caller was told this before.
                    failure = self.search.best
            self.fail(*failure)
            return
        transfers, self.transfers = self.transfers, None
        for transfer in transfers or ():
            transfer.stop(self)
        talking = [(leg, leg.talk.other(leg) if leg.talk else None) for leg in self.legs]
        for leg, _ in talking:
            if leg.talk is not None:
                leg.talk.end()
        for leg, other in talking:
            self._hang_up(leg, why, line, other)
        self._end("answered", 200, why, "switch")

    def leg_ended(self, leg: Member, status: int, reason: str, by: str) -> None:
        """Tell that a leg is over, and give back its line."""
        assert isinstance(leg, Leg)
        if leg.how == APPLICATION and not leg.ended:
            self.core.applications.leg_over(leg)
        if leg.line:
            holder = leg.holder
            if holder is None:
                holder = leg if leg.came_in else self
            self.core.line_counts.release(leg.line, holder)
            leg.line = ""
            leg.holder = None
        self.tell_leg_ended(leg, status, reason, by)

    def tell_leg_ended(self, leg: Leg, status: int, reason: str, by: str) -> None:
        """Tell that a leg is no leg of this call any more."""
        if leg.ended:
            return
        leg.ended = True
        core = self.core
        if core.awaited and leg.party in core.awaited:
            core.features.leg_over(leg.party, leg.came_in or leg.status > 0)
        self.tell(
            events.LegEnded(
                call_id=self.call_id,
                at=self.now_us(),
                switch=self.switch_name,
                leg=leg.index,
                status=status,
                reason=reason and readable(reason, self.most),
                by=by,
            )
        )

    def _end(self, disposition: str, status: int, reason: str, by: str) -> None:
        core = self.core
        self.over = True
        self._stop_timers()
        transfers, self.transfers = self.transfers, None
        for transfer in transfers or ():
            transfer.stop(self)
        if self.search is not None:
            self.search.close()
            self.search = None
        early, self.early = self.early, None
        if early is not None:
            early.close()
        ended = events.CallEnded(
            call_id=self.call_id,
            at=self.now_us(),
            switch=self.switch_name,
            disposition=disposition,
            sip_status=status,
            reason=reason and readable(reason, self.most),
            hangup_by=by,
            leg=self.number,
        )
        self.tell(ended)
        if self.said and core.call_log is not None:
            talked = core.timers.clock() - self.answered_at if self.answered else None
            core.call_log.ends(ended, talked)
        caller = self.caller
        if caller is not None and caller.state == INVITING:
            caller.close()
        if core.recorded is not None:
            core.recorded.calls.discard(self.call_id)
        if core.tapped is not None:
            core.tapped.calls.pop(self.call_id, None)
        if core.journal is not None:
            core.journal.over(self)
            for leg in self._goodbyes or ():
                if leg.bye_waits is not None:
                    self.last_word = leaves(core.journal, self.record_of(leg), leg.bye_waits)
        self._goodbyes = None
        self.told = None
        core.call_over(self)

    def record_of(self, leg: Leg) -> CallRecord:
        """As the journal holds it when all but this leg is over, and told."""
        told = [event for event in self.told or () if type(event) is events.TalkBegan]
        return msgspec.structs.replace(self.record(), told=tuple(told), legs=(leg.record(),))

    def said_all(self) -> None:
        """Of a call that is over: the BYE that waited for an ACK is sent."""
        word, self.last_word = self.last_word, None
        if word is not None:
            word.heard()

    def now_us(self) -> int:
        """The call's time: microseconds since the epoch, UTC, as if nobody had set the time of day
        since the call came."""
        return self.base + self.core.steady_us()

    def tell(self, event: events.Told) -> None:
        """Tell an event, and note what a restart would have to tell again."""
        core = self.core
        core.emit(event)
        journal = core.journal
        if journal is not None and self.told is not None:
            self.told.append(event)
            if type(event) in _LITTLE:
                journal.changed_a_little(self)
            else:
                journal.changed(self)

    def tell_media(self, event: events.LegMedia) -> None:
        """Tell what has been agreed on; a restart would tell a leg's last such event."""
        if self.told is not None:
            index = event.leg
            self.told = [
                old for old in self.told if type(old) is not events.LegMedia or old.leg != index
            ]
        self.tell(event)

    def tell_facts(self, event: events.ApplicationTold) -> None:
        """Tell what an application knows; a restart would tell the last of each leg."""
        if self.told is not None:
            index = event.leg
            self.told = [
                old
                for old in self.told
                if type(old) is not events.ApplicationTold or old.leg != index
            ]
        self.tell(event)

    def changed(self) -> None:
        """Something that the journal holds has changed."""
        if self.core.journal is not None and not self.over:
            self.core.journal.changed(self)

    def _stop_timers(self) -> None:
        for timer in (self._check, self._longest):
            if timer is not None:
                timer.cancel()
        self._check = self._longest = None


def _is_application(leg: Leg) -> bool:
    return leg.party.startswith("application:")


def address_of(leg: Leg) -> str:
    flow = leg.session.dialog.flow
    host, port = flow.remote
    return f"{flow.transport}:{host}:{port}"
