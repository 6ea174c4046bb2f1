"""Configurations: what one gives, and every mistake in both files at once, each at its place."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from softswitch.config import CallerId, formed, stamp
from softswitch.config.addresses import Listen, TrunkAddress
from softswitch.config.mistakes import documented_keys
from softswitch.config.models import Extension, Limits, Timers, Trunk
from softswitch.config.places import ConfigErrors
from softswitch.configuration import Config, config_model, load_config
from softswitch.dialplan.loader import DialplanModel
from softswitch.dialplan.targets import Source

DOCS = Path(__file__).parents[1] / "docs"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    file: Path


class PluginSection(BaseModel):
    """A plugin's section."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    listen: str
    database: Path = Path("records.db")
    places: dict[str, Place] = {}
    more: list[Path] = []
    interval: float = Field(default=5, gt=0)


DIALPLAN = "routes:\n  - {match: '1XXX', from: any, dial: extension}\n"


class Files:
    """A configuration and its dialplan in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.config, self.dialplan = folder / "switch.yaml", folder / "dp.yaml"
        self.dialplan.write_text(DIALPLAN)

    def load(self, text: str) -> Config:
        self.config.write_text(text)
        return load_config(self.config, {"plug": PluginSection})

    def mistakes(self, text: str) -> list[str]:
        with pytest.raises(ConfigErrors) as errors:
            self.load(text)
        folder = str(self.config.parent) + os.sep
        return [str(mistake).replace(folder, "") for mistake in errors.value.mistakes]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


HEAD = "switch: {name: hq, listen: ['udp:127.0.0.1:0']}\ndialplan: dp.yaml\n"


def test_a_whole_configuration(files: Files) -> None:
    config = files.load(
        """switch:
  name: hq
  site: Sunnyvale
  listen: [udp:127.0.0.1:5060, "tcp:[::1]:5060"]
extensions:
  "1001": {name: Alice, password: alice-secret}
  1002: {password: 0042, calls: 2}
trunks:
  branch: {to: "sip:127.0.0.1:5070", switch: true, keepalive: 0}
  pstn: {to: "sip:acme@pbx.example.com;transport=tcp", max_calls: 30, from: 192.0.2.0/24, nat: true}
dialplan: dp.yaml
media: {mode: bypass}
limits: {max_calls: 5}
timers: {no_answer: 60, t1: 0.25}
plug: {listen: "tcp:127.0.0.1:7400"}
"""
    )
    assert config.switch.name == "hq"
    assert config.switch.site == "Sunnyvale"
    assert config.switch.listen == (Listen("udp", "127.0.0.1", 5060), Listen("tcp", "::1", 5060))
    assert config.switch.call_id_header == "X-CDS-Call-ID"
    assert config.extensions == {
        "1001": Extension("1001", "Alice", "alice-secret"),
        "1002": Extension("1002", "1002", "0042", 2),
    }
    assert "alice-secret" not in repr(config.extensions)
    assert config.trunks["branch"] == Trunk(
        "branch", TrunkAddress("127.0.0.1", 5070, "udp"), switch=True, keepalive=0
    )
    pstn = config.trunks["pstn"]
    assert pstn.to == TrunkAddress("pbx.example.com", 5060, "tcp", "acme")
    assert (pstn.switch, pstn.max_calls, pstn.keepalive) == (False, 30, 30.0)
    assert (pstn.nat, config.trunks["branch"].nat) == (True, False)
    assert [str(source) for source in pstn.from_] == ["192.0.2.0/24"]
    assert config.media.mode == "bypass"
    assert config.limits == Limits(max_calls=5)
    assert config.timers == Timers(no_answer=60, t1=0.25)
    assert config.warnings == ()


def test_the_rest_has_defaults(files: Files) -> None:
    config = files.load(HEAD + "extensions:\nlimits:\ntrunks: # none yet\n")
    assert (config.extensions, config.trunks, config.sections) == ({}, {}, {})
    assert config.timers.drain_timeout == 30
    assert config.limits.max_forwards == 70


def test_one_listen_needs_no_list(files: Files) -> None:
    config = files.load("switch: {name: a, listen: udp:127.0.0.1:5060}\ndialplan: dp.yaml")
    assert config.switch.listen == (Listen("udp", "127.0.0.1", 5060),)


def test_paths_are_relative_to_the_file(files: Files) -> None:
    config = files.load(
        HEAD + "plug: {listen: x, places: {a: {file: sub/a}}, more: [m, /abs/n], interval: 7}"
    )
    folder = files.config.parent
    section = config.sections["plug"]
    assert isinstance(section, PluginSection)
    assert section.database == folder / "records.db"
    assert section.places["a"].file == folder / "sub/a"
    assert section.more == [folder / "m", Path("/abs/n")]
    assert section.interval == 7


def test_calls_at_once_by_either_name(files: Files) -> None:
    config = files.load(
        HEAD + "extensions: {1: {password: x, calls: 2}, 2: {password: x, max_calls: 3}, "
        "4: {password: x}}\n"
    )
    assert [one.max_calls for one in config.extensions.values()] == [2, 3, None]
    (mistake,) = files.mistakes(HEAD + "extensions: {1: {password: x, calls: 2, max_calls: 2}}\n")
    assert mistake == (
        "switch.yaml:3:52: `max_calls` is the older name of `calls`: expected one of them"
    )


def test_who_is_shown_to_carriers(files: Files) -> None:
    config = files.load(
        HEAD
        + """extensions:
  "1001": {password: x, caller_id: {number: +4930123, name: "", anonymous: yes}}
  "1002": {password: x}
