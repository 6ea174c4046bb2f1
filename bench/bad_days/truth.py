"""What SIPp saw of each call, and whether the records say the same.

A call is known by its caller's number, which no other call of the run has.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.bad_days.desk import Note
from bench.bad_days.sites import way
from bench.sipp_messages import messages

_INVITE = re.compile(r"^INVITE sip:(\d+)@")
_FROM = re.compile(r"^From: .*?<sip:(\w+)@", re.M | re.I)


@dataclass(slots=True)
class Heard:
    """A call as SIPp's caller saw it. Times in seconds since 1970, None for what did not happen."""

    caller: str
    origin: str
    dialled: str
    invited: float
    told: float | None = None
    """When it first got any answer, be it a 100."""
    answered: float | None = None
    refused: int | None = None
    """The final status that was none of success."""
    hung_up: float | None = None
    """When its BYE first left, or one came."""
    over: float = 0.0
    """When its last message came or went: its own end, if there was one."""
    ended: bool = False
    """Whether it was refused, or its BYE was answered."""


def heard(path: Path, origin: str) -> dict[str, Heard]:
    """What a site's phones saw of their calls, by caller's number."""
    found: dict[str, Heard] = {}
    if not path.exists():
        return {}
    for message in messages(path):
        call = found.get(message.sip_call_id)
        if call is None:
            invite, caller = _INVITE.match(message.text), _FROM.search(message.text)
            if not message.sent or invite is None or caller is None:
                continue
            call = Heard(caller[1], origin, invite[1], message.at)
            found[message.sip_call_id] = call
        if message.method in ("INVITE", "BYE"):
            _take(call, message.at, message.method, message.status, message.sent)
    return {call.caller: call for call in found.values()}


def _take(call: Heard, at: float, method: str, status: int, sent: bool) -> None:
    call.over = at
    if method == "BYE" and not status and call.hung_up is None:
        call.hung_up = at
    if method == "BYE" and status:
        call.ended = True
    if method != "INVITE" or sent:
        return
    if call.told is None:
        call.told = at
    if status == 200 and call.answered is None:
        call.answered = at
    elif status >= 300 and call.refused is None:
        call.refused, call.ended = status, True


@dataclass(frozen=True, slots=True)
class Fault:
    """When something was not as it should be: seconds since 1970."""

    began: float
    healed: float


Row = Mapping[str, Any]


