"""A subscription: somebody is told how something stands, whenever that changes (RFC 6665 §4.2).

States: active, and over. While a NOTIFY waits for its answer, and for a moment after it, what
changes is not told at once: then how it stands by then (§4.2.2). No I/O.
"""

from __future__ import annotations

from typing import Final, Protocol

from softswitch.calls import CSEQ_AHEAD, contact_line
from softswitch.notifier.rows import SUBSCRIPTION, SubscriptionRow
from softswitch.sip import (
    Dialog,
    Flow,
    NonInviteServer,
    Request,
    Response,
    ServerTransaction,
    Session,
    Surroundings,
    Timer,
    Timers,
    parse_address,
    parse_uri,
)

_GONE: Final = frozenset(
    (404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 503, 604)
)
"""What a NOTIFY is answered by who is not subscribed any more (§4.2.2)."""


class Resource(Protocol):
    """What is watched."""

    def document(self, subscription: Subscription) -> tuple[str, bytes]:
        """How it stands: the media type, and the body."""


class Subscriptions(Protocol):
    """Who has all subscriptions."""

    timers: Timers
    pause: float
    """Seconds between two NOTIFYs of one subscription."""

    def expires(self, request: Request) -> int | None:
        """The seconds that a SUBSCRIBE gets; None if it asks for too few of them."""

    def too_brief(self, transaction: ServerTransaction) -> None:
        """It is answered so."""

    def utc_us(self) -> int:
        """The time of day, in microseconds."""

    def changed(self, subscription: Subscription) -> None:
        """What its row holds has changed."""

    def over(self, subscription: Subscription) -> None:
        """Nobody is to be told any more."""


