"""Applications' interest in calls: the API as a client of the local store.

An application takes part in a call by way of this server: it registers with the local store, and
the network proxy registers with the call's owner on its behalf. A request does so for
``cds.api.interest`` seconds, a follower for as long as it follows. No application holds a call:
when it is over at the switches it lingers and ends, whoever follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cdsplugin.api.served import Served
from cdsplugin.config import ApiSection
from cdsplugin.data import Call, Client, Handle, Log, Property
from cdsplugin.local import NoSuchCall, OwnerAway, Registrant, answered
from cdsplugin.proxy import Stage


class Interest:
    """Follows calls for applications. One client for all of them."""

    def __init__(self, server: Served, section: ApiSection) -> None:
        self._server = server
        self._section = section
        self._interests: dict[str, int] = {}
        self._leases: dict[str, Handle] = {}

    # As a client of the store; followers are told by the feed

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Requests look when they come."""

    def ended(self, call: Call) -> None:
        """Nothing is left to follow."""
        self._interests.pop(call.call_id, None)
        lease = self._leases.pop(call.call_id, None)
        if lease is not None:
            lease.cancel()

    # For the routes

    async def call(self, call_id: str, owner: str | None) -> Call:
        """A live call with everything its owner has of it.

        Of a call of another server in which nobody here takes part, this server becomes a
        participant first. Raises ``NoSuchCall`` and ``OwnerAway``.
        """
        server = self._server
        known = server.store.get(call_id)
        if known is not None:
            owner = known.owner
        if owner is None:
            raise NoSuchCall(
                "no live call has this callID here; if another server owns it, say which:"
                " ?owner=NAME"
            )
        if owner == server.name:
            if known is None:
                raise NoSuchCall("no live call has this callID")
            return known
        if known is not None and any(map(self._has_data, known.clients)):
            return known  # a switch here takes part, and so does this server
        if known is None and not server.link.knows(owner):
            raise NoSuchCall(f"the server `{owner}` is not known here (cds.peers)")
        self._lease(call_id, owner)
        stage = await answered(server, call_id, self._section.wait)
        found = server.store.get(call_id)
        if found is not None and len(found.data):
            return found
        self._give_up(call_id)
        if stage == Stage.WAITING.value:
            raise OwnerAway(f"the server `{owner}` cannot be reached at present")
        raise NoSuchCall(f"`{owner}` has no live call with this callID")

    def follow(self, call_id: str, owner: str) -> Callable[[], None]:
        """Take part in a call until what is returned is called."""
        self._interests[call_id] = self._interests.get(call_id, 0) + 1
        call = self._server.store.register(self, call_id, owner, holds=False)
        done = False

        def let_go() -> None:
            nonlocal done
            # The call may have ended since, and another of the same callID have begun.
            if not done and self._server.store.get(call_id) is call:
                self._let_go(call_id)
            done = True

        return let_go

    def stop(self) -> None:
        """Let go of everything."""
        for lease in self._leases.values():
            lease.cancel()
        self._leases.clear()
        for call_id in list(self._interests):
            del self._interests[call_id]
            self._server.store.unregister(self, call_id)

    def __len__(self) -> int:
        """Calls that are followed."""
        return len(self._interests)

    def _lease(self, call_id: str, owner: str) -> None:
        lease = self._leases.pop(call_id, None)
        if lease is None:
            self._interests[call_id] = self._interests.get(call_id, 0) + 1
            self._server.store.register(self, call_id, owner, holds=False)
        else:
            lease.cancel()
        self._leases[call_id] = self._server.timers.schedule(
            self._section.interest, lambda: self._give_up(call_id)
        )

    def _give_up(self, call_id: str) -> None:
        lease = self._leases.pop(call_id, None)
        if lease is not None:
            lease.cancel()
            self._let_go(call_id)

    def _let_go(self, call_id: str) -> None:
        left = self._interests.get(call_id, 0) - 1
        if left > 0:
            self._interests[call_id] = left
        elif call_id in self._interests:
            del self._interests[call_id]
            self._server.store.unregister(self, call_id)

    def _has_data(self, client: Client) -> bool:
        # Applications and programs may be waiting for the owner themselves.
        return client is not self and not isinstance(client, Registrant)
