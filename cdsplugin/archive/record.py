"""The call detail record: rows of the CDR database made of call data, and when they are written.

From the source: "At the end of a call the owning TMS process (...) accesses the storage module to
retrieve the call data entries associated with the callID to write the call data to the database".
The row is written at hangup already (``final`` 0), brought up to date by whatever comes while the
call lingers, and marked final at its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from cdsplugin.archive import foreign
from cdsplugin.archive.ends import Leg, legs_of, true_ends
from cdsplugin.archive.rows import (
    Cdr,
    Ends,
    HandedOver,
    LegRow,
    LogRow,
    Place,
    PropertyRow,
    TalkRow,
)
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

_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_THREE_DIGITS: Final = [f"{number:03d}" for number in range(1000)]
_LAST_DIGITS: Final = [f"{digits}Z" for digits in _THREE_DIGITS]


class _Second:
    """A second and its text. The rows of a record are of the same few seconds, and so are those of
    records that are written one after the other."""

    def __init__(self) -> None:
        self.number = -1
        self.text = ""


# Few: each of them that is replaced later holds on to a piece of the memory of its time.
_SECONDS: Final = [_Second() for _ in range(16)]


def iso(us: object) -> str | None:
    """Microseconds since the epoch as ``2026-01-02T03:04:05.678901Z``; None for what is no time.

    Such texts sort by time, and SQLite's date functions take them.
    """
    if type(us) is not int or not 0 <= us <= _LAST_US:
        return None
    # A twentieth of the time that strftime and a format take, and a record has a dozen of these.
    second = us // 1_000_000
    rest = us % 1_000_000
    made = _SECONDS[second & 15]
    if made.number != second:
        made.number = second
        made.text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    return f"{made.text}{_THREE_DIGITS[rest // 1000]}{_LAST_DIGITS[rest % 1000]}"


def _seconds(begin: Value, end: Value) -> float | None:
    if type(begin) is int and type(end) is int:
        return (end - begin) / 1_000_000
    return None


def _scalar(value: Value) -> str | int | float | None:
    """A value as SQLite keeps it: numbers and text as they are, lists and mappings as JSON."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value  # type: ignore[return-value]
    if kind is bool:
        return int(value)  # type: ignore[arg-type]
    return _json(value).decode()


_NOTHING: dict[str, Scalar] = {}
_json = msgspec.json.Encoder().encode


