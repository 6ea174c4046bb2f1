"""Which SIP dialogs belong to a call: their Call-IDs, of the calls there are and of the last ones
that have ended. Told by events (`softswitch.events`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from softswitch.events import (
    CallEnded,
    CallMerged,
    CallRestored,
    CallStarted,
    Event,
    LegInvited,
    LegMoved,
)

CALL_BYTES: Final = 4096
"""Bytes of the messages of a short call: of one that is refused at once."""
ENDED: Final = 4_000
"""Calls that have ended whose dialogs are remembered: more than have messages in 16 MB."""


class Dialogs:
    """By callID. Two calls that have become one share theirs."""

    def __init__(self, most: int = ENDED) -> None:
        self._most = most
        self._live: dict[str, dict[str, str]] = {}
        self._ended: dict[str, dict[str, str]] = {}
        self._into: dict[str, str] = {}
        self._takes: dict[type, Callable[[Any], None]] = {
            CallStarted: self._began,
            LegInvited: self._began,
            LegMoved: self._began,
            CallEnded: self._ended_one,
            CallMerged: self._merged,
            CallRestored: self._restored,
        }
        self.calls: dict[str, str] | None = None
        """CallIDs by the SIP Call-IDs of living calls, for who wants them of each message."""

    def take_up(self, most: int) -> None:
        """Remember so many that have ended."""
        self._most = most

    def __len__(self) -> int:
        """Calls whose dialogs are known."""
        return len(self._live) + len(self._ended)

    def want_calls(self) -> None:
        """Keep `calls` from here on."""
        if self.calls is None:
            self.calls = {sip: call for call, all_ in self._live.items() for sip in all_}

    def told(self, event: Event) -> None:
        """Something happened to a call. Most of it is no matter here."""
        take = self._takes.get(type(event))
        if take is not None:
            take(event)

    def of(self, call_id: str) -> dict[str, str]:
        """Its dialogs' SIP Call-IDs, each with the party; empty if the call is not known."""
        found = self._live.get(call_id)
        return found if found is not None else self._ended.get(call_id, {})

    def call_of(self, sip_call_id: str) -> str:
        """The callID of a dialog; empty if it is not known."""
        for calls in (self._live, self._ended):
            for call_id, dialogs in calls.items():
                if sip_call_id in dialogs:
                    return call_id
        return ""

    def merged_into(self, call_id: str) -> str:
        """The older call that a call has become part of; empty if none."""
        return self._into.get(call_id, "")

    def _began(self, event: CallStarted | LegInvited | LegMoved) -> None:
        call_id, sip_call_id = event.call_id, event.sip_call_id
        dialogs = self._live.get(call_id)
        if dialogs is None:
            # One that has ended here may come by again.
            dialogs = self._ended.pop(call_id, None)
            if dialogs is None:
                dialogs = {}
            self._live[call_id] = dialogs
        if sip_call_id:
            dialogs[sip_call_id] = event.party
            if self.calls is not None:
                self.calls[sip_call_id] = call_id

    def _ended_one(self, event: CallEnded) -> None:
        call_id = event.call_id
        dialogs = self._live.pop(call_id, None)
        if dialogs is None:
            return
        if self.calls is not None:
            for sip_call_id in dialogs:
                if self.calls.get(sip_call_id) == call_id:
                    del self.calls[sip_call_id]
        ended = self._ended
        ended[call_id] = dialogs
        while len(ended) > self._most:
            oldest = next(iter(ended))
            del ended[oldest]
            self._into.pop(oldest, None)

    def _merged(self, event: CallMerged) -> None:
        call_id, into = event.call_id, event.into
        younger, older = self.of(call_id), self._live.get(into)
        if older is None or older is younger:
            return
        older.update(younger)
        if call_id in self._live:
            self._live[call_id] = older
        self._into[call_id] = into

    def _restored(self, event: CallRestored) -> None:
        for told in event.told:
            self.told(told)
