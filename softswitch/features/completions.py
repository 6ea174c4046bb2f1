"""Call completion: a phone is rung when whom it has called in vain is free (ITU-T Q.733.3, busy;
Q.733.5, no answer).

Who waits is looked at when something happens that may have made a phone free: a leg of its is over,
it registers, it may be disturbed again. Then comes a pause, in which it may make another call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from softswitch.calls import CALLEE_BUSY, CALLER_BUSY, CompletingCall, Errand, Journal
from softswitch.config import Extension, Forwarding
from softswitch.dialplan import Dialplan, Do, Route, Source
from softswitch.features.completion_rows import (
    COMPLETION,
    CompletionRow,
)
from softswitch.sip import Timer, Timers

COMPLETE: Final = "complete"
_BUSY: Final = frozenset((486, 600))
_NO_ANSWER: Final = frozenset((408, 480, 487))


def completes(dialplan: Dialplan) -> bool:
    """Whether a route asks for call completion."""
    return any(
        isinstance(route.action, Do) and route.action.what == COMPLETE for route in dialplan.routes
    )


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """`lasts` is for how long is waited, `pause` how long a phone must have been free, both in
    seconds; `most` how many an extension may wait for, and how many may wait for it."""

    lasts: float = 2700.0
    pause: float = 5.0
    most: int = 5


class Phones(Protocol):
    """What is known of the phones of this switch, and the calls that are placed for them."""

    def is_registered(self, extension: str) -> bool:
        """Whether it can be called at all."""

    def is_in_use(self, extension: str) -> bool:
        """Whether a leg of its rings or talks."""

    def place(self, caller: str, callee: str, number: str, errand: Errand) -> CompletingCall | None:
        """Ring one extension, and then call `number`, which is another one. None: not now."""


class Failed:
    """The last call of an extension that came to nothing; `at` is in seconds of the clock."""

    __slots__ = ("at", "callee", "due", "number")

    def __init__(self, callee: str, number: str, due: bool, at: float) -> None:
        self.callee = callee
        self.number = number
        self.due = due
        self.at = at


class Completion(Errand):
    """`caller` is to be rung when `callee` is free (`softswitch.calls.journal.Kept`).

    `due` as in its row, `until` too. `suspended`: the caller's phone says that it is busy, and no
    more is known of it. `call` is the one that was placed, `over` whether nobody waits any more.
    """

    __slots__ = (
        "call", "callee", "caller", "due", "is_over", "number", "row", "suspended", "table",
        "timer", "until",
    )  # fmt: skip

    def __init__(
        self, table: Completions, caller: str, callee: str, number: str, due: bool, until: int
    ) -> None:
        self.table = table
        self.row = 0
        self.caller = caller
        self.callee = callee
        self.number = number
        self.due = due
        self.until = until
        self.suspended = False
        self.is_over = False
        self.call: CompletingCall | None = None
        self.timer: Timer | None = None

    def written(self) -> bytes:
        """The row's bytes, as of now."""
        return COMPLETION.encode(
            CompletionRow(self.caller, self.callee, self.number, self.due, self.until)
        )

    def reached(self) -> None:
        """See `Errand`."""
        self.table.end(self)

    def over(self, came_to: int) -> None:
        """See `Errand`."""
        self.call = None
        self.table.came_to(self, came_to)

    def __repr__(self) -> str:
        return f"<{self.caller} waits for {self.callee}>"


