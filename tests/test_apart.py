"""What is done apart from the event loop: messages' disk, and mails."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from softswitch.speaking import _Apart


async def test_one_thing_after_the_other() -> None:
    apart = _Apart(asyncio.get_running_loop(), "disk")
    got: list[object] = []
    done = asyncio.Event()
    names = {threading.current_thread().name}

    def name() -> str:
        return threading.current_thread().name

    apart(name, got.append)
    apart(lambda: [][0], got.append)
    apart(lambda: 3, got.append)
    apart(lambda: None, lambda _: done.set())
    async with asyncio.timeout(5):
        await done.wait()
    assert got == ["disk", None, 3]
    assert "disk" not in names
    apart.close(5)


async def test_what_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    apart = _Apart(asyncio.get_running_loop(), "mails")
    done = asyncio.Event()

    def fail() -> None:
        raise OSError("connection refused")

    apart(fail, lambda _: done.set())
    async with asyncio.timeout(5):
        await done.wait()
    assert "mails: connection refused" in caplog.text
    apart.close(5)


async def test_the_end_does_not_wait_for_who_says_nothing() -> None:
    """A mail server that takes connections and is silent; nothing is asked any more after that."""
    apart = _Apart(asyncio.get_running_loop(), "mails")
    hangs, began = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        hangs.wait(30)

    got: list[object] = []
    apart(wait, got.append)
    assert began.wait(5)
    before = time.monotonic()
    apart.close(0.0)
    assert time.monotonic() - before < 1
    apart(wait, got.append)
    assert all(one.daemon for one in threading.enumerate() if one.name == "mails")
    hangs.set()


async def test_the_end_waits_for_the_disk() -> None:
    apart = _Apart(asyncio.get_running_loop(), "disk")
    written: list[int] = []
    for number in range(3):
        apart(lambda number=number: written.append(number), lambda _: None)  # type: ignore[misc]
    apart.close(5)
    assert written == [0, 1, 2]
