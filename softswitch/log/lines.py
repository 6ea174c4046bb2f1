"""Lines as they are written: the program's loggers in text or JSON, as its configuration says."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from softswitch.config import Log as Settings
from softswitch.log.areas import AREAS, area
from softswitch.log.rate import Rate
from softswitch.log.writer import Writer

log = logging.getLogger("softswitch")

_LEVEL_OF_NAME: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_UNSAID_AFTER: Final = 10.0
"""Seconds after which it is said how many lines of a kind were left out."""


UNLIMITED: Final = {"limited": False}
"""The `extra` of lines whose number is limited by who says them."""


class Log:
    """The log of a process: from `open` to `close` all loggers write to it.

    `at_start` is said on the command line: a level, and whether SIP is traced. It counts more than
    what the file says, also after that was read again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        level: str | None = None,
        trace_sip: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._level = level
        self._trace_sip = trace_sip
        self._clock = clock
        self._handler: _Handler | None = None
        self._before: tuple[int, list[logging.Handler]] | None = None
        self.settings = settings
        self.writer: Writer

    @property
    def trace_sip(self) -> bool:
        """Whether whole SIP messages are written."""
        return self._trace_sip or self.settings.trace_sip

    @property
    def json(self) -> bool:
        """Whether lines are JSON objects."""
        return self.settings.format == "json"

    def open(self) -> None:
        """Take over all loggers. Raises `OSError` if the file cannot be written."""
        root = logging.getLogger()
        self.writer = Writer(self.settings.file)
        self._before = root.level, root.handlers[:]
        self._handler = _Handler(self.writer, self.settings, self._clock)
        root.handlers[:] = [self._handler]
        self._set_levels()

    def take_up(self, settings: Settings) -> None:
        """Go on with other settings. Raises `OSError`, and goes on as before, if the new file
        cannot be written."""
        assert self._handler is not None
        if settings.file != self.settings.file:
            writer = Writer(settings.file)
            # Beside: what it has still to write may wait for somebody who does not read.
            threading.Thread(target=self.writer.close, daemon=True, name="log ends").start()
            self.writer = writer
        self.settings = settings
        self._handler = _Handler(self.writer, settings, self._clock)
        logging.getLogger().handlers[:] = [self._handler]
        self._set_levels()

    def write(self, record: logging.LogRecord) -> None:
        """A line whatever was said before it: neither levels nor rates are looked at."""
        assert self._handler is not None
        self.writer.put(self._handler.line(record, one=False) + "\n")

    def say(self, text: str) -> None:
        """A line for whoever started this process: to standard error, after all that was said
        before, and to the file too if there is one. It is written when this returns."""
        if self.settings.file is None and not self.json:
            self.writer.put(text + "\n")
        else:
            self.write(log.makeRecord(log.name, logging.INFO, "", 0, "%s", (text,), None))
        self.writer.flush()
        if self.settings.file is not None:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Write what waits, and leave the loggers as they were."""
        root = logging.getLogger()
        if self._before is not None:
            level, handlers = self._before
            root.setLevel(level)
            root.handlers[:] = handlers
        self.writer.close()

    def _set_levels(self) -> None:
        settings = self.settings
        level = self._level or settings.level
        logging.getLogger().setLevel(_LEVEL_OF_NAME[level])
        for name, prefixes in AREAS.items():
            # What the command line says is for all areas.
            own = None if self._level else settings.levels.get(name)
            for prefix in prefixes:
                logging.getLogger(prefix).setLevel(_LEVEL_OF_NAME[own] if own else logging.NOTSET)


class _Kind:
    """Lines that one place in the code says."""

    __slots__ = ("rate", "since", "unsaid")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.unsaid = 0
        self.since = 0.0


class _Handler(logging.Handler):
    """Formats lines and hands them to the writer; too many of a kind are counted instead."""

    def __init__(self, writer: Writer, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__()
        self._writer = writer
        self._json = settings.format == "json"
        self._per_second = settings.lines_per_second
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it."""
        try:
            if not getattr(record, "limited", True):
                self._writer.put(self.line(record) + "\n")
                return
            key = record.name, str(record.msg)
            kind = self._kinds.get(key)
            if kind is None:
                if len(self._kinds) > 1000:
                    # Texts that are made up, each another: no kinds.
                    self._kinds.clear()
                kind = self._kinds[key] = _Kind(Rate(self._clock, self._per_second))
            if not kind.rate.take():
                if not kind.unsaid:
                    kind.since = self._clock()
                kind.unsaid += 1
                return
            if kind.unsaid and self._clock() - kind.since >= _UNSAID_AFTER:
                unsaid, kind.unsaid = kind.unsaid, 0
                record.msg = f"{record.getMessage()} (and {unsaid} lines like this one before)"
                record.args = None
            self._writer.put(self.line(record) + "\n")
        except Exception:
            self.handleError(record)

    def line(self, record: logging.LogRecord, one: bool = True) -> str:
        """The line, without its end. `one`: whatever is in it, it does not begin another, but for
        what was raised."""
        message = record.getMessage()
        if one and not self._json:
            message = message.replace("\n", "\\n").replace("\r", "\\r")
        trace = ""
        if record.exc_info:
            trace = _FORMATTER.formatException(record.exc_info)
        if not self._json:
            seconds, ms = divmod(int(record.created * 1000), 1000)
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
            line = f"{at}.{ms:03d} {record.levelname} {area(record.name)}: {message}"
            return f"{line}\n{trace}" if trace else line
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "area": area(record.name),
            "message": message,
        }
        if trace:
            said["traceback"] = trace
        return msgspec.json.encode(said).decode()


_FORMATTER = logging.Formatter()
