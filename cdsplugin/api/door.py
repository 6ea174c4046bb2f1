"""Who may have a connection to the API: so many at once, so many from one address, and none that
only holds it.

A connection is a stranger's until a request with one of the tokens came on it. Where there is no
room, a stranger's goes that has nothing under way, the oldest first; so those who only hold
connections cannot keep out an application that says at once who it is. ``/health`` has room of its
own: who watches the server learns that it is busy, and not that it is dead.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from typing import Protocol


class Guest(Protocol):
    """A connection."""

    host: str

    def busy(self) -> bool:
        """Whether a whole request is being answered."""

    def leave(self) -> None:
        """It is to close, now."""


class Room(enum.Enum):
    """What there is room for."""

    ALL = "all"
    HEALTH = "health"
    NOTHING = "nothing"


class Door:
    """``most`` connections at once, ``per_address`` from one address; ``for_health`` more that may
    ask for ``/health`` alone."""

    def __init__(self, most: int, per_address: int, for_health: int) -> None:
        self._most = most
        self._per_address = per_address
        self._for_health = for_health
        self._strangers: dict[Guest, None] = {}
        self._known: dict[Guest, None] = {}
        self._hosts: Counter[str] = Counter()
        self.sent_away = 0

    def __iter__(self) -> Iterator[Guest]:
        return iter([*self._strangers, *self._known])

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def enter(self, guest: Guest) -> Room:
        """A new connection: what it may ask for. With ``NOTHING`` it is not counted."""
        host = guest.host
        if self._hosts[host] >= self._per_address and not self._make_room(host):
            return Room.NOTHING
        room = Room.ALL
        if len(self) >= self._most and not self._make_room():
            if len(self) >= self._most + self._for_health:
                return Room.NOTHING
            room = Room.HEALTH
        self._strangers[guest] = None
        self._hosts[host] += 1
        return room

    def know(self, guest: Guest) -> None:
        """It has shown a token."""
        if guest in self._strangers:
            del self._strangers[guest]
            self._known[guest] = None

    def left(self, guest: Guest) -> None:
        """It is closed, or no more HTTP's business."""
        if guest in self._strangers or guest in self._known:
            self._strangers.pop(guest, None)
            self._known.pop(guest, None)
            self._hosts[guest.host] -= 1
            if not self._hosts[guest.host]:
                del self._hosts[guest.host]

    def _make_room(self, host: str | None = None) -> bool:
        for guest in self._strangers:
            if (host is None or guest.host == host) and not guest.busy():
                self.sent_away += 1
                self.left(guest)
                guest.leave()
                return True
        return False
