"""What is said of a run's progress, and when."""

from __future__ import annotations

import io

import pytest

from bench.progress import Course, Progress, Step, duration, load_name, remaining


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (7.7, "8 s"),
        (89, "89 s"),
        (90, "2 min"),
        (179, "3 min"),
        (3600, "60 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("done", "elapsed", "expected"),
    [
        (12_340, 12.34, 7.66),
        (0, 0.0, 20.0),
        (500, 2.0, 19.5),  # SIPp's count is a second old: no reason to see a slow pace
        (5000, 10.0, 30.0),  # it does not keep up: at the pace so far
        (20_000, 21.0, 0.0),
        (20_001, 21.0, 0.0),
        (0, 60.0, 20.0),
    ],
)
def test_remaining(done: int, elapsed: float, expected: float) -> None:
    assert remaining(done, 20_000, 1000, elapsed) == pytest.approx(expected)


def test_what_a_load_is_called() -> None:
    assert load_name("kamailio", 20_000, 1000.0) == "kamailio, 20,000 calls at 1,000/s"
    assert load_name("switch", 20, 0.5) == "switch, 20 calls at 0.5/s"
    assert load_name("switch", 3000, 1500, 2) == "switch, 3,000 calls at 1,500/s from 2 SIPps to 2"


SWITCH = Step("switch, 20,000 calls at 1,000/s", 28)
KAMAILIO = Step("kamailio, 20,000 calls at 1,000/s", 23)


def test_the_line() -> None:
    course = Course([SWITCH, KAMAILIO, SWITCH, KAMAILIO])
    course.over(28)
    assert course.text(14, "12,340 placed", 7.66) == (
        "2 of 4: kamailio, 20,000 calls at 1,000/s: 12,340 placed, 8 s left; about 2 min in all"
    )


def test_a_single_step_has_no_number() -> None:
    course = Course([SWITCH])
    assert course.text(0) == "switch, 20,000 calls at 1,000/s; about 28 s in all"
    assert course.text(25, "7 of 9 records final") == (
        "switch, 20,000 calls at 1,000/s: 7 of 9 records final; about 28 s in all"
    )


def test_the_total_is_what_is_expected_at_first() -> None:
    assert Course([SWITCH, KAMAILIO]).total(0) == 51


def test_a_step_that_took_longer_counts_as_long_as_it_took() -> None:
    course = Course([SWITCH, KAMAILIO])
    course.over(40)
    assert course.total(1) == 40 + 23


def test_what_comes_again_is_expected_to_take_as_long_as_the_last_time() -> None:
    course = Course([SWITCH, KAMAILIO, SWITCH, KAMAILIO, SWITCH])
    for took in (40, 25, 50):
        course.over(took)
    assert course.total(0) == 40 + 25 + 50 + 25 + 50


def test_a_step_that_overruns() -> None:
    course = Course([SWITCH, KAMAILIO])
    assert course.total(30) == 30 + 23
    assert course.total(30, 12) == 42 + 23


def test_the_share_grows_to_all() -> None:
    course = Course([SWITCH, KAMAILIO])
    assert course.share(0) == 0
    assert course.share(14) == pytest.approx(14 / 51)
    course.over(28)
    assert course.share(23) == 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_where_there_is_no_terminal() -> None:
    """One at the start of each step, then one every ten seconds."""
    said, clock = io.StringIO(), Clock()
    progress = Progress([SWITCH, KAMAILIO], said, clock)
    with progress.step() as watch:
        for second in range(28):
            clock.now = 100.0 + second
            watch(f"{second} placed", None)
    clock.now += 2
    with progress.step():
        pass
    assert said.getvalue().splitlines() == [
        "1 of 2: switch, 20,000 calls at 1,000/s; about 51 s in all",
        "1 of 2: switch, 20,000 calls at 1,000/s: 10 placed; about 51 s in all",
        "1 of 2: switch, 20,000 calls at 1,000/s: 20 placed; about 51 s in all",
        "2 of 2: kamailio, 20,000 calls at 1,000/s; about 50 s in all",
    ]


def test_a_line_that_changes_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    said = Terminal()
    with Progress([SWITCH], said).step() as watch:
        watch("[red]7 placed[/red]", 3)
        print("a figure")
    assert "calls at 1,000/s: [red]7 placed[/red], 3 s left; about 28 s in all" in said.getvalue()
    assert said.getvalue().count("\n") <= 1, "it is one line"
    assert capsys.readouterr().out == "a figure\n", "tables stay on stdout"


def test_a_terminal_that_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    said = Terminal()
    with Progress([SWITCH], said).step():
        pass
    assert said.getvalue() == "switch, 20,000 calls at 1,000/s; about 28 s in all\n"


def test_a_step_that_fails_is_seen_to_fail() -> None:
    with pytest.raises(ZeroDivisionError), Progress([SWITCH], io.StringIO()).step():
        raise ZeroDivisionError
