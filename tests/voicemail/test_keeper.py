"""The keeper: counts for lamps, what a reload changes, and mails that are tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from applications.speaking_world import Elsewhere, tone_file

from softswitch.config import Extension, Mailbox, SmtpModel, VoicemailModel
from softswitch.voicemail import Message, Voicemail, keeper

SMTP = SmtpModel.model_validate({"host": "127.0.0.1", "from": "pbx@example.com", "retry": 60.0})


class Office:
    """A keeper without a switch, and a mail server that may be down (`refuses`)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, mail: str = "") -> None:
        self.settings = VoicemailModel(folder=folder / "voicemail", least=1.0, smtp=SMTP)
        self.extensions = {
            "1001": Extension("1001", "1001", "secret", mailbox=Mailbox(mail=mail)),
            "1002": Extension("1002", "1002", "secret", mailbox=Mailbox(mail=mail)),
            "1003": Extension("1003", "1003", "secret"),
        }
        self.disk, self.mailing = Elsewhere(), Elsewhere()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.counts: dict[str, tuple[int, int]] = {}
        self.sent: list[int] = []
        self.refuses: set[int] | None = None
        monkeypatch.setattr(keeper, "_send", self.send)
        self.begin()

    def begin(self) -> None:
        """A switch starts."""
        self.timers.clear()
        self.disk.broken = False
        self.kept = Voicemail(
            self.settings,
            self.extensions,
            self.disk,
            self.mailing,
            lambda seconds, what: self.timers.append((seconds, what)),
            self.counted,
        )
        self.kept.open()

    def counted(self, extension: str, new: int, old: int) -> None:
        if extension not in self.extensions:
            raise LookupError(extension)
        self.counts[extension] = new, old

    def send(self, message: Message, to: str, settings: SmtpModel) -> bool:
        if self.refuses is None or message.id in self.refuses:
            raise OSError("connection refused")
        self.sent.append(message.id)
        return True

    def ring(self) -> None:
        """Time passes."""
        due, self.timers[:] = self.timers[:], []
        assert [seconds for seconds, _ in due] == [60.0] * len(due)
        for _, what in due:
            what()

    def begun(self, mailbox: str = "1001") -> Message:
        got: list[Message | None] = []
        self.kept.begin(mailbox, "1003", "Carol", "c", 5.0, got.append, lambda: None)
        assert got[0] is not None
        return got[0]

    def left(self, mailbox: str = "1001") -> Message:
        one = self.begun(mailbox)
        tone_file(Path(one.path), 2)
        self.kept.keep(one, lambda _: None)
        return one


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(tmp_path, monkeypatch, "someone@example.com")


def test_who_has_one(office: Office) -> None:
    assert [office.kept.has(name) for name in ("1001", "1003", "9")] == [True, False, False]
    assert office.kept.pin("1001") == office.kept.pin("1003") == ""


def test_counts(office: Office) -> None:
    one = office.left()
    assert office.counts["1001"] == (1, 0)
    office.kept.heard(one)
    assert office.counts["1001"] == (0, 1)
    office.kept.discard(one)
    assert office.counts == {"1001": (0, 0), "1002": (0, 0)}


def test_the_switch_was_killed(office: Office) -> None:
    """Counts are those of the disk, also where they are nothing: the journal may be behind it."""
    one = office.begun()
    tone_file(Path(one.path), 5)
    office.counts = {"1001": (0, 0), "1002": (7, 7)}
    office.begin()
    assert office.counts == {"1001": (1, 0), "1002": (0, 0)}


def test_greetings_are_there_after_a_restart(office: Office) -> None:
    got: list = []
    office.kept.begin_greeting("1001", got.append)
    tone_file(Path(got[0].path), 2)
    office.kept.set_greeting("1001", got[0], got.append)
    office.begin()
    assert office.kept.greeting("1001") == got[0].path


