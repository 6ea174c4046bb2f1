"""How many messages wait for each extension: as whoever keeps them says (RFC 3842), in a row of the
journal each, to outlive the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from softswitch.calls import Journal
from softswitch.config import Extension
from softswitch.features.mailbox_rows import MAILBOX, MailboxRow

_MOST: Final = 1_000_000


class Mailbox:
    """Of one extension (`softswitch.calls.journal.Kept`): messages that nobody has heard, and
    others."""

    __slots__ = ("extension", "new", "old", "row")

    def __init__(self, extension: str, new: int, old: int) -> None:
        self.extension = extension
        self.new = new
        self.old = old
        self.row = 0

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        return MAILBOX.encode(MailboxRow(self.extension, self.new, self.old))


class Mailboxes:
    """Those of the extensions of a switch. `changed` is told whose is another one."""

    def __init__(
        self, extensions: Mapping[str, Extension], journal: Callable[[], Journal | None]
    ) -> None:
        self._extensions = extensions
        self._journal = journal
        self._all: dict[str, Mailbox] = {}
        self.changed: Callable[[str], None] | None = None

    def __len__(self) -> int:
        """Mailboxes with messages."""
        return len(self._all)

    def of(self, extension: str) -> tuple[int, int]:
        """How many messages nobody has heard, and how many others there are."""
        mailbox = self._all.get(extension)
        return (mailbox.new, mailbox.old) if mailbox is not None else (0, 0)

    def set(self, extension: str, new: int, old: int) -> None:
        """So many are there. Raises LookupError if there is no such extension, ValueError for what
        is no number of messages."""
        if extension not in self._extensions:
            raise LookupError(f"there is no extension `{extension}`")
        if not (0 <= new <= _MOST and 0 <= old <= _MOST):
            raise ValueError("Not A Number Of Messages")
        journal = self._journal()
        mailbox = self._all.get(extension)
        if not new and not old:
            if mailbox is not None:
                del self._all[extension]
                if journal is not None:
                    journal.over(mailbox)
        else:
            if mailbox is None:
                mailbox = self._all[extension] = Mailbox(extension, new, old)
            mailbox.new, mailbox.old = new, old
            if journal is not None:
                journal.changed(mailbox)
        if self.changed is not None:
            self.changed(extension)

    def take_up(self) -> None:
        """The configuration has changed: of extensions that are gone nothing is kept."""
        journal = self._journal()
        for name in [name for name in self._all if name not in self._extensions]:
            gone = self._all.pop(name)
            if journal is not None:
                journal.over(gone)

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        read = MAILBOX.decode(data)
        journal = self._journal()
        if read.extension not in self._extensions or read.extension in self._all:
            if journal is not None:
                journal.drop(row)
            return
        mailbox = self._all[read.extension] = Mailbox(read.extension, read.new, read.old)
        if journal is not None:
            journal.restored(mailbox, row)
