"""The command ``softswitch``, as a process of its own where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pluggy
import pytest
import yaml
from click.testing import CliRunner, Result
from pydantic import BaseModel, ConfigDict

from softswitch import cli
from softswitch.configuration import Config, load_config
from softswitch.hookspecs import hookimpl, make_plugins

EXAMPLES = Path(__file__).parents[1] / "dialplans"

CONFIG = """switch: {name: hq, listen: ["udp:127.0.0.1:0"]}
extensions: {1001: {password: a}, 1002: {password: b}}
trunks:
  branch: {to: "sip:127.0.0.1:5070", switch: true}
  pstn: {to: "sip:127.0.0.1:5090"}
dialplan: dp.yaml
"""
DIALPLAN = """routes:
  - match: "1XXX"
    from: any
    dial: extension
    timeout: 20
    else: {status: 480}
  - match: "600"
    dial: {order: [{all: [1001, 1002]}, trunk:branch]}
    timeout: 7.5
    set: {queue: all}
    else:
      dial: trunk:pstn
      else: {status: 480, reason: Nobody there}
"""


class Section(BaseModel):
    """A plugin's section."""

    model_config = ConfigDict(extra="forbid")
    database: Path


class Plugin:
    """A plugin that owns the section ``store``."""

    @hookimpl
    def config_sections(self) -> dict[str, type[BaseModel]]:
        return {"store": Section}


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> pluggy.PluginManager:
    """The commands of this process see this plugin instead of those installed."""
    plugins = make_plugins()
    plugins.register(Plugin())
    monkeypatch.setattr(cli, "_plugins", lambda: plugins)
    return plugins


@pytest.fixture
def folder(tmp_path: Path, plugins: pluggy.PluginManager) -> Iterator[Path]:
    (tmp_path / "sw.yaml").write_text(CONFIG)
    (tmp_path / "dp.yaml").write_text(DIALPLAN)
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, catch_exceptions=False)


