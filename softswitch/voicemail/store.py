"""Messages on disk: a row of an SQLite database each, and a WAV file beside it.

Names of files are numbers of rows: nothing that comes from outside is ever part of a path. Not for
the event loop: every call may wait for the disk (`softswitch.voicemail.keeper`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from softswitch.voicemail.wav import repaired

log = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox TEXT NOT NULL,
    state TEXT NOT NULL,
    caller TEXT NOT NULL,
    caller_name TEXT NOT NULL,
    call_id TEXT NOT NULL,
    at REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    mail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS messages_of ON messages (mailbox, state);
CREATE INDEX IF NOT EXISTS messages_to_mail ON messages (mail) WHERE mail != '';
CREATE TABLE IF NOT EXISTS greetings (
    mailbox TEXT PRIMARY KEY,
    id INTEGER NOT NULL
);
"""
_RECORDING: Final = "recording"
_GREETING: Final = "greeting"  # likewise, to be one
_NEW: Final = "new"
_OLD: Final = "old"


class Message(msgspec.Struct, frozen=True):
    """One message. ``at``: when it began (seconds, UTC); ``path`` is its file."""

    id: int
    mailbox: str
    new: bool
    caller: str
    caller_name: str
    call_id: str
    at: float
    seconds: float
    path: str


