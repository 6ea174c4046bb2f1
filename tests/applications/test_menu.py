"""Menus: keys, their times, tries, and where they lead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from calls.call_world import ANSWER, PLAN, Agent
from studio import Studio

from softswitch.applications.menu import DEEPEST
from softswitch.applications.seat import RINGING
from softswitch.media.orders import Digit, Gone, Played

MENUS = (
    PLAN
    + """
  - {match: "51", play: {menu: main}}
  - {match: "52", play: {menu: sub}}
  - {match: "53", play: {menu: phones}}
  - {match: "54", play: {menu: codes}}
  - {match: "55", play: {menu: bare}, else: {dial: "1002"}}
  - {match: "56", play: {menu: bare}}
  - {match: "57", play: {menu: ring}}
menus:
  main:
    say: welcome
    tries: 3
    timeout: 5
    choices:
      "1": {dial: "1002", timeout: 10}
      "2": {play: {menu: sub}}
      "3": again
      "4": back
      "5": {play: {menu: codes}}
      "#": {status: 480, reason: Not Now}
    else: {dial: "1003", timeout: 10}
  sub:
    say: [sales, support]
    tries: 2
    invalid: error
    choices:
      "1": {dial: "1003", timeout: 10}
      "*": back
  phones:
    say: enter-extension
    extensions: true
    digit_timeout: 3
    tries: 2
    choices:
      "0": {dial: "1004", timeout: 10}
      "100": {dial: "1002", timeout: 10}
    else: {play: {menu: sub}}
  codes:
    say: enter-pin
    tries: 2
    timeout: 4
    choices:
      "1": {dial: "1002", timeout: 10}
      "12": {dial: "1003", timeout: 10}
      "789": back
  bare: {say: closed, tries: 1, timeout: 1}
  ring:
    say: please-hold
    choices: {"1": {play: {menu: ring}}, "2": back}