def test_check_of_a_good_configuration(folder: Path) -> None:
    result = call("check", "sw.yaml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "sw.yaml: OK: switch hq, 2 extensions, 2 trunks, 2 routes\n"


def test_check_lists_the_mistakes_of_both_files(folder: Path) -> None:
    (folder / "sw.yaml").write_text(CONFIG + "store: {databse: x}\nlimit: {}\n")
    (folder / "dp.yaml").write_text(DIALPLAN.replace("trunk:pstn", "trunk:pstm"))
    result = call("check", "sw.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "sw.yaml:7:9: unknown key `databse`: did you mean `database`?",
        "sw.yaml:8:1: unknown key `limit`: did you mean `limits`?",
        "dp.yaml:12:13: `dial`: found `trunk:pstm`: there is no trunk `pstm`: did you mean `pstn`?",
        "3 mistakes; nothing was started",
    ]


def test_check_of_a_file_that_is_not_there(folder: Path) -> None:
    result = call("check", "nope.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("nope.yaml:1:1: cannot be read: No such file")


def test_check_warns_of_routes_never_reached(folder: Path) -> None:
    (folder / "dp.yaml").write_text(DIALPLAN + "  - {match: 1001, status: 403}\n")
    result = call("check", "sw.yaml")
    assert result.exit_code == 0
    assert result.stderr == (
        "dp.yaml:14:13: warning: `1001` is never reached: `1XXX` in line 2 comes first and takes "
        "all of its calls\n"
    )


def test_dialplan_test_tells_the_route_and_the_order(folder: Path) -> None:
    result = call("dialplan", "test", "sw.yaml", "600", "--from", "1001")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "dp.yaml:2: `1XXX` not taken: 600 does not match",
        "dp.yaml:7: `600` taken: 600 matches, and calls from internal may take it",
        "600 from extension:1001: `600` at dp.yaml:7, number 600",
        "  1. dial extension:1001, extension:1002 at once, 7.5 s",
        "  2. dial trunk:branch (number 600), 7.5 s",
        "  else, when nobody answered:",
        "    1. dial trunk:pstn (number 600), 180 s",
        "    else, when nobody answered:",
        "      refuse with 480 Nobody there",
        "  property queue = all",
    ]


def test_dialplan_test_says_what_is_set_once(folder: Path) -> None:
    once = DIALPLAN.replace("set: {queue", "set_once: {account: house}\n    set: {queue")
    (folder / "dp.yaml").write_text(once)
    result = call("dialplan", "test", "sw.yaml", "600", "--from", "1001")
    assert result.stdout.splitlines()[-2:] == [
        "  property queue = all",
        "  property account = house, if the call has none of that name yet",
    ]


@pytest.mark.parametrize(
    ("number", "caller", "status", "says"),
    [
        ("1002", "trunk:pstn", 0, "1. dial extension:1002, 20 s"),
        ("1002", "extension:1001", 0, "refuse with 480"),
        ("1999", "1001", 0, "refuse with 404 Not Found"),
        ("600", "trunk:branch", 0, "`600` taken"),
        ("600", "trunk:pstn", 1, "it is for calls from internal, not from trunk:pstn"),
        ("555", "1001", 1, "555 from extension:1001: no route; the caller gets 404"),
        ("600", "1003", 2, "there is no extension `1003`: did you mean `1002`?"),
        ("600", "pstn", 2, "there is no extension `pstn`: did you mean `trunk:pstn`?"),
        ("600", "trunk:brnch", 2, "there is no trunk `brnch`: did you mean `branch`?"),
    ],
)
def test_dialplan_test(folder: Path, number: str, caller: str, status: int, says: str) -> None:
    result = call("dialplan", "test", "sw.yaml", number, "--from", caller)
    assert result.exit_code == status
    assert says in result.output


TIMED = """conditions: {hours: {hours: 08:00-18:00, time_zone: Asia/Tokyo}}
routes:
  - {match: "1002", when: hours, dial: extension, ring: internal, headers: {Subject: Hi}}
  - {match: "1002", when: not hours, dial: "1001", caller: {name: Night}, emergency: yes}
"""


@pytest.mark.parametrize(
    ("zone", "at", "says"),
    [
        ("Asia/Tokyo", "2026-06-01 08:00", "hours` holds: it is Mon 2026-06-01 08:00 in Asia/Tok"),
        ("Asia/Tokyo", "2026-06-01 18:00", "hours` does not hold: it is Mon 2026-06-01 18:00"),
        ("Europe/Berlin", "2026-06-01 08:00", "it is Mon 2026-06-01 15:00 in Asia/Tokyo"),
        ("Europe/Berlin", "2026-06-01T08:00+09:00", "it is Mon 2026-06-01 08:00 in Asia/Tokyo"),
        ("Europe/Berlin", "2026-10-25 02:30", "it is Sun 2026-10-25 09:30 in Asia/Tokyo"),
    ],
)
def test_dialplan_test_at_a_time(folder: Path, zone: str, at: str, says: str) -> None:
    (folder / "dp.yaml").write_text(TIMED)
    (folder / "sw.yaml").write_text(CONFIG.replace("name: hq", f"name: hq, time_zone: {zone}"))
    result = call("dialplan", "test", "sw.yaml", "1002", "--from", "1001", "--at", at)
    assert result.exit_code == 0
    assert says in result.output


def test_dialplan_test_now(folder: Path) -> None:
    (folder / "dp.yaml").write_text(TIMED)
    result = call("dialplan", "test", "sw.yaml", "1002", "--from", "1001")
    now = datetime.now(ZoneInfo("Asia/Tokyo"))
    assert f"it is {now:%a} {now:%Y-%m-%d}"[:20] in result.output
    told = ["  header Subject: Hi"], ['  the caller is shown as "Night"', "  a call for help"]
    assert any(set(lines) <= set(result.output.splitlines()) for lines in told)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ("noon", '--at: found `noon`, expected a time such as "2026-12-24 18:30"'),
        ("0001-01-01 00:00", "--at: found `0001-01-01 00:00`, expected a time"),
        ("2026-03-29 02:30", "--at: 2026-03-29 02:30 never comes: the clock is put forward over"),
    ],
)
def test_dialplan_test_at_no_time(folder: Path, at: str, says: str) -> None:
    text = CONFIG.replace("name: hq", "name: hq, time_zone: Europe/Berlin")
    (folder / "sw.yaml").write_text(text)
    result = call("dialplan", "test", "sw.yaml", "1002", "--from", "1001", "--at", at)
    assert result.exit_code == 2
    assert says in result.output


