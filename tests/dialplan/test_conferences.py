"""``conferences`` and ``play: {conference: ROOM}`` as they are written, and their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config.places import ConfigErrors
from softswitch.dialplan import (
    Conference,
    ConferencePlay,
    Dialplan,
    Play,
    Sounds,
    Source,
    Surroundings,
    Walk,
)
from softswitch.dialplan.loader import load_dialplan
from softswitch.dialplan.sounds import OWN

AROUND = Surroundings(frozenset({"1001"}), {"pstn": False}, sounds=Sounds(OWN, (OWN / "en",)))
ALICE = Source("extension", "1001")


def plan(tmp_path: Path, text: str) -> Dialplan:
    path = tmp_path / "dp.yaml"
    path.write_text(text)
    return load_dialplan(path, AROUND)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, text)
    return [f"{one.line}:{one.column} {one.message}" for one in errors.value.mistakes]


def test_rooms_as_written(tmp_path: Path) -> None:
    text = """conferences:
  team: {}
  customers:
    most: 30
    pin: 0471
    leader_pin: "0815"
    muted: yes
    wait: true
    ends: true
    tones: no
    alone: [one-moment, en/welcome.wav]
    tries: 2
    timeout: 5
routes: [{match: "1", dial: "1001"}]
"""
    dialplan = plan(tmp_path, text)
    sounds = tuple(str(OWN / f"en/{name}.wav") for name in ("one-moment", "welcome"))
    assert dialplan.conferences == {
        "team": Conference("team"),
        "customers": Conference(
            "customers", 30, "0471", "0815", True, True, True, False, sounds, 2, 5.0
        ),
    }
    assert not dialplan.conferences["team"].guarded
    assert dialplan.conferences["customers"].guarded
    assert not dialplan.plays(), "no route leads there: no media worker is needed"


@pytest.mark.parametrize("written", ["{conference: team}", "{conference: {room: team}}"])
def test_a_route_leads_there(tmp_path: Path, written: str) -> None:
    text = f"conferences: {{team: {{}}}}\nroutes: [{{match: '7', play: {written}}}]\n"
    dialplan = plan(tmp_path, text)
    route = dialplan.route("7", ALICE)
    assert route is not None
    assert route.action == Play(ConferencePlay("team"), "7")
    assert route.action.told() == ["play conference team"]
    assert dialplan.plays()


def test_nobody_is_let_in_by_what_is_written(tmp_path: Path) -> None:
    """Whether somebody has given a PIN is nothing that a dialplan could say."""
    text = "conferences: {a: {pin: '123'}}\nroutes: [{match: '7', play: {conference: %s}}]\n"
    told = mistakes(tmp_path, text % "{room: a, admitted: true}")
    assert told == ["2:52 unknown key `admitted`, expected `room`"]


@pytest.mark.parametrize(
    ("room", "told"),
    [
        ("{most: 1}", "`most`: found `1`, expected at least 2"),
        ("{most: 1001}", "`most`: found `1001`, expected at most 1000"),
        ("{most: many}", "`most`: found `many`"),
        ("{pin: '12'}", "`pin`: expected 3 to 12 digits"),
        ("{pin: '1234567890123'}", "`pin`: expected 3 to 12 digits"),
        ("{pin: '12a4'}", "`pin`: expected 3 to 12 digits"),
        ("{pin: '١٢٣٤'}", "`pin`: expected 3 to 12 digits"),
        ("{pin: '12#4'}", "`pin`: expected 3 to 12 digits"),
        ("{pin: ''}", "`pin`: expected 3 to 12 digits"),
        ("{leader_pin: [1]}", "`leader_pin`: expected 3 to 12 digits"),
        ("{pin: '123', leader_pin: 123}", "is the same as `pin`: nobody could tell them apart"),
        ("{muted: true}", "is for those who do not lead: there is no `leader_pin`"),
        ("{pin: '123', wait: true}", "is for those who do not lead: there is no `leader_pin`"),
        ("{ends: yes}", "is for those who do not lead: there is no `leader_pin`"),
        ("{alone: nothing-such}", "`alone`: found `nothing-such`"),
        ("{alone: []}", "`alone`: found an empty list"),
        ("{alone: no.wav}", "`alone`: found `no.wav`: there is no file"),
        ("{tries: 0}", "`tries`: found `0`, expected at least 1"),
        ("{tries: 101}", "`tries`: found `101`, expected at most 100"),
        ("{timeout: 0}", "`timeout`: found `0`, expected more than 0"),
        ("{mutes: true}", "unknown key `mutes`: did you mean `muted`?"),
        ("[]", "`a`: found an empty list, expected a mapping of keys"),
    ],
)
def test_mistakes_of_a_room(tmp_path: Path, room: str, told: str) -> None:
    """What somebody has written for a PIN is not told: it may be in a log."""
    found = mistakes(tmp_path, f"conferences:\n  a: {room}\nroutes: []\n")
    assert len(found) == 1, found
    place, _, message = found[0].partition(" ")
    assert message.startswith(told)
    assert place.startswith("2:")


@pytest.mark.parametrize("name", ["a b", "ünter", "", "../up", "a/b", "a\\u0000b"])
def test_a_name_that_a_room_cannot_have(tmp_path: Path, name: str) -> None:
    found = mistakes(tmp_path, f'conferences: {{"{name}": {{}}}}\nroutes: []\n')
    assert ["expected a name of letters, digits, `-` and `_`" in one for one in found] == [True]


@pytest.mark.parametrize(
    ("conferences", "play", "told"),
    [
        ("{team: {}}", "{conference: teem}", "found `teem`: did you mean `team`?"),
        ("{}", "{conference: team}", "found `team`: there are no `conferences`"),
        ("{team: {}}", "conference", "missing key `room`"),
        ("[]", "{conference: team}", "found `team`: there are no `conferences`"),
    ],
)
def test_mistakes_of_a_route(tmp_path: Path, conferences: str, play: str, told: str) -> None:
    text = f"conferences: {conferences}\nroutes: [{{match: '7', play: {play}}}]\n"
    found = mistakes(tmp_path, text)
    assert [one for one in found if told in one], found


def test_it_has_no_end_that_keys_could_lead_to(tmp_path: Path) -> None:
    text = """conferences: {team: {}}
menus: {main: {say: welcome, choices: {"1": {play: {conference: team}, then: {dial: "1001"}}}}}
routes: [{match: "7", play: {menu: main}}]
"""
    dialplan = plan(tmp_path, text)
    route = dialplan.route("7", ALICE)
    assert route is not None
    walked = Walk(dialplan, ALICE).walk(route.action, ("1",))
    assert walked.lines[-1] == "is in conference team"
