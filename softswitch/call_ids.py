"""The callID of a call that comes in: carried by another of our switches, or made here."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.calls import CarriedCallID, make_call_id, read_call_id, take_up
from softswitch.dialplan import Source
from softswitch.sip import Request, Tokens


class CallIDs:
    """`header` carries callIDs, `owner` is this switch's server (empty: it has none); `now_us` is
    the time of day, in microseconds."""

    def __init__(self, header: str, owner: str, now_us: Callable[[], int], tokens: Tokens) -> None:
        self._header = header.lower()
        self._owner = owner
        self._now_us = now_us
        self._tokens = tokens

    def of(self, request: Request, source: Source) -> tuple[CarriedCallID, bool, bool]:
        """The callID and the server that owns it; whether the callID is made here; and whether
        this switch tells of the call as a whole (`take_up`)."""
        if source.switch and self._header in request.headers:
            carried = read_call_id(request.headers[self._header][0])
            if carried is not None:
                named, first = take_up(carried, self._owner)
                return named, False, first
        return self.made(), True, True

    def made(self) -> CarriedCallID:
        """The callID of a call that begins here."""
        return CarriedCallID(make_call_id(self._now_us(), self._tokens), self._owner)