trunks:
  a:
    to: sip:192.0.2.1
    caller_id:
      name: Acme
      format: [{match: "0Z.", strip: 1, prepend: "+49"}, {match: 1XX, format: "+49{number}"}]
    assert_identity: true
  b:
    to: sip:192.0.2.2
    caller_id: {format: {match: 1XX, prepend: "9"}}
    caller_format: [{match: "00.", strip: 2, prepend: "+"}]
  c: {to: sip:192.0.2.3}
"""
    )
    phones, trunks = config.extensions, config.trunks
    assert phones["1001"].caller_id == CallerId("+4930123", "", True)
    assert phones["1002"].caller_id is None
    assert (trunks["c"].caller_id, trunks["c"].assert_identity) == (None, False)
    shown = trunks["a"].caller_id
    assert shown is not None
    assert (shown.number, shown.name, shown.anonymous) == ("", "Acme", None)
    assert trunks["a"].assert_identity
    numbers = ["030", "00", "101", "1001"]
    assert [formed(number, shown.forms) for number in numbers] == ["+4930", "00", "+49101", "1001"]
    assert trunks["b"].caller_id is not None
    assert [one.pattern.text for one in trunks["b"].caller_id.forms] == ["1XX"]
    assert [formed(number, trunks["b"].caller_forms) for number in ("0049", "1")] == ["+49", "1"]


def test_the_time_zone_is_that_of_the_dialplans_conditions(files: Files) -> None:
    files.dialplan.write_text("conditions: {a: {hours: 08:00-09:00}}\nroutes: []\n")
    config = files.load(HEAD.replace("name: hq", "name: hq, time_zone: Asia/Tokyo"))
    assert "in Asia/Tokyo" in config.dialplan.conditions["a"].told(0)
    assert "in " not in files.load(HEAD).dialplan.conditions["a"].told(0)


def test_all_files_that_were_read_have_their_stamps(files: Files) -> None:
    holidays = files.dialplan.with_name("holidays.txt")
    holidays.write_text("12-25\n")
    files.dialplan.write_text("conditions: {a: {holidays: holidays.txt}}\nroutes: []\n")
    read = files.load(HEAD).files
    assert read == {path: stamp(path) for path in (files.config, files.dialplan, holidays)}


def test_the_timeout_of_a_route_that_names_none(files: Files) -> None:
    config = files.load(HEAD + "extensions: {1001: {password: x}}\ntimers: {no_answer: 42}\n")
    route = config.dialplan.route("1001", Source("extension", "1001"))
    assert route is not None
    assert route.action.timeout == 42  # type: ignore[union-attr]


def test_nat_is_true_or_false(files: Files) -> None:
    (mistake,) = files.mistakes(
        """switch: {name: hq, listen: ["udp:127.0.0.1:5060"]}
trunks:
  pstn: {to: "sip:192.0.2.1", nat: auto}
