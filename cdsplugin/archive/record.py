"""The call detail record: rows of the CDR database made of call data, and when they are written.

From the source: "At the end of a call the owning TMS process (...) accesses the storage module to
retrieve the call data entries associated with the callID to write the call data to the database".
The row is written at hangup already (``final`` 0), brought up to date by whatever comes while the
call lingers, and marked final at its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from cdsplugin.archive.rows import Cdr, LegRow, LogRow, PropertyRow
from cdsplugin.data import LEG, SUMMARY, Call, Client, Log, Property, Scalar, Value, leg_of

_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
# Few: the texts of times are made one after the other, and each kept one holds on to memory.
_SECONDS: dict[int, str] = {}
_MAX_SECONDS: Final = 4
_THREE_DIGITS: Final = [f"{number:03d}" for number in range(1000)]


def iso(us: object) -> str | None:
    """Microseconds since the epoch as ``2026-01-02T03:04:05.678901Z``; None for what is no time.

    Such texts sort by time, and SQLite's date functions take them.
    """
    if type(us) is not int or not 0 <= us <= _LAST_US:
        return None
    # A tenth of the time that strftime and a format take, and a record has a dozen of these.
    second = us // 1_000_000
    text = _SECONDS.get(second)
    if text is None:
        if len(_SECONDS) >= _MAX_SECONDS:
            _SECONDS.clear()
        text = _SECONDS[second] = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    rest = us % 1_000_000
    return f"{text}{_THREE_DIGITS[rest // 1000]}{_THREE_DIGITS[rest % 1000]}Z"


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
    return msgspec.json.encode(value).decode()


def cdr_row(call: Call, written_by: str, final: bool) -> Cdr:
    """The row of ``cdrs`` as the originating switch told it."""
    held = call.data.properties
    origin = _mapping(held.get("call"))
    answer = _mapping(held.get("answer"))
    end = _mapping(held.get("end"))
    started = origin.get("started_at")
    answered = answer.get("answered_at")
    ended = end.get("ended_at")
    return Cdr(
        call.call_id,
        call.owner,
        written_by,
        origin.get("switch"),
        origin.get("site"),
        origin.get("caller"),
        origin.get("caller_name"),
        origin.get("dialled"),
        answer.get("callee"),
        origin.get("caller_party"),
        answer.get("callee_party"),
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


_NOTHING: dict[str, Scalar] = {}


def _mapping(entry: Property | None) -> dict[str, Scalar]:
    """A property's value if it is a mapping, as those of the switches are."""
    return entry.value if entry is not None and type(entry.value) is dict else _NOTHING


def _times(legs: list[dict[str, Scalar]], key: str) -> list[int]:
    return [at for leg in legs if type(at := leg.get(key)) is int]


def pieced_row(call: Call, written_by: str, final: bool) -> Cdr:
    """The row of ``cdrs`` of a call whose originating switch never told its end: from what others
    saw."""
    row = cdr_row(call, written_by, final)
    held = call.data.properties
    legs = [
        entry.value
        for name, entry in held.items()
        if name.startswith(LEG) and isinstance(entry.value, dict)
    ]
    origin, answer_entry, end = (_mapping(held.get(n)) for n in ("call", "answer", "end"))
    first = origin.get("started_at") or min(_times(legs, "invited_at"), default=None)
    answer = answer_entry.get("answered_at") or min(_times(legs, "answered_at"), default=None)
    last = end.get("ended_at") or max(_times(legs, "ended_at"), default=None)
    disposition = row.disposition
    if disposition is None and last is not None:
        disposition = "answered" if answer is not None else "failed"
    return row._replace(
        started_at=iso(first),
        answered_at=iso(answer),
        ended_at=iso(last),
        duration=_seconds(first, last),
        billsec=_seconds(answer, last),
        disposition=disposition,
    )


def leg_row(call_id: str, entry: Property) -> LegRow | None:
    """The row of ``cdr_legs`` of a property ``leg/SWITCH/N``; None if that is not what it is."""
    leg = entry.value
    which = leg_of(entry.name)
    if type(leg) is not dict or which is None:
        return None
    get = leg.get
    return LegRow(
        call_id,
        *which,
        get("direction"),
        get("party"),
        get("callee"),
        get("uri"),
        get("address"),
        get("user_agent"),
        get("codec"),
        iso(get("invited_at")),
        iso(get("ringing_at")),
        iso(get("answered_at")),
        iso(get("ended_at")),
        get("status"),
        get("reason"),
        get("ended_by"),
        get("sip_call_id"),
        iso(entry.stamp),
    )