class Completions:
    """All who wait.

    `awaited` has them by the parties of both sides, each party's in the order in which they have
    asked: always the same table, as every leg that ends is looked up in it. `now_us` is the time of
    day, in microseconds.
    """

    def __init__(
        self,
        extensions: Mapping[str, Extension],
        forwardings: Mapping[str, Forwarding],
        journal: Callable[[], Journal | None],
        route: Callable[[str, Source], Route | None],
        timers: Timers,
        now_us: Callable[[], int],
        phones: Phones,
        settings: CompletionSettings,
    ) -> None:
        self._extensions = extensions
        self._forwardings = forwardings
        self._journal = journal
        self._route = route
        self._timers = timers
        self._now_us = now_us
        self._phones = phones
        self.settings = settings
        self.awaited: dict[str, list[Completion]] = {}
        self._failed: dict[str, Failed] = {}
        self._pauses: dict[str, Timer] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(
            one.callee == party[len("extension:") :]
            for party, waiting in self.awaited.items()
            for one in waiting
        )

    def take_up(self, settings: CompletionSettings, wanted: bool) -> None:
        """The configuration has changed. `wanted`: a route asks for completions."""
        self.settings = settings
        extensions = self._extensions
        if not wanted:
            self._failed.clear()
        for name in [name for name in self._failed if name not in extensions]:
            del self._failed[name]
        for one in self._all():
            if one.caller not in extensions or one.callee not in extensions:
                self._withdraw(one)
            else:
                self._look_soon(one.callee)

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        read = COMPLETION.decode(data)
        journal = self._journal()
        left = (read.until - self._now_us()) / 1e6
        known = read.caller in self._extensions and read.callee in self._extensions
        if not known or left <= 0 or self._find(read.caller, read.callee) is not None:
            if journal is not None:
                journal.drop(row)
            return
        one = Completion(self, read.caller, read.callee, read.number, read.due, read.until)
        if journal is not None:
            journal.restored(one, row)
        # The time of day, by which it is written, may have been set.
        self._wait(one, min(left, self.settings.lasts))

    # --- what phones ask for

    def has_failed(self, caller: str, number: str, status: int) -> None:
        """A call of an extension to that number came to nothing; 487: it has given up itself."""
        route = self._route(number, Source("extension", caller))
        stages = route.action.stages if route is not None else ()
        targets = stages[0].targets if len(stages) == 1 else ()
        if len(targets) != 1 or caller not in self._extensions:
            return
        callee = targets[0].name
        ours = targets[0].kind == "extension" and callee in self._extensions
        if not ours or callee == caller:
            return
        if status not in _BUSY and status not in _NO_ANSWER:
            self._failed.pop(caller, None)
            return
        # Of one that did not answer, a sign is waited for that somebody is there.
        due = status in _BUSY or not self._phones.is_registered(callee) or self._refuses(callee)
        self._failed[caller] = Failed(callee, number, due, self._timers.clock())

    def has_talked(self, caller: str) -> None:
        """A call of an extension was answered: whatever failed before it was not its last one."""
        self._failed.pop(caller, None)

    def ask(self, caller: str, number: str) -> tuple[str, str, str]:
        """An extension wants its last call to be completed; `number` may say which one that was.
        As `Features.set`."""
        failed = self._failed.get(caller)
        if failed is not None and self._timers.clock() - failed.at > self.settings.lasts:
            failed = None
        if failed is None or number not in ("", failed.number):
            raise LookupError("No Call To Complete")
        lasts = self.settings.lasts
        until = self._now_us() + int(lasts * 1e6)
        one = self._find(caller, failed.callee)
        if one is not None:
            one.number, one.due, one.until = failed.number, failed.due, until
            one.suspended = False
            self._expire_after(one, lasts)
        else:
            waiting = self._of(caller)
            if sum(other.caller == caller for other in waiting) >= self.settings.most:
                raise ValueError("Too Many Calls To Complete")
            waiting = self._of(failed.callee)
            if sum(other.callee == failed.callee for other in waiting) >= self.settings.most:
                raise ValueError(f"Too Many Wait For {failed.number}")
            one = Completion(self, caller, failed.callee, failed.number, failed.due, until)
            self._wait(one, lasts)
        journal = self._journal()
        if journal is not None:
            journal.changed(one)
        return COMPLETE, failed.number, f"Will Ring When {failed.number} Is Free"

    def cancel(self, caller: str, number: str) -> tuple[str, str, str]:
        """An extension does not wait any more, for that number or for anybody. As
        `Features.set`."""
        found = [
            one
            for one in self._of(caller)
            if one.caller == caller and number in ("", one.number, one.callee)
        ]
        if not found:
            raise LookupError("No Call To Complete")
        for one in found:
            self._withdraw(one)
        if number:
            return COMPLETE, "off", f"Will Not Ring For {number}"
        return COMPLETE, "off", "Call Completion Is Off"

    # --- what may have made somebody free

    def leg_over(self, party: str, active: bool) -> None:
        """See `softswitch.calls.Features`."""
        name = party[len("extension:") :]
        for one in self.awaited.get(party, ()):
            if one.caller == name:
                one.suspended = False
                if one.callee not in self._pauses:
                    self._look_soon(one.callee)
                continue
            if active and not one.due:
                one.due = True
                journal = self._journal()
                if journal is not None:
                    journal.changed_a_little(one)
            self._look_soon(name)

    def changed(self, extension: str) -> None:
        """A phone of an extension has registered, or what it wants of its calls has changed."""
        for one in self._of(extension):
            if one.caller == extension:
                one.suspended = False
            self._look_soon(one.callee)

    def _look_soon(self, callee: str) -> None:
        """It may be free: look after the pause, unless there is another sign meanwhile."""
        pause = self._pauses.get(callee)
        if pause is not None:
            pause.cancel()
        look = partial(self._look, callee)
        self._pauses[callee] = self._timers.after(self.settings.pause, look)

    def _look(self, callee: str) -> None:
        """Ring who waits longest for it and is free too."""
        del self._pauses[callee]
        waiting = [one for one in self._of(callee) if one.callee == callee]
        due = [one for one in waiting if one.due and not one.suspended]
        if any(one.call is not None for one in waiting) or not due or not self._is_free(callee):
            return
        for one in due:
            if not self._is_quiet(one.caller):
                continue
            call = self._phones.place(one.caller, callee, one.number, one)
            if call is None:
                self._look_soon(callee)
            elif not call.over:
                one.call = call
            return

    def _is_free(self, callee: str) -> bool:
        return not self._refuses(callee) and self._is_quiet(callee)

    def _refuses(self, callee: str) -> bool:
        """Whether its phones do not ring, whoever calls."""
        forwarding = self._forwardings.get(callee)
        return forwarding is not None and (forwarding.dnd or bool(forwarding.always))

    def _is_quiet(self, name: str) -> bool:
        """Whether its phones can be rung, and none of them is in use."""
        forwarding = self._forwardings.get(name)
        disturbed = forwarding is None or not forwarding.dnd
        return disturbed and self._phones.is_registered(name) and not self._phones.is_in_use(name)

    # --- what came of it

    def came_to(self, one: Completion, came_to: int) -> None:
        """The call that was placed for it is over."""
        if not one.is_over:
            if came_to == CALLER_BUSY:
                one.suspended = True
            elif came_to != CALLEE_BUSY:
                self.end(one)
            elif not self._phones.is_in_use(one.callee):
                # Its phone knows why. It is asked no more until it has had another call.
                one.due = False
                journal = self._journal()
                if journal is not None:
                    journal.changed_a_little(one)
        if self._of(one.callee):
            self._look_soon(one.callee)

    def end(self, one: Completion) -> None:
        """Nobody waits any more."""
        if one.is_over:
            return
        one.is_over = True
        if one.timer is not None:
            one.timer.cancel()
            one.timer = None
        for name in (one.caller, one.callee):
            party = f"extension:{name}"
            waiting = self.awaited[party]
            waiting.remove(one)
            if not waiting:
                del self.awaited[party]
        if not any(other.callee == one.callee for other in self._of(one.callee)):
            pause = self._pauses.pop(one.callee, None)
            if pause is not None:
                pause.cancel()
        journal = self._journal()
        if journal is not None:
            journal.over(one)

    def _withdraw(self, one: Completion) -> None:
        """Nobody waits any more, and nobody is rung for it."""
        self.end(one)
        call = one.call
        if call is not None:
            call.withdraw("Not Wanted Any More")

    # --- the table

    def _wait(self, one: Completion, lasts: float) -> None:
        for name in (one.caller, one.callee):
            self.awaited.setdefault(f"extension:{name}", []).append(one)
        self._expire_after(one, lasts)
        self._look_soon(one.callee)

    def _expire_after(self, one: Completion, lasts: float) -> None:
        if one.timer is not None:
            one.timer.cancel()
        one.timer = self._timers.after(lasts, partial(self.end, one))

    def _of(self, extension: str) -> list[Completion]:
        return self.awaited.get(f"extension:{extension}", [])

    def _find(self, caller: str, callee: str) -> Completion | None:
        for one in self._of(caller):
            if one.caller == caller and one.callee == callee:
                return one
        return None

    def _all(self) -> list[Completion]:
        return list({one: None for waiting in self.awaited.values() for one in waiting})