def test_a_mailbox_that_a_reload_adds(office: Office) -> None:
    """Its messages of before are counted, and its greeting is there."""
    office.left()
    got: list = []
    office.kept.begin_greeting("1001", got.append)
    tone_file(Path(got[0].path), 2)
    office.kept.set_greeting("1001", got[0], got.append)
    alice = office.extensions.pop("1001")
    office.begin()
    assert "1001" not in office.kept._greetings
    office.counts.clear()
    office.extensions["1001"] = alice
    office.kept.take_up(office.settings)
    assert office.counts["1001"] == (1, 0)
    assert office.kept.greeting("1001") == got[0].path


def test_a_mailbox_that_a_reload_removes(office: Office) -> None:
    one = office.left()
    office.extensions["1001"] = replace(office.extensions["1001"], mailbox=None)
    office.kept.take_up(office.settings)
    assert office.counts["1001"] == (0, 0)
    office.kept.heard(one)
    assert office.counts["1001"] == (0, 0)
    del office.extensions["1001"]
    office.kept.take_up(office.settings)
    done: list = []
    office.kept.keep(office.begun("1001"), done.append)
    assert done == [False]


def test_a_folder_that_is_there_later(office: Office) -> None:
    """No restart is needed for it."""
    office.left()
    folder = office.settings.folder
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("no folder")
    office.kept._store = None
    office.begin()
    got: list = []
    office.kept.begin("1001", "", "", "", 5.0, got.append, lambda: None)
    assert got == [None]
    folder.unlink()
    away.rename(folder)
    office.counts.clear()
    assert office.begun().id == 2
    assert office.counts["1001"] == (1, 0)


def test_a_disk_that_fails_for_a_while(office: Office) -> None:
    one = office.begun()
    tone_file(Path(one.path), 2)
    office.disk.broken = True
    got: list = []
    office.kept.keep(one, got.append)
    assert got == [None]
    office.begin()
    assert office.counts["1001"] == (1, 0), "it was not lost"


# --- mails


def test_a_mail(office: Office) -> None:
    office.refuses = set()
    one = office.left()
    assert office.sent == [one.id]
    office.begin()
    assert office.sent == [one.id], "once"


def test_the_server_is_down(office: Office) -> None:
    """It is tried again each minute, and after a restart."""
    one, two = office.left(), office.left()
    assert len(office.timers) == 1
    office.ring()
    office.ring()
    assert office.sent == []
    office.begin()
    assert office.sent == []
    office.refuses = set()
    office.ring()
    assert office.sent == [one.id, two.id]
    assert office.timers == []
    office.begin()
    assert office.sent == [one.id, two.id]


def test_one_that_is_refused_holds_up_no_other(office: Office) -> None:
    office.refuses = {1}
    office.left()
    two = office.left()
    assert office.sent == [two.id]
    three = office.left("1002")
    assert office.sent == [two.id, three.id]
    office.refuses = set()
    office.ring()
    assert office.sent == [two.id, three.id, 1]


def test_a_mail_whose_sending_cannot_be_written_down(office: Office) -> None:
    """It is not sent again and again meanwhile."""
    office.mailing.waits = True
    office.refuses = set()
    one = office.left()
    office.disk.broken = True
    office.mailing.go()
    assert office.sent == [one.id]
    office.ring()
    assert office.sent == [one.id]
    office.disk.broken = False
    office.left("1002")
    office.mailing.waits = False
    office.mailing.go()
    office.ring()
    office.begin()
    assert office.sent == [one.id, 2]


def test_a_message_that_was_rescued_is_mailed(office: Office) -> None:
    office.refuses = set()
    one, two = office.begun(), office.begun()
    for each in (one, two):
        tone_file(Path(each.path), 2)
    office.kept.rescue(one)
    assert office.sent == [one.id]
    office.begin()
    assert office.sent == [one.id, two.id]


def test_nobody_gets_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(tmp_path, monkeypatch)
    office.refuses = set()
    office.left()
    assert office.sent == []
    office.extensions["1001"] = replace(
        office.extensions["1001"], mailbox=Mailbox(mail="a@example.com")
    )
    office.kept.take_up(office.settings)
    one = office.left()
    assert office.sent == [one.id], "from now on"


def test_a_deleted_message_is_not_mailed(office: Office) -> None:
    one = office.left()
    office.kept.discard(one)
    office.refuses = set()
    office.ring()
    assert office.sent == []
