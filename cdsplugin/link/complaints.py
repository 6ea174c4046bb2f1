"""How often strangers may write into our log: a few lines a minute for each address."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Told:
    since: float
    lines: int = 0
    unsaid: int = 0


class Complaints:
    """Counts what there is to say of each address. ``hosts`` are remembered at most; of more, the
    one first complained of is forgotten.
    """

    def __init__(self, lines: int = 10, within: float = 60.0, hosts: int = 1000) -> None:
        self._lines = lines
        self._within = within
        self._hosts = hosts
        self._told: dict[str, _Told] = {}

    def about(self, host: str, now: float) -> str | None:
        """None if nothing more is to be said of ``host`` for now, else what to add to the line.

        ``now`` is in seconds, monotonic.
        """
        told = self._told.get(host)
        if told is None:
            if len(self._told) >= self._hosts:
                del self._told[next(iter(self._told))]
            told = self._told[host] = _Told(now)
        elif now - told.since > self._within:
            told.since, told.lines = now, 0
        if told.lines >= self._lines:
            told.unsaid += 1
            return None
        told.lines += 1
        unsaid, told.unsaid = told.unsaid, 0
        if unsaid:
            return f" (as were {unsaid} more from {host} that were not named)"
        if told.lines == self._lines:
            return f"; more from {host} will not be named for a while"
        return ""