dialplan: dp.yaml
"""
    )
    assert mistake.startswith("switch.yaml:3:36: `nat`: found `auto`")


def test_everything_wrong_is_told_at_once(files: Files) -> None:
    files.dialplan.write_text(
        """routes:
  - match: "1[XX"
    dial: extension
  - match: 2XXX
    from: [any, trunk:pstm, intenal, extension:1009]
    dial: {order: [1001, trunk:brnch, {all: []}, 5, {al: ["1001"]}, [x]]}
    timeout: soon
    play: ecko
    striip: 3
  - match: "300"
  - mach: "300"
    dial: extention
  - dial: pstn
    match: 4XX
    strip: 5
    set: {a: yes, b: [1]}
    else: {stat: 3, timeout: 4}
  - match: 5
    dial: [1001, 1002]
  - match: 6
    status: 200
    else: {play: echo}
  - match: 7
    dial: fax:1001
    timeout: 0
  - hello
route: x
"""
    )
    assert files.mistakes(
        """switch:
  nme: hq
  listen: [udp:127.0.0.1:5060, udp:127.0.0.1:5060, sctp:1.1.1.1:5061, 7]
  call_id_header: "bad header"
extensions:
  "1001": {name: Alice}
  1002: {password: 1234, max_calls: 0}
  "10 03": {password: x}
  1002: {password: x}
trunks:
  pstn: {to: "127.0.0.1", max_calls: yes}
  a: {to: sip:10.0.0.1, switch: 1}
  b: {to: sip:10.0.0.1:5060, from: [10.0.0.0/8, 10.0.0.1/24]}
  c: {switch: true, from: 10.1.1.1}
  me: {to: sip:127.0.0.1:5060}
