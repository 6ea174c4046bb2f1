"""Transcoding: whom a caller has called does not take what it offers. A media worker makes another
offer in its place, of all that the worker knows, and is what the caller is connected to: each of
the two sides has its own codec.

Only when the other side has said that it takes nothing of what it is offered (415, 488, 606):
nobody's media goes by way of the switch without need. Callers are spoken for by `Mixer`; for those
who are brought together once both have been answered see `talk.Talk.mix`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.calls.aside import Aside, Beside, invite_aside, take_answer, tell_aside
from softswitch.calls.core import Bridged, Passage
from softswitch.calls.leg import Leg
from softswitch.calls.outcome import NOT_ACCEPTABLE
from softswitch.sip import Response, Session, all_codecs, any_codec

_WITHIN_A_CALL: Final = NOT_ACCEPTABLE | {500}
"""What says it of an offer within a call: PJSIP has a 500 for that."""


def may_mix(call: Passage, status: int, first: Leg, second: Leg) -> bool:
    """Whether these two, of whom one has said this to what the other offers, can hear each other by
    way of a worker."""
    if status not in _WITHIN_A_CALL or not call.core.transcodes:
        return False
    return takes_plain(first) and takes_plain(second)


def takes_plain(leg: Leg) -> bool:
    """Whether that leg may take what a worker sends. A browser wants it encrypted; a worker's own
    port has taken whatever it can."""
    transport = leg.session.dialog.flow.transport
    return transport not in ("ws", "wss") and not leg.party.startswith("application:")


class Mixer(Beside):
    """Between `caller` and whoever answers. `ready` is told once, whether it can be. Then `answer`
    is for the caller, and `offer` for all who are rung."""

    __slots__ = (
        "_asides",
        "_call",
        "_caller",
        "_offered",
        "_ready",
        "_said",
        "answer",
        "bridge",
        "failed_once",
        "offer",
        "over",
        "some_down",
        "taken",
        "waiting",
    )

    def __init__(
        self, call: Passage, caller: Leg, offered: bytes, ready: Callable[[bool], None]
    ) -> None:
        self._call = call
        self._caller = caller
        self._offered = offered
        self._ready: Callable[[bool], None] | None = ready
        self._asides: list[Aside] = []
        self.waiting: list[tuple[Leg, Response]] = []
        self.bridge: Bridged | None = None
        self._said = b""  # what the worker is being told of who rings
        self.answer = b""
        self.offer = b""
        self.some_down = False
        self.taken = False
        self.failed_once = False
        self.over = False

    def start(self) -> None:
        """Find a worker."""
        address = self._caller.session.dialog.flow.sent_by
        call = self._call
        call.core.applications.bridge(call.call_id, (address, address), self._opened)

    def _opened(self, found: Bridged | tuple[int, str]) -> None:
        if isinstance(found, tuple):
            self._fail()
            return
        if self.over:
            found.close()
            return
        self.bridge = found
        first, second = found.destinations
        for destination, offer in ((first, self._offered), (second, any_codec())):
            self._asides.append(invite_aside(self._call, self, destination, offer))
        found.placed(self._fail, self._call.now_us)

    # --- what the legs to the worker say (`leg.Rung`)

    def heard(self, leg: Leg) -> None:
        """See `Rung`."""

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """See `Rung`."""
        return False

    def answered(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        first = leg is self._asides[0]
        take_answer(leg, self._offered if first else any_codec(), response)
        if first:
            self.answer = response.body
        else:
            self.offer = all_codecs(response.body)
            if not self.offer:
                self._fail()
                return
        ready = self._ready
        if self.answer and self.offer and ready is not None:
            self._ready = None
            ready(True)

    # --- what is to be heard before somebody answers

    def lets_hear(self, said: bytes) -> bool:
        """Who rings has described media of its own: whether the caller hears it, by way of the
        worker."""
        bridge = self.bridge
        if bridge is None or self.over or len(self._asides) < 2 or not self.answer:
            return False
        second = self._asides[1]
        session = second.session
        if session.ours == said or self._said == said:
            return True
        if not session.idle:
            return False
        self._said = said
        # Whose its port is by the time it answers does not matter.
        tell_aside(second, said, _whatever)
        bridge.together(0, False)
        return True

    def failed(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        leg.close()
        self._fail()

    def lost(self, aside: Leg) -> None:
        """See `Beside`."""
        self._fail()

    def _fail(self) -> None:
        self.failed_once = True
        ready, self._ready = self._ready, None
        waiting, self.waiting = self.waiting, []
        self.stop()
        self.waiting = waiting
        if ready is not None:
            ready(False)

    # --- its end

    def take(self) -> tuple[Bridged, list[Aside]] | None:
        """Somebody has answered: the talk has it from now on. None: it is gone already."""
        bridge, self.bridge = self.bridge, None
        if bridge is None or self.over:
            return None
        asides, self._asides = self._asides, []
        self.over = True
        return bridge, asides

    def stop(self) -> None:
        """It is not needed, or not any more."""
        if self.over or self.taken:
            return
        self.over = True
        self._ready = None
        bridge, self.bridge = self.bridge, None
        if bridge is not None:
            bridge.close()
        asides, self._asides = self._asides, []
        for aside in asides:
            aside.leave()
        waiting, self.waiting = self.waiting, []
        for leg, _ in waiting:
            leg.close()


def _whatever(agreed: bool) -> None:
    """Who takes the leg over looks by itself what the worker knows."""
