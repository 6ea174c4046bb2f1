"""The messages of a switch, for its event loop: what waits for the disk is done elsewhere, one
thing after the other, and its outcome comes back by a callback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from softswitch.config import Extension, SmtpModel, VoicemailModel
from softswitch.voicemail.store import Message, Store

log = logging.getLogger(__name__)

T = TypeVar("T")


class Elsewhere(Protocol):
    """Does things one after the other, not in the event loop."""

    def __call__(self, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
        """`then` gets what comes of it, in the event loop; None if that has failed."""


class Voicemail:
    """`counted` is told how many messages an extension has: new, and others."""

    def __init__(
        self,
        settings: VoicemailModel,
        extensions: Mapping[str, Extension],
        elsewhere: Elsewhere,
        mailing: Elsewhere,
        after: Callable[[float, Callable[[], None]], object],
        counted: Callable[[str, int, int], None],
    ) -> None:
        self.settings = settings
        self._extensions = extensions
        self._elsewhere = elsewhere
        self._mailing = mailing
        self._after = after
        self._counted = counted
        self._store: Store | None = None
        self._greetings: dict[str, str] = {}
        self._sends = False

    def has(self, extension: str) -> bool:
        """Whether it has a mailbox."""
        known = self._extensions.get(extension)
        return known is not None and known.mailbox is not None

    def pin(self, extension: str) -> str:
        """What who listens has to dial; empty: nothing."""
        known = self._extensions.get(extension)
        return known.mailbox.pin if known is not None and known.mailbox is not None else ""

    def open(self) -> None:
        """Take up what is there."""
        self._elsewhere(self._opened, self._recovered)

    def _opened(self) -> dict[str, tuple[int, int]]:
        self._store = store = Store(self.settings.folder)
        counts = store.recover(self.settings.least)
        for name in self._extensions:
            self._greetings[name] = store.greeting(name)
        return counts

    def _recovered(self, counts: dict[str, tuple[int, int]] | None) -> None:
        for name, (new, old) in (counts or {}).items():
            if self.has(name):
                self._counted(name, new, old)
        self._mail()

    def close(self) -> None:
        """The switch stops."""
        self._elsewhere(self._closed, _nothing)

    def _closed(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _do(self, what: Callable[[Store], T], then: Callable[[T | None], None]) -> None:
        self._elsewhere(partial(self._with_store, what), then)

    def _with_store(self, what: Callable[[Store], T]) -> T:
        if self._store is None:
            raise OSError("no place for messages")
        return what(self._store)

    # --- messages

    def begin(
        self,
        mailbox: str,
        caller: str,
        name: str,
        call_id: str,
        at: float,
        then: Callable[[Message | None], None],
    ) -> None:
        """A message is about to be recorded; None: there is no room for it."""
        most = self.settings.messages

        def begin(store: Store) -> Message | None:
            if sum(store.counts(mailbox)) >= most:
                log.warning("mailbox %s is full: %d messages", mailbox, most)
                return None
            return store.begin(mailbox, caller, name, call_id, at)

        self._do(begin, then)

    def keep(self, message: Message, seconds: float, then: Callable[[], None]) -> None:
        """It was recorded; `then` it is on disk."""
        known = self._extensions.get(message.mailbox)
        mail = (
            self.settings.smtp is not None
            and known is not None
            and known.mailbox is not None
            and known.mailbox.mail != ""
        )

        def keep(store: Store) -> tuple[int, int]:
            store.keep(message.id, seconds, mail)
            return store.counts(message.mailbox)

        self._do(keep, partial(self._kept, message.mailbox, then))

    def _kept(self, mailbox: str, then: Callable[[], None], counts: tuple[int, int] | None) -> None:
        if counts is not None:
            self._counted(mailbox, *counts)
        then()
        self._mail()

    def rescue(self, message: Message) -> None:
        """Its recorder was killed: what there is of it is kept."""
        least = self.settings.least

        def rescue(store: Store) -> tuple[int, int]:
            store.rescue(message.id, least)
            return store.counts(message.mailbox)

        self._do(rescue, partial(self._kept, message.mailbox, _no_more))

    def discard(self, message: Message) -> None:
        """It is none."""
        self._change(message.mailbox, lambda store: store.discard(message.id))

    def heard(self, message: Message) -> None:
        """Somebody has heard it."""
        self._change(message.mailbox, lambda store: store.heard(message.id))

    def _change(self, mailbox: str, what: Callable[[Store], None]) -> None:
        def change(store: Store) -> tuple[int, int]:
            what(store)
            return store.counts(mailbox)

        self._do(change, partial(self._kept, mailbox, _no_more))

    def listing(self, mailbox: str, then: Callable[[list[Message] | None], None]) -> None:
        """Its messages."""
        self._do(lambda store: store.listing(mailbox), then)

    # --- greetings

    def greeting(self, mailbox: str) -> str:
        """The file of what its owner has recorded; empty if nothing."""
        return self._greetings.get(mailbox, "")

    def begin_greeting(self, mailbox: str, then: Callable[[Message | None], None]) -> None:
        """A greeting is about to be recorded."""
        self._do(lambda store: store.begin(mailbox, "", "", "", 0.0), then)

    def set_greeting(self, mailbox: str, recorded: Message | None) -> None:
        """What was recorded is its greeting from now on; None: there is none."""
        number = recorded.id if recorded is not None else 0

        def change(store: Store) -> str:
            store.set_greeting(mailbox, number)
            return store.greeting(mailbox)

        self._do(change, partial(self._greets, mailbox))

    def _greets(self, mailbox: str, path: str | None) -> None:
        if path is not None:
            self._greetings[mailbox] = path

    # --- mails

    def _mail(self) -> None:
        """Send what is to be sent, one after the other."""
        if self.settings.smtp is None or self._sends:
            return
        self._sends = True
        self._do(lambda store: store.to_mail(), self._send_first)

    def _send_first(self, due: list[Message] | None) -> None:
        smtp = self.settings.smtp
        self._sends = False
        for message in due or ():
            known = self._extensions.get(message.mailbox)
            to = known.mailbox.mail if known is not None and known.mailbox is not None else ""
            if smtp is None or not to:
                continue
            self._sends = True
            self._mailing(partial(_send, message, to, smtp), partial(self._sent, message))
            return

    def _sent(self, message: Message, done: bool | None) -> None:
        self._sends = False
        if done:
            self._do(lambda store: store.mailed(message.id), lambda _: self._mail())
            return
        smtp = self.settings.smtp
        log.warning("message %d for %s could not be mailed", message.id, message.mailbox)
        if smtp is not None:
            self._sends = True
            self._after(smtp.retry, self._again)

    def _again(self) -> None:
        self._sends = False
        self._mail()


def _send(message: Message, to: str, settings: SmtpModel) -> bool:
    # Loaded with the first mail: what it needs is more than all else of this room.
    from softswitch.voicemail.mail import mail_of, send

    send(mail_of(message, to, settings), settings)
    return True


def _nothing(_: object) -> None:
    """Nobody waits for it."""


def _no_more() -> None:
    """That was all."""
