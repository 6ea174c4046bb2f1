"""Rooms: who is in each conference, and the media workers that join them.

A worker has few calls at a time. If that is enough for all people of a room, one worker joins them.
If not, people are at **leaves**: workers that join their own people, and have one call more, to the
**hub**, which joins the leaves: with four calls a worker that is room for twelve people. Nobody has
to be moved when a room grows, as a leaf has that place from the beginning.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from softswitch.applications.seat import Seat
from softswitch.dialplan import Conference
from softswitch.media import LOOPBACK, Places, Port, Recorded, StreamEnded, Workers
from softswitch.sip import Timer

log = logging.getLogger(__name__)

FULL: Final = (486, "Conference Full")
LOCKED: Final = (403, "Conference Locked")
NONE_FREE: Final = (503, "No Media Worker")
AGAIN: Final = 0.5
"""Seconds until leaves that have lost their hub, or have got none, look for another one."""
TRIES: Final = 10
"""Times that somebody looks so for the place of another one who is about to leave."""
TELLS: Final = 1.0
"""Seconds between two changes of who speaks, as far as they are told."""


class House(Protocol):
    """What rooms need of the switch."""

    @property
    def workers(self) -> Workers | None:
        """The media workers; None: nobody speaks for the switch."""

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back."""


class Member(Protocol):
    """Who is in a room, as the room knows it."""

    @property
    def seat(self) -> Seat:
        """Its place."""

    @property
    def leads(self) -> bool:
        """Whether it is a leader."""

    @property
    def audible(self) -> bool:
        """Whether it is heard by others."""

    @property
    def shown(self) -> str:
        """Its number, as others may see it."""

    def changed(self, came: Member | None, left: bool) -> None:
        """Others are here than before: somebody came, or ``left``."""

    def told(self) -> None:
        """What is known of the room is something else than before."""

    def sent_away(self, why: str) -> None:
        """It has to leave; ``why`` is a prompt."""


class _Waiting:
    """Somebody for whom there is no place yet."""

    def __init__(
        self, seat: Seat, address: str, then: Callable[[Port | tuple[int, str]], None]
    ) -> None:
        self.seat = seat
        self.address = address
        self.then = then
        self.tries = TRIES


class _Leaf:
    """A worker at which people of a room are."""

    def __init__(self, places: Places, flat: bool) -> None:
        self.places = places
        self.flat = flat
        self.seats: list[Seat] = []
        self.trunk: _Trunk | None = None

    def takes(self, address: str) -> bool:
        """Whether there is a place for somebody whose audio goes to that address."""
        worker = self.places.worker
        if not worker.over and address not in worker.addresses:
            worker.prepare(address)  # for who comes next
        kept = 0 if self.flat or self.trunk is not None else 1
        return self.places.free > kept and worker.addresses.get(address, False)

    def will_take(self, address: str) -> bool:
        """Whether there will be a place, as somebody there is told why it has to leave. Only where
        all are at one worker: elsewhere there is another leaf, or room for one."""
        leaving = self.places.used > len(self.seats) and not self.places.worker.over
        return self.flat and leaving and self.places.worker.addresses.get(address, False)


class _End:
    """One end of a trunk (`media.User`)."""

    def __init__(self, trunk: _Trunk) -> None:
        self._trunk = trunk

    def up(self) -> None:
        """See `media.User`."""

    def digit(self, digit: str) -> None:
        """See `media.User`."""

    def played(self, job: int, error: str) -> None:
        """See `media.User`."""

    def recorded(self, recorded: Recorded) -> None:
        """See `media.User`."""

    def speaking(self, on: bool) -> None:
        """See `media.User`."""

    def streaming(self, job: int) -> None:
        """See `media.User`."""

    def stream_ended(self, ended: StreamEnded) -> None:
        """See `media.User`."""

    def gone(self) -> None:
        """See `media.User`."""
        self._trunk.broken()

    def lost(self) -> None:
        """See `media.User`."""
        self._trunk.broken()


class _Trunk:
    """The call of a leaf to the hub."""

    def __init__(self, room: Room, leaf: _Leaf, hub: Places) -> None:
        self._room = room
        self._leaf = leaf
        self._ends: list[Port] = []
        far = hub.port(_End(self))
        near = leaf.places.port(_End(self))
        self._ends = [far, near]
        near.call(far)
        near.join(room.name)
        far.join(room.name)

    def close(self) -> None:
        """It is not needed any more."""
        ends, self._ends = self._ends, []
        for port in ends:
            port.release()

    def broken(self) -> None:
        """One of its ends is gone."""
        if self._ends:
            self.close()
            self._leaf.trunk = None
            self._room.torn()


