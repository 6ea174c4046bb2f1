"""What a caller is shown before the answer: early dialogs, and responses that it acknowledges.

Each that rings with media of its own is a dialog of its own (RFC 3261 §12.1, §13.2.1). A caller
that knows reliable provisional responses (RFC 3262) gets those of the callee as such, and its PRACK
goes on to the callee, with what it offers or answers (§5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from softswitch.calls.core import Core
from softswitch.calls.leg import Leg
from softswitch.sip import (
    RELIABLE,
    Dialog,
    InviteServer,
    Provisional,
    Provisionals,
    Request,
    Response,
    Session,
    has_option,
)

_RANDOM: Final = 7
"""Hexadecimal digits of the first RSeq: it must leave room for more (RFC 3262 §3)."""


class Relayed:
    """A reliable response of `leg`, in the dialog of `session`, that somebody else acknowledges."""

    __slots__ = ("cseq", "leg", "number", "session")

    def __init__(self, leg: Leg, session: Session, response: Response) -> None:
        self.leg = leg
        self.session = session
        self.number = session.rseq
        self.cseq = response.cseq


def takes_reliable(request: Request, reliable: bool) -> bool:
    """Whether a caller gets a provisional response reliably, which came so itself, or did not."""
    if "require" in request.headers and has_option(request, "require", RELIABLE):
        return True
    return reliable and has_option(request, "supported", RELIABLE)


class Early:
    """Of `caller`, whose INVITE `incoming` answers. `tags` are our tags by who rings in it: leg,
    and its own tag. `then` waits until all that was described is acknowledged."""

    __slots__ = (
        "_caller",
        "_core",
        "_incoming",
        "_on_timeout",
        "_request_cseq",
        "_sessions",
        "offer",
        "provisionals",
        "tags",
        "then",
    )

    def __init__(
        self, core: Core, caller: Leg, incoming: InviteServer, on_timeout: Callable[[], None]
    ) -> None:
        request = incoming.request
        assert request is not None
        self._core = core
        self._caller = caller
        self._incoming = incoming
        self._request_cseq = request.cseq
        self._on_timeout = on_timeout
        self._sessions: dict[str, Session] = {}  # but for the caller's own
        self.offer = request.body
        self.tags: dict[tuple[int, str], str] = {}
        self.provisionals: Provisionals | None = None
        self.then: Callable[[], None] | None = None

    def has_room(self) -> bool:
        """Whether the caller may be shown one more."""
        return len(self.tags) < self._core.settings.early_dialogs

    def open(self, leg: Leg, tag: str) -> str:
        """The dialog in which that one rings: our tag. The caller keeps to the first answer of a
        dialog, whatever comes later (§13.2.1): others have other dialogs."""
        key = leg.index, tag
        ours = self.tags.get(key, "")
        if not ours:
            if not self.tags:
                ours = self._caller.session.dialog.local_tag
            else:
                ours = self._core.tokens.token()
                self._sessions[ours] = self._session(ours)
                self._core.remember(self._caller, ours)
            self.tags[key] = ours
        return ours

    def _session(self, tag: str) -> Session:
        first = self._caller.session
        was = first.dialog
        local = was.local.replace(was.local_tag, tag)
        dialog = Dialog(was.call_id, local, tag, was.remote, was.flow)
        dialog.remote_tag, dialog.target, dialog.routes = was.remote_tag, was.target, was.routes
        # What came in another early dialog is no matter for the order of requests in this one.
        dialog.remote_cseq = self._request_cseq
        session = first.sibling(dialog)
        session.theirs = self.offer
        return session

    def session_of(self, tag: str) -> Session | None:
        """That of one of our tags."""
        own = self._caller.session
        return own if tag == own.dialog.local_tag else self._sessions.get(tag)

    def rings_in(self, tag: str) -> tuple[int, str] | None:
        """Who rings in that dialog: leg, and its own tag."""
        return next((key for key, ours in self.tags.items() if ours == tag), None)

    def send(self, one: Provisional) -> bool:
        """Send it reliably; whether it will be."""
        provisionals = self.provisionals
        if provisionals is None:
            core = self._core
            first = 1 + int(core.tokens.token(_RANDOM), 16)
            transactions = core.transactions
            self.provisionals = provisionals = Provisionals(
                core.timers,
                transactions.settings,
                self._incoming,
                self._request_cseq,
                first,
                self._on_timeout,
            )
        return provisionals.send(one)

    @property
    def describing(self) -> bool:
        """Whether a description waits for its PRACK."""
        return self.provisionals is not None and self.provisionals.describing

    def go_on(self) -> None:
        """A PRACK has come: what has waited for it goes on."""
        if self.provisionals is not None:
            self.provisionals.go_on()
        then = self.then
        if then is not None and not self.describing:
            self.then = None
            then()

    def answered_in(self, tag: str) -> Session:
        """The caller gets its answer in that dialog: the others are over."""
        core, caller = self._core, self._caller
        session = self.session_of(tag)
        if session is not caller.session:
            core.forget(caller)
            if session is None:
                session = self._session(tag)
                core.remember(caller, tag)
            caller.session = session
        if self.provisionals is not None:
            # Some PRACK may still come.
            self.provisionals.stop()
            session.provisionals = self.provisionals
        self._sessions.pop(tag, None)
        self.close()
        return session

    def close(self) -> None:
        """No early dialog is left."""
        if self.provisionals is not None:
            self.provisionals.stop()
        for tag in self._sessions:
            self._core.forget(self._caller, tag)
        self._sessions.clear()
        self.then = None
