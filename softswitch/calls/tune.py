"""What a leg hears while whom it talks with, or is to talk with, does not speak to it: on hold,
parked, waiting for a consultation. An application plays it (`softswitch.applications`), by a leg
that is none of the call's: nobody is told of it, and no record has it.
"""

from __future__ import annotations

from collections.abc import Callable

from softswitch.calls.aside import Aside, Beside, invite_aside, take_answer
from softswitch.calls.core import Opened, Passage
from softswitch.calls.join import Join
from softswitch.calls.leg import Leg
from softswitch.dialplan import Plays
from softswitch.sip import Response, Session, opened


class Tune(Beside):
    """What `leg` hears. `settled` is told once: when it hears it (True), or that it does not."""

    __slots__ = (
        "_application",
        "_aside",
        "_call",
        "_join",
        "_play",
        "_settled",
        "leg",
        "offer",
        "over",
        "some_down",
    )

    def __init__(
        self, call: Passage, leg: Leg, play: Plays, settled: Callable[[bool], None]
    ) -> None:
        self._call = call
        self.leg = leg
        self._play = play
        self._settled: Callable[[bool], None] | None = settled
        self._application: Opened | None = None
        self._aside: Aside | None = None
        self._join: Join | None = None
        self.offer = b""
        self.some_down = False
        self.over = False

    @property
    def comes(self) -> bool:
        """Whether it is not heard yet, and is about to be."""
        return self._settled is not None

    def start(self) -> None:
        """Go and find who plays it."""
        address = self.leg.session.dialog.flow.sent_by
        self._call.core.applications.open(self._play, address, self._opened)

    def stop(self) -> None:
        """Somebody else is to be heard: who stops it makes the leg the next offer."""
        if self.over:
            return
        self.over = True
        self._settled = None
        join, self._join = self._join, None
        if join is not None:
            join.abandon()
        application, self._application = self._application, None
        if application is not None:
            application.abandoned()
        aside, self._aside = self._aside, None
        if aside is not None:
            aside.leave()

    def lost(self, aside: Leg) -> None:
        """See `Beside`: there is silence from now on."""
        self._fail()

    def _fail(self) -> None:
        settled = self._settled
        self.stop()
        if settled is not None:
            settled(False)

    def _opened(self, found: Opened | tuple[int, str]) -> None:
        leg = self.leg
        if self.over or isinstance(found, tuple) or not leg.up or not leg.session.theirs:
            if not isinstance(found, tuple):
                found.abandoned()
            self._fail()
            return
        self._application = found
        self.offer = opened(leg.session.theirs)
        self._aside = invite_aside(self._call, self, found.destination, self.offer)
        found.placed(self._aside, leg.party, self._call.identity)

    # --- what the application's leg says (`leg.Rung`)

    def heard(self, leg: Leg) -> None:
        """See `Rung`."""

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """See `Rung`."""
        return False

    def answered(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        take_answer(leg, self.offer, response)
        join = self._join = Join(self._call, self.leg, leg, self._joined, self._not_joined)
        join.answered(self.offer)

    def failed(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        leg.close()
        self._fail()

    def _joined(self) -> None:
        self._join = None
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(True)

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        self._join = None
        self._fail()
