"""Registered phones are asked whether they are there (OPTIONS, RFC 3261 §11), one after the other,
each once in `every` seconds; that also keeps the way open in NATs.

A phone that has answered and does not any more is not rung, until it answers or registers again.
One that has never answered may know no OPTIONS: nothing is thought of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Final

from softswitch.calls import route_lines
from softswitch.parties.bindings import Binding
from softswitch.parties.registrar import Registrar
from softswitch.sip import (
    ClientRequest,
    Flow,
    Response,
    Timers,
    Tokens,
    Transactions,
    host_port,
)

log = logging.getLogger("softswitch.parties.registrar")

PATIENCE: Final = 4.0
"""Seconds that a phone has to answer: with three more tries over UDP."""


_Key = tuple[str, str, str, str]


def _key(extension: str, binding: Binding) -> _Key:
    """A phone, or one of its ways: behind two NATs two may have the same Contact."""
    return extension, binding.uri, binding.instance, binding.reg_id


class Qualified:
    """What is known of a phone: its last round trip in seconds, None if it has never answered."""

    __slots__ = ("asked", "lost", "round_trip", "until")

    def __init__(self) -> None:
        self.round_trip: float | None = None
        self.lost = False
        # As of which registration it was lost.
        self.until = 0.0
        self.asked = False


class Qualifying:
    """Asks by `transactions`, in the name of the switch. `every` is 0 if nobody is asked;
    `flow_to` gives the way to a phone."""

    def __init__(
        self,
        name: str,
        every: float,
        registrar: Registrar,
        flow_to: Callable[[Binding], Flow | None],
        timers: Timers,
        tokens: Tokens,
        transactions: Transactions,
    ) -> None:
        self.every = every
        self._name = name
        self._registrar = registrar
        self._flow_to = flow_to
        self._timers = timers
        self._tokens = tokens
        self._transactions = transactions
        self._known: dict[_Key, Qualified] = {}
        self._round: list[str] = []
        self._in_round = 0
        self._due = 0.0

    def lost(self) -> int:
        """Phones that do not answer any more."""
        return sum(one.lost for one in self._known.values())

    def of(self, extension: str, binding: Binding) -> Qualified | None:
        """What is known of a phone; None: nothing yet."""
        return self._known.get(_key(extension, binding)) if self._known else None

    def is_lost(self, extension: str, binding: Binding) -> bool:
        """Whether a phone is not to be rung."""
        known = self.of(extension, binding)
        return known is not None and known.lost and known.until == binding.expires_at

    def take_up(self, every: float) -> None:
        """Go on asking that often."""
        self.every = every
        if not every:
            self._known.clear()
            self._round.clear()

    def ask(self) -> None:
        """Ask those whose turn it is. Call every second."""
        if not self.every:
            return
        if not self._round:
            self._round = self._registrar.registered()
            self._in_round = len(self._round)
            there = {
                _key(name, one) for name in self._round for one in self._registrar.bindings(name)
            }
            for key in [key for key in self._known if key not in there]:
                del self._known[key]
        # All of a round in `every` seconds, evenly.
        self._due = min(self._due + self._in_round / self.every, ceil(self._in_round / self.every))
        while self._due >= 1.0 and self._round:
            self._due -= 1.0
            name = self._round.pop()
            for binding in self._registrar.contacts(name):
                self._ask(name, binding)

    def _ask(self, extension: str, binding: Binding) -> None:
        key = _key(extension, binding)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Qualified()
        if known.asked:
            return
        flow = self._flow_to(binding)
        if flow is None:
            self._silent(key, binding)
            return
        known.asked = True
        uri = binding.uri.partition("?")[0]
        request = ClientRequest(
            "OPTIONS",
            uri,
            self._tokens.branch(),
            f"<sip:{self._name}@{flow.sent_by}>;tag={self._tokens.token()}",
            f"<{uri}>",
            self._tokens.token(),
            1,
            routes=route_lines(binding.path) if binding.path else "",
            extra=f"Contact: <sip:{flow.sent_by}>\r\nAccept: application/sdp\r\n",
        )
        patience = self._timers.after(PATIENCE, partial(self._silent, key, binding))
        now = self._timers.clock()
        self._transactions.send(
            request, flow, partial(self._answered, key, binding, now, patience.cancel)
        )

    def _answered(
        self,
        key: _Key,
        binding: Binding,
        asked_at: float,
        done: Callable[[], None],
        response: Response,
    ) -> None:
        known = self._known.get(key)
        if response.status < 200 or known is None:
            return
        done()
        if response.ours:
            self._silent(key, binding)
        else:
            known.round_trip = self._timers.clock() - asked_at
            if known.lost:
                known.lost = False
                self._say(key, binding, f"answers again, in {known.round_trip * 1000:.0f} ms")
        known.asked = False

    def _silent(self, key: _Key, binding: Binding) -> None:
        known = self._known.get(key)
        if known is None or known.round_trip is None:
            return
        # If it has registered again meanwhile, it is there.
        known.until = binding.expires_at
        if not known.lost:
            known.lost = True
            self._say(key, binding, "does not answer, and is not rung")

    def _say(self, key: _Key, binding: Binding, what: str) -> None:
        transport, host, port = binding.target
        log.info("extension %s (%s:%s) %s", key[0], transport, host_port(host, port), what)
