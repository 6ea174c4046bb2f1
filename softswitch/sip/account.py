"""What proves to a carrier that it is us: challenges answered (RFC 3261 §22, RFC 8760).

A challenge is answered within the transactions (`Authorizer`): who sent the request hears of the
answer to it alone. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.sip.client_transaction import Authorizer, ClientRequest
from softswitch.sip.dialog import Dialog
from softswitch.sip.digest import answer, parse_credentials
from softswitch.sip.message import Response

_ASKS: Final = {
    401: ("www-authenticate", "Authorization"),
    407: ("proxy-authenticate", "Proxy-Authorization"),
}
_MOST: Final = 4
"""How often one request is sent again: by a proxy and by whom it leads to, each with a nonce that
was used up meanwhile."""
_REALMS: Final = 4
"""Challenges in force at once, of proxies and of whom they lead to. More than that are forgotten,
the oldest first."""


class _Challenge:
    """One that was answered: `value` as it came, `count` of the requests that answered it."""

    __slots__ = ("count", "nonce", "value")

    def __init__(self, value: str, nonce: str) -> None:
        self.value = value
        self.nonce = nonce
        self.count = 0


class Account:
    """`user` and `password` at a carrier. `realm`: nobody who names another one is answered; empty:
    any. `cnonce` makes those (RFC 7616 §3.4)."""

    def __init__(self, user: str, password: str, realm: str, cnonce: Callable[[], str]) -> None:
        self.user = user
        self._password = password
        self._realm = realm
        self._cnonce = cnonce
        # The challenges that are in force, by the header that answers them and the realm (§22.3).
        self._held: dict[tuple[str, str], _Challenge] = {}

    def lines(self, method: str, uri: str) -> str:
        """The header lines that answer the challenges in force; empty if there are none."""
        lines = ""
        for (name, _), challenge in self._held.items():
            challenge.count += 1
            value = answer(
                challenge.value,
                method,
                uri,
                self.user,
                self._password,
                self._cnonce(),
                challenge.count,
            )
            lines += f"{name}: {value}\r\n"
        return lines

    def hold(self, status: int, response: Response) -> dict[tuple[str, str], bool]:
        """Challenges came: those that can be answered, by header and realm, and of each whether it
        says that only the nonce is used up. Proxies that were asked beside each other want one
        answer each (§16.7 step 7)."""
        asks, name = _ASKS[status]
        found: dict[tuple[str, str], bool] = {}
        for value in response.headers.get(asks, ()):
            try:
                _scheme, params = parse_credentials(value)
                realm = params.get("realm", "")
                key = name, realm
                if key in found or len(found) >= _REALMS or (self._realm and realm != self._realm):
                    continue
                # What it asks for is known here, or this says so. The first is what the other
                # prefers (RFC 8760 §2.4).
                answer(value, "OPTIONS", "sip:", self.user, self._password, "c")
            except ValueError:
                continue
            nonce = params.get("nonce", "")
            held = self._held.pop(key, None)
            if held is None or held.nonce != nonce:
                held = _Challenge(value, nonce)
            # Another call may have got the same nonce: each of its counts is good for one request.
            held.value = value
            self._held[key] = held
            found[key] = params.get("stale", "").lower() == "true"
        while len(self._held) > _REALMS:
            del self._held[next(iter(self._held))]
        return found

    def forget(self) -> None:
        """The challenges in force are so no more."""
        self._held.clear()


class Exchange(Authorizer):
    """One request of an account, and the challenges on its way. `dialog` is where it gets its CSeq,
    if it has one; `told` is told of the header lines that it goes with."""

    __slots__ = ("_account", "_bare", "_dialog", "_seen", "_times", "told")

    def __init__(self, account: Account, dialog: Dialog | None = None) -> None:
        self._account = account
        self._dialog = dialog
        self._bare: str | None = None
        self._seen: set[tuple[str, str]] = set()
        self._times = 0
        self.told: Callable[[str], None] | None = None

    def before(self, request: ClientRequest) -> None:
        """Send what was asked for last, unasked: within a dialog it is so again (§22.2)."""
        self._bare = request.extra
        self._put(request)

    def answered(self, request: ClientRequest, response: Response) -> bool:
        """See `Authorizer`."""
        self._times += 1
        if self._times > _MOST:
            return False
        if self._bare is None:
            self._bare = request.extra
        found = self._account.hold(response.status, response)
        if not found:
            return False
        if all(key in self._seen and not stale for key, stale in found.items()):
            # They have had an answer, and do not believe it.
            self._account.forget()
            return False
        self._seen.update(found)
        dialog = self._dialog
        if dialog is not None:
            dialog.local_cseq += 1
            request.cseq = dialog.local_cseq
        else:
            request.cseq += 1
        request.branch = f"{request.branch}.{self._times}"
        self._put(request)
        return True

    def _put(self, request: ClientRequest) -> None:
        lines = self._account.lines(request.method, request.uri)
        request.extra = lines + (self._bare or "")
        if self.told is not None:
            self.told(lines)
