"""Listening to messages: keys, the PIN, greetings, calling back; and who may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from applications.speaking_world import Heard, SpeakingWorld, leave
from calls.transfers import refer, talk

from softswitch.config import Mailbox


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path)


def number(text: str) -> list[str]:
    return [f"digit-{one}" for one in text]


def listens(world: SpeakingWorld) -> Heard:
    return Heard(world, world.alice, "*97")


def test_no_messages(world: SpeakingWorld) -> None:
    one = listens(world)
    assert one.hears == ["you-have", "no", "new-messages", "mailbox-keys"]
    one.press("1")
    assert one.hears == ["no-more-messages", "mailbox-keys"]
    one.press("#")
    assert one.hears == ["goodbye"]
    one.heard()
    assert one.over
    assert world.facts == {"mailbox": "1001", "new": "0", "old": "0"}


def test_listening_keeping_deleting(world: SpeakingWorld) -> None:
    first = leave(world, world.carol)
    second = leave(world, world.bob)
    assert world.counts() == (2, 0)
    one = listens(world)
    assert one.hears == ["you-have", "number-2", "new-messages", "mailbox-keys"]
    one.press("1")
    path = world.folder_of(f"{first}.wav")
    assert str(path) in one.files
    assert one.hears[:2] == ["message", "number-1"]
    assert one.hears[-7:] == ["from", *number("1003"), str(first), "message-keys"]
    assert world.counts() == (1, 1)
    one.press("1")
    assert str(path) in one.files, "again"
    one.press("2")
    assert str(world.folder_of(f"{second}.wav")) in one.files
    one.press("3")
    assert world.counts() == (0, 1)
    assert not world.folder_of(f"{second}.wav").exists()
    assert one.hears == ["no-more-messages", "mailbox-keys"]
    one.press("1#")
    assert one.hears == ["you-have", "no", "new-messages", "and", "number-1", "old-message",
                         "mailbox-keys"]  # fmt: skip
    facts = world.facts
    assert (facts["heard"], facts["deleted"]) == (str(first), str(second))
    one.press("13")
    assert world.counts() == (0, 0)
    one.left()
    one.gone()


def test_the_menu_says_what_is_new_by_now(world: SpeakingWorld) -> None:
    """Also to who comes back from its greeting."""
    leave(world, world.carol)
    one = listens(world)
    one.press("12")  # heard, and the end
    one.press("0#")
    assert one.hears[:3] == ["you-have", "no", "new-messages"]


def test_two_phones_listen_and_one_deletes(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    leave(world, world.carol)
    one, two = listens(world), Heard(world, world.alice, "*97")
    one.press("1")
    two.press("1")
    one.press("3")
    assert world.counts() == (0, 1), "one is gone, the other is played"
    two.press("1")
    two.heard("no such file")
    two.press("2")
    assert world.counts() == (0, 1)
    two.press("#1")
    assert str(world.folder_of("2.wav")) in two.files
    two.press("3")
    one.press("3")
    assert world.counts() == (0, 0)


def test_who_presses_nothing(world: SpeakingWorld) -> None:
    one = listens(world)
    for _ in range(2):
        one.heard()
        world.run(9.9)
        assert not one.over
        world.run(0.2)
        assert one.hears[0] == "you-have"
    one.heard()
    world.run(10.1)
    assert one.hears == ["goodbye"]
    one.heard()
    assert one.over


def test_a_wrong_key(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    one = listens(world)
    one.press("9")
    assert one.hears == ["invalid", "mailbox-keys"]
    one.press("19")
    assert one.hears == ["invalid", "message-keys"]
    one.press("#09")
    assert one.hears == ["invalid", "greeting-keys"]


# --- who may


def test_the_pin(world: SpeakingWorld) -> None:
    one = Heard(world, world.bob, "*97")
    assert one.hears == ["enter-pin"]
    one.press("1111#")
    assert one.hears == ["wrong-pin", "enter-pin"]
    one.press("2468#")
    assert one.hears[0] == "you-have"
    assert "digits" not in world.facts
    assert not [event for event in world.events if "2468" in repr(event)]
    assert "2468" not in repr(world.switch.extensions["1002"])


def test_a_pin_with_a_pause(world: SpeakingWorld) -> None:
    """What was begun is forgotten."""
    one = Heard(world, world.bob, "*97")
    one.press("99")
    world.run(10.1)
    assert one.hears == ["enter-pin"]
    one.press("2468#")
    assert one.hears[0] == "you-have"


@pytest.mark.parametrize("wrong", ["#", "246#", "12468#", "24682468#", "9" * 40 + "2468#"])
def test_wrong_pins(world: SpeakingWorld, wrong: str) -> None:
    """After three it goes on by `else`: not by `then`, which is for who has listened."""
    one = Heard(world, world.carrier, "*98")
    one.press(wrong)
    one.press(wrong)
    assert one.hears == ["wrong-pin", "enter-pin"]
    one.press(wrong)
    assert one.hears == ["wrong-pin", "goodbye"]
    assert world.facts == {"mailbox": "1002", "pin": "wrong"}
    one.press("2468#")
    assert one.hears == ["wrong-pin", "goodbye"], "too late"
    one.heard()
    assert world.carol.line.what[:1] == ["INVITE"]
    one.reject(world.carol, 486)
    assert one.over


def test_without_a_pin_only_its_own_phone(world: SpeakingWorld) -> None:
    """Nor by being sent on to somebody who does not take the call."""
    one = Heard(world, world.carrier, "*99")
    assert world.carol.line.what[:1] == ["INVITE"]
    one.reject(world.carol, 486)
    assert one.over
    assert "new" not in world.facts


def test_nobody_has_a_mailbox_there(world: SpeakingWorld) -> None:
    assert Heard(world, world.carol, "*97").over
    assert Heard(world, world.carrier, "*97").over


def test_whoever_is_transferred_there_is_not_who_has_called(world: SpeakingWorld) -> None:
    """Alice calls Carol, and sends her to *97: these are not Alice's messages."""
    a, c = talk(world.alice, world.carol)
    refer(a, "*97")
    one = Heard(world, world.carol, "*97", line=c)
    assert "new" not in world.facts_of_last("mailbox")
    del one


