"""The store: rows and files, and what is left of both when a process was killed."""

from __future__ import annotations

import sqlite3
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from applications.speaking_world import tone_file

from softswitch.voicemail import Message, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "voicemail")
    yield one
    one.close()


def again(store: Store) -> Store:
    """The process is killed, and another one begins."""
    folder = store._folder
    store.close()
    return Store(folder)


def left(store: Store, mailbox: str = "1001", seconds: float = 2.0, mail: bool = False) -> Message:
    """A message."""
    one = store.begin(mailbox, "1003", "Carol", "call", 5.0)
    tone_file(Path(one.path), seconds)
    assert store.keep(one.id, 1, mail)
    return one


def test_new_and_old(store: Store) -> None:
    one, two = left(store), left(store)
    left(store, "1002")
    assert store.counts("1001") == (2, 0)
    store.heard(one.id)
    store.heard(one.id)
    assert store.counts("1001") == (1, 1)
    assert [(m.id, m.new) for m in store.listing("1001")] == [(two.id, True), (one.id, False)]
    assert store.listing("1001")[0] == Message(
        two.id, "1001", True, "1003", "Carol", "call", 5.0, 2.0, two.path
    )
    store.discard(two.id)
    store.discard(two.id)
    store.heard(two.id)
    assert store.counts("1001") == (0, 1)
    assert not Path(two.path).exists()
    assert store.counts("1002") == (1, 0)
    assert store.counts("1003") == (0, 0)


def test_what_is_being_recorded_is_none_yet(store: Store) -> None:
    one = store.begin("1001", "", "", "", 1.0)
    assert store.listing("1001") == []
    assert store.counts("1001") == (0, 0)
    assert store.held("1001") == 1
    assert not Path(one.path).exists()
    assert one.path == str(store._folder / "1.wav")


def test_texts_from_outside(store: Store) -> None:
    text = "'; DROP TABLE messages; -- ../../x\0\ud800".encode("utf-8", "replace").decode()
    one = store.begin(text, text, text, text, 1.0)
    tone_file(Path(one.path), 2)
    assert store.keep(one.id, 1, False)
    assert store.listing(text)[0].caller == text
    assert Path(one.path).parent == store._folder


@pytest.mark.parametrize("seconds", [0.0, 0.9])
def test_too_short(store: Store, seconds: float) -> None:
    one = store.begin("1001", "", "", "", 1.0)
    if seconds:
        tone_file(Path(one.path), seconds)
    assert not store.keep(one.id, 1, False)
    assert store.held("1001") == 0
    assert not Path(one.path).exists()


def test_killed_while_it_recorded(store: Store) -> None:
    """What is there is kept, and is to be mailed if its mailbox is; a greeting is not."""
    one, two, short = (store.begin(box, "", "", "", 9.0) for box in ("1001", "1002", "1001"))
    for message, seconds in ((one, 3.0), (two, 2.0), (short, 0.5)):
        tone_file(Path(message.path), seconds)
        data = Path(message.path).read_bytes()
        Path(message.path).write_bytes(data[:40] + b"\0\0\0\0" + data[44:])
    greeting = store.begin_greeting("1001")
    tone_file(Path(greeting.path), 3)
    store = again(store)
    assert store.recover(1, {"1001"}) == {"1001": (1, 0), "1002": (1, 0)}
    with wave.open(one.path) as file:
        assert file.getnframes() == 3 * 8000
    assert [m.id for m in store.to_mail()] == [one.id]
    assert sorted(path.name for path in store._folder.glob("*.wav")) == ["1.wav", "2.wav"]
    assert [m.at for m in store.listing("1001")] == [9.0]
    assert again(store).recover(1) == {"1001": (1, 0), "1002": (1, 0)}


def test_one_that_cannot_be_read_does_not_hold_up_others(store: Store) -> None:
    bad, good = store.begin("1001", "", "", "", 1.0), store.begin("1001", "", "", "", 1.0)
    Path(bad.path).mkdir()
    tone_file(Path(good.path), 2)
    assert store.recover(1)["1001"] == (1, 0)
    assert store.held("1001") == 2, "it may be there the next time"


def test_files_that_nothing_leads_to(store: Store) -> None:
    """Of messages that were deleted just then; what is of somebody else stays."""
    one = left(store)
    gone = left(store)
    store._db.execute("DELETE FROM messages WHERE id = ?", (gone.id,))
    other = store._folder / "welcome.wav"
    tone_file(other, 1)
    store.recover(1)
    assert {path.name for path in store._folder.glob("*.wav")} == {"1.wav", "welcome.wav"}
    assert Path(one.path).exists()


def test_another_database(store: Store) -> None:
    """Messages whose database was lost, or is an older copy, are not thrown away by the switch, nor
    written over."""
    paths = [Path(left(store).path) for _ in range(3)]
    folder = store._folder
    store.close()
    for path in folder.glob("voicemail.db*"):
        path.unlink()
    store = Store(folder)
    assert store.recover(1) == {}
    assert all(path.exists() for path in paths)
    assert store.begin("1001", "", "", "", 1.0).id == 4
    store = again(store)
    assert store.recover(1) == {}


def test_numbers_are_given_once(store: Store) -> None:
    first = left(store)
    store.discard(first.id)
    assert again(store).begin("1001", "", "", "", 1.0).id == first.id + 1


def test_mails(store: Store) -> None:
    left(store)
    one, two = left(store, mail=True), left(store, "1002", mail=True)
    store.heard(one.id)
    assert {m.id for m in store.to_mail()} == {one.id, two.id}
    store.mailed(one.id)
    store.discard(two.id)
    assert again(store).to_mail() == []


def test_greetings(store: Store) -> None:
    assert store.greeting("1001") == ""
    assert store.set_greeting("1001", 0)
    one, two = store.begin_greeting("1001"), store.begin_greeting("1001")
    tone_file(Path(one.path), 3)
    assert store.set_greeting("1001", one.id, 2.0)
    with wave.open(one.path) as file:
        assert file.getnframes() == 2 * 8000, "without the silence at its end"
    assert not store.set_greeting("1001", two.id), "there is nothing in it"
    assert store.greeting("1001") == one.path
    assert store.held("1001") == 0
    store = again(store)
    store.recover(1)
    assert store.greeting("1001") == one.path
    Path(one.path).unlink()
    assert store.greeting("1001") == "", "somebody has taken it away"


def test_a_greeting_that_cannot_be_written_leaves_nothing_open(store: Store) -> None:
    """What comes after it is on disk."""
    one = store.begin_greeting("1001")
    tone_file(Path(one.path), 3)
    store._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON greetings BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    with pytest.raises(sqlite3.Error, match="full"):
        store.set_greeting("1001", one.id)
    assert not store._db.in_transaction
    left(store)
    other = sqlite3.connect(store._folder / "voicemail.db")
    assert other.execute("SELECT count(*) FROM messages WHERE state = 'new'").fetchone() == (1,)
    other.close()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "voicemail").write_text("")
    with pytest.raises(OSError, match="exists"):
        Store(tmp_path / "voicemail")
