"""All queues of a switch: who waits, which agents are free, and who is rung for whom.

Nothing is decided while something happens: what may have freed an agent is looked at a moment
later (`SOON`), once, for all who wait, in the order in which they came. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from softswitch.calls import Leg, Member
from softswitch.config import Forwarding
from softswitch.dialplan import (
    FEWEST_CALLS,
    IN_ORDER,
    LONGEST_IDLE,
    RING_ALL,
    ROUND_ROBIN,
    Dialplan,
    Queue,
    QueueAgent,
)
from softswitch.sip import Timer, Timers

SOON: Final = 0.02
"""Seconds in which what happens at once is looked at once."""
AGAIN: Final = 1.0
"""Seconds until it is tried again to ring somebody for a caller who is being transferred."""
_KEEPS: Final = 0.75
"""Of what is known of how long calls take, how much the next one leaves."""

WAITING: Final = "waiting"
ANSWERED: Final = "answered"
ABANDONED: Final = "abandoned"
TIMEOUT: Final = "timeout"
FULL: Final = "full"
EMPTY: Final = "empty"
EXIT: Final = "exit"
REMOVED: Final = "removed"
LOST: Final = "lost"
OUTCOMES: Final = (ANSWERED, ABANDONED, TIMEOUT, FULL, EMPTY, EXIT, REMOVED, LOST)
"""What becomes of callers. Removed: the configuration has that queue no more. Lost: what they heard
has died."""

FREE: Final = "free"
TALKS: Final = "talks"
BUSY: Final = "busy"
RINGS: Final = "rings"
WRAPS_UP: Final = "wraps up"
PAUSED: Final = "paused"
LOGGED_OUT: Final = "logged out"
UNREACHABLE: Final = "unreachable"
STATES: Final = (FREE, TALKS, BUSY, RINGS, WRAPS_UP, PAUSED, LOGGED_OUT, UNREACHABLE)
"""What an agent does. Busy: with other calls than those of queues. Paused: also as it is not to be
disturbed, or has just not answered."""


class Phones(Protocol):
    """What is known of the phones of this switch."""

    def is_registered(self, extension: str) -> bool:
        """Whether it can be called at all."""


class Wishes(Protocol):
    """What agents have set (`softswitch.features`)."""

    def agent_said(self, extension: str) -> tuple[bool | None, bool]:
        """Whether it is logged in (None: as the queue says), and whether it pauses."""


class Caller:
    """One who waits (`softswitch.applications.queue`). `serial` is its number in the order of
    arrival, `since` when that was (the clock's seconds), `place` where it stands. `waits`: it is in
    its queue, and `rings` that agents are rung for it."""

    def __init__(self) -> None:
        self.queue_name = ""
        self.skills: frozenset[str] = frozenset()
        self.serial = 0
        self.since = 0.0
        self.place = 0
        self.waits = False
        self.rings = False

    def ring(self, queue: Queue, agents: list[str]) -> bool:
        """Ring these; whether that can be just now. `Queues.answered` or `unanswered` is told what
        comes of it, which may be at once."""
        raise NotImplementedError

    def stop_ringing(self) -> None:
        """Nobody is to be rung any more."""
        raise NotImplementedError

    def stands(self, place: int) -> None:
        """It has moved on."""
        raise NotImplementedError

    def give_up(self, outcome: str) -> None:
        """It is to wait no longer."""
        raise NotImplementedError

    def last_word(self) -> None:
        """Its leg is about to be over."""
        raise NotImplementedError


class AgentState:
    """What an agent does. `legs` are those of its phones, `serves` the one that talks with a
    caller of the queue `serving`, since `answered_at`; `rung_by` for whom it is rung. It is rung no
    more before `until`, and was free of its last caller at `idle_since` (0: it had none). Times are
    the clock's seconds."""

    def __init__(self, extension: str) -> None:
        self.extension = extension
        self.legs: dict[Leg, None] = {}
        self.serves: Leg | None = None
        self.serving = ""
        self.answered_at = 0.0
        self.rung_by: Caller | None = None
        self.until = 0.0
        self.wraps_up = False
        self.idle_since = 0.0
        self.calls = 0
        self.timer: Timer | None = None


class Line:
    """Who waits in a queue, in order. `last` is the agent that was rung last, `takes` how many
    seconds of an agent a call takes (0: none is known yet), `outcomes` what has become of how many
    callers since the start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callers: list[Caller] = []
        self.last = ""
        self.takes = 0.0
        self.outcomes: dict[str, int] = {}


class Queues:
    """Of a switch: `dialplan` is the one in force, `legs` and `forwardings` are always the same
    tables. What happens to phones is told by `took`, `lost` and `changed`."""

    def __init__(
        self,
        dialplan: Callable[[], Dialplan],
        timers: Timers,
        phones: Phones,
        wishes: Wishes,
        legs: Mapping[str, Leg],
        forwardings: Mapping[str, Forwarding],
    ) -> None:
        self._dialplan = dialplan
        self._timers = timers
        self._phones = phones
        self._wishes = wishes
        self._legs = legs
        self._forwardings = forwardings
        self.agents: dict[str, AgentState] = {}
        self.lines: dict[str, Line] = {}
        self._by_leg: dict[Member, Caller] = {}
        self._serial = 0
        self._timer: Timer | None = None
        self._again: Timer | None = None
        self.awake = False
        """Whether there are agents: else nothing needs to be told."""
        self.take_up()

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(line.callers) for line in self.lines.values())

    def clock(self) -> float:
        """Seconds that never go back."""
        return self._timers.clock()

    def take_up(self) -> None:
        """The configuration has changed."""
        queues = self._dialplan().queues
        wanted = {agent.extension for queue in queues.values() for agent in queue.agents}
        for name in [name for name in self.agents if name not in wanted]:
            self._forget(self.agents.pop(name))
        for name in sorted(wanted - self.agents.keys()):
            state = self.agents[name] = AgentState(name)
            party = f"extension:{name}"
            for leg in list(self._legs.values()):
                if leg.party == party:
                    state.legs[leg] = None
        self.awake = bool(self.agents)
        for name in queues:
            if name not in self.lines:
                self.lines[name] = Line(name)
        for name in [name for name in self.lines if name not in queues]:
            for caller in self.lines.pop(name).callers[:]:
                caller.give_up(REMOVED)
        self._soon()

    # --- what happens to phones

    def took(self, leg: Member) -> None:
        """A leg is known by its dialog from now on."""
        assert isinstance(leg, Leg)
        state = self._state_of(leg)
        if state is not None:
            state.legs[leg] = None

    def lost(self, leg: Member) -> None:
        """It is over."""
        assert isinstance(leg, Leg)
        state = self._state_of(leg)
        if state is None or leg not in state.legs:
            return
        del state.legs[leg]
        if state.serves is leg:
            self._served(state)
        self._soon()

    def changed(self, extension: str) -> None:
        """It has registered, or set something."""
        if extension in self.agents:
            self._soon()

    def leg_over(self, leg: Member) -> None:
        """The leg of an application is about to be over."""
        caller = self._by_leg.pop(leg, None)
        if caller is not None:
            caller.last_word()

    def _state_of(self, leg: Leg) -> AgentState | None:
        kind, _, name = leg.party.partition(":")
        return self.agents.get(name) if kind == "extension" else None

    def _served(self, state: AgentState) -> None:
        """Its call with a caller is over."""
        now = self.clock()
        state.serves = None
        state.idle_since = now
        queue = self._dialplan().queues.get(state.serving)
        line = self.lines.get(state.serving)
        wrap_up = queue.wrap_up if queue is not None else 0.0
        if line is not None:
            took = now - state.answered_at + wrap_up
            line.takes = took if not line.takes else _KEEPS * line.takes + (1 - _KEEPS) * took
        if wrap_up:
            state.wraps_up = True
            self._keep_from(state, wrap_up)

    def _keep_from(self, state: AgentState, seconds: float) -> None:
        """It is not rung for so long."""
        state.until = max(state.until, self.clock() + seconds)
        if state.timer is not None:
            state.timer.cancel()
        state.timer = self._timers.after(state.until - self.clock(), self._rested)

    def _rested(self) -> None:
        now = self.clock()
        for state in self.agents.values():
            # Of the timer that has just run out.
            if state.timer is not None and state.until <= now:
                state.timer.cancel()
                state.timer = None
                state.wraps_up = False
        self._soon()

    def _forget(self, state: AgentState) -> None:
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        state.legs.clear()
        state.serves = None
        state.rung_by = None

    # --- callers

    def knows(self, caller: Caller, leg: Member) -> None:
        """That is the leg to which it listens."""
        self._by_leg[leg] = caller

    def refuses(self, queue: Queue) -> str:
        """Why nobody may wait there just now; empty: who wants may."""
        line = self.lines.get(queue.name)
        if line is None:
            return REMOVED
        if len(line.callers) >= queue.most:
            return FULL
        return EMPTY if self.is_empty(queue) else ""

    def is_empty(self, queue: Queue) -> bool:
        """Whether nobody is to wait there, as nobody is logged in."""
        return not queue.waits and not any(self.is_logged_in(agent) for agent in queue.agents)

    def enter(self, caller: Caller) -> None:
        """It waits from now on: behind all others, or at the place that it had before."""
        if not caller.serial:
            self._serial += 1
            caller.serial = self._serial
            caller.since = self.clock()
        callers = self.lines[caller.queue_name].callers
        at = len(callers)
        while at and callers[at - 1].serial > caller.serial:
            at -= 1
        callers.insert(at, caller)
        caller.waits = True
        caller.place = at + 1
        self._soon()

    def leave(self, caller: Caller, outcome: str) -> None:
        """It waits no longer."""
        line = self.lines.get(caller.queue_name)
        if line is not None:
            line.outcomes[outcome] = line.outcomes.get(outcome, 0) + 1
            if caller in line.callers:
                line.callers.remove(caller)
        caller.waits = False
        for state in self.agents.values():
            if state.rung_by is caller:
                state.rung_by = None
        if caller.rings:
            caller.rings = False
            caller.stop_ringing()
        self._soon()

    def went(self, leg: Member) -> None:
        """Nobody listens there any more."""
        self._by_leg.pop(leg, None)

    def answered(self, caller: Caller, leg: Leg) -> None:
        """That one has answered."""
        caller.rings = False
        self.leave(caller, ANSWERED)
        state = self._state_of(leg)
        if state is not None:
            state.legs[leg] = None
            state.serves = leg
            state.serving = caller.queue_name
            state.answered_at = self.clock()
            state.calls += 1

    def unanswered(self, caller: Caller, retry: float) -> None:
        """Nobody of those who were rung has answered."""
        caller.rings = False
        for state in self.agents.values():
            if state.rung_by is caller:
                state.rung_by = None
                self._keep_from(state, retry)
        self._soon()

    def estimate(self, caller: Caller, queue: Queue) -> float:
        """Seconds that it may wait yet; 0: nobody knows."""
        line = self.lines.get(queue.name)
        at_work = 0
        for agent in queue.agents:
            at_work += self.state(agent) not in (LOGGED_OUT, PAUSED, UNREACHABLE)
        if line is None or not at_work:
            return 0.0
        return line.takes * caller.place / at_work

    # --- agents

    def is_logged_in(self, agent: QueueAgent) -> bool:
        """Whether it is: as it has said, or else as the queue says."""
        said, _ = self._wishes.agent_said(agent.extension)
        return agent.logged_in if said is None else said

    def state(self, agent: QueueAgent) -> str:
        """What it does, in a word."""
        state = self.agents[agent.extension]
        if state.serves is not None:
            return TALKS
        if state.rung_by is not None:
            return RINGS
        if state.legs:
            # Or a phone of its is not yet told that it is called no more.
            return BUSY
        if not self.is_logged_in(agent):
            return LOGGED_OUT
        forwarding = self._forwardings.get(agent.extension)
        if self._wishes.agent_said(agent.extension)[1] or (
            forwarding is not None and forwarding.dnd
        ):
            return PAUSED
        if not self._phones.is_registered(agent.extension):
            return UNREACHABLE
        if state.until > self.clock():
            return WRAPS_UP if state.wraps_up else PAUSED
        return FREE

    def waited(self, line: Line) -> float:
        """How long the one has waited that waits longest, in seconds; 0: nobody waits."""
        return self.clock() - line.callers[0].since if line.callers else 0.0

    # --- who is rung for whom

    def _soon(self) -> None:
        if self._timer is None and (self.awake or self.lines):
            self._timer = self._timers.after(SOON, self._look)

    def _look_again(self) -> None:
        self._again = None
        self._soon()

    def _look(self) -> None:
        self._timer = None
        queues = self._dialplan().queues
        waiting = [caller for line in self.lines.values() for caller in line.callers]
        if not waiting:
            return
        for name in [name for name, line in self.lines.items() if line.callers]:
            queue = queues.get(name)
            if queue is not None and self.is_empty(queue):
                for caller in self.lines[name].callers[:]:
                    if not caller.rings:
                        caller.give_up(EMPTY)
        waiting.sort(key=_serial)
        # Of queues of which nobody is free no other caller need be looked at, unless it asks for
        # somebody else.
        nobody: set[tuple[str, frozenset[str]]] = set()
        for caller in waiting:
            queue = queues.get(caller.queue_name)
            wants = (caller.queue_name, caller.skills)
            if queue is None or not caller.waits or caller.rings or wants in nobody:
                continue
            chosen = self._choose(queue, caller)
            if chosen:
                self._ring(caller, queue, chosen)
            else:
                nobody.add(wants)
        for line in list(self.lines.values()):
            for place, caller in enumerate(line.callers[:], 1):
                if caller.place != place:
                    caller.place = place
                    caller.stands(place)

    def _choose(self, queue: Queue, caller: Caller) -> list[str]:
        """The agents that are to be rung for it; none: nobody is free."""
        free: list[QueueAgent] = []
        for agent in queue.agents:
            if caller.skills <= agent.skills and self.state(agent) == FREE:
                free.append(agent)
        if not free:
            return []
        least = min(agent.penalty for agent in free)
        names = [agent.extension for agent in free if agent.penalty == least]
        if queue.strategy == RING_ALL:
            return names
        if queue.strategy == ROUND_ROBIN:
            return [self._next(queue, names)]
        if queue.strategy == IN_ORDER:
            return names[:1]
        assert queue.strategy in (LONGEST_IDLE, FEWEST_CALLS)
        best = names[0]
        for name in names[1:]:
            one, other = self.agents[name], self.agents[best]
            if queue.strategy == LONGEST_IDLE:
                better = one.idle_since < other.idle_since
            else:
                better = one.calls < other.calls
            if better:
                best = name
        return [best]

    def _next(self, queue: Queue, names: list[str]) -> str:
        """The first of these behind the one that was rung last."""
        listed = [agent.extension for agent in queue.agents]
        last = self.lines[queue.name].last
        start = listed.index(last) + 1 if last in listed else 0
        return next(name for name in (*listed[start:], *listed[:start]) if name in names)

    def _ring(self, caller: Caller, queue: Queue, names: list[str]) -> None:
        for name in names:
            self.agents[name].rung_by = caller
        caller.rings = True
        if caller.ring(queue, names):
            self.lines[queue.name].last = names[-1]
            return
        # It is being transferred, or has just gone.
        caller.rings = False
        for name in names:
            self.agents[name].rung_by = None
        if self._again is None:
            self._again = self._timers.after(AGAIN, self._look_again)


def _serial(caller: Caller) -> int:
    return caller.serial
