"""Child processes of the lab: waited for, mourned with their last words, ended for certain."""

from __future__ import annotations

import sys
import time

import pytest

from softswitch.lab.children import LAST_LINES, Child, LabError


def python(code: str) -> Child:
    return Child("the child", [sys.executable, "-u", "-c", code])


def test_waits_for_a_line() -> None:
    child = python("import sys, time; print('up', file=sys.stderr); time.sleep(60)")
    try:
        child.until(lambda: "up" in child.errors, 5, "line")
        child.check()
        assert child.status is None
    finally:
        assert child.stop() == -15


def test_death_is_told_with_the_last_lines_of_its_errors() -> None:
    child = python("import sys\nfor n in range(50): print('line', n, file=sys.stderr)\nsys.exit(3)")
    with pytest.raises(LabError) as caught:
        child.until(lambda: False, 5, "line")
    lines = str(caught.value).splitlines()
    assert lines[0] == "the child ended with status 3; its last lines:"
    assert [line.strip() for line in lines[1:]] == [f"line {n}" for n in range(50 - LAST_LINES, 50)]
    assert child.stop() == 3


def test_killed_child() -> None:
    child = python("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(
        LabError, match=r"was killed by signal 9; its last lines: \(it said nothing"
    ):
        child.until(lambda: False, 5, "line")
    assert child.stop() == -9


def test_time_is_up_says_what_was_awaited_and_seen() -> None:
    child = python("import time; print('hello'); time.sleep(60)")
    try:
        child.until(lambda: bool(child.output), 5, "hello")
        with pytest.raises(LabError, match=r"the child: no breakfast within 0\.2 s\n    hello"):
            child.until(lambda: False, 0.2, "breakfast")
    finally:
        child.stop()


def test_one_that_ignores_sigterm_is_killed() -> None:
    child = python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up');"
        "time.sleep(60)"
    )
    child.until(lambda: bool(child.output), 5, "line")
    began = time.monotonic()
    assert child.stop(0.3) == -9
    assert time.monotonic() - began < 5


def test_end_without_what_was_awaited() -> None:
    child = python("print('bye')")
    with pytest.raises(LabError, match="ended with status 0"):
        child.until(lambda: False, 5, "line")
    child.stop()


def test_sending_to_a_dead_child_tells_of_its_death() -> None:
    child = python("import sys; sys.exit(4)")
    with pytest.raises(LabError, match="status 4"):
        child.until(lambda: False, 5, "line")
    with pytest.raises(LabError, match="status 4"):
        child.send("hello")
    child.stop()


def test_what_comes_true_while_it_is_looked_at_is_found() -> None:
    child = python("input()")
    looks: list[int | None] = []

    def ended() -> bool:
        looks.append(child.status)
        if len(looks) == 1:
            # It ends between this look and the next one at the process.
            child.send("")
            while child.status is None or any(r.is_alive() for r in child._readers):
                child.changed.wait(0.01)
        return looks[-1] == 0

    child.until(ended, 5, "end")
    assert looks == [None, 0]
    child.stop()
