"""What calls to carriers may cost (``toll:``): how many at once, how many and how long in a day, by
number and by who placed them. No I/O.

Who placed a call is the caller, or the party that has forwarded or transferred it. A call that is
beyond a limit is refused; one that uses up the minutes is ended. Before it comes to that there is
an alarm, and with every refusal another: an event of the call, for whoever looks at its data.

A day is one of the site's time zone. A call that goes on over midnight counts from there on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Final
from urllib.parse import unquote

from softswitch.calls import Journal, Passage, TollLimits
from softswitch.config import TollRule
from softswitch.events import (
    CallRestored,
    CallStarted,
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
from softswitch.sip import Timer, Timers, parse_uri

log = logging.getLogger(__name__)

AT_ONCE: Final = "at once"
CALLS: Final = "calls"
MINUTES: Final = "minutes"
REASON: Final = "Toll Limit"
_LINES: Final = 20  # in the log a second
_ROUNDING_US: Final = 1000
_MERGED: Final = "Merged"
"""The reason of a leg that goes on in another call, of which LegMoved follows at once."""
_SEPARATORS_RE: Final = re.compile(r"[-.() ]")

_LegKey = tuple[str, int]
"""A leg: its callID and its number."""


def numbers_of(dialled: str) -> list[str]:
    """What a carrier may take a number for, with its parameters (RFC 3966, RFC 4694): itself, that
    in its context, and that which it is ported to; also without what people write between digits.
    """
    number, _, params = dialled.partition(";")
    found = [number]
    for part in params.split(";"):
        name, _, value = part.partition("=")
        value = unquote(value)
        if name.lower() == "rn":
            found.append(value)
        elif name.lower() == "phone-context" and value.startswith("+"):
            found.append(value + number)
    found += [_SEPARATORS_RE.sub("", one) for one in found]
    return list(dict.fromkeys(found))


class TollCount:
    """Of one rule and one party (`softswitch.calls.journal.Kept`). `up` are the legs that go on,
    with when they were answered, 0: not yet."""

    __slots__ = ("_began", "_talking", "calls", "day", "party", "row", "rule", "seconds", "timer",
                 "up", "warned")  # fmt: skip

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


class _Restored:
    """A leg that calls of the process before have left. `dialled` is empty if nobody knows who
    pays for it, and what it was placed to."""

    __slots__ = ("answered", "dialled", "party", "placed", "trunk")

    def __init__(self, party: str, trunk: str, dialled: str, placed: int) -> None:
        self.party = party
        self.trunk = trunk
        self.dialled = dialled
        self.placed = placed
        self.answered = 0


class Toll(TollLimits):
    """All counts of a switch. `find` gives the calls that have one of these legs."""

    def __init__(
        self,
        rules: Mapping[str, TollRule],
        timers: Timers,
        now_us: Callable[[], int],
        zone: tzinfo | None,
        journal: Callable[[], Journal | None],
        find: Callable[[set[_LegKey]], list[Passage]],
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
        # The leg that was merged into another call, until it is told as which.
        self._moving: _LegKey | None = None
        # Until the switch listens.
        self._restored: dict[_LegKey, _Restored] = {}
        self._day, self._day_began, self._day_ends = "", 0, 0
        self._lines = Rate(timers.clock, _LINES)
        self.refused = 0
        """Calls that were refused or ended since the start."""
        self.alarms = 0
        """Alarms since the start, refusals included."""
        self.take_up(rules, zone)

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

    def admits(self, call: Passage, party: str, trunk: str, dialled: str, again: bool) -> bool:
        """See `TollLimits`."""
        self._look_at_the_day()
        now = self._now_us()
        for rule in self._concerning(party, trunk, dialled):
            count = self._counts.get((rule.name, party if rule.per_caller else ""))
            limit = None if count is None else _reached(count, now, again)
            if limit is not None:
                what, used, most = limit
                self.refused += 1
                self._tell(call, party, rule, what, used, most, True)
                return False
        return True

    def placed(
        self, call: Passage, leg: int, party: str, trunk: str, dialled: str, again: bool
    ) -> None:
        """See `TollLimits`."""
        self._look_at_the_day()
        for count in self._count((call.call_id, leg), party, trunk, dialled, again):
            self._warn(count, call)

    def _concerning(self, party: str, trunk: str, dialled: str) -> list[TollRule]:
        numbers = numbers_of(dialled)
        return [rule for rule in self._rules.values() if rule.concerns(party, trunk, numbers)]

    def _count(
        self, key: _LegKey, party: str, trunk: str, dialled: str, again: bool
    ) -> list[TollCount]:
        counts: list[TollCount] = []
        for rule in self._concerning(party, trunk, dialled):
            of = party if rule.per_caller else ""
            count = self._counts.get((rule.name, of))
            if count is None:
                count = self._counts[rule.name, of] = TollCount(rule, of, self._day)
            if not again:
                count.calls += 1
            count.up[key] = 0
            counts.append(count)
            self._changed(count)
        if counts:
            self._of_leg[key] = counts
        return counts

    def told(self, event: Event) -> None:
        """Something has happened to a call."""
        moving, self._moving = self._moving, None
        if moving is not None:
            if isinstance(event, LegMoved) and (event.was_call, event.was_leg) == moving:
                self._move(moving, (event.call_id, event.leg))
                return
            self._over(moving)
        if isinstance(event, LegAnswered):
            key = event.call_id, event.leg
            for count in self._of_leg.get(key, ()):
                count.answered(key, self._now_us())
                self._changed(count)
                self._watch(count)
        elif isinstance(event, LegEnded):
            key = event.call_id, event.leg
            self._restored.pop(key, None)
            if key in self._of_leg:
                if event.reason == _MERGED:
                    self._moving = key
                else:
                    self._over(key)
        elif isinstance(event, CallRestored):
            self._restore_call(event)
        elif isinstance(event, SwitchStarted):
            self._recount()

    def _over(self, key: _LegKey) -> None:
        self._look_at_the_day()
        now = self._now_us()
        for count in self._of_leg.pop(key, ()):
            count.over(key, now)
            self._changed(count)
            self._watch(count)

    def _move(self, was: _LegKey, key: _LegKey) -> None:
        counts = self._of_leg.pop(was)
        self._of_leg[key] = counts
        for count in counts:
            count.up[key] = count.up.pop(was)
            self._changed(count)

    # --- alarms

    def _warn(self, count: TollCount, call: Passage | None = None) -> None:
        """Whether so much is used that somebody should know. `call` is who brings it there; None:
        any that goes on."""
        rule = count.rule
        if count.warned:
            return
        seconds = count.used(self._now_us()) + _ROUNDING_US / 1e6
        if rule.calls is not None and count.calls >= rule.alarm * rule.calls:
            what, used, most = CALLS, count.calls, rule.calls
        elif rule.seconds is not None and seconds >= rule.alarm * rule.seconds:
            what, used, most = MINUTES, int(seconds / 60), rule.seconds // 60
        else:
            return
        if call is None:
            calls = self._find({key for key, began in count.up.items() if began})
            if not calls:
                return
            call = calls[0]
        count.warned = True
        self._changed(count)
        self._tell(call, count.party or call.party, rule, what, used, most, False)

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
                self._watch(count)

    def _watch(self, count: TollCount) -> None:
        """Look again when the calls that go on may have used so much of the minutes that there is
        an alarm, or all of them."""
        if count.timer is not None:
            count.timer.cancel()
            count.timer = None
        rule = count.rule
        if rule.seconds is None or not count.talking:
            return
        share = 1.0 if count.warned else rule.alarm
        left = share * rule.seconds - count.used(self._now_us())
        if left <= 0 and not count.warned:
            left = rule.seconds - count.used(self._now_us())
        count.timer = self._timers.after(
            max(0.0, left) / count.talking, partial(self._look_at_use, count)
        )

    def _look_at_use(self, count: TollCount) -> None:
        count.timer = None
        self._look_at_the_day()
        rule = count.rule
        if rule.seconds is None:
            return
        if count.used(self._now_us()) * 1e6 < rule.seconds * 1e6 - _ROUNDING_US:
            self._warn(count)
            self._watch(count)
            return
        minutes = rule.seconds // 60
        for call in self._find({key for key, began in count.up.items() if began}):
            self.refused += 1
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

    # --- after a restart

    def _restore_call(self, event: CallRestored) -> None:
        caller = ""
        for told in event.told:
            if isinstance(told, CallStarted):
                caller = told.party
            elif isinstance(told, LegInvited):
                kind, _, trunk = told.party.partition(":")
                if kind == "trunk":
                    uri = parse_uri(told.uri)
                    self._restored[told.call_id, told.leg] = _Restored(
                        told.by or caller, trunk, uri.user + uri.number_params, told.at
                    )
            elif isinstance(told, LegAnswered):
                one = self._restored.get((told.call_id, told.leg))
                if one is not None:
                    one.answered = told.at
            elif isinstance(told, LegMoved):
                # Who pays for it stands in its row alone.
                self._restored[told.call_id, told.leg] = _Restored("", "", "", told.at)
            elif isinstance(told, LegEnded):
                self._restored.pop((told.call_id, told.leg), None)

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
            began = at or self._restored[leg].answered
            if began:
                count.answered(leg, max(began, self._day_began))
        if journal is not None:
            journal.restored(count, row)
        self._watch(count)

    def _recount(self) -> None:
        """The switch listens: calls that go on and that no row knows, as it was to be written just
        when the process was killed."""
        restored, self._restored = self._restored, {}
        for key, one in restored.items():
            if key in self._of_leg or not one.party:
                continue
            self._look_at_the_day()
            today = one.placed >= self._day_began
            for count in self._count(key, one.party, one.trunk, one.dialled, not today):
                if one.answered:
                    count.answered(key, max(one.answered, self._day_began))
                self._watch(count)


def _reached(count: TollCount, now: int, again: bool) -> tuple[str, int, int] | None:
    """The limit that there is no room below for one more call: what it is of, how much of it is
    used, and how much there is. `again`: it is counted already, and tried at another trunk."""
    rule = count.rule
    if rule.at_once is not None and not again and len(count.up) >= rule.at_once:
        return AT_ONCE, len(count.up), rule.at_once
    if rule.calls is not None and not again and count.calls >= rule.calls:
        return CALLS, count.calls, rule.calls
    if rule.seconds is not None and count.used(now) >= rule.seconds:
        return MINUTES, int(count.used(now) / 60), rule.seconds // 60
    return None
