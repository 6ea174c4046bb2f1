"""The messages that wait for one extension: its phones get one after the other, the oldest first.

Each goes to all phones of the extension at once, and is done when one of them has taken it. If none
does it waits: for a phone that registers, or, where one was only not there for the moment, for a
while.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Final, Protocol

from softswitch.calls import route_lines
from softswitch.messages.rows import MESSAGE, MessageRow
from softswitch.sip import (
    ClientRequest,
    Flow,
    Response,
    Surroundings,
    Timer,
    escape_user,
    quote_display,
    readable,
)

_NEVER: Final = frozenset((405, 413, 415, 416, 420, 488, 501, 505, 513, 606))
"""What a phone answers that takes no such message at all."""


class Waiting:
    """One message (`softswitch.calls.journal.Kept`). `kept`: it is in the journal. `refused`: no
    phone that is there takes such a one."""

    __slots__ = ("content", "kept", "refused", "row", "timer")

    def __init__(self, content: MessageRow, kept: bool) -> None:
        self.content = content
        self.kept = kept
        self.refused = False
        self.row = 0
        self.timer: Timer | None = None

    def written(self) -> bytes:
        """The row's bytes."""
        return MESSAGE.encode(self.content)


class Post(Protocol):
    """Who has all of them."""

    again: float
    """Seconds after which a phone is tried again that was not there."""

    def phones(self, extension: str) -> list[tuple[str, Flow, tuple[str, ...]]]:
        """Where it can be reached: URIs of its phones, the way there, and the proxies on it."""

    def delivered(self, message: Waiting) -> None:
        """A phone has taken it."""

    def undelivered(self, message: Waiting, why: str) -> None:
        """None has, for now."""


class Queue:
    """Those of one extension."""

    def __init__(self, post: Post, around: Surroundings, extension: str) -> None:
        self._post = post
        self._around = around
        self.extension = extension
        self.messages: list[Waiting] = []
        self._sending: Waiting | None = None
        self._open = 0
        self._later = False
        self._anew = False
        self._why = ""
        self._timer: Timer | None = None

    def deliver(self) -> None:
        """Send the oldest, if there is a phone and nothing is on its way."""
        if self._sending is not None:
            return
        message = next((one for one in self.messages if not one.refused), None)
        if message is None:
            return
        self._stop()
        phones = self._post.phones(self.extension)
        if not phones:
            self._post.undelivered(message, "no phone is registered")
            return
        self._sending = message
        self._open, self._later, self._anew, self._why = len(phones), False, False, ""
        for uri, flow, path in phones:
            request = request_of(message.content, uri, flow, self._around.tokens.branch())
            request.routes = route_lines(path)
            self._around.transactions.send(request, flow, partial(self._answered, message))

    def registered(self) -> None:
        """A phone is new, or elsewhere: it may take what no other did, and what is on its way may
        have gone to where it was."""
        for message in self.messages:
            message.refused = False
        self._anew = True
        self.deliver()

    def remove(self, message: Waiting) -> None:
        """It waits no longer."""
        if message in self.messages:
            self.messages.remove(message)
        if self._sending is message:
            self._sending = None
        if not self.messages:
            self._stop()

    def _answered(self, message: Waiting, response: Response) -> None:
        if response.status < 200 or self._sending is not message:
            return
        self._open -= 1
        if response.status < 300:
            self._post.delivered(message)
            return
        self._why = f"{response.status} {readable(response.reason)}"
        self._later = self._later or response.status not in _NEVER
        if self._open:
            return
        self._sending = None
        if self._anew and message.kept:
            self.deliver()
            return
        message.refused = not self._later
        if self._later and self._post.again:
            self._timer = self._around.timers.after(self._post.again, self._try_again)
        self._post.undelivered(message, self._why)
        if message.refused:
            self.deliver()  # the next is not in its way

    def _try_again(self) -> None:
        self._timer = None
        self.deliver()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def request_of(
    message: MessageRow, uri: str, flow: Flow, branch: str, hops: int = 70, tag: str = ""
) -> ClientRequest:
    """The MESSAGE that brings it there (RFC 3428 §4)."""
    if message.sender:
        name = quote_display(message.name)
        sender = f"{name}<sip:{escape_user(message.sender)}@{flow.sent_by}>"
    else:
        sender = '"Anonymous" <sip:anonymous@anonymous.invalid>'
    when = format_datetime(datetime.fromtimestamp(message.at / 1e6, UTC), usegmt=True)
    expires = ""
    if message.until:
        # Counted from Date (§7).
        expires = f"Expires: {(message.until - message.at) // 1_000_000}\r\n"
    return ClientRequest(
        "MESSAGE",
        uri,
        branch,
        f"{sender};tag={tag or branch[-12:]}",
        f"<sip:{escape_user(message.number)}@{flow.sent_by}>",
        message.call_id,
        1,
        max_forwards=hops,
        extra=f"Date: {when}\r\n{expires}Content-Type: {message.kind}\r\n{message.lines}",
        body=message.body,
    )
