"""Leaving a message: what callers hear, and what is kept, whatever happens in between."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import pytest
from applications.speaking_world import Heard, SpeakingWorld, leave, tone_file
from calls.transfers import refer, talk

from softswitch.media.orders import Recorded


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path)


def test_a_message(world: SpeakingWorld) -> None:
    one = Heard(world, world.carol, "80")
    assert one.hears == ["mailbox-of", *(f"digit-{d}" for d in "1001"), "not-here", "leave-message"]
    one.heard()
    assert one.hears == ["beep"]
    assert one.recording is None
    one.heard()
    assert one.recording is not None
    assert (one.recording.seconds, one.recording.silence) == (180, 8)
    assert Path(one.recording.path).parent == world.folder / "voicemail"
    assert world.counts() == (0, 0)
    one.press("5#")
    assert one.stopped
    one.recorded(4.25)
    assert world.counts() == (1, 0)
    assert one.hears == ["message-kept", "goodbye"]
    one.heard()
    assert one.over
    facts = world.facts
    assert (facts["mailbox"], facts["message"], facts["seconds"]) == ("1001", "1", "4.2")
    assert facts["recorded_from"].startswith("20")
    found: list = []
    world.kept.listing("1001", found.append)
    ((message,),) = found
    assert (message.caller, message.caller_name, message.seconds) == ("1003", "Carol", 4.25)


def test_an_unanswered_call_is_for_the_mailbox_of_who_was_called(world: SpeakingWorld) -> None:
    one = Heard(world, world.carol, "1001", wait=6)
    assert world.facts["mailbox"] == "1001"
    one.heard()
    one.heard()
    one.recorded(2, "gone")
    one.gone()
    assert world.counts() == (1, 0)


def test_who_has_no_mailbox(world: SpeakingWorld) -> None:
    """Nothing is answered: the caller is told why nobody came."""
    line = world.alice.call("1003")
    world.carol.line.reply(486)
    assert line.last.status == 486
    line.ack()
    assert world.worker.lines == []


@pytest.mark.parametrize("moment", ["greeting", "beep", "waits for the disk"])
def test_who_hangs_up_before_it_records_leaves_nothing(world: SpeakingWorld, moment: str) -> None:
    world.disk.waits = moment == "waits for the disk"
    one = Heard(world, world.carol, "80")
    if moment != "greeting":
        one.heard()
    if moment == "waits for the disk":
        one.heard()
        assert one.recording is None
    one.left()
    one.gone()
    world.disk.go()
    world.disk.waits = False
    assert world.counts() == (0, 0)
    assert list((world.folder / "voicemail").glob("*.wav")) == []
    found: list = []
    world.kept._do(lambda store: store.held("1001"), found.append)
    assert found == [0]


def test_the_tone_waits_for_the_place(world: SpeakingWorld) -> None:
    """The disk is slower than the caller."""
    world.disk.waits = True
    one = Heard(world, world.carol, "80")
    one.press("#")
    assert one.hears == ["beep"]
    one.heard()
    assert one.recording is None
    world.disk.go()
    assert one.recording is not None
    one.recorded(2)
    assert one.hears == ["beep"], "said only when it is on disk"
    world.disk.go()
    assert one.hears == ["message-kept", "goodbye"]


def test_who_hangs_up_while_it_records_has_left_it(world: SpeakingWorld) -> None:
    one = Heard(world, world.carol, "80")
    one.heard()
    one.heard()
    one.left()
    one.recorded(2.5, "gone")
    one.gone()
    assert world.counts() == (1, 0)


@pytest.mark.parametrize(
    ("seconds", "why", "silent", "kept"),
    [
        (0.9, "stopped", 0.0, 0.0),
        (0.9, "gone", 0.0, 0.0),
        (8.5, "silence", 8.0, 0.0),
        (11.0, "silence", 8.0, 3.0),
        (5.0, "full", 2.0, 5.0),
    ],
)
def test_what_is_kept_of_it(
    world: SpeakingWorld, seconds: float, why: str, silent: float, kept: float
) -> None:
    """The silence that has ended it is not."""
    one = Heard(world, world.carol, "80")
    one.heard()
    one.heard()
    one.recorded(seconds, why, silent)
    assert world.counts() == (1 if kept else 0, 0)
    if kept:
        with wave.open(str(world.folder_of("1.wav"))) as file:
            assert file.getnframes() / 8000 == kept
        assert one.hears == ["message-kept", "goodbye"]
    else:
        assert not world.folder_of("1.wav").exists()
        assert one.hears == ["goodbye"]
        assert world.facts["message"] == "none"


def test_a_worker_that_dies(world: SpeakingWorld) -> None:
    """What there is of the message is kept; the caller goes on by `else`."""
    one = Heard(world, world.alice, "80")
    one.heard()
    one.heard()
    assert one.recording is not None
    assert world.worker_line is not None
    path = Path(one.recording.path)
    tone_file(path, 5)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 8000 * 3])
    world.worker_line.worker.lost()
    world.settle()
    assert world.counts() == (1, 0)
    with wave.open(str(path)) as file:
        assert file.getnframes() == 3 * 8000
    assert world.carol.line.what[:1] == ["INVITE"]


def test_a_full_mailbox(world: SpeakingWorld) -> None:
    """Messages that are being recorded count."""
    leave(world, world.carol)
    leave(world, world.carol)
    last = Heard(world, world.carol, "80")
    one = Heard(world, world.bob, "80")
    assert one.hears == ["mailbox-full"]
    assert world.facts == {"mailbox": "1001", "message": "full"}
    one.heard()
    assert world.carol.line.what[:1] == ["INVITE"], "else"
    last.left()
    last.gone()


def test_a_disk_that_is_full(world: SpeakingWorld) -> None:
    world.disk.broken = True
    one = Heard(world, world.bob, "80")
    assert one.hears == ["error"]
    assert world.facts["message"] == "disk"
    one.heard()
    assert world.carol.line.what[:1] == ["INVITE"]


def test_a_disk_that_is_full_by_now(world: SpeakingWorld) -> None:
    """That the message is there is said only when it is; it is taken up at the next start."""
    one = Heard(world, world.bob, "80")
    one.heard()
    one.heard()
    world.disk.broken = True
    one.recorded(3)
    assert one.hears == ["error"]
    assert world.counts() == (0, 0)
    world.disk.broken = False
    assert world.folder_of("1.wav").exists()


def test_a_worker_that_cannot_write(world: SpeakingWorld) -> None:
    one = Heard(world, world.bob, "80")
    one.heard()
    one.heard()
    one.recorded(0, error="Permission denied")
    assert one.hears == ["error"]
    assert world.counts() == (0, 0)
    one.heard()
    assert world.carol.line.what[:1] == ["INVITE"]


def test_a_file_that_has_less_than_was_heard(world: SpeakingWorld) -> None:
    """The disk was full while the worker wrote."""
    one = Heard(world, world.bob, "80")
    one.heard()
    one.heard()
    assert one.recording is not None
    Path(one.recording.path).write_bytes(b"")
    one.say(Recorded(one.number, one.recording.job, 9.0, 0.0, "stopped"))
    assert one.hears == ["goodbye"]
    assert world.facts["message"] == "none"
    assert world.counts() == (0, 0)


def test_two_at_once(world: SpeakingWorld) -> None:
    one, two = Heard(world, world.carol, "80"), Heard(world, world.bob, "80")
    for each in (one, two):
        each.heard()
        each.heard()
    assert one.recording is not None
    assert two.recording is not None
    assert one.recording.path != two.recording.path
    two.recorded(2)
    one.recorded(3)
    assert world.counts() == (2, 0)


def test_an_extension_that_a_reload_takes_away(world: SpeakingWorld) -> None:
    """While a message is recorded for it: the caller is told goodbye, the switch goes on."""
    one = Heard(world, world.bob, "80")
    one.heard()
    one.heard()
    alice = world.switch.extensions.pop("1001")
    world.kept.take_up(world.kept.settings)
    one.recorded(3)
    assert one.hears == ["message-kept", "goodbye"]
    assert world.counts() == (0, 0)
    world.switch.extensions["1001"] = alice
    world.kept.take_up(world.kept.settings)
    assert world.counts() == (1, 0), "it is back, and so are its messages"


def test_a_mailbox_that_a_reload_takes_away(world: SpeakingWorld) -> None:
    """Its lamp goes off."""
    leave(world, world.carol)
    alice = world.switch.extensions["1001"]
    world.switch.extensions["1001"] = replace(alice, mailbox=None)
    world.kept.take_up(world.kept.settings)
    assert world.counts() == (0, 0)


def test_then(world: SpeakingWorld) -> None:
    one = Heard(world, world.bob, "81")
    one.heard()
    one.heard()
    one.recorded(3)
    one.heard()
    assert world.carol.line.what[:1] == ["INVITE"]


def test_its_own_greeting(world: SpeakingWorld) -> None:
    got: list = []
    world.kept.begin_greeting("1001", got.append)
    tone_file(Path(got[0].path), 2)
    world.kept.set_greeting("1001", got[0], got.append)
    assert got[1] is True
    one = Heard(world, world.carol, "80")
    assert one.files == [got[0].path]
    one.heard("no such file")
    assert one.hears == ["beep"], "also if it cannot be played"


def rows(world: SpeakingWorld, columns: str) -> list:
    found: list = []
    world.kept._do(
        lambda store: store._db.execute(f"SELECT {columns} FROM messages").fetchall(), found.append
    )
    return found[0]


def test_who_withholds_its_number(world: SpeakingWorld) -> None:
    Heard(world, world.carol, "80", extra="Privacy: id\r\n")
    assert rows(world, "caller, caller_name") == [("", "")]


def test_whoever_is_transferred_there_has_left_it(world: SpeakingWorld) -> None:
    """Not who has placed the call."""
    a, b = talk(world.bob, world.carol)
    refer(a, "80")
    Heard(world, world.carol, "80", line=b)
    assert rows(world, "caller") == [("1003",)]


def test_numbers_from_outside_are_no_paths(world: SpeakingWorld) -> None:
    name = "../../etc/x'; DROP TABLE messages; --"
    one = Heard(world, world.carrier, "80", from_=f'"{name}" <sip:..%2F..%2Fpasswd@10.0.9.1>')
    one.heard()
    one.heard()
    one.recorded(2)
    ((caller, kept),) = rows(world, "caller, caller_name")
    assert kept == name
    assert "passwd" in caller
    names = {path.name for path in (world.folder / "voicemail").iterdir()}
    assert names <= {"1.wav", "voicemail.db", "voicemail.db-wal", "voicemail.db-shm"}
