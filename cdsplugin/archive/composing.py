"""The talks of calls that were more than one talk, made of the rows of their legs.

What one server knows of such a call may not be all that its database has by then: rows merge as
entries do, and whoever wrote them, and in whatever order, the talks made of them are the same.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from cdsplugin.archive import schema
from cdsplugin.archive.ends import Leg, true_ends
from cdsplugin.archive.reading import read_legs
from cdsplugin.archive.rows import Place, values_of
from cdsplugin.archive.talks import Caller, compose, parties_of, talk_rows
from cdsplugin.data import MERGED, passage_name, talk_of

_CALL = "SELECT switch, caller, caller_party, ended_at FROM cdrs WHERE call_id = ?"
_PARTS = (
    "SELECT name, value FROM cdr_properties WHERE call_id = ?"
    " AND (name GLOB 'talk/*' OR name GLOB 'switch/*' OR name GLOB 'merged/*')"
)


def compose_again(conn: sqlite3.Connection, call_ids: Iterable[str]) -> None:
    """Make ``cdr_talks`` and ``parties`` of these calls anew, if there is a talk of theirs that
    their legs do not tell by themselves. Raises sqlite3.Error."""
    for call_id in dict.fromkeys(call_ids):
        _compose(conn, call_id)


def _compose(conn: sqlite3.Connection, call_id: str) -> None:
    talks: dict[Place, Leg] = {}
    ended: dict[str, Any] = {}
    merged = False
    for name, text in conn.execute(_PARTS, (call_id,)):
        value = _mapping(text)
        for key in [key for key in value if key.endswith("_at")]:
            value[key] = _text(value[key])
        place = talk_of(name)
        if place is not None:
            talks[place] = value
        elif name.startswith(MERGED):
            merged = True
        else:
            ended[name] = value.get("ended_at")
    row = conn.execute(_CALL, (call_id,)).fetchone() if talks or merged else None
    if row is None:
        return
    switch, number, party, over = row
    legs = read_legs(conn, call_id)
    if switch is not None:
        ended[passage_name("switch", switch, 0)] = over
    heard = compose(legs, talks, ended, str)
    caller = Caller(true_ends(legs, {"switch": switch}).caller_at, party, number)
    rows = talk_rows(call_id, heard, legs, caller, over, str)
    conn.execute("DELETE FROM cdr_talks WHERE call_id = ?", (call_id,))
    conn.executemany(schema.WRITE_TALK, map(values_of, rows))
    parties = parties_of(rows)
    if parties:
        told_parties = msgspec.json.encode(parties).decode()
        conn.execute("UPDATE cdrs SET parties = ? WHERE call_id = ?", (told_parties, call_id))


def _mapping(text: object) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text) if isinstance(text, str) else None
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(us: object) -> str | None:
    """As ``view.iso``, which is for another thread."""
    if type(us) is not int or not 0 <= us < 253_402_300_800_000_000:
        return None
    second, rest = divmod(us, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:06d}Z"
