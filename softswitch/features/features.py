"""What is in force of each extension: what its phone or a program has set, over what the
configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from softswitch.calls import Features, Journal
from softswitch.config import (
    CASES,
    NO_ANSWER,
    NOT_FORWARDED,
    Extension,
    FollowStep,
    Forwarding,
    is_forwardable,
)
from softswitch.dialplan import Dialplan, Do, Route, Source
from softswitch.features.completions import COMPLETE, Completions
from softswitch.features.mailboxes import Mailboxes
from softswitch.features.wishes import Wishes, decode

AGENT: Final = "agent"
PAUSE: Final = "pause"
_LONGEST: Final = 86_400.0
"""Seconds that a phone may ring before a call is forwarded."""

_WHEN: Final = {
    "always": "Always",
    "busy": "On Busy",
    "no_answer": "On No Answer",
    "unreachable": "When Unreachable",
}


def remembers(dialplan: Dialplan) -> bool:
    """Whether a route asks for last numbers."""
    return any(
        isinstance(route.action, Do) and route.action.what in ("redial", "return")
        for route in dialplan.routes
    )


class PhoneFeatures(Features):
    """For calls (`softswitch.calls.Features`) and for plugins (`softswitch.hookspecs.Features`).
    `completions` and `mailboxes` are those of the same phones.

    `in_force` is filled here, and has the extensions of which anything is: always the same table,
    as calls look into it. `journal` gives the journal, if there is one; `route` is the dialplan;
    `max_follow` how many numbers a list of `set_follow` may have; `agents` are those of queues, and
    whether they are logged in unless they say so.
    """

    def __init__(
        self,
        extensions: Mapping[str, Extension],
        journal: Callable[[], Journal | None],
        route: Callable[[str, Source], Route | None],
        completions: Completions,
        in_force: dict[str, Forwarding],
        mailboxes: Mailboxes,
        max_follow: int = 10,
        agents: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._extensions = extensions
        self._journal = journal
        self._route = route
        self.max_follow = max_follow
        self._completions = completions
        self._wishes: dict[str, Wishes] = {}
        self.in_force = in_force
        self._mailboxes = mailboxes
        self._agents = agents
        self.on_changed: Callable[[str], None] | None = None
        """Called with an extension of which something else is in force."""
        self.take_up()

    def __len__(self) -> int:
        """Extensions of which something was set or is remembered."""
        return len(self._wishes)

    def take_up(self, max_follow: int = 0) -> None:
        """The configuration has changed: of extensions that are gone nothing is kept."""
        self.max_follow = max_follow or self.max_follow
        for name in [name for name in self._wishes if name not in self._extensions]:
            gone = self._wishes.pop(name)
            journal = self._journal()
            if journal is not None:
                journal.over(gone)
        self.in_force.clear()
        for name, extension in self._extensions.items():
            if extension.forwarding is not None:
                self.in_force[name] = extension.forwarding
        for name in self._wishes:
            self._put_in_force(name)

    def restore(self, row: int, data: bytes) -> None:
        """Take up a row of the process before. Raises whatever a row that is none may raise."""
        wishes = decode(data)
        journal = self._journal()
        name = wishes.extension
        if not wishes or name not in self._extensions or name in self._wishes:
            if journal is not None:
                journal.drop(row)
            return
        self._wishes[name] = wishes
        if journal is not None:
            journal.restored(wishes, row)
        self._put_in_force(name)

    # --- for calls

    def set(self, extension: str, what: str, argument: str, number: str) -> tuple[str, str, str]:
        """See `softswitch.calls.Features`."""
        if what == COMPLETE:
            if argument == "cancel":
                return self._completions.cancel(extension, number)
            return self._completions.ask(extension, number)
        if what == "dnd":
            on = argument == "on" if argument else not self.forwarding(extension).dnd
            self.set_dnd(extension, on)
            return "dnd", "on" if on else "off", f"Do Not Disturb Is {'On' if on else 'Off'}"
        if what in (AGENT, PAUSE):
            return self._set_agent(extension, what, argument)
        if argument == "off":
            self.set_forward(extension, {})
            return "forward", "off", "Forwarding Is Off"
        wishes = self._of(extension)
        self._check(extension, number)
        wishes.forward[argument] = number
        if argument == NO_ANSWER:
            wishes.after = None
        self._changed(wishes)
        state = f"To {number} Is On" if number else "Is Off"
        return f"forward.{argument}", number or "off", f"Forwarding {_WHEN[argument]} {state}"

    def has_called(self, party: str, number: str) -> None:
        """See `softswitch.calls.Features`."""
        wishes = self._of_party(party, number)
        if wishes is not None and wishes.dialled != number:
            wishes.dialled = number
            self._changed_a_little(wishes)

    def was_called(self, party: str, number: str) -> None:
        """See `softswitch.calls.Features`."""
        wishes = self._of_party(party, number)
        if wishes is not None and wishes.caller != number:
            wishes.caller = number
            self._changed_a_little(wishes)

    def has_failed(self, party: str, number: str, status: int) -> None:
        """See `softswitch.calls.Features`."""
        kind, _, name = party.partition(":")
        if kind != "extension":
            return
        route = self._route(number, Source("extension", name))
        action = route.action if route is not None else None
        if isinstance(action, Do) and action.what in ("redial", "return"):
            number = self.last(name, action.what)
        self._completions.has_failed(name, number, status)

    def has_talked(self, party: str) -> None:
        """See `softswitch.calls.Features`."""
        kind, _, name = party.partition(":")
        if kind == "extension":
            self._completions.has_talked(name)

    def leg_over(self, party: str, active: bool) -> None:
        """See `softswitch.calls.Features`."""
        self._completions.leg_over(party, active)

    def last(self, extension: str, what: str) -> str:
        """See `softswitch.calls.Features`."""
        wishes = self._wishes.get(extension)
        if wishes is None:
            return ""
        return wishes.dialled if what == "redial" else wishes.caller

    # --- for plugins

    def forwarding(self, extension: str) -> Forwarding:
        """What is in force. Raises LookupError if there is no such extension."""
        if extension not in self._extensions:
            raise LookupError(f"there is no extension `{extension}`")
        return self._in_force(extension)

    def set_forward(
        self, extension: str, numbers: Mapping[str, str], after: float | None = None
    ) -> None:
        """Forward its calls: numbers by `always`, `busy`, `no_answer`, `unreachable`; what is not
        among them is off. `after` is how many seconds to ring before `no_answer`. Raises
        LookupError if there is no such extension, ValueError if that cannot be."""
        self.forwarding(extension)
        for case, number in numbers.items():
            if case not in CASES:
                raise ValueError(f"Unknown: {case}")
            self._check(extension, number)
        if after is not None and not 0 < after <= _LONGEST:
            raise ValueError(f"Not Seconds To Ring: {after:g}")
        wishes = self._of(extension)
        wishes.forward = {case: numbers.get(case, "") for case in CASES}
        wishes.after = None if after is None else float(after)
        self._changed(wishes)

    def clear_forward(self, extension: str) -> None:
        """Its calls go where the configuration says again. Raises LookupError."""
        self.forwarding(extension)
        wishes = self._of(extension)
        wishes.forward, wishes.after = {}, None
        self._changed(wishes)

    def set_follow(self, extension: str, steps: Sequence[FollowStep]) -> None:
        """Its calls find it there, one step after the other; no steps: at its phone. Raises
        LookupError if there is no such extension, ValueError if that cannot be."""
        self.forwarding(extension)
        most = self.max_follow
        if sum(len(step.numbers) for step in steps) > most:
            raise ValueError(f"More Than {most} Numbers")
        for step in steps:
            if not step.numbers:
                raise ValueError("A Step Without A Number")
            if not 0 <= step.timeout <= _LONGEST:
                raise ValueError(f"Not Seconds To Ring: {step.timeout:g}")
            for number in step.numbers:
                if number != extension:
                    self._check(extension, number, rings=True)
        wishes = self._of(extension)
        wishes.follow = tuple(steps)
        self._changed(wishes)

    def clear_follow(self, extension: str) -> None:
        """Its calls find it where the configuration says again. Raises LookupError."""
        self.forwarding(extension)
        wishes = self._of(extension)
        wishes.follow = None
        self._changed(wishes)

    def set_dnd(self, extension: str, on: bool | None) -> None:
        """Not to be disturbed, or None: what the configuration says. Raises LookupError."""
        self.forwarding(extension)
        wishes = self._of(extension)
        wishes.dnd = on
        self._changed(wishes)

    def agent_said(self, extension: str) -> tuple[bool | None, bool]:
        """Whether it is logged in to its queues (None: as they say), and whether it pauses."""
        wishes = self._wishes.get(extension)
        return (None, False) if wishes is None else (wishes.agent, wishes.paused)

    def agent(self, extension: str) -> tuple[bool, bool]:
        """Whether it is logged in to its queues, or to one of them, and whether it pauses. Raises
        LookupError if it is no agent of any."""
        self._check_agent(extension)
        said, paused = self.agent_said(extension)
        return (self._agents()[extension] if said is None else said), paused

    def set_agent(self, extension: str, on: bool | None) -> None:
        """Logged in to its queues, or not, or None: as they say. Raises LookupError if it is no
        agent of any."""
        self._check_agent(extension)
        wishes = self._of(extension)
        wishes.agent = on
        if not on:
            wishes.paused = False
        self._changed(wishes)

    def set_paused(self, extension: str, on: bool) -> None:
        """Whether its queues are not to ring it for a while. Raises LookupError if it is no agent
        of any."""
        self._check_agent(extension)
        wishes = self._of(extension)
        wishes.paused = on
        self._changed(wishes)

    def _set_agent(self, extension: str, what: str, argument: str) -> tuple[str, str, str]:
        """What a star code says of an agent."""
        if extension not in self._agents():
            raise ValueError("Not An Agent")
        logged_in, paused = self.agent(extension)
        before = paused if what == PAUSE else logged_in
        on = argument == "on" if argument else not before
        if what == PAUSE:
            self.set_paused(extension, on)
            return PAUSE, "on" if on else "off", "Paused" if on else "Not Paused"
        self.set_agent(extension, on)
        return AGENT, "on" if on else "off", f"Logged {'In' if on else 'Out'}"

    def _check_agent(self, extension: str) -> None:
        self.forwarding(extension)
        if extension not in self._agents():
            raise LookupError(f"extension `{extension}` is an agent of no queue")

    def mailbox(self, extension: str) -> tuple[int, int]:
        """How many messages wait in its mailbox that nobody has heard, and how many others. Raises
        LookupError if there is no such extension."""
        self.forwarding(extension)
        return self._mailboxes.of(extension)

    def set_mailbox(self, extension: str, new: int, old: int) -> None:
        """So many wait: its phones show it. Raises LookupError if there is no such extension,
        ValueError if that cannot be."""
        self._mailboxes.set(extension, new, old)

    def refused(self) -> bool:
        """Whether the disk takes nothing at present: what is set now need not survive."""
        journal = self._journal()
        return journal is not None and journal.behind

    def stored(self, then: Callable[[], None]) -> None:
        """Call `then` once all that was set so far would survive this process."""
        journal = self._journal()
        if journal is None:
            then()
        else:
            journal.commit(then)

    def _check(self, extension: str, number: str, rings: bool = False) -> None:
        """Raises ValueError if its calls cannot be forwarded there. Empty: they are not at all.
        `rings`: it has to lead to somebody."""
        if not number and not rings:
            return
        if not is_forwardable(number):
            raise ValueError("Not A Number To Forward To")
        if number == extension:
            raise ValueError("Not To Itself")
        route = self._route(number, Source("extension", extension))
        if route is None:
            raise ValueError(f"No Route To {number}")
        if isinstance(route.action, Do):
            raise ValueError(f"{number} Is A Star Code")
        if rings and not route.action.stages:
            raise ValueError(f"{number} Rings Nobody")

    def _of_party(self, party: str, number: str) -> Wishes | None:
        """Of a party for whom a number is to be remembered; None if that is not to be."""
        kind, _, name = party.partition(":")
        known = kind == "extension" and name in self._extensions and is_forwardable(number)
        return self._of(name) if known else None

    def _of(self, extension: str) -> Wishes:
        wishes = self._wishes.get(extension)
        if wishes is None:
            wishes = self._wishes[extension] = Wishes(extension)
        return wishes

    def _changed(self, wishes: Wishes) -> None:
        self._put_in_force(wishes.extension)
        journal = self._journal()
        if journal is not None:
            journal.changed(wishes)
        self._completions.changed(wishes.extension)
        if self.on_changed is not None:
            self.on_changed(wishes.extension)

    def _changed_a_little(self, wishes: Wishes) -> None:
        journal = self._journal()
        if journal is not None:
            journal.changed_a_little(wishes)

    def _in_force(self, name: str) -> Forwarding:
        written = self._extensions[name].forwarding or NOT_FORWARDED
        wishes = self._wishes.get(name)
        return written if wishes is None else wishes.over(written)

    def _put_in_force(self, name: str) -> None:
        forwarding = self._in_force(name)
        if forwarding:
            self.in_force[name] = forwarding
        else:
            self.in_force.pop(name, None)
