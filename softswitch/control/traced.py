"""The messages of a call, for `softswitch trace`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from softswitch.control.listening import Asked, Wrong
from softswitch.sip import Ring
from softswitch.switch import Switch
from softswitch.trace import Finder, Story

PIECE: Final = 50
"""Messages a line."""


class Traced:
    """Of one switch, among what `ring` keeps."""

    def __init__(self, switch: Switch, ring: Ring) -> None:
        self._switch = switch
        self._ring = ring

    async def answer(self, asked: Asked) -> AsyncIterator[Mapping[str, object]]:
        """The verb `trace`: `{"call": ID, "credentials": false}`, a callID or a SIP Call-ID. First
        comes `about`, then `messages`; secrets only with `credentials`."""
        call, secrets = asked.get("call"), asked.get("credentials", False)
        if not isinstance(call, str) or not call:
            raise Wrong("`call`: expected a callID, or a SIP Call-ID")
        story = await self.story(call)
        yield {"about": story.about()}
        for first in range(0, len(story.messages), PIECE):
            some = story.messages[first : first + PIECE]
            yield {
                "messages": [(one if secrets is True else one.masked()).in_json() for one in some]
            }

    async def story(self, call: str) -> Story:
        """Of a call, secrets included. Raises `Wrong` if no messages are kept at all."""
        switch = self._switch
        if not self._ring.most or switch.dialogs is None:
            raise Wrong("no messages are kept: trace.bytes is 0")
        header = switch.config.switch.call_id_header
        return await Finder(self._ring, switch.dialogs, switch.name, header).story(call)
