"""What one run of ``softswitch phone`` is for, from the first call to the exit status."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import cast

from softswitch.phone.phone_lines import CommandLines, obey, parse_command
from softswitch.phone.settings import PhoneError, PhoneEvent, PhoneSettings
from softswitch.phone.softphone import DIGIT_SECONDS, PAUSE_SECONDS, Softphone
from softswitch.phone.verdicts import Expectation, Judge, Status, Verdict

MEDIA_SECONDS = 0.5  # for the far end's audio to be up: digits sent before it are lost
SENT_SECONDS = 0.5  # more than they take: a call hung up on its last digit may lose it


@dataclass(frozen=True, slots=True)
class Errand:
    """What one run of the command is for.

    ``calls`` are placed to ``call`` at once; without ``call`` so many that come in are the
    errand, and None is any number of them, without end. ``expected`` holds for each of them,
    ``within`` so many seconds from its answer; with ``judged`` the verdicts are said. All calls
    have to be answered within ``wait`` seconds (None: however long that takes).
    """

    call: str | None
    dtmf: str | None
    duration: float | None
    registers: bool
    stays: bool  # until told to quit, whatever becomes of the call or of the registration
    transfer: str | None = None
    attended: str | None = None
    calls: int | None = 1
    expected: Sequence[Expectation] = (Status(),)
    within: float = 10.0
    wait: float | None = None
    judged: bool = False


class Run:
    """Drives a softphone through an errand; ``status`` is the exit status in the end."""

    def __init__(self, settings: PhoneSettings, errand: Errand, say: Callable[[PhoneEvent], None]):
        self.errand = errand
        self.say = say
        self.status = 0
        self.done = False
        self.placed = False
        self.judges: list[Judge] = []
        """One for each of the errand's calls, in their order."""
        self.phone = Softphone(settings, self.event)
        self._began = time.monotonic()
        self._finished = False
        self._own: dict[int, Judge] = {}
        """The errand's calls by number; others may come and go meanwhile."""
        self._up: set[int] = set()
        """Those that are not over."""
        self._asked: set[int] = set()
        """Those for which a transfer was asked, and not refused."""
        self._stepped: set[int] = set()
        """Those whose next step was taken: hung up or transferred."""
        self._busy_until: dict[int, float] = {}
        """When a call's digits have been sent."""
        self._consults: dict[int, int] = {}
        """Calls to whom another call is to be transferred, and that call."""
        self._closed = False
        """Calls that come in are not the errand's any more."""

    # -- what happens -----------------------------------------------------------------------------

    def event(self, event: PhoneEvent) -> None:
        """Told by the phone: print it, and take the errand's next step."""
        self.say(event)
        number = event.call
        if number is None:
            self._without_call(event)
        elif number in self._consults:
            self._consulted(event, number)
        elif event.kind == "incoming":
            if self.errand.call is None and self.errand.calls is not None and self._missing():
                self._take(number)
        elif event.kind == "answered":
            self._answered(number)
        elif event.kind == "transfer" and number in self._own and not self.errand.stays:
            if event.facts["final"] and cast(int, event.facts["status"]) >= 300:
                self._give_up(number)
        elif event.kind == "ended" and number in self._up:
            self._up.remove(number)
            status, reason = cast(int, event.facts["status"]), str(event.facts["reason"])
            self._tell(number, self._own[number].ended(time.monotonic(), status, reason))
            self._finish_if_over()
        elif number in self._own:
            self._sounds(event, number, self._own[number])

    def _without_call(self, event: PhoneEvent) -> None:
        if event.kind == "registered" and not self.placed:
            self.phone.after(0, self.place)
        elif event.kind == "registration_failed" and not self.errand.stays and not self.placed:
            f = event.facts
            self._miss(f"registration failed: {f['status']} {f['reason']}")
            self._finish(1)

    def _sounds(self, event: PhoneEvent, number: int, judge: Judge) -> None:
        now, f = time.monotonic(), event.facts
        if event.kind == "heard":
            hz, level = cast("int | None", f["hz"]), cast(float, f["level_db"])
            self._tell(number, judge.heard(now, hz, level, bool(f["silent"])))
        elif event.kind == "dtmf":
            self._tell(number, judge.digit(now, str(f["digit"])))

    def _answered(self, number: int) -> None:
        errand, phone = self.errand, self.phone
        if errand.dtmf:
            phone.after(MEDIA_SECONDS, lambda: self._send_digits(number))
            length = sum(PAUSE_SECONDS if d == "," else DIGIT_SECONDS for d in errand.dtmf)
            length += MEDIA_SECONDS + SENT_SECONDS
            self._busy_until[number] = time.monotonic() + length
        if number in self._own and errand.judged:
            self._tell(number, self._own[number].answered(time.monotonic()))
            if not self._own[number].decided:
                phone.after(errand.within, lambda: self._time_is_up(number))
        elif number in self._own:
            self._own[number].answered(time.monotonic())
        if errand.duration is not None or (self._moves_on and not errand.judged):
            phone.after(errand.duration or 0, lambda: self._step(number))

    def _consulted(self, event: PhoneEvent, consult: int) -> None:
        """Something of a call to whom another is to be transferred."""
        number = self._consults[consult]
        if event.kind == "answered":
            self.phone.after(0, lambda: self._complete(number, consult))
        elif event.kind == "ended" and not event.facts["answered"]:
            self._give_up(number)

    @property
    def _moves_on(self) -> bool:
        """Whether calls are transferred in the end, instead of being hung up."""
        return self.errand.transfer is not None or self.errand.attended is not None

    # -- steps ------------------------------------------------------------------------------------

    def place(self) -> None:
        """Place the errand's calls, once."""
        errand = self.errand
        if errand.call is None or self.placed:
            return
        self.placed = True
        for _ in range(errand.calls or 1):
            try:
                number = self.phone.call(errand.call)
            except PhoneError as error:
                self._complain(error)
                self._miss(str(error), 1)
            else:
                self._take(number)
        if not self._own:
            self._finish(0 if errand.stays else 1)

    def _take(self, number: int) -> None:
        judge = Judge(self.errand.expected, time.monotonic())
        self._own[number] = judge
        self._up.add(number)
        self.judges.append(judge)

    def _send_digits(self, number: int) -> None:
        digits = self.errand.dtmf or ""
        if number in self.phone.calls:
            self.attempt(lambda: self.phone.dtmf(digits, number))

    def _time_is_up(self, number: int) -> None:
        if number in self._up:
            self._tell(number, self._own[number].time_is_up(time.monotonic()))

    def _step(self, number: int) -> None:
        """What comes after talking: the transfer, or the end."""
        if number not in self.phone.calls or number in self._stepped:
            return
        self._stepped.add(number)
        self._time_is_up(number)
        errand, phone = self.errand, self.phone
        if errand.transfer is not None:
            target = errand.transfer
            self._ask(number, lambda: phone.transfer(target, number))
        elif errand.attended is not None:
            target = errand.attended
            if self.attempt(lambda: phone.hold(number)):
                self._consult(number, target)
        else:
            self._hang_up(number)

    def _consult(self, number: int, target: str) -> None:
        try:
            self._consults[self.phone.call(target)] = number
        except PhoneError as error:
            self._complain(error)
            self._give_up(number)

    def _complete(self, number: int, consult: int) -> None:
        if number in self.phone.calls:
            self._ask(number, lambda: self.phone.attended(number, consult))

    def _ask(self, number: int, transfer: Callable[[], None]) -> None:
        """Ask for a transfer, by REFER."""
        if self.attempt(transfer):
            self._asked.add(number)
        else:
            self._give_up(number)

    def _give_up(self, number: int) -> None:
        """Nothing came of a transfer."""
        if number in self._own and not self.errand.stays:
            self.phone.after(0, lambda: self._hang_up(number))
        elif self.errand.attended is not None and number in self.phone.calls:
            self.attempt(lambda: self.phone.unhold(number))
        self._asked.discard(number)

    def _hang_up(self, number: int) -> None:
        if number in self.phone.calls:
            self.attempt(lambda: self.phone.hangup(number))

    def _too_late(self) -> None:
        """Calls that are not answered by now are not going to be."""
        why = f"no answer within {self.errand.wait:g} s"
        for number in sorted(self._up):
            judge = self._own[number]
            if not judge.was_answered:
                self._tell(number, judge.over(time.monotonic(), why))
                self._hang_up(number)
        if self._missing():
            self._miss(f"no call within {self.errand.wait:g} s")
            self._finish_if_over()

    # -- verdicts and the end ---------------------------------------------------------------------

    @property
    def verdicts(self) -> list[list[Verdict]]:
        """Those of each call."""
        return [judge.verdicts for judge in self.judges]

    def _tell(self, number: int | None, verdicts: Sequence[Verdict]) -> None:
        """Say verdicts; once there is nothing more to be judged, the call has served."""
        if not self.errand.judged:
            return
        for verdict in verdicts:
            self.say(PhoneEvent("verdict", number, asdict(verdict)))
        if number is None or not verdicts or self.errand.duration is not None:
            return
        if self._own[number].decided and number in self._up:
            rest = self._busy_until.get(number, 0.0) - time.monotonic()
            self.phone.after(max(rest, 0.0), lambda: self._step(number))

    def _missing(self) -> int:
        """How many of the errand's calls there have not been."""
        return 0 if self._closed else max((self.errand.calls or 0) - len(self.judges), 0)

    def _miss(self, why: str, count: int | None = None) -> None:
        """So many calls, or all that there have not been, are not coming."""
        for _ in range(self._missing() if count is None else count):
            judge = Judge(self.errand.expected, self._began)
            self.judges.append(judge)
            self._tell(None, judge.over(time.monotonic(), why))
        self._closed = self._closed or count is None

    def _finish_if_over(self) -> None:
        if self.judges and not self._up and not self._missing():
            met = all(judge.met for judge in self.judges)
            if self._moves_on:
                met = met and self._asked.issuperset(self._own)
            self._finish(0 if met else 1)

    def _finish(self, status: int) -> None:
        if not self.errand.stays and not self._finished:
            self.done, self.status, self._finished = True, status, True

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do it; False, and an ``error`` event, if that cannot be done."""
        try:
            action()
        except PhoneError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: PhoneError) -> None:
        self.say(PhoneEvent("error", None, {"message": str(error)}))

    # -- the loop ---------------------------------------------------------------------------------

    def take(self, lines: CommandLines) -> None:
        """Carry out the commands that have come in."""

        def each() -> None:
            for line in lines.read():
                self.attempt(lambda line=line: self.command(line))  # type: ignore[misc]

        self.attempt(each)
        if lines.ended:
            self.done = True

    def command(self, line: str) -> None:
        command = parse_command(line)
        if command is not None and command.verb == "quit":
            self.done = True
        elif command is not None:
            obey(self.phone, command)

    def loop(self, lines: CommandLines | None) -> int:
        """Until done; the exit status. Signals end it too, and count as success, unless something
        was expected that has not come by then. Raises PhoneError if the phone cannot start."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            self.done = True  # raising here could pass through C++

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        try:
            self.phone.open()
            if self.errand.wait is not None:
                self.phone.after(self.errand.wait, self._too_late)
            if not self.errand.registers:
                self.place()
            while not self.done:
                self.phone.poll()
                if lines is not None:
                    self.take(lines)
        except PhoneError as error:
            self._miss(str(error))
            raise
        finally:
            self.phone.close()
        if self.errand.judged and not self._finished:
            self._miss("stopped before")
            self.status = 1
        return self.status
