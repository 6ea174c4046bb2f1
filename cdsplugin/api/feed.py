"""What happens to calls and servers, told to those who follow.

In the local store a client for all calls, but only while somebody follows: without followers it
costs nothing. Each happening is encoded once, however many follow it. A follower that takes its
events too slowly is dropped: what waits for it is bounded (``cds.api.follower_queue``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cdsplugin.api.models import state_of
from cdsplugin.archive import iso
from cdsplugin.data import Call, Client, Log, Property, Store

Happening = tuple[str, bytes]
"""The kind of an event, and the whole of it as JSON."""

_encode = msgspec.json.Encoder().encode


class TooManyFollowers(Exception):
    """``cds.api.followers`` is reached."""


class Dropped(Exception):
    """The follower took its events too slowly."""


class Over(Exception):
    """The server stops."""


def entries(properties: Iterable[Property], logs: Iterable[Log]) -> dict[str, Any]:
    """Entries as the API's events have them, by name and in order."""
    return {
        "properties": {
            p.name: {"value": p.value, "set_at": iso(p.stamp), "author": p.author}
            for p in properties
        },
        "logs": [
            {"logged_at": iso(line.stamp), "author": line.author, "text": line.text}
            for line in logs
        ],
    }


def happening(kind: str, **more: object) -> Happening:
    """An event of the API."""
    return kind, _encode({"event": kind, **more})


def whole(kind: str, call: Call) -> Happening:
    """An event with all entries of a call."""
    return happening(
        kind,
        call_id=call.call_id,
        owner=call.owner,
        state=state_of(call),
        **entries(call.data.properties.values(), call.data.log_lines()),
    )


class Follower:
    """Somebody's queue of events. ``next`` is for one task alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[Happening] = deque()
        self._wake = asyncio.Event()
        self._dropped = False
        self._over = False
        self.dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the follower was dropped, whatever it is doing."""

    def push(self, happening: Happening) -> None:
        """Queue an event."""
        if self._dropped or self._over:
            return
        if len(self._queue) >= self._limit:
            self._dropped = True
            self._queue.clear()
            if not self.dropped.done():
                self.dropped.set_result(None)
        else:
            self._queue.append(happening)
        self._wake.set()

    def end(self) -> None:
        """No more events after those that wait."""
        self._over = True
        self._wake.set()

    async def next(self, within: float) -> list[Happening]:
        """The events that wait; none if nothing happened ``within`` so many seconds.

        Raises ``Dropped`` and ``Over``.
        """
        if not self._queue and not self._dropped and not self._over:
            try:
                async with asyncio.timeout(within):
                    await self._wake.wait()
            except TimeoutError:
                return []
        self._wake.clear()
        if self._dropped:
            raise Dropped
        taken = list(self._queue)
        self._queue.clear()
        if not taken and self._over:
            raise Over
        return taken


class Feed:
    """All followers of one server's API."""

    def __init__(self, store: Store, followers: int, queue: int) -> None:
        self._store = store
        self._limit = followers
        self._queue = queue
        self._followers: set[Follower] = set()
        self._of_all: set[Follower] = set()
        self._of_call: dict[str, set[Follower]] = {}
        self._watching = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._followers)

    def join(self) -> Follower:
        """A new follower, of nothing yet. Raises ``TooManyFollowers``."""
        if len(self._followers) >= self._limit:
            raise TooManyFollowers
        follower = Follower(self._queue)
        self._followers.add(follower)
        if not self._watching:
            self._watching = True
            self._store.watch(self)
        return follower

    def leave(self, follower: Follower) -> None:
        """Tell it nothing any more."""
        self._followers.discard(follower)
        self._of_all.discard(follower)
        for call_id in [c for c, those in self._of_call.items() if follower in those]:
            self.unfollow(follower, call_id)
        if follower.dropped.done():
            self.dropped += 1
        if not self._followers and self._watching:
            self._watching = False
            self._store.unwatch(self)

    def follow_all(self, follower: Follower, on: bool = True) -> None:
        """Tell it of all calls."""
        (self._of_all.add if on else self._of_all.discard)(follower)

    def follow(self, follower: Follower, call: Call) -> None:
        """Tell it of a call, beginning with all that is known."""
        self._of_call.setdefault(call.call_id, set()).add(follower)
        follower.push(whole("call", call))

    def unfollow(self, follower: Follower, call_id: str) -> None:
        """Tell it of that call no more."""
        those = self._of_call.get(call_id)
        if those is not None:
            those.discard(follower)
            if not those:
                del self._of_call[call_id]

    def stop(self) -> None:
        """The server stops: every stream ends."""
        for follower in self._followers:
            follower.end()

    def health(self, server: str, up: bool) -> None:
        """A server fell silent, or is heard again."""
        if self._followers:
            told = happening("server_up" if up else "server_down", server=server)
            for follower in self._followers:
                follower.push(told)

    # As a client of the store for all calls

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Entries changed."""
        those = self._interested(call.call_id)
        if those:
            told = happening(
                "update", call_id=call.call_id, owner=call.owner, **entries(properties, logs)
            )
            for follower in those:
                follower.push(told)

    def ended(self, call: Call) -> None:
        """End of call, with all entries."""
        those = self._interested(call.call_id)
        if those:
            told = whole("end", call)
            for follower in those:
                follower.push(told)
        self._of_call.pop(call.call_id, None)

    def registered(self, call: Call, client: Client) -> None:
        """Who takes part is no event."""

    def unregistered(self, call: Call, client: Client) -> None:
        """Who takes part is no event."""

    def _interested(self, call_id: str) -> set[Follower]:
        of_call = self._of_call.get(call_id)
        return self._of_all | of_call if of_call else self._of_all
