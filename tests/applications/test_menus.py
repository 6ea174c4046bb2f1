"""Menus: keys, tries, other menus, and on in the dialplan."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.speaking_world import CONFIG, Heard, SpeakingWorld
from calls.transfers import BOB, hangs_up

from softswitch import events
from softswitch.media.orders import Tone

PLAN = """
menus:
  main:
    say: welcome
    timeout: 4
    digit_timeout: 2
    extensions: true
    choices:
      "1": {dial: "1003"}
      "2": {play: {menu: second}}
      "3": {goto: "80"}
      "45": {dial: "1004"}
      "6": {play: {menu: nowhere}, else: {dial: "1004"}}
      "7": {status: 486}
      "*": again
    else: {dial: "1004"}
  second:
    say: sales
    tries: 2
    invalid: try-again
    choices: {"1": back, "2": {dial: "1003"}}
  nowhere:
    say: support
    tries: 1
  loop:
    say: sales
    choices: {"1": {goto: "70"}}
routes:
  - {match: "70", from: any, play: {menu: loop}}
  - {match: "71", from: any, goto: "72"}
  - {match: "72", from: any, goto: "71"}
  - {match: "500", from: any, play: {menu: main}}
  - {match: "501", from: any, play: {menu: second}, else: {dial: "1003"}}
  - {match: "80", from: any, play: {announcement: welcome}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5}
"""


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path, CONFIG, PLAN)


def enters(world: SpeakingWorld, number: str = "500") -> Heard:
    return Heard(world, world.alice, number)


def over(world: SpeakingWorld) -> None:
    """Nothing is left of any call; the pool goes on."""
    world.run(40)
    assert not world.switch.calls
    assert not world.switch.legs
    assert world.switch.spoken.workers is not None
    assert not world.switch.spoken.workers.busy
    assert len(world.of(events.CallEnded)) == len(world.of(events.CallStarted))


def rings(world: SpeakingWorld, one: Heard) -> bool:
    """Whether somebody is rung meanwhile, and who waits hears it."""
    play = one.hears
    return play == ["beep"] and any(message.what == "INVITE" for message in world.carol.inbox)


def test_a_key_leads_to_a_phone(world: SpeakingWorld) -> None:
    """It is rung while the menu is still there; then each is to send to the other."""
    one = enters(world)
    assert one.hears == ["welcome"]
    one.press("1")
    world.run(2.1)  # `1001` could have followed
    assert rings(world, one)
    assert one.line.last.what == "200 INVITE"
    carol = world.carol.line
    carol.reply(200, BOB)
    one.line.reply(200, BOB)
    assert one.worker.last.what == "BYE"
    one.worker.reply(200, to="BYE")
    began = world.of(events.TalkBegan)
    assert [(talk.how, talk.by) for talk in began] == [
        ("application", "extension:1001"),
        ("dialled", "extension:1001"),
    ]
    names = [type(event).__name__ for event in world.events if "Talk" in type(event).__name__]
    assert names == ["TalkBegan", "TalkEnded", "TalkBegan"]
    assert world.facts["choices"] == "main:1"
    hangs_up(one.line, carol)


@pytest.mark.parametrize("keys", ["1003", "1004"])
def test_an_extension_is_dialled(world: SpeakingWorld, keys: str) -> None:
    """By its number; `1` alone is a choice that waits for more."""
    one = enters(world)
    one.press(keys)
    who = {"1003": world.carol}.get(keys)
    if who is None:
        # Nobody is registered there: back in the menu.
        assert one.hears == ["not-available", "welcome"]
    else:
        assert who.line.last.what == "INVITE"


def test_nobody_takes_the_call(world: SpeakingWorld) -> None:
    one = enters(world)
    one.press("1003")
    one.reject(world.carol, 486)
    assert one.hears == ["not-available", "welcome"]
    one.press("7")
    assert one.hears == ["not-available", "welcome"]
    assert world.facts["digits"] == "10037"


def test_other_menus_and_back(world: SpeakingWorld) -> None:
    one = enters(world)
    one.press("2")
    assert one.hears == ["sales"]
    assert world.facts["menu"] == "second"
    one.press("9")
    assert one.hears == ["try-again", "sales"], "no key can follow: at once"
    one.press("1")
    assert one.hears == ["welcome"]
    one.press("*")
    assert one.hears == ["welcome"]
    assert world.facts["choices"] == "main:2 second:1 main:*"


def test_late_digits_belong_to_the_wrong_number(world: SpeakingWorld) -> None:
    """One try, not three."""
    one = enters(world)
    one.press("8123")
    world.run(1.9)
    assert one.hears == []
    one.press("4")
    world.run(1.9)
    assert one.hears == []
    world.run(0.2)
    assert one.hears == ["invalid", "welcome"]
    one.press("45")
    assert world.facts["choices"] == "main:45"


def test_nothing_is_pressed(world: SpeakingWorld) -> None:
    """Three times; then `else`."""
    one = enters(world)
    for _ in range(2):
        one.heard()
        world.run(3.9)
        assert one.hears == ["welcome"]
        world.run(0.2)
    one.heard()
    world.run(4.1)
    # Nobody is registered as 1004, and it was the last try.
    assert one.over


def test_two_wrong_keys_end_a_menu_of_two_tries(world: SpeakingWorld) -> None:
    """By the route's `else`, as the menu has none."""
    one = enters(world, "501")
    one.press("9")
    one.press("8")
    assert world.carol.line.last.what == "INVITE"


