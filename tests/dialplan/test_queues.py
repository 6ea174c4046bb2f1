"""``queues`` as they are written, their mistakes, and a way through one without a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from softswitch.config.places import ConfigErrors
from softswitch.dialplan import (
    Dialplan,
    Play,
    Queue,
    QueueAgent,
    QueuePlay,
    Sounds,
    Source,
    Surroundings,
    Walk,
    keys_of,
    menus_told,
)
from softswitch.dialplan.loader import load_dialplan
from softswitch.dialplan.sounds import OWN

EN = OWN / "en"
AROUND = Surroundings(
    frozenset({"1001", "1002", "1003"}), {"pstn": False}, timeout=90.0, sounds=Sounds(OWN, (EN,))
)
ALICE = Source("extension", "1001")
PLAN = """queues:
  help:
    agents:
      - "1001"
      - {extension: 1002, penalty: 2, skills: german, logged_in: false}
      - extension: "1003"
        skills: [german, french]
    strategy: ring-all
    say: welcome
    music: [one-moment, en/closed.wav]
    announce: 0
    estimate: false
    ring: 12.5
    retry: 1
    wrap_up: 30
    longest_wait: 600
    most: 5
    empty: wait
    choices:
      1: {dial: "1003", timeout: 5}
      "#": {play: {menu: main}}
    else: {play: {queue: other}}
  other: {agents: ["1001"]}
menus:
  main: {say: welcome, choices: {"2": {play: {queue: help}}}}
routes:
  - {match: "5", play: {queue: help}, else: {dial: "1002"}}
  - {match: "6", play: {queue: {name: help, skills: [german, french]}}}
  - {match: "7", play: {queue: other}, else: {dial: "1002"}}
