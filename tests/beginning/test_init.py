"""`softswitch init`: what it writes is checked, run, registered with and called through."""

from __future__ import annotations

import json
import re
import shlex
import stat
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from softswitch.beginning import command as begin
from softswitch.beginning.answers import (
    own_addresses,
    password,
    read_address,
    read_carrier,
    read_extensions,
    read_name,
)
from softswitch.beginning.written import _text, patterns
from softswitch.cli import main
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port


def init(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, ["init", *words], input=typed)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: Path) -> dict[str, object]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def test_nothing_is_asked(folder: Path) -> None:
    done = init("--yes")
    assert done.exit_code == 0, done.output
    file = folder / "switch.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = read(file)
    passwords = [phone["password"] for phone in made["extensions"].values()]  # type: ignore[attr-defined]
    assert len(set(passwords)) == 3
    assert min(map(len, passwords)) == 16
    assert "softswitch run switch.yaml" in done.output
    assert not any(one in done.output for one in passwords)
    check = CliRunner().invoke(main, ["check", "switch.yaml"])
    assert check.exit_code == 0, check.output
    assert "3 extensions, 0 trunks, 1 route" in check.output
    assert sorted(path.name for path in folder.iterdir()) == [
        "switch-dialplan.yaml",
        "switch.yaml",
    ]


def test_what_is_there_stays_unless_somebody_says_so(folder: Path) -> None:
    (folder / "switch-dialplan.yaml").write_text("mine")
    done = init("--yes")
    assert done.exit_code == 1
    assert "switch-dialplan.yaml: there already; --force writes over" in done.output
    done = init(typed="n\n")
    assert done.exit_code == 1
    assert (folder / "switch-dialplan.yaml").read_text() == "mine"
    assert not (folder / "switch.yaml").exists()
    assert init("--yes", "--force").exit_code == 0
    assert (folder / "switch-dialplan.yaml").read_text() != "mine"


def test_all_is_asked_and_mistakes_asked_again(folder: Path) -> None:
    typed = "\n".join(
        ["my switch", "hq", "Main Street: 7", "somewhere", "127.0.0.1:5071", "20-x, 1001",
         "200-202,1001", "sip.carrier.example", "49301234", "secret: #1", "y", "127.0.0.1:8081", ""]
    )  # fmt: skip
    done = init("office.yaml", typed=typed)
    assert done.exit_code == 0, done.output
    assert "expected letters, digits" in done.output
    assert "expected an IP address" in done.output
    made = read(folder / "office.yaml")
    assert made["switch"] == {
        "name": "hq",
        "site": "Main Street: 7",
        "listen": ["udp:127.0.0.1:5071", "tcp:127.0.0.1:5071"],
    }
    assert made["trunks"] == {
        "carrier": {
            "to": "sip:sip.carrier.example",
            "register": True,
            "user": "49301234",
            "password": "secret: #1",
        }
    }
    assert "/docs, with the token" in done.output
    for number, who, where in (
        ("1001", "trunk:carrier", "extension:1001"),
        ("49301234", "trunk:carrier", "extension:"),
        ("9004930", "1001", "trunk:carrier"),
    ):
        test = CliRunner().invoke(main, ["dialplan", "test", "office.yaml", number, "--from", who])
        assert test.exit_code == 0, test.output
        assert where in test.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--listen", "nowhere"], "expected an IP address"),
        (["--extensions", "9-1"], "expected a number or a range"),
        (["--trunk", "a b"], "expected a name or address"),
        (["--trunk", "sip.example", "--trunk-user", "me"], "takes a password too"),
        (["--no-records", "--api", "127.0.0.1:8080"], "not with --no-records"),
    ],
)
def test_what_cannot_be(folder: Path, words: list[str], says: str) -> None:
    done = init("--yes", *words)
    assert done.exit_code == 2
    assert says in done.output
    assert list(folder.iterdir()) == []


def test_what_is_said_next_can_be_done(folder: Path) -> None:
    """Nobody can register at 0.0.0.0; and texts are written as they were typed."""
    done = init("--yes", "--listen", "0.0.0.0", "--site", "Köln, Süd", "--api", "0.0.0.0:8081")
    assert done.exit_code == 0, done.output
    assert "0.0.0.0" not in done.output
    assert f"--registrar {own_addresses()[0]}:5060" in done.output
    assert "Köln, Süd" in (folder / "switch.yaml").read_text(encoding="utf-8")
    assert "udp:0.0.0.0:5060" in (folder / "switch.yaml").read_text(encoding="utf-8")


