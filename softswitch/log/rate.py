"""So many a second, and no more: the measure of whatever others can make a switch say."""

from __future__ import annotations

from collections.abc import Callable


class Rate:
    """At most `per_second` a second, and so many at once after a quiet second. `clock` gives
    seconds and never goes back."""

    __slots__ = ("_at", "_clock", "_left", "_most")

    def __init__(self, clock: Callable[[], float], per_second: int) -> None:
        self._clock = clock
        self._most = float(per_second)
        self._left = self._most
        self._at = clock()

    def take(self) -> bool:
        """One more; false if that is too many."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