def test_dialplan_test_of_a_broken_file_lists_its_mistakes(folder: Path) -> None:
    (folder / "dp.yaml").write_text("routes: 5")
    result = call("dialplan", "test", "sw.yaml", "600", "--from", "1001")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "dp.yaml:1:9: `routes`: found `5`, expected a list" in result.stderr


def test_run_hands_over_the_configuration_and_gives_back_the_status(
    folder: Path, plugins: pluggy.PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sw.yaml").write_text(CONFIG + "store: {database: a.db}\n")
    seen: list[tuple[Config, pluggy.PluginManager, str | None, bool]] = []

    def run_switch(
        config: Config, plugins: pluggy.PluginManager, *, log_level: str | None, trace_sip: bool
    ) -> int:
        seen.append((config, plugins, log_level, trace_sip))
        return 7

    monkeypatch.setattr("softswitch.process.run", run_switch)
    assert call("run", "sw.yaml").exit_code == 7
    assert call("run", "-v", "--trace-sip", "sw.yaml").exit_code == 7
    assert call("run", "--log-level", "error", "sw.yaml").exit_code == 7
    assert [told[2:] for told in seen] == [(None, False), ("debug", True), ("error", False)]
    config, given = seen[0][:2]
    assert given is plugins
    assert config.sections["store"] == Section(database=Path("a.db"))

    (folder / "sw.yaml").write_text(CONFIG + "store: {}\n")
    result = call("run", "sw.yaml")
    assert result.exit_code == 2
    assert "sw.yaml:7:1: missing key `database`" in result.stderr
    assert len(seen) == 3


def test_two_plugins_with_one_section(folder: Path, plugins: pluggy.PluginManager) -> None:
    plugins.register(Plugin())
    result = call("check", "sw.yaml")
    assert result.exit_code == 2
    assert result.stderr == "two plugins own the section `store`: remove one of them\n"


def test_a_plugin_that_cannot_be_loaded_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, group: str) -> int:
        raise ImportError("no module named left_pad")

    (tmp_path / "sw.yaml").write_text(CONFIG)
    monkeypatch.setattr(pluggy.PluginManager, "load_setuptools_entrypoints", broken)
    result = call("check", str(tmp_path / "sw.yaml"))
    assert result.exit_code == 2
    assert result.stderr == "a plugin cannot be loaded: ImportError: no module named left_pad\n"


class Misnamed:
    """Its author wrote a hook's name wrong, or an argument's."""

    @hookimpl
    def call_evnt(self, event: object) -> None: ...


class Mistaken:
    @hookimpl
    def call_data(self, store: object) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "says"), [(Misnamed(), "unknown hook 'call_evnt'"), (Mistaken(), "{'store'}")]
)
def test_a_hook_that_is_none_is_one_line(
    plugin: object, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sw.yaml").write_text(CONFIG)
    load = pluggy.PluginManager.load_setuptools_entrypoints

    def with_ours(self: pluggy.PluginManager, group: str) -> int:
        self.register(plugin)
        return load(self, group)

    monkeypatch.setattr(pluggy.PluginManager, "load_setuptools_entrypoints", with_ours)
    result = call("check", str(tmp_path / "sw.yaml"))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("a plugin cannot be loaded: PluginValidationError: ")
    assert says in line


def test_a_section_that_is_the_switchs_own(folder: Path, plugins: pluggy.PluginManager) -> None:
    class Greedy:
        @hookimpl
        def config_sections(self) -> dict[str, type[BaseModel]]:
            return {"trunks": Section}

    plugins.register(Greedy())
    for arguments in (("check", "sw.yaml"), ("check", "--schema", "config")):
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert (
            result.stderr
            == "a plugin owns the section `trunks`, which is there already: remove that plugin\n"
        )


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("config", {"switch", "trunks", "timers", "store"}),
        ("dialplan", {"routes", "menus", "conferences", "music", "queues"}),
    ],
)
def test_schema(plugins: pluggy.PluginManager, kind: str, keys: set[str]) -> None:
    result = call("check", "--schema", kind)
    assert result.exit_code == 0
    assert keys <= set(json.loads(result.stdout)["properties"])