"""


def plan(tmp_path: Path, text: str = PLAN) -> Dialplan:
    path = tmp_path / "dp.yaml"
    path.write_text(text)
    return load_dialplan(path, AROUND)


def walked(dialplan: Dialplan, number: str, keys: str) -> tuple[list[str], str]:
    route = dialplan.route(number, ALICE)
    assert route is not None
    found = Walk(dialplan, ALICE).walk(route.action, keys_of(keys))
    return list(found.lines), found.mistake


def test_in_full(tmp_path: Path) -> None:
    dialplan = plan(tmp_path)
    one = dialplan.queues["help"]
    assert one.agents == (
        QueueAgent("1001"),
        QueueAgent("1002", 2, frozenset({"german"}), False),
        QueueAgent("1003", 0, frozenset({"german", "french"})),
    )
    assert (one.strategy, one.announce, one.estimate) == ("ring-all", 0, False)
    assert (one.ring, one.retry, one.wrap_up, one.longest_wait) == (12.5, 1, 30, 600)
    assert (one.most, one.waits, sorted(one.choices)) == (5, True, ["#", "1"])
    assert one.say == (str(EN / "welcome.wav"),)
    assert one.music == (str(EN / "one-moment.wav"), str(EN / "closed.wav"))
    assert one.otherwise is not None
    route = dialplan.route("6", ALICE)
    assert route is not None
    assert route.action == Play(QueuePlay("help", ("german", "french")), "6")
    assert dialplan.plays()


def test_in_short(tmp_path: Path) -> None:
    """What is not said has its default, the music too."""
    other = plan(tmp_path).queues["other"]
    assert other == Queue(
        "other", (QueueAgent("1001"),), music=(str(EN / "hold-music.wav"),), choices={}
    )
    assert (other.strategy, other.otherwise, other.waits) == ("longest-idle", None, False)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('- "1001"', '- "1009"', "4:9: `agents`: found `1009`: there is no extension `1009`"),
        ("extension: 1002", "extension: 1009", "5:21: `extension`: found `1009`"),
        ('- "1001"', '- "1003"', "4:7: `agents`: found `1003` more than once"),
        ("penalty: 2", "penalty: -1", "penalty"),
        ("penalty: 2", "penlty: 2", "5:27: unknown key `penlty`: did you mean `penalty`?"),
        ("ring-all", "ring-al", "8:15: `strategy`: found `ring-al`, expected ring-all"),
        ("say: welcome\n", "say: welcom\n", "9:10: `say`: found `welcom`: did you mean `welcome`"),
        ("ring: 12.5", "ring: 0", "13:11: `ring`: found `0`, expected more than 0"),
        ("most: 5", "most: 0", "17:11: `most`: found `0`, expected at least 1"),
        ("empty: wait", "empty: hang", "18:12: `empty`: found `hang`"),
        ("      1:", "      12:", "`12`: expected one key: 0-9, *, # or A-D"),
        ('dial: "1003"', 'dail: "1003"', "20:11: unknown key `dail`: did you mean `dial`?"),
        ("timeout: 5}", "status: 486}", "20:25: `status` beside `dial`"),
        ("{queue: other}}\n  other", "{queue: othr}}\n  other", "22:26: `queue`: found `othr`"),
        ("{queue: help}, else", "{queue: hepl}, else", "did you mean `help`?"),
        ("skills: [german, french]}", "skills: [germn]}", "found skill `germn`: did you mean"),
        ("queue: other}, else", "queue: {name: other, skills: x}}, else", "its agents have none"),
        ('{agents: ["1001"]}', "{agents: []}", "23:19: `agents`: found an empty list"),
        ('{agents: ["1001"]}', "{ring: 5}", "23:3: missing key `agents`"),
        ("  other: {", "  o ther: {", "expected a name of letters, digits, `-` and `_`"),
        ("  other: {", "  1: 2\n  other: {", "23:6: `1`: found `2`"),
    ],
)
def test_mistakes(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert before in PLAN
    with pytest.raises(ConfigErrors) as raised:
        plan(tmp_path, PLAN.replace(before, after, 1))
    assert says in str(raised.value)


def test_without_queues(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="found `x`: there are no `queues`"):
        plan(tmp_path, "routes: [{match: '5', play: {queue: x}}]\n")


@pytest.mark.parametrize("queues", ["[]", "1", "{a: }", "{a: {agents: 1}}", "{a: {agents: [[]]}}"])
def test_what_is_no_queue(tmp_path: Path, queues: str) -> None:
    text = f"queues: {queues}\nroutes: [{{match: '5', play: {{queue: {{name: a, skills: b}}}}}}]\n"
    with pytest.raises(ConfigErrors):
        plan(tmp_path, text)


def test_it_is_told_with_its_choices(tmp_path: Path) -> None:
    dialplan = plan(tmp_path)
    route = dialplan.route("5", ALICE)
    assert route is not None
    assert menus_told(dialplan, route.action) == [
        "queue help: ring-all of 1001, 1002 (penalty 2, german, once logged in), "
        "1003 (french, german), 12.5 s each; hears welcome, one-moment, closed",
        "  1: dial extension:1003, 5 s",
        "  #: play menu main",
        "  else, after 600 s, with 5 waiting: play queue other",
        "menu main: welcome",
        "  2: play queue help",
        "queue other: longest-idle of 1001, 15 s each; hears hold-music",
    ]


@pytest.mark.parametrize(
    ("number", "keys", "lines"),
    [
        (
            "6",
            "",
            [
                "waits in queue help for german, french",
                "  for an agent: 1001, 1002 (penalty 2, german, once logged in), "
                "1003 (french, german)",
            ],
        ),
        ("5", "1", ["waits in queue help", "  presses 1", "1. dial extension:1003, 5 s"]),
        (
            "5",
            "7,#,2,-",
            [
                "waits in queue help",
                "  presses 7, which stands for nothing",
                "  presses #",
                "menu main: hears welcome",
                "  presses 2",
                "waits in queue help",
                "  no agent answers",
                "waits in queue other",
                "  for an agent: 1001",
            ],
        ),
        (
            "7",
            "-",
            ["waits in queue other", "  no agent answers", "1. dial extension:1002, 90 s"],
        ),
    ],
)
def test_walked_through(tmp_path: Path, number: str, keys: str, lines: list[str]) -> None:
    assert walked(plan(tmp_path), number, keys) == (lines, "")
