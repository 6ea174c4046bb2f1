"""What another of our switches tells of one of its numbers: a subscription of ours (RFC 6665 §4.1).

One for each number that somebody here watches, however many do. It lasts as long as they do: what
ends it there (a restart that lost it, a link that is down) is asked for again, later each time. No
I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from softswitch.calls import contact_line, route_lines
from softswitch.config import Trunk
from softswitch.notifier.dialog_info import DIALOG_INFO
from softswitch.notifier.pidf import PIDF
from softswitch.sip import (
    Account,
    ClientRequest,
    Dialog,
    Exchange,
    Flow,
    NonInviteServer,
    Request,
    Response,
    ServerTransaction,
    Session,
    Surroundings,
    Timer,
    delta_seconds,
    escape_user,
)

_FIRST_AGAIN: Final = 1.0
"""Seconds until it is asked again for the first time; twice as long each time, and at most..."""
_LAST_AGAIN: Final = 30.0
_REFUSED_AGAIN: Final = 300.0
"""The same after a refusal, which is not for the moment: that number may not be watched there."""
_REFUSED: Final = frozenset((403, 404, 405, 406, 415, 489, 501))
_LONGEST: Final = 86_400
_ACCEPTED: Final = {"dialog": DIALOG_INFO, "presence": PIDF}


class Ways(Protocol):
    """Where our other switches are."""

    def flow_to_trunk(self, trunk: Trunk) -> Flow | None:
        """A flow there; None if nothing leads there."""

    def path_to(self, trunk: Trunk) -> tuple[str, ...]:
        """The proxies on the way, as URIs."""


class Afar:
    """`number` at the switch behind `trunk`, by `package`; `account` answers its challenges.
    `body` is what was told last: None while nothing is known. `changed` is given it when it is
    another one; `named` the keys by which its NOTIFYs were found before and are found from now
    on."""

    __slots__ = (
        "_account", "_again", "_around", "_changed", "_dialog", "_expires", "_left", "_name",
        "_named", "_session", "_tag", "_timer", "_ways", "body", "call_id", "number", "package",
        "trunk",
    )  # fmt: skip

    def __init__(
        self,
        around: Surroundings,
        ways: Ways,
        name: str,
        trunk: Trunk,
        account: Account | None,
        number: str,
        package: str,
        expires: int,
        changed: Callable[[bytes | None], None],
        named: Callable[[str, str], None],
    ) -> None:
        self._around = around
        self._ways = ways
        self._name = name
        self.trunk = trunk
        self._account = account
        self.number = number
        self.package = package
        self._expires = expires
        self._changed = changed
        self._named = named
        self.body: bytes | None = None
        self.call_id = ""
        self._tag = ""
        self._dialog: Dialog | None = None
        self._session: Session | None = None
        self._timer: Timer | None = None
        self._again = _FIRST_AGAIN
        self._left = False

    @property
    def key(self) -> str:
        """What its NOTIFYs are found by."""
        return f"{self.call_id} {self._tag}"

    def ask(self) -> None:
        """Subscribe."""
        if self._left:
            return
        flow = self._ways.flow_to_trunk(self.trunk)
        if flow is None:
            self._told(None)
            self._later()
            return
        around = self._around
        uri = self.trunk.to.uri(self.number)
        before = self.key
        self.call_id, self._tag = around.tokens.token(), around.tokens.token()
        self._named(before, self.key)
        local = f"<sip:{escape_user(self._name)}@{flow.sent_by}>;tag={self._tag}"
        self._dialog = dialog = Dialog(self.call_id, local, self._tag, f"<{uri}>", flow)
        dialog.target = uri
        dialog.local_cseq = 1
        self._session = Session(around, dialog)
        self._session.account = self._account
        request = ClientRequest(
            "SUBSCRIBE",
            uri,
            around.tokens.branch(),
            local,
            f"<{uri}>",
            self.call_id,
            1,
            routes=route_lines(self._ways.path_to(self.trunk)),
            extra=self._lines(flow, uri, self._expires),
        )
        if self._account is not None:
            request.authorizer = Exchange(self._account, dialog)
        around.transactions.send(request, flow, partial(self._answered, dialog))

    def leave(self) -> None:
        """Nobody here wants to know any more."""
        self._left = True
        self._stop()
        session, dialog = self._session, self._dialog
        if session is not None and dialog is not None and dialog.confirmed:
            session.send("SUBSCRIBE", self._lines(dialog.flow, dialog.target, 0))

    def notified(self, request: Request, transaction: ServerTransaction) -> None:
        """A NOTIFY within its dialog (§4.1.3)."""
        assert isinstance(transaction, NonInviteServer)
        dialog = self._dialog
        if dialog is None or self._left:
            transaction.respond(481)
            return
        if not dialog.confirmed:
            # It came before the answer to our SUBSCRIBE did.
            dialog.remote_tag, dialog.remote = request.from_tag, request.headers["from"][0]
            dialog.confirmed = True
        if request.from_tag != dialog.remote_tag:
            transaction.respond(481)
            return
        if not dialog.in_order(request):
            transaction.respond(500, "CSeq Out Of Order")
            return
        kind = (request.get("content-type") or "").partition(";")[0].strip().lower()
        if request.body and kind != _ACCEPTED[self.package]:
            transaction.respond(415, extra=f"Accept: {_ACCEPTED[self.package]}\r\n")
            return
        dialog.refresh_target(request)
        transaction.respond(200)
        if request.body:
            self._told(request.body)
        state = (request.get("subscription-state") or "").partition(";")[0].strip().lower()
        if state == "terminated":
            self._stop()
            self._dialog = self._session = None
            self._later()

    def _lines(self, flow: Flow, uri: str, expires: int) -> str:
        return (
            f"{contact_line(flow, uri)}Event: {self.package}\r\nExpires: {expires}\r\n"
            f"Accept: {_ACCEPTED[self.package]}\r\n"
        )

    def _answered(self, dialog: Dialog, response: Response) -> None:
        # What was ended meanwhile is asked for anew already, whatever is said of it now.
        if response.status < 200 or self._left or dialog is not self._dialog:
            return
        if response.status >= 300:
            self._dialog = self._session = None
            least = delta_seconds(response.get("min-expires")) or 0
            if response.status == 423 and self._expires < least <= _LONGEST:
                self._expires = least
                self.ask()
                return
            self._told(None)
            if response.status in _REFUSED:
                self._again = _REFUSED_AGAIN
            self._later()
            return
        was_confirmed, dialog.confirmed = dialog.confirmed, False
        try:
            if was_confirmed and response.to_tag != dialog.remote_tag:
                dialog.confirmed = True
            else:
                dialog.follow(response)
        except ValueError:
            dialog.confirmed = True  # without a Contact it is refreshed where it was asked for
        self._again = _FIRST_AGAIN
        self._granted(response)

    def _granted(self, response: Response) -> None:
        seconds = delta_seconds(response.get("expires")) or self._expires
        self._after(max(1.0, 0.9 * seconds), self._refresh)

    def _refresh(self) -> None:
        self._timer = None
        session, dialog = self._session, self._dialog
        if session is not None and dialog is not None:
            lines = self._lines(dialog.flow, dialog.target, self._expires)
            session.send("SUBSCRIBE", lines, b"", partial(self._refreshed, dialog))

    def _refreshed(self, dialog: Dialog, response: Response) -> None:
        if response.status < 200 or self._left or dialog is not self._dialog:
            return
        if response.status < 300:
            self._granted(response)
            return
        self._dialog = self._session = None
        if response.status == 481:
            self.ask()  # it was started anew, and knows nothing of us
        else:
            self._told(None)
            self._later()

    def _told(self, body: bytes | None) -> None:
        if body != self.body:
            self.body = body
            self._changed(body)

    def _later(self) -> None:
        if not self._left:
            self._after(self._again, self._once_more)
            self._again = min(2 * self._again, max(_LAST_AGAIN, self._again))

    def _once_more(self) -> None:
        self._timer = None
        self.ask()

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        self._stop()
        self._timer = self._around.timers.after(seconds, what)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
