"""Agents of a queue are rung for one who waits, and who hears the queue until one answers."""

from __future__ import annotations

from typing import Final

from softswitch.calls.leg import Leg
from softswitch.calls.onward import Onward
from softswitch.calls.search import Search
from softswitch.calls.transfer import BlindTransfer, Transferring
from softswitch.dialplan import Stages
from softswitch.sip import Response

QUEUE: Final = "queue"
BEING_TRANSFERRED: Final = "Being Transferred"
"""Why who talks with an application cannot go on just now."""


class Waiting:
    """Who has agents rung (`softswitch.applications`)."""

    def answered(self, leg: Leg) -> None:
        """That agent's leg was answered: the two are about to talk."""
        raise NotImplementedError

    def unanswered(self, status: int, reason: str) -> None:
        """Nobody has answered: who waits still hears the queue."""
        raise NotImplementedError


class Summons(Onward):
    """Of `kept`, who hears `application`, on behalf of `waiting`. Agents are rung by themselves:
    where they forward their calls is not asked."""

    __slots__ = ("stages", "timeout", "waiting")

    def __init__(
        self,
        call: Transferring,
        kept: Leg,
        application: Leg,
        stages: Stages,
        timeout: float,
        waiting: Waiting,
    ) -> None:
        super().__init__(call, kept, application, waiting.unanswered)
        self.how = QUEUE
        self.stages = stages
        self.timeout = timeout
        self.waiting = waiting

    def found(self, search: Search, leg: Leg, response: Response) -> None:
        """See `search.SearchUser`: the queue has its last word before its leg is over."""
        self.waiting.answered(leg)
        super().found(search, leg, response)

    def withdraw(self) -> None:
        """Nobody is to be rung any more; who waits still hears the queue."""
        search, self.search = self.search, None
        if search is not None:
            search.give_up("Withdrawn", "")
            search.close()
        self._end()


def ring(transfer: BlindTransfer, search: Search) -> None:
    """Ring whom a summons is for."""
    assert isinstance(transfer, Summons)
    search.summon(transfer.stages, transfer.timeout)