class View:
    """A call's data as its record shows it: what its originating switch told of the whole, its
    legs (unless somebody has just read them), and its true ends."""

    __slots__ = ("answer", "began", "call", "end", "ends", "legs")

    def __init__(self, call: Call, legs: dict[Place, Leg] | None = None) -> None:
        held = call.data.properties
        self.call = call
        self.began = _mapping(held.get("call"))
        self.answer = _mapping(held.get("answer"))
        self.end = _mapping(held.get("end"))
        self.legs = legs_of(held) if legs is None else legs
        self.ends = true_ends(self.legs, self.began)

    def whole(self) -> bool:
        """Whether the originating switch told the end."""
        return bool(self.end)

    def cdr(self, written_by: str, final: bool) -> Cdr:
        """The row of ``cdrs`` as the originating switch told it."""
        began, answer, end, ends = self.began, self.answer, self.end, self.ends
        started, answered, ended = (
            began.get("started_at"), answer.get("answered_at"), end.get("ended_at"),
        )  # fmt: skip
        caller_party = began.get("caller_party")
        at = ends.answered_at
        return Cdr(
            self.call.call_id,
            self.call.owner,
            written_by,
            began.get("switch"),
            began.get("site"),
            began.get("caller"),
            began.get("caller_name"),
            began.get("dialled"),
            answer.get("callee"),
            caller_party,
            answer.get("callee_party"),
            ends.party,
            ends.number,
            None if at is None else at[0],
            ends.site,
            ends.trunk,
            _parties(caller_party, ends.party),
            iso(started),
            iso(answered),
            iso(ended),
            _seconds(started, ended),
            _seconds(answered, ended) or 0.0,
            end.get("disposition"),
            end.get("sip_status"),
            end.get("reason"),
            end.get("hangup_by"),
            1 if final else 0,
        )

    def pieced(self, written_by: str, final: bool) -> Cdr:
        """The row of ``cdrs`` of a call whose originating switch never told its end, or never told
        of it at all: from what others saw."""
        row = self.cdr(written_by, final)
        ends, legs = self.ends, list(self.legs.values())
        first = self.began.get("started_at") or min(_times(legs, "invited_at"), default=None)
        answer = self.answer.get("answered_at") or min(_times(legs, "answered_at"), default=None)
        last = self.end.get("ended_at") or max(_times(legs, "ended_at"), default=None)
        if not self.began and ends.caller_at is not None:
            came_in = self.legs[ends.caller_at]
            row = replace(
                row,
                switch=ends.caller_at[0],
                site=came_in.get("site"),
                caller=came_in.get("caller"),
                caller_name=came_in.get("caller_name"),
                caller_party=came_in.get("party"),
                dialled=came_in.get("dialled"),
                parties=_parties(came_in.get("party"), ends.party),
            )
        disposition = row.disposition
        if disposition is None and last is not None:
            disposition = "answered" if answer is not None else "failed"
        return replace(
            row,
            started_at=iso(first),
            answered_at=iso(answer),
            ended_at=iso(last),
            duration=_seconds(first, last),
            billsec=_seconds(answer, last),
            disposition=disposition,
        )

    def talks(self, cdr: Cdr) -> list[TalkRow]:
        """The rows of ``cdr_talks``, of a call with that row."""
        ends = self.ends
        if ends.answered_at is None or ends.caller_at is None:
            return []
        return [
            TalkRow(
                cdr.call_id,
                0,
                ends.caller_at[0],
                cdr.caller_party,
                cdr.caller,
                ends.party,
                ends.number,
                cdr.answered_at,
                cdr.ended_at,
                "dialled",
                cdr.caller_party,
            )
        ]


def _parties(caller: object, answered: str | None) -> str | None:
    """All who talked, as JSON; None if nobody did."""
    if answered is None:
        return None
    if not isinstance(caller, str) or caller == answered:
        return _json([answered]).decode()
    return _json([caller, answered]).decode()


def _mapping(entry: Property | None) -> dict[str, Scalar]:
    """A property's value if it is a mapping, as those of the switches are."""
    return entry.value if entry is not None and type(entry.value) is dict else _NOTHING


def _times(legs: Iterable[Leg], key: str) -> list[int]:
    return [at for leg in legs if type(at := leg.get(key)) is int]


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
    )


def entry_rows(
    call_id: str, properties: Iterable[Property], found: dict[Place, Leg]
) -> tuple[list[LegRow], list[PropertyRow]]:
    """The rows of ``cdr_legs`` and of ``cdr_properties`` for these entries. The legs are added to
    ``found``."""
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
                found[place] = value
                legs.append(leg_row(call_id, place, value, entry.stamp))
                continue
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
    ) -> None:
        """Queue rows for the next commit."""


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
        self._written: dict[str, Ends] = {}
        """Calls whose row is written and not final yet, and the ends that it names."""
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
            legs, others = entry_rows(call_id, properties, {})
            cdr: Cdr | None = None
            talks: list[TalkRow] = []
            summary = any(entry.name in SUMMARY for entry in properties)
            if legs or summary:
                cdr, talks = self._again(call, summary)
            self._archive.put(
                cdr=cdr,
                talks=talks,
                legs=legs,
                properties=others,
                logs=log_rows(call_id, logs),
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

    def _again(self, call: Call, summary: bool) -> tuple[Cdr | None, list[TalkRow]]:
        """The row anew, if what has come since it was written tells more: the call as a whole
        (``summary``), or legs by which its ends are others."""
        view = View(call)
        if not (view.whole() and (summary or view.ends != self._written[call.call_id])):
            return None, []
        self._written[call.call_id] = view.ends
        cdr = view.cdr(self.server, False)
        return cdr, view.talks(cdr)

    def _write(self, call: Call, *, final: bool) -> Ends:
        self.records += 1
        data = call.data
        found: dict[Place, Leg] = {}
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
        )
        return view.ends