def test_a_pin_that_a_reload_takes_away(world: SpeakingWorld) -> None:
    """Then nobody comes in by pressing #."""
    one = Heard(world, world.carrier, "*98")
    world.switch.extensions["1002"] = replace(world.switch.extensions["1002"], mailbox=Mailbox())
    one.press("#")
    assert world.carol.line.what[:1] == ["INVITE"]
    assert "new" not in world.facts


def test_the_mailbox_that_a_reload_takes_away(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    one = listens(world)
    one.press("1")
    alice = world.switch.extensions["1001"]
    world.switch.extensions["1001"] = replace(alice, mailbox=None)
    world.kept.take_up(world.kept.settings)
    one.press("3")
    one.press("#")
    assert one.hears == ["goodbye"]
    assert world.counts() == (0, 0)


# --- the disk


def test_keys_wait_for_the_disk(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    world.disk.waits = True
    one = listens(world)
    one.press("0101")
    assert len(world.disk.queue) == 1, "no greeting is begun"
    world.disk.go()
    assert one.hears[0] == "you-have"


def test_a_disk_that_cannot_be_read(world: SpeakingWorld) -> None:
    """Nobody is told that there are no messages."""
    world.disk.broken = True
    one = listens(world)
    assert one.hears == ["error"]
    one.heard()
    assert one.over


def test_who_leaves_while_the_disk_is_waited_for(world: SpeakingWorld) -> None:
    world.disk.waits = True
    one = listens(world)
    one.left()
    one.gone()
    world.disk.go()


# --- calling back


def test_calling_back(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    one = listens(world)
    one.press("14")
    assert one.hears == ["beep"], "it rings"
    assert world.carol.line.what[:1] == ["INVITE"]
    assert world.facts["called_back"] == "1003"
    world.carol.line.reply(200, world.carol.line.find("INVITE").body)
    world.run(1)
    assert one.worker.count("BYE") >= 1


def test_whom_it_calls_back_does_not_answer(world: SpeakingWorld) -> None:
    leave(world, world.carol)
    one = listens(world)
    one.press("14")
    one.press("1#")  # not meant for anybody
    one.reject(world.carol, 486)
    assert one.hears == ["not-available", "mailbox-keys"]
    one.press("1")
    assert "message-keys" in one.hears


def test_nobody_to_be_called_back(world: SpeakingWorld) -> None:
    withheld = Heard(world, world.carol, "80", extra="Privacy: id\r\n")
    withheld.heard()
    withheld.heard()
    withheld.recorded(2)
    one = listens(world)
    one.press("1")
    assert "from" not in one.hears
    one.press("4")
    assert one.hears == ["invalid", "message-keys"]


# --- the greeting


def test_a_greeting(world: SpeakingWorld) -> None:
    one = listens(world)
    one.press("0")
    assert one.hears == ["greeting-keys"]
    one.press("2")
    assert one.hears == ["no-greeting"]
    one.press("1")
    assert one.hears == ["record-greeting"]
    one.press("#")
    assert one.recording is None, "the tone first"
    one.heard()
    assert one.hears == ["beep"]
    assert one.recording is not None
    one.press("#")
    assert one.stopped
    path = one.recording.path
    one.recorded(4)
    assert one.hears == ["greeting-kept", "greeting-keys"]
    assert world.kept.greeting("1001") == path
    assert world.counts() == (0, 0)
    one.press("2")
    assert one.files == [path]
    caller = Heard(world, world.carol, "80")
    assert caller.files == [path]
    one.press("3")
    assert one.hears == ["greeting-removed", "greeting-keys"]
    assert not Path(path).exists()
    assert world.kept.greeting("1001") == ""


def test_another_greeting_takes_the_place_of_the_first(world: SpeakingWorld) -> None:
    one = listens(world)
    paths = []
    for _ in range(2):
        one.press("01#" if not paths else "1")
        if not paths:
            one.heard()
        else:
            one.heard()
        assert one.recording is not None
        paths.append(one.recording.path)
        one.recorded(3)
    assert world.kept.greeting("1001") == paths[1]
    assert [Path(path).exists() for path in paths] == [False, True]


def test_a_greeting_that_is_too_short(world: SpeakingWorld) -> None:
    one = listens(world)
    one.press("01")
    one.heard()
    one.recorded(0.5)
    assert one.hears == ["try-again", "greeting-keys"]
    one.press("1")
    one.heard()
    one.recorded(9.0, "silence", 8.5)
    assert one.hears == ["try-again", "greeting-keys"]
    assert list((world.folder / "voicemail").glob("*.wav")) == []


def test_a_greeting_without_a_disk(world: SpeakingWorld) -> None:
    """Nobody waits for ever."""
    one = listens(world)
    one.press("0")
    world.disk.broken = True
    one.press("1")
    assert one.hears == ["error", "greeting-keys"]
    world.disk.broken = False
    one.press("1")
    one.heard()
    world.disk.broken = True
    one.recorded(3)
    assert one.hears == ["error", "greeting-keys"]
    assert world.kept.greeting("1001") == ""


def test_a_greeting_of_a_worker_that_dies(world: SpeakingWorld) -> None:
    one = listens(world)
    one.press("01")
    one.heard()
    assert world.worker_line is not None
    world.worker_line.worker.lost()
    world.settle()
    assert world.kept.greeting("1001") == ""
    assert world.counts() == (0, 0)


def test_who_hangs_up_has_recorded_it(world: SpeakingWorld) -> None:
    one = listens(world)
    one.press("01")
    one.heard()
    one.left()
    one.recorded(3, "gone")
    one.gone()
    assert world.kept.greeting("1001") != ""
