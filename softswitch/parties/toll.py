"""What calls to carriers may cost (``toll:``): how many at once, how many and how long in a day, by
number and by who placed them. No I/O.

Who placed a call is the caller, or the party that has forwarded or transferred it. A call that is
beyond a limit is refused; one that uses up the minutes is ended. Before it comes to that there is
an alarm, and with every refusal another: an event of the call, for whoever looks at its data.

A day is one of the site's time zone. A call that goes on over midnight counts from there on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Final

from softswitch.calls import Journal, Passage, TollLimits
from softswitch.config import TollRule
from softswitch.events import (
    CallRestored,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMoved,
    SwitchStarted,
    TollAlarm,
)
from softswitch.log import Rate
from softswitch.parties.toll_rows import TOLL, TollRow
from softswitch.sip import Timer, Timers

log = logging.getLogger(__name__)

AT_ONCE: Final = "at once"
CALLS: Final = "calls"
MINUTES: Final = "minutes"
REASON: Final = "Toll Limit"
_LINES: Final = 20  # in the log a second
_ROUNDING_US: Final = 1000
_REMEMBERED: Final = 100  # calls of one count

_LegKey = tuple[str, int]
"""A leg: its callID and its number."""


class TollCount:
    """Of one rule and one party (`softswitch.calls.journal.Kept`). `up` are the legs that go on,
    with when they were answered, 0: not yet."""

    __slots__ = ("_began", "_known", "_talking", "calls", "day", "party", "row", "rule", "seconds",
                 "timer", "up", "warned")  # fmt: skip

    def __init__(self, rule: TollRule, party: str, day: str) -> None:
        self.rule = rule
        self.party = party
        self.day = day
        self.calls = 0
        self.seconds = 0.0
        self.up: dict[_LegKey, int] = {}
        self.warned = False
        self.row = 0
        self.timer: Timer | None = None
        # Of those that were answered: how many, and the sum of when.
        self._talking = 0
        self._began = 0
        # The callIDs that were counted last.
        self._known: dict[str, None] = {}

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        up = [(call_id, number, at) for (call_id, number), at in self.up.items()]
        return TOLL.encode(
            TollRow(self.rule.name, self.party, self.day, self.calls, self.seconds, up, self.warned)
        )

    def used(self, now: int) -> float:
        """Seconds today, those of calls that go on included."""
        return self.seconds + (self._talking * now - self._began) / 1e6

    @property
    def talking(self) -> int:
        """Legs that were answered and go on."""
        return self._talking

    def knows(self, call_id: str) -> bool:
        """Whether a call is counted already: it may be tried at several trunks."""
        return call_id in self._known

    def count(self, call_id: str) -> None:
        """One call more."""
        self.calls += 1
        self._known[call_id] = None
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def answered(self, key: _LegKey, at: int) -> None:
        """A leg of it was answered."""
        if not self.up.get(key, 1):
            self.up[key] = at
            self._talking += 1
            self._began += at

    def over(self, key: _LegKey, at: int) -> None:
        """A leg of it is over."""
        began = self.up.pop(key, 0)
        if began:
            self._talking -= 1
            self._began -= began
            self.seconds += max(0, at - began) / 1e6

    def renew(self, day: str, midnight: int) -> None:
        """Another day has begun: what goes on counts from then on."""
        self.day, self.calls, self.seconds, self.warned = day, 0, 0.0, False
        for key, began in self.up.items():
            if began:
                self._began += midnight - began
                self.up[key] = midnight


class Toll(TollLimits):
    """All counts of a switch. `find` gives the call that has a leg."""

    def __init__(
        self,
        rules: Mapping[str, TollRule],
        timers: Timers,
        now_us: Callable[[], int],
        zone: tzinfo | None,
        journal: Callable[[], Journal | None],
        find: Callable[[str, int], Passage | None],
        switch: str,
    ) -> None:
        self._rules: dict[str, TollRule] = {}
        self._timers = timers
        self._now_us = now_us
        self._zone = zone
        self._journal = journal
        self._find = find
        self._switch = switch
        self._counts: dict[tuple[str, str], TollCount] = {}
        self._of_leg: dict[_LegKey, list[TollCount]] = {}
        # Legs that calls of the process before have left, until the switch listens.
        self._restored: set[_LegKey] = set()
        self._day, self._day_began, self._day_ends = "", 0, 0
        self._lines = Rate(timers.clock, _LINES)
        self.refused = 0
        """Calls that were refused or ended since the start."""
        self.alarms = 0
        """Alarms since the start, refusals included."""
        self.take_up(rules, zone)

    def __bool__(self) -> bool:
        """Whether anything is limited, or still counted."""
        return bool(self._rules) or bool(self._of_leg)

    def __len__(self) -> int:
        """Legs that are counted."""
        return len(self._of_leg)

    def take_up(self, rules: Mapping[str, TollRule], zone: tzinfo | None) -> None:
        """Go on by other rules. What was used today stays, of those that have the same name."""
        self._rules = dict(rules)
        self._zone, self._day_ends = zone, 0
        for key, count in list(self._counts.items()):
            rule = self._rules.get(count.rule.name)
            if rule is None or rule.per_caller != bool(count.party):
                self._forget(key)
            else:
                count.rule = rule
                self._watch(count)

    def counts(self) -> Iterable[tuple[TollCount, float]]:
        """What was used today, with the seconds."""
        self._look_at_the_day()
        now = self._now_us()
        return [(count, count.used(now)) for count in self._counts.values()]

    # --- calls (`TollLimits`)

    def admits(self, call: Passage, party: str, trunk: str, number: str) -> bool:
        """See `TollLimits`."""
        self._look_at_the_day()
        now = self._now_us()
        for rule in self._rules.values():
            if not rule.concerns(party, trunk, number):
                continue
            count = self._counts.get((rule.name, party if rule.per_caller else ""))
            if count is None:
                continue
            limit = _reached(count, call.call_id, now)
            if limit is not None:
                what, used, most = limit
                self.refused += 1
                self._tell(call, party, rule, what, used, most, True)
                return False
        return True

    def placed(self, call: Passage, leg: int, party: str, trunk: str, number: str) -> None:
        """See `TollLimits`."""
        self._look_at_the_day()
        key = call.call_id, leg
        for rule in self._rules.values():
            if not rule.concerns(party, trunk, number):
                continue
            of = party if rule.per_caller else ""
            count = self._counts.get((rule.name, of))
            if count is None:
                count = self._counts[rule.name, of] = TollCount(rule, of, self._day)
            if not count.knows(call.call_id):
                count.count(call.call_id)
            count.up[key] = 0
            self._of_leg.setdefault(key, []).append(count)
            self._changed(count)
            self._warn(call, party, count)

    def told(self, event: Event) -> None:
        """Something has happened to a call."""
        if isinstance(event, LegAnswered):
            for count in self._of_leg.get((event.call_id, event.leg), ()):
                count.answered((event.call_id, event.leg), self._now_us())
                self._changed(count)
                self._watch(count)
        elif isinstance(event, LegEnded):
            key = event.call_id, event.leg
            counts = self._of_leg.pop(key, None)
            if counts is not None:
                self._look_at_the_day()
                for count in counts:
                    count.over(key, self._now_us())
                    self._changed(count)
                    self._watch(count)
            self._restored.discard(key)
        elif isinstance(event, LegMoved):
            self._move((event.was_call, event.was_leg), (event.call_id, event.leg))
        elif isinstance(event, CallRestored):
            for told in event.told:
                key = event.call_id, getattr(told, "leg", 0)
                if isinstance(told, LegInvited):
                    self._restored.add(key)
                elif isinstance(told, LegEnded):
                    self._restored.discard(key)
        elif isinstance(event, SwitchStarted):
            self._restored.clear()

    def _move(self, was: _LegKey, now: _LegKey) -> None:
        counts = self._of_leg.pop(was, None)
        if counts is None:
            return
        self._of_leg[now] = counts
        for count in counts:
            count.up[now] = count.up.pop(was)
            self._changed(count)

    # --- alarms

    def _warn(self, call: Passage, party: str, count: TollCount) -> None:
        rule = count.rule
        if count.warned:
            return
        seconds = count.used(self._now_us())
        if rule.calls is not None and count.calls >= rule.alarm * rule.calls:
            used = CALLS, count.calls, rule.calls
        elif rule.seconds is not None and seconds >= rule.alarm * rule.seconds:
            used = MINUTES, int(seconds / 60), rule.seconds // 60
        else:
            return
        count.warned = True
        self._tell(call, party, rule, *used, False)

    def _tell(
        self,
        call: Passage,
        party: str,
        rule: TollRule,
        what: str,
        used: int,
        most: int,
        refused: bool,
    ) -> None:
        self.alarms += 1
        if self._lines.take():
            log.warning(
                "toll %s: %s has used %d of %d %s%s (call %s)",
                *(rule.name, party, used, most, what),
                *("; refused" if refused else "", call.call_id),
            )
        call.tell(
            TollAlarm(
                call_id=call.call_id,
                at=call.now_us(),
                switch=self._switch,
                rule=rule.name,
                party=party,
                what=what,
                used=used,
                most=most,
                refused=refused,
                incoming=call.number,
            )
        )

    # --- time

    def _look_at_the_day(self) -> None:
        now = self._now_us()
        if now < self._day_ends:
            return
        here = datetime.fromtimestamp(now / 1e6, self._zone)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
        # By the clock on the wall: a day may have 23 or 25 hours.
        following = midnight + timedelta(days=1)
        self._day_began = int(midnight.timestamp() * 1e6)
        self._day_ends = int(following.timestamp() * 1e6)
        day = here.date().isoformat()
        if day == self._day:
            return
        self._day = day
        for key, count in list(self._counts.items()):
            if not count.up:
                self._forget(key)
            elif count.day != day:
                count.renew(day, self._day_began)
                self._changed(count)

    def _watch(self, count: TollCount) -> None:
        """Look again when the calls that go on may have used up the minutes."""
        if count.timer is not None:
            count.timer.cancel()
            count.timer = None
        if count.rule.seconds is None or not count.talking:
            return
        left = count.rule.seconds - count.used(self._now_us())
        count.timer = self._timers.after(max(0.0, left) / count.talking, partial(self._used, count))

    def _used(self, count: TollCount) -> None:
        count.timer = None
        self._look_at_the_day()
        rule = count.rule
        if rule.seconds is None:
            return
        if count.used(self._now_us()) * 1e6 < rule.seconds * 1e6 - _ROUNDING_US:
            self._watch(count)
            return
        for (call_id, number), began in list(count.up.items()):
            call = self._find(call_id, number) if began else None
            if call is not None:
                self.refused += 1
                minutes = rule.seconds // 60
                self._tell(call, count.party or call.party, rule, MINUTES, minutes, minutes, True)
                call.hang_up_all(REASON)

    # --- the journal

    def _changed(self, count: TollCount) -> None:
        journal = self._journal()
        if journal is not None:
            journal.changed_a_little(count)

    def _forget(self, key: tuple[str, str]) -> None:
        count = self._counts.pop(key)
        if count.timer is not None:
            count.timer.cancel()
        for leg in count.up:
            counts = self._of_leg.get(leg)
            if counts is not None:
                counts.remove(count)
                if not counts:
                    del self._of_leg[leg]
        journal = self._journal()
        if journal is not None:
            journal.over(count)

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before, once its calls were. Raises whatever a row that is
        none may raise."""
        read = TOLL.decode(data)
        self._look_at_the_day()
        journal = self._journal()
        rule = self._rules.get(read.rule)
        key = read.rule, read.party
        up = [one for one in read.up if one[:2] in self._restored]
        if (
            rule is None
            or rule.per_caller != bool(read.party)
            or (read.day != self._day and not up)
            or key in self._counts
        ):
            if journal is not None:
                journal.drop(row)
            return
        count = self._counts[key] = TollCount(rule, read.party, self._day)
        if read.day == self._day:
            count.calls, count.seconds, count.warned = read.calls, read.seconds, read.warned
        for call_id, number, at in up:
            leg = call_id, number
            count.up[leg] = 0
            self._of_leg.setdefault(leg, []).append(count)
            if at:
                count.answered(leg, max(at, self._day_began))
        if journal is not None:
            journal.restored(count, row)
        self._watch(count)


def _reached(count: TollCount, call_id: str, now: int) -> tuple[str, int, int] | None:
    """The limit that there is no room below for one more call: what it is of, how much of it is
    used, and how much there is."""
    rule = count.rule
    known = count.knows(call_id)
    if rule.at_once is not None and not known:
        up = len({one for one, _ in count.up})
        if up >= rule.at_once:
            return AT_ONCE, up, rule.at_once
    if rule.calls is not None and not known and count.calls >= rule.calls:
        return CALLS, count.calls, rule.calls
    if rule.seconds is not None and count.used(now) >= rule.seconds:
        return MINUTES, int(count.used(now) / 60), rule.seconds // 60
    return None
