"""The search for someone who answers: whom a call is offered to, in which order, and what came.

It goes on behalf of one who waits: a caller, or a party that is transferred; that is its user's
matter, who is told what comes of it. It lives from the route until the answer or the end; a call
that goes on keeps nothing of it. Forking is RFC 3261 §16.7 and §13.2, as a back-to-back user agent
has it.
"""

from __future__ import annotations

from typing import Protocol

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.attempt import Attempt
from softswitch.calls.core import Caller, Opened, Passage
from softswitch.calls.destination import Destination
from softswitch.calls.diversion import DEFLECTED, Diversion, Diverted, Step
from softswitch.calls.headers import explanation, reason_of, retry_after
from softswitch.calls.leg import APPLICATION, INVITING, WAITING, Leg
from softswitch.calls.mixing import Mixer, takes_plain
from softswitch.calls.trying import NOBODY, Trying, going_by
from softswitch.config import BUSY, NO_ANSWER, UNREACHABLE, Forwarding
from softswitch.dialplan import Action, Plays, Route, Stage, Stages, Target
from softswitch.sip import (
    CALLING,
    PROCEEDING,
    Response,
    Session,
    Timer,
    least_of,
    parse_address,
    parse_uri,
    split_list,
)

_ELSEWHERE = 'Reason: SIP;cause=200;text="Call completed elsewhere"\r\n'
_NO_ANSWER = 'Reason: Q.850;cause=19;text="No answer"\r\n'
_LONGEST = 86400  # seconds of a session that a 422 may ask for
FULL = (503, "Trunk Is Full")
"""What a trunk is that has as many calls as it may have."""
_TOLL = (403, "Toll Limit")
_SILENT = (504, "No Response At All")
_SILENT_PHONE = (480, "No Response From The Phone")
_SILENT_WORKER = (503, "Media Worker Lost")
_UNREACHABLE = (480, "Unreachable")


class SearchUser(Protocol):
    """On whose behalf a search goes."""

    def who_waits(self) -> Leg | None:
        """The leg on whose behalf it is."""

    def trying(self, search: Search) -> None:
        """Somebody is about to be rung."""

    def rings(
        self, search: Search, leg: Leg, session: Session, response: Response, reliable: bool
    ) -> bool:
        """See `Rung`."""

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """A leg was answered. The user says `won_by`, and has to acknowledge."""

    def forwarded(self, search: Search, way: Diversion) -> None:
        """Somebody is rung to whom the call was forwarded."""

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """Nobody was found. `lines` are header lines that explain it, `by` is who is to blame:
        callee or switch."""

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """Instead of finding somebody, do what a star code is dialled for (`dialplan.Asked`)."""


class Unheard:
    """Of a `SearchUser` on whose behalf nobody waits who would hear of what rings."""

    def who_waits(self) -> Leg | None:
        """See `SearchUser`."""
        return None

    def trying(self, search: Search) -> None:
        """See `SearchUser`."""

    def rings(
        self, search: Search, leg: Leg, session: Session, response: Response, reliable: bool
    ) -> bool:
        """See `SearchUser`."""
        return False

    def forwarded(self, search: Search, way: Diversion) -> None:
        """See `SearchUser`."""


