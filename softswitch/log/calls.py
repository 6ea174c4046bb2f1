"""Calls in the log: one line when a call has its route, one when it is answered, one at its end.

This is told of every call, so it makes its lines itself: a `logging.LogRecord` costs as much as a
third of a call. Under load, lines of each call help nobody and cost much: of more calls a second
than a limit says nothing is written, but how many they were.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from softswitch import events
from softswitch.hookspecs import hookimpl
from softswitch.log.lines import Log
from softswitch.log.rate import Rate

log = logging.getLogger("softswitch.calls")

_Key: TypeAlias = tuple[str, int]


class _Said:
    """A passage of a call whose route was said. Times in microseconds."""

    __slots__ = ("answered_at", "parties", "restored")

    def __init__(self) -> None:
        self.answered_at = 0
        self.parties: dict[int, str] = {}
        self.restored = False


class CallLog:
    """A plugin that writes calls into the log; `per_second` is of how many calls at most.

    Calls that the switch refused before it looked for a route have their line from who refused
    them.
    """

    def __init__(self, to: Log, per_second: int, clock: Callable[[], float]) -> None:
        self._put = to.writer.put
        self._json = to.json
        self._rate = Rate(clock, per_second)
        self._least = log.getEffectiveLevel()
        self._calls: dict[_Key, _Said] = {}
        self._started: events.CallStarted | None = None
        self._second = -1
        self._time = ""
        self.unsaid = 0
        """Calls of which nothing was written since `sum_up`."""
        self._takes: dict[type, Callable[..., None]] = {
            events.CallStarted: self._begins,
            events.CallRouted: self._routed,
            events.LegInvited: self._invited,
            events.LegAnswered: self._answered,
            events.CallEnded: self._ended,
            events.CallRestored: self._restored,
        }

    @classmethod
    def wanted(cls) -> bool:
        """Whether any line would be written, as levels are now."""
        return log.isEnabledFor(logging.WARNING)

    @hookimpl
    def call_event(self, event: events.Event) -> None:
        """Write what there is to write of it."""
        take = self._takes.get(type(event))
        if take is not None:
            take(event)

    def sum_up(self) -> None:
        """Say of how many calls nothing was written. Call it now and then."""
        if self.unsaid:
            unsaid, self.unsaid = self.unsaid, 0
            log.info("%d calls without lines of their own (log.calls_per_second)", unsaid)

    def _begins(self, event: events.CallStarted) -> None:
        self._started = event

    def _routed(self, event: events.CallRouted) -> None:
        started = self._started
        if started is None or started.call_id != event.call_id:
            return
        if not self._rate.take():
            self.unsaid += 1
            return
        self._calls[event.call_id, event.incoming] = _Said()
        if self._least > logging.INFO:
            return
        if self._json:
            self._write(
                "info", event.at, "call begins",
                call_id=event.call_id, caller=started.party, caller_number=started.caller,
                caller_name=started.caller_name, address=started.address, dialled=started.dialled,
                match=event.match, where=event.where, number=event.number, leg=event.incoming,
            )  # fmt: skip
            return
        name = f' "{started.caller_name}"' if started.caller_name else ""
        caller = "" if started.party.endswith(f":{started.caller}") else f" ({started.caller})"
        number = "" if event.number == started.dialled else f" as {event.number}"
        self._put(
            f"{self._stamp(event.at)} INFO calls: {event.call_id}{_passage(event.incoming)} begins:"
            f" {started.party}{caller}{name} calls {started.dialled},"
            f" route {event.match} ({event.where}){number}\n"
        )

    def _invited(self, event: events.LegInvited) -> None:
        # A fork calls several: who answers is known by the leg.
        said = self._calls.get((event.call_id, event.incoming))
        if said is not None:
            said.parties[event.leg] = event.party

    def _answered(self, event: events.LegAnswered) -> None:
        found = self._of_leg(event.call_id, event.leg)
        if found is None:
            return
        incoming, said = found
        said.answered_at = event.at
        if self._least > logging.INFO:
            return
        party = said.parties[event.leg]
        if self._json:
            self._write(
                "info", event.at, "call answered",
                call_id=event.call_id, by=party, callee=event.callee, codec=event.codec,
                leg=incoming,
            )  # fmt: skip
            return
        callee = "" if party.endswith(f":{event.callee}") else f" ({event.callee})"
        codec = f", {event.codec}" if event.codec else ""
        self._put(
            f"{self._stamp(event.at)} INFO calls: {event.call_id}{_passage(incoming)} answered by"
            f" {party}{callee}{codec}\n"
        )

    def _of_leg(self, call_id: str, leg: int) -> tuple[int, _Said] | None:
        """The passage to which an outgoing leg belongs. Nearly always that of leg 0."""
        said = self._calls.get((call_id, 0))
        if said is not None and leg in said.parties:
            return 0, said
        for incoming in range(1, leg):
            said = self._calls.get((call_id, incoming))
            if said is not None and leg in said.parties:
                return incoming, said
        return None

    def _ended(self, event: events.CallEnded) -> None:
        said = self._calls.pop((event.call_id, event.leg), None)
        if said is None:
            return
        if said.restored and not self._rate.take():
            self.unsaid += 1
            return
        failed = event.disposition == "failed"
        if self._least > (logging.WARNING if failed else logging.INFO):
            return
        talked = (event.at - said.answered_at) / 1e6 if said.answered_at else None
        if self._json:
            self._write(
                "warning" if failed else "info", event.at, "call ends",
                call_id=event.call_id, disposition=event.disposition, sip_status=event.sip_status,
                reason=event.reason, hangup_by=event.hangup_by, billsec=talked, leg=event.leg,
            )  # fmt: skip
            return
        lasted = "" if talked is None else f" for {talked:.1f} s"
        why = f" {event.reason}" if event.reason else ""
        self._put(
            f"{self._stamp(event.at)} {'WARNING' if failed else 'INFO'} calls:"
            f" {event.call_id}{_passage(event.leg)} ends: {event.disposition}{lasted},"
            f" {event.sip_status}{why}, by the {event.hangup_by}\n"
        )

    def _restored(self, event: events.CallRestored) -> None:
        said = self._calls[event.call_id, event.leg] = _Said()
        said.restored = True
        for told in event.told:
            if type(told) is events.LegInvited:
                said.parties[told.leg] = told.party
            elif type(told) is events.LegAnswered:
                said.answered_at = told.at

    def _stamp(self, at: int) -> str:
        second, rest = divmod(at, 1_000_000)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._time}.{rest // 1000:03d}"

    def _write(self, level: str, at: int, message: str, **said: object) -> None:
        head = {
            "at": datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "area": "calls",
            "message": message,
        }
        self._put(msgspec.json.encode(head | said).decode() + "\n")


def _passage(leg: int) -> str:
    """How a passage of a call that came back to this switch is told from its first."""
    return f" (leg {leg})" if leg else ""
