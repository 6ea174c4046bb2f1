"""What a switch is doing just now, in pieces: for `softswitch status` and the API.

Every piece is `{SECTION: ...}`. Rows of calls and registrations come in lists of at most `PIECE`,
so that a switch with many of them goes on with its calls in between; their lists together are the
rows. How many there are is in `totals`, which comes first.

Times of day are ISO 8601, UTC; durations and what is left are in seconds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, Final, TypeVar

from softswitch import compiled
from softswitch.calls import Call, Leg, in_use, state_of
from softswitch.control.listening import Asked, Wrong
from softswitch.parties import Binding
from softswitch.sip import Transport, host_port, readable
from softswitch.switch import Switch

SECTIONS: Final = ("switch", "counters", "tables", "trunks", "registrations", "calls")
ROWS: Final = 1000
"""Calls, and registrations, that are told unless more are asked for."""
PIECE: Final = 50

_Row = TypeVar("_Row")


class Status:
    """Of one switch. `more` are further sections, each with who tells it: a mapping, or rows."""

    def __init__(self, switch: Switch, transport: Transport) -> None:
        self._switch = switch
        self._transport = transport
        self._started = switch.now_us()
        self._since = switch.timers.clock()
        self.more: dict[str, Callable[[], object]] = {}

    async def answer(self, asked: Asked) -> AsyncIterator[Mapping[str, object]]:
        """The verb `status`: `{"sections": [...], "rows": N}`, both optional."""
        wanted = asked.get("sections")
        rows = asked.get("rows", ROWS)
        if wanted is not None and (
            not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted)
        ):
            raise Wrong("`sections`: expected a list of names")
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
            raise Wrong("`rows`: expected a number")
        known = (*SECTIONS, *self.more)
        for name in wanted or ():
            if name not in known:
                raise Wrong(f"there is no section `{name[:100]}`: there are {', '.join(known)}")
        for piece in self.pieces(known if wanted is None else wanted, rows):
            yield piece

    def pieces(self, sections: tuple[str, ...] | list[str], rows: int) -> Iterator[dict[str, Any]]:
        """The sections, in their order. What has gone before its turn comes is left out."""
        switch = self._switch
        yield {"totals": {"calls": len(switch.calls), "registrations": len(switch.registrar)}}
        if "switch" in sections:
            yield {"switch": self.switch()}
        if "counters" in sections:
            yield {"counters": self.counters()}
        if "tables" in sections:
            yield {"tables": switch.tables()}
        if "trunks" in sections:
            for some in _some(list(switch.trunk_entries), rows):
                yield {
                    "trunks": [self._trunk(name) for name in some if name in switch.trunk_entries]
                }
        if "registrations" in sections:
            # Once for all of them: each is asked of all legs.
            busy = {leg.party for leg in switch.legs.values() if in_use(leg)}
            for some in _some(switch.registrar.registered(), rows):
                yield {
                    "registrations": [
                        self._registration(extension, binding, f"extension:{extension}" in busy)
                        for extension in some
                        for binding in switch.registrar.contacts(extension)
                    ]
                }
        if "calls" in sections:
            calls = sorted(switch.calls, key=_call_id)
            for some_calls in _some(calls, rows):
                yield {"calls": [self._call(call) for call in some_calls if not call.over]}
        for name, tell in self.more.items():
            if name in sections:
                yield {name: tell()}

    def switch(self) -> dict[str, object]:
        """Who it is, and since when."""
        switch = self._switch
        return {
            "name": switch.name,
            "site": switch.site,
            "version": _version(),
            "compiled": compiled.state(),
            "pid": os.getpid(),
            "started": _time(self._started),
            "uptime": round(switch.timers.clock() - self._since, 3),
            "draining": switch.draining,
            "listen": [
                f"{kind}:{host_port(host, port)}" for kind, host, port in self._transport.addresses
            ],
            "journal": switch.journal is not None,
        }

    def counters(self) -> dict[str, int]:
        """Since the start."""
        switch, transport = self._switch, self._transport
        return {
            "calls": switch.counters.calls,
            "answered": switch.counters.answered,
            "refused": sum(switch.refusals.counts.values()),
            "challenged": switch.authentication.challenged,
            "wrong_passwords": switch.guesses.wrong_passwords,
            "registrations": switch.registering.accepted,
            "malformed": transport.malformed,
            "unmatched": switch.transactions.unmatched,
            "overflows": switch.transactions.refused,
            "hurried": transport.outbox.hurried,
        }

    def _trunk(self, name: str) -> dict[str, object]:
        switch = self._switch
        entry, trunks = switch.trunk_entries[name], switch.trunks
        transport = trunks.transport(name)
        row: dict[str, object] = {
            "name": name,
            "switch": entry.switch,
            "up": trunks.is_up(name),
            "asked": entry.keepalive > 0,
            "why": trunks.why_down(name),
            "calls": trunks.calls(name),
            "max_calls": entry.max_calls,
            "to": host_port(entry.to.host, entry.to.port),
            "addresses": [f"{transport}:{host_port(*at)}" for at in trunks.addresses(name)],
            "registered": None,
        }
        enrolment = switch.enrolments.of(name)
        if enrolment is not None:
            left = enrolment.until - switch.timers.clock()
            registered = enrolment.state == "registered"
            row["registered"] = registered
            row["registration"] = {
                "state": enrolment.state,
                "why": enrolment.why,
                "expires_in": round(max(left, 0.0)) if registered else None,
            }
        return row

    def _registration(self, extension: str, binding: Binding, busy: bool) -> dict[str, object]:
        switch = self._switch
        now = switch.timers.clock()
        transport, host, port = binding.target
        known = switch.qualifying.of(extension, binding)
        return {
            "extension": extension,
            "address": f"{transport}:{host_port(host, port)}",
            "transport": transport,
            "contact": readable(binding.uri),
            "user_agent": readable(binding.user_agent),
            "expires_in": round(max(binding.expires_at - now, 0.0)),
            "since": _time(int(switch.now_us() - (now - binding.since) * 1e6)),
            "in_use": busy,
            "round_trip_ms": None
            if known is None or known.round_trip is None
            else round(known.round_trip * 1000, 1),
            "lost": switch.qualifying.is_lost(extension, binding),
        }

    def _call(self, call: Call) -> dict[str, object]:
        switch = self._switch
        answered = call.answered and call.answered_at > 0
        for_seconds = switch.timers.clock() - call.answered_at if answered else None
        legs = list(call.legs)
        if call.caller is not None and call.caller not in legs and not call.caller.ended:
            legs.insert(0, call.caller)
        legs += [leg for leg in call.ringing() if leg not in legs]
        return {
            "call_id": call.call_id,
            "owner": call.owner,
            "caller": call.party,
            "caller_number": call.identity.number,
            "caller_name": call.identity.name,
            "state": "answered" if call.answered else "ringing",
            "answered_for": None if for_seconds is None else round(for_seconds, 3),
            "emergency": call.emergency,
            "legs": [_leg(leg) for leg in legs],
            "talks": [
                {
                    "talk": talk.number,
                    "legs": [talk.first.index, talk.second.index],
                    "how": talk.how,
                }
                for talk in call.talks()
            ],
        }


def _leg(leg: Leg) -> dict[str, object]:
    flow = leg.session.dialog.flow
    return {
        "leg": leg.index,
        "party": leg.party,
        "number": leg.number,
        "direction": "in" if leg.came_in else "out",
        "state": state_of(leg),
        "address": f"{flow.transport}:{host_port(*flow.remote)}",
        "sip_call_id": readable(leg.session.dialog.call_id),
        "codec": leg.codec,
        "user_agent": leg.user_agent,
    }


def _call_id(call: Call) -> str:
    return call.call_id


def _some(rows: list[_Row], most: int) -> Iterator[list[_Row]]:
    """The first `most`, a few at a time; an empty list if there are none."""
    left = iter(rows[:most])
    some = list(islice(left, PIECE))
    yield some
    while len(some) == PIECE:
        some = list(islice(left, PIECE))
        if some:
            yield some


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds")


def _version() -> str:
    try:
        return version("softswitch")
    except PackageNotFoundError:
        return ""
