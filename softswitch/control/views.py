"""What a switch tells of itself, for plugins: `softswitch.hookspecs.Views`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from softswitch.control.asking import put_together
from softswitch.control.listening import Wrong
from softswitch.control.status import Status
from softswitch.control.traced import Traced
from softswitch.trace import Seen, Story, capture, svg_lines, text_lines

_AT_ONCE: Final = 20
"""Messages that are drawn before something else gets a turn."""


class SwitchViews:
    """Of the switch in this process."""

    def __init__(self, status: Status, traced: Traced) -> None:
        self._status = status
        self._traced = traced

    async def status(self, sections: Sequence[str] | None, rows: int) -> dict[str, Any]:
        """See `Views`."""
        asked = {"rows": rows} if sections is None else {"rows": rows, "sections": list(sections)}
        told: dict[str, Any] = {}
        try:
            async for piece in self._status.answer(asked):
                put_together(told, piece)
                await asyncio.sleep(0)
        except Wrong as wrong:
            raise LookupError(str(wrong)) from None
        return told

    async def trace(self, call: str, form: str, bodies: bool = False) -> bytes:
        """See `Views`."""
        try:
            story = await self._traced.story(call)
        except Wrong as wrong:
            raise LookupError(str(wrong)) from None
        if not story.messages:
            raise LookupError(f"no message of {call[:200]} is kept")
        story.messages = await _masked(story)
        if form == "pcap":
            return await _joined(capture(story.messages))
        if form == "svg":
            return await _joined(_lines(svg_lines(story)))
        if form == "text":
            return await _joined(_lines(text_lines(story, bodies)))
        told = story.about()
        told["messages"] = [one.in_json() | {"summary": one.summary} for one in story.messages]
        return json.dumps(told).encode()


async def _masked(story: Story) -> list[Seen]:
    found = []
    for number, one in enumerate(story.messages, 1):
        found.append(one.masked())
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def _lines(lines: Iterable[str]) -> Iterable[bytes]:
    return (line.encode("utf-8", "replace") + b"\n" for line in lines)


async def _joined(parts: Iterable[bytes]) -> bytes:
    found = []
    for number, part in enumerate(parts, 1):
        found.append(part)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return b"".join(found)
