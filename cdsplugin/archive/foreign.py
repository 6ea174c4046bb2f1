"""Calls that name this server as their owner, though none of its switches ever had them.

A neighbour may send us a callID that it made up, or one of a call that is over. Nothing of such a
call gets into the record of anybody else's: whoever it came to first records it apart, under a
callID of its own.

The owner tells them by this: it has not heard of the call from a switch of its own
(``Call.told``), and its archive has no record of it; or it has one, and what comes now did not take
part in that call (``took_part``).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cdsplugin.archive.ends import legs_of
from cdsplugin.archive.reading import reading_records
from cdsplugin.archive.rows import Place
from cdsplugin.data import CallData, Log, Property, leg_name

_ON_ITS_WAY_US = 32_000_000
"""As long as an INVITE is sent again (RFC 3261 §17.1.1.2, timer B): it may reach another switch
after the call is over where it began."""

_VERSION, _VARIANT = 7, 0b10


class Before(NamedTuple):
    """What an archive has of a call: when it ended (microseconds, UTC; None: nobody knows), and the
    SIP Call-IDs of its legs. Of one that is not ``recorded`` only since when there is the archive,
    as what is older may be in a file that was moved away, and when the callID says that the call
    began (None: unknown)."""

    ended_at: int | None
    sip_call_ids: frozenset[str]
    recorded: bool = True
    since: int | None = None
    began: int | None = None


def took_part(data: CallData, before: Before) -> bool:
    """Whether entries belong to the call of which there is a record. Yes, if a leg of theirs and
    one of the record are two ends of one dialog; else if they began before it was over. What
    applications alone said always does. Where there is no record, what is older than the archive is
    taken for a part of a call that had one."""
    legs = legs_of(data.properties)
    if not before.recorded:
        # The time in a callID is what anybody writes: switches are believed what they say now.
        stamps = [entry.stamp for entry in data.properties.values()] if legs else [before.began]
        return any(_earlier(stamp, before.since) for stamp in stamps)
    for leg in legs.values():
        if leg.get("direction") == "in" and leg.get("sip_call_id") in before.sip_call_ids:
            return True
    if before.ended_at is None or not legs:
        return True
    first = min(entry.stamp for entry in data.properties.values())
    return first <= before.ended_at + _ON_ITS_WAY_US


def _earlier(stamp: int | None, since: int | None) -> bool:
    return stamp is not None and since is not None and stamp < since


def began_with(data: CallData, came_in: Place | None) -> Property | Log | None:
    """The entry with which the call began, as far as is known: of the leg by which it came in; the
    oldest, if there is no leg."""
    if came_in is not None:
        return data.properties.get(leg_name(*came_in))
    entries: list[Property | Log] = [*data.properties.values(), *data.log_lines()]
    return min(entries, key=lambda entry: entry.stamp, default=None)


def apart_id(call_id: str, first: Property | Log) -> str:
    """The callID under which a call is recorded apart. It sorts by time as others do, is the same
    whoever makes it, and another for each call that names the same callID."""
    leg = first.value if isinstance(first, Property) else None
    at = leg.get("invited_at") if isinstance(leg, Mapping) else None
    when = at if type(at) is int and at > 0 else first.stamp
    text = f"{call_id} {first.author} {when}"
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10], "big")
    number = (when // 1000 & 0xFFFF_FFFF_FFFF) << 80 | digest
    number = number & ~(0xF << 76) | _VERSION << 76
    number = number & ~(0b11 << 62) | _VARIANT << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_MADE = "SELECT min(applied_at) FROM _sqlite_migrations WHERE migration_set = 'cdsplugin'"


def read_before(path: Path, call_id: str) -> Before:
    """What the archive has of a call. Raises ``ReadError``."""
    with reading_records(path) as db:
        rows = db.execute("SELECT ended_at FROM cdrs WHERE call_id = ?", [call_id]).fetchall()
        if not rows:
            made = db.execute(_MADE).fetchone()[0]
            since = None if made is None else _us(made)
            return Before(None, frozenset(), False, since, _time_of(call_id))
        legs = db.execute("SELECT sip_call_id FROM cdr_legs WHERE call_id = ?", [call_id])
        return before(rows[0][0], [row[0] for row in legs])


def before(ended_at: str | None, sip_call_ids: list[str | None]) -> Before:
    """Of columns of the archive."""
    at = None
    if ended_at is not None:
        at = _us(ended_at)
    return Before(at, frozenset(each for each in sip_call_ids if each))


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


def _time_of(call_id: str) -> int | None:
    """When it was made (microseconds, UTC), if it is one of ours (RFC 9562 §5.7)."""
    try:
        made = uuid.UUID(call_id)
    except ValueError:
        return None
    return (made.int >> 80) * 1000 if made.version == _VERSION else None
