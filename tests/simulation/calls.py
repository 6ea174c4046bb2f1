"""The workload: switches that tell their servers of calls, and applications that write notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from cdsplugin.data.call import Call
from cdsplugin.data.entries import Log, Property
from softswitch.events import (
    CallEnded,
    CallMerged,
    CallRestored,
    CallRouted,
    CallStarted,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegMoved,
    LegReferred,
    LegRinging,
    SwitchStarted,
    TalkBegan,
    TalkEnded,
)

from .plan import CallItem, MergeItem, NoteItem, Passage, TransferItem
from .scheduler import World
from .server import Process, Server
from .way import Way

_Said: TypeAlias = tuple[Event, Callable[[], None]]
"""An event, and what to do once it is stored."""


@dataclass(slots=True, eq=False)
class Written:
    """What an application wrote and is not acknowledged yet."""

    entry: Property | Log
    """With the stamp that it has by now: while nobody else has seen it, that may be moved."""


@dataclass(slots=True)
class Truth:
    """What really happened in a call, and what was acknowledged of it."""

    item: CallItem
    begun: bool = False
    started: int | None = None
    """When the originating switch said it began, by that machine's clock; None: it never did, or
    its server had nothing of that on disk before it died."""
    answered: int | None = None
    ended: int | None = None
    disposition: str | None = None
    lost: bool = False
    """The originating switch died with it: nobody saw its end."""
    legs: dict[str, int] = field(default_factory=dict)
    """Names of the legs' properties whose end was told, with the status they ended with."""
    properties: list[Property] = field(default_factory=list)
    """Acknowledged."""
    lines: list[Log] = field(default_factory=list)
    """Acknowledged."""
    waiting: list[Written] = field(default_factory=list)
    talks: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Names of the talks' properties that were acknowledged, with their legs, and whether their end
    was."""
    merged: dict[str, str] = field(default_factory=dict)
    """Names of the properties by which it became a part of another call, and that call;
    acknowledged."""
    times: dict[tuple[str, str], int] = field(default_factory=dict)
    """When something of a leg or talk really was told first, by its property and the name in it."""
    way: Way = field(init=False)

    def __post_init__(self) -> None:
        self.way = Way(self.item)


_TIMES: dict[type, str] = {
    CallStarted: "invited_at",
    LegInvited: "invited_at",
    LegMoved: "invited_at",
    LegRinging: "ringing_at",
    LegAnswered: "answered_at",
    LegEnded: "ended_at",
    TalkBegan: "began_at",
    TalkEnded: "ended_at",
}
MOVED = 52
"""From here on legs of other calls are numbered, and the talks with them: by the other call and its
passage."""
TRANSFERRED = 40
"""The leg to which a call was sent on is numbered so much higher than who sent it; so is the
talk."""


class Switch:
    """The switch of a machine; its process is the server's. Confirmed calls outlive that process,
    others end with it."""

    def __init__(self, world: World, server: Server, truths: dict[str, Truth]) -> None:
        self.world = world
        self.server = server
        self.truths = truths
        self._begun: dict[tuple[str, int], _Passage] = {}
        self._bases: dict[str, tuple[int, int]] = {}
        """By callID: what the monotonic clock lacks to the call's time, and since which start of
        the machine that holds (``softswitch.calls.numbers``)."""
        self._last_at: dict[str, int] = {}

    def plan(self, call: CallItem, passage: Passage, transfer: TransferItem | None = None) -> None:
        """Have it happen."""
        state = _Passage(call, passage, origin=passage is call.origin)
        for at, what in (
            (passage.begins, self._begins),
            (passage.rings, self._rings),
            (passage.answers, self._answers),
            (passage.holds, self._holds),
            (transfer.at if transfer else 0, self._refers),
            (transfer.answers if transfer else 0, self._transfers),
            (passage.ends, self._ends),
        ):
            if at:
                happens = partial(self._happens, state, what)
                self.world.at(at, partial(self.server.machine.comes, happens))

    def killed(self) -> None:
        """The process is gone: calls that were not answered are lost."""
        for state in self._begun.values():
            state.lost = not state.answered and not state.over

    def restarted(self) -> None:
        """It is back: it tells of what its server had not on disk, of what happened meanwhile, of
        each passage that goes on, and that it has no others any more."""
        process = self.server.process
        assert process is not None
        living = {key[0] for key, state in self._begun.items() if not state.lost}
        for call_id in set(self._bases) - living:
            del self._bases[call_id], self._last_at[call_id]
        for key, state in list(self._begun.items()):
            if state.lost and key[0] in living and state.known:
                state.lost, state.failed = False, True
                self._restored(process, state)
                self._ends(state)  # the call lives on here by another passage
                continue
            if state.lost:
                self._lost(state)
                del self._begun[key]
                continue
            self._restored(process, state)
            waiting, state.waiting = state.waiting, []
            for what in waiting:
                what(state)
        name = self.server.name
        process.tms.event(SwitchStarted(at=self.server.machine.now_us(), switch=name))
        process.recovery.reported(name)

    def _restored(self, process: Process, state: _Passage) -> None:
        """It goes on; with it, it tells what the server may not have on disk."""
        call_id = state.call.call_id
        event = CallRestored(
            call_id=call_id,
            at=self._now_us(call_id),
            switch=self.server.name,
            leg=state.passage.first_leg,
            told=tuple(event for event, _ in state.unknown),  # type: ignore[misc]
        )
        self.world.note(self.server.name, f"its switch says {event!r}")
        process.tms.event(event)
        for entry in state.unknown:
            self._when_stored(process, state, entry)

    def _lost(self, state: _Passage) -> None:
        """A call that was not answered ended with the process; nobody saw its end."""
        if state.origin and state.known:
            truth = self.truths[state.call.call_id]
            truth.disposition = "failed"
            truth.lost = True

    def _happens(self, state: _Passage, what: Callable[[_Passage], None]) -> None:
        key = (state.call.call_id, state.passage.first_leg)
        begins = what == self._begins
        if begins:
            if self.server.process is None or not self._reached(state):
                return  # no switch there to take the INVITE
            self._begun[key] = state
        elif key not in self._begun or state.lost or state.over:
            return
        if self.server.process is None:
            state.waiting.append(what)
        else:
            what(state)

    def _reached(self, state: _Passage) -> bool:
        return state.origin or self.truths[state.call.call_id].begun

    def _tell(self, state: _Passage, event: Event, then: Callable[[], None] = lambda: None) -> None:
        """Tell the server; ``then`` when it has that on disk. Until then it may have to be told
        again."""
        process = self.server.process
        assert process is not None
        if self.world.tracing:
            self.world.note(self.server.name, f"its switch says {event!r}")
        time = _TIMES.get(type(event))
        if time is not None:
            if isinstance(event, TalkBegan | TalkEnded):
                name = f"talk/{self.server.name}/{event.talk}"
            else:
                name = f"leg/{self.server.name}/{event.leg}"  # type: ignore[union-attr]
            self.truths[event.call_id].times.setdefault((name, time), self.world.now)
        entry = (event, then)
        state.unknown.append(entry)
        process.tms.event(event)
        self._when_stored(process, state, entry)

    def _when_stored(self, process: Process, state: _Passage, entry: _Said) -> None:
        def stored() -> None:
            if entry in state.unknown:
                state.unknown.remove(entry)
                state.known = True
                entry[1]()

        # What is said in one turn is written at its end.
        process.timers.schedule(0, lambda: process.journal.after_commit(stored, must=True))

    def _base(self, state: _Passage) -> dict[str, Any]:
        call_id = state.call.call_id
        return {"call_id": call_id, "switch": self.server.name, "at": self._now_us(call_id)}

    def _now_us(self, call_id: str) -> int:
        """The call's time here, as the switch has it: whatever happens to the wall clock."""
        machine = self.server.machine
        base, boot = self._bases.get(call_id, (0, 0))
        if boot != machine.boots:
            said = self._last_at.get(call_id, 0) - machine.monotonic_us()
            base = max(machine.time_base(), said)
            self._bases[call_id] = base, machine.boots
        at = self._last_at[call_id] = base + machine.monotonic_us()
        return at

    def _begins(self, state: _Passage) -> None:
        call, passage = state.call, state.passage
        base = self._base(state)
        truth = self.truths[call.call_id]
        if state.origin:
            truth.begun = True

        def known() -> None:
            if state.origin:
                truth.started = base["at"]

        first = passage.first_leg
        named, origin = truth.way.goes_on(passage, self.server.name)
        self._tell(
            state,
            CallStarted(
                **base, site="", owner=named.owner, origin=origin, caller=call.caller,
                caller_name="", dialled=call.callee, party=f"extension:{call.caller}", address="",
                user_agent="", sip_call_id=state.dialog(0), leg=first, came=named.legs,
            ),
            known,
        )  # fmt: skip
        self._tell(
            state,
            CallRouted(
                **base,
                match="X",
                where="x:1",
                number=call.callee,
                properties={},
                incoming=first,
                once={"account": f"{self.server.name} {first}"},
            ),
        )
        self._tell(
            state,
            LegInvited(
                **base, leg=first + 1, party="trunk:x", uri="sip:x", address="",
                sip_call_id=state.dialog(1), incoming=first,
            ),
        )  # fmt: skip

    def _rings(self, state: _Passage) -> None:
        leg = state.passage.first_leg + 1
        event = LegRinging(**self._base(state), leg=leg, status=180, early_media=False)
        self._tell(state, event)

    def _answers(self, state: _Passage) -> None:
        state.answered = True
        base = self._base(state)

        def known() -> None:
            if state.origin:
                self.truths[state.call.call_id].answered = base["at"]

        self._tell(
            state,
            LegAnswered(
                **base, leg=state.passage.first_leg + 1, status=200, callee=state.call.callee,
                codec="PCMU/8000", user_agent="",
            ),
        )  # fmt: skip
        first = state.passage.first_leg
        state.talk, state.pair = first // 2 + 1, (first, first + 1)
        self._tell(
            state,
            TalkBegan(
                **base, talk=state.talk, legs=(first, first + 1), how="dialled",
                by=f"extension:{state.call.caller}", incoming=first,
            ),
            known,
        )  # fmt: skip

    def _holds(self, state: _Passage) -> None:
        leg = state.passage.first_leg + 1
        self._tell(state, LegMedia(**self._base(state), leg=leg, held=True, codec=""))

    def _refers(self, state: _Passage) -> None:
        if not state.talk:
            return
        base, first = self._base(state), state.passage.first_leg
        state.referrer = state.legs[-1]
        refer = LegReferred(**base, leg=state.referrer, to="3000", how="blind-transfer")
        self._tell(state, refer)
        self._talk_ends(state, base, alone=True)
        state.legs.append(first + 1 + TRANSFERRED)
        self._tell(
            state,
            LegInvited(
                **base, leg=state.legs[-1], party="extension:3000", uri="sip:x", address="",
                sip_call_id=f"{state.dialog(1)}t", incoming=first, by="trunk:x",
            ),
        )  # fmt: skip

    def plan_merge(
        self, item: MergeItem, older: tuple[CallItem, Passage], younger: tuple[CallItem, Passage]
    ) -> None:
        """Have it happen."""
        keys = [(call.call_id, passage.first_leg) for call, passage in (older, younger)]
        number = MOVED + item.younger[0] + 3 * younger[1].first_leg
        merges = partial(self._merges, keys[0], keys[1], number)
        self.world.at(item.at, partial(self.server.machine.comes, merges))

    def _merges(self, older: tuple[str, int], younger: tuple[str, int], number: int) -> None:
        one, other = self._begun.get(older), self._begun.get(younger)
        if self.server.process is None or one is None or other is None:
            return
        if not one.talk or not other.talk or one.over or other.over or number in one.legs:
            return
        was, name = other.legs[-1], f"merged/{self.server.name}"
        if younger[1]:
            name += f"/{younger[1]}"
        merged = self.truths[younger[0]].merged
        base = self._base(other)
        self._talk_ends(other, base)
        self._tell(
            other,
            CallMerged(**base, into=older[0], owner=one.call.owner, leg=younger[1]),
            lambda: merged.__setitem__(name, older[0]),
        )
        self._ends(other)
        base = self._base(one)
        self._talk_ends(one, base, alone=True)
        leaves, kept = one.legs[-1], one.legs[0]
        one.legs.append(number)
        self._tell(
            one,
            LegMoved(
                **base, leg=number, was_call=younger[0], was_leg=was, direction="out",
                party="trunk:x", number=other.call.callee, address="", incoming=older[1],
                sip_call_id=f"{older[0]} {number}",
            ),
        )  # fmt: skip
        self._talk_begins(one, base, number, (kept, number), "attended-transfer")
        self._leg_ends(one, base, leaves, 200)

    def _talk_begins(
        self, state: _Passage, base: dict[str, Any], talk: int, legs: tuple[int, int], how: str
    ) -> None:
        state.talk, state.pair = talk, legs
        name = f"talk/{self.server.name}/{talk}"
        truth = self.truths[state.call.call_id]

        def known() -> None:
            truth.talks[name] = f"{legs[0]} {legs[1]}", False

        incoming = state.passage.first_leg
        self._tell(
            state,
            TalkBegan(**base, talk=talk, legs=legs, how=how, by="trunk:x", incoming=incoming),
            known,
        )

    def _talk_ends(self, state: _Passage, base: dict[str, Any], *, alone: bool = False) -> None:
        """``alone``: its legs go on."""
        name = f"talk/{self.server.name}/{state.talk}"
        talks, legs = self.truths[state.call.call_id].talks, f"{state.pair[0]} {state.pair[1]}"

        def known() -> None:
            if name in talks or alone:
                talks[name] = legs, True

        self._tell(state, TalkEnded(**base, talk=state.talk), known)
        state.talk = 0

    def _transfers(self, state: _Passage) -> None:
        first = state.passage.first_leg
        leg = first + 1 + TRANSFERRED
        if leg not in state.legs:
            return
        base = self._base(state)
        self._tell(
            state, LegAnswered(**base, leg=leg, status=200, callee="3000", codec="", user_agent="")
        )
        talk = first // 2 + 1 + TRANSFERRED
        self._talk_begins(state, base, talk, (first, leg), "blind-transfer")
        self._leg_ends(state, base, state.referrer, 200)

    def _leg_ends(self, state: _Passage, base: dict[str, Any], leg: int, status: int) -> None:
        state.legs.remove(leg)
        name = f"leg/{self.server.name}/{leg}"
        legs = self.truths[state.call.call_id].legs
        event = LegEnded(**base, leg=leg, status=status, reason="", by="remote")
        self._tell(state, event, lambda: legs.__setitem__(name, status))

    def _ends(self, state: _Passage) -> None:
        call, passage = state.call, state.passage
        base = self._base(state)
        status = 500 if state.failed else 200 if state.answered else 487
        disposition = "failed" if state.failed else call.disposition
        truth = self.truths[call.call_id]
        for leg in list(state.legs):
            self._leg_ends(state, base, leg, status)
        if state.talk:
            self._talk_ends(state, base)

        def known() -> None:
            del self._begun[call.call_id, passage.first_leg]
            if state.origin:
                truth.ended = base["at"]
                truth.disposition = disposition

        state.over = True
        self._tell(
            state,
            CallEnded(
                **base, disposition=disposition, sip_status=status, reason="",
                hangup_by="caller", leg=passage.first_leg,
            ),
            known,
        )  # fmt: skip


