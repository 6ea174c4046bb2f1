"""What call-state events say, as values of call data (``docs/call-data.md`` lists every name)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cdsplugin.data import (
    FIRST,
    LATER,
    Once,
    Value,
    check_name,
    leg_name,
    passage_name,
    talk_name,
    tap_name,
)
from cdsplugin.tms.passages import Leg, Passage, SwitchCall, Talk
from softswitch.events import (
    ApplicationTold,
    CallEnded,
    CallerTold,
    CallMerged,
    CallRouted,
    CallStarted,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegMoved,
    LegReferred,
    LegRinging,
    RecordingTold,
    TalkBegan,
    TalkEnded,
    TapTold,
    TollAlarm,
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
        if event.by:
            leg["by"] = _text(event.by)
        if event.incoming:
            _belongs(call, event.leg, leg, event.incoming)
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
        """A leg was answered; with whom it talks is said by its talk."""
        leg = {
            **call.legs.get(event.leg, {}),
            "answered_at": at,
            "status": event.status,
            "callee": _text(event.callee),
            "codec": _text(event.codec),
            "user_agent": _text(event.user_agent),
        }
        return self.leg(call, event.leg, leg)

    def talk_began(self, call: SwitchCall, event: TalkBegan, at: int) -> Values:
        """Legs hear each other. With the first talk of a passage its call is answered; if that is
        an ordinary one, its legs say all of it, and it has no property of its own."""
        values: Values = {}
        number = event.incoming
        passage = call.passages.get(number)
        if passage is not None and not passage.answered:
            passage.answered = True
            came_in = call.legs.get(number)
            if came_in is not None:
                values = self.leg(call, number, {**came_in, "answered_at": at, "status": 200})
            others = [n for n in event.legs if n != number]
            if passage.origin and others:
                values["answer"] = _answer(call.legs.get(others[0], {}), at)
            if (
                event.talk == 1
                and event.how == "dialled"
                and len(event.legs) == 2
                and event.legs[0] == number
                and came_in is not None
                and event.by in ("", came_in["party"])
                and "was" not in call.legs.get(others[0], {})
            ):
                call.plain = number, others[0]
                return values
        elif call.plain is not None and call.plain[0] == number:
            values = self.spelled(call)
        talk: Talk = {
            "legs": " ".join(map(str, event.legs)),
            "began_at": at,
            "how": event.how,
            "by": _text(event.by),
        }
        if number:
            talk["incoming"] = number
        values.update(self._talk(call, event.talk, talk))
        return values

    def talk_ended(self, call: SwitchCall, event: TalkEnded, at: int) -> Values:
        """Legs hear each other no more. An ordinary talk ends with its legs, told in one turn."""
        if event.talk == 1 and call.plain is not None:
            if not any("ended_at" in call.legs.get(number, {}) for number in call.plain):
                call.plain_over = at
            return {}
        talk = (call.talks or {}).get(event.talk)
        if talk is None:
            return {}
        return self._talk(call, event.talk, {**talk, "ended_at": at})

    def spelled(self, call: SwitchCall) -> Values:
        """Talk 1 with a property of its own, from now on."""
        plain, over = call.plain, call.plain_over
        if plain is None:
            return {}
        call.plain, call.plain_over = None, 0
        came_in, other = call.legs.get(plain[0], {}), call.legs.get(plain[1], {})
        talk: Talk = {
            "legs": f"{plain[0]} {plain[1]}",
            "began_at": came_in.get("answered_at"),
            "how": "dialled",
            "by": came_in.get("party"),
        }
        if plain[0]:
            talk["incoming"] = plain[0]
        ends = [leg["ended_at"] for leg in (came_in, other) if "ended_at" in leg]
        if over or ends:
            talk["ended_at"] = over or min(ends)
        return self._talk(call, 1, talk)

    def told(self, call: SwitchCall, event: CallerTold, at: int) -> Values:
        """The caller was told of the answer later than it came."""
        number = event.leg
        came_in = call.legs.get(number)
        passage = call.passages.get(number)
        if passage is None or came_in is None:
            return {}
        values = self.leg(call, number, {**came_in, "answered_at": at})
        first = call.first_talk(number)
        if first is not None and call.talks is not None:
            values.update(self._talk(call, first, {**call.talks[first], "began_at": at}))
        other = call.answered_with(number)
        if passage.origin and other is not None:
            values["answer"] = _answer(other, at)
        return values

    def referred(self, call: SwitchCall, event: LegReferred, at: int) -> Values:
        """A leg wants whom it talks with to talk to somebody else."""
        leg = {
            **call.legs.get(event.leg, {}),
            "referred_to": _text(event.to),
            "referred_how": event.how,
        }
        if event.status:
            leg["referred_status"] = event.status
        else:
            leg.pop("referred_status", None)
        values = self.leg(call, event.leg, leg)
        if call.plain is not None and event.leg in call.plain:
            values.update(self.spelled(call))
        return values

    def application(self, call: SwitchCall, event: ApplicationTold, at: int) -> Values:
        """What an application knows."""
        facts = {name: _text(value) for name, value in event.facts.items()}
        return {
            passage_name("application", self.switch, event.leg): {
                "name": event.application,
                **facts,
            }
        }

    def recording(self, call: SwitchCall, event: RecordingTold, at: int) -> Values:
        """What is known of a recording."""
        return self.recorded(event)

    def recorded(self, event: RecordingTold) -> Values:
        """The same of a call that is over at the switch."""
        return {
            passage_name("recording", self.switch, event.talk): {
                name: _text(value) for name, value in event.facts.items()
            }
        }

    def tap(self, call: SwitchCall, event: TapTold, at: int) -> Values:
        """What is known of a program that listens in."""
        return {
            tap_name(self.switch, event.talk, event.tap): {
                name: _text(value) for name, value in event.facts.items()
            }
        }

    def toll(self, call: SwitchCall, event: TollAlarm, at: int) -> Values:
        """A limit of what calls may cost is near, or was reached."""
        return {
            passage_name("toll", self.switch, event.incoming): {
                "rule": event.rule,
                "party": event.party,
                "what": event.what,
                "used": event.used,
                "most": event.most,
                "refused": event.refused,
            }
        }

    def moved(self, call: SwitchCall, event: LegMoved, at: int) -> Values:
        """A leg of another call belongs to this one."""
        leg: Leg = {
            "direction": event.direction,
            "party": _text(event.party),
            "callee": _text(event.number),
            "address": event.address,
            "sip_call_id": _text(event.sip_call_id),
            "invited_at": at,
            "answered_at": at,
            "status": 200,
            "codec": _text(event.codec),
            "user_agent": _text(event.user_agent),
            "was": f"{event.was_call} {self.switch}/{event.was_leg}",
        }
        if event.between:
            leg["between"] = True
        if event.came:
            leg["came"] = event.came
        if event.incoming:
            _belongs(call, event.leg, leg, event.incoming)
        return self.leg(call, event.leg, leg)

    def merged(self, call: SwitchCall, event: CallMerged, at: int) -> Values:
        """It goes on as a part of an older call. Each switch says so for itself."""
        return {
            passage_name("merged", self.switch, event.leg): {
                "merged_into": event.into,
                "owner": event.owner,
                "merged_at": at,
            }
        }

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
        if call.plain_over and call.plain is not None and event.leg in call.plain:
            call.plain_over = 0
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

    def _talk(self, call: SwitchCall, number: int, talk: Talk) -> Values:
        """A talk is now this."""
        if call.talks is None:
            call.talks = {}
        call.talks[number] = talk
        return {talk_name(self.switch, number): talk}

    def leg_name(self, number: int) -> str:
        """The property of a leg."""
        names = self._leg_names
        return names[number] if number < len(names) else leg_name(self.switch, number)


WRITERS: dict[type, Callable[[EventValues, SwitchCall, Any, int], Values]] = {
    CallRouted: EventValues.routed,
    LegInvited: EventValues.invited,
    LegRinging: EventValues.ringing,
    LegAnswered: EventValues.answered,
    TalkBegan: EventValues.talk_began,
    CallerTold: EventValues.told,
    LegMedia: EventValues.media,
    TalkEnded: EventValues.talk_ended,
    LegReferred: EventValues.referred,
    LegMoved: EventValues.moved,
    TollAlarm: EventValues.toll,
    ApplicationTold: EventValues.application,
    RecordingTold: EventValues.recording,
    TapTold: EventValues.tap,
    CallMerged: EventValues.merged,
    LegEnded: EventValues.leg_ended,
    CallEnded: EventValues.ended,
}


def _belongs(call: SwitchCall, number: int, leg: Leg, incoming: int) -> None:
    """A leg is part of a later passage."""
    leg["incoming"] = incoming
    if call.incoming is None:
        call.incoming = {}
    call.incoming[number] = incoming


def _answer(leg: Leg, at: int) -> Value:
    """The property ``answer`` of a call that was answered by that leg."""
    return {"callee": leg.get("callee"), "callee_party": leg.get("party"), "answered_at": at}


def _text(text: str) -> str:
    """Text that SQLite and msgpack can hold: undecodable bytes of a SIP header become question
    marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