def test_a_choice_with_an_else_of_its_own(world: SpeakingWorld) -> None:
    """It is another application then, and its `else` is kept."""
    one = enters(world)
    one.press("6")
    again = Heard(world, world.alice, "", line=one.line)
    assert again.hears == ["support"]


def test_goto(world: SpeakingWorld) -> None:
    """What the dialplan says of that number, by another port."""
    one = enters(world)
    one.press("3")
    again = Heard(world, world.alice, "", line=one.line)
    assert again.hears == ["welcome"]
    assert [route.match for route in world.of(events.CallRouted)] == ["500", "80"]


def test_a_circle(world: SpeakingWorld) -> None:
    a = world.alice.call("71")
    assert a.last.start == "SIP/2.0 482 Goes In A Circle"
    a.acknowledge(a.last)
    over(world)


def test_a_menu_that_is_gone(world: SpeakingWorld) -> None:
    """The dialplan is another one since."""
    one = enters(world)
    del world.switch.dialplan.menus["second"]
    one.press("2")
    assert one.over


def test_who_waits_hangs_up(world: SpeakingWorld) -> None:
    """While somebody is rung: that one is told to stop, and all is over."""
    one = enters(world)
    one.press("1003")
    carol = world.carol.line
    carol.reply(180)
    one.left()
    assert carol.last.what == "CANCEL"
    carol.reply(200, to="CANCEL")
    carol.reply(487, to="INVITE")
    one.gone()
    over(world)


def test_the_worker_dies_while_somebody_is_rung(world: SpeakingWorld) -> None:
    """Who waits hears nothing any more, and has the phone all the same."""
    one = enters(world)
    one.press("1003")
    carol = world.carol.line
    assert world.worker_line is not None
    world.worker_line.worker.lost()
    world.settle()
    assert one.line.last.what == "200 INVITE", "it is not hung up on"
    carol.reply(200, BOB)
    assert one.line.last.what == "INVITE"
    one.line.reply(200, BOB)
    hangs_up(one.line, carol)
    over(world)


def test_ringing_is_heard(world: SpeakingWorld) -> None:
    """The tone of ITU-T E.180 for North America."""
    one = enters(world)
    one.press("1003")
    assert one.hears == ["beep"]
    tones = [sound for order in one.orders for sound in getattr(order, "sounds", ())]
    assert isinstance(tones[-1], Tone)
    assert (tones[-1].first, tones[-1].second, tones[-1].times) == (440, 480, 0)
