"""Lines: how many calls an extension or a trunk may have at once (`max_calls`)."""

from __future__ import annotations

from collections.abc import Mapping

from softswitch.calls import LineCounts
from softswitch.config import Extension
from softswitch.memory import give_back
from softswitch.parties.trunks import Trunks


class Lines(LineCounts):
    """Of extensions: who holds a line, and with how many legs. The holder is the call, since all
    phones of an extension ring for one call; for a caller it is the leg. Trunks count theirs."""

    def __init__(self, extensions: Mapping[str, Extension], trunks: Trunks) -> None:
        self._extensions = extensions
        self._trunks = trunks
        self._held: dict[str, dict[object, int]] = {}

    def __len__(self) -> int:
        """Extensions of which a line is held."""
        return len(self._held)

    def take(self, line: str, holder: object) -> bool:
        """One leg more at `extension:NAME` or `trunk:NAME`; False if `max_calls` are up there."""
        kind, _, name = line.partition(":")
        if kind == "trunk":
            return self._trunks.acquire(name)
        extension = self._extensions.get(name)
        if extension is None or extension.max_calls is None:
            return True
        holders = self._held.setdefault(name, {})
        if holder not in holders and len(holders) >= extension.max_calls:
            return False
        holders[holder] = holders.get(holder, 0) + 1
        return True

    def release(self, line: str, holder: object) -> None:
        """One leg less at `extension:NAME` or `trunk:NAME`."""
        kind, _, name = line.partition(":")
        if kind == "trunk":
            self._trunks.release(name)
        elif name in self._held:
            holders = self._held[name]
            holders[holder] -= 1
            if not holders[holder]:
                del holders[holder]
                if not holders:
                    del self._held[name]

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._held)
