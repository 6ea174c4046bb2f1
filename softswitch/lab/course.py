"""The course of the lab: start everything, place a call through both switches, look, verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

from softswitch.lab.children import Child, LabError, PhoneChild, SwitchChild
from softswitch.lab.sites import Phone, Site
from softswitch.lab.watch import (
    CallView,
    differences,
    live_calls,
    record_table,
    rows,
    side_by_side,
    view,
)

READY_SECONDS = 20.0
STEP_SECONDS = 10.0
ALICE, BOB = "1001", "2001"
ECHO = "*43"
ALICE_HZ, BOB_HZ = 440, 660

T = TypeVar("T")


class Narrator:
    """Says each step with the time since the start, and counts what did not hold."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failures = 0
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        self._line(text, "")

    def show(self, what: RenderableType) -> None:
        self.console.print(what)

    def overheard(self, who: str, line: str) -> None:
        """A line that a child says."""
        self.console.print(f"{who}: {line}", highlight=False, markup=False, soft_wrap=True)

    def check(self, holds: bool, text: str, otherwise: str = "") -> bool:
        """One thing that must hold; ``otherwise`` is what was seen instead."""
        if holds:
            self._line(f"ok: {text}", "green")
        else:
            self.failures += 1
            self._line(f"FAILED: {text}" + (f": {otherwise}" if otherwise else ""), "bold red")
        return holds

    def _line(self, text: str, style: str) -> None:
        elapsed = time.monotonic() - self._started
        self.console.print(
            f"{elapsed:6.2f} s  {text}", style=style, highlight=False, markup=False, soft_wrap=True
        )


