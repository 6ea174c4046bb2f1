"""The TMS: turns what the switches say of their calls into call data.

From the source: "Call data from the switch is passed to a TMS/SWITCH module. The TMS/SWITCH module
registers with the local CDS store in order to exchange data", and "a TMS instance can manage zero
or more switches". Each switch's module is a client of its own in the store. What it writes:

======================  ====================================================================
``call``                who calls whom, where and when: by the originating switch
``answer``, ``end``     the call's answer and its end, by the originating switch
``route/SWITCH``        the dialplan's choice at a switch
``leg/SWITCH/N``        a leg, written by the switch that has it
``switch/SWITCH``       how a switch other than the originating one saw the call end
what ``set:`` says      the route's own properties, under their own names
======================  ====================================================================

Each of these is one property whose value is a flat mapping, written whole by its switch: fewer
entries to stamp, merge and send than one for each word, and what belongs together changes together.
Times are integers (microseconds, UTC) in the time base of the call's owner, as stamps are. ``docs/
call-data.md`` lists every name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from cdsplugin.clock import Clock
from cdsplugin.entries import Log, Property, Value
from cdsplugin.record import RESERVED
from cdsplugin.store import Call, Store
from softswitch.events import (
    CallEnded,
    CallRouted,
    CallStarted,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegRinging,
)

log = logging.getLogger("cdsplugin.tms")

Leg = dict[str, Any]
_TIMES = ("invited_at", "ringing_at", "answered_at", "ended_at")


class _Call:
    """What a switch's module keeps of a live call. ``legs`` holds the values last written."""

    __slots__ = ("based", "dialled", "legs", "origin", "owner", "site", "started_at", "visits")

    def __init__(self, event: CallStarted, owner: str) -> None:
        self.owner = owner
        self.origin = event.origin
        self.started_at = event.at
        self.dialled = event.dialled
        self.site = event.site
        self.legs: dict[int, Leg] = {}
        self.visits = 1
        self.based = event.origin
        """Whether the times in here are in the owner's time base."""


