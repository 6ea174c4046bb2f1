"""The messages of a call, found among those that are kept.

The way is long (some ten thousand messages), and calls must not wait for it: it is gone a few
hundred at a time, with whatever else there is to do in between.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Final

from softswitch.sip import Entry, Ring
from softswitch.trace.dialogs import Dialogs
from softswitch.trace.wire import Seen, call_id_of, head_of, seen

AT_ONCE: Final = 200
"""Messages that are looked at before something else gets a turn."""
MOST: Final = 5_000
"""Messages of one call that are shown."""


@dataclass(slots=True)
class Story:
    """What was seen of a call. `asked` is what was asked for, `call_id` the callID (empty: none is
    known), `parties` the dialogs' SIP Call-IDs, each with its party, `into` the older call that it
    has become part of. `since`: what went before is not kept any more, in seconds since 1970; None:
    nothing is kept. `more`: there are more messages than `MOST`."""

    asked: str
    switch: str
    call_id: str = ""
    into: str = ""
    parties: dict[str, str] = field(default_factory=dict)
    since: float | None = None
    more: bool = False
    messages: list[Seen] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """All but the messages, for JSON."""
        return {
            "asked": self.asked,
            "switch": self.switch,
            "call_id": self.call_id,
            "merged_into": self.into,
            "parties": {_shown(sip): party for sip, party in self.parties.items()},
            "since": self.since,
            "more": self.more,
        }

    @classmethod
    def of_json(cls, about: dict[str, Any], messages: list[dict[str, Any]]) -> Story:
        """What `about` and the messages' `in_json` gave."""
        return cls(
            about["asked"],
            about["switch"],
            about["call_id"],
            about["merged_into"],
            dict(about["parties"]),
            about["since"],
            about["more"],
            [Seen.of_json(message) for message in messages],
        )


def _shown(text: str) -> str:
    # JSON has no place for bytes that are no UTF-8.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Finder:
    """Finds calls among what `ring` keeps, by the `dialogs` that are known. `header` is the one
    that carries the callID between our switches."""

    def __init__(self, ring: Ring, dialogs: Dialogs, switch: str, header: str) -> None:
        self._ring = ring
        self._dialogs = dialogs
        self._switch = switch
        self._named = re.compile(
            rb"\n" + re.escape(header.encode()) + rb"[ \t]*:\s*([0-9a-f-]{36})", re.I
        )

    async def story(self, asked: str) -> Story:
        """Of a call, by its callID or by the SIP Call-ID of one of its dialogs. Without any
        message if there are none."""
        dialogs = self._dialogs
        call_id = asked.lower() if dialogs.of(asked.lower()) else dialogs.call_of(asked)
        story = Story(asked, self._switch, call_id, dialogs.merged_into(call_id))
        story.parties = dict(dialogs.of(call_id))
        # As of now: what comes while this is looked through does not matter.
        entries = list(self._ring.entries)
        if entries:
            story.since = entries[0][0]
        wanted = set(story.parties)
        if not wanted:
            wanted = {asked, *await self._carrying(asked, entries)}
        needles = [one.encode("utf-8", "surrogateescape") for one in wanted]
        for number, entry in enumerate(entries, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            data = entry[5]
            if any(needle in data for needle in needles) and call_id_of(data) in wanted:
                if len(story.messages) >= MOST:
                    story.more = True
                    break
                story.messages.append(seen(entry))
        return story

    async def _carrying(self, asked: str, entries: list[Entry]) -> set[str]:
        """The SIP Call-IDs of messages that carry a callID: of a call that this switch has
        forgotten."""
        found: set[str] = set()
        needle = asked.lower().encode("utf-8", "replace")
        if len(needle) != 36:
            return found
        for number, entry in enumerate(entries, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if needle in entry[5]:
                named = self._named.search(head_of(entry[5]))
                if named is not None and named[1].lower() == needle:
                    found.add(call_id_of(entry[5]))
        return found
