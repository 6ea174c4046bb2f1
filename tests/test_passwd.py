"""`softswitch passwd`: a configuration without passwords, by which phones register all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import CONFIG, Agent, World
from click.testing import CliRunner

from softswitch.cli import main
from softswitch.config import ConfigErrors
from softswitch.configuration import load_config


def hashed(folder: Path, extension: str, password: str) -> str:
    """The line that stands in the configuration."""
    (folder / "switch.yaml").write_text(CONFIG)
    command = ["passwd", str(folder / "switch.yaml"), extension, "--password", password]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return done.output.strip()


@pytest.mark.parametrize("digest", ["[MD5]", "[SHA-256, MD5]", "[SHA-256]"])
def test_a_phone_registers(tmp_path: Path, digest: str) -> None:
    line = hashed(tmp_path, "1001", "a secret")
    config = CONFIG.replace('"1001": {name: Alice, password: a}', line)
    config = config.replace("site: Sunnyvale", f"site: Sunnyvale, digest: {digest}")
    assert "a secret" not in config
    world = World(tmp_path, config)
    right = Agent(world, ("10.9.0.1", 5060), "1001", "a secret")
    assert right.register().status == 200
    wrong = Agent(world, ("10.9.0.2", 5060), "1001", "another")
    assert wrong.register().status == 401


def test_one_of_another_algorithm_does_not_fit(tmp_path: Path) -> None:
    config = CONFIG.replace("password: a}", "ha1: {SHA-256: " + "0" * 64 + "}}")
    world = World(tmp_path, config)
    phone = Agent(world, ("10.9.0.1", 5060), "1001", "a")
    assert phone.register().status == 401


def test_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "switch.yaml").write_text("switch: {name: hq}\n")
    command = ["passwd", str(tmp_path / "switch.yaml"), "1001"]
    done = CliRunner().invoke(main, command, input="x\nx\n")
    assert done.exit_code == 0
    assert "ha1: {SHA-256: " in done.output
    assert CliRunner().invoke(main, command, input="x\ny\n").exit_code != 0
    (tmp_path / "switch.yaml").write_text("nothing: here\n")
    assert CliRunner().invoke(main, command, input="x\nx\n").exit_code == 2


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{name: A}", "missing key `password`"),
        ("{password: a, ha1: {MD5: " + "0" * 32 + "}}", "`ha1` beside `password`"),
        ("{ha1: {MD5: xyz}}", "expected what `softswitch passwd` says"),
        ("{ha1: {MD4: " + "0" * 32 + "}}", "MD4"),
    ],
)
def test_mistakes(tmp_path: Path, entry: str, says: str) -> None:
    (tmp_path / "plan.yaml").write_text("routes: []\n")
    text = CONFIG.replace("{name: Alice, password: a}", entry)
    (tmp_path / "switch.yaml").write_text(text)
    with pytest.raises(ConfigErrors) as raised:
        load_config(tmp_path / "switch.yaml")
    assert says in str(raised.value)
