"""Which route a dialled number takes, and what the route asks for.

The first route in the order of the file whose pattern matches, whose ``from`` admits the caller and
whose ``when`` holds is taken. ``Dialplan.route`` is on the path of every call: routes are indexed
by the first character of what they match and answers are remembered, so that it costs well under a
microsecond for a number seen before and a few for a new one (``tests/dialplan/test_routing.py``
measures both). The time is asked for only where a route that has a ``when`` could be the one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from softswitch.config import (
    MAX_NUMBER,
    MAX_REMEMBERED,
    CallerId,
    Mistake,
    Pattern,
    Shape,
    Stamp,
    Tap,
)
from softswitch.dialplan.actions import Action, DialTemplate, PlayTemplate, Shaped, Template
from softswitch.dialplan.conditions import Condition
from softswitch.dialplan.conferences import Conference
from softswitch.dialplan.menus import Menu
from softswitch.dialplan.queues import Queue
from softswitch.dialplan.targets import Source
from softswitch.dialplan.trie import PatternTrie

FEW = 24
"""Routes that are quicker tried in turn than looked up in the trie."""
MINUTE = 60.0
"""Seconds for which an answer of a condition is good: from one full minute to the next."""

When: TypeAlias = tuple[tuple[str, bool], ...]
"""Conditions, and whether each has to hold or must not."""


# A msgspec struct where a dataclass would do: made once per new number, a tenth of the time.
class Route(msgspec.Struct, frozen=True):
    """The route a call takes: ``number`` is after strip, prepend and format; ``where`` is
    ``file:line``.

    ``properties`` (the route's ``set:``) and ``once`` (its ``set_once:``) are shared by all calls
    of the route: do not change them. ``lines`` are header lines for its INVITEs, each with its
    CRLF; ``caller`` is whom those called are shown instead of the caller; ``emergency`` that no
    limit may stop the call; ``record`` that its talks are recorded, ``tap`` who hears them.
    """

    match: str
    where: str
    number: str
    action: Action
    properties: dict[str, str]
    once: dict[str, str] = {}
    lines: str = ""
    caller: CallerId | None = None
    emergency: bool = False
    record: bool = False
    tap: Tap | None = None

    def told(self) -> list[str]:
        """What it says besides its action and properties, a line each."""
        lines = [f"header {line}" for line in self.lines.splitlines()]
        if self.caller is not None and str(self.caller):
            lines.append(f"the caller is shown as {self.caller}")
        if self.emergency:
            lines.append("a call for help")
        if self.record:
            lines.append("recorded")
        if self.tap is not None:
            lines.append(self.tap.told())
        return lines


@dataclass(frozen=True, slots=True)
class Admits:
    """A route's ``from``: everyone, phones and our own switches, or those named."""

    everyone: bool = False
    internal: bool = False
    named: frozenset[tuple[str, str]] = frozenset()

    def admits(self, source: Source) -> bool:
        """Whether this caller may take the route."""
        return (
            self.everyone
            or (self.internal and (source.kind == "extension" or source.switch))
            or (source.kind, source.name) in self.named
        )

    def covers(self, other: Admits, switches: frozenset[str]) -> bool:
        """Whether everyone ``other`` admits is admitted. ``switches``: trunks marked so."""
        if self.everyone:
            return True
        if other.everyone or (other.internal and not self.internal):
            return False
        return all(
            (kind, name) in self.named
            or (self.internal and (kind == "extension" or name in switches))
            for kind, name in other.named
        )

    def __str__(self) -> str:
        if self.everyone:
            return "any"
        named = [f"{kind}:{name}" for kind, name in sorted(self.named)]
        return ", ".join([*(["internal"] if self.internal else []), *named])


@dataclass(frozen=True, slots=True)
class RouteTemplate:
    """One route of the file. ``line`` is that of the route's first key."""

    pattern: Pattern
    where: str
    line: int
    admits: Admits
    shape: Shape
    action: Template
    properties: dict[str, str]
    once: dict[str, str]
    when: When = ()
    lines: str = ""
    caller: CallerId | None = None
    emergency: bool = False
    record: bool = False
    tap: Tap | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a route was taken, or was not. ``reason`` reads as ``not taken: ...`` continues."""

    where: str
    match: str
    taken: bool
    reason: str


class _Choice:
    """The routes that a number could take, in their order: all but the last have a ``when``.

    ``route`` is what was made of the one ``taken`` last.
    """

    __slots__ = ("plans", "route", "taken")

    def __init__(self, plans: tuple[RouteTemplate, ...]) -> None:
        self.plans = plans
        self.taken: RouteTemplate | None = None
        self.route: Route | None = None


class Dialplan:
    """The routes in force, and the menus, rooms and queues that they lead to.

    ``hold_music`` is heard by who is on hold, ``ringing_music`` by who goes on from an application
    while a phone rings (paths). ``file`` is the path for messages and reloading, ``files`` are
    those that it names (holidays); ``warnings`` are places worth a look. ``now`` gives the time of
    day (seconds, UTC).
    """

    def __init__(
        self,
        routes: Sequence[RouteTemplate],
        extensions: Iterable[str],
        *,
        conditions: Mapping[str, Condition] = {},
        menus: Mapping[str, Menu] = {},
        conferences: Mapping[str, Conference] = {},
        hold_music: tuple[str, ...] = (),
        ringing_music: tuple[str, ...] = (),
        queues: Mapping[str, Queue] = {},
        file: str = "",
        files: Iterable[tuple[Path, Stamp]] = (),
        warnings: Iterable[Mistake] = (),
        max_number: int = MAX_NUMBER,
        max_remembered: int = MAX_REMEMBERED,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.routes = tuple(routes)
        self.extensions = frozenset(extensions)
        self.conditions = dict(conditions)
        self.menus = dict(menus)
        self.conferences = dict(conferences)
        self.hold_music = hold_music
        self.ringing_music = ringing_music
        self.queues = dict(queues)
        self.file = file
        self.files = tuple(files)
        self.warnings = tuple(warnings)
        self.max_number = max_number
        self.max_remembered = max_remembered
        self.now = now
        self._remembered: dict[tuple[str, Source], Route | None] = {}
        # The same where it depends on the time.
        self._choices: dict[tuple[str, Source], _Choice] = {}
        self._timed = any(plan.when for plan in self.routes)
        self._minute = 0  # of which `_held` speaks
        self._held: dict[str, bool] = {}
        # What could match, by the number's first character; "" is for characters not listed.
        self._by_first = _by_first(self.routes)
        self._trie = PatternTrie(plan.pattern for plan in self.routes)

    def by(self, now: Callable[[], float]) -> Dialplan:
        """The same by another clock. What is looked up in stays shared: that takes no time."""
        other = copy(self)
        other.now = now
        other._remembered, other._choices, other._held = {}, {}, {}
        return other

    def with_routes(self, routes: Sequence[RouteTemplate]) -> Dialplan:
        """The same with other routes."""
        return Dialplan(
            routes,
            self.extensions,
            conditions=self.conditions,
            menus=self.menus,
            conferences=self.conferences,
            hold_music=self.hold_music,
            ringing_music=self.ringing_music,
            queues=self.queues,
            file=self.file,
            files=self.files,
            warnings=self.warnings,
            max_number=self.max_number,
            max_remembered=self.max_remembered,
            now=self.now,
        )

    def route(self, dialled: str, source: Source, at: float | None = None) -> Route | None:
        """The route a call from ``source`` to ``dialled`` takes, or None (404 for the caller).

        ``at`` is a time of day other than now (seconds, UTC).
        """
        key = (dialled, source)
        try:
            return self._remembered[key]
        except KeyError:
            pass
        if self._timed:
            choice = self._choices.get(key)
            if choice is not None:
                return self._choose(choice, dialled, at)
        if len(dialled) > self.max_number:
            return None
        plans = self._by_first.get(dialled[:1]) or self._by_first[""]
        found: RouteTemplate | None = None
        timed: list[RouteTemplate] = []
        if len(plans) > FEW:
            plans = tuple(self.routes[index] for index in self._trie.matching(dialled))
        for plan in plans:
            if plan.pattern.matches(dialled) and plan.admits.admits(source):
                if not plan.when:
                    found = plan
                    break
                timed.append(plan)
        if timed:
            if len(self._choices) >= self.max_remembered:
                self._choices.clear()
            choice = self._choices[key] = _Choice((*timed, found) if found else tuple(timed))
            return self._choose(choice, dialled, at)
        if len(self._remembered) >= self.max_remembered:
            self._remembered.clear()
        route = self._remembered[key] = None if found is None else self._route(found, dialled)
        return route

    def plays(self) -> bool:
        """Whether the switch itself has to speak for some route."""
        return bool(self.hold_music) or any(_plays(plan.action) for plan in self.routes)

    def records(self) -> bool:
        """Whether calls of some route, or queue, are recorded."""
        return any(plan.record for plan in self.routes) or any(
            queue.record for queue in self.queues.values()
        )

    def taps(self) -> list[Tap]:
        """The programs that listen to calls of some route, or queue."""
        found = [plan.tap for plan in self.routes if plan.tap is not None]
        return found + [one.tap for one in self.queues.values() if one.tap is not None]

    def leads(self, dialled: str, source: Source) -> bool:
        """Whether there is a route for that at any time."""
        found = self._trie.matching(dialled)
        return any(self.routes[index].admits.admits(source) for index in found)

    def _choose(self, choice: _Choice, dialled: str, at: float | None) -> Route | None:
        """The route of the first whose conditions hold."""
        if at is None:
            minute = int(self.now() // MINUTE)
            if minute != self._minute:
                self._minute = minute
                self._held.clear()
        for plan in choice.plans:
            if self._is_open(plan.when, at):
                if plan is not choice.taken or choice.route is None:
                    choice.taken, choice.route = plan, self._route(plan, dialled)
                return choice.route
        return None

    def _is_open(self, when: When, at: float | None) -> bool:
        for name, wanted in when:
            held = self._holds(name) if at is None else self.conditions[name].holds(at)
            if held is not wanted:
                return False
        return True

    def _holds(self, name: str) -> bool:
        """Whether a condition holds in this minute."""
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = self.conditions[name].holds(self._minute * MINUTE)
        return held

    def explain(self, dialled: str, source: Source, at: float | None = None) -> list[Explanation]:
        """For each route in file order, whether this call takes it and why. ``at`` as in
        ``route``."""
        at = self.now() if at is None and self._timed else at or 0.0
        taken: RouteTemplate | None = None
        told = []
        for plan in self.routes:
            matches = len(dialled) <= self.max_number and plan.pattern.matches(dialled)
            admits = plan.admits.admits(source)
            if not matches:
                reason = f"{dialled} does not match"
            elif not admits:
                reason = f"it is for calls from {plan.admits}, not from {source}"
            elif taken is not None:
                reason = f"{taken.where} comes first"
            elif (against := self._against(plan.when, at)) is not None:
                reason = self.conditions[against].told(at)
            else:
                taken = plan
                reason = f"{dialled} matches, and calls from {plan.admits} may take it"
                for name, _ in plan.when:
                    reason += f"; {self.conditions[name].told(at)}"
            told.append(Explanation(plan.where, plan.pattern.text, plan is taken, reason))
        return told

    def _against(self, when: When, at: float) -> str | None:
        """The condition because of which a route is passed over."""
        for name, wanted in when:
            if self.conditions[name].holds(at) is not wanted:
                return name
        return None

    def _route(self, plan: RouteTemplate, dialled: str) -> Route:
        number = plan.shape.of(dialled)
        action = plan.action.of(number, self.extensions)
        return Route(
            plan.pattern.text,
            plan.where,
            number,
            action,
            plan.properties,
            plan.once,
            plan.lines,
            plan.caller,
            plan.emergency,
            plan.record,
            plan.tap,
        )


def _plays(action: Template | None) -> bool:
    """Whether something is played, at once or after something else."""
    if isinstance(action, PlayTemplate):
        return True
    if isinstance(action, Shaped):
        return _plays(action.action)
    return isinstance(action, DialTemplate) and _plays(action.otherwise)


def _by_first(routes: Sequence[RouteTemplate]) -> dict[str, tuple[RouteTemplate, ...]]:
    listed: dict[str, list[RouteTemplate]] = {
        char: [] for plan in routes for char in plan.pattern.first() or ()
    }
    listed[""] = []
    everywhere = tuple(listed)
    for plan in routes:
        first = plan.pattern.first()
        for char in everywhere if first is None else first:
            listed[char].append(plan)
    return {char: tuple(plans) for char, plans in listed.items()}


def shadowed(routes: Sequence[RouteTemplate], switches: frozenset[str]) -> list[tuple[int, int]]:
    """Pairs (later, earlier) of indices: the earlier route takes all that the later could.

    Only what one earlier route alone covers is seen; several that together cover it are not.
    """
    pairs = []
    trie = PatternTrie(plan.pattern for plan in routes)
    regular = [index for index, plan in enumerate(routes) if plan.pattern.places is None]
    for later, plan in enumerate(routes):
        # What covers a pattern matches any one of its numbers.
        number = plan.pattern.sample()
        candidates = regular if number is None else trie.matching(number)
        for earlier in candidates:
            before = routes[earlier]
            if earlier >= later:
                break
            if (
                before.pattern.covers(plan.pattern)
                and before.admits.covers(plan.admits, switches)
                and set(before.when) <= set(plan.when)
            ):
                pairs.append((later, earlier))
                break
    return pairs
