"""A page: who calls is heard by many phones at once, each of which is called for it.

Each phone talks with an application of its own, as who pages does with another one; they are in one
room. A phone's application is there before it is rung: who picks up hears at once. All these legs
belong to the call of who pages, and are over when that one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from softswitch.calls.core import Caller, Opened, Passage
from softswitch.calls.headers import SDP_LINE, reason_line
from softswitch.calls.leg import APPLICATION, Leg
from softswitch.calls.search import Search, SearchUser, Unheard
from softswitch.calls.transfer import BlindTransfer, Transfer, Transferring
from softswitch.dialplan import Plays, Stage, Target
from softswitch.sip import Response, all_codecs, any_codec

PAGE: Final = "page"
OVER: Final = "Page Over"

NOTHING_TO_HEAR: Final = 0
"""In place of a status: what a phone was to hear could not be had, or has died."""
_HUNG_UP: Final = 487


class Paging:
    """Who has phones paged (`softswitch.applications`)."""

    def picked_up(self, extension: str) -> None:
        """That one hears from now on."""
        raise NotImplementedError

    def not_picked_up(self, extension: str, status: int) -> None:
        """That one does not: by what it has answered with, or `NOTHING_TO_HEAR`."""
        raise NotImplementedError

    def hung_up(self, extension: str) -> None:
        """That one hears no more."""
        raise NotImplementedError


class Wanted:
    """A phone that is to be paged. `address` is that by which it knows this switch, `play` what it
    is to hear."""

    __slots__ = ("address", "extension", "play")

    def __init__(self, extension: str, address: str, play: Plays) -> None:
        self.extension = extension
        self.address = address
        self.play = play


class Page(Transfer):
    """Of `kept`, who talks with `application`, and is shown to phones as `identity`. `lines` are
    header lines for them; each rings for `timeout` seconds."""

    __slots__ = (
        "_phones",
        "_placing",
        "application",
        "identity",
        "lines",
        "paging",
        "timeout",
    )

    def __init__(
        self,
        call: Transferring,
        kept: Leg,
        application: Leg,
        identity: Caller,
        lines: str,
        timeout: float,
        paging: Paging,
    ) -> None:
        super().__init__(call, None, kept.party, kept, PAGE, "")
        self.application = application
        self.identity = identity
        self.lines = lines
        self.timeout = timeout
        self.paging = paging
        self._placing: list[Placing] = []
        self._phones: list[Paged] = []

    def start(self, wanted: Sequence[Wanted]) -> None:
        """Call them all."""
        self._placing = [Placing(self, one) for one in wanted]
        for one in list(self._placing):
            if not self.done:
                one.start()

    # --- as its call knows it (`transfer.Transfer`)

    def concerns(self, leg: Leg) -> bool:
        """See `Transfer`: nobody is transferred into a page, or out of it."""
        if self.done:
            return False
        if leg is self.kept or leg is self.application:
            return True
        return any(one.has(leg) for one in self._phones)

    def parts(self, leg: Leg) -> bool:
        """See `Transfer`."""
        return False

    def rung(self) -> list[Leg]:
        """See `Transfer`."""
        legs = [leg for one in self._placing for leg in one.inviting()]
        return legs + [leg for phone in self._phones for leg in phone.rung()]

    def left(self, leg: Leg) -> None:
        """See `Transfer`: with who pages all are gone, a phone goes alone."""
        if self.done:
            return
        if leg is self.kept or leg is self.application:
            self.end()
            return
        for phone in self._phones:
            if phone.has(leg):
                self._phones.remove(phone)
                phone.left(leg)
                if phone.hears:
                    self.paging.hung_up(phone.to)
                else:
                    why = NOTHING_TO_HEAR if leg is phone.kept else _HUNG_UP
                    self.paging.not_picked_up(phone.to, why)
                return

    def stop(self, ending: Passage) -> None:
        """See `Transfer`."""
        super().stop(ending)
        for phone in self._stopped():
            phone.stop(ending)

    def end(self) -> None:
        """It is over: all phones are hung up on."""
        if self.done:
            return
        line = reason_line(200, OVER)
        for phone in self._stopped():
            phone.stop(self.call)
            for leg in (phone.found_leg, phone.kept):
                if leg is not None:
                    self.call.let_go(leg, OVER, line)
        self.call.transfer_over(self)

    def _stopped(self) -> list[Paged]:
        """Nobody more is called; those who were."""
        self.done = True
        placing, self._placing = self._placing, []
        for one in placing:
            one.stop()
        phones, self._phones = self._phones, []
        return phones

    # --- what becomes of its phones

    def placed(self, placing: Placing, port: Leg) -> None:
        """What a phone is to hear is there: now it is rung."""
        self._placing.remove(placing)
        phone = Paged(self, port, placing.wanted.extension)
        self._phones.append(phone)
        phone.ring()

    def not_placed(self, placing: Placing) -> None:
        """It is not."""
        self._placing.remove(placing)
        self.paging.not_picked_up(placing.wanted.extension, NOTHING_TO_HEAR)

    def unanswered(self, phone: Paged, status: int, reason: str) -> None:
        """A phone has not picked up: nobody needs what it would have heard."""
        self._phones.remove(phone)
        self.call.let_go(phone.kept, reason, reason_line(status, reason))
        self.paging.not_picked_up(phone.to, status)


class Placing(Unheard):
    """What one phone is to hear is called, as any application is."""

    __slots__ = ("_over", "_page", "_search", "wanted")

    def __init__(self, page: Page, wanted: Wanted) -> None:
        self._page = page
        self._search: Search | None = None
        self._over = False
        self.wanted = wanted

    def start(self) -> None:
        """Find a place for it."""
        wanted = self.wanted
        self._page.call.core.applications.open(wanted.play, wanted.address, self._opened)

    def _opened(self, opened: Opened | tuple[int, str]) -> None:
        if self._over:
            if not isinstance(opened, tuple):
                opened.abandoned()
            return
        if isinstance(opened, tuple):
            self._fail()
            return
        page, name = self._page, self.wanted.extension
        search = self._search = _search(page, self, any_codec())
        search.ring_at([opened.destination])
        leg = search.legs[-1]
        leg.how = APPLICATION
        opened.placed(leg, f"extension:{name}", Caller(name, ""))

    def inviting(self) -> list[Leg]:
        """Its leg, until that has answered."""
        return self._search.inviting() if self._search is not None else []

    def stop(self) -> None:
        """It is not needed any more."""
        self._over = True
        search, self._search = self._search, None
        if search is not None:
            search.give_up(OVER, "")
            search.close()

    def _fail(self) -> None:
        self._over = True
        self._search = None
        self._page.not_placed(self)

    # what its search says (`search.SearchUser`)

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """It is there."""
        self._over = True
        self._search = None
        search.won_by(leg)
        session = leg.session
        session.ours, session.theirs = search.offer, response.body
        session.ack(response.cseq)
        self._page.call.leg_joined(leg, response)
        self._page.placed(self, leg)

    def nobody(self, search: Search, status: int, reason: str, by: str, lines: str) -> None:
        """See `search.SearchUser`."""
        self._fail()

    def do(self, search: Search, what: str, argument: str, number: str) -> None:
        """See `search.SearchUser`."""


class Paged(BlindTransfer):
    """One phone, the extension `to`: rung on behalf of what it is to hear, `kept`, which it `hears`
    once it has picked up."""

    __slots__ = ("_page", "hears")

    def __init__(self, page: Page, port: Leg, extension: str) -> None:
        super().__init__(page.call, None, page.by, port, extension, PAGE)
        self._page = page
        self.hears = False

    def has(self, leg: Leg) -> bool:
        """Whether that leg is one of its two."""
        return leg is self.kept or leg is self.found_leg

    def ring(self) -> None:
        """Ring it. All that a worker knows is offered, not only what it has answered with."""
        self.begin = self._rings_it
        self._rings_it(self, all_codecs(self.kept.session.theirs))

    def _rings_it(self, transfer: BlindTransfer, offer: bytes) -> None:
        page = self._page
        search = self.search = _search(page, self, offer)
        search.lines = page.lines
        target = Target("extension", self.to, self.to)
        search.summon((Stage((target,)),), page.timeout)

    def _joined(self) -> None:
        super()._joined()
        self.hears = True
        self._page.paging.picked_up(self.to)

    def failed(self, status: int, reason: str) -> None:
        """See `BlindTransfer`."""
        self._end()
        self._page.unanswered(self, status, reason)


def _search(page: Page, user: SearchUser, offer: bytes) -> Search:
    """One on behalf of who pages."""
    call = page.call
    hops = call.core.settings.max_forwards
    content = SDP_LINE if offer else ""
    return Search(call, user, page.by, page.identity, offer, content, hops)
