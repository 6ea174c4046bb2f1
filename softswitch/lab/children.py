"""The lab's child processes: switches and phones, started, watched and ended without a trace.

Each child's standard error is read by a thread of its own and its last lines kept, so that when it
dies it can be said why. Phones are driven through standard input: if the lab itself is killed the
input ends, and they go too.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

LAST_LINES = 20  # of standard error, kept for the message when a child dies
STOP_SECONDS = 10.0  # for a child to end after SIGTERM, before SIGKILL


class LabError(Exception):
    """A step of the lab failed; the text says which, and what was seen."""


class Child:
    """One process. Lines of its output and error come in by threads; ``until`` waits for them."""

    def __init__(self, name: str, arguments: Sequence[str], cwd: Path | None = None) -> None:
        self.name = name
        self.changed = threading.Condition()
        self.errors: deque[str] = deque(maxlen=LAST_LINES)
        self.overheard: Callable[[str], None] | None = None
        """Told each line of its standard error, once set."""
        self.output: list[str] = []
        self._stopping = False
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            # Ctrl-C goes to the whole group of the terminal: the lab alone decides who ends when.
            start_new_session=True,
        )
        pipes = ((self._process.stdout, self.on_output), (self._process.stderr, self.on_error))
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True, name=f"reads {name}")
            for pair in pipes
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], take: Callable[[str], None]) -> None:
        for line in pipe:
            with self.changed:
                take(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def on_output(self, line: str) -> None:
        self.output.append(line)

    def on_error(self, line: str) -> None:
        self.errors.append(line)
        if self.overheard is not None:
            self.overheard(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise LabError, with the last lines of its standard error, if it has died."""
        status = self.status
        if status is None or self._stopping:
            return
        for reader in self._readers:
            reader.join(1)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        with self.changed:
            last = "".join(f"\n    {line}" for line in self.errors) or " (it said nothing)"
        raise LabError(f"{self.name} {how}; its last lines:{last}")

    def until(self, found: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until ``found`` is true of what has come in. LabError if it dies or time is up."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                # Asked before ``found``: what it said last, and that it ended, are looked at too.
                gone = self.status is not None and not any(r.is_alive() for r in self._readers)
                if found():
                    return
                if gone:
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LabError(f"{self.name}: no {what} within {seconds:g} s{self.recently()}")
                self.changed.wait(min(left, 0.2))
        self.check()
        raise LabError(f"{self.name} ended before {what}")

    def recently(self) -> str:
        """What it said last, to be put behind an error."""
        lines = [*self.output[-5:], *list(self.errors)[-5:]]
        return "".join(f"\n    {line}" for line in lines)

    def send(self, line: str) -> None:
        """A line to its standard input; that it is gone already is seen by ``check``."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(line + "\n")
            pipe.flush()
        except (BrokenPipeError, ValueError):
            self.check()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def ask_to_stop(self) -> None:
        """SIGTERM, once."""
        if not self._stopping and self.status is None:
            self._process.send_signal(signal.SIGTERM)
        self._stopping = True

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """End it, by SIGKILL if need be; its exit status."""
        self.ask_to_stop()
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for reader in self._readers:
            reader.join(1)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        return status


class SwitchChild(Child):
    """``softswitch run CONFIG``."""

    def __init__(self, name: str, config: Path) -> None:
        super().__init__(
            f"switch {name}", [sys.executable, "-m", "softswitch.cli", "run", str(config)]
        )
        self._ready = f"softswitch {name} ready"

    def until_ready(self, seconds: float) -> None:
        self.until(
            lambda: any(line.startswith(self._ready) for line in self.errors),
            seconds,
            f"line {self._ready!r}",
        )


class PhoneChild(Child):
    """``softswitch phone --json --stdin``, its events as dictionaries."""

    def __init__(self, name: str, *options: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        super().__init__(
            f"phone {name}",
            [sys.executable, "-m", "softswitch.phone", "--json", "--stdin", *options],
        )

    def on_output(self, line: str) -> None:
        super().on_output(line)
        self.events.append(json.loads(line))

    @property
    def uri(self) -> str:
        """Where it can be called without a registrar, once it is ready."""
        return str(next(e["contact"] for e in self.events if e["event"] == "ready"))

    def expect(self, kind: str, seconds: float = 5.0, **facts: object) -> dict[str, Any]:
        """The next event of this kind and with these facts, after the last one expected.

        A fact may be a function of the value. LabError when it does not come in time.
        """

        def fits(event: dict[str, Any]) -> bool:
            return event["event"] == kind and all(
                value(event.get(key)) if callable(value) else event.get(key) == value
                for key, value in facts.items()
            )

        found: list[int] = []

        def look() -> bool:
            for index in range(self._seen, len(self.events)):
                if fits(self.events[index]):
                    found.append(index)
                    return True
            return False

        wanted = kind + "".join(f" {k}={v}" for k, v in facts.items() if not callable(v))
        self.until(look, seconds, f"event {wanted}")
        self._seen = found[0] + 1
        return self.events[found[0]]

    def expect_tone(self, hz: float, seconds: float = 5.0) -> dict[str, Any]:
        """The next time it hears a tone within 5 Hz of ``hz``."""
        try:
            return self.expect("heard", seconds, hz=lambda h: h is not None and abs(h - hz) < 5)
        except LabError as error:
            raise LabError(f"{self.name} did not hear {hz:g} Hz: {error}") from None
