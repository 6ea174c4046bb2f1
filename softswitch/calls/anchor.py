"""A talk whose media goes by way of the switch: each of the two legs has a leg beside it, to a port
of a media worker, and the two ports are joined there. So it can be recorded, programs can listen,
and each side has its own agreement on media.

The talk is brought up as any other, from phone to phone, and moved there then. It goes back when
the worker is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from softswitch.calls.aside import Aside, Beside, invite_aside, take_answer, tell_aside
from softswitch.calls.core import Bridged, Passage
from softswitch.calls.join import Join
from softswitch.calls.leg import Leg
from softswitch.config import Tap
from softswitch.sip import Response, Session, Timer, is_held, opened, readable, same_place

AGAIN: Final = 0.1
"""Seconds until it is tried again to move a talk that cannot be moved yet."""
TRIES: Final = 400


class Anchored(Protocol):
    """A talk as its anchor knows it."""

    call: Passage
    first: Leg
    second: Leg
    number: int
    joining: bool
    over: bool

    def quiet(self) -> None:
        """Nobody hears music any more, by way of another worker."""

    def moved(self) -> None:
        """All that waits for the end of what is under way may go on."""

    def not_moved(self, status: int, reason: str) -> None:
        """The two do not hear each other any more, as one of them said this."""


class Anchor(Beside):
    """Of one talk. Its legs are 0 (the first) and 1."""

    __slots__ = (
        "_asides",
        "_bridge",
        "_joined",
        "_joins",
        "_moved",
        "_offers",
        "_settles",
        "_talk",
        "_timer",
        "_tries",
        "last",
        "may_fail",
        "offer",
        "over",
        "paused",
        "recorded",
        "some_down",
        "taps",
    )

    def __init__(
        self, talk: Anchored, moved: bool, recorded: bool, taps: tuple[Tap, ...] = ()
    ) -> None:
        self._talk = talk
        self._moved = moved  # away from each other
        self._settles = False  # whether the worker is being told where the second is
        self.recorded = recorded
        self.taps = taps
        self._bridge: Bridged | None = None
        self._asides: list[Aside] = []
        self._offers: list[bytes] = []
        self._joins: list[Join] = []
        self._joined = 0
        self._timer: Timer | None = None
        self._tries = 0
        self.offer = b""
        self.some_down = False
        self.over = False
        self.paused = False
        self.may_fail = False
        """Whether all is as before if they cannot be brought to send their media to each other."""
        self.last = False
        """Whether the two have just refused to send their media to each other."""

    @property
    def holds(self) -> bool:
        """Whether the media of both goes there."""
        return self._joined == 2 and not self.over

    @property
    def placed(self) -> bool:
        """Whether there are legs to a worker."""
        return bool(self._asides)

    @property
    def busy(self) -> bool:
        """Whether the legs are just being moved, there or back: an offer of theirs has to wait."""
        if self.over:
            return bool(self._joins)
        return self.placed and (self._joined < 2 or self._settles)

    def beside(self, leg: Leg) -> Leg | None:
        """The leg to the media worker that makes agreements with that one; None: none does yet."""
        if not self.holds:
            return None
        return self._asides[0 if leg is self._talk.first else 1]

    def strays(self, leg: Leg) -> bool:
        """Whether that leg has been told to send its media elsewhere since."""
        beside = self.beside(leg)
        return beside is not None and not same_place(leg.session.ours, beside.session.theirs)

    def adopt(self, bridge: Bridged, asides: list[Aside]) -> None:
        """The legs to the worker are there already: the first has the caller's description, the
        second that of nobody yet."""
        talk = self._talk
        self._bridge, self._asides = bridge, asides
        self._joined, self._settles = 2, True
        for aside in asides:
            aside.owner = self
        bridge.placed(self._bridge_lost, talk.call.now_us)
        # What it is sent next comes from the worker, which knows nothing of this offer's origin.
        talk.second.session.new_peer()
        self._tell_second()

    def _tell_second(self) -> None:
        """The worker is to hear where the second leg is, if it has not before that was answered."""
        if self.over:
            return
        second, offer = self._asides[1], self._talk.second.session.theirs
        if not second.session.idle:
            second.session.when_idle = self._tell_second
        elif second.session.ours == offer:
            self._settled(True)
        else:
            tell_aside(second, offer, self._settled)

    def _settled(self, agreed: bool) -> None:
        """The worker has heard where the second leg is."""
        if self.over:
            return
        if not agreed:
            self._lost()
            return
        self._settles = False
        # By now the first has its answer: should the process be killed, that is known.
        self._talk.first.session.new_peer()
        self._begin()
        self._talk.moved()

    def _begin(self) -> None:
        bridge, talk = self._bridge, self._talk
        if bridge is None:
            return
        if self.paused:
            bridge.pause(True)
        bridge.together(talk.number, self.recorded)
        if self.taps:
            bridge.tap(talk.number, self.taps, self._about())
        for index, leg in enumerate((talk.first, talk.second)):
            if is_held(leg.session.theirs):
                bridge.held(index, True)

    def record(self) -> None:
        """What they say is recorded from now on, if it is not."""
        if not self.recorded:
            self.recorded = True
            if self._bridge is not None and self.holds and not self._settles:
                self._bridge.together(self._talk.number, True)

    def tap(self, taps: tuple[Tap, ...]) -> None:
        """These programs hear what they say from now on, if none does."""
        if not self.taps:
            self.taps = taps
            if self._bridge is not None and self.holds and not self._settles:
                self._bridge.tap(self._talk.number, taps, self._about())

    def _about(self) -> tuple[tuple[str, str], ...]:
        """What programs are told of the talk; not the number of who withholds it."""
        talk = self._talk
        call, first, second = talk.call, talk.first, talk.second
        identity = call.identity
        private = identity.private
        is_caller = first.came_in and first.index == call.number
        calls = second.came_in and second.index == call.number
        return (
            ("caller", "" if private and is_caller else readable(first.number, call.most)),
            ("callerName", readable(identity.name, call.most) if is_caller and not private else ""),
            ("callee", "" if private and calls else readable(second.number, call.most)),
            ("talk", str(talk.number)),
            ("legs", f"{first.index} {second.index}"),
            ("inbound", first.party),
            ("outbound", second.party),
        )

    def begin(self) -> None:
        """As soon as both have said where they are, and are idle: not before those who have begun
        the talk have done what else they do."""
        self._timer = self._talk.call.core.timers.after(0.0, self._start)

    def _is_ready(self, otherwise: Callable[[], None]) -> bool:
        """Whether they can be moved; if not, `otherwise` is called in a while."""
        talk = self._talk
        first, second = talk.first.session, talk.second.session
        if first.theirs and second.theirs and not talk.joining and first.idle and second.idle:
            return True
        self._tries += 1
        if self._tries < TRIES:
            self._timer = talk.call.core.timers.after(AGAIN, otherwise)
        else:
            self._lost()
        return False

    def _start(self) -> None:
        self._timer = None
        if not self._is_ready(self._start):
            return
        talk = self._talk
        first, second = talk.first, talk.second
        addresses = (
            first.session.dialog.flow.sent_by,
            second.session.dialog.flow.sent_by,
        )
        talk.call.core.applications.bridge(talk.call.call_id, addresses, self._opened)

    def _opened(self, found: Bridged | tuple[int, str]) -> None:
        talk = self._talk
        if isinstance(found, tuple):
            self._lost()
            return
        if self.over or talk.over or not talk.first.up or not talk.second.up:
            found.close()
            return
        self._bridge = found
        found.placed(self._bridge_lost, talk.call.now_us)
        self._place()

    def _place(self) -> None:
        """There is a worker; much may have happened since it was asked for."""
        self._timer = None
        talk, found = self._talk, self._bridge
        if found is None or not self._is_ready(self._place):
            return
        talk.quiet()
        for leg, destination in zip((talk.first, talk.second), found.destinations, strict=True):
            offer = opened(leg.session.theirs)
            self._offers.append(offer)
            self._asides.append(invite_aside(talk.call, self, destination, offer))
        # Whoever takes up the call after a restart must know that they may be elsewhere.
        talk.call.changed()

    # --- what the legs to the worker say (`leg.Rung`)

    def heard(self, leg: Leg) -> None:
        """See `Rung`."""

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """See `Rung`."""
        return False

    def answered(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        assert isinstance(leg, Aside)
        talk, index = self._talk, self._asides.index(leg)
        take_answer(leg, self._offers[index], response)
        if self.over:
            return
        own = talk.second if index else talk.first
        join = Join(talk.call, own, leg, partial(self._has_joined, index), self._not_joined)
        self._joins.append(join)
        join.answered(self._offers[index])

    def failed(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        leg.close()
        self._lost()

    def lost(self, aside: Leg) -> None:
        """See `Beside`."""
        self._lost()

    def _bridge_lost(self) -> None:
        self._lost()

    def _has_joined(self, index: int) -> None:
        self._joined += 1
        if self._joined == 2:
            self._joins = []
            self.last = False
            self._begin()
            self._talk.call.changed()
            self._talk.moved()

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        self._lost()

    # --- hold

    def held(self, holder: Leg, on: bool) -> None:
        """A leg holds, or does not any more: the other one hears music meanwhile."""
        if self._bridge is not None and self.holds:
            self._bridge.held(0 if holder is self._talk.first else 1, on)

    def pause(self, on: bool) -> None:
        """What they say is not recorded for a while, and no program hears it; or again."""
        if self.paused == on:
            return
        self.paused = on
        self._talk.call.changed()
        if self._bridge is not None and self.holds:
            self._bridge.pause(on)

    # --- the end

    def stop(self) -> None:
        """The talk is over: who goes on is made another offer by others."""
        if not self.over:
            self._leave()

    def _leave(self) -> None:
        if self.holds:
            # What they have asked of the worker it will not answer, nor hear an answer of theirs.
            for leg in (self._talk.first, self._talk.second):
                leg.free()
                leg.session.ack_for = 0
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        joins, self._joins = self._joins, []
        for join in joins:
            join.abandon()
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()
        asides, self._asides = self._asides, []
        for aside in asides:
            aside.leave()

    def _lost(self) -> None:
        """The worker has died, or a phone did not want to go there: the two send their media to
        each other again."""
        if self.over:
            return
        moved = bool(self._joins) or self._joined > 0
        self._leave()
        if self.last and not moved:
            # They have just refused to do without.
            self._talk.not_moved(488, "No Codec In Common")
        elif (moved or self._moved) and not self._talk.over:
            self.back()
        else:
            self._talk.moved()

    def mixes(self) -> None:
        """The two have refused to send their media to each other."""
        self._moved = self.last = True

    def back(self, turned: bool = False) -> None:
        """The two are to send their media to each other; `turned`: the second is asked first."""
        self.over = True
        talk = self._talk
        talk.joining = True
        first, second = (talk.second, talk.first) if turned else (talk.first, talk.second)
        back = Join(talk.call, first, second, self._is_back, self._not_back)
        self._joins = [back]
        if self.may_fail:
            back.once()
        back.afresh()

    def _is_back(self) -> None:
        self._joins = []
        self._talk.joining = False
        self._talk.moved()
        self._talk.call.changed()

    def _not_back(self, leg: Leg, status: int, reason: str) -> None:
        self._joins = []
        self._talk.not_moved(status, reason)

    def abandon(self) -> None:
        """The talk is over while the two were on their way back."""
        joins, self._joins = self._joins, []
        for join in joins:
            join.abandon()
