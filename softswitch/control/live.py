"""What may be done with calls that are under way, for plugins: `softswitch.hookspecs.LiveCalls`."""

from __future__ import annotations

from softswitch.calls import Call
from softswitch.switch import Switch


class SwitchCalls:
    """Of the switch in this process."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def record(self, call_id: str, paused: bool) -> int:
        """See `LiveCalls`."""
        switch = self._switch
        recorded = switch.recorded
        found = [call for call in switch.calls if isinstance(call, Call)]
        found = [call for call in found if call.call_id == call_id and not call.over]
        if not found:
            raise LookupError(f"no call {call_id[:200]} is under way here")
        if recorded is None and switch.tapped is None:
            raise LookupError("nothing is recorded here: no route, extension or trunk has `record`")
        if not paused and recorded is not None:
            recorded.calls.add(call_id)
        talks = 0
        for call in found:
            for talk in call.talks():
                if not paused and recorded is not None:
                    call.record_talk(talk)
                if talk.anchor is not None:
                    talk.pause(paused)
                    talks += 1
        return talks
