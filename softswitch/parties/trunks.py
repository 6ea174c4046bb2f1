"""Trunks at work: whose request this is, how many calls each carries, whether it lives; no I/O.

A request belongs to a trunk by where it comes from alone: over UDP from the address and port of the
trunk's `to`, over a connection from its address (the port there is whichever the peer's system
took), or from the trunk's `from` list. Names are resolved outside, by whoever may wait for DNS, and
told here.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from softswitch.calls import TrunkStates
from softswitch.config import Trunk
from softswitch.sip import DEFAULT_PORTS, network_of, overlaps

log = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 8192
"""Source addresses whose networks are remembered."""
DOWN_AFTER: Final = 3
"""Keep-alives in a row without an answer after which a trunk is down: the last choice."""

_OVERLOADED: Final = 503
_TIMED_OUT: Final = 408

Owners: TypeAlias = tuple[tuple[int | None, Trunk], ...]
SMALL_FOR: Final = 300.0
"""Seconds for which nothing goes by TCP to a trunk that took no connection."""


class _State:
    """What changes of a trunk while the switch runs."""

    __slots__ = (
        "addresses", "bad", "calls", "due_at", "failures", "small_until", "transport", "until",
        "up",
    )  # fmt: skip

    def __init__(self) -> None:
        self.addresses: tuple[tuple[str, int], ...] = ()
        self.transport = ""
        # Until when an address is the last choice, in seconds of the clock.
        self.bad: dict[tuple[str, int], float] = {}
        self.small_until = 0.0  # it takes no connections
        self.until = 0.0  # not before then, it has said itself
        self.calls = 0
        self.failures = 0
        self.up = True
        self.due_at: float | None = None


class Trunks(TrunkStates):
    """All trunks of a switch.

    Where two trunks would claim a source, the one that comes first in `trunks` has it.
    """

    def __init__(
        self,
        trunks: Iterable[Trunk],
        *,
        clock: Callable[[], float] = lambda: 0.0,
        down_after: int = DOWN_AFTER,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._trunks: dict[str, Trunk] = {}
        self._states: dict[str, _State] = {}
        self.on_found: Callable[[str], None] | None = None
        """Called with a trunk whose addresses are others now."""
        self.down = 0
        """Trunks that are not up."""
        self._clock = clock
        self._down_after = down_after
        self._max_remembered = max_remembered
        # (transport, address, port) of each `to`; over a connection (transport, address) besides.
        self._exact: dict[tuple[str, str, int], Trunk] = {}
        self._peers: dict[tuple[str, str], list[tuple[int | None, Trunk]]] = {}
        # (version, prefix length), longest first, to network number to who may come from there.
        self._networks: dict[tuple[int, int], dict[int, list[tuple[int | None, Trunk]]]] = {}
        self._remembered: dict[str, Owners] = {}
        self.take_up(trunks)

    def take_up(self, trunks: Iterable[Trunk]) -> None:
        """Go on with these trunks. What is known of one that was there before stays: its calls,
        whether it is up, and its addresses if its `to` is the same.

        Calls of a trunk that is no more go on, and are counted until they end.
        """
        before, states = self._trunks, self._states
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._states = {name: states.get(name) or _State() for name in self._trunks}
        for name, state in states.items():
            if state.calls:
                self._states.setdefault(name, state)
        for name, trunk in self._trunks.items():
            state = self._states[name]
            if name in before and before[name].hop == trunk.hop:
                if trunk.keepalive <= 0 and not state.up:
                    # Nothing would bring it back.
                    state.up, state.failures, state.until = True, 0, 0.0
                continue
            numeric = _canonical(trunk.hop.host) is not None
            state.addresses = ((trunk.hop.host, trunk.hop.port),) if numeric else ()
            state.transport = trunk.hop.transport
            state.up, state.failures, state.due_at = True, 0, None
            state.bad, state.until = {}, 0.0
        self.down = sum(not state.up for state in self._states.values())
        self._remembered.clear()
        self._index_networks()
        self._index_addresses()

    # --- whose request this is

    def by_source(
        self, transport: str, host: str, port: int, sent_by_port: int | None = None
    ) -> Trunk | None:
        """The trunk that a request from this address and port belongs to.

        `transport` is in lower case. `sent_by_port` is the port of the topmost Via, None if it has
        none: over a connection it tells trunks at the same address apart, whose port is not to be
        seen otherwise.
        """
        if host.startswith("::ffff:"):
            host = host[7:]  # IPv4 through a socket that listens on both
        trunk = self._exact.get((transport, host, port))
        if trunk is not None:
            return trunk
        connected = transport != "udp"
        sent_by_port = sent_by_port or DEFAULT_PORTS[transport]
        if connected:
            peers = self._peers.get((transport, host))
            if peers is not None:
                return _choose(peers, sent_by_port)
            # A request too large for UDP comes over TCP from a trunk that is configured for UDP
            # (RFC 3261 §18.1.1). Its address alone would not do: phones may be at the same one.
            trunk = self._exact.get(("udp", host, sent_by_port)) if transport == "tcp" else None
            if trunk is not None:
                return trunk
        if not self._networks:
            return None
        owners = self._remembered.get(host)
        if owners is None:
            owners = self._owners(host)
            if len(self._remembered) >= self._max_remembered:
                self._remembered.clear()
            self._remembered[host] = owners
        if connected:
            return _choose(owners, sent_by_port)
        for wanted, trunk in owners:
            if wanted is None or wanted == port:
                return trunk
        return None

    def at(self, transport: str, host: str, port: int) -> Trunk | None:
        """The trunk whose calls are sent there."""
        return self._exact.get((transport, host, port))

    def takes_large(self, host: str, port: int) -> Trunk | None:
        """The trunk at an address, if it takes requests over TCP that are too large for UDP, as far
        as is known."""
        trunk = self._exact.get(("udp", host, port))
        if trunk is None or not trunk.large_by_tcp:
            return None
        return trunk if self._clock() >= self._states[trunk.name].small_until else None

    def takes_none(self, host: str, port: int) -> None:
        """The trunk there took no connection: it is not tried again for a while."""
        trunk = self._exact.get(("udp", host, port))
        if trunk is not None:
            log.info("trunk %s: takes no TCP; large requests go by UDP for now", trunk.name)
            self._states[trunk.name].small_until = self._clock() + SMALL_FOR

    def may_be_from(self, network: str) -> bool:
        """Whether some trunk is at an address, as `network_of` gives it, or may come from there."""
        if any(network_of(address) == network for _, address, _ in self._exact):
            return True
        return overlaps(network, (s.network for t in self._trunks.values() for s in t.from_))

    def is_from(self, name: str, host: str) -> bool:
        """Whether a trunk may come from that address."""
        if any(one == host for one, _ in self.addresses(name)):
            return True
        return any(trunk.name == name for _, trunk in self._owners(host))

    def _owners(self, host: str) -> Owners:
        """Who may come from `host`, the narrowest network first."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return ()
        number, bits = int(address), address.max_prefixlen
        return tuple(
            owner
            for (version, length), networks in self._networks.items()
            if version == address.version
            for owner in networks.get(number >> (bits - length), ())
        )

    def _index_networks(self) -> None:
        found: dict[tuple[int, int], dict[int, list[tuple[int | None, Trunk]]]] = {}
        for trunk in self._trunks.values():
            for source in trunk.from_:
                network = source.network
                number = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
                networks = found.setdefault((network.version, network.prefixlen), {})
                networks.setdefault(number, []).append((source.port, trunk))
        self._networks = dict(sorted(found.items(), key=lambda item: -item[0][1]))

    def _index_addresses(self) -> None:
        self._exact = {}
        self._peers = {}
        for name, trunk in self._trunks.items():
            transport = self._states[name].transport or trunk.hop.transport
            for host, port in self._states[name].addresses:
                canonical = _canonical(host)
                if canonical is None:
                    raise ValueError(f"trunk {name}: {host!r} is no IP address")
                self._exact.setdefault((transport, canonical, port), trunk)
                if transport != "udp":
                    self._peers.setdefault((transport, canonical), []).append((port, trunk))

    def set_addresses(
        self, name: str, addresses: Iterable[tuple[str, int]], transport: str = ""
    ) -> None:
        """What the host name of a trunk's `to` resolved to: (IP address, port), the best first, by
        that transport (empty: that of the `to`).

        KeyError for an unknown trunk, ValueError for what is no address; then nothing changes.
        """
        state = self._states[name]
        before, state.addresses = state.addresses, tuple(addresses)
        state.transport = transport or self._trunks[name].hop.transport
        state.bad = {one: until for one, until in state.bad.items() if one in state.addresses}
        try:
            self._index_addresses()
        except ValueError:
            state.addresses = before
            self._index_addresses()
            raise
        if state.addresses != before and self.on_found is not None:
            self.on_found(name)

    def addresses(self, name: str) -> tuple[tuple[str, int], ...]:
        """Where to send a trunk's requests, the best first; empty as long as its name is
        unresolved."""
        state = self._states[name]
        if state.bad:
            now = self._clock()
            bad = [one for one in state.addresses if state.bad.get(one, 0.0) > now]
            return (*(one for one in state.addresses if one not in bad), *bad)
        return state.addresses

    def transport(self, name: str) -> str:
        """By which its requests go."""
        return self._states[name].transport

    def elsewhere(self, name: str, tried: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
        """Another address of a trunk, that was not tried (RFC 3263 §4.3)."""
        state = self._states.get(name)
        if state is None or len(state.addresses) < 2:
            return None
        tried = set(tried)
        return next((one for one in self.addresses(name) if one not in tried), None)

    def good(self, name: str) -> tuple[str, int] | None:
        """The best address of a trunk, of several, that is not the last choice; None: all are."""
        state = self._states.get(name)
        if state is None or len(state.addresses) < 2:
            return None
        now = self._clock()
        return next((one for one in state.addresses if state.bad.get(one, 0.0) <= now), None)

    def failed_at(self, name: str, address: tuple[str, int], seconds: float) -> None:
        """An address of a trunk takes no calls: it is the last choice for so many seconds, if there
        is another."""
        state = self._states.get(name)
        if state is None:
            return
        until = self._clock() + seconds
        if len(state.addresses) > 1:
            state.bad[address] = max(until, state.bad.get(address, 0.0))

    def busy(self, name: str, seconds: float) -> None:
        """It takes no calls for so long, it says."""
        trunk, state = self._trunks.get(name), self._states.get(name)
        if trunk is None or state is None or trunk.keepalive <= 0:
            return
        state.until = max(state.until, self._clock() + seconds)
        if state.up:
            self._turned(name, state, False)

    # --- calls

    def acquire(self, name: str) -> bool:
        """Counts a call in, whichever direction it has; False if the trunk's `max_calls` are up.

        A call of before a restart may be of a trunk that is no more.
        """
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = _State()
        trunk = self._trunks.get(name)
        most = None if trunk is None else trunk.max_calls
        if most is not None and state.calls >= most:
            return False
        state.calls += 1
        return True

    def release(self, name: str) -> None:
        """Counts a call out that `acquire` counted in."""
        state = self._states.get(name)
        if state is not None and state.calls:
            state.calls -= 1
            if not state.calls and name not in self._trunks:
                del self._states[name]
        else:
            log.error("trunk %s: a call was released that was not counted", name)

    def calls(self, name: str) -> int:
        """Calls on a trunk now."""
        state = self._states.get(name)
        return 0 if state is None else state.calls

    # --- keep-alive

    def is_up(self, name: str) -> bool:
        """Whether to send calls there before others. A trunk is up until its keep-alives say
        otherwise, or a call that it did not answer at all; one that is down is the last choice."""
        state = self._states.get(name)
        return state is None or state.up

    def why_down(self, name: str) -> str:
        """Why a trunk is not up, for people; empty if it is."""
        state = self._states.get(name)
        if state is None or state.up:
            return ""
        left = state.until - self._clock()
        if left > 0:
            return f"takes no calls, it says, for {left:.0f} s more"
        return "does not answer"

    def is_checked(self, name: str) -> bool:
        """Whether a call of it is over when it does not answer OPTIONS within the call
        (`session_check`): our own switches do, of carriers it has to be said."""
        trunk = self._trunks.get(name)
        if trunk is None:
            return False
        return trunk.switch if trunk.session_check is None else trunk.session_check

    def heard(self, name: str) -> None:
        """Something came from there: a request, or a response to one of ours."""
        state = self._states.get(name)
        if state is not None:
            state.failures = 0
            if not state.up and (not state.until or self._clock() >= state.until):
                state.until = 0.0
                self._turned(name, state, True)

    def failed(self, name: str) -> None:
        """A call to it was not answered at all. It is asked at once whether it is there.

        A trunk without keep-alive stays up: nothing would bring it back.
        """
        trunk, state = self._trunks.get(name), self._states.get(name)
        if trunk is not None and state is not None and trunk.keepalive > 0 and state.up:
            state.failures = self._down_after
            state.due_at = 0.0
            self._turned(name, state, False)

    def _turned(self, name: str, state: _State, up: bool) -> None:
        state.up = up
        self.down += -1 if up else 1
        log.warning("trunk %s is %s", name, "up" if up else "down")

    def due(self, now: float) -> list[Trunk]:
        """The trunks to send an OPTIONS to now; each is due again `keepalive` seconds later.

        `now` is seconds of a clock that never goes back. The first time they are spread over their
        interval, so that a thousand trunks do not ask in one moment.
        """
        due: list[Trunk] = []
        for number, (name, trunk) in enumerate(self._trunks.items()):
            if trunk.keepalive <= 0:
                continue
            state = self._states[name]
            if state.due_at is None:
                state.due_at = now + trunk.keepalive * number / len(self._trunks)
            if state.due_at <= now:
                state.due_at = now + trunk.keepalive
                due.append(trunk)
        return due

    def next_due(self) -> float | None:
        """When to call `due` again; None if no trunk wants keep-alives, or before its first
        call."""
        return min(
            (state.due_at for state in self._states.values() if state.due_at is not None),
            default=None,
        )

    def answered(
        self, name: str, status: int | None, address: tuple[str, int] | None = None
    ) -> bool:
        """Takes the final status of an OPTIONS, None without one; returns whether `is_up` changed.
        `address` is where it went: of several, those that do not answer are the last choice, and
        the trunk is down when all of them are.

        Any answer is a sign of life (a carrier may refuse OPTIONS with 403 or 405) but 503, which
        asks for calls to go elsewhere, and 408, which is what a transaction says that timed out.
        A trunk without keep-alive stays up: nothing would bring it back.
        """
        if name not in self._trunks or self._trunks[name].keepalive <= 0:
            return False
        state = self._states[name]
        before = state.up
        well = status is not None and status not in (_OVERLOADED, _TIMED_OUT)
        if address is not None and len(state.addresses) > 1:
            if well:
                state.bad.pop(address, None)
            else:
                # Until it is asked the next time but one.
                state.bad[address] = self._clock() + 2 * self._trunks[name].keepalive + 64.0
            if not well and any(one not in state.bad for one in state.addresses):
                return False
        if status is not None and status not in (_OVERLOADED, _TIMED_OUT):
            self.heard(name)
        else:
            state.failures += 1
            if before and state.failures >= self._down_after:
                self._turned(name, state, False)
        return state.up != before


def _choose(owners: Iterable[tuple[int | None, Trunk]], sent_by_port: int) -> Trunk | None:
    """Over a connection: the trunk whose port the peer says it listens on, else the first."""
    first: Trunk | None = None
    for port, trunk in owners:
        if port is not None and port == sent_by_port:
            return trunk
        if first is None:
            first = trunk
    return first


def _canonical(host: str) -> str | None:
    """An IP address as sockets write it; None for a host name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None
