"""What phones publish of who has them: the compositor of RFC 3903 §6.

Each publication has an entity-tag that is another one after each change, and ends by itself unless
it is refreshed. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from softswitch.notifier.pidf import PIDF, Presence, read_presence
from softswitch.notifier.xml import BadXml
from softswitch.sip import Request, ServerTransaction, Timer, Timers, Tokens


class _Publication:
    __slots__ = ("presence", "timer")

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self.timer: Timer | None = None


class Publications:
    """Of each extension `most` at once, of `max_body` bytes. `changed` is told whose has changed,
    `expires` what a request gets, in seconds (None: it asks for too few)."""

    def __init__(
        self,
        timers: Timers,
        tokens: Tokens,
        expires: Callable[[Request], int | None],
        too_brief: Callable[[ServerTransaction], None],
        changed: Callable[[str], None],
    ) -> None:
        self._timers = timers
        self._tokens = tokens
        self._expires = expires
        self._too_brief = too_brief
        self._changed = changed
        self.most = 5
        self.max_body = 8192
        self._all: dict[str, dict[str, _Publication]] = {}

    def __len__(self) -> int:
        return sum(len(one) for one in self._all.values())

    def of(self, extension: str) -> list[Presence]:
        """What is published of it just now."""
        return [one.presence for one in self._all.get(extension, {}).values()]

    def forget(self, extension: str) -> None:
        """There is no such extension any more."""
        for tag in list(self._all.get(extension, {})):
            self._end(extension, tag)

    def publish(self, extension: str, request: Request, transaction: ServerTransaction) -> None:
        """A PUBLISH of the extension about itself (§6)."""
        tag = (request.get("sip-if-match") or "").strip()
        mine = self._all.get(extension, {})
        if tag and tag not in mine:
            transaction.respond(412)
            return
        seconds = self._expires(request)
        if seconds is None:
            self._too_brief(transaction)
            return
        presence: Presence | None = None
        if request.body and seconds:
            kind = (request.get("content-type") or "").partition(";")[0].strip().lower()
            if kind != PIDF:
                transaction.respond(415, extra=f"Accept: {PIDF}\r\n")
                return
            if len(request.body) > self.max_body:
                transaction.respond(413)
                return
            try:
                presence = read_presence(request.body)
            except BadXml:
                transaction.respond(400, "Bad Presence Document")
                return
        elif not tag:
            transaction.respond(400, "Nothing Published")
            return
        elif seconds:
            presence = mine[tag].presence
        if not tag and len(mine) >= self.most:
            transaction.respond(403, "Too Many Publications")
            return
        was = mine[tag].presence if tag else None
        if tag:
            self._end(extension, tag, tell=False)
        fresh = self._tokens.token()
        if presence is not None:
            publication = _Publication(presence)
            publication.timer = self._timers.after(seconds, lambda: self._end(extension, fresh))
            self._all.setdefault(extension, {})[fresh] = publication
        transaction.respond(200, extra=f"SIP-ETag: {fresh}\r\nExpires: {seconds}\r\n")
        if presence != was:
            self._changed(extension)

    def _end(self, extension: str, tag: str, tell: bool = True) -> None:
        mine = self._all.get(extension, {})
        publication = mine.pop(tag, None)
        if publication is None:
            return
        if publication.timer is not None:
            publication.timer.cancel()
        if not mine:
            self._all.pop(extension, None)
        if tell:
            self._changed(extension)
