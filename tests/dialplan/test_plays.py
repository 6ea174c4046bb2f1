"""``play``, ``then``, ``else``, ``goto`` and ``menus`` as they are written, and their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config.places import ConfigErrors
from softswitch.dialplan import Dialplan, Goto, MenuPlay, Play, Sounds, Source, Surroundings
from softswitch.dialplan.actions import Dial
from softswitch.dialplan.loader import load_dialplan
from softswitch.dialplan.plays import Announcement, Clock, Echo, OwnNumber, Played, Tone
from softswitch.dialplan.sounds import OWN

EN = OWN / "en"
AROUND = Surroundings(
    frozenset({"1001", "1002"}), {"pstn": False}, timeout=90.0, sounds=Sounds(OWN, (EN,))
)
ALICE = Source("extension", "1001")


def plan(tmp_path: Path, text: str) -> Dialplan:
    path = tmp_path / "dp.yaml"
    path.write_text(text)
    return load_dialplan(path, AROUND)


def path(name: str) -> str:
    return str(EN / f"{name}.wav")


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("echo", Echo()),
        ("tone", Tone(1004, 0.0)),
        ("{tone: 440}", Tone(440, 0.0)),
        ("{tone: {hz: 440, seconds: 2.5}}", Tone(440, 2.5)),
        ("{announcement: welcome}", Announcement((path("welcome"),))),
        ("{announcement: en/closed.wav}", Announcement((path("closed"),))),
        (
            "{announcement: {say: [welcome, closed], times: 2, pause: 0}}",
            Announcement((path("welcome"), path("closed")), 2, 0),
        ),
        ("{menu: main}", MenuPlay("main")),
        ("{menu: {name: main}}", MenuPlay("main")),
        ("time", Clock("")),
        ("{time: Asia/Tokyo}", Clock("Asia/Tokyo")),
        ("{time: {zone: Asia/Tokyo}}", Clock("Asia/Tokyo")),
        ("number", OwnNumber()),
    ],
)
def test_what_is_played(tmp_path: Path, written: str, what: Played) -> None:
    text = f"menus: {{main: {{say: welcome}}}}\nroutes: [{{match: '5', play: {written}}}]\n"
    dialplan = plan(tmp_path, text)
    route = dialplan.route("5", ALICE)
    assert route is not None
    assert route.action == Play(what, "5")
    assert dialplan.plays()


def test_then_and_else_have_numbers_of_their_own(tmp_path: Path) -> None:
    dialplan = plan(
        tmp_path,
        """routes:
  - match: "9."
    strip: 1
    play: {announcement: one-moment}
    then: {dial: "trunk:pstn", prepend: "+1", else: {goto: "600"}}
    else: {goto: "601"}
""",
    )
    route = dialplan.route("95551", ALICE)
    assert route is not None
    action = route.action
    assert isinstance(action, Play)
    assert isinstance(action.then, Dial)
    assert action.number == "5551"
    assert [target.number for target in action.then.stages[0].targets] == ["+15551"]
    assert action.then.otherwise == Goto("600")
    assert action.otherwise == Goto("601")
    assert action.told()[1:4] == ["then:", "  1. dial trunk:pstn (number +15551), 90 s",
                                  "  else, when nobody answered:"]  # fmt: skip


def test_a_menu_as_written(tmp_path: Path) -> None:
    menus = """menus:
  main:
    say: [welcome, sales]
    choices: {1: {dial: "1001"}, "*": again}
    timeout: 3
    digit_timeout: 1.5
    tries: 2
    invalid: try-again
    extensions: yes
    else: {status: 480}
  other: {say: closed}
"""
    dialplan = plan(tmp_path, menus + 'routes: [{match: "1", dial: "1001"}]\n')
    main, other = dialplan.menus["main"], dialplan.menus["other"]
    assert not dialplan.plays()
    assert main.say == (path("welcome"), path("sales"))
    assert (main.timeout, main.digit_timeout, main.tries, main.extensions) == (3, 1.5, 2, True)
    assert main.invalid == (path("try-again"),)
    assert (other.timeout, other.digit_timeout, other.tries) == (5, 2, 3)
    assert (other.extensions, other.otherwise) == (False, None)
    assert other.invalid == (path("invalid"),)
    none = frozenset[str]()
    assert [main.chosen(keys, none) for keys in ("1", "*", "2", "")] == [
        (main.choices["1"], False),
        (main.choices["*"], False),
        (None, False),
        (None, True),
    ]
    # An extension that begins as a choice does.
    known = dialplan.extensions
    assert main.chosen("1", known) == (main.choices["1"], True)
    assert main.chosen("1001", known) == ("1001", False)
    assert main.chosen("1003", known) == (None, False)
    # Whoever is dialled there rings as long as anybody else.
    action = main.action("1001", "500", known)
    assert action.told() == ["1. dial extension:1001, 90 s"]


def test_choices_have_numbers_of_their_own(tmp_path: Path) -> None:
    """In forms of the number that led to the menu; so has its `else`."""
    menus = """menus:
  main:
    say: welcome
    choices:
      "1": {dial: "trunk:pstn", strip: 3, prepend: "5550100"}
      "2": {do: park, strip: 1, prepend: "7"}
      "3": {dial: "trunk:pstn"}
    else: {dial: "trunk:pstn", prepend: "9"}
