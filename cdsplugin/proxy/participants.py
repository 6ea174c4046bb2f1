"""The registration monitor: who takes part in each call that this server owns.

From the source: "The registration monitor module builds a participant list for each callID from the
registration/unregistration requests received", and "If the remote participant does not re-register
its interest in the callID within a specified time frame (e.g. 5 minutes), the registration monitor
module unregisters the remote participant." The local participants are the store's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from cdsplugin.data import Handle, Listing, Timers, give_back


class Participants:
    """The remote participants of one call: ``present`` in the order of their registration.

    ``following`` are those present that do not hold the call. ``past`` is everyone who ever
    registered: the end of call is told to them too. ``moved``: pairs of one who took part by way of
    another server before it came here, and that one, which could not be told so yet.
    """

    __slots__ = ("following", "moved", "past", "present")

    def __init__(self) -> None:
        self.present: tuple[str, ...] = ()
        self.following: tuple[str, ...] = ()
        self.past: tuple[str, ...] = ()
        self.moved: tuple[tuple[str, str], ...] = ()

    @property
    def hold(self) -> bool:
        """Whether the call has to go on for one of those present."""
        return len(self.present) > len(self.following)


class RegistrationMonitor:
    """Participant lists by callID, and the time that a server which was cut off has to come back.

    ``expired(call_id, server)`` is called for each registration that was not renewed within
    ``reregister_within`` seconds of the loss of the connection.
    """

    def __init__(
        self, timers: Timers, reregister_within: float, expired: Callable[[str, str], None]
    ) -> None:
        self._timers = timers
        self._within = reregister_within
        self._expired = expired
        self._lists: dict[str, Participants] = {}
        self._of_server: dict[str, dict[str, None]] = {}
        self._to_renew: dict[str, dict[str, None]] = {}
        self._gone: dict[str, dict[str, None]] = {}
        self._expiries: dict[str, Handle] = {}

    def __len__(self) -> int:
        return len(self._lists)

    def of(self, call_id: str) -> Participants | None:
        """The participant list of a call; None if no remote server ever registered for it."""
        return self._lists.get(call_id)

    def calls_of(self, server: str) -> Collection[str]:
        """The callIDs for which ``server`` is registered."""
        return self._of_server.get(server, ())

    def awaits(self, call_id: str, server: str) -> bool:
        """Whether ``server`` was cut off and has not registered again. It gets no updates until it
        has: what it holds of each author must stay a beginning of what that author wrote."""
        calls = self._to_renew.get(server)
        return calls is not None and call_id in calls

    def awaited(self, server: str) -> Collection[str]:
        """The callIDs for which ``server`` was cut off and has not registered again."""
        return self._to_renew.get(server, ())

    def said_gone(self, call_id: str, server: str) -> None:
        """Another server says that ``server`` has left the call by way of it. The connection to
        that may have been dead for a while, as is known before long: see ``gone``."""
        self._gone.setdefault(server, {})[call_id] = None

    def gone(self, server: str) -> Collection[str]:
        """The callIDs of which that was said, and for which it has not registered again since."""
        return self._gone.pop(server, ())

    def add(self, call_id: str, server: str, follows: bool = False) -> Participants:
        """Register, or register again; returns who takes part in the call."""
        participants = self._lists.get(call_id)
        if participants is None:
            participants = self._lists[call_id] = Participants()
        if server in self._to_renew:
            self._to_renew[server].pop(call_id, None)
        if self._gone:
            self._not_gone(call_id, server)
        self._of_server.setdefault(server, {})[call_id] = None
        if server in participants.following:
            participants.following = tuple(s for s in participants.following if s != server)
        if follows:
            participants.following = (*participants.following, server)
        if server not in participants.present:
            participants.present = (*participants.present, server)
            if server not in participants.past:
                participants.past = (*participants.past, server)
        return participants

    def remove(self, call_id: str, server: str) -> bool:
        """Unregister; false if it was not registered."""
        participants = self._lists.get(call_id)
        if participants is None or server not in participants.present:
            return False
        participants.present = tuple(s for s in participants.present if s != server)
        participants.following = tuple(s for s in participants.following if s != server)
        self._forget(call_id, server)
        return True

    def moved(self, call_id: str, server: str, behind: Sequence[str]) -> None:
        """``server``, which has just registered, took part by way of these, who cannot be told."""
        participants = self._lists.get(call_id)
        if participants is None:
            return
        others = tuple(each for each in participants.moved if each[0] != server)
        participants.moved = (*others, *((server, name) for name in behind))

    def untold(self, call_id: str, server: str) -> list[str]:
        """Who took part by way of ``server`` until it came here, and has not been cut off from here
        since; it may have left. ``server`` is told now."""
        participants = self._lists.get(call_id)
        if participants is None:
            return []
        moved = [name for name, by_way_of in participants.moved if by_way_of == server]
        participants.moved = tuple(each for each in participants.moved if each[1] != server)
        return [name for name in moved if not self.awaits(call_id, name)]

    def restore(
        self,
        call_id: str,
        present: Iterable[str],
        past: Iterable[str],
        following: Collection[str] = (),
    ) -> None:
        """Bring back a list after a restart: those present have to renew their registrations."""
        participants = self._lists[call_id] = Participants()
        participants.present = tuple(present)
        participants.following = tuple(s for s in participants.present if s in following)
        participants.past = tuple(dict.fromkeys((*past, *participants.present)))
        for server in participants.present:
            self._of_server.setdefault(server, {})[call_id] = None
            self._to_renew.setdefault(server, {})[call_id] = None
            if server not in self._expiries:
                self._expiries[server] = self._timers.schedule(
                    self._within, partial(self._expire, server)
                )

    def remember(self, call_id: str, past: Iterable[str]) -> None:
        """A call goes on that had ended: they took part in it before."""
        participants = self._lists.get(call_id)
        if participants is not None:
            participants.past = tuple(dict.fromkeys((*past, *participants.past)))

    def end(self, call_id: str) -> Participants | None:
        """The call is over; returns its list for the last time."""
        participants = self._lists.pop(call_id, None)
        for server in participants.present if participants else ():
            self._forget(call_id, server)
        return participants

    def cut_off(self, server: str) -> None:
        """The connection was lost: its registrations must be renewed in time."""
        calls = self._of_server.get(server)
        if not calls:
            return
        self._to_renew.setdefault(server, {}).update(calls)
        earlier = self._expiries.pop(server, None)
        if earlier is not None:
            earlier.cancel()
        self._expiries[server] = self._timers.schedule(self._within, lambda: self._expire(server))

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._lists)

    def stop(self) -> None:
        """Forget everything."""
        for timer in self._expiries.values():
            timer.cancel()
        self._expiries.clear()
        self._to_renew.clear()
        self._gone.clear()
        self._of_server.clear()
        self._lists.clear()

    def _forget(self, call_id: str, server: str) -> None:
        calls = self._of_server.get(server)
        if calls is not None:
            calls.pop(call_id, None)
            if not calls:
                del self._of_server[server]
        if server in self._to_renew:
            self._to_renew[server].pop(call_id, None)
        if self._gone:
            self._not_gone(call_id, server)

    def _not_gone(self, call_id: str, server: str) -> None:
        calls = self._gone.get(server)
        if calls is not None:
            calls.pop(call_id, None)
            if not calls:
                del self._gone[server]

    def _expire(self, server: str) -> None:
        self._expiries.pop(server, None)
        for call_id in self._to_renew.pop(server, ()):
            self.moved(call_id, server, ())  # it may be anywhere
            self._expired(call_id, server)


class Listings:
    """Tells each participant of a call who the others are, in the order of the list.

    What changes within ``gather`` seconds goes to a server in one frame, for all its calls. Only
    the first ``length`` names are told: with so many dead there is nobody left to take care.
    """

    def __init__(
        self,
        timers: Timers,
        send: Callable[[str, Listing], None],
        length: int = 16,
        gather: float = 0.02,
    ) -> None:
        self.length = length
        self._timers = timers
        self._send = send
        self._gather = gather
        self._waiting: dict[str, dict[str, tuple[str, ...]]] = {}
        self._timer: Handle | None = None

    def changed(
        self, call_id: str, before: tuple[str, ...], names: tuple[str, ...], but: str = ""
    ) -> None:
        """The list of a call was ``before`` and is ``names``; ``but`` knows that already."""
        told = names[: self.length]
        if told == before[: self.length]:
            return
        for server in names:
            if server != but:
                self._waiting.setdefault(server, {})[call_id] = told
        if self._waiting and self._timer is None:
            self._timer = self._timers.schedule(self._gather, self._tell)

    def stop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        for server, calls in waiting.items():
            self._send(
                server, Listing([(call_id, list(names)) for call_id, names in calls.items()])
            )
