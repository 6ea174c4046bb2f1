"""What is said: levels by area, text and JSON, too much of it, files that are moved away."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softswitch.config import Log as Settings
from softswitch.log import Log
from softswitch.log.areas import area
from softswitch.log.writer import MOST, Writer

switch = logging.getLogger("softswitch.switch")
calls = logging.getLogger("softswitch.calls.refusals")


class Said:
    """A log that writes to a file, and a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.logs: list[Log] = []

    def open(self, said: str | None = None, **settings: Any) -> Log:
        log = Log(Settings(file=self.path, **settings), level=said, clock=lambda: self.now)
        log.open()
        self.logs.append(log)
        return log

    def lines(self) -> list[str]:
        assert self.logs[-1].writer.flush()
        return self.path.read_text().splitlines()

    def messages(self) -> list[str]:
        return [line.split(": ", 1)[1] for line in self.lines()]


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Said]:
    said = Said(tmp_path / "switch.log")
    yield said
    for log in said.logs:
        log.close()


def test_a_line_has_its_time_level_and_area(said: Said) -> None:
    said.open()
    calls.warning("a call of %s is refused", "trunk:pstn")
    (line,) = said.lines()
    day, time, level, where, rest = line.split(" ", 4)
    assert (len(day), len(time)) == (10, 12)
    assert (level, where, rest) == ("WARNING", "calls:", "a call of trunk:pstn is refused")


def test_in_json_each_line_is_an_object(said: Said) -> None:
    said.open(format="json")
    switch.warning('of "%s"\nand more', "Zoë")
    (line,) = said.lines()
    found = json.loads(line)
    assert found.pop("at").endswith("+00:00")
    assert found == {"level": "warning", "area": "switch", "message": 'of "Zoë"\nand more'}


def test_what_was_raised_is_told_in_both(said: Said) -> None:
    said.open(format="json")
    try:
        raise ValueError("so")
    except ValueError:
        switch.exception("failed")
    assert "ValueError: so" in json.loads(said.lines()[0])["traceback"]
    said.logs[-1].take_up(Settings(file=said.path))
    try:
        raise ValueError("so")
    except ValueError:
        switch.exception("failed")
    assert said.lines()[-1] == "ValueError: so"


def test_an_area_has_a_level_of_its_own(said: Said) -> None:
    log = said.open(levels={"calls": "error", "sip": "debug"})
    udp = logging.getLogger("softswitch.sip.udp")
    calls.warning("not said")
    udp.debug("a datagram")
    switch.debug("not said")
    assert said.messages() == ["a datagram"]
    log.take_up(Settings(file=said.path, level="debug"))
    switch.debug("now")
    assert said.messages() == ["a datagram", "now"]


def test_the_command_line_counts_more_than_the_file(said: Said) -> None:
    log = said.open("debug", level="error", levels={"calls": "error"})
    calls.debug("one")
    log.take_up(Settings(file=said.path, level="error"))
    calls.debug("two")
    assert said.messages() == ["one", "two"]


def test_all_loggers_are_left_as_they_were(said: Said) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    said.open("debug").close()
    assert (root.level, root.handlers) == before


def test_too_many_lines_of_a_kind_are_counted(said: Said) -> None:
    said.open(lines_per_second=3)
    for number in range(10):
        switch.warning("flood %d", number)
    switch.warning("another kind")
    assert said.messages() == ["flood 0", "flood 1", "flood 2", "another kind"]
    said.now = 11.0
    switch.warning("flood %d", 10)
    assert said.messages()[-1] == "flood 10 (and 7 lines like this one before)"
    said.now = 22.0
    switch.warning("flood %d", 11)
    assert said.messages()[-1] == "flood 11"


def test_a_file_that_was_moved_away_is_made_anew(said: Said) -> None:
    said.open()
    switch.warning("before")
    assert said.messages() == ["before"]
    moved = said.path.rename(said.path.with_suffix(".1"))
    switch.warning("after")
    assert said.messages() == ["after"]
    assert moved.read_text().endswith("before\n")


def test_a_file_that_cannot_be_written_stops_nothing(
    said: Said, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    said.path = folder / "switch.log"
    said.open()
    said.path.unlink()
    folder.rmdir()
    for _ in range(3):
        switch.warning("lost")
        assert said.logs[-1].writer.flush()
    folder.mkdir()
    switch.warning("there again")
    assert said.messages() == ["there again"]


def test_the_level_of_a_log_that_cannot_be_opened_is_no_matter(said: Said, tmp_path: Path) -> None:
    log = said.open()
    with pytest.raises(OSError, match="No such file"):
        log.take_up(Settings(file=tmp_path / "none" / "x.log", level="error"))
    switch.warning("goes on")
    assert said.messages() == ["goes on"]


class Stuck:
    """A standard error whose reader does not read."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.text = ""

    def write(self, text: str) -> None:
        self.go_on.wait()
        self.text += text

    def flush(self) -> None:
        pass


def test_who_does_not_read_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr("sys.stderr", stuck)
    writer = Writer(None)
    try:
        for number in range(MOST + 5):
            writer.put(f"{number}\n")
        assert not writer.flush(0.05)
        stuck.go_on.set()
        assert writer.flush(5)
        writer.put("last\n")
        assert writer.flush(5)
    finally:
        stuck.go_on.set()
        writer.close()
    lines = stuck.text.splitlines()
    assert lines[0] == "0"
    assert lines[-1] == "last"
    assert any("lines were left out" in line for line in lines)


@pytest.mark.parametrize(
    ("logger", "found"),
    [
        ("softswitch.calls.refusals", "calls"),
        ("softswitch.parties.trunks", "trunks"),
        ("softswitch.parties.registrations", "registrations"),
        ("softswitch.callsigns", "switch"),
        ("cdsplugin.api", "cds"),
        ("uvicorn", "program"),
    ],
)
def test_areas(logger: str, found: str) -> None:
    assert area(logger) == found