dialplan: dp.yaml
media: {mode: relay}
limits: {max_call: 5, max_forwards: 300}
timers: {t1: fast, min_expires: 9000, drain_timeout: -1}
plug: {lisen: x, interval: 0}
cds: {}
"""
    ) == [
        "switch.yaml:2:3: unknown key `nme`: did you mean `name`?",
        "switch.yaml:3:32: `listen`: udp:127.0.0.1:5060 twice",
        "switch.yaml:3:52: `listen`: found `sctp:1.1.1.1:5061`: unknown transport `sctp`, expected "
        "one of `udp`, `tcp`, `tls`, `ws`, `wss`",
        "switch.yaml:3:71: `listen`: found `7`, expected TRANSPORT:ADDRESS:PORT as in "
        "udp:0.0.0.0:5060",
        "switch.yaml:4:19: `call_id_header`: found `bad header`, expected the name of a SIP header",
        "switch.yaml:6:3: missing key `password`: what the phone registers with",
        "switch.yaml:7:37: `max_calls`: found `0`, expected at least 1",
        "switch.yaml:8:3: `10 03`: expected a number, or a name of letters and digits, for an "
        "extension",
        "switch.yaml:9:3: duplicate key `1002`: already in line 7",
        "switch.yaml:11:14: `to`: found `127.0.0.1`, expected a SIP URI such as sip:192.0.2.1:5060 "
        "or sip:pbx.example.com;transport=tcp",
        "switch.yaml:11:38: `max_calls`: found `yes`, expected a whole number",
        "switch.yaml:12:33: `switch`: found `1`, expected true or false",
        "switch.yaml:13:11: 10.0.0.1:5060 belongs to trunk `a` too: a call from there could be "
        "either's",
        "switch.yaml:13:49: `from`: found `10.0.0.1/24`, expected `10.0.0.0/24` for that network",
        "switch.yaml:14:3: missing key `to`: SIP URI to send its calls to, such as "
        "sip:192.0.2.1:5060",
        "switch.yaml:15:12: `to`: sip:127.0.0.1:5060 is this switch itself: its calls would go in "
        "circles",
        "switch.yaml:17:15: `mode`: found `relay`, which is not available yet: only bypass is",
        "switch.yaml:18:10: unknown key `max_call`: did you mean `max_calls`?",
        "switch.yaml:18:37: `max_forwards`: found `300`, expected at most 255",
        "switch.yaml:19:14: `t1`: found `fast`, expected a number",
        "switch.yaml:19:33: `min_expires` (9000) is greater than `default_expires` (3600)",
        "switch.yaml:19:54: `drain_timeout`: found `-1`, expected at least 0",
        "switch.yaml:20:8: unknown key `lisen`: did you mean `listen`?",
        "switch.yaml:20:28: `interval`: found `0`, expected more than 0",
        "switch.yaml:21:1: unknown key `cds`, expected one of `switch`, `extensions`, `trunks`, "
        "`dialplan`, `log`, `media`, `recording`, `tapping`, `voicemail`, `toll`, `in_call`, "
        "`trace`, `limits`, `timers`, `plug`",
        "dp.yaml:2:12: `match`: found `1[XX`: `[` at character 2 has no `]`",
        "dp.yaml:5:17: `from`: found `trunk:pstm`: there is no trunk `pstm`: did you mean `pstn`?",
        "dp.yaml:5:29: `from`: found `intenal`, expected internal, any, trunk:NAME or "
        "extension:NUMBER: did you mean `internal`?",
        "dp.yaml:5:38: `from`: found `extension:1009`: there is no extension `1009`: did you mean "
        "`1002`?",
        "dp.yaml:6:26: `order`: found `trunk:brnch`: there is no trunk `brnch`, expected one of "
        "`a`, `b`, `c`, `me`, `pstn`",
        "dp.yaml:6:45: `all`: found an empty list, expected at least 1",
        "dp.yaml:6:50: `order`: found `5`: there is no extension `5`, expected one of `10 03`, "
        "`1001`, `1002`",
        "dp.yaml:6:54: unknown key `al`: did you mean `all`?",
        "dp.yaml:6:69: `order`: found a list, expected NUMBER, extension, trunk:NAME, {to: ...} or "
        "{all: [...]}",
        "dp.yaml:7:14: `timeout`: found `soon`, expected a number",
        "dp.yaml:8:5: `play` beside `dial`: expected only one of them",
        "dp.yaml:8:11: `play`: found `ecko`: did you mean `echo`?",
        "dp.yaml:9:5: unknown key `striip`: did you mean `strip`?",
        "dp.yaml:10:5: nothing to do: expected one of `dial`, `do`, `goto`, `play`, `status`",
        "dp.yaml:11:5: unknown key `mach`: did you mean `match`?",
        "dp.yaml:12:11: `dial`: found `extention`: did you mean `extension`?",
        "dp.yaml:13:11: `dial`: found `pstn`, which is a trunk: write `trunk:pstn`",
        "dp.yaml:15:12: `strip`: found 5, expected at most 3: `4XX` matches no longer number",
        "dp.yaml:16:14: `a`: found `yes`, expected text: put it in quotes",
        "dp.yaml:16:22: `b`: found a list, expected text",
        "dp.yaml:17:12: unknown key `stat`: did you mean `status`?",
        "dp.yaml:19:11: `dial`: found a list, expected extension, NUMBER, trunk:NAME, {to: ...}, "
        "{all: [...]} or {order: [...]}",
        "dp.yaml:21:13: `status`: found `200`, expected at least 400",
        "dp.yaml:22:5: `else` goes with `dial` or `play`, not with `status`",
        "dp.yaml:24:11: `dial`: found `fax:1001`: unknown kind `fax`, expected one of `extension`, "
        "`trunk`",
        "dp.yaml:25:14: `timeout`: found `0`, expected more than 0",
        "dp.yaml:26:5: `routes`: found `hello`, expected a mapping of keys",
        "dp.yaml:27:1: unknown key `route`: did you mean `routes`?",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "",
            [
                "switch.yaml:1:1: missing key `dialplan`: the dialplan's file, relative to this "
                "one",
                "switch.yaml:1:1: missing key `switch`: with its name and listen",
            ],
        ),
        ("[1, 2]", ["switch.yaml:1:1: found a list, expected a mapping of keys"]),
        (
            "switch: 5\ndialplan: dp.yaml",
            ["switch.yaml:1:9: `switch`: found `5`, expected a mapping of keys"],
        ),
        (
            HEAD.replace("dp.yaml", "nope.yaml"),
            ["switch.yaml:2:11: `dialplan`: there is no file nope.yaml"],
        ),
        (
            HEAD + "media: {mode: bypas}",
            [
                "switch.yaml:3:15: `mode`: found `bypas`, expected bypass, relay, rtpengine: did "
                "you mean `bypass`?"
            ],
        ),
        (
            HEAD + "media: {mode: direct}",
            [
                "switch.yaml:3:15: `mode`: found `direct`, expected one of `bypass`, `relay`, "
                "`rtpengine`"
            ],
        ),
        (
            HEAD.replace("dp.yaml", "7"),
            ["switch.yaml:2:11: `dialplan`: there is no file 7"],
        ),
        (
            HEAD.replace("dp.yaml", '"a\\0b"'),
            ["switch.yaml:2:11: `dialplan`: there is no file a\\x00b"],
        ),
        (
            HEAD.replace("dp.yaml", ""),
            ["switch.yaml:2:10: `dialplan`: found nothing, expected text"],
        ),
        (
            HEAD.replace("'udp:127.0.0.1:0'", "udp:0.0.0.0:5060, udp:127.0.0.1:5060"),
            [
                "switch.yaml:1:47: `listen`: udp:127.0.0.1:5060 as well as udp:0.0.0.0:5060, "
                "which includes it"
            ],
        ),
        (
            HEAD.replace("'udp:127.0.0.1:0'", ""),
            ["switch.yaml:1:28: `listen`: found an empty list, expected at least 1"],
        ),
        (
            HEAD.replace("hq", "h q"),
            ["switch.yaml:1:16: `name`: found `h q`, expected letters, digits, `.`, `_` and `-`"],
        ),
        (
            HEAD + "extensions: {1001: {name: [A], password: ''}}",
            [
                "switch.yaml:3:27: `name`: found a list, expected text",
                "switch.yaml:3:42: `password`: found an empty text, expected some text",
            ],
        ),
        (
            HEAD + "trunks:\n  a: {to: 'sip:10.0.0.1:5070;transport=tcp'}\n"
            "  b: {to: 'sip:10.0.0.1:5070;transport=tcp'}\n"
            "  c: {to: sip:pbx.example.com}\n  d: {to: sip:PBX.example.com:5060}\n",
            [
                "switch.yaml:5:11: 10.0.0.1:5070 belongs to trunk `a` too: a call from there "
                "could be either's",
                "switch.yaml:7:11: `to`: sip:PBX.example.com:5060 is where trunk `c` is already",
            ],
        ),
        (
            HEAD + "timers: {default_expires: 9000}",
            ["switch.yaml:3:27: `default_expires` (9000) is greater than `max_expires` (7200)"],
        ),
        (
            HEAD + "timers: {guess_delay: 20}",
            ["switch.yaml:3:23: `guess_delay` (20) is greater than `guess_longest` (16.0)"],
        ),
        (
            "switch: {",
            [
                "switch.yaml:2:1: not YAML: did not find expected node content (while "
                "parsing a flow node)"
            ],
        ),
    ],
)
def test_mistakes(files: Files, text: str, told: list[str]) -> None:
    assert files.mistakes(text) == told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "extensions: {1: {password: x, caller_id: {number: 'a b'}}}",
            ":3:51: `number`: found `a b`, expected a number such as +493012345600",
        ),
        (
            "extensions: {1: {password: x, caller_id: {numbr: 1}}}",
            ":3:43: unknown key `numbr`: did you mean `number`?",
        ),
        (
            "extensions: {1: {password: x, caller_id: {format: []}}}",
            ":3:43: unknown key `format`, expected one of `number`, `name`, `anonymous`",
        ),
        (
            "trunks: {a: {to: 'sip:192.0.2.1', caller_id: {format: [{prepend: '+'}]}}}",
            ":3:56: missing key `match`: the caller's numbers, as a pattern such as 0Z.",
        ),
        (
            "trunks: {a: {to: 'sip:192.0.2.1', caller_id: {format: {match: '1[', strip: -1}}}}",
            ":3:63: `match`: found `1[`: `[` at character 2 has no `]`",
        ),
        (
            "trunks: {a: {to: 'sip:192.0.2.1', switch: true, caller_id: {number: 1}}}",
            ":3:60: `caller_id` is for carriers: one of our switches is told who calls",
        ),
        (
            "trunks: {a: {to: 'sip:192.0.2.1', switch: true, assert_identity: true}}",
            ":3:66: `assert_identity` is for carriers: one of our switches is told who calls",
        ),
    ],
)
def test_mistakes_in_who_is_shown(files: Files, written: str, told: str) -> None:
    assert f"switch.yaml{told}" in files.mistakes(HEAD + written)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            'trunks: {a: {to: "sip:192.0.2.1", listen: "udp:127.0.0.1:5070"}}',
            ":3:43: `listen`: udp:127.0.0.1:5070 is not in `switch.listen`; there is "
            "udp:127.0.0.1:5060",
        ),
        (
            'trunks: {a: {to: "sip:192.0.2.1;transport=tcp", listen: "udp:127.0.0.1:5060"}}',
            ":3:57: `listen`: udp:127.0.0.1:5060, but its requests go by tcp",
        ),
        (
            'trunks: {a: {to: "sip:192.0.2.1", listen: "127.0.0.1"}}',
            ":3:43: `listen`: found `127.0.0.1`, expected TRANSPORT:ADDRESS:PORT as in "
            "udp:0.0.0.0:5060",
        ),
    ],
)
def test_mistakes_in_where_a_trunk_is_called_from(files: Files, written: str, told: str) -> None:
    assert f"switch.yaml{told}" in files.mistakes(HEAD.replace(":0'", ":5060'") + written)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{match: '.'}", ":4:11: `a`: expected `at_once`, `calls` or `minutes`"),
        ("{match: '1[', calls: 1}", ":4:19: `match`: found `1[`: `[` at character 2 has no `]`"),
        ("{calls: 1}", ":4:8: missing key `match`: the numbers as the carrier is sent them"),
        ("{match: '.', calls: 0}", ":4:31: `calls`: found `0`, expected at least 1"),
        ("{match: '.', calls: 1, per: day}", ":4:39: `per`: found `day`, expected"),
        ("{match: '.', calls: 1, alarm: 80}", ":4:41: `alarm`: found `80`, expected at most 1"),
        (
            "{match: '.', calls: 1, trunks: [b, c]}",
            ":4:46: `trunks`: there is no trunk `c`, expected one of `b`, `d`",
        ),
        (
            "{match: '.', calls: 1, extensions: 102}",
            ":4:46: `extensions`: there is no extension `102`: did you mean `101`?",
        ),
        (
            "{match: '.', calls: 1, trunks: d}",
            ":4:42: `trunks`: `d` is one of our switches, and no carrier",
        ),
    ],
)
def test_mistakes_in_limits_of_toll(files: Files, written: str, told: str) -> None:
    text = (
        'trunks: {b: {to: "sip:192.0.2.1"}, d: {to: "sip:192.0.2.2", switch: true}}\n'
        f'toll: {{a: {written}}}\nextensions: {{"101": {{password: x}}}}\n'
    )
    mistakes = files.mistakes(HEAD + text)
    assert any(f"switch.yaml{told}" in one for one in mistakes), mistakes


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("edge.example", "expected a SIP URI such as sip:edge.example.com;lr"),
        ("tel:123", "expected a SIP URI such as sip:edge.example.com;lr"),
        ("sip:edge.example", "a proxy's URI needs `;lr`, as in sip:edge.example.com;lr"),
    ],
)
def test_mistakes_in_a_service_route(files: Files, written: str, told: str) -> None:
    (mistake,) = files.mistakes(HEAD.replace("name: hq", f"name: hq, service_route: '{written}'"))
    assert mistake.startswith(f"switch.yaml:1:35: `service_route`: found `{written}`")
    assert mistake.endswith(told)


def test_where_a_trunk_is_called_from(files: Files) -> None:
    config = files.load(
        HEAD.replace(":0'", ":5060'")
        + 'trunks: {a: {to: "sip:192.0.2.1", listen: "udp:127.0.0.1:5060"}, '
        'b: {to: "sip:carrier.example", listen: "udp:127.0.0.1:5060"}, c: {to: "sip:192.0.2.3"}}'
    )
    assert [one.listener for one in config.trunks.values()] == [*2 * ("127.0.0.1:5060",), ""]


def test_mistakes_in_a_time_zone(files: Files) -> None:
    (mistake,) = files.mistakes(HEAD.replace("name: hq", "name: hq, time_zone: Europe/Berlyn"))
    assert mistake == (
        "switch.yaml:1:31: `time_zone`: found `Europe/Berlyn`, which is no time zone: did you mean "
        "`Europe/Berlin`?"
    )


def test_a_broken_dialplan_is_told_beside_a_broken_configuration(files: Files) -> None:
    files.dialplan.write_text("routes: [")
    assert [one.split(": ")[0] for one in files.mistakes(HEAD + "x: 1")] == [
        "switch.yaml:3:1",
        "dp.yaml:2:1",
    ]


@pytest.mark.parametrize(
    ("sources", "clash"),
    [
        (("10.0.0.1", "10.0.0.1"), True),
        (("10.0.0.1:5060", "10.0.0.1"), True),
        (("10.0.0.1:5060", "10.0.0.1:5061"), False),
        (("10.0.0.0/24", "10.0.0.0/24"), True),
        (("10.0.0.0/24", "10.0.0.0/25"), False),
        (("10.0.0.0/24", "10.0.0.1"), False),
        (("192.0.2.2:5060", "10.0.0.1"), True),  # where the second trunk's `to` is
        (("192.0.2.2", "10.0.0.1"), False),
    ],
)
def test_where_two_trunks_call_from(files: Files, sources: tuple[str, str], clash: bool) -> None:
    text = (
        HEAD
        + "trunks:\n"
        + "".join(
            f"  t{i}: {{to: 'sip:192.0.2.{i}', from: ['{source}']}}\n"
            for i, source in enumerate(sources, 1)
        )
    )
    if clash:
        [told] = files.mistakes(text)
        assert "belongs to trunk `t1` too" in told
        assert told.startswith("switch.yaml:5:")
    else:
        assert len(files.load(text).trunks) == 2


def test_trunks_on_one_address_but_other_ports_or_transports_are_fine(files: Files) -> None:
    config = files.load(
        HEAD + "trunks:\n  a: {to: 'sip:127.0.0.1:5080'}\n  b: {to: 'sip:127.0.0.1:5090'}\n"
        "  c: {to: 'sip:127.0.0.1:5090;transport=tcp'}\n"
        "  d: {to: sip:10.0.0.1, from: [10.0.0.1, 10.0.0.0/24]}\n"
    )
    assert len(config.trunks) == 4


def test_thousands_of_extensions_and_trunks_are_checked_quickly(files: Files) -> None:
    extensions = "".join(f"  {n}: {{password: p{n}}}\n" for n in range(10000, 13000))
    trunks = "".join(
        f"  t{n}: {{to: 'sip:10.0.{n // 250}.{n % 250}', from: 10.1.{n // 250}.{n % 250}}}\n"
        for n in range(1000)
    )
    config = files.load(HEAD + "extensions:\n" + extensions + "trunks:\n" + trunks)
    assert (len(config.extensions), len(config.trunks)) == (3000, 1000)


GOOD = {
    "switch": {"name": "hq", "site": "s", "listen": ["udp:127.0.0.1:0"], "call_id_header": "X"},
    "extensions": {
        "1001": {"name": "A", "password": "x", "max_calls": 1, "caller_id": {"number": "1"}},
        "1002": {"password": "x", "calls": 1},
    },
    "trunks": {
        "a": {"to": "sip:10.0.0.1", "switch": True, "from": ["10.0.0.2"], "keepalive": 0},
        "b": {
            "to": "sip:10.0.0.3",
            "caller_id": {"name": "x", "format": [{"match": "1.", "strip": 1}]},
            "assert_identity": True,
            "caller_format": [{"match": "0.", "format": "1{number}"}],
        },
    },
    "dialplan": "dp.yaml",
    "media": {"mode": "bypass"},
    "limits": {"max_calls": 5},
    "timers": {"t1": 0.5, "min_expires": 60},
    "plug": {"listen": "x", "places": {"a": {"file": "b"}}},
}
ROUTES = {
    "conditions": {
        "hours": {"hours": ["08:00-18:00"], "weekdays": "mon-fri", "time_zone": "Europe/Berlin"},
        "days": {"dates": ["12-24", "2026-12-24..2027-01-02"], "months": "dec", "month_days": 1},
        "holidays": {"holidays": "dp.yaml.txt"},
    },
    "routes": [
        {
            "match": "1XXX",
            "from": ["internal", "trunk:a"],
            "dial": {"order": ["1001", {"all": ["trunk:a", "extension"]}]},
            "timeout": 5,
            "strip": 1,
            "prepend": "1",
            "set": {"a": "b"},
            "else": {"dial": "1001", "else": {"status": 486, "reason": "no"}},
            "when": ["hours", "not days"],
            "ring": "internal",
            "headers": {"X-A": "b", "Subject": "c"},
            "caller": {"number": "1", "name": "{name}", "anonymous": False},
            "emergency": True,
        },
        {"match": "/2.*/", "play": "echo"},
    ],
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dial", "all", "order", "to", "name", "from", "else", "x", "1001"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def ways(value: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value within."""
    yield way
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from ways(inner, (*way, key))


