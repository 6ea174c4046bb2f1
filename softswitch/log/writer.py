"""The writer: lines go to a file or to standard error by a thread of its own.

Whoever reads standard error may stop to read, and a disk may hang or be full: a switch that waited
for either would lose its calls for the sake of its log. So lines are handed over and never waited
for. Those that are too many are left out and counted.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Final, TextIO

MOST: Final = 20_000
"""Lines that wait at most."""
TOGETHER: Final = 0.02
"""Seconds in which what is said is written at once."""


class Writer:
    """Writes lines to `path` (added to its end), or to standard error if there is none.

    A file that was moved away or deleted is made anew, so that any way of rotating logs will do.
    `put` and `flush` may be called from any thread.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.dropped = 0
        """Lines left out since that was said last."""
        self._lines: deque[str] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._closing = False
        self._file: TextIO | None = None
        self._stderr = sys.stderr
        self._failing = False
        if path is not None:
            self._file = _opened(path)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Write a line, which ends with a newline, soon."""
        if len(self._lines) >= MOST:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seconds: float = 1.0) -> bool:
        """Wait until all of it is written, for so long at most; whether it is."""
        self._hurry.set()
        self._wake.set()
        with self._written:
            return self._written.wait_for(lambda: not self._lines, seconds)

    def close(self) -> None:
        """Write what waits, if that is possible within a second, and end."""
        self.flush()
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(1.0)
        if self._file is not None and not self._thread.is_alive():
            self._file.close()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._hurry.wait(TOGETHER)
            self._wake.clear()
            self._hurry.clear()
            self._write()

    def _write(self) -> None:
        lines = self._lines
        count = len(lines)
        # They stay until they are written: `flush` waits for that.
        text = "".join([lines[i] for i in range(count)])
        if self.dropped:
            dropped, self.dropped = self.dropped, 0
            text += f"{dropped} lines were left out: they could not be written as fast as said\n"
        if text:
            self._give(text)
        with self._written:
            for _ in range(count):
                lines.popleft()
            self._written.notify_all()

    def _give(self, text: str) -> None:
        try:
            if self.path is None:
                self._stderr.write(text)
                self._stderr.flush()
                return
            self._rotated()
            assert self._file is not None
            self._file.write(text)
            self._file.flush()
            self._failing = False
        except (OSError, ValueError) as error:
            # ValueError: standard error was closed. There is nobody left to be told.
            self._complain(error)

    def _rotated(self) -> None:
        """Open the file anew if it is another by now."""
        assert self.path is not None
        file = self._file
        if file is not None:
            here = os.fstat(file.fileno())
            try:
                there = self.path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return
            file.close()
            self._file = None
        self._file = _opened(self.path)

    def _complain(self, error: Exception) -> None:
        if self.path is None or self._failing:
            return
        self._failing = True
        try:
            self._stderr.write(f"log {self.path}: {error}\n")
            self._stderr.flush()
        except (OSError, ValueError):
            pass


def _opened(path: Path) -> TextIO:
    # What cannot be written in UTF-8 (half a surrogate) must not end the log.
    return path.open("a", encoding="utf-8", errors="backslashreplace")
