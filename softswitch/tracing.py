"""Whether messages are kept just now: a switch under load has no work with it.

What is kept is for people, who look at single calls. Who places a thousand calls a second looks at
figures, and wants each call to cost as little as it can.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger("softswitch.sip.trace")

_QUIET: Final = 3
"""Seconds in a row without too many calls after which messages are kept again."""


class Keeping:
    """`most` calls that may begin in a second (0: any number). `keep` is told whether to keep
    messages, when that changes."""

    def __init__(self, most: float, keep: Callable[[bool], None]) -> None:
        self.most = most
        self._keep = keep
        self._calls = 0
        self._quiet = 0
        self.on = True
        self.paused_at: float | None = None
        """When it last stopped, in seconds since 1970; None while it never has."""

    def next_second(self, calls: int, now: float) -> None:
        """So many calls have begun since the start. Call it every second."""
        begun, self._calls = calls - self._calls, calls
        if self.most and begun > self.most:
            self._quiet = 0
            if self.on:
                self.on, self.paused_at = False, now
                log.info("messages are not kept while more than %g calls a second begin", self.most)
                self._keep(False)
        elif not self.on:
            self._quiet += 1
            if self._quiet >= _QUIET or not self.most:
                self.on, self._quiet = True, 0
                self._keep(True)