def test_a_folder_that_is_not_there(folder: Path) -> None:
    done = init("no/where.yaml", "--yes")
    assert done.exit_code == 1
    assert "No such file or directory" in done.output


def test_answers() -> None:
    assert read_name(" hq-1 ") == "hq-1"
    assert read_address("[2001:db8::1]:5070") == ("2001:db8::1", 5070)
    assert read_address("2001:db8::1") == ("2001:db8::1", 5060)
    assert read_extensions("007-009 100") == ["007", "008", "009", "100"]
    assert read_address("[2001:db8::1]") == ("2001:db8::1", 5060)
    assert read_carrier("sip:sip.example:5070") == "sip.example:5070"
    assert read_carrier("2001:db8::1") == "[2001:db8::1]"
    assert read_carrier("[2001:db8::1]:5070") == "[2001:db8::1]:5070"
    for wrong in ("a@sip.example", "sip.example;transport=tcp", "300.1.1.1", "[x]", "a:99999", ""):
        with pytest.raises(ValueError, match="expected"):
            read_carrier(wrong)
    assert patterns(["007", "100", "1001", "1002"]) == ["0XX", "1XX", "1XXX"]
    assert own_addresses()[-1] == "127.0.0.1"
    assert password() != password()
    for wrong in ("10-09", "1000-2001", "a", ""):
        with pytest.raises(ValueError, match="expected"):
            read_extensions(wrong)
    for wrong in ("127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:x"):
        with pytest.raises(ValueError, match="expected a port"):
            read_address(wrong)


@given(st.text(min_size=1))
def test_texts_survive_yaml(text: str) -> None:
    printable = "".join(char for char in text if char.isprintable() and ord(char) < 0xD800)
    assert yaml.safe_load(_text(printable)) == printable


def test_it_runs_and_phones_call(folder: Path) -> None:
    port, api = free_port(), free_port()
    done = init(
        "hq.yaml", "--yes", "--name", "hq", "--listen", f"127.0.0.1:{port}",
        "--api", f"127.0.0.1:{api}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    phones = read(folder / "hq.yaml")["extensions"]
    assert isinstance(phones, dict)
    children: list[SwitchChild | PhoneChild] = []
    try:
        children.append(switch := SwitchChild("hq", folder / "hq.yaml"))
        switch.until_ready(20)

        def phone(number: str, *options: str) -> PhoneChild:
            made = PhoneChild(
                number, "--registrar", f"127.0.0.1:{port}", "--user", number,
                "--password", phones[number]["password"], *options,
            )  # fmt: skip
            children.append(made)
            made.expect("registered", 20)
            return made

        phone("1002", "--answer")
        caller = phone("1001", "--call", "1002", "--duration", "1")
        caller.expect("answered", 20)
        told = CliRunner().invoke(main, ["status", "hq.yaml", "--json"])
        assert told.exit_code == 0, told.output
        rows = json.loads(told.output)
        assert {row["extension"] for row in rows["registrations"]} == {"1001", "1002"}
        assert rows["counters"]["answered"] + len(rows["calls"]) >= 1
        deadline = time.monotonic() + 20
        while not (folder / "hq.db").exists():
            assert time.monotonic() < deadline
    finally:
        for child in reversed(children):
            child.stop()


def test_the_page_works_as_printed(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/beginning.md").read_text()
    commands = re.findall(
        r"^\$ softswitch ((?:init --|check|dialplan test) ?.*)$", page, re.MULTILINE
    )
    assert len(commands) == 3
    for command in commands:
        done = CliRunner().invoke(main, shlex.split(command))
        assert done.exit_code == 0, (command, done.output)
    options = {option for line in page.splitlines() for option in re.findall(r"`(--[a-z-]+)", line)}
    known = {name for option in begin.params for name in (*option.opts, *option.secondary_opts)}
    assert options | {"--help"} >= {name for name in known if name.startswith("--")}
