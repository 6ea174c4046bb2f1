"""Who may have a connection to us: no stranger can take all of them, and none only holds one.

A connection is a stranger's until it has brought a request of somebody that the switch knows: of a
trunk, or of a phone with its password. Where there is no room for one more a stranger's goes, the
oldest first, so that those who only hold connections cannot keep out a phone that says at once who
it is. Those that we open ourselves are not counted here. No I/O.
"""

from __future__ import annotations

from typing import Protocol

from softswitch.sip.hosts import network_of


class Guest(Protocol):
    """A connection that somebody else has opened."""

    def leave(self) -> None:
        """It is to close, now."""


class Door:
    """`most` connections at once, and `per_address` strangers' from one address (of IPv6: from one
    /64 network, which is what one host can have)."""

    def __init__(self, most: int, per_address: int) -> None:
        self._most = most
        self._per_address = per_address
        # Strangers, the oldest first: of all, and of each address.
        self._strangers: dict[Guest, str] = {}
        self._near: dict[str, dict[Guest, None]] = {}
        self._known: set[Guest] = set()
        self.sent_away = 0
        """Strangers that had to go to make room."""
        self.refused = 0
        """Those for whom there was none, as all connections were of somebody known."""

    def take_up(self, most: int, per_address: int) -> None:
        """Go on with other limits: who is in stays in."""
        self._most = most
        self._per_address = per_address

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def enter(self, guest: Guest, host: str) -> bool:
        """A new connection from `host`; false if there is no room. Then it is not counted."""
        network = network_of(host)
        near = self._near.get(network)
        if near is not None and len(near) >= self._per_address:
            self._send_away(next(iter(near)))
        elif len(self) >= self._most:
            if not self._strangers:
                self.refused += 1
                return False
            self._send_away(next(iter(self._strangers)))
        self._strangers[guest] = network
        self._near.setdefault(network, {})[guest] = None
        return True

    def know(self, guest: Guest) -> None:
        """It is no stranger's any more."""
        if guest in self._strangers:
            self.left(guest)
            self._known.add(guest)

    def left(self, guest: Guest) -> None:
        """It is closed."""
        self._known.discard(guest)
        network = self._strangers.pop(guest, None)
        if network is not None:
            near = self._near[network]
            del near[guest]
            if not near:
                del self._near[network]

    def _send_away(self, guest: Guest) -> None:
        self.sent_away += 1
        self.left(guest)
        guest.leave()