"""
    dialplan = plan(tmp_path, menus + 'routes: [{match: "500", play: {menu: main}}]\n')
    main, none = dialplan.menus["main"], frozenset[str]()
    told = [main.action(choice, "500", none).told() for choice in main.choices.values()]
    assert told[0] == ["1. dial trunk:pstn (number 5550100), 90 s"]
    assert "700" in told[1][0]
    assert told[2] == ["1. dial trunk:pstn (number 500), 90 s"]
    assert main.otherwise is not None
    assert main.otherwise.of("500", none).told() == ["1. dial trunk:pstn (number 9500), 90 s"]


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("play: eco", "`play`: found `eco`: did you mean `echo`?"),
        ("play: {}", "`play`: found nothing: what is to be played?"),
        ("play: {echo: 5}", "`play`: `echo` has no settings"),
        ("play: {echo: {}, time: {}}", "`play`: expected one thing to play"),
        ("play: [echo]", "`play`: expected the name of what to play, or {NAME: SETTINGS}"),
        ("play: {tone: 5}", "`tone`: found `5`, expected at least 20"),
        ("play: {tone: {herz: 5}}", "unknown key `herz`: did you mean `hz`?"),
        ("play: announcement", "missing key `say`"),
        ("play: {announcement: []}", "`announcement`: found an empty list"),
        ("play: {announcement: welcom}", "`announcement`: found `welcom`: did you mean `welcome`?"),
        ("play: {announcement: no.wav}", "`announcement`: found `no.wav`: there is no file"),
        ("play: {announcement: en.txt}", "`announcement`: found `en.txt`"),
        ("play: {menu: man}", "`menu`: found `man`: did you mean `main`?"),
        ("play: menu", "missing key `name`"),
        ("play: {time: Mars/Base}", "`time`: found `Mars/Base`"),
        ("play: echo, dial: '1001'", "`play` beside `dial`: expected only one of them"),
        ("play: echo, goto: '5'", "`play` beside `goto`: expected only one of them"),
        ("play: echo, ring: x", "`ring` goes with `dial`, not with `play`"),
        ("play: echo, timeout: 5", "`timeout` goes with `dial`, not with `play`"),
        ("goto: '5', else: {status: 480}", "`else` goes with `dial` or `play`, not with `goto`"),
        ("dial: '1001', then: {status: 480}", "`then` goes with `play`, not with `dial`"),
        ("play: time, then: {}", "nothing to do: expected one of `dial`, `do`, `goto`, `play`"),
    ],
)
def test_mistakes_of_a_route(tmp_path: Path, route: str, told: str) -> None:
    text = f"menus: {{main: {{say: welcome}}}}\nroutes: [{{match: '5', {route}}}]\n"
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, text)
    messages = [one.message for one in errors.value.mistakes]
    assert [one for one in messages if one.startswith(told)], messages


@pytest.mark.parametrize(
    ("menu", "told"),
    [
        ("{}", "missing key `say`"),
        ("{say: nothing-such}", "`say`: found `nothing-such`"),
        ("{say: sales, choices: {x: again}}", "`x`: expected keys: up to 8 of 0-9, *, # and A-D"),
        ("{say: sales, choices: {'1': agian}}", "`1`: found `agian`: did you mean `again`?"),
        ("{say: sales, choices: {'1': {}}}", "nothing to do: expected one of `dial`, `do`"),
        ("{say: sales, choices: {'1': {dial: '1009'}}}", "`dial`: found `1009`: there is no ext"),
        ("{say: sales, choices: {'1': {play: {menu: b}}}}", "`menu`: found `b`"),
        ("{say: sales, else: {play: echo, dial: '1001'}}", "`play` beside `dial`"),
        ("{say: sales, tries: 0}", "`tries`: found `0`, expected at least 1"),
        ("{say: sales, timeout: 0}", "`timeout`: found `0`, expected more than 0"),
        ("{say: sales, choises: {}}", "unknown key `choises`: did you mean `choices`?"),
    ],
)
def test_mistakes_of_a_menu(tmp_path: Path, menu: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        plan(tmp_path, f"menus: {{m: {menu}}}\nroutes: []\n")
    messages = [one.message for one in errors.value.mistakes]
    assert [one for one in messages if one.startswith(told)], messages


def test_a_name_that_a_menu_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="expected a name of letters, digits, `-` and `_`"):
        plan(tmp_path, "menus: {'a b': {say: sales}}\nroutes: []\n")
