"""Which SIP dialogs belong to a call: their Call-IDs, of the calls there are and of the last ones
that have ended."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

CALL_BYTES: Final = 4096
"""Bytes of the messages of a short call: of one that is refused at once."""
ENDED: Final = 4_000
"""Calls that have ended whose dialogs are remembered: more than have messages in 16 MB."""


class Dialogs:
    """By callID. Two calls that have become one share theirs."""

    def __init__(self, most: int = ENDED) -> None:
        self._most = most
        # Of each call the Call-ID of a dialog and its party, in turn: every call makes such a list.
        self._live: dict[str, list[str]] = {}
        self._ended: dict[str, list[str]] = {}
        self._into: dict[str, str] = {}
        self.calls: dict[str, str] | None = None
        """CallIDs by the SIP Call-IDs of all that are known, for who wants them of each message."""

    def take_up(self, most: int) -> None:
        """Remember so many that have ended."""
        self._most = most

    def __len__(self) -> int:
        """Calls whose dialogs are known."""
        return len(self._live) + len(self._ended)

    def want_calls(self) -> None:
        """Keep `calls` from here on."""
        if self.calls is None:
            self.calls = {}
            for calls in (self._ended, self._live):
                for call_id, dialogs in calls.items():
                    self.calls.update(dict.fromkeys(dialogs[::2], call_id))

    def began(self, call_id: str, sip_call_id: str, party: str) -> None:
        """A call has a dialog more, or the same once more."""
        dialogs = self._of_living(call_id)
        if sip_call_id not in dialogs:
            dialogs.append(sip_call_id)
            dialogs.append(party)
            if self.calls is not None:
                self.calls[sip_call_id] = call_id

    def _of_living(self, call_id: str) -> list[str]:
        dialogs = self._live.get(call_id)
        if dialogs is None:
            # One that has ended here may come by again.
            dialogs = self._ended.pop(call_id, None)
            if dialogs is None:
                dialogs = []
            self._live[call_id] = dialogs
        return dialogs

    def ended(self, call_id: str) -> None:
        """A passage of a call is over."""
        dialogs = self._live.pop(call_id, None)
        if dialogs is None:
            return
        ended = self._ended
        ended[call_id] = dialogs
        while len(ended) > self._most:
            oldest = next(iter(ended))
            for sip_call_id in ended.pop(oldest)[::2]:
                if self.calls is not None and self.calls.get(sip_call_id) == oldest:
                    del self.calls[sip_call_id]
            self._into.pop(oldest, None)

    def go_on(self, alive: Container[str]) -> None:
        """Nothing was told for a while: calls that are not `alive` have ended."""
        for call_id in [one for one in self._live if one not in alive]:
            self.ended(call_id)

    def merged(self, call_id: str, into: str) -> None:
        """A call has become part of an older one."""
        younger = self._live.get(call_id)
        older = self._of_living(into)
        if younger is None or older is younger:
            return
        for number in range(0, len(younger), 2):
            if younger[number] not in older:
                older.append(younger[number])
                older.append(younger[number + 1])
        if self.calls is not None:
            for sip_call_id in younger[::2]:
                self.calls[sip_call_id] = into
        self._live[call_id] = older
        self._into[call_id] = into

    def of(self, call_id: str) -> dict[str, str]:
        """Its dialogs' SIP Call-IDs, each with the party; empty if the call is not known."""
        found = self._live.get(call_id)
        if found is None:
            found = self._ended.get(call_id)
        return {} if found is None else dict(zip(found[::2], found[1::2], strict=True))

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
