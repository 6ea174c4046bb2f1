"""Waiting in a queue: music, one's place, and an agent at last (``queues:``)."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Final

from softswitch.applications.queues import (
    ABANDONED,
    AGAIN,
    ANSWERED,
    EXIT,
    LOST,
    TIMEOUT,
    WAITING,
    Caller,
    Queues,
)
from softswitch.applications.seat import Application, Seat
from softswitch.applications.speech import number
from softswitch.calls import BEING_TRANSFERRED, Leg, Waiting
from softswitch.dialplan import Action, Queue, QueuePlay, Stage, Target
from softswitch.sip import Timer

_LEAST: Final = 0.1
"""Seconds that who comes back to its place may wait in any case."""


class QueueApplication(Application):
    """One caller in a queue, of which `queues` has the others and the agents.

    =========  ========================  ==========================================================
    it         what is heard             ends
    =========  ========================  ==========================================================
    waits      ``say`` once, music, its  an agent answers; a key of ``choices``; after
               place now and then        ``longest_wait``; with the last agent that logs out
    has gone   –                         where its key or ``else`` led there is nobody: of a key, it
                                         waits on at its place
    ends       that nobody is available  hung up on
    =========  ========================  ==========================================================
    """

    NAME = QueuePlay.NAME

    def __init__(self, seat: Seat, settings: QueuePlay, queues: Queues) -> None:
        super().__init__(seat)
        self.name = settings.queue
        self._queues = queues
        self._caller = QueueCaller(self, settings)
        self._outcome = ""
        self._ends = False
        self._action: Action | None = None  # where it has gone on, or is to
        self._announce: Timer | None = None
        self._longest: Timer | None = None
        self._came = 0.0

    def _queue(self) -> Queue | None:
        """As it is written now; None: there is none any more."""
        return self.seat.around.dialplan.queues.get(self.name)

    def _waited(self) -> str:
        return f"{self._queues.clock() - self._came:.1f}"

    # --- in

    def began(self) -> None:
        """See `Application`."""
        seat, queues = self.seat, self._queues
        queue = self._queue()
        if queue is None:
            # The dialplan has another one since.
            seat.otherwise()
            return
        self._came = queues.clock()
        if seat.leg is not None:
            queues.knows(self._caller, seat.leg)
        since = datetime.fromtimestamp(seat.around.seconds(), UTC).isoformat()
        self._enter(queue, since)

    def _enter(self, queue: Queue, since: str) -> None:
        """Unless it may not, it waits from now on."""
        seat, caller = self.seat, self._caller
        why = self._queues.refuses(queue)
        if why:
            seat.facts.update(queue=self.name, since=since)
            self._leave(why, None)
            return
        self._queues.enter(caller)
        self._outcome = WAITING
        seat.note(queue=self.name, since=since, outcome=WAITING, position=str(caller.place))
        self._start(queue)
        if queue.say:
            seat.say_files(queue.say)
        else:
            self._music()

    def _start(self, queue: Queue) -> None:
        """The timers of one who waits."""
        after = self.seat.around.after
        if queue.announce:
            self._announce = after(queue.announce, self._say_place)
        if queue.longest_wait:
            left = queue.longest_wait - (self._queues.clock() - self._came)
            self._longest = after(max(left, _LEAST), self._long_enough)

    def _stop(self) -> None:
        for timer in (self._announce, self._longest):
            if timer is not None:
                timer.cancel()
        self._announce = self._longest = None

    # --- what it hears

    def _music(self) -> None:
        queue = self._queue()
        if queue is not None:
            self.seat.say_files(queue.music, loop=True)

    def played(self) -> None:
        """See `Application`."""
        if self._ends:
            self.seat.hang_up()
        elif self._caller.waits:
            self._music()

    def _say_place(self) -> None:
        self._announce = None
        queue = self._queue()
        if queue is None or not self._caller.waits:
            return
        if queue.announce:
            self._announce = self.seat.around.after(queue.announce, self._say_place)
        place = self._caller.place
        names = ["queue-next"] if place == 1 else ["queue-number", *number(place), "in-line"]
        seconds = self._queues.estimate(self._caller, queue) if queue.estimate else 0.0
        if seconds > 0:
            minutes = ceil(seconds / 60)
            names += ["queue-wait", *number(minutes), "minute" if minutes == 1 else "minutes"]
        paths = self.seat.spoken(names)
        if paths:
            self.seat.say_files(paths)

    def digit(self, digit: str) -> None:
        """See `Application`."""
        queue = self._queue()
        if queue is None or not self._caller.waits:
            return
        self.seat.note_digit(digit)
        choice = queue.choices.get(digit)
        if choice is not None:
            dialplan = self.seat.around.dialplan
            self._leave(EXIT, choice.of(self.seat.number, dialplan.extensions))

    # --- out

    def _long_enough(self) -> None:
        self._longest = None
        if self._caller.waits:
            self._leave(TIMEOUT, None)

    def leave(self, outcome: str) -> None:
        """It is to wait no longer."""
        self._leave(outcome, None)

    def _leave(self, outcome: str, action: Action | None) -> None:
        """It waits no longer, and goes on: there, or with `else`."""
        seat = self.seat
        self._stop()
        self._outcome = outcome
        self._queues.leave(self._caller, outcome)
        seat.note(outcome=outcome, waited=self._waited())
        queue = self._queue()
        if action is None and queue is not None and queue.otherwise is not None:
            action = queue.otherwise.of(seat.number, seat.around.dialplan.extensions)
        self._action = action
        if action is None:
            self._otherwise()
        else:
            seat.go_on(action)

    def _otherwise(self) -> None:
        """What the route says."""
        self._action = self.seat.play.otherwise
        if self._action is not None:
            self.seat.otherwise()
        else:
            self._hang_up()

    def _go(self) -> None:
        """On to where that was not possible a moment ago."""
        self._longest = None
        if self._action is not None:
            self.seat.go_on(self._action)

    def _hang_up(self) -> None:
        """After a word."""
        seat = self.seat
        self._ends = True
        paths = seat.spoken(["not-available"])
        if paths:
            seat.say_files(paths)
        else:
            seat.hang_up()

    def nobody(self, status: int, reason: str) -> None:
        """See `Application`: who has pressed a key waits on."""
        seat, caller, queue = self.seat, self._caller, self._queue()
        if reason == BEING_TRANSFERRED:
            # Whom this is for turns out in a moment.
            self._longest = seat.around.after(AGAIN, self._go)
            return
        if self._outcome != EXIT or queue is None or self.name not in self._queues.lines:
            self._action = seat.play.otherwise
            seat.otherwise()
            return
        self._outcome = WAITING
        self._queues.enter(caller)
        seat.note(outcome=WAITING, position=str(caller.place))
        self._start(queue)
        paths = seat.spoken(["not-available"])
        if paths:
            seat.say_files(paths)
        else:
            self._music()

    # --- agents

    def answered(self, leg: Leg) -> None:
        """An agent has."""
        self._stop()
        self._outcome = ANSWERED
        agent = leg.party.partition(":")[2]
        self.seat.note(outcome=ANSWERED, agent=agent, waited=self._waited())
        self._queues.answered(self._caller, leg)

    def unanswered(self) -> None:
        """No agent has."""
        queue = self._queue()
        self._queues.unanswered(self._caller, queue.retry if queue is not None else 0.0)

    # --- ends that nobody here decides

    def last_word(self) -> None:
        """It has hung up."""
        self._gives_up(ABANDONED)

    def lost(self) -> None:
        """See `Application`."""
        self._gives_up(LOST)

    def _gives_up(self, outcome: str) -> None:
        self._stop()
        if self._caller.waits:
            self._outcome = outcome
            self.seat.note(outcome=outcome, waited=self._waited())
            self._queues.leave(self._caller, outcome)

    def left(self) -> None:
        """See `Application`."""
        self._stop()
        if self._caller.waits:
            self._queues.leave(self._caller, ABANDONED)
        if self.seat.leg is not None:
            self._queues.went(self.seat.leg)
        self._caller.application = None


class QueueCaller(Caller):
    """The same, as its queue knows it. `application` is none once the caller has gone."""

    def __init__(self, application: QueueApplication, settings: QueuePlay) -> None:
        super().__init__()
        self.queue_name = settings.queue
        self.skills = frozenset(settings.skills)
        self.application: QueueApplication | None = application

    def ring(self, queue: Queue, agents: list[str]) -> bool:
        """See `Caller`."""
        application = self.application
        if application is None:
            return False
        stage = Stage(tuple([Target("extension", name, name) for name in agents]))
        if queue.record:
            application.seat.record_call()
        if queue.tap is not None:
            application.seat.tap_call(queue.tap)
        return application.seat.ring((stage,), queue.ring, Rung(application))

    def stop_ringing(self) -> None:
        """See `Caller`."""
        if self.application is not None:
            self.application.seat.stop_ringing()

    def stands(self, place: int) -> None:
        """See `Caller`."""
        if self.application is not None:
            self.application.seat.note(position=str(place))

    def give_up(self, outcome: str) -> None:
        """See `Caller`."""
        if self.application is not None:
            self.application.leave(outcome)

    def last_word(self) -> None:
        """See `Caller`."""
        if self.application is not None:
            self.application.last_word()


class Rung(Waiting):
    """The same, as the call knows it that rings agents."""

    def __init__(self, application: QueueApplication) -> None:
        self._application = application

    def answered(self, leg: Leg) -> None:
        """See `Waiting`."""
        self._application.answered(leg)

    def unanswered(self, status: int, reason: str) -> None:
        """See `Waiting`."""
        self._application.unanswered()
