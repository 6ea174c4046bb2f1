"""Addresses from which nothing is taken for a while: who floods and who guesses on and on. No I/O.

An address (of IPv6 a network of 64 bits) is banned when it has used up what a stranger may send:
requests without a password that is right and what is no SIP, of which it has so many a second, and
wrong passwords.
The first ban is short; each that follows soon is twice as long. What comes from a banned address is
thrown away before it is read.

Never banned are trunks, addresses where a phone is registered or has proved who it is lately, and
those that the configuration allows: who shares an address with a phone of ours is not answered
while it sends too much, and each right password makes up for what was sent before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from softswitch.log import UNLIMITED, Rate
from softswitch.sip import network_of, overlaps

log = logging.getLogger("softswitch.parties.guesses")

FLOOD: Final = "flood"
GUESSES: Final = "guesses"
BY_HAND: Final = "by hand"
_LINES: Final = 100  # in the log a second
_LOOK_AGAIN: Final = 5.0  # seconds for which an address counts as one of ours
_SOON: Final = 3600.0  # seconds after a ban in which the next one is longer


@dataclass(frozen=True, slots=True)
class BanLimits:
    """`rate` requests a second of a stranger at one address, `burst` at once; `guesses` wrong
    passwords in a row; 0: none of these bans. `first` and `longest` ban in seconds, `most`
    addresses remembered."""

    rate: float = 50.0
    burst: int = 1000
    guesses: int = 100
    first: float = 60.0
    longest: float = 86_400.0
    most: int = 10_000


@dataclass(frozen=True, slots=True)
class Ban:
    """One: its address, why, when it began and until when, in seconds of the clock."""

    address: str
    why: str
    since: float
    until: float


class _Stranger:
    """What is left of what an address may send, as of when."""

    __slots__ = ("at", "guesses", "left", "ours_until")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at
        self.guesses = 0
        self.ours_until = 0.0  # until then it need not be asked whose it is


class Bans:
    """`is_ours` says of an address whether a trunk or a registered phone is there. `banned` is
    asked by who reads from the network, always the same table: until when. All addresses are as
    `network_of` gives them."""

    def __init__(
        self,
        clock: Callable[[], float],
        is_ours: Callable[[str], bool],
        limits: BanLimits | None = None,
        allowed: Iterable[IPv4Network | IPv6Network] = (),
    ) -> None:
        self.limits = limits or BanLimits()
        self._clock = clock
        self._is_ours = is_ours
        self._allowed = tuple(allowed)
        self._lines = Rate(clock, _LINES)
        # Who was seen last comes last.
        self._strangers: dict[str, _Stranger] = {}
        self.banned: dict[str, float] = {}
        self._bans: dict[str, Ban] = {}
        # When somebody there has proved who it is, the latest last.
        self._proved: dict[str, float] = {}
        self.on_banned: Callable[[], object] | None = None
        """Called when an address is new among the banned ones."""
        self.silent = 0
        """Requests that were not answered, as their address has sent too many."""
        # Of each address that was banned lately, the end and the length of that.
        self._before: dict[str, tuple[float, float]] = {}
        self.made = 0
        """Bans since the start."""

    def __len__(self) -> int:
        return len(self._strangers)

    def take_up(self, limits: BanLimits, allowed: Iterable[IPv4Network | IPv6Network]) -> None:
        """Go on with other limits."""
        self.limits = limits
        self._allowed = tuple(allowed)
        for ban in list(self._bans.values()):
            if self._may_not(ban.address):
                self.lift(ban.address)

    def stranger(self, host: str, guess: bool = False) -> bool:
        """Somebody there has sent a request without a right password; `guess`: with a wrong one.
        Whether it is to be answered."""
        limits = self.limits
        if not limits.rate and not limits.guesses:
            return True
        network = network_of(host)
        now = self._clock()
        known = self._strangers.pop(network, None)
        if known is None:
            if len(self._strangers) >= limits.most:
                del self._strangers[next(iter(self._strangers))]
            known = _Stranger(float(limits.burst), now)
        self._strangers[network] = known
        if limits.rate:
            known.left = min(limits.burst, known.left + (now - known.at) * limits.rate) - 1.0
        known.at = now
        known.guesses += guess
        if known.left >= 0 and not (limits.guesses and known.guesses >= limits.guesses):
            return True
        if now >= known.ours_until:
            if not self._may_not(network):
                self._ban(network, FLOOD if known.left < 0 else GUESSES)
                return False
            known.ours_until = now + _LOOK_AGAIN
        known.left = max(known.left, -1.0)
        if known.left >= 0:
            return True
        self.silent += 1
        return False

    def proved(self, host: str) -> None:
        """Somebody there knows a password."""
        network = network_of(host)
        self._proved.pop(network, None)
        self._proved[network] = self._clock()
        if len(self._proved) > self.limits.most:
            del self._proved[next(iter(self._proved))]
        known = self._strangers.get(network) if self._strangers else None
        if known is not None:
            known.left = min(self.limits.burst, known.left + 2.0)

    def add(self, host: str, seconds: float) -> Ban:
        """Ban an address by hand. Raises ValueError if it is none, or is one of ours."""
        host = str(ip_address(host.strip("[]")))
        if self._may_not(network_of(host)):
            raise ValueError(f"{host} is a trunk's, a registered phone's, or allowed")
        return self._put(network_of(host), BY_HAND, seconds)

    def lift(self, address: str) -> bool:
        """Take a ban back; whether there was one."""
        network = network_of(address)
        self._strangers.pop(network, None)
        self._before.pop(network, None)
        self.banned.pop(network, None)
        return self._bans.pop(network, None) is not None

    def listed(self) -> list[Ban]:
        """All that are in force, the newest last."""
        return list(self._bans.values())

    def expire(self) -> None:
        """Those whose time is over are. Call it every second."""
        now = self._clock()
        for network, until in list(self.banned.items()):
            if until <= now:
                del self.banned[network]
                self._bans.pop(network, None)
        for network, (until, _) in list(self._before.items()):
            if until + _SOON <= now:
                del self._before[network]
        burst, rate = self.limits.burst, self.limits.rate
        while self._strangers:
            network, known = next(iter(self._strangers.items()))
            full = rate and known.left + (now - known.at) * rate >= burst
            if not full and now - known.at < _SOON:
                return
            if known.guesses and now - known.at < _SOON:
                return
            del self._strangers[network]

    def _may_not(self, network: str) -> bool:
        proved = self._proved.get(network)
        if proved is not None and proved + _SOON > self._clock():
            return True
        return self._is_ours(network) or overlaps(network, self._allowed)

    def _ban(self, network: str, why: str) -> None:
        if network in self.banned:
            return
        limits = self.limits
        seconds = limits.first
        before = self._before.get(network)
        if before is not None and before[0] + _SOON > self._clock():
            seconds = min(2 * before[1], limits.longest)
        self._put(network, why, seconds)

    def _put(self, network: str, why: str, seconds: float) -> Ban:
        now = self._clock()
        if len(self._bans) >= self.limits.most and network not in self._bans:
            self.lift(next(iter(self._bans)))
        ban = self._bans[network] = Ban(network, why, now, now + seconds)
        self.banned[network] = ban.until
        self._before[network] = ban.until, seconds
        self._strangers.pop(network, None)
        self.made += 1
        if self.on_banned is not None:
            self.on_banned()
        if self._lines.take():
            log.warning("%s is banned for %.0f s: %s", network, seconds, why, extra=UNLIMITED)
        return ban
