"""A talk: two legs that hear each other, from one moment to another; requests of one of them are
relayed to the other.

re-INVITE and UPDATE (offers and answers pass as they are: the media goes from phone to phone), INFO
and MESSAGE. Glare is RFC 3261 §14.1 and §14.2; a dialog that turns out to be gone is §12.2.1.2.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch import events
from softswitch.calls import outcome
from softswitch.calls.anchor import Anchor
from softswitch.calls.aside import Aside
from softswitch.calls.codes import key_for_application
from softswitch.calls.core import Bridged, Passage
from softswitch.calls.dialling import dials
from softswitch.calls.headers import KNOWN_METHODS, content_lines, explanation, unsupported
from softswitch.calls.leg import OVER, TALKING, WAITING, Heard, Leg
from softswitch.calls.mixing import may_mix
from softswitch.calls.records import TalkRecord
from softswitch.calls.tune import Tune
from softswitch.config import Tap
from softswitch.sip import (
    Flow,
    InviteServer,
    NonInviteServer,
    Request,
    Response,
    Session,
    first_codec,
    granted,
    is_held,
    too_brief,
)

_RELAYED: Final = frozenset(("UPDATE", "INFO", "MESSAGE"))
_GONE: Final = frozenset((408, 481))
_MENDED_AFTER: Final = 2.0
"""Seconds, for those who ask again by themselves what they had no answer to."""
_OFFERS: Final = frozenset(("INVITE", "UPDATE"))


class Talk(Heard):
    """Of `first`, who called or was kept, and `second`. `number`, `how` and `by` are those of
    `events.TalkBegan`. `joining`: they are being brought together, and an offer of their own waits
    (`waiting`). `tune` is what one of them hears, whom the other has put on hold; while it comes,
    offers wait as well. `anchor`: their media goes by way of the switch."""

    __slots__ = (
        "anchor",
        "by",
        "call",
        "first",
        "how",
        "joining",
        "number",
        "over",
        "second",
        "tune",
        "waiting",
    )

    def __init__(
        self, call: Passage, number: int, first: Leg, second: Leg, how: str, by: str
    ) -> None:
        self.call = call
        self.number = number
        self.first = first
        self.second = second
        self.how = how
        self.by = by
        self.joining = False
        self.waiting: tuple[Leg, Request, InviteServer, Flow] | None = None
        self.over = False
        self.tune: Tune | None = None
        self.anchor: Anchor | None = None
        first.talk = second.talk = self
        first.state = second.state = TALKING

    def began(self) -> None:
        """Tell it."""
        call = self.call
        call.tell(
            events.TalkBegan(
                call_id=call.call_id,
                at=call.now_us(),
                switch=call.switch_name,
                talk=self.number,
                legs=(self.first.index, self.second.index),
                how=self.how,
                by=self.by,
                incoming=call.number,
            )
        )

    def end(self) -> None:
        """It is over, whatever its legs do next."""
        if self.over:
            return
        self.over = True
        if self.waiting is not None:
            self._refuse_waiting(487)
        if self.tune is not None:
            self.tune.stop()
            self.tune = None
        anchor, self.anchor = self.anchor, None
        if anchor is not None:
            anchor.stop()
            anchor.abandon()
        call = self.call
        call.tell(
            events.TalkEnded(
                call_id=call.call_id,
                at=call.now_us(),
                switch=call.switch_name,
                talk=self.number,
            )
        )
        for leg in (self.first, self.second):
            leg.talk = None
            if leg.state == TALKING:
                leg.state = WAITING

    def other(self, leg: Leg) -> Leg | None:
        """Whom a leg of it talks with."""
        if leg is self.first:
            return self.second
        return self.first if leg is self.second else None

    def record(self) -> TalkRecord:
        """It as the journal holds it."""
        return TalkRecord(
            self.number,
            self.first.index,
            self.second.index,
            self.how,
            self.by,
            self.anchor is not None,
            self.anchor is not None and self.anchor.recorded,
            self.anchor is not None and self.anchor.paused,
            self.anchor is not None and bool(self.anchor.taps),
        )

    def record_it(self) -> None:
        """From now on what they say is recorded."""
        if self.anchor is not None:
            self.anchor.record()
        elif not self.over:
            self._anchor(False, True)

    def tap_it(self, taps: tuple[Tap, ...]) -> None:
        """From now on these programs hear what they say."""
        if self.anchor is not None:
            self.anchor.tap(taps)
        elif not self.over:
            self._anchor(False, False, False, taps)

    def _anchor(
        self, moved: bool, recorded: bool, paused: bool = False, taps: tuple[Tap, ...] = ()
    ) -> Anchor:
        anchor = self.anchor = Anchor(self, moved, recorded, taps)
        anchor.paused = paused
        anchor.begin()
        return anchor

    def _anchored_as(self, was: Anchor) -> Anchor:
        """Their media, which goes to each other no more, goes by way of another worker."""
        return self._anchor(True, was.recorded, was.paused, was.taps)

    def apart(self) -> None:
        """They do not send their media to each other: it may have gone by way of a worker that they
        have left."""
        was = self.anchor
        if was is None:
            self._back()
        else:
            was.stop()
            self._anchored_as(was)

    def anew(self) -> None:
        """Their media goes by way of the switch, but somebody was told to send it elsewhere."""
        was = self.anchor
        if was is not None and not self.over:
            was.stop()
            was.abandon()
            self._anchored_as(was)

    def goes_on(self, leg: Leg) -> None:
        """What was to become of that one of them has come to nothing: it may have been told
        meanwhile to send its media elsewhere, or nowhere. Where the media goes from phone to phone
        whoever has asked for that makes it an offer; here it would not get that."""
        anchor = self.anchor
        if anchor is not None and anchor.strays(leg):
            self.anew()

    def astray(self, leg: Leg) -> None:
        """What became of an offer to `leg` the one who made it never hears, as the switch was
        killed meanwhile. If nobody makes another one soon the two are told anew where to send."""
        other = self.other(leg)
        if other is not None:
            known = _known(leg, other)
            self.call.core.timers.after(_MENDED_AFTER, partial(self._mend, leg, other, known))

    def _mend(self, leg: Leg, other: Leg, known: tuple[bytes, ...]) -> None:
        if self.over or self.anchor is not None or self.tune is not None or self.joining:
            return
        held = is_held(leg.session.theirs) or is_held(other.session.theirs)
        if not held and _known(leg, other) == known and _idle(leg, other):
            anchor = self.anchor = Anchor(self, True, False)
            anchor.may_fail = True
            # The other one may be who made it, and wait still: it is asked first, and if it refuses
            # nothing is worse.
            anchor.back(turned=leg is self.first)

    def _back(self) -> None:
        """They are to send their media to each other."""
        if self.anchor is not None:
            self.anchor.stop()
        anchor = self.anchor = Anchor(self, True, False)
        anchor.back()

    def is_mixed(
        self, bridge: Bridged, asides: list[Aside], recorded: bool, taps: tuple[Tap, ...]
    ) -> None:
        """Their media goes by way of a worker from the beginning, as they share no codec."""
        anchor = self.anchor = Anchor(self, False, recorded, taps)
        anchor.adopt(bridge, asides)

    def pause(self, on: bool) -> None:
        """What they say is not recorded for a while, and no program hears it; or again."""
        if self.anchor is not None:
            self.anchor.pause(on)

    def quiet(self) -> None:
        """See `anchor.Anchored`."""
        tune, self.tune = self.tune, None
        if tune is not None:
            tune.stop()

    def moved(self) -> None:
        """See `anchor.Anchored`."""
        if self.anchor is not None and self.anchor.over:
            self.anchor = None
        self._go_on()

    def not_moved(self, status: int, reason: str) -> None:
        """See `anchor.Anchored`."""
        was, self.anchor = self.anchor, None
        if was is not None and was.may_fail:
            self.joined()
            return
        if was is None or was.last or not self.mix(status, was):
            self.call.talk_failed(self, reason)

    def mix(self, status: int, was: Anchor | None = None) -> bool:
        """They do not hear each other, as one of them said this to what the other offers: if they
        share no codec, by way of a worker they do. Whether that is tried. `was`: what they had
        before."""
        if not may_mix(self.call, status, self.first, self.second) or self.over:
            return False
        self.joining = False
        anchor = self.anchor
        if anchor is None or anchor.over:
            anchor = self._anchor(True, False) if was is None else self._anchored_as(was)
        anchor.mixes()
        return True

    # --- requests

    def relay(
        self,
        leg: Leg,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request other than BYE from `leg` within its dialog, which came by `flow`."""
        if not may_come(self.call, leg, request, transaction, flow):
            return
        other = self.other(leg)
        if other is None:
            transaction.respond(481)
        elif request.method in _OFFERS and self._moves(leg, other):
            self._wait(leg, request, transaction, flow)
        elif isinstance(transaction, InviteServer):
            self._relay_invite(leg, self._beside(leg, other), request, transaction)
        else:
            if request.method == "UPDATE":
                other = self._beside(leg, other)
                if isinstance(other, Aside):
                    other.asked = transaction
            mine, theirs = leg.session, other.session
            if self.tune is not None and request.method == "UPDATE" and request.body:
                self.hush()
            relay_other(self.call, leg, mine, other, theirs, request, transaction)

    def _moves(self, leg: Leg, other: Leg) -> bool:
        """Whether an offer of `leg` has to wait, as somebody makes them some."""
        anchor = self.anchor
        if anchor is not None and anchor.busy:
            return True
        comes = self.joining or (self.tune is not None and self.tune.comes)
        return comes and (self.waiting is not None or not _idle(leg, other))

    def _beside(self, leg: Leg, other: Leg) -> Leg:
        """Who answers an offer of that leg."""
        anchor = self.anchor
        beside = anchor.beside(leg) if anchor is not None else None
        return beside if beside is not None else other

    def _wait(
        self, leg: Leg, request: Request, transaction: InviteServer | NonInviteServer, flow: Flow
    ) -> None:
        """An offer of one of those who are being brought together. Not every phone makes it again
        after a 491, so it gets that only if it has crossed one of ours (§14.2)."""
        if isinstance(transaction, InviteServer) and leg.session.idle and self.waiting is None:
            transaction.user = leg
            transaction.trying()
            self.waiting = leg, request, transaction, flow
        else:
            transaction.respond(491)

    def joined(self) -> None:
        """They have been brought together: what waited for that goes on."""
        self.joining = False
        self._go_on()

    def _go_on(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            self.relay(*waiting)

    def goes_first(self, leg: Leg) -> None:
        """An offer to `leg`: one of its own can wait no longer."""
        if self.waiting is not None and self.waiting[0] is leg:
            self._refuse_waiting(491)

    def cancelled(self, transaction: InviteServer) -> None:
        """It is not wanted any more."""
        if self.waiting is not None and self.waiting[2] is transaction:
            self._refuse_waiting(487)

    # --- what is heard on hold

    def held(self, leg: Leg, offer: bytes, answer: bytes) -> None:
        """`leg` has made this offer, which the other has answered so: who is on hold by that hears
        something (RFC 3264 §8.4). Whatever it has heard before, by now it hears the other."""
        tune, self.tune = self.tune, None
        was = None
        if tune is not None:
            was = tune.leg
            tune.stop()
        other, anchor = self.other(leg), self.anchor
        if anchor is not None and anchor.holds:
            anchor.held(leg, is_held(offer))
            return
        if self.call.core.music is None or other is None:
            return
        if is_held(offer):
            # One that is on hold itself has nobody who would listen.
            if not (was is leg and is_held(answer)):
                self.play_to(other)
        elif is_held(answer):
            self.play_to(leg)

    def play_to(self, leg: Leg) -> bool:
        """The other has it on hold: it hears something, if it may; whether it does."""
        call, holder = self.call, self.other(leg)
        music = call.core.music
        if music is None or self.over or holder is None:
            return False
        # A carrier, or another switch, has music of its own.
        if holder.party.startswith("extension:") and not leg.party.startswith("application:"):
            tune = self.tune = Tune(call, leg, music, self._tuned)
            tune.start()
        return self.tune is not None

    def resumes(self) -> bool:
        """They talk again, and were told nothing: who was on hold is; whether one hears music."""
        for holder, other in ((self.first, self.second), (self.second, self.first)):
            if is_held(holder.session.theirs) and not is_held(other.session.theirs):
                return self.play_to(other)
        return False

    def hush(self) -> None:
        """Somebody is about to make an offer to who hears something: nothing else may cross it."""
        if self.tune is not None and not self.tune.over:
            self.tune.stop()
            self._go_on()

    def as_before(self) -> None:
        """Nothing has come of that: what was heard is heard again."""
        tune = self.tune
        if tune is not None and tune.over and not self.over:
            self.tune = None
            self.play_to(tune.leg)

    def _tuned(self, heard: bool) -> None:
        if not heard:
            self.tune = None
        self._go_on()

    def _refuse_waiting(self, status: int) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting[2].respond(status)

    def _relay_invite(
        self, leg: Leg, other: Leg, request: Request, transaction: InviteServer
    ) -> None:
        call, mine, theirs = self.call, leg.session, other.session
        if mine.pending is not None or mine.answer is not None:
            # §14.2: an INVITE while an earlier one is not done yet.
            transaction.respond(500, "Earlier INVITE Is Pending", extra="Retry-After: 1\r\n")
            return
        if mine.outgoing is not None or not theirs.idle:
            transaction.respond(491)
            return
        leg.refresh_target(request)
        transaction.user = leg
        transaction.trying()
        mine.pending = transaction
        if self.tune is not None and self.tune.comes:
            self.hush()
        offer = request.body
        sent = theirs.describe(offer)
        theirs.invite(
            f"{other.contact}{other.allow_line(call.update)}{other.session_line()}"
            f"{content_lines(request) if offer else ''}",
            sent,
            partial(self._reinvite_answered, leg, other, transaction, offer, sent, request.cseq),
        )

    def _reinvite_answered(
        self,
        leg: Leg,
        other: Leg,
        transaction: InviteServer,
        offer: bytes,
        sent: bytes,
        cseq: int,
        response: Response,
    ) -> None:
        """To the re-INVITE that `leg` sent and `other` was sent, `other` said this."""
        call, mine, theirs = self.call, leg.session, other.session
        status = response.status
        if status < 200 or other.call is None:
            return
        if mine.pending is not transaction:
            outgoing = theirs.outgoing
            if outgoing is not None and outgoing.request.cseq == response.cseq:
                # Who had asked has left, or goes on with somebody else.
                theirs.outgoing = None
            # Its 2xx once more, or one that crossed the end of the call: each wants its ACK.
            if status < 300 and theirs.ack_cseq < response.cseq and not mine.ack_for:
                theirs.ack(response.cseq)
            elif status < 300:
                theirs.ack_again(response.cseq)
            theirs.settle()
            return
        mine.pending = theirs.outgoing = None
        if status >= 300:
            failure = outcome.for_caller(status, response.reason)
            transaction.respond(*failure, extra=explanation(response))
            if status in _GONE and isinstance(other, Aside):
                other.gone()
                mine.settle()
            elif status in _GONE:
                call.vanished(other, "the other side is gone")
            else:
                mine.settle()
                theirs.settle()
                if self.tune is not None:
                    self.as_before()
            return
        other.refresh_target(response)
        if other.refresh is not None:
            other.timed(granted(response))
        invite = transaction.request
        timed = leg.asks(invite) if invite is not None and leg.timer_wanted(invite) else ""
        answer = response.body
        body = mine.describe(answer)
        data = transaction.respond(
            status,
            response.reason,
            extra=f"{leg.contact}{leg.allow_line(call.update)}{timed}"
            f"{content_lines(response) if body else ''}",
            body=body,
        )
        if not data:
            theirs.ack(response.cseq)
            return
        mine.accepted(transaction.flow, data, cseq, leg.not_acked, transaction.key)
        agreed(mine, theirs, offer, sent, answer, body)
        if offer:
            theirs.ack(response.cseq)
        else:
            mine.ack_for = response.cseq
        tell_media(call, leg, offer, answer)
        if offer:
            # Before what waits for its turn: that may be music which is not wanted any more.
            self.held(leg, offer, answer)
        theirs.settle()

    def late_answer(self, leg: Leg, cseq: int, request: Request) -> None:
        """The ACK that carries the answer: the other leg's INVITE of `cseq` waits for it."""
        other = self.other(leg)
        if other is not None:
            other = self._beside(leg, other)
        if other is not None and other.call is not None:
            answer = request.body
            sent = other.session.describe(answer)
            if answer:
                leg.session.theirs, other.session.ours = answer, sent
            other.session.ack(cseq, content_lines(request) if answer else "", sent)
            self.held(other, other.session.theirs, answer)


def _known(leg: Leg, other: Leg) -> tuple[bytes, ...]:
    mine, theirs = leg.session, other.session
    return mine.ours, mine.theirs, theirs.ours, theirs.theirs


def _idle(leg: Leg, other: Leg) -> bool:
    """Whether neither is just being brought together with the other: not yet, or not now (491)."""
    return leg.session.idle and other.session.idle


def agreed(
    mine: Session, theirs: Session, offer: bytes, sent: bytes, answer: bytes, body: bytes
) -> None:
    """Who is in `mine` has made an offer, which `theirs` was sent so, and that one an answer, sent
    so to the first: these are in force. Without an offer the answer is one, and its answer comes
    with the ACK."""
    if offer:
        mine.theirs, theirs.ours = offer, sent
    if answer:
        theirs.theirs, mine.ours = answer, body


def may_come(
    call: Passage,
    leg: Leg,
    request: Request,
    transaction: InviteServer | NonInviteServer,
    flow: Flow,
) -> bool:
    """Whether a request other than BYE is one for the party that `leg` talks with; what else it may
    be is answered here."""
    method = request.method
    missing = unsupported(request)
    if missing:
        transaction.respond(420, extra=missing)
        return False
    session = leg.session
    if session.nat:
        # Who is behind NAT and got another port is to be found there; who had to connect again is
        # wherever it speaks from.
        if session.dialog.flow.remote != flow.remote:
            call.changed()
        session.dialog.flow = flow
    if "session-expires" in request.headers and {method} <= _OFFERS:
        settings = call.core.settings
        if too_brief(request, settings.min_se):
            transaction.respond(422, extra=f"Min-SE: {settings.min_se}\r\n")
            return False
        if method == "UPDATE" and not request.body and leg.up:
            # Nothing but a refresh: a matter of this side alone.
            leg.refresh_target(request)
            transaction.respond(200, extra=leg.contact + leg.asks(request))
            return False
    if isinstance(transaction, InviteServer):
        return True
    if method in _RELAYED:
        if method == "UPDATE" and leg.between:
            carried = request.get(call.core.settings.call_id_header.lower())
            if carried is not None and not request.body:
                transaction.respond(200, extra=leg.contact)
                call.renamed(leg, carried)
                return False
        elif method == "INFO":
            codes = call.core.codes
            return codes is None or not dials(call, codes, leg, request, transaction)
        return True
    if method == "OPTIONS":
        transaction.respond(200, extra=leg.allow_line(call.update))
    elif method == "PRACK":
        call.acknowledged(leg, request, transaction)
    elif method == "REFER":
        call.referred(leg, request, transaction)
    else:
        known = method in KNOWN_METHODS
        transaction.respond(405 if known else 501, extra=leg.allow_line(call.update))
    return False


def relay_other(
    call: Passage,
    leg: Leg,
    mine: Session,
    other: Leg,
    theirs: Session,
    request: Request,
    transaction: NonInviteServer,
) -> None:
    """Relay a request other than INVITE from `leg`, in the session `mine`, to `other`, in that of
    `theirs`."""
    update = request.method == "UPDATE"
    body = request.body
    extra = content_lines(request) if body else ""
    if not update and other.party.startswith("application:"):
        extra, body = key_for_application(request)
        if not body:
            transaction.respond(415)
            return
    if update:
        if mine.refresh(request):
            call.changed()
        extra = other.contact + other.session_line() + extra
        body = theirs.describe(body)
    package = request.get("info-package")
    if package and not other.party.startswith("application:"):
        # RFC 6086: without it the body of an INFO means nothing.
        extra += f"Info-Package: {package}\r\n"
    theirs.send(
        request.method,
        extra,
        body,
        partial(_other_answered, call, leg, mine, other, theirs, request, body, transaction),
    )


def _other_answered(
    call: Passage,
    leg: Leg,
    mine: Session,
    other: Leg,
    theirs: Session,
    request: Request,
    sent: bytes,
    transaction: NonInviteServer,
    response: Response,
) -> None:
    """To `request`, which `leg` sent, `other` said this."""
    status = response.status
    if status < 200:
        return
    if isinstance(other, Aside):
        if other.asked is not transaction:
            return
        other.asked = None
    update = request.method == "UPDATE"
    answer = response.body
    body = answer
    lines = content_lines(response) if answer else ""
    if update and status < 300:
        if theirs.refresh(response):
            call.changed()
        if other.refresh is not None:
            other.timed(granted(response))
        if leg.timer_wanted(request):
            lines = leg.asks(request) + lines
        lines = leg.contact + lines
        body = mine.describe(answer)
        if request.body and answer:
            agreed(mine, theirs, request.body, sent, answer, body)
    elif status >= 300:
        lines += explanation(response)
    transaction.respond(status, response.reason, extra=lines, body=body)
    if status in _GONE and leg.talk is not None and leg.talk is other.talk:
        call.vanished(other, "the other side is gone")
    elif update and request.body:
        talk = leg.talk
        both = (
            talk
            if isinstance(talk, Talk) and (talk is other.talk or isinstance(other, Aside))
            else None
        )
        if status < 300:
            tell_media(call, leg, request.body, answer)
            if both is not None:
                both.held(leg, request.body, answer)
        elif both is not None and both.tune is not None:
            both.as_before()


def tell_media(call: Passage, leg: Leg, offer: bytes, answer: bytes) -> None:
    """Tell what an offer of `leg` and its answer have agreed on."""
    if call.over or leg.state == OVER:
        return
    codec = first_codec(answer or offer)
    leg.codec = codec or leg.codec
    call.tell_media(
        events.LegMedia(
            call_id=call.call_id,
            at=call.now_us(),
            switch=call.switch_name,
            leg=leg.index,
            held=is_held(offer or answer),
            codec=codec,
        )
    )


def _probed(call: Passage, leg: Leg, response: Response) -> None:
    if response.status not in _GONE or call.over or leg.call is not call:
        return
    # Many a carrier throws OPTIONS within a call away.
    kind, _, name = leg.party.partition(":")
    if kind == "trunk" and response.ours and not call.core.trunk_states.is_checked(name):
        return
    call.vanished(leg, "a side vanished")


def probe(call: Passage, leg: Leg) -> None:
    """Ask a party of an answered call whether it is still there; end the call if it is not."""
    if leg.up:
        leg.session.send("OPTIONS", on_response=partial(_probed, call, leg))