class Room:
    """A conference that somebody is in, or comes to."""

    def __init__(self, rooms: Rooms, conference: Conference) -> None:
        self._rooms = rooms
        self.conference = conference
        self.name = conference.name
        self.locked = False
        self.members: list[Member] = []
        self.speaker = ""
        self._speaking: list[Member] = []
        self._tells: Timer | None = None
        self._waiting: deque[_Waiting] = deque()
        self._leaves: list[_Leaf] = []
        self._asks = False
        self._hub: Places | None = None
        self._asks_hub = False
        self._apart = False  # no hub can be had; that was told
        self._again: Timer | None = None
        self._over = False

    @property
    def people(self) -> int:
        """Those that are here, or come."""
        return sum(len(leaf.seats) for leaf in self._leaves) + len(self._waiting)

    @property
    def workers(self) -> int:
        """Media workers that it has."""
        return len(self._leaves) + (self._hub is not None)

    @property
    def led(self) -> bool:
        """Whether a leader is here."""
        return any(one.leads for one in self.members)

    # --- places

    def enter(
        self,
        seat: Seat,
        leads: bool,
        address: str,
        then: Callable[[Port | tuple[int, str]], None],
    ) -> None:
        """`then` gets a place for somebody, or why there is none."""
        if self.locked and not (leads and self.conference.leader_pin):
            # Where everybody leads the lock is for everybody.
            then(LOCKED)
        elif self.people >= self.conference.most:
            then(FULL)
        elif self._apart:
            then(NONE_FREE)
        else:
            self._waiting.append(_Waiting(seat, address, then))
            self._serve()

    def _serve(self) -> None:
        while self._waiting and not self._over:
            first = self._waiting[0]
            leaf = self._leaf(first.address)
            if leaf is None:
                if first.tries and any(one.will_take(first.address) for one in self._leaves):
                    first.tries -= 1
                    self._later()
                else:
                    self._grow(first.address)
                return
            self._waiting.popleft()
            self._take(leaf, first)

    def _grow(self, address: str) -> None:
        """One leaf more is needed. Before there is a second one there has to be a hub: nobody is
        let in who cannot be joined with the others."""
        if self._asks or self._asks_hub:
            return
        workers = self._rooms.house.workers
        if workers is None:
            self._refuse(NONE_FREE)
        elif self._leaves and len(self._leaves) >= self._leaves[0].places.size:
            # The hub has no place for another one.
            self._refuse(FULL)
        elif self._leaves and self._living_hub() is None:
            self._ask_hub(workers)
        else:
            self._asks = True
            workers.keep(self.conference.most, address, self._kept)

    def _take(self, leaf: _Leaf, one: _Waiting) -> None:
        leaf.seats.append(one.seat)
        one.then(leaf.places.port(one.seat))
        if one.seat.port is None:
            # The switch could make nothing of it.
            self._forget(one.seat)
            self._tidy()

    def _leaf(self, address: str) -> _Leaf | None:
        for leaf in self._leaves:
            if leaf.takes(address):
                return leaf
        return None

    def _kept(self, places: Places | None) -> None:
        self._asks = False
        if self._over:
            if places is not None:
                places.close()
        elif places is None:
            self._refuse(NONE_FREE)
        else:
            self._leaves.append(_Leaf(places, places.size >= self.conference.most))
            self._link()
            self._serve()
            self._tidy()

    def _refuse(self, why: tuple[int, str]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            # There may be a place meanwhile, or for the address of this one.
            leaf = self._leaf(one.address)
            if leaf is not None:
                self._take(leaf, one)
            else:
                one.then(why)
        self._tidy()

    def _forget(self, seat: Seat) -> None:
        for leaf in self._leaves:
            if seat in leaf.seats:
                leaf.seats.remove(seat)

    def _tidy(self) -> None:
        """Keep no more workers than are needed."""
        for leaf in list(self._leaves):
            if not leaf.seats and not (self._waiting and not leaf.places.worker.over):
                self._leaves.remove(leaf)
                if leaf.trunk is not None:
                    leaf.trunk.close()
                    leaf.trunk = None
                leaf.places.close()
        grows = self._asks or self._waiting
        if len(self._leaves) < 2:
            self._apart = False
        if len(self._leaves) < 2 and self._hub is not None and not grows:
            for leaf in self._leaves:
                if leaf.trunk is not None:
                    leaf.trunk.close()
                    leaf.trunk = None
            hub, self._hub = self._hub, None
            hub.close()
        if not self._leaves and not self._waiting and not self._asks and not self._over:
            self._over = True
            for timer in (self._again, self._tells):
                if timer is not None:
                    timer.cancel()
            self._rooms.over(self)

    # --- the hub

    def _link(self) -> None:
        """All leaves are joined."""
        if len(self._leaves) < 2 or self._over:
            return
        hub = self._living_hub()
        if hub is None:
            workers = self._rooms.house.workers
            if workers is not None:
                self._ask_hub(workers)
            return
        for leaf in self._leaves:
            if leaf.trunk is None and hub.free and leaf.places.free:
                leaf.trunk = _Trunk(self, leaf, hub)
            elif leaf.trunk is None and not leaf.places.worker.over:
                self._later()  # the place of the one before is not free yet

    def _living_hub(self) -> Places | None:
        """The hub, unless it has died."""
        hub = self._hub
        if hub is not None and hub.worker.over:
            self._hub = None
            hub.close()
        return self._hub

    def _ask_hub(self, workers: Workers) -> None:
        if not self._asks_hub:
            self._asks_hub = True
            workers.keep(self._leaves[0].places.size, LOOPBACK, self._got_hub)

    def _got_hub(self, places: Places | None) -> None:
        self._asks_hub = False
        if places is None:
            if len(self._leaves) > 1 and not self._over:
                if not self._apart:
                    log.error("conference %s: no media worker joins its parts", self.name)
                self._apart = True
                self._later()
            self._refuse(NONE_FREE)
            return
        self._apart = False
        needed = len(self._leaves) > 1 or (self._leaves and self._waiting)
        if self._over or self._hub is not None or not needed:
            places.close()
        else:
            self._hub = places
            self._link()
        self._serve()
        self._tidy()

    def torn(self) -> None:
        """A leaf has lost its way to the hub."""
        self._later()

    def _later(self) -> None:
        if self._again is None and not self._over:
            self._again = self._rooms.house.after(AGAIN, self._once_more)

    def _once_more(self) -> None:
        self._again = None
        self._link()
        self._serve()
        self._tidy()

    # --- people

    def joined(self, member: Member) -> None:
        """It hears, and is heard."""
        self.members.append(member)
        for one in list(self.members):
            one.changed(member, False)

    def left(self, member: Member) -> None:
        """It is here no more."""
        self._forget(member.seat)
        if member in self.members:
            led = self.led
            self.members.remove(member)
            self.spoke(member, False)
            if self.conference.ends and led and not self.led:
                for one in list(self.members):
                    one.sent_away("conference-ended")
            for one in list(self.members):
                one.changed(None, True)
        self._serve()
        self._tidy()

    def lock(self, on: bool) -> None:
        """Nobody comes in any more who does not lead; or somebody does again."""
        self.locked = on
        self.tell()

    def tell(self) -> None:
        """Everybody's call data are to say what is known now."""
        for one in list(self.members):
            one.told()

    def spoke(self, member: Member, on: bool) -> None:
        """Something is to be heard of it, or nothing any more."""
        if on and member not in self._speaking:
            self._speaking.append(member)
        elif not on and member in self._speaking:
            self._speaking.remove(member)
        if self._tells is None and not self._over:
            self._speaks()

    def _speaks(self) -> None:
        """Who speaks: the one who began first, of those who do."""
        self._tells = None
        speaker = next((one.shown for one in self._speaking if one.audible), "")
        if speaker != self.speaker:
            self.speaker = speaker
            self._tells = self._rooms.house.after(TELLS, self._speaks)
            self.tell()


class Rooms:
    """All of a switch, by their names."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._rooms: dict[str, Room] = {}

    @property
    def all(self) -> list[Room]:
        """Those that somebody is in."""
        return list(self._rooms.values())

    def enter(
        self,
        conference: Conference,
        seat: Seat,
        leads: bool,
        address: str,
        then: Callable[[Port | tuple[int, str]], None],
    ) -> None:
        """See `Room.enter`. Who comes first makes the room as the dialplan has it then."""
        room = self._rooms.get(conference.name)
        if room is None:
            room = self._rooms[conference.name] = Room(self, conference)
        room.enter(seat, leads, address, then)

    def room(self, name: str) -> Room | None:
        """The one of that name, if somebody is in it."""
        return self._rooms.get(name)

    def over(self, room: Room) -> None:
        """Nobody is in it any more."""
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