def test_help_lists_all_commands_and_imports_none_of_them() -> None:
    code = (
        "import sys; from softswitch.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'softswitch.lab', 'softswitch.phone', 'softswitch.configuration', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("check", "dialplan", "lab", "phone", "run"):
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXAMPLES.glob("*.yaml")) if "routes:" not in path.read_text()],
    ids=lambda path: path.stem,
)
def test_the_examples_are_right_with_the_plugins_installed(path: Path) -> None:
    command = Path(sys.executable).with_name("softswitch")
    done = subprocess.run([command, "check", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{path}: OK" in done.stdout


def test_every_example_is_a_configuration_or_the_dialplan_of_one() -> None:
    named = set()
    for path in EXAMPLES.glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if "switch" in content:
            named |= {path.name, content["dialplan"]}
    assert named == {path.name for path in EXAMPLES.glob("*.yaml")}


@pytest.mark.parametrize(
    ("number", "caller", "at", "digits", "status", "says"),
    [
        ("+15035550100", "trunk:carrier", "10:00", "1", 0, "extension:302, extension:303 at once"),
        ("300", "301", "10:00", "2", 0, "1. dial extension:304, 30 s"),
        ("300", "301", "10:00", "*,-,-", 0, "else, after 2 tries:\n  1. dial extension:301, 30 s"),
        ("300", "301", "10:00", "303", 0, "an extension's number\n  1. dial extension:303"),
        ("300", "301", "10:00", "7,9", 0, "presses 7, which stands for nothing: hears invalid"),
        ("300", "301", "10:00", "7", 1, "digits are missing: menu `main` waits for `1` or `2` or"),
        ("300", "301", "10:00", "2,1", 1, "digits are left over: 1; the caller is in no menu any"),
        ("300", "301", "10:00", "2,x", 2, "--digits: found `X`, expected keys (0-9, *, #, A-D) as"),
        ("300", "301", "19:00", "", 0, "announcement closed, opening-hours\n  the switch hangs"),
        ("300", "301", "10:00", None, 0, "menu main: welcome, sales, support, for-operator"),
        ("300", "301", "19:00", None, 0, "play announcement closed, opening-hours\n"),
        ("*43", "301", "10:00", "", 0, "hears announcement echo\n  hears echo\n"),
        ("*60", "301", "10:00", None, 0, "play time\n"),
        ("700", "301", "10:00", "", 0, "is in conference team\n"),
        ("700", "trunk:carrier", "10:00", None, 1, "no route"),
        ("+15035550101", "trunk:carrier", "10:00", None, 0, "play conference customers\n"),
        ("750", "302", "10:00", None, 0, "play page to 301, 302, 303, 304; 10 s to pick up\n"),
        ("750", "trunk:carrier", "10:00", None, 1, "no route"),
        ("754", "301", "10:00", "-", 0, "  nobody picks up\n  1. dial extension:304, 30 s\n"),
        ("*65", "trunk:carrier", "10:00", None, 1, "no route"),
        ("*65", "301", "10:00", None, 0, "play the caller's number\n"),
        ("95035550100", "301", "10:00", None, 0, "dial trunk:carrier (number +15035550100)"),
    ],
)
def test_the_reception_speaks_as_it_should(
    number: str, caller: str, at: str, digits: str | None, status: int, says: str
) -> None:
    """Each walked through by ``--digits``."""
    more = [] if digits is None else ["--digits", digits]
    at = f"2026-11-27 {at}"
    path = str(EXAMPLES / "reception.yaml")
    result = call("dialplan", "test", path, number, "--from", caller, "--at", at, *more)
    assert (result.exit_code, says in result.output) == (status, True), result.output


def test_the_lab_dials_as_it_should() -> None:
    class Anything(BaseModel):
        model_config = ConfigDict(extra="allow")

    for name, number, caller, said in [
        ("lab-hq", "1002", "1001", "extension:1002"),
        ("lab-hq", "2001", "1001", "trunk:branch"),
        ("lab-hq", "*43", "1001", "play echo"),
        ("lab-branch", "1001", "2001", "trunk:hq"),
        ("lab-branch", "*43", "2001", "play echo"),
        ("lab-branch", "2002", "2001", "extension:2002"),
    ]:
        config = load_config(EXAMPLES / f"{name}.yaml", {"cds": Anything})
        route = config.dialplan.route(number, cli._source(config, caller))
        assert route is not None
        assert said in route.action.told()[0]