"""
)


@pytest.fixture
def studio(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Studio]:
    yield Studio(tmp_path, MENUS)
    raised = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not raised, [record.getMessage() for record in raised]


@pytest.fixture
def bob(studio: Studio) -> Agent:
    return studio.world.phone("1002", "10.9.0.2")


@pytest.fixture
def carol(studio: Studio) -> Agent:
    return studio.world.phone("1003", "10.9.0.3")


# --- keys


def test_a_key(studio: Studio, bob: Agent) -> None:
    line = studio.call("51")
    assert studio.heard == ["welcome"]
    assert studio.facts == {"menu": "main"}
    studio.press("1")
    assert studio.heard == [RINGING]
    assert bob.line.what == ["INVITE"]
    assert studio.facts == {"menu": "main", "digits": "1", "choice": "1", "choices": "main:1"}
    assert not studio.released
    bob.line.reply(180)
    bob.line.reply(200, ANSWER)
    assert studio.media.line.last.what == "BYE", "the application is left behind"
    studio.media.line.reply(200, to="BYE")
    studio.told(Gone(studio.port))
    assert line.count("BYE") == 0
    while line.last.what == "INVITE":  # of the other's description
        line.reply(200, ANSWER)
    line.bye()
    bob.line.reply(200, to="BYE")
    studio.end()
    assert studio.pool.busy == 0


def test_a_key_ends_what_is_played(studio: Studio) -> None:
    line = studio.call("54")
    studio.press("7")
    assert studio.heard == []
    studio.press("8")
    assert len(studio.plays) == 2, "silence is ordered once"
    studio.leave(line)


def test_the_end_of_what_a_key_has_ended_is_none(studio: Studio) -> None:
    """The worker may have said so just before it was told to be silent."""
    line = studio.call("54")
    first = studio.plays[-1]
    studio.press("7", 0.0)
    studio.told(Played(first.port, first.job))
    studio.run(1.9)
    studio.press("8", 1.9)
    assert studio.times == 1
    studio.run(0.2)
    studio.run(2.1)
    assert studio.times == 2
    studio.leave(line)


def test_several_keys(studio: Studio, carol: Agent) -> None:
    line = studio.call("54")
    studio.press("12")
    assert carol.line.what == ["INVITE"], "nothing longer begins like that"
    assert studio.facts["choice"] == "12"
    studio.leave(line)


def test_the_shorter_of_two(studio: Studio, bob: Agent, carol: Agent) -> None:
    line = studio.call("54")
    studio.press("1")
    studio.run(1.8)
    assert not bob.lines, "there may come another key"
    studio.run(0.3)
    assert bob.line.what == ["INVITE"]
    assert not carol.lines
    studio.leave(line)


def test_a_key_just_in_time(studio: Studio, carol: Agent) -> None:
    line = studio.call("54")
    studio.press("1", 1.9)
    studio.press("2")
    assert carol.line.what == ["INVITE"]
    studio.leave(line)


def test_too_few_keys(studio: Studio) -> None:
    line = studio.call("54")
    studio.press("78")
    studio.run(2.1)
    assert studio.heard == [], "who is still dialling is not spoken to"
    studio.run(2.1)
    assert studio.heard == ["invalid", "enter-pin"]
    studio.leave(line)


def test_a_long_key_sequence_is_not_kept_whole(studio: Studio) -> None:
    line = studio.call("54")
    studio.press("9" * 300, 0.01)
    assert studio.facts["digits"] == "9" * 100
    studio.leave(line)


# --- nothing, and what is wrong


def test_nothing_pressed(studio: Studio, carol: Agent) -> None:
    line = studio.call("51")
    studio.run(60)
    assert studio.times == 1, "time counts from its end"
    for times in (1, 2):
        assert studio.times == times
        studio.listen()
        studio.run(4.9)
        assert studio.times == times
        studio.run(0.2)
        assert studio.heard == ["welcome"], "without a word of what is wrong"
    assert not carol.lines
    studio.listen()
    studio.run(5.1)
    assert studio.heard == [RINGING]
    assert carol.line.what == ["INVITE"]
    assert studio.facts["choice"] == ""
    studio.leave(line)


def test_a_wrong_key(studio: Studio, carol: Agent) -> None:
    line = studio.call("52")
    studio.press("9")
    assert studio.heard == ["error", "sales", "support"]
    studio.press("8")
    assert studio.released, "there is no `else`"
    studio.over()
    assert line.last.what == "BYE"


def test_the_usual_word_of_what_is_wrong(studio: Studio) -> None:
    line = studio.call("51")
    studio.press("9")
    assert studio.heard == ["invalid", "welcome"]
    studio.leave(line)


def test_wrong_keys_and_nothing_count_together(studio: Studio, carol: Agent) -> None:
    line = studio.call("51")
    studio.press("9")
    studio.listen()
    studio.run(5.1)
    studio.press("8")
    assert carol.line.what == ["INVITE"]
    studio.leave(line)


def test_late_digits_of_a_wrong_number_are_no_further_try(studio: Studio) -> None:
    line = studio.call("53")
    studio.press("99999", 1.0)
    assert studio.times == 1
    studio.run(2.1)
    assert studio.heard == ["invalid", "enter-extension"]
    assert studio.times == 2
    studio.press("99", 1.0)
    studio.run(2.1)
    assert studio.heard == ["sales", "support"], "that was the second of two tries"
    studio.leave(line)


def test_who_dials_on_for_ever_is_not_asked_again(studio: Studio) -> None:
    line = studio.call("53")
    studio.press("9" * 100, 2.9)
    assert studio.times == 1
    studio.leave(line)


def test_the_end_without_else_is_that_of_the_route(studio: Studio, bob: Agent) -> None:
    line = studio.call("55")
    studio.listen()
    studio.run(1.1)
    assert bob.line.what == ["INVITE"]
    bob.line.reply(486)
    assert studio.released, "once only"
    studio.over()
    assert line.last.what == "BYE"


def test_the_end_without_any_else(studio: Studio) -> None:
    line = studio.call("56")
    studio.listen()
    studio.run(1.1)
    studio.over()
    assert line.last.what == "BYE"


# --- where keys lead


def test_again_begins_anew(studio: Studio) -> None:
    line = studio.call("51")
    for _ in range(5):
        studio.press("9")
        studio.press("3")
        assert studio.heard == ["welcome"]
    studio.press("99")
    assert studio.heard == ["invalid", "welcome"], "three tries again"
    assert studio.facts["choices"] == " ".join(["main:3"] * 5)
    studio.leave(line)


def test_another_menu_and_back(studio: Studio, carol: Agent) -> None:
    line = studio.call("51")
    studio.press("9")
    studio.press("2")
    assert studio.heard == ["sales", "support"]
    assert studio.facts["menu"] == "sub"
    studio.press("*")
    assert studio.heard == ["welcome"]
    assert studio.facts["menu"] == "main"
    studio.press("9")
    studio.press("9")
    assert studio.heard == ["invalid", "welcome"], "it begins anew"
    studio.press("2")
    studio.press("1")
    assert carol.line.what == ["INVITE"]
    assert studio.facts["choices"] == "main:2 sub:* main:2 sub:1"
    assert len(studio.media.lines) == 1, "all at one port"
    studio.leave(line)


def test_several_menus_back(studio: Studio) -> None:
    line = studio.call("51")
    studio.press("5")
    assert studio.heard == ["enter-pin"]
    studio.press("789")
    assert studio.heard == ["welcome"]
    studio.leave(line)


def test_back_from_the_first(studio: Studio) -> None:
    line = studio.call("51")
    studio.press("4")
    assert studio.heard == ["welcome"]
    assert not studio.released
    studio.leave(line)


def test_menus_in_a_circle(studio: Studio) -> None:
    line = studio.call("57")
    studio.press("1" * 200, 0.01)
    assert studio.heard == ["please-hold"]
    assert len(studio.facts["choices"]) <= 500
    studio.press("2" * DEEPEST * 2, 0.01)
    assert studio.heard == ["please-hold"]
    studio.leave(line)


def test_a_menu_as_the_end_of_another(studio: Studio) -> None:
    line = studio.call("53")
    for _ in range(2):
        studio.listen()
        studio.run(5.1)
    assert studio.heard == ["sales", "support"]
    assert studio.facts["choice"] == ""
    studio.leave(line)


# --- extensions


def test_an_extension(studio: Studio, bob: Agent) -> None:
    line = studio.call("53")
    studio.press("1002")
    assert bob.line.what == ["INVITE"]
    assert studio.facts["choices"] == "phones:1002"
    studio.leave(line)


def test_a_choice_that_an_extension_begins_with(studio: Studio, bob: Agent, carol: Agent) -> None:
    line = studio.call("53")
    studio.press("100", 1.0)
    assert not bob.lines
    studio.run(2.1)
    assert bob.line.what == ["INVITE"]
    studio.leave(line)


def test_no_such_extension(studio: Studio) -> None:
    line = studio.call("53")
    studio.press("1009")
    studio.run(3.1)
    assert studio.heard == ["invalid", "enter-extension"]
    studio.leave(line)


def test_no_extensions_where_none_may_be_dialled(studio: Studio, bob: Agent) -> None:
    line = studio.call("54")
    studio.press("1002")
    studio.run(2.1)
    assert studio.heard == ["invalid", "enter-pin"]
    assert not bob.lines
    studio.leave(line)


# --- nobody


def test_nobody_answers(studio: Studio, bob: Agent) -> None:
    line = studio.call("51")
    studio.press("1")
    bob.line.reply(180)
    studio.press("2")
    assert studio.heard == [RINGING], "keys are for nobody now"
    bob.line.reply(486)
    assert studio.heard == ["not-available", "welcome"]
    studio.press("1")
    assert len(bob.lines) == 2
    bob.line.reply(180)
    studio.run(10.1)
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    assert studio.heard == ["not-available", "welcome"]
    assert studio.facts["digits"] == "11"
    studio.leave(line)


def test_who_finds_nobody_has_made_a_try(studio: Studio, bob: Agent, carol: Agent) -> None:
    line = studio.call("51")
    for _ in range(3):
        assert not carol.lines
        studio.press("1")
        bob.line.reply(486)
    assert carol.line.what == ["INVITE"]
    carol.line.reply(486)
    assert studio.released
    studio.over()
    assert line.last.what == "BYE"


def test_nobody_is_there_at_all(studio: Studio) -> None:
    """Its phone has not registered: that is known before anything was played."""
    line = studio.call("51")
    studio.press("1")
    assert studio.heard == ["not-available", "welcome"]
    studio.press("#")
    assert studio.heard == ["not-available", "welcome"]
    studio.leave(line)


def test_the_caller_hangs_up_while_somebody_is_rung(studio: Studio, bob: Agent) -> None:
    line = studio.call("51")
    studio.press("1")
    bob.line.reply(180)
    line.bye()
    assert bob.line.last.what == "CANCEL"
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    studio.over()


def test_a_key_after_the_caller_has_gone(studio: Studio) -> None:
    line = studio.call("51")
    line.bye()
    before = len(studio.orders)
    studio.media.line.reply(200, to="BYE")
    port = studio.port
    studio.told(Gone(port))
    studio.told(Digit(port, "9"))
    studio.run(60)
    assert len(studio.orders) == before
    studio.end()


# --- another dialplan


def test_a_menu_that_was_changed_is_the_new_one_from_its_next_beginning(
    studio: Studio, tmp_path: Path
) -> None:
    line = studio.call("51")
    studio.reload(tmp_path / "new", MENUS.replace("say: welcome", "say: closed"))
    studio.press("9")
    assert studio.heard == ["invalid", "welcome"]
    studio.press("3")
    assert studio.heard == ["closed"]
    studio.leave(line)


def test_a_menu_that_is_gone(studio: Studio, tmp_path: Path) -> None:
    line = studio.call("51")
    studio.press("2")
    studio.reload(tmp_path / "new", PLAN)
    studio.press("9")
    assert studio.heard == ["error", "sales", "support"], "who is in it stays"
    studio.press("*")
    assert studio.released
    studio.over()
    assert line.last.what == "BYE"


def test_a_menu_that_is_gone_for_a_route_that_says_what_then(
    studio: Studio, bob: Agent, tmp_path: Path
) -> None:
    route = '{match: "51", play: {menu: main}'
    studio.reload(tmp_path / "new", MENUS.replace(route, f'{route}, else: {{dial: "1002"}}'))
    line = studio.call("51")
    studio.reload(tmp_path / "newer", PLAN)
    studio.press("3")
    assert bob.line.what == ["INVITE"]
    studio.leave(line)
