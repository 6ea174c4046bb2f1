"""Refused calls: INVITEs that this switch itself refuses before there is a call of them.

Each is counted by its reason. Where it is known who calls (a trunk by its address, a phone by its
password) the log says so in a line and the call has its record, by the events that any call has.
Both have a limit, as who is refused tries again and again; what goes beyond is counted, and said in
one line now and then. Of strangers there is the count alone.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from softswitch import events
from softswitch.calls.core import Caller, Core
from softswitch.calls.outcome import disposition
from softswitch.dialplan import Source
from softswitch.log import Rate
from softswitch.memory import give_back
from softswitch.sip import Flow, Request, parse_uri, readable

log = logging.getLogger(__name__)

UNREADABLE: Final = "unreadable"
BAD_EXTENSION: Final = "bad-extension"
MEDIA: Final = "media"
TOO_MANY_HOPS: Final = "too-many-hops"
LOOP: Final = "loop"
FULL: Final = "full"
DRAINING: Final = "draining"
LINE_FULL: Final = "line-full"

REASONS: Final = (
    UNREADABLE,
    BAD_EXTENSION,
    MEDIA,
    TOO_MANY_HOPS,
    LOOP,
    FULL,
    DRAINING,
    LINE_FULL,
)
"""Why an INVITE is refused, as counted: no other names appear (``docs/sip.md``)."""

LINES: Final = 10
"""Lines in the log a second, about refused calls."""
SUM_UP_EVERY: Final = 10.0
"""Seconds between lines about those that had none of their own, or no record."""

# 400, 416, 505, 513 are not here: what is left cannot be read.
_BY_STATUS: Final = {
    420: BAD_EXTENSION,
    415: MEDIA,
    488: MEDIA,
    483: TOO_MANY_HOPS,
    482: LOOP,
    503: FULL,
}
_LONGEST_URI: Final = 128
"""Characters kept of a Request-URI that cannot be read."""


def reason_of_status(status: int) -> str:
    """Which of `REASONS` a final response means, where nothing else is known of it."""
    return _BY_STATUS.get(status, UNREADABLE)


def same_request(request: Request, flow: Flow) -> int:
    """The same number for a request and its copies (§17.1.1.2), though no transaction is kept."""
    get = request.get
    return hash((flow.transport, flow.remote, get("via"), get("call-id"), get("cseq")))


class Refusals:
    """All that is known of them: counts, and for a moment the INVITEs that have a record.

    `records` is how many of them may have one, a second (`limits.refused_records`).
    """

    def __init__(self, core: Core, records: int) -> None:
        self._core = core
        clock = core.timers.clock
        self._lines = Rate(clock, LINES)
        self._records = Rate(clock, records)
        self._recent: set[int] = set()
        self._unsaid = 0
        self._without = 0
        self.counts: dict[str, int] = dict.fromkeys(REASONS, 0)
        """INVITEs refused since the start, by reason."""
        self.unrecorded = 0
        """Refused calls of known callers that have no record, as there were too many."""

    def take_up(self, records: int) -> None:
        """Go on with another limit."""
        self._records = Rate(self._core.timers.clock, records)

    def __len__(self) -> int:
        """INVITEs that were refused without a transaction, have a record, and may come again: no
        more than `limits.refused_records` for each second of 64*T1."""
        return len(self._recent)

    def count(
        self,
        why: str,
        source: Source | None,
        request: Request,
        flow: Flow,
        status: int,
        reason: str,
    ) -> None:
        """Count a refused INVITE, and say so if it is known who calls. `why` is of `REASONS`."""
        self.counts[why] += 1
        if source is not None:
            self.say(source, request, flow, status, reason)

    def say(self, source: Source, request: Request, flow: Flow, status: int, reason: str) -> None:
        """Say that a call of one who is known is refused, if that is not too many lines."""
        if not self._lines.take():
            self._unsaid += 1
            return
        host, port = flow.remote
        most = self._core.settings.max_text
        log.warning(
            "a call of %s (%s:%s:%d) to %r is refused: %d %s",
            *(source, flow.transport, host, port, _dialled(request, most), status, reason),
        )

    def admits(self, request: Request, flow: Flow, stateless: bool) -> bool:
        """Whether a refused call is to have a record: one of its own, and not too many of them.

        `stateless`: without a transaction, so that an INVITE that is sent again (§17.1.1.2) comes
        here again. Those that have a record are remembered for as long as that may happen.
        """
        key = 0
        if stateless:
            key = same_request(request, flow)
            if key in self._recent:
                return False
        if not self._records.take():
            self.unrecorded += 1
            self._without += 1
            return False
        if stateless:
            self._recent.add(key)
            again_within = self._core.transactions.layer.timeout
            self._core.timers.after(again_within, partial(self._recent.discard, key))
        return True

    def record(
        self,
        call_id: str,
        owner: str,
        origin: bool,
        source: Source,
        identity: Caller,
        request: Request,
        flow: Flow,
        status: int,
        reason: str,
    ) -> None:
        """Tell of a call that begins and ends with this INVITE; nothing is kept of it.

        Neither a dialog nor a transaction is needed: there may be none, for want of room or of a
        Contact that can be read.
        """
        core = self._core
        most = core.settings.max_text
        numbers = core.numbers
        numbers.begin(call_id)
        leg = numbers.next(call_id)
        at = numbers.base(call_id) + core.steady_us()
        host, port = flow.remote
        core.emit(
            events.CallStarted(
                call_id=call_id,
                at=at,
                switch=core.name,
                site=core.site,
                owner=owner,
                origin=origin,
                caller=identity.number,
                caller_name=identity.name,
                dialled=_dialled(request, most),
                party=str(source),
                address=f"{flow.transport}:{host}:{port}",
                user_agent=readable(request.get("user-agent") or "", most),
                sip_call_id=readable(request.get("call-id") or "", most),
                leg=leg,
            )
        )
        core.emit(
            events.LegEnded(
                call_id=call_id,
                at=at,
                switch=core.name,
                leg=leg,
                status=status,
                reason=readable(reason, most),
                by="switch",
            )
        )
        core.emit(
            events.CallEnded(
                call_id=call_id,
                at=at,
                switch=core.name,
                disposition=disposition(status),
                sip_status=status,
                reason=readable(reason, most),
                hangup_by="switch",
                leg=leg,
            )
        )
        numbers.end(call_id, origin)

    def sum_up(self) -> None:
        """Say how many there were of which nothing was said. Call every `SUM_UP_EVERY` seconds."""
        if self._unsaid or self._without:
            log.warning(
                "refused calls of which nothing was said: %d; without a record, being more than "
                "limits.refused_records: %d",
                *(self._unsaid, self._without),
            )
            self._unsaid = self._without = 0

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._recent)


def _dialled(request: Request, most: int) -> str:
    """The number that an INVITE asks for; of a Request-URI that cannot be read all that is there,
    cut short."""
    try:
        return readable(parse_uri(request.uri).user, most)
    except ValueError:
        return readable(request.uri, min(most, _LONGEST_URI))
