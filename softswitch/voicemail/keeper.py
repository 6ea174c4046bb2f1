"""The messages of a switch, for its event loop: what waits for the disk is done elsewhere, one
thing after the other, and its outcome comes back by a callback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Final, Protocol, TypeAlias, TypeVar

from softswitch.config import Extension, SmtpModel, VoicemailModel
from softswitch.voicemail.store import Message, Store

log = logging.getLogger(__name__)

T = TypeVar("T")

_FULL: Final = "full"


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
        self._missing = False  # the store could not be opened
        self._boxes: frozenset[str] = frozenset()
        self._greetings: dict[str, str] = {}
        self._sends = False
        self._later = False  # mails are tried again
        self._failed: set[int] = set()  # messages that are, not before
        self._unmarked: set[int] = set()  # messages that were sent, which is not on disk yet

    def has(self, extension: str) -> bool:
        """Whether it has a mailbox."""
        known = self._extensions.get(extension)
        return known is not None and known.mailbox is not None

    def pin(self, extension: str) -> str:
        """What who listens has to dial; empty: nothing."""
        known = self._extensions.get(extension)
        return known.mailbox.pin if known is not None and known.mailbox is not None else ""

    def _mail_to(self, extension: str) -> str:
        """Who gets its messages by mail; empty: nobody."""
        known = self._extensions.get(extension)
        if self.settings.smtp is None or known is None or known.mailbox is None:
            return ""
        return known.mailbox.mail

    def _tell(self, extension: str, new: int, old: int) -> None:
        if extension in self._extensions:
            self._counted(extension, new, old)

    def open(self) -> None:
        """Take up what is there."""
        self._boxes = boxes = frozenset(name for name in self._extensions if self.has(name))
        mailed = frozenset(name for name in boxes if self._mail_to(name))
        self._elsewhere(partial(self._opened, boxes, mailed), self._recovered)

    def _opened(self, boxes: frozenset[str], mailed: frozenset[str]) -> _Found:
        store = self._store
        if store is None:
            store = Store(self.settings.folder)
            try:
                store.recover(self.settings.least, mailed)
            except BaseException:
                store.close()
                raise
            self._store = store
        return _look(boxes, store)

    def _recovered(self, found: _Found | None) -> None:
        self._missing = found is None
        if found is not None:
            self._looked(found)
            self._mail()

    def _looked(self, found: _Found | None) -> None:
        for name, (new, old, greeting) in (found or {}).items():
            self._greetings[name] = greeting
            if self.has(name):
                self._tell(name, new, old)

    def take_up(self, settings: VoicemailModel) -> None:
        """The configuration is another one. Of who has no mailbox any more the messages stay on
        disk, and there again when there is one."""
        self.settings = settings
        before, self._boxes = self._boxes, frozenset(n for n in self._extensions if self.has(n))
        for name in before - self._boxes:
            self._tell(name, 0, 0)
        self._do(partial(_look, self._boxes), self._looked)
        self._mail()

    def close(self) -> None:
        """The switch stops."""
        self._elsewhere(self._closed, _nothing)

    def _closed(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _do(self, what: Callable[[Store], T], then: Callable[[T | None], None]) -> None:
        if self._missing:
            # Perhaps there is room by now, or somebody has mounted it.
            self._missing = False
            self.open()
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
        full: Callable[[], None],
    ) -> None:
        """A message is about to be recorded; None: the disk does not do. `full` is told, and not
        `then`, if there is no room for it."""
        most = self.settings.messages

        def begin(store: Store) -> Message | str:
            if store.held(mailbox) >= most:
                log.warning("mailbox %s is full: %d messages", mailbox, most)
                return _FULL
            return store.begin(mailbox, caller, name, call_id, at)

        self._do(begin, partial(_begun, then, full))

    def keep(
        self, message: Message, then: Callable[[bool | None], None], most: float = inf
    ) -> None:
        """It was recorded, and is worth `most` seconds; `then` it is on disk (True), or was none
        (False), or the disk does not do (None)."""
        mail = self._mail_to(message.mailbox) != ""
        least = self.settings.least

        def keep(store: Store) -> tuple[bool, tuple[int, int]]:
            there = store.keep(message.id, least, mail, most)
            return there, store.counts(message.mailbox)

        self._do(keep, partial(self._kept, message.mailbox, then))

    def _kept(
        self,
        mailbox: str,
        then: Callable[[bool | None], None],
        found: tuple[bool, tuple[int, int]] | None,
    ) -> None:
        there = None
        if found is not None:
            there, (new, old) = found
            if self.has(mailbox):
                self._tell(mailbox, new, old)
        then(there)
        self._mail()

    def rescue(self, message: Message) -> None:
        """Its recorder was killed: what there is of it is kept."""
        self.keep(message, _nothing)

    def discard(self, message: Message) -> None:
        """It is none."""
        self._change(message.mailbox, lambda store: store.discard(message.id))

    def heard(self, message: Message) -> None:
        """Somebody has heard it."""
        self._change(message.mailbox, lambda store: store.heard(message.id))

    def _change(self, mailbox: str, what: Callable[[Store], None]) -> None:
        def change(store: Store) -> tuple[bool, tuple[int, int]]:
            what(store)
            return True, store.counts(mailbox)

        self._do(change, partial(self._kept, mailbox, _nothing))

    def listing(self, mailbox: str, then: Callable[[list[Message] | None], None]) -> None:
        """Its messages."""
        self._do(lambda store: store.listing(mailbox), then)

    # --- greetings

    def greeting(self, mailbox: str) -> str:
        """The file of what its owner has recorded; empty if nothing."""
        return self._greetings.get(mailbox, "")

    def begin_greeting(self, mailbox: str, then: Callable[[Message | None], None]) -> None:
        """A greeting is about to be recorded; None: the disk does not do."""
        self._do(lambda store: store.begin_greeting(mailbox), then)

    def set_greeting(
        self,
        mailbox: str,
        recorded: Message | None,
        then: Callable[[bool], None],
        most: float = inf,
    ) -> None:
        """What was recorded, and is worth `most` seconds, is its greeting from now on; None: there
        is none. `then` whether that is so."""
        number = recorded.id if recorded is not None else 0

        def change(store: Store) -> tuple[bool, str]:
            done = store.set_greeting(mailbox, number, most)
            return done, store.greeting(mailbox)

        self._do(change, partial(self._greets, mailbox, then))

    def _greets(
        self, mailbox: str, then: Callable[[bool], None], found: tuple[bool, str] | None
    ) -> None:
        done = False
        if found is not None:
            done, self._greetings[mailbox] = found
        then(done)

    # --- mails

    def _mail(self) -> None:
        """Send what is to be sent, one after the other."""
        if self.settings.smtp is None or self._sends:
            return
        self._sends = True
        self._do(lambda store: store.to_mail(), self._send_next)

    def _send_next(self, due: list[Message] | None) -> None:
        self._sends = False
        smtp = self.settings.smtp
        if smtp is None:
            return
        for message in due or ():
            to = self._mail_to(message.mailbox)
            if message.id in self._unmarked:
                self._mark(message.id)
            elif to and message.id not in self._failed:
                self._sends = True
                self._mailing(partial(_send, message, to, smtp), partial(self._sent, message))
                return

    def _sent(self, message: Message, done: bool | None) -> None:
        self._sends = False
        if done:
            self._unmarked.add(message.id)
            self._mark(message.id)
        else:
            log.warning("message %d for %s could not be mailed", message.id, message.mailbox)
            # The others are not held up by it.
            self._failed.add(message.id)
            self._try_later()
        self._mail()

    def _mark(self, number: int) -> None:
        def mark(store: Store) -> bool:
            store.mailed(number)
            return True

        self._do(mark, partial(self._marked, number))

    def _marked(self, number: int, done: bool | None) -> None:
        if done:
            self._unmarked.discard(number)
        else:
            self._try_later()

    def _try_later(self) -> None:
        smtp = self.settings.smtp
        if smtp is not None and not self._later:
            self._later = True
            self._after(smtp.retry, self._again)

    def _again(self) -> None:
        self._later = False
        self._failed.clear()
        self._mail()


_Found: TypeAlias = dict[str, tuple[int, int, str]]
"""Of mailboxes: new messages, others, and the file of the greeting."""


def _look(boxes: frozenset[str], store: Store) -> _Found:
    return {name: (*store.counts(name), store.greeting(name)) for name in boxes}


def _begun(
    then: Callable[[Message | None], None],
    full: Callable[[], None],
    found: Message | str | None,
) -> None:
    if isinstance(found, str):
        full()
    else:
        then(found)


def _send(message: Message, to: str, settings: SmtpModel) -> bool:
    # Loaded with the first mail: what it needs is more than all else of this room.
    from softswitch.voicemail.mail import mail_of, send

    send(mail_of(message, to, settings), settings)
    return True


def _nothing(_: object) -> None:
    """Nobody waits for it."""