class _Passage:
    """A passage in progress."""

    __slots__ = (
        "answered",
        "call",
        "failed",
        "known",
        "legs",
        "lost",
        "origin",
        "over",
        "pair",
        "passage",
        "referrer",
        "talk",
        "unknown",
        "waiting",
    )

    def __init__(self, call: CallItem, passage: Passage, origin: bool) -> None:
        self.call = call
        self.passage = passage
        self.origin = origin
        self.answered = False
        self.legs = [passage.first_leg, passage.first_leg + 1]
        """Not over."""
        self.pair = 0, 0
        """The legs of the last talk."""
        self.referrer = 0
        self.talk = 0
        """The number of the talk that is on; 0: none."""
        self.lost = False
        self.failed = False
        self.known = False
        """Whether the server has anything of it on disk."""
        self.over = False
        self.unknown: list[tuple[Event, Callable[[], None]]] = []
        """What the server may not have on disk yet."""
        self.waiting: list[Callable[[_Passage], None]] = []

    def dialog(self, leg: int) -> str:
        """The SIP Call-ID of the incoming leg (0) or the outgoing one, which comes in at the next
        switch."""
        return f"{self.call.call_id}/{self.call.passages.index(self.passage) + leg}"


class Application:
    """A client of a server's store, as the API makes them: it registers, writes, and leaves."""

    def __init__(self, world: World, server: Server, truth: Truth, note: NoteItem) -> None:
        self.world = world
        self.server = server
        self.truth = truth
        self.note = note
        world.at(note.at, partial(server.machine.comes, self._writes))

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """Somebody else's entries, for the screen."""

    def ended(self, call: Call) -> None:
        """End of call."""

    def _writes(self) -> None:
        process = self.server.process
        item = self.truth.item
        if process is None or not self.truth.begun:
            return
        note = self.note
        name = self.server.name
        store = process.store
        if item.owner == name and store.get(item.call_id) is None:
            return  # the call is over
        call = store.register(self, item.call_id, item.owner, holds=False)
        values = {note.name: note.text} if note.name else {}
        lines = [] if note.name else [note.text]
        self.world.note(name, f"an application writes {values or lines}")
        if store.write(self, item.call_id, name, values, lines):  # type: ignore[arg-type]
            written = Written(
                call.data.properties[note.name]
                if note.name
                else max((call.data.logs or {}).values(), key=lambda line: line.stamp)
            )
            self.truth.waiting.append(written)
            process.journal.after_commit(lambda: self._acknowledged(written), must=True)
        leaves = partial(self._leaves, process)
        self.world.after(note.stays, partial(self.server.machine.comes, leaves))

    def _acknowledged(self, written: Written) -> None:
        """It is on disk."""
        truth, entry = self.truth, written.entry
        truth.waiting.remove(written)
        if isinstance(entry, Property):
            truth.properties.append(entry)
        else:
            truth.lines.append(entry)

    def _leaves(self, process: object) -> None:
        if self.server.process is process and self.server.process is not None:
            self.world.note(self.server.name, "an application leaves")
            self.server.process.store.unregister(self, self.truth.item.call_id)
