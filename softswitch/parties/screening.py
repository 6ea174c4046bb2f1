"""Who guesses passwords: seen in the log, counted, and made to wait; no I/O.

What is remembered is by address (of IPv6 by /64 network): how many passwords in a row were wrong
there. The first few are answered at once, as who mistypes is no thief; after that each answer comes
later, twice as late as the one before. One answer at a time waits for an address; what comes
meanwhile and is wrong too gets none. Whether there is somebody of that name makes no difference.

What comes from an address while an answer waits for it is not even looked at: whoever sends guesses
without waiting for answers would hear of the right one among them. So one guess in as many seconds
as the answer waits is all that an address has. Phones behind the same address are not shut out: one
is heard at once from where it is registered, and one that has registered from that address before
is looked at once a second. A right password of the name that all guesses there were about ends the
matter; of another name it does not, or who has one password could guess on.

Sources are forgotten after a while, the oldest first where there are too many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from softswitch.log import UNLIMITED, Rate
from softswitch.sip import network_of, readable

log = logging.getLogger(__name__)

LINES: Final = 100
"""Lines in the log a second, of all addresses together."""
LINE_EVERY: Final = 1.0
"""Seconds between two lines about one address."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at passwords of one name, at an address for which an answer waits."""
MAX_NAME: Final = 64
"""Characters of a user name that was guessed, in the log."""


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """`at_once` wrong passwords of an address are answered at once, `sources` addresses are
    remembered, `waiting` answers wait at once in all. In seconds: `delay` is that of the first
    answer that waits (0: none does), `longest` that of any, `forget` how long an address is
    remembered after its last wrong password."""

    at_once: int = 5
    sources: int = 10_000
    waiting: int = 1_000
    delay: float = 1.0
    longest: float = 16.0
    forget: float = 900.0


class _Source:
    """What is known of one address: `unsaid` guesses had no line, of which the last is `last`."""

    __slots__ = ("at", "count", "last", "name", "said_at", "unsaid", "waits_for")

    def __init__(self, name: str) -> None:
        self.count = 0
        self.at = 0.0
        # The one name that all guesses were about; None if there were several.
        self.name: str | None = name
        self.waits_for: int | None = None
        self.said_at = float("-inf")
        self.unsaid = 0
        self.last = ("", 0, "", "", "")


class Guesses:
    """The addresses from which wrong passwords come. `clock` is seconds and never goes back."""

    def __init__(self, clock: Callable[[], float], limits: GuessLimits | None = None) -> None:
        self.limits = limits or GuessLimits()
        self._clock = clock
        self._lines = Rate(clock, LINES)
        # Whose last wrong password is the longest ago comes first.
        self._sources: dict[str, _Source] = {}
        self._unsaid: dict[str, None] = {}
        # When somebody of that address and name, who has registered from there, was looked at last;
        # who registered last comes last.
        self._known: dict[tuple[str, str], float] = {}
        self._waiting = 0
        self.wrong_passwords = 0
        """All since the start, those that were not looked at included."""
        self.unanswered = 0
        """Those of them that got no answer, as one waited already."""

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._sources)

    def wrong(
        self, transport: str, host: str, port: int, name: str, method: str, key: int, own: bool
    ) -> float | None:
        """A wrong password: seconds until it is to be answered, None for no answer.

        `name` is the user that it was for, whether there is one or not. `key` tells requests apart:
        a copy of the one whose answer waits is no other guess. `own`: it came from where a phone of
        that name is registered, which waits for nothing. Unless 0 or None is returned, `answered`
        is to be called when the answer has been sent.
        """
        now = self._clock()
        limits = self.limits
        network = network_of(host)
        source = self._sources.pop(network, None)
        if source is not None and source.at + limits.forget <= now:
            self._unsaid.pop(network, None)
            source = None
        if source is None:
            source = _Source(name)
            if len(self._sources) >= limits.sources:
                self._forget(next(iter(self._sources)))
        self._sources[network] = source
        if source.waits_for == key:
            return None
        source.at = now
        source.count += 1
        if source.name != name:
            source.name = None
        source.last = (host, port, transport, method, name)
        source.unsaid += 1
        self.wrong_passwords += 1
        self._say(network, source, now)
        late = source.count - limits.at_once
        if own or late <= 0 or not limits.delay:
            return 0.0
        if source.waits_for is not None or self._waiting >= limits.waiting:
            self.unanswered += 1
            return None
        source.waits_for = key
        self._waiting += 1
        return float(min(limits.longest, limits.delay * 2 ** min(late - 1, 32)))

    def unheard(
        self, transport: str, host: str, port: int, name: str, method: str, key: int
    ) -> bool:
        """Whether a password is not to be looked at, as an answer waits for its address. Ask before
        it is; not of where a phone of that name is registered. The arguments are those of `wrong`.
        """
        network = network_of(host)
        source = self._sources.get(network)
        if source is None or source.waits_for is None:
            return False
        now = self._clock()
        if source.waits_for != key:
            looked_at = self._known.get((network, name))
            if looked_at is not None and now - looked_at >= LOOK_EVERY:
                self._known[network, name] = now
                return False
            source.at = now
            source.last = (host, port, transport, method, name)
            source.unsaid += 1
            self.wrong_passwords += 1
            self.unanswered += 1
            self._say(network, source, now)
        return True

    def registered(self, host: str, name: str) -> None:
        """A phone has registered from this address."""
        key = network_of(host), name
        looked_at = self._known.pop(key, float("-inf"))
        if len(self._known) >= self.limits.sources:
            del self._known[next(iter(self._known))]
        self._known[key] = looked_at

    def answered(self, host: str, key: int) -> None:
        """The answer that waited has been sent."""
        self._waiting -= 1
        source = self._sources.get(network_of(host))
        if source is not None and source.waits_for == key:
            source.waits_for = None

    def right(self, host: str, name: str) -> None:
        """Somebody at this address knows the password of `name`."""
        network = network_of(host)
        source = self._sources.get(network)
        if source is not None and source.name == name:
            self._forget(network)

    def expire(self) -> None:
        """Say what has not been said, and forget who guesses no more. Call every second."""
        now = self._clock()
        for network in list(self._unsaid):
            self._say(network, self._sources[network], now)
        while self._sources:
            network = next(iter(self._sources))
            if self._sources[network].at + self.limits.forget > now:
                return
            self._forget(network)

    def _forget(self, network: str) -> None:
        source = self._sources.pop(network)
        if network in self._unsaid:
            del self._unsaid[network]
            if self._lines.take():
                self._write(source)

    def _say(self, network: str, source: _Source, now: float) -> None:
        if now - source.said_at < LINE_EVERY or not self._lines.take():
            self._unsaid[network] = None
            return
        self._unsaid.pop(network, None)
        source.said_at = now
        self._write(source)

    def _write(self, source: _Source) -> None:
        # docs/hardening.md has a filter that reads this line: what the guesser chose comes last.
        host, port, transport, method, name = source.last
        log.warning(
            "wrong password from %s port %d over %s, %d times: %s as '%s'",
            *(host, port, transport, source.unsaid, method, readable(name, MAX_NAME)),
            extra=UNLIMITED,
        )
        source.unsaid = 0
