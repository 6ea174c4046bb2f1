"""What call-state events say, as values of call data (``docs/call-data.md`` lists every name)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cdsplugin.data import FIRST, LATER, Once, Value, check_name, leg_name, passage_name
from cdsplugin.tms.passages import Leg, Passage, SwitchCall
from softswitch.events import (
    CallEnded,
    CallerTold,
    CallRouted,
    CallStarted,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegRinging,
)

log = logging.getLogger("cdsplugin.tms")

Values = dict[str, Value | Once]


class EventValues:
    """Of the events of one switch. Each takes the call as it was before the event and changes it;
    times (``at``) are in the time base of the call's owner."""

    def __init__(self, switch: str) -> None:
        self.switch = switch
        self._leg_names = [leg_name(switch, n) for n in range(16)]
        self._reserved_said: set[str] = set()

    def started(self, call: SwitchCall, event: CallStarted, at: int) -> Values:
        """A passage begins."""
        leg: Leg = {
            "direction": "in",
            "party": _text(event.party),
            "address": event.address,
            "user_agent": _text(event.user_agent),
            "sip_call_id": _text(event.sip_call_id),
            "invited_at": at,
        }
        if not event.origin:
            # For the view at the end, should this process not live to see it; and for the record,
            # should the owner never be reached.
            leg["site"] = event.site
            leg["caller"] = _text(event.caller)
            leg["caller_name"] = _text(event.caller_name)
            leg["dialled"] = _text(event.dialled)
        if event.came:
            leg["came"] = event.came
        call.legs[event.leg] = leg
        call.passages[event.leg] = Passage(event.origin, event.site, event.dialled, at)
        values: Values = {self.leg_name(event.leg): leg}
        if event.origin:
            values["call"] = {
                "switch": event.switch,
                "site": event.site,
                "caller": _text(event.caller),
                "caller_name": _text(event.caller_name),
                "caller_party": leg["party"],
                "dialled": _text(event.dialled),
                "started_at": at,
            }
        return values

    def routed(self, call: SwitchCall, event: CallRouted, at: int) -> Values:
        """The dialplan's choice, and what its route says (``set:``, ``set_once:``)."""
        values: Values = {
            passage_name("route", self.switch, event.incoming): {
                "match": event.match,
                "where": event.where,
                "number": _text(event.number),
            }
        }
        for name, value in event.properties.items():
            if self._settable(name, event):
                values[name] = _text(value)
        if event.once:
            call.once = True
            passage = call.passages.get(event.incoming)
            rank = FIRST if passage is not None and passage.origin else LATER
            for name, value in event.once.items():
                if name not in values and self._settable(name, event):
                    values[name] = Once(_text(value), rank)
        return values

    def _settable(self, name: str, event: CallRouted) -> bool:
        """Whether a route may set it; if not, that is said, once for each name."""
        try:
            check_name(name)
        except ValueError as error:
            if name not in self._reserved_said and len(self._reserved_said) < 1000:
                self._reserved_said.add(name)
                log.warning("%s: set: %r: %s; disregarded", event.where, name, error)
            return False
        return True

    def invited(self, call: SwitchCall, event: LegInvited, at: int) -> Values:
        """An outgoing leg."""
        leg: Leg = {
            "direction": "out",
            "party": event.party,
            "uri": _text(event.uri),
            "address": event.address,
            "sip_call_id": event.sip_call_id,
            "invited_at": at,
        }
        if event.between:
            leg["between"] = True
        if event.incoming:
            leg["incoming"] = event.incoming
            if call.incoming is None:
                call.incoming = {}
            call.incoming[event.leg] = event.incoming
        return self.leg(call, event.leg, leg)

    def ringing(self, call: SwitchCall, event: LegRinging, at: int) -> Values:
        """A provisional response."""
        before = call.legs.get(event.leg, {})
        leg = {**before, "status": event.status}
        if "ringing_at" not in before:
            leg["ringing_at"] = at
        if event.early_media:
            leg["early_media"] = True
        return self.leg(call, event.leg, leg)

    def answered(self, call: SwitchCall, event: LegAnswered, at: int) -> Values:
        """A leg was answered, and with the first one its call."""
        leg = {
            **call.legs.get(event.leg, {}),
            "answered_at": at,
            "status": event.status,
            "callee": _text(event.callee),
            "codec": _text(event.codec),
            "user_agent": _text(event.user_agent),
        }
        values = self.leg(call, event.leg, leg)
        number = call.incoming.get(event.leg, 0) if call.incoming else 0
        passage = call.passages.get(number)
        if passage is None:
            return values
        came_in = call.legs.get(number)
        if came_in is not None and not passage.answered:
            passage.answered = True
            values.update(
                self.leg(call, number, {**came_in, "answered_at": at, "status": event.status})
            )
        if passage.origin:
            values["answer"] = {
                "callee": leg["callee"],
                "callee_party": leg.get("party"),
                "answered_at": at,
            }
        return values

    def told(self, call: SwitchCall, event: CallerTold, at: int) -> Values:
        """The caller was told of the answer later than it came."""
        came_in = call.legs.get(event.leg)
        passage = call.passages.get(event.leg)
        if passage is None or came_in is None:
            return {}
        values = self.leg(call, event.leg, {**came_in, "answered_at": at})
        if passage.origin:
            for number, leg in call.legs.items():
                if "callee" in leg and call.passage_of(number) == event.leg:
                    values["answer"] = {
                        "callee": leg["callee"],
                        "callee_party": leg.get("party"),
                        "answered_at": at,
                    }
        return values

    def media(self, call: SwitchCall, event: LegMedia, at: int) -> Values:
        """A leg was put on hold, goes on, or changed its codec."""
        leg = {**call.legs.get(event.leg, {}), "held": event.held}
        if event.codec:
            leg["codec"] = _text(event.codec)
        return self.leg(call, event.leg, leg)

    def leg_ended(self, call: SwitchCall, event: LegEnded, at: int) -> Values:
        """A leg is over."""
        leg = {
            **call.legs.get(event.leg, {}),
            "ended_at": at,
            "status": event.status,
            "ended_by": event.by,
        }
        if event.reason:
            leg["reason"] = _text(event.reason)
        return self.leg(call, event.leg, leg)

    def ended(self, call: SwitchCall, event: CallEnded, at: int) -> Values:
        """A passage is over, and at the call's origin the call."""
        end: dict[str, Any] = {
            "disposition": event.disposition,
            "sip_status": event.sip_status,
            "reason": _text(event.reason),
            "hangup_by": event.hangup_by,
            "ended_at": at,
        }
        passage = call.passages.pop(event.leg, None)
        if passage is None:
            return {}
        if passage.origin:
            return {"end": end}
        # Another switch's view; the record's own words come from the originating switch.
        view = {
            "site": passage.site,
            "dialled": _text(passage.dialled),
            "started_at": passage.started_at,
            **end,
        }
        return {passage_name("switch", self.switch, event.leg): view}

    def leg(self, call: SwitchCall, number: int, leg: Leg) -> Values:
        """A leg is now this."""
        call.legs[number] = leg
        return {self.leg_name(number): leg}

    def leg_name(self, number: int) -> str:
        """The property of a leg."""
        names = self._leg_names
        return names[number] if number < len(names) else leg_name(self.switch, number)


WRITERS: dict[type, Callable[[EventValues, SwitchCall, Any, int], Values]] = {
    CallRouted: EventValues.routed,
    LegInvited: EventValues.invited,
    LegRinging: EventValues.ringing,
    LegAnswered: EventValues.answered,
    CallerTold: EventValues.told,
    LegMedia: EventValues.media,
    LegEnded: EventValues.leg_ended,
    CallEnded: EventValues.ended,
}


def _text(text: str) -> str:
    """Text that SQLite and msgpack can hold: undecodable bytes of a SIP header become question
    marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