def changed(tree: object, way: tuple[str | int, ...], new: object) -> object:
    if not way:
        return new
    tree = copy.copy(tree)
    tree[way[0]] = changed(tree[way[0]], way[1:], new)  # type: ignore[index]
    return tree


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*ways(GOOD)]), st.sampled_from([*ways(ROUTES)]), anything, st.booleans())
def test_whatever_stands_anywhere_is_accepted_or_told_with_its_place(
    files: Files,
    in_config: tuple[str | int, ...],
    in_dialplan: tuple[str | int, ...],
    new: object,
    both: bool,
) -> None:
    routes = changed(ROUTES, in_dialplan, new)
    files.dialplan.write_text(yaml.safe_dump(routes, allow_unicode=True))
    files.dialplan.with_name("dp.yaml.txt").write_text("12-25 Christmas\n")
    text = yaml.safe_dump(changed(GOOD, in_config, new) if both else GOOD, allow_unicode=True)
    try:
        config = files.load(text)
    except ConfigErrors as errors:
        told = errors.mistakes
    else:
        for caller in (Source("extension", "1001"), Source("trunk", "a", True)):
            config.dialplan.route("1001", caller)
            config.dialplan.explain("1001", caller)
        return
    assert told
    for mistake in told:
        # What YAML takes for the end of a line.
        lines = re.split("[\n\x85\u2028\u2029]", Path(mistake.file).read_text())
        assert 1 <= mistake.line <= len(lines)
        assert 1 <= mistake.column <= len(lines[mistake.line - 1]) + 1
        assert "Input should" not in mistake.message


