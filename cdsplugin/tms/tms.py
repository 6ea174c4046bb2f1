"""The TMS: turns what the switches say of their calls into call data.

From the source: "Call data from the switch is passed to a TMS/SWITCH module. The TMS/SWITCH module
registers with the local CDS store in order to exchange data", and "a TMS instance can manage zero
or more switches". Each switch's module is a client of its own in the store. What it writes:

======================  ====================================================================
``call``                who calls whom, where and when: by the originating switch
``answer``, ``end``     the call's answer and its end, by the originating switch
``route/SWITCH``        the dialplan's choice at a switch
``leg/SWITCH/N``        a leg, written by the switch that has it
``talk/SWITCH/N``       legs that hear each other, unless the legs say all of it
``merged/SWITCH``       into which older call this one went on
``switch/SWITCH``       how a switch other than the originating one saw the call end
what ``set:`` says      the route's own properties, under their own names
``set_once:``           the same, where the call has no property of that name
======================  ====================================================================

A call that comes back to a switch which it has passed is there more than once. Each passage is told
apart by the number of its incoming leg, which the later ones' names end in: ``route/SWITCH/2``,
``switch/SWITCH/2``. ``call``, ``answer`` and ``end`` are those of the passage of the call's origin.

Each of these is one property whose value is a flat mapping, written whole by its switch: fewer
entries to stamp, merge and send than one for each word, and what belongs together changes together.
Times are integers (microseconds, UTC) in the time base of the call's owner, as stamps are. ``docs/
call-data.md`` lists every name.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeAlias

from cdsplugin.data import (
    Call,
    Clock,
    Log,
    Once,
    Property,
    Store,
    give_back,
    passage_name,
    talk_name,
)
from cdsplugin.tms.event_values import WRITERS, EventValues, Values
from cdsplugin.tms.known import knows
from cdsplugin.tms.passages import SUPPOSED, TIMES, SwitchCall, found_again, over
from softswitch.events import (
    CallEnded,
    CallRestored,
    CallStarted,
    Event,
    RecordingTold,
)

log = logging.getLogger("cdsplugin.tms")

Soon: TypeAlias = Callable[[Callable[[], None]], object]

RESTARTED = "switch restarted"
"""The ``reason`` of calls that a switch did not bring back from its last life."""

UNTOLD = "end not told"
"""The ``reason`` of calls that a switch has no more, and whose end did not come from it."""


class Tms:
    """The modules of all switches that this server manages, made as they are first heard of.

    A switch has several events at once: an INVITE is a call, a route and a leg, a BYE ends two legs
    and the call. With ``soon`` (an event loop's ``call_soon``) they are written together, as one
    update, at the end of the turn; without it each is written as it comes. ``flush`` does it now.
    Who has to have something on disk before what was told until a moment is written, and after it
    no more than that, uses ``seal`` at that moment and ``write`` later.
    """

    def __init__(self, store: Store, clock: Clock, soon: Soon | None = None) -> None:
        self._store = store
        self._clock = clock
        self._soon = soon
        self._switches: dict[str, SwitchModule] = {}
        self._elsewhere: frozenset[str] = frozenset()
        self._seals = 0
        self.unknown_events = 0

    def elsewhere(self, switches: Iterable[str]) -> None:
        """The events of these come over a network, and may have waited for it."""
        self._elsewhere = frozenset(switches)

    def event(self, event: Event) -> None:
        """Take a call-state event. An event of a call that was never started is counted, no
        more."""
        module = self._switches.get(event.switch) or self._module(event.switch)
        if not module.event(event):
            self.unknown_events += 1

    def alive(self, switch: str, call_ids: Iterable[str]) -> None:
        """A switch says that these calls are in progress there: who restarted takes them up."""
        module = self._module(switch)
        for call_id in call_ids:
            module.alive(call_id)

    def only(self, switch: str, passages: Container[tuple[str, int]]) -> None:
        """A switch has told everything, and these passages (by call and incoming leg) are in
        progress there: all others are over, though their end was lost on the way."""
        self._module(switch).only(passages)

    def release(self, switch: str) -> int:
        """A switch is gone for too long: its calls are held up no more. Returns how many.

        Should an event of such a call come all the same, it is taken up again.
        """
        module = self._switches.get(switch)
        return 0 if module is None else module.release()

    def calls_of(self, switch: str) -> int:
        """How many calls are in progress at a switch."""
        module = self._switches.get(switch)
        return 0 if module is None else len(module)

    def seal(self) -> int:
        """What was told so far is to be written by ``write`` with the number that this returns."""
        self._seals += 1
        for module in self._switches.values():
            module.seal(self._seals)
        return self._seals

    def write(self, upto: int) -> None:
        """Write what was sealed up to then, and nothing that was told after it."""
        for module in self._switches.values():
            module.write(upto)

    def flush(self) -> None:
        """Write what was told so far."""
        for module in self._switches.values():
            module.flush()

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        for module in self._switches.values():
            module.tidy()

    def live(self) -> int:
        """How many calls are in progress at the switches."""
        return sum(len(module) for module in self._switches.values())

    def _module(self, switch: str) -> SwitchModule:
        module = self._switches.get(switch)
        if module is None:
            module = self._switches[switch] = SwitchModule(
                switch, self._store, self._clock, self._soon, switch in self._elsewhere
            )
        return module


class SwitchModule:
    """The TMS/SWITCH module of one switch, a client of the local store."""

    def __init__(
        self, switch: str, store: Store, clock: Clock, soon: Soon | None, late: bool = False
    ) -> None:
        self.switch = switch
        self.late = late
        """Whether its events may be old when they come."""
        self._soon = soon
        self._unwritten: dict[str, tuple[SwitchCall, Values]] = {}
        """What was told of calls and is not in the store yet."""
        self._sealed: deque[tuple[int, dict[str, tuple[SwitchCall, Values]]]] = deque()
        """The same, told before it was asked for, by the number of the asking."""
        self._server = store.server
        self._store = store
        self._clock = clock
        self._calls: dict[str, SwitchCall] = {}
        self._values = EventValues(switch)
        self._restored: set[tuple[str, int]] = set()
        """Passages, by call and incoming leg."""
        self._last: int | None = None
        """When the last event was made, by our monotonic clock."""

    def __len__(self) -> int:
        return len(self._calls)

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._calls)

    def event(self, event: Event) -> bool:
        """Write what an event says; false if its call is unknown here."""
        writer = WRITERS.get(type(event))
        if writer is None:
            return self._special(event)
        call_id = event.call_id
        call = self._calls.get(call_id)
        if call is None:
            self._write_out(call_id)
            held = self._store.get(call_id)
            if held is None:
                return False
            if not self.adopt(held):
                return type(event) is RecordingTold and self._late_recording(held, event)
            call = self._calls[call_id]
        at = event.at
        self._last = at - call.base
        at += call.ahead if call.owner == self._server else self._ahead(call_id, call)
        values = writer(self._values, call, event, at)
        if not call.passages and type(event) is CallEnded:
            del self._calls[call_id]
        self._write(call_id, call, values)
        return True

    def _late_recording(self, held: Call, event: RecordingTold) -> bool:
        """The file of a recording is whole a moment after the call's end: until the call is over
        for everybody, its record has that."""
        self._store.register(self, event.call_id, held.owner)
        written = self._store.write(self, event.call_id, self._server, self._values.recorded(event))
        self._store.unregister(self, event.call_id)
        return written

    def _special(self, event: Event) -> bool:
        """What begins a call, or a switch's life."""
        if type(event) is CallStarted:
            self._started(event, self._base(event.at))
        elif type(event) is CallRestored:
            return self._is_restored(event)
        else:
            self._switch_started()
        return True

    def _write(self, call_id: str, call: SwitchCall, values: Values) -> None:
        unwritten = self._unwritten
        earlier = unwritten.get(call_id)
        if earlier is not None:
            earlier[1].update(_new(values, earlier[1]) if call.once else values)
            return
        first = not unwritten
        unwritten[call_id] = (call, values)
        if self._soon is None:
            self.flush()
        elif first:
            self._soon(self.flush)

    def seal(self, number: int) -> None:
        """See ``Tms.seal``."""
        if self._unwritten:
            self._sealed.append((number, self._unwritten))
            self._unwritten = {}

    def write(self, upto: int) -> None:
        """See ``Tms.write``."""
        while self._sealed and self._sealed[0][0] <= upto:
            self._put(self._sealed.popleft()[1])

    def flush(self) -> None:
        """Write what was told so far, and leave the calls that are over."""
        while self._sealed or self._unwritten:
            if self._sealed:
                self._put(self._sealed.popleft()[1])
            else:
                told, self._unwritten = self._unwritten, {}
                self._put(told)

    def _write_out(self, call_id: str) -> None:
        """Write what was told of this call so far."""
        for told in (*(told for _, told in self._sealed), self._unwritten):
            one = told.pop(call_id, None)
            if one is not None:
                self._put({call_id: one})

    def _put(self, told: dict[str, tuple[SwitchCall, Values]]) -> None:
        for call_id, (call, values) in told.items():
            if call.plain_over:
                # None of its legs has ended in that turn.
                values = {**values, **self._values.spelled(call)}
            if call.owner != self._server:
                values = self._timed(call_id, call, values)
            if call.released or (
                values
                and not self._store.write(self, call_id, self._server, values)
                and self._store.get(call_id) is None
            ):
                self._again(call_id, call, values)
            if call_id not in self._calls and not self._untold(call_id):
                self._store.unregister(self, call_id)

    def _untold(self, call_id: str) -> bool:
        """Whether there is more of this call that is not in the store yet."""
        return call_id in self._unwritten or any(call_id in told for _, told in self._sealed)

    def adopt(self, call: Call) -> bool:
        """Take up a call from what the store has of it; false if it is over at this switch."""
        if call.call_id in self._calls:
            return False
        base = call.base if call.owner == self._server else self._clock.own()
        taken = found_again(call, self.switch, base)
        if taken is None:
            return False
        self._calls[call.call_id] = taken
        self._store.register(self, call.call_id, call.owner)
        first = min(taken.passages)
        revived: Values = {}
        for number, leg in taken.legs.items():
            if number >= first and "supposed" in leg:
                alive = {key: value for key, value in leg.items() if key not in SUPPOSED}
                revived.update(self._values.leg(taken, number, alive))
        if revived:
            self._store.write(self, call.call_id, self._server, revived)
        return True

    def alive(self, call_id: str) -> None:
        """See ``Tms.alive``."""
        self.flush()
        held = self._store.get(call_id)
        if held is not None and self.adopt(held):
            self._speak(call_id)

    def only(self, passages: Container[tuple[str, int]]) -> None:
        """See ``Tms.only``."""
        self.flush()
        self._lost(passages, UNTOLD)

    def release(self) -> int:
        """See ``Tms.release``."""
        self.flush()
        count = 0
        for call_id, call in self._calls.items():
            if not call.released:
                call.released = True
                count += 1
                self._store.unregister(self, call_id)
        return count

    # A switch that was killed and is back

    def _is_restored(self, event: CallRestored) -> bool:
        """A passage goes on. What is not known of it yet is taken from what was told before."""
        self.flush()
        call_id = event.call_id
        held = self._store.get(call_id)
        call = self._calls.get(call_id)
        if call is None and held is not None and self.adopt(held):
            call = self._calls[call_id]
        if held is not None and call is None and self._ended_before(held, event):
            # Its end was told in the last moment before the kill, and stored here, but not yet in
            # the switch's journal: the first end is the true one.
            return True
        self._restored.add((call_id, event.leg))
        base = self._base(event.at)
        if call is not None:
            self._goes_on(call, held, base)
            if call.released:
                self._again(call_id, call, {})
        for told in event.told:
            call = self._calls.get(call_id)
            if call is not None and knows(call, self._store.get(call_id), self.switch, told):
                continue
            if type(told) is CallStarted:
                self._started(told, base)
            else:
                self.event(told)
        self.flush()
        if call_id in self._calls:
            self._speak(call_id)
        return call_id in self._calls

    def _goes_on(self, call: SwitchCall, held: Call | None, base: int) -> None:
        """A call that was found again in the store: what its switch's time is had to be guessed.
        One that is here has told it already."""
        if self.late:
            return
        call.base = base
        if held is not None:
            if call.owner == self._server and not held.based:
                held.base, held.based = base, True
            call.ahead = held.base - base

    def _ended_before(self, held: Call, event: CallRestored) -> bool:
        """Whether the store has an end of this passage already."""
        first = event.told[0] if event.told else None
        origin = isinstance(first, CallStarted) and first.origin
        name = "end" if origin else passage_name("switch", self.switch, event.leg)
        return over(held.data.properties.get(name))

    def _switch_started(self) -> None:
        """Passages of the switch's last life that did not come back are over."""
        self.flush()
        restored, self._restored = self._restored, set()
        self._lost(restored, RESTARTED)

    def _lost(self, living: Container[tuple[str, int]], reason: str) -> None:
        """All passages but ``living`` are over: since when, nobody knows; until the switch's last
        event they were alive."""
        for call_id, call in list(self._calls.items()):
            lost = [n for n in sorted(call.passages) if (call_id, n) not in living]
            if not lost:
                continue
            latest = max(
                (leg[key] for leg in call.legs.values() for key in TIMES if key in leg), default=0
            )
            at = latest
            if self._last is not None:
                at = max(latest, self._last + call.base + self._ahead(call_id, call))
            values: Values = {}
            for number, leg in call.legs.items():
                its = call.passage_of(number)
                if "ended_at" not in leg and (its in lost or its not in call.passages):
                    ended = {**leg, "ended_at": at, "ended_by": "switch", "reason": reason}
                    values.update(self._values.leg(call, number, ended))
            for number in lost:
                passage = call.passages[number]
                end = CallEnded(
                    call_id=call_id,
                    at=at,
                    switch=self.switch,
                    disposition="answered" if passage.answered else "failed",
                    sip_status=200 if passage.answered else 503,
                    reason=reason,
                    hangup_by="switch",
                    leg=number,
                )
                values.update(self._values.ended(call, end, at))
            if call.released or not self._store.write(self, call_id, self._server, values):
                self._again(call_id, call, values)
            if not call.passages:
                del self._calls[call_id]
                self._store.unregister(self, call_id)

    def _speak(self, call_id: str) -> None:
        """Say a word about a call, so that whoever waits for its switch knows that it lives."""
        call = self._calls[call_id]
        number = min(call.legs)
        self._store.write(
            self, call_id, self._server, {self._values.leg_name(number): call.legs[number]}
        )

    # As a client of the store

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Others' entries: the switch has no use for them yet."""

    def ended(self, call: Call) -> None:
        """The owner ended the call; should it go on here, the next event registers it again."""

    # The events

    def _started(self, event: CallStarted, base: int) -> None:
        owner = self._server if event.origin or not event.owner else event.owner
        call_id = event.call_id
        known = self._calls.get(call_id)
        call = known
        if call is None:
            call = self._calls[call_id] = SwitchCall(owner, base)
        call.released = False
        held = self._store.register(self, call_id, call.owner)
        if owner == self._server and not held.data.newest:
            # It may have begun before we did.
            held.base = base
        if known is None:
            # What of a passage before is to be written yet has the owner's times already.
            ahead = call.ahead = held.base - base
        else:
            ahead = self._ahead(call_id, call)
        at = event.at + ahead
        self._write(call_id, call, self._values.started(call, event, at))

    # Times, and a call that has to be taken up again

    def _base(self, at: int) -> int:
        """The time base of a call in which it is just this time at the switch."""
        return self._clock.own() if self.late else at - self._clock.monotonic_us()

    def _ahead(self, call_id: str, call: SwitchCall) -> int:
        """How far the owner's time is ahead; times noted before that was known are put right."""
        held = self._store.get(call_id)
        if held is not None and held.base - call.base != call.ahead:
            by = held.base - call.base - call.ahead
            call.ahead += by
            for number, leg in call.legs.items():
                call.legs[number] = held.retimed_leg(self._values.leg_name(number), leg, by)
            if call.plain_over:
                call.plain_over += by
            for number, talk in (call.talks or {}).items():
                name = talk_name(self.switch, number)
                assert call.talks is not None
                call.talks[number] = held.retimed_leg(name, talk, by)
            for number, passage in call.passages.items():
                passage.started_at = call.legs[number]["invited_at"]
            for told in (*(told for _, told in self._sealed), self._unwritten):
                if call_id in told:
                    told[call_id] = call, _retimed(held, told[call_id][1], by)
        return call.ahead

    def _timed(self, call_id: str, call: SwitchCall, values: Values) -> Values:
        """What is to be written, should the owner's time be known by now."""
        before = call.ahead
        by = self._ahead(call_id, call) - before
        held = self._store.get(call_id)
        return _retimed(held, values, by) if by and held is not None else values

    def _again(self, call_id: str, call: SwitchCall, values: Values) -> None:
        """The store no longer has this call as ours (its owner ended it, or we were gone for too
        long), yet here it goes on.
        """
        call.released = False
        held = self._store.get(call_id)
        self._store.register(self, call_id, call.owner)
        if held is None:
            legs: Values = {self._values.leg_name(n): leg for n, leg in call.legs.items()}
            for number, talk in (call.talks or {}).items():
                legs[talk_name(self.switch, number)] = talk
            values = {**legs, **values}
        self._store.write(self, call_id, self._server, values)


def _new(values: Values, told: Values) -> Values:
    """Of these what may replace what was told: that is as good as in the store."""
    return {
        name: value for name, value in values.items() if type(value) is not Once or name not in told
    }


def _retimed(call: Call, values: Values, by: int) -> Values:
    return {
        name: value if isinstance(value, Once) else call.retimed(name, value, by)
        for name, value in values.items()
    }
