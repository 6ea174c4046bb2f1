"""Recovery: the calls that were alive when the server's last life ended, taken up again.

What the journal has goes into the store, and what others have to do is waited for. Other servers
register again for the calls in which they take part; we register again with the owners of theirs.
Each call that a switch of ours had in that life is held for that switch, until it speaks of the
call (it survived), says which calls survived (``reported``), or ``within`` seconds have passed. A
call that is given up gets its end written: as far as it was known, with the reason "server
restarted".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cdsplugin.archive.disk import Beat, Shared
from cdsplugin.archive.journal import Found
from cdsplugin.data import (
    LEG,
    NOTHING_ELSE,
    OF_SWITCHES,
    RESTARTED,
    Call,
    Client,
    Clock,
    Handle,
    Log,
    Property,
    Scalar,
    Standing,
    Store,
    Timers,
    Value,
    leg_name,
)

log = logging.getLogger("cdsplugin.recovery")

_LOST = 100_000
"""Stamps left out after a restart (microseconds). While its disk refuses, a server shares what it
could lose in a crash; what it writes next must come after that, whatever its clock says."""

_LOST_AND_SET_BACK = 600_000_000
"""The same if its clock was set back: then that does not go on behind what it shared for long."""

_BATCH = 100  # calls in one go: other work gets its turn


class Proxy(Protocol):
    """What the network proxy does for a call that is back."""

    def restore(
        self,
        call: Call,
        present: Sequence[str] = (),
        past: Sequence[str] = (),
        standing: Standing = NOTHING_ELSE,
    ) -> bool:
        """Take up the participants of a call as they were. False if the call was over here and
        only waited for its owner to have it: then it is no live call."""


class Recovery:
    """A client of the store: holds calls for the switches that had them."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timers: Timers,
        within: float,
        done: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timers = timers
        self._within = within
        self._done = done
        self._held: dict[str, frozenset[str]] = {}
        """The switches that had each call, and have not said yet which of theirs survived."""
        self._alive: dict[str, int] = {}
        """When the last life ended, in the time of each call that waits for its switch."""
        self._timer: Handle | None = None
        self.calls = 0
        """Calls that came back."""
        self.given_up = 0

    def __len__(self) -> int:
        """Calls that wait for their switch."""
        return len(self._held)

    def begin(self, found: Sequence[Found], alive: Beat, proxy: Proxy) -> None:
        """Put the calls into the store. ``alive`` is when the last life ended."""
        self.calls = len(found)
        if not found:
            return
        self._store.watch(self)
        mine = self._store.server
        set_back = self._timers.now_us() < alive.utc
        for each in found:
            call = self._call(each)
            shared = each.shared or Shared(each.call_id, each.owner, [], [])
            if shared.standing.kept:
                proxy.restore(call, shared.present, shared.past, shared.standing)
                continue
            call.settled = each.settled
            call.learnt = shared.standing.learnt
            self._store.adopt(call)
            proxy.restore(call, shared.present, shared.past, shared.standing)
            lost = set_back and each.owner == mine and not self._goes_on(each)
            call.data.newest += _LOST_AND_SET_BACK if lost else _LOST
            # Its owner has something of it, most likely: registering again costs less, and brings
            # the same.
            call.settled = True
            if each.lingering and (each.owner == mine or each.settled):
                call.settled = each.settled
                self._store.linger(call)
                continue
            held = not each.lingering and not call.learnt
            if held:
                self._held[each.call_id] = _switches(call, mine)
                self._alive[each.call_id] = self._alive_at(each, call, alive)
            self._store.register(self, each.call_id, each.owner)
            if not held:
                # Left, but its owner has not confirmed that it has everything; or no switch of
                # ours had it, and who was here besides comes back by himself.
                self._store.unregister(self, each.call_id)
        log.warning(
            "%d calls are back after a restart; %d wait for their switch",
            len(found),
            len(self._held),
        )
        if self._held:
            self._timer = self._timers.schedule(self._within, self._over)
        else:
            self._store.unwatch(self)

    def _goes_on(self, found: Found) -> bool:
        """Whether the clock by which the call was timed is still running."""
        return found.base is not None and found.base.boot == self._timers.boot != ""

    def _call(self, found: Found) -> Call:
        call = Call(found.call_id, found.owner, self._clock.time_base(found.owner))
        call.data = found.data
        if found.base is not None and self._goes_on(found):
            call.base, call.based = found.base.base, found.base.based
        mine = self._store.server
        if call.based or found.owner == mine:
            return call
        written = [e for e in call.data.properties.values() if e.author == mine]
        call.guessed = {entry.name for entry in written}
        if not self._goes_on(found):
            # What was written by the clock of the last life is the owner's time, if that was known.
            unseen = found.shared.standing.unseen if found.shared is not None else None
            call.sure = {
                (entry.name, key): value
                for entry in written
                if unseen is None or entry.stamp <= unseen
                if isinstance(entry.value, dict)
                for key, value in entry.value.items()
            }
        return call

    def _alive_at(self, found: Found, call: Call, alive: Beat) -> int:
        """When the last life ended, in the call's time."""
        base = found.base
        if base is not None and base.boot == alive.boot:
            return base.base + alive.monotonic
        return alive.utc + call.base - self._clock.own() if alive.utc else 0

    def reported(self, switch: str) -> None:
        """``switch`` has spoken of all its calls that survived; it is not waited for any more."""
        lost = []
        for call_id, switches in list(self._held.items()):
            if switch in switches:
                self._held[call_id] = left = switches - {switch}
                if not left:
                    lost.append(call_id)
        self._give_up(lost)

    def stop(self) -> None:
        """The server stops; the calls in the store end with it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._give_up(list(self._held), at_once=True)

    # From the store

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """A switch of ours speaks of the call: it has it still, or knows how it ended."""
        if call.call_id in self._held and any(
            entry.author == self._store.server and entry.name.startswith(OF_SWITCHES)
            for entry in properties
        ):
            del self._held[call.call_id], self._alive[call.call_id]
            self._store.unregister(self, call.call_id)
            self._look()

    def registered(self, call: Call, client: Client) -> None:
        """Of no interest here: a registration may be made in doubt whether the call lives."""

    def unregistered(self, call: Call, client: Client) -> None:
        """Of no interest here."""

    def ended(self, call: Call) -> None:
        """Its owner ended it."""
        if self._held.pop(call.call_id, None) is not None:
            del self._alive[call.call_id]
            self._look()

    # Giving up

    def _over(self) -> None:
        self._timer = None
        self._give_up(list(self._held))

    def _give_up(self, call_ids: list[str], at_once: bool = False) -> None:
        now, later = (call_ids, []) if at_once else (call_ids[:_BATCH], call_ids[_BATCH:])
        for call_id in now:
            call = self._store.get(call_id)
            unheard, alive = self._held.pop(call_id, None), self._alive.pop(call_id, 0)
            if unheard is None or call is None:
                continue
            self.given_up += 1
            values = ending(call, self._store.server, alive, unheard)
            if values:
                self._store.write(self, call_id, self._store.server, values)
            self._store.unregister(self, call_id)
        if later:
            self._timers.schedule(0.01, lambda: self._give_up(later))
        elif now:
            self._look()

    def _look(self) -> None:
        """Nothing is held any more: done."""
        if self._held:
            return
        self._store.unwatch(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._done is not None:
            self._done()


def _switches(call: Call, server: str) -> frozenset[str]:
    """The switches whose legs in this call were written by this server."""
    return frozenset(
        name[4:].rpartition("/")[0]
        for name, entry in call.data.properties.items()
        if entry.author == server and name.startswith(LEG)
    )


def ending(
    call: Call, server: str, at: int, unheard: frozenset[str] = frozenset()
) -> dict[str, Value]:
    """What is to be written of a call that this server's switches had, and that is over without
    anybody having seen its end. ``at`` is when the server was last alive, in the owner's time. The
    switches ``unheard`` may have it still: that is noted in their legs (``supposed``)."""
    held = call.data.properties
    values: dict[str, Value] = {}
    latest = at or call.data.newest
    for name, entry in held.items():
        leg = entry.value
        if not name.startswith(LEG) or entry.author != server or not isinstance(leg, dict):
            continue
        for key in ("invited_at", "ringing_at", "answered_at", "ended_at"):
            when = leg.get(key)
            if type(when) is int and when > latest:
                latest = when
        if "ended_at" not in leg:
            values[name] = {**leg, "reason": RESTARTED, "ended_by": "switch"}
    for name, value in values.items():
        assert isinstance(value, dict)
        value["ended_at"] = latest
        if name[4:].rpartition("/")[0] in unheard:
            value["supposed"] = True
    origin = held.get("call")
    if (
        origin is not None
        and isinstance(origin.value, dict)
        and ("end" not in held or _went_on(held["end"], origin, values))
    ):
        answered = "answer" in held
        end: dict[str, Scalar] = {
            "disposition": "answered" if answered else "failed",
            "sip_status": 200 if answered else 503,
            "reason": RESTARTED,
            "hangup_by": "switch",
            "ended_at": latest,
        }
        if origin.author == server:
            values["end"] = end
    return values


def _went_on(end: Property, origin: Property, values: Mapping[str, Value]) -> bool:
    """Whether the end was only supposed: the originating leg was alive after it, until now."""
    assert isinstance(origin.value, dict)
    supposed = isinstance(end.value, dict) and end.value.get("reason") == RESTARTED
    return supposed and leg_name(str(origin.value.get("switch")), 0) in values
