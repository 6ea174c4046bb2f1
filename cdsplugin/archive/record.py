"""The call detail record: rows of the CDR database made of call data, and when they are written.

From the source: "At the end of a call the owning TMS process (...) accesses the storage module to
retrieve the call data entries associated with the callID to write the call data to the database".
The row is written at hangup already (``final`` 0), brought up to date by whatever comes while the
call lingers, and marked final at its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from cdsplugin.archive import foreign
from cdsplugin.archive.rows import (
    Cdr,
    HandedOver,
    LegRow,
    LogRow,
    Place,
    PropertyRow,
    TalkRow,
)
from cdsplugin.archive.view import PARTS, Known, Told, View, iso
from cdsplugin.data import (
    SUMMARY,
    Call,
    Client,
    Log,
    Property,
    Scalar,
    Value,
    give_back,
    leg_of,
)

log = logging.getLogger("cdsplugin.record")


def leg_row(call_id: str, place: Place, leg: dict[str, Scalar], set_at: int) -> LegRow:
    """The row of ``cdr_legs`` of a property ``leg/SWITCH/N``."""
    return LegRow(
        call_id,
        place[0],
        place[1],
        leg.get("direction"),
        leg.get("party"),
        leg.get("callee"),
        leg.get("uri"),
        leg.get("address"),
        leg.get("user_agent"),
        leg.get("codec"),
        iso(leg.get("invited_at")),
        iso(leg.get("ringing_at")),
        iso(leg.get("answered_at")),
        iso(leg.get("ended_at")),
        leg.get("status"),
        leg.get("reason"),
        leg.get("ended_by"),
        leg.get("sip_call_id"),
        iso(set_at),
        leg.get("caller"),
        leg.get("by"),
        1 if leg.get("between") else None,
        leg.get("incoming"),
        leg.get("came"),
        leg.get("was"),
        leg.get("referred_to"),
    )


def _scalar(value: Value) -> str | int | float | None:
    """A value as SQLite keeps it: numbers and text as they are, lists and mappings as JSON."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value  # type: ignore[return-value]
    if kind is bool:
        return int(value)  # type: ignore[arg-type]
    return _json(value).decode()


_json = msgspec.json.Encoder().encode


def entry_rows(
    call_id: str, properties: Iterable[Property], found: Told
) -> tuple[list[LegRow], list[PropertyRow]]:
    """The rows of ``cdr_legs`` and of ``cdr_properties`` for these entries. What they tell of the
    parts of the call is added to ``found``."""
    legs: list[LegRow] = []
    others: list[PropertyRow] = []
    for entry in properties:
        name = entry.name
        if name in SUMMARY:
            continue
        value = entry.value
        if type(value) is dict:
            place = leg_of(name)
            if place is not None:
                found.legs[place] = value
                legs.append(leg_row(call_id, place, value, entry.stamp))
                continue
            if name.startswith(PARTS):
                found.take(name, value)
        set_at = iso(entry.stamp)
        others.append(PropertyRow(call_id, name, _scalar(value), set_at, entry.author, entry.once))
    return legs, others


def log_rows(call_id: str, logs: Sequence[Log]) -> list[LogRow]:
    """The rows of ``cdr_logs`` for these lines."""
    return [LogRow(call_id, iso(line.stamp), line.author, line.text) for line in logs]


def handed(call: Call) -> HandedOver:
    """What goes of the record of a call of which others have all that is here."""
    names = list(call.data.properties)
    names += [f"{line.author} {line.text}" for line in (call.data.logs or {}).values()]
    return HandedOver(call.call_id, _json(names).decode())


class Look(Protocol):
    """Finds what the archive has of a call, and calls ``then`` with it, in a later turn of the
    event loop; never, if that cannot be found out at present."""

    def __call__(self, call_id: str, then: Callable[[foreign.Before | None], None]) -> None: ...


class Writer(Protocol):
    """What takes the rows: the archive."""

    def put(
        self,
        *,
        cdr: Cdr | None = None,
        fill: Cdr | None = None,
        talks: Sequence[TalkRow] = (),
        legs: Sequence[LegRow] = (),
        properties: Sequence[PropertyRow] = (),
        logs: Sequence[LogRow] = (),
        finish: str | None = None,
        remove: HandedOver | None = None,
        composed: str | None = None,
    ) -> None:
        """Queue rows for the next commit. ``composed`` is a callID: ``talks`` are all that it has,
        as far as this writer's copy of the call goes, and in the place of those before."""


