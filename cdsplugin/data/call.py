"""A call in the local store, and who may register for it.

The clients' methods are the callback of the source's control interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cdsplugin.data.call_data import CallData
from cdsplugin.data.entries import Log, Property, Scalar, Value
from cdsplugin.data.names import SUMMARY, TIMED


class Back:
    """Of a call that is back after a restart: it is ``whole`` up to that stamp. What was written
    here later, and shared while the disk refused, is lost. ``since`` is the first stamp of this
    life, 0 before there is one; ``asked`` are the servers that were asked for what was lost, each
    with the number of the connection: with that the answer may be lost as well."""

    __slots__ = ("asked", "since", "whole")

    def __init__(self, whole: int) -> None:
        self.whole = whole
        self.since = 0
        self.asked: dict[str, int] = {}


_NONE: set[str] = set()


class Call:
    """One call in the store.

    ``head`` leads it: its owner, or while that is dead the caretaker; whose head this server is,
    ends here. ``led``: another server says when it is over. ``settled`` is about a call that
    another server leads: true once that has all that was written here. ``kept``: this server wrote
    a record of another server's call, which has to go once its owner has written it. ``learnt``:
    another server brought it here, and no switch of ours has had it since, whatever its entries say
    of an earlier time. ``foreign``: it is none of its owner's, who says so; ``came_to``: the
    server that it came to first, so that this records it; ``claimed``: whoever brought it here
    counts on its being recorded here all the same. ``followers`` are those of the
    ``clients`` that do not hold the call. ``lingering`` is when the call will end (monotonic
    microseconds), 0 while it is held, or followed and ``led``. ``gaps``: servers that came back
    after they had forgotten the call, and up to where what we have of their authors is whole.
    ``back``: we have restarted ourselves, or lost the call and begun it anew. ``base`` is the
    call's time minus our monotonic clock (``clock``); ``based``: it is the owner's, and stays (once
    the machine has been started anew, that of a call of ours is the switch's to say); ``base_kept``
    is what the journal has of it.
    ``guessed``: what was written here with times while it is not; ``sure``: which of these are the
    owner's all the same, by property and key. ``handed``: how often its owner ended it without all
    that is here, and was given everything once more.
    """

    __slots__ = (
        "back", "base", "base_kept", "based", "call_id", "came_to", "claimed", "clients", "data",
        "followers", "foreign", "gaps", "guessed", "handed", "head", "kept", "learnt", "led",
        "lingering", "owner", "refused", "settled", "sure",
    )  # fmt: skip

    def __init__(self, call_id: str, owner: str, base: int = 0, based: bool = False) -> None:
        self.call_id = call_id
        self.owner = owner
        self.base = base
        self.based = based
        self.base_kept = 0
        self.guessed: set[str] = _NONE
        self.sure: dict[tuple[str, str], Scalar] | None = None
        self.head = owner
        self.data = CallData()
        self.clients: tuple[Client, ...] = ()
        self.followers: tuple[Client, ...] = ()
        self.led = False
        self.lingering = 0
        self.settled = False
        self.kept = False
        self.learnt = False
        self.foreign = False
        self.came_to = ""
        self.claimed = False
        self.gaps: dict[str, dict[str, int]] | None = None
        self.back: Back | None = None
        self.refused: frozenset[str] | None = None
        self.handed = 0

    @property
    def held(self) -> bool:
        """Whether somebody takes part for whom it goes on."""
        return len(self.clients) > len(self.followers)

    @property
    def only_followed(self) -> bool:
        """Whether there is somebody, and he does not hold it."""
        return bool(self.clients) and not self.held

    @property
    def told(self) -> bool:
        """Whether a switch of its owner told of it as a whole: then it began there."""
        held = self.data.properties
        return any(name in held and held[name].author == self.owner for name in SUMMARY)

    def retimed(self, name: str, value: Value, by: int) -> Value:
        """The value of a property of ours, its times moved by so many microseconds but for those
        that are sure."""
        if isinstance(value, dict) and name.startswith(TIMED):
            return self.retimed_leg(name, value, by)
        return value

    def retimed_leg(self, name: str, value: dict[str, Scalar], by: int) -> dict[str, Scalar]:
        """As ``retimed``, of a property that has times."""
        sure = self.sure or {}
        return {
            key: one + by
            if key.endswith("_at") and type(one) is int and sure.get((name, key)) != one
            else one
            for key, one in value.items()
        }

    def have(self) -> dict[str, int]:
        """As ``CallData.have``, but no further than it is whole."""
        have = self.data.have()
        for server, whole in (self.gaps or {}).items():
            for author in have:
                if author.partition("/")[0] == server:
                    have[author] = whole.get(author, -1)
        return have

    def have_of(self, server: str) -> dict[str, int]:
        """As ``CallData.have``, of the authors of one server."""
        have = self.data.have()
        return {a: stamp for a, stamp in have.items() if a.partition("/")[0] == server}

    def gap(self, server: str, before: int) -> None:
        """``server`` comes back, and has forgotten what it wrote until ``before``."""
        if self.gaps is not None and server in self.gaps:
            return
        whole = self.have_of(server)
        if max(whole.values(), default=0) < before:
            self.gaps = {**(self.gaps or {}), server: whole}


class Client(Protocol):
    """Who may register. These methods are the control interface's callback function.

    ``properties`` and ``logs`` are the entries that changed, and nothing else. A client is never
    told of what it wrote itself.
    """

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Entries of a call changed."""

    def ended(self, call: Call) -> None:
        """End of call: ``call.data`` has all entries, and the store has forgotten the call."""


class Watcher(Client, Protocol):
    """A client for all calls; it is told of registrations too. It does not keep a call alive."""

    def registered(self, call: Call, client: Client) -> None:
        """``client`` registered for ``call``, or holds it from now on and did not, or the other
        way round."""

    def unregistered(self, call: Call, client: Client) -> None:
        """``client`` left ``call``; ``call.clients`` is who remains."""


def for_a_switch(client: Client) -> bool:
    """Whether a client acts for a switch that has the call: then it has its name, as ``switch``."""
    return getattr(client, "switch", None) is not None
