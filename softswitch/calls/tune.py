"""What a leg hears while whom it talks with, or is to talk with, does not speak to it: on hold,
parked, waiting for a consultation. An application plays it (`softswitch.applications`), by a leg
that is none of the call's: nobody is told of it, and no record has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.calls.attempt import Attempt
from softswitch.calls.core import Opened, Passage
from softswitch.calls.headers import SDP_LINE, contact_line
from softswitch.calls.join import Join
from softswitch.calls.leg import WAITING, Leg, Rung
from softswitch.dialplan import Plays
from softswitch.sip import (
    ClientRequest,
    Dialog,
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Session,
    opened,
)

_AUDIO: Final = -1
"""The number of a leg that is none of the call's."""


class Aside(Leg):
    """The leg to the application."""

    __slots__ = ("tune",)

    def __init__(self, call: Passage, party: str, session: Session, tune: Tune) -> None:
        super().__init__(call, _AUDIO, party, "", session, False)
        self.ended = True  # nobody was told that it began
        self.tune: Tune | None = tune

    def close(self) -> None:
        """See `Leg`: also when its worker has died."""
        super().close()
        tune, self.tune = self.tune, None
        if tune is not None:
            tune.lost()

    def within_dialog(
        self, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """It may hang up, and nothing else."""
        tune = self.tune
        if request.method != "BYE":
            transaction.respond(405)
        elif tune is None:
            transaction.respond(481)
        else:
            transaction.respond(200)
            tune.lost()


class Tune(Rung):
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
            aside.tune = None
            aside.close()

    def lost(self) -> None:
        """Whoever plays it has hung up: there is silence from now on."""
        settled = self._settled
        self.stop()
        if settled is not None:
            settled(False)

    def _opened(self, found: Opened | tuple[int, str]) -> None:
        leg = self.leg
        if self.over or isinstance(found, tuple) or not leg.up or not leg.session.theirs:
            if not isinstance(found, tuple):
                found.abandoned()
            self.lost()
            return
        self._application = found
        self.offer = opened(leg.session.theirs)
        self._invite(found)

    def _invite(self, found: Opened) -> None:
        call, destination = self._call, found.destination
        core, flow, uri = call.core, destination.flow, destination.uri
        tag = core.tokens.token()
        from_ = f"<sip:{flow.sent_by}>;tag={tag}"
        dialog = Dialog(core.tokens.token(), from_, tag, f"<{uri}>", flow)
        dialog.target = uri
        dialog.local_cseq = 1
        aside = self._aside = Aside(call, destination.party, Session(core, dialog), self)
        attempt = aside.attempt = Attempt(aside, self, destination)
        aside.contact = contact_line(flow, uri)
        core.remember(aside)
        found.placed(aside, self.leg.party, call.identity)
        request = ClientRequest(
            "INVITE",
            uri,
            core.tokens.branch(),
            from_,
            f"<{uri}>",
            dialog.call_id,
            1,
            max_forwards=core.settings.max_forwards,
            extra=f"{aside.contact}{aside.allow_line(False)}{SDP_LINE}",
            body=self.offer,
        )
        attempt.wait(core.settings.no_response)
        attempt.invite = core.transactions.invite(request, flow, attempt.on_response)

    # --- what the application's leg says (`leg.Rung`)

    def heard(self, leg: Leg) -> None:
        """See `Rung`."""

    def rings(self, leg: Leg, session: Session, response: Response, reliable: bool) -> bool:
        """See `Rung`."""
        return False

    def answered(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        session = leg.session
        session.ours, session.theirs = self.offer, response.body
        session.ack(response.cseq)
        if isinstance(leg.attempt, Attempt):
            leg.attempt.won()
        leg.state = WAITING
        join = self._join = Join(self._call, self.leg, leg, self._joined, self._not_joined)
        join.answered(self.offer)

    def failed(self, leg: Leg, response: Response) -> None:
        """See `Rung`."""
        self.lost()

    def _joined(self) -> None:
        self._join = None
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(True)

    def _not_joined(self, leg: Leg, status: int, reason: str) -> None:
        self._join = None
        self.lost()
