"""Session timers (RFC 4028): the terms of a session, when it is to be refreshed and when over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from softswitch.sip.header_values import delta_seconds
from softswitch.sip.message import Request, Response
from softswitch.sip.timers import Timer, Timers

LEAST: Final = 90
"""Seconds: no session interval may be shorter (§4, Min-SE)."""
LONGEST: Final = 86400
"""Seconds: of more than a day a session is as good as without a timer."""


class Terms(NamedTuple):
    """A session's interval in seconds, and whether it is ours to refresh it."""

    expires: int
    ours: bool


def _number(value: str | None) -> int:
    """Delta-seconds with parameters; 0 if it is none."""
    return min(delta_seconds(value) or 0, LONGEST)


def _refresher(value: str) -> str:
    for part in value.split(";")[1:]:
        name, _, who = part.partition("=")
        if name.strip().lower() == "refresher":
            return who.strip().lower()
    return ""


def takes_timer(request: Request) -> bool:
    """Whether who sent it knows session timers."""
    headers = request.headers
    return ("supported" in headers and _names_it(headers["supported"])) or (
        "require" in headers and _names_it(headers["require"])
    )


def _names_it(values: list[str]) -> bool:
    return any("timer" in value.lower() for value in values)


def too_brief(request: Request, least: int) -> bool:
    """Whether it gets 422 (§9): it wants a shorter interval than is taken, and would know it."""
    value = request.get("session-expires")
    return value is not None and 0 < _number(value) < least and takes_timer(request)


def asked(request: Request, expires: int, least: int) -> Terms | None:
    """The terms of a session that this INVITE or UPDATE asks for, or might have (§9); None: none.
    `expires` is what we want, 0: nothing."""
    value = request.get("session-expires")
    if value is None:
        if not expires or not takes_timer(request):
            return None
        return Terms(expires, True)
    wanted = _number(value)
    if not wanted:
        return None
    if not takes_timer(request):
        # It, or a proxy on the way, wants one; only we can refresh it.
        return Terms(max(wanted, least), True)
    interval = max(least, min(wanted, expires or wanted), _number(request.get("min-se")))
    return Terms(interval, _refresher(value) != "uac")


def granted(response: Response) -> Terms | None:
    """The terms that the 2xx to our INVITE or UPDATE gives (§7.2); None: none."""
    value = response.get("session-expires")
    expires = _number(value)
    if value is None or not expires:
        return None
    return Terms(max(expires, LEAST), _refresher(value) != "uas")


def least_of(response: Response) -> int:
    """The shortest interval that whoever answers 422 takes, in seconds; 0 if it does not say."""
    return _number(response.get("min-se"))


def answer_lines(terms: Terms) -> str:
    """Header lines of our 2xx: the peer is the uac of that (§9)."""
    if terms.ours:
        return f"Session-Expires: {terms.expires};refresher=uas\r\n"
    return f"Require: timer\r\nSession-Expires: {terms.expires};refresher=uac\r\n"


class Refresh:
    """Of a session with these terms: `due` is called when it is ours to refresh it, `over` when
    the peer has not done so in time (§10)."""

    __slots__ = ("_due", "_over", "_timer", "_timers", "terms")

    def __init__(
        self,
        timers: Timers,
        terms: Terms,
        due: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        self._timers = timers
        self._due: Callable[[], None] | None = due
        self._over: Callable[[], None] | None = over
        self._timer: Timer | None = None
        self.terms = terms
        self.again()

    def line(self) -> str:
        """The header line of our requests within the dialog that refresh it."""
        who = "uac" if self.terms.ours else "uas"
        return f"Session-Expires: {self.terms.expires};refresher={who}\r\n"

    def again(self, seconds: float = 0.0) -> None:
        """It has just been refreshed; or is to be in so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
        expires = self.terms.expires
        if self.terms.ours:
            self._timer = self._timers.after(seconds or expires / 2, self._is_due)
        else:
            self._timer = self._timers.after(expires - min(32.0, expires / 3), self._is_over)

    def stop(self) -> None:
        """The session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = self._over = None

    def _is_due(self) -> None:
        self._timer = None
        if self._due is not None:
            self._due()

    def _is_over(self) -> None:
        self._timer = None
        if self._over is not None:
            self._over()
