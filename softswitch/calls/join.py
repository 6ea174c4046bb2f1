"""Bringing two answered legs together that have talked with others before: by re-INVITEs, so that
each sends its media to the other (RFC 3725). Neither hears silence for longer than it takes.

Three ways there, by what is known of the second:

* It talks with somebody too (`afresh`): the first is asked for an offer, which the second gets; its
  answer goes to the first with the ACK. A first that makes no offer unasked-for is spoken for: by
  the description that it sent last.
* It has just answered an offer made of the first's last description (`answered`): its answer is an
  offer to the first. If the first then is somewhere else than that description said, the second is
  told, and so on, a few times.
* It has just answered with an offer of its own (`offered`): that goes to the first, whose answer is
  the second's ACK.

An offer that crosses another one (491) is made again after a while (§14.1), one that a busy
session cannot take waits for its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from softswitch.calls.core import Passage
from softswitch.calls.headers import SDP_LINE, content_lines
from softswitch.calls.leg import Leg
from softswitch.sip import InviteClient, Response, Timer, granted, held, opened, sends_as

GONE: Final = frozenset((408, 481))
DEADLINE: Final = 32.0
"""Seconds for all of it."""
_TRIES: Final = 5
"""Of one offer that crosses others, or comes at a bad moment."""
_ROUNDS: Final = 3
"""Of offers until both sides send where the other is."""


class Join:
    """Of `first` and `second`. One of `done` and `failed` is called, once; the latter with the leg
    that is to blame, and the status and phrase that it gave."""

    __slots__ = (
        "_acknowledges_later",
        "_call",
        "_done",
        "_failed",
        "_late",
        "_made",
        "_offered",
        "_once",
        "_timer",
        "_tries",
        "_unacknowledged",
        "first",
        "over",
        "rounds",
        "second",
    )

    def __init__(
        self,
        call: Passage,
        first: Leg,
        second: Leg,
        done: Callable[[], None],
        failed: Callable[[Leg, int, str], None],
    ) -> None:
        self._call = call
        self.first = first
        self.second = second
        self._done: Callable[[], None] | None = done
        self._failed: Callable[[Leg, int, str], None] | None = failed
        self._timer: Timer | None = None
        self._tries = 0
        self._once = False
        self._acknowledges_later = 0  # CSeq of an offer whose 2xx somebody else acknowledges
        self._made: InviteClient | None = None  # the offer that is not answered yet
        self._late: Timer = call.core.timers.after(DEADLINE, self._too_late)
        self._offered = b""  # what the second was offered, as the first had said it
        self._unacknowledged: tuple[Leg, int, bytes] | None = None  # whose 2xx brought an offer
        self.rounds = 0
        self.over = False

    def once(self) -> None:
        """It comes to nothing if one of them makes an offer itself just now."""
        self._once = True

    # --- the three ways

    def afresh(self) -> None:
        """Both talk with others."""
        self.first.session.new_peer()
        self.second.session.new_peer()
        self._offer(self.first, b"", self._first_offers, self._spoken_for)

    def answered(self, offer: bytes) -> None:
        """The second has answered this offer, which was made of what the first said last."""
        self._offered = offer
        self.first.session.new_peer()
        self._offer(self.first, self.second.session.theirs, self._first_answers, self._fail)

    def offered(self, cseq: int) -> None:
        """The second has answered with an offer; its 2xx is not acknowledged."""
        self.first.session.new_peer()
        offer = self.second.session.theirs
        self._unacknowledged = self.second, cseq, offer
        self._offer(self.first, offer, self._answer_for_second, self._fail)

    def for_caller(
        self, offer: bytes, answered: Callable[[Response], None], acknowledge: bool
    ) -> None:
        """The second has made this offer (or none) and waits for an answer: the first's goes to
        `answered`, not acknowledged if that is not wanted, or if it is an offer itself."""
        self.first.session.new_peer()
        agreed = partial(self._for_caller, answered, offer, acknowledge)
        self._offer(self.first, offer, agreed, self._fail)

    def _for_caller(
        self,
        answered: Callable[[Response], None],
        offer: bytes,
        acknowledge: bool,
        response: Response,
        sent: bytes,
    ) -> None:
        session = self.first.session
        session.theirs = response.body
        if offer:
            session.ours = sent
        else:
            session.outgoing = None
        if not (offer and acknowledge):
            self._acknowledges_later = response.cseq
        self._end()
        if offer and acknowledge:
            session.ack(response.cseq)
        answered(response)

    def abandon(self) -> None:
        """One of them has gone, or somebody else ends it: nobody is told."""
        self._end()

    # --- steps

    def _first_offers(self, response: Response, sent: bytes) -> None:
        offer = response.body
        first = self.first
        if not offer:
            first.session.outgoing = None
            first.session.ack(response.cseq)
            self._fail(first, 488, "No Offer")
            return
        first.session.theirs = offer
        self._unacknowledged = first, response.cseq, offer
        self._offer(self.second, offer, self._second_answers, self._fail)

    def _second_answers(self, response: Response, sent: bytes) -> None:
        """To the offer that the first made in its 2xx."""
        second = self.second
        second.session.ack(response.cseq)
        second.session.ours, second.session.theirs = sent, response.body
        self._acknowledge(response.body, content_lines(response))
        self._finish()

    def _spoken_for(self, leg: Leg, status: int, reason: str) -> None:
        """The first makes no offer unasked-for."""
        if status in GONE or (status == 491 and self._once):
            self._fail(leg, status, reason)
            return
        self._offered = opened(self.first.session.theirs)
        self._offer(self.second, self._offered, self._second_agrees, self._fail)

    def _second_agrees(self, response: Response, sent: bytes) -> None:
        second = self.second.session
        second.ack(response.cseq)
        second.ours, second.theirs = sent, response.body
        self.rounds += 1
        self._offer(self.first, response.body, self._first_answers, self._fail)

    def _first_answers(self, response: Response, sent: bytes) -> None:
        """To what the second had answered."""
        first = self.first.session
        first.ack(response.cseq)
        first.theirs, first.ours = response.body, sent
        self.rounds += 1
        if self.rounds >= _ROUNDS or sends_as(response.body, self._offered):
            self._finish()
            return
        self._offered = response.body
        self._offer(self.second, response.body, self._second_answers_again, self._fail)

    def _second_answers_again(self, response: Response, sent: bytes) -> None:
        second = self.second.session
        second.ack(response.cseq)
        was, second.theirs, second.ours = second.theirs, response.body, sent
        # Its direction answers that of the first, which need not be told.
        if sends_as(opened(response.body), opened(was)):
            self._finish()
            return
        self._offer(self.first, opened(response.body), self._first_answers, self._fail)

    def _answer_for_second(self, response: Response, sent: bytes) -> None:
        """Of the first, to the offer that the second made in its 2xx."""
        first = self.first.session
        first.ack(response.cseq)
        first.ours, first.theirs = sent, response.body
        self._acknowledge(response.body, content_lines(response))
        self._finish()

    def _acknowledge(self, answer: bytes, content: str) -> None:
        """The ACK that has waited for an answer."""
        assert self._unacknowledged is not None
        leg, cseq, _ = self._unacknowledged
        self._unacknowledged = None
        body = leg.session.describe(answer)
        leg.session.ours = body
        leg.session.outgoing = None
        leg.session.ack(cseq, content, body)
        leg.session.settle()

    # --- offers

    def _offer(
        self,
        leg: Leg,
        body: bytes,
        agreed: Callable[[Response, bytes], None],
        refused: Callable[[Leg, int, str], None],
    ) -> None:
        """Make it, or ask for one (empty), as soon as the leg's session is idle."""
        if self.over:
            return
        session = leg.session
        if leg.call is None or not leg.up:
            refused(leg, 481, "Gone")
            return
        if not session.idle:
            session.when_idle = partial(self._offer, leg, body, agreed, refused)
            return
        if leg.talk is not None:
            leg.talk.goes_first(leg)
        sent = session.describe(body)
        extra = (
            f"{leg.contact}{leg.allow_line(self._call.update)}{leg.session_line()}"
            f"{SDP_LINE if sent else ''}"
        )
        self._made = session.invite(
            extra,
            sent,
            partial(self._answered, leg, body, sent, agreed, refused),
        )

    def _answered(
        self,
        leg: Leg,
        body: bytes,
        sent: bytes,
        agreed: Callable[[Response, bytes], None],
        refused: Callable[[Leg, int, str], None],
        response: Response,
    ) -> None:
        status, session = response.status, leg.session
        if status < 200 or leg.call is None:
            return
        if status < 300 and response.cseq == session.ack_cseq:
            session.ack_again(response.cseq)
            return
        if self.over:
            # A 2xx that nobody needs any more still wants its ACK, and says where its leg is.
            if status < 300 and response.cseq != self._acknowledges_later:
                session.ack(response.cseq)
                if body:
                    session.ours, session.theirs = sent, response.body
            return
        waiting = self._unacknowledged
        if waiting is not None and waiting[0] is leg and waiting[1] == response.cseq:
            return  # that 2xx again; its answer is on the way
        self._made = None
        if status < 300:
            leg.refresh_target(response)
            if leg.refresh is not None:
                leg.timed(granted(response))
            if body:
                session.outgoing = None
            # What brought an offer stays under way until its ACK.
            agreed(response, sent)
            self._call.changed()
            session.settle()
            return
        session.outgoing = None
        if status == 491 or (status == 500 and response.get("retry-after")):
            self._tries += 1
            if self._tries < _TRIES and not self._once:
                again = partial(self._offer, leg, body, agreed, refused)
                self._timer = self._call.core.timers.after(pause(leg, status), again)
                return
        refused(leg, status, response.reason)

    # --- the end

    def _finish(self) -> None:
        done = self._done
        self._end()
        if done is not None:
            done()

    def _too_late(self) -> None:
        """Somebody says neither yes nor no."""
        waiting = self._unacknowledged
        for leg in (self.second, self.first):
            outgoing = leg.session.outgoing
            if outgoing is not None and (waiting is None or waiting[0] is not leg):
                self._fail(leg, 408, "Request Timeout")
                return
        self._fail(self.first, 408, "Request Timeout")

    def _fail(self, leg: Leg, status: int, reason: str) -> None:
        failed = self._failed
        self._end()
        if failed is not None:
            failed(leg, status, reason)

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._late.cancel()
        if self._unacknowledged is not None:
            leg, _, offer = self._unacknowledged
            if leg.call is not None:
                # It has to be answered; that it is heard by nobody is the truth.
                self._acknowledge(held(offer), SDP_LINE)
        for leg in (self.first, self.second):
            session = leg.session
            session.when_idle = None
            outgoing = session.outgoing
            if outgoing is not None and outgoing is self._made:
                # Not answered yet, and of no use any more.
                session.outgoing = None
                outgoing.cancel()
        self._done = self._failed = None


def pause(leg: Leg, status: int) -> float:
    """Seconds until an offer that this refused is made again. §14.1: who made the dialog's Call-ID
    waits longer than the other, in steps of 10 ms."""
    if status != 491 or leg.call is None:
        return 1.0
    chance = int(leg.call.core.tokens.token(4), 16) / 0xFFFF
    return round(chance * 2.0, 2) if leg.came_in else round(2.1 + chance * 1.9, 2)