class Store:
    """Of one switch, in `folder`. Raises sqlite3.Error and OSError where the disk does not do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._db = sqlite3.connect(
            folder / "voicemail.db", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Nothing comes any more."""
        self._db.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.wav"

    def recover(self, least: float, mailed: Collection[str] = ()) -> dict[str, tuple[int, int]]:
        """What a process that was killed was recording is kept as far as it had come, if it has
        `least` seconds; that of the mailboxes `mailed` is to be sent. How many messages there are
        by mailbox: new, and others."""
        for number, mailbox, state in self._db.execute(
            "SELECT id, mailbox, state FROM messages WHERE state IN (?, ?)", (_RECORDING, _GREETING)
        ).fetchall():
            try:
                if state == _GREETING:
                    self.discard(number)
                else:
                    self.keep(number, least, mailbox in mailed)
            except OSError as error:
                log.error("message %d for %s: %s", number, mailbox, error)
        self._tidy()
        found = self._db.execute(
            "SELECT mailbox, sum(state = 'new'), sum(state = 'old') FROM messages GROUP BY mailbox"
        )
        return {mailbox: (new, old) for mailbox, new, old in found}

    def _tidy(self) -> None:
        """No files are left but those that there are rows of. Files with higher numbers than this
        database has ever given are of another one: they stay, and their numbers are not given."""
        known = {number for (number,) in self._db.execute("SELECT id FROM messages")}
        known |= {number for (number,) in self._db.execute("SELECT id FROM greetings")}
        given = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")
        highest = (given.fetchone() or (0,))[0]
        beyond = highest
        for path in self._folder.glob("*.wav"):
            number = int(path.stem) if path.stem.isascii() and path.stem.isdecimal() else 0
            if 0 < number <= highest and number not in known:
                path.unlink(missing_ok=True)
            elif number < 2**53:
                beyond = max(beyond, number)
        if beyond > highest:
            log.warning("files up to %d.wav are of another database", beyond)
            self._db.execute(
                "INSERT INTO messages (id, mailbox, state, caller, caller_name, call_id, at)"
                " VALUES (?, '', '', '', '', '', 0)",
                (beyond,),
            )
            self._db.execute("DELETE FROM messages WHERE id = ?", (beyond,))

    def counts(self, mailbox: str) -> tuple[int, int]:
        """How many messages nobody has heard, and how many others there are."""
        new, old = self._db.execute(
            "SELECT sum(state = 'new'), sum(state = 'old') FROM messages WHERE mailbox = ?",
            (mailbox,),
        ).fetchone()
        return new or 0, old or 0

    def held(self, mailbox: str) -> int:
        """Messages that there are, and those that are being recorded."""
        (found,) = self._db.execute(
            "SELECT count(*) FROM messages WHERE mailbox = ? AND state != ?", (mailbox, _GREETING)
        ).fetchone()
        return int(found)

    def begin(self, mailbox: str, caller: str, name: str, call_id: str, at: float) -> Message:
        """A message is about to be recorded into its file, which is not there yet."""
        return self._begin(_RECORDING, mailbox, caller, name, call_id, at)

    def begin_greeting(self, mailbox: str) -> Message:
        """The same of a greeting."""
        return self._begin(_GREETING, mailbox, "", "", "", 0.0)

    def _begin(
        self, state: str, mailbox: str, caller: str, name: str, call_id: str, at: float
    ) -> Message:
        made = self._db.execute(
            "INSERT INTO messages (mailbox, state, caller, caller_name, call_id, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (mailbox, state, caller, name, call_id, at),
        )
        number = made.lastrowid
        assert number is not None
        path = self._path(number)
        path.unlink(missing_ok=True)
        return Message(number, mailbox, True, caller, name, call_id, at, 0.0, str(path))

    def keep(self, number: int, least: float, mail: bool, most: float = inf) -> bool:
        """It was recorded, or its recorder was killed: what there is of it is kept, but for what is
        beyond `most` seconds. False: that is less than `least` seconds, and there is no message.
        `mail`: it is to be sent."""
        seconds = repaired(self._path(number), most)
        if not seconds or seconds < least:
            self.discard(number)
            return False
        self._db.execute(
            "UPDATE messages SET state = ?, seconds = ?, mail = ? WHERE id = ?",
            (_NEW, seconds, "due" if mail else "", number),
        )
        return True

    def discard(self, number: int) -> None:
        """There is no message, or it is not wanted any more."""
        self._db.execute("DELETE FROM messages WHERE id = ?", (number,))
        self._path(number).unlink(missing_ok=True)

    def heard(self, number: int) -> None:
        """Somebody has heard it."""
        self._db.execute(
            "UPDATE messages SET state = ? WHERE id = ? AND state = ?", (_OLD, number, _NEW)
        )

    def listing(self, mailbox: str) -> list[Message]:
        """New ones first, and of each kind the oldest."""
        rows = self._db.execute(
            "SELECT id, mailbox, state = 'new', caller, caller_name, call_id, at, seconds"
            " FROM messages WHERE mailbox = ? AND state IN ('new', 'old')"
            " ORDER BY state = 'old', id",
            (mailbox,),
        )
        return [
            Message(number, box, bool(new), caller, name, call_id, at, seconds, self._file(number))
            for number, box, new, caller, name, call_id, at, seconds in rows
        ]

    def _file(self, number: int) -> str:
        return str(self._path(number))

    def to_mail(self) -> list[Message]:
        """Messages that are to be sent."""
        rows = self._db.execute("SELECT DISTINCT mailbox FROM messages WHERE mail = 'due'")
        due = {
            number for (number,) in self._db.execute("SELECT id FROM messages WHERE mail = 'due'")
        }
        boxes = [mailbox for (mailbox,) in rows]
        return [one for box in boxes for one in self.listing(box) if one.id in due]

    def mailed(self, number: int) -> None:
        """It was sent."""
        self._db.execute("UPDATE messages SET mail = 'sent' WHERE id = ?", (number,))

    # --- greetings

    def greeting(self, mailbox: str) -> str:
        """The file of what its owner has recorded; empty if nothing."""
        found = self._db.execute(
            "SELECT id FROM greetings WHERE mailbox = ?", (mailbox,)
        ).fetchone()
        path = self._path(found[0]) if found is not None else None
        return str(path) if path is not None and path.is_file() else ""

    def set_greeting(self, mailbox: str, number: int, most: float = inf) -> bool:
        """The recording of that number (`begin_greeting`) is its greeting from now on, but for what
        is beyond `most` seconds; 0: none is. False: there is nothing in it, and all stays."""
        if number and not repaired(self._path(number), most):
            self.discard(number)
            return False
        before = self._db.execute(
            "SELECT id FROM greetings WHERE mailbox = ?", (mailbox,)
        ).fetchone()
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if number:
                self._db.execute(
                    "INSERT OR REPLACE INTO greetings VALUES (?, ?)", (mailbox, number)
                )
                self._db.execute("DELETE FROM messages WHERE id = ?", (number,))
            else:
                self._db.execute("DELETE FROM greetings WHERE mailbox = ?", (mailbox,))
        if before is not None and before[0] != number:
            self._path(before[0]).unlink(missing_ok=True)
        return True