class Recorder:
    """Writes the record of each call of this server; in the store a client for all calls.

    A call of another server is that server's to write. Only if it ends here and its owner never
    took what we have (it is unknown, or was not reachable) we write what we know into our own
    database: the row then says so (``written_by`` is not ``owner``), and nothing is lost. A call
    that is none of its owner's is recorded apart (``foreign``).
    """

    def __init__(self, server: str, archive: Writer, look: Look | None = None) -> None:
        """``look`` finds what the archive has of a call; without it every call that names this
        server as its owner is taken for its own."""
        self.server = server
        self._archive = archive
        self._look = look
        self._written: dict[str, Known] = {}
        """Calls whose row is written and not final yet, and what it says (``View.known``)."""
        self.records = 0

    def __len__(self) -> int:
        """Calls whose row is written and not final yet."""
        return len(self._written)

    def tidy(self) -> None:
        """Give back room, if nothing is in progress."""
        give_back(self._written)

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """At hangup: the whole record. After it: what changed."""
        if call.owner != self.server:
            return
        call_id = call.call_id
        if call.foreign and call.told:
            call.foreign = False  # its switch was late to tell of it
        if call_id in self._written:
            told = Told()
            legs, others = entry_rows(call_id, properties, told)
            cdr: Cdr | None = None
            talks: list[TalkRow] = []
            summary = any(entry.name in SUMMARY for entry in properties)
            composed: str | None = None
            if legs or summary or told.talks or told.merged_into is not None:
                cdr, talks, composed = self._again(call, summary)
            self._archive.put(
                cdr=cdr,
                talks=talks,
                legs=legs,
                properties=others,
                logs=log_rows(call_id, logs),
                composed=composed,
            )
        elif "end" in call.data.properties:
            self._written[call_id] = self._write(call, final=False)

    def registered(self, call: Call, client: Client) -> None:
        """If somebody holds it, whether it is ours is not known before its end."""
        call.foreign = False
        if call.owner == self.server and not call.held:
            self._judge(call)

    def unregistered(self, call: Call, client: Client) -> None:
        """If nobody holds it any more: is it ours?"""
        if call.owner == self.server and not call.held:
            self._judge(call)

    def back(self, call: Call) -> None:
        """A call is back after a restart."""
        if call.owner == self.server and not call.held:
            self._judge(call)

    def _judge(self, call: Call) -> None:
        """Find out whether it is ours, which takes a moment."""
        if self._look is not None and not call.claimed and not call.told:
            self._look(call.call_id, partial(self._found, call))

    def _found(self, call: Call, before: foreign.Before | None) -> None:
        if not (call.held or call.claimed or call.told):
            call.foreign = before is None or not foreign.took_part(call.data, before)

    def ended(self, call: Call) -> None:
        """End of call: the record is final."""
        if call.foreign:
            self._apart(call)
            return
        if call.owner != self.server:
            if not call.settled and len(call.data):
                self._write(call, final=True)
            return
        if call.call_id in self._written:
            del self._written[call.call_id]
            self._archive.put(finish=call.call_id)
        elif len(call.data):
            self._write(call, final=True)

    def renewed(self, calls: Iterable[Call]) -> None:
        """The archive's file was gone, and there is a new one: the rows of these live calls, as far
        as they were written, are in the old one."""
        for call in calls:
            if call.call_id in self._written:
                self._written[call.call_id] = self._write(call, final=False)

    def handed_over(self, call: Call) -> None:
        """The owner of a call has its record: the one written here in its place goes."""
        self._archive.put(remove=handed(call))

    def disowned(self, call: Call) -> None:
        """A call that was recorded here in the place of its owner is none of that one's."""
        self._archive.put(remove=handed(call))
        self._apart(call)

    def _apart(self, call: Call) -> None:
        """Record a call that is none of its owner's, if it came to this server first; or if others
        have left it to us (``Call.claimed``): they may not have it any more."""
        first = foreign.began_with(call.data, View(call).ends.caller_at)
        if first is None:
            return
        if call.owner == self.server:
            call.came_to = first.author.partition("/")[0]
        if self.server != call.came_to and not call.claimed:
            return
        apart = Call(foreign.apart_id(call.call_id, first), self.server)
        apart.data = call.data
        log.warning(
            "call %s: a neighbour names %s as its owner, which has no such call: recorded as %s",
            call.call_id,
            call.owner,
            apart.call_id,
        )
        self._write(apart, final=True)

    def _again(self, call: Call, summary: bool) -> tuple[Cdr | None, list[TalkRow], str | None]:
        """The row anew, if what has come since it was written tells more: the call as a whole
        (``summary``), or legs and talks by which its ends are others."""
        view = View(call)
        known = view.known()
        if not (view.whole() and (summary or known != self._written[call.call_id])):
            return None, [], None
        self._written[call.call_id] = known
        cdr = view.cdr(self.server, False)
        return cdr, view.talks(cdr), call.call_id if view.talked else None

    def _write(self, call: Call, *, final: bool) -> Known:
        self.records += 1
        data = call.data
        found = Told()
        legs, others = entry_rows(call.call_id, data.properties.values(), found)
        view = View(call, found)
        whole = view.whole()
        cdr = view.cdr(self.server, final) if whole else view.pieced(self.server, final)
        self._archive.put(
            cdr=cdr if whole else None,
            fill=None if whole else cdr,
            talks=view.talks(cdr),
            legs=legs,
            properties=others,
            logs=log_rows(call.call_id, data.log_lines()) if data.logs else (),
            composed=call.call_id if view.talked else None,
        )
        return view.known()