class Search(Trying):
    """The legs that are rung, and what becomes of them. `told`: who has forwarded the call, and
    why, as the user was told last. `stays`: it goes nowhere else, whatever who is rung says."""

    __slots__ = ("group", "mixer", "stays", "timeout", "timer", "told", "user")

    def __init__(
        self,
        call: Passage,
        user: SearchUser,
        party: str,
        identity: Caller,
        offer: bytes,
        content: str,
        hops: int,
        by: str = "",
    ) -> None:
        super().__init__(call, party, identity, offer, content, hops, by)
        self.user: SearchUser | None = user
        self.group = False  # whether there are several whom the route would ring
        self.stays = False
        self.timeout = 0.0
        self.told = "", ""
        self.timer: Timer | None = None
        self.mixer: Mixer | None = None

    # --- whom to ring

    def take(self, route: Route) -> None:
        """Do what a route says, as it says."""
        self.caller = route.caller
        self.lines = route.lines
        self.emergency = route.emergency
        recorded = self.call.core.recorded
        if route.record and recorded is not None:
            recorded.calls.add(self.call.call_id)
        tapped = self.call.core.tapped
        if route.tap is not None and tapped is not None:
            tapped.add(self.call.call_id, (route.tap,))
        self.act(route.action)

    def act(self, action: Action) -> None:
        """Do what a route says."""
        action.act(self)

    def ring(self, stages: Stages, timeout: float, otherwise: Action | None) -> None:
        """See ``dialplan.Asked``."""
        self.stages = self._defer(stages) if self.some_down else list(stages)
        self.group = len(stages) > 1 or len(stages[0].targets) > 1
        self.timeout = timeout
        self.otherwise = otherwise
        if self.user is not None:
            self.user.trying(self)
        self._next_stage()

    def summon(self, stages: Stages, timeout: float) -> None:
        """Ring these, and nobody to whom they would forward the call."""
        self.stages = list(stages)
        self.group = self.stays = True
        self.timeout = timeout
        self._next_stage()

    def ring_at(self, destinations: list[Destination]) -> None:
        """Ring these at once, whose lines are taken, and nobody else."""
        for destination in destinations:
            self.invite(destination)

    def _defer(self, stages: Stages) -> list[Stage | Step]:
        """The stages but for trunks that are down: these are tried when nothing else is left."""
        is_up = self.call.core.trunk_states.is_up
        kept: list[Stage | Step] = []
        for stage in stages:
            if any(target.kind != "trunk" or is_up(target.name) for target in stage.targets):
                kept.append(stage)
            elif stage not in self.last:
                self.last.append(stage)
        return kept

    def refuse(self, status: int, reason: str) -> None:
        """See ``dialplan.Asked``."""
        self._nobody(status, reason)

    def play(self, play: Plays) -> None:
        """See ``dialplan.Asked``. An application is rung as anybody else is."""
        user = self.user
        if user is None:
            return
        self._stop_timer()
        self.stages, self.last, self.otherwise = [], [], play.otherwise
        self.heeded, self.by_way, self.group = "", None, False
        user.trying(self)
        core = self.call.core
        waits = user.who_waits()
        address = waits.session.dialog.flow.sent_by if waits is not None else ""
        core.applications.open(play, address, self._opened)

    def _opened(self, opened: Opened | tuple[int, str]) -> None:
        """An application is there, or there is none."""
        if self.user is None:
            if not isinstance(opened, tuple):
                opened.abandoned()
            return
        if isinstance(opened, tuple):
            # What went before is the answer, if anything did.
            if self.otherwise is None and not self.best[0]:
                self._nobody(*opened)
                return
            if not self.best[0]:
                self._note(opened)
            self._next_stage()
            return
        self.invite(opened.destination)
        leg = self.legs[-1]
        leg.how = APPLICATION
        opened.placed(leg, self.party, self.identity)

    def goto(self, number: str) -> None:
        """See ``dialplan.Asked``."""
        core = self.call.core
        self.redirects += 1
        if self.redirects > core.settings.max_redirects:
            self._nobody(482, "Goes In A Circle")
            return
        route = core.route(number, core.parties.source_of(self.by or self.party))
        if route is None:
            self._nobody(404, "No Route")
            return
        self.call.tell_route(route, route.properties, route.once)
        self.take(route)

    def do(self, what: str, argument: str, number: str) -> None:
        """See ``dialplan.Asked``."""
        if self.forwarded:
            # Whoever calls has not dialled it.
            self._nobody(403, "Forwarded To A Star Code")
        elif self.user is not None:
            self.user.do(self, what, argument, number)

    def _nobody(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        if self.user is not None:
            self.user.nobody(self, status, reason, by, lines)

    def _next_stage(self) -> None:
        """Ring the next target or group of targets; with none left, do what the route says then."""
        self.heeded = ""
        while self.stages:
            stage = self.stages.pop(0)
            if isinstance(stage, Step) and stage.ends:
                # Nobody of that list has answered.
                self._forward(stage.ends, NO_ANSWER, stage.before, again=True)
                continue
            placed = 0
            timeout = stage.timeout or self.timeout
            for target in stage.targets:
                way: Diversion | None = None
                alone = not self.group
                if isinstance(target, Diverted):
                    way, alone = target.diversion, not target.own
                    if way is not None:
                        timeout = stage.timeout or way.timeout
                        alone = alone and way.alone
                        if (way.limit or way.until) and not self._has_time(way):
                            continue
                    target = target.target
                placed += self._ring(target, way, alone, timeout)
                if way is not None and way.spare:
                    placed += self._ring_spare(way)
            if placed:
                self._wait(timeout)
                return
        action = self.otherwise
        if self.last and (action is None or not action.stages):
            # Whom else the route would ring has been rung.
            self.stages, self.last = self.last, []
            self._next_stage()
            return
        self.otherwise = None
        if action is not None:
            self.act(action)
        else:
            self._fail_as_called()

    def _ring(
        self,
        target: Target | Destination,
        way: Diversion | None,
        alone: bool,
        timeout: float,
    ) -> int:
        """Ring a target, for so long; how many rings that gives. `alone`: what it says itself of
        its calls is heeded."""
        call = self.call
        core = call.core
        self.by_way = way
        if not alone and str(target) == self.party:
            # Whoever calls a group in which it is itself does not want to hear it ring.
            return 0
        if isinstance(target, Destination):
            carrier = target.carrier
            if carrier is not None and not self._may_cost(carrier.name, target.number, way):
                return 0
            if not core.line_counts.take(target.line, call):
                self._note(FULL)
                return 0
            self.invite(target, way)
            return 1
        forwardings = core.forwardings
        forwarding: Forwarding | None = None
        if forwardings and target.kind == "extension":
            forwarding = forwardings.get(target.name)
            if forwarding is not None and self._is_kept_from(
                target.name, forwarding, alone, way, timeout
            ):
                return 0
        if (
            core.toll is not None
            and target.kind == "trunk"
            and not self._may_cost(target.name, target.number, way)
        ):
            return 0
        found = core.destinations(target, call)
        if self.emergency and found == FULL and core.make_room(str(target)):
            found = core.destinations(target, call)
        if isinstance(found, tuple):
            self._note(found)
            if forwarding is not None and alone and found[0] != 404:
                busy = found[0] == 486
                self._forward(target.name, BUSY if busy else UNREACHABLE, way)
            return 0
        if forwarding is not None and alone:
            self.heeded, self.case = target.name, ""
        for destination in found:
            self.invite(destination, way)
        if way is not None:
            self._tell(way)
        return len(found)

    def _may_cost(self, trunk: str, number: str, way: Diversion | None) -> bool:
        """Whether a number may be called at a carrier (`TollLimits`)."""
        toll = self.call.core.toll
        if toll is None or self.emergency:
            return True
        placed_by = way.party if way is not None else self.by or self.party
        dialled = self._dialled(number, way)
        if toll.admits(self.call, placed_by, trunk, dialled, number == self.tolled):
            return True
        self._note(_TOLL)
        return False

    def _wait(self, timeout: float) -> None:
        """Those who ring now do so for that time."""
        core = self.call.core
        if self.heeded:
            forwarding = core.forwardings.get(self.heeded)
            if forwarding is not None and forwarding.no_answer and forwarding.after:
                timeout = min(timeout or forwarding.after, forwarding.after)
        way = self.by_way
        if way is not None and way.until:
            left = way.until - core.timers.clock()
            timeout = min(timeout or left, left)
        if timeout:
            self._stop_timer()
            self.timer = core.timers.after(timeout, self._nobody_answered)

    def _ring_spare(self, way: Diversion) -> int:
        """Ring whom a number leads to next, if nobody whom it has led to rings; how many rings that
        gives."""
        for leg in self.inviting():
            if leg.attempt is not None and leg.attempt.way is way:
                return 0
        placed = 0
        while way.spare and not placed:
            for target in way.spare.pop(0).targets:
                if not isinstance(target, Diverted):
                    placed += self._ring(target, way, False, 0.0)
        return placed

    def _tell(self, way: Diversion) -> None:
        """The user is told of it, once."""
        told = way.name, way.reason
        if told != self.told and self.user is not None:
            self.told = told
            self.user.forwarded(self, way)

    # --- forwarding by those who are rung

    def _declined(self, leg: Leg, status: int) -> None:
        """The phone of an extension declines. If that is one of where its calls find it, the others
        need not be tried: who is called has declined."""
        name = leg.party[10:]
        for index, stage in enumerate(self.stages):
            if isinstance(stage, Step) and stage.ends == name:
                del self.stages[: index + 1]
                for other in self.inviting():
                    self._give_up(other, status, "Declined elsewhere", _declined_line(status))
                return

    # --- what they say

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """See `Rung`."""
        if leg.user_agent == "":
            leg.user_agent = response.get("user-agent") or response.get("server") or ""
        call = self.call
        attempt = leg.attempt
        if attempt is not None and attempt.mixer is not None and response.body:
            # The caller hears it by way of the worker, if at all.
            mixer = self.mixer
            heard = mixer is not None and self.alone() and mixer.lets_hear(response.body)
            response.body = mixer.answer if mixer is not None and heard else b""
        media = bool(response.body)
        now = (response.status, media)
        if attempt is not None and now != attempt.told:
            event = events.LegRinging(
                call_id=call.call_id,
                at=call.now_us(),
                switch=call.switch_name,
                leg=leg.index,
                status=response.status,
                early_media=media,
            )
            if attempt.told[0]:
                # A callee can change its mind without end: the journal has the first.
                call.core.emit(event)
            else:
                call.tell(event)
            attempt.told = now
        if self.user is not None:
            return self.user.rings(self, leg, session, response, reliable)
        return False

    def alone(self) -> bool:
        """Whether one phone rings. The media of several that ring at once cannot all be heard."""
        return len(self.legs) == 1 or len(self.inviting()) == 1

    def answered(self, leg: Leg, response: Response) -> None:
        """The first 2xx of a leg that is still wanted."""
        user = self.user
        if user is None:
            return
        attempt = leg.attempt
        if attempt is not None and attempt.mixer is not None:
            self._mixed_answer(leg, response)
        else:
            user.found(self, leg, response)

    def failed(self, leg: Leg, response: Response) -> None:
        """A final response other than 2xx of a leg that is still wanted."""
        call = self.call
        status, reason = response.status, response.reason
        if leg.state == INVITING and (
            (status == 422 and self._longer(leg, response))
            or (status in outcome.NOT_ACCEPTABLE and self._mix(leg, response))
        ):
            return
        attempt = leg.attempt
        way = attempt.way if attempt is not None else None
        destination = attempt.destination if attempt is not None else None
        # A timeout and a dead flow are no response of the other side, and have no headers.
        by, cause = ("switch" if response.ours else "remote"), reason_of(response)
        if leg.state != INVITING:
            # Cancelled, or its 2xx is being ended: what it says to that is awaited by itself.
            call.leg_ended(leg, status, cause or reason, by)
        elif _may_answer(leg):
            # It has only been waited for long enough, or is known to be gone. It may still answer:
            # then it is told that nobody waits any more.
            leg.cancel("")
            call.leg_ended(leg, status, reason, by)
        else:
            call.leg_ended(leg, status, cause or reason, by)
            leg.close()
        if 300 <= status < 400:
            self._redirect(leg, response, way)
        if leg in self.legs:
            self.legs.remove(leg)
        if leg.party.startswith("trunk:") and (status == 503 or (status == 408 and response.ours)):
            if destination is not None and self._elsewhere(destination, leg, response, way):
                return
            if response.ours:
                # Nothing came, or nothing leads there: the next calls need not wait for it.
                call.core.trunk_states.failed(leg.party[6:])
        if status == 408 and response.ours:
            self._note(_silence(leg))
        elif status == 503 and response.ours and leg.party.startswith("extension:"):
            # Where it was registered is nobody any more: that is no fault of this switch.
            self._note(_UNREACHABLE)
        else:
            who = "callee" if by == "remote" else "switch"
            self._note((status, reason), who, cause, explanation(response))
        if outcome.ends_search(leg.party.partition(":")[0], status):
            self._spare(leg, status)
            if way is not None and way.spare:
                way.spare = _without(way.spare, leg)
        if status >= 600 and status not in outcome.BUSY and leg.party.startswith("extension:"):
            self._declined(leg, status)
        if self.heeded:
            self._said(leg, response)
        if way is not None and way.spare:
            self._ring_spare(way)
        if not self.inviting():
            self._stop_timer()
            self._next_stage()

    def _longer(self, leg: Leg, response: Response) -> bool:
        """422: it is asked once more, for a session as long as it says (RFC 4028 §7.3); whether
        that can be."""
        least = least_of(response)
        attempt = leg.attempt
        destination = attempt.destination if attempt is not None else None
        if (
            attempt is None
            or destination is None
            or destination.expires
            or not 0 < least <= _LONGEST
        ):
            return False
        destination.expires = max(least, self.call.core.settings.session_expires)
        destination.again = leg.session.dialog
        way = attempt.way
        # Its line goes to the leg that comes in its place.
        leg.line = ""
        self.call.leg_ended(leg, 422, response.reason, "remote")
        leg.close()
        self.legs.remove(leg)
        self.invite(destination, way)
        return True

    # --- no codec in common (`softswitch.calls.mixing`)

    def _mix(self, leg: Leg, response: Response) -> bool:
        """It takes nothing of what the caller offers: whether a media worker makes another offer.
        Until that is there the leg is as if it had not answered."""
        call, user, attempt = self.call, self.user, leg.attempt
        if (
            response.ours
            or not self.offer
            or not call.core.transcodes
            or user is None
            or attempt is None
            or attempt.mixer is not None
            or attempt.destination is None
            or attempt.told[0]  # it would ring a second time
            or not takes_plain(leg)
        ):
            return False
        mixer = self.mixer
        if mixer is None:
            caller = user.who_waits()
            if caller is None or caller.state != INVITING:
                # Who talks already is made another offer (`transfer.BlindTransfer`).
                return False
            mixer = self.mixer = Mixer(call, caller, self.offer, self._mixes)
            mixer.waiting.append((leg, response))
            mixer.start()
            return True
        if mixer.failed_once:
            return False
        mixer.waiting.append((leg, response))
        if mixer.offer and mixer.answer:
            self._mixes(True)
        return True

    def _mixes(self, can: bool) -> None:
        mixer = self.mixer
        if mixer is None:
            return
        waiting, mixer.waiting = mixer.waiting, []
        for leg, response in waiting:
            attempt = leg.attempt
            destination = attempt.destination if attempt is not None else None
            if leg.state != INVITING or leg not in self.legs or destination is None:
                leg.close()
            elif not can:
                self.failed(leg, response)
            else:
                way = attempt.way if attempt is not None else None
                destination.again = leg.session.dialog
                # Its line goes to the leg that comes in its place.
                leg.line = ""
                self.call.leg_ended(leg, response.status, response.reason, "remote")
                leg.close()
                self.legs.remove(leg)
                self.invite(destination, way, mixer)

    def _mixed_answer(self, leg: Leg, response: Response) -> None:
        """It has answered the worker's offer, and the worker the caller's."""
        user, mixer = self.user, self.mixer
        if user is None:
            return
        if mixer is None or mixer.over:
            # The worker has died meanwhile.
            self._give_up(leg, 503, _SILENT_WORKER[1], "")
            self._note(_SILENT_WORKER)
            if not self.inviting():
                self._next_stage()
            return
        session = leg.session
        session.ours = mixer.offer
        if not session.agreed:
            # Else it has waited for a PRACK, and is the caller's answer already.
            session.theirs, session.agreed = response.body, True
        response.body = mixer.answer
        user.found(self, leg, response)

    def _elsewhere(
        self, destination: Destination, leg: Leg, response: Response, way: Diversion | None
    ) -> bool:
        """An address of a trunk takes no calls: whether another one is tried (RFC 3263 §4.3)."""
        core = self.call.core
        name, states = leg.party[6:], core.trunk_states
        after = retry_after(response)
        states.failed_at(name, destination.flow.remote, max(after, core.settings.trunk_pause))
        other = core.elsewhere(destination, leg.number, self.call)
        if other is None:
            if after:
                states.busy(name, after)
            return False
        self.invite(other, way)
        return True

    def _spare(self, leg: Leg, status: int) -> None:
        """Try nothing more that this failure speaks of too: the callee's other phones, the other
        trunks to the same number.

        RFC 3261 §16.7 ends the whole search for a 6xx, as all its targets are one user. Here
        they are whom the admin named: who declines declines for himself, as admins know it of
        Asterisk's Dial and FreeSWITCH's bridge, and the rest of a ring group goes on ringing.
        """
        self.stages = _without(self.stages, leg)
        if status not in outcome.UNKNOWN_NUMBER:
            # A reserve that does not know the number speaks for no carrier that comes before it.
            self.last = _without(self.last, leg)
        if status >= 600:
            for other in self.inviting():
                if _concerns(leg, other.party, other.number):
                    self._give_up(other, status, "Declined elsewhere", _declined_line(status))

    def _redirect(self, leg: Leg, response: Response, by_way: Diversion | None) -> None:
        """A 3xx: its Contacts are the next to try (§8.1.3.4), as far as the dialplan allows.
        `by_way` is how the call had come there."""
        if self.stays:
            return
        core = self.call.core
        # Whether who redirects was not chosen together with others.
        alone = by_way.alone if by_way is not None else not self.group
        found: list[Stage | Step] = []
        for text in _by_preference(response):
            if self.redirects >= core.settings.max_redirects:
                break
            self.redirects += 1
            try:
                uri = parse_uri(text)
            except ValueError:
                continue
            where = core.redirected(leg.party, leg.number, uri)
            if isinstance(where, Destination):
                found.append(Step((where,)))
            elif where is not None and leg.party.startswith("extension:"):
                name = leg.party[10:]
                own = core.parties.caller_id(leg.party)
                way = Diversion(name, DEFLECTED, own, by_way)
                way.caller, way.lines, way.timeout = self.caller, self.lines, self.timeout
                way.alone = len(where) == 1 and len(where[0].targets) == 1 and alone
                found.extend([going_by(stage, way) for stage in where])
            elif where is not None:
                found.extend(where)
        self.stages[:0] = found

    def _give_up(self, leg: Leg, status: int, reason: str, line: str) -> None:
        """Stop ringing a leg; its final response is awaited by the leg alone."""
        leg.cancel(line)
        self.legs.remove(leg)
        self.call.leg_ended(leg, status, reason, "switch")

    def _nobody_answered(self) -> None:
        self.timer = None
        case = UNREACHABLE
        for leg in self.inviting():
            if _is_silent(leg):
                self._note(_silence(leg))
                if leg.party.startswith("trunk:"):
                    self.call.core.trunk_states.failed(leg.party[6:])
            else:
                self._note((480, "No Answer"), NOBODY)
                case = NO_ANSWER
            self._give_up(leg, 487, "No answer", _NO_ANSWER)
        if self.heeded:
            name, way = self.heeded, self.by_way
            if not self._forward(name, case, way) and case == UNREACHABLE:
                self._forward(name, NO_ANSWER, way)
        self._next_stage()

    # --- the end of the search

    def give_up(self, reason: str, line: str) -> None:
        """Stop ringing everybody. `reason` is for the record, `line` header lines for them."""
        for leg in self.inviting():
            self._give_up(leg, 487, reason, line)

    def won_by(self, winner: Leg) -> None:
        """`winner` is the one; nobody else rings on."""
        attempt = winner.attempt
        if isinstance(attempt, Attempt):
            if self.mixer is not None and attempt.mixer is self.mixer:
                # Whoever has found it takes it.
                self.mixer.taken = True
            attempt.won()
        winner.state = WAITING
        if len(self.legs) != 1 or self.legs[0] is not winner:
            self.give_up("Answered elsewhere", _ELSEWHERE)
        self.close()

    def close(self) -> None:
        """Nothing more is to be tried."""
        self._stop_timer()
        self.stages = []
        self.last = []
        self.otherwise = None
        self.user = None
        mixer, self.mixer = self.mixer, None
        if mixer is not None:
            mixer.stop()

    def _fail_as_called(self) -> None:
        """The best of the failures there were."""
        status, reason = outcome.for_caller(*self.best)
        by, cause, lines = self.blame
        # RFC 6432: the Q.850 cause of a carrier goes on to who has to make sense of the failure.
        line = f"Reason: {cause}\r\n" if cause else _NO_ANSWER if by == NOBODY else ""
        self._nobody(status, reason, "callee" if by == "callee" else "switch", line + lines)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _by_preference(response: Response) -> list[str]:
    """The Contact URIs of a 3xx that can be read, the greatest q first (§8.1.3.4)."""
    found: list[tuple[float, str]] = []
    for value in response.headers.get("contact", ()):
        for part in split_list(value):
            try:
                address = parse_address(part)
                found.append((float(address.params.get("q") or 1), address.uri))
            except ValueError:
                continue
    return [uri for _, uri in sorted(found, key=lambda one: -one[0])]


def _declined_line(status: int) -> str:
    return f'Reason: SIP;cause={status};text="Declined elsewhere"\r\n'


def _without(stages: list[Stage | Step], leg: Leg) -> list[Stage | Step]:
    """The stages without those whom the failure of `leg` concerns."""
    found: list[Stage | Step] = []
    for stage in stages:
        kept = [target for target in stage.targets if not _is_spared(leg, target)]
        if len(kept) == len(stage.targets):
            found.append(stage)
        elif kept:
            found.append(Step(tuple(kept), stage.timeout))
    return found


def _is_spared(leg: Leg, target: Target | Destination | Diverted) -> bool:
    if isinstance(target, Diverted):
        target = target.target
    party = target.party if isinstance(target, Destination) else str(target)
    return _concerns(leg, party, target.number)


def _is_silent(leg: Leg) -> bool:
    """Whether nothing at all has come from there so far."""
    attempt = leg.attempt
    return attempt is not None and attempt.invite is not None and attempt.invite.state == CALLING


def _may_answer(leg: Leg) -> bool:
    """Whether no final response has come from there so far."""
    attempt = leg.attempt
    invite = attempt.invite if attempt is not None else None
    return invite is not None and invite.state in (CALLING, PROCEEDING)


def _silence(leg: Leg) -> tuple[int, str]:
    """What it means that a leg's INVITE was not answered at all: of a phone that is registered,
    that nobody picks up, as of one that is not; of a trunk, that the call could not be placed; of
    an application, that its worker hangs."""
    if leg.how == APPLICATION:
        return _SILENT_WORKER
    return _SILENT if leg.party.startswith("trunk:") else _SILENT_PHONE


def _concerns(leg: Leg, party: str, number: str) -> bool:
    """Whether what `leg` said of the callee speaks of this target too."""
    if leg.party.startswith("trunk:"):
        return party.startswith("trunk:") and number == leg.number
    return party == leg.party
