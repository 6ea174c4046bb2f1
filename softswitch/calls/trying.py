"""What a search may still try: the stages of a route, and where those who are rung forward the
call; and what it will say if nobody is found."""

from __future__ import annotations

from typing import NamedTuple

from softswitch.calls import outcome
from softswitch.calls.core import Caller, Passage
from softswitch.calls.destination import Destination
from softswitch.calls.diversion import DND, FOLLOW, Diversion, Diverted, Step
from softswitch.calls.inviting import Inviting
from softswitch.calls.leg import Leg
from softswitch.config import ALWAYS, BUSY, NO_ANSWER, UNREACHABLE, FollowStep, Forwarding
from softswitch.dialplan import Action, Route, Source, Stage, Stages, Target
from softswitch.sip import Response

NOBODY = "nobody"
_LOOP = (482, "Forwarded In A Circle")

# Of the failures of several phones of one extension the last one here says what it is.
_CASES = {UNREACHABLE: 1, NO_ANSWER: 2, BUSY: 3}


class Blame(NamedTuple):
    """Who brought the failure that the caller is told, with which Reason header, and which lines
    that explain it."""

    by: str
    reason: str
    lines: str = ""


_NOT_BLAMED = Blame("switch", "")


class Trying(Inviting):
    """`stages` are those to come, `last` the trunks that are down, `otherwise` what the route says
    then. `best` is the failure that the user will be told if nobody answers, `blame` who brought
    it.

    `by_way` is how the call came to those who are rung, if it was forwarded to them; `forwarded`
    are the extensions that have. While one is rung alone that may forward the call, `heeded` is
    that, and `case` what its phones have said.
    """

    __slots__ = (
        "best",
        "blame",
        "by_way",
        "case",
        "forwarded",
        "heeded",
        "last",
        "otherwise",
        "redirects",
        "stages",
    )

    def __init__(
        self,
        call: Passage,
        party: str,
        identity: Caller,
        offer: bytes,
        content: str,
        hops: int,
        by: str,
    ) -> None:
        super().__init__(call, party, identity, offer, content, hops, by)
        self.stages: list[Stage | Step] = []
        self.last: list[Stage | Step] = []
        self.otherwise: Action | None = None
        self.best = (0, "")
        self.blame = _NOT_BLAMED
        self.redirects = 0
        self.heeded = ""
        self.by_way: Diversion | None = None
        self.case = ""
        self.forwarded: set[str] | None = None

    def _note(
        self, failure: tuple[int, str], by: str = "switch", reason: str = "", lines: str = ""
    ) -> None:
        """That has come of somebody."""
        best = outcome.RANG_OUT if self.blame.by == NOBODY else self.best[0]
        if not best or outcome.better(best, outcome.RANG_OUT if by == NOBODY else failure[0]):
            self.best = failure
            self.blame = Blame(by, reason, lines)

    def _is_kept_from(
        self,
        name: str,
        forwarding: Forwarding,
        alone: bool,
        way: Diversion | None,
        timeout: float,
    ) -> bool:
        """Whether an extension is not to be rung: it forwards all its calls, has a list of where
        they find it, or is not to be disturbed. What to try instead are the next stages then."""
        if alone and forwarding.always:
            if self._forward(name, ALWAYS, way):
                return True
            if self._has_forwarded(name):
                self._note(_LOOP)
                return True
        if not forwarding.dnd:
            return bool(alone and forwarding.follow) and self._follow(
                name, forwarding, way, timeout
            )
        self._note((forwarding.status, forwarding.phrase), "callee")
        if alone:
            self._forward(name, DND, way)
        return True

    def _has_forwarded(self, name: str) -> bool:
        """Whether an extension has forwarded this call: here, or before it came here."""
        if self.forwarded is not None and name in self.forwarded:
            return True
        came = self.came
        if came is None:
            return False
        own = self.call.core.parties.caller_id(f"extension:{name}")
        return name in came.users or (
            own is not None and own.number != "" and own.number in came.users
        )

    def _may_forward(self) -> bool:
        """Whether the call has not been forwarded too often."""
        came = self.came
        before_here = len(came.users) if came is not None else 0
        return self.redirects + before_here < self.call.core.settings.max_redirects

    def _has_gone(self, name: str) -> None:
        """An extension has forwarded the call."""
        self.redirects += 1
        if self.forwarded is None:
            self.forwarded = set()
        self.forwarded.add(name)

    def _forward(self, name: str, why: str, before: Diversion | None, again: bool = False) -> bool:
        """Where an extension forwards its calls for that reason is the next stage; whether it
        does. `again`: also if it has forwarded the call."""
        core = self.call.core
        forwarding = core.forwardings.get(name)
        number = forwarding.of(BUSY if why == DND else why) if forwarding is not None else ""
        if not number or (not again and self._has_forwarded(name)):
            return False
        if not self._may_forward():
            return False
        route = core.route(number, Source("extension", name))
        if route is None:
            return False
        stages = route.action.stages
        if self._is_who_calls(stages):
            # Who gets its calls may still call it: nobody else could.
            return False
        self._has_gone(name)
        if not stages:
            self.stages, self.last, self.otherwise = [], [], route.action
            return True
        way = self._way(name, why, before, route)
        self.stages[:0] = self._steps(stages, way)
        return True

    def _is_who_calls(self, stages: Stages) -> bool:
        """Whether they lead to nobody but the extension that calls."""
        if len(stages) != 1 or len(stages[0].targets) != 1:
            return False
        target = stages[0].targets[0]
        return target.kind == "extension" and str(target) == self.party

    def _way(self, name: str, why: str, before: Diversion | None, route: Route) -> Diversion:
        """That of an extension which forwards to where this route leads."""
        way = Diversion(name, why, self.call.core.parties.caller_id(f"extension:{name}"), before)
        stages = route.action.stages
        way.caller, way.lines, way.timeout = route.caller, route.lines, route.action.timeout
        way.alone = len(stages) == 1 and len(stages[0].targets) == 1
        return way

    def _steps(self, stages: Stages, way: Diversion) -> list[Stage | Step]:
        """The stages of a route by that way, those with trunks that are down after the others."""
        is_up = self.call.core.trunk_states.is_up
        up: list[Stage | Step] = []
        down: list[Stage | Step] = []
        for stage in stages:
            lives = any(target.kind != "trunk" or is_up(target.name) for target in stage.targets)
            (up if lives else down).append(going_by(stage, way))
        return up + down

    def _follow(
        self, name: str, forwarding: Forwarding, before: Diversion | None, timeout: float
    ) -> bool:
        """Where an extension says that its calls find it are the next stages; whether its phone is
        not to be rung as usual. `timeout` is how long it would be."""
        itself = any(name in step.numbers for step in forwarding.follow)
        if self._has_forwarded(name):
            if itself:
                return False
            self._note(_LOOP)
            return True
        if self.party == f"extension:{name}" or not self._may_forward():
            return False
        stages: list[Stage | Step] = []
        for step in forwarding.follow:
            stages += self._followed(name, step, before, timeout)
        if not stages:
            return False
        self._has_gone(name)
        stages.append(Step((), 0.0, name, before))
        self.stages[:0] = stages
        return True

    def _followed(
        self, name: str, step: FollowStep, before: Diversion | None, timeout: float
    ) -> list[Stage | Step]:
        """The stages of one step of such a list."""
        core = self.call.core
        together = len(step.numbers) > 1
        targets: list[Target | Destination | Diverted] = []
        for number in step.numbers:
            if number == name:
                targets.append(Diverted(Target("extension", name, name), before, True))
                continue
            route = core.route(number, Source("extension", name))
            if route is None or not route.action.stages:
                continue
            stages = route.action.stages
            if self._is_who_calls(stages):
                continue
            way = self._way(name, FOLLOW, before, route)
            steps = self._steps(stages, way)
            if not together:
                if step.timeout:
                    # For all of them together: the last one has what is left.
                    way.limit = step.timeout
                    steps[-1] = Step(steps[-1].targets, step.timeout)
                return steps
            way.alone = False
            targets += steps[0].targets
            way.spare = [Step(_plain(one), 0.0) for one in steps[1:]]
        if not targets:
            return []
        return [Step(tuple(targets), step.timeout or timeout)]

    def _said(self, leg: Leg, response: Response) -> None:
        """A phone of the extension that may forward the call does not take it. Its other phones
        ring on; when none is left, what they have said decides."""
        status = response.status
        case = ""
        if response.ours:
            case = UNREACHABLE
        elif status in outcome.BUSY:
            case = BUSY
        elif status in outcome.NO_ANSWER:
            case = NO_ANSWER
        if case and _CASES[case] > _CASES.get(self.case, 0):
            self.case = case
        if status >= 600 and status not in outcome.BUSY:
            self.case, self.heeded = "", ""
        if self.case and not self.inviting():
            self._forward(self.heeded, self.case, self.by_way)

    def _has_time(self, way: Diversion) -> bool:
        """Whether some is left for those that it leads to. It begins with the first of them."""
        now = self.call.core.timers.clock()
        if way.limit:
            until = now + way.limit
            way.until = min(way.until, until) if way.until else until
            way.limit = 0.0
        return way.until > now


def going_by(stage: Stage, way: Diversion) -> Step:
    """A stage to which the call was forwarded."""
    return Step(tuple([Diverted(target, way) for target in stage.targets]), stage.timeout)


def _plain(stage: Stage | Step) -> tuple[Target | Destination | Diverted, ...]:
    """The targets themselves."""
    return tuple([one.target if isinstance(one, Diverted) else one for one in stage.targets])
