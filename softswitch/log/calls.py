"""Calls in the log: one line when a call has its route, one when it is answered, one at its end.

Every call passes here, so it makes its lines itself: a `logging.LogRecord` costs many times as
much. Under load, lines of each call help nobody and cost much: of more calls a second than a limit
says nothing is written, but how many they were.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

import msgspec

from softswitch import events
from softswitch.log.lines import Log

log = logging.getLogger("softswitch.calls")


class CallLog:
    """Writes calls into the log; `per_second` is of how many calls at most. Call `next_second`
    every second.

    Calls that the switch refused before it looked for a route have their line from who refused
    them.
    """

    def __init__(self, to: Log, per_second: int) -> None:
        self._put = to.writer.put
        self._json = to.json
        self._per_second = self.left = per_second
        self._least = log.getEffectiveLevel()
        self._second = -1
        self._time = ""
        self.unsaid = 0
        """Calls of which nothing was written since `sum_up`."""

    @classmethod
    def wanted(cls) -> bool:
        """Whether any line would be written, as levels are now."""
        return log.isEnabledFor(logging.WARNING)

    def sum_up(self) -> None:
        """Say of how many calls nothing was written. Call it now and then."""
        if self.unsaid:
            unsaid, self.unsaid = self.unsaid, 0
            log.info("%d calls without lines of their own (log.calls_per_second)", unsaid)

    def next_second(self) -> None:
        """A second is over."""
        self.left = self._per_second

    def takes(self) -> bool:
        """Whether one more call has lines of its own."""
        # Counted down and not timed: it is asked of every call.
        if self.left:
            self.left -= 1
            return True
        self.unsaid += 1
        return False

    def begins(self, started: events.CallStarted, routed: events.CallRouted) -> bool:
        """A call has its route; whether it is to be written how it goes on."""
        if not self.takes():
            return False
        if self._least > logging.INFO:
            return True
        if self._json:
            self._write(
                "info", routed.at, "call begins",
                call_id=routed.call_id, caller=started.party, caller_number=started.caller,
                caller_name=started.caller_name, address=started.address, dialled=started.dialled,
                match=routed.match, where=routed.where, number=routed.number, leg=started.leg,
            )  # fmt: skip
            return True
        name = f' "{started.caller_name}"' if started.caller_name else ""
        caller = "" if started.party.endswith(f":{started.caller}") else f" ({started.caller})"
        number = "" if routed.number == started.dialled else f" as {routed.number}"
        self._put(
            f"{self._stamp(routed.at)} INFO calls: {routed.call_id}{_passage(started.leg)} begins:"
            f" {started.party}{caller}{name} calls {started.dialled},"
            f" route {routed.match} ({routed.where}){number}\n"
        )
        return True

    def answered(self, event: events.LegAnswered, party: str, incoming: int) -> None:
        """`party` has answered the call that came in on leg `incoming`."""
        if self._least > logging.INFO:
            return
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

    def referred(self, event: events.LegReferred, party: str, incoming: int) -> None:
        """`party` transfers whom it talks with, in the call that came in on leg `incoming`."""
        if self._least > logging.INFO:
            return
        if self._json:
            self._write(
                "info", event.at, "call transferred",
                call_id=event.call_id, by=party, to=event.to, how=event.how, status=event.status,
                leg=incoming,
            )  # fmt: skip
            return
        result = f": {event.status}" if event.status else ""
        self._put(
            f"{self._stamp(event.at)} INFO calls: {event.call_id}{_passage(incoming)}"
            f" is transferred by {party} to {event.to} ({event.how}){result}\n"
        )

    def ends(self, event: events.CallEnded, talked: float | None) -> None:
        """A call is over; `talked` is how long it was answered, in seconds."""
        failed = event.disposition == "failed"
        if self._least > (logging.WARNING if failed else logging.INFO):
            return
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