class Tms:
    """The modules of all switches that this server manages, made as they are first heard of."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._switches: dict[str, SwitchModule] = {}
        self.unknown_events = 0

    def event(self, event: Event) -> None:
        """Take a call-state event. An event of a call that was never started is counted, no
        more."""
        module = self._switches.get(event.switch)
        if module is None:
            module = self._switches[event.switch] = SwitchModule(
                event.switch, self._store, self._clock
            )
        if not module.event(event):
            self.unknown_events += 1

    def live(self) -> int:
        """How many calls are in progress at the switches."""
        return sum(len(module) for module in self._switches.values())


class SwitchModule:
    """The TMS/SWITCH module of one switch, a client of the local store."""

    def __init__(self, switch: str, store: Store, clock: Clock) -> None:
        self.switch = switch
        self._server = store.server
        self._store = store
        self._clock = clock
        self._calls: dict[str, _Call] = {}
        self._leg_names = [f"leg/{switch}/{n}" for n in range(16)]
        self._route_name = f"route/{switch}"
        self._reserved_said: set[str] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def event(self, event: Event) -> bool:
        """Write what an event says; false if its call is unknown here."""
        if type(event) is CallStarted:
            self._started(event)
            return True
        call = self._calls.get(event.call_id)
        if call is None:
            return False
        at = event.at
        if call.owner != self._server:
            at += self._ahead(call)
        values = _WRITERS[type(event)](self, call, event, at)
        if values and not self._store.write(self, event.call_id, self._server, values):
            self._again(event.call_id, call, values)
        if type(event) is CallEnded:
            call.visits -= 1
            if not call.visits:
                del self._calls[event.call_id]
                self._store.unregister(self, event.call_id)
        return True

    # As a client of the store

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Others' entries: the switch has no use for them yet."""

    def ended(self, call: Call) -> None:
        """The owner ended the call; should it go on here, the next event registers it again."""

    # The events

    def _started(self, event: CallStarted) -> None:
        known = self._calls.get(event.call_id)
        if known is not None:
            # The call came back to a switch that it had left: one call, two visits.
            known.visits += 1
            return
        owner = self._server if event.origin or not event.owner else event.owner
        call = self._calls[event.call_id] = _Call(event, owner)
        self._store.register(self, event.call_id, owner)
        at = event.at
        if owner != self._server:
            at += self._ahead(call)
            call.started_at = at
        leg: Leg = {
            "direction": "in",
            "party": _text(event.party),
            "address": event.address,
            "user_agent": _text(event.user_agent),
            "sip_call_id": _text(event.sip_call_id),
            "invited_at": at,
        }
        call.legs[0] = leg
        values: dict[str, Value] = {self._leg_names[0]: leg}
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
        self._store.write(self, event.call_id, self._server, values)

    def _routed(self, call: _Call, event: CallRouted, at: int) -> dict[str, Value]:
        values: dict[str, Value] = {
            self._route_name: {
                "match": event.match,
                "where": event.where,
                "number": _text(event.number),
            }
        }
        for name, value in event.properties.items():
            if name in RESERVED or "/" in name or not 0 < len(name) <= 128:
                if name not in self._reserved_said and len(self._reserved_said) < 1000:
                    self._reserved_said.add(name)
                    log.warning(
                        "%s: set: %r is a name of the call data's own; disregarded",
                        event.where,
                        name,
                    )
            else:
                values[name] = _text(value)
        return values

    def _invited(self, call: _Call, event: LegInvited, at: int) -> dict[str, Value]:
        leg: Leg = {
            "direction": "out",
            "party": event.party,
            "uri": _text(event.uri),
            "address": event.address,
            "sip_call_id": event.sip_call_id,
            "invited_at": at,
        }
        return self._leg(call, event.leg, leg)

    def _ringing(self, call: _Call, event: LegRinging, at: int) -> dict[str, Value]:
        before = call.legs.get(event.leg, {})
        leg = {**before, "status": event.status}
        if "ringing_at" not in before:
            leg["ringing_at"] = at
        if event.early_media:
            leg["early_media"] = True
        return self._leg(call, event.leg, leg)

    def _answered(self, call: _Call, event: LegAnswered, at: int) -> dict[str, Value]:
        leg = {
            **call.legs.get(event.leg, {}),
            "answered_at": at,
            "status": event.status,
            "callee": _text(event.callee),
            "codec": _text(event.codec),
            "user_agent": _text(event.user_agent),
        }
        values = self._leg(call, event.leg, leg)
        came_in = call.legs.get(0)
        if came_in is not None and "answered_at" not in came_in:
            values.update(
                self._leg(call, 0, {**came_in, "answered_at": at, "status": event.status})
            )
        if call.origin:
            values["answer"] = {
                "callee": leg["callee"],
                "callee_party": leg.get("party"),
                "answered_at": at,
            }
        return values

    def _media(self, call: _Call, event: LegMedia, at: int) -> dict[str, Value]:
        leg = {**call.legs.get(event.leg, {}), "held": event.held}
        if event.codec:
            leg["codec"] = _text(event.codec)
        return self._leg(call, event.leg, leg)

    def _leg_ended(self, call: _Call, event: LegEnded, at: int) -> dict[str, Value]:
        leg = {
            **call.legs.get(event.leg, {}),
            "ended_at": at,
            "status": event.status,
            "ended_by": event.by,
        }
        if event.reason:
            leg["reason"] = _text(event.reason)
        return self._leg(call, event.leg, leg)

    def _ended(self, call: _Call, event: CallEnded, at: int) -> dict[str, Value]:
        end: dict[str, Any] = {
            "disposition": event.disposition,
            "sip_status": event.sip_status,
            "reason": _text(event.reason),
            "hangup_by": event.hangup_by,
            "ended_at": at,
        }
        if call.origin:
            return {"end": end}
        # Another switch's view; the record's own words come from the originating switch.
        view = {
            "site": call.site,
            "dialled": _text(call.dialled),
            "started_at": call.started_at,
            **end,
        }
        return {f"switch/{self.switch}": view}

    # Legs, times, and a call that has to be taken up again

    def _leg(self, call: _Call, number: int, leg: Leg) -> dict[str, Value]:
        call.legs[number] = leg
        return {self._leg_name(number): leg}

    def _leg_name(self, number: int) -> str:
        names = self._leg_names
        return names[number] if number < len(names) else f"leg/{self.switch}/{number}"

    def _ahead(self, call: _Call) -> int:
        """How far the owner's clock is ahead; times noted before that was known are put right."""
        if self._clock.base(call.owner) is None:
            return 0
        ahead = self._clock.ahead(call.owner)
        if not call.based:
            call.based = True
            call.started_at += ahead
            for number, leg in call.legs.items():
                call.legs[number] = {k: v + ahead if k in _TIMES else v for k, v in leg.items()}
        return ahead

    def _again(self, call_id: str, call: _Call, values: dict[str, Value]) -> None:
        """The store no longer has this call (its owner ended it, yet here it goes on)."""
        if self._store.get(call_id) is not None:
            return  # it is there, and full
        self._store.register(self, call_id, call.owner)
        legs: dict[str, Value] = {self._leg_name(n): leg for n, leg in call.legs.items()}
        self._store.write(self, call_id, self._server, {**legs, **values})


_WRITERS: dict[type, Callable[[SwitchModule, _Call, Any, int], dict[str, Value]]] = {
    CallRouted: SwitchModule._routed,
    LegInvited: SwitchModule._invited,
    LegRinging: SwitchModule._ringing,
    LegAnswered: SwitchModule._answered,
    LegMedia: SwitchModule._media,
    LegEnded: SwitchModule._leg_ended,
    CallEnded: SwitchModule._ended,
}


def _text(text: str) -> str:
    """Text that SQLite and msgpack can hold: undecodable bytes of a SIP header become question
    marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
