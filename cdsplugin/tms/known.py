"""What a switch tells again of a call after a restart, and whether that is known here already."""

from __future__ import annotations

from cdsplugin.data import Call, passage_name, tap_name
from cdsplugin.tms.passages import SwitchCall
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
    Told,
    TollAlarm,
)

_SIGN: dict[type, str] = {
    LegInvited: "invited_at",
    LegRinging: "ringing_at",
    LegAnswered: "answered_at",
    LegMoved: "was",
    LegEnded: "ended_at",
}
"""What a leg has once such an event of it is known."""


def knows(call: SwitchCall, held: Call | None, switch: str, told: Told) -> bool:
    """Whether an event of that switch is known; ``held`` is the call as the store has it."""
    if isinstance(told, CallStarted):
        return told.leg in call.legs
    if isinstance(told, CallRouted):
        # Not again: somebody else may have changed what its ``set:`` said.
        return _has(held, passage_name("route", switch, told.incoming))
    if isinstance(told, TollAlarm):
        return _has(held, passage_name("toll", switch, told.incoming))
    if isinstance(told, ApplicationTold):
        name = passage_name("application", switch, told.leg)
        known = held.data.properties.get(name) if held is not None else None
        return known is not None and known.value == {"name": told.application, **told.facts}
    if isinstance(told, RecordingTold):
        name = passage_name("recording", switch, told.talk)
        kept = held.data.properties.get(name) if held is not None else None
        return kept is not None and kept.value == told.facts
    if isinstance(told, TapTold):
        name = tap_name(switch, told.talk, told.tap)
        kept = held.data.properties.get(name) if held is not None else None
        return kept is not None and kept.value == told.facts
    if isinstance(told, CallMerged):
        return _has(held, passage_name("merged", switch, told.leg))
    if isinstance(told, TalkBegan | TalkEnded):
        return _knows_talk(call, told)
    if isinstance(told, CallEnded | CallerTold):
        return False
    leg = call.legs.get(told.leg, {})
    if isinstance(told, LegReferred):
        status = leg.get("referred_status")
        return leg.get("referred_to") == told.to and told.status in (0, status)
    if isinstance(told, LegMedia):
        return leg.get("held") == told.held and leg.get("codec") == (told.codec or "")
    return _SIGN[type(told)] in leg


def _has(held: Call | None, name: str) -> bool:
    return held is not None and name in held.data.properties


def _knows_talk(call: SwitchCall, told: TalkBegan | TalkEnded) -> bool:
    """Whether a talk is known, or its end."""
    if told.talk == 1 and call.plain is not None:
        if type(told) is TalkBegan:
            return True
        return any("ended_at" in call.legs.get(number, {}) for number in call.plain)
    talk = (call.talks or {}).get(told.talk)
    return talk is not None and (type(told) is TalkBegan or "ended_at" in talk)