@dataclass(slots=True)
class Lab:
    """What is running. ``children`` are in the order in which they were started."""

    sites: Sequence[Site]
    narrator: Narrator
    talk_seconds: float
    children: list[Child] = field(default_factory=list)
    switches: list[SwitchChild] = field(default_factory=list)

    def close(self) -> None:
        """End all children: phones first, so that they can still unregister."""
        phones = [child for child in self.children if child not in self.switches]
        for group in (phones, self.switches):
            alive = [child for child in group if child.status is None]
            for child in alive:
                child.ask_to_stop()
            for child in group:
                status = child.stop()
                if status != 0 and child in alive:  # the death of another was told already
                    how = "had to be killed" if status < 0 else f"ended with status {status}"
                    self.narrator.check(
                        False, f"{child.name} stops when told to", how + child.recently()
                    )
        self.children.clear()

    def check_children(self) -> None:
        for child in self.children:
            child.check()

    def start_switches(self) -> None:
        for site in self.sites:
            switch = SwitchChild(site.name, site.config)
            self.children.append(switch)
            self.switches.append(switch)
        for site, switch in zip(self.sites, self.switches, strict=True):
            switch.until_ready(READY_SECONDS)
            self.narrator.step(
                f"switch {site.name} is up: SIP on {site.sip}, its call data server's API on "
                f"http://{site.api}"
            )

    def start_phone(self, site: Site, phone: Phone, *options: str) -> PhoneChild:
        child = PhoneChild(
            phone.name,
            *("--registrar", site.sip, "--user", phone.number),
            *("--password", phone.password, "--name", phone.name, *options),
        )
        self.children.append(child)
        return child

    def call(self) -> None:
        """Alice calls Bob through both switches; everything about it is verified."""
        hq, branch = self.sites
        narrator = self.narrator
        earlier = {row["call_id"] for row in rows(hq.database)}
        alice = self.start_phone(hq, hq.phones[ALICE], "--tone", str(ALICE_HZ))
        bob = self.start_phone(branch, branch.phones[BOB], "--answer", "--tone", str(BOB_HZ))
        for phone, number, site in ((alice, ALICE, hq), (bob, BOB, branch)):
            phone.expect("registered", STEP_SECONDS)
            narrator.step(f"{phone.name} ({number}) is registered at {site.name}")
        alice.send(f"call {BOB}")
        alice.expect("calling", STEP_SECONDS)
        narrator.step(f"Alice calls {BOB}: through {hq.name}, through {branch.name}, to Bob")
        alice.expect("answered", STEP_SECONDS)
        narrator.step("Bob has answered")
        self._audio(bob, ALICE_HZ, "Bob hears Alice's tone")
        self._audio(alice, BOB_HZ, "Alice hears Bob's tone")
        call_id = self._live_data(earlier)
        alice.send("hangup")
        alice.expect("ended", STEP_SECONDS)
        bob.expect("ended", STEP_SECONDS)
        narrator.step("Alice has hung up")
        self._record(call_id, earlier)
        alice.send("tone 0")
        alice.send("echo on")
        alice.send("auto on")

    def _audio(self, phone: PhoneChild, hz: int, what: str) -> None:
        try:
            heard = phone.expect_tone(hz, STEP_SECONDS)
        except LabError as error:
            phone.check()
            self.narrator.check(False, f"{what} ({hz} Hz)", str(error))
        else:
            self.narrator.check(True, f"{what}: {heard['hz']} Hz measured, {heard['level_db']} dB")

    def _until(self, look: Callable[[], T | None], seconds: float = STEP_SECONDS) -> T | None:
        """The first result of ``look`` that is not None; None if there is none in time."""
        deadline = time.monotonic() + seconds
        while (found := look()) is None and time.monotonic() < deadline:
            self.check_children()
            time.sleep(0.1)
        return found

    def _live_data(self, earlier: set[str]) -> str | None:
        """Show both servers' data of the call while it lasts; its callID."""
        hq, branch = self.sites
        narrator = self.narrator
        ids = self._until(lambda: [i for i in live_calls(hq) if i not in earlier] or None)
        if not narrator.check(ids is not None, f"server {hq.name} has the live call") or not ids:
            return None
        call_id = ids[-1]
        views: list[CallView | None] = [None, None]

        def equal() -> bool | None:
            views[:] = [view(site, call_id) for site in self.sites]
            one, other = views
            return True if one and other and not differences(one, other) else None

        self._until(equal)
        one, other = views
        narrator.check(
            one is not None and one.owner == hq.name,
            f"server {hq.name} owns the call's data",
            f"it says {one.owner if one else 'nothing'}",
        )
        if one is None or other is None:
            narrator.check(False, f"server {branch.name} has the call's data too", "it has none")
        else:
            unlike = differences(one, other)
            narrator.check(
                not unlike and bool(one.entries),
                f"both servers hold the same {len(one.entries)} entries",
                "; ".join(unlike) or "there is none",
            )
        self._watch(call_id, views)
        return call_id

    def _watch(self, call_id: str, views: list[CallView | None]) -> None:
        """Keep showing the data while the two talk; once only where there is no terminal."""
        until = time.monotonic() + self.talk_seconds
        console = self.narrator.console
        if not console.is_terminal:
            self.narrator.show(side_by_side(self.sites, views))
        with Live(console=console, auto_refresh=False) as live:
            while (left := until - time.monotonic()) > 0:
                self.check_children()
                if console.is_terminal:
                    fresh = [view(site, call_id) for site in self.sites]
                    live.update(side_by_side(self.sites, fresh), refresh=True)
                time.sleep(min(left, 0.5))

    def _record(self, call_id: str | None, earlier: set[str]) -> None:
        """The call's record: exactly one, answered, in the owner's database and in no other."""
        hq, branch = self.sites
        narrator = self.narrator

        def new(site: Site) -> list[dict[str, object]] | None:
            return [row for row in rows(site.database) if row["call_id"] not in earlier] or None

        found = self._until(lambda: new(hq)) or []
        for row in found:
            narrator.show(record_table(hq.database, row))
        narrator.check(
            len(found) == 1,
            f"{hq.name} has one record of the call in {hq.database.name}",
            f"it has {len(found)}",
        )
        for row in found[:1]:
            narrator.check(
                row["call_id"] == call_id, "it has the call's callID", str(row["call_id"])
            )
            narrator.check(
                row["disposition"] == "answered", "it says answered", str(row["disposition"])
            )
        others = new(branch) or []
        narrator.check(
            not others, f"{branch.name} has none: one call, one record", f"it has {len(others)}"
        )

    def stay(self) -> None:
        """Until interrupted; LabError if a child dies. What the switches say meanwhile is shown."""
        for switch in self.switches:
            switch.overheard = partial(self.narrator.overheard, switch.name)
        while True:
            self.check_children()
            time.sleep(0.5)


def invitation(sites: Sequence[Site]) -> str:
    """How a newcomer joins in with a phone."""
    hq, branch = sites
    lines = ["", "The lab stays up; Ctrl-C ends it. Register a softphone of yours:", ""]
    for site in sites:
        for phone in site.phones.values():
            if phone.number not in (ALICE, BOB):
                lines.append(
                    f"  server {site.sip} ({site.name})  user {phone.number}  "
                    f"password {phone.password}"
                )
    free = next(p for p in hq.phones.values() if p.number != ALICE)
    lines += [
        "",
        f"and dial {ECHO}: you hear yourself, and nobody else has to be there;",
        f"         {ALICE}: Alice at {hq.name} answers and sends back what you say;",
        f"         {BOB}: Bob at {branch.name} answers with a tone of {BOB_HZ} Hz.",
        "",
        "Without a softphone at hand:",
        f"  softswitch phone --registrar {hq.sip} --user {free.number} "
        f"--password {free.password} --call {BOB} --duration 5",
        "",
        "The records are in:",
        *(f"  {site.database}" for site in sites),
    ]
    return "\n".join(lines)