def entry_rows(
    call_id: str, properties: Sequence[Property]
) -> tuple[list[LegRow], list[PropertyRow]]:
    """The rows of ``cdr_legs`` and of ``cdr_properties`` for these entries."""
    legs: list[LegRow] = []
    others: list[PropertyRow] = []
    for entry in properties:
        name = entry.name
        if name in SUMMARY:
            continue
        if name.startswith(LEG):
            row = leg_row(call_id, entry)
            if row is not None:
                legs.append(row)
                continue
        set_at = iso(entry.stamp)
        others.append(
            PropertyRow(call_id, name, _scalar(entry.value), set_at, entry.author, entry.once)
        )
    return legs, others


def log_rows(call_id: str, logs: Sequence[Log]) -> list[LogRow]:
    """The rows of ``cdr_logs`` for these lines."""
    return [LogRow(call_id, iso(line.stamp), line.author, line.text) for line in logs]


class Writer(Protocol):
    """What takes the rows: the archive."""

    def put(
        self,
        *,
        cdr: Cdr | None = None,
        fill: Cdr | None = None,
        legs: Sequence[LegRow] = (),
        properties: Sequence[PropertyRow] = (),
        logs: Sequence[LogRow] = (),
        finish: str | None = None,
        remove: str | None = None,
    ) -> None:
        """Queue rows for the next commit."""


class Recorder:
    """Writes the record of each call of this server; in the store a client for all calls.

    A call of another server is that server's to write. Only if it ends here and its owner never
    took what we have (it is unknown, or was not reachable) we write what we know into our own
    database: the row then says so (``written_by`` is not ``owner``), and nothing is lost.
    """

    def __init__(self, server: str, archive: Writer) -> None:
        self.server = server
        self._archive = archive
        self._written: set[str] = set()
        self.records = 0

    def __len__(self) -> int:
        """Calls whose row is written and not final yet."""
        return len(self._written)

    def tidy(self) -> None:
        """Give back the room of the table, if it is empty."""
        if not self._written:
            self._written.clear()

    def updated(self, call: Call, properties: Sequence[Property], logs: Sequence[Log]) -> None:
        """At hangup: the whole record. After it: what changed."""
        if call.owner != self.server:
            return
        call_id = call.call_id
        if call_id in self._written:
            legs, others = entry_rows(call_id, properties)
            summary = any(entry.name in SUMMARY for entry in properties)
            self._archive.put(
                cdr=cdr_row(call, self.server, False) if summary else None,
                legs=legs,
                properties=others,
                logs=log_rows(call_id, logs),
            )
        elif "end" in call.data.properties:
            self._written.add(call_id)
            self._write(call, final=False)

    def registered(self, call: Call, client: Client) -> None:
        """Of no interest to the record."""

    def unregistered(self, call: Call, client: Client) -> None:
        """Of no interest to the record."""

    def ended(self, call: Call) -> None:
        """End of call: the record is final."""
        if call.owner != self.server:
            if not call.settled and len(call.data):
                self._write(call, final=True)
            return
        if call.call_id in self._written:
            self._written.discard(call.call_id)
            self._archive.put(finish=call.call_id)
        elif len(call.data):
            self._write(call, final=True)

    def handed_over(self, call_id: str) -> None:
        """The owner of a call has its record: the one written here in its place goes."""
        self._archive.put(remove=call_id)

    def _write(self, call: Call, *, final: bool) -> None:
        self.records += 1
        data = call.data
        legs, others = entry_rows(call.call_id, list(data.properties.values()))
        whole = "end" in data.properties
        self._archive.put(
            cdr=cdr_row(call, self.server, final) if whole else None,
            fill=None if whole else pieced_row(call, self.server, final),
            legs=legs,
            properties=others,
            logs=log_rows(call.call_id, data.log_lines()) if data.logs else (),
        )
