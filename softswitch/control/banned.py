"""The addresses that are banned, for `softswitch ban` and `softswitch status`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from softswitch.control.listening import Asked, Wrong
from softswitch.control.status import PIECE
from softswitch.switch import Switch


class Banned:
    """Of one switch."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def rows(self) -> list[dict[str, Any]]:
        """All bans, the newest last."""
        now = self._switch.timers.clock()
        return [
            {
                "address": ban.address,
                "why": ban.why,
                "for": round(now - ban.since),
                "left": max(0, round(ban.until - now)),
            }
            for ban in self._switch.bans.listed()
        ]

    async def answer(self, asked: Asked) -> AsyncIterator[Mapping[str, object]]:
        """The verb `ban`: `{"do": "list"}`, `{"do": "lift", "address": …}`, `{"do": "add",
        "address": …, "seconds": …}`."""
        do, address = asked.get("do", "list"), asked.get("address", "")
        bans = self._switch.bans
        if not isinstance(address, str) or (do in ("lift", "add") and not address):
            raise Wrong("`address`: expected an IP address")
        if do == "list":
            rows = self.rows()
            for at in range(0, len(rows), PIECE):
                yield {"bans": rows[at : at + PIECE]}
        elif do == "lift":
            if address == "all":
                yield {"lifted": sum(bans.lift(ban.address) for ban in bans.listed())}
            elif bans.lift(address):
                yield {"lifted": 1}
            else:
                raise Wrong(f"{address[:100]} is not banned")
        elif do == "add":
            seconds = asked.get("seconds", 3600)
            if not isinstance(seconds, int | float) or not 0 < seconds <= 10 * 366 * 86_400:
                raise Wrong("`seconds`: expected for how long")
            try:
                ban = bans.add(address, float(seconds))
            except ValueError as error:
                raise Wrong(str(error)) from error
            yield {"banned": ban.address}
        else:
            raise Wrong("`do`: expected list, lift or add")