class Subscription:
    """`party` is subscribed to `number` (`softswitch.calls.journal.Kept`).

    `host` is that of its URI as the subscriber has it. `until` is in seconds of the clock.
    `resource` is what its NOTIFYs tell, set by who makes it; `version` counts the documents (RFC
    4235 §4.1).
    """

    __slots__ = (
        "_away", "_due", "_pause", "_sending", "_timer", "_went", "contact", "event_id", "host",
        "number", "of", "package", "party", "resource", "row", "session", "until", "version",
    )  # fmt: skip

    def __init__(
        self, of: Subscriptions, package: str, number: str, event_id: str, party: str,
        session: Session,
    ) -> None:  # fmt: skip
        self.of = of
        self.package = package
        self.number = number
        self.event_id = event_id
        self.party = party
        self.session = session
        self.contact = contact_line(session.dialog.flow, session.dialog.target)
        self.host = _host_of(session.dialog)
        self.resource: Resource | None = None
        self.row = 0
        self.version = 0
        self.until = 0.0
        self._timer: Timer | None = None
        self._pause: Timer | None = None
        self._sending = False
        self._due = False
        self._away = False
        self._went = session.dialog.flow

    @property
    def key(self) -> str:
        """What requests within its dialog are found by."""
        dialog = self.session.dialog
        return f"{dialog.call_id} {dialog.local_tag}"

    @property
    def up(self) -> bool:
        """Whether it is active."""
        return self._timer is not None

    def lasts(self, seconds: float) -> None:
        """From now on so long."""
        timers = self.of.timers
        if self._timer is not None:
            self._timer.cancel()
        self.until = timers.clock() + seconds
        self._timer = timers.after(seconds, self._expired)

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """A SUBSCRIBE within its dialog: a refresh, or the end of it."""
        assert isinstance(transaction, NonInviteServer)
        if not self.session.dialog.in_order(request):
            transaction.respond(500, "CSeq Out Of Order")
            return
        seconds = self.of.expires(request)
        if seconds is None:
            self.of.too_brief(transaction)
            return
        self.session.dialog.refresh_target(request)
        if self.session.nat:
            # Who is behind NAT, or had to connect again, is wherever it speaks from.
            self._goes_by(flow)
        self._away = False
        if seconds:
            self.lasts(seconds)
            self.of.changed(self)
        transaction.respond(200, extra=f"Expires: {seconds}\r\n{self.contact}")
        if seconds:
            self.notify()
        else:
            self.end("timeout")

    def notify(self) -> None:
        """It stands otherwise, or who is subscribed has asked."""
        if not self.up:
            return
        if self._sending or self._away or self._pause is not None:
            self._due = True
            return
        left = max(1, round(self.until - self.of.timers.clock()))
        self._send(f"active;expires={left}")

    def moved(self, flow: Flow) -> None:
        """The phone has registered, and is there."""
        if flow.remote != self.session.dialog.flow.remote:
            self._goes_by(flow)
            self.of.changed(self)
        if self._away:
            self._away = False
            self.notify()

    def _goes_by(self, flow: Flow) -> None:
        self.session.dialog.flow = flow
        self.contact = contact_line(flow, self.session.dialog.target)

    def end(self, reason: str) -> None:
        """It ends with how it stands now: for that reason (§4.1.3)."""
        if not self.up:
            return
        try:
            self._send(f"terminated;reason={reason}")
        finally:
            self.drop()  # whatever became of the last document: nothing else would end it

    def drop(self) -> None:
        """It is over, and nobody is told."""
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._timer = self._pause = None
        self._due = False
        self.of.over(self)

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        dialog = self.session.dialog
        left = self.until - self.of.timers.clock()
        return SUBSCRIPTION.encode(
            SubscriptionRow(
                self.package,
                _bytes(self.number),
                _bytes(self.event_id),
                self.party,
                self.of.utc_us() + int(left * 1e6),
                self.version,
                _bytes(dialog.call_id),
                _bytes(dialog.local),
                dialog.local_tag,
                _bytes(dialog.remote),
                _bytes(dialog.remote_tag),
                _bytes(dialog.target),
                [_bytes(route) for route in dialog.routes],
                (dialog.local_cseq, dialog.remote_cseq),
                (dialog.flow.transport, *dialog.flow.remote),
                self.session.nat,
                dialog.flow.listener,
                dialog.flow.sent_by,
            )
        )

    @classmethod
    def restored(
        cls, of: Subscriptions, row: SubscriptionRow, around: Surroundings, flow: Flow
    ) -> Subscription:
        """That of the process before. What was sent since the row was written is jumped over."""
        dialog = Dialog(
            _text(row.call_id), _text(row.local), row.local_tag, _text(row.remote), flow
        )
        dialog.remote_tag = _text(row.remote_tag)
        dialog.target = _text(row.target)
        dialog.routes = tuple([_text(route) for route in row.routes])
        dialog.local_cseq = row.cseqs[0] + CSEQ_AHEAD
        dialog.remote_cseq = row.cseqs[1]
        dialog.confirmed = True
        session = Session(around, dialog)
        session.nat = row.nat
        self = cls(of, row.package, _text(row.number), _text(row.event_id), row.party, session)
        self.version = row.version + CSEQ_AHEAD
        return self

    def _send(self, state: str) -> None:
        assert self.resource is not None
        kind, body = self.resource.document(self)
        self.version += 1
        self._sending = True
        self._went = self.session.dialog.flow
        self._due = False
        content = f"Content-Type: {kind}\r\n" if body else ""
        self.session.send(
            "NOTIFY",
            f"{self.contact}Event: {self.package}{self.event_id}\r\n"
            f"Subscription-State: {state}\r\n{content}",
            body,
            self._answered,
        )

    def _answered(self, response: Response) -> None:
        if response.status < 200:
            return
        self._sending = False
        if not self.up:
            return
        flow = self.session.dialog.flow
        if response.ours and self.session.nat and flow is not self._went:
            # It has moved meanwhile, and what was sent to where it was went astray.
            self.notify()
        elif response.ours and self.session.nat and flow.reliable:
            # Its connection is gone, and nobody can connect to it. It does not know that it missed
            # anything: it is told when it has connected again, if that is before this runs out.
            self._away = True
        elif response.status in _GONE:
            self.drop()
        else:
            self._pause = self.of.timers.after(self.of.pause, self._paused)

    def _paused(self) -> None:
        self._pause = None
        if self._due:
            self._due = False
            self.notify()

    def _expired(self) -> None:
        self.end("timeout")


def _host_of(dialog: Dialog) -> str:
    """Of the URI that somebody has asked for by its To; ours, if that names none of SIP's."""
    try:
        uri = parse_uri(parse_address(dialog.local).uri)
    except ValueError:
        return dialog.flow.sent_by
    return uri.host or dialog.flow.sent_by


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