def test_a_plugin_may_not_take_a_section_of_the_switch() -> None:
    with pytest.raises(ValueError, match="section `trunks`"):
        config_model({"trunks": PluginSection})


def chapter(text: str, name: str) -> str:
    """What stands under the heading of a section."""
    found = re.search(rf"^## `{name}`(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no chapter `{name}`"
    return found[1]


@pytest.mark.parametrize(
    ("listen", "to", "itself"),
    [
        ("'udp:0.0.0.0:5060'", "sip:127.0.0.1", True),
        ("'udp:0.0.0.0:5060'", "sip:127.3.4.5:5060", True),
        ("'udp:0.0.0.0:5060'", "sip:localhost", True),
        ("'udp:0.0.0.0:5060'", "sip:127.0.0.1:5070", False),
        ("'udp:0.0.0.0:5060'", "sip:127.0.0.1;transport=tcp", False),
        ("'udp:0.0.0.0:5060'", "sip:192.0.2.1", False),
        ("'udp:0.0.0.0:5060'", "sip:carrier.example.com", False),
        ("'udp:127.0.0.1:5060'", "sip:127.0.0.2", False),
        ("'udp:[::]:5060'", "sip:[::1]", True),
    ],
)
def test_a_trunk_to_oneself(files: Files, listen: str, to: str, itself: bool) -> None:
    text = HEAD.replace("'udp:127.0.0.1:0'", listen) + f'trunks: {{me: {{to: "{to}"}}}}\n'
    assert listen in text
    if not itself:
        files.load(text)
        return
    with pytest.raises(ConfigErrors, match="is this switch itself"):
        files.load(text)


def test_every_key_of_the_configuration_is_documented_in_its_chapter() -> None:
    text = (DOCS / "configuration.md").read_text()
    keys = [tuple(part for part in key if part != "*") for key in documented_keys(config_model())]
    assert ("trunks", "from") in keys
    missing = [key for key in keys if len(key) > 1 and f"`{key[-1]}`" not in chapter(text, key[0])]
    assert missing == []
    assert [key for key in keys if len(key) == 1 and f"## `{key[0]}`" not in text] == []


def test_every_key_of_the_dialplan_is_documented() -> None:
    text = (DOCS / "dialplan.md").read_text()
    keys = {key[-1] for key in documented_keys(DialplanModel)}
    assert {"routes", "match", "from", "else", "all", "order", "set"} <= keys
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize(("section", "model"), [("limits", Limits), ("timers", Timers)])
def test_the_documented_defaults_are_the_real_ones(section: str, model: type[BaseModel]) -> None:
    text = chapter((DOCS / "configuration.md").read_text(), section)
    rows = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", text, re.MULTILINE))
    assert {name: float(value) for name, value in rows.items()} == {
        name: info.default for name, info in model.model_fields.items()
    }