@dataclass(slots=True)
class Records:
    """All records. A place is a server's name, with a number for each file that was moved away."""

    by_call_id: dict[str, list[tuple[str, Row]]] = field(default_factory=lambda: defaultdict(list))
    """The places that have a row of a call, and the row."""
    rows: dict[str, list[tuple[str, Row]]] = field(default_factory=lambda: defaultdict(list))
    """The same by caller: of all calls that some row says are that caller's."""
    logs: set[tuple[str, str, str]] = field(default_factory=set)
    """Place, callID and text."""
    properties: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Place, callID, name and value."""
    legs: dict[tuple[str, str], list[tuple[str, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Of a place and a callID, those that have an end: switch and number."""
    talks: dict[tuple[str, str], list[tuple[str, ...]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Of a place and a callID: switch, from, to, and the number there."""

    def live(self, caller: str) -> list[tuple[str, Row]]:
        """Its rows in files that are in use."""
        return [(place, row) for place, row in self.rows.get(caller, ()) if "/" not in place]

    def has(self, note: Note, places: Iterable[str]) -> bool:
        """Whether it is in a record at one of these."""
        if note.name is None:
            return any((place, note.call_id, note.text) in self.logs for place in places)
        return any((place, note.call_id, note.name, note.text) in self.properties
                   for place in places)  # fmt: skip


def records(databases: Mapping[str, Sequence[Path]]) -> Records:
    """Read all files, by server."""
    found = Records()
    for server, paths in databases.items():
        for path in paths:
            place = f"{server}/{path.name}" if path.name.startswith("moved-") else server
            try:
                _read(found, place, path)
            except sqlite3.OperationalError:
                continue  # there are no tables yet
    for call_id, rows in found.by_call_id.items():
        for caller in {row["caller"] for _, row in rows if row["caller"]} or {call_id}:
            found.rows[caller] += rows
    return found


def _read(found: Records, place: str, path: Path) -> None:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT * FROM cdrs"):
            found.by_call_id[row["call_id"]].append((place, dict(row)))
        for call_id, text in database.execute("SELECT call_id, text FROM cdr_logs"):
            found.logs.add((place, call_id, text))
        noted = "SELECT call_id, name, value FROM cdr_properties WHERE name LIKE 'note-%'"
        for call_id, name, value in database.execute(noted):
            found.properties.add((place, call_id, name, value))
        ended = "SELECT call_id, switch, leg FROM cdr_legs WHERE ended_at IS NOT NULL"
        for call_id, switch, leg in database.execute(ended):
            found.legs[place, call_id].append((switch, leg))
        talks = "SELECT call_id, switch, from_party, to_party, to_number FROM cdr_talks"
        for call_id, *talk in database.execute(talks):
            found.talks[place, call_id].append(tuple(talk))
    database.close()


def judge(
    calls: Iterable[Heard], found: Records, notes: Iterable[Note], faults: Sequence[Fault]
) -> dict[str, list[str]]:
    """What is wrong, by caller's number."""
    wrong: dict[str, list[str]] = {}
    noted: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        noted[note.call_id].append(note)
    for call in calls:
        if said := _of_one(call, found, noted, faults):
            wrong[call.caller] = said
    lost = noted.keys() - found.by_call_id.keys()
    for call_id in lost:
        wrong[call_id] = [f"no row, and {len(noted[call_id])} acknowledged notes"]
    return wrong


def _of_one(
    call: Heard, found: Records, noted: Mapping[str, list[Note]], faults: Sequence[Fault]
) -> list[str]:
    rows = found.rows.get(call.caller, [])
    if not rows:
        return [] if call.told is None else ["no row"]
    if not _one(found, call.caller):
        return [f"{len(rows)} rows: " + ", ".join(place for place, _ in rows)]
    # Of what was moved away only the owner's counts, if it has any.
    own = [(place, row) for place, row in rows if row["written_by"] == row["owner"]]
    places = [place for place, _ in own or rows]
    row = _together([row for _, row in own or rows])
    said = _unlike(call, row, faults)
    if call.answered is not None:
        said += _unlike_talk(call, row, found, places)
    for note in noted.get(row["call_id"], ()):
        if not found.has(note, places):
            said.append(f"lacks `{note.text}` of {note.taken:.3f}")
    if said:
        said.append(f"at {' and '.join(places)}, callID {row['call_id']}")
    return said


def _one(found: Records, caller: str) -> bool:
    """Whether there is one call, and one file in use has it at most."""
    call_ids = {row["call_id"] for _, row in found.rows[caller]}
    return len(call_ids) == 1 and len(found.live(caller)) <= 1


def _together(rows: Sequence[Row]) -> Row:
    """A record that was in the file that was moved away, and goes on in the one that was made then:
    a part of the call that came later adds to what was there. The newest file is the first."""
    row = dict(rows[-1])
    for later in reversed(rows[:-1]):
        ends = _on_the_way(row) and later["answered_party"] is not None
        for key, value in later.items():
            if row[key] is None or (ends and key in _ENDS):
                row[key] = value
        row["final"] = max(row["final"], later["final"])
    return row


_ENDS = ("answered_party", "answered_number", "answered_switch", "answered_site", "outgoing_trunk")


def _on_the_way(row: Row) -> bool:
    return row["answered_party"] is None or (
        row["answered_party"].startswith("trunk:") and row["outgoing_trunk"] is None
    )


def _unlike_talk(call: Heard, row: Row, found: Records, places: Sequence[str]) -> list[str]:
    said, call_id, along = [], row["call_id"], way(call.origin, call.dialled)
    legs = {leg for place in places for leg in found.legs[place, call_id]}
    if len(legs) != 2 * len(along):
        said.append(f"{len(legs)} legs that have ended, not {2 * len(along)}")
    if len(places) > 1:
        return said  # the talk's two ends are in two files
    talk = (call.origin, f"trunk:phones-{call.origin}", f"trunk:carrier-{along[-1]}", call.dialled)
    if found.talks[places[0], call_id] != [talk]:
        said.append(f"talks {found.talks[places[0], call_id]}")
    return said


def _unlike(call: Heard, row: Row, faults: Sequence[Fault]) -> list[str]:
    expected = {
        "final": 1,
        "owner": call.origin,
        "written_by": call.origin,
        "switch": call.origin,
        "site": f"site of {call.origin}",
        "caller": call.caller,
        "dialled": call.dialled,
        "caller_party": f"trunk:phones-{call.origin}",
    }
    if call.answered is not None:
        end = way(call.origin, call.dialled)[-1]
        expected |= {
            "disposition": "answered",
            "answered_party": f"trunk:carrier-{end}",
            "answered_number": call.dialled,
            "answered_switch": end,
            "answered_site": f"site of {end}",
            "outgoing_trunk": f"carrier-{end}",
        }
    said = [f"{key} {row[key]!r}, not {value!r}" for key, value in expected.items()
            if row[key] != value]  # fmt: skip
    if call.answered is None and call.refused and row["disposition"] == "answered":
        said.append(f"answered, but the caller was refused ({call.refused})")
    return said + _times(call, row, faults)


TOLERANCE = 1.0
"""Seconds by which a call's length may differ from SIPp's if nothing was wrong meanwhile."""
LATER = 8.0
"""Seconds more of a call whose end a fault held up: a side that is gone is given up after 64 T1."""


def _times(call: Heard, row: Row, faults: Sequence[Fault]) -> list[str]:
    billsec, duration = row["billsec"], row["duration"]
    if billsec is None or duration is None or not 0 <= billsec <= duration:
        return [f"billsec {billsec!r} of duration {duration!r}"]
    if call.answered is None:
        return []
    until = call.hung_up or call.over
    talked = until - call.answered
    near = [f for f in faults if f.began < call.over + 1 and f.healed > call.invited - 1]
    held_up = sum(f.healed - f.began for f in near) + LATER if near else 0.0
    least, most = talked - TOLERANCE - held_up, talked + TOLERANCE + held_up
    if not least <= billsec <= most:
        return [f"billsec {billsec:.2f}, not from {max(least, 0):.2f} to {most:.2f}"]
    return []


def as_text(rows: Iterable[tuple[str, Row]]) -> str:
    """Rows for people who look for what is wrong: a line each."""
    return "\n".join(f"    {place}: {json.dumps(dict(row))}" for place, row in rows)
